"""Weights as signed integers times one real scale of the layer."""

from __future__ import annotations

import torch
from torch import Tensor


def integer_range(bits: int) -> tuple[int, int]:
    """Least and greatest signed number of ``bits`` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def weight_scale(weight: Tensor, bits: int, clip: float) -> Tensor:
    """The real value of one unit: ``clip`` times the largest weight is the largest integer.

    It is free, not a power of two, because the thresholds absorb it. A layer of zeros has the scale 1.
    """
    largest = weight.detach().abs().max() * clip
    return torch.where(largest > 0, largest / integer_range(bits)[1], torch.ones_like(largest))


def quantised(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """The integers nearest to ``weight / scale``, clipped to signed ``bits``; as floats, with no gradient."""
    return (weight.detach() / scale).round_().clamp_(*integer_range(bits))


def straight_through(value: Tensor, replacement: Tensor) -> Tensor:
    """``replacement`` in the forward pass, the gradient of ``value`` in the backward pass."""
    return value + (replacement - value).detach()
