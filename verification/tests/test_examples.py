"""The shipped experiments, whole: what the README promises of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "firstspike.cli", "run", str(EXAMPLES / f"{name}.toml"), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert {k: v for k, v in report["mismatches"].items() if k != "compared" and v} == {}
    assert report["accuracy"]["surrogate"] == report["accuracy"]["golden"] == report["accuracy"]["rtl"]
    assert report["cycles"]["predicted_equal"] is True
    return report


def test_digits(tmp_path: Path) -> None:
    report = run("digits", tmp_path / "digits")
    assert report["images"] == {"test": 360, "rtl": 360}
    assert report["accuracy"]["rtl"] >= 0.97


@pytest.mark.mnist
def test_mnist(tmp_path: Path) -> None:
    """All 10,000 images, every spike time and every membrane, through the Verilated RTL."""
    report = run("mnist", tmp_path / "mnist")
    assert (report["network"], report["steps"], report["bits"]["weight"]) == ("784-128-10", 8, 6)
    assert report["images"] == {"test": 10_000, "rtl": 10_000}
    assert report["mismatches"]["compared"] == 10_000 * (2 * (784 + 128) + 10 + 4)
    assert report["accuracy"]["rtl"] >= 0.985
