"""Pictures of every kind: the bytes of the upright picture of 8 bits, or one line; never others in silence."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import DataConfig
from firstspike.experiment.data import load
from firstspike.flow import inference, pictures
from firstspike.flow.workspace import Workspace
from firstspike.network import golden, kernels
from firstspike.network.model import dense

pytestmark = pytest.mark.smoke

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digit() -> np.ndarray:
    """A digit of 40 x 24 pixels, whose rows, columns and corners all differ."""
    small = load(DataConfig()).test_images[7]
    return np.kron(small, np.ones((5, 3), np.uint8))


def bytes_of(picture: Image.Image, folder: Path, name: str = "x.png", shape: Any = SHAPE, **how: Any) -> np.ndarray:
    picture.save(folder / name, **how)
    return pictures.read(folder / name, shape)


@pytest.fixture
def expected(digit: np.ndarray, tmp_path: Path) -> np.ndarray:
    return bytes_of(Image.fromarray(digit), tmp_path)


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits, written by hand: of grey (rows, columns), or 2, 3 or 4 values a pixel."""
    rows, columns, *rest = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[rest[0] if rest else 1]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def test_a_picture_is_scaled(digit: np.ndarray, expected: np.ndarray) -> None:
    assert expected.shape == SHAPE
    assert np.array_equal(expected[0], digit[::5, ::3])


@pytest.mark.parametrize("scale", [256, 257])
@pytest.mark.parametrize("name", ["x.png", "x.tiff", "x.pgm", "x.jp2"])
def test_sixteen_bits_of_grey(tmp_path: Path, digit: np.ndarray, expected: np.ndarray, name: str, scale: int) -> None:
    assert np.array_equal(bytes_of(Image.fromarray(digit.astype(np.uint16) * scale), tmp_path, name), expected)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_of_colours(tmp_path: Path, digit: np.ndarray, expected: np.ndarray, channels: int) -> None:
    values = np.repeat(digit[:, :, None].astype(np.uint16) * 257, channels, axis=2)
    values[..., 3 if channels == 4 else 1 if channels == 2 else 0 :] |= 0 if channels == 3 else 65535
    (tmp_path / "x.png").write_bytes(png(values))
    assert np.array_equal(pictures.read(tmp_path / "x.png", SHAPE), expected)


def test_sixteen_bits_on_white_paper(tmp_path: Path, digit: np.ndarray, expected: np.ndarray) -> None:
    """TIFF may count from white to black."""
    values = Image.fromarray(65535 - digit.astype(np.uint16) * 257)
    assert np.array_equal(bytes_of(values, tmp_path, "x.tiff", tiffinfo={262: 0}), expected)


@pytest.mark.parametrize("white", [1, 255, 4095])
def test_numbers_of_fewer_bits_in_sixteen(tmp_path: Path, digit: np.ndarray, white: int) -> None:
    """They would be black."""
    values = (digit.astype(np.uint32) * white // 255).astype(np.uint16)
    for shown in (values, np.repeat(values[:, :, None], 3, axis=2), np.dstack([values, np.full_like(values, 65535)])):
        (tmp_path / "x.png").write_bytes(png(shown))
        with pytest.raises(
            FirstspikeError, match=r"x\.png has 16 bits a value, but none above \d+ where 65535 is white"
        ):
            pictures.read(tmp_path / "x.png", SHAPE)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.full((8, 8), 1, np.float32), "x.tiff"), (np.full((8, 8), np.nan, np.float32), "x.tiff"),
        (np.full((8, 8), 255, np.int32), "x.tiff"), (np.full((8, 8), 0.5, np.float32), "x.pfm"),
    ],
)  # fmt: skip
def test_values_without_a_white(tmp_path: Path, values: np.ndarray, name: str) -> None:
    with pytest.raises(FirstspikeError, match=r"has pixels of 32 bits, for which white is no known number") as error:
        bytes_of(Image.fromarray(values), tmp_path, name)
    assert error.value.hint == "save it as a PNG of 8 bits"


