"""Temporal kernels: the real curves of the papers, and the integer tables made from them.

A spike at step ``k`` is worth ``decode()[k]`` to the next layer; a neuron fires at the first step with
``V >= threshold()[k]``. Both fall with ``k``: a large value fires early. The integer network knows only the tables.

Sources: the exponential kernel is that of T2FSNN (Park et al., DAC 2020) and of Park & Yoon (arXiv 2106.02568);
``round`` is the half-step shift of the authors' released code ("quantisation-aware threshold"). The linear kernel is
the exact-ReLU code of Stanojevic et al. (Nat. Commun. 2024). See ``docs/numerics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError, as_written

Rounding = Literal["round", "ceil"]
PIXEL_LEVELS = 256
MAX_KERNEL_BITS = 32  # of a table entry: a word of the load port


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A decode curve and a threshold curve over ``steps`` time steps.

    Parameters
    ----------
    steps
        T, the number of time steps of the window (>= 1).
    theta0
        Base threshold, in the unit of the real membrane (> 0).
    rounding
        ``round``: the spike time is the nearest step. ``ceil``: the next later step, so that the decoded value never
        exceeds the membrane.

    Raises
    ------
    FirstspikeError
        on a value outside its range.

    """

    kind: ClassVar[str] = ""

    steps: int
    theta0: float = 1.0
    rounding: Rounding = "round"

    def __post_init__(self) -> None:
        _require(_whole(self.steps) and self.steps >= 1, "steps", self.steps, "an integer >= 1")
        _require(
            _real(self.theta0) and 2.0**-64 <= self.theta0 <= 2.0**64, "theta0", self.theta0, "within 2**-64 .. 2**64"
        )
        _require(self.rounding in ("round", "ceil"), "rounding", self.rounding, "round or ceil")

    @property
    def unit(self) -> float:
        """The real value of one unit of the integer table."""
        raise NotImplementedError

    def curve(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """The kernel at real times ``k`` (in steps), without ``theta0``."""
        raise NotImplementedError

    def decode(self) -> NDArray[np.float64]:
        """Real value of a spike at each step: the integer table times :attr:`unit`. Shape (T,)."""
        return np.asarray(self.table(), np.float64) * self.unit

    def threshold(self) -> NDArray[np.float64]:
        """Real threshold at each step. Shape (T,), positive, non-increasing."""
        shift = 0.5 if self.rounding == "round" else 0.0
        return self.theta0 * self.curve(np.arange(self.steps, dtype=np.float64) + shift)

    def table(self) -> tuple[int, ...]:
        """K: the integer decode table. Length T, non-negative, non-increasing."""
        return tuple(int(x) for x in np.floor(self.curve(np.arange(self.steps, dtype=np.float64)) / self.unit + 0.5))

    def integer_threshold(self, scale: float) -> tuple[int, ...]:
        """TH: the integer thresholds of a layer whose membrane counts in units of ``scale``, each by :func:`integer`.

        Raises
        ------
        FirstspikeError
            if ``scale`` is not positive and finite.

        """
        _require(scale > 0 and math.isfinite(scale), "scale", scale, "> 0")
        return tuple(integer(float(x), scale) for x in self.threshold())

    def encoder(self) -> tuple[int, ...]:
        """Step of each pixel value 0..255 (read as value/255), or ``steps`` for no spike. A zero never spikes."""
        threshold = self.threshold()
        return tuple(
            next((k for k in range(self.steps) if p > 0 and p / (PIXEL_LEVELS - 1) >= threshold[k]), self.steps)
            for p in range(PIXEL_LEVELS)
        )

    @property
    def simultaneous(self) -> bool:
        """Whether all spikes arrive before the first step, whatever their code (direct input)."""
        return False


@dataclass(frozen=True, kw_only=True)
class Exponential(Kernel):
    """``exp(-(k - delay)/tau)``: the kernel of T2FSNN and of Park & Yoon.

    Parameters
    ----------
    tau
        Time constant, in steps (> 0).
    delay
        t_d, in steps; ``exp(delay/tau)`` is the largest value that a spike can carry.
    kernel_fraction_bits
        f, with K = round(2**f * exp(-(k - delay)/tau)).

    """

    kind: ClassVar[str] = "exponential"

    tau: float
    delay: float = 0.0
    kernel_fraction_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(_real(self.tau) and self.tau > 0 and math.isfinite(self.tau), "tau", self.tau, "> 0")
        _require(_real(self.delay) and math.isfinite(self.delay), "delay", self.delay, "finite")
        bits = self.kernel_fraction_bits
        _require(_whole(bits) and 0 <= bits <= 24, "kernel_fraction_bits", bits, "an integer in 0..24")
        largest = (MAX_KERNEL_BITS - bits) * math.log(2)
        _require(self.delay / self.tau < largest, "delay", self.delay, f"below {largest:.2f} tau")

    @property
    def unit(self) -> float:
        """2**-f."""
        return 2.0**-self.kernel_fraction_bits

    def curve(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """exp(-(k - delay)/tau)."""
        with np.errstate(over="ignore"):  # a tiny tau: exp(-inf) is the 0 it should be
            return np.exp(-(np.asarray(k, np.float64) - self.delay) / self.tau)


@dataclass(frozen=True, kw_only=True)
class PowerOfTwo(Kernel):
    """``2**(-k/steps_per_octave)``: with one step an octave K is 2**(T-1-k), so that a weight is only shifted.

    Parameters
    ----------
    steps_per_octave
        n: the value halves every n steps (>= 1). For n > 1 the table is rounded to integers.

    """

    kind: ClassVar[str] = "power_of_two"

    steps_per_octave: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        octave = self.steps_per_octave
        _require(_whole(octave) and octave >= 1, "steps_per_octave", octave, "an integer >= 1")
        most = self.most_steps(octave)
        _require(self.steps <= most, "steps", self.steps, f"at most {most} with steps_per_octave = {octave}")

    @staticmethod
    def most_steps(octave: int) -> int:
        """The longest window for so many steps an octave."""
        return 24 * octave + 1

    @property
    def unit(self) -> float:
        """A power of two, so that one step an octave gives K = 2**(T-1-k) exactly."""
        return 2.0 ** ((1 - self.steps) // self.steps_per_octave)

    def curve(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """2**(-k/steps_per_octave)."""
        return np.exp2(-np.asarray(k, np.float64) / self.steps_per_octave)


@dataclass(frozen=True, kw_only=True)
class Linear(Kernel):
    """``1 - k/steps``: K = T - k. Equal steps of value, for exact-ReLU networks (Stanojevic et al.)."""

    kind: ClassVar[str] = "linear"

    @property
    def unit(self) -> float:
        """1/T."""
        return 1.0 / self.steps

    def curve(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 - k/T."""
        return 1.0 - np.asarray(k, np.float64) / self.steps


@dataclass(frozen=True, kw_only=True)
class Constant(Kernel):
    """1 at every step, threshold ``theta0``: the time carries order only (ETTFS-style networks, fire start 0)."""

    kind: ClassVar[str] = "constant"

    @property
    def unit(self) -> float:
        """1."""
        return 1.0

    def curve(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 at every step."""
        return np.ones_like(np.asarray(k, np.float64))


@dataclass(frozen=True, kw_only=True)
class Direct(Linear):
    """A real-valued first layer: a pixel counts with its own value, and all pixels arrive before the first step.

    It is the linear kernel over 255 codes: pixel p has code 255 - p, worth K = p. A zero sends nothing.
    """

    kind: ClassVar[str] = "direct"

    steps: int = PIXEL_LEVELS - 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.steps == PIXEL_LEVELS - 1, "steps", self.steps, f"{PIXEL_LEVELS - 1} (one code a pixel value)")

    def encoder(self) -> tuple[int, ...]:
        """Code 255 - p for pixel p; 255, no spike, for a zero."""
        return tuple(self.steps - p for p in range(PIXEL_LEVELS))

    @property
    def simultaneous(self) -> bool:
        """Direct input: always."""
        return True


KINDS: dict[str, type[Kernel]] = {cls.kind: cls for cls in (Exponential, PowerOfTwo, Linear, Constant, Direct)}


def from_spec(spec: Mapping[str, Any]) -> Kernel:
    """Kernel from a mapping with ``kind`` and the parameters of that kind, as a configuration file has it.

    Raises
    ------
    FirstspikeError
        on an unknown kind, an unknown or missing parameter, or a value outside its range.

    """
    parameters = dict(spec)
    kind = parameters.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise FirstspikeError(f"unknown kernel {as_written(kind)}", f"use one of {', '.join(KINDS)}")
    known = fields(KINDS[kind])
    names = sorted(field.name for field in known)
    takes = f"it takes {', '.join(name for name in names if name != 'steps')}"
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise FirstspikeError(f"kernel {kind!r} has no parameter {unknown[0]!r}", takes)
    for field in known:
        if field.default is MISSING and field.name not in parameters:
            raise FirstspikeError(f"kernel {kind!r} lacks {field.name!r}", f"give it; {takes}")
    return KINDS[kind](**parameters)


def to_spec(kernel: Kernel) -> dict[str, Any]:
    """The mapping from which :func:`from_spec` makes ``kernel`` again."""
    return {"kind": kernel.kind} | {field.name: getattr(kernel, field.name) for field in fields(kernel)}


def integer(threshold: float, unit: float) -> int:
    """The integer threshold of a membrane that counts in units of ``unit``.

    ``max(1, ceil(threshold / unit))``, computed exactly: ``V >= integer(threshold, unit)`` holds for an integer V >= 1
    just when ``V * unit >= threshold`` holds for the exact product.
    """
    return max(1, math.ceil(Fraction(threshold) / Fraction(unit)))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise FirstspikeError(f"kernel {name} is {as_written(value)}, not {wanted}")
