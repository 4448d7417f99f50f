"""What to do about a design that a board does not take: too large for its device, or too slow for its clock."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards import boards
from firstspike_rtl.boards.order import Order, Plan, plan
from firstspike_rtl.boards.plls import MEGA
from firstspike_rtl.boards.tools import ToolError, exceeded, utilisation

#: Part of the router's clock that is recommended: with another clock it takes another way.
MARGIN = 0.95
#: Weights of fewer bits are no use.
LEAST_WEIGHT_BITS = 2


def too_slow(order: Order, planned: Plan, fmax: float) -> FirstspikeError:
    """The error that says which clock is reached, of ``fmax`` MHz, and which to ask for."""
    what = f"the clock of {planned.clock_hz / MEGA:g} MHz is not reached: the router gets {fmax:.2f} MHz"
    try:
        slower = boards.find(order.board).clock(MARGIN * fmax).output_hz
    except FirstspikeError:
        return FirstspikeError(what, "use fewer lanes (--lanes), or more placements (--seeds)")
    hint = f"use --clock {int(slower * 1000) // MEGA / 1000:g}, or try more placements (--seeds)"
    return FirstspikeError(what, hint)


def no_fit(
    order: Order, log: str, fewer_lanes: Callable[[int], Hardware] | None, progress: Callable[[str], None]
) -> FirstspikeError:
    """The error that says what is short and, after trying, what would fit.

    Parameters
    ----------
    log
        Of the router that failed.
    fewer_lanes
        Hardware for the same network with at most so many lanes; None if there is no choice.
    progress
        Called with what is tried.
    """
    names = {kind: name for name, kind in order.family.cells.items()}
    counts = ", ".join(f"{n} {names.get(kind, kind)} of {there}" for kind, (n, there) in exceeded(log).items())
    what = f"the design does not fit {order.board}: {counts}"
    for hint, hardware in _smaller(order, log, fewer_lanes):
        progress(f"it does not fit; trying {hint}")
        if not shortage(replace(order, hardware=hardware)):
            return FirstspikeError(what, f"{hint} fits")
    return FirstspikeError(what, "use a larger board or a smaller network: fewer lanes or weight bits do not help")


def shortage(order: Order) -> dict[str, tuple[int, int]]:
    """Kinds of cells of which the device has too few, with (used, available): by synthesis and packing alone.

    Raises
    ------
    FirstspikeError
        if a tool is missing or fails.
    """
    planned = plan(order)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        planned.synthesise(scratch)
        try:
            log = order.family.place(scratch, *planned.arguments, "--pack-only")
        except ToolError as error:
            # What is packed alone cannot be written: the counts are there before the router finds that out.
            if not utilisation(error.log):
                raise
            log = error.log
    return exceeded(log)


def _smaller(order: Order, log: str, fewer_lanes: Callable[[int], Hardware] | None) -> Iterator[tuple[str, Hardware]]:
    """What may fit: fewer lanes, most of them first; where weights alone fill the memory, fewer bits of a weight."""
    hardware, memory = order.hardware, order.family.cells["block RAMs"]
    _, blocks = utilisation(log)[memory]
    weights = sum(x.groups * x.lanes * x.taps for x in hardware.layers)
    bits = max(layer.weight_bits for layer in hardware.layers)

    def room(bits: int) -> bool:
        return weights * bits <= blocks * order.family.block_bits

    base, option = hardware, ""
    if fewer_lanes is not None and (room(bits) or set(exceeded(log)) != {memory}):
        most = max(layer.lanes for layer in hardware.layers)
        for lanes in (most >> n for n in range(1, most.bit_length())):
            base, option = fewer_lanes(lanes), f"--lanes {lanes}"
            if room(bits):
                yield option, base
    for fewer in range(bits - 1, LEAST_WEIGHT_BITS - 1, -1):
        if memory in exceeded(log) and room(fewer):
            layers = tuple(replace(x, weight_bits=min(x.weight_bits, fewer)) for x in base.layers)
            with_lanes = f" with {option}" if option else ""
            yield f"weight_bits = {fewer} in [train]{with_lanes}", replace(base, layers=layers)
