"""What a scan reads, in what order and when: the membranes played by Python, for the parts that read them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.membranes import Membranes
from firstspike_rtl.core.scanner import Scanner

#: Membranes of a bank, by row and lane.
Bank = list[list[int]]


class Rows:
    """Process that plays the membranes to ``dut.scan``: for each test that ``dut`` accepts, the next of ``banks``.

    The bias is taken from what is read, modulo the width of a membrane; a row that was cleared reads as zeros.

    Parameters
    ----------
    dut
        A component with the members ``test``, ``scan`` and ``release`` of a scanner.
    bias
        Of each channel.
    """

    def __init__(self, dut: Any, shape: LayerShape, banks: Sequence[Bank], bias: Sequence[int]) -> None:
        self._dut, self._shape = dut, shape
        self._banks = [_without(shape, bank, bias) for bank in banks]
        self.accepted: list[int] = []  # clock of each test
        self.read: list[set[int]] = [set()]  # which banks, before the first test and for each
        self.active: list[int] = []  # clocks in which a bank belongs to the reader
        self.clears: list[list[tuple[int, int, int]]] = [[]]  # (clock, which banks, row)
        self.releases: list[list[tuple[int, int]]] = [[]]  # (clock, which banks)

    async def watch(self, ctx) -> None:
        dut, scan, shape = self._dut, self._dut.scan, self._shape
        garbage = random.Random(1)
        bits = shape.membrane_bits
        bank: Bank = []
        clock, owner = 0, None
        held: deque[list[int]] = deque([[0] * shape.lanes], Membranes.LATENCY)  # rows on their way
        signals = (scan.active, scan.bank, scan.row, scan.clear, scan.clear_row)
        tests = (dut.test.valid, dut.test.ready, dut.release)
        async for _, _, active, number, row, clear, clear_row, valid, ready, release in ctx.tick().sample(
            *signals, *tests
        ):
            assert owner in (None, number) or not active, "the scanned bank changes"
            owner = number if active else None
            if clear:
                self.clears[-1].append((clock, clear, clear_row))
                if bank:
                    bank[clear_row] = [0] * shape.lanes
            if active:
                self.read[-1].add(number)
                self.active.append(clock)
            address = row if active else None  # else the bank is the adders'
            there = address is not None and address < len(bank)
            limit = 1 << bits - 1
            held.append(
                list(bank[address]) if there else [garbage.randrange(-limit, limit) for _ in range(shape.lanes)]
            )
            ctx.set(scan.values, held[0])
            if release:
                self.releases[-1].append((clock, release))
            if valid and ready:
                bank = self._banks[len(self.accepted)]
                self.accepted.append(clock)
                for notes in (self.read, self.clears, self.releases):
                    notes.append(set() if notes is self.read else [])
            clock += 1


def _without(shape: LayerShape, bank: Bank, bias: Sequence[int]) -> Bank:
    limit = 1 << shape.membrane_bits - 1
    channels = [*bias, *[0] * shape.lanes]
    return [
        [
            (value - channels[row // shape.places * shape.lanes + lane] + limit) % (2 * limit) - limit
            for lane, value in enumerate(values)
        ]
        for row, values in enumerate(bank)
    ]


def random_bias(rng: random.Random, shape: LayerShape) -> list[int]:
    """A bias for each channel, the limits of a membrane among them."""
    limit = 1 << shape.membrane_bits - 1
    return [rng.choice([-limit, limit - 1, rng.randrange(-limit, limit)]) for _ in range(shape.channels)]


def bias_rows(shape: LayerShape, bias: Sequence[int]) -> list[list[int]]:
    """The bias memory: a row a slice of a place, group by group, zeros where there is no channel."""
    rows = [[bias[c] for c in channels] for group in _channels(shape) for channels in group]
    return [row + [0] * (shape.fire_lanes - len(row)) for row in rows]


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


def _channels(shape: LayerShape) -> list[list[range]]:
    """Channels of each slice of a place, for each group."""
    out = []
    for first in range(0, shape.channels, shape.lanes):
        last = min(first + shape.lanes, shape.channels)
        begins = range(first, last, shape.fire_lanes)
        out.append([range(begin, min(begin + shape.fire_lanes, last)) for begin in begins])
    return out


def slices(shape: LayerShape) -> list[list[int]]:
    """Neurons of each slice: group by group, window by window, neighbouring channels."""
    _, rows, columns = shape.output_map
    windows = range(rows * columns)
    return [
        [c * rows * columns + window for c in channels]
        for group in _channels(shape)
        for window in windows
        for channels in group
    ]


def rows_of_a_pass(shape: LayerShape) -> list[tuple[int, bool]]:
    """Rows in the order they are read: for each slice those of its window; and whether no later slice needs the row."""
    _, rows, columns = shape.output_map
    side = range(shape.pool)
    return [
        (g * shape.places + (r * shape.pool + i) * shape.grid[1] + q * shape.pool + j, channels is group[-1])
        for g, group in enumerate(_channels(shape))
        for r in range(rows)
        for q in range(columns)
        for channels in group
        for i in side
        for j in side
    ]


def slice_clocks(shape: LayerShape) -> tuple[list[int], int]:
    """Clocks from a test to each slice of a pass, and from pass to pass."""
    window, count = shape.pool**2, len(slices(shape))
    return [Scanner.LATENCY + window * (n + 1) for n in range(count)], window * count


def clear_clocks(shape: LayerShape) -> list[tuple[int, int]]:
    """Clocks from a test to the clearing of each row if it is of one pass, in their order, with the row.

    The bank is released with the last.
    """
    # One clock to the first address, one to the row itself, one after it.
    return [(3 + n, row) for n, (row, last) in enumerate(rows_of_a_pass(shape)) if last]
