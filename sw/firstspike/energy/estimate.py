"""An estimate of energy from counted operations, with energies an operation that were published. No measurement.

The figures are of an ASIC in 45 nm, so the estimate is not the power of an FPGA; static power, clock tree, registers
and wires are left out. It is for comparing designs whose operations were counted by the same rules. ``docs/energy.md``
has the sources and how sure each is. The energy of T2FSNN's table, relative to rate coding, is in ``energy.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, get_args

from firstspike.console import three_digits
from firstspike.contract.hardware import Hardware
from firstspike.energy.operations import Access, Arithmetic, Counters, Operations, Part, ann, count

PICO_PER_NANO = 1000
#: The one sentence that goes with every number.
LABEL = (
    "estimate from counted operations and published energies of a 45 nm ASIC (Horowitz, ISSCC 2014); not measured, "
    "not of an FPGA; without static power, clock tree, registers and wires"
)

#: What the core is held against, and what it is called.
NAMES = {"core": "core", "dense_ann": "dense 8-bit ANN", "skipping_ann": "ANN that skips zeros"}

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Energies:
    """Energies of operations, as points between and beyond which lines are drawn.

    Parameters
    ----------
    add
        (bits, pJ) of an integer addition: a line over the bits.
    multiply
        (bits * bits, pJ) of an integer multiplication: a line over the product of the widths.
    sram
        (bytes, pJ) of an access of ``sram_bits`` to a memory of so many bytes: a line over the logarithms of both.
    sram_bits
        Bits of such an access; others cost in proportion.

    """

    add: Points
    multiply: Points
    sram: Points
    sram_bits: int

    def arithmetic(self, work: Arithmetic) -> float:
        """Picojoules of all of it. A comparison costs as a subtraction, and a shift as much: as an addition."""
        if work.kind == "multiply":
            return work.count * _line(self.multiply, math.prod(work.bits))
        return work.count * _line(self.add, sum(work.bits))

    def access(self, work: Access, *, least_bytes: float = 0) -> float:
        """Picojoules of all of it; a write costs as a read, and no access less than in a memory of ``least_bytes``."""
        size = max(work.capacity_bits / 8, least_bytes)
        points = tuple((math.log(x), math.log(y)) for x, y in self.sram)
        return work.bits / self.sram_bits * math.exp(_line(points, math.log(size)))


#: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014: 45 nm, 0.9 V.
HOROWITZ = Energies(
    add=((8, 0.03), (32, 0.1)),
    multiply=((8 * 8, 0.2), (32 * 32, 3.1)),
    sram=((8 << 10, 10.0), (32 << 10, 20.0), (1 << 20, 100.0)),
    sram_bits=64,
)


def _line(points: Points, x: float) -> float:
    """Through the points, straight; beyond the outer ones the outer pieces go on."""
    pieces = list(pairwise(points))
    (x0, y0), (x1, y1) = next((piece for piece in pieces if x <= piece[1][0]), pieces[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Nanojoules an image, by part; estimated, see :data:`LABEL`.

    Parameters
    ----------
    parts
        With memories below the smallest published one drawn on: the low estimate.
    high_parts
        With no access cheaper than in the smallest published memory: the high estimate.

    """

    parts: dict[Part, float]
    high_parts: dict[Part, float]

    @property
    def total(self) -> float:
        """The low estimate."""
        return sum(self.parts.values())

    @property
    def high_total(self) -> float:
        """The high estimate."""
        return sum(self.high_parts.values())


def estimate(operations: Operations, energies: Energies = HOROWITZ) -> Estimate:
    """The estimated energy of an image, a mean over the images that were counted."""

    def parts(least_bytes: float) -> dict[Part, float]:
        energy = dict.fromkeys(get_args(Part), 0.0)
        for work in operations.arithmetic:
            energy[work.part] += energies.arithmetic(work)
        for access in operations.accesses:
            energy[access.part] += energies.access(access, least_bytes=least_bytes)
        return {part: value / PICO_PER_NANO / operations.images for part, value in energy.items() if value}

    return Estimate(parts=parts(0), high_parts=parts(energies.sram[0][0]))


def summary(hardware: Hardware, counters: Counters) -> dict[str, Any]:
    """The core beside an 8-bit ANN of its shape, as JSON values.

    ``nanojoules`` has for the core, an ANN that does every MAC, and one that skips as many zeros as the core had silent
    neurons, the estimated energy of an image: ``low`` and ``high`` in all, and by part. ``operations`` has the core's
    counts, in all.

    Raises
    ------
    FirstspikeError
        if the counters are not those of whole, well-formed images in this hardware.

    """
    core = count(hardware, counters)
    rivals = {"core": core, "dense_ann": ann(hardware), "skipping_ann": ann(hardware, counters)}
    return {
        "label": LABEL,
        "images": counters.images,
        "nanojoules": {
            name: {"low": e.total, "high": e.high_total, "low_parts": e.parts, "high_parts": e.high_parts}
            for name, e in ((name, estimate(operations)) for name, operations in rivals.items())
        },
        "spikes": list(counters.spikes),
        "operations": asdict(core),
    }


def describe(outcome: Mapping[str, Any]) -> str:
    """One line of a :func:`summary`."""
    totals = ((title, outcome["nanojoules"][name]) for name, title in NAMES.items())
    return (
        "   ".join(f"{title} {three_digits(e['low'])}..{three_digits(e['high'])}" for title, e in totals)
        + " nJ an image (estimate, 45 nm ASIC; not measured)"
    )
