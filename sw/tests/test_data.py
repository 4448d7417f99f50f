"""Data sets: the split, the IDX reader on damaged files, and the download."""

from __future__ import annotations

import functools
import gc
import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firstspike import data
from firstspike.config import DataConfig
from firstspike.errors import FirstspikeError

pytestmark = pytest.mark.smoke


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_mnist() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        name: gzip.compress(idx(rng.integers(0, 10, size=(count, 28, 28) if "images" in name else count, dtype="u1")))
        for name, count in zip(data.MNIST_SHA256, (20, 20, 7, 7), strict=True)
    }


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_digits() -> None:
    digits = data.load(DataConfig())
    assert digits.train_images.shape == (1437, 8, 8)
    assert digits.test_images.shape == (360, 8, 8)
    assert (digits.inputs, digits.classes, digits.name) == (64, 10, "digits")
    assert set(np.unique(digits.train_images)) == {int(np.floor(x * 255 / 16 + 0.5)) for x in range(17)}
    assert np.bincount(digits.test_labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert data.load(DataConfig()).digest == digits.digest


@pytest.mark.parametrize("folder", ["", "mnist"], ids=["folder_itself", "sub_folder"])
def test_mnist_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    fill(tmp_path / folder, small_mnist())
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    mnist = data.load(DataConfig(set="mnist"))
    assert mnist.train_images.shape == (20, 28, 28)
    assert mnist.test_labels.shape == (7,)
    assert mnist.train_labels.dtype == np.int64


def test_mnist_folder_without_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match=r"which holds neither train-images-idx3-ubyte\.gz nor") as error:
        data.load(DataConfig(set="mnist"))
    assert "unset FIRSTSPIKE_DATA" in error.value.one_line()


def test_mnist_label_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1, 10, 2, 3, 4, 5], np.uint8)
    fill(tmp_path, small_mnist() | {"t10k-labels-idx1-ubyte.gz": gzip.compress(idx(labels))})
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match=r"test_labels\[2\] is 10, out of range 0\.\.9"):
        data.load(DataConfig(set="mnist"))


def test_mnist_counts_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = gzip.compress(idx(np.zeros(19, np.uint8)))
    fill(tmp_path, small_mnist() | {"train-labels-idx1-ubyte.gz": labels})
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match="train has 20 images and 19 labels"):
        data.load(DataConfig(set="mnist"))


GOOD = gzip.compress(idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)))


