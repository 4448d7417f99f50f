"""The membranes of a layer in two banks: one is added to while the other is tested."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware, LayerShape
from firstspike_rtl.layouts import LoadSignature, number
from firstspike_rtl.tables import Contents, add_table, fields


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
    """Reading the rows of a bank one by one, and filling them with the bias.

    ======== =========================================================================================
    member   meaning
    ======== =========================================================================================
    active   from the first address to the last data: the bank belongs to the reader
    bank     which; ``both`` for a fill of both, whatever is read
    row      address, and ``group``, the row of biases that belongs to it
    step     the addresses are taken; before, the data of the last ones stay
    refill   write the bias to the row whose data are there, at the end of a clock with ``step``
    values   data of the last addresses
    ======== =========================================================================================
    """

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(
            {
                "active": Out(1),
                "bank": Out(1),
                "both": Out(1),
                "row": Out(number(shape.membrane_rows)),
                "group": Out(number(shape.groups)),
                "step": Out(1),
                "refill": Out(1),
                "values": In(data.ArrayLayout(signed(shape.membrane_bits), shape.lanes)),
            }
        )


class Membranes(wiring.Component):
    """Two banks of membranes, ``lanes`` side by side in a row; rows of biases.

    Adding reads a row, and writes the sum one clock later; a sum that was just written is seen by the next read, so
    that the same row can be added to in every clock. A sum always fits: its width is the worst case. A lane has its
    own columns of both banks: no update ever waits for another.

    Latency: 1 clock from an address to its data. Throughput: one row added to, and one row read, in every clock.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memory (bias).

    Members
    -------
    add : In(AddSignature)
    scan : In(ScanSignature)
    load : In(LoadSignature)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "add": In(AddSignature(shape)),
                "scan": In(ScanSignature(shape)),
                "load": In(LoadSignature(hardware)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        add, scan = self.add, self.scan
        layout = data.ArrayLayout(signed(self._shape.membrane_bits), self._shape.lanes)
        bias_spec = self._hardware.memory("bias", self._index)
        bias = add_table(m, bias_spec, self._contents, self.load).read_port()
        m.d.comb += [bias.addr.eq(scan.group), bias.en.eq(scan.step)]

        # One clock after the address.
        adding = Signal()
        add_bank = Signal.like(add.bank)
        add_row = Signal.like(add.row)
        scan_row = Signal.like(scan.row)
        m.d.sync += [adding.eq(add.valid), add_bank.eq(add.bank), add_row.eq(add.row)]
        with m.If(scan.step):
            m.d.sync += scan_row.eq(scan.row)

        old = Signal(layout)
        sums = Signal(layout)
        biases = Signal(layout)
        rows = []
        for lane, (part, product) in enumerate(zip(old, add.products, strict=True)):
            m.d.comb += sums[lane].eq(part + product)
        for lane, value in enumerate(fields(bias_spec, bias.data)):
            m.d.comb += biases[lane].eq(value)
        for bank in (0, 1):
            scanned = scan.active & ((scan.bank == bank) | scan.both)
            refill = scanned & scan.refill & scan.step
            value = Mux(scanned, biases, sums)
            write = refill | (adding & (add_bank == bank))
            if self._shape.membrane_rows == 1:
                row = Signal(layout, name=f"bank{bank}")
                with m.If(write):
                    m.d.sync += row.eq(value)
                rows.append(row)
                continue
            m.submodules[f"bank{bank}"] = memory = Memory(shape=layout.size, depth=self._shape.membrane_rows, init=[])
            writer = memory.write_port()
            reader = memory.read_port(transparent_for=(writer,))
            m.d.comb += [
                writer.en.eq(write),
                writer.addr.eq(Mux(scanned, scan_row, add_row)),
                writer.data.eq(value),
                reader.addr.eq(Mux(scanned, scan.row, add.row)),
                reader.en.eq(scan.step | ~scanned),
            ]
            rows.append(reader.data)
        m.d.comb += [
            old.as_value().eq(Mux(add_bank, rows[1], rows[0])),
            scan.values.as_value().eq(Mux(scan.bank, rows[1], rows[0])),
        ]
        return m
