"""What a scan reads, in what order and when: the membranes played by Python, for the parts that read them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from firstspike.hardware import LayerShape

#: Membranes of a bank, by row and lane.
Bank = list[list[int]]


class Rows:
    """Process that plays the membranes to ``dut.scan``: for each test that ``dut`` accepts, the next of ``banks``.

    Parameters
    ----------
    dut
        A component with the members ``test``, ``scan`` and ``release`` of a scanner.
    """

    def __init__(self, dut: Any, shape: LayerShape, banks: Sequence[Bank]) -> None:
        self._dut, self._shape, self._banks = dut, shape, banks
        self.accepted: list[int] = []  # clock of each test
        self.refills: list[list[tuple[int, int, int]]] = [[]]  # (bank, row, group), before the first test and for each
        self.releases: list[list[tuple[int, int]]] = [[]]  # (clock, which banks)

    async def watch(self, ctx) -> None:
        dut, scan, shape = self._dut, self._dut.scan, self._shape
        garbage = random.Random(1)
        bits = shape.membrane_bits
        bank: Bank = []
        clock, address, owner = 0, (0, 0), None
        signals = (scan.active, scan.bank, scan.both, scan.row, scan.group, scan.step, scan.refill)
        tests = (dut.test.valid, dut.test.ready, dut.release)
        async for _, _, active, number, both, row, group, step, refill, valid, ready, release in ctx.tick().sample(
            *signals, *tests
        ):
            assert owner in (None, number) or not active, "the scanned bank changes"
            owner = number if active else None
            if active and step and refill:
                self.refills[-1].append((2 if both else number, *address))
            if step:
                address = (row, group)
                there = active and bank and row < len(bank)
                values = bank[row] if there else [garbage.randrange(-1 << bits - 1, 1 << bits - 1) for _ in
                                                  range(shape.lanes)]  # fmt: skip
                ctx.set(scan.values, values)
            if release:
                self.releases[-1].append((clock, release))
            if valid and ready:
                bank = self._banks[len(self.accepted)]
                self.accepted.append(clock)
                self.refills.append([])
                self.releases.append([])
            clock += 1


def random_bank(rng: random.Random, shape: LayerShape, low: int, high: int) -> Bank:
    """Membranes low..high; those of channels that do not exist are not positive."""
    bank = []
    for row in range(shape.membrane_rows):
        channels = range(row // shape.places * shape.lanes, shape.channels)
        bank.append([
            rng.randint(low, high) if lane < len(channels) else rng.choice([0, -1 << shape.membrane_bits - 1])
            for lane in range(shape.lanes)
        ])  # fmt: skip
    return bank


def pooled(shape: LayerShape, bank: Bank) -> list[int]:
    """The largest membrane of the window of each neuron."""
    channels, rows, columns = shape.output_map
    side = range(shape.pool)
    return [
        max(
            bank[c // shape.lanes * shape.places + (r * shape.pool + i) * shape.grid[1] + q * shape.pool + j][
                c % shape.lanes
            ]
            for i in side
            for j in side
        )
        for c in range(channels)
        for r in range(rows)
        for q in range(columns)
    ]


def slices(shape: LayerShape) -> list[list[int]]:
    """Neurons of each slice: group by group, window by window, neighbouring channels."""
    channels, rows, columns = shape.output_map
    out = []
    for first in range(0, channels, shape.lanes):
        last = min(first + shape.lanes, channels)
        for window in range(rows * columns):
            for begin in range(first, last, shape.fire_lanes):
                out.append([c * rows * columns + window for c in range(begin, min(begin + shape.fire_lanes, last))])
    return out


def slice_clocks(shape: LayerShape) -> tuple[list[int], int, int]:
    """Clocks from a test to each slice of a pass, from pass to pass, and to the release of the bank after one pass."""
    window = shape.pool**2
    clock, out = window + 2, []
    for group in range(shape.groups):
        channels = min(shape.lanes, shape.channels - group * shape.lanes)
        count = -(-channels // shape.fire_lanes)
        for _ in range(shape.places // window):
            out += range(clock, clock + count)
            row = clock
            clock += max(window, count)
    return out, clock - (window + 2), row - 1
