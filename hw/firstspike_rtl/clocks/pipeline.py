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
from firstspike_rtl.core.buffers import Queue, SkidBuffer
from firstspike_rtl.core.inputs.events import TrainInput, event_input
from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.stepper import gap, stages

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
        integrator = _Integrator(hardware, last, readout)
        self._neurons: list[_Neurons] = []
        self._integrators = [integrator]
        for index in reversed(range(last)):
            neurons = _Neurons(hardware, index, _Skid(integrator))
            self._neurons.insert(0, neurons)
            integrator = _Integrator(hardware, index, neurons)
            self._integrators.insert(0, integrator)
        skid = _Skid(integrator)
        self._first: _Skid | _Sorter = _Sorter(hardware, skid) if hardware.sorts else skid
        events = _TrainInput if event_input(hardware) is TrainInput else _EventInput
        source = _PixelEncoder if hardware.input == "pixels" else events
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


class _Skid:
    """Before an integrator."""

    def __init__(self, sink: _Integrator) -> None:
        self._sink = sink
        # Clocks at which the last events left, as many as fit in.
        self._taken = deque([LONG_AGO] * SkidBuffer.ITEMS, SkidBuffer.ITEMS)

    def push(self, valid: int, rows: int, mark: int | None = None) -> int:
        """Clock at which an event that is valid from a clock on is taken."""
        moved = max(valid, self._taken[0] + 1)
        self._taken.append(self._sink.push(max(moved, self._taken[-1]) + 1, rows, mark))
        return moved


class _Serialiser:
    """One event a clock. A load at clock L is free for the next from the clock at which its last event moves on."""

    def __init__(self, sink: _Skid | _Sorter) -> None:
        self._sink = sink
        self.free = LONG_AGO

    def load(self, clock: int, rows: Sequence[int], mark: int | None) -> None:
        for row in rows:
            clock = self._sink.push(clock + 1, row)
        if mark is not None:
            clock = self._sink.push(clock + 1, 1, mark)
        self.free = clock


class _Queue:
    """Before a serialiser. While more than ``limit`` wait, no more are begun."""

    def __init__(self, serialiser: _Serialiser, limit: int) -> None:
        self._serialiser = serialiser
        # Clocks at which the last ones left: the first of them frees the place of the next one that is too many.
        self._left = deque([LONG_AGO] * (limit + 1), limit + 1)
        #: Clocks in which none may be begun, in order: the first and the last of some in a row.
        self.stops: deque[tuple[int, int]] = deque()

    def put(self, clock: int, rows: Sequence[int], mark: int | None) -> None:
        """One comes at this clock."""
        left = max(clock + Queue.LATENCY, self._serialiser.free)
        self._serialiser.load(left, rows, mark)
        self._left.append(left)
        if self._left[0] > clock:
            self.stops.append((clock + 1, self._left[0]))


class _PixelEncoder:
    def __init__(self, sink: _Skid | _Sorter, final: int) -> None:
        self._final = final
        self._queue = _Queue(_Serialiser(sink), Queue.limit(PixelEncoder.STAGES, PixelEncoder.QUEUE))
        self._taken = LONG_AGO  # clock of the last word

    def run(self, begin: int, words: list[list[int]]) -> int:
        first = self._take(begin)
        last = len(words) - 1
        for n, rows in enumerate(words):
            clock = first if n == 0 else self._take(begin)
            if rows or n == last:
                self._queue.put(clock + PixelEncoder.STAGES, rows, self._final if n == last else None)
        return first

    def _take(self, begin: int) -> int:
        """Clock at which the next word is taken."""
        clock, stops = max(begin, self._taken + 1), self._queue.stops
        while stops and stops[0][0] <= clock:
            clock = max(clock, stops.popleft()[1] + 1)
        self._taken = clock
        return clock


class _EventInput:
    def __init__(self, sink: _Skid | _Sorter, final: int) -> None:
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


class _TrainInput:
    def __init__(self, sink: _Skid | _Sorter, final: int) -> None:
        self._sink, self._final = sink, final
        self._taken = self._moved = self._loaded = LONG_AGO

    def run(self, begin: int, words: list[list[int]]) -> int:
        first = accepted = max(begin, self._taken)
        waiting = [k for k, rows in enumerate(words) if rows]
        if not waiting:  # one word of step 0 that carries no spike
            self._load(accepted + 1)
            self._taken = self._loaded
        k = 0
        for step in waiting:
            for row in words[step]:
                while k < step:
                    self._send(accepted + 1, 1, k)
                    k += 1
                self._send(accepted + 1, row)
                accepted = self._taken = self._loaded  # the next word comes as this one goes
        for each in range(k, self._final + 1):
            self._send(accepted + 1, 1, each)
        return first

    def _load(self, clock: int) -> None:
        """Into the output, from this clock on."""
        self._loaded = max(clock, self._loaded + 1, self._moved)

    def _send(self, clock: int, rows: int, mark: int | None = None) -> None:
        self._load(clock)
        self._moved = self._sink.push(self._loaded + 1, rows, mark)


