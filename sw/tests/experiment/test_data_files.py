"""Published data sets: folder and download, and the readers on damaged files."""

from __future__ import annotations

import functools
import gc
import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstspike.errors import FirstspikeError
from firstspike.experiment import data, data_files
from firstspike.experiment.config import DataConfig

pytestmark = pytest.mark.smoke


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_mnist() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        name: gzip.compress(idx(rng.integers(0, 10, size=(count, 28, 28) if "images" in name else count, dtype="u1")))
        for name, count in zip(data_files.MNIST.sha256, (20, 20, 7, 7), strict=True)
    }


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("folder", ["", "mnist"], ids=["folder_itself", "sub_folder"])
def test_mnist_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    fill(tmp_path / folder, small_mnist())
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    mnist = data.load(DataConfig(set="mnist"))
    assert mnist.train_images.shape == (20, 28, 28)
    assert mnist.test_labels.shape == (7,)
    assert mnist.train_labels.dtype == np.int64


def test_mnist_folder_without_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match=r"which holds neither train-images-idx3-ubyte\.gz nor") as error:
        data.load(DataConfig(set="mnist"))
    assert "unset FIRSTSPIKE_DATA" in error.value.one_line()


def test_mnist_label_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1, 10, 2, 3, 4, 5], np.uint8)
    fill(tmp_path, small_mnist() | {"t10k-labels-idx1-ubyte.gz": gzip.compress(idx(labels))})
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match=r"test_labels\[2\] is 10, out of range 0\.\.9"):
        data.load(DataConfig(set="mnist"))


def test_mnist_counts_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = gzip.compress(idx(np.zeros(19, np.uint8)))
    fill(tmp_path, small_mnist() | {"train-labels-idx1-ubyte.gz": labels})
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match="train has 20 images and 19 labels"):
        data.load(DataConfig(set="mnist"))


def small_cifar() -> dict[str, bytes]:
    """Three images a file, of random bytes; the labels tell files and images apart."""
    rng = np.random.default_rng(0)
    names = (*data_files.CIFAR10_TRAIN, *data_files.CIFAR10_TEST)
    return {name: b"".join(bytes((i + j,)) + rng.bytes(3 * 32 * 32) for j in range(3)) for i, name in enumerate(names)}


def tar_gz(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    return gzip.compress(tar(members, kind), mtime=0)


def tar(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.type, info.size, info.linkname = kind, len(content), "elsewhere"
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


ARCHIVE = "cifar-10-binary.tar.gz"


def cifar_from(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> data.Dataset:
    fill(folder, {ARCHIVE: content})
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(folder))
    return data.load(DataConfig(set="cifar10"))


@pytest.mark.parametrize("folder", ["", "cifar10"], ids=["folder_itself", "sub_folder"])
def test_cifar_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    files = small_cifar()
    reordered = {"batches.meta.txt": b"airplane\n"} | dict(reversed(files.items()))
    fill(tmp_path / folder, {ARCHIVE: tar_gz(reordered)})
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    cifar = data.load(DataConfig(set="cifar10"))
    assert cifar.train_images.shape == (15, 3, 32, 32)
    assert cifar.test_images.shape == (3, 3, 32, 32)
    assert (cifar.image_shape, cifar.inputs, cifar.classes, cifar.name) == ((3, 32, 32), 3072, 10, "cifar10")
    assert cifar.train_labels.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6]
    assert cifar.test_labels.tolist() == [5, 6, 7]
    image, channel, row, column = 1, 2, 7, 30
    record = files["data_batch_4.bin"][image * 3073 :]
    assert cifar.train_images[9 + image, channel, row, column] == record[1 + channel * 1024 + row * 32 + column]
    assert cifar.test_images.tobytes() == b"".join(files["test_batch.bin"][i + 1 : i + 3073] for i in (0, 3073, 6146))
    assert [path.name for path in (tmp_path / folder).iterdir()] == [ARCHIVE], "nothing is extracted"


def test_cifar_folder_without_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"cifar-10-python.tar.gz": tar_gz(small_cifar())})
    monkeypatch.setenv(data_files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FirstspikeError, match=r"holds neither cifar-10-binary\.tar\.gz nor cifar10/cifar") as error:
        data.load(DataConfig(set="cifar10"))
    assert "put CIFAR-10's binary archive cifar-10-binary.tar.gz there, or unset" in error.value.one_line()


