"""Small hardware for tests of single components, and the words of its memories, packed the obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firstspike.hardware import Hardware, LayerShape, Memory
from firstspike_rtl.tables import Contents


def layer(**changes: Any) -> LayerShape:
    """A layer of 3 inputs and 4 outputs on 2 lanes."""
    shape: dict[str, Any] = {
        "inputs": 3, "outputs": 4, "lanes": 2, "input_codes": 4, "weight_bits": 4, "kernel_bits": 4,
        "membrane_bits": 12, "fires": True,
    }  # fmt: skip
    return LayerShape(**(shape | changes))


def hardware(*layers: LayerShape, steps: int = 4, **changes: Any) -> Hardware:
    """A core of these layers; S = T unless given."""
    values: dict[str, Any] = {"fire_start": steps, "readout": "membrane", "simultaneous": False}
    if layers[-1].fires:
        values["readout"] = "first_spike"
    return Hardware(steps=steps, layers=layers, **(values | changes))


def pack(memory: Memory, rows: Sequence[Sequence[int]]) -> list[int]:
    """Rows of numbers as the memory holds them: number 0 in the lowest bits, two's complement."""
    mask = (1 << memory.field_bits) - 1
    return [sum((value & mask) << (n * memory.field_bits) for n, value in enumerate(row)) for row in rows]


def contents(core: Hardware, **rows: Sequence[Sequence[int]]) -> Contents:
    """Contents of every memory: the rows given by name, zeros for the rest."""
    return {m.name: pack(m, rows[m.name]) if m.name in rows else [0] * m.depth for m in core.memories}
