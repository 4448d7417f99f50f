"""The pictures of the table can be read: of the committed results, and of rows that lie on each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import legible
import numpy as np
import pytest
from matplotlib.colors import to_hex

from firstspike.comparison import figures, methods

RESULTS = json.loads((Path(__file__).parents[3] / "docs" / "results.json").read_text())
PATH = Path("picture.png")


def measured() -> dict[str, Any]:
    """Rows of a network with direct input: the codings' curves, and steps of which many are equal."""
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {"ANN": {"accuracy": {"golden": None}}}
    for row in ("rate", "phase", "burst"):
        rows[row] = {"curve": rng.random(500).cumsum().tolist(), "steps": 421}
        rows[row]["curve"] = [x / rows[row]["curve"][-1] for x in rows[row]["curve"]]
    for row, steps in zip(methods.ROWS[4:], (320, 320, 200, 32, 32, 32, 32), strict=True):
        times = [rng.random(255), rng.random(8), rng.random(8)]
        rows[row] = {
            "steps": steps, "accuracy": {"golden": 0.77}, "histogram": [list(1000 * x) for x in times],
            "kernels": [[2.3, 0.1], [2.0, -0.4]],
        }  # fmt: skip
    return rows


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_accuracy_against_spikes(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(figures, monkeypatch)
    figures.accuracy_against_spikes([line for line in RESULTS["rows"] if line["dataset"] == dataset], PATH)
    legible.check(made[0])


def test_accuracy_against_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(figures, monkeypatch)
    figures.accuracy_against_steps(measured(), PATH)
    legible.check(made[0])
    lines = {line.get_label().partition(":")[0]: line for line in made[0].axes[0].lines}
    assert list(lines) == list(methods.ROWS[1:])
    # Rows at the same place are rings of different sizes.
    for together in (methods.ROWS[4:6], methods.ROWS[7:]):
        assert len({lines[row].get_markersize() for row in together}) == len(together)
    assert all(to_hex(line.get_color()) == to_hex(figures.COLOURS[row]) for row, line in lines.items())


def test_spike_times_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(figures, monkeypatch)
    figures.spike_times(measured(), ["T2FSNN", "+EF", "SM", "TB"], PATH)
    figures.kernels(measured(), {"+GO": (20.0, 80), "TB": (2.0, 8)}, PATH)
    for figure in made:
        legible.check(figure)
    assert made[0].axes[0].get_xlabel() == "255 - pixel (direct input)"
    assert made[0].axes[1].get_xlabel() == "time step"


def test_front(monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(figures, monkeypatch)
    figures.front(RESULTS["front"], PATH)
    legible.check(made[0])
