"""A fully connected layer that trains with the weights which the hardware will hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.nn.quantise import integer_range, quantised, straight_through, weight_scale


@dataclass(frozen=True, eq=False)
class Integers:
    """A layer as the hardware holds it.

    Parameters
    ----------
    weight
        int64, shape (outputs, inputs).
    bias
        int64, shape (outputs,), in units of ``scale``.
    scale
        Real value of one unit of the membrane.

    """

    weight: NDArray[np.int64]
    bias: NDArray[np.int64]
    scale: float


class FoldedLinear(nn.Module):
    """Linear layer and batch norm, folded into one before the weights are quantised.

    Folding first is what the hardware does; a batch norm left in float after quantised sums cannot be held by it.
    While :attr:`frozen` is false the fold uses the statistics of the batch (and gradients pass through them); later it
    uses the running statistics, and the layer is affine with constant coefficients, exactly as at evaluation.

    Parameters
    ----------
    inputs, outputs
        Neurons.
    input_unit
        Real value of one unit of the kernel table before this layer; ``weight scale * input_unit`` is the scale of
        the membrane, to which the bias is rounded.
    weight_bits
        Width of a signed weight.
    weight_clip
        Range of the quantiser, as part of the largest folded weight.
    momentum
        Weight of the newest batch in the running statistics.

    """

    running_mean: Tensor
    running_var: Tensor
    #: Keeps the root away from 0 for an input that never changes (torch's own value).
    epsilon = 1e-5

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        input_unit: float,
        weight_bits: int,
        weight_clip: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.input_unit, self.weight_bits, self.weight_clip = input_unit, weight_bits, weight_clip
        self.momentum = momentum
        self.frozen = False
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear; batch norm makes its size irrelevant
        self.gamma = nn.Parameter(torch.ones(outputs))
        self.beta = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("running_mean", torch.zeros(outputs))
        self.register_buffer("running_var", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Real membranes, shape (B, outputs), of decoded values, shape (B, inputs); only for training."""
        weight, bias = self._folded(*(self._batch_statistics(x) if not self.frozen else self._statistics()))
        scale = weight_scale(weight, self.weight_bits, self.weight_clip)
        weight = straight_through(weight, quantised(weight, scale, self.weight_bits) * scale)
        unit = scale * self.input_unit
        bias = straight_through(bias, (bias.detach() / unit).round_() * unit)
        return nn.functional.linear(x, weight, bias)

    def integers(self) -> Integers:
        """The integers of this layer, from the running statistics; the same on every device.

        Computed in double precision on the CPU, since float32 results may differ from device to device.

        Raises
        ------
        FirstspikeError
            if a value is not finite.

        """
        with torch.no_grad():
            parts = [x.detach().cpu().double() for x in (self.weight, self.gamma, self.beta, *self._statistics())]
            weight, gamma, beta, mean, var = parts
            factor = gamma / (var + self.epsilon).sqrt()
            folded, bias = weight * factor[:, None], beta - mean * factor
            if not (folded.isfinite().all() and bias.isfinite().all()):
                raise FirstspikeError("a weight or bias of the surrogate is not finite", "train it again")
            scale = weight_scale(folded, self.weight_bits, self.weight_clip)
            unit = float(scale) * self.input_unit
            low, high = integer_range(self.weight_bits)
            return Integers(
                weight=(folded / scale).round().clamp(low, high).to(torch.int64).numpy(),
                bias=(bias / unit).round().to(torch.int64).numpy(),
                scale=unit,
            )

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return self.running_mean, self.running_var

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(nn.functional.linear(x, self.weight), dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return mean, var

    def _folded(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        factor = self.gamma * torch.rsqrt(var + self.epsilon)
        return self.weight * factor[:, None], self.beta - mean * factor
