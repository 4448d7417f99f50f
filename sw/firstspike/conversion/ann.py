"""A trained ReLU network as plain arrays: what conversion and the other codings start from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.architecture import places
from firstspike.network.layers import before_average

FloatArray = NDArray[np.float32]

#: Images whose activations are held at a time: more gain no speed, and a feature map of 1,000 images is 30 MB.
BATCH = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """Weights and biases of one layer, batch norm folded into them; ReLU follows in every layer but the last.

    Parameters
    ----------
    weight
        float32, shape (outputs, inputs), or (channels_out, channels_in, rows, columns) for a convolution
        (cross-correlation, as in torch).
    bias
        float32, one for each row of ``weight``.
    stride, padding, pool
        Of a convolution, as for :class:`firstspike.network.layers.Conv2d`: ``pool`` is max pooling after the ReLU.
    average
        P: average pooling P x P of the feature map **before** this layer.

    Raises
    ------
    FirstspikeError
        if a shape is wrong, a value is not finite, or a setting is out of range.

    """

    weight: FloatArray
    bias: FloatArray
    stride: int = 1
    padding: int = 0
    pool: int = 1
    average: int = 1

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            values = np.array(getattr(self, name), np.float32)
            if not np.isfinite(values).all():
                raise FirstspikeError(f"{name} of a layer is not finite", "train the network again")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if self.weight.ndim not in (2, 4) or not self.weight.size or self.bias.shape != self.weight.shape[:1]:
            raise FirstspikeError(
                f"weight has shape {self.weight.shape} and bias {self.bias.shape}, "
                "not (outputs, inputs) or (channels_out, channels_in, rows, columns), and one bias for each output"
            )
        largest = 1 << 16
        padding = min(self.weight.shape[2:]) - 1 if self.convolution else 0
        geometry = largest if self.convolution else 1
        limits = {"stride": (1, geometry), "padding": (0, padding), "pool": (1, geometry), "average": (1, largest)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and low <= value <= high):
                kind = "convolution" if self.convolution else "dense layer"
                raise FirstspikeError(f"{name} of a {kind} is {value!r}, not an integer in {low}..{high}")

    @property
    def convolution(self) -> bool:
        """Whether this is a convolution, not a dense layer."""
        return self.weight.ndim == 4

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the values after this layer (after max pooling), for values of ``shape`` before it.

        Raises
        ------
        FirstspikeError
            if values of this shape do not fit the layer.

        """
        if self.average > 1:
            if len(shape) != 3 or any(n % self.average for n in shape[1:]):
                raise FirstspikeError(
                    f"average pooling by {self.average} of values of shape {shape}",
                    f"rows and columns must be multiples of {self.average}",
                )
            shape = (shape[0], *(n // self.average for n in shape[1:]))
        if not self.convolution:
            if math.prod(shape) != self.weight.shape[1]:
                raise self._misfit(shape)
            return self.weight.shape[:1]
        if len(shape) != 3 or shape[0] != self.weight.shape[1]:
            raise self._misfit(shape)
        rows, columns = (
            places(size, kernel, stride=self.stride, padding=self.padding) // self.pool
            for size, kernel in zip(shape[1:], self.weight.shape[2:], strict=True)
        )
        if min(rows, columns) < 1:
            raise self._misfit(shape)
        return (self.weight.shape[0], rows, columns)

    def without_average(self, shape: tuple[int, ...]) -> FloatLayer:
        """The same function of values of ``shape``, with the average pooling in the weights (``docs/numerics.md``).

        Raises
        ------
        FirstspikeError
            if values of this shape do not fit the layer.

        """
        size = self.average
        if size == 1:
            return self
        self.output_shape(shape)
        return replace(
            self,
            weight=(before_average(self.weight, size, shape) / (size * size)).astype(np.float32),
            stride=self.stride * size if self.convolution else 1,
            padding=self.padding * size,
            average=1,
        )

    def _misfit(self, shape: tuple[int, ...]) -> FirstspikeError:
        return FirstspikeError(
            f"a layer with weights of shape {self.weight.shape} does not fit values of shape {shape}"
        )


def shapes(layers: Sequence[FloatLayer], input_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shape of the input and of the values after each layer.

    Raises
    ------
    FirstspikeError
        if there is no layer, or parts do not fit each other.

    """
    if not layers:
        raise FirstspikeError("the network has no layers")
    found = [tuple(int(n) for n in input_shape)]
    for layer in layers:
        found.append(layer.output_shape(found[-1]))
    if len(found[-1]) != 1:
        raise FirstspikeError("the last layer of the network is a convolution", "end it with a dense layer")
    return found


def batches(
    images: NDArray[np.uint8], input_shape: Sequence[int], batch_size: int = BATCH
) -> Iterator[NDArray[np.uint8]]:
    """``images``, shape (N, ...), in parts of shape (B, *input_shape).

    Raises
    ------
    FirstspikeError
        if they are not bytes, there is none, or they have another number of pixels.

    """
    if images.dtype != np.uint8 or images.ndim < 2 or not len(images):
        raise FirstspikeError(f"images have type {images.dtype} and shape {images.shape}, not uint8 (N >= 1, ...)")
    if math.prod(images.shape[1:]) != math.prod(input_shape):
        raise FirstspikeError(f"images have shape {images.shape[1:]}, but the network takes {tuple(input_shape)}")
    for i in range(0, len(images), batch_size):
        yield images[i : i + batch_size].reshape(-1, *input_shape)
