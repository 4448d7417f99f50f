"""The golden model: the network of ``docs/numerics.md``, exact and fast, a batch of images at a time.

Sums are matrix products in floating point. They are exact, in any order, because the width is chosen so that every
partial sum is an integer the format holds: float32 below 2**24, float64 below 2**53 (`model.Network.membrane_range`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.model import Conv2d, IntArray, Network, check_images
from firstspike.network.sums import Convolution, FloatArray, Product

BATCH = 1024


@dataclass(frozen=True, eq=False)
class Result:
    """What a network makes of a batch of B images. All arrays are integers.

    Parameters
    ----------
    spike_times
        For the input and each hidden population an array of shape (B, N): the code (for a hidden population the time
        step) of each neuron's spike, or the population's number of codes where it does not fire.
    membranes
        Output membranes after the whole window, shape (B, outputs).
    classes
        The decision, shape (B,).
    decision_steps
        Step of the earliest output spike, or T if there is none; T for the membrane readout. Shape (B,).

    """

    spike_times: tuple[NDArray[np.int16], ...]
    membranes: IntArray
    classes: IntArray
    decision_steps: IntArray

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows: slice) -> Result:
        return Result(
            tuple(times[rows] for times in self.spike_times),
            self.membranes[rows],
            self.classes[rows],
            self.decision_steps[rows],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        mine, theirs = self._arrays(), other._arrays()
        return len(mine) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def _arrays(self) -> list[NDArray[Any]]:
        return [*self.spike_times, self.membranes, self.classes, self.decision_steps]

    @staticmethod
    def concatenate(parts: list[Result]) -> Result:
        """One result of all parts, in order."""
        return Result(
            tuple(np.concatenate(times) for times in zip(*(p.spike_times for p in parts), strict=True)),
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Result)[1:]),
        )

    def spikes(self, network: Network) -> IntArray:
        """Spikes of the input and each hidden population in each image, shape (B, populations)."""
        return np.stack(
            [
                (times < population.codes).sum(axis=1)
                for times, population in zip(self.spike_times, network.populations, strict=False)
            ],
            axis=1,
        )

    def synaptic_operations(self, network: Network) -> IntArray:
        """Additions of a weight to a membrane in each image: the sum of the spikes' fan-outs, shape (B,)."""
        total = np.zeros(len(self), np.int64)
        for times, population, layer in zip(self.spike_times, network.populations, network.layers, strict=False):
            total += (times < population.codes) @ layer.fan_out(population.shape)
        return total


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
        self._layers = [_Layer(network, index) for index in range(len(network.layers))]
        self._encoder = np.array(network.encoder, np.int16)

    def run(self, images: NDArray[np.uint8]) -> Result:
        """Result for images of bytes, shape (B, ...); axes after the first are flattened.

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
        times = [self._encoder[images]]
        *hidden, last = self._layers
        for layer in hidden:
            times.append(layer.fire(times[-1]))
        membranes, classes, steps = last.read(times[-1])
        return Result(tuple(times), membranes, classes, steps)


class _Layer:
    """Membranes, shape (B, M), and what fires. M counts the membranes before pooling, in the order of the sums."""

    def __init__(self, network: Network, index: int) -> None:
        layer, pre, post = network.layers[index], network.populations[index], network.populations[index + 1]
        rows = np.abs(layer.weight).reshape(len(layer.weight), -1).sum(axis=1)
        bound = pre.kernel[0] * int(rows.max()) + int(np.abs(layer.bias).max())
        bound = max(bound, *post.threshold, 0)
        if bound >= 1 << 53:
            raise FirstspikeError(f"layer {layer.name}: membranes reach {bound}, beyond the exact range of 2**53")
        self._float: Any = np.float32 if bound < 1 << 24 else np.float64
        self._sums = (
            Convolution(layer, pre.shape, self._float) if isinstance(layer, Conv2d) else Product(layer, self._float)
        )
        self._threshold: FloatArray = np.array(post.threshold, self._float)
        self._steps, self._fire_start = network.steps, network.fire_start
        # One entry more, worth 0, for the code that means "no spike".
        self._kernel: FloatArray = np.array([*pre.kernel, 0], self._float)
        # The step in whose test a spike counts first, and the values of the codes that each step adds.
        counts = np.array([max(0, pre.arrival(code) - network.fire_start) for code in range(pre.codes)] + [0])
        added: FloatArray = np.where(counts == np.arange(self._steps)[:, None], self._kernel, self._float(0))
        self._added = [values if values.any() else None for values in added]

    def _complete(self, times: NDArray[np.int16]) -> FloatArray:
        """V when every spike has arrived."""
        return self._sums.add(self._kernel[times]) + self._sums.bias

    def _membranes(self, times: NDArray[np.int16]) -> Iterator[tuple[int, FloatArray]]:
        """(k, V(k)) for each step k; V is the same array, updated in place."""
        v = np.tile(self._sums.bias, (len(times), 1))
        for k, values in enumerate(self._added):
            if values is not None:
                v += self._sums.add(values[times])
            yield k, v

    def fire(self, times: NDArray[np.int16]) -> NDArray[np.int16]:
        """Spike steps, shape (B, N), of a population with thresholds."""
        if self._fire_start >= self._steps:
            # V is constant while the threshold falls: as many steps are late enough as thresholds are <= V.
            # The first spike of a pooling window is that of its largest membrane.
            v = self._sums.pool(self._complete(times), np.max)
            reached = np.zeros(v.shape, np.int16)
            for threshold in self._threshold:
                reached += v >= threshold
            return np.int16(self._steps) - reached
        fired = np.full((len(times), len(self._sums.bias)), self._steps, np.int16)
        for k, v in self._membranes(times):
            fired[(v >= self._threshold[k]) & (fired == self._steps)] = k
        return self._sums.pool(fired, np.min)

    def read(self, times: NDArray[np.int16]) -> tuple[IntArray, IntArray, IntArray]:
        """Output membranes after the whole window, classes, and decision steps."""
        if not len(self._threshold):
            v = self._complete(times)
            return v.astype(np.int64), v.argmax(axis=1), np.full(len(times), self._steps)
        steps = np.full(len(times), self._steps)
        classes = np.zeros(len(times), np.int64)
        for k, v in self._membranes(times):
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
    return _Layer(network, len(network.layers) - 1).fire(result.spike_times[-1])
