"""Small hardware for tests of single components, and the words of its memories, packed the obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.contract.memory import Memory
from firstspike_rtl.core.tables import Contents

WIDTHS = {"input_codes": 4, "weight_bits": 4, "kernel_bits": 4, "membrane_bits": 12, "fires": True}


def layer(*, inputs: int = 3, outputs: int = 4, **changes: Any) -> LayerShape:
    """A dense layer, on 2 lanes or less."""
    shape = {"kind": "dense", "input_shape": (inputs,), "channels": outputs, "lanes": min(2, outputs), **WIDTHS}
    return LayerShape(**(shape | changes))


def convolution(**changes: Any) -> LayerShape:
    """A convolution of 3 channels over a map of 2 x 5 x 6, with a pooling that leaves the last column out."""
    shape: dict[str, Any] = {
        "kind": "conv2d", "input_shape": (2, 5, 6), "channels": 3, "kernel": (2, 2), "pool": 2, "lanes": 2, **WIDTHS,
    }  # fmt: skip
    return LayerShape(**(shape | changes))


def followed(
    first: LayerShape, *, steps: int = 4, fires: bool = False, by_map: bool = False, **changes: Any
) -> Hardware:
    """A core of this layer and an output layer; between them, if asked for, a convolution, which fires."""
    middle = [convolution(input_shape=first.output_map, kernel=(1, 1), pool=1, input_codes=steps)] if by_map else []
    last = layer(inputs=(first, *middle)[-1].outputs, fires=fires, input_codes=steps)
    return hardware(first, *middle, last, steps=steps, **changes)


def hardware(*layers: LayerShape, steps: int = 4, **changes: Any) -> Hardware:
    """A core of these layers; S = T unless given."""
    values: dict[str, Any] = {"fire_start": steps, "readout": "membrane", "simultaneous": False}
    if layers[-1].fires:
        values["readout"] = "first_spike"
    return Hardware(steps=steps, layers=layers, **(values | changes))


@st.composite
def shapes(draw: st.DrawFn, **changes: Any) -> LayerShape:
    """A dense layer, or a convolution whose stride, padding and pooling may leave inputs and membranes out."""
    channels = draw(st.integers(1, 7))
    lanes = draw(st.integers(1, channels))
    sizes = {"channels": channels, "lanes": lanes, "fire_lanes": draw(st.integers(1, lanes))}
    if draw(st.integers(0, 3)) == 0:
        return layer(inputs=draw(st.integers(1, 9)), **(sizes | changes))
    rows, columns = draw(st.sampled_from(range(1, 8))), draw(st.sampled_from(range(1, 8)))
    padding, stride = draw(st.integers(0, 2)), draw(st.sampled_from([1, 2, 3, 4]))
    kernel = [min(draw(st.sampled_from([1, 2, 3, 4, 5])), n + 2 * padding) for n in (rows, columns)]
    grid = [(n + 2 * padding - k) // stride + 1 for n, k in zip((rows, columns), kernel, strict=True)]
    geometry = {
        "input_shape": (draw(st.integers(1, 3)), rows, columns), "kernel": kernel, "stride": stride,
        "padding": padding, "pool": draw(st.integers(1, min(3, *grid))),
    }  # fmt: skip
    return convolution(**(geometry | sizes | changes))


def synapses(shape: LayerShape) -> list[list[tuple[int, int]]]:
    """For each input neuron its (row of weights, row of membranes) pairs, by the definition of a convolution."""
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(shape.inputs)]
    if shape.kind == "dense":
        return [[(g * shape.inputs + n, g) for g in range(shape.groups)] for n in range(shape.inputs)]
    channels, rows, columns = shape.input_shape
    grid = [
        ((n + 2 * shape.padding - k) // shape.stride + 1) // shape.pool * shape.pool
        for n, k in zip((rows, columns), shape.kernel, strict=True)
    ]
    for g in range(shape.groups):
        for r in range(grid[0]):
            for q in range(grid[1]):
                for c in range(channels):
                    for i in range(shape.kernel[0]):
                        for j in range(shape.kernel[1]):
                            y, x = r * shape.stride + i - shape.padding, q * shape.stride + j - shape.padding
                            if 0 <= y < rows and 0 <= x < columns:
                                weight = ((g * channels + c) * shape.kernel[0] + i) * shape.kernel[1] + j
                                row = (g * grid[0] + r) * grid[1] + q
                                pairs[(c * rows + y) * columns + x].append((weight, row))
    return pairs


def pack(memory: Memory, rows: Sequence[Sequence[int]]) -> list[int]:
    """Rows of numbers as the memory holds them: number 0 in the lowest bits, two's complement."""
    mask = (1 << memory.field_bits) - 1
    return [sum((value & mask) << (n * memory.field_bits) for n, value in enumerate(row)) for row in rows]


def contents(core: Hardware, **rows: Sequence[Sequence[int]]) -> Contents:
    """Contents of every memory: the rows given by name, zeros for the rest."""
    return {m.name: pack(m, rows[m.name]) if m.name in rows else [0] * m.depth for m in core.memories}


def some_core(**changes) -> Hardware:
    """A hidden and an output layer."""
    first = layer(inputs=9, outputs=5, lanes=4, membrane_bits=20)
    return hardware(first, layer(inputs=5, outputs=3, fires=False), readout="membrane", **changes)
