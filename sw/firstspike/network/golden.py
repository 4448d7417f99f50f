"""The golden model: the network of ``docs/numerics.md``, exact and fast, a batch of images at a time.

Sums are matrix products in floating point. They are exact, in any order, because the width is chosen so that every
partial sum is an integer the format holds: float32 below 2**24, float64 below 2**53 (`model.Network.membrane_range`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.model import IntArray, Network, check_images
from firstspike.network.stepped import Stepped
from firstspike.network.sums import FloatArray, exact_float, sums_of
from firstspike.network.trains import Train

BATCH = 1024


@dataclass(frozen=True, eq=False)
class Result:
    """What a network makes of a batch of B images. All arrays are integers.

    Parameters
    ----------
    spike_times
        For the input and each hidden population an array of shape (B, N): the code (for a hidden population the time
        step) of each neuron's first spike, or the population's number of codes where it does not fire.
    membranes
        Output membranes after the whole window, or the largest ones if these are read; shape (B, outputs).
    classes
        The decision, shape (B,).
    decision_steps
        Step of the earliest output spike, or T if there is none; T for the membrane readout. Shape (B,).
    spike_counts
        For each population that fires again, by its number, the spikes of each step, shape (B, T, N).

    """

    spike_times: tuple[NDArray[np.int16], ...]
    membranes: IntArray
    classes: IntArray
    decision_steps: IntArray
    spike_counts: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows: slice) -> Result:
        return Result(
            tuple(times[rows] for times in self.spike_times),
            self.membranes[rows],
            self.classes[rows],
            self.decision_steps[rows],
            {population: counts[rows] for population, counts in self.spike_counts.items()},
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        if self.spike_counts.keys() != other.spike_counts.keys():
            return False
        mine, theirs = self._arrays(), other._arrays()
        return len(mine) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def _arrays(self) -> list[NDArray[Any]]:
        counts = [self.spike_counts[population] for population in sorted(self.spike_counts)]
        return [*self.spike_times, self.membranes, self.classes, self.decision_steps, *counts]

    @staticmethod
    def concatenate(parts: list[Result]) -> Result:
        """One result of all parts, in order."""
        return Result(
            tuple(np.concatenate(times) for times in zip(*(p.spike_times for p in parts), strict=True)),
            np.concatenate([p.membranes for p in parts]),
            np.concatenate([p.classes for p in parts]),
            np.concatenate([p.decision_steps for p in parts]),
            {n: np.concatenate([p.spike_counts[n] for p in parts]) for n in parts[0].spike_counts},
        )

    def spikes(self, network: Network) -> IntArray:
        """Spikes of the input and each hidden population in each image, shape (B, populations)."""
        return np.stack([fired.sum(axis=1) for fired in self._fired(network)], axis=1)

    def synaptic_operations(self, network: Network) -> IntArray:
        """Additions of a weight to a membrane in each image: the sum of the spikes' fan-outs, shape (B,)."""
        total = np.zeros(len(self), np.int64)
        for fired, population, layer in zip(self._fired(network), network.populations, network.layers, strict=False):
            total += fired @ layer.fan_out(population.shape)
        return total

    def fired(self, population: int, codes: int) -> NDArray[Any]:
        """How often each neuron of a population with so many codes fires, shape (B, N)."""
        counts = self.spike_counts.get(population)
        return self.spike_times[population] < codes if counts is None else counts.sum(axis=1, dtype=np.int64)

    def _fired(self, network: Network) -> Iterator[NDArray[Any]]:
        for number, population in enumerate(network.populations[: len(self.spike_times)]):
            yield self.fired(number, population.codes)


