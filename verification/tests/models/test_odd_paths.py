"""Compilers work whatever the folders are called: the user's, and those of the programs."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cocotb.simulator
import numpy as np
import pytest
from cocotb_tools import config
from designs import DESIGNS, pictures

from firstspike.artefact import MARKER
from firstspike.contract import images
from firstspike.errors import FirstspikeError
from firstspike.host.device import Device
from firstspike.network import golden
from firstspike_verify.benches.cocotb_runner import compile_bench, run_bench
from firstspike_verify.checks.scoreboard import compare
from firstspike_verify.models import compilation, linked, toolchain
from firstspike_verify.models.verilated import VerilatedCore

#: What make, the shell or a list of files takes for something else.
NAMES = ["a b", "it's [v2] (1)", "$HOME#x;y,z", 'ü "q" `w` & %d \\t *']


def test_paths_that_are_taken_as_they_are(tmp_path: Path) -> None:
    assert toolchain.plain(Path("/usr/lib/x86_64-linux.1+2"), tmp_path) == Path("/usr/lib/x86_64-linux.1+2")
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number) / name
        folder.mkdir(parents=True)
        (folder / "file.cpp").write_text(name)
        link = toolchain.plain(folder / "file.cpp", tmp_path / str(number))
        assert toolchain.PLAIN.fullmatch(str(link))
        assert link.read_text() == name


@pytest.mark.parametrize("name", NAMES)
def test_a_workshop_has_a_plain_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    with toolchain.workshop() as folder:
        (folder / "x").write_text("")
        assert toolchain.PLAIN.fullmatch(str(folder))
    assert not folder.exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FirstspikeError, match="no folder for temporary files that make can work in"):
        toolchain.workshop().__enter__()


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An odd working folder, which also holds Verilator and the project's C++."""
    folder = tmp_path / "".join(NAMES)
    root = toolchain.verilator_folder().parent
    shutil.copytree(root, folder / "verilator", copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv(toolchain.VERILATOR_SETTING, str(folder / "verilator" / "bin"))
    for module in (compilation, linked):
        monkeypatch.setattr(module, "DRIVER", Path(shutil.copy(module.DRIVER, folder)))
    monkeypatch.setattr(toolchain, "MAKE_VARIABLES", toolchain.QUICK_MAKE_VARIABLES)
    monkeypatch.chdir(folder)
    return folder


def test_a_verilated_core(odd: Path, generated) -> None:
    made = generated("ties")
    shutil.copytree(made.rtl, odd / "rtl")
    network = made.design.network
    shown = pictures(network, 0, 20)
    with VerilatedCore(Path("rtl"), Path("build"), waves=Path("ü x.vcd")) as core:
        compare(golden.run(network, shown), core.run(shown, network).result, 0).check()
    assert "s_axis_tvalid" in Path("ü x.vcd").read_text()
    assert {path.name for path in Path("build").iterdir()} == {MARKER, "Vtop", toolchain.LOG, toolchain.STAMP}


def test_a_linked_core(odd: Path, generated) -> None:
    design = DESIGNS["ties"]()
    hardware, network = replace(design.hardware, monitor=False), design.network
    shared_object = linked.compile_linked(hardware, images.contents(network, hardware), Path("build"))
    shown = pictures(network, 0, 3)
    with linked.Board(hardware, shared_object) as board, Device.open(board.path, hardware, timeout=1.0) as device:
        device.use(network)
        assert np.array_equal(device.infer(shown).classes, golden.run(network, shown).classes)


def test_a_bench(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With cocotb's libraries in an odd folder, too."""
    monkeypatch.setattr(config, "libs_dir", shutil.copytree(config.libs_dir, odd / "libs", copy_function=os.link))
    monkeypatch.setattr(config, "share_dir", shutil.copytree(config.share_dir, odd / "share", copy_function=os.link))
    simulator = Path(cocotb.simulator.__file__)
    copy = odd / "cocotb" / simulator.name
    copy.parent.mkdir()
    os.link(simulator, copy)
    monkeypatch.setattr(cocotb.simulator, "__file__", str(copy))
    wires = shutil.copy(Path(__file__).parents[1] / "benches" / "wires.v", "wires.v")
    compile_bench(Path(wires), Path("build"), top="wires")
    (case,) = run_bench(
        ["firstspike_verify.benches.cocotb_protocol"], odd / "build", odd, top="wires", settings={},
        test_filter="stream.case=0$",
    )  # fmt: skip
    assert case.passed