class _Sorter:
    steps: list[list[int]]

    def __init__(self, hardware: Hardware, sink: _Skid) -> None:
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
        self._stepped = shape.dynamics is not None  # then each step has a bank of its own
        self._start = 0 if self._stepped else hardware.fire_start if early else self._final
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
            self._bank ^= final or self._stepped
            walked = max(self._walked, self._sink.accepted + 1)
            self.held += walked - self._walked
            self._walked = walked
            self._released[bank] = self._sink.test(self._walked + Integrator.LATENCY_TEST, final)
        return taken


class _Scanner:
    """A scan takes an address in each clock in which there is room. Addresses are counted from its first one."""

    def __init__(self, shape: LayerShape, stops: deque[tuple[int, int]]) -> None:
        self.window = shape.pool**2  # addresses of a slice
        self.addresses = shape.pass_clocks  # of a pass
        self._stops = stops  # of the queue that it fills
        self._address, self._clock = 0, LONG_AGO

    def begin(self, clock: int) -> None:
        """The first address is there at this clock."""
        self._address, self._clock = -1, clock - 1

    def taken(self, address: int) -> int:
        """Clock at which an address is taken; they are asked for in order."""
        while self._stops and self._stops[0][0] <= self._clock + address - self._address:
            first, last = self._stops.popleft()
            moved = max(0, first - 1 - self._clock)
            self._address += moved
            self._clock = max(self._clock + moved, last)
        self._clock += address - self._address
        self._address = address
        return self._clock

    def slice_taken(self, number: int) -> int:
        """Clock at which the last address of a slice is taken."""
        return self.taken(number * self.window + self.window - 1)


class _Neurons:
    slices: list[list[tuple[int, list[int]]]]

    def __init__(self, hardware: Hardware, index: int, sink: _Skid) -> None:
        shape = hardware.layers[index]
        self._queue = _Queue(_Serialiser(sink), Neurons.queue_limit(hardware, index))
        self._scanner = _Scanner(shape, self._queue.stops)
        self._passes = hardware.passes(index)
        self._start = shape.dynamics.start if shape.dynamics else 0
        self._apart = gap(shape) if shape.dynamics else 0  # passes that do not follow without a gap
        self._final, self._ordered = hardware.steps - 1, hardware.ordered[index + 1]
        self._delay = Scanner.LATENCY + Neurons.stages(hardware, index)  # from a slice's address to the queue
        self.accepted = LONG_AGO
        self._idle = LONG_AGO
        self._pass = 0

    def test(self, valid: int, final: bool) -> int:
        """Clock at which the bank of a test that is valid from a clock on is given back."""
        if self._apart:
            return self._step(valid, final)
        scanner = self._scanner
        self.accepted = max(valid, self._idle)
        scanner.begin(self.accepted + 1)
        passes = range(self._pass, self._passes if final else self._pass + 1)
        self._pass = 0 if final else self._pass + 1
        for n, k in enumerate(passes):
            self._put(n, k, k == self._passes - 1)
        end = scanner.taken(len(passes) * scanner.addresses - 1)
        self._idle = end + self._delay
        return end + 2

    def _step(self, valid: int, final: bool) -> int:
        """With dynamics: a pass, and after the final test all that are left, each for itself."""
        scanner = self._scanner
        self.accepted = max(valid, self._idle)
        released = None
        for t in range(self._pass, self._passes if final else self._pass + 1):
            scanner.begin(self._idle + 1 if released else self.accepted + 1)
            self._put(0, t - self._start, t == self._passes - 1)
            end = scanner.taken(scanner.addresses - 1)
            released = released or end + 2
            self._idle = end + self._apart
        self._pass = 0 if final else self._pass + 1
        return released or 0

    def _put(self, n: int, k: int, last: bool) -> None:
        """The slices of pass ``n`` of this scan that have spikes of step ``k``, or a watermark."""
        if k < 0:
            return
        count = self._scanner.addresses // self._scanner.window  # slices of a pass
        spikes = list(self.slices[k])
        marked = last or self._ordered
        if marked and (not spikes or spikes[-1][0] != count - 1):
            spikes.append((count - 1, []))
        for number, rows in spikes:
            mark = (self._final if last else k) if marked and number == count - 1 else None
            self._queue.put(self._scanner.slice_taken(n * count + number) + self._delay, rows, mark)


class _Readout:
    def __init__(self, hardware: Hardware) -> None:
        shape = hardware.layers[-1]
        self._scanner = _Scanner(shape, deque())  # results are taken at once
        self._passes = hardware.passes(len(hardware.layers) - 1)
        self._apart = gap(shape) if shape.dynamics else 0
        self._delay = Scanner.LATENCY + stages(shape)  # from an address to the neuron
        self._pass = 0
        self._idle = self.accepted = LONG_AGO
        self.sent = 0

    def test(self, valid: int, final: bool) -> int:
        self.accepted = max(valid, self._idle)
        passes = self._passes - self._pass if final else 1
        self._pass = 0 if final else self._pass + 1
        released = 0
        # With dynamics each pass is for itself.
        begin, scans = self.accepted, passes if self._apart else 1
        for _ in range(scans):
            self._scanner.begin(begin + 1)
            end = self._scanner.taken(passes // scans * self._scanner.addresses - 1)
            last = end + self._delay  # the last neuron
            released = released or end + 2
            begin = self._idle = end + self._apart if self._apart else last + 2
        if final:
            self.sent = last + Readout.LATENCY
        return released
