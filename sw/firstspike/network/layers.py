"""The parts of a network: populations and the layers that join them, frozen and checked when made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.architecture import Stage, places
from firstspike.network.dynamics import MAX_CAP, Dynamics, whole

PIXEL_LEVELS = 256
MAX_STEPS = 1 << 10  # an event word holds 10 step bits

IntArray = NDArray[np.int64]


def signed_bits(low: int, high: int) -> int:
    """Bits of the narrowest two's complement number that holds ``low`` and ``high``."""
    return max((x if x >= 0 else ~x).bit_length() for x in (low, high)) + 1


def unsigned_bits(high: int) -> int:
    """Bits of the narrowest unsigned number that holds ``high`` (at least 1)."""
    return max(1, high.bit_length())


def integers(what: str, values: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """``values`` as Python integers.

    Raises
    ------
    FirstspikeError
        if one is not an integer; ``what`` begins the message.

    """
    try:
        return tuple(whole(value) for value in values)
    except TypeError as error:
        raise FirstspikeError(f"{what} is not made of integers: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons that share one window. Without dynamics they fire at most once in it.

    Parameters
    ----------
    name
        For reports and file names.
    shape
        (N,) or, for a feature map, (channels, rows, columns); each >= 1; neurons are numbered with the
        last axis fastest.
    kernel
        K, what a spike with code k is worth to the next layer: non-negative, non-increasing. Empty for the output.
        For a hidden population the code is the time step; its length is T.
    threshold
        TH, one threshold a step: >= 1, non-increasing, length T. Empty for the input, for an output that is read by
        its membranes, and with ``dynamics``.
    simultaneous
        Direct input: the code is a value, not a time; all spikes arrive before the first step.
    repeat
        Of an input of events: how many a neuron has in each step, at most. 0: one in the whole window, by the encoder.
    dynamics
        What the neurons do from step to step. None: the tables above.

    Raises
    ------
    FirstspikeError
        if a table is out of range or rises.

    """

    name: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    threshold: tuple[int, ...] = ()
    simultaneous: bool = False
    repeat: int = 0
    dynamics: Dynamics | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", integers(f"population {self.name}: shape", self.shape))
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise FirstspikeError(
                f"population {self.name}: shape is {self.shape}, not (N,) or (channels, rows, columns), each >= 1"
            )
        for table, least in (("kernel", 0), ("threshold", 1)):
            values = integers(f"population {self.name}: {table}", getattr(self, table))
            object.__setattr__(self, table, values)
            for k, value in enumerate(values):
                if value < least:
                    raise FirstspikeError(f"population {self.name}: {table}[{k}] is {value}, not >= {least}")
                if k and value > values[k - 1]:
                    raise FirstspikeError(
                        f"population {self.name}: {table}[{k}] is {value}, above {table}[{k - 1}] = {values[k - 1]}"
                    )
        (repeat,) = integers(f"population {self.name}: repeat", [self.repeat])
        object.__setattr__(self, "repeat", repeat)
        if not 0 <= repeat <= MAX_CAP:
            raise FirstspikeError(f"population {self.name}: repeat is {self.repeat}, outside 0..{MAX_CAP}")
        if self.repeat and (self.simultaneous or self.dynamics):
            raise FirstspikeError(f"population {self.name}: repeat is of an input of events alone")
        if self.dynamics and self.threshold:
            raise FirstspikeError(f"population {self.name}: dynamics have their own thresholds")

    @property
    def size(self) -> int:
        """N, the number of neurons."""
        return math.prod(self.shape)

    @property
    def spikes_a_step(self) -> int:
        """How often a neuron fires in one step, at most; 0: once in the whole window."""
        return self.dynamics.repeat if self.dynamics else self.repeat

    @property
    def fires(self) -> bool:
        """Whether it has thresholds."""
        return bool(self.threshold) or (self.dynamics is not None and self.dynamics.threshold is not None)

    @property
    def codes(self) -> int:
        """How many codes a spike of this population can carry; also the code that stands for "no spike"."""
        return len(self.kernel)

    def arrival(self, code: int) -> int:
        """The time step in which a spike with this code reaches the next layer."""
        return 0 if self.simultaneous else code


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Weights and biases between two populations: :class:`Dense` or :class:`Conv2d`.

    Parameters
    ----------
    weight
        W, integers, in the range of signed ``weight_bits``.
    bias
        b, integers, one for each row of W (each output neuron or channel).
    weight_bits
        Width of a weight in two's complement (2..16).
    scale
        The real value of one unit of the membrane. It plays no part in the integer network.

    Raises
    ------
    FirstspikeError
        if a shape is wrong or a value is out of range; the message names layer, index, value and range.

    """

    #: Name of the kind in files.
    kind: ClassVar[str] = ""
    #: What the axes of the weight are.
    axes: ClassVar[tuple[str, ...]] = ()

    name: str
    weight: IntArray
    bias: IntArray
    weight_bits: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 16:
            raise FirstspikeError(f"layer {self.name}: weight_bits is {self.weight_bits}, outside 2..16")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise FirstspikeError(f"layer {self.name}: scale is {self.scale}, not > 0 and finite")
        for name in ("weight", "bias"):
            values = np.asarray(getattr(self, name))
            if not np.issubdtype(values.dtype, np.integer):
                raise FirstspikeError(f"layer {self.name}: {name} has type {values.dtype}, not an integer type")
            values = values.astype(np.int64)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if self.weight.ndim != len(self.axes) or not self.weight.size or self.bias.shape != self.weight.shape[:1]:
            raise FirstspikeError(
                f"layer {self.name}: weight has shape {self.weight.shape} and bias {self.bias.shape}, "
                f"not ({', '.join(self.axes)}) and ({self.axes[0]},)"
            )
        low, high = -(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1
        outside = np.argwhere((self.weight < low) | (self.weight > high))
        if len(outside):
            index = tuple(outside[0])
            raise FirstspikeError(
                f"layer {self.name}: weight{''.join(f'[{i}]' for i in index)} is {self.weight[index]}, "
                f"outside [{low}, {high}] of signed({self.weight_bits})"
            )
        if np.abs(self.bias).max(initial=0) >= 1 << 62:
            raise FirstspikeError(f"layer {self.name}: a bias does not fit 63 bits")

    @property
    def label(self) -> str:
        """The layer in the notation of the field: ``10``, ``64C5``, ``12C5-P2``."""
        raise NotImplementedError

    @property
    def geometry(self) -> dict[str, Any]:
        """What a layer's result depends on besides its weights and biases; JSON values."""
        return {"kind": self.kind}

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the population after this layer, for one of ``shape`` before it.

        Raises
        ------
        FirstspikeError
            if a population of this shape does not fit the layer.

        """
        raise NotImplementedError

    def fan_out(self, shape: tuple[int, ...]) -> IntArray:
        """Synapses of each neuron of a population of ``shape`` before the layer; shape (neurons,)."""
        raise NotImplementedError

    def _misfit(self, shape: tuple[int, ...]) -> FirstspikeError:
        return FirstspikeError(
            f"layer {self.name}: weight has shape {self.weight.shape}, but the population before it {shape}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Layer):
    """A synapse from every neuron to every neuron; ``weight`` has shape (outputs, inputs)."""

    kind: ClassVar[str] = "dense"
    axes: ClassVar[tuple[str, ...]] = ("outputs", "inputs")

    @property
    def inputs(self) -> int:
        """Neurons of the population before."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Neurons of the population after."""
        return int(self.weight.shape[0])

    @property
    def label(self) -> str:
        """The number of outputs."""
        return str(self.outputs)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(outputs,), for any shape of as many neurons as the layer has inputs."""
        if math.prod(shape) != self.inputs:
            raise self._misfit(shape)
        return (self.outputs,)

    def fan_out(self, shape: tuple[int, ...]) -> IntArray:
        """``outputs`` for every neuron."""
        return np.full(math.prod(shape), self.outputs, np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d(Layer):
    """A convolution (cross-correlation, as in torch) over rows and columns, and max pooling of what it makes fire.

    Parameters
    ----------
    weight
        Shape (channels_out, channels_in, kernel_rows, kernel_columns).
    stride
        Rows and columns between two neighbouring outputs (>= 1).
    padding
        Silent rows and columns around the input (>= 0, below the size of the kernel).
    pool
        Max pooling (>= 1): of ``pool`` x ``pool`` neighbouring neurons of a channel only the first spike goes on.
        Rows and columns at the end that fill no window are left out.

    """

    kind: ClassVar[str] = "conv2d"
    axes: ClassVar[tuple[str, ...]] = ("channels_out", "channels_in", "kernel_rows", "kernel_columns")

    stride: int = 1
    padding: int = 0
    pool: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {"stride": (1, 1 << 16), "padding": (0, min(self.kernel_shape) - 1), "pool": (1, 1 << 16)}
        for name, (low, high) in limits.items():
            value = integers(f"layer {self.name}: {name}", [getattr(self, name)])[0]
            if not low <= value <= high:
                raise FirstspikeError(f"layer {self.name}: {name} is {value}, outside {low}..{high}")

    @property
    def kernel_shape(self) -> tuple[int, int]:
        """Rows and columns of the convolution's kernel."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def label(self) -> str:
        """Channels, C, kernel; then s and p where stride and padding are not 1 and 0; then the pooling."""
        return Stage(
            outputs=len(self.weight),
            kernel=self.kernel_shape,
            stride=self.stride,
            padding=self.padding,
            pool=self.pool,
        ).label

    @property
    def geometry(self) -> dict[str, Any]:
        """Kind, stride, padding and pooling."""
        return {"kind": self.kind, "stride": self.stride, "padding": self.padding, "pool": self.pool}

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of membranes, before pooling.

        Raises
        ------
        FirstspikeError
            if a population of this shape does not fit the layer.

        """
        if len(shape) != 3 or shape[0] != self.weight.shape[1]:
            raise self._misfit(shape)
        rows, columns = (
            places(size, kernel, stride=self.stride, padding=self.padding)
            for size, kernel in zip(shape[1:], self.kernel_shape, strict=True)
        )
        if min(rows, columns) < self.pool:
            raise self._misfit(shape)
        return rows, columns

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(channels_out, rows, columns) after pooling."""
        rows, columns = self.grid(shape)
        return (self.weight.shape[0], rows // self.pool, columns // self.pool)

    def fan_out(self, shape: tuple[int, ...]) -> IntArray:
        """Channels times the places of the kernel that cover the neuron, of the membranes that are used."""
        used = [n // self.pool * self.pool for n in self.grid(shape)]
        cover = []
        for size, kernel, last in zip(shape[1:], self.kernel_shape, used, strict=True):
            count = np.zeros(size + 2 * self.padding, np.int64)
            for place in range(last):
                count[place * self.stride : place * self.stride + kernel] += 1
            cover.append(count[self.padding : self.padding + size])
        one = np.multiply.outer(*cover).ravel() * self.weight.shape[0]
        return np.tile(one, shape[0])


LAYER_KINDS: dict[str, type[Layer]] = {cls.kind: cls for cls in (Dense, Conv2d)}


def before_average(weight: NDArray[Any], size: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Weights for the map of ``shape`` before average pooling, of those for the map after it, undivided.

    ``docs/numerics.md`` has the rule; ``weight`` is that of a :class:`Dense` layer or a :class:`Conv2d`.
    """
    if size == 1:
        return weight
    maps = weight.reshape(-1, shape[0], shape[1] // size, shape[2] // size) if weight.ndim == 2 else weight
    repeated = maps.repeat(size, axis=2).repeat(size, axis=3)
    return repeated.reshape(len(weight), -1) if weight.ndim == 2 else repeated


def integer_layer(
    name: str,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
    *,
    unit: float,
    weight_bits: int,
    weight_clip: float,
    stride: int = 1,
    padding: int = 0,
    pool: int = 1,
) -> Layer:
    """The layer of integers nearest to real weights and biases.

    Parameters
    ----------
    name
        Of the layer.
    weight, bias
        Real values; their axes are those of a :class:`Dense` layer or a :class:`Conv2d`.
    unit
        Real value of one unit of the kernel table before the layer.
    weight_bits
        Width of a signed weight.
    weight_clip
        What part of the largest weight becomes the largest integer; larger ones are clipped.
    stride, padding, pool
        Of a convolution.

    Raises
    ------
    FirstspikeError
        if a bias does not fit, or the geometry is out of range.

    """
    high = (1 << (weight_bits - 1)) - 1
    weight_scale = float(np.abs(weight).max()) * weight_clip / high or 1.0  # zeros have any scale
    scale = weight_scale * unit
    parts: dict[str, Any] = {
        "name": name,
        "weight": np.clip(np.rint(weight / weight_scale), -high - 1, high).astype(np.int64),
        "bias": np.rint(bias / scale).astype(np.int64),
        "weight_bits": weight_bits,
        "scale": scale,
    }
    return Dense(**parts) if weight.ndim == 2 else Conv2d(**parts, stride=stride, padding=padding, pool=pool)
