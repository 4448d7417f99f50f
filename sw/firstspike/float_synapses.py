"""What values before a layer add to its membranes, in float32: the torch side of :class:`firstspike.ann.FloatLayer`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from firstspike.ann import FloatLayer


class Synapses:
    """The linear part of one layer.

    Parameters
    ----------
    layer
        Weights and geometry.
    shape
        Of the values before it.
    device
        Where tensors live.

    Raises
    ------
    FirstspikeError
        if values of this shape do not fit the layer.

    """

    def __init__(self, layer: FloatLayer, shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        self._layer = layer
        self._weight = torch.tensor(layer.weight, device=device)
        #: Of each membrane, in a shape that broadcasts over (B, *membranes).
        self.bias = torch.tensor(layer.bias, device=device).reshape(-1, *([1, 1] if layer.convolution else []))
        self._input_shape = shape
        layer.output_shape(shape)

    def sums(self, values: Tensor) -> Tensor:
        """Weighted sums without the bias: of (B, *shape) the membranes before max pooling, (B, M) or (B, C, R, S)."""
        layer = self._layer
        values = values.reshape(-1, *self._input_shape)
        if layer.average > 1:
            values = functional.avg_pool2d(values, layer.average)
        if layer.convolution:
            return functional.conv2d(values, self._weight, stride=layer.stride, padding=layer.padding)
        return functional.linear(values.flatten(1), self._weight)

    @property
    def pools(self) -> bool:
        """Whether max pooling follows."""
        return self._layer.pool > 1

    def max_pool(self, values: Tensor) -> Tensor:
        """The largest value of each pooling window."""
        return functional.max_pool2d(values, self._layer.pool) if self.pools else values

    def pool_through(self, values: Tensor, score: Tensor) -> Tensor:
        """Of each pooling window the value of the place with the largest score, the first of several."""
        _, places = functional.max_pool2d(score, self._layer.pool, return_indices=True)
        return values.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
