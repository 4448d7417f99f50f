"""The output layer: the class made from the membranes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.layouts import RESULT_WORD, TEST, WORD, Component, LoadSignature, number, ordered
from firstspike_rtl.core.membranes import ScanSignature
from firstspike_rtl.core.neurons import reaches
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.stepper import Stepper, stages
from firstspike_rtl.core.tables import Contents, add_table, fields


def beats(membrane: Value, best: Value) -> Value:
    """Whether a membrane replaces the best so far: of equal ones the first stays."""
    return ordered(membrane) > ordered(best)


class Readout(Component):
    """One result record an image: the output membranes if asked for, then the class (``RESULT_WORD``).

    Membrane readout: after the window the neurons are read once, one a clock; the class is the first of the largest.
    First-spike readout: they are read for each time step; the first step at which the largest membrane reaches TH[k]
    decides; if none does, the last step's largest membrane decides.

    Latency: :attr:`LATENCY` clocks from the last neuron to the class word.
    Throughput: a neuron a clock, and after the last one of the window 1 clock more.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (bias; threshold for the first-spike readout).

    Members
    -------
    test : In(stream of TEST)
    scan : Out(ScanSignature)
    release : Out(2), as of the :class:`Scanner`
    o : Out(stream of WORD)
    load : In(LoadSignature)
    send_membranes : In(1), read when a test comes
    """

    LATENCY = 2 + Queue.LATENCY
    _UNDER_WAY = Scanner.LATENCY + 1
    #: Words of records in the queue, at most.
    QUEUE = Queue.depth(_UNDER_WAY)

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
                "release": Out(2),
                "o": Out(stream.Signature(WORD)),
                "load": In(LoadSignature(hardware)),
                "send_membranes": In(1),
            }
        )

    @classmethod
    def under_way(cls, shape: LayerShape) -> int:
        """Neurons between an address and the queue."""
        return cls._UNDER_WAY + stages(shape)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, steps = self._shape, self._hardware.steps
        scanner: Scanner | Stepper
        if shape.dynamics:
            m.submodules.stepper = scanner = Stepper(self._hardware, self._index, self._contents)
        else:
            m.submodules.scanner = scanner = Scanner(self._hardware, self._index, self._contents, passes=shape.fires)
        connect(m, flipped(self.test), scanner.test)
        connect(m, flipped(self.scan), scanner.scan)
        connect(m, flipped(self.load), scanner.load)
        m.d.comb += self.release.eq(scanner.release)
        slice_ = scanner.slice
        value = slice_.values[0]

        sending = Signal()
        # With dynamics a test may come while neurons of the one before are under way.
        begins = scanner.valid & (slice_.step == 0) if shape.dynamics else scanner.test.valid & scanner.test.ready
        with m.If(begins):
            m.d.sync += sending.eq(self.send_membranes)
        sends = Mux(begins, self.send_membranes, sending) if shape.dynamics else sending

        best = Signal(signed(shape.membrane_bits))
        best_index = Signal(number(shape.outputs))
        first = Signal(init=1)  # the next neuron is the first of a step
        # All neurons of a step have been seen.
        seen = Signal()
        last = Signal()
        k = Signal(number(steps))
        fault = Signal()
        decided = Signal()
        decision = Signal.like(best_index)
        decision_step = Signal(number(steps + 1), init=steps)
        # Whether the best so far has spiked: one that has is better than all that have not.
        spiked = Signal()
        spikes = scanner.counts[0].any() if isinstance(scanner, Stepper) and shape.fires else Const(0)
        reached = self._reached(m, k, spiked)

        membrane = Signal()
        record = Signal()
        # A word for each address under way, and the class, which has no address of its own.
        m.submodules.queue = queue = Queue(WORD, self.under_way(shape))
        m.d.comb += [
            membrane.eq(scanner.valid & scanner.last & sends),
            record.eq(seen & last),
            scanner.room.eq(queue.room),
            scanner.idle.eq(1 if shape.dynamics else ~seen),
        ]
        m.d.sync += [seen.eq(scanner.valid & slice_.end), last.eq(scanner.last), k.eq(slice_.step)]
        m.d.sync += fault.eq(slice_.fault)
        with m.If(scanner.valid):
            m.d.sync += first.eq(slice_.end)
            better = beats(value, best)
            if shape.dynamics and shape.fires:
                better = (spikes & ~spiked) | ((spikes == spiked) & better)
            with m.If(first | better):
                m.d.sync += [best.eq(value), best_index.eq(slice_.index)]
                if shape.dynamics and shape.fires:
                    m.d.sync += spiked.eq(spikes)
        with m.If(record):
            m.d.sync += decided.eq(0)
        with m.Elif(seen & reached(best) & ~decided):
            m.d.sync += [decided.eq(1), decision.eq(best_index), decision_step.eq(k)]

        result: Any = Signal(RESULT_WORD)
        m.d.comb += [
            result.index.eq(Mux(decided, decision, best_index)),
            result.step.eq(Mux(decided, decision_step, Mux(reached(best), k, steps))),
            result.fault.eq(fault),
        ]
        m.d.comb += [
            queue.valid.eq(membrane | record),
            queue.item.data.eq(Mux(record, result.as_value(), value)),
            queue.item.last.eq(record),
            queue.o.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(queue.o.ready):
            m.d.sync += [self.o.valid.eq(queue.o.valid), self.o.payload.eq(queue.o.payload)]
        return m

    def _reached(self, m: Module, k: Signal, spiked: Signal) -> Callable[[Value], ValueLike]:
        """Whether a membrane reaches the threshold of step ``k``; never, for the membrane readout."""
        if not self._shape.fires:
            return lambda v: 0
        if self._shape.dynamics:
            return lambda v: spiked
        spec = self._hardware.memory("threshold", self._index)
        threshold = add_table(m, spec, self._contents, self.load).read_port(domain="comb")
        m.d.comb += threshold.addr.eq(k)
        (level,) = fields(spec, threshold.data)
        return lambda v: reaches(v, level)
