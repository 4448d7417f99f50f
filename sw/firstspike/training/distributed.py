"""Sums over the processes that ``torchrun`` has started; with one process they cost nothing."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Mean(torch.autograd.Function):
    """Mean over processes. Each one's gradient counts in all: the loss is the mean of theirs, as DDP has it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when every process has come here: what the first one has written is there for all."""
    if processes() > 1:
        dist.barrier()


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of the tensors that the processes hold, differentiable; every process must call it."""
    if processes() == 1:
        return value
    mean: Tensor = _Mean.apply(value)  # type: ignore[no-untyped-call]
    return mean


def var_mean(x: Tensor, dim: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Variance (of the whole, not an estimate) and mean over ``dim``, and over the batches of all processes.

    The processes' batches must be of one size. With one process it is :func:`torch.var_mean`.
    """
    var, mean = torch.var_mean(x, dim=dim, correction=0)
    if processes() == 1:
        return var, mean
    whole = mean_over_processes(mean)
    return mean_over_processes(var + (mean - whole).square()), whole