class Golden:
    """The golden model of one network, with its tables and weights laid out for speed.

    Throughput: two matrix products an image and layer; see ``make bench`` for images a second.

    Raises
    ------
    FirstspikeError
        if a membrane could reach 2**53, beyond which no float sums exactly.

    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._layers = [_layer(network, index) for index in range(len(network.layers))]
        self._encoder = np.array(network.encoder, np.int16)

    def run(self, images: NDArray[np.uint8]) -> Result:
        """Result for images of bytes, shape (B, ...); axes after the first are flattened.

        For an input of events they are counts, shape (B, T, ...).

        Raises
        ------
        FirstspikeError
            if the images do not fit the network.

        """
        flat = check_images(self._network, images)
        if not len(flat):
            return self._run(flat)
        return Result.concatenate([self._run(flat[i : i + BATCH]) for i in range(0, len(flat), BATCH)])

    def _run(self, images: NDArray[np.uint8]) -> Result:
        first = self._network.populations[0]
        trains = [Train.of_counts(first, images) if first.repeat else Train(first, self._encoder[images])]
        *hidden, last = self._layers
        for layer in hidden:
            trains.append(layer.fire(trains[-1]))
        counts = {number: train.counts for number, train in enumerate(trains) if train.counts is not None}
        return Result(tuple(train.times for train in trains), *last.read(trains[-1]), counts)


def _layer(network: Network, index: int) -> _Layer | Stepped:
    """A layer and the neurons after it."""
    return (Stepped if network.populations[index + 1].dynamics else _Layer)(network, index)


class _Layer:
    """Membranes, shape (B, M), and what fires. M counts the membranes before pooling, in the order of the sums."""

    def __init__(self, network: Network, index: int) -> None:
        layer, pre, post = network.layers[index], network.populations[index], network.populations[index + 1]
        rows = np.abs(layer.weight).reshape(len(layer.weight), -1).sum(axis=1)
        bound = network.arrivals(index).total * int(rows.max()) + int(np.abs(layer.bias).max())
        bound = max(bound, *post.threshold, 0)
        self._float = exact_float(f"layer {layer.name}: membranes", bound)
        self._sums = sums_of(layer, pre.shape, self._float)
        self._threshold: FloatArray = np.array(post.threshold, self._float)
        self._steps, self._fire_start = network.steps, network.fire_start
        self._population, self._codes = post, range(pre.codes)
        # The codes that each step adds: all that have arrived by its test, and not by an earlier one.
        counts = [max(0, pre.arrival(code) - network.fire_start) for code in self._codes]
        self._added = [[code for code in self._codes if counts[code] == k] for k in range(self._steps)]

    def _complete(self, train: Train) -> FloatArray:
        """V when every spike has arrived."""
        values = train.value(self._codes, self._float)
        if values is None:
            return np.tile(self._sums.bias, (len(train.times), 1))
        return self._sums.add(values) + self._sums.bias

    def _membranes(self, train: Train) -> Iterator[tuple[int, FloatArray]]:
        """(k, V(k)) for each step k; V is the same array, updated in place."""
        v = np.tile(self._sums.bias, (len(train.times), 1))
        for k, codes in enumerate(self._added):
            values = train.value(codes, self._float)
            if values is not None:
                v += self._sums.add(values)
            yield k, v

    def fire(self, train: Train) -> Train:
        """Spikes of a population with thresholds."""
        if self._fire_start >= self._steps:
            # V is constant while the threshold falls: as many steps are late enough as thresholds are <= V.
            # The first spike of a pooling window is that of its largest membrane.
            v = self._sums.pool(self._complete(train), np.max)
            reached = np.zeros(v.shape, np.int16)
            for threshold in self._threshold:
                reached += v >= threshold
            return Train(self._population, np.int16(self._steps) - reached)
        fired = np.full((len(train.times), len(self._sums.bias)), self._steps, np.int16)
        for k, v in self._membranes(train):
            fired[(v >= self._threshold[k]) & (fired == self._steps)] = k
        return Train(self._population, self._sums.pool(fired, np.min))

    def read(self, train: Train) -> tuple[IntArray, IntArray, IntArray]:
        """Output membranes after the whole window, classes, and decision steps."""
        if not len(self._threshold):
            v = self._complete(train)
            return v.astype(np.int64), v.argmax(axis=1), np.full(len(train.times), self._steps)
        steps = np.full(len(train.times), self._steps)
        classes = np.zeros(len(train.times), np.int64)
        for k, v in self._membranes(train):
            first = (v.max(axis=1) >= self._threshold[k]) & (steps == self._steps)
            steps[first] = k
            classes[first] = v[first].argmax(axis=1)
        undecided = steps == self._steps
        classes[undecided] = v[undecided].argmax(axis=1)
        return v.astype(np.int64), classes, steps


def run(network: Network, images: NDArray[np.uint8]) -> Result:
    """:meth:`Golden.run` for a single use."""
    return Golden(network).run(images)


def output_spikes(network: Network, result: Result) -> NDArray[np.int16]:
    """Step of each output neuron's spike, or T where it does not fire: what a first-spike readout chooses from.

    Parameters
    ----------
    network
        Read by its first spike.
    result
        Of this network, for B images.

    Returns
    -------
    Steps of the output's window, shape (B, outputs). The decision step of an image is the least of its row.

    Raises
    ------
    FirstspikeError
        if the network has the membrane readout: its output has no thresholds.

    """
    if network.readout != "first_spike":
        raise FirstspikeError("the output has no thresholds", 'use readout = "first_spike"')
    index = len(network.layers) - 1
    before = Train(network.populations[index], result.spike_times[index], result.spike_counts.get(index))
    return _layer(network, index).fire(before).times
