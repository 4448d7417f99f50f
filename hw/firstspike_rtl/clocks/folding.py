"""Lanes for each layer from a target, and what a choice costs: clocks an image and blocks of memory of an ECP5.

A layer of ``groups = ceil(channels / lanes)`` adds for ``work * groups`` clocks an image, where ``work`` counts the
places that its spikes reach. Layers work at once, on images in a row, so the slowest one sets the pace, and lanes that
make another faster are wasted. A folding is balanced if a step fewer lanes in any layer would make that the slowest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike.contract.memory import Memory, MemoryRole
from firstspike.errors import FirstspikeError
from firstspike.network.golden import Result
from firstspike.network.model import Network
from firstspike_rtl.clocks.cycles import floor, predict
from firstspike_rtl.core.stepper import gap, state_layout
from firstspike_rtl.core.tables import BLOCK_ROLES, copies

#: Images whose clocks are predicted one by one; a mean over them is within a few per cent of that over all.
PREDICTED = 100
#: Testing a layer takes a quarter of the clocks or less: the next layer adds meanwhile, and waits where none fires.
TEST_PART = 4

#: Shapes (rows, bits) that a block of an ECP5 (DP16KD) can have.
BLOCK_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
#: Shape of a memory in look-up tables (DPR16X4).
LUT_SHAPE = (16, 4)
#: What memory_libmap of yosys counts for a block, a memory in look-up tables, and an emulated feature of a port.
BLOCK_COST, LUT_COST, EMULATION_COST = 128, 4, 2
BYTE = 9  # bits of a block that one write enable serves


@dataclass(frozen=True, kw_only=True)
class Ram:
    """A memory with one write port and clocked read ports, as synthesis sees it.

    Parameters
    ----------
    depth
        Rows.
    bits
        Of a row; it is written as a whole.
    transparent
        A row that is read while it is written is read as written; else as it was before.
    unchecked
        No row is read while it is written: nobody cares what is read then.
    forced
        It must be in blocks.

    """

    depth: int
    bits: int
    transparent: bool = False
    unchecked: bool = False
    forced: bool = False


def rams(hardware: Hardware, layer: int | None) -> list[Ram]:
    """Memories of a layer, or with None of the input stage, that synthesis may put into blocks.

    All others are read without a clock, which a block cannot do, or too small for one.
    """
    if layer is None:
        found = []
        if hardware.input == "pixels":
            encoder = hardware.memory("encoder")
            found += [table_ram(encoder)] * len(copies(encoder))  # each is read by both ports of its block
        if hardware.sorts:
            bits = hardware.index_bits(0)
            found.append(Ram(depth=1 << bits, bits=bits))
        return found
    shape = hardware.layers[layer]
    roles: list[MemoryRole] = ["weight", "bias", "kernel"]
    if shape.dynamics:
        roles += [role for role, _ in shape.dynamics.tables()]
    found = [table_ram(hardware.memory(role, layer)) for role in roles]
    if shape.dynamics:
        found.append(Ram(depth=max(2, shape.pass_clocks), bits=state_layout(shape).size, unchecked=True))
    if not shape.shallow:
        bank = Ram(depth=shape.membrane_rows, bits=shape.lanes * shape.bank_bits + 1, transparent=True)
        found += [bank, bank]
    return found


def table_ram(memory: Memory) -> Ram:
    """The RAM that :func:`firstspike_rtl.core.tables.add_table` makes."""
    return Ram(
        depth=max(2, memory.depth), bits=memory.row_bits, unchecked=True,
        forced=memory.role in BLOCK_ROLES,
    )  # fmt: skip


def blocks(ram: Ram) -> int:
    """Blocks of an ECP5 that ``synth_ecp5`` of yosys takes for a memory; 0 if it prefers look-up tables."""
    in_blocks = 0 if ram.unchecked else 4 + (0 if ram.transparent else 3)
    in_tables = 0 if ram.unchecked else (4 if ram.transparent else 1)
    options = [_cost(ram, shape, BLOCK_COST, in_blocks) for shape in BLOCK_SHAPES]
    cost, count = min(options, key=lambda option: option[0])
    if ram.forced:
        return count
    in_luts, _ = _cost(ram, LUT_SHAPE, LUT_COST, in_tables)
    in_registers = ram.depth * ram.bits
    return count if cost < min(int(in_luts), in_registers) else 0


def _cost(ram: Ram, shape: tuple[int, int], price: int, emulated: int) -> tuple[float, int]:
    """What a memory of cells of this shape costs, and how many there are."""
    rows, bits = shape
    byte = min(BYTE, bits)
    ranges = -(-ram.depth // rows)
    padded = -(-ram.bits // byte) * byte
    cells = -(-ranges * padded // bits)
    selection = (ranges - 1) * ram.bits + (ranges if ranges > 1 else 0)
    return price * cells + selection / 2 + EMULATION_COST * emulated, cells


def work(hardware: Hardware, result: Result) -> NDArray[np.float64]:
    """Places that spikes reach in each layer, a mean over the images, shape (layers,): clocks if lanes = channels."""
    mean: NDArray[np.float64] = floor(hardware, result).mean(axis=0)
    return mean / [layer.groups for layer in hardware.layers]


def interval(hardware: Hardware, result: Result) -> float:
    """Clocks from one result to the next, predicted: a mean over the first :data:`PREDICTED` images, at least two."""
    return float(predict(hardware, result[:PREDICTED]).intervals.mean())


def fold(
    network: Network, result: Result, *, clocks: int | None = None, blocks: int | None = None, **settings: Any
) -> Hardware:
    """The balanced hardware that reaches a target.

    Parameters
    ----------
    network
        To be computed.
    result
        Of the golden model on two or more typical images: their spikes are the work.
    clocks
        An image, in the mean: the fewest lanes for which :func:`interval` is not above.
    blocks
        Of memory, in the whole core: the fastest folding that takes no more.
    settings
        Of :meth:`Hardware.for_network`, but for ``lanes`` and ``test_clocks``.

    Raises
    ------
    FirstspikeError
        if no folding reaches the target, with what is reachable.
    ValueError
        if not exactly one target is given.

    """
    if (clocks is None) == (blocks is None):
        raise ValueError("give either clocks or blocks")
    channels = [len(layer.weight) for layer in network.layers]
    fastest = Hardware.for_network(network, lanes=channels, test_clocks=1, **settings)
    load = work(fastest, result)
    if blocks is not None:
        return _into_blocks(network, load, blocks, settings)
    assert clocks is not None

    def balanced(limit: float) -> Hardware:
        most = [max(_within(n, each, limit), default=1) for n, each in zip(channels, load, strict=True)]
        return Hardware.for_network(
            network, lanes=_lanes(channels, most), test_clocks=max(1, clocks // TEST_PART), **settings
        )

    # Images differ, and a layer waits for the one before: an interval is longer than the work of the slowest layer.
    limits = [limit for limit in _limits(channels, load) if limit <= clocks]
    slow = bisect_left(limits, True, key=lambda limit: interval(balanced(limit), result) > clocks)
    if slow:
        return balanced(limits[slow - 1])
    reachable = interval(fastest, result)
    if reachable <= clocks:
        return fastest
    slowest = max(rows(fastest, result), key=lambda row: max(row.adding, row.testing))
    if slowest.layer is None:
        what, remedy = f"the input of {fastest.sizes[0]} pixels is the slowest part", ", or use input = 'events'"
    elif slowest.testing > slowest.adding:
        what, remedy = f"testing the neurons of layer {slowest.name} is the slowest part", ""
    else:
        what = f"layer {slowest.name} is the slowest part, even with {slowest.lanes} lanes"
        budget = "" if any(layer.dynamics for layer in fastest.layers) else " (spike_budget)"
        remedy = f", or train for fewer spikes{budget}"
    raise FirstspikeError(
        f"{clocks} clocks an image are out of reach: {what}",
        f"ask for {int(np.ceil(reachable))} clocks or more{remedy}",
    )


def _into_blocks(network: Network, load: NDArray[np.float64], limit: int, settings: dict[str, Any]) -> Hardware:
    channels = [len(layer.weight) for layer in network.layers]
    base = Hardware.for_network(network, lanes=1, **settings)
    options = [_groups(n) for n in channels]
    taken: list[dict[int, int]] = [{} for _ in channels]  # for each layer the blocks, by groups
    for rank in range(max(map(len, options))):
        groups = [some[min(rank, len(some) - 1)] for some in options]
        folded = zip(base.layers, _lanes(channels, groups), strict=True)
        hardware = replace(base, layers=tuple(replace(shape, lanes=n, fire_lanes=1) for shape, n in folded))
        for index, chosen in enumerate(groups):
            taken[index][chosen] = _blocks(hardware, index)

    def fewest(blocks: dict[int, int], groups: Iterable[int]) -> int:
        return min(groups, key=lambda g: (blocks[g], -g))

    def smallest(clocks: float) -> list[int]:
        """Groups with which each layer takes the fewest blocks, and of these the fewest lanes."""
        layers = zip(channels, load, taken, strict=True)
        return [fewest(blocks, _within(n, each, clocks)) for n, each, blocks in layers]

    def total(clocks: float) -> int:
        return _blocks(base, None) + sum(x[g] for x, g in zip(taken, smallest(clocks), strict=True))

    # Layers faster than the input or the slowest layer would only wait.
    least = max(_incoming(base), float(load.max()))
    limits = [least, *(x for x in _limits(channels, load) if x > least)]
    fits = bisect_left(limits, True, key=lambda clocks: total(clocks) <= limit)
    if fits == len(limits):
        raise FirstspikeError(
            f"the smallest folding takes {total(limits[-1])} blocks of memory, more than {limit}",
            "use a larger device, fewer weight bits or a smaller network",
        )
    return Hardware.for_network(
        network,
        lanes=_lanes(channels, smallest(limits[fits])),
        test_clocks=max(1, int(limits[fits]) // TEST_PART),
        **settings,
    )


def _groups(channels: int) -> list[int]:
    """Groups that differ, rising: each is ``ceil(channels / lanes)`` of some lanes."""
    return sorted({-(-channels // lanes) for lanes in range(1, channels + 1)})


def _within(channels: int, load: float, clocks: float) -> list[int]:
    """Groups in which a layer adds within so many clocks."""
    return [groups for groups in _groups(channels) if load * groups <= clocks]


def _lanes(channels: Sequence[int], groups: Sequence[int]) -> list[int]:
    """The fewest lanes of each layer for its groups."""
    return [-(-n // g) for n, g in zip(channels, groups, strict=True)]


def _limits(channels: Sequence[int], load: NDArray[np.float64]) -> list[float]:
    """Clocks an image at which the folding of a layer changes, rising."""
    return sorted({float(each * groups) for n, each in zip(channels, load, strict=True) for groups in _groups(n)})


def _incoming(hardware: Hardware) -> int:
    """Clocks that an image takes to come in; 0 for events, which the first layer's work counts."""
    return hardware.frame_words if hardware.input == "pixels" else 0


