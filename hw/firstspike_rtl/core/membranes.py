"""The membranes of a layer in two banks: one is added to while the other is read."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.layouts import Component, number
from firstspike_rtl.core.tables import Table, has_lookup_memory, in_registers

#: Lanes whose rows have one address: more would take long to reach.
LANES_TOGETHER = 32


class AddSignature(wiring.Signature):
    """A row of membranes to add to: ``valid``, ``bank`` and ``row``; one clock later the ``products``."""

    def __init__(self, shape: LayerShape) -> None:
        bits = shape.weight_bits + (shape.kernel_bits if shape.product == "multiply" else shape.kernel_bits - 1)
        super().__init__(
            {
                "valid": Out(1),
                "bank": Out(1),
                "row": Out(number(shape.membrane_rows)),
                "products": Out(data.ArrayLayout(signed(bits), shape.lanes)),
            }
        )


class ScanSignature(wiring.Signature):
    """Reading the rows of a bank, and clearing them.

    ========= ====================================================================================
    member    meaning
    ========= ====================================================================================
    active    from the first address to the last data: the bank belongs to the reader
    bank, row address
    values    data of the address one clock before
    clear     banks of which ``clear_row`` is set to zero at the end of the clock; it is not addressed in that clock
    ========= ====================================================================================
    """

    def __init__(self, shape: LayerShape) -> None:
        row = number(shape.membrane_rows)
        super().__init__(
            {
                "active": Out(1),
                "bank": Out(1),
                "row": Out(row),
                "values": In(data.ArrayLayout(signed(shape.bank_bits), shape.lanes)),
                "clear": Out(2),
                "clear_row": Out(row),
            }
        )


class Membranes(Component):
    """Two banks of membranes without their bias, ``lanes`` side by side in a row.

    Adding reads a row, and knows the sum one clock later; the next addition sees it, so that the same row can be added
    to in every clock. Sums wrap, but a membrane that its bias was added to is right: its
    width is that of the worst case. A lane has its own columns of both banks: no update ever waits for another.

    Clearing takes no choice between a sum and a zero in any lane. A few rows (:attr:`LayerShape.shallow`) lie in one
    look-up memory, beside a row that is never written: it is read in place of one that holds nothing. More rows lie in
    two block memories, and have one bit more, which says whether the row holds anything.

    Latency: 1 clock from an address to what is added to, :attr:`LATENCY` to what a scan reads. A row may be scanned
    :attr:`SETTLED` clocks after it was added to.
    Throughput: one row added to, and one row read, in every clock; a row is cleared instead of added to.

    Parameters
    ----------
    shape
        The layer.

    Members
    -------
    add : In(AddSignature)
    scan : In(ScanSignature)
    """

    LATENCY = 2
    SETTLED = 2

    def __init__(self, shape: LayerShape) -> None:
        self.shape = shape
        super().__init__({"add": In(AddSignature(shape)), "scan": In(ScanSignature(shape))})

    @staticmethod
    def shallow(shape: LayerShape, platform: object = None) -> bool:
        """Whether the rows lie in look-up memory; where a device has none, a single row lies in registers."""
        return shape.shallow if has_lookup_memory(platform) else shape.membrane_rows == 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = data.ArrayLayout(signed(self.shape.bank_bits), self.shape.lanes)
        old: Any = Signal(lanes)
        new: Any = Signal(lanes)
        read: Any = Signal(lanes)
        values = Signal(lanes.size, reset_less=True)
        m.d.comb += [total.eq(v + p) for total, v, p in zip(new, old, self.add.products, strict=True)]
        m.d.sync += values.eq(read)
        m.d.comb += self.scan.values.as_value().eq(values)
        if self.shallow(self.shape, platform):
            self._one_memory(m, old.as_value(), new.as_value(), read.as_value())
        else:
            self._two_banks(m, old.as_value(), new.as_value(), read.as_value(), platform)
        return m

    def _one_memory(self, m: Module, old: Value, new: Value, read: Value) -> None:
        add, scan = self.add, self.scan
        rows = self.shape.membrane_rows
        places = 2 << len(scan.row)
        empty = places // 2 + rows if rows < places // 2 else places

        held = Signal(places)  # places of which the row holds anything
        kept = Signal(places)
        add_place, scan_place = Cat(add.row, add.bank), Cat(scan.row, scan.bank)
        m.d.comb += kept.eq(
            held
            & ~Cat(
                (scan.clear_row == place % (places // 2)) & scan.clear[place // (places // 2)]
                for place in range(places)
            )
        )
        m.d.sync += held.eq(kept | (add.valid << add_place))
        add_row = Mux(Array(held)[add_place], add_place, empty)
        scan_row = Mux(Array(held)[scan_place], scan_place, empty)
        # A sum is written a clock after it was made: from memory to memory a clock would have to be longer.
        place = Signal.like(add_place)
        valid = Signal()
        sums = Signal.like(new, reset_less=True)
        m.d.sync += [place.eq(add_place), valid.eq(add.valid), sums.eq(new)]
        bits = self.shape.bank_bits
        address_bits = number(empty + 1)
        for part, first in enumerate(range(0, self.shape.lanes, LANES_TOGETHER)):
            # Registers and an order of rows of its own: else synthesis would make one register of all of a kind.
            order = part % (1 << address_bits)
            mine = slice(first * bits, min(first + LANES_TOGETHER, self.shape.lanes) * bits)
            memory: Table = Memory(shape=mine.stop - mine.start, depth=1 << address_bits, init=[])
            m.submodules[f"rows{part}"] = memory
            writer = memory.write_port()
            adder = memory.read_port(domain="comb")
            reader = memory.read_port(domain="comb")
            again = Signal(name=f"again{part}")
            m.d.sync += [
                adder.addr.eq(add_row ^ order),
                reader.addr.eq(scan_row ^ order),
                writer.addr.eq(place ^ order),
                writer.en.eq(valid),
                again.eq((valid & (place == add_place)) ^ (part % 2)),
            ]
            m.d.comb += [
                writer.data.eq(sums[mine]),
                old[mine].eq(Mux(again ^ (part % 2), sums[mine], adder.data)),
                read[mine].eq(reader.data),
            ]

    def _two_banks(self, m: Module, old: Value, new: Value, read: Value, platform: object) -> None:
        add, scan = self.add, self.scan
        layout = data.StructLayout({"values": len(old), "holds": 1})
        add_bank = Signal.like(add.bank)
        add_row = Signal.like(add.row)
        m.d.sync += [add_bank.eq(add.bank), add_row.eq(add.row)]

        added: list[Value] = []
        scanned: list[Value] = []
        for bank in (0, 1):
            scanning = Signal(name=f"scanning{bank}")
            adding = Signal(name=f"adding{bank}")
            m.d.comb += scanning.eq(scan.active & (scan.bank == bank))
            m.d.sync += adding.eq(add.valid & (add.bank == bank))
            written: Any = Signal(layout, name=f"written{bank}")
            m.d.comb += [written.values.eq(new), written.holds.eq(~scan.clear[bank])]
            # Plain bits: the layout is only a view, so that the Verilog has one vector.
            rows = self.shape.membrane_rows
            style = {"ram_style": "logic"} if in_registers(platform, rows, layout.size) else {}
            memory: Table = Memory(shape=layout.size, depth=rows, init=[], attrs=style)
            m.submodules[f"bank{bank}"] = memory
            writer = memory.write_port()
            reader = memory.read_port(transparent_for=(writer,))
            m.d.comb += [
                writer.en.eq(adding | scan.clear[bank]),
                writer.addr.eq(Mux(scan.clear[bank], scan.clear_row, add_row)),
                writer.data.eq(written),
                reader.addr.eq(Mux(scanning, scan.row, add.row)),
            ]
            row = data.View(layout, reader.data)
            for chosen, values in ((add_bank, added), (scan.bank, scanned)):
                holds = Signal(name=f"holds{bank}")
                m.d.comb += holds.eq(row.holds & (chosen == bank))
                values.append(holds.replicate(len(old)) & row.values)
        m.d.comb += [old.eq(added[0] | added[1]), read.eq(scanned[0] | scanned[1])]
