"""The core by itself in families of FPGAs, as yosys synthesises it: ``python -m firstspike_rtl.boards.synthesis``.

That writes the table of ``docs/rtl.md`` anew.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from firstspike.artefact import write_file
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.network import kernels
from firstspike.network.model import Network, dense
from firstspike_rtl.boards.tools import YOSYS
from firstspike_rtl.top.verilog import generate, load_manifest, verilog_name

PAGE = Path("docs/rtl.md")
#: In the page the table follows this line, up to the next empty one.
MARK = "<!-- python -m firstspike_rtl.boards.synthesis -->"


@dataclass(frozen=True)
class Family:
    """What yosys makes of a core in a family: its command, and its cells, each as a regular expression of their types.

    Parameters
    ----------
    title
        As people call it.
    command
        Synthesis.
    flat, hierarchical
        Options that make one module of all, and that keep the modules.
    lut, carry, look_up, flip_flop, multiplier
        Cells: look-up tables, carry chains (which hold look-up tables, too), look-up memory (empty if there is none),
        registers, multipliers.
    blocks
        Types of block memory, each in the smallest blocks that it takes.
    shapes
        (depth, width) of the smallest block.
    initial
        Parameters of a block's cell that hold its power-on contents begin with this.
    look_up_width
        Bits of a row in a cell of look-up memory with one read port; 0 if yosys does not use any for memories that have
        contents at power-on, as all of a core have.
    readers
        Read ports that a block gives a memory which has a write port, too; for more of them yosys takes more blocks.
    """

    title: str
    command: str
    flat: str
    hierarchical: str
    lut: str
    carry: str
    look_up: str
    flip_flop: str
    multiplier: str
    blocks: Mapping[str, int]
    shapes: tuple[tuple[int, int], ...]
    initial: str = "INIT"
    look_up_width: int = 0
    readers: int = 2

    def size(self, depth: int, bits: int) -> int:
        """Smallest blocks for a memory, all of one shape."""
        return min(-(-depth // rows) * -(-bits // width) for rows, width in self.shapes)

    def synthesise(self, rtl: Path, *, flat: bool = True) -> Netlist:
        """Synthesise a generated folder.

        Raises
        ------
        FirstspikeError
            if the folder is damaged, or yosys is missing or fails.
        """
        manifest, _ = load_manifest(rtl)
        name, text = manifest["name"], verilog_name(manifest)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for file in manifest["files"]:
                shutil.copy(rtl / file, folder)
            option = self.flat if flat else self.hierarchical
            script = f"read_verilog {text}; {self.command} {option} -top {name}; write_json out.json"
            YOSYS(folder, "-q", "-p", script)
            modules = json.loads((folder / "out.json").read_text())["modules"]
        cells = {}
        for module in modules:
            if module != name and module not in {c["type"] for m in modules.values() for c in m["cells"].values()}:
                continue  # a model of a cell, which nothing is an instance of
            for cell, content in modules[module]["cells"].items():
                plain = cell.replace("$flatten", "").replace("\\", "")
                if content["type"] not in modules or "blackbox" in modules[content["type"]]["attributes"]:
                    cells[f"{module}.{plain}"] = str(content["type"])
        return Netlist(self, cells)


@dataclass(frozen=True)
class Netlist:
    """The cells of a synthesised core: their types by their names, which begin with their module's."""

    family: Family
    cells: Mapping[str, str] = field(repr=False)

    def of(self, memory: str) -> Netlist:
        """Those of a memory: what holds it and what is around it."""
        own = re.compile(rf"(?<![a-z0-9_]){re.escape(memory)}(?![a-z0-9_])")
        return Netlist(self.family, {name: kind for name, kind in self.cells.items() if own.search(name)})

    def count(self, kind: str) -> int:
        """How many cells are of a type: a regular expression."""
        return sum(re.fullmatch(kind, cell) is not None for cell in self.cells.values()) if kind else 0

    @property
    def blocks(self) -> int:
        """Block memory, in smallest blocks."""
        return sum(self.family.blocks.get(cell, 0) for cell in self.cells.values())


