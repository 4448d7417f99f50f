"""From events to sums: weights times kernel entries, added to the membranes of a layer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import TEST, Component, LoadSignature, event_layout
from firstspike_rtl.core.membranes import LANES_TOGETHER, AddSignature
from firstspike_rtl.core.tables import Contents, add_table, fields
from firstspike_rtl.core.walk import Walk


class Integrator(Component):
    """Adds W * K[step] of each spike to the membranes it reaches, ``lanes`` of them a clock.

    ===== ============================================================
    stage holds
    ===== ============================================================
    0     addresses of weights and membranes, from the walk
    1     what the weight and kernel memories gave
    2     the same, in registers; the membranes are addressed
    3     products; :class:`Membranes` adds them and writes the sums
    ===== ============================================================

    Nothing in the pipeline waits. Only stage 0 does, while the bank of membranes that it would add to is being tested,
    and with a watermark that makes a test, while the last one has not been accepted.
    A watermark that lets steps be tested makes a test and gives the bank away; the final one also changes to the other
    bank, so that the next image is integrated meanwhile.

    Latency: 3 clocks from an address to its membranes, :attr:`LATENCY_TEST` from a watermark in stage 0 to its test.
    Throughput: that of the walk: a clock for each row of membranes, so that the lanes are idle only without a spike.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (weight, kernel).

    Members
    -------
    i : In(stream of events)
    add : Out(AddSignature)
    test : Out(stream of TEST), for the bank that was filled
    release : In(2), for each bank high for one clock when it may be added to (again)
    load : In(LoadSignature)
    adding : Out(1), high for each row of membranes that is added to
    """

    LATENCY_TEST = 2

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        shape = hardware.layers[index]
        super().__init__(
            {
                "i": In(stream.Signature(event_layout(hardware, index))),
                "add": Out(AddSignature(shape)),
                "test": Out(stream.Signature(TEST)),
                "release": In(2),
                "load": In(LoadSignature(hardware)),
                "adding": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hardware, shape = self._hardware, self._hardware.layers[self._index]
        m.submodules.walk = walk = Walk(hardware, self._index)
        connect(m, flipped(self.i), walk.i)
        weight_spec = hardware.memory("weight", self._index)
        weights = add_table(m, weight_spec, self._contents, self.load).read_port()
        kernel = add_table(m, hardware.memory("kernel", self._index), self._contents, self.load).read_port()

        bank = Signal()
        taken = Signal(2, init=0b11)  # banks that are being tested, or not yet clear
        busy = Signal(init=1)  # the bank that is added to is one of them
        issued = Signal()
        final = Signal()
        due = Signal()
        # A bank is given back before its last spikes have left: the next test may still wait for the scanner.
        waiting = Signal()
        m.d.comb += [
            walk.ready.eq(~busy & ~(due & waiting)),
            issued.eq(walk.valid & walk.ready),
            self.adding.eq(issued & walk.visit),
            weights.addr.eq(walk.weight),
            kernel.addr.eq(walk.step),
        ]
        # With the event that the walk holds, since whether it may go on depends on them.
        event = walk.i.payload
        ends = event.mark & (event.step == shape.input_codes - 1)
        with m.If(walk.i.ready):
            m.d.sync += [final.eq(ends), due.eq(ends | (event.mark & self._early(event.step)))]
        # With dynamics each step has a bank of its own.
        full = due if shape.dynamics else final
        kept = Signal(2)
        gives = Signal()
        m.d.comb += [kept.eq(taken & ~self.release), gives.eq(issued & due)]
        m.d.sync += [taken.eq(kept | (gives << bank)), bank.eq(bank ^ (issued & full))]
        # What taken will say of the bank.
        m.d.sync += busy.eq(Mux(bank ^ (issued & full), kept[1], kept[0]) | (gives & ~full))

        test_s1: Any = Signal(data.StructLayout({"due": 1, "test": TEST}))
        m.d.sync += [
            test_s1.due.eq(issued & due),
            test_s1.test.final.eq(final),
            test_s1.test.fault.eq(walk.fault),
        ]
        m.d.comb += waiting.eq(test_s1.due | self.test.valid)
        with m.If(test_s1.due):
            m.d.sync += [self.test.valid.eq(1), self.test.payload.eq(test_s1.test)]
        with m.Elif(self.test.ready):
            m.d.sync += self.test.valid.eq(0)

        visit_s1 = Signal()
        bank_s1 = Signal.like(self.add.bank)
        row_s1 = Signal.like(self.add.row)
        # Without a reset, so that they can be the output registers of block memories.
        weights_s2 = Signal.like(weights.data, reset_less=True)
        m.d.sync += [
            visit_s1.eq(self.adding),
            bank_s1.eq(bank),
            row_s1.eq(walk.row),
            self.add.valid.eq(visit_s1),
            self.add.bank.eq(bank_s1),
            self.add.row.eq(row_s1),
            weights_s2.eq(weights.data),
        ]
        given = fields(weight_spec, weights_s2)
        for part, first in enumerate(range(0, shape.lanes, LANES_TOGETHER)):
            # For each part of the lanes one of its own, which synthesis cannot take for another.
            change = part % 2
            entry = Signal.like(kernel.data, name=f"kernel{part}", reset_less=True)
            m.d.sync += entry.eq(kernel.data ^ change)
            k = (entry ^ change)[: len(entry)]
            for lane, w in list(enumerate(given))[first : first + LANES_TOGETHER]:
                m.d.sync += self.add.products[lane].eq(w << k if shape.product == "shift" else w * k)
        return m

    def _early(self, step: Value) -> Value:
        """Whether a watermark before the final one lets a step be tested: k when all spikes up to k + S came."""
        if self._hardware.layers[self._index].dynamics:
            return Const(1)
        start = self._hardware.fire_start
        if start >= self._hardware.steps or not self._hardware.layers[self._index].fires:
            return Const(0)
        return Const(1) if start == 0 else step >= start
