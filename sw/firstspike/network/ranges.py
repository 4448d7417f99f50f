"""Bounds of every number that the neurons of a population with dynamics hold, over all spikes that may come.

What the spikes of one neuron do to U and V is linear but for rounding and resets: each adds its weight times a response
that is never negative, and a reset only lowers V. So the largest values follow from all positive weights at their best
steps, and the least ones from all negative weights, what rounding takes away, and the least value after a reset. Beside
it the step before bounds each step. Of both bounds the tighter one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce

from firstspike.network.dynamics import Dynamics, Factor, IntArray, value

#: Bits after the point of a response; it is rounded away from the tighter side.
POINT = 32

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The spikes that come to a population.

    Parameters
    ----------
    values
        What a spike of each step is worth; only step 0 for a direct input.
    repeat
        Spikes of a neuron in each step, at most; 0: one in the whole window.
    """

    values: Sequence[int]
    repeat: int

    @property
    def largest(self) -> int:
        """What one neuron's spikes of one step are worth, at most."""
        return max(self.values) * max(1, self.repeat)

    @property
    def total(self) -> int:
        """What one neuron's spikes of the whole window are worth, at most."""
        return sum(self.values) * self.repeat if self.repeat else max(self.values)


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Least and greatest value, of any neuron in any step.

    Parameters
    ----------
    sums
        X, without guard bits, and every part of the sum.
    current
        U.
    drive
        D.
    membrane
        V, before and after the reset, and at the start.
    """

    sums: Range
    current: Range
    drive: Range
    membrane: Range

    def join(self, other: Ranges) -> Ranges:
        """The least ranges that hold both."""
        return Ranges(**{f.name: _join(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})


def ranges(
    dynamics: Dynamics, arrivals: Arrivals, weights: Sequence[Range], bias: Sequence[int], window: int
) -> Ranges:
    """Of a population.

    Parameters
    ----------
    weights
        For each channel the sum of its negative weights, and that of its positive ones.
    bias
        V at the start, for each channel.
    window
        T.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    arrays = [array for _, array in dynamics.arrays()]
    for channel in range(len(bias)):
        key = tuple(int(x) for array in arrays for x in array[:, channel if array.shape[1] > 1 else 0])
        groups.setdefault(key, []).append(channel)
    found = [
        _group(
            dynamics,
            arrivals,
            channels[0],
            (min(weights[c][0] for c in channels), max(weights[c][1] for c in channels)),
            (min(bias[c] for c in channels), max(bias[c] for c in channels)),
            window,
        )
        for channels in groups.values()
    ]
    return reduce(Ranges.join, found)


@dataclass(frozen=True)
class _Channel:
    """The parameters of one channel, as Python integers, which do not overflow."""

    dynamics: Dynamics
    channel: int

    def retain(self, x: int, *, up: bool) -> int:
        return self._left(self.dynamics.retain, x, up=up)

    def leak(self, x: int, *, up: bool) -> int:
        return self._left(self.dynamics.leak, x, up=up)

    def _left(self, factor: Factor, x: int, *, up: bool) -> int:
        return _scaled(x, factor.at(self.channel), factor.shift, up=up)

    def value(self, array: IntArray, step: int) -> int:
        return value(array, step, self.channel)

    def gain(self, t: int) -> int:
        return 1 if self.dynamics.gain is None else self.value(self.dynamics.gain, t)

    def rounds(self, factor: Factor) -> bool:
        return factor.at(self.channel) not in (0, 1 << factor.shift)


def _scaled(x: int, numerator: int, shift: int, *, up: bool) -> int:
    return -(-x * numerator >> shift) if up else x * numerator >> shift


