"""One layer as generated: its geometry, lanes and widths, and what follows from them in rows and clocks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from firstspike.contract.dynamics_shape import DynamicsShape
from firstspike.contract.memory import WORD_BITS
from firstspike.errors import FirstspikeError
from firstspike.network.architecture import places
from firstspike.network.model import Conv2d, IntArray, Layer

#: How neurons find their spikes: a search once a neuron (S = T only), or a test of every step; with dynamics, in steps.
FireUnit = Literal["search", "stepped", "dynamics"]
#: Those that can be chosen between; neurons with dynamics have the third.
FireChoice = Literal["search", "stepped"]
#: How a weight is multiplied by K: by a multiplier, or by a shift (K all powers of two).
Product = Literal["multiply", "shift"]

MAX_MEMBRANE_BITS = 54  # signed, below 2**53: what a float64 holds exactly
#: Rows of a bank of membranes up to which both banks lie in one look-up memory; more are for block RAM.
SHALLOW_ROWS = 8
#: Of a layer, each at least 1.
NUMBERS = (
    "input_shape", "channels", "kernel", "stride", "pool", "input_codes", "weight_bits", "kernel_bits", "membrane_bits",
)  # fmt: skip


def check_numbers(value: object, names: Iterable[str], *, low: int) -> None:
    """Refuse an attribute that is no integer of at least ``low``, or no tuple of such.

    Raises
    ------
    FirstspikeError
        naming the first.

    """
    for name in names:
        check_number(name, getattr(value, name), low=low)


def check_number(name: str, given: object, *, low: int) -> None:
    """As :func:`check_numbers`, of one value.

    Raises
    ------
    FirstspikeError
        if it is something else.

    """
    for number in given if isinstance(given, tuple) else (given,):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < low:
            raise FirstspikeError(f"{name} is {given!r}", f"use integers from {low}")


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer as generated.

    Parameters
    ----------
    kind
        ``dense`` or ``conv2d``.
    input_shape
        Of the population before.
    channels
        Rows of the weights: output neurons of a dense layer, output channels of a convolution.
    kernel, stride, padding, pool
        Of a convolution; a dense layer is one of 1 x 1 at a single place.
    lanes
        Membranes updated in one clock, 1..channels. They lie side by side in the channels.
    fire, fire_lanes
        How thresholds are tested, and how many neurons a clock.
    product
        How a weight is multiplied by a kernel entry.
    input_codes
        Codes that an arriving spike can carry (depth of the kernel table).
    weight_bits, kernel_bits, membrane_bits
        Widths of a signed weight, an unsigned kernel entry, and a signed membrane (also of bias and threshold).
    fires
        Whether the layer compares with thresholds: every hidden layer, and the output with the first-spike readout.
    dynamics
        Of the neurons after the layer, if ``fire`` is ``dynamics``.

    """

    kind: str
    input_shape: tuple[int, ...]
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = 0
    pool: int = 1
    lanes: int
    fire: FireUnit = "stepped"
    fire_lanes: int = 1
    product: Product = "multiply"
    input_codes: int
    weight_bits: int
    kernel_bits: int
    membrane_bits: int
    fires: bool
    dynamics: DynamicsShape | None = None

    def __post_init__(self) -> None:
        for name in ("input_shape", "kernel"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_numbers(self, NUMBERS, low=1)
        check_numbers(self, ("padding",), low=0)
        if self.kind not in ("dense", "conv2d"):
            raise FirstspikeError(f"unknown kind {self.kind!r}", "use dense or conv2d")
        if not isinstance(self.fires, bool):
            raise FirstspikeError(f"fires is {self.fires!r}", "use true or false")
        if not 1 <= self.lanes <= self.channels:
            what = "neurons" if self.kind == "dense" else "channels"
            raise FirstspikeError(f"{self.lanes} lanes for {self.channels} {what}", f"use 1..{self.channels} lanes")
        if not 1 <= self.fire_lanes <= self.lanes:
            raise FirstspikeError(f"fire_lanes is {self.fire_lanes}, outside 1..{self.lanes}")
        for name, kinds in (("fire", FireUnit), ("product", Product)):
            if getattr(self, name) not in get_args(kinds):
                raise FirstspikeError(f"unknown {name} {getattr(self, name)!r}", f"use {' or '.join(get_args(kinds))}")
        if (self.fire == "dynamics") != (self.dynamics is not None):
            raise FirstspikeError("fire = 'dynamics' is for neurons with dynamics, and only these have no other")
        if self.membrane_bits > MAX_MEMBRANE_BITS:
            raise FirstspikeError(
                f"membranes of {self.membrane_bits} bits; the golden model is exact up to {MAX_MEMBRANE_BITS}",
                "use fewer weight or kernel bits, or lower thresholds",
            )
        if self.kernel_bits > WORD_BITS:
            raise FirstspikeError(f"kernel entries of {self.kernel_bits} bits; a word holds {WORD_BITS}")

    @property
    def bank_bits(self) -> int:
        """Width of what the banks of membranes hold: the membranes, or with dynamics the sums of a step."""
        return self.dynamics.sum_bits if self.dynamics else self.membrane_bits

    @property
    def inputs(self) -> int:
        """Neurons of the population before."""
        return math.prod(self.input_shape)

    @property
    def map(self) -> tuple[int, int, int]:
        """Channels, rows and columns that the layer sees: those before a convolution, (inputs, 1, 1) if it is dense."""
        if self.kind == "dense":
            return self.inputs, 1, 1
        channels, rows, columns = self.input_shape
        return channels, rows, columns

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of membranes that are used; those that fill no pooling window are left out."""
        rows, columns = (
            places(size, kernel, stride=self.stride, padding=self.padding) // self.pool * self.pool
            for size, kernel in zip(self.map[1:], self.kernel, strict=True)
        )
        return rows, columns

    @property
    def places(self) -> int:
        """Membranes of a channel."""
        return math.prod(self.grid)

    @property
    def output_map(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the population after; (outputs, 1, 1) of a dense layer."""
        rows, columns = self.grid
        return self.channels, rows // self.pool, columns // self.pool

    @property
    def outputs(self) -> int:
        """Neurons of the population after."""
        return math.prod(self.output_map)

    @property
    def groups(self) -> int:
        """Clocks to update every channel at one place: ceil(channels / lanes).

        Channel j is lane j % lanes of group j // lanes.
        """
        return -(-self.channels // self.lanes)

    @property
    def taps(self) -> int:
        """Weights of a channel: inputs of a dense layer, channels * rows * columns of a convolution's kernel."""
        return self.map[0] * math.prod(self.kernel)

    @property
    def membrane_rows(self) -> int:
        """Rows of ``lanes`` membranes; place p of group g is row ``g * places + p``."""
        return self.groups * self.places

    @property
    def shallow(self) -> bool:
        """Whether the membranes' banks have so few rows that both lie in one look-up memory."""
        return self.membrane_rows <= SHALLOW_ROWS

    @property
    def group_slices(self) -> tuple[int, ...]:
        """For each group the clocks that a row of it is tested in, ``fire_lanes`` neurons a clock."""
        last = self.channels - (self.groups - 1) * self.lanes
        return tuple(-(-n // self.fire_lanes) for n in (self.lanes,) * (self.groups - 1) + (last,))

    @property
    def slice_channels(self) -> IntArray:
        """Channels of each slice of a place, group by group, ``channels`` where there is none; (slices, fire_lanes)."""
        rows = []
        for group, slices in enumerate(self.group_slices):
            lane = np.arange(slices * self.fire_lanes).reshape(slices, self.fire_lanes)
            channel = group * self.lanes + lane
            rows.append(np.where((lane < self.lanes) & (channel < self.channels), channel, self.channels))
        return np.concatenate(rows)

    @property
    def windows(self) -> int:
        """Pooling windows of a channel: its neurons."""
        return self.places // self.pool**2

    @property
    def slices(self) -> int:
        """Slices of all neurons."""
        return self.windows * sum(self.group_slices)

    @property
    def pass_clocks(self) -> int:
        """Clocks to test every neuron once: a slice takes as many as its window has places."""
        return self.slices * self.pool**2

    @cached_property
    def visits(self) -> IntArray:
        """Places of the kernel at which each input neuron reaches a membrane, shape (inputs,)."""
        cover = [np.array([len(taps) for taps in self.reach(axis)]) for axis in (0, 1)]
        return np.tile(np.multiply.outer(*cover).ravel(), self.map[0]).astype(np.int64)

    def reach(self, axis: int) -> list[list[tuple[int, int]]]:
        """For each input row (axis 0) or column (axis 1) the (place, tap) pairs it reaches, in order of place."""
        size, kernel, used = self.map[1 + axis], self.kernel[axis], self.grid[axis]
        pairs = []
        for position in range(size):
            taps = [(place, position + self.padding - place * self.stride) for place in range(used)]
            pairs.append([(place, tap) for place, tap in taps if 0 <= tap < kernel])
        return pairs


def geometry(layer: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    """What a network's layer fixes of its :class:`LayerShape`, for a population of ``shape`` before it."""
    fixed: dict[str, Any] = {"kind": layer.kind, "input_shape": shape, "channels": len(layer.weight)}
    if isinstance(layer, Conv2d):
        names = ("stride", "padding", "pool")
        fixed |= {"kernel": layer.kernel_shape} | {name: getattr(layer, name) for name in names}
    return fixed
