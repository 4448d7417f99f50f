"""The shipped experiments, whole: what the README promises of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import report_page
from naive_operations import expected, seen, tally

from firstspike.energy.estimate import estimate
from firstspike.energy.operations import Counters, count
from firstspike.flow.workspace import Workspace
from firstspike.network import golden
from firstspike_rtl.top.verilog import load_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "firstspike.flow.cli", "run", str(EXAMPLES / f"{name}.toml"), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    report_page.validate(report)
    assert {k: v for k, v in report["mismatches"].items() if k != "compared" and v} == {}
    assert report["accuracy"]["surrogate"] == report["accuracy"]["golden"] == report["accuracy"]["rtl"]
    assert report["cycles"]["predicted_equal"] is True
    return report


def check_operations(folder: Path, report: dict[str, Any]) -> None:
    """Every operation and access that follows from the RTL's counters, against the golden model's spikes one by one."""
    workspace = Workspace.open(EXAMPLES / "digits.toml", folder)
    network, (_, hardware) = workspace.frozen, load_manifest(workspace.rtl)
    simulation = json.loads(workspace.simulation.read_text())
    registers, done = tally(network, hardware, golden.run(network, workspace.dataset.test_images))
    assert simulation["counters"] | {"clocks": [0]} == registers
    operations = count(hardware, Counters.read(simulation["counters"]))
    assert +seen(operations, hardware) == +expected(done)
    estimated = report["energy_estimate"]
    assert estimated["operations"] == json.loads(json.dumps(asdict(operations)))
    assert sum(operations.synaptic_operations) == 360 * report["synaptic_operations"]
    nanojoules = estimated["nanojoules"]
    assert nanojoules["core"]["low"] == estimate(operations).total < nanojoules["dense_ann"]["low"]


def test_digits(tmp_path: Path) -> None:
    report = run("digits", tmp_path / "digits")
    assert report["images"] == {"test": 360, "rtl": 360}
    assert report["accuracy"]["rtl"] >= 0.97
    check_operations(tmp_path / "digits", report)


def test_digits_early(tmp_path: Path) -> None:
    """The example's row of docs/early-firing.md; another machine trains another network, as another seed does."""
    report = run("digits-early", tmp_path / "digits-early")
    assert (report["fire_start"], report["readout"], report["latency_steps"]) == (2, "first_spike", 2 * 2 + 8)
    source = json.loads((EXAMPLES.parent / "docs" / "early-firing.json").read_text())[0]
    assert (source["network"], source["lanes"]) == (report["network"], report["hardware"]["lanes"])
    (row,) = (r for r in source["rows"] if (r["readout"], r["fire_start"]) == ("first_spike", 2))
    found = {
        "accuracy": report["accuracy"]["rtl"],
        "decision": report["decision"]["latency_mean"],
        "alone": report["cycles"]["mean"],
        "back_to_back": report["cycles"]["interval_mean"],
    }
    for what, value in found.items():
        assert abs(value - fmean(row[what])) <= 4 * stdev(row[what]) + 0.005 * fmean(row[what]), what
    assert report["decision"]["latency_mean"] == 2 * 2 + report["decision"]["step_mean"]


@pytest.mark.slow
@pytest.mark.mnist
def test_mnist(tmp_path: Path) -> None:
    """All 10,000 images, every spike time and every membrane, through the Verilated RTL."""
    report = run("mnist", tmp_path / "mnist")
    assert (report["network"], report["steps"], report["bits"]["weight"]) == ("784-128-10", 8, 6)
    assert report["images"] == {"test": 10_000, "rtl": 10_000}
    assert report["mismatches"]["compared"] == 10_000 * (2 * (784 + 128) + 10 + 4)
    assert report["accuracy"]["rtl"] >= 0.985
