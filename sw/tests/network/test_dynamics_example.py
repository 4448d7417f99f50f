"""The example with dynamics that docs/numerics.md works out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firstspike.network import golden, naive
from firstspike.network.dynamics import Dynamics, Factor
from firstspike.network.model import Network, dense

pytestmark = pytest.mark.smoke

NETWORK: Network = dense(
    [np.array([[2, -1], [-1, 2]]), np.array([[1, 1], [-1, 1]])],
    [np.array([1, 0]), np.array([0, 0])],
    weight_bits=3,
    kernels=[(1, 1, 1)] * 2,
    thresholds=[()],
    steps=3,
    fire_start=3,
    repeat=2,
    dynamics=[
        Dynamics(
            threshold=np.array(5),
            cap=2,
            retain=Factor(numerator=np.array(1), shift=1),
            leak=Factor(numerator=np.array(3), shift=2),
            drive=np.array(1),
            guard=1,
        )
    ],
)
EVENTS = np.array([[2, 0], [0, 1], [1, 1]], np.uint8)


def test_every_step() -> None:
    first, second = naive.histories(NETWORK, EVENTS, 0)
    assert first.steps == [(4, 8, 9, 9, 4), (-1, 2, 3, 6, 1), (1, 3, 4, 4, 4)]
    assert second.steps == [(-2, -4, -3, -3, -3), (2, 2, 3, 0, 0), (1, 3, 4, 4, 4)]
    assert (first.codes, second.codes) == ([0, 1], [])


def test_result() -> None:
    result = golden.run(NETWORK, EVENTS[None])
    assert result.membranes.tolist() == [[2, -2]]
    assert result.classes.tolist() == [0]
    assert result.spike_times[1].tolist() == [[0, 3]]
    assert result.spike_counts[1].tolist() == [[[1, 0], [1, 0], [0, 0]]]
    assert result.spikes(NETWORK).tolist() == [[5, 2]]
    assert result.synaptic_operations(NETWORK).tolist() == [5 * 2 + 2 * 2]


def test_widths() -> None:
    ranges = NETWORK.ranges(0)
    assert (ranges.sums, ranges.current, ranges.drive, ranges.membrane) == ((-2, 4), (-8, 14), (-7, 15), (-14, 19))
    assert NETWORK.membrane_bits(0) == 6


def test_digest() -> None:
    page = (Path(__file__).parents[3] / "docs" / "numerics.md").read_text()
    assert f"**Digest.** `{NETWORK.digest}`" in page
