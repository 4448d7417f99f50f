"""Max pooling for training on a CPU: a few times faster than torch's own, which looks at one value at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        first, *rest = _windows(x, size)
        largest = first.contiguous()
        larger = []
        for part in rest:
            larger.append(part > largest)
            largest = torch.maximum(largest, part)
        ctx.save_for_backward(*larger)
        ctx.size, ctx.shape = size, x.shape
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        result = gradients[0].new_zeros(ctx.shape)
        first, *rest = _windows(result, ctx.size)
        left = gradients[0]
        # The last that was larger than all before it is the largest.
        for part, larger in zip(reversed(rest), reversed(ctx.saved_tensors), strict=True):
            mine = left * larger
            part.copy_(mine)
            left = left - mine
        first.copy_(left)
        return result, None


def _windows(x: Tensor, size: int) -> list[Tensor]:
    """Views of the first, second ... value of each window."""
    rows, columns = (n // size * size for n in x.shape[-2:])
    return [x[..., i:rows:size, j:columns:size] for i in range(size) for j in range(size)]


def max_pool(x: Tensor, size: int) -> Tensor:
    """The largest value of each window of ``size`` x ``size``; shape (..., rows // size, columns // size).

    The gradient goes to the first of equal values. Rows and columns that fill no window are left out.
    """
    pooled: Tensor = _MaxPool.apply(x, size)  # type: ignore[no-untyped-call]
    return pooled
