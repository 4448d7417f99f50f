"""Components of the core in time: at which clock each lets an event go on.

No item ever waits for a later one: the clock at which it moves is the maximum of when it arrived and when the place
before it became free. The classes here follow the components of the same names, event by event. A scan is one machine
that stands still while its spikes have not left; its stages need no following, since a slice comes at a time of the
machine that only the shape of the layer fixes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.clocks.spikes import Spikes
from firstspike_rtl.core.encoder import PixelEncoder
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.skid import SkidBuffer

LONG_AGO = -(1 << 40)


class Pipeline:
    """All components of a core, from the input to the class.

    Parameters
    ----------
    hardware
        The core.
    """

    def __init__(self, hardware: Hardware) -> None:
        last = len(hardware.layers) - 1
        self._readout = readout = _Readout(hardware)
        sink = _Integrator(hardware, last, readout)
        self._neurons: list[_Neurons] = []
        self._integrators = [sink]
        for index in reversed(range(last)):
            neurons = _Neurons(hardware, index, sink)
            self._neurons.insert(0, neurons)
            sink = _Integrator(hardware, index, neurons)
            self._integrators.insert(0, sink)
        self._first: _Integrator | _Sorter = _Sorter(hardware, sink) if hardware.ordered[0] else sink
        source = _PixelEncoder if hardware.input == "pixels" else _EventInput
        self._source = source(self._first, hardware.layers[0].input_codes - 1)

    def run(self, begin: int, image: Spikes) -> tuple[int, int]:
        """Let an image through: clock of its first word, which is not before ``begin``, and of its class word."""
        for neurons, slices in zip(self._neurons, image.slices, strict=True):
            neurons.slices = slices
        if isinstance(self._first, _Sorter):
            self._first.steps = image.steps
        return self._source.run(begin, image.words), self._readout.sent

    @property
    def walking(self) -> list[int]:
        """Of each layer, the clocks so far in which an address of a membrane, or a watermark, moved on."""
        return [integrator.walking for integrator in self._integrators]

    @property
    def held(self) -> list[int]:
        """Of each layer, the clocks so far in which an event was held back by the membranes."""
        return [integrator.held for integrator in self._integrators]


class _Serialiser:
    """One event a clock. A load at clock L is free for the next from the clock at which its last event moves on."""

    def __init__(self, sink: _Integrator | _Sorter) -> None:
        self._sink = sink
        # Clocks at which the last events left the skid buffer, as many as fit in.
        self._taken = deque([LONG_AGO] * SkidBuffer.ITEMS, SkidBuffer.ITEMS)
        self.free = LONG_AGO

    def load(self, clock: int, rows: Sequence[int], mark: int | None) -> None:
        moved, taken = clock, self._taken
        events = [(row, None) for row in rows] + ([] if mark is None else [(1, mark)])
        for row, code in events:
            moved = max(moved, taken[0]) + 1
            taken.append(self._sink.push(max(moved, taken[-1]) + 1, row, code))
        self.free = moved


class _PixelEncoder:
    def __init__(self, sink: _Integrator | _Sorter, final: int) -> None:
        self._serialiser, self._final = _Serialiser(sink), final
        # The stages move on together; a word goes into the queue STAGES moves after it was accepted.
        self._moves = 0
        self._moved = deque([LONG_AGO], PixelEncoder.STAGES + 1)  # clocks of the last moves
        self._due: dict[int, tuple[list[int], int | None]] = {}
        self._next = 0  # move at which a word can be accepted
        self._popped = LONG_AGO
        self._read = deque([LONG_AGO] * (PixelEncoder.QUEUE - 1))  # when words left the memory of the queue

    def run(self, begin: int, words: list[list[int]]) -> int:
        while (first := self._move(self._next, begin)) < begin:
            self._next += 1
        last = len(words) - 1
        for n, rows in enumerate(words):
            self._move(self._next, begin)
            if rows or n == last:
                self._due[self._next + PixelEncoder.STAGES] = rows, self._final if n == last else None
            self._next += 1
        self._move(self._next - 1 + PixelEncoder.STAGES, LONG_AGO)
        return first

    def _move(self, number: int, begin: int) -> int:
        """Clock of a move; where nothing moves, not before ``begin``."""
        moved, serialiser, read = self._moved, self._serialiser, self._read
        while self._moves <= number:
            clock = max(moved[-1], read[0]) + 1
            if not self._due:
                clock = max(clock, begin)
            elif self._moves in self._due:
                rows, mark = self._due.pop(self._moves)
                read.popleft()
                out = max(clock + PixelEncoder.QUEUE_LATENCY - 1, self._popped)
                read.append(out)
                self._popped = max(out + 1, serialiser.free)
                serialiser.load(self._popped, rows, mark)
            moved.append(clock)
            self._moves += 1
        return moved[number - self._moves]


class _EventInput:
    def __init__(self, sink: _Integrator | _Sorter, final: int) -> None:
        self._sink, self._final = sink, final
        self._free = 0

    def run(self, begin: int, words: list[list[int]]) -> int:
        first = accepted = max(begin, self._free)
        rows = [row for word in words for row in word]
        for row in rows:
            moved = self._sink.push(accepted + 1, row)
            # The next word, or the watermark, takes the output when this one moves on.
            accepted = max(accepted + 1, moved)
        if not rows:  # one word that carries no spike
            accepted += 1
        self._free = max(accepted + 1, self._sink.push(accepted + 1, 1, self._final))
        return first


class _Sorter:
    steps: list[list[int]]

    def __init__(self, hardware: Hardware, sink: _Integrator) -> None:
        self._sink, self._final = sink, hardware.steps - 1
        self._ready = LONG_AGO
        self._moved = LONG_AGO

    def push(self, valid: int, rows: int, mark: int | None = None) -> int:
        taken = max(valid, self._ready)
        if mark is None:
            return taken
        loaded = taken
        for k, spikes in enumerate(self.steps):
            for row in (*spikes, None):
                loaded = max(loaded + 1, self._moved)
                self._moved = self._sink.push(loaded + 1, row or 1, k if row is None else None)
        self._ready = loaded + 1
        return taken


class _Integrator:
    def __init__(self, hardware: Hardware, index: int, sink: _Neurons | _Readout) -> None:
        shape = hardware.layers[index]
        self._sink, self._final = sink, shape.input_codes - 1
        early = shape.fires and hardware.fire_start < hardware.steps
        self._start = hardware.fire_start if early else self._final
        self._walked = LONG_AGO  # clock of the last address: the next event is taken at it
        self._bank = 0
        self._released = [LONG_AGO, LONG_AGO]
        self.walking = self.held = 0

    def push(self, valid: int, rows: int, mark: int | None = None) -> int:
        """Clock at which an event that is valid from a clock on is taken."""
        taken = valid if valid > self._walked else self._walked
        begin = max(taken, self._released[self._bank])
        self._walked = begin + rows
        self.walking += rows
        self.held += begin - taken
        if mark is not None and (mark == self._final or mark >= self._start):
            bank, final = self._bank, mark == self._final
            self._bank ^= final
            walked = max(self._walked, self._sink.accepted + 1)
            self.held += walked - self._walked
            self._walked = walked
            self._released[bank] = self._sink.test(self._walked + Integrator.LATENCY_TEST, final)
        return taken


class _Scanner:
    """Times of a scan, in clocks of its machine after the first address."""

    def __init__(self, shape: LayerShape) -> None:
        window = shape.pool**2
        delay = window + Scanner.LATENCY - 1
        self.slices = range(delay, delay + shape.pass_clocks, window)  # when each slice comes in a pass
        self.end = self.slices[-1]  # the last one
        self.row = shape.pass_clocks  # the last row is in stage B; its bank is free one clock later
        self.period = shape.pass_clocks  # from pass to pass


class _Neurons:
    slices: list[list[tuple[int, list[int]]]]

    def __init__(self, hardware: Hardware, index: int, sink: _Integrator) -> None:
        shape = hardware.layers[index]
        self._scanner, self._serialiser = _Scanner(shape), _Serialiser(sink)
        self._passes = 1 if shape.fire == "search" else hardware.steps
        self._final, self._ordered = hardware.steps - 1, hardware.ordered[index + 1]
        self._stages = Neurons.stages(hardware, index)
        self._idle = self.accepted = LONG_AGO
        self._pass = 0

    def test(self, valid: int, final: bool) -> int:
        """Clock at which the bank of a test that is valid from a clock on is given back."""
        scanner, serialiser = self._scanner, self._serialiser
        self.accepted = max(valid, self._idle)
        origin = self.accepted + 1  # real clock of the machine's clock 0
        passes = range(self._pass, self._passes if final else self._pass + 1)
        self._pass = 0 if final else self._pass + 1
        release = scanner.row + (len(passes) - 1) * scanner.period
        released = None
        for k in passes:
            spikes = list(self.slices[k])
            last_pass = k == self._passes - 1
            if last_pass or self._ordered:
                end = len(scanner.slices) - 1
                if not spikes or spikes[-1][0] != end:
                    spikes.append((end, []))
            else:
                end = -1
            begin = (k - passes[0]) * scanner.period
            for number, rows in spikes:
                load = begin + scanner.slices[number] + self._stages - 1
                if released is None and load >= release:
                    released = origin + release + 1
                clock = origin + load
                mark = (self._final if last_pass else k) if number == end else None
                serialiser.load(clock, rows, mark)
                origin += max(0, serialiser.free - clock - 1)
        end = scanner.end + (len(passes) - 1) * scanner.period + self._stages - 1
        self._idle = max(origin + end, serialiser.free) + 1
        return origin + release + 1 if released is None else released


class _Readout:
    def __init__(self, hardware: Hardware) -> None:
        shape = hardware.layers[-1]
        self._scanner = _Scanner(shape)
        self._passes = hardware.steps if shape.fires else 1
        self._pass = 0
        self._idle = self.accepted = LONG_AGO
        self.sent = 0

    def test(self, valid: int, final: bool) -> int:
        scanner = self._scanner
        self.accepted = max(valid, self._idle)
        origin = self.accepted + 1
        more = (self._passes - self._pass if final else 1) - 1
        self._pass = 0 if final else self._pass + 1
        end = origin + scanner.end + more * scanner.period
        self._idle = end + 2
        if final:
            self.sent = end + Readout.LATENCY
        return origin + scanner.row + more * scanner.period + 1
