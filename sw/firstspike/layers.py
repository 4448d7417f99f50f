"""The parts of a network: populations and the layers that join them, frozen and checked when made."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError

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
        return tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise FirstspikeError(f"{what} is not a table of integers: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons that share one window and fire at most once in it.

    Parameters
    ----------
    name
        For reports and file names.
    size
        N, the number of neurons (>= 1).
    kernel
        K, what a spike with code k is worth to the next layer: non-negative, non-increasing. Empty for the output.
        For a hidden population the code is the time step; its length is T.
    threshold
        TH, one threshold a step: >= 1, non-increasing, length T. Empty for the input, and for an output that is read
        by its membranes.
    simultaneous
        Direct input: the code is a value, not a time; all spikes arrive before the first step.

    Raises
    ------
    FirstspikeError
        if a table is out of range or rises.

    """

    name: str
    size: int
    kernel: tuple[int, ...] = ()
    threshold: tuple[int, ...] = ()
    simultaneous: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise FirstspikeError(f"population {self.name}: size is {self.size}, not >= 1")
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

    @property
    def codes(self) -> int:
        """How many codes a spike of this population can carry; also the code that stands for "no spike"."""
        return len(self.kernel)

    def arrival(self, code: int) -> int:
        """The time step in which a spike with this code reaches the next layer."""
        return 0 if self.simultaneous else code


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Weights and biases between two populations.

    Parameters
    ----------
    weight
        W, integers, shape (outputs, inputs), in the range of signed ``weight_bits``.
    bias
        b, integers, shape (outputs,).
    weight_bits
        Width of a weight in two's complement (2..16).
    scale
        The real value of one unit of the membrane. It plays no part in the integer network.

    Raises
    ------
    FirstspikeError
        if a shape is wrong or a value is out of range; the message names layer, row, column, value and range.

    """

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
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise FirstspikeError(
                f"layer {self.name}: weight has shape {self.weight.shape} and bias {self.bias.shape}, "
                "not (outputs, inputs) and (outputs,)"
            )
        low, high = -(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1
        outside = np.argwhere((self.weight < low) | (self.weight > high))
        if len(outside):
            row, column = outside[0]
            raise FirstspikeError(
                f"layer {self.name}: weight[{row}][{column}] is {self.weight[row, column]}, "
                f"outside [{low}, {high}] of signed({self.weight_bits})"
            )
        if np.abs(self.bias).max(initial=0) >= 1 << 62:
            raise FirstspikeError(f"layer {self.name}: a bias does not fit 63 bits")

    @property
    def inputs(self) -> int:
        """Neurons of the population before."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Neurons of the population after."""
        return int(self.weight.shape[0])
