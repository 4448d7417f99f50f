"""What the documents say is what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from commands import firstspike
from networks import dense_layers
from pages import PAGES, ROOT, blocks, masked, rows
from PIL import Image

from firstspike.comparison import table
from firstspike.comparison.figures_page import shown
from firstspike.contract.hardware import Hardware
from firstspike.energy.estimate import HOROWITZ
from firstspike.experiment import config
from firstspike.flow import report
from firstspike.network import golden, kernels
from firstspike.network.kernels import KINDS
from firstspike.network.model import dense
from firstspike_rtl.boards import boards
from firstspike_rtl.clocks import folding

README = (ROOT / "README.md").read_text()
EXPERIMENTS = (ROOT / "docs/experiments.md").read_text()
FIGURES = {(one["section"], one["of"]): one for one in json.loads((ROOT / "docs/figures.json").read_text())}

# Tables of settings.


@pytest.mark.smoke
@pytest.mark.parametrize(
    "section",
    config._SECTIONS,
)
def test_every_key_is_documented_with_its_default(section) -> None:
    part = EXPERIMENTS.split(f"## [{section.section}]")[1].split("\n## ")[0]
    found = {name.strip("`"): default for name, default, *_ in rows(part, "key")}
    names = [field.name for field in fields(section)]
    assert list(found) == names
    for field in fields(section):
        default = field.default if field.default is not MISSING else field.default_factory()
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert found[field.name] == f"`{default}`"


@pytest.mark.smoke
def test_every_section_is_documented() -> None:
    titles = re.findall(r"^## \[(\w+)\]", EXPERIMENTS, re.MULTILINE)
    assert titles == [kind.section for kind in config._SECTIONS]
    introduction = EXPERIMENTS.split("\n## ")[0]
    assert set(re.findall(r"`\[(\w+)\]`", introduction)) == set(titles)


@pytest.mark.smoke
def test_every_kernel_is_documented_with_its_parameters() -> None:
    listed = {name.strip("`"): parameters for name, parameters, _ in rows(EXPERIMENTS, "kind")}
    assert listed.keys() == KINDS.keys()
    common = {field.name for field in fields(kernels.Kernel)}
    for name, kind in KINDS.items():
        own = {field.name: field.default for field in fields(kind) if field.name not in common}
        found = dict(re.findall(r"`(\w+)` \((.*?)\)", listed[name]))
        expected = {key: "must be given" if default is MISSING else f"{default:g}" for key, default in own.items()}
        assert found == expected, name


@pytest.mark.smoke
def test_every_data_set_is_documented() -> None:
    listed = [name.strip('`"') for name, *_ in rows(EXPERIMENTS, "set")]
    assert [*listed, "npz"] == list(get_args(config.DataSet))


@pytest.mark.smoke
def test_every_board_is_documented() -> None:
    listed = {name.strip("`"): cells for name, *cells in rows((ROOT / "docs/boards.md").read_text(), "board")}
    assert listed.keys() == boards.BOARDS.keys()
    for name, (_, oscillator, core, rate, lanes) in listed.items():
        board = boards.find(name)
        assert oscillator == f"{board.oscillator_hz / 1e6:g} MHz"
        assert core == f"{board.clock_mhz:g} MHz"
        assert rate in (f"{board.baud:,} baud", f"{board.baud / 1e6:g} Mbaud")
        assert lanes == str(board.lanes)


@pytest.mark.smoke
def test_energies_are_documented() -> None:
    """The table of docs/energy.md has the figures that are used, and no others."""
    part = (ROOT / "docs/energy.md").read_text().split("## Energies an operation")[1].split("\n## ")[0]
    found = {name: float(pj) for name, pj in re.findall(r"^\| (\S.*?) \| ([\d.]+) \|", part, re.MULTILINE)}
    expected = {f"integer addition, {bits} bits": pj for bits, pj in HOROWITZ.add}
    expected |= {f"integer multiplication, {math.isqrt(int(bits))} bits": pj for bits, pj in HOROWITZ.multiply}
    names = ("8 KB", "32 KB", "1 MB")
    expected |= {
        f"{HOROWITZ.sram_bits}-bit access of {'an' if name == '8 KB' else 'a'} {name} memory": pj
        for name, (_, pj) in zip(names, HOROWITZ.sram, strict=True)
    }
    assert found == expected


# Figures.


@pytest.mark.smoke
def test_the_tables_are_those_of_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results.json").read_text())
    lines, text = results["rows"], (ROOT / "docs" / "results.md").read_text()
    for dataset in {line["dataset"] for line in lines}:
        assert table.markdown([line for line in lines if line["dataset"] == dataset]) in text
    for line in lines:
        golden = line["accuracy"]["golden"]
        assert golden is None or golden == line["accuracy"]["surrogate"]
        assert line["mismatches"] == 0
    front = [
        [f"{one['budget']:g}" if one["budget"] else "none", f"{one['spikes']:.1f}", f"{100 * one['accuracy']:.2f} %"]
        for one in results["front"]
    ]
    assert rows(text, "budget") == front


def figure(section: str, of: str, what: str) -> str:
    (found,) = [one for one in FIGURES[section, of]["figures"] if one["what"] == what]
    return shown(found["value"], found["unit"])


@pytest.mark.smoke
def test_figures_of_the_readme_are_those_of_the_page() -> None:
    expected = [
        figure("seeds", "mnist", "accuracy"),
        figure("runs", "mnist", "values that differ"),
        figure("runs", "mnist", "clocks an image, back to back"),
        figure("energy", "mnist", "core"),
        figure("boards", "mnist, ulx3s-25f", "highest clock"),
    ]
    assert [value for _, value in rows(README, "what")] == expected
    for (section, _), one in FIGURES.items():
        adding = [x["value"] for x in one["figures"] if x["what"] == "the slowest layer adds in"]
        has_tables = any("fire start" in line for line in one.get("output", ()))
        if section == "runs" and has_tables:
            assert all(part > 90 for part in adding), "the README says so of every run with S = T"


# Output of commands.


@dataclass(frozen=True)
class Own:
    """The example of one's own data, run as the page says."""

    folder: Path
    printed: str


