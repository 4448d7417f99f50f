"""What spikes add to the membranes of a layer: matrix products in floating point for the golden model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.layers import Conv2d, Layer

# float32, or float64 where a layer needs it: one of the two at run time.
FloatArray = NDArray[np.float64]

#: Entries of the matrix of patches that is made at a time: larger ones leave the cache and gain nothing.
PATCH_ENTRIES = 1 << 23


def exact_float(what: str, bound: int) -> Any:
    """The type in which all integers up to ``bound`` are exact.

    Raises
    ------
    FirstspikeError
        if there is none; ``what`` begins the message.

    """
    if bound >= 1 << 53:
        raise FirstspikeError(
            f"{what} reach {bound}, beyond the exact range of 2**53",
            "use fewer guard bits, factor bits or weight bits, or smaller kernels",
        )
    return np.float32 if bound < 1 << 24 else np.float64


def sums_of(layer: Layer, shape: tuple[int, ...], dtype: Any) -> Product | Convolution:
    """The sums of a layer behind a population of ``shape``."""
    return Convolution(layer, shape, dtype) if isinstance(layer, Conv2d) else Product(layer, dtype)


class Product:
    """Every neuron sees every spike: values (B, inputs) times the transposed weights."""

    def __init__(self, layer: Layer, dtype: Any) -> None:
        self._weight: FloatArray = np.ascontiguousarray(layer.weight.T, dtype)
        self.bias: FloatArray = layer.bias.astype(dtype)

    def add(self, values: FloatArray) -> FloatArray:
        """Sums, shape (B, M), of the values of spikes, shape (B, inputs)."""
        return values @ self._weight

    def spread(self, values: FloatArray) -> FloatArray:
        """Values of each neuron, or one for all, as they stand beside sums."""
        return values

    def pool(self, array: NDArray[Any], reduce: Callable[..., NDArray[Any]]) -> NDArray[Any]:
        """``array``: there are no windows."""
        return array


class Convolution:
    """Each place of the kernel sees a patch. Sums are in the order row, column, channel: weights are one matrix.

    Parameters
    ----------
    layer
        Weights and geometry.
    shape
        Of the population before it.
    dtype
        In which every sum is exact.

    """

    def __init__(self, layer: Conv2d, shape: tuple[int, ...], dtype: Any) -> None:
        channels = len(layer.weight)
        self._shape, self._stride, self._padding, self._pool = shape, layer.stride, layer.padding, layer.pool
        self._kernel_shape = layer.kernel_shape
        self._rows, self._columns = layer.grid(shape)
        self._channels = channels
        self._weight: FloatArray = np.ascontiguousarray(layer.weight.transpose(2, 3, 1, 0).reshape(-1, channels), dtype)
        self.bias: FloatArray = np.tile(layer.bias.astype(dtype), self._rows * self._columns)

    def add(self, values: FloatArray) -> FloatArray:
        """Sums, shape (B, M), of the values of spikes, shape (B, inputs) in the order channel, row, column."""
        places, taps = self._rows * self._columns, len(self._weight)
        padding = (self._padding, self._padding)
        image = np.pad(values.reshape(-1, *self._shape).transpose(0, 2, 3, 1), ((0, 0), padding, padding, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(image, self._kernel_shape, axis=(1, 2))
        # (B, row, column, kernel row, kernel column, channel)
        windows = windows[:, :: self._stride, :: self._stride].transpose(0, 1, 2, 4, 5, 3)
        sums: FloatArray = np.empty((len(values), places * self._channels), values.dtype)
        batch = max(1, PATCH_ENTRIES // (places * taps))
        for i in range(0, len(values), batch):
            part = windows[i : i + batch]
            np.matmul(part.reshape(-1, taps), self._weight, out=sums[i : i + batch].reshape(-1, self._channels))
        return sums

    def spread(self, values: FloatArray) -> FloatArray:
        """Values of each channel, or one for all, as they stand beside sums: (M,), or (1,)."""
        return np.tile(values, self._rows * self._columns) if len(values) > 1 else values

    def pool(self, array: NDArray[Any], reduce: Callable[..., NDArray[Any]]) -> NDArray[Any]:
        """``reduce`` over each pooling window of (B, M), flattened in the order channel, row, column."""
        pool = self._pool
        rows, columns = self._rows // pool, self._columns // pool
        grid = array.reshape(len(array), self._rows, self._columns, self._channels)[:, : rows * pool, : columns * pool]
        if pool > 1:
            grid = reduce(grid.reshape(len(array), rows, pool, columns, pool, self._channels), axis=(2, 4))
        return np.ascontiguousarray(grid.transpose(0, 3, 1, 2)).reshape(len(array), self._channels * rows * columns)
