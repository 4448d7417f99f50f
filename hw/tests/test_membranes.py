"""Membranes against two lists in Python: sums, reads and refills in every clock, the banks changing hands."""

from __future__ import annotations

import random

import parts
import pytest
from simulation import simulate

from firstspike.hardware import LayerShape
from firstspike_rtl.membranes import Membranes

SHAPES = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(parts.layer(outputs=2, membrane_bits=9), id="one_row"),
        pytest.param(parts.layer(outputs=1, membrane_bits=20), id="one_membrane"),
        pytest.param(parts.layer(outputs=5, lanes=3, membrane_bits=9), id="groups"),
        pytest.param(parts.convolution(product="shift", membrane_bits=9), id="map"),
    ],
)


class Model:
    """What :class:`Membranes` does, and the bench that drives it: a new random session as soon as one has ended."""

    def __init__(self, dut: Membranes, shape: LayerShape, bias: list[list[int]], rng: random.Random) -> None:
        self.dut, self.shape, self.bias, self.rng = dut, shape, bias, rng
        self.banks: list = [[[0] * shape.lanes for _ in range(shape.membrane_rows)] for _ in (0, 1)]
        self.pending = False
        self.limits: set[int] = set()  # membranes at the limits of their width that were read
        self.repeated = 0  # adds to the row of the clock before
        self.last: tuple[int, int] | None = None

    def fitting(self, value: int) -> int:
        """A random product, as large as may be without leaving the width of a membrane."""
        limit = 1 << self.shape.membrane_bits - 1
        bits = self.dut.add.products[0].shape().width
        low, high = max(-(1 << bits - 1), -limit - value), min((1 << bits - 1) - 1, limit - 1 - value)
        return self.rng.choice([low, high, self.rng.randint(low, high)])

    async def clock(self, ctx, bank: int | None) -> None:
        """One clock in which ``bank`` may be added to."""
        dut, rng, shape = self.dut, self.rng, self.shape
        if self.pending:
            row = self.banks[self.last[0]][self.last[1]]
            products = [self.fitting(value) for value in row]
            row[:] = [value + product for value, product in zip(row, products, strict=True)]
        else:
            products = [self.fitting(0) for _ in range(shape.lanes)]
        ctx.set(dut.add.products, products)
        adds = bank is not None and rng.random() < 0.8
        row = rng.randrange(shape.membrane_rows)
        if self.last and self.last[0] == bank and rng.random() < 0.5:
            row = self.last[1]
            self.repeated += adds and self.pending
        ctx.set(dut.add.valid, adds)
        ctx.set(dut.add.bank, rng.randrange(2) if bank is None else bank)
        ctx.set(dut.add.row, row)
        self.pending, self.last = adds, (bank, row)
        await ctx.tick()

    async def session(self, ctx, bank: int, *, both: bool, refill: bool, rows: list[int]) -> None:
        """Read rows of a bank one after another, and at the end of a clock with ``step`` write the bias to them."""
        dut, rng, places = self.dut, self.rng, self.shape.places
        ctx.set(dut.scan.active, 1)
        ctx.set(dut.scan.bank, bank)
        ctx.set(dut.scan.both, both)
        position, values = 0, None
        while position <= len(rows):
            row = rows[position] if position < len(rows) else rng.randrange(self.shape.membrane_rows)
            step = rng.random() < 0.7
            ctx.set(dut.scan.row, row)
            ctx.set(dut.scan.group, row // places)
            ctx.set(dut.scan.step, step)
            ctx.set(dut.scan.refill, refill and position > 0)
            if values is not None:
                assert list(ctx.get(dut.scan.values)) == values
                self.limits |= {v for v in values if v in (-(limit := 1 << self.shape.membrane_bits - 1), limit - 1)}
            await self.clock(ctx, None if both else 1 - bank)
            if step:
                if refill and position:
                    for n in (0, 1) if both else (bank,):
                        self.banks[n][rows[position - 1]][:] = self.bias[rows[position - 1] // places]
                # After a fill nobody reads.
                values = list(self.banks[bank][row]) if not both else None
                position += 1
        ctx.set(dut.scan.active, 0)
        ctx.set(dut.scan.refill, rng.randrange(2))

    async def bench(self, ctx) -> None:
        rng, every = self.rng, list(range(self.shape.membrane_rows))
        await self.session(ctx, 0, both=True, refill=True, rows=every)
        await self.clock(ctx, 1)
        for n in range(60):
            # The bank that was added to is read one clock after its last products; the other may be added to at once.
            bank = n % 2
            rows = every * rng.choice([0, 1]) if len(every) == 1 else rng.choices(every, k=rng.randrange(6))
            await self.session(ctx, bank, both=False, refill=False, rows=rows)
            rng.shuffle(every)
            await self.session(ctx, bank, both=False, refill=rng.random() < 0.5, rows=every)
            await self.clock(ctx, bank)


@pytest.mark.smoke
@SHAPES
def test_membranes_are_two_lists(shape, seed, waves) -> None:
    """Layers of one row, in registers, and of several, in memories."""
    rng = random.Random(seed)
    limit = 1 << shape.membrane_bits - 1
    bias = [[rng.randint(-limit, limit - 1) for _ in range(shape.lanes)] for _ in range(shape.groups)]
    core = parts.followed(shape)
    dut = Membranes(core, 0, parts.contents(core, layer0_bias=bias))
    model = Model(dut, shape, bias, rng)
    simulate(dut, model.bench, waves=waves)
    assert model.repeated > 20
    if shape.membrane_bits < 10:
        assert model.limits == {-limit, limit - 1}
