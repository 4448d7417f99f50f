"""Data sets: images of bytes and their classes, split into training and test, held in memory."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firstspike.config import DataConfig
from firstspike.errors import FirstspikeError

FOLDER_VARIABLE = "FIRSTSPIKE_DATA"
DIGITS_TEST_IMAGES = 360

#: SHA-256 of the archives as published; the mirrors hold these very bytes.
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
#: Tried in order; the original site refuses most downloads.
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


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

    Raises
    ------
    FirstspikeError
        if an array has another type, the parts do not fit, or a label is out of range.

    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    name: str
    classes: int

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim < 2:
                raise self._wrong(f"{part}_images has type {images.dtype} and shape {images.shape}, not uint8 (N, ...)")
            if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
                raise self._wrong(f"{part}_labels has type {labels.dtype} and shape {labels.shape}, not integers (N,)")
            if not len(images) == len(labels) > 0:
                raise self._wrong(f"{part} has {len(images)} images and {len(labels)} labels")
            if images.shape[1:] != self.train_images.shape[1:] or not math.prod(images.shape[1:]):
                raise self._wrong(f"{part}_images are of shape {images.shape[1:]}, not {self.train_images.shape[1:]}")
            outside = np.flatnonzero((labels < 0) | (labels >= self.classes))
            if len(outside):
                raise self._wrong(
                    f"{part}_labels[{outside[0]}] is {labels[outside[0]]}, out of range 0..{self.classes - 1}"
                )
            object.__setattr__(self, f"{part}_labels", labels.astype(np.int64))
        if self.classes < 2:
            raise self._wrong("there is only one class")

    def _wrong(self, problem: str) -> FirstspikeError:
        return FirstspikeError(f"data set {self.name}: {problem}", "mend the arrays")

    @property
    def inputs(self) -> int:
        """Pixels of an image."""
        return math.prod(self.train_images.shape[1:])

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
        return _npz(config.path)
    return _mnist() if config.set == "mnist" else _digits()


def _digits() -> Dataset:
    """Scikit-learn's 8x8 digits, 0..16 scaled to 0..255; 360 of 1797 are held out, each class in proportion."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=DIGITS_TEST_IMAGES, random_state=0, stratify=labels
    )
    return Dataset(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        name="digits",
        classes=10,
    )


def _mnist() -> Dataset:
    paths = [_mnist_file(name) for name in MNIST_SHA256]
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, dimensions=3 if "images" in path.name else 1) for path in paths
    )
    return Dataset(
        train_images=train_images,
        train_labels=train_labels.astype(np.int64),
        test_images=test_images,
        test_labels=test_labels.astype(np.int64),
        name="mnist",
        classes=10,
    )


def _mnist_file(name: str) -> Path:
    """The file in the user's folder, or else in the download cache."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return _download(name)
    for path in (Path(folder) / name, Path(folder) / "mnist" / name):
        if path.is_file():
            return path
    raise FirstspikeError(
        f"{FOLDER_VARIABLE} is {folder}, which holds neither {name} nor mnist/{name}",
        f"put MNIST's four IDX files there, or unset {FOLDER_VARIABLE} to download them",
    )


def _download(name: str) -> Path:
    from pooch.core import retrieve
    from pooch.utils import get_logger, os_cache

    get_logger().setLevel("WARNING")  # its notes name every mirror that it tries
    problem: Exception | None = None
    for mirror in MNIST_MIRRORS:
        try:
            return Path(
                retrieve(
                    mirror + name,
                    known_hash=f"sha256:{MNIST_SHA256[name]}",
                    fname=name,
                    path=os_cache("firstspike") / "mnist",
                    progressbar=sys.stderr.isatty(),
                )
            )
        # Whatever a transport raises (requests, ssl, OSError, a wrong checksum as ValueError): try the next mirror.
        except Exception as error:
            problem = error
    raise FirstspikeError(
        f"cannot download {name} ({type(problem).__name__})",
        f"set {FOLDER_VARIABLE} to a folder that holds MNIST's four IDX files (gzip)",
    ) from problem


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Bytes of a gzip-compressed IDX file: magic 0, 0, 8 (unsigned bytes), D; D sizes, big-endian; the data.

    Raises
    ------
    FirstspikeError
        if the file is no gzip, is cut short, or its magic, number of dimensions or length is wrong.

    """

    def wrong(problem: object) -> FirstspikeError:
        return FirstspikeError(f"{path} is damaged: {problem}", "replace it by a good copy")

    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise wrong(error) from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise wrong(f"{len(content)} bytes are no IDX header of {dimensions} dimensions")
    if content[:4] != bytes((0, 0, 8, dimensions)):
        raise wrong(f"it starts with {content[:4].hex(' ')}, not {bytes((0, 0, 8, dimensions)).hex(' ')}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise wrong(f"{len(content) - header} bytes of data, not the {math.prod(shape)} of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _npz(path: Path) -> Dataset:
    """One's own arrays: train_images, train_labels, test_images, test_labels."""
    names = ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise FirstspikeError(f"{path} has no array {missing[0]!r}", f"it needs {', '.join(names)}")
            arrays = {name: file[name] for name in names}
    except FirstspikeError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds on damaged archives
        raise FirstspikeError(
            f"cannot read {path}: {error}", "write it with numpy.savez_compressed, arrays of integers"
        ) from error
    largest = arrays["train_labels"].max(initial=0) if arrays["train_labels"].dtype.kind in "iu" else 0
    return Dataset(name=path.stem, classes=int(largest) + 1, **arrays)
