"""The membranes of a layer in two banks: one is added to while the other is read."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike.hardware import LayerShape
from firstspike_rtl.layouts import number

#: Rows up to which a bank is read in the clock of its data, from look-up memory; more are for block RAM.
SHALLOW_ROWS = 32


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
    step      the address is taken; before, the data of the last one stay
    values    data of the last address
    clear     banks of which ``clear_row`` is set to zero at the end of the clock
    ========= ====================================================================================
    """

    def __init__(self, shape: LayerShape) -> None:
        row = number(shape.membrane_rows)
        super().__init__(
            {
                "active": Out(1),
                "bank": Out(1),
                "row": Out(row),
                "step": Out(1),
                "values": In(data.ArrayLayout(signed(shape.membrane_bits), shape.lanes)),
                "clear": Out(2),
                "clear_row": Out(row),
            }
        )


class Membranes(wiring.Component):
    """Two banks of membranes without their bias, ``lanes`` side by side in a row.

    Adding reads a row, and writes the sum one clock later; a sum that was just written is seen by the next read, so
    that the same row can be added to in every clock. Sums wrap, but a membrane that its bias was added to is right: its
    width is that of the worst case. A lane has its own columns of both banks: no update ever waits for another.

    A row has one bit more: whether it holds anything. Clearing only takes that bit.

    Latency: 1 clock from an address to its data.
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

    LATENCY = 1

    def __init__(self, shape: LayerShape) -> None:
        self._shape = shape
        super().__init__({"add": In(AddSignature(shape)), "scan": In(ScanSignature(shape))})

    def elaborate(self, platform):
        m = Module()
        add, scan = self.add, self.scan
        lanes = data.ArrayLayout(signed(self._shape.membrane_bits), self._shape.lanes)
        layout = data.StructLayout({"values": lanes, "holds": 1})

        # One clock after the address.
        add_bank = Signal.like(add.bank)
        add_row = Signal.like(add.row)
        m.d.sync += [add_bank.eq(add.bank), add_row.eq(add.row)]

        new = Signal(layout)
        rows = []
        for bank in (0, 1):
            scanned = Signal(name=f"scanned{bank}")
            adding = Signal(name=f"adding{bank}")
            write = Signal(name=f"write{bank}")
            m.d.comb += [
                scanned.eq(scan.active & (scan.bank == bank)),
                write.eq(adding | scan.clear[bank]),
            ]
            m.d.sync += adding.eq(add.valid & (add.bank == bank))
            written = Signal(layout, name=f"written{bank}")
            m.d.comb += [written.values.eq(new.values), written.holds.eq(~scan.clear[bank])]
            if self._shape.membrane_rows == 1:
                row = Signal(layout, name=f"bank{bank}")
                with m.If(write):
                    m.d.sync += row.eq(written)
                rows.append(row)
                continue
            # Plain bits: the layout is only a view, so that the Verilog has one vector.
            m.submodules[f"bank{bank}"] = memory = Memory(shape=layout.size, depth=self._shape.membrane_rows, init=[])
            writer = memory.write_port()
            m.d.comb += [
                writer.en.eq(write),
                writer.addr.eq(Mux(scan.clear[bank], scan.clear_row, add_row)),
                writer.data.eq(written),
            ]
            address = Signal.like(scan.row, name=f"address{bank}")
            step = Signal(name=f"step{bank}")
            m.d.comb += [address.eq(Mux(scanned, scan.row, add.row)), step.eq(scan.step | ~scanned)]
            if self._shape.membrane_rows <= SHALLOW_ROWS:
                reader = memory.read_port(domain="comb")
                with m.If(step):
                    m.d.sync += reader.addr.eq(address)
            else:
                reader = memory.read_port(transparent_for=(writer,))
                m.d.comb += [reader.addr.eq(address), reader.en.eq(step)]
            rows.append(data.View(layout, reader.data))

        old = Signal(lanes)
        held = [row.holds.replicate(lanes.size) & row.values.as_value() for row in rows]
        m.d.comb += [
            old.as_value().eq(Mux(add_bank, held[1], held[0])),
            scan.values.as_value().eq(Mux(scan.bank, held[1], held[0])),
            *(total.eq(part + product) for total, part, product in zip(new.values, old, add.products, strict=True)),
        ]
        return m
