"""Columns of block memories: where a memory's bits are in a routed text, and what is found of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import parts
import pytest

from firstspike_rtl.boards import patching
from firstspike_rtl.boards.families import FAMILIES, Ecp5, Family, Ice40
from firstspike_rtl.top import boot

#: Both memories of weights are shorter than a column; the second has a group of lanes that is not full.
CORE = parts.hardware(parts.layer(inputs=9, outputs=5, lanes=4), parts.layer(inputs=5, outputs=3, fires=False))


def blocks_with(family: Family, rows: patching.Contents) -> dict[str, np.ndarray]:
    """Block memories that hold these rows in the widest shape, and one of noise."""
    noise = np.random.default_rng(5)
    width = family.block_bits // family.chunk
    blocks = {"9 9": noise.integers(0, 2, family.block_bits).astype(np.uint8)}
    for memory in patching.patched(CORE, family):
        for first in range(0, memory.depth, family.chunk):
            for bit in range(0, memory.bits, width):
                words = [row >> bit & (1 << width) - 1 for row in rows[memory.name][first : first + family.chunk]]
                bits = [[word >> n & 1 for n in range(width)] for word in words]
                blocks[f"{len(blocks)} 1"] = np.array(bits, np.uint8).ravel()
    return blocks


@pytest.mark.smoke
@pytest.mark.parametrize("width", Ecp5.WIDTHS)
def test_columns_of_ecp5(width: int) -> None:
    """Row r of a shape is ``width`` bits of the bytes in a row; the ninth bit is there from 9 on."""
    family = Ecp5()
    bits = np.random.default_rng(width).integers(0, 2, family.block_bits).astype(np.uint8)
    byte = 9 if width >= 9 else 8
    shape = list(family.columns(bits))[Ecp5.WIDTHS.index(width)]
    assert len(shape) == 2048 * byte // 512
    for index, column in enumerate(shape):
        chunk, bit = divmod(index, width)
        for n, value in enumerate(column.tolist()):
            place = (512 * chunk + n) * width + bit
            assert value == bits[place // byte * 9 + place % byte]


@pytest.mark.smoke
def test_columns_of_ice40() -> None:
    """Each bit is in one column of each shape; the widest has its rows as they are."""
    family = Ice40()
    numbers = np.arange(family.block_bits)
    shapes = list(family.columns(numbers))
    assert len(shapes) == 4
    for shape in shapes:
        assert sorted(shape.ravel().tolist()) == numbers.tolist()
    assert shapes[0].tolist() == numbers.reshape(256, 16).T.tolist()
    # 512 rows of 8 bits: rows 2n and 2n + 1 share a row of 16, in turns.
    assert shapes[1][:8, :2].tolist() == [[2 * bit, 2 * bit + 1] for bit in range(8)]
    # 1024 of 4, and 2048 of 2: the order is that of icebram.
    assert shapes[2][1, :6].tolist() == [4, 6, 5, 7, 20, 22]
    assert shapes[3][1, :9].tolist() == [8, 12, 10, 14, 9, 13, 11, 15, 24]


@pytest.mark.smoke
@pytest.mark.parametrize("name", FAMILIES)
def test_locate_and_read_back(name: str) -> None:
    family = FAMILIES[name]
    memories = patching.patched(CORE, family)
    assert {memory.name for memory in memories} == {"layer0_weight", "layer1_weight", boot.NAME}
    assert all(memory.depth % family.chunk == 0 and memory.depth >= memory.used for memory in memories)
    places = patching.locate(family, blocks_with(family, patching.placeholders(CORE, family)), CORE)
    assert len(places) == sum(memory.bits * memory.depth // family.chunk for memory in memories)
    rows = patching.filled(CORE, family, parts.contents(CORE, digest=[[n + 1] for n in range(8)]))
    table = patching.table(family, places, CORE, rows)
    other = blocks_with(family, rows)
    assert patching.read_table(family, places, other).tolist() == table.tolist()
    found = patching.read_rows(family, places, other, CORE)
    assert found == {memory.name: rows[memory.name] for memory in memories}


@pytest.mark.smoke
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_missing_or_double_is_found(name: str) -> None:
    family = FAMILIES[name]
    blocks = blocks_with(family, patching.placeholders(CORE, family))
    one = next(number for number in blocks if number != "9 9")
    with pytest.raises(RuntimeError, match=r"bit \d+ of memory layer0_weight is in no block memory from row 0 on"):
        patching.locate(family, {number: bits for number, bits in blocks.items() if number != one}, CORE)
    with pytest.raises(RuntimeError, match=r"bit \d+ of memory layer0_weight is in two block memories"):
        patching.locate(family, blocks | {"8 8": blocks[one]}, CORE)
    blocks[one] = blocks[one].copy()
    blocks[one][0] ^= 1
    with pytest.raises(RuntimeError, match="bit 0 of memory layer0_weight"):
        patching.locate(family, blocks, CORE)


@pytest.mark.smoke
@pytest.mark.parametrize("name", FAMILIES)
def test_placeholders_are_always_the_same_and_all_differ(name: str) -> None:
    """Else a design that is there already would be of no use, or a column be taken for another."""
    family = FAMILIES[name]
    rows = patching.placeholders(CORE, family)
    assert rows == patching.placeholders(CORE, family)
    places = patching.locate(family, blocks_with(family, rows), CORE)
    columns = patching.table(family, places, CORE, rows)
    assert len({column.tobytes() for column in columns}) == len(places)
    for memory in CORE.memories:
        if memory.role != "weight":
            assert rows[memory.name] == [0] * memory.depth
        assert all(row < 1 << memory.data_bits for row in rows[memory.name])


@pytest.mark.smoke
def test_exchange_in_the_cells_of_gowin(tmp_path: Path) -> None:
    """All columns of the memories, and nothing else, in a routed design whose cells hold their contents."""
    family = FAMILIES["gowin"]
    old = blocks_with(family, patching.placeholders(CORE, family))
    rows = patching.filled(CORE, family, parts.contents(CORE, digest=[[n + 1] for n in range(8)]))
    new = blocks_with(family, rows)

    def cell(number: str, bits: np.ndarray) -> dict:
        digits = ["".join(map(str, part[::-1].tolist())) for part in bits.reshape(64, -1)]
        place = "X{}Y{}/BSRAM".format(*number.split())
        contents = {f"INIT_RAM_{n:02X}": text for n, text in enumerate(digits)}
        return {"type": "SDP", "attributes": {"NEXTPNR_BEL": place}, "parameters": contents}

    other = {"type": "LUT4", "attributes": {"NEXTPNR_BEL": "X1Y1/LUT0"}, "parameters": {"INIT": "0"}}
    cells = {f"cell {number}": cell(number, bits) for number, bits in old.items()} | {"other": other}
    (tmp_path / "old.json").write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    found = family.contents((tmp_path / "old.json").read_text())
    assert {number: bits.tolist() for number, bits in found.items()} == {n: bits.tolist() for n, bits in old.items()}
    places = patching.locate(family, found, CORE)
    tables = [patching.table(family, places, CORE, x) for x in (patching.placeholders(CORE, family), rows)]
    family.exchange(tmp_path, "old.json", "new.json", *tables)
    found = family.contents((tmp_path / "new.json").read_text())
    assert {number: bits.tolist() for number, bits in found.items()} == {n: bits.tolist() for n, bits in new.items()}
    assert json.loads((tmp_path / "new.json").read_text())["modules"]["top"]["cells"]["other"] == other


@pytest.mark.smoke
@pytest.mark.parametrize("count", range(4, 9))
def test_hex_files_hold_every_column(count: int, tmp_path: Path) -> None:
    """Whole digits, whatever the number of columns: each is exchanged in one of the steps, none is unknown in any."""
    rng = np.random.default_rng(count)
    old, new = rng.integers(0, 2, (2, count, 256)).astype(np.uint8)
    known = [column.tolist() for column in old]

    class Steps(Ice40):
        def patch(self, folder: Path, source: str, target: str, before: str, after: str) -> None:
            columns = []
            for name in (before, after):
                lines = (folder / name).read_text().splitlines()
                numbers = [int(line, 16) for line in lines]
                columns.append([[number >> n & 1 for number in numbers] for n in range(4 * len(lines[0]))])
            for column, other in zip(*columns, strict=True):
                known[known.index(column)] = other

    Steps().exchange(tmp_path, "source", "target", old, new)
    assert known == [column.tolist() for column in new]
