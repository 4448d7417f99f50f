"""Dynamics as generated: what of them is fixed in the RTL, and which tables hold the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from firstspike.contract.memory import MemoryRole
from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import MAX_SHIFT, Dynamics, Factor, IntArray, Mode, Read
from firstspike.network.layers import signed_bits, unsigned_bits
from firstspike.network.ranges import Ranges

#: How a factor is made: nothing to do, nothing left, ``x >> shift``, ``x - (x >> shift)`` rounded down, a multiplier.
FactorKind = Literal["keep", "drop", "shift", "decay", "multiply"]

#: Parameters that may have a table, in the order of the memories.
TABLES: tuple[MemoryRole, ...] = ("threshold", "reset", "drive", "gain", "retain", "leak")
_TABLE_FIELDS = ("threshold", "reset", "drive", "gain", "retain_table", "leak_table")


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """A table of a parameter.

    Parameters
    ----------
    by_step
        A value for each step, or one for all.
    by_channel
        A value for each channel, or one for all.
    bits
        Width of a value: signed, but for gains and factors.
    """

    by_step: bool
    by_channel: bool
    bits: int

    @classmethod
    def of(cls, values: IntArray, *, signed: bool, spare_bits: int = 0) -> TableShape:
        """The least one that holds ``values``, shape (steps or 1, channels or 1), with some more bits."""
        low, high = int(values.min()), int(values.max())
        bits = signed_bits(low, high) if signed else unsigned_bits(high)
        return cls(by_step=len(values) > 1, by_channel=values.shape[1] > 1, bits=bits + spare_bits)

    def __str__(self) -> str:
        each = [what for what, own in (("step", self.by_step), ("channel", self.by_channel)) if own]
        return f"{self.bits} bits" + (f" for each {' and '.join(each)}" if each else "")

    def holds(self, other: TableShape) -> bool:
        """Whether a table of the other shape fits in this one."""
        return all(getattr(self, f.name) >= getattr(other, f.name) for f in fields(self))


@dataclass(frozen=True, kw_only=True)
class FactorShape:
    """A factor: its kind, and the bits after the point; ``shift`` of ``multiply`` is that of the numerators."""

    kind: FactorKind
    shift: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(FactorKind):
            raise FirstspikeError(f"unknown kind of factor {self.kind!r}")

    def __str__(self) -> str:
        if self.kind in ("keep", "drop"):
            return "1" if self.kind == "keep" else "0"
        kinds = {"shift": "a shift", "decay": "a shift and a difference", "multiply": "a product"}
        return f"{kinds[self.kind]} by {self.shift} bits"

    @classmethod
    def of(cls, factor: Factor, *, spare_bits: int = 0) -> FactorShape:
        """The cheapest one for a factor; with spare bits one for others, too, with so many more after the point."""
        values, one = set(factor.numerator.tolist()), 1 << factor.shift
        value = min(values)
        if len(values) == 1 and value in (0, one):
            return cls(kind="keep" if value else "drop", shift=0)
        if len(values) > 1 or spare_bits:
            return cls(kind="multiply", shift=min(MAX_SHIFT, factor.shift + spare_bits))
        for kind, part in (("shift", value), ("decay", one - value)):
            if not part & (part - 1):
                return cls(kind=kind, shift=factor.shift - part.bit_length() + 1)  # type: ignore[arg-type]
        return cls(kind="multiply", shift=factor.shift)

    @property
    def numerator(self) -> int:
        """Of one that has no table."""
        return {"keep": 1, "drop": 0, "shift": 1, "decay": (1 << self.shift) - 1}[self.kind]


@dataclass(frozen=True, kw_only=True)
class DynamicsShape:
    """The dynamics of the neurons after a layer, as generated.

    Parameters
    ----------
    mode, cap, guard, start, read, gain_shift
        As of :class:`firstspike.network.dynamics.Dynamics`.
    retain, leak
        How the factors are made.
    threshold, reset, drive, gain, retain_table, leak_table
        The tables that there are. Without ``reset`` its default holds; without ``drive`` nothing is added.
    sum_bits, current_bits, drive_bits
        Widths of X, which the membranes' banks hold, of U, and of D.
    """

    mode: Mode
    cap: int
    guard: int
    start: int
    read: Read
    gain_shift: int
    retain: FactorShape
    leak: FactorShape
    threshold: TableShape | None
    reset: TableShape | None
    drive: TableShape | None
    gain: TableShape | None
    retain_table: TableShape | None
    leak_table: TableShape | None
    sum_bits: int
    current_bits: int
    drive_bits: int

    @classmethod
    def of(cls, dynamics: Dynamics, ranges: Ranges, *, spare_bits: int = 0) -> DynamicsShape:
        """The least one that holds the dynamics of a network, with some more bits for its sums and what they become."""
        given = dynamics.least()
        retain, leak = (FactorShape.of(x, spare_bits=spare_bits) for x in (given.retain, given.leak))

        def table(values: IntArray | None, *, signed: bool = True) -> TableShape | None:
            return None if values is None else TableShape.of(values, signed=signed, spare_bits=spare_bits)

        def numerators(factor: Factor, shape: FactorShape) -> TableShape | None:
            if shape.kind != "multiply":
                return None
            made = TableShape.of(factor.numerator[None] << shape.shift - factor.shift, signed=False)
            # Spare bits are room for all that are below 1.
            return replace(made, bits=max(made.bits, shape.shift)) if spare_bits else made

        return cls(
            mode=given.mode,
            cap=given.cap,
            guard=given.guard,
            start=given.start,
            read=given.read,
            gain_shift=given.gain_shift,
            retain=retain,
            leak=leak,
            threshold=table(given.threshold),
            reset=table(given.reset),
            drive=table(given.drive) if given.drive.any() else None,
            gain=table(given.gain, signed=False),
            retain_table=numerators(given.retain, retain),
            leak_table=numerators(given.leak, leak),
            sum_bits=signed_bits(*ranges.sums) + spare_bits,
            current_bits=signed_bits(*ranges.current) + spare_bits,
            drive_bits=signed_bits(*ranges.drive) + spare_bits,
        )

    def check(self, name: str, dynamics: Dynamics, ranges: Ranges) -> None:
        """Refuse what this does not compute exactly.

        Raises
        ------
        FirstspikeError
            naming ``name`` and the first property that differs or does not fit.
        """
        wanted, least = DynamicsShape.of(dynamics, ranges), dynamics.least()
        for f in fields(self):
            mine, its = getattr(self, f.name), getattr(wanted, f.name)
            if f.name.endswith("_bits"):
                fits = mine >= its
            elif f.name in ("retain", "leak"):
                # A multiplier does what a shift does.
                fits = mine == its or (mine.kind == "multiply" and mine.shift >= getattr(least, f.name).shift)
            elif f.name in ("retain_table", "leak_table"):
                part = f.name.removesuffix("_table")
                its = TableShape.of(self.values(dynamics, part), signed=False)
                fits = mine is None or mine.holds(its)
            elif f.name == "reset" and mine is not None and least.repeat:
                its = TableShape.of(least.resets(), signed=True)
                fits = mine.holds(its)
            elif isinstance(its, TableShape):
                fits = mine is not None and mine.holds(its)
            elif its is None:
                fits = mine is None or f.name == "drive"
            else:
                fits = mine == its
            if not fits:
                what = f.name.replace("_table", " numerators").replace("_", " ")
                has, holds = ("none" if x is None else x for x in (its, mine))
                raise FirstspikeError(
                    f"{name}: the network's dynamics have {what} {has}, the hardware {holds}",
                    "generate hardware for this network, or with room for others: [hardware] spare_membrane_bits",
                )

    def values(self, dynamics: Dynamics, name: str) -> IntArray:
        """The values of a table for a network that fits, shape (steps or 1, channels or 1)."""
        least = dynamics.least()
        if name == "reset":
            return least.resets()
        if name in ("retain", "leak"):
            factor, shift = getattr(least, name), getattr(self, name).shift
            return np.asarray(factor.numerator[None] << shift - factor.shift)
        return np.asarray(getattr(least, name))

    def state(self, membrane_bits: int) -> dict[str, int]:
        """Bits of what is kept of a neuron from step to step: V, U if any stays, and the largest V if that is read."""
        parts = {"membrane": membrane_bits}
        if self.retain.kind != "drop":
            parts["current"] = self.current_bits
        if self.read == "largest":
            parts["largest"] = membrane_bits
        return parts

    @property
    def resets(self) -> bool:
        """Whether a spike changes V."""
        return self.threshold is not None and self.mode != "once"

    def table(self, name: str) -> TableShape | None:
        """That of a parameter, if there is one."""
        found: TableShape | None = getattr(self, f"{name}_table" if name in ("retain", "leak") else name)
        return found

    def tables(self) -> Iterator[tuple[MemoryRole, TableShape]]:
        """(parameter, shape) of the tables that there are, in the order of the memories."""
        for name in TABLES:
            if table := self.table(name):
                yield name, table

    def steps(self, name: str, window: int) -> int:
        """Steps of a table: those of the window for thresholds and resets, else those of the population's life."""
        table = self.table(name)
        return (window if name in ("threshold", "reset") else self.start + window) if table and table.by_step else 1

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DynamicsShape:
        """Of the mapping that ``asdict`` makes."""
        parts = dict(value)
        for name in parts:
            kind = FactorShape if name in ("retain", "leak") else TableShape if name in _TABLE_FIELDS else None
            if kind and parts[name]:
                parts[name] = kind(**parts[name])
        return cls(**parts)
