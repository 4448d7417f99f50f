"""From words with an event each to the events of the input population."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import EVENT_WORD, WORD, Component, event_layout


class EventInput(Component):
    """Spikes from words: one event a word (``EVENT_WORD``, fields ``index``, ``step`` and ``mark``).

    A frame is one image, ``last`` in its last word; a word with ``mark`` carries no spike (an image without spikes is
    one such word). Spikes may come in any order; no neuron may come more often than it may fire (the result of such an
    image is undefined). A spike outside the population or the window is dropped and sets ``fault`` in the final
    watermark.

    Latency: 1 clock. Throughput: 1 clock a word, and 1 for the watermark.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(event_layout(hardware, 0)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        codes = self._hardware.layers[0].input_codes
        event = data.View(EVENT_WORD, self.i.payload.data)
        inside = Signal()
        m.d.comb += inside.eq(_exists(self._hardware, event.index) & (event.step < codes))

        ending = Signal()
        fault = Signal()
        step = Signal()
        m.d.comb += [step.eq(~self.o.valid | self.o.ready), self.i.ready.eq(step & ~ending)]
        with m.If(step):
            m.d.sync += self.o.valid.eq(0)
            with m.If(ending):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.payload.mark.eq(1),
                    self.o.payload.fault.eq(fault),
                    self.o.payload.step.eq(codes - 1),
                    ending.eq(0),
                    fault.eq(0),
                ]
            with m.Elif(self.i.valid):
                m.d.sync += [
                    self.o.valid.eq(inside & ~event.mark),
                    self.o.payload.mark.eq(0),
                    self.o.payload.fault.eq(0),
                    self.o.payload.step.eq(event.step),
                    self.o.payload.index.eq(event.index),
                    ending.eq(self.i.payload.last),
                    fault.eq(fault | (~inside & ~event.mark)),
                ]
        return m


class TrainInput(Component):
    """Spikes of neurons that may fire again, from words as of :class:`EventInput`, in order of their steps.

    A watermark follows each step, before the first word of a later one or after the last word of the frame. A word with
    ``mark`` carries no spike: it says that time has come to its step. A word whose step is before that of another, or
    that names a neuron or a step which does not exist, is dropped and sets ``fault`` in the final watermark.

    Latency: :attr:`LATENCY` clocks from a word to its spike. Throughput: 1 clock a word, and 1 a step.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    """

    LATENCY = 2

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(event_layout(hardware, 0)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        final = self._hardware.steps - 1
        given, o = data.View(EVENT_WORD, self.i.payload.data), self.o.payload
        # A word that waits for the watermarks of the steps before its own.
        held = Signal()
        step = Signal.like(o.step)
        index = Signal.like(o.index)
        spike = Signal()
        exists = Signal()
        last = Signal()
        k = Signal.like(o.step)  # time has come so far
        ending = Signal()
        fault = Signal()

        moves = Signal()
        takes = Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            takes.eq(moves & held & ~ending & (~exists | (step <= k))),
            self.i.ready.eq(~held | takes),
        ]
        with m.If(moves):
            m.d.sync += [o.step.eq(k), o.index.eq(index), o.fault.eq(0)]
            with m.If(takes):
                m.d.sync += [
                    self.o.valid.eq(spike & exists & (step == k)),
                    o.mark.eq(0),
                    ending.eq(last),
                    fault.eq(fault | ~exists | (step != k)),
                ]
            with m.Elif(held | ending):
                m.d.sync += [self.o.valid.eq(1), o.mark.eq(1), k.eq(k + 1)]
                with m.If(k == final):
                    m.d.sync += [k.eq(0), ending.eq(0), o.fault.eq(fault), fault.eq(0)]
            with m.Else():
                m.d.sync += self.o.valid.eq(0)
        with m.If(takes):
            m.d.sync += held.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                held.eq(1),
                step.eq(given.step),
                index.eq(given.index),
                spike.eq(~given.mark),
                exists.eq((given.mark | _exists(self._hardware, given.index)) & (given.step <= final)),
                last.eq(self.i.payload.last),
            ]
        return m


def event_input(hardware: Hardware) -> type[EventInput | TrainInput]:
    """The input stage of a core that takes events."""
    return TrainInput if hardware.ordered[0] and hardware.repeat else EventInput


def _exists(hardware: Hardware, index: Value) -> Value:
    """Whether there is an input neuron of this index."""
    exists: Value = Const(1)
    rest = index
    for size, stride in zip(hardware.layers[0].map, hardware.strides(0), strict=True):
        bits = stride.bit_length() - 1
        exists &= rest[bits:] < size
        rest = rest[:bits]
    return exists