def _responses(channel: _Channel, arrivals: Arrivals, steps: int) -> tuple[list[int], list[int]]:
    """What a weight of 1 does to U and V at most after each step, with :data:`POINT` bits, of the best arrivals."""
    shift = channel.dynamics.gain_shift
    current, membrane = [0] * steps, [0] * steps
    shape: list[tuple[int, int]] = []  # of a spike's own steps, where they are the same for all spikes
    constant = channel.dynamics.gain is None or len(channel.dynamics.gain) == 1
    for s, worth in enumerate(arrivals.values):
        if not (constant and shape):
            u, v, shape = 1 << POINT, 0, []
            for t in range(s, steps):
                u = channel.retain(u, up=True) if t > s else u
                v = channel.leak(v, up=True) + _scaled(u, channel.gain(t), shift, up=True)
                shape.append((u, v))
        for t in range(s, steps):
            u, v = (worth * x for x in shape[t - s])
            if arrivals.repeat:
                current[t] += arrivals.repeat * u
                membrane[t] += arrivals.repeat * v
            else:
                current[t], membrane[t] = max(current[t], u), max(membrane[t], v)
    return current, membrane


def _group(dynamics: Dynamics, arrivals: Arrivals, number: int, weights: Range, bias: Range, window: int) -> Ranges:
    """Of channels that differ in weights and bias alone."""
    channel = _Channel(dynamics, number)
    steps, shift, guard = dynamics.steps(window), dynamics.gain_shift, dynamics.guard
    negative, positive = -weights[0] << guard, weights[1] << guard
    to_current, to_membrane = _responses(channel, arrivals, steps)
    one = 1 << POINT
    retain_rounds = channel.rounds(dynamics.retain)
    leak_rounds = channel.rounds(dynamics.leak)

    current = drive = (0, 0)
    low, high = bias  # of V before the step
    membrane = bias
    start_low, start_high = bias[0] * one, bias[1] * one  # what V would be without spikes that come
    lost_current = lost_membrane = 0  # by rounding down
    for t in range(steps):
        lost_current = channel.retain(lost_current, up=True) + (one if retain_rounds and t else 0)
        u_low = _down(-negative * to_current[t] - lost_current)
        u_high = positive * to_current[t] >> POINT
        gain, added = channel.gain(t), channel.value(dynamics.drive, t)
        d_low, d_high = (gain * u_low + added) >> shift, (gain * u_high + added) >> shift

        lost_membrane = (
            channel.leak(lost_membrane, up=True)
            + _scaled(lost_current, gain, shift, up=True)
            + (one if leak_rounds else 0)
            + (one if shift else 0)
        )
        start_low = channel.leak(start_low, up=False) + (added * one >> shift)
        start_high = channel.leak(start_high, up=True) - (-added * one >> shift)
        low = max(channel.leak(low, up=False) + d_low, _down(start_low - negative * to_membrane[t] - lost_membrane))
        high = min(channel.leak(high, up=False) + d_high, (start_high + positive * to_membrane[t]) >> POINT)
        current, drive = _join(current, (u_low, u_high)), _join(drive, (d_low, d_high))
        membrane = _join(membrane, (low, high))
        k = t - dynamics.start
        if dynamics.threshold is not None and k >= 0 and dynamics.mode != "once":
            threshold = channel.value(dynamics.threshold, k)
            if high >= threshold:
                after = _after(dynamics, threshold, channel.value(dynamics.resets(), k), low, high)
                start_low = min(start_low, after[0] * one)
                low, high = min(low, after[0]), after[1]
                membrane = _join(membrane, (low, high))
    sums = weights[0] * arrivals.largest, weights[1] * arrivals.largest
    return Ranges(sums=sums, current=current, drive=drive, membrane=membrane)


def _down(x: int) -> int:
    """The least integer that is not below ``x``, which has :data:`POINT` bits after the point."""
    return -(-x >> POINT)


def _join(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])


def _after(dynamics: Dynamics, threshold: int, reset: int, low: int, high: int) -> Range:
    """Least V right after a reset, and greatest V after the test, with a reset or without; high >= threshold."""
    if dynamics.mode == "hard":
        return reset, max(threshold - 1, reset) if low < threshold else reset
    least, greatest = [], [threshold - 1]
    for n in range(1, dynamics.cap + 1):
        if high >= n * threshold:
            least.append(n * (threshold - reset))
            most = high if n == dynamics.cap else min(high, (n + 1) * threshold - 1)
            greatest.append(most - n * reset)
    return min(least), max(greatest)
