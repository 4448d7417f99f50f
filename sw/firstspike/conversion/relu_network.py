"""The ReLU network in torch, in float32: what values add to the membranes of a layer, and the values of all layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from firstspike.conversion.ann import FloatArray, FloatLayer, batches, shapes


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


def batched_activations(
    layers: Sequence[FloatLayer], images: NDArray[np.uint8], input_shape: Sequence[int]
) -> Iterator[list[FloatArray]]:
    """:func:`activations` of one batch of images after the other, so that a whole training set need not be held."""
    found = shapes(layers, input_shape)
    synapses = [Synapses(layer, shape) for layer, shape in zip(layers, found, strict=False)]
    for part in batches(images, input_shape):
        with torch.inference_mode():
            values = torch.from_numpy(part.astype(np.float32) / np.float32(255))
            made: list[NDArray[Any]] = []
            for index, each in enumerate(synapses):
                values = each.sums(values) + each.bias
                if index < len(layers) - 1:
                    values = each.max_pool(values.relu_())
                made.append(values.numpy())
            yield made


def activations(
    layers: Sequence[FloatLayer], images: NDArray[np.uint8], input_shape: Sequence[int]
) -> list[FloatArray]:
    """Values of the ReLU network after each layer.

    Parameters
    ----------
    layers
        First to last; the last is dense.
    images
        uint8, shape (N, ...): a pixel p enters as p / 255.
    input_shape
        (inputs,), or (channels, rows, columns).

    Returns
    -------
    list of ndarray
        For each layer float32 of shape (N, *shape): after ReLU and max pooling; of the last layer the logits.

    Raises
    ------
    FirstspikeError
        if layers or images do not fit.

    """
    parts = list(batched_activations(layers, images, input_shape))
    return [np.concatenate(of_layer) for of_layer in zip(*parts, strict=True)]
