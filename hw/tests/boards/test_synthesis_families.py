"""The core in families of FPGAs, with and without its modules: what holds each memory, to the cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import dense_layers

from firstspike.contract.hardware import Hardware
from firstspike_rtl.boards import synthesis
from firstspike_rtl.boards.synthesis import FAMILIES, Netlist
from firstspike_rtl.core.layouts import WORD
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.tables import copies
from firstspike_rtl.top.verilog import generate

#: Family, and whether in one module.
RUNS = [(name, True) for name in FAMILIES] + [("xc7", False), ("ecp5", False)]
#: Where memories become flip-flops, synthesis takes long.
LONG = ("ice40", "cyclonev")
HARDWARE = Hardware.for_network(dense_layers((20, 24, 4)), lanes=4)


@pytest.fixture(scope="module")
def rtl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(dense_layers((20, 24, 4)), HARDWARE, tmp_path_factory.mktemp("small") / "rtl")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            run,
            id=f"{run[0]}-{'flat' if run[1] else 'hierarchical'}",
            marks=[pytest.mark.slow] if run[0] in LONG else [],
        )
        for run in RUNS
    ],
)
def netlist(request: pytest.FixtureRequest, rtl: Path) -> Netlist:
    name, flat = request.param
    return FAMILIES[name].synthesise(rtl, flat=flat)


def test_weights_are_in_block_ram(netlist: Netlist) -> None:
    for memory in (HARDWARE.memory("weight", layer) for layer in range(2)):
        assert netlist.of(memory.name).blocks == netlist.family.size(memory.depth, memory.data_bits)


def test_a_block_for_each_copy_of_the_encoder(netlist: Netlist) -> None:
    """Of four readers two share a copy; a block has a port that reads for both of them, or for one."""
    tables = [netlist.of(name) for name in copies(HARDWARE.memory("encoder"))]
    assert [table.blocks for table in tables] == [2 // netlist.family.readers] * 2


def test_membranes_are_in_look_up_memory(netlist: Netlist) -> None:
    """Both banks in one memory, with a port for adding and one for testing; where there is none, in registers."""
    bits = [layer.lanes * layer.membrane_bits for layer in HARDWARE.layers]
    assert all(layer.shallow for layer in HARDWARE.layers)
    rows, width = netlist.of("rows0"), netlist.family.look_up_width
    assert rows.blocks == 0
    assert rows.count(netlist.family.look_up) == (sum(2 * -(-row // width) for row in bits) if width else 0)
    assert (rows.count(netlist.family.flip_flop) > 0) == (not width)


def test_short_memories_take_no_flip_flops_where_there_is_look_up_memory(netlist: Netlist) -> None:
    family = netlist.family
    for memory in HARDWARE.memories:
        if memory.role in ("bias", "kernel", "digest") and family.look_up_width:
            own = netlist.of(memory.name)
            cells = own.count(family.look_up), own.blocks, own.count(family.flip_flop)
            assert cells == (-(-memory.data_bits // family.look_up_width), 0, 0), memory.name


def test_thresholds_of_a_search_are_in_flip_flops(netlist: Netlist) -> None:
    """They have a read port for each stage and lane: every one would be a copy of the memory."""
    own = netlist.of(HARDWARE.memory("threshold", 0).name)
    assert HARDWARE.layers[0].fire == "search"
    assert (own.blocks, own.count(netlist.family.look_up)) == (0, 0)


def test_nothing_else_is_a_block(netlist: Netlist) -> None:
    """No block beside those of loadable memories, and of results that wait; and no lane multiplies."""
    family = netlist.family
    tables = [name for memory in HARDWARE.memories for name in copies(memory)]
    results = 0 if family.look_up_width else family.size(Readout.QUEUE, WORD.size)
    assert netlist.of("rows").blocks == results
    assert netlist.blocks == sum(netlist.of(name).blocks for name in tables) + results
    assert netlist.count(family.multiplier) == 0
    assert netlist.count(family.lut) > 500
    assert netlist.count(family.flip_flop) > 1000


@pytest.mark.slow
def test_the_table_of_the_page() -> None:
    page = (Path(__file__).parents[3] / synthesis.PAGE).read_text()
    assert f"{synthesis.MARK}\n\n{synthesis.table()}\n\n" in page, f"run python -m {synthesis.__name__}"
