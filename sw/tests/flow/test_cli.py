"""The commands as a user runs them: the chain end to end, and one line for each kind of wrong input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_page
from commands import firstspike, refused
from PIL import Image

from firstspike.comparison import measured
from firstspike.errors import FirstspikeError
from firstspike.flow import cli, simulation
from firstspike.flow import report as reporting
from firstspike.flow.workspace import Workspace, write_json
from firstspike.network import golden
from firstspike.network.model import Network, dense

EXPERIMENT = """
name = "tiny"
[data]
set = "digits"
[network]
hidden = [12]
[train]
epochs = 12
batch_size = 128
learning_rate = 0.02
[hardware]
lanes = [4, 3]
"""


@pytest.fixture(scope="module")
def chain_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the whole chain has run, and what it printed."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "tiny.toml").write_text(EXPERIMENT)
    done = firstspike("run", "tiny.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.fixture
def ran(chain_run: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder, to spoil."""
    shutil.copytree(chain_run[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.smoke
def test_run_is_exact_and_says_so(chain_run: tuple[Path, str]) -> None:
    folder, printed = chain_run
    report = json.loads((folder / "build/tiny/report.json").read_text())
    report_page.validate(report)
    assert report["images"] == {"test": 360, "rtl": 360}
    assert report["netlist"] is None
    differing = {k: v for k, v in report["mismatches"].items() if k != "compared"}
    assert set(differing.values()) == {0}
    # Every spike time (input and hidden) twice, the membranes, and class and step of both passes.
    assert report["mismatches"]["compared"] == 360 * (2 * (64 + 12) + 10 + 4)
    assert report["accuracy"]["surrogate"] == report["accuracy"]["golden"] == report["accuracy"]["rtl"] > 0.9
    assert report["cycles"]["predicted_equal"] is True
    assert report["cycles"]["predicted_mean"] == report["cycles"]["mean"]
    assert report["energy_estimate"]["images"] == 360
    assert "not measured" in report["energy_estimate"]["label"]
    assert (report["latency_steps"], report["decision"]["undecided"]) == (16, None)
    assert report["decision"]["latency_mean"] == 16
    for word in (
        "T 8   fire start 8   16 in all   readout membrane",
        "accuracy",
        "360 of 360",
        "mismatches",
        "report.json",
        "dense 8-bit ANN",
        "estimate",
    ):
        assert word in printed


@pytest.mark.smoke
def test_pictures_are_pictures(chain_run: tuple[Path, str]) -> None:
    for name in ("raster.png", "kernels.png", "energy.png"):
        with Image.open(chain_run[0] / "build/tiny" / name) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels.shape[1] > 600
        assert 0.01 < (pixels < 200).mean() < 0.6


def test_the_page_of_keys_reads_a_report(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of docs/report.md."""
    (ran / "build/tiny").rename(ran / "build/digits")
    monkeypatch.chdir(ran)
    (snippet,) = re.findall(r"```python\n(.*?)```", report_page.PAGE.read_text(), re.DOTALL)
    printed: list[Any] = []
    exec(snippet, {"print": lambda *values: printed.extend(values)})
    report = json.loads((ran / "build/digits/report.json").read_text())
    assert printed == [report["accuracy"]["golden"], report["cycles"]["interval_mean"]]


def test_stages_one_by_one_give_the_same_network(chain_run: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    for verb in ("train", "quantize", "export", "generate", "simulate", "report"):
        done = firstspike(verb, "tiny.toml", "--out", "elsewhere", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "elsewhere" in done.stdout
    mine, before = tmp_path / "elsewhere", chain_run[0] / "build/tiny"
    assert Network.load(mine / "network").digest == Network.load(before / "network").digest
    for name in ("top.v", "top.json", "top_layer0_weight.mem"):
        assert (mine / "rtl" / name).read_bytes() == (before / "rtl" / name).read_bytes()


def test_simulation_with_stalls_and_waves(ran: Path) -> None:
    done = firstspike("simulate", "tiny.toml", "--images", "5", "--stall", "0.3", "--seed", "7", "--waves", cwd=ran)
    assert done.returncode == 0, done.stderr
    assert "waves: build/tiny/simulation.vcd" in done.stdout
    assert "s_axis_tvalid" in (ran / "build/tiny/simulation.vcd").read_text()
    simulation = json.loads((ran / "build/tiny/simulation.json").read_text())
    assert simulation["images"] == 5
    assert simulation["mismatches"]["spike_times"] == 0


def test_lanes_for_a_target(ran: Path) -> None:
    """The options come before the file, and the core keeps the clocks that were asked for on images it was not for."""
    from firstspike.network import golden
    from firstspike_rtl.clocks import cycles, folding
    from firstspike_rtl.top.verilog import load_manifest

    workspace = Workspace.open(ran / "tiny.toml", ran / "build/tiny")
    expected = golden.run(workspace.frozen, workspace.dataset.test_images)
    lanes = []
    for clocks in (40, 100, 400):
        done = firstspike("generate", "tiny.toml", "--clocks", str(clocks), cwd=ran)
        assert done.returncode == 0, done.stderr
        _, hardware = load_manifest(ran / "build/tiny/rtl")
        assert cycles.predict(hardware, expected).intervals.mean() <= 1.1 * clocks
        lanes.append([layer.lanes for layer in hardware.layers])
        rows = [line.split() for line in done.stdout.splitlines() if re.match(r" [01] dense ", line)]
        assert [int(row[3]) for row in rows] == lanes[-1]
        assert [float(row[7]) for row in rows] == [
            round(x, 1) for x in cycles.floor(hardware, workspace.sample).mean(axis=0)
        ]
    assert lanes[0] > lanes[1] > lanes[2]
    assert len(workspace.sample) == 1000

    done = firstspike("generate", "tiny.toml", "--blocks", "7", cwd=ran)
    assert done.returncode == 0, done.stderr
    _, hardware = load_manifest(ran / "build/tiny/rtl")
    assert sum(row.blocks for row in folding.rows(hardware, expected)) <= 7

    for verb in ("export", "generate", "simulate", "report"):
        options = [] if verb in ("simulate", "report") else ["--lanes", "2,5"]
        assert firstspike(verb, "tiny.toml", *options, cwd=ran).returncode == 0
    assert "layer1_weight: 24 rows" in (ran / "build/tiny/images/layer1_weight.mem").read_text()
    # The core as generated, not as the file asks for.
    assert json.loads((ran / "build/tiny/report.json").read_text())["hardware"]["lanes"] == [2, 5]

    (ran / "tiny.toml").write_text(EXPERIMENT.replace("lanes = [4, 3]", "clocks = 100"))
    assert firstspike("generate", "tiny.toml", cwd=ran).returncode == 0
    assert [layer.lanes for layer in load_manifest(ran / "build/tiny/rtl")[1].layers] == lanes[1]


def test_a_core_of_another_name(ran: Path) -> None:
    """Module, files and IP have the name; every stage behind it takes it from the manifest."""
    done = firstspike("generate", "tiny.toml", "--name", "engine", cwd=ran)
    assert done.returncode == 0, done.stderr
    rtl = ran / "build/tiny/rtl"
    assert {path.name.partition(".")[0].partition("_")[0] for path in rtl.iterdir()} - {""} == {"engine"}
    modules = re.findall(r"^module (\w+) ", (rtl / "engine.v").read_text(), re.M)
    assert modules[0] == "engine"
    assert all(module.startswith("engine_") for module in modules[1:])
    for verb, *options in (("vivado",), ("simulate", "--images", "5")):
        done = firstspike(verb, "tiny.toml", *options, cwd=ran)
        assert done.returncode == 0, done.stderr
    vivado = ran / "build/tiny/vivado"
    assert {path.name for path in vivado.glob("src/*.v")} == {"engine.v", "linked_engine.v", "arty_a7_100t.v"}
    assert "linked_engine core (" in (vivado / "src/arty_a7_100t.v").read_text()
    assert "module linked_engine (" in (vivado / "src/linked_engine.v").read_text()
    script = (vivado / "build.tcl").read_text()
    assert "set top {engine}\n" in script
    assert "set ip {firstspike_engine}\n" in script
    assert firstspike("export", "tiny.toml", cwd=ran).returncode == 0
    done = firstspike("report", "tiny.toml", cwd=ran)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("release", "'release' is a word of Verilog or VHDL; give another name"),
        ("net-1", "'net-1' is no name of a module; use letters, digits and single _ between them"),
        ("aclk", "'aclk' is the name of a port of the core; give another name"),
        ("arty_a7_100t", "'arty_a7_100t' is the name of a board's top module; give another name"),
        ("left_core", "'left_core' is like the name of a module in a core: _core; use another word in place of core"),
        ("n" * 300, "a name of 300 characters; use 60 or fewer"),
    ],
)
def test_names_that_no_core_can_have(name: str, words: str, ran: Path) -> None:
    refused(firstspike("generate", "tiny.toml", "--name", name, cwd=ran), words)
    assert (ran / "build/tiny/rtl/top.v").exists()


def test_options_that_would_play_no_part(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    for option in (("--board", "ulx3s-85f"), ("--baud", "9600")):
        refused(
            firstspike("infer", "tiny.toml", "x.png", *option, cwd=tmp_path), f"{option[0]} is given without a port"
        )
    board, core = ("bitstream", "tiny.toml", "--board", "icebreaker"), ("bitstream", "tiny.toml")
    for options in (("--device", "ecp5-25k"), ("--seed", "2")):
        refused(firstspike(*board, *options, cwd=tmp_path), f"{options[0]} is given with a board", "leave out")
    for options in (("--seeds", "2"), ("--baud", "9600"), ("--reload", "x"), ("--lanes", "2")):
        refused(firstspike(*core, *options, cwd=tmp_path), f"{options[0]} is given without a board", "give --board")
    for options in (("--seeds", "2"), ("--clock", "9"), ("--lanes", "2")):
        refused(firstspike(*board, "--reload", "x", *options, cwd=tmp_path), f"{options[0]} is given with --reload")
    (tmp_path / "folder").mkdir()
    refused(firstspike("export", "folder", "--out", "x", cwd=tmp_path), "--out is given with the folder folder")
    (tmp_path / "folder").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "tiny.toml", "--out", ""], ["invalid value for '--out': it is empty", "see '", "train --help'"]),
        (["simulate", "tiny.toml", "--imags", "3"], ["no such option: --imags", "--images"]),
        (["simulate", "tiny.toml", "--images", "0"], ["invalid value for '--images': "]),
        (["simulate", "tiny.toml", "--images"], ["--images", "requires an argument"]),
        (["simulate"], ["missing argument 'EXPERIMENT'"]),
        (["simulate", "tiny.toml", "more"], ["unexpected extra argument"]),
        (["fly"], ["no such command 'fly'"]),
        (["bitstream", "tiny.toml", "--seed", "-5"], ["invalid value for '--seed': "]),
        (["generate", "tiny.toml", "--lanes", "\u0663"], ["--lanes is '\u0663'", "give a number"]),
        (["generate", "tiny.toml", "--lanes", "1_0"], ["--lanes is '1_0'"]),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    done = firstspike(*arguments, cwd=tmp_path, PYTHONUTF8="1")
    refused(done, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = firstspike(cwd=tmp_path)
    assert "Usage:" in done.stdout + done.stderr
    assert "error" not in done.stderr
    assert firstspike("--version", cwd=tmp_path).returncode == 0


def test_more_images_than_there_are(ran: Path) -> None:
    done = firstspike("simulate", "tiny.toml", "--images", "9999", cwd=ran)
    assert done.returncode == 0
    assert done.stderr == "note: there are 360 test images, not 9999: all are simulated\n"


@pytest.mark.parametrize(("verb", "folder"), [("generate", "rtl"), ("quantize", "network"), ("vivado", "vivado")])
def test_files_of_the_user_among_artefacts_stay(verb: str, folder: str, ran: Path) -> None:
    assert firstspike(verb, "tiny.toml", cwd=ran).returncode == 0
    mine = ran / "build/tiny" / folder / "mine.txt"
    mine.write_text("mine")
    refused(firstspike(verb, "tiny.toml", cwd=ran), "it holds mine.txt, which firstspike did not write", "move it")
    if folder != "vivado":
        before = (ran / "build/tiny/train/last.ckpt").read_bytes()
        refused(firstspike("run", "tiny.toml", cwd=ran), "it holds mine.txt")
        assert (ran / "build/tiny/train/last.ckpt").read_bytes() == before
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("out", [".", "mine"])
def test_a_folder_of_the_user_is_no_place_for_artefacts(out: str, ran: Path) -> None:
    (ran / out).mkdir(exist_ok=True)
    (ran / out / "report.json").write_text("mine")
    for verb in ("run", "train", "report"):
        refused(firstspike(verb, "tiny.toml", "--out", out, cwd=ran), f"cannot work in {out}", "nothing of firstspike")
    assert (ran / out / "report.json").read_text() == "mine"
    assert not (ran / out / "train").exists()


def test_the_summary_says_of_which_images(ran: Path) -> None:
    done = firstspike("generate", "tiny.toml", cwd=ran)
    assert re.search(r"clocks an image \(predicted\), \d+ .*blocks, for the first 1000 training images\n", done.stdout)
    assert firstspike("simulate", "tiny.toml", "--images", "20", cwd=ran).returncode == 0
    done = firstspike("report", "tiny.toml", cwd=ran)
    assert re.search(r"accuracy .*golden [\d.]+ %   rtl [\d.]+ % of 20 images\n", done.stdout)
    assert done.stdout.startswith("tiny: digits")


def test_targets_out_of_reach(ran: Path) -> None:
    def wrong(*options: str) -> subprocess.CompletedProcess[str]:
        return firstspike("generate", "tiny.toml", *options, cwd=ran)

    refused(wrong("--clocks", "3"), "3 clocks an image are out of reach", "layer 0 dense 12", "ask for")
    refused(wrong("--blocks", "1"), "the smallest folding takes 4 blocks", "larger device")
    refused(wrong("--clocks", "50", "--lanes", "3"), "--lanes and --clocks are given together")
    refused(wrong("--lanes", "many"), "--lanes is 'many'")
    refused(wrong("--lanes", "2,3,4"), "lanes are given for 3 layers")


def test_reload_of_another_network(ran: Path) -> None:
    """A second training of the same shape runs in the RTL that was generated for the first."""
    other = EXPERIMENT.replace('"tiny"', '"other"').replace("epochs = 12", "epochs = 12\nseed = 5")
    (ran / "other.toml").write_text(other)
    for verb in ("train", "quantize"):
        assert firstspike(verb, "other.toml", cwd=ran).returncode == 0
    networks = [Network.load(ran / f"build/{name}/network") for name in ("tiny", "other")]
    assert networks[0].digest != networks[1].digest
    arguments = ["simulate", "tiny.toml", "--reload", "build/other/network"]
    done = firstspike(*arguments, cwd=ran)
    if done.returncode:  # the second network's sums may need a bit more than the first one's
        refused(done, "needs membrane_bits", "the hardware has", "[hardware] spare_membrane_bits = ")
        wider = EXPERIMENT + "spare_membrane_bits = 2\n"
        (ran / "tiny.toml").write_text(wider)
        assert firstspike("generate", "tiny.toml", cwd=ran).returncode == 0
        done = firstspike(*arguments, cwd=ran)
    assert done.returncode == 0, done.stderr
    reloaded = json.loads((ran / "build/tiny/reloaded.json").read_text())
    assert reloaded["network"] == networks[1].digest
    assert reloaded["images"] == 360
    assert {v for k, v in reloaded["mismatches"].items() if k != "compared"} == {0}
    falling = tuple(range(8, 0, -1))
    misfit = dense(
        [np.ones((11, 64), np.int64), np.ones((10, 11), np.int64)], [np.zeros(11, np.int64), np.zeros(10, np.int64)],
        weight_bits=6, kernels=[falling, falling], thresholds=[falling], encoder=(8,) * 256, steps=8, fire_start=8,
    )  # fmt: skip
    misfit.save(ran / "misfit")
    refused(firstspike("simulate", "tiny.toml", "--reload", "misfit", cwd=ran), "channels 11, the hardware 12")


def test_simulation_of_the_netlist(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = firstspike("simulate", "tiny.toml", "--netlist", "--images", "25", "--waves", cwd=ran)
    assert done.returncode == 0, done.stderr
    assert "simulate: build/tiny/netlist_simulation.json" in done.stdout
    assert "netlist and golden model agree" in done.stdout
    assert "s_axis_tvalid" in (ran / "build/tiny/simulation.vcd").read_text()
    assert "DP16KD" in (ran / "build/tiny/netlist/top.v").read_text()
    monkeypatch.chdir(ran)
    workspace = Workspace.open(Path("tiny.toml"))
    found = json.loads(workspace.netlist_simulation.read_text())
    assert {v for k, v in found["mismatches"].items() if k != "compared"} == {0}
    assert found["mismatches"]["compared"] == 25 * (2 * (64 + 12) + 10 + 4)
    assert found["cycles"]["predicted_equal"] is True
    done = firstspike("report", "tiny.toml", cwd=ran)
    assert "25 test images through the synthesised netlist: 0 mismatches" in done.stdout
    report = json.loads(workspace.report.read_text())
    report_page.validate(report)
    assert report["netlist"] == {key: found[key] for key in ("images", "mismatches", "cycles")}
    assert report["images"]["rtl"] == 360

    workspace.netlist_simulation.write_text(json.dumps(found | {"first_difference": "image 0 differs"}))
    with pytest.raises(simulation.MismatchError, match=r"image 0 differs\nrepeat with: .* --images 25 .* --netlist"):
        simulation.check_simulation(workspace, Path("tiny.toml"), netlist=True)
    simulation.check_simulation(workspace, Path("tiny.toml"))
    assert firstspike("generate", "tiny.toml", "--lanes", "3,3", cwd=ran).returncode == 0
    assert reporting.netlist(workspace) is None  # that was another core
    refused(firstspike("report", "tiny.toml", cwd=ran), "simulation.json is of other RTL", "run 'firstspike simulate'")


def test_infer_by_golden_model_and_rtl(ran: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    names = []
    for n in range(3):
        names.append(f"digit{n}.png")
        Image.fromarray((digits.images[n] * 255 / 16).astype(np.uint8)).save(ran / names[-1])
    golden = firstspike("infer", "tiny.toml", *names, cwd=ran)
    rtl = firstspike("infer", "tiny.toml", *names, "--rtl", cwd=ran)
    assert golden.returncode == rtl.returncode == 0, golden.stderr + rtl.stderr
    assert golden.stdout == rtl.stdout
    assert golden.stdout.splitlines() == [f"digit{n}.png: class {n}" for n in range(3)]
    refused(firstspike("infer", "tiny.toml", "tiny.toml", cwd=ran), "tiny.toml is not a picture")
    with_energy = firstspike("infer", "tiny.toml", *names, "--rtl", "--energy", cwd=ran)
    *classes, energy = with_energy.stdout.splitlines()
    assert classes == golden.stdout.splitlines()
    assert re.fullmatch(r"energy: core [\d.]+\.\.[\d.]+ .* nJ an image \(estimate, .*not measured\)", energy)
    refused(firstspike("infer", "tiny.toml", *names, "--energy", cwd=ran), "no counters", "--rtl or --port")


def test_a_core_without_counters(ran: Path) -> None:
    """The same estimate from the golden model's counts, which the report says; what needs the core's is refused."""
    path = ran / "build/tiny/report.json"
    counted = json.loads(path.read_text())
    (ran / "tiny.toml").write_text(EXPERIMENT + "counters = false\n")
    for verb in ("generate", "simulate", "report"):
        done = firstspike(verb, "tiny.toml", cwd=ran)
        assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    report_page.validate(report)
    assert (counted["hardware"]["counters"], report["hardware"]["counters"]) == (True, False)
    assert (counted["energy_estimate"]["counters"], report["energy_estimate"]["counters"]) == ("rtl", "golden")
    assert report["energy_estimate"] | {"counters": "rtl"} == counted["energy_estimate"]
    assert report["mismatches"] == counted["mismatches"]
    assert report["cycles"] == counted["cycles"]
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(ran / "grey.png")
    assert firstspike("infer", "tiny.toml", "grey.png", "--rtl", cwd=ran).returncode == 0
    refused(firstspike("infer", "tiny.toml", "grey.png", "--rtl", "--energy", cwd=ran), "without counters", "true in")


def test_an_older_simulation_is_refused(ran: Path) -> None:
    """One that does not say what counted: the stage is to be run again."""
    path = ran / "build/tiny/simulation.json"
    simulation = json.loads(path.read_text())
    del simulation["counters_from"]
    path.write_text(json.dumps(simulation))
    refused(firstspike("report", "tiny.toml", cwd=ran), "older version", "firstspike simulate")


def test_a_difference_fails_the_run(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another network in the RTL than in the golden model: the run fails, and tells how to repeat it."""
    monkeypatch.chdir(ran)
    workspace = Workspace.open(Path("tiny.toml"))
    weights = workspace.rtl / "top_layer0_weight.mem"
    lines = weights.read_text().splitlines()
    lines[20], lines[21] = lines[21], lines[20]
    weights.write_text("\n".join(lines) + "\n")
    manifest = json.loads((workspace.rtl / "top.json").read_text())
    import hashlib

    manifest["files"]["top_layer0_weight.mem"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    from firstspike_rtl.top.verilog import write_manifest

    write_manifest(workspace.rtl, manifest)
    monkeypatch.setattr(sys, "argv", ["firstspike", "simulate", "tiny.toml", "--images", "40", "--seed", "3"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert "membrane" in printed
    assert "firstspike simulate tiny.toml" in printed
    assert "--seed 3 --waves" in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(("hidden = [12]", 'kernel = { kind = "sine" }'), ["tiny.toml", "unknown kernel 'sine'", "linear"],
                     id="unknown kernel"),
        pytest.param(("epochs = 12", "epochs = 0"), ["[train] epochs", "1.."], id="epochs"),
        pytest.param(("lanes = [4, 3]", "lanes = [4, 3, 2]"), ["lanes", "2"], id="too many lanes"),
        pytest.param(("lanes = [4, 3]", "lanes = [99, 3]"), ["99 lanes for 12 neurons"], id="lanes"),
        pytest.param(("lanes =", "tracks ="), ["[hardware]", "tracks", "lanes"], id="unknown key"),
        pytest.param(('set = "digits"', 'set = "npz"\npath = "none.npz"'), ["none.npz"], id="no data file"),
    ],
)  # fmt: skip
def test_wrong_experiment(ran: Path, change: tuple[str, str], words: list[str]) -> None:
    assert change[0] in EXPERIMENT
    (ran / "tiny.toml").write_text(EXPERIMENT.replace(*change))
    verb = "generate" if "lanes" in words[0] or "lanes" in change[1] else "train"
    before = sorted(p.name for p in (ran / "build/tiny/rtl").iterdir())
    refused(firstspike(verb, "tiny.toml", cwd=ran), *words)
    assert sorted(p.name for p in (ran / "build/tiny/rtl").iterdir()) == before


def test_missing_stage(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    refused(firstspike("quantize", "tiny.toml", cwd=tmp_path), "run 'firstspike train' first")
    refused(firstspike("generate", "tiny.toml", cwd=tmp_path), "run 'firstspike quantize' first")
    refused(firstspike("train", "absent.toml", cwd=tmp_path), "absent.toml")
    assert not (tmp_path / "build").exists()


def test_changed_network(ran: Path) -> None:
    path = ran / "build/tiny/network/network.json"
    path.write_text(path.read_text().replace('"steps": 8', '"steps": 7'))
    refused(firstspike("generate", "tiny.toml", cwd=ran), "network.json was changed", "again")


def test_network_of_another_version(ran: Path) -> None:
    path = ran / "build/tiny/network/network.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 99'))
    refused(firstspike("export", "tiny.toml", cwd=ran), "format 99")


def test_changed_rtl(ran: Path) -> None:
    path = ran / "build/tiny/rtl/top.v"
    path.write_text(path.read_text() + "\n")
    refused(firstspike("simulate", "tiny.toml", cwd=ran), "top.v was changed", "generate")


def test_report_of_another_network(ran: Path) -> None:
    path = ran / "build/tiny/simulation.json"
    simulation = json.loads(path.read_text())
    path.write_text(json.dumps(simulation | {"network": "0" * 64}))
    refused(firstspike("report", "tiny.toml", cwd=ran), "another network")


def test_unwritable_output(ran: Path) -> None:
    (ran / "file").write_text("")
    for verb in ("train", "run"):
        refused(firstspike(verb, "tiny.toml", "--out", "file/below", cwd=ran), "cannot write", "--out")


def test_missing_compiler(ran: Path, tmp_path: Path) -> None:
    shutil.rmtree(ran / "build/tiny/verilated")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("perl", "make"):
        (tools / name).symlink_to(str(shutil.which(name)))
    refused(firstspike("simulate", "tiny.toml", cwd=ran, PATH=str(tools)), "g++ is not installed")
    assert not (ran / "build/tiny/verilated").exists()


def test_truncated_mnist(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT.replace('"digits"', '"mnist"'))
    data = tmp_path / "data"
    data.mkdir()
    refused(firstspike("train", "tiny.toml", cwd=tmp_path, FIRSTSPIKE_DATA=str(data)), "FIRSTSPIKE_DATA", "-ubyte")
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (data / f"{part}-{kind}-ubyte.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    refused(firstspike("train", "tiny.toml", cwd=tmp_path, FIRSTSPIKE_DATA=str(data)), "-ubyte.gz")


@pytest.mark.smoke
def test_every_verb_has_help_with_an_example() -> None:
    from typer.testing import CliRunner

    runner = CliRunner()
    overview = runner.invoke(cli.app, ["--help"]).output
    verbs = [command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback]
    assert set(verbs) >= {"train", "quantize", "export", "generate", "simulate", "report", "run", "infer"}
    for verb in verbs:
        assert verb in overview
        outcome = runner.invoke(cli.app, [verb, "--help"])
        assert outcome.exit_code == 0
        assert f"Example: firstspike {verb} examples/" in " ".join(outcome.output.split())


@pytest.mark.smoke
def test_nothing_to_simulate_is_no_success(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    workspace = Workspace.open(Path("tiny.toml"))
    with pytest.raises(FirstspikeError, match="no images"):
        simulation.simulate(workspace, count=0)


def test_a_device_that_is_unknown(ran: Path) -> None:
    refused(firstspike("bitstream", "tiny.toml", "--device", "abacus", cwd=ran), "unknown device 'abacus'", "ecp5-25k")
    assert not (ran / "build/tiny/bitstream").exists()


@pytest.mark.slow
def test_bitstream(ran: Path) -> None:
    # The core by itself has more pins than the smallest device.
    refused(firstspike("bitstream", "tiny.toml", "--device", "ecp5-25k", cwd=ran), "TRELLIS_IO", "does not fit")
    assert not (ran / "build/tiny/bitstream").exists()
    done = firstspike("bitstream", "tiny.toml", cwd=ran)
    assert done.returncode == 0, done.stderr
    assert (ran / "build/tiny/bitstream/top.bit").stat().st_size > 100_000
    reported = firstspike("report", "tiny.toml", cwd=ran)
    assert (reported.returncode, reported.stderr) == (0, "")
    report = json.loads((ran / "build/tiny/report.json").read_text())
    report_page.validate(report)
    hardware = report["hardware"]
    # Both weight memories are too small for more than one block each.
    assert hardware["resources"]["DP16KD"]["used"] >= 1
    assert hardware["fmax_mhz"] > 20


def test_a_board_that_is_not_ready(ran: Path) -> None:
    for experiment in ("tiny.toml", "build/tiny"):
        refused(
            firstspike("bitstream", experiment, "--board", "abacus", cwd=ran), "unknown board 'abacus'", "ulx3s-85f"
        )
    reload = ("--board", "icebreaker", "--reload", "build/tiny/network")
    refused(firstspike("bitstream", "tiny.toml", *reload, cwd=ran), "holds no routed design", "bitstream --board")
    picture = Image.new("L", (8, 8))
    picture.paste(255, (2, 1, 6, 7))
    picture.save(ran / "block.png")
    port = ("--port", "/dev/null", "--board", "icebreaker")
    refused(firstspike("infer", "tiny.toml", "block.png", *port, cwd=ran), "bitstream --board icebreaker")
    refused(firstspike("bitstream", "tiny.toml", "--clock", "40", cwd=ran), "--clock", "--board")
    assert not (ran / "build/tiny/boards").exists()
    refused(firstspike("bitstream", "build", "--board", "icebreaker", cwd=ran), "build/network does not exist")


def test_a_board(ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is ordered from the flow, and what is printed and reported of its figures; the flow itself stands still."""
    from firstspike_rtl.boards import flow as board_flow
    from firstspike_rtl.boards.order import Order
    from firstspike_rtl.clocks import cycles

    monkeypatch.chdir(ran)
    workspace = Workspace.open(Path("tiny.toml"))
    ordered: list[Order] = []

    def build(order: Order, network: Network, folder: Path, **settings: Any) -> dict[str, Any]:
        ordered.append(order)
        ordered.append(replace(order, hardware=settings["fewer_lanes"](2)))
        figures = {
            "bitstream": "firstspike.bin", "network": network.digest, "hardware": order.hardware.to_json(),
            "resources": {"LUTs": {"used": 3, "available": 7}}, "clock_hz": 18_000_000, "fmax_mhz": 36.0, "seed": 2,
            "baud": 1_000_000, "seconds": {"synthesis": 4.0, "filling": 1.0},
        }  # fmt: skip
        write_json(folder / board_flow.FIGURES, figures)
        return figures

    monkeypatch.setattr(board_flow, "build", build)
    options = ["--board", "icebreaker", "--clock", "17", "--seeds", "3"]
    for lanes in ([], ["--lanes", "3"]):
        monkeypatch.setattr(sys, "argv", ["firstspike", "bitstream", "tiny.toml", *options, *lanes])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0
    # The experiment asks for lanes 4 and 3; the board has room for one, unless the user says otherwise.
    assert [[x.lanes for x in order.hardware.layers] for order in ordered] == [[1, 1], [2, 2], [3, 3], [2, 2]]
    assert {(order.board, order.megahertz, order.seeds) for order in ordered} == {("icebreaker", 17.0, 3)}
    assert not any(order.hardware.monitor for order in ordered)
    assert "LUTs 3 of 7" in capsys.readouterr().out
    report = reporting.write(workspace)
    report_page.validate(json.loads(json.dumps(report)))
    figures = report["boards"]["icebreaker"]
    result = golden.run(workspace.frozen, workspace.dataset.test_images)
    interval = cycles.predict(ordered[2].hardware, result).intervals.mean()
    assert figures["interval"] == interval
    assert figures["images_per_s"]["at_clock"] == pytest.approx(18e6 / interval)
    assert figures["images_per_s"]["at_fmax"] == pytest.approx(36e6 / interval)
    # Up: END, 8 + 64 + 4, END; down: END, 8 + 44 + 4, END.
    assert figures["images_per_s"]["over_link"] == 1_000_000 / (10 * (78 + 58))
    # After a single image no other one comes: there is no interval.
    single = reporting.boards(workspace, result[:1])["icebreaker"]
    assert set(figures) - set(single) == {"interval", "images_per_s"}
    shown = [
        [figure["what"] for figure in made["figures"]]
        for entry in (figures, single)
        for made in measured.of_report(workspace.report, report | {"boards": {"icebreaker": entry}}, [])
        if made["section"] == "boards"
    ]
    assert [what for what in shown[0] if what not in shown[1]] == [
        "images/s at the clock", "images/s over the serial port",
    ]  # fmt: skip


def test_a_convolutional_network_of_colours(tmp_path: Path) -> None:
    """From training to the RTL: every spike and every clock as predicted; the golden model and the RTL tell colours."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = rng.integers(0, 60, (400, 3, 8, 8)).astype(np.uint8)
    images[np.arange(400), labels] += 150  # the class is a colour
    np.savez(
        tmp_path / "colours.npz",
        train_images=images[:300], train_labels=labels[:300], test_images=images[300:], test_labels=labels[300:],
    )  # fmt: skip
    (tmp_path / "colours.toml").write_text(
        '[data]\nset = "npz"\npath = "colours.npz"\n[network]\nhidden = "4C3-P2"\n'
        "[train]\nepochs = 8\nbatch_size = 50\n"
    )
    done = firstspike("run", "colours.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "build/colours/report.json").read_text())
    assert report["network"] == "3x8x8-4C3-P2-3"
    compared = report["mismatches"].pop("compared")
    assert set(report["mismatches"].values()) == {0}
    neurons = 3 * 8 * 8 + 4 * 3 * 3
    assert compared == 100 * ((neurons + 3 + 2) + (neurons + 2))  # streamed, and alone without membranes
    assert report["cycles"]["predicted_equal"] is True
    names = [f"{name}.png" for name in ("red", "green", "blue")]
    for name in names:
        Image.new("RGB", (40, 40), name.partition(".")[0]).save(tmp_path / name)
    for options in ([], ["--rtl"]):
        done = firstspike("infer", "colours.toml", *names, *options, cwd=tmp_path)
        assert done.stdout.splitlines() == [f"{name}: class {colour}" for colour, name in enumerate(names)], done.stderr
