"""Data sets: what a set must be, the digits, one's own arrays, CIFAR-10 as published."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firstspike.errors import FirstspikeError
from firstspike.experiment import data, outline
from firstspike.experiment.config import DataConfig, Experiment, NetworkConfig
from firstspike.experiment.dynamics import DynamicsConfig
from firstspike.experiment.outline import populations


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
        "train_images": np.full((6, 3, 5), 200, np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": np.full((2, 3, 5), 200, np.uint8),
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
        pytest.param({"test_labels": np.array([{}, {}])}, "mine.npz: test_labels holds Python objects", id="objects"),
        pytest.param(
            {"test_images": np.zeros((0, 3, 5), np.uint8), "test_labels": np.zeros(0, int)},
            "test_images holds no images",
            id="no_images",
        ),
        pytest.param(
            {"train_images": np.zeros((6, 0, 5), np.uint8)},
            r"train_images has shape \(6, 0, 5\): its images "
            "have no pixels",
            id="no_pixels",
        ),
        pytest.param(
            {"test_images": np.zeros((2, 0), np.uint8)},
            r"test_images has shape \(2, 0\): .* no pixels",
            id="no_pixels_to_test",
        ),
    ],
)
def test_own_arrays_wrong(tmp_path: Path, change: dict[str, np.ndarray | None], problem: str) -> None:
    contents = {name: x for name, x in (arrays() | change).items() if x is not None}
    np.savez_compressed(tmp_path / "mine.npz", **contents)
    with pytest.raises(FirstspikeError, match=problem) as error:
        data.load(DataConfig(set="npz", path=tmp_path / "mine.npz"))
    assert "\n" not in error.value.one_line()
    assert "pickle" not in error.value.one_line()


def saved(folder: Path, **change: np.ndarray) -> DataConfig:
    np.savez(folder / "mine.npz", **(arrays() | change))
    return DataConfig(set="npz", path=folder / "mine.npz")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("labels", "message", "hint"),
    [
        (np.array([1, 2, 3, 1, 2, 3]), "train_labels holds 1..3, and train_labels[0] is 1,", "train_labels - 1"),
        (np.array([5, 9, 5, 9, 7, 5]), "train_labels holds 5..9, and train_labels[0] is 5", "np.unique"),
        (np.array([0, 1, 2, 10**9, 1, 2]), "train_labels[3] is 1000000000, but 999999997 of the", "mend"),
        (np.array([0, 1, 2**64 - 1, 0, 1, 2], np.uint64), "train_labels[2] is 18446744073709551615, but", "np.unique"),
        (np.array([0, 1, 2, 9, 1, 2]), "train_labels[3] is 9, but 6 of the classes 0..9", "mend"),
        (np.array([-1, 1, -1, 1, 1, 1]), "train_labels[0] is -1, out of range: classes count from 0", "np.unique"),
        (np.array([-5, -4, -5, -4, -4, -4]), "train_labels[0] is -5, out of range: classes count from 0", "np.unique"),
        (np.array([0, 1, 2, 0.0, 1, 2]), "train_labels[0] is 0.0", "train_labels.astype(np.int64)"),
        (np.array([0, 1, 2, 0.5, 1, 2]), "train_labels[3] is 0.5", "one integer an image"),
        (np.array([0, 1, np.nan, 0, 1, 2]), "train_labels[2] is nan", "one integer an image"),
        (np.array([True, False] * 3), "train_labels[0] is True", "train_labels.astype(np.int64)"),
        (np.array(["cat", "dog"] * 3), "train_labels[0] is 'cat'", "np.unique"),
        (np.eye(6), "train_labels[0] is [1. 0. 0. 0. 0. 0.]", "train_labels.argmax(axis=1)"),
        (np.eye(6, dtype=bool), "train_labels[0] is [", "train_labels.argmax(axis=1)"),
        (np.array([[0], [1], [2], [0], [1], [2]]), "train_labels[0] is [0]", "train_labels.ravel()"),
        (np.arange(12).reshape(6, 2), "train_labels[0] is [0 1]", "one integer an image"),
        (np.zeros(0, int), "train has 6 images and 0 labels", "a label for each image"),
    ],
)  # fmt: skip
def test_labels_that_are_no_classes(tmp_path: Path, labels: np.ndarray, message: str, hint: str) -> None:
    """Array, place and value are named, and what to do."""
    with pytest.raises(FirstspikeError, match=re.escape(message)) as error:
        data.load(saved(tmp_path, train_labels=labels))
    assert str(error.value).startswith("data set mine: ")
    assert hint in str(error.value.hint)
    with pytest.raises(FirstspikeError, match="data set mine: test"):
        data.load(saved(tmp_path, test_labels=labels + 3 if labels.dtype.kind in "iu" else labels))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((16, 16, 3), True), ((16, 16, 1), True), ((16, 12, 3), True), ((8, 8, 4), True), ((4, 4, 1), True),
        ((9, 128, 1), True), ((3, 16, 16), False), ((1, 8, 8), False), ((16, 3, 16), False), ((3, 128, 1), False),
        ((9, 1, 128), False), ((3, 3, 3), False), ((64, 5, 5), False), ((16, 3, 3), False),
    ],
)  # fmt: skip
def test_channels_come_first(tmp_path: Path, shape: tuple[int, ...], last: bool) -> None:
    config = saved(tmp_path, train_images=np.zeros((6, *shape), np.uint8), test_images=np.zeros((2, *shape), np.uint8))
    if not last:
        assert data.load(config).image_shape == shape
        return
    with pytest.raises(FirstspikeError, match=re.escape(f"mine: train_images has shape {(6, *shape)}")) as error:
        data.load(config)
    assert "train_images.transpose(0, 3, 1, 2)" in error.value.one_line()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("images", "message", "hint"),
    [
        (np.full((6, 3, 5), 0.5), "type float64", "np.rint(train_images * 255.0).astype(np.uint8)"),
        (np.ones((6, 3, 5), bool), "type bool", "np.rint(train_images * 255.0).astype(np.uint8)"),
        (np.full((6, 3, 5), 200.0, np.float32), "type float32", "np.rint(train_images).astype(np.uint8)"),
        (np.full((6, 3, 5), 200), "type int64", "np.rint(train_images).astype(np.uint8)"),
        (np.full((6, 3, 5), 60_000, np.uint16), "type uint16", "(train_images // 257).astype(np.uint8)"),
        (np.full((6, 3, 5), -0.5), "type float64", "its values are -0.5..-0.5: scale them to 0..255"),
        (np.full((6, 3, 5), np.nan), "type float64", "not finite"),
        (np.full((6, 3, 5), np.inf), "type float64", "not finite"),
        (np.full(6, 3, np.uint8), "shape (6,)", "(N, rows, columns)"),
        (np.full((6, 3), "x"), "type <U1", "images of bytes"),
    ],
)
def test_images_that_are_no_bytes(tmp_path: Path, images: np.ndarray, message: str, hint: str) -> None:
    with pytest.raises(FirstspikeError, match="mine: train_images has") as error:
        data.load(saved(tmp_path, train_images=images))
    assert message in str(error.value)
    assert hint in str(error.value.hint)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "doubts"),
    [
        ({}, []),
        ({"train_labels": np.array([0, 1, 3, 0, 1, 3])}, ["no training image of class 2,"]),
        ({"train_images": np.full((6, 3, 5), 1, np.uint8)}, ["the brightest pixel of train_images is 1 of 255"]),
        ({"test_images": np.full((2, 3, 5), 16, np.uint8)}, ["the brightest pixel of test_images is 16 of 255"]),
        ({"test_images": np.full((2, 3, 5), 63, np.uint8)}, ["is 63 of 255, so that hardly any spikes"]),
        ({"train_images": np.zeros((6, 3, 5), np.uint8)}, ["train_images is 0 of 255, so that nothing spikes"]),
    ],
)
def test_doubts(tmp_path: Path, change: dict[str, np.ndarray], doubts: list[str]) -> None:
    found = data.load(saved(tmp_path, **change)).doubts
    assert [text in sentence for text, sentence in zip(doubts, found, strict=True)] == [True] * len(doubts)


@pytest.mark.smoke
def test_many_classes_without_images() -> None:
    digits = data.load(DataConfig())
    many = replace(digits, classes=40)
    assert "of class 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ... (30 in all), but" in many.doubts[0]


@pytest.mark.smoke
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"a,b\n1,2\n", None], ids=["empty", "cut", "text", "npy"])
def test_own_file_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.npz"
    if content is None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(FirstspikeError, match=r"^\[data\] path: .*mine\.npz is not an npz file"):
        data.load(DataConfig(set="npz", path=path))


@pytest.mark.smoke
def test_own_file_missing(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match=r"^\[data\] path: .*mine\.npz does not exist$"):
        data.load(DataConfig(set="npz", path=tmp_path / "mine.npz"))
    with pytest.raises(FirstspikeError, match=r"^\[data\] path: .* is no file$"):
        data.load(DataConfig(set="npz", path=tmp_path))


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


# -- events -----------------------------------------------------------------------------------------------------------


def of_events(shape: tuple[int, ...], most: int = 3, test_most: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, most + 1, (6, *shape)), rng.integers(0, test_most + 1, (2, *shape))
    train[0], test[0] = most, test_most
    return {"train_images": train.astype(np.uint8), "test_images": test.astype(np.uint8)}


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("shape", "image"), [((9, 3, 5), (1, 3, 5)), ((9, 2, 3, 5), (2, 3, 5)), ((9, 16, 3), (1, 16, 3)), ((9, 30), None)]
)
def test_own_events(tmp_path: Path, shape: tuple[int, ...], image: tuple[int, ...] | None) -> None:
    """Frames over time: their number is that of the steps; the most events at once are those of training and test."""
    config = replace(saved(tmp_path, **of_events(shape)), events=True)
    mine = data.load(config)
    assert (mine.steps, mine.repeat, mine.inputs, mine.doubts, mine.border) == (9, 3, np.prod(shape[1:]), [], None)
    assert mine.summary["events"] is True
    if image:
        assert mine.image_shape == image
    assert data.load(replace(saved(tmp_path, **of_events(shape, 0, 0)), events=True)).repeat == 1
    assert data.load(replace(saved(tmp_path, **of_events(shape, 1, 4)), events=True)).repeat == 4


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"train_images": np.zeros((6, 9), np.uint8)}, "train_images has type uint8 and shape (6, 9)", "T steps"),
        ({"train_images": np.zeros((6, 9, 4))}, "train_images has type float64", "T steps"),
        (
            of_events((9, 4), 16),
            "train_images has 16 events of a pixel in one step; an input has at most 15",
            "more steps",
        ),
        (of_events((9, 4), 2, 255), "test_images has 255 events of a pixel", "if these are pixels"),
        (
            {**of_events((9, 4)), "test_images": np.zeros((2, 8, 4), np.uint8)},
            "test_images are of shape (8, 4)",
            "size",
        ),
    ],
)
def test_what_is_no_events(tmp_path: Path, change: dict[str, np.ndarray], message: str, hint: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)) as error:
        data.load(replace(saved(tmp_path, **change), events=True))
    assert hint in str(error.value.hint)


@pytest.mark.smoke
def test_events_have_the_steps_of_the_network(tmp_path: Path) -> None:
    config = replace(saved(tmp_path, **of_events((9, 4))), events=True)
    network = NetworkConfig(hidden=(4,), steps=8)
    experiment = Experiment(name="x", data=config, network=network, dynamics=DynamicsConfig(mode="soft"))
    with pytest.raises(FirstspikeError, match=r"\[network\] steps is 8") as error:
        populations(experiment, data.load(config))
    assert error.value.hint == "use 9, the frames of an image of mine"


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("dynamics", "hidden", "said"),
    [
        ({"leak": 0.999}, (4,), ["leak 0.999 becomes 1 in 8 factor_bits"]),
        ({"retain": 0.001, "leak": (0.5, 1.0)}, (4,), ["retain 0.001 becomes 0 in 8 factor_bits"]),
        ({"leak": 0.999, "factor_bits": 12}, (4,), []),
        ({"threshold": 3.0, "trained": ("threshold",)}, (), ["[dynamics] threshold plays no part", "trained ="]),
        ({"slope": 1.0, "leak": 0.5}, (), ["[dynamics] slope plays no part: no population of this network fires"]),
    ],
)
def test_doubts_of_dynamics(tmp_path: Path, dynamics: dict[str, Any], hidden: tuple[int, ...], said: list[str]) -> None:
    config = replace(saved(tmp_path, **of_events((9, 4))), events=True)
    network = NetworkConfig(hidden=hidden, steps=9)
    experiment = Experiment(name="x", data=config, network=network, dynamics=DynamicsConfig(mode="soft", **dynamics))
    found = outline.doubts(experiment, data.load(config))
    assert [text in sentence for text, sentence in zip(said, found, strict=True)] == [True] * len(said)


@pytest.mark.smoke
def test_recordings_without_an_event(tmp_path: Path) -> None:
    found = data.load(replace(saved(tmp_path, **of_events((9, 4), 0, 1)), events=True)).doubts
    assert found == ["data set mine: train_images hold no event"]
