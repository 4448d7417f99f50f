"""The models of ECP5 cells by themselves: small designs before and after synthesis, and what stops the models."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth.back import verilog
from cells import DESIGNS, SLOT_BITS, Cells

from firstspike.errors import FirstspikeError
from firstspike_rtl.boards.bitstream import synthesise
from firstspike_rtl.boards.carry_inputs import SUM
from firstspike_rtl.top.verilog_names import without_escapes
from firstspike_verify.models import toolchain
from firstspike_verify.models.compilation import FLAGS
from firstspike_verify.models.netlist import OWN_MODELS, Netlist, render

TESTS = Path(__file__).parent
CLOCKS = 20_000


def compile_bench(build: Path, *sources: Path, **defines: int) -> Path:
    """The program that clocks a module ``bench`` with an input ``clk`` until it finishes."""
    env = toolchain.environment(fast=False)
    commands: Sequence[Sequence[str | Path]] = (
        [
            "verilator", "--cc", "--exe", "-Wno-fatal", "--Mdir", build, "--top", "bench",
            *(f"+define+{name}={value}" for name, value in defines.items()), *sources, TESTS / "bench.cpp",
        ],
        ["make", "-C", build, "-f", "Vbench.mk"],
    )  # fmt: skip
    for command in commands:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return build / "Vbench"


@dataclass(frozen=True)
class Compared:
    """Both sides of synthesis: the netlist, and for each design in how many clocks it differs, and changes."""

    netlist: Netlist
    differs: dict[str, int]
    changes: dict[str, int]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Compared:
    seed = request.config.getoption("--seed") or 1
    print(f"seed {seed}")
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    folder, scratch = (tmp_path_factory.mktemp(name) for name in ("cells", "synthesis"))
    text = verilog.convert(Cells(seed), name="cells", emit_src=False, strip_internal_attrs=True)
    (folder / "cells.v").write_text(without_escapes(text))
    netlist = Netlist.load(synthesise(folder, scratch, "cells"), "cells")
    (folder / "netlist.v").write_text(render(netlist, "cells_netlist"))
    program = compile_bench(
        folder / "build", TESTS / "bench.v", folder / "cells.v", folder / "netlist.v",
        CLOCKS=CLOCKS, SLOTS=len(DESIGNS), SLOT_BITS=SLOT_BITS,
    )  # fmt: skip
    done = subprocess.run([program, f"+verilator+seed+{seed}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"^slot \d+ differs (\d+) changes (\d+)$", done.stdout, re.MULTILINE)
    differs, changes = zip(*counts, strict=True)
    return Compared(
        netlist,
        dict(zip(DESIGNS, map(int, differs), strict=True)),
        dict(zip(DESIGNS, map(int, changes), strict=True)),
    )


@pytest.mark.parametrize("design", DESIGNS)
def test_synthesis_changes_nothing(design: str, compared: Compared) -> None:
    assert compared.differs[design] == 0
    assert compared.changes[design] > CLOCKS // 10


def test_every_form_is_used(compared: Compared) -> None:
    """Synthesis of these designs takes every cell, each width of a block memory and each way to write."""
    cells = compared.netlist.cells.values()
    types = {"LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "DP16KD", "MULT18X18D"}
    assert {cell["type"] for cell in cells} == types
    adders = [cell["parameters"][f"INIT{half}"] for cell in cells if cell["type"] == "CCU2C" for half in "01"]
    assert sum(int(init, 2) != SUM for init in adders) == 3 * 20  # of those that take something in
    blocks = [cell["parameters"] for cell in cells if cell["type"] == "DP16KD"]
    for port in "AB":
        assert {int(block[f"DATA_WIDTH_{port}"], 2) for block in blocks} == {1, 2, 4, 9, 18, 36}
        assert {block[f"REGMODE_{port}"] for block in blocks} == {"NOREG", "OUTREG"}
    assert {block.get("WRITEMODE_A") for block in blocks} == {None, "NORMAL", "WRITETHROUGH", "READBEFOREWRITE"}


def lint(text: str, folder: Path) -> str:
    """What Verilator says of a module with the models beside it: its errors."""
    (folder / "bench.v").write_text(f"module bench; {text} endmodule\n")
    command = ["verilator", "--lint-only", "-Wno-fatal", *FLAGS, "--top", "bench", folder / "bench.v", OWN_MODELS]
    done = subprocess.run(command, env=toolchain.environment(), capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("%Error")]
    assert bool(errors) == bool(done.returncode)
    return "\n".join(errors)


@pytest.mark.smoke
def test_models_are_accepted(tmp_path: Path) -> None:
    assert lint("DP16KD block(); MULT18X18D product(); LUT4 table4();", tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DP16KD #(.DATA_WIDTH_A(3)) c();", "data width is not modelled"),
        ("DP16KD #(.DATA_WIDTH_B(72)) c();", "data width is not modelled"),
        ('DP16KD #(.REGMODE_A("LATCH")) c();', "register mode is not modelled"),
        ('DP16KD #(.REGMODE_B("LATCH")) c();', "register mode is not modelled"),
        ('DP16KD #(.DATA_WIDTH_B(36), .REGMODE_B("OUTREG")) c();', "half an output register is not modelled"),
        ('DP16KD #(.CSDECODE_A("0b001")) c();', "chip select is not modelled"),
        ('DP16KD #(.CLKBMUX("INV")) c();', "inverted clock is not modelled"),
        ('DP16KD #(.GSR("ENABLED")) c();', "global reset is not modelled"),
        ('DP16KD #(.WRITEMODE_B("THROUGH")) c();', "write mode is not modelled"),
        ('DP16KD #(.INIT_DATA("DYNAMIC")) c();', "INIT_DATA"),
        ('MULT18X18D #(.REG_OUTPUT_CLK("CLK0")) c();', "REG_OUTPUT_CLK"),
        ("MULT18X18D c(.CLK0(1'b0));", "CLK0"),
    ],
)
def test_other_modes_are_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in lint(text, tmp_path)


def test_other_inputs_stop_the_simulation(tmp_path: Path) -> None:
    program = compile_bench(tmp_path / "build", TESTS / "stops.v", OWN_MODELS)
    messages = [
        None, "reset", "chip select", "clocks that differ", "both ports writing a row", "reset", "chip select",
        "writing 36 bits by port B", "shifted input", "shifted input",
    ]  # fmt: skip
    for number, message in enumerate(messages):
        done = subprocess.run([program, f"+case={number}"], capture_output=True, text=True, check=False)
        said = re.findall(r"\w+: ([\w ]+) (?:is|are) not modelled", done.stdout)
        assert (done.returncode != 0) == (message is not None), number
        assert said[:1] == ([] if message is None else [message]), number


@pytest.mark.smoke
def test_cell_without_a_model() -> None:
    netlist = Netlist({}, {"pll": {"type": "EHXPLLL", "parameters": {}, "connections": {}}})
    with pytest.raises(FirstspikeError, match="no model of the cell EHXPLLL") as caught:
        render(netlist)
    assert "ecp5_cells.v" in caught.value.one_line()


@pytest.mark.smoke
def test_changes_that_do_not_fit() -> None:
    cell = {"type": "LUT4", "parameters": {"INIT": "0110", "MODE": "1 "}, "connections": {}}
    netlist = Netlist({}, {"table4": cell})
    assert netlist.changed({"table4": {"INIT": 1}}).cells["table4"]["parameters"] == {"INIT": "0001", "MODE": "1 "}
    assert netlist.cells["table4"]["parameters"]["INIT"] == "0110"
    for changes, message in (
        ({"other": {"INIT": 1}}, "no cell 'other'"),
        ({"table4": {"INITVAL": 1}}, "no number INITVAL"),
        ({"table4": {"MODE": 1}}, "no number MODE"),
        ({"table4": {"INIT": 16}}, "outside 4 bits"),
        ({"table4": {"INIT": -1}}, "outside 4 bits"),
    ):
        with pytest.raises(FirstspikeError, match=message):
            netlist.changed(changes)
