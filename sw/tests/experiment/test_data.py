"""Data sets: what a set must be, the digits, one's own arrays, CIFAR-10 as published."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from firstspike.errors import FirstspikeError
from firstspike.experiment import data
from firstspike.experiment.config import DataConfig


@pytest.mark.smoke
def test_digits() -> None:
    digits = data.load(DataConfig())
    assert digits.train_images.shape == (1437, 8, 8)
    assert digits.test_images.shape == (360, 8, 8)
    assert (digits.inputs, digits.classes, digits.name) == (64, 10, "digits")
    assert set(np.unique(digits.train_images)) == {int(np.floor(x * 255 / 16 + 0.5)) for x in range(17)}
    assert np.bincount(digits.test_labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert data.load(DataConfig()).digest == digits.digest


def arrays() -> dict[str, np.ndarray]:
    return {
        "train_images": np.zeros((6, 3, 5), np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": np.zeros((2, 3, 5), np.uint8),
        "test_labels": np.array([2, 0], np.uint8),
    }


@pytest.mark.smoke
def test_own_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "mine.npz", **arrays())
    mine = data.load(DataConfig(set="npz", path=tmp_path / "mine.npz"))
    assert (mine.name, mine.inputs, mine.classes) == ("mine", 15, 3)
    assert mine.test_labels.dtype == np.int64


@pytest.mark.smoke
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


@pytest.mark.smoke
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut"], ids=["missing", "empty", "truncated"])
def test_own_file_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FirstspikeError, match=r"cannot read .*mine\.npz"):
        data.load(DataConfig(set="npz", path=path))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 5), (1, 3, 5)), ((2, 3, 5), (2, 3, 5))], ids=["one_channel", "channels"]
)
def test_image_shape(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert of_shape(shape).image_shape == expected


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(15,), (1, 1, 3, 5)], ids=["flat", "too_many"])
def test_no_image_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(f"data set x: an image of shape {shape} has")) as error:
        _ = of_shape(shape).image_shape
    assert "(N, channels, rows, columns)" in error.value.one_line()


def of_shape(shape: tuple[int, ...]) -> data.Dataset:
    images, labels = np.zeros((2, *shape), np.uint8), np.array([0, 1])
    return data.Dataset(
        train_images=images, train_labels=labels, test_images=images, test_labels=labels, name="x", classes=2
    )


@pytest.mark.cifar10
def test_cifar_as_published() -> None:
    """Sums of each channel: the training images' mean is the widely quoted 0.4914, 0.4822, 0.4465."""
    cifar = data.load(DataConfig(set="cifar10"))
    assert cifar.train_images.shape == (50_000, 3, 32, 32)
    assert cifar.test_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(cifar.train_labels).tolist() == [5_000] * 10
    assert np.bincount(cifar.test_labels).tolist() == [1_000] * 10
    train = cifar.train_images.sum((0, 2, 3), dtype=np.int64)
    assert train.tolist() == [6_415_714_204, 6_295_060_180, 5_829_907_619]
    assert cifar.test_images.sum((0, 2, 3), dtype=np.int64).tolist() == [1_290_492_328, 1_266_775_083, 1_176_108_223]
    assert np.round(train / (50_000 * 32 * 32 * 255), 4).tolist() == [0.4914, 0.4822, 0.4465]
    assert cifar.digest == "9048fcbac9c08a64d57a7c5a5a66750a974ad4eab380914df129f7e223d823df"
