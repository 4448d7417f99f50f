"""A fully connected or convolutional layer that trains with the weights which the hardware will hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.network.architecture import Stage
from firstspike.network.layers import Layer, before_average, integer_layer
from firstspike.training.distributed import var_mean
from firstspike.training.pooling import max_pool
from firstspike.training.quantise import quantised, straight_through, weight_scale


class Folded(nn.Module):
    """A linear layer or convolution and its batch norm, folded into one before the weights are quantised.

    Folding first is what the hardware does; a batch norm left in float after quantised sums cannot be held by it.
    While :attr:`frozen` is false the fold uses the statistics of the batch (and gradients pass through them); later it
    uses the running statistics, and the layer is affine with constant coefficients, exactly as at evaluation.

    Parameters
    ----------
    stage
        Kind, geometry, average pooling and dropout of what enters.
    input_shape
        Of the population before it.
    input_unit
        Real value of one unit of the kernel table before this layer; ``weight scale * input_unit`` is the scale of
        the membrane, to which the bias is rounded.
    weight_bits
        Width of a signed weight; None leaves weights and biases as they are (a network of real numbers).
    weight_clip
        Range of the quantiser, as part of the largest folded weight.
    momentum
        Weight of the newest batch in the running statistics.

    Raises
    ------
    FirstspikeError
        if the stage does not fit the input.

    """

    running_mean: Tensor
    running_var: Tensor
    #: Keeps the root away from 0 for an input that never changes (torch's own value).
    epsilon = 1e-5
    #: A convolution takes its statistics from one image in four: each has many places, and the second convolution
    #: that they need is the dearest part of a training step.
    STATISTICS_STRIDE = 4

    def __init__(
        self,
        stage: Stage,
        input_shape: tuple[int, ...],
        *,
        input_unit: float,
        weight_bits: int | None,
        weight_clip: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.stage, self.input_shape = stage, input_shape
        self.input_unit = input_unit / stage.average**2
        self.weight_bits, self.weight_clip, self.momentum = weight_bits, weight_clip, momentum
        self.frozen = False
        self.weight = nn.Parameter(torch.empty(stage.weight_shape(input_shape)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear; batch norm makes its size irrelevant
        self.gamma = nn.Parameter(torch.ones(stage.outputs))
        self.beta = nn.Parameter(torch.zeros(stage.outputs))
        self.register_buffer("running_mean", torch.zeros(stage.outputs))
        self.register_buffer("running_var", torch.ones(stage.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Real membranes after max pooling, of decoded values of the shape before the layer; only for training.

        Max pooling comes before the neurons, since both are monotone: the largest membrane fires first.
        """
        if self.stage.average > 1:
            x = nn.functional.avg_pool2d(x, self.stage.average)
        if self.stage.dropout:
            x = nn.functional.dropout(x, self.stage.dropout)
        if self.stage.kernel is None:
            x = x.flatten(1)
        weight, bias = self._folded(*(self._batch_statistics(x) if not self.frozen else self._statistics()))
        if self.weight_bits is not None:
            scale = weight_scale(weight, self.weight_bits, self.weight_clip)
            weight = straight_through(weight, quantised(weight, scale, self.weight_bits) * scale)
            unit = scale * self.input_unit
            bias = straight_through(bias, (bias.detach() / unit).round_() * unit)
        v = self._sums(x, weight, bias)
        if self.stage.pool == 1:
            return v
        return max_pool(v, self.stage.pool) if v.device.type == "cpu" else nn.functional.max_pool2d(v, self.stage.pool)

    def real(self) -> tuple[Tensor, Tensor]:
        """Weights and biases with batch norm folded by the running statistics, float64 on the CPU, not quantised.

        In double precision on the CPU, since float32 results may differ from device to device.

        Raises
        ------
        FirstspikeError
            if a value is not finite.

        """
        with torch.no_grad():
            parts = [x.detach().cpu().double() for x in (self.weight, self.gamma, self.beta, *self._statistics())]
            weight, gamma, beta, mean, var = parts
            factor = gamma / (var + self.epsilon).sqrt()
            folded, bias = weight * self._by_row(factor), beta - mean * factor
            if not (folded.isfinite().all() and bias.isfinite().all()):
                raise FirstspikeError("a weight or bias of the surrogate is not finite", "train it again")
            return folded, bias

    def frozen_layer(self, name: str) -> Layer:
        """The layer as the hardware holds it, from the running statistics; the same on every device.

        Average pooling is folded in: weights are repeated, and the scale is divided by the size of the window.

        Raises
        ------
        FirstspikeError
            if a value is not finite, or the layer has real weights.

        """
        if self.weight_bits is None:
            raise FirstspikeError("the layer has real weights", "convert the network, or give it weight bits")
        return self._integers(name, *self.real())

    def _integers(self, name: str, folded: Tensor, bias: Tensor) -> Layer:
        """The integers nearest to these."""
        assert self.weight_bits is not None
        stage = self.stage
        return integer_layer(
            name,
            before_average(folded.numpy(), stage.average, self.input_shape),
            bias.numpy(),
            unit=self.input_unit,
            weight_bits=self.weight_bits,
            weight_clip=self.weight_clip,
            stride=stage.stride * stage.average,
            padding=stage.padding * stage.average,
            pool=stage.pool,
        )

    def _sums(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.stage.kernel is None:
            return nn.functional.linear(x, weight, bias)
        return nn.functional.conv2d(x, weight, bias, stride=self.stage.stride, padding=self.stage.padding)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return self.running_mean, self.running_var

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dims: tuple[int, ...] = (0,)
        if self.stage.kernel is not None:
            x, dims = x[:: self.STATISTICS_STRIDE], (0, 2, 3)
        var, mean = var_mean(self._sums(x, self.weight), dim=dims)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return mean, var

    def _folded(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        factor = self.gamma * torch.rsqrt(var + self.epsilon)
        return self.weight * self._by_row(factor), self.beta - mean * factor

    def _by_row(self, factor: Tensor) -> Tensor:
        return factor.reshape(-1, *[1] * (self.weight.ndim - 1))
