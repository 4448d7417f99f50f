"""Counters that wrap, are cleared, and are lost by a reset."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from firstspike.contract import registers
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.host import counters
from firstspike.host.counters import Totals
from firstspike.network import kernels
from firstspike.network.model import dense

WRAP = 1 << 32


def hardware(**changes: Any) -> Hardware:
    kernel = kernels.PowerOfTwo(steps=4)
    rng = np.random.default_rng(0)
    weights = [rng.integers(-8, 8, (n, m)) for m, n in pairwise((6, 5, 4))]
    network = dense(
        weights, [np.zeros(len(w), np.int64) for w in weights], weight_bits=4, kernels=[kernel.table()] * 2,
        thresholds=[kernel.integer_threshold(0.05)], encoder=kernel.encoder(), steps=4, fire_start=4,
    )  # fmt: skip
    return Hardware.for_network(network, **changes)


class Core:
    """Counters as wide as the core's, which begin ``before`` the end of their range; and what they should add up to."""

    def __init__(self, before: int = 0) -> None:
        self.counts = {"images": [0], "faults": [0], "clocks": [0], "spikes": [0, 0], "active": [0, 0]}
        self.held = 0
        self.reads = 0
        for values in self.counts.values():
            values[:] = [-before % WRAP] * len(values)

    def move(self, rng: random.Random) -> dict[str, list[int]]:
        """Each by less than its range."""
        moved = {name: [rng.randrange(WRAP) for _ in values] for name, values in self.counts.items()}
        self.counts = {
            name: [a + b for a, b in zip(values, moved[name], strict=True)] for name, values in self.counts.items()
        }
        return moved

    def read(self, name: str) -> list[int]:
        self.reads += 1
        if name == "clocks":
            low, self.held = self.counts["clocks"][0] % WRAP, self.counts["clocks"][0] >> 32
            return [low, self.held]
        return [value % WRAP for value in self.counts[name]]


@pytest.mark.smoke
def test_totals_go_on_where_counters_wrap(seed: int) -> None:
    rng, core = random.Random(seed), Core(before=5)
    totals = Totals(hardware(), core.read)
    expected = totals.read()
    assert expected["images"] == [WRAP - 5]
    for _ in range(50):
        for name, values in core.move(rng).items():
            expected[name] = [a + b for a, b in zip(expected[name], values, strict=True)]
        assert totals.read() == expected
    assert min(expected["spikes"]) > 10 * WRAP
    assert expected["clocks"][0] > 10 * WRAP


@pytest.mark.smoke
def test_cleared(seed: int) -> None:
    rng, core = random.Random(seed), Core()
    totals = Totals(hardware(), core.read)
    core.move(rng)
    totals.read()
    core.counts = Core().counts
    totals.clear()
    moved = core.move(rng)
    assert totals.read() == moved


@pytest.mark.smoke
def test_a_reset_loses_nothing_that_was_seen(seed: int) -> None:
    """Counters begin at zero again, which is no step of nearly 2**32."""
    rng, core = random.Random(seed), Core()
    totals = Totals(hardware(), core.read)
    first = core.move(rng)
    totals.read()
    core.counts = Core().counts
    assert totals.read() == first
    second = core.move(rng)
    assert totals.read() == {name: [a + b for a, b in zip(first[name], second[name], strict=True)] for name in first}


@pytest.mark.smoke
def test_poll_looks_before_a_counter_can_wrap_twice(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """At 100 MHz every 21 s: then the totals of minutes are right, and the bus is hardly used."""
    now = 1000.0
    monkeypatch.setattr(counters.time, "monotonic", lambda: now)
    core = Core()
    totals = Totals(hardware(), core.read, clock_hz=100_000_000)
    for _ in range(600):
        now += 1.0
        for values in core.counts.values():
            values[:] = [value + 100_000_000 for value in values]
        totals.poll()
    looks = core.reads // len(registers.COUNTERS)
    assert looks == 600 // 22
    assert totals.read() == core.counts
    assert core.counts["active"][0] > 13 * WRAP


@pytest.mark.smoke
def test_a_core_without_counters() -> None:
    core = Core()
    totals = Totals(hardware(counters=False), core.read, clock_hz=1e30)
    totals.poll()
    with pytest.raises(FirstspikeError, match="generated without counters") as caught:
        totals.read()
    assert "counters = true" in caught.value.one_line()
    assert core.reads == 0
