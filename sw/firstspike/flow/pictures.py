"""Picture files as a network takes them: upright, opaque, 8 bits a value; or refused, never misread."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.experiment import arrays

if TYPE_CHECKING:
    from PIL import Image

#: A picture of 16 bits whose brightest pixel is below 1/16 of white holds numbers of fewer bits: it would be black.
LEAST_WHITE = 1 << 12
#: How much brighter or darker around its ink than the training images a picture is that should be inverted.
OTHER_GROUND = 1 << 7
#: What a transparent picture must stand out by from the ground that it is put on.
LEAST_CONTRAST = 1 << 7
#: Formats of 16 bits in which 65535 is white.
DEEP = ("JPEG2000", "PNG", "PPM", "TIFF")
#: Tag of TIFF: what 0 means, white if it is 0.
WHITE_IS = 262
#: Several pictures in a file, of which the first is the whole and the others are previews or depths.
MAIN_FIRST = ("MPO",)
ANOTHER = "give image files, such as PNGs"
SAVE_ANEW = "save it as a PNG of 8 bits"


def read(
    path: Path,
    image_shape: tuple[int, int, int],
    *,
    invert: bool = False,
    border: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> NDArray[np.uint8]:
    """The bytes of an image as the network takes it, of a picture scaled to its size; shape ``image_shape``.

    A picture is turned upright as its EXIF says. Transparent pixels show black, or white if it shall be inverted. Of 16
    bits a value the upper 8 count.

    Parameters
    ----------
    path
        A file of any common format.
    image_shape
        Channels (1: grey, or 3: colours), rows, columns.
    invert
        The picture is dark on light.
    border
        :attr:`firstspike.experiment.data.Dataset.border` of the images that the network was trained with, if known.
    note
        Called with what is probably not meant, though it can be classified: a sentence each.

    Raises
    ------
    FirstspikeError
        if the file is no picture, holds several or a huge one, or its values have no known range.

    """
    from PIL import Image, ImageOps

    channels, rows, columns = image_shape
    mode = "L" if channels == 1 else "RGB"
    size = (0, 0)
    with _opened(path) as picture:
        # Asked before its pixels are read, of which the library keeps the upper 8 bits of each colour.
        deep = picture.format in DEEP and any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))
        ImageOps.exif_transpose(picture, in_place=True)
        opaque = _opaque(path, _bytes(path, picture, deep), invert)
        size = opaque.height, opaque.width
        scaled = opaque.convert(mode).resize((columns, rows), Image.Resampling.BOX)
    pixels = np.asarray(ImageOps.invert(scaled) if invert else scaled, np.uint8)
    image = pixels.reshape(rows, columns, channels).transpose(2, 0, 1)
    for text in doubts(size, image, invert=invert, border=border):
        note(f"{path} {text}")
    return image


def doubts(size: tuple[int, int], image: NDArray[np.uint8], *, invert: bool, border: int | None) -> Iterator[str]:
    """What is probably not meant of a picture of ``size`` rows and columns that has become ``image``."""
    rows, columns = size[0] / image.shape[1], size[1] / image.shape[2]
    if max(rows, columns) > 2 * min(rows, columns) or min(rows, columns) < 1 / 2:
        yield (
            f"has {size[0]} rows and {size[1]} columns, which become {image.shape[1]} and {image.shape[2]}: cut it "
            "out, with some room around, in the shape of the training images"
        )
    dim = arrays.dim(image)
    if dim:
        yield f"is too dark: its brightest pixel {dim}: scale its values to 0..255"
    around = arrays.border(image)
    if border is not None and len(image) == 1 and abs(around - border) > OTHER_GROUND:
        is_light = (around > border) != invert
        yield (
            f"looks {'dark on a light' if is_light else 'light on a dark'} ground, unlike the training images: "
            f"{'leave out' if invert else 'give'} --invert?"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The only picture of a file."""
    from PIL import Image, UnidentifiedImageError

    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise FirstspikeError(f"{path} is {'a folder' if path.is_dir() else 'no file'}", ANOTHER)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata and palettes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Not by its name: the library maps such a file into memory, and misreads a TIFF that lies on its side.
            with path.open("rb") as stream, Image.open(stream) as picture:
                frames = 1 if picture.format in MAIN_FIRST else getattr(picture, "n_frames", 1)
                if frames != 1:
                    raise FirstspikeError(f"{path} holds {frames} pictures", "give a file with one picture")
                yield picture
    except FirstspikeError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise FirstspikeError(
            f"{path} is too large: more than {Image.MAX_IMAGE_PIXELS} pixels", "scale it down first"
        ) from error
    except FileNotFoundError as error:
        raise FirstspikeError(f"{path} does not exist", ANOTHER) from error
    except UnidentifiedImageError as error:
        raise FirstspikeError(f"{path} is not a picture of a known format", ANOTHER) from error
    except Exception as error:  # its readers raise many kinds on damaged files
        if isinstance(error, OSError) and error.strerror:
            raise FirstspikeError(f"cannot read {path}: {error.strerror}", ANOTHER) from error
        raise FirstspikeError(f"{path} is not a picture: {error}", ANOTHER) from error


def _bytes(path: Path, picture: Image.Image, deep: bool) -> Image.Image:
    """The picture with 8 bits a value; ``deep`` if those of its file have 16."""
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PPM"):
        if picture.format not in DEEP or picture.has_transparency_data:
            raise FirstspikeError(
                f"{path} has pixels of 16 bits, some transparent or with white at no known number", SAVE_ANEW
            )
        values = np.asarray(picture)
        if picture.format == "TIFF" and picture.getexif().get(WHITE_IS) == 0:
            values = 65535 - values
        brightest = int(values.max())
        upper: Image.Image = Image.fromarray((values >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise FirstspikeError(f"{path} has pixels of 32 bits, for which white is no known number", SAVE_ANEW)
    else:
        upper, brightest = picture, _brightest(picture) if deep else 0
    if 0 < brightest < LEAST_WHITE:
        raise FirstspikeError(
            f"{path} has 16 bits a value, but none above {brightest} where 65535 is white",
            f"scale its values to 0..65535, or {SAVE_ANEW}",
        )
    return upper


def _brightest(picture: Image.Image) -> int:
    """What no colour of 16 bits is above, by its upper 8 bits; 0 if its ink may be in its transparency."""
    extrema = np.atleast_2d(picture.getextrema())
    if picture.mode in ("LA", "RGBA"):
        if extrema[-1, 0] != extrema[-1, 1]:
            return 0
        extrema = extrema[:-1]
    return int(extrema[:, 1].max()) << 8 | 255


def _opaque(path: Path, picture: Image.Image, invert: bool) -> Image.Image:
    """The picture on a ground as dark, or for an inverted one as light, as what is around its ink."""
    from PIL import Image, ImageChops

    if not picture.has_transparency_data:
        return picture
    layers = picture.convert("RGBA")
    colours, alpha = layers.convert("RGB"), layers.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return colours
    ground = Image.new("RGB", picture.size, "white" if invert else "black")
    seen = Image.composite(colours, ground, alpha)
    if np.max(ImageChops.difference(seen, ground).getextrema()) < LEAST_CONTRAST:
        raise FirstspikeError(
            f"{path} is transparent, and on {'white' if invert else 'black'} hardly anything of it is seen",
            "leave out --invert, or put it on its background"
            if invert
            else "give --invert if it is dark on light, or put it on its background",
        )
    return seen
