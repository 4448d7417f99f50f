"""Neurons of a hidden layer: the dynamic threshold, and one spike each."""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.layouts import TEST, Component, LoadSignature, event_layout, number, ordered
from firstspike_rtl.core.membranes import ScanSignature
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.serialiser import Serialiser
from firstspike_rtl.core.stepper import Stepper, stages
from firstspike_rtl.core.tables import Contents, Table, add_table, fields


def reaches(membrane: Value, threshold: Value) -> Value:
    """The firing rule, V >= TH."""
    return ordered(membrane) >= ordered(threshold)


class Found(NamedTuple):
    """What a fire unit says of a slice.

    Parameters
    ----------
    spikes
        For each neuron how often it fires, and at which step.
    valid, slice, last
        The slice, and whether it is of the last step of the window.
    waiting
        There are slices in the unit.
    """

    spikes: list[tuple[Value, Value]]
    valid: Value
    slice: Any
    last: Value
    waiting: Value


class Neurons(Component):
    """Spikes of a hidden layer, as ``docs/numerics.md`` defines them, from membranes that a :class:`Scanner` reads.

    Two fire units find the same spikes. ``stepped`` compares all neurons with TH[k], for one step k after another, and
    remembers which have fired; it works for any fire start S. ``search`` needs S = T, where V is constant while the
    threshold falls: since TH does not rise, the steps in which V is too small are the first ones, and their number,
    which is the step of the spike, is found by bisection, in one stage for each bit of it.

    Spikes leave one a clock, lowest index of a slice first, and after the last slice of the window a watermark; in
    ordered mode one after each step. Slices with spikes wait in a queue; only when it has filled up does the scan stop.

    Latency: :meth:`stages` clocks from a slice to the register that holds its spikes, :attr:`LATENCY` more to the first
    event.
    Throughput: a slice a clock; on the way out one with spikes ``spikes`` clocks, and 1 more for its watermark.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories (bias, threshold).

    Members
    -------
    test : In(stream of TEST)
    scan : Out(ScanSignature)
    release : Out(2), as of the :class:`Scanner`
    o : Out(stream of events)
    load : In(LoadSignature)
    """

    LATENCY = Queue.LATENCY + Serialiser.LATENCY

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        #: Spikes of a neuron at once, where there may be more than one; else 0.
        self._repeats = shape.dynamics.cap if shape.dynamics and shape.dynamics.cap > 1 else 0
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
                "release": Out(2),
                "o": Out(stream.Signature(event_layout(hardware, index + 1))),
                "load": In(LoadSignature(hardware)),
            }
        )

    @staticmethod
    def stages(hardware: Hardware, index: int) -> int:
        """Clocks from a slice of the scanner to the register that holds its spikes.

        1 if stepped, a bit of the step each to search; with dynamics 1 more than those of the :class:`Stepper`.
        """
        shape = hardware.layers[index]
        return hardware.steps.bit_length() if shape.fire == "search" else 1 + stages(shape)

    @staticmethod
    def queue_limit(hardware: Hardware, index: int) -> int:
        """Slices with spikes in the queue up to which the scan goes on."""
        return Queue.limit(_under_way(hardware, index))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hardware, shape, w = self._hardware, self._shape, self._shape.fire_lanes
        search = shape.fire == "search"
        scanner: Scanner | Stepper
        if shape.dynamics:
            m.submodules.stepper = scanner = Stepper(hardware, self._index, self._contents)
        else:
            m.submodules.scanner = scanner = Scanner(hardware, self._index, self._contents, passes=not search)
        connect(m, flipped(self.test), scanner.test)
        connect(m, flipped(self.scan), scanner.scan)
        connect(m, flipped(self.load), scanner.load)
        m.d.comb += self.release.eq(scanner.release)
        if not isinstance(scanner, Stepper):
            self._threshold = hardware.memory("threshold", self._index)
            self._thresholds = add_table(m, self._threshold, self._contents, self.load)
            found, valid, slice_, last, waiting = (self._search if search else self._test)(m, scanner)
        else:  # it has tested them
            found = [(count, scanner.slice.step) for count in scanner.counts]
            valid, slice_, last, waiting = scanner.valid, scanner.slice, scanner.last, Const(0)
        m.submodules.queue = queue = Queue(self._layout(), _under_way(hardware, self._index))
        item: Any = Signal(self._layout())
        m.d.sync += [
            item.hits.eq(Cat(hit.any() if self._repeats else hit for hit, _ in found) & valid.replicate(w)),
            item.mark.eq(valid & slice_.end & (last | hardware.ordered[self._index + 1])),
            item.index.eq(slice_.index),
            item.fault.eq(slice_.fault & last),
            *(port.eq(step) for port, (_, step) in zip(item.steps, found, strict=False)),
        ]
        if self._repeats:
            m.d.sync += [port.eq(count) for port, (count, _) in zip(item.counts, found, strict=True)]
        m.d.comb += [
            queue.item.eq(item),
            queue.valid.eq(item.hits.any() | item.mark),
            scanner.room.eq(queue.room),
            scanner.idle.eq(~waiting),
        ]
        self._send(m, queue)
        return m

    def _layout(self) -> data.StructLayout:
        """A slice with spikes, as it waits to be sent; all of a step in a stepped unit."""
        steps = self._shape.fire_lanes if self._shape.fire == "search" else 1
        event = event_layout(self._hardware, self._index + 1)
        members: dict[str, Any] = {
            "hits": self._shape.fire_lanes,
            "mark": 1,
            "fault": 1,
            "index": event["index"].shape,
            "steps": data.ArrayLayout(event["step"].shape, steps),
        }
        if self._repeats:
            members["counts"] = data.ArrayLayout(number(self._repeats + 1), self._shape.fire_lanes)
        return data.StructLayout(members)

    def _send(self, m: Module, queue: Queue) -> None:
        """From slices in the queue to events."""
        hardware, shape = self._hardware, self._shape
        stride, _, _ = hardware.strides(self._index + 1)
        m.submodules.serialiser = serialiser = Serialiser(
            event_layout(hardware, self._index + 1),
            shape.fire_lanes,
            lambda m, index, lane: index + lane * stride,
            repeats=self._repeats,
        )
        if self._repeats:
            m.d.comb += serialiser.counts.eq(queue.o.payload.counts)
        connect(m, serialiser.o, flipped(self.o))
        search, slice_ = shape.fire == "search", queue.o.payload
        m.d.comb += [
            serialiser.hits.eq(slice_.hits & queue.o.valid.replicate(shape.fire_lanes)),
            serialiser.mark.eq(slice_.mark & queue.o.valid),
            serialiser.index.eq(slice_.index),
            serialiser.mark_step.eq(hardware.steps - 1 if search else slice_.steps[0]),
            serialiser.fault.eq(slice_.fault),
            *(port.eq(slice_.steps[n if search else 0]) for n, port in enumerate(serialiser.steps)),
            queue.o.ready.eq(serialiser.ready),
        ]

    def _test(self, m: Module, scanner: Scanner) -> Found:
        """A slice is tested for one step."""
        shape, slice_ = self._shape, scanner.slice
        threshold = self._thresholds.read_port(domain="comb")
        m.d.comb += threshold.addr.eq(slice_.step)
        slices = shape.slices
        fired: Table = Memory(shape=shape.fire_lanes, depth=max(2, slices), init=[])
        m.submodules.fired = fired
        reader = fired.read_port(domain="comb")
        writer = fired.write_port()
        position = Signal(number(slices))
        before = Signal(shape.fire_lanes)
        (level,) = fields(self._threshold, threshold.data)
        now = Cat(reaches(value, level) for value in slice_.values)
        m.d.comb += [
            reader.addr.eq(position),
            before.eq(Mux(slice_.step == 0, 0, reader.data)),
            writer.addr.eq(position),
            writer.data.eq(before | now),
            writer.en.eq(scanner.valid),
        ]
        with m.If(scanner.valid):
            m.d.sync += position.eq(Mux(slice_.end, 0, position + 1))
        found = [(now[n] & ~before[n], slice_.step) for n in range(shape.fire_lanes)]
        return Found(found, scanner.valid, slice_, scanner.last, Const(0))

    def _search(self, m: Module, scanner: Scanner) -> Found:
        """A slice passes a stage for each bit of the step.

        ``low`` counts steps that are known to be too early; stage ``bit`` asks for ``2**bit`` more.
        """
        steps = self._hardware.steps
        bits = steps.bit_length()
        slice_, valid = scanner.slice, scanner.valid
        lows: list[Value] = [Signal(bits, name="low_none")] * self._shape.fire_lanes
        waiting = []
        for bit in reversed(range(bits)):
            tested = []
            for value, low in zip(slice_.values, lows, strict=True):
                threshold = self._thresholds.read_port(domain="comb")
                more = Signal(bits, name=f"more{bit}")
                early = Signal(name=f"early{bit}")
                (level,) = fields(self._threshold, threshold.data)
                m.d.comb += [
                    more.eq(low | (1 << bit)),
                    threshold.addr.eq(low | ((1 << bit) - 1)),  # more - 1: the bits of low from here on are 0
                    early.eq((more <= steps) & ~reaches(value, level)),
                ]
                tested.append(Mux(early, more, low))
            if not bit:
                break
            held = Signal.like(slice_, name=f"slice{bit}")
            held_valid = Signal(name=f"valid{bit}")
            held_lows = [Signal(bits, name=f"low{bit}") for _ in lows]
            m.d.sync += [held.eq(slice_), held_valid.eq(valid)]
            m.d.sync += [new.eq(old) for new, old in zip(held_lows, tested, strict=True)]
            waiting.append(held_valid)
            slice_, valid, lows = held, held_valid, list(held_lows)
        return Found([(low < steps, low) for low in tested], valid, slice_, Const(1), Cat(waiting).any())


def _under_way(hardware: Hardware, index: int) -> int:
    """Slices between the scan's address and the queue."""
    return Scanner.LATENCY + Neurons.stages(hardware, index)
