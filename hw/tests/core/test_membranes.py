"""Membranes against two lists in Python: sums, reads and clears in every clock, the banks changing hands."""

from __future__ import annotations

import random

import parts
import pytest
from amaranth.lib.memory import Memory
from simulation import simulate

from firstspike.contract.layer_shape import SHALLOW_ROWS, LayerShape
from firstspike_rtl.core import membranes
from firstspike_rtl.core.membranes import Membranes


def rows_of_two(rows: int) -> LayerShape:
    return parts.layer(outputs=2 * rows, lanes=2, membrane_bits=9)


SHAPES = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(rows_of_two(1), id="one_row"),
        pytest.param(rows_of_two(2), id="two_rows"),
        pytest.param(rows_of_two(SHALLOW_ROWS), id="the_most_shallow_rows"),
        pytest.param(rows_of_two(SHALLOW_ROWS + 1), id="the_fewest_deep_rows"),
        pytest.param(parts.layer(outputs=1, membrane_bits=20), id="one_membrane"),
        pytest.param(parts.layer(outputs=5, lanes=3, membrane_bits=9), id="groups"),
        pytest.param(parts.convolution(product="shift", membrane_bits=9), id="map"),
    ],
)


class Model:
    """What :class:`Membranes` does, clock by clock, and the bench that drives it at random."""

    def __init__(self, dut: Membranes, shape: LayerShape, rng: random.Random) -> None:
        self.dut, self.shape, self.rng = dut, shape, rng
        self.banks = [[[0] * shape.lanes for _ in range(shape.membrane_rows)] for _ in (0, 1)]
        self.added: tuple[int, int] | None = None  # bank and row of the clock before
        self.data: list[int] | None = None  # what was read in the clock before
        self.due: list[int] | None = None  # what the reader must see
        self.wrapped = 0  # sums that left the width of a membrane
        self.repeated = 0  # adds to the row of the clock before
        self.read = 0  # rows read that held something

    def row(self) -> int:
        return self.rng.randrange(self.shape.membrane_rows)

    def add(self) -> None:
        """The sums of the row that was addressed in the clock before."""
        bits = self.dut.add.products[0].shape().width
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        products = [self.rng.choice([low, high, self.rng.randint(low, high)]) for _ in range(self.shape.lanes)]
        self.products = products
        if self.added:
            bank, row = self.added
            limit = 1 << self.shape.membrane_bits - 1
            sums = [v + product for v, product in zip(self.banks[bank][row], products, strict=True)]
            self.banks[bank][row] = [(total + limit) % (2 * limit) - limit for total in sums]
            self.wrapped += self.banks[bank][row] != sums

    async def clock(
        self, ctx, adders: tuple[int, ...], *, scanned: tuple[int, int] | None = None, clear=(0, 0)
    ) -> None:
        """One clock: perhaps a row of one of the ``adders``' banks is added to, one of the scanned bank is read."""
        dut, rng, scan = self.dut, self.rng, self.dut.scan
        self.add()
        ctx.set(dut.add.products, self.products)
        bank, row = (rng.choice(adders), self.row()) if adders else (rng.randrange(2), self.row())
        if self.added and self.added[0] == bank and rng.random() < 0.5:
            row = self.added[1]
        adds = bool(adders) and rng.random() < 0.8
        self.repeated += adds and self.added == (bank, row)
        ctx.set(dut.add.valid, adds)
        ctx.set(dut.add.bank, bank)
        ctx.set(dut.add.row, row)
        self.added = (bank, row) if adds else None

        ctx.set(scan.active, scanned is not None)
        ctx.set(scan.bank, scanned[0] if scanned else rng.randrange(2))
        ctx.set(scan.row, scanned[1] if scanned else self.row())
        which, cleared = clear
        ctx.set(scan.clear, which)
        ctx.set(scan.clear_row, cleared if which else self.row())
        if self.due is not None:
            assert list(ctx.get(scan.values)) == self.due
            self.read += any(self.due)
        # The bank stays chosen while a row is read.
        self.due = self.data if scanned else None
        for n in (0, 1):
            if which >> n & 1:
                self.banks[n][cleared] = [0] * self.shape.lanes
        # A row is not addressed in the clock in which it is cleared.
        told = scanned and not (which >> scanned[0] & 1 and cleared == scanned[1])
        self.data = list(self.banks[scanned[0]][scanned[1]]) if told else None
        await ctx.tick()

    async def session(self, ctx, bank: int, rows: list[int], *, clear: bool) -> None:
        """Read rows of a bank, and clear each in the clock after its data have left; the other bank is added to."""
        other, cleared = (1 - bank,), (0, 0)
        for position in range(len(rows) + 1):
            row = rows[position] if position < len(rows) else self.row()
            waiting = True
            while waiting:
                await self.clock(ctx, other, scanned=(bank, row), clear=cleared)
                cleared = (0, 0)
                waiting = self.rng.random() < 0.3
            if clear and position:
                cleared = (1 << bank, rows[position - 1])
        # The bank is given back with the last clear, and may be addressed from the next clock on.
        await self.clock(ctx, other, clear=cleared)

    async def clear_both(self, ctx) -> None:
        await self.clock(ctx, ())
        for row in range(self.shape.membrane_rows):
            await self.clock(ctx, (), clear=(0b11, row))

    async def bench(self, ctx) -> None:
        rng, every = self.rng, list(range(self.shape.membrane_rows))
        for n in range(60):
            if n % 20 == 0:
                await self.clear_both(ctx)
            for _ in range(rng.randrange(2 * len(every))):
                await self.clock(ctx, (0, 1))
            bank = n % 2
            for _ in range(Membranes.SETTLED - 1):
                await self.clock(ctx, (1 - bank,))
            await self.session(ctx, bank, rng.choices(every, k=rng.randrange(1, 6)), clear=False)
            rng.shuffle(every)
            await self.session(ctx, bank, every, clear=rng.random() < 0.7)


@pytest.mark.smoke
@SHAPES
@pytest.mark.parametrize("lookup_memory", [True, False])
def test_membranes_are_two_lists(lookup_memory, shape, seed, waves, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows in look-up memory or registers, and more, in memories that are read a clock after their address."""
    monkeypatch.setattr(membranes, "has_lookup_memory", lambda platform: lookup_memory)
    dut = Membranes(shape)
    model = Model(dut, shape, random.Random(seed))
    simulate(dut, model.bench, waves=waves)
    assert model.repeated > 20
    assert model.read > 20
    assert shape.membrane_bits > 10 or model.wrapped


@pytest.mark.smoke
@pytest.mark.parametrize("rows", [1, 2, 3, SHALLOW_ROWS])
def test_empty_row_is_never_written(rows: int, seed, waves, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that is read in place of one that holds nothing has the zeros of configuration for ever."""
    shape, made = rows_of_two(rows), []

    def memory(**options) -> Memory:
        made.append(Memory(**options))
        return made[-1]

    monkeypatch.setattr(membranes, "Memory", memory)
    dut = Membranes(shape)
    model = Model(dut, shape, random.Random(seed))

    async def bench(ctx) -> None:
        await model.bench(ctx)
        (lanes,) = made
        written = [row for row in range(lanes.depth) if ctx.get(lanes.data[row])]
        assert len(written) == 2 * rows < lanes.depth

    simulate(dut, bench, waves=waves)
    assert model.read > 20
