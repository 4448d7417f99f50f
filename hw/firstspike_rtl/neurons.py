"""Time-stepped TTFS neurons: integrate, compare with the dynamic threshold, fire once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware
from firstspike_rtl import membranes
from firstspike_rtl.layouts import LoadSignature, event_layout, number, update_layout
from firstspike_rtl.membranes import FiringClock, Membranes
from firstspike_rtl.tables import Contents, add_table


class Neurons(wiring.Component):
    """The neurons of a hidden layer, as ``docs/numerics.md`` defines them, for any fire start S.

    It adds updates to the membranes until a watermark allows time steps to be tested. Then it scans: for each such
    step k, and each group, it compares ``lanes`` membranes with TH[k]; those that reach it for the first time fire.
    In the scan of the last step the membranes are refilled with the bias for the next image. In ordered mode a
    watermark follows the spikes of each step, else only those of the last.

    ===== ==============================================
    stage holds
    ===== ==============================================
    0     the update on the input, or the scan position
    1     the neurons of a group that fire at step k
    2     one event, on the output
    ===== ==============================================

    Latency: 1 clock from a watermark to the first scan, 2 from a scan to its first event.
    Throughput: 1 clock an update; for a scanned step ``sum over groups of max(1, spikes)`` clocks, and 1 more for its
    watermark. After reset ``groups`` clocks for the first refill.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (bias, threshold).

    Members
    -------
    i : In(stream of updates)
    o : Out(stream of events)
    load : In(LoadSignature)
    busy : Out(1), high while it scans
    """

    LATENCY_SCAN = 1
    LATENCY_EVENT = 2

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "i": In(stream.Signature(update_layout(shape))),
                "o": Out(stream.Signature(event_layout(shape.outputs, hardware.steps))),
                "load": In(LoadSignature(hardware)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self._shape
        ordered = self._hardware.ordered[self._index + 1]
        cells = Membranes(m, self._hardware, self._index, self._contents, self.load)
        clock = FiringClock(m, self._hardware, self._index)
        spec = self._hardware.memory("threshold", self._index)
        threshold = add_table(m, spec, self._contents, self.load).read_port(domain="comb")
        m.d.comb += threshold.addr.eq(clock.k)

        group = Signal(number(shape.groups))
        base = Signal(number(shape.groups * shape.lanes))
        last_group = group == shape.groups - 1
        fault = Signal()

        def advance_group() -> None:
            m.d.sync += [group.eq(Mux(last_group, 0, group + 1)), base.eq(Mux(last_group, 0, base + shape.lanes))]

        # Stage 1 is free when its last spike, or its watermark, moves on; an empty group needs no extra clock.
        hits_s1 = Signal(shape.lanes)
        mark_s1 = Signal()
        k_s1 = Signal(number(self._hardware.steps))
        base_s1 = Signal.like(base)
        fault_s1 = Signal()
        step_s1 = Signal()
        step_s2 = Signal()
        lowest = Signal(shape.lanes)
        m.d.comb += [
            lowest.eq(hits_s1 & -hits_s1),
            step_s2.eq(~self.o.valid | self.o.ready),
            step_s1.eq(~(hits_s1.any() | mark_s1) | (step_s2 & (hits_s1 == lowest))),
        ]

        hits = Signal(shape.lanes)
        m.d.comb += hits.eq(
            Cat(
                membranes.reaches(cell.v, threshold.data.as_signed()) & ~cell.fired & (base + lane < shape.outputs)
                for lane, cell in enumerate(cells.row)
            )
        )

        with m.FSM():
            with m.State("REFILL"):
                m.d.comb += cells.group.eq(group)
                cells.refill()
                advance_group()
                with m.If(last_group):
                    m.next = "INTEGRATE"
            with m.State("INTEGRATE"):
                m.d.comb += [self.i.ready.eq(1), cells.group.eq(self.i.payload.group)]
                with m.If(self.i.valid):
                    with m.If(self.i.payload.mark):
                        due = clock.allows(self.i.payload.step)
                        m.d.sync += [clock.due.eq(due), fault.eq(self.i.payload.fault)]
                        with m.If(clock.k < due):
                            m.next = "SCAN"
                    with m.Else():
                        cells.add(self.i.payload.products)
            with m.State("SCAN"):
                m.d.comb += [self.busy.eq(1), cells.group.eq(group)]
                with m.If(step_s1):
                    with m.If(clock.last):
                        cells.refill()
                    with m.Else():
                        cells.mark_fired(hits)
                    m.d.sync += [hits_s1.eq(hits), mark_s1.eq(0), k_s1.eq(clock.k), base_s1.eq(base)]
                    advance_group()
                    with m.If(last_group):
                        with m.If(ordered | clock.last):
                            m.next = "MARK"
                        with m.Else():
                            m.d.sync += clock.k.eq(clock.k + 1)
                            with m.If(clock.k + 1 == clock.due):
                                m.next = "INTEGRATE"
            with m.State("MARK"):
                m.d.comb += self.busy.eq(1)
                with m.If(step_s1):
                    m.d.sync += [
                        hits_s1.eq(0),
                        mark_s1.eq(1),
                        k_s1.eq(clock.k),
                        fault_s1.eq(fault & clock.last),
                        clock.k.eq(Mux(clock.last, 0, clock.k + 1)),
                    ]
                    m.next = "SCAN"
                    with m.If(clock.k + 1 == clock.due):
                        m.next = "INTEGRATE"

        with m.If(step_s1 & ~self.busy):
            m.d.sync += [hits_s1.eq(0), mark_s1.eq(0)]
        with m.Elif(step_s2 & ~step_s1):
            m.d.sync += hits_s1.eq(hits_s1 & ~lowest)

        with m.If(step_s2):
            event = self.o.payload
            m.d.sync += [
                self.o.valid.eq(hits_s1.any() | mark_s1),
                event.mark.eq(mark_s1),
                event.fault.eq(mark_s1 & fault_s1),
                event.step.eq(k_s1),
            ]
            for lane in reversed(range(shape.lanes)):
                with m.If(hits_s1[lane]):
                    m.d.sync += event.index.eq(base_s1 + lane)
        return m
