"""The skid buffer: every item once, in order, a clock each, and nothing passes through it within a clock."""

from __future__ import annotations

import random

import pytest
from amaranth.lib import data
from simulation import exchange, simulate

from firstspike_rtl.core.skid import SkidBuffer

LAYOUT = data.StructLayout({"number": 9, "flag": 1})


@pytest.mark.smoke
@pytest.mark.parametrize("slow_input", [0.0, 0.4])
@pytest.mark.parametrize("slow_output", [0.0, 0.4])
def test_every_item_once(slow_input, slow_output, seed, waves) -> None:
    rng = random.Random(seed)
    items = [{"number": n, "flag": rng.randrange(2)} for n in range(200)]
    stall = {"i": slow_input, "o": slow_output}
    seen = exchange(SkidBuffer(LAYOUT), {"i": items}, {"o": len(items)}, stall=stall, seed=seed, waves=waves)
    assert [(item.number, item.flag) for item in seen["o"].items] == [(x["number"], x["flag"]) for x in items]
    if not slow_input + slow_output:
        first = seen["i"].taken[0]
        assert seen["i"].taken == list(range(first, first + len(items)))
        assert seen["o"].taken == [clock + SkidBuffer.LATENCY for clock in seen["i"].taken]


@pytest.mark.smoke
def test_nothing_passes_within_a_clock(waves) -> None:
    """``ready`` does not fall with the other side's, and holds ITEMS items before it falls."""
    dut = SkidBuffer(LAYOUT)

    async def bench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        for _ in range(SkidBuffer.ITEMS):
            for ready in (1, 0):
                ctx.set(dut.o.ready, ready)
                assert ctx.get(dut.i.ready)
            await ctx.tick()
        for ready in (1, 0, 1):
            ctx.set(dut.o.ready, ready)
            assert not ctx.get(dut.i.ready)
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench, waves=waves)
