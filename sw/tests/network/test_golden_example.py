"""The example that docs/numerics.md and docs/memory-images.md work out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.image_formats import TEXT_FORMATS
from firstspike.network import golden, kernels, naive
from firstspike.network.model import Network, dense

pytestmark = pytest.mark.smoke

DOCS = Path(__file__).parents[3] / "docs"


def example(*, fire_start: int = 4, first_spike: bool = False) -> Network:
    """2-2-2, power-of-two kernel of 4 steps, rounded; a membrane unit of 1/16."""
    kernel = kernels.PowerOfTwo(steps=4)
    threshold = kernel.integer_threshold(1 / 16)
    return dense(
        [np.array([[1, 2], [-1, 3]]), np.array([[2, 1], [-1, 3]])],
        [np.array([0, 1]), np.array([0, -3])],
        weight_bits=3,
        kernels=[kernel.table(), kernel.table()],
        thresholds=[threshold] * (2 if first_spike else 1),
        encoder=kernel.encoder(),
        steps=4,
        fire_start=fire_start,
        scales=[1 / 16, 1 / 16],
    )


def test_tables() -> None:
    network = example()
    assert network.populations[0].kernel == (8, 4, 2, 1)
    assert network.populations[1].threshold == (12, 6, 3, 2)
    firsts = [next(p for p in range(256) if network.encoder[p] == code) for code in (4, 3, 2, 1, 0)]
    assert firsts == [0, 23, 46, 91, 181]


def test_widths() -> None:
    network = example()
    assert [network.membrane_range(i) for i in (0, 1)] == [(-7, 25), (-11, 24)]
    assert [network.membrane_bits(i) for i in (0, 1)] == [6, 6]


@pytest.mark.parametrize(
    ("fire_start", "pixels", "hidden", "membranes"),
    [
        (4, [200, 50], [0, 4], [16, -11]),
        (1, [200, 50], [1, 4], [8, -7]),
        (0, [200, 50], [1, 4], [8, -7]),
        (4, [100, 255], [0, 0], [24, 13]),
        (4, [10, 10], [4, 4], [0, -3]),
    ],
)
def test_results(fire_start: int, pixels: list[int], hidden: list[int], membranes: list[int]) -> None:
    image = np.array([pixels], np.uint8)
    for model in (golden, naive):
        result = model.run(example(fire_start=fire_start), image)
        assert result.spike_times[1].tolist() == [hidden]
        assert result.membranes.tolist() == [membranes]
        assert result.classes.tolist() == [0]
        assert result.decision_steps.tolist() == [4]


@pytest.mark.parametrize(("pixels", "step"), [([200, 50], 0), ([100, 255], 0), ([10, 10], 4)])
def test_first_spike_readout(pixels: list[int], step: int) -> None:
    for model in (golden, naive):
        result = model.run(example(first_spike=True), np.array([pixels], np.uint8))
        assert (result.decision_steps.tolist(), result.classes.tolist()) == ([step], [0])


def test_rows() -> None:
    network = example()
    rows = images.contents(network, Hardware.for_network(network))
    assert rows["layer0_weight"] == [0b111_001, 0b011_010]
    assert rows["layer0_bias"] == [0b000001_000000]
    assert rows["layer0_kernel"] == [3, 2, 1, 0]
    assert rows["layer0_threshold"] == [12, 6, 3, 2]
    assert rows["encoder"][200] == 0b1_00
    assert rows["encoder"][50] == 0b1_10
    assert rows["encoder"][10] == 0
    assert rows["layer1_bias"] == [0b000000, 0b111101]
    one_lane = images.contents(network, Hardware.for_network(network, lanes=1))
    assert one_lane["layer0_weight"] == [0b001, 0b010, 0b111, 0b011]


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_the_files_shown_in_the_documentation(name: str) -> None:
    network = example()
    hardware = Hardware.for_network(network)
    memory = hardware.memory("weight", 0)
    text = TEXT_FORMATS[name].render(memory, images.contents(network, hardware)[memory.name])
    assert f"```text\n{text}```" in (DOCS / "memory-images.md").read_text()


def test_the_digest_shown_in_the_documentation() -> None:
    network = example()
    assert network.digest in (DOCS / "numerics.md").read_text()
    named = replace(network, provenance={"seed": 1})
    assert images.digest_words(named) == images.digest_words(network)
    assert f"`{images.digest_words(network)[0]:08x}`" in (DOCS / "memory-images.md").read_text()