def test_idx_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(GOOD)
    assert np.array_equal(data.read_idx(tmp_path / "x.gz", dimensions=3).ravel(), np.arange(60))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "0 bytes are no IDX header", id="empty"),
        pytest.param(b"<html>not found</html>", "Not a gzipped file", id="no_gzip"),
        pytest.param(GOOD[:-20], "ended before", id="truncated"),
        pytest.param(GOOD[:30] + bytes((GOOD[30] ^ 0xFF,)) + GOOD[31:], "", id="corrupt"),
        pytest.param(gzip.compress(bytes((0, 0, 8, 3, 0))), "5 bytes are no IDX header", id="header_cut"),
        pytest.param(
            gzip.compress(idx(np.zeros((3, 4, 5), np.uint8), kind=9)), "it starts with 00 00 09 03", id="type"
        ),
        pytest.param(gzip.compress(idx(np.zeros(60, np.uint8))), "it starts with 00 00 08 01", id="dimensions"),
        pytest.param(gzip.compress(gzip.decompress(GOOD)[:-1]), "59 bytes of data, not the 60", id="short"),
        pytest.param(gzip.compress(gzip.decompress(GOOD) + b"x"), "61 bytes of data, not the 60", id="long"),
    ],
)
def test_idx_damaged(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(FirstspikeError, match="is damaged") as error:
        data.read_idx(path, dimensions=3)
    assert str(path) in str(error.value)
    assert problem in str(error.value)
    assert "\n" not in error.value.one_line()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served on this machine in place of the mirrors, the first of which does not answer."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(data, "MNIST_MIRRORS", (here + "gone/", here))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv(data.FOLDER_VARIABLE, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield folder
        server.shutdown()
        thread.join()
    gc.collect()  # here, not in some later test


# requests leaves the connection of a refused download to the garbage collector.
refused = pytest.mark.filterwarnings("ignore:.*socket.*:pytest.PytestUnraisableExceptionWarning")


@refused
def test_download(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small_mnist()
    monkeypatch.setattr(data, "MNIST_SHA256", {name: hashlib.sha256(x).hexdigest() for name, x in files.items()})
    fill(mirror, files)
    assert data.load(DataConfig(set="mnist")).train_images.shape == (20, 28, 28)
    for path in mirror.iterdir():
        path.unlink()
    assert data.load(DataConfig(set="mnist")).test_images.shape == (7, 28, 28), "the second time from the cache"


@refused
@pytest.mark.parametrize("files", [{}, small_mnist()], ids=["not_found", "wrong_checksum"])
def test_download_fails(mirror: Path, tmp_path: Path, files: dict[str, bytes]) -> None:
    fill(mirror, files)
    with pytest.raises(FirstspikeError, match=r"cannot download train-images-idx3-ubyte\.gz") as error:
        data.load(DataConfig(set="mnist"))
    assert "set FIRSTSPIKE_DATA" in error.value.one_line()
    assert "\n" not in error.value.one_line()
    assert not list((tmp_path / "cache").rglob("*.gz"))


def arrays() -> dict[str, np.ndarray]:
    return {
        "train_images": np.zeros((6, 3, 5), np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": np.zeros((2, 3, 5), np.uint8),
        "test_labels": np.array([2, 0], np.uint8),
    }


def test_own_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "mine.npz", **arrays())
    mine = data.load(DataConfig(set="npz", path=tmp_path / "mine.npz"))
    assert (mine.name, mine.inputs, mine.classes) == ("mine", 15, 3)
    assert mine.test_labels.dtype == np.int64


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"test_labels": np.array([2, 3])}, r"test_labels\[1\] is 3, out of range 0\.\.2", id="unseen"),
        pytest.param({"train_labels": np.array([0, 1, -1, 0, 1, 2])}, r"train_labels\[2\] is -1, out", id="negative"),
        pytest.param({"train_labels": np.zeros(6)}, "train_labels has type float64", id="float_labels"),
        pytest.param({"train_labels": np.zeros((6, 1), int)}, r"and shape \(6, 1\), not integers", id="label_shape"),
        pytest.param({"train_images": np.zeros((6, 3, 5))}, "train_images has type float64", id="float_images"),
        pytest.param({"test_images": np.zeros((2, 4, 5), np.uint8)}, r"\(4, 5\), not \(3, 5\)", id="other_shape"),
        pytest.param({"test_images": np.zeros((1, 3, 5), np.uint8)}, "test has 1 images and 2 labels", id="count"),
        pytest.param({"train_labels": np.zeros(6, int), "test_labels": np.zeros(2, int)}, "only one class", id="one"),
        pytest.param({"test_labels": None}, "has no array 'test_labels'", id="missing"),
        pytest.param({"test_labels": np.array([{}, {}])}, "cannot read", id="objects"),
    ],
)
def test_own_arrays_wrong(tmp_path: Path, change: dict[str, np.ndarray | None], problem: str) -> None:
    contents = {name: x for name, x in (arrays() | change).items() if x is not None}
    np.savez_compressed(tmp_path / "mine.npz", **contents)
    with pytest.raises(FirstspikeError, match=problem) as error:
        data.load(DataConfig(set="npz", path=tmp_path / "mine.npz"))
    assert "\n" not in error.value.one_line()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut"], ids=["missing", "empty", "truncated"])
def test_own_file_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FirstspikeError, match=r"cannot read .*mine\.npz"):
        data.load(DataConfig(set="npz", path=path))
