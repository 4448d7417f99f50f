"""What an adder takes in: every table of three inputs, by what the cells are defined to do; and what stays."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest

from firstspike_rtl.boards.carry_inputs import PINS, SUM, merge

X, Y, Z, OTHER, CHOSEN, RESULT = range(2, 8)


def directions(inputs: str, output: str) -> dict[str, str]:
    return dict.fromkeys(inputs.split(), "input") | {output: "output"}


def design(init: int, pins: list[Any], *, operand: str = "A") -> dict[str, Any]:
    """An adder whose first half adds what a table gives; its second one adds two other bits."""
    table = {
        "type": "LUT4",
        "parameters": {"INIT": f"{init:016b}"},
        "port_directions": directions("A B C D", "Z"),
        "connections": {pin: [bit] for pin, bit in zip(PINS, pins, strict=True)} | {"Z": [CHOSEN]},
    }
    sources = {"A0": CHOSEN, "B0": OTHER} if operand == "A" else {"A0": OTHER, "B0": CHOSEN}
    sources |= {"A1": X, "B1": OTHER, "C0": "0", "C1": "0", "D0": "1", "D1": "1"}
    adder = {
        "type": "CCU2C",
        "parameters": {"INIT0": f"{SUM:016b}", "INIT1": f"{SUM:016b}"},
        "port_directions": directions("A0 A1 B0 B1 C0 C1 D0 D1", "S0"),
        "connections": {pin: [bit] for pin, bit in sources.items()} | {"S0": [RESULT]},
    }
    return {"ports": {"o": {"bits": [RESULT]}}, "cells": {"table": table, "adder": adder}}


def looked_up(cell: dict[str, Any], init: str, half: str, values: dict[Any, int]) -> tuple[int, int]:
    """What the whole table gives, and the first four bits for its inputs A and B."""
    number = int(cell["parameters"][init], 2)
    a, b, c, d = (values[cell["connections"][pin + half][0]] for pin in PINS)
    return number >> (a | b << 1 | c << 2 | d << 3) & 1, number >> (a | b << 1) & 1


def outputs(module: dict[str, Any]) -> list[tuple[int, int]]:
    """Sum and carry for every value of the inputs, with the carry that comes in."""
    cells, found = module["cells"], []
    for x, y, z, other, carry in product((0, 1), repeat=5):
        values = {"0": 0, "1": 1, X: x, Y: y, Z: z, OTHER: other}
        if "table" in cells:
            values[CHOSEN] = looked_up(cells["table"], "INIT", "", values)[0]
        passes, makes = looked_up(cells["adder"], "INIT0", "0", values)
        found.append((passes ^ carry, carry if passes else makes))
    return found


@pytest.mark.smoke
def test_the_adder_is_what_it_is_said_to_be() -> None:
    module = design(0b10, [X, "0", "0", "0"])  # the table gives X
    for (x, _, _, other, carry), (total, out) in zip(product((0, 1), repeat=5), outputs(module), strict=True):
        assert total + 2 * out == x + other + carry


@pytest.mark.smoke
@pytest.mark.parametrize("operand", "AB")
@pytest.mark.parametrize(
    "pins", [[X, Y, Z, "0"], [X, "1", Y, Z], [X, Y, X, Z], [Y, "1", X, "0"], ["0", "0", "1", X]], ids=str
)
def test_same_sum_and_carry(pins: list[Any], operand: str) -> None:
    """One of three inputs is taken if two of them can keep it at 0; one of fewer always."""
    taken = 0
    for function in range(256):
        init = sum((function * 2654435761 >> (n % 8 + n // 8)) % 2 << n for n in range(16))
        module = design(init, pins, operand=operand)
        before, ports = outputs(module), copy.deepcopy(module["ports"])
        merged = merge(module)
        assert outputs(module) == before
        assert merged == ("table" not in module["cells"])
        assert module["ports"] == ports
        taken += merged
    assert taken == 256 if len({*pins} - {"0", "1"}) < 3 else 40 < taken < 256


def test_what_stays() -> None:
    """Tables of four inputs, or that others read; adders that subtract, or have something already."""
    for change in ("four", "port", "reader", "subtracts", "has"):
        module = design(0b11001010 * 0x101, [X, Y, Z, "0"])
        assert merge(copy.deepcopy(module)) == 1
        adder = module["cells"]["adder"]
        if change == "four":
            module["cells"]["table"]["connections"]["D"] = [OTHER]
        elif change == "port":
            module["ports"]["o"]["bits"].append(CHOSEN)
        elif change == "reader":
            adder["connections"]["B1"] = [CHOSEN]
        elif change == "subtracts":
            adder["connections"]["C0"] = ["1"]
        else:
            adder["parameters"]["INIT0"] = f"{0x665A:016b}"
        before = copy.deepcopy(module)
        assert merge(module) == 0
        assert module == before
