"""At power-up: the small memories of a core, loaded from one block memory before the host gets the bus.

Weights are in block memories of their own, whose contents a bitstream can change. All other memories are small and may
be anything that synthesis likes; their contents come as a list of register writes in one more block memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory as lib_memory
from amaranth.lib.wiring import Out

from firstspike.contract.hardware import Hardware
from firstspike.contract.images import Contents, load_words
from firstspike.contract.memory import WORD_BITS, Memory
from firstspike.contract.registers import load_order, register_map
from firstspike_rtl.core.layouts import Component, number
from firstspike_rtl.core.tables import Table
from firstspike_rtl.top.bus import OKAY, LiteSignature

NAME = "boot"
#: A row is a number for ``load_memory`` or a word for ``load_data``. Which of them it is follows from the hardware, so
#: that the list has no bit for it: a 33rd one would take another block of an iCE40.
ROW_BITS = WORD_BITS


def booted(hardware: Hardware) -> list[Memory]:
    """The memories that are loaded at power-up, in the order of every load; the digest holds zeros until then."""
    return [memory for memory in load_order(hardware) if memory.role != "weight"]


def _bounds(hardware: Hardware) -> list[int]:
    """Where the rows of each memory begin, and where the last ones end."""
    return list(accumulate((1 + memory.depth * memory.words for memory in booted(hardware)), initial=0))


def depth(hardware: Hardware) -> int:
    """Rows of the list."""
    return _bounds(hardware)[-1]


def selections(hardware: Hardware) -> list[int]:
    """The rows that are for ``load_memory``."""
    return _bounds(hardware)[:-1]


def rows(hardware: Hardware, contents: Contents) -> list[int]:
    """The list that loads ``contents`` (:func:`firstspike.contract.images.contents`).

    Raises
    ------
    FirstspikeError
        if the contents are not for this hardware.
    """
    words = load_words(contents, hardware)
    return [row for memory in booted(hardware) for row in (memory.index, *words[memory.name])]


def power_up(hardware: Hardware, contents: Contents) -> Contents:
    """What the memories of a core with a :class:`Boot` hold before it loads ``contents``: weights, and the list."""
    empty = {memory.name: [0] * memory.depth for memory in booted(hardware)}
    return contents | empty | {NAME: rows(hardware, contents)}


class Boot(Component):
    """Replays the list once after configuration of the device; a reset in the middle begins it again, a later one not.

    A write that is refused ends it: then the core holds no digest, and a host loads it.

    Latency: :attr:`CLOCKS_PER_ROW` clocks a row on :class:`firstspike_rtl.top.bus.Registers`.

    Parameters
    ----------
    hardware
        Of the core.
    init
        Power-up contents of the block memory, as many rows as it is to have: those of :func:`rows`, or more.

    Members
    -------
    bus : Out(LiteSignature)
    done : Out(1); until then the bus belongs to this component
    """

    CLOCKS_PER_ROW = 6

    def __init__(self, hardware: Hardware, init: Sequence[int]) -> None:
        self._hardware, self._init = hardware, init
        self._depth = depth(hardware)
        if len(init) < self._depth:
            raise ValueError(f"{len(init)} rows for a list of {self._depth}")
        super().__init__({"bus": Out(LiteSignature()), "done": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, registers = self.bus, register_map(self._hardware)
        rows: Table = lib_memory.Memory(
            shape=ROW_BITS, depth=len(self._init), init=self._init, attrs={"ram_style": "block"}
        )
        m.submodules[NAME] = rows
        read = rows.read_port()
        position = Signal(number(len(self._init)))
        word = Signal(ROW_BITS, reset_less=True)  # block memory is slow
        sent = Signal(2)  # address, data
        select = Signal()
        m.d.comb += select.eq(Cat(position == row for row in selections(self._hardware)).any())
        # No reset: the host may have loaded another network since.
        done = Signal(reset_less=True)
        m.d.comb += [
            self.done.eq(done),
            read.addr.eq(position),
            bus.awaddr.eq(Mux(select, registers["load_memory"].address(), registers["load_data"].address())),
            bus.wdata.eq(word),
            bus.wstrb.eq(~0),
        ]
        m.d.sync += word.eq(read.data)
        with m.FSM():
            with m.State("FETCH"), m.If(~done):
                m.next = "HOLD"
            with m.State("HOLD"):
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [bus.awvalid.eq(~sent[0]), bus.wvalid.eq(~sent[1])]
                taken = sent | Cat(bus.awready, bus.wready)
                m.d.sync += sent.eq(taken)
                with m.If(taken.all()):
                    m.d.sync += sent.eq(0)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += bus.bready.eq(1)
                with m.If(bus.bvalid):
                    m.d.sync += position.eq(position + 1)
                    with m.If((position == self._depth - 1) | (bus.bresp != OKAY)):
                        m.d.sync += done.eq(1)
                    m.next = "FETCH"
        return m