def test_black_is_black(tmp_path: Path) -> None:
    assert not bytes_of(Image.fromarray(np.zeros((8, 8), np.uint16)), tmp_path).any()


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L"])
def test_ink_in_the_transparency(
    tmp_path: Path, digit: np.ndarray, expected: np.ndarray, mode: str, invert: bool
) -> None:
    """Light ink shows on black, dark ink on the white that is inverted; the other two ways there is nothing to see."""
    for ink in (0, 255):
        if mode in ("LA", "RGBA"):
            colours = np.full_like(digit, ink)
            picture = Image.fromarray(np.dstack([*[colours] * (len(mode) - 1), digit]))
            picture.save(tmp_path / "x.png")
            shown = expected
        else:
            inked = digit > 99
            picture = Image.fromarray(np.where(inked, ink, 255 - ink).astype(np.uint8)).convert(mode)
            around = picture.getpixel((0, 0))
            assert not inked[0, 0]
            picture.save(tmp_path / "x.png", transparency=around)
            shown = np.where(inked, 255, 0).astype(np.uint8)[None, ::5, ::3]
        if (ink == 0) == invert:
            assert np.array_equal(pictures.read(tmp_path / "x.png", SHAPE, invert=invert), shown)
        else:
            with pytest.raises(FirstspikeError, match=r"is transparent, and on (white|black) hardly"):
                pictures.read(tmp_path / "x.png", SHAPE, invert=invert)


def test_an_opaque_picture_needs_no_ground(tmp_path: Path, digit: np.ndarray, expected: np.ndarray) -> None:
    for dark in (digit, np.zeros_like(digit)):
        opaque = np.dstack([dark, dark, dark, np.full_like(dark, 255)])
        found = bytes_of(Image.fromarray(opaque), tmp_path)
        assert np.array_equal(found, expected if dark is digit else np.zeros(SHAPE))


def test_nothing_but_transparency(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match="is transparent"):
        bytes_of(Image.new("RGBA", (8, 8)), tmp_path)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "mode", "how"),
    [
        ("x.png", "L", {}), ("x.png", "I;16", {}), ("x.png", "LA", {}), ("x.png", "P", {}), ("x.png", "1", {}),
        ("x.tiff", "L", {}), ("x.tiff", "I;16", {}), ("x.tiff", "RGB", {"compression": "tiff_lzw"}),
        ("x.webp", "RGB", {"lossless": True}),
        ("x.jpeg", "RGB", {"quality": 100}),
    ],
)  # fmt: skip
def test_upright(
    tmp_path: Path, digit: np.ndarray, orientation: int, name: str, mode: str, how: dict[str, Any]
) -> None:
    """As a camera leaves it: the pixels lie, and the EXIF says how to turn them."""
    upright = Image.fromarray(digit)
    lying = upright.transpose(TURNS[orientation]) if orientation > 1 else upright
    if mode == "I;16":
        upright, lying = (Image.fromarray(np.asarray(x).astype(np.uint16) * 257) for x in (upright, lying))
    else:
        upright, lying = (x.convert(mode, dither=Image.Dither.NONE) for x in (upright, lying))
    expected = bytes_of(upright, tmp_path, "upright.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = bytes_of(lying, tmp_path, name, exif=exif, **how)
    difference = np.abs(found.astype(int) - expected.astype(int)).max()
    assert difference == 0 if name != "x.jpeg" else difference < 8


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "CMYK", "YCbCr"])
def test_other_colours(tmp_path: Path, digit: np.ndarray, mode: str) -> None:
    white = Image.fromarray(np.where(digit > 99, 255, 0).astype(np.uint8))
    expected = bytes_of(white, tmp_path)
    name = "x.png" if mode in ("1", "P") else "x.tiff"
    assert np.array_equal(bytes_of(white.convert(mode), tmp_path, name), expected)


