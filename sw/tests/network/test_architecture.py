"""The notation of architectures: what it means, and what it refuses."""

from __future__ import annotations

import re

import pytest

from firstspike.errors import FirstspikeError
from firstspike.network.architecture import NAMED, Stage, parse, shapes

pytestmark = pytest.mark.smoke


def test_every_part() -> None:
    assert parse("12C5-P2-D0.25-64C3x5s2p1-A2-128-D.5-10") == (
        Stage(outputs=12, kernel=(5, 5), pool=2),
        Stage(outputs=64, kernel=(3, 5), stride=2, padding=1, dropout=0.25),
        Stage(outputs=128, average=2),
        Stage(outputs=10, dropout=0.5),
    )


def test_stride_and_padding_come_in_any_order() -> None:
    assert (
        parse("4C3p1s2-10")
        == parse("4C3s2p1-10")
        == (
            Stage(outputs=4, kernel=(3, 3), stride=2, padding=1),
            Stage(outputs=10),
        )
    )


def test_labels_are_the_notation() -> None:
    text = "12C5-P2-64C3x5s2p1-A2-128-10"
    assert "-".join(stage.label for stage in parse(text)) == text


def test_shapes_of_the_mnist_network() -> None:
    stages = parse(f"{NAMED['mnist-cnn']}-10")
    assert shapes((1, 28, 28), stages) == [(1, 28, 28), (12, 12, 12), (64, 4, 4), (10,)]
    assert stages[2].weight_shape((64, 4, 4)) == (10, 1024)


def test_vgg16_has_sixteen_layers_and_its_weights() -> None:
    stages = parse(f"{NAMED['vgg16']}-10")
    populations = shapes((3, 32, 32), stages)
    assert len(stages) == 16
    assert populations[13] == (512, 1, 1)
    count = 0
    for stage, shape in zip(stages, populations, strict=False):
        size = 1
        for n in stage.weight_shape(shape):
            size *= n
        count += size
    # 14,710,464 weights of thirteen convolutions, and 512*512, 512*512, 512*10.
    assert count == 14_710_464 + 2 * 512 * 512 + 5120


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("12C5-P2-P2-10", "P2"),
        ("P2-10", "P2"),
        ("128-P2-10", "P2"),
        ("12C5-D0.5-P2-10", "P2"),
        ("12C5-A2-A2-10", "A2"),
        ("D0.5-10", "D0.5"),
        ("12C5-D1.5-10", "D1.5"),
        ("12C3p3-10", "12C3p3"),
        ("0-10", "0"),
        ("12c5-10", "12c5"),
        ("12C5s2s2-10", "12C5s2s2"),
        ("12C5s0-10", "12C5s0"),
        ("12C5--10", ""),
        ("", ""),
    ],
)
def test_a_part_that_is_wrong(text: str, part: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(f"architecture {text!r}: {part!r} is wrong")):
        parse(text)


@pytest.mark.parametrize("text", ["12C5", "12C5-P2", "10-D0.5", "12C5-A2"])
def test_an_end_that_is_wrong(text: str) -> None:
    with pytest.raises(FirstspikeError, match="does not end in a fully connected layer"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("12C5-10", (784,), "needs channels, rows and columns, not (784,)"),
        ("12C5-10", (1, 4, 9), "larger than (1, 4, 9)"),
        ("12C3-P4-10", (1, 5, 9), "its pooling 4 is larger than (1, 5, 9)"),
        ("A2-10", (1, 5, 4), "average pooling 2 does not divide (1, 5, 4)"),
    ],
)
def test_a_stage_that_does_not_fit(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)):
        shapes(shape, parse(text))