def _blocks(hardware: Hardware, layer: int | None) -> int:
    return sum(map(blocks, rams(hardware, layer)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a folding's table.

    Parameters
    ----------
    layer, name
        Number of the layer, None for the input stage, and what it is.
    lanes
        Membranes, or pixels, a clock.
    fire, fire_lanes
        Fire unit, ``readout`` for the last layer, and neurons that it tests a clock.
    product
        How weights are multiplied.
    adding
        Clocks an image in which the layer adds: work * groups. For the input stage those in which pixels come in.
    testing
        Clocks an image in which its neurons are tested.
    weight_bits
        Of all weights.
    blocks
        Blocks of memory of an ECP5.

    """

    layer: int | None
    name: str
    lanes: int
    fire: str = ""
    fire_lanes: int = 0
    product: str = ""
    adding: float
    testing: int = 0
    weight_bits: int = 0
    blocks: int


def rows(hardware: Hardware, result: Result) -> list[Row]:
    """A line for the input stage and each layer, for the spikes of the golden model on typical images."""
    pixels = hardware.input == "pixels"
    lines = [
        Row(
            layer=None,
            name=hardware.input,
            lanes=PIXELS_PER_WORD if pixels else 1,
            adding=_incoming(hardware)
            if pixels
            else float(result.fired(0, hardware.layers[0].input_codes).sum(axis=1).mean()),
            blocks=_blocks(hardware, None),
        )
    ]
    for index, (shape, adding) in enumerate(zip(hardware.layers, floor(hardware, result).mean(axis=0), strict=True)):
        last = index == len(hardware.layers) - 1
        between = gap(shape) if shape.dynamics else 0
        size = shape.output_map if shape.kind == "conv2d" else shape.output_map[:1]
        lines.append(
            Row(
                layer=index,
                name=f"{index} {shape.kind} {'x'.join(map(str, size))}",
                lanes=shape.lanes,
                fire="readout" if last else shape.fire,
                fire_lanes=shape.fire_lanes,
                product=shape.product,
                adding=float(adding),
                testing=hardware.passes(index) * (shape.pass_clocks + between),
                weight_bits=shape.channels * shape.taps * shape.weight_bits,
                blocks=_blocks(hardware, index),
            )
        )
    return lines


def table(hardware: Hardware, result: Result) -> Table:
    """The rows for people, with their sums and the predicted :func:`interval`."""
    lines = rows(hardware, result)
    total = sum(row.blocks for row in lines)
    shown = Table(
        title=f"{interval(hardware, result):.1f} clocks an image (predicted), {total} ECP5 memory blocks", box=None
    )
    shown.add_column("layer")
    for name in ("lanes", "fire unit", "neurons/clock", "product", "adding", "testing", "weight bits", "RAM blocks"):
        shown.add_column(name, justify="right")
    for row in lines:
        shown.add_row(
            row.name, str(row.lanes), row.fire, str(row.fire_lanes or ""), row.product, f"{row.adding:.1f}",
            str(row.testing or ""), str(row.weight_bits or ""), str(row.blocks),
        )  # fmt: skip
    return shown