def other(name: str, content: bytes) -> dict[str, bytes]:
    return small_cifar() | {name: content}


CIFAR_TAR = tar(small_cifar())
CIFAR_GZ = gzip.compress(CIFAR_TAR, mtime=0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "empty file", id="empty"),
        pytest.param(b"<html>not found</html>", "Not a gzipped file", id="no_gzip"),
        pytest.param(CIFAR_GZ[:-3000], "ended before", id="truncated"),
        pytest.param(CIFAR_GZ[:-4], "ended before", id="length_cut"),
        pytest.param(CIFAR_GZ[:-8] + bytes(4) + CIFAR_GZ[-4:], "CRC check failed", id="checksum"),
        pytest.param(CIFAR_GZ[:9000] + b"\xff" * 8 + CIFAR_GZ[9008:], "", id="corrupt"),
        pytest.param(gzip.compress(CIFAR_TAR[:30_000]), "unexpected end of data", id="tar_truncated"),
        pytest.param(gzip.compress(b"no tar " * 200), "invalid header", id="no_tar"),
        pytest.param(
            tar_gz({"train.bin": b"", "test.bin": b"", "fine_label_names.txt": b""}),
            "it has no file data_batch_1.bin", id="cifar_100",
        ),
        pytest.param(
            tar_gz({name.removesuffix(".bin"): x for name, x in small_cifar().items()}),
            "it has no file data_batch_1.bin", id="python_version",
        ),
        pytest.param(
            tar_gz({name: x for name, x in small_cifar().items() if name != "data_batch_3.bin"}),
            "it has no file data_batch_3.bin", id="missing",
        ),
        pytest.param(tar_gz(dict.fromkeys(small_cifar(), b""), tarfile.SYMTYPE), "no file data_batch_1", id="links"),
        pytest.param(
            tar_gz(other("test_batch.bin", bytes(3073 * 2 - 1))),
            "test_batch.bin has 6145 bytes, which are no records of 3073", id="record_cut",
        ),
        pytest.param(tar_gz(other("data_batch_2.bin", b"")), "data_batch_2.bin has 0 bytes", id="no_records"),
    ],
)  # fmt: skip
def test_cifar_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, problem: str) -> None:
    with pytest.raises(FirstspikeError, match="is damaged") as error:
        cifar_from(tmp_path, content, monkeypatch)
    assert str(tmp_path / ARCHIVE) in str(error.value)
    assert problem in str(error.value)
    assert "replace it by a good copy" in error.value.one_line()
    assert "\n" not in error.value.one_line()


def test_cifar_label_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FirstspikeError, match=r"data set cifar10: test_labels\[1\] is 10, out of range 0\.\.9"):
        cifar_from(tmp_path, tar_gz(other("test_batch.bin", bytes(3073) + b"\x0a" + bytes(3072))), monkeypatch)


GOOD = gzip.compress(idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)))


def test_idx_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(GOOD)
    assert np.array_equal(data_files.read_idx(tmp_path / "x.gz", dimensions=3).ravel(), np.arange(60))


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
        data_files.read_idx(path, dimensions=3)
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
        for name in ("MNIST", "CIFAR10"):
            published = replace(getattr(data_files, name), sites=(here + "gone/", here))
            monkeypatch.setattr(data_files, name, published)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv(data_files.FOLDER_VARIABLE, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield folder
        server.shutdown()
        thread.join()
    gc.collect()  # here, not in some later test


def publish(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    sha256 = {file: hashlib.sha256(x).hexdigest() for file, x in files.items()}
    monkeypatch.setattr(data_files, name, replace(getattr(data_files, name), sha256=sha256))


# requests leaves the connection of a refused download to the garbage collector.
refused = pytest.mark.filterwarnings("ignore:.*socket.*:pytest.PytestUnraisableExceptionWarning")


@refused
def test_download(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small_mnist()
    publish(monkeypatch, "MNIST", files)
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


@refused
def test_cifar_download(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {ARCHIVE: tar_gz(small_cifar())}
    fill(mirror, files)
    with pytest.raises(FirstspikeError, match=r"cannot download cifar-10-binary\.tar\.gz \(ValueError\)") as error:
        data.load(DataConfig(set="cifar10"))
    assert "a folder that holds CIFAR-10's binary archive" in error.value.one_line()
    publish(monkeypatch, "CIFAR10", files)
    assert data.load(DataConfig(set="cifar10")).train_images.shape == (15, 3, 32, 32)
