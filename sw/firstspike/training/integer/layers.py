"""A layer of integers on a device: sums of weights, and neurons with tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firstspike.errors import FirstspikeError
from firstspike.network.model import Conv2d, Network


class Spikes(NamedTuple):
    """The spikes of a population for B images.

    Parameters
    ----------
    times
        Code of each neuron's first spike, or the number of codes where it has none; int64, shape (B, N).
    counts
        Of a population that fires again: spikes of each step, uint8, shape (B, T, N). Else None.
    """

    times: Tensor
    counts: Tensor | None = None

    @staticmethod
    def of_counts(counts: Tensor) -> Spikes:
        """With the step of each neuron's first spike, or T."""
        steps = counts.shape[1]
        places = torch.arange(steps, device=counts.device)[None, :, None]
        return Spikes(torch.where(counts > 0, places, steps).amin(dim=1), counts)


class IntegerLayer:
    """Weights of a layer, what spikes before it are worth, and the neurons after it.

    Sums are matrix products of integers in floating point: float32 while every sum stays below 2**24, else float64.

    Parameters
    ----------
    network, index
        Layer ``index`` of a network.
    device
        Where to compute.
    beside
        What else the sums are compared with or added to, at most.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53.

    """

    def __init__(self, network: Network, index: int, device: torch.device, beside: int) -> None:
        layer, pre = network.layers[index], network.populations[index]
        rows = layer.weight.reshape(len(layer.weight), -1)
        bound = network.arrivals(index).total * int(np.abs(rows).sum(axis=1).max()) + beside
        if bound >= 1 << 53:
            raise FirstspikeError(f"membranes reach {bound}, beyond the exact range of 2**53", "use smaller kernels")
        self.dtype = torch.float32 if bound < 1 << 24 else torch.float64
        self.device, self.steps = device, network.steps
        self.weight = torch.tensor(rows, dtype=self.dtype, device=device)
        self.kernel = torch.tensor([*pre.kernel, 0], dtype=self.dtype, device=device)
        self.simultaneous, self.codes = pre.simultaneous, pre.codes
        self.convolution = layer if isinstance(layer, Conv2d) else None
        self.shape = pre.shape
        self.places = 1 if self.convolution is None else int(np.prod(self.convolution.grid(pre.shape)))

    def values(self, spikes: Spikes, first: int, last: int) -> Tensor:
        """What the spikes that arrive in these steps are worth, the last one included; shape (B, inputs)."""
        if spikes.counts is not None:
            counts = spikes.counts[:, first : last + 1].to(self.dtype)
            return torch.einsum("btn,t->bn", counts, self.kernel[first : first + counts.shape[1]])
        arrivals = torch.zeros_like(spikes.times) if self.simultaneous else spikes.times
        return self.kernel[torch.where((arrivals >= first) & (arrivals <= last), spikes.times, self.codes)]

    def sums(self, values: Tensor) -> Tensor:
        """Sums of weights times values, shape (B, M), M the membranes before pooling."""
        if self.convolution is None:
            return torch.nn.functional.linear(values, self.weight)
        # Patches and one product: a library's convolution may transform its input (Winograd, Fourier) and so round.
        patches = torch.nn.functional.unfold(
            values.reshape(-1, *self.shape),
            self.convolution.kernel_shape,
            padding=self.convolution.padding,
            stride=self.convolution.stride,
        )
        return (self.weight @ patches).flatten(1)

    def spread(self, values: Tensor) -> Tensor:
        """Values of channels, (C,), for the membranes before pooling, (M,); one for all, (1,), as it is."""
        return values.repeat_interleave(self.places) if len(values) > 1 else values

    def pooled(self, first: Tensor) -> Tensor:
        """The earliest step of each pooling window, shape (B, N), of those of the membranes, shape (B, M)."""
        if self.convolution is None:
            return first
        pool = self.convolution.pool
        rows, columns = self.convolution.grid(self.shape)
        grid = first.reshape(len(first), -1, rows, columns)
        windows = grid.unfold(2, pool, pool).unfold(3, pool, pool)
        return windows.amin(dim=(4, 5)).flatten(1)

    def fire(self, spikes: Spikes) -> Spikes:
        """The spikes of the population after the layer."""
        raise NotImplementedError

    def read(self, spikes: Spikes) -> tuple[Tensor, Tensor, Tensor]:
        """Of an output: membranes as they are read, int64, shape (B, outputs); classes and decision steps, (B,)."""
        raise NotImplementedError


class TableLayer(IntegerLayer):
    """A layer, and neurons with the tables K and TH after it.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53.

    """

    def __init__(self, network: Network, index: int, device: torch.device) -> None:
        bias, thresholds = network.layers[index].bias, network.populations[index + 1].threshold
        super().__init__(network, index, device, max(int(np.abs(bias).max()), *thresholds, 0))
        self.bias = self.spread(torch.tensor(bias, dtype=self.dtype, device=device))
        self.thresholds = [float(x) for x in thresholds]
        self.fire_start = network.fire_start

    def fire(self, spikes: Spikes) -> Spikes:
        """Of each neuron the first step with V >= TH, or T."""
        return Spikes(self.pooled(self._first_steps(spikes)[0]))

    def read(self, spikes: Spikes) -> tuple[Tensor, Tensor, Tensor]:
        """By the output membranes or, if there are thresholds, by the first spike."""
        membranes, steps = self._membranes(spikes, self.steps), self.steps
        decision_steps = torch.full_like(spikes.times[:, 0], steps)
        deciding = membranes
        if self.thresholds:
            first, at_spike = self._first_steps(spikes)
            decision_steps = first.amin(dim=1)
            earliest = (first == decision_steps[:, None]) & (decision_steps < steps)[:, None]
            silent = (decision_steps == steps)[:, None]
            deciding = torch.where(silent, membranes, at_spike.masked_fill(~earliest, -torch.inf))
        return membranes.to(torch.int64), lowest_argmax(deciding), decision_steps

    def _membranes(self, spikes: Spikes, until: int) -> Tensor:
        """V after all spikes whose step is at most ``until``, shape (B, M)."""
        return self.sums(self.values(spikes, 0, until)) + self.bias

    def _first_steps(self, spikes: Spikes) -> tuple[Tensor, Tensor]:
        """The first step with V >= TH of each neuron (or T), and V at that step."""
        v = self._membranes(spikes, self.fire_start)
        first = torch.full(v.shape, self.steps, dtype=torch.int64, device=v.device)
        at_first = v.clone()
        for k in range(self.steps):
            if k and not self.simultaneous and k + self.fire_start < self.codes:  # else nothing comes
                v = self._membranes(spikes, k + self.fire_start)
            fires = (first == self.steps) & (v >= self.thresholds[k])
            first = torch.where(fires, k, first)
            at_first = torch.where(fires, v, at_first)
        return first, at_first


def lowest_argmax(v: Tensor) -> Tensor:
    """Index of the largest value, the lowest of equal ones (torch.argmax leaves ties open)."""
    index = torch.arange(v.shape[1], device=v.device)
    return torch.where(v == v.amax(dim=1, keepdim=True), index, v.shape[1]).amin(dim=1)
