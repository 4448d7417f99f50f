"""Skid buffer and queue: every item once, in order, a clock each, and ready is never passed on within a clock."""

from __future__ import annotations

import random

import pytest
from amaranth.lib import data
from simulation import Stalls, Trace, exchange, protocol_checker, simulate

from firstspike_rtl.core import buffers
from firstspike_rtl.core.buffers import Queue, SkidBuffer

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


@pytest.mark.smoke
@pytest.mark.parametrize("slow_output", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("under_way", [0, 5, 12, 40])
@pytest.mark.parametrize("lookup_memory", [True, False])
def test_a_pipeline_into_a_queue(
    lookup_memory, under_way, slow_output, seed, waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items that were begun while there was room come ``under_way`` clocks later; not all that are begun become one."""
    # Without look-up memory two bits of an item lie in registers, the others in block memory.
    monkeypatch.setattr(buffers, "has_lookup_memory", lambda platform: lookup_memory)
    monkeypatch.setattr(buffers, "in_registers", lambda platform, depth, bits: not lookup_memory and bits == 2)
    monkeypatch.setattr(buffers, "BLOCK_BITS", 4)
    dut = Queue(LAYOUT, under_way)
    rng = random.Random(seed)
    count, items = 400, []

    async def pipeline(ctx) -> None:
        stages: list[dict | None] = [None] * under_way
        begun = 0
        while begun < count or any(stages):
            new = None
            if begun < count and ctx.get(dut.room):
                begun += 1
                new = {"number": begun, "flag": rng.randrange(2)} if rng.random() < 0.9 else None
            stages.append(new)
            out = stages.pop(0)
            ctx.set(dut.valid, out is not None)
            ctx.set(dut.item, out or {"number": rng.randrange(512), "flag": 0})
            await ctx.tick()
            if out is not None:
                items.append((out["number"], out["flag"]))
        ctx.set(dut.valid, 0)

    trace = Trace(valid=dut.valid, room=dut.room, left=dut.o.valid & dut.o.ready, payload=dut.o.payload)

    async def reader(ctx) -> None:
        stalls = Stalls(seed, slow_output)
        for _ in range(12 * count):
            for _ in range(stalls.clocks()):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)

    simulate(dut, pipeline, reader, processes=[trace.watch, protocol_checker(dut.o, "o")], waves=waves)
    seen = [(now.payload.number, now.payload.flag) for now in trace.clocks if now.left]
    assert seen == items
    assert len(items) > count // 2
    inside, most = 0, 0
    for now in trace.clocks:
        assert now.room == (inside <= Queue.limit(under_way))
        inside += now.valid - now.left
        most = max(most, inside)
    assert most <= Queue.depth(under_way), "more items than fit in"
    if slow_output == 0.8:
        assert most > Queue.limit(under_way), "the queue never had too many: the test tells too little"
