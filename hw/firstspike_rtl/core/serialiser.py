"""From spikes side by side to one event a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from firstspike_rtl.core.layouts import Component, number

#: Index of a lane's neuron, from the first lane's.
LaneIndex = Callable[[Module, Value, int], Value]


class Serialiser(Component):
    """Events of up to ``lanes`` spikes that come together, lowest lane first, then their watermark.

    Latency: 1 clock. Throughput: ``spikes`` clocks, 1 more for a watermark; a clock if there is neither.

    Parameters
    ----------
    layout
        Of the events.
    lanes
        Spikes side by side.
    lane_index
        Index of a lane's neuron.
    repeats
        Spikes of a lane, at most, which leave one after the other; 0: one.

    Members
    -------
    hits : In(lanes), mark : In(1)
        Which lanes spike; whether a watermark follows.
    index : In, steps : In(array)
        Index of the neuron of lane 0, and the code of each lane's spike.
    mark_step : In, fault : In(1)
        Of the watermark.
    counts : In(array), if they repeat
        Spikes of each lane that has a hit, at least one.
    ready : Out(1)
        They are taken.
    o : Out(stream of events)
    """

    LATENCY = 1

    def __init__(self, layout: data.StructLayout, lanes: int, lane_index: LaneIndex, *, repeats: int = 0) -> None:
        self._layout, self._lanes, self._lane_index = layout, lanes, lane_index
        step = layout["step"].shape
        self._repeats = repeats
        members: dict[str, Any] = {
            "hits": unsigned(lanes),
            "mark": 1,
            "index": layout["index"].shape,
            "steps": data.ArrayLayout(step, lanes),
            "mark_step": step,
            "fault": 1,
        }
        if repeats:
            members["counts"] = data.ArrayLayout(number(repeats + 1), lanes)
        self._held = data.StructLayout(members)
        super().__init__(
            {
                **{name: In(field.shape) for name, field in self._held},
                "ready": Out(1),
                "o": Out(stream.Signature(layout)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held: Any = Signal(self._held)
        lowest = Signal(self._lanes)
        some = Signal()
        again: Value = Const(0)
        if self._repeats:
            again = Signal()
            counts = [held.counts[lane] for lane in range(self._lanes)]
            m.d.comb += again.eq(Cat(bit & (count > 1) for bit, count in zip(lowest, counts, strict=True)).any())
        done = (held.hits == lowest) & ~again if self._repeats else held.hits == lowest
        m.d.comb += [
            some.eq(held.hits.any()),
            lowest.eq(held.hits & -held.hits),
            self.o.valid.eq(some | held.mark),
            self.ready.eq(~self.o.valid | (self.o.ready & Mux(held.mark, ~some, done))),
        ]
        event = self.o.payload
        m.d.comb += [event.mark.eq(~some), event.fault.eq(~some & held.fault), event.step.eq(held.mark_step)]
        for lane in reversed(range(self._lanes)):
            with m.If(held.hits[lane]):
                m.d.comb += [
                    event.step.eq(held.steps[lane]),
                    event.index.eq(self._lane_index(m, held.index, lane)),
                ]
        with m.If(self.o.ready & ~again if self._repeats else self.o.ready):
            m.d.sync += held.hits.eq(held.hits & ~lowest)
        if self._repeats:
            with m.If(self.o.ready):
                m.d.sync += [count.eq(count - bit) for bit, count in zip(lowest, counts, strict=True)]
        with m.If(self.ready):
            m.d.sync += [getattr(held, name).eq(getattr(self, name)) for name, _ in self._held]
        return m