#: By the name that tests and people use.
FAMILIES = {
    "xc7": Family(
        "AMD 7 series", "synth_xilinx -family xc7", "-flatten", "",
        lut=r"LUT\d", carry="CARRY4", look_up=r"RAM\d+[MX]\w*", flip_flop=r"FD\wE", multiplier="DSP48E1",
        blocks={"RAMB18E1": 1, "RAMB36E1": 2}, shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2)),
        look_up_width=6,
    ),
    "ecp5": Family(
        "Lattice ECP5", "synth_ecp5", "", "-noflatten",
        lut="LUT4", carry="CCU2C", look_up="TRELLIS_DPR16X4", flip_flop="TRELLIS_FF", multiplier="MULT18X18D",
        blocks={"DP16KD": 1}, shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
        initial="INITVAL_", look_up_width=4,
    ),
    "ice40": Family(
        "Lattice iCE40", "synth_ice40 -dsp", "", "-noflatten",
        lut="SB_LUT4", carry="SB_CARRY", look_up="", flip_flop=r"SB_DFF\w*", multiplier="SB_MAC16",
        blocks={"SB_RAM40_4K": 1}, shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)), initial="INIT_",
        readers=1,
    ),
    "gowin": Family(
        "Gowin LittleBee", "synth_gowin", "", "-noflatten",
        lut=r"LUT\d", carry="ALU", look_up=r"RAM16S\w+", flip_flop=r"DFF\w*", multiplier=r"MULT\w+",
        blocks=dict.fromkeys(("DPB", "DPX9B", "SDPB", "SDPX9B", "SPX9", "SP", "pROM", "pROMX9"), 1),
        shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)), look_up_width=4,
    ),
    "cyclonev": Family(
        "Intel Cyclone V", "synth_intel_alm -family cyclonev", "", "-noflatten",
        lut=r"MISTRAL_ALUT\d", carry="MISTRAL_ALUT_ARITH", look_up="MISTRAL_MLAB", flip_flop="MISTRAL_FF",
        multiplier=r"MISTRAL_MUL\w*", blocks={"MISTRAL_M10K": 1},
        shapes=((256, 40), (512, 20), (1024, 10), (2048, 5), (4096, 2), (8192, 1)),
        readers=1,
    ),
}  # fmt: skip


def example() -> tuple[Network, Hardware]:
    """A network and hardware as ``examples/digits.toml`` has them, 64-48-10; its weights are random numbers."""
    rng = np.random.default_rng(1)
    kernel = kernels.PowerOfTwo(steps=8)
    network = dense(
        [rng.integers(-32, 32, (48, 64)), rng.integers(-32, 32, (10, 48))],
        [rng.integers(-99, 99, 48), rng.integers(-99, 99, 10)],
        weight_bits=6,
        kernels=[kernel.table()] * 2,
        thresholds=[kernel.integer_threshold(0.01)],
        encoder=kernel.encoder(),
        steps=8,
        fire_start=8,
    )
    return network, Hardware.for_network(network, lanes=[16, 10])


def table() -> str:
    """Cells of :func:`example` in every family, as Markdown."""
    rows = [
        "| family | LUTs | carry cells | look-up memory | flip-flops | block RAMs | DSPs |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        rtl = generate(*example(), Path(scratch) / "rtl")
        for family in FAMILIES.values():
            made = family.synthesise(rtl)
            blocks = [f"{made.count(cell)} {cell}" for cell in family.blocks if made.count(cell)]
            numbers = [made.count(kind) for kind in (family.lut, family.carry, family.look_up, family.flip_flop)]
            shown = [f"{number:,}" for number in numbers]
            cells = [family.title, *shown, ", ".join(blocks), str(made.count(family.multiplier))]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Write the table into the page.

    Raises
    ------
    FirstspikeError
        if there is no place for it, or a tool is missing.
    """
    try:
        text = PAGE.read_text()
    except OSError as error:
        raise FirstspikeError(f"cannot read {PAGE}: {error.strerror}", "run it in the repository's root") from error
    if text.count(MARK) != 1:
        raise FirstspikeError(f"{PAGE} has {text.count(MARK)} lines {MARK}", "put one where the table shall be")
    before, _, after = text.partition(f"{MARK}\n\n")
    old, _, rest = after.partition("\n\n")
    write_file(PAGE, f"{before}{MARK}\n\n{table()}\n\n{rest if old.startswith('|') else after}")
    print(f"table: {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    from firstspike import program

    program.run(main)
