"""Watching the spikes of every population without changing what is watched."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.buffers import SkidBuffer
from firstspike_rtl.core.layouts import EVENT_WORD, Component, event_layout


def monitor_layout(populations: int) -> data.StructLayout:
    """One beat of the monitor: for each population a slot for one event, ``keep`` tells which are used.

    ``last`` is set with the final watermark of the last population.
    """
    return data.StructLayout({"slots": data.ArrayLayout(EVENT_WORD, populations), "keep": populations, "last": 1})


class Fork(Component):
    """Two copies of a stream; an item moves on when both have taken it.

    Latency: 0. Throughput: 1 clock an item. A copy that is always ready does not slow the other.

    Members
    -------
    i : In(stream)
    o, tap : Out(stream)
    """

    def __init__(self, layout: data.StructLayout) -> None:
        signature = stream.Signature(layout)
        super().__init__({"i": In(signature), "o": Out(signature), "tap": Out(signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        outputs = (self.o, self.tap)
        done = [Signal(name=f"done{n}") for n in range(len(outputs))]
        taken = [out.ready | flag for out, flag in zip(outputs, done, strict=True)]
        m.d.comb += self.i.ready.eq(taken[0] & taken[1])
        for out, flag, gone in zip(outputs, done, taken, strict=True):
            m.d.comb += [out.valid.eq(self.i.valid & ~flag), out.payload.eq(self.i.payload)]
            m.d.sync += flag.eq(self.i.valid & gone & ~self.i.ready)
        return m


class Monitor(Component):
    """Events of all populations on one stream.

    Latency: 1 clock. Throughput: one event of every population a clock. While its output is ready it never holds an
    event back, so that watching does not change a clock count.

    Members
    -------
    i0, i1, ... : In(stream of events), one a population
    o : Out(stream of monitor beats)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware) -> None:
        self._layouts = [event_layout(hardware, p) for p in range(len(hardware.layers))]
        self._codes = hardware.layers[-1].input_codes
        super().__init__(
            {f"i{p}": In(stream.Signature(layout)) for p, layout in enumerate(self._layouts)}
            | {"o": Out(stream.Signature(monitor_layout(len(self._layouts))))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # What listens may wait for long, and on wires that are long.
        m.submodules.skid = skid = SkidBuffer(monitor_layout(len(self._layouts)))
        connect(m, skid.o, flipped(self.o))
        inputs = [getattr(self, f"i{p}") for p in range(len(self._layouts))]
        beat = skid.i.payload
        for p, i in enumerate(inputs):
            slot = beat.slots[p]
            m.d.comb += [i.ready.eq(skid.i.ready), beat.keep[p].eq(i.valid), slot.population.eq(p)]
            m.d.comb += [slot[name].eq(i.payload[name]) for name in ("mark", "fault", "step", "index")]
        final = inputs[-1].payload
        m.d.comb += [
            skid.i.valid.eq(beat.keep.any()),
            beat.last.eq(inputs[-1].valid & final.mark & (final.step == self._codes - 1)),
        ]
        return m
