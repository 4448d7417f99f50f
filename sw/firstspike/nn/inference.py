"""The integer network of ``docs/numerics.md`` in torch: what a surrogate computes at evaluation.

It shares no code with the golden model, so that equality of the two says something. Sums are matrix products of
integers in floating point: float32 while every sum stays below 2**24, else float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firstspike.errors import FirstspikeError
from firstspike.kernels import Kernel
from firstspike.nn.layers import Integers


class Inference(NamedTuple):
    """Result for a batch of B images; the fields are those of :class:`firstspike.golden.Result`.

    Parameters
    ----------
    spike_times
        Of the input and each hidden population, int64, shape (B, N): the code, or the number of codes for no spike.
    membranes
        Output membranes after the whole window, int64, shape (B, outputs).
    classes, decision_steps
        The decision, and the step of the earliest output spike or T; int64, shape (B,).

    """

    spike_times: tuple[Tensor, ...]
    membranes: Tensor
    classes: Tensor
    decision_steps: Tensor


class IntegerLayer:
    """Integers of one layer on a device, with the tables of the populations it joins.

    Parameters
    ----------
    pre
        Kernel of the population before the layer.
    thresholds
        TH of the population after it, or nothing for an output read by its membranes.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53.

    """

    def __init__(self, integers: Integers, *, pre: Kernel, thresholds: Sequence[int], device: torch.device) -> None:
        table = pre.table()
        sums = table[0] * np.abs(integers.weight).sum(axis=1) + np.abs(integers.bias)
        bound = max(int(sums.max()), *thresholds, 0)
        if bound >= 1 << 53:
            raise FirstspikeError(f"membranes reach {bound}, beyond the exact range of 2**53", "use smaller kernels")
        self.dtype = torch.float32 if bound < 1 << 24 else torch.float64
        as_tensor = {"dtype": self.dtype, "device": device}
        self.weight = torch.tensor(integers.weight, **as_tensor)  # type: ignore[arg-type]
        self.bias = torch.tensor(integers.bias, **as_tensor)  # type: ignore[arg-type]
        self.thresholds = [float(x) for x in thresholds]
        self.simultaneous = pre.simultaneous
        self.codes = len(table)
        self.kernel = torch.tensor([*table, 0], **as_tensor)  # type: ignore[arg-type]

    def membranes(self, codes: Tensor, until: int) -> Tensor:
        """V after all spikes whose step is at most ``until``, shape (B, outputs)."""
        if not self.simultaneous and until < self.codes - 1:
            codes = torch.where(codes <= until, codes, self.codes)
        return torch.nn.functional.linear(self.kernel[codes], self.weight, self.bias)


def infer(layers: Sequence[IntegerLayer], codes: Tensor, *, steps: int, fire_start: int) -> Inference:
    """Run the integer network on input spikes ``codes``, shape (B, inputs)."""
    times = [codes]
    *hidden, last = layers
    for layer in hidden:
        times.append(_first_steps(layer, times[-1], steps, fire_start)[0])
    membranes = last.membranes(times[-1], steps)
    decision_steps = torch.full_like(codes[:, 0], steps)
    deciding = membranes
    if last.thresholds:
        spikes, at_spike = _first_steps(last, times[-1], steps, fire_start)
        decision_steps = spikes.amin(dim=1)
        earliest = (spikes == decision_steps[:, None]) & (decision_steps < steps)[:, None]
        silent = (decision_steps == steps)[:, None]
        deciding = torch.where(silent, membranes, at_spike.masked_fill(~earliest, -torch.inf))
    return Inference(tuple(times), membranes.to(torch.int64), _lowest_argmax(deciding), decision_steps)


def _first_steps(layer: IntegerLayer, codes: Tensor, steps: int, fire_start: int) -> tuple[Tensor, Tensor]:
    """The first step with V >= TH of each neuron (or T), and V at that step."""
    v = layer.membranes(codes, fire_start)
    first = torch.full(v.shape, steps, dtype=torch.int64, device=v.device)
    at_first = v.clone()
    for k in range(steps):
        if k and fire_start < steps:
            v = layer.membranes(codes, k + fire_start)
        fires = (first == steps) & (v >= layer.thresholds[k])
        first = torch.where(fires, k, first)
        at_first = torch.where(fires, v, at_first)
    return first, at_first


def _lowest_argmax(v: Tensor) -> Tensor:
    """Index of the largest value, the lowest of equal ones (torch.argmax leaves ties open)."""
    index = torch.arange(v.shape[1], device=v.device)
    return torch.where(v == v.amax(dim=1, keepdim=True), index, v.shape[1]).amin(dim=1)


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """Full float32 products inside the block: a caller's permission for TF32 or bfloat16 would round the integers."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
