"""Small designs for the models of FPGA cells: memories and products of every form that a core has, and then some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike_rtl.core.tables import NO_RW_CHECK

#: Bits of the output for each design.
SLOT_BITS = 72
#: Random inputs of all designs; the addresses are often the same.
INPUTS = data.StructLayout({"address": data.ArrayLayout(32, 2), "control": 64, "data": 128})


@dataclass(frozen=True, kw_only=True)
class Ram:
    """A memory with random initial contents, one write and one read.

    Parameters
    ----------
    read
        What is read of a place that is written in the same clock: what is there (``old``), what is written (``new``),
        or nothing, the output holds (``hold``). ``now`` reads without a clock.
    one_address
        Reading where writing.
    apart
        Reading never where writing, which the memory is said to be used for.
    granularity
        Bits that are written together; default: all.
    enable
        Whether the read has an enable.
    behind
        A register behind the read: ``always`` taken, or ``enabled``.
    """

    depth: int
    width: int
    read: Literal["old", "new", "hold", "now"] = "old"
    one_address: bool = False
    apart: bool = False
    granularity: int | None = None
    enable: bool = False
    behind: Literal["always", "enabled"] | None = None
    style: str | None = "block"

    def add(self, m: Module, name: str, x: data.View, rng: np.random.Generator) -> Value:
        """Put the memory into ``m``; returns what is read."""
        rows = [int.from_bytes(rng.bytes(9)) % (1 << self.width) for _ in range(self.depth)]
        attributes = {} if self.style is None else {"ram_style": self.style}
        attributes |= NO_RW_CHECK if self.apart else {}
        m.submodules[name] = memory = Memory(shape=unsigned(self.width), depth=self.depth, init=rows, attrs=attributes)
        write = memory.write_port(granularity=self.granularity)
        if self.read == "now":
            read = memory.read_port(domain="comb")
        else:
            read = memory.read_port(transparent_for=(write,) if self.read == "new" else ())
            m.d.comb += read.en.eq((x.control[32] | (not self.enable)) & ~((self.read == "hold") & write.en.any()))
        other = Cat(~x.address[0][0], x.address[1][1:]) if self.apart else x.address[0 if self.one_address else 1]
        for port, raw in ((write, x.address[0]), (read, other)):
            address = raw[: (self.depth - 1).bit_length()]
            m.d.comb += port.addr.eq(Mux(address < self.depth, address, address[:-1]))
        m.d.comb += [write.en.eq(x.control), write.data.eq(x.data)]
        if self.behind is None:
            return read.data
        held = Signal(self.width, name=f"{name}_held", reset_less=True)
        with m.If((self.behind == "always") | x.control[33]):
            m.d.sync += held.eq(read.data)
        return held


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of two numbers, signed or not, with registers before and behind it or without any."""

    a: Shape
    b: Shape
    registers: bool

    def add(self, m: Module, name: str, x: data.View, rng: np.random.Generator) -> Value:
        """Put the product into ``m``; returns it."""
        a, b = Signal(self.a), Signal(self.b)
        product = Signal(self.a.width + self.b.width)
        domain = m.d.sync if self.registers else m.d.comb
        domain += [a.eq(x.data), b.eq(x.data[64:]), product.eq(a * b)]
        return product


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A sum with a function of two or three bits in front of one operand.

    Parameters
    ----------
    before
        What is in front of it: a choice, by a bit or its inverse, a mask, or what fits into no adder.
    """

    before: Literal["choice", "other_choice", "mask", "any"]

    def add(self, m: Module, name: str, x: data.View, rng: np.random.Generator) -> Value:
        """Put the sum into ``m``; returns it."""
        a, b, c = (x.data[20 * n : 20 * n + 20] for n in range(3))
        control = x.control[34]
        choice = {
            "choice": Mux(control, a, b),
            "other_choice": Mux(control, b, a),
            "mask": a & control.replicate(20),
            "any": a | b | control.replicate(20),
        }[self.before]
        total = Signal(21)
        m.d.sync += total.eq(choice + c)
        return total


DESIGNS: Mapping[str, Ram | Product | Sum] = {
    # One for each width of a block memory's port.
    "bits": Ram(depth=8300, width=1),
    "pairs": Ram(depth=4200, width=2),
    "nibbles": Ram(depth=2100, width=4),
    "bytes": Ram(depth=1100, width=9),
    "words": Ram(depth=600, width=18),
    "long_words": Ram(depth=300, width=36),
    # As the memories of a core: rows of words that are enabled one by one; depths and widths of no power of two.
    "weights": Ram(depth=96, width=64, granularity=32),
    "many_weights": Ram(depth=1568, width=64, granularity=32),
    "bias": Ram(depth=128, width=20, enable=True),
    "halves": Ram(depth=700, width=18, granularity=9, enable=True),
    "membranes": Ram(depth=520, width=50, read="new", enable=True, style=None),
    # With the output register of a block memory.
    "held_bits": Ram(depth=8300, width=1, apart=True, behind="always"),
    "held_bytes": Ram(depth=1100, width=9, apart=True, behind="always", enable=True),
    "held_long_words": Ram(depth=300, width=36, apart=True, behind="always"),
    "held_enabled": Ram(depth=600, width=18, apart=True, behind="enabled", enable=True),
    "held_long_enabled": Ram(depth=300, width=36, apart=True, behind="enabled"),
    "held_rows": Ram(depth=1568, width=64, apart=True, behind="always"),
    # Reading where writing, in each way.
    "one_address_old": Ram(depth=600, width=18, one_address=True),
    "one_address_new": Ram(depth=1100, width=9, one_address=True, read="new", style=None),
    "one_address_hold": Ram(depth=600, width=18, one_address=True, read="hold", granularity=9),
    "one_address_enable": Ram(depth=1100, width=8, one_address=True, enable=True),
    # Look-up memory.
    "shallow": Ram(depth=16, width=7, style="distributed"),
    "shallow_now": Ram(depth=32, width=17, read="now", style="distributed"),
    "shallow_parts": Ram(depth=24, width=12, granularity=4, enable=True, style="distributed"),
    # Adders that take in what is before them, and one that cannot.
    "sum_choice": Sum(before="choice"),
    "sum_other_choice": Sum(before="other_choice"),
    "sum_mask": Sum(before="mask"),
    "sum_any": Sum(before="any"),
    # Multipliers; the last one is larger than a cell.
    "signed": Product(a=signed(18), b=signed(18), registers=True),
    "unsigned": Product(a=unsigned(18), b=unsigned(18), registers=False),
    "mixed": Product(a=signed(6), b=unsigned(8), registers=True),
    "mixed_wide": Product(a=unsigned(17), b=signed(16), registers=False),
    "large": Product(a=signed(24), b=signed(21), registers=True),
}


class Cells(wiring.Component):
    """All of them, side by side.

    Members
    -------
    x : In(INPUTS)
    o : Out(ArrayLayout(SLOT_BITS, designs)), in their order
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        super().__init__({"x": In(INPUTS), "o": Out(data.ArrayLayout(SLOT_BITS, len(DESIGNS)))})

    def elaborate(self, platform) -> Module:
        m = Module()
        rng = np.random.default_rng(self._seed)
        for slot, (name, design) in enumerate(DESIGNS.items()):
            m.d.comb += self.o[slot].eq(design.add(m, name, self.x, rng))
        return m