def test_colours_for_a_network_of_colours(tmp_path: Path, digit: np.ndarray) -> None:
    colours = np.dstack([digit, np.roll(digit, 5, axis=0), np.roll(digit, 10, axis=0)])
    shape = (3, 8, 8)
    expected = bytes_of(Image.fromarray(colours), tmp_path, shape=shape)
    assert np.array_equal(expected, colours[::5, ::3].transpose(2, 0, 1))
    (tmp_path / "x.png").write_bytes(png(colours.astype(np.uint16) * 257))
    assert np.array_equal(pictures.read(tmp_path / "x.png", shape), expected)
    grey = bytes_of(Image.fromarray(digit.astype(np.uint16) * 257), tmp_path, shape=shape)
    assert np.array_equal(grey, np.repeat(digit[None, ::5, ::3], 3, axis=0))


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.tiff", "x.webp"])
def test_several_pictures_in_a_file(tmp_path: Path, digit: np.ndarray, name: str) -> None:
    first, second = (Image.fromarray(x) for x in (digit, digit[::-1].copy()))
    with pytest.raises(FirstspikeError, match=f"{name} holds 2 pictures"):
        bytes_of(first, tmp_path, name, save_all=True, append_images=[second])


def test_a_camera_adds_a_preview(tmp_path: Path, digit: np.ndarray) -> None:
    first, second = (Image.fromarray(x).convert("RGB") for x in (digit, digit[::-1].copy()))
    alone = bytes_of(first, tmp_path, "x.jpeg", quality=95)
    assert np.array_equal(bytes_of(first, tmp_path, "x.mpo", save_all=True, append_images=[second], quality=95), alone)


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_huge_pictures(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "x.png").write_bytes(content + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(FirstspikeError, match=r"x\.png is too large: more than \d+ pixels") as error:
        pictures.read(tmp_path / "x.png", SHAPE)
    assert error.value.hint == "scale it down first"


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", None], ids=["empty", "text", "cut", "folder"])
def test_what_is_no_picture(tmp_path: Path, digit: np.ndarray, content: bytes | None) -> None:
    path = tmp_path / "x.png"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(FirstspikeError, match=r"x\.png is (not a picture|a folder)"):
        pictures.read(path, SHAPE)
    with pytest.raises(FirstspikeError, match=r"none\.png does not exist$"):
        pictures.read(tmp_path / "none.png", SHAPE)


def test_a_picture_that_was_cut(tmp_path: Path, digit: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:3000])
    with pytest.raises(FirstspikeError, match=r"x\.png is not a picture: .*truncated"):
        pictures.read(tmp_path / "x.png", SHAPE)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for, and no object of a library is shown."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FirstspikeError, match=r"pipe\.png is no file$"):
        pictures.read(tmp_path / "pipe.png", SHAPE)
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(FirstspikeError, match=r"text\.png is not a picture of a known format$"):
        pictures.read(tmp_path / "text.png", SHAPE)


def notes_of(picture: Image.Image, folder: Path, border: int | None = 0, invert: bool = False) -> list[str]:
    """What is said of it, without its name."""
    found: list[str] = []
    picture.save(folder / "x.png")
    pictures.read(folder / "x.png", SHAPE, invert=invert, border=border, note=found.append)
    name = f"{folder / 'x.png'} "
    assert all(text.startswith(name) for text in found)
    return [text.removeprefix(name) for text in found]


@pytest.mark.parametrize("name", ["digits", pytest.param("mnist", marks=pytest.mark.mnist)])
def test_nothing_is_doubtful_about_test_images(tmp_path: Path, name: Any) -> None:
    data = load(DataConfig(set=name))
    border = data.border
    assert border == 0
    _, rows, columns = data.image_shape
    for image in data.test_images:
        assert list(pictures.doubts((rows, columns), image[None], invert=False, border=border)) == []
    assert notes_of(Image.fromarray(data.test_images[0]), tmp_path) == []


