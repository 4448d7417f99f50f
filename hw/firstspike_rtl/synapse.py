"""From events to weighted updates of membranes."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware
from firstspike_rtl.layouts import LoadSignature, event_layout, number, update_layout
from firstspike_rtl.tables import Contents, add_table, fields


class Synapse(wiring.Component):
    """For each spike, the products W * K[step] of every group of ``lanes`` neurons; watermarks pass in order.

    ===== =======================================
    stage holds
    ===== =======================================
    0     the event, on the input; group counter
    1     weight row and kernel entry
    2     products, on the output
    ===== =======================================

    Latency: 2 clocks from a group at the input to its update.
    Throughput: one group a clock: ``groups`` clocks a spike, 1 a watermark.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (weight, kernel).

    Members
    -------
    i : In(stream of events)
    o : Out(stream of updates)
    load : In(LoadSignature)
    """

    LATENCY = 2

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "i": In(stream.Signature(event_layout(shape.inputs, shape.input_codes))),
                "o": Out(stream.Signature(update_layout(shape))),
                "load": In(LoadSignature(hardware)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self._shape
        weights_spec = self._hardware.memory("weight", self._index)
        kernel_spec = self._hardware.memory("kernel", self._index)
        weights = add_table(m, weights_spec, self._contents, self.load).read_port()
        kernel = add_table(m, kernel_spec, self._contents, self.load).read_port()

        event = self.i.payload
        group = Signal(number(shape.groups))
        base = Signal(number(weights_spec.depth))
        valid_s1 = Signal()
        meta_s1 = Signal(update_layout(shape))
        step_s1 = Signal()
        step_s2 = Signal()
        last = event.mark | (group == shape.groups - 1)

        m.d.comb += [
            step_s2.eq(~self.o.valid | self.o.ready),
            step_s1.eq(~valid_s1 | step_s2),
            self.i.ready.eq(step_s1 & last),
            weights.addr.eq(base + event.index),
            weights.en.eq(step_s1),
            kernel.addr.eq(event.step),
            kernel.en.eq(step_s1),
        ]
        with m.If(step_s1):
            m.d.sync += [
                valid_s1.eq(self.i.valid),
                meta_s1.mark.eq(event.mark),
                meta_s1.fault.eq(event.fault),
                meta_s1.step.eq(event.step),
                meta_s1.group.eq(group),
            ]
            with m.If(self.i.valid & last):
                m.d.sync += [group.eq(0), base.eq(0)]
            with m.Elif(self.i.valid):
                m.d.sync += [group.eq(group + 1), base.eq(base + shape.inputs)]

        with m.If(step_s2):
            m.d.sync += self.o.valid.eq(valid_s1)
            for name in ("mark", "fault", "step", "group"):
                m.d.sync += self.o.payload[name].eq(meta_s1[name])
            for lane, weight in enumerate(fields(weights_spec, weights.data)):
                m.d.sync += self.o.payload.products[lane].eq(weight * kernel.data)
        return m
