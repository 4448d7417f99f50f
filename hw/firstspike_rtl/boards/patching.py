"""Block memories whose contents are changed in a routed design, without synthesis: which they are, and where.

A design is synthesised with random rows in them. So every column of bits, taken in rows of the size of a block, is
unlike any other, and is found by its value: by :func:`locate`, and by the tools that exchange one for another.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import Hardware
from firstspike.contract.images import Contents
from firstspike_rtl.boards.families import Bits, Family, Table, bits_of
from firstspike_rtl.top import boot

SEED = 1


@dataclass(frozen=True, kw_only=True)
class Patched:
    """One of these memories.

    Parameters
    ----------
    used
        Rows that are read.
    depth
        Rows that are there: filled up to a block's, so that no column is too short to be unlike others.
    bits
        Of a row, that are read.
    """

    name: str
    used: int
    depth: int
    bits: int


def patched(hardware: Hardware, family: Family) -> list[Patched]:
    """The memories of weights, and that of :class:`firstspike_rtl.top.boot.Boot`."""
    sizes = {memory.name: (memory.depth, memory.data_bits) for memory in hardware.memories if memory.role == "weight"}
    sizes[boot.NAME] = boot.depth(hardware), boot.ROW_BITS
    return [
        Patched(name=name, used=used, depth=-(-used // family.chunk) * family.chunk, bits=bits)
        for name, (used, bits) in sizes.items()
    ]


def placeholders(hardware: Hardware, family: Family) -> Contents:
    """Contents to synthesise with: random rows, always the same, in the memories that are patched, zeros elsewhere."""
    source = random.Random(SEED)
    rows = {memory.name: [0] * memory.depth for memory in hardware.memories}
    return rows | {x.name: [source.getrandbits(x.bits) for _ in range(x.depth)] for x in patched(hardware, family)}


def filled(hardware: Hardware, family: Family, contents: Contents) -> Contents:
    """The same memories for a network, of which ``contents`` are (:func:`firstspike.contract.images.contents`).

    Raises
    ------
    FirstspikeError
        if the contents are not for this hardware.
    """
    rows = boot.power_up(hardware, contents)
    return rows | {x.name: rows[x.name] + [0] * (x.depth - x.used) for x in patched(hardware, family)}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A column in a block, and what it holds: a bit of :attr:`Family.chunk` rows of a memory, from ``first`` on.

    Parameters
    ----------
    block, shape, column
        Number of the block; the column's place in :meth:`firstspike_rtl.boards.families.Family.columns`.
    """

    block: str
    shape: int
    column: int
    memory: str
    bit: int
    first: int


def locate(family: Family, blocks: Mapping[str, Bits], hardware: Hardware) -> list[Place]:
    """Where the memories are in a design with :func:`placeholders`.

    Parameters
    ----------
    blocks
        Contents of the block memories, by number (:meth:`firstspike_rtl.boards.families.Family.contents`).

    Raises
    ------
    RuntimeError
        if a bit is found nowhere, or twice: then synthesis does something else than is assumed here.
    """
    rows = placeholders(hardware, family)
    wanted = {}
    for memory in patched(hardware, family):
        for chunk, columns in enumerate(_columns(family, memory, rows)):
            for bit, column in enumerate(np.packbits(columns, axis=1)):
                wanted[column.tobytes()] = memory.name, bit, chunk * family.chunk
    places = {}
    for block, bits in blocks.items():
        for shape, columns in enumerate(family.columns(bits)):
            for index, column in enumerate(np.packbits(columns, axis=1)):
                key = wanted.get(column.tobytes())
                if key is None:
                    continue
                name, bit, first = key
                if key in places:
                    raise RuntimeError(f"bit {bit} of memory {name} is in two block memories from row {first} on")
                places[key] = Place(block=block, shape=shape, column=index, memory=name, bit=bit, first=first)
    for name, bit, first in wanted.values():
        if (name, bit, first) not in places:
            raise RuntimeError(f"bit {bit} of memory {name} is in no block memory from row {first} on")
    return list(places.values())


def _columns(family: Family, memory: Patched, rows: Contents) -> NDArray[np.uint8]:
    """Shape (depth / chunk, bits, chunk)."""
    return bits_of(rows[memory.name], memory.bits).reshape(-1, family.chunk, memory.bits).transpose(0, 2, 1)


def table(family: Family, places: Sequence[Place], hardware: Hardware, rows: Contents) -> Table:
    """The columns for these places, for such rows in the memories (those of :func:`filled`)."""
    columns = {memory.name: _columns(family, memory, rows) for memory in patched(hardware, family)}
    return np.array([columns[x.memory][x.first // family.chunk][x.bit] for x in places])


def read_table(family: Family, places: Sequence[Place], blocks: Mapping[str, Bits]) -> Table:
    """The columns that are at these places."""
    columns = {block: list(family.columns(blocks[block])) for block in {x.block for x in places}}
    return np.array([columns[x.block][x.shape][x.column] for x in places])


def read_rows(family: Family, places: Sequence[Place], blocks: Mapping[str, Bits], hardware: Hardware) -> Contents:
    """The rows of the memories, as block memories hold them: the inverse of :func:`table`."""
    rows = {}
    columns = read_table(family, places, blocks)
    for memory in patched(hardware, family):
        bits = np.zeros((memory.depth, memory.bits), np.uint8)
        for place, column in zip(places, columns, strict=True):
            if place.memory == memory.name:
                bits[place.first : place.first + family.chunk, place.bit] = column
        data = np.packbits(bits, axis=1, bitorder="little")
        rows[memory.name] = [int.from_bytes(row.tobytes(), "little") for row in data]
    return rows
