"""Clocks an image takes, before synthesis: computed from event counts, and equal to the simulation on every image.

No item ever waits for a later one: the clock at which it moves is the maximum of when it arrived and when the place
before it became free. The classes here follow the components of the same names, event by event. A scan is one machine
that stands still while its spikes have not left; its stages need no following, since a slice comes at a time of the
machine that only the shape of the layer fixes. It is assumed that the source always has the next word, that events come
in order of their neurons, and that results and monitor are always taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.network.golden import Result
from firstspike_rtl.core.encoder import PixelEncoder
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.skid import SkidBuffer

LONG_AGO = -(1 << 40)


@dataclass(frozen=True, eq=False, kw_only=True)
class Clocks:
    """Clocks at which B images came and went, predicted or seen.

    Parameters
    ----------
    started, finished
        Clock of the first input word and of the last result word of each image, shape (B,).
    """

    started: NDArray[np.int64]
    finished: NDArray[np.int64]

    @property
    def latencies(self) -> NDArray[np.int64]:
        """Clocks from the first input word to the last result word of each image, both counted. Shape (B,)."""
        return self.finished - self.started + 1

    @property
    def intervals(self) -> NDArray[np.int64]:
        """Clocks from one result to the next, shape (B - 1,)."""
        return np.diff(self.finished)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction(Clocks):
    """Clocks of B images, counted from the first word of the first image.

    Parameters
    ----------
    started, finished
        As in :class:`Clocks`.
    floor
        For each image and layer the clocks that its synaptic operations alone need, shape (B, layers): for each spike
        the places it reaches, times ``ceil(channels / lanes)``.
    layers
        Where each layer's clocks go.
    """

    floor: NDArray[np.int64]
    layers: tuple[LayerClocks, ...]

    @property
    def slowest_layer(self) -> int:
        """The layer that has the most work over all images."""
        return int(self.floor.sum(axis=0).argmax())

    @property
    def slowest_floor(self) -> NDArray[np.int64]:
        """Floor of the slowest layer, shape (B,)."""
        return self.floor[:, self.slowest_layer]


@dataclass(frozen=True, kw_only=True)
class LayerClocks:
    """What the adders of a layer do, in clocks an image (mean over a run); the four add up to the run's length.

    Parameters
    ----------
    adding
        Adding to a row of membranes: the floor, the only clocks that do the network's work.
    watermarks
        Passing on watermarks, and spikes that reach no membrane.
    membranes
        Holding an event back until a bank of membranes has been tested, or the last test has begun.
    events
        Waiting for the next event.
    """

    adding: float
    watermarks: float
    membranes: float
    events: float


def floor(hardware: Hardware, result: Result) -> NDArray[np.int64]:
    """Clocks that synaptic operations alone need in each image and layer, shape (B, layers)."""
    layers = zip(result.spike_times, hardware.layers, strict=True)
    return np.stack([(times < x.input_codes) @ x.visits * x.groups for times, x in layers], axis=1)


def refill_clocks(hardware: Hardware) -> int:
    """Clocks after reset or enable until all membranes are clear; an image that comes earlier may wait."""
    return max(layer.membrane_rows for layer in hardware.layers) + 1


def predict(
    hardware: Hardware,
    result: Result,
    *,
    send_membranes: bool = False,
    one_at_a_time: bool = False,
) -> Prediction:
    """Clocks of each image of a run, from the golden model's result.

    The first image comes :func:`refill_clocks` after the core was enabled, or later.

    Parameters
    ----------
    hardware
        The core.
    result
        Of the golden model; only spike times are used.
    send_membranes
        Whether records carry the membranes; they are on the wire while the scan goes on, so no clock depends on it.
    one_at_a_time
        Each image waits for the result of the one before; else they follow without a gap.

    """
    del send_membranes
    chain = _Chain(hardware)
    started, finished = [], []
    begin = 0
    for image in _spikes(hardware, result):
        first, last = chain.run(begin if one_at_a_time else LONG_AGO, image)
        started.append(first)
        finished.append(last)
        begin = last + 1
    origin = started[0] if started else 0
    least = floor(hardware, result)
    return Prediction(
        started=np.array(started, np.int64) - origin,
        finished=np.array(finished, np.int64) - origin,
        floor=least,
        layers=chain.layers(begin - origin, least),
    )


@dataclass
class _Spikes:
    """Spikes of one image. A number stands for each: the rows of membranes that it has the next layer add to."""

    words: list[list[int]]  # of each input word that has any, and how many silent words come before it
    steps: list[list[int]]  # of each input step
    slices: list[list[list[tuple[int, list[int]]]]]  # for each hidden layer and pass, of each slice that has any


def _spikes(hardware: Hardware, result: Result) -> Iterator[_Spikes]:
    layers, early = hardware.layers, hardware.ordered[0]
    rows = [np.maximum(1, layer.visits * layer.groups) for layer in layers]
    orders = [_scan_order(layer) for layer in layers[:-1]]
    inputs = result.spike_times[0]
    size = -(-inputs.shape[1] // PIXELS_PER_WORD)
    for n, codes in enumerate(inputs):
        (lit,) = np.nonzero(codes < layers[0].input_codes)
        words: list[list[int]] = [[] for _ in range(size)]
        for word, row in zip((lit // PIXELS_PER_WORD).tolist(), rows[0][lit].tolist(), strict=True):
            words[word].append(row)
        steps = [rows[0][lit][codes[lit] == k].tolist() for k in range(layers[0].input_codes)] if early else []
        slices = []
        for index, (layer, (order, numbers)) in enumerate(zip(layers, orders, strict=False)):
            times = result.spike_times[index + 1][n][order]
            passes = [times < hardware.steps] if layer.fire == "search" else times == np.arange(hardware.steps)[:, None]
            slices.append([_by_slice(numbers[p], rows[index + 1][order[p]]) for p in passes])
        yield _Spikes(words, steps, slices)


def _scan_order(shape: LayerShape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neurons in the order in which they are tested, and the number of the slice of each in a pass."""
    windows = shape.windows
    channel, place = np.divmod(np.arange(shape.outputs), windows)
    group, lane = np.divmod(channel, shape.lanes)
    number = (group * windows + place) * shape.group_slices[0] + lane // shape.fire_lanes
    last = group == shape.groups - 1
    number[last] -= place[last] * (shape.group_slices[0] - shape.group_slices[-1])
    order = np.lexsort((lane, number))
    return order, number[order]