@pytest.mark.parametrize("white", [0, 5, 15, 40, 63])
def test_a_picture_that_is_far_too_dark(tmp_path: Path, digit: np.ndarray, white: int) -> None:
    dark = (digit.astype(int) * white // int(digit.max())).astype(np.uint8)
    (note,) = notes_of(Image.fromarray(dark), tmp_path)
    assert note.startswith(f"is too dark: its brightest pixel is {white} of 255, so that ")
    if white >= 40:  # darker ones of 16 bits are refused
        (note,) = notes_of(Image.fromarray(dark.astype(np.uint16) * 257), tmp_path)
        assert f" is {white} of 255" in note


@pytest.mark.parametrize("border", [0, 255])
def test_a_picture_on_the_other_ground(tmp_path: Path, digit: np.ndarray, border: int) -> None:
    """Held against the training images, whichever their ground is."""
    same, other = (digit, 255 - digit) if border == 0 else (255 - digit, digit)
    ground = "dark on a light" if border == 0 else "light on a dark"
    here = "light on a dark" if border == 0 else "dark on a light"
    assert notes_of(Image.fromarray(same), tmp_path, border) == []
    assert notes_of(Image.fromarray(other), tmp_path, border, invert=True) == []
    assert notes_of(Image.fromarray(other), tmp_path, None) == []
    assert notes_of(Image.fromarray(other), tmp_path, border) == [
        f"looks {ground} ground, unlike the training images: give --invert?"
    ]
    assert notes_of(Image.fromarray(same), tmp_path, border, invert=True) == [
        f"looks {here} ground, unlike the training images: leave out --invert?"
    ]


@pytest.mark.parametrize(("shape", "doubtful"), [
    ((1, 1), True), ((1, 300), True), ((3, 3), True), ((100, 240), True), ((4, 4), False), ((300, 200), False),
])  # fmt: skip
def test_a_picture_of_another_shape(tmp_path: Path, shape: tuple[int, int], doubtful: bool) -> None:
    notes = notes_of(Image.fromarray(np.full(shape, 100, np.uint8)), tmp_path)
    expected = [f"has {shape[0]} rows and {shape[1]} columns, which become 8 and 8: cut it out, with some room around"]
    assert [note.partition(", in the")[0] for note in notes] == (expected if doubtful else [])


def test_infer_takes_them(tmp_path: Path, digit: np.ndarray, expected: np.ndarray) -> None:
    """Membranes of a picture of 16 bits are those of the one of 8 bits; a refusal writes nothing."""
    kernel = kernels.PowerOfTwo(steps=8)
    weights = np.random.default_rng(1).integers(-9, 9, (3, 64))
    network = dense(
        [weights], [np.zeros(3, np.int64)], weight_bits=6, kernels=[kernel.table()], thresholds=[],
        encoder=kernel.encoder(), steps=8, fire_start=8,
        provenance={"dataset": {"image_shape": [8, 8]}, "experiment": {"name": "x"}, "image_border": 0},
    )  # fmt: skip
    network.save(tmp_path / "network")
    workspace = Workspace.open(tmp_path)
    Image.fromarray(digit.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(digit.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(FirstspikeError, match=r"float\.tiff has pixels of 32 bits"):
        inference.infer(workspace, [tmp_path / "deep.png", tmp_path / "float.tiff"])
    assert not workspace.inference.exists()
    (line,) = inference.infer(workspace, [tmp_path / "deep.png"])
    assert line == f"{tmp_path / 'deep.png'}: class {golden.run(network, expected).classes[0]}"
    odd = tmp_path / "two\nlines.png"
    Image.fromarray(255 - digit).save(odd)
    notes: list[str] = []
    (line,) = inference.infer(workspace, [odd], note=notes.append)
    assert line.startswith(f"{tmp_path}/two\\nlines.png: class ")
    assert ["give --invert?" in note for note in notes] == [True]
