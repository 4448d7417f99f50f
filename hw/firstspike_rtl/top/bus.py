"""AXI4-Lite registers: identity, control, counters, memory loading."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firstspike.contract import registers
from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike_rtl.core.layouts import Component, LoadSignature, number
from firstspike_rtl.core.tables import Contents, add_table

OKAY, SLVERR = 0, 2


class LiteSignature(wiring.Signature):
    """AXI4-Lite, 32 bits of data, seen from the master."""

    def __init__(self, address_bits: int = registers.ADDRESS_BITS) -> None:
        super().__init__(
            {
                "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
                "wdata": Out(WORD_BITS), "wstrb": Out(WORD_BITS // 8), "wvalid": Out(1), "wready": In(1),
                "bresp": In(2), "bvalid": In(1), "bready": Out(1),
                "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
                "rdata": In(WORD_BITS), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
            }
        )  # fmt: skip


def watched(hardware: Hardware) -> dict[str, int]:
    """Members of the core that its registers watch, with their widths."""
    layers = len(hardware.layers)
    counted = {"faulty": 1, "spikes": layers, "active": layers} if hardware.counters else {}
    return {"started": 1, "finished": 1, **counted}


class Registers(Component):
    """The register map of :mod:`firstspike.contract.registers` on AXI4-Lite.

    A read of an address without a register, a write to one that cannot be written or with less than four bytes, and
    ``load_data`` while enabled or after the memory's last word are answered with SLVERR and change nothing. Counters
    count modulo 2**32, clocks modulo 2**64: reading their low word holds the high one for the next read.

    Address and data of a request are held in registers until it is executed: ``ready`` comes from registers alone, and
    the address of a write may come before its data, or after it. While an answer waits the next request is held.

    ::

        clock     0    1    2    3    4    5    6
        awvalid   A    B    B    B                   wvalid likewise, in the same clocks or in others
        awready   1    0    0    1    0    0    1
        write               A              B         executed, if no answer waits
        bvalid                   A              B

    Latency: :attr:`LATENCY` clocks from the address of a read to its answer, :attr:`WRITE_LATENCY` from address and
    data of a write.
    Throughput: a read every :attr:`INTERVAL` clocks, and a write every :attr:`WRITE_INTERVAL`.

    Members
    -------
    bus : In(LiteSignature)
    load : Out(LoadSignature)
    enable, send_membranes : Out(1)
    started, finished : In(1), as those of :class:`firstspike_rtl.core.datapath.Core`
    faulty, spikes, active : In, likewise; only with counters
    """

    LATENCY, INTERVAL = 3, 3
    WRITE_LATENCY, WRITE_INTERVAL = 3, 3

    def __init__(self, hardware: Hardware, contents: Contents) -> None:
        self._hardware, self._contents = hardware, contents
        self.clocks = Signal(2 * WORD_BITS)  # while enabled
        super().__init__(
            {
                "bus": In(LiteSignature()),
                "load": Out(LoadSignature(hardware)),
                "enable": Out(1),
                "send_membranes": Out(1),
                **{name: In(width) for name, width in watched(hardware).items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, table = self.bus, registers.register_map(self._hardware)
        clear = Signal()
        in_core = Signal(8)
        with m.If(self.started != self.finished):
            m.d.sync += in_core.eq(Mux(self.started, in_core + 1, in_core - 1))
        with m.If(~self.enable):
            m.d.sync += in_core.eq(0)

        # A clocked port, so that the digest need not be in flip-flops where there is no look-up memory.
        digest = add_table(m, self._hardware.memory("digest"), self._contents, self.load).read_port()
        address = Signal(len(bus.araddr) - 2)
        reading = Signal()
        m.d.comb += digest.addr.eq(address)
        values: dict[str, list[Value]] = {
            "control": [Cat(self.enable, self.send_membranes)],
            "status": [in_core != 0],
            "load_memory": [self.load.memory],
        }
        constants = registers.constants(self._hardware)
        for name, numbers in constants.items():
            values[name] = [Const(number, WORD_BITS) for number in numbers]
        high_clocks = Signal(WORD_BITS)
        if self._hardware.counters:
            values |= self._counters(m, clear, high_clocks)

        # Constants, counters of layers, and the rest are chosen by themselves, and put together a clock later.
        groups = {"constant": constants.keys(), "of_layers": {"spikes", "active"}}
        groups["other"] = values.keys() - set().union(*groups.values())
        kinds = [{name: words for name, words in values.items() if name in group} for group in groups.values()]
        found = Signal()
        of_digest = Signal()
        chosen = [Signal(WORD_BITS, name=name) for name in groups]
        known = [Signal(name=f"{word.name}_known") for word in chosen]
        m.d.comb += bus.arready.eq(~reading)
        with m.If(bus.arready):
            m.d.sync += [reading.eq(bus.arvalid), address.eq(bus.araddr[2:])]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(reading & ~found):
            rows = [table["digest"].address(index) >> 2 for index in range(table["digest"].count)]
            m.d.sync += [found.eq(1), of_digest.eq(address.matches(*rows))]
            for kind, target, flag in zip(kinds, chosen, known, strict=True):
                m.d.sync += [target.eq(0), flag.eq(0)]
                with m.Switch(address):
                    for name, words in kind.items():
                        for index, word in enumerate(words):
                            with m.Case(table[name].address(index) >> 2):
                                m.d.sync += [target.eq(word), flag.eq(1)]
                                if (name, index) == ("clocks", 0):
                                    m.d.sync += high_clocks.eq(self.clocks[WORD_BITS:])
        with m.If(found & ~bus.rvalid):
            of_table = Mux(of_digest, digest.data, 0)
            m.d.sync += [reading.eq(0), found.eq(0), bus.rvalid.eq(1), bus.rdata.eq(reduce(or_, chosen, of_table))]
            m.d.sync += bus.rresp.eq(Mux(Cat(known, of_digest).any(), OKAY, SLVERR))

        self._writes(m, table, clear)
        return m

    def _counters(self, m: Module, clear: Signal, high_clocks: Signal) -> dict[str, list[Value]]:
        def counter(name: str, increment: Value) -> Signal:
            value = Signal(WORD_BITS, name=name)
            m.d.sync += value.eq(Mux(clear, 0, value + increment))
            return value

        # Two counters: a carry through 64 bits would come late.
        low, high = self.clocks[:WORD_BITS], self.clocks[WORD_BITS:]
        m.d.sync += low.eq(low + self.enable)
        with m.If(low.all() & self.enable):
            m.d.sync += high.eq(high + 1)
        with m.If(clear):
            m.d.sync += self.clocks.eq(0)
        return {
            "images": [counter("images", self.finished)],
            "faults": [counter("faults", self.faulty)],
            "clocks": [low, high_clocks],
            "spikes": [counter(f"spikes{p}", bit) for p, bit in enumerate(self.spikes)],
            "active": [counter(f"active{n}", bit) for n, bit in enumerate(self.active)],
        }

    def _writes(self, m: Module, table: dict[str, registers.Register], clear: Signal) -> None:
        bus, load = self.bus, self.load
        held = Signal(2)  # address, data
        begun = Signal()
        whole = Signal()
        large = Signal()  # the word is the number of no memory
        targets = {name: Signal(name=f"to_{name}") for name in ("control", "load_memory", "load_data")}
        writes = {name: Signal(name=f"write_{name}") for name in targets}
        word_in = Signal(WORD_BITS)
        row = Signal.like(load.row)
        word = Signal(number(max(memory.words for memory in self._hardware.memories)))
        full = Signal()
        last = Signal()
        last_row = Signal()
        begin = held.all() & ~bus.bvalid & ~begun
        m.d.comb += [bus.awready.eq(~held[0]), bus.wready.eq(~held[1])]
        with m.If(bus.awready):
            m.d.sync += held[0].eq(bus.awvalid)
            m.d.sync += [flag.eq(bus.awaddr[2:] == table[name].address() >> 2) for name, flag in targets.items()]
        with m.If(bus.wready):
            m.d.sync += [held[1].eq(bus.wvalid), whole.eq(bus.wstrb.all()), word_in.eq(bus.wdata)]
            m.d.sync += large.eq(bus.wdata[len(load.memory) :].any())
        # Whether the word is to be loaded is known late. One that is not will be overwritten before its row is written.
        m.d.sync += [clear.eq(0), load.valid.eq(0), load.data.word_select(word, WORD_BITS).eq(word_in)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        # First it is known what is written, a clock later it is.
        allowed = {
            "control": Const(1),
            "load_memory": ~large & (word_in[: len(load.memory)] < len(self._hardware.memories)),
            "load_data": ~self.enable & ~full,
        }
        m.d.sync += begun.eq(begin)
        m.d.sync += [writes[name].eq(begin & whole & to & allowed[name]) for name, to in targets.items()]
        with m.If(begun):
            m.d.sync += [held.eq(0), bus.bvalid.eq(1), bus.bresp.eq(Mux(Cat(*writes.values()).any(), OKAY, SLVERR))]
        with m.If(writes["control"]):
            m.d.sync += [self.enable.eq(word_in[0]), self.send_membranes.eq(word_in[1]), clear.eq(word_in[2])]
        with m.If(writes["load_memory"]):
            m.d.sync += [load.memory.eq(word_in), row.eq(0), word.eq(0), full.eq(0)]
        with m.If(writes["load_data"]):
            m.d.sync += [load.valid.eq(last), load.row.eq(row)]
            m.d.sync += [word.eq(Mux(last, 0, word + 1)), row.eq(row + last), full.eq(last & last_row)]
        # Registers, which are right again when the next write is begun: two clocks later, or more.
        with m.Switch(load.memory):
            for memory in self._hardware.memories:
                with m.Case(memory.index):
                    m.d.sync += [last.eq(word == memory.words - 1), last_row.eq(row == memory.depth - 1)]