def _by_slice(numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> list[tuple[int, list[int]]]:
    pairs = zip(numbers.tolist(), rows.tolist(), strict=True)
    return [(number, [row for _, row in group]) for number, group in groupby(pairs, key=lambda pair: pair[0])]


class _Chain:
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

    def run(self, begin: int, image: _Spikes) -> tuple[int, int]:
        """Clock of the first word, not before ``begin``, and of the class word."""
        for neurons, slices in zip(self._neurons, image.slices, strict=True):
            neurons.slices = slices
        if isinstance(self._first, _Sorter):
            self._first.steps = image.steps
        return self._source.run(begin, image.words), self._readout.sent

    def layers(self, clocks: int, floor: NDArray[np.int64]) -> tuple[LayerClocks, ...]:
        """Where a run's clocks went in each layer, a mean over its images."""
        count = max(1, len(floor))
        return tuple(
            LayerClocks(
                adding=adding / count,
                watermarks=(integrator.walking - adding) / count,
                membranes=integrator.held / count,
                events=(clocks - integrator.walking - integrator.held) / count,
            )
            for integrator, adding in zip(self._integrators, floor.sum(axis=0).tolist(), strict=True)
        )


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
        self.walking = 0  # clocks in which an address or a watermark moved on
        self.held = 0  # in which one did not

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
