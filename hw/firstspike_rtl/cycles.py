"""Clocks an image takes, before synthesis: computed from event counts, and equal to the simulation on every image.

Every stage of the core holds one item and passes it on by valid/ready, and no item ever waits for a later one. So the
clock at which an item moves is the maximum of when it arrived and when the place before it became free. The classes
here follow the stages of the components of the same names, item by item. It is assumed that the source always has the
next word, and that results and monitor are always taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstspike.golden import Result
from firstspike.hardware import Hardware
from firstspike.model import Network
from firstspike_rtl.layouts import PIXELS_PER_WORD

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
        For each image and layer the clocks that its synaptic operations alone need, ``spikes * ceil(N / lanes)``,
        shape (B, layers).
    """

    floor: NDArray[np.int64]

    @property
    def slowest_floor(self) -> NDArray[np.int64]:
        """Floor of the layer that has the most work over all images, shape (B,)."""
        return self.floor[:, self.floor.sum(axis=0).argmax()]


def floor(hardware: Hardware, spikes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Clocks that synaptic operations alone need, from spikes of each population (B, layers)."""
    return spikes * np.array([layer.groups for layer in hardware.layers])


def refill_clocks(hardware: Hardware) -> int:
    """Clocks after reset or enable until every membrane holds its bias; an image that comes earlier may wait."""
    return max(layer.groups for layer in hardware.layers)


def predict(
    network: Network,
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
    network, hardware
        What runs, and on what.
    result
        Of the golden model; only spike times are used.
    send_membranes
        Whether records carry the membranes; they are on the wire while the scan goes on, so no clock depends on it.
    one_at_a_time
        Each image waits for the result of the one before; else they follow without a gap.

    """
    del send_membranes
    chain = _Chain(network, hardware)
    started, finished = [], []
    begin = 0
    for image in _event_counts(hardware, result):
        first, last = chain.run(begin if one_at_a_time else LONG_AGO, image)
        started.append(first)
        finished.append(last)
        begin = last + 1
    origin = started[0] if started else 0
    return Prediction(
        started=np.array(started, np.int64) - origin,
        finished=np.array(finished, np.int64) - origin,
        floor=floor(hardware, result.spikes(network)),
    )


@dataclass
class _Image:
    words: list[int]  # spikes of each input word
    steps: list[int]  # spikes of each input step
    groups: list[list[list[int]]]  # for each hidden layer and step, spikes of each group


def _event_counts(hardware: Hardware, result: Result) -> list[_Image]:
    times = result.spike_times[0]
    lit = times < hardware.layers[0].input_codes
    count, size = times.shape
    words = np.zeros((count, -(-size // PIXELS_PER_WORD) * PIXELS_PER_WORD), np.int64)
    words[:, :size] = lit
    words = words.reshape(count, -1, PIXELS_PER_WORD).sum(axis=2)
    steps = _histogram(times, hardware.layers[0].input_codes)
    layers = []
    for shape, fired in zip(hardware.layers[:-1], result.spike_times[1:], strict=True):
        padded = np.full((count, shape.groups * shape.lanes), hardware.steps, np.int64)
        padded[:, : shape.outputs] = fired
        grouped = padded.reshape(count * shape.groups, shape.lanes)
        table = _histogram(grouped, hardware.steps).reshape(count, shape.groups, hardware.steps)
        layers.append(table.transpose(0, 2, 1).tolist())
    return [
        _Image(w, s, [layer[n] for layer in layers])
        for n, (w, s) in enumerate(zip(words.tolist(), steps.tolist(), strict=True))
    ]


def _histogram(times: NDArray[np.integer], codes: int) -> NDArray[np.int64]:
    """How often each code occurs in each row, shape (rows, codes)."""
    rows = np.arange(len(times))[:, None] * (codes + 1)
    counts = np.bincount((times + rows).ravel(), minlength=len(times) * (codes + 1))
    return counts.reshape(len(times), codes + 1)[:, :codes]


class _Chain:
    def __init__(self, network: Network, hardware: Hardware) -> None:
        self._hardware = hardware
        readout = _Readout(hardware, len(hardware.layers) - 1)
        self._readout = readout
        self._neurons: list[_Neurons] = []
        sink: _Synapse = _Synapse(hardware, len(hardware.layers) - 1, readout)
        for index in reversed(range(len(hardware.layers) - 1)):
            neurons = _Neurons(hardware, index, sink)
            self._neurons.insert(0, neurons)
            sink = _Synapse(hardware, index, neurons)
        self._first: _Synapse | _Sorter = _Sorter(hardware, sink) if hardware.ordered[0] else sink
        source = _PixelEncoder if hardware.input == "pixels" else _EventInput
        self._source = source(self._first, hardware.layers[0].input_codes - 1)

    def run(self, begin: int, image: _Image) -> tuple[int, int]:
        """Clock of the first word, not before ``begin``, and of the class word."""
        for neurons, groups in zip(self._neurons, image.groups, strict=True):
            neurons.spikes = groups
        if isinstance(self._first, _Sorter):
            self._first.spikes = image.steps
        return self._source.run(begin, image.words), self._readout.sent


class _PixelEncoder:
    def __init__(self, sink: _Synapse | _Sorter, final: int) -> None:
        self._sink, self._final = sink, final
        self._free = 0  # clock at which the stage can take a word

    def run(self, begin: int, words: list[int]) -> int:
        free = first = max(begin, self._free)
        for spikes in words:
            moved = free
            for _ in range(spikes):
                moved = self._sink.push(moved + 1)
            free = moved if spikes else free + 1
        self._free = self._sink.push(free + 1, self._final)
        return first


class _EventInput:
    def __init__(self, sink: _Synapse | _Sorter, final: int) -> None:
        self._sink, self._final = sink, final
        self._free = 0

    def run(self, begin: int, words: list[int]) -> int:
        first = accepted = max(begin, self._free)
        spikes = sum(words)
        for n in range(spikes):
            moved = self._sink.push(accepted + 1)
            # The next word, or the watermark, takes the output when this one moves on.
            accepted = max(accepted + 1, moved)
            del n
        if not spikes:  # one word that carries no spike
            accepted += 1
        self._free = max(accepted + 1, self._sink.push(accepted + 1, self._final))
        return first


class _Sorter:
    spikes: list[int]

    def __init__(self, hardware: Hardware, sink: _Synapse) -> None:
        self._sink, self._final = sink, hardware.steps - 1
        self._ready = LONG_AGO
        self._moved = LONG_AGO

    def push(self, valid: int, mark: int | None = None) -> int:
        taken = max(valid, self._ready)
        if mark is None:
            return taken
        loaded = taken
        for k, spikes in enumerate(self.spikes):
            for item in range(spikes + 1):
                loaded = max(loaded + 1, self._moved)
                self._moved = self._sink.push(loaded + 1, k if item == spikes else None)
        self._ready = loaded + 1
        return taken


class _Synapse:
    def __init__(self, hardware: Hardware, index: int, sink: _Neurons | _Readout) -> None:
        self._groups, self._sink = hardware.layers[index].groups, sink
        self._entered = self._stage1 = self._stage2 = LONG_AGO  # clocks at which the last row moved into, on and out

    def push(self, valid: int, mark: int | None = None) -> int:
        """Clock at which an event that is valid from a clock on is taken."""
        sink = self._sink
        for _ in range(self._groups if mark is None else 1):
            self._entered = max(valid, self._entered + 1, self._stage1)
            self._stage1 = max(self._entered + 1, self._stage2)
            self._stage2 = max(self._stage1 + 1, sink.ready)
        if mark is not None:
            sink.watermark(self._stage2, mark)
        return self._entered


class _Firing:
    """When steps may be tested: the twin of ``FiringClock``."""

    def __init__(self, hardware: Hardware, index: int) -> None:
        self._steps, self._start = hardware.steps, hardware.fire_start
        self._final = hardware.layers[index].input_codes - 1
        self._k = 0
        self.ready = LONG_AGO

    def due(self, mark: int) -> range:
        """Steps that the watermark allows to be tested."""
        end = self._steps if mark == self._final else max(0, mark - self._start + 1)
        steps = range(self._k, end)
        self._k = 0 if end == self._steps else max(self._k, end)
        return steps


class _Neurons(_Firing):
    spikes: list[list[int]]

    def __init__(self, hardware: Hardware, index: int, sink: _Synapse) -> None:
        super().__init__(hardware, index)
        self._sink, self._ordered = sink, hardware.ordered[index + 1]
        self._free = LONG_AGO  # clock from which the stage of hits can be loaded
        self._moved = LONG_AGO  # clock at which the last event left the output

    def watermark(self, taken: int, mark: int) -> None:
        loaded = taken
        for k in self.due(mark):
            for spikes in self.spikes[k]:
                loaded = max(loaded + 1, self._free)
                self._emit(loaded, spikes, None)
            if self._ordered or k == self._steps - 1:
                loaded = max(loaded + 1, self._free)
                self._emit(loaded, 1, k)
        self.ready = max(self.ready, loaded + 1)

    def _emit(self, loaded: int, count: int, mark: int | None) -> None:
        self._free = loaded + 1
        output = loaded
        for _ in range(count):
            output = max(output + 1, self._moved)
            self._moved = self._sink.push(output + 1, mark)
        if count:
            self._free = output


class _Readout(_Firing):
    def __init__(self, hardware: Hardware, index: int) -> None:
        super().__init__(hardware, index)
        self._outputs, self._fires = hardware.layers[index].outputs, hardware.layers[index].fires
        self.sent = 0

    def watermark(self, taken: int, mark: int) -> None:
        steps = self.due(mark)
        if not self._fires:
            steps = steps[-1:] if mark == self._final else range(0)
        # A scan takes a clock a neuron, then one to compare the last and one to decide.
        end = taken + len(steps) * (self._outputs + 2)
        self.ready = max(self.ready, end + 1)
        if mark == self._final:
            self.sent = end + 1
