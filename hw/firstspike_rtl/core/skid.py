"""A stream cut in two: no signal passes through, in either direction."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from firstspike_rtl.core.component import Component


class SkidBuffer(Component):
    """Registers between two streams. ``i.ready`` is a register too; an item that came when it should have fallen waits.

    Latency: 1 clock. Throughput: 1 clock an item.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    LATENCY = 1
    #: Items that fit in.
    ITEMS = 2

    def __init__(self, layout: data.StructLayout) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i, o = self.i, self.o
        spare = Signal.like(i.payload)
        spared = Signal()
        m.d.comb += i.ready.eq(~spared)
        with m.If(i.ready):
            m.d.sync += spare.eq(i.payload)
        with m.If(~o.valid | o.ready):
            m.d.sync += [
                o.valid.eq(i.valid | spared),
                o.payload.as_value().eq(Mux(spared, spare, i.payload)),
                spared.eq(0),
            ]
        with m.Elif(i.valid):
            m.d.sync += spared.eq(1)
        return m