def run_example(folder: Path, number: int, name: str) -> Own:
    """The data and the experiment of this number on the page, through the whole chain."""
    (folder / "make.py").write_text(blocks(EXPERIMENTS, "python")[number])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runpy.run_path(str(folder / "make.py"))
    (folder / f"{name}.toml").write_text(blocks(EXPERIMENTS, "toml")[number])
    done = firstspike("run", f"{name}.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return Own(folder, done.stdout)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return run_example(tmp_path_factory.mktemp("own"), 0, "own")


def test_own_data_as_documented(own: Own) -> None:
    outcome = json.loads((own.folder / "build/own/report.json").read_text())
    assert outcome["images"] == {"test": 100, "rtl": 100}
    assert outcome["accuracy"]["rtl"] > 0.9


def test_events_as_documented(tmp_path: Path) -> None:
    """Through the RTL, which takes events that repeat; every spike, membrane and clock."""
    moving = run_example(tmp_path, 1, "moving")
    outcome = json.loads((moving.folder / "build/moving/report.json").read_text())
    assert outcome["images"] == {"test": 100, "rtl": 100}
    assert outcome["accuracy"]["surrogate"] == outcome["accuracy"]["rtl"] > 0.8
    assert {k: v for k, v in outcome["mismatches"].items() if k != "compared" and v} == {}
    assert outcome["cycles"]["predicted_equal"] is True
    assert outcome["hardware"]["input"] == "events"


def test_the_report_as_documented(
    own: Own, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = blocks((ROOT / "docs/report.md").read_text(), "python")
    monkeypatch.chdir(own.folder)
    exec(script.replace("build/digits", "build/own"), {})
    outcome = json.loads((own.folder / "build/own/report.json").read_text())
    assert capsys.readouterr().out == f"{outcome['accuracy']['golden']} {outcome['cycles']['interval_mean']}\n"


def test_figures_of_a_run_are_recorded(own: Own) -> None:
    """Into the source and onto the page; what was recorded of other runs stays."""
    for folder in ("examples", "docs"):
        (own.folder / folder).mkdir()
    for name in ("own.toml", "own.npz"):
        shutil.copy(own.folder / name, own.folder / "examples")
    shutil.copy(ROOT / "docs/figures.json", own.folder / "docs")
    done = subprocess.run(
        [sys.executable, "-m", "firstspike.comparison.figures_page", "--record", "--times"],
        cwd=own.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recorded = {(one["section"], one["of"]): one for one in json.loads((own.folder / "docs/figures.json").read_text())}
    assert {key: one for key, one in recorded.items() if key in FIGURES} == FIGURES
    assert recorded.keys() - FIGURES.keys() == {("runs", "own"), ("energy", "own"), ("times", "own")}
    outcome = json.loads((own.folder / "build/own/report.json").read_text())
    values = {one["what"]: one["value"] for one in recorded["runs", "own"]["figures"]}
    assert values["accuracy, rtl"] == round(100 * outcome["accuracy"]["rtl"], 2)
    assert values["test images through the RTL"] == {"value": 100, "of": 100}
    assert recorded["runs", "own"]["network"] == outcome["digest"]
    assert f"(network `{outcome['digest'][:16]}…`)" in (own.folder / "docs/figures.md").read_text()


def text_block(page: str, number: int = 0) -> str:
    return blocks((ROOT / page).read_text(), "text")[number]


def test_the_summary_in_the_readme(own: Own) -> None:
    """The numbers are those recorded; everything else is as printed now."""
    block = text_block("README.md")
    lines = block.splitlines()
    (seconds,) = [line for line in lines if line.startswith(" seconds")]
    assert [line for line in lines if line != seconds] == FIGURES["runs", "digits"]["output"]
    times = [(x["what"], f"{x['value']:.1f}") for x in FIGURES["times", "digits"]["figures"][1:]]
    assert re.findall(r"(\w+) ([\d.]+)", seconds) == times
    _, summary = own.printed.split("\n\n", 1)
    assert words(block.replace("digits", "own", 1)) == words(
        summary.replace("own", "digits").replace("digits", "own", 1)
    )


def words(text: str) -> list[str]:
    """What a block says besides its numbers, however its lines are wrapped."""
    return masked(text).split()


def test_the_folding_in_the_docs(own: Own) -> None:
    block = text_block("docs/experiments.md")
    output = FIGURES["output", "digits"]["output"]
    assert f"`{FIGURES['output', 'digits']['command']}`" in EXPERIMENTS.replace("\n", " ")
    assert block.splitlines() == output
    done = firstspike("generate", "own.toml", "--clocks", "100", cwd=own.folder)
    assert done.returncode == 0, done.stderr
    stages = ("generate: ", "export: ")  # images of other lanes are made again
    printed = "\n".join(line for line in done.stdout.splitlines() if not line.startswith(stages))
    assert words(block) == words(printed)


@pytest.mark.smoke
def test_the_folding_in_the_docs_by_the_hardware() -> None:
    """What follows from lanes alone, counted again."""
    block = text_block("docs/experiments.md")
    lines = [re.split(r"  +", line.strip()) for line in block.splitlines()[2:]]
    lanes = [int(line[1]) for line in lines[1:]]
    network = dense_layers((64, 48, 10))
    hardware = Hardware.for_network(network, lanes=lanes, test_clocks=100 // folding.TEST_PART)
    counted = folding.rows(hardware, golden.run(network, np.zeros((2, 64), np.uint8)))
    assert int(lines[0][-1]) == counted[0].blocks
    for line, row in zip(lines[1:], counted[1:], strict=True):
        found = (line[0], line[2], int(line[3]), line[4], int(line[6]), int(line[7]), int(line[8]))
        assert found == (row.name, row.fire, row.fire_lanes, row.product, row.testing, row.weight_bits, row.blocks)
    assert f"{sum(row.blocks for row in counted)} ECP5 memory blocks" in block


@pytest.mark.smoke
def test_the_bitstream_in_the_docs() -> None:
    block = text_block("docs/boards.md")
    first, *rest = block.splitlines()
    assert first == "bitstream: build/digits/boards/ulx3s-85f/firstspike.bit"
    assert rest == FIGURES["boards", "digits, ulx3s-85f"]["output"]
    figures: dict[str, Any] = {
        "resources": {kind: {"used": 1, "available": 2} for kind in ("LUTs", "flip-flops", "block RAMs", "DSPs")},
        "clock_mhz": 1.0, "fmax_mhz": 2.5, "seed": 1, "lanes": [1, 1], "seconds": {"synthesis": 3.0},
        "images_per_s": {"at_clock": 1.0, "at_fmax": 2.0, "over_link": 3.0},
    }  # fmt: skip
    assert words("\n".join(rest)) == words("\n".join(report.board_rows(figures)))


@pytest.mark.smoke
def test_no_output_is_unchecked() -> None:
    """Each page's blocks of output, and who checks them."""
    checked = {
        "README.md": 1,  # test_the_summary_in_the_readme
        "docs/boards.md": 2,  # test_the_bitstream_in_the_docs; a class, by sw/tests/flow/test_cli.py
        "docs/experiments.md": 1,  # test_the_folding_in_the_docs
        "docs/memory-images.md": 4,  # sw/tests/network/test_golden_example.py
    }
    others = {"docs/python.md", "docs/early-firing.md", "docs/report.md"}  # have tests of their own
    found = {str(page.relative_to(ROOT)): len(blocks(page.read_text(), "text")) for page in PAGES}
    assert {page: count for page, count in found.items() if count and page not in others} == checked


# Code.


@pytest.mark.smoke
def test_readme_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    falling = tuple(range(8, 0, -1))
    dense(
        [np.eye(48, 64, dtype=np.int64), np.eye(10, 48, dtype=np.int64)], [np.zeros(n, np.int64) for n in (48, 10)],
        weight_bits=2, kernels=[falling, falling], thresholds=[falling], encoder=(8,) * 256, steps=8, fire_start=8,
    ).save("build/digits/network")  # fmt: skip
    (snippet,) = blocks(README, "python")
    exec(snippet, {})
    assert capsys.readouterr().out == "[0 0] (2, 48)\n"


@pytest.mark.smoke
def test_the_picture_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (script,) = blocks((ROOT / "docs/boards.md").read_text(), "python")
    exec(script, {})
    with Image.open("seven.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
    assert text_block("docs/boards.md", 1) == "seven.png: class 7\n"


@pytest.mark.smoke
def test_no_example_is_forgotten() -> None:
    """Each page with examples in Python; all run but that for PYNQ, whose imports must be right."""
    found = {str(page.relative_to(ROOT)) for page in PAGES if blocks(page.read_text(), "python")}
    run_here = {"README.md", "docs/boards.md", "docs/experiments.md", "docs/recipes.md", "docs/report.md"}
    run_elsewhere = {"docs/python.md", "docs/link.md", "docs/early-firing.md"}
    assert run_here < found <= run_here | run_elsewhere | {"docs/vivado.md"}
    (pynq,) = blocks((ROOT / "docs/vivado.md").read_text(), "python")
    lines = [line for line in pynq.splitlines() if line.startswith("from firstspike")]
    assert len(lines) == 3
    exec("\n".join(lines), {})


@pytest.mark.smoke
def test_the_recipe_of_a_kernel() -> None:
    kernel, _ = blocks((ROOT / "docs/recipes.md").read_text(), "python")
    names = dict(vars(kernels))
    exec(kernel, names)
    assert names["Quadratic"](steps=4).table() == (16, 9, 4, 1)
    assert names["Quadratic"](steps=4).integer_threshold(1 / 64) == (49, 25, 9, 1)


@pytest.mark.smoke
def test_the_recipe_of_a_board() -> None:
    _, entry = blocks((ROOT / "docs/recipes.md").read_text(), "python")
    platform = importlib.import_module("amaranth_boards.icepi_zero").IcepiZero1_3Platform
    ((name, board),) = eval(f"{{{entry}}}", vars(boards) | {"IcepiZero1_3Platform": platform}).items()
    assert name == "icepi-zero"
    assert board.clock().output_hz == board.clock_mhz * 1e6
    assert {("uart", 0), ("led", 0), ("led", 1)} <= board.open().resources.keys()
