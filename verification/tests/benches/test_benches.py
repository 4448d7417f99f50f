"""The cocotb benches, on cores that differ in input, fire start, readout, depth and lanes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from benches import run
from designs import DESIGNS

from firstspike.artefact import check_replaceable
from firstspike.errors import FirstspikeError
from firstspike_verify.benches.cocotb_runner import compile_bench, run_bench

MODULES = ("streams", "reset", "registers", "load", "frames")
CASES = {"streams": 31, "reset": 4, "registers": 6, "load": 5, "frames": 11}


#: Where an image takes many clocks, so do many images.
LONG = {("convolution", "streams"), ("convolution", "frames"), ("convolution", "load"), ("convolution", "reset")}


@pytest.mark.parametrize(
    ("design", "module"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] if pair in LONG else [])
        for pair in itertools.product(("window", "early", "events", "leaky", "ramps", "trains", "convolution"), MODULES)
    ],
)
def test_bench(
    design: str, module: str, generated, seed: int, waves: Path | None, request: pytest.FixtureRequest
) -> None:
    assert len(run(generated(design), module, seed, request, waves)) == CASES[module]


def test_registers_without_counters(generated, seed: int, waves: Path | None, request: pytest.FixtureRequest) -> None:
    design = DESIGNS["window"]()
    core = generated("uncounted", replace(design, hardware=replace(design.hardware, counters=False)))
    assert len(run(core, "registers", seed, request, waves)) == CASES["registers"]


@pytest.mark.smoke
def test_one_bench(generated, seed: int, waves: Path | None, request: pytest.FixtureRequest) -> None:
    cases = run(generated("ties"), "streams", seed, request, waves, only=r"back_to_back|idle=long/output=random")
    assert len(cases) == 4


def test_protocol_checkers(session_folder: Path, waves: Path | None) -> None:
    """They find each broken rule on bare wires, and nothing else."""
    build = session_folder / f"wires{'-waves' if waves else ''}"
    compile_bench(Path(__file__).with_name("wires.v"), build, top="wires", waves=waves is not None)
    cases = run_bench(
        ["firstspike_verify.benches.cocotb_protocol"],
        build,
        build,
        top="wires",
        settings={},
        waves=waves,
        name="protocol",
    )
    assert [case for case in cases if not case.passed] == []
    assert len(cases) == 32
    check_replaceable(build)  # what a bench writes is elsewhere


def test_waves_of_a_bench(session_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The VCD is where the output says, with the signals and more than one moment."""
    build, path = session_folder / "wires-waves", tmp_path / "waves" / "bench.vcd"
    wires = Path(__file__).with_name("wires.v")
    compile_bench(wires, build, top="wires", waves=True)
    (case,) = run_bench(
        ["firstspike_verify.benches.cocotb_protocol"], build, build, top="wires", settings={}, waves=path,
        test_filter="stream.case=0$", name="waves",
    )  # fmt: skip
    assert case.passed
    assert f"waves: {path}" in capsys.readouterr().out
    text = path.read_text()
    assert " i_tvalid" in text
    assert "#50\n" in text


def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(FirstspikeError, match="is not installed; Verilator needs it"):
        compile_bench(Path(__file__).with_name("wires.v"), tmp_path / "build", top="wires")
    assert not (tmp_path / "build").exists()


def test_wrong_verilog(tmp_path: Path) -> None:
    """The message names the log, and nothing is left that looks up to date."""
    (tmp_path / "top.v").write_text("module top (input aclk); nonsense\n")
    for _ in range(2):
        with pytest.raises(FirstspikeError, match="compiling") as caught:
            compile_bench(tmp_path / "top.v", tmp_path / "build")
        assert "build.log" in caught.value.one_line()


def test_crash_is_not_a_pass(session_folder: Path, generated) -> None:
    """A module that cannot be imported, or has no such test, is an error with the end of its log."""
    build = generated("ties").compile_bench()
    for module, only in (
        ("firstspike_verify.no_such_bench", None),
        ("firstspike_verify.benches.cocotb_streams", "no_such"),
    ):
        with pytest.raises(RuntimeError, match="ran no test"):
            run_bench([module], build, session_folder, settings={}, test_filter=only, name="crash")
