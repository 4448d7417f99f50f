"""Places where items of a stream wait, so that no path of ``ready`` is long."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike_rtl.core.layouts import Component
from firstspike_rtl.core.tables import BLOCK_BITS, Table, has_lookup_memory, in_registers


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
        there = i.valid | spared
        with m.If(~o.valid | o.ready):
            m.d.sync += [o.valid.eq(there), o.payload.as_value().eq(Mux(spared, spare, i.payload))]
        m.d.sync += spared.eq(there & o.valid & ~o.ready)
        return m


class Queue(Component):
    """Items from a pipeline that cannot wait. Before it is full, ``room`` says that no more should be begun.

    Latency: 1 clock. Throughput: 1 clock an item.

    Parameters
    ----------
    layout
        Of an item.
    under_way
        Items that may still come when ``room`` falls, at most.
    least
        Items that fit in, at least.

    Members
    -------
    valid : In(1), item : In(layout)
        An item, which is always taken.
    room : Out(1)
        One more item may be begun. It falls when more than :meth:`limit` items are there.
    o : Out(stream)
    """

    LATENCY = 1
    #: Rows of a look-up memory.
    LEAST_DEPTH = 16
    #: Items that wait while more may be begun, at least.
    LEAST_LIMIT = 4

    def __init__(self, layout: data.StructLayout, under_way: int, least: int = LEAST_DEPTH) -> None:
        self._layout, self._depth, self._limit = layout, self.depth(under_way, least), self.limit(under_way, least)
        room = Out(1, init=1)  # type: ignore[call-arg]  # amaranth-stubs know the name of before 0.5
        super().__init__({"valid": In(1), "item": In(layout), "room": room, "o": Out(stream.Signature(layout))})

    @classmethod
    def depth(cls, under_way: int, least: int = LEAST_DEPTH) -> int:
        """Items that fit in."""
        return max(least, 1 << (under_way + cls.LEAST_LIMIT).bit_length())

    @classmethod
    def limit(cls, under_way: int, least: int = LEAST_DEPTH) -> int:
        """Items in the queue up to which one more may be begun: it and all under way find room."""
        return cls.depth(under_way, least) - under_way - 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        level = Signal(range(self._depth + 1))
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        if has_lookup_memory(platform):
            rows: Table = Memory(shape=self._layout.size, depth=self._depth, init=[])
            m.submodules.rows = rows
            write = rows.write_port()
            read = rows.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(self.valid),
                write.data.eq(self.item),
                self.o.payload.as_value().eq(read.data),
            ]
            m.d.sync += [write.addr.eq(write.addr + self.valid), read.addr.eq(read.addr + taken)]
        else:
            self._in_blocks(m, taken, platform)
        # What is asked of the level is known a clock before.
        with m.If(self.valid & ~taken):
            m.d.sync += [level.eq(level + 1), self.o.valid.eq(1), self.room.eq(level < self._limit)]
        with m.Elif(taken & ~self.valid):
            m.d.sync += [level.eq(level - 1), self.o.valid.eq(level != 1), self.room.eq(level <= self._limit + 1)]
        return m

    def _in_blocks(self, m: Module, taken: Signal, platform: object) -> None:
        """The rows where there is no look-up memory: in block memory, and few bits that are left over in registers."""
        size = self._layout.size
        whole = size - size % BLOCK_BITS
        few = 0 < whole < size and in_registers(platform, self._depth, size - whole)
        newest = Signal(range(self._depth))
        oldest = Signal(range(self._depth))
        m.d.sync += [newest.eq(newest + self.valid), oldest.eq(oldest + taken)]
        for number, bits in enumerate([slice(0, whole), slice(whole, size)] if few else [slice(0, size)]):
            width = bits.stop - bits.start
            rows: Table = Memory(shape=width, depth=self._depth, init=[])
            m.submodules[f"rows{number}"] = rows
            write = rows.write_port()
            m.d.comb += [write.addr.eq(newest), write.en.eq(self.valid), write.data.eq(self.item.as_value()[bits])]
            if in_registers(platform, self._depth, width):
                read = rows.read_port(domain="comb")
                m.d.comb += read.addr.eq(oldest)
            else:  # it is asked a clock before
                read = rows.read_port(transparent_for=(write,))
                m.d.comb += read.addr.eq(oldest + taken)
            m.d.comb += self.o.payload.as_value()[bits].eq(read.data)
