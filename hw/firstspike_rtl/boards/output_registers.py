"""Registers behind block memories, taken into the memories: an ECP5's have their own, which yosys leaves unused.

From the clock to the data of a block memory without it takes most of a clock; with it no longer than from a flip-flop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

MEMORY, REGISTER = "DP16KD", "TRELLIS_FF"
OUTPUTS = 18
#: A port of so many bits has its lower half on the pins of A, its upper one on those of B.
WIDE = 36

Cell = dict[str, Any]


def absorb(module: Mapping[str, Any]) -> int:
    """Take registers into the memories of a netlist; returns how many were taken.

    A port takes part if each bit of it that is used goes to one register and nowhere else, and these have the clock of
    the port, no reset, the same enable, and 0 at power-up.

    Parameters
    ----------
    module
        A flat module in yosys's JSON (``ports``, ``cells``), which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    readers = readers_of(module)
    taken = 0
    for cell in [cell for cell in cells.values() if cell["type"] == MEMORY]:
        for ports, pins in _ports(cell):
            registers = {
                pin: readers[bit] for pin in pins for bit in cell["connections"].get(pin, ()) if readers.get(bit)
            }
            found = _together(cells, cell, ports[-1], registers)
            if found is None:
                continue
            enable = found
            for pin, ((name, _),) in registers.items():
                cell["connections"][pin] = cells.pop(name)["connections"]["Q"]
            for port in ports:
                cell["parameters"][f"REGMODE_{port}"] = "OUTREG"
                cell["connections"][f"OCE{port}"] = [enable]
            taken += len(registers)
    return taken


def readers_of(module: Mapping[str, Any]) -> dict[Any, list[tuple[str, str]]]:
    """Of each bit of a netlist the cells and pins that read it; a port of the module is a pin of the cell ""."""
    readers: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                for bit in bits:
                    readers[bit].append((name, pin))
    for name, port in module["ports"].items():
        for bit in port["bits"]:
            readers[bit].append(("", name))
    return readers


def _ports(cell: Cell) -> Iterator[tuple[str, list[str]]]:
    """Ports that read, and their pins; the last letter is that of the port whose clock counts."""
    pins = {port: [f"DO{port}{n}" for n in range(OUTPUTS)] for port in "AB"}
    if int(cell["parameters"]["DATA_WIDTH_B"], 2) == WIDE:
        yield "AB", pins["A"] + pins["B"]
    else:
        yield from pins.items()


def _together(
    cells: Mapping[str, Cell], memory: Cell, port: str, registers: Mapping[str, list[tuple[str, str]]]
) -> Any | None:
    """The enable that all the registers have, "1" if they have none; nothing if the port cannot take them."""
    enables = set()
    for users in registers.values():
        if len(users) != 1 or users[0][1] != "DI" or cells[users[0][0]]["type"] != REGISTER:
            return None
        register = cells[users[0][0]]
        parameters, pins = register["parameters"], register["connections"]
        if pins["CLK"] != memory["connections"][f"CLK{port}"] or parameters["CLKMUX"] != "CLK":
            return None
        if pins.get("LSR", ["0"]) != ["0"] or parameters["REGSET"] != "RESET":
            return None
        match parameters["CEMUX"].strip():
            case "1":
                enables.add("1")
            case "CE":
                enables.add(pins["CE"][0])
            case _:
                return None
    return enables.pop() if len(enables) == 1 else None
