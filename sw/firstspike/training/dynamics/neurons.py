"""Neurons with dynamics in real numbers, and the gradient that stands for that of their spikes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstspike.experiment.dynamics import LEAST_THRESHOLD, TRAINED, Neurons
from firstspike.network.dynamics import Dynamics
from firstspike.training.quantise import straight_through


class _Count(torch.autograd.Function):
    """How many thresholds V holds, at most ``cap``; straight through, with the slope of an arc tangent at each.

    The slope at the distance x, in thresholds, is ``a/2 / (1 + (pi/2 a x)^2)`` a threshold: that of
    ``arctan(pi/2 a x)/pi``, which Fang et al. (ICCV 2021) use; ``a`` is ``slope``.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, cap: int, slope: float) -> Tensor:
        held = v / threshold
        ctx.save_for_backward(held, threshold)
        ctx.cap, ctx.slope = cap, slope
        return held.floor().clamp_(0, cap)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        held, threshold = ctx.saved_tensors
        total = torch.zeros_like(held)
        for m in range(1, ctx.cap + 1):
            total += (ctx.slope / 2) / (1 + ((math.pi / 2 * ctx.slope) * (held - m)) ** 2)
        by_v = gradients[0] * total / threshold
        # n depends on V / threshold alone.
        by_threshold = -(by_v * held).sum().reshape(threshold.shape) if ctx.needs_input_grad[1] else None
        return by_v, by_threshold, None, None


class Step(NamedTuple):
    """What the neurons do in a step.

    Parameters
    ----------
    number
        k in the window of tests, below 0 before it.
    membrane
        V before the reset, shape (B, ...).
    spikes
        How many each sends, shape (B, ...); None where nothing is tested.
    """

    number: int
    membrane: Tensor
    spikes: Tensor | None


class SteppedNeurons(nn.Module):
    """A population with dynamics, for training: real numbers, of which the factors are rounded as they will be.

    Neither U nor V is rounded, and no gradient passes a reset.

    Parameters
    ----------
    neurons
        The settings.
    steps
        T.
    trained
        ``retain``, ``leak``, ``threshold``: one parameter for the population. A ``retain`` of 1, that of a constant
        current or a ramp, stays.
    slope
        Of the surrogate gradient at the threshold, in spikes a threshold.

    """

    retain: Tensor
    leak: Tensor
    threshold: Tensor | None

    def __init__(self, neurons: Neurons, *, steps: int, trained: Collection[str] = (), slope: float = 2.0) -> None:
        super().__init__()
        self.neurons, self.steps, self.slope = neurons, steps, slope
        for name in TRAINED:
            value = getattr(neurons, name)
            if value is not None and name in trained and not (name == "retain" and value == 1):
                setattr(self, name, nn.Parameter(torch.tensor(float(value))))
            else:
                self.register_buffer(name, None if value is None else torch.tensor(float(value)))

    def values(self) -> Iterator[tuple[str, Tensor | None]]:
        """Name and real value of what may be trained."""
        for name in TRAINED:
            yield name, getattr(self, name)

    def forward(self, sums: Tensor, bias: Tensor) -> Tensor:
        """Spikes of each step of the window, shape (T, B, ...).

        Parameters
        ----------
        sums
            Of weights and values of what arrives in step 0, 1, ...; shape (steps, B, ...).
        bias
            Added to V in each step; broadcast to (B, ...).

        """
        return torch.stack([step.spikes for step in self.run(sums, bias) if step.spikes is not None])

    def read(self, sums: Tensor, bias: Tensor) -> Tensor:
        """What an output is read by, shape (B, outputs): the class is the argmax.

        That is the final or largest V or, with a threshold, V at the step in which the first neuron fires; the final V
        where none does.
        """
        membranes = [step.membrane for step in self.run(sums, bias) if step.number >= 0]
        if self.threshold is None:
            if self.neurons.read == "final":
                return membranes[-1]
            return torch.stack(membranes).amax(dim=0)
        v = torch.stack(membranes)
        reached = v.detach().amax(dim=2) >= self.threshold.detach()
        reached[-1] = True
        return v[reached.int().argmax(dim=0), torch.arange(v.shape[1], device=v.device)]

    def run(self, sums: Tensor, bias: Tensor) -> Iterator[Step]:
        """Each step of the population's life; parameters as for :meth:`forward`."""
        self._keep_in_range()
        neurons, leak, retain = self.neurons, self._rounded(self.leak), self.real_retain()
        u = v = torch.zeros_like(sums[0])
        waiting = torch.ones_like(v)
        for t in range(neurons.start + self.steps):
            if t == 0:
                u = sums[0]
            elif t < len(sums):
                u = sums[t] if retain is None else retain * u + sums[t]
            else:
                u = torch.zeros_like(u) if retain is None else retain * u
            v = leak * v + (u + bias) if t else u + bias
            k = t - neurons.start
            if self.threshold is None or k < 0:
                yield Step(k, v, None)
                continue
            n: Tensor = _Count.apply(v, self.threshold, neurons.cap, self.slope)  # type: ignore[no-untyped-call]
            if neurons.mode == "once":
                n = n * waiting
                waiting = waiting * (1 - n.detach())
            yield Step(k, v, n)
            if neurons.mode == "soft":
                v = v - n.detach() * self.threshold
            elif neurons.mode == "hard":
                v = v * (n.detach() == 0)

    def dynamics(self, scale: float, drive: NDArray[np.float64]) -> Dynamics:
        """The dynamics of integers, for a layer of this scale and real biases, shape (C,).

        Raises
        ------
        FirstspikeError
            if a value does not fit.

        """
        threshold = None if self.threshold is None else max(LEAST_THRESHOLD, self.threshold.item())
        retain, leak = (min(1.0, max(0.0, value.item())) for value in (self.retain, self.leak))
        return self.neurons.integers(scale=scale, drive=drive, retain=retain, leak=leak, threshold=threshold)

    def real_retain(self) -> Tensor | None:
        """What a step retains of U, as it will be; None: nothing."""
        if not isinstance(self.retain, nn.Parameter) and not self.retain:
            return None
        return self._rounded(self.retain)

    @torch.no_grad()
    def _keep_in_range(self) -> None:
        """An optimiser knows no bounds."""
        bounds = (self.retain, 0.0, 1.0), (self.leak, 0.0, 1.0), (self.threshold, LEAST_THRESHOLD, None)
        for value, low, high in bounds:
            if isinstance(value, nn.Parameter):
                value.clamp_(low, high)

    def _rounded(self, value: Tensor) -> Tensor:
        bits = 1 << self.neurons.factor_bits
        return straight_through(value, (value.detach() * bits + 0.5).floor() / bits)
