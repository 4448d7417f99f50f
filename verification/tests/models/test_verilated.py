"""Whole sets of images through the Verilated core, every value compared with the golden model."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Generated
from designs import DESIGNS, IMAGES, parts, pictures
from mutants import CORE
from naive_operations import expected, seen, tally

from firstspike import signals
from firstspike.energy.operations import Counters, count
from firstspike.errors import FirstspikeError
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike_rtl.clocks.cycles import floor
from firstspike_verify.checks.scoreboard import PARTS, compare
from firstspike_verify.models import toolchain, verilated
from firstspike_verify.models.compilation import compile_core
from firstspike_verify.models.verilated import VerilatedCore


def check(core: VerilatedCore, network: Network, seed: int, repeat: str, count: int, **how: object) -> None:
    shown = pictures(network, seed, count)
    expected = golden.run(network, shown)
    run = core.run(shown, network, seed=seed, **how)
    outcome = compare(
        expected, run.result, seed, parts=parts(core), repeat=repeat, events=lambda image: core.last_events(run, image)
    )
    outcome.check()
    outputs = network.sizes[-1] + 2
    spiking = network.populations[:-1] if core.hardware.monitor else ()
    values = sum(p.size * (1 + (network.steps if p.spikes_a_step else 0)) for p in spiking)
    assert outcome.compared == count * (outputs + values)
    assert not run.faults.any()
    if core.hardware.monitor:
        assert run.result == expected


@pytest.mark.parametrize(
    "design",
    [pytest.param(name, marks=[pytest.mark.smoke] if name == "ties" else []) for name in DESIGNS],
)
def test_every_spike_and_membrane(
    design: str, generated, seed: int, waves: Path | None, request: pytest.FixtureRequest
) -> None:
    """Back to back, with stalls, one at a time; then another network in the same core."""
    made = generated(design)
    repeat = f"pytest '{request.node.nodeid}' --seed {seed} --waves"
    count = IMAGES if waves is None else IMAGES // 10  # a VCD grows by a kilobyte a clock
    if waves is not None:
        print(f"waves: {waves}")
    with made.verilated(waves) as core:
        for network in (made.design.network, made.design.other):
            if network is made.design.other:
                core.write("control", 0)
                core.load(network)
            check(core, network, seed, repeat, count)
            check(core, network, seed, repeat, count, stall=0.3)
            check(core, network, seed, repeat, count, stall=0.9)
            check(core, network, seed, repeat, count, one_at_a_time=True)
            digest = "".join(f"{core.read('digest', i):08x}" for i in range(8))
            assert digest == network.digest


@pytest.mark.parametrize("design", ["early", "convolution"])
def test_counters_over_a_whole_set(design: str, generated, seed: int) -> None:
    made = generated(design)
    network = made.design.network
    shown = pictures(network, seed)
    core = made.verilated()
    result = core.run(shown, network).result
    assert core.read("images") == IMAGES
    assert core.read("faults") == 0
    spikes = [core.read("spikes", p) for p in range(len(network.layers))]
    assert (
        spikes
        == result.spikes(network).sum(axis=0).tolist()
        == golden.run(network, shown).spikes(network).sum(axis=0).tolist()
    )
    active = [core.read("active", i) for i in range(len(network.layers))]
    assert active == floor(core.hardware, result).sum(axis=0).tolist()


@pytest.mark.parametrize("design", ["window", "early", "direct", "constant", "convolution", "convolution_early"])
def test_operations_from_counters(design: str, generated, seed: int) -> None:
    """What follows from the RTL's counters is what the golden model's spikes make it do; after a load, too."""
    made = generated(design)
    core = made.verilated()
    for network in (made.design.network, made.design.other):
        if network is made.design.other:
            core.write("control", 0)
            core.load(network)
        shown = pictures(network, seed, 30)
        core.run(shown, network, stall=0.3, seed=seed)
        counters = core.counters()
        registers, done = tally(network, core.hardware, golden.run(network, shown))
        assert counters | {"clocks": [0]} == registers
        assert counters["clocks"][0] > sum(counters["active"]) // len(counters["active"])
        assert +seen(count(core.hardware, Counters.read(counters)), core.hardware) == +expected(done)


@pytest.mark.parametrize("design", ["window", "convolution"])
def test_no_images(design: str, generated) -> None:
    made = generated(design)
    network = made.design.network
    empty = pictures(network, 0)[:0]
    run = made.verilated().run(empty, network)
    assert len(run.result) == 0
    assert run.result == golden.run(network, empty)


def test_classes_only(generated, seed: int) -> None:
    made = generated("window")
    network = made.design.network
    shown = pictures(network, seed)
    run = made.verilated().run(shown, network, send_membranes=False)
    assert run.result.membranes.shape == (IMAGES, 0)
    compare(golden.run(network, shown), run.result, seed, parts=set(PARTS) - {"membranes"}).check()


@pytest.mark.parametrize("design", ["window", "convolution"])
@pytest.mark.parametrize("short", [True, False], ids=["too_short", "too_long"])
def test_malformed_frames(short: bool, design: str, generated, seed: int) -> None:
    """Of many images every third frame is malformed; only those are faulty, and all the others exact."""
    made = generated(design)
    network = made.design.network
    shown = pictures(network, seed, 90)
    core = made.verilated()
    rows = [list(map(int, row)) for row in core.frames_of(shown, network)]
    for i in range(0, len(rows), 3):
        if short:
            rows[i] = rows[i][:-2]
            shown[i, 4 * len(rows[i]) :] = 0
        else:
            rows[i] = rows[i] + [0xFFFFFFFF] * (1 + i)
    run = core.run_frames(rows, stall=0.2, seed=seed)
    compare(golden.run(network, shown), run.result, seed).check()
    assert run.faults.tolist() == [i % 3 == 0 for i in range(90)]
    assert core.read("faults") == 30


def test_wrong_core_is_found(generated) -> None:
    """The comparison of a whole set finds the rarest of the mistakes, and says where it is."""
    with CORE["last_of_equals"]():
        wrong = generated("wrong_last_of_equals", DESIGNS["ties"]())
    network = wrong.design.network
    core = wrong.verilated()
    shown = pictures(network, 1)
    run = core.run(shown, network)
    outcome = compare(
        golden.run(network, shown), run.result, 1, repeat="again", events=lambda image: core.last_events(run, image)
    )
    assert (outcome.spike_times, outcome.membranes, outcome.decision_steps) == (0, 0, 0)
    assert outcome.classes > 0
    message = outcome.describe()
    assert len(outcome.events) == 10
    for piece in (
        f"image {outcome.first[0].image}, output: class",
        "last 10 events",
        "watermark",
        "repeat with: again",
    ):
        assert piece in message


@pytest.mark.parametrize("design", ["ties", "window"])
def test_waves(design: str, generated, tmp_path: Path) -> None:
    """A VCD with the pins and the inside of the core, also when the process has other models, or one of the same."""
    made = generated(design)
    network = made.design.network
    path = tmp_path / "folder" / "core.vcd"
    for other in (made, generated("single")):
        other.verilated().run(pictures(other.design.network, 0, 3), other.design.network)
    with made.verilated(path) as core:
        core.run(pictures(network, 0, 3), network)
    text = path.read_text()
    for name in ("aclk", "s_axis_tdata", "m_axis_tvalid", "m_axis_monitor_tkeep", "s_axil_awvalid", "membranes"):
        assert f" {name}" in text, name
    assert "$enddefinitions" in text
    assert f"#{10 * core.clock + 15}" in text


def test_memories_come_from_the_folder(generated, tmp_path: Path) -> None:
    """Two cores of one Verilog file with other images give the results of their own."""
    first, second = generated("window"), generated("window_other", _swapped())
    for made in (first, second):
        network = made.design.network
        shown = pictures(network, 3)
        assert made.verilated().run(shown, network).result == golden.run(network, shown)
    assert (first.rtl / "top.v").read_bytes() == (second.rtl / "top.v").read_bytes()


def _swapped():
    design = DESIGNS["window"]()
    return type(design)(design.other, design.network, design.hardware)


def test_network_that_does_not_fit(generated) -> None:
    made = generated("window")
    core = made.verilated()
    before = core.clock
    with pytest.raises(FirstspikeError, match="the network has"):
        core.load(DESIGNS["ties"]().network)
    assert core.clock == before


def test_images_that_do_not_fit(generated) -> None:
    made = generated("window")
    with pytest.raises(FirstspikeError, match="the network takes 30"):
        made.verilated().run(np.zeros((2, 31), np.uint8), made.design.network)


@pytest.mark.parametrize("damage", ["changed", "missing", "empty_manifest", "no_folder"])
def test_damaged_folder(damage: str, generated: Generated, tmp_path: Path) -> None:
    folder = tmp_path / "rtl"
    shutil.copytree(generated("ties").rtl, folder)
    match damage:
        case "changed":
            (folder / "top_layer0_bias.mem").write_text("0\n")
        case "missing":
            (folder / "top.v").unlink()
        case "empty_manifest":
            (folder / "top.json").write_text("")
        case "no_folder":
            shutil.rmtree(folder)
    with pytest.raises(FirstspikeError) as caught:
        VerilatedCore(folder, tmp_path / "build")
    assert "\n" not in caught.value.one_line()
    assert "generate the hardware again" in caught.value.one_line()
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_model_is_made_anew(damage: str, generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "MAKE_VARIABLES", toolchain.QUICK_MAKE_VARIABLES)
    whole = compile_core(generated("ties").rtl, tmp_path / "build")
    content = whole.read_bytes()
    whole.write_bytes({"cut": content[:1000], "empty": b"", "other": content[:-1] + b"x"}[damage])
    assert compile_core(generated("ties").rtl, tmp_path / "build") == whole
    with VerilatedCore(generated("ties").rtl, tmp_path / "build") as core:
        assert core.read("identity")


def test_a_model_that_cannot_be_loaded(generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder for temporary files that no program may run from, say."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "Vtop").write_bytes(b"x")
    monkeypatch.setattr(verilated, "compile_core", lambda *_, **__: tmp_path / "build" / "Vtop")
    with pytest.raises(FirstspikeError, match=rf"cannot load {tmp_path}/build/Vtop: Vtop: file too short") as caught:
        VerilatedCore(generated("ties").rtl, tmp_path / "build")
    assert caught.value.one_line().count(str(tmp_path / "build")) == 2


def test_files_of_the_user_beside_the_model_stay(generated, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "mine").write_text("mine")
    (tmp_path / "build" / "build.log").write_text("mine, too")
    with pytest.raises(FirstspikeError, match="it holds other files"):
        compile_core(generated("ties").rtl, tmp_path / "build")
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"mine", "build.log"}


def tools_without(missing: str, folder: Path) -> str:
    """A PATH on which everything is found but one program."""
    folder.mkdir()
    for name in ("perl", "make", "g++", "c++", "sh", "cc", "as", "ld", "python3", "rm", "touch", "ar"):
        found = shutil.which(name)
        if found and name != missing:
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.mark.parametrize("missing", ["g++", "make", "perl"])
def test_missing_tool(missing: str, generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", tools_without(missing, tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(FirstspikeError) as caught:
        VerilatedCore(generated("ties").rtl, tmp_path / "build")
    assert str(caught.value).startswith(f"{missing} is not installed")
    assert "package manager" in caught.value.one_line()
    assert "\n" not in caught.value.one_line()
    assert not (tmp_path / "build").exists()


def test_wrong_verilator_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(toolchain.VERILATOR_SETTING, str(tmp_path))
    with pytest.raises(FirstspikeError, match="which has no verilator program") as caught:
        toolchain.environment()
    assert "unset it" in caught.value.one_line()


def test_own_verilator_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "verilator").touch(mode=0o755)
    monkeypatch.setenv(toolchain.VERILATOR_SETTING, str(tmp_path))
    assert shutil.which("verilator", path=toolchain.environment()["PATH"]) == str(tmp_path / "verilator")


@pytest.mark.smoke
def test_python_is_found_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Verilator's makefile calls it; a virtual environment that is not activated has it all the same."""
    for program in ("perl", "make", "g++"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("python", path=toolchain.environment()["PATH"]) == str(Path(sys.executable).parent / "python")


def test_failing_compiler(generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the tool's own words and the log; a second try starts anew; nothing that looks whole is left."""
    verilator = tmp_path / "bin" / "verilator"
    verilator.parent.mkdir()
    verilator.write_text("#!/bin/sh\necho '%Error: out of order'\nexit 1\n")
    verilator.chmod(0o755)
    monkeypatch.setenv(toolchain.VERILATOR_SETTING, str(verilator.parent))
    build = tmp_path / "build"
    for _ in range(2):
        with pytest.raises(FirstspikeError, match="compiling the Verilog failed: %Error: out of order") as caught:
            compile_core(generated("ties").rtl, build)
        assert caught.value.hint == f"see {build / 'build.log'}"
        assert not (build / "Vtop").exists()
        assert not (build / "inputs.sha256").exists()


def test_unwritable_build_folder(generated, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FirstspikeError, match="cannot write"):
        VerilatedCore(generated("ties").rtl, tmp_path / "file" / "build")


def test_unwritable_waves(generated, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FirstspikeError, match="cannot write"):
        generated("ties").verilated(tmp_path / "file" / "core.vcd")


def test_a_signal_stops_a_simulation(generated) -> None:
    """While the clock loop runs, which would take minutes."""
    made = generated("ties")
    core = made.verilated()
    shown = pictures(made.design.network, 0, 200_000)
    rows = core.frames_of(shown, made.design.network)
    begin = time.monotonic()
    with signals.handled():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(signals.Stopped):
            core.run_frames(rows, stall=0.9)
    assert time.monotonic() - begin < 30


def test_a_full_disk_stops_a_simulation_with_waves(generated, tmp_path: Path) -> None:
    made = generated("ties")
    core = made.verilated(tmp_path / "core.vcd")
    shown = pictures(made.design.network, 0, 100)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(FirstspikeError, match=r"cannot write the waves: .*File too large") as caught:
            core.run(shown, made.design.network)
        with pytest.raises(FirstspikeError, match="cannot write the waves"):
            core.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.hint == "make room, or simulate fewer images"
    core.close()


def test_missing_results_are_an_error(generated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that is asked for more results than it has images says how many came."""
    monkeypatch.setattr(verilated, "PATIENCE_CLOCKS", 20_000)
    made = generated("ties")
    core = made.verilated()
    rows = core.frames_of(pictures(made.design.network, 0, 2), made.design.network)
    with pytest.raises(AssertionError, match=r"no transfer for too long: 2 of 3 records.*seed 0"):
        core.run_frames(rows, images=3)


def test_extra_results_are_an_error(generated) -> None:
    made = generated("ties")
    core = made.verilated()
    rows = core.frames_of(pictures(made.design.network, 0, 4), made.design.network)
    with pytest.raises(AssertionError):
        core.run_frames(rows, images=2)
