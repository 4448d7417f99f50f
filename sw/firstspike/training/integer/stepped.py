"""A layer of integers and neurons with dynamics after it: the recurrence in 64-bit integers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import Factor, IntArray
from firstspike.network.model import Network
from firstspike.training.integer.layers import IntegerLayer, Spikes, lowest_argmax


class SteppedLayer(IntegerLayer):
    """A layer, and neurons with dynamics after it.

    The sums of weights are floats; U and V are 64-bit integers, whose shift to the right rounds down.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53, or a product on the way 2**63.

    """

    def __init__(self, network: Network, index: int, device: torch.device) -> None:
        super().__init__(network, index, device, 0)
        layer, dynamics = network.layers[index], network.populations[index + 1].dynamics
        assert dynamics is not None
        self._dynamics = dynamics
        _check_products(network, index)
        self._start = self._channels(layer.bias)
        self._retain, self._leak = self._channels(dynamics.retain.numerator), self._channels(dynamics.leak.numerator)

    def fire(self, spikes: Spikes) -> Spikes:
        """All spikes of the population, or of neurons that fire once the first of each pooling window."""
        window = [n for k, _, n in self._run(spikes) if k >= 0]
        counts = torch.stack(window, dim=1).to(torch.uint8)
        if self._dynamics.repeat:
            return Spikes.of_counts(counts)
        return Spikes(self.pooled(Spikes.of_counts(counts).times))

    def read(self, spikes: Spikes) -> tuple[Tensor, Tensor, Tensor]:
        """By the first spike, else by the membrane that the dynamics say."""
        count = len(spikes.times)
        decision_steps = torch.full((count,), self.steps, device=self.device)
        largest = deciding = v = torch.empty(0)
        for k, v, n in self._run(spikes):
            largest = torch.maximum(largest, v) if len(largest) else v
            deciding = deciding if len(deciding) else torch.zeros_like(v)
            decides = (n > 0).any(dim=1) & (decision_steps == self.steps)
            # The largest V of those that fire: no other one enters.
            deciding = torch.where(decides[:, None], v.masked_fill(n == 0, torch.iinfo(v.dtype).min), deciding)
            decision_steps = torch.where(decides, k, decision_steps)
        membranes = largest if self._dynamics.read == "largest" else v
        deciding = torch.where((decision_steps < self.steps)[:, None], deciding, membranes)
        return membranes, lowest_argmax(deciding), decision_steps

    def _run(self, spikes: Spikes) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each step's number in the window (below 0 before it), V before the reset, and spikes, shape (B, M)."""
        dynamics, count = self._dynamics, len(spikes.times)
        v = self._start.expand(count, -1) if len(self._start) > 1 else self._start.expand(count, self._size())
        u, fired = torch.zeros_like(v), torch.zeros_like(v, dtype=torch.bool)
        for t in range(dynamics.steps(self.steps)):
            # A step without arrivals adds nothing.
            comes = t == 0 if self.simultaneous else t < self.steps
            x = self.sums(self.values(spikes, t, t)).to(torch.int64) if comes else torch.zeros_like(v)
            u = (u * self._retain >> dynamics.retain.shift) + (x << dynamics.guard)
            d = u + self._step(dynamics.drive, t)
            if dynamics.gain is not None:
                d = self._step(dynamics.gain, t) * u + self._step(dynamics.drive, t) >> dynamics.gain_shift
            v = (v * self._leak >> dynamics.leak.shift) + d
            k = t - dynamics.start
            if dynamics.threshold is None or k < 0:
                yield k, v, torch.zeros_like(v)
                continue
            # Thresholds are positive: floor(V / TH) of them fit.
            n = torch.div(v, self._step(dynamics.threshold, k), rounding_mode="floor").clamp(0, dynamics.cap)
            n = n.masked_fill(fired, 0)
            yield k, v, n
            if dynamics.mode == "once":
                fired = fired | (n > 0)
            elif dynamics.mode == "soft":
                v = v - n * self._step(dynamics.resets(), k)
            else:
                v = torch.where(n > 0, self._step(dynamics.resets(), k), v)

    def _size(self) -> int:
        return len(self.weight) * self.places

    def _step(self, array: IntArray, step: int) -> Tensor:
        return self._channels(array[step] if len(array) > 1 else array[0])

    def _channels(self, values: IntArray) -> Tensor:
        return self.spread(torch.tensor(values, dtype=torch.int64, device=self.device))


def _check_products(network: Network, index: int) -> None:
    """Refuse numbers of the recurrence that 64 bits would not hold."""
    after, ranges = network.populations[index + 1], network.ranges(index)
    assert after.dynamics is not None
    dynamics = after.dynamics
    current, drive, membrane = (max(-low, high) for low, high in (ranges.current, ranges.drive, ranges.membrane))

    def largest(factor: Factor) -> int:
        return int(factor.numerator.max())

    gain = 1 if dynamics.gain is None else int(dynamics.gain.max())
    reset = 0 if dynamics.threshold is None or dynamics.mode != "soft" else int(dynamics.resets().max())
    bound = max(
        current * max(largest(dynamics.retain), gain) + int(abs(dynamics.drive).max()),
        membrane * largest(dynamics.leak) + drive,
        membrane + dynamics.cap * reset,
    )
    if bound >= 1 << 63:
        raise FirstspikeError(f"population {after.name}: numbers reach {bound}, beyond 63 bits", "use fewer guard bits")
