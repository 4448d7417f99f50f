"""The comparison table: what its rows switch on and off, its arithmetic, and a small one from training to pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firstspike.comparison import command, figures, methods, table
from firstspike.comparison.normalised_energy import SPINNAKER, TRUENORTH, normalised_energy
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment, NetworkConfig, TrainConfig
from firstspike.network.model import Network

EXPERIMENT = """
[network]
hidden = "6C3-P2"
kernel = { kind = "exponential", tau = 2.0 }
input_kernel = { kind = "exponential", tau = 2.0 }

[train]
epochs = 12
batch_size = 64
kernel_start = 0.3
relaxation = 0.5
kernel_regularisation = 1e-3
spike_loss = 1e-2
"""


@pytest.mark.smoke
def test_each_row_adds_one_part() -> None:
    recipe = TrainConfig(
        relaxation=0.5, kernel_start=0.5, kernel_regularisation=1e-3, spike_loss=1e-2, spike_budget=9.0
    )
    rows = methods.surrogates(Experiment(name="x", train=recipe))
    assert list(rows) == ["SM", "SR", "TR", "TB"]
    parts = [
        (e.train.relaxation, e.train.kernel_regularisation, e.train.spike_loss, e.train.spike_budget)
        for e in rows.values()
    ]
    assert parts == [(0.0, 0.0, 0.0, None), (0.5, 0.0, 0.0, None), (0.5, 1e-3, 0.0, None), (0.5, 1e-3, 1e-2, 9.0)]
    assert {e.train.kernel_start for e in rows.values()} == {0.5}


@pytest.mark.smoke
def test_conversions_are_those_of_t2fsnn() -> None:
    rows = methods.conversions(Experiment(name="x", network=NetworkConfig(hidden="mnist-cnn", fire_start=2)))
    assert list(rows) == ["T2FSNN", "+GO", "+EF"]
    assert [e.conversion.optimise_kernels for e in rows.values()] == [False, True, True]
    assert [e.network.start for e in rows.values()] == [20, 20, 10]
    assert {e.train.method for e in rows.values()} == {"relu"}
    assert rows["T2FSNN"].network.spiking_hidden.threshold()[0] == 1.0  # ceil: no half step


def _measured(accuracy: float, spikes: float, steps: int) -> dict[str, Any]:
    return {
        "network": "1-1",
        "accuracy": {"surrogate": accuracy, "golden": accuracy},
        "spikes": {"input": 1.0, "hidden": spikes - 1, "per_neuron": spikes / 10},
        "steps": steps,
        "seconds": 2.0,
    }


@pytest.mark.smoke
def test_means_spreads_and_energies() -> None:
    rate = [_measured(0.9, spikes, steps) for spikes, steps in ((100.0, 50), (300.0, 150))]
    for one, steps in zip(rate, (80, 160), strict=True):
        one["settled"] = {"steps": steps, "spikes": 400.0}
    ann = {"network": "1-1", "accuracy": {"surrogate": 0.99, "golden": None}, "seconds": 1.0}
    measured = {
        2: {"ANN": ann, "rate": rate[0], "SM": _measured(0.94, 12.0, 24)},
        1: {"ANN": ann, "rate": rate[1], "SM": _measured(0.96, 8.0, 24)},
    }
    lines = {line["row"]: line for line in table.rows("mnist", measured)}
    assert list(lines) == ["ANN", "rate", "SM"]
    assert lines["SM"]["seeds"] == [1, 2]
    assert lines["SM"]["accuracy"]["golden"] == pytest.approx(0.95)
    assert lines["SM"]["spread"]["golden"] == pytest.approx(0.01 * 2**0.5)
    assert (lines["SM"]["spikes"], lines["rate"]["spikes"], lines["rate"]["steps"]) == (10.0, 200.0, 100.0)
    wanted = {"spikes": 10.0, "steps": 24, "rate_spikes": 200.0, "rate_steps": 100}
    assert lines["SM"]["energy"]["truenorth"] == normalised_energy(TRUENORTH, **wanted)
    assert lines["SM"]["energy"]["spinnaker"] == normalised_energy(SPINNAKER, **wanted)
    wanted |= {"rate_spikes": 400.0, "rate_steps": 120}
    assert lines["SM"]["settled"]["energy"]["truenorth"] == normalised_energy(TRUENORTH, **wanted)
    assert lines["rate"]["settled"]["energy"] == {"truenorth": 1.0, "spinnaker": 1.0}
    assert lines["ANN"]["energy"] == {"truenorth": None, "spinnaker": None}
    assert "| ANN | 99.00 ± 0.00 % | - | - | - | - | - | -, - | - | - | -, - | 1 |" in table.markdown(
        list(lines.values())
    )


def test_a_small_table(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(EXPERIMENT)
    out = tmp_path / "table"
    arguments = [str(file), "--seeds", "1", "--out", str(out), "--workers", "1"]
    arguments += ["--front", str(file), "--budgets", "0,5"]
    run = CliRunner().invoke(command.app, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    content = json.loads((out / "table.json").read_text())
    assert [line["row"] for line in content["rows"]] == list(methods.ROWS)
    for line in content["rows"]:
        if line["accuracy"]["golden"] is not None:
            assert line["accuracy"]["surrogate"] == line["accuracy"]["golden"]
            assert line["mismatches"] == 0
        assert line["accuracy"]["surrogate"] > 0.8, line["row"]
    steps = {line["row"]: line["steps"] for line in content["rows"]}
    assert (steps["T2FSNN"], steps["+EF"], steps["SM"]) == (40, 30, 16)
    assert [point["budget"] for point in content["front"]] == [0.0, 5.0]
    assert content["front"][1]["spikes"] < content["front"][0]["spikes"]
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {f"small-{x}.png" for x in ("spikes", "steps", "times", "kernels", "front")}
    # All that the pictures show is in the table.
    assert {path.name for path in figures.draw(content, tmp_path)} == pictures
    for name in pictures:
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    networks = sorted(out.glob("small/*/network"))
    assert len({Network.load(path).digest for path in networks}) == 4

    # Again: nothing is trained, everything is found.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".ckpt", ".safetensors")}
    assert before
    CliRunner().invoke(command.app, arguments, catch_exceptions=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((out / "table.json").read_text()) == content


@pytest.mark.smoke
@pytest.mark.parametrize("arguments", [["--seeds", "x"], ["--seeds", "0"], ["--seeds", "1,2"], ["--budgets", "a,b"]])
def test_wrong_numbers(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match=f"{arguments[0]} '?{arguments[1]}"):
        CliRunner().invoke(command.app, [str(tmp_path / "x.toml"), *arguments], catch_exceptions=False)
