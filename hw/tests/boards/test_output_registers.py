"""Registers behind block memories: which become the memory's own, and which must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firstspike_rtl.boards.output_registers import absorb

CLOCK, OTHER_CLOCK, RESET, ENABLE, OTHER_ENABLE = range(2, 7)
READ, HELD = 10, 20  # first bits of what is read, and of what the registers hold
WIDTH = 3


def register(number: int) -> dict[str, Any]:
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "REGSET": "RESET", "SRMODE": "LSR_OVER_CE"},
        "port_directions": {"CLK": "input", "DI": "input", "LSR": "input", "CE": "input", "Q": "output"},
        "connections": {"CLK": [CLOCK], "DI": [READ + number], "Q": [HELD + number]},
    }


def design(width: int = 9) -> dict[str, Any]:
    """A memory that is read by port B, and a register for each bit."""
    pins = {f"DOB{n}": [READ + n] for n in range(WIDTH)} | {"DOB17": [99]}  # one that nobody reads
    if width == 36:
        pins = {"DOA0": [READ], "DOB0": [READ + 1], "DOB17": [READ + 2]}
    memory = {
        "type": "DP16KD",
        "parameters": {"DATA_WIDTH_B": f"{width:032b}", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
        "port_directions": {"CLKA": "input", "CLKB": "input", "OCEA": "input", "OCEB": "input"}
        | dict.fromkeys(pins, "output"),
        "connections": {"CLKA": [CLOCK], "CLKB": [CLOCK], "OCEA": ["1"], "OCEB": ["1"]} | pins,
    }
    cells = {"memory": memory} | {f"register{n}": register(n) for n in range(WIDTH)}
    return {"ports": {"q": {"bits": [HELD + n for n in range(WIDTH)]}}, "cells": cells}


@pytest.mark.smoke
@pytest.mark.parametrize("width", [9, 36])
@pytest.mark.parametrize("enabled", [False, True])
def test_registers_become_the_memorys(width: int, enabled: bool) -> None:
    module = design(width)
    for n in range(WIDTH if enabled else 0):
        module["cells"][f"register{n}"]["parameters"]["CEMUX"] = "CE"
        module["cells"][f"register{n}"]["connections"]["CE"] = [ENABLE]
    assert absorb(module) == WIDTH
    assert list(module["cells"]) == ["memory"]
    memory = module["cells"]["memory"]
    read = ["DOA0", "DOB0", "DOB17"] if width == 36 else [f"DOB{n}" for n in range(WIDTH)]
    assert [memory["connections"][pin] for pin in read] == [[HELD + n] for n in range(WIDTH)]
    modes = {port: memory["parameters"][f"REGMODE_{port}"] for port in "AB"}
    assert modes == {"A": "OUTREG" if width == 36 else "NOREG", "B": "OUTREG"}
    assert memory["connections"]["OCEB"] == [ENABLE if enabled else "1"]


def pins(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda module: module["cells"]["register1"]["connections"].update(changes)


def parameters(**changes: str) -> Callable[[dict[str, Any]], None]:
    return lambda module: module["cells"]["register1"]["parameters"].update(changes)


def another(kind: str, pin: str, bit: int) -> Callable[[dict[str, Any]], None]:
    cell = {"type": kind, "port_directions": {pin: "input"}, "connections": {pin: [bit]}}
    return lambda module: module["cells"].update(another=cell)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(pins(CLK=[OTHER_CLOCK]), id="another_clock"),
        pytest.param(parameters(CLKMUX="INV"), id="the_other_edge"),
        pytest.param(pins(LSR=[RESET]), id="a_reset"),
        pytest.param(parameters(REGSET="SET"), id="one_at_power_up"),
        pytest.param(lambda m: [f(m) for f in (parameters(CEMUX="CE"), pins(CE=[ENABLE]))], id="one_enable_more"),
        pytest.param(lambda m: [f(m) for f in (parameters(CEMUX="INV"), pins(CE=[ENABLE]))], id="enabled_by_zero"),
        pytest.param(lambda m: [f(m) for f in (pins(M=[READ + 1], DI=[1]),)], id="by_another_input"),
        pytest.param(another("LUT4", "A", READ + 1), id="a_reader_more"),
        pytest.param(lambda m: m["ports"].update(raw={"bits": [READ + 1]}), id="a_port_that_reads"),
        pytest.param(lambda m: m["cells"]["register1"].update(type="LUT4"), id="no_register"),
    ],
)
def test_others_stay(change: Callable[[dict[str, Any]], None]) -> None:
    """One bit that does not fit keeps the registers of the whole port."""
    module = design()
    module["cells"]["register1"]["port_directions"]["M"] = "input"
    change(module)
    names = list(module["cells"])
    assert absorb(module) == 0
    assert list(module["cells"]) == names
    assert module["cells"]["memory"]["parameters"]["REGMODE_B"] == "NOREG"
