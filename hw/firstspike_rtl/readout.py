"""The output layer: membranes, and the class made from them."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Array, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware
from firstspike_rtl import membranes
from firstspike_rtl.layouts import RESULT_WORD, WORD, LoadSignature, number, update_layout
from firstspike_rtl.membranes import FiringClock, Membranes
from firstspike_rtl.tables import Contents, add_table


def beats(membrane: Value, best: Value) -> Value:
    """Whether a membrane replaces the best so far: of equal ones the first stays."""
    return membrane > best


class Readout(wiring.Component):
    """One result record an image: the output membranes if asked for, then the class (``RESULT_WORD``).

    Membrane readout: after the window it scans the membranes once, one a clock; the class is the first of the largest.
    First-spike readout: such a scan for each time step; the first step at which the largest membrane reaches TH[k]
    decides; if none does, the scan of the last step decides.

    Latency: ``n * (outputs + 2) + 1`` clocks from the final watermark to the class word, if it lets n scans begin (1
    for the membrane readout). The membranes are sent in the ``outputs`` clocks before the class word.
    Throughput: 1 clock an update; ``outputs + 2`` clocks a scan. After reset ``groups`` clocks for the first refill.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (bias; threshold for the first-spike readout).

    Members
    -------
    i : In(stream of updates)
    o : Out(stream of WORD)
    load : In(LoadSignature)
    send_membranes : In(1), read when a scan begins
    busy : Out(1), high while it scans
    """

    #: Clocks of a scan beyond one a neuron: to compare the last membrane, and to decide.
    SCAN_EXTRA = 2
    #: Clocks beyond one a neuron from the final watermark to the class word (membrane readout).
    LATENCY = SCAN_EXTRA + 1

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "i": In(stream.Signature(update_layout(shape))),
                "o": Out(stream.Signature(WORD)),
                "load": In(LoadSignature(hardware)),
                "send_membranes": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape, steps = self._shape, self._hardware.steps
        cells = Membranes(m, self._hardware, self._index, self._contents, self.load)
        clock = FiringClock(m, self._hardware, self._index)
        reached = self._reached(m, clock)

        # Stage 0: scan position; refills each group behind its last neuron.
        neuron = Signal(number(shape.outputs))
        group = Signal(number(shape.groups))
        lane = Signal(number(shape.lanes))
        last_neuron = neuron == shape.outputs - 1
        end_of_group = last_neuron | (lane == shape.lanes - 1)
        # Stage 1: one membrane. Stage 2: the best so far, and the word on the output.
        valid_s1 = Signal()
        v_s1 = Signal(signed(shape.membrane_bits))
        neuron_s1 = Signal.like(neuron)
        best = Signal.like(v_s1)
        best_index = Signal.like(neuron)
        step_s1 = Signal()
        step_o = Signal()
        sending = Signal()
        fault = Signal()
        decided = Signal()
        decision = Signal.like(neuron)
        decision_step = Signal(number(steps + 1), init=steps)

        m.d.comb += [
            step_o.eq(~self.o.valid | self.o.ready),
            step_s1.eq(~valid_s1 | step_o | ~(sending & clock.last)),
        ]
        with m.If(step_o):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step_s1):
            m.d.sync += valid_s1.eq(0)
            with m.If(valid_s1):
                with m.If((neuron_s1 == 0) | beats(v_s1, best)):
                    m.d.sync += [best.eq(v_s1), best_index.eq(neuron_s1)]
                with m.If(sending & clock.last):
                    m.d.sync += [self.o.valid.eq(1), self.o.payload.data.eq(v_s1), self.o.payload.last.eq(0)]

        def advance() -> None:
            m.d.sync += [
                neuron.eq(Mux(last_neuron, 0, neuron + 1)),
                lane.eq(Mux(end_of_group, 0, lane + 1)),
                group.eq(Mux(last_neuron, 0, group + end_of_group)),
            ]

        result = Signal(RESULT_WORD)
        m.d.comb += [
            result.index.eq(Mux(decided, decision, best_index)),
            result.step.eq(Mux(decided, decision_step, Mux(reached(best), clock.k, steps))),
            result.fault.eq(fault),
        ]

        with m.FSM():
            with m.State("REFILL"):
                m.d.comb += cells.group.eq(group)
                cells.refill()
                m.d.sync += group.eq(Mux(group == shape.groups - 1, 0, group + 1))
                with m.If(group == shape.groups - 1):
                    m.next = "INTEGRATE"
            with m.State("INTEGRATE"):
                m.d.comb += [self.i.ready.eq(1), cells.group.eq(self.i.payload.group)]
                with m.If(self.i.valid):
                    with m.If(self.i.payload.mark):
                        due = clock.allows(self.i.payload.step)
                        m.d.sync += [fault.eq(self.i.payload.fault), sending.eq(self.send_membranes)]
                        if shape.fires:
                            m.d.sync += clock.due.eq(due)
                            with m.If(clock.k < due):
                                m.next = "SCAN"
                        else:
                            with m.If(due == steps):
                                m.d.sync += [clock.k.eq(steps - 1), clock.due.eq(steps)]
                                m.next = "SCAN"
                    with m.Else():
                        cells.add(self.i.payload.products)
            with m.State("SCAN"):
                m.d.comb += [self.busy.eq(1), cells.group.eq(group)]
                with m.If(step_s1):
                    m.d.sync += [
                        valid_s1.eq(1),
                        v_s1.eq(Array(cell.v for cell in cells.row)[lane]),
                        neuron_s1.eq(neuron),
                    ]
                    advance()
                    with m.If(end_of_group & clock.last):
                        cells.refill()
                    with m.If(last_neuron):
                        m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.comb += self.busy.eq(1)
                with m.If(step_s1):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += self.busy.eq(1)
                with m.If(clock.last), m.If(step_o):
                    m.d.sync += [
                        self.o.valid.eq(1),
                        self.o.payload.data.eq(result),
                        self.o.payload.last.eq(1),
                        clock.k.eq(0),
                        decided.eq(0),
                    ]
                    m.next = "INTEGRATE"
                with m.Else():
                    with m.If(reached(best) & ~decided):
                        m.d.sync += [decided.eq(1), decision.eq(best_index), decision_step.eq(clock.k)]
                    m.d.sync += clock.k.eq(clock.k + 1)
                    m.next = "SCAN"
                    with m.If(clock.k + 1 == clock.due):
                        m.next = "INTEGRATE"
        return m

    def _reached(self, m: Module, clock: FiringClock) -> Callable[[Value], ValueLike]:
        """Whether a membrane reaches the threshold of the current step; never, for the membrane readout."""
        if not self._shape.fires:
            return lambda v: 0
        spec = self._hardware.memory("threshold", self._index)
        threshold = add_table(m, spec, self._contents, self.load).read_port(domain="comb")
        m.d.comb += threshold.addr.eq(clock.k)
        return lambda v: membranes.reaches(v, threshold.data.as_signed())
