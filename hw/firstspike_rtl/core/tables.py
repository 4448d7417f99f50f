"""Memories with an image and a write port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from amaranth.hdl import Module, Value
from amaranth.lib import memory as lib_memory
from amaranth.vendor import LatticeICE40Platform

from firstspike.contract.memory import Memory

Contents = Mapping[str, Sequence[int]]
Table: TypeAlias = "lib_memory.Memory[int, Value]"

#: For synthesis: what is read of a row in the clock in which it is written does not matter.
NO_RW_CHECK: dict[str, Any] = {"no_rw_check": 1}

#: Memories for block RAM, also where synthesis would take look-up tables, of which there are fewer to spare.
BLOCK_ROLES = ("weight", "encoder")

#: Bits of a row of a block memory, where there is no look-up memory.
BLOCK_BITS = 16
#: Of a memory, for each block that it would take, up to which it is worth none: it lies in registers.
REGISTER_BITS = 100


def has_lookup_memory(platform: object) -> bool:
    """Whether the device can use look-up tables as memory; iCE40 cannot. ``None`` stands for one that can."""
    return not isinstance(platform, LatticeICE40Platform)


def in_registers(platform: object, depth: int, bits: int) -> bool:
    """Whether a memory of so many rows of so many bits is too small for block memory, and there is no other."""
    return not has_lookup_memory(platform) and depth * bits <= REGISTER_BITS * -(-bits // BLOCK_BITS)


#: Copies of a memory that is read in several places at once.
COPIES = {"encoder": 2}


def copies(spec: Memory) -> list[str]:
    """Names of the memories that hold ``spec``: its own, or those of its copies."""
    count = COPIES.get(spec.role, 1)
    return [spec.name] if count == 1 else [f"{spec.name}{n}" for n in range(count)]


def add_table(
    m: Module,
    spec: Memory,
    contents: Contents,
    load: Any,
    *,
    name: str | None = None,
    place: Value | None = None,
    platform: object = None,
) -> Table:
    """Add the memory ``spec`` to ``m``, filled with ``contents[spec.name]`` and written by ``load``.

    ``name`` is that of a copy. Where ``place`` is given, the memory is written there: then it is to be the row of
    ``load`` while that is valid, and a read of the same signal shares the port of a block memory.

    A row may be read one clock after it was loaded. Weights may have more rows than the memory needs, up to whole
    blocks: these are there, and never used.

    Raises
    ------
    ValueError
        if the contents have another depth or a row that is too wide.
    """
    rows = [int(row) for row in contents[spec.name]]
    if len(rows) != spec.depth and not (spec.role == "weight" and len(rows) > spec.depth):
        raise ValueError(f"memory {spec.name} has {spec.depth} rows, not {len(rows)}")
    for index, row in enumerate(rows):
        if row < 0 or row >> spec.row_bits:
            raise ValueError(f"memory {spec.name}: row {index} is {row:#x}, outside {spec.row_bits} bits")
    # A memory of one row would have an address of no bits, which Verilog cannot write.
    # A core that is being loaded reads nothing, therefore without a check.
    attributes = {**NO_RW_CHECK}
    if spec.role in BLOCK_ROLES:
        attributes["ram_style"] = "block"
    elif in_registers(platform, len(rows), spec.row_bits):
        attributes["ram_style"] = "logic"
    memory: Table = lib_memory.Memory(shape=spec.row_bits, depth=max(2, len(rows)), init=rows, attrs=attributes)
    m.submodules[name or spec.name] = memory
    write = memory.write_port()
    m.d.comb += [
        write.en.eq(load.valid & (load.memory == spec.index)),
        write.addr.eq(load.row if place is None else place),
        write.data.eq(load.data[: spec.row_bits]),
    ]
    return memory


def fields(spec: Memory, row: Value) -> list[Value]:
    """The fields of a row, field 0 first."""
    parts = [row[i * spec.field_bits : (i + 1) * spec.field_bits] for i in range(spec.fields)]
    return [part.as_signed() for part in parts] if spec.signed else parts
