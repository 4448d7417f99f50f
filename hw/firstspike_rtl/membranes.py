"""What the two ends of a layer share: the membranes, their refill with the bias, and the clock of firing."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import PureInterface

from firstspike.hardware import Hardware
from firstspike_rtl.layouts import number
from firstspike_rtl.tables import Contents, add_table, fields


def membrane_layout(bits: int) -> data.StructLayout:
    """A membrane of signed ``bits`` and whether its neuron has fired."""
    return data.StructLayout({"v": signed(bits), "fired": 1})


def reaches(membrane: Value, threshold: Value) -> Value:
    """The firing rule, V >= TH."""
    return membrane >= threshold


class Membranes:
    """Membranes of one layer, a row of ``lanes`` a group, with one read-modify-write a clock.

    The row ``group`` is read in the same clock; ``add``, ``refill`` or ``write`` replaces it at the end of it. Only one
    of them may be used in a clock.

    Parameters
    ----------
    m
        Module to build in; memories ``membranes`` and ``layer<i>_bias`` are added to it.
    """

    def __init__(self, m: Module, hardware: Hardware, index: int, contents: Contents, load: PureInterface) -> None:
        shape = hardware.layers[index]
        self._m, self._cell = m, membrane_layout(shape.membrane_bits)
        layout = data.ArrayLayout(self._cell, shape.lanes)
        # Plain bits: the layout is only a view, so that the Verilog has one vector.
        m.submodules.membranes = memory = Memory(shape=layout.size, depth=max(2, shape.groups), init=[])
        bias_spec = hardware.memory("bias", index)
        bias = add_table(m, bias_spec, contents, load).read_port(domain="comb")
        read, write = memory.read_port(domain="comb"), memory.write_port()

        self.group = Signal(number(shape.groups))
        self.row = data.View(layout, read.data)
        self._new = data.View(layout, write.data)
        self._enable = write.en
        self._bias = fields(bias_spec, bias.data)
        m.d.comb += [read.addr.eq(self.group), write.addr.eq(self.group), bias.addr.eq(self.group)]

    def add(self, products: data.View) -> None:
        """Add one product to each membrane of the group. The sum fits: its width is the worst case."""
        self._m.d.comb += self._enable.eq(1)
        for lane, cell in enumerate(self.row):
            self._m.d.comb += [self._new[lane].v.eq(cell.v + products[lane]), self._new[lane].fired.eq(cell.fired)]

    def mark_fired(self, hits: Value) -> None:
        """Remember which neurons of the group have fired."""
        self._m.d.comb += self._enable.eq(1)
        for lane, cell in enumerate(self.row):
            self._m.d.comb += [self._new[lane].v.eq(cell.v), self._new[lane].fired.eq(cell.fired | hits[lane])]

    def refill(self) -> None:
        """Put the bias into each membrane of the group, not fired."""
        self._m.d.comb += self._enable.eq(1)
        for lane, bias in enumerate(self._bias):
            self._m.d.comb += [self._new[lane].v.eq(bias), self._new[lane].fired.eq(0)]


class FiringClock:
    """Which time steps may be tested, as watermarks of the population before arrive.

    Step k may be tested when all spikes up to step k + S have been added. After a watermark ``w`` that is the steps up
    to w - S, or up to T - 1 if the watermark ends the image.

    Members
    -------
    k
        The next step to test.
    due
        The step after the last one that may be tested, once ``watermark`` is given.
    """

    def __init__(self, m: Module, hardware: Hardware, index: int) -> None:
        self._m = m
        self._final = hardware.layers[index].input_codes - 1
        self._steps, self._start = hardware.steps, hardware.fire_start
        self.k = Signal(number(hardware.steps + 1))
        self.due = Signal(number(hardware.steps + 1))

    def allows(self, watermark: Value) -> Value:
        """Step after the last one that a watermark allows to be tested."""
        m = self._m
        count = Signal(number(self._steps + 1))
        with m.If(watermark == self._final):
            m.d.comb += count.eq(self._steps)
        with m.Elif(watermark >= self._start) if self._start else m.Else():  # for lint: not ">= 0"
            m.d.comb += count.eq(watermark - self._start + 1)
        return count

    @property
    def last(self) -> Value:
        """Whether ``k`` is the last step of the window."""
        return self.k == self._steps - 1
