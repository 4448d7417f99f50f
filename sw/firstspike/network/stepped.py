"""The golden model of a population with dynamics: all neurons of a batch, a step at a time.

Numbers are floats that hold integers exactly: float32 where every sum and product stays below 2**24, else float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.network.dynamics import Factor, IntArray, step_values
from firstspike.network.model import Network
from firstspike.network.sums import FloatArray, exact_float, sums_of
from firstspike.network.trains import Train

#: Places for membranes, before pooling; changes an array in place or makes a new one.
Update = Callable[[FloatArray], FloatArray]


@dataclass
class Step:
    """A step of the window of tests, or one before it, after its test and before its reset.

    Parameters
    ----------
    number
        k, below 0 before the first test.
    membrane
        V, shape (B, M).
    spikes
        How many each neuron sends, shape (B, M); None where nothing is tested.
    """

    number: int
    membrane: FloatArray
    spikes: NDArray[Any] | None


class Stepped:
    """A layer and the neurons after it, which have dynamics.

    Raises
    ------
    FirstspikeError
        if a number could reach 2**53, beyond which no float is exact.
    """

    def __init__(self, network: Network, index: int) -> None:
        layer, self._before, self._after = network.layers[index], *network.populations[index : index + 2]
        assert self._after.dynamics is not None
        self._dynamics, self._window = self._after.dynamics, network.steps
        self._float = exact_float(f"layer {layer.name}: numbers", _largest_number(network, index))
        self._sums = sums_of(layer, self._before.shape, self._float)
        self._retain = self._factor(self._dynamics.retain)
        self._leak = self._factor(self._dynamics.leak)

    def fire(self, train: Train) -> Train:
        """The spikes of the population."""
        if self._dynamics.repeat:
            counts = [step.spikes for step in self._steps(train) if step.number >= 0]
            return Train.of_counts(self._after, np.stack([self._sums.pool(x, np.max) for x in counts], axis=1))  # type: ignore[arg-type]
        times = np.full((len(train.times), len(self._sums.bias)), self._window, np.int16)
        for step in self._steps(train):
            if step.spikes is not None:
                times[step.spikes] = step.number
        return Train(self._after, self._sums.pool(times, np.min))

    def read(self, train: Train) -> tuple[IntArray, IntArray, IntArray]:
        """Of an output: membranes as they are read, classes, and decision steps."""
        count = len(train.times)
        decided = np.full(count, self._window)
        classes = np.zeros(count, np.int64)
        largest = None
        for step in self._steps(train):
            v = step.membrane
            if self._dynamics.read == "largest":
                largest = v.copy() if largest is None else np.maximum(largest, v, out=largest)
            if step.spikes is not None:
                first = step.spikes.any(axis=1) & (decided == self._window)
                decided[first] = step.number
                classes[first] = np.where(step.spikes[first], v[first], -np.inf).argmax(axis=1)
        read = v if largest is None else largest
        undecided = decided == self._window
        classes[undecided] = read[undecided].argmax(axis=1)
        return read.astype(np.int64), classes, decided

    def _steps(self, train: Train) -> Iterator[Step]:
        """Each step of the population's life. Its arrays hold until the next one is asked for."""
        dynamics = self._dynamics
        v: FloatArray = np.tile(self._sums.bias, (len(train.times), 1))
        u: FloatArray = np.zeros_like(v)
        fired = np.zeros(v.shape, bool)
        for t in range(dynamics.steps(self._window)):
            u = self._retain(u)
            codes = [code for code in range(self._before.codes) if self._before.arrival(code) == t]
            values = train.value(codes, self._float)
            if values is not None:
                u = u + self._sums.add(values) * self._float(1 << dynamics.guard)
            v = self._leak(v) + self._drive(u, t)
            k = t - dynamics.start
            if dynamics.threshold is None or k < 0:
                yield Step(k, v, None)
                continue
            threshold = self._each(dynamics.threshold, k)
            if dynamics.mode == "once":
                spikes = (v >= threshold) & ~fired
                fired |= spikes
                yield Step(k, v, spikes)
                continue
            spikes = np.zeros(v.shape, np.uint8)
            for m in range(1, dynamics.cap + 1):
                spikes += v >= m * threshold
            yield Step(k, v, spikes)
            reset = self._each(dynamics.resets(), k)
            v = v - spikes * reset if dynamics.mode == "soft" else np.where(spikes > 0, reset, v)

    def _drive(self, u: FloatArray, t: int) -> FloatArray:
        added = self._each(self._dynamics.drive, t)
        if self._dynamics.gain is None:
            return u + added if added.any() else u
        part = self._float(2.0**-self._dynamics.gain_shift)
        return np.asarray(np.floor((self._each(self._dynamics.gain, t) * u + added) * part))

    def _each(self, array: IntArray, step: int) -> FloatArray:
        return self._sums.spread(step_values(array, step).astype(self._float))

    def _factor(self, factor: Factor) -> Update:
        """``factor`` of an array."""
        if not factor.numerator.any():
            return np.zeros_like
        if (factor.numerator == 1 << factor.shift).all():
            return lambda x: x
        numerator = self._sums.spread(factor.numerator.astype(self._float))
        part = self._float(2.0**-factor.shift)
        return lambda x: np.floor(x * numerator * part)


def _largest_number(network: Network, index: int) -> int:
    """The largest magnitude of any sum and any product on the way."""
    layer, after = network.layers[index], network.populations[index + 1]
    dynamics, ranges = after.dynamics, network.ranges(index)
    assert dynamics is not None
    rows = int(np.abs(layer.weight).reshape(len(layer.weight), -1).sum(axis=1).max())
    current, membrane, drive = (max(-low, high) for low, high in (ranges.current, ranges.membrane, ranges.drive))
    added = int(np.abs(dynamics.drive).max())
    gained = current if dynamics.gain is None else current * int(dynamics.gain.max())
    resets = 0 if dynamics.threshold is None or dynamics.mode == "once" else int(np.abs(dynamics.resets()).max())
    return max(
        (rows * network.arrivals(index).largest) << dynamics.guard,
        current * int(dynamics.retain.numerator.max()),
        membrane * int(dynamics.leak.numerator.max()),
        gained + added,
        drive + membrane,
        network.largest_threshold(index),
        membrane + resets * dynamics.cap,
    )
