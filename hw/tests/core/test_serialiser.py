"""Serialiser: every spike once, lowest lane first, then the watermark, to the clock."""

from __future__ import annotations

import random

import parts
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from simulation import Trace, exchange

from firstspike_rtl.core.layouts import event_layout
from firstspike_rtl.core.serialiser import Serialiser

STRIDE = 3  # of the index, from lane to lane


class Gated(wiring.Component):
    """The serialiser with spikes from a stream: without an item there is neither a spike nor a watermark."""

    def __init__(self, lanes: int) -> None:
        layout = event_layout(parts.hardware(parts.layer(inputs=100, input_codes=9), simultaneous=True), 0)
        self.serialiser = Serialiser(layout, lanes, lambda m, index, lane: index + STRIDE * lane)
        self._names = ("hits", "mark", "index", "steps", "mark_step", "fault")
        ports = {name: getattr(self.serialiser, name).shape() for name in self._names}
        super().__init__({"i": In(stream.Signature(data.StructLayout(ports))), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.serialiser = serialiser = self.serialiser
        m.d.comb += [getattr(serialiser, name).eq(self.i.payload[name]) for name in self._names]
        m.d.comb += [
            serialiser.hits.eq(self.i.payload.hits & self.i.valid.replicate(len(serialiser.hits))),
            serialiser.mark.eq(self.i.payload.mark & self.i.valid),
            self.i.ready.eq(serialiser.ready),
        ]
        connect(m, serialiser.o, flipped(self.o))
        return m


def items_of(rng: random.Random, lanes: int, count: int) -> list[dict]:
    """None, one, some and all lanes; with and without a watermark."""
    return [
        {
            "hits": rng.choice([0, 1 << rng.randrange(lanes), rng.getrandbits(lanes), (1 << lanes) - 1]),
            "mark": rng.randrange(2), "index": rng.randrange(100 - STRIDE * lanes),
            "steps": [rng.randrange(9) for _ in range(lanes)], "mark_step": rng.randrange(9),
            "fault": rng.randrange(2),
        }
        for _ in range(count)
    ]  # fmt: skip


def events_of(item: dict) -> list[tuple]:
    lanes = [lane for lane in range(len(item["steps"])) if item["hits"] >> lane & 1]
    spikes = [(0, 0, item["steps"][lane], item["index"] + STRIDE * lane) for lane in lanes]
    return [*spikes, *[(1, item["fault"], item["mark_step"], None)] * item["mark"]]


@pytest.mark.smoke
@pytest.mark.parametrize("lanes", [1, 2, 5])
@pytest.mark.parametrize(
    ("slow_input", "slow_output"),
    [
        pytest.param(0.0, 0.0, id="flowing"),
        pytest.param(0.5, 0.0, id="slow_input"),
        pytest.param(0.0, 0.5, id="slow_output"),
        pytest.param(0.3, 0.3, id="both_slow"),
    ],
)
def test_every_spike_once_in_order(lanes, slow_input, slow_output, seed, waves) -> None:
    items = items_of(random.Random(seed), lanes, 60)
    expected = [event for item in items for event in events_of(item)]
    dut = Gated(lanes)
    trace = Trace(
        mark=dut.i.payload.mark, hits=dut.i.payload.hits, taken=dut.i.valid & dut.i.ready,
        left=dut.o.valid & dut.o.ready,
    )  # fmt: skip
    stall = {"i": slow_input, "o": slow_output}
    seen = exchange(
        dut, {"i": items}, {"o": len(expected)}, stall=stall, seed=seed, processes=[trace.watch], waves=waves
    )  # fmt: skip
    assert [(e.mark, e.fault, e.step, None if e.mark else e.index) for e in seen["o"].items] == expected
    held = 0
    for now in trace.clocks:
        held -= now.left
        if now.taken:
            assert not held, "spikes that have not left are lost"
            held = now.hits.bit_count() + now.mark


@pytest.mark.smoke
@pytest.mark.parametrize("lanes", [1, 4])
def test_serialiser_clocks(lanes, seed, waves) -> None:
    """A clock an event, a clock for nothing; the first event comes LATENCY clocks after its spikes."""
    items = items_of(random.Random(seed), lanes, 40)
    events = [len(events_of(item)) for item in items]
    seen = exchange(Gated(lanes), {"i": items}, {"o": sum(events)}, waves=waves)
    clock, taken, offered = seen["i"].taken[0], [], []
    for count in events:
        taken.append(clock)
        offered += range(clock + Serialiser.LATENCY, clock + Serialiser.LATENCY + count)
        clock += max(1, count)
    assert seen["i"].taken == taken
    assert seen["o"].offered == seen["o"].taken == offered
