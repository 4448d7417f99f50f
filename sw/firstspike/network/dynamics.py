"""A population whose neurons step: what its membranes do from one time step to the next, in integers.

``docs/numerics.md`` defines it. A population without dynamics has the tables K and TH instead.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError

IntArray = NDArray[np.int64]
Mode = Literal["once", "soft", "hard"]
Read = Literal["final", "largest"]

#: Bits after the point of a factor and of a gain, and guard bits, at most.
MAX_SHIFT = 24
#: Equal spikes that a neuron sends in one step, at most.
MAX_CAP = 15
#: Parameters are smaller, so that no sum of few of them overflows 64 bits.
MAX_BITS = 53


def _least(array: IntArray) -> IntArray:
    """Without steps and channels that are all alike."""
    array = array[:1] if (array == array[:1]).all() else array
    return array[:, :1] if (array == array[:, :1]).all() else array


def whole(value: Any) -> int:
    """A whole number as Python's; True is none.

    Raises
    ------
    TypeError
        if it is something else.

    """
    if isinstance(value, (bool, np.bool_)):
        raise TypeError("True and False are none")
    return operator.index(value)


def _number(name: str, value: Any, where: str = "") -> int:
    """A whole number; ``where``, in the message, says which."""
    try:
        return whole(value)
    except TypeError as error:
        raise FirstspikeError(f"{name} is {value!r}, not a whole number{where}") from error


def _array(name: str, values: Any, axes: int) -> IntArray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise FirstspikeError(f"{name} has rows of different lengths", "give an array of whole numbers") from error
    if not np.issubdtype(array.dtype, np.integer):
        raise FirstspikeError(f"{name} has type {array.dtype}, not an integer type")
    if array.ndim > axes or not array.size:
        raise FirstspikeError(f"{name} has shape {array.shape}, not at most {axes} axes with a value each")
    if int(array.min()) <= -1 << MAX_BITS or int(array.max()) >= 1 << MAX_BITS:
        raise FirstspikeError(f"{name} has a value of more than {MAX_BITS} bits")
    array = array.astype(np.int64).reshape((1,) * (axes - array.ndim) + array.shape)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """What is left of a number after a step: ``floor(x * numerator / 2**shift)``.

    Parameters
    ----------
    numerator
        0..2**shift, shape (), or (C,) with one for each channel (each neuron of a flat population).
    shift
        Bits after the point (0..24).

    Raises
    ------
    FirstspikeError
        if it is below 0 or above 1.

    """

    numerator: IntArray
    shift: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", _number("shift", self.shift))
        if not 0 <= self.shift <= MAX_SHIFT:
            raise FirstspikeError(f"a factor has {self.shift} bits after the point, outside 0..{MAX_SHIFT}")
        object.__setattr__(self, "numerator", _array("a factor", self.numerator, 1))
        for value in self.numerator[(self.numerator < 0) | (self.numerator > 1 << self.shift)][:1]:
            raise FirstspikeError(f"a factor is {value}/{1 << self.shift}, outside 0..1")

    @classmethod
    def nearest(cls, value: float | NDArray[np.float64], shift: int) -> Factor:
        """The factor nearest to ``value``, a half upwards.

        Raises
        ------
        FirstspikeError
            if it is below 0, above 1, or no number.

        """
        bits, numbers = _number("shift", shift), np.asarray(value)
        if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all() or not 0 <= bits <= MAX_SHIFT:
            raise FirstspikeError(f"a factor of {value!r} in {shift!r} bits", f"use 0..1 in 0..{MAX_SHIFT} bits")
        return cls(numerator=np.floor(numbers * (1 << bits) + 0.5).astype(np.int64), shift=bits)

    def least(self) -> Factor:
        """The same with the fewest bits after the point, and one numerator if all are alike."""
        numerator, shift = _least(self.numerator[None])[0], self.shift
        while shift and not (numerator % 2).any():
            numerator, shift = numerator // 2, shift - 1
        return Factor(numerator=numerator, shift=shift)

    def at(self, channel: int) -> int:
        """The numerator of a channel."""
        return value(self.numerator[None], 0, channel)

    def __call__(self, x: int, channel: int) -> int:
        """Of a number in a channel."""
        return x * self.at(channel) >> self.shift


KEEP = Factor(numerator=np.array(1))
DROP = Factor(numerator=np.array(0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Dynamics:
    """What the neurons of a population do in each step. One step's unit of U and V is ``2**-guard`` of a weight's.

    An array has shape (steps or 1, channels or 1): a value for each step and channel, or one for all of them. Fewer
    axes are put behind. Channels are those of a map, or the neurons of a flat population.

    Parameters
    ----------
    threshold
        TH >= 1 of each step of the window of tests. None: nothing is tested (an output that is read by its membranes).
    mode
        After a spike: ``once``, no more of them; ``soft``, V falls by ``reset``; ``hard``, V is ``reset``.
    retain, leak
        What is left of the current U and of the membrane V from one step to the next.
    drive
        B, added in each of the ``start`` + T steps.
    gain
        G >= 0, what U is worth to V in each of them, in units of ``2**-gain_shift``. None: U itself.
    gain_shift
        Bits after the point of the gain and of the drive beside it.
    reset
        Of each step of the window. Default: TH for ``soft``, 0 for ``hard``.
    cap
        Equal spikes in one step, at most: as often as V holds the threshold.
    guard
        F, bits after the point of a weight's unit.
    start
        S, the step of the first test. The window has T steps, and step k of it is code k for the next layer.
    read
        Of an output without thresholds: ``final``, V after the last step; ``largest``, the largest V after any step.

    Raises
    ------
    FirstspikeError
        if a value is out of range.

    """

    threshold: IntArray | None = None
    mode: Mode = "soft"
    retain: Factor = DROP
    leak: Factor = KEEP
    drive: IntArray = field(default_factory=lambda: np.zeros((1, 1), np.int64))
    gain: IntArray | None = None
    gain_shift: int = 0
    reset: IntArray | None = None
    cap: int = 1
    guard: int = 0
    start: int = 0
    read: Read = "final"

    def __post_init__(self) -> None:
        for name, kinds in (("mode", get_args(Mode)), ("read", get_args(Read))):
            if getattr(self, name) not in kinds:
                raise FirstspikeError(f"{name} is {getattr(self, name)!r}", f"use {' or '.join(map(repr, kinds))}")
        limits = {"gain_shift": MAX_SHIFT, "cap": MAX_CAP, "guard": MAX_SHIFT}
        for name, high in limits.items():
            where = f" in {int(name == 'cap')}..{high}"
            value = _number(name, getattr(self, name), where)
            object.__setattr__(self, name, value)
            if not int(name == "cap") <= value <= high:
                raise FirstspikeError(f"{name} is {value!r}, not a whole number{where}")
        object.__setattr__(self, "start", _number("start", self.start, " >= 0"))
        if self.start < 0:
            raise FirstspikeError(f"start is {self.start!r}, not a whole number >= 0")
        for name in ("retain", "leak"):
            if not isinstance(getattr(self, name), Factor):
                raise FirstspikeError(
                    f"{name} is {getattr(self, name)!r}, not a Factor", f"use Factor.nearest({getattr(self, name)}, 8)"
                )
        if self.drive is None:
            raise FirstspikeError("drive is None", "leave it out, or give an array of whole numbers")
        least = {"threshold": 1, "gain": 0}
        for name in ("threshold", "drive", "gain", "reset"):
            if getattr(self, name) is not None:
                values = _array(name, getattr(self, name), 2)
                object.__setattr__(self, name, values)
                if name in least and values.min() < least[name]:
                    raise FirstspikeError(f"{name} is {values.min()}, not >= {least[name]}")
        if self.gain is None and self.gain_shift:
            raise FirstspikeError("gain_shift is given without a gain")
        self._check_tests()

    def _check_tests(self) -> None:
        if self.threshold is None:
            if self.reset is not None or self.cap > 1 or self.start:
                raise FirstspikeError("reset, cap and start need a threshold")
            return
        if self.read != "final":
            raise FirstspikeError("an output with thresholds is read by its first spike", "leave out read or threshold")
        if self.mode == "once":
            if self.reset is not None or self.cap > 1:
                raise FirstspikeError("a neuron that fires once has no reset and no cap")
        elif self.mode == "soft":
            if self.reset is not None and self.reset.min() < 0:
                raise FirstspikeError(f"reset is {self.reset.min()}; a soft reset subtracts, >= 0")
        elif self.reset is not None:
            try:
                above = np.broadcast_arrays(self.reset, self.threshold)
            except ValueError as error:
                raise FirstspikeError(
                    f"reset has shape {self.reset.shape} and threshold {self.threshold.shape}"
                ) from error
            if (above[0] >= above[1]).any():
                raise FirstspikeError("a hard reset goes below the threshold, or the neuron would not stop firing")

    @property
    def repeat(self) -> int:
        """Spikes of a neuron in each step, at most; 0: one in the whole window."""
        return 0 if self.mode == "once" else self.cap

    def steps(self, window: int) -> int:
        """Steps that the population lives, for a window of so many tests."""
        return self.start + window

    def resets(self) -> IntArray:
        """Of each step of the window, the default for the mode where none are given; for ``soft`` and ``hard``."""
        if self.reset is not None:
            return self.reset
        assert self.threshold is not None
        return self.threshold if self.mode == "soft" else np.zeros((1, 1), np.int64)

    def check(self, name: str, channels: int, window: int) -> None:
        """Refuse arrays that are not for so many channels and steps.

        Raises
        ------
        FirstspikeError
            naming ``name``, the array and its shape.

        """
        if self.start > window:
            raise FirstspikeError(f"population {name}: start is {self.start}, beyond the {window} steps of the window")
        wanted = {"threshold": window, "reset": window, "drive": self.steps(window), "gain": self.steps(window)}
        for part, array in self.arrays():
            rows = wanted.get(part, 1)
            if array.shape[0] not in (1, rows) or array.shape[1] not in (1, channels):
                raise FirstspikeError(
                    f"population {name}: {part} has shape {array.shape}, not (1 or {rows}, 1 or {channels})"
                )

    def arrays(self) -> Iterator[tuple[str, IntArray]]:
        """(name, array) of all that are given, each with two axes."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Factor):
                yield f.name, value.numerator.reshape(1, -1)
            elif isinstance(value, np.ndarray):
                yield f.name, value

    def least(self) -> Dynamics:
        """The same with the smallest arrays: no value that others of its axis repeat, and no default that is given."""
        parts: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Factor):
                parts[f.name] = value.least()
            elif isinstance(value, np.ndarray):
                parts[f.name] = _least(value)
        if self.reset is not None and np.array_equal(parts["reset"], _least(replace(self, reset=None).resets())):
            parts["reset"] = None
        if self.gain is not None and not self.gain_shift and (self.gain == 1).all():
            parts["gain"] = None
        return replace(self, **parts)

    def settings(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        return {
            "mode": self.mode,
            "retain_shift": self.retain.shift,
            "leak_shift": self.leak.shift,
            "gain_shift": self.gain_shift,
            "cap": self.cap,
            "guard": self.guard,
            "start": self.start,
            "read": self.read,
        }

    @classmethod
    def from_parts(cls, settings: dict[str, Any], arrays: dict[str, IntArray]) -> Dynamics:
        """Of :meth:`settings` and :meth:`arrays`.

        Raises
        ------
        FirstspikeError
            if a value is out of range, missing or unknown.

        """
        try:
            values = dict(settings)
            factors = {
                name: Factor(numerator=arrays[name].reshape(-1), shift=values.pop(f"{name}_shift"))
                for name in ("retain", "leak")
            }
            parts: dict[str, Any] = {**values, **arrays, **factors}
            return cls(**parts)
        except (TypeError, KeyError) as error:
            raise FirstspikeError(f"not a description of dynamics: {error}") from error


def value(array: IntArray, step: int, channel: int) -> int:
    """The value of a step and a channel, of an array of shape (steps or 1, channels or 1)."""
    row = step_values(array, step)
    return int(row[channel if len(row) > 1 else 0])


def step_values(array: IntArray, step: int) -> IntArray:
    """The values of a step, shape (channels or 1,)."""
    return np.asarray(array[step if len(array) > 1 else 0])
