"""Published archives of images: found in the user's folder or downloaded once, checked, and read."""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError

FOLDER_VARIABLE = "FIRSTSPIKE_DATA"

#: Training images and labels, test images and labels.
Parts = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Archives:
    """The files of a published data set, and where they come from.

    Parameters
    ----------
    folder
        Sub-folder of the user's folder, and of the download cache.
    files
        In words, for messages.
    sha256
        Of each file as published, by name. Files in the user's own folder are not held against it: a packed copy may
        differ from the published one in its headers alone, and the readers check the contents.
    sites
        Addresses that end in ``/``, tried in order.

    """

    folder: str
    files: str
    sha256: Mapping[str, str]
    sites: tuple[str, ...]

    def paths(self) -> list[Path]:
        """Each file in the folder that ``FIRSTSPIKE_DATA`` names, or else in the download cache.

        Raises
        ------
        FirstspikeError
            if the folder lacks a file, or a download fails.

        """
        return [self._path(name) for name in self.sha256]

    def _path(self, name: str) -> Path:
        given = os.environ.get(FOLDER_VARIABLE)
        if not given:
            return self._download(name)
        for path in (Path(given) / name, Path(given) / self.folder / name):
            if path.is_file():
                return path
        raise FirstspikeError(
            f"{FOLDER_VARIABLE} is {given}, which holds neither {name} nor {self.folder}/{name}",
            f"put {self.files} there, or unset {FOLDER_VARIABLE} for a download",
        )

    def _download(self, name: str) -> Path:
        from pooch.core import retrieve
        from pooch.utils import get_logger, os_cache

        get_logger().setLevel("WARNING")  # its notes name every site that it tries
        problem: Exception | None = None
        for site in self.sites:
            try:
                return Path(
                    retrieve(
                        site + name,
                        known_hash=f"sha256:{self.sha256[name]}",
                        fname=name,
                        path=os_cache("firstspike") / self.folder,
                        progressbar=sys.stderr.isatty(),
                    )
                )
            # Whatever a transport raises (requests, ssl, OSError, a wrong checksum as ValueError): try the next site.
            except Exception as error:
                problem = error
        raise FirstspikeError(
            f"cannot download {name} ({type(problem).__name__})",
            f"set {FOLDER_VARIABLE} to a folder that holds {self.files}",
        ) from problem


MNIST = Archives(
    folder="mnist",
    files="MNIST's four IDX files (gzip)",
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    # Mirrors that hold the very bytes; the original site refuses most downloads.
    sites=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

CIFAR10 = Archives(
    folder="cifar10",
    files="CIFAR-10's binary archive cifar-10-binary.tar.gz",
    # Of the archive with the MD5 that its page names, c32a1d4ab5d03f1284b67883e8d87530.
    sha256={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    sites=("https://www.cs.toronto.edu/~kriz/",),
)
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_IMAGE = (3, 32, 32)


def mnist() -> Parts:
    """MNIST; images of shape (N, 28, 28).

    Raises
    ------
    FirstspikeError
        if a file is missing or damaged.

    """
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, dimensions=3 if "images" in path.name else 1) for path in MNIST.paths()
    )
    return train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)


def cifar10() -> Parts:
    """CIFAR-10; images of shape (N, 3, 32, 32): red, green, blue.

    Raises
    ------
    FirstspikeError
        if the archive is missing or damaged.

    """
    (path,) = CIFAR10.paths()
    members = read_members(path, (*CIFAR10_TRAIN, *CIFAR10_TEST))
    size = 1 + math.prod(CIFAR10_IMAGE)
    for name, content in members.items():
        if not content or len(content) % size:
            raise _damaged(path, f"{name} has {len(content)} bytes, which are no records of {size}")

    def part(names: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        records = [np.frombuffer(members[name], np.uint8).reshape(-1, size) for name in names]
        images = np.concatenate([x[:, 1:] for x in records]).reshape(-1, *CIFAR10_IMAGE)
        return images, np.concatenate([x[:, 0] for x in records]).astype(np.int64)

    return *part(CIFAR10_TRAIN), *part(CIFAR10_TEST)


def _damaged(path: Path, problem: object) -> FirstspikeError:
    return FirstspikeError(f"{path} is damaged: {problem}", "replace it by a good copy")


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Bytes of a gzip-compressed IDX file: magic 0, 0, 8 (unsigned bytes), D; D sizes, big-endian; the data.

    Raises
    ------
    FirstspikeError
        if the file is no gzip, is cut short, or its magic, number of dimensions or length is wrong.

    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise _damaged(path, f"{len(content)} bytes are no IDX header of {dimensions} dimensions")
    if content[:4] != bytes((0, 0, 8, dimensions)):
        raise _damaged(path, f"it starts with {content[:4].hex(' ')}, not {bytes((0, 0, 8, dimensions)).hex(' ')}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise _damaged(path, f"{len(content) - header} bytes of data, not the {math.prod(shape)} of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of the files ``names``, in whatever folder of a gzip-compressed tar archive; nothing is extracted.

    Raises
    ------
    FirstspikeError
        if the archive is no gzip or tar, is cut short, fails its checksum, or lacks one of the files.

    """
    found: dict[str, bytes] = {}
    try:
        # A stream, since going back would decompress twice; gzip's own reader, since tarfile's skips the checksum.
        with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if member.isfile() and name in names else None
                if content is not None:
                    found[name] = content.read()
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise _damaged(path, error) from error
    for name in names:
        if name not in found:
            raise _damaged(path, f"it has no file {name}")
    return found
