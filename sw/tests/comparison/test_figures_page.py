"""The page of figures: made from its source, and the source from what runs leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firstspike.comparison import figures_page, measured, seeds
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment, NetworkConfig, TrainConfig

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.smoke
def test_the_page_is_made_from_its_source() -> None:
    source = json.loads((DOCS / "figures.json").read_text())
    assert {one["section"] for one in source} - {"output"} <= figures_page.SECTIONS.keys()
    assert (DOCS / "figures.md").read_text() == figures_page.markdown(source), "make docs/figures.md again"


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (98.8, "%", "98.80 %"),
        (1206.88, "", "1,206.9"),
        (330221, "", "330,221"),
        (True, "", "yes"),
        (False, "", "no"),
        ("64-48-10", "", "64-48-10"),
        ([16, 10], "", "16, 10"),
        ({"low": 84.7, "high": 206.0}, "nJ", "84.7 to 206 nJ"),
        ({"value": 360, "of": 10000}, "", "360 of 10,000"),
        ({"mean": 98.1, "spread": 0.07, "each": [98.2, 98.0]}, "%", "98.10 ± 0.07 % (98.00 to 98.20)"),
    ],
)
def test_values(value: Any, unit: str, text: str) -> None:
    assert figures_page.shown(value, unit) == text


@pytest.mark.smoke
def test_a_row_for_each() -> None:
    figures = [measured.figure("clocks", 1206.88), measured.figure("part", 99.8, "%")]
    page = figures_page.markdown([measured.measurement("runs", "x", "run x", DOCS, figures)])
    assert "|  | clocks | part |\n|---|---|---|\n| x | 1,206.9 | 99.80 % |\n" in page


@pytest.mark.smoke
def test_many_figures_stand_in_columns() -> None:
    figures = [measured.figure(f"figure {n}", n) for n in range(figures_page.WIDTH + 1)]
    made = [measured.measurement("runs", of, f"run {of}", DOCS, figures, network=64 * "a") for of in ("x", "y")]
    page = figures_page.markdown(made)
    assert "|  | x | y |" in page
    assert "| figure 3 | 3 | 3 |" in page
    assert "* `run y` (network `aaaaaaaaaaaaaaaa…`)" in page


@pytest.mark.smoke
def test_figures_of_a_bench() -> None:
    row = {
        "network": "4-3-2", "lanes": [3, 2], "fire": "search", "accuracy": 0.5, "interval_mean": 12.34,
        "utilisation": 0.876, "images_per_s_at_100_mhz": 8103727.7, "predicted_equal": True, "mismatches": 0,
    }  # fmt: skip
    software = [
        {"network": "4-3-2", "what": "golden model", "against": "naive model", "images_per_s": 261234.0, "ratio": 99.4},
        {"network": "4-3-2", "what": "RTL", "against": "golden model", "images_per_s": 1976.2, "ratio": 0.01},
    ]
    bench = {"rtl": [row], "software": software}
    (core,), speed = measured.of_bench(DOCS, bench), list(measured.of_speed(DOCS, bench))
    assert core["of"] == "4-3-2; lanes 3, 2; search"
    assert [figure["value"] for figure in core["figures"]] == [50.0, 12.3, 87.6, 8103728, True, 0]
    assert [[figure["value"] for figure in one["figures"]] for one in speed] == [[261000, 99.4], [1980]]


@pytest.mark.smoke
def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match="--seeds is 1"):
        seeds.measure(Experiment(name="x"), 1, tmp_path)


def test_two_seeds(tmp_path: Path) -> None:
    tiny = Experiment(name="tiny", network=NetworkConfig(hidden=(8,)), train=TrainConfig(epochs=2, batch_size=64))
    result = seeds.measure(tiny, 2, tmp_path)
    assert (result["name"], result["network"], result["seeds"]) == ("tiny", "64-8-10", [1, 2])
    assert len(set(result["digest"])) == 2
    (made,) = measured.of_seeds(tmp_path, result)
    network, accuracy, _ = made["figures"]
    assert network["value"] == "64-8-10"
    first, second = (100 * value for value in result["accuracy"])
    assert accuracy["value"]["each"] == [round(first, 2), round(second, 2)]
    assert accuracy["value"]["mean"] == pytest.approx((first + second) / 2, abs=0.01)
    assert accuracy["value"]["spread"] == pytest.approx(abs(first - second) / 2**0.5, abs=0.01)


@pytest.mark.smoke
def test_a_page_without_a_source(tmp_path: Path) -> None:
    done = CliRunner().invoke(figures_page.app, ["--docs", str(tmp_path)])
    assert isinstance(done.exception, FirstspikeError)
    assert "figures.json does not exist" in str(done.exception)
