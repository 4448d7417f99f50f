"""Data sets: images of bytes and their classes, split into training and test, held in memory."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.experiment import arrays, data_files
from firstspike.experiment.config import DataConfig
from firstspike.experiment.data_files import Parts

DIGITS_TEST_IMAGES = 360
WRITE_NPZ = "write it with numpy.savez_compressed, arrays of integers"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images and classes.

    Parameters
    ----------
    train_images, test_images
        uint8, shape (N, ...): pixels 0..255.
    train_labels, test_labels
        int64, shape (N,): classes 0 .. ``classes`` - 1.
    name
        For reports.
    classes
        How many there are.
    events
        Images are counts of events, a frame for each time step: shape (N, T, ...).

    Raises
    ------
    FirstspikeError
        if an array has another type, images have their channels last, the parts do not fit, or a label is out of
        range.

    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    name: str
    classes: int
    events: bool = False

    def __post_init__(self) -> None:
        try:
            self._check()
        except FirstspikeError as error:
            raise FirstspikeError(f"data set {self.name}: {error}", error.hint) from error
        for name in ("train_labels", "test_labels"):
            object.__setattr__(self, name, getattr(self, name).astype(np.int64))

    def _check(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            (arrays.check_events if self.events else arrays.check_images)(f"{part}_images", images)
            arrays.check_labels(f"{part}_labels", labels)
            if not len(images):
                raise FirstspikeError(f"{part}_images holds no images", f"save at least one {part} image")
            if len(images) != len(labels):
                raise FirstspikeError(
                    f"{part} has {len(images)} images and {len(labels)} labels", "save a label for each image"
                )
            if not math.prod(images.shape[1:]):
                raise FirstspikeError(
                    f"{part}_images has shape {images.shape}: its images have no pixels",
                    f"save images of shape (N, {'steps, ' if self.events else ''}rows, columns)",
                )
            if images.shape[1:] != self.train_images.shape[1:]:
                raise FirstspikeError(
                    f"{part}_images are of shape {images.shape[1:]}, not {self.train_images.shape[1:]}",
                    "save training and test images of one size",
                )
            outside = np.flatnonzero(labels >= self.classes)
            if len(outside):
                raise FirstspikeError(
                    f"{part}_labels[{outside[0]}] is {labels[outside[0]]}, out of range 0..{self.classes - 1}",
                    "mend the label, or save training images of its class",
                )
        if self.classes < 2:
            raise FirstspikeError("there is only one class", "save images of two classes or more")

    @property
    def inputs(self) -> int:
        """Pixels of an image."""
        return math.prod(self._frame)

    @property
    def steps(self) -> int | None:
        """Frames of an image of events; None for pixels."""
        return self.train_images.shape[1] if self.events else None

    @property
    def repeat(self) -> int:
        """The most events of a pixel in a step; 0 for pixels."""
        return max(1, *(int(x.max()) for x in (self.train_images, self.test_images))) if self.events else 0

    @property
    def _frame(self) -> tuple[int, ...]:
        """Shape of an image, of events in one step."""
        return self.train_images.shape[2 if self.events else 1 :]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, rows, and columns of an image; images (N, rows, columns) have one channel.

        Raises
        ------
        FirstspikeError
            if the images have neither three nor four axes.

        """
        shape, then = self._frame, "steps, " if self.events else ""
        if len(shape) not in (2, 3):
            raise FirstspikeError(
                f"data set {self.name}: an image of shape {shape} has no rows and columns, or too many axes",
                f"save images as (N, {then}rows, columns) or (N, {then}channels, rows, columns)",
            )
        channels = shape[0] if len(shape) == 3 else 1
        return channels, shape[-2], shape[-1]

    @property
    def doubts(self) -> list[str]:
        """What is probably not meant, though it can be trained; a sentence each."""
        found = []
        missing = arrays.missing_classes(self.train_labels, self.classes)
        if missing:
            found.append(
                f"data set {self.name} has no training image of class {missing}, but the network has an output for "
                f"each of {self.classes} classes"
            )
        for part in ("train", "test"):
            images = getattr(self, f"{part}_images")
            if self.events and not images.any():
                found.append(f"data set {self.name}: {part}_images hold no event")
            if not self.events and (dim := arrays.dim(images)):
                found.append(
                    f"data set {self.name}: the brightest pixel of {part}_images {dim}: scale the images to 0..255"
                )
        return found

    @property
    def border(self) -> int | None:
        """How bright the training images are around what they show; None for images without rows and columns."""
        pictures = len(self._frame) in (2, 3) and not self.events
        return arrays.border(self.train_images) if pictures else None

    @property
    def summary(self) -> dict[str, Any]:
        """JSON values that tell the set from others, for what is made of it."""
        return {
            "name": self.name,
            "sha256": self.digest,
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "image_shape": list(self.train_images.shape[1:]),
            **({"events": True} if self.events else {}),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all images and labels."""
        sha = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()


def load(config: DataConfig) -> Dataset:
    """The data set that ``[data]`` asks for.

    Raises
    ------
    FirstspikeError
        if a file is missing, damaged, or of the wrong content.

    """
    if config.set == "npz" and config.path is not None:
        return _npz(config.path, events=config.events)
    parts = {"digits": _digits, "mnist": data_files.mnist, "cifar10": data_files.cifar10}[config.set]
    train_images, train_labels, test_images, test_labels = parts()
    return Dataset(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        name=config.set,
        classes=10,
    )


def _digits() -> Parts:
    """Scikit-learn's 8x8 digits, 0..16 scaled to 0..255; 360 of 1797 are held out, each class in proportion."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=DIGITS_TEST_IMAGES, random_state=0, stratify=labels
    )
    return train_images, train_labels, test_images, test_labels


def _npz(path: Path, *, events: bool = False) -> Dataset:
    """One's own arrays: train_images, train_labels, test_images, test_labels."""
    names = ("train_images", "train_labels", "test_images", "test_labels")
    if not path.is_file():
        problem = "is no file" if path.exists() else "does not exist"
        raise FirstspikeError(f"[data] path: {path} {problem}", "give an npz file, relative to the experiment's file")
    found = {}
    try:
        if not zipfile.is_zipfile(path):
            raise FirstspikeError(f"[data] path: {path} is not an npz file, or a part of one", WRITE_NPZ)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise FirstspikeError(
                    f"[data] path: {path} has no array {missing[0]!r}", f"it needs {', '.join(names)}"
                )
            for name in names:
                found[name] = _array(path, name, file)
    except FirstspikeError:
        raise
    except OSError as error:
        raise FirstspikeError(f"[data] path: cannot read {path}: {error.strerror or error}", WRITE_NPZ) from error
    except Exception as error:  # numpy and zipfile raise many kinds on damaged archives
        raise FirstspikeError(f"[data] path: cannot read {path}: {error}", WRITE_NPZ) from error
    try:
        classes = arrays.count_classes("train_labels", found["train_labels"])
    except FirstspikeError as error:
        raise FirstspikeError(f"data set {path.stem}: {error}", error.hint) from error
    return Dataset(name=path.stem, classes=classes, events=events, **found)


def _array(path: Path, name: str, file: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise FirstspikeError(
            f"[data] path: {path}: {name} holds Python objects, not numbers",
            "make all its images of one size, or its labels integers: an array of numbers",
        ) from error
