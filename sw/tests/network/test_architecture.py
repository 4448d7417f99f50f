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
    ("text", "part", "why"),
    [
        ("12C5-P2-P2-10", "P2", "(max pooling) does not come right after a convolution"),
        ("P2-10", "P2", "(max pooling) does not come right after a convolution"),
        ("128-P2-10", "P2", "(max pooling) does not come right after a convolution"),
        ("12C5-D0.5-P2-10", "P2", "(max pooling) does not come right after a convolution"),
        ("12C5-A2-P2-10", "P2", "(max pooling) does not come right after a convolution"),
        ("12C5-A2-A2-10", "A2", "follows another average pooling"),
        ("128-A2-10", "A2", "comes after a fully connected layer"),
        ("128-12C5-10", "12C5", "comes after a fully connected layer"),
        ("D0.5-10", "D0.5", "(dropout) comes before any layer"),
        ("12C5-D0.5-D0.5-10", "D0.5", "follows another dropout"),
        ("12C5-D1.5-10", "D1.5", "is no layer"),
        ("12C3p3-10", "12C3p3", "has more padding than kernel"),
        ("0-10", "0", "is no layer"),
        ("12c5-10", "12c5", "is no layer"),
        ("12C5s2s2-10", "12C5s2s2", "is no layer"),
        ("12C5s0-10", "12C5s0", "is no layer"),
        ("12C5--10", "", "is no layer"),
        ("1x28x28-12C5-10", "1x28x28", "is no layer"),
        ("", "", "is no layer"),
    ],
)
@pytest.mark.parametrize("output", [True, False])
def test_a_part_that_is_wrong(text: str, part: str, why: str, output: bool) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(f"{part!r} in {text!r} {why}")):
        parse(text, output=output)


@pytest.mark.parametrize("text", ["12C5", "12C5-P2", "10-D0.5", "12C5-A2", "128", "A2"])
def test_before_an_output(text: str) -> None:
    assert parse(f"{text}-10")[:-1] == parse(text, output=False)


@pytest.mark.parametrize("text", ["12C5", "12C5-P2", "10-D0.5", "12C5-A2"])
def test_an_end_that_is_wrong(text: str) -> None:
    with pytest.raises(FirstspikeError, match="does not end in a fully connected layer"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("12C5-10", (784,), "12C5 needs channels, rows and columns, not 784 values without"),
        ("12C5-10", (1, 4, 9), "12C5 does not fit 1 x 4 x 9 (channels x rows x columns): its kernel is larger"),
        (
            "12C3-P4-10",
            (1, 5, 9),
            "12C3-P4 does not fit 1 x 5 x 9 (channels x rows x columns): its kernel or pooling is larger",
        ),
        ("A2-10", (1, 5, 4), "A2 (average pooling) does not divide 1 x 5 x 4"),
    ],
)
def test_a_stage_that_does_not_fit(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)):
        shapes(shape, parse(text))
