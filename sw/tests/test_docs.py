"""What the documents say is what the code does."""

from __future__ import annotations

import json
import math
import re
import runpy
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
from commands import firstspike

from firstspike.comparison import table
from firstspike.energy.estimate import HOROWITZ
from firstspike.experiment import config
from firstspike.network.kernels import KINDS
from firstspike.network.model import dense

ROOT = Path(__file__).parents[2]
EXPERIMENTS = (ROOT / "docs/experiments.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "section",
    [config.DataConfig, config.NetworkConfig, config.TrainConfig, config.ConversionConfig, config.HardwareConfig],
)
def test_every_key_is_documented_with_its_default(section) -> None:
    part = EXPERIMENTS.split(f"## [{section.section}]")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.MULTILINE))
    names = [field.name for field in fields(section)]
    assert [name for name in rows if name not in KINDS] == names
    for field in fields(section):
        default = field.default if field.default is not MISSING else field.default_factory()
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert rows[field.name] == f"`{default}`"


@pytest.mark.smoke
def test_every_kernel_is_documented() -> None:
    assert set(
        re.findall(r"^\| `(\w+)` \|", EXPERIMENTS.split("## Kernels")[1].split("\n## ")[0], re.MULTILINE)
    ) == set(KINDS)


@pytest.mark.smoke
def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/*/*.md")]
    assert len(pages) > 8
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_own_data_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (script,), (experiment,) = blocks(EXPERIMENTS, "python"), blocks(EXPERIMENTS, "toml")
    (tmp_path / "make.py").write_text(script)
    runpy.run_path(str(tmp_path / "make.py"))
    (tmp_path / "own.toml").write_text(experiment)
    done = firstspike("run", "own.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "build/own/report.json").read_text())
    assert report["images"] == {"test": 100, "rtl": 100}
    assert report["accuracy"]["rtl"] > 0.9


@pytest.mark.smoke
def test_readme_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    falling = tuple(range(8, 0, -1))
    dense(
        [np.eye(10, 64, dtype=np.int64)], [np.zeros(10, np.int64)], weight_bits=2, kernels=[falling], thresholds=[],
        encoder=(8,) * 255 + (0,), steps=8, fire_start=8,
    ).save("build/digits/network")  # fmt: skip
    names = {"images": np.eye(4, 64, dtype=np.uint8) * 255}
    (snippet,) = blocks((ROOT / "README.md").read_text(), "python")
    exec(snippet, names)
    assert names["result"].classes.tolist() == [0, 1, 2, 3]


@pytest.mark.smoke
def test_energies_are_documented() -> None:
    """The table of docs/energy.md has the figures that are used, and no others."""
    part = (ROOT / "docs/energy.md").read_text().split("## Energies an operation")[1].split("\n## ")[0]
    rows = {name: float(pj) for name, pj in re.findall(r"^\| (\S.*?) \| ([\d.]+) \|", part, re.MULTILINE)}
    expected = {f"integer addition, {bits} bits": pj for bits, pj in HOROWITZ.add}
    expected |= {f"integer multiplication, {math.isqrt(int(bits))} bits": pj for bits, pj in HOROWITZ.multiply}
    names = ("8 KB", "32 KB", "1 MB")
    expected |= {
        f"{HOROWITZ.sram_bits}-bit access of {'an' if name == '8 KB' else 'a'} {name} memory": pj
        for name, (_, pj) in zip(names, HOROWITZ.sram, strict=True)
    }
    assert rows == expected


@pytest.mark.smoke
def test_the_tables_are_those_of_the_committed_results() -> None:
    lines = json.loads((ROOT / "docs" / "results.json").read_text())["rows"]
    text = (ROOT / "docs" / "results.md").read_text()
    for dataset in {line["dataset"] for line in lines}:
        assert table.markdown([line for line in lines if line["dataset"] == dataset]) in text
    for line in lines:
        golden = line["accuracy"]["golden"]
        assert golden is None or golden == line["accuracy"]["surrogate"]
        assert line["mismatches"] == 0
