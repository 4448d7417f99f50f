"""Events of an image in order of time, where a layer needs that and they come otherwise."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import Component, event_layout, number
from firstspike_rtl.core.tables import Table


class Sorter(Component):
    """Events of an image in order of time, with a watermark after every step.

    A bucket sort: each step has a linked list of neurons, threaded through one memory of N entries. It stores a whole
    image, then sends it; events of the same step keep their order. If a neuron comes twice in an image, the lists are
    damaged: no more events are sent than came, and ``fault`` is set in the final watermark if their number is wrong.

    Latency: 2 clocks from the final watermark in to the first event out.
    Throughput: 1 clock an event while storing, then ``spikes + T`` clocks while sending.

    Parameters
    ----------
    hardware
        The core; its input population is sorted.

    Members
    -------
    i : In(stream of events), in any order, ended by the final watermark
    o : Out(stream of events)
    """

    LATENCY = 2

    def __init__(self, hardware: Hardware) -> None:
        self._neurons, self._steps = hardware.sizes[0], hardware.steps
        self._index_bits = hardware.index_bits(0)
        signature = stream.Signature(event_layout(hardware, 0))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        index_bits, steps = self._index_bits, self._steps
        head: Table = Memory(shape=index_bits, depth=max(2, steps), init=[])
        tail: Table = Memory(shape=index_bits, depth=max(2, steps), init=[])
        following: Table = Memory(shape=index_bits, depth=1 << index_bits, init=[])
        m.submodules.head, m.submodules.tail, m.submodules.next = head, tail, following
        head_read = head.read_port(domain="comb")
        tail_read = tail.read_port(domain="comb")
        next_read = following.read_port()
        head_write = head.write_port()
        tail_write = tail.write_port()
        next_write = following.write_port()

        sending = Signal()
        used = Signal(steps)  # steps that have an event
        flags = Array(used)
        fault = Signal()
        left = Signal(range(self._neurons + 1))  # events stored and not yet sent
        too_many = Signal()
        k = Signal(number(steps))
        first = Signal(init=1)
        ended = Signal()
        i, o = self.i.payload, self.o.payload
        step = Signal()
        m.d.comb += step.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        current = Signal(index_bits)
        m.d.comb += [
            self.i.ready.eq(~sending),
            head_read.addr.eq(k),
            tail_read.addr.eq(Mux(sending, k, i.step)),
            current.eq(Mux(first, head_read.data, next_read.data)),
            next_read.addr.eq(current),
            next_read.en.eq(step),
            head_write.addr.eq(i.step),
            head_write.data.eq(i.index),
            tail_write.addr.eq(i.step),
            tail_write.data.eq(i.index),
            next_write.addr.eq(tail_read.data),
            next_write.data.eq(i.index),
        ]

        with m.If(~sending & self.i.valid):
            with m.If(~i.mark):
                occupied = flags[i.step]
                m.d.comb += [head_write.en.eq(~occupied), next_write.en.eq(occupied), tail_write.en.eq(1)]
                m.d.sync += flags[i.step].eq(1)
                with m.If(left == self._neurons):
                    m.d.sync += too_many.eq(1)
                with m.Else():
                    m.d.sync += left.eq(left + 1)
            with m.Elif(i.step == steps - 1):
                m.d.sync += [sending.eq(1), fault.eq(i.fault | too_many), too_many.eq(0)]

        with m.If(sending & step):
            m.d.sync += [self.o.valid.eq(1), o.step.eq(k)]
            pending = flags[k] & ~ended
            with m.If(pending & (left != 0)):
                m.d.sync += [
                    o.mark.eq(0),
                    o.fault.eq(0),
                    o.index.eq(current),
                    first.eq(0),
                    ended.eq(current == tail_read.data),
                    left.eq(left - 1),
                ]
            with m.Else():
                wrong = fault | pending | (left != 0)
                m.d.sync += [o.mark.eq(1), first.eq(1), ended.eq(0), o.fault.eq(wrong & (k == steps - 1))]
                with m.If(k == steps - 1):
                    m.d.sync += [k.eq(0), used.eq(0), left.eq(0), sending.eq(0)]
                with m.Else():
                    m.d.sync += [k.eq(k + 1), fault.eq(fault | pending)]
        return m
