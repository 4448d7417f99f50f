"""Choices before an adder, taken into it: the look-up table of a carry cell, which yosys leaves half unused."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from typing import Any

from firstspike_rtl.boards.output_registers import Cell, readers_of

ADDER, TABLE = "CCU2C", "LUT4"
PINS = "ABCD"
#: Of an adder's half: S = A ^ B ^ carry with C = 0 and D = 1. The next carry is A where A ^ B is 0: this is read from
#: the first four bits, which are also those of C = D = 0.
SUM = 0x96AA
CARRY = SUM & 0xF


def merge(module: Mapping[str, Any]) -> int:
    """Take look-up tables into the adders that alone read them; returns how many were taken.

    One of three inputs fits if two of these can be chosen so that it gives 0 when both are 0: then the first four bits
    of the adder's table are right for both of their uses. One of fewer inputs always fits.

    Parameters
    ----------
    module
        A flat module in yosys's JSON (``ports``, ``cells``), which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    readers = readers_of(module)
    tables = {cell["connections"]["Z"][0]: name for name, cell in cells.items() if cell["type"] == TABLE}
    taken = 0
    for adder in [cell for cell in cells.values() if cell["type"] == ADDER]:
        parameters, connections = adder["parameters"], adder["connections"]
        for half in "01":
            fixed = [connections[pin + half] for pin in "CD"]
            if int(parameters[f"INIT{half}"], 2) != SUM or fixed != [["0"], ["1"]]:
                continue
            for pin, other in ("AB", "BA"):
                bit = connections[pin + half][0]
                table = tables.get(bit)
                if table is None or len(readers[bit]) != 1:
                    continue
                found = _inside(cells[table])
                if found is None:
                    continue
                del cells[table]
                init, inputs = found
                parameters[f"INIT{half}"] = f"{init:016b}"
                sources = [connections[other + half][0], *inputs]
                connections.update({name + half: [source] for name, source in zip(PINS, sources, strict=True)})
                taken += 1
                break
    return taken


def _inside(table: Cell) -> tuple[int, list[Any]] | None:
    """What an adder's half that has taken this in looks up, and its inputs B, C, D; nothing if it does not fit."""
    init, pins = int(table["parameters"]["INIT"], 2), [table["connections"][pin][0] for pin in PINS]
    nets = list(dict.fromkeys(pin for pin in pins if not isinstance(pin, str)))
    if len(nets) > 3:
        return None
    inputs: list[Any] = ["1"] * (3 - len(nets)) + nets
    for order in permutations(inputs):
        values = {}
        for bits in product((0, 1), repeat=3):
            at = {"0": 0, "1": 1, "x": 0} | dict(zip(order, bits, strict=True)) | {"1": 1}
            values[bits] = init >> sum(at[pin] << n for n, pin in enumerate(pins)) & 1
        reached = [bits for bits in values if all(bit for bit, pin in zip(bits, order, strict=True) if pin == "1")]
        if any(values[bits] for bits in reached if bits[1:] == (0, 0)):
            continue
        looked_up = CARRY
        for b, c, d in reached:
            for a in (0, 1):
                looked_up |= (a ^ values[b, c, d] if c or d else 0) << (a | b << 1 | c << 2 | d << 3)
        return looked_up, list(order)
    return None
