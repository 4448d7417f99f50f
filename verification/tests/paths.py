"""Paths from inputs to outputs of a core that pass no register, in its flat netlist of single-bit gates."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from firstspike_rtl.boards.tools import YOSYS
from firstspike_rtl.top.pins import NAME

#: Down to gates, so that bits that merely lie side by side do not count as one; memories stay whole. No optimisation
#: that could make a path vanish here and not in another tool's hands, but for constants.
SCRIPT = (
    f"read_verilog {NAME}.v; hierarchy -top {NAME}; proc; flatten; opt_expr; opt_clean; memory_dff; memory_collect; "
    f"techmap; opt_expr; opt_clean; write_json flat.json"
)
GATES = {f"$_{name}_" for name in ("AND", "OR", "XOR", "NOT", "MUX", "NAND", "NOR", "XNOR", "ANDNOT", "ORNOT", "BUF")}
REGISTER = re.compile(r"\$_(S|A)?DFFE?_[PN01]+_")

Bit = int | str


def flat_netlist(rtl: Path, folder: Path) -> dict[str, Any]:
    """The top module of a generated core, flattened to gates, as in yosys's JSON."""
    for path in (*rtl.glob("*.mem"), rtl / f"{NAME}.v"):
        shutil.copy(path, folder)
    YOSYS(folder, "-q", "-p", SCRIPT)
    module: dict[str, Any] = json.loads((folder / "flat.json").read_text())["modules"][NAME]
    return module


def combinational(name: str, cell: Mapping[str, Any]) -> Iterator[tuple[Bit, Bit]]:
    """Pairs of nets of which the second depends on the first within a clock, through one cell.

    Raises
    ------
    ValueError
        if the cell is of a kind that is not known here.
    """
    kind, pins = cell["type"], cell["connections"]
    if kind in GATES:
        for pin, bits in pins.items():
            if pin != "Y":
                yield bits[0], pins["Y"][0]
    elif kind == "$mem_v2":
        ports = int(cell["parameters"]["RD_PORTS"], 2)
        clocked = cell["parameters"]["RD_CLK_ENABLE"][::-1]
        address_bits, data_bits = (len(pins[pin]) // max(1, ports) for pin in ("RD_ADDR", "RD_DATA"))
        for port in range(ports):
            if clocked[port] == "0":
                for address in pins["RD_ADDR"][port * address_bits : (port + 1) * address_bits]:
                    for data in pins["RD_DATA"][port * data_bits : (port + 1) * data_bits]:
                        yield address, data
    elif not REGISTER.fullmatch(kind) and kind != "$scopeinfo":
        raise ValueError(f"cell {name} is a {kind}")


def find(module: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """For each pair of an input and an output port that a path joins: its nets, and the cells between."""
    after: dict[Bit, list[tuple[Bit, str]]] = defaultdict(list)
    for name, cell in module["cells"].items():
        for begin, end in combinational(name, cell):
            after[begin].append((end, cell["type"]))
    names: dict[Bit, str] = {}
    ports = module["ports"]
    for name, net in sorted(module["netnames"].items(), key=lambda net: (net[0] not in ports, _rank(net[0]))):
        for n, bit in enumerate(net["bits"]):
            names.setdefault(bit, f"{name}[{n}]" if len(net["bits"]) > 1 else name)
    outputs: dict[Bit, list[str]] = defaultdict(list)
    for port, x in ports.items():
        if x["direction"] == "output":
            for bit in x["bits"]:
                outputs[bit].append(port)
    found: dict[tuple[str, str], str] = {}
    for port, x in ports.items():
        if x["direction"] == "input":
            reached: dict[Bit, str] = {bit: names[bit] for bit in x["bits"]}
            edge = list(reached)
            while edge:
                for bit in edge:
                    for output in outputs.get(bit, ()):
                        found.setdefault((port, output), reached[bit])
                following = {}
                for bit in edge:
                    for end, kind in after[bit]:
                        if end not in reached and end not in following:
                            following[end] = f"{reached[bit]} -{kind.strip('$_')}-> {names[end]}"
                reached |= following
                edge = list(following)
    return found


def _rank(name: str) -> tuple[bool, int, str]:
    """Names that somebody gave before those that yosys made; short ones first."""
    return "$" in name, len(name), name
