"""The bench's own parts: sides that take turns, rows of one form, a table that cuts nothing off, snnTorch optional."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import legible
import numpy as np
import pytest
import torch
from rich.console import Console

from firstspike.comparison import training_speed
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import DataConfig, Experiment, NetworkConfig
from firstspike.experiment.outline import least_network
from firstspike.flow import plots
from firstspike.flow.workspace import Workspace
from firstspike.training.surrogate import Surrogate
from firstspike_verify.throughput import measure as throughput
from firstspike_verify.throughput import plots as throughput_plots

EXAMPLES = Path(__file__).parents[3] / "examples"
SOFTWARE = {"network", "what", "against", "images_per_s", "ratio"}
RTL = {
    "network": "1x28x28-12C5-P2-64C5-P2-10",
    "lanes": [12, 64, 10],
    "fire": "search",
    "images_per_s_at_100_mhz": 8100.2,
    "slowest": {"layer": 1, "lanes": 64, "operations_mean": 768000.0, "input_words": 196},
    "layers": [{"adding": 12000.0, "watermarks": 1.5, "membranes": 3.2, "events": 340.9}],
    "predicted_equal": True,
    "interval_mean": 12345.6,
    "latency_mean": 23456.7,
    "floor_mean": 12000.0,
    "utilisation": 0.972,
    "mismatches": 0,
}


def workspace(folder: Path, side: int) -> Workspace:
    """An experiment on random images of ``side`` x ``side`` in two classes."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, side, side), np.uint8), np.arange(16) % 2
    np.savez(folder / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    data = DataConfig(set="npz", path=folder / "own.npz")
    return Workspace(Experiment(name="own", data=data, network=NetworkConfig(hidden=(3,))), folder / "out")


@pytest.fixture
def _no_snntorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snntorch", None)  # as if it were not installed


@pytest.mark.smoke
@pytest.mark.parametrize(("architecture", "shape"), [("5-3", (16,)), ("2C3-P2-3", (1, 8, 8))])
def test_the_surrogate_trains_in_its_turn(
    architecture: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    batches = [(torch.tensor(rng.integers(0, 256, (6, *shape), np.uint8)), torch.arange(6) % 3) for _ in range(5)]
    models: list[Surrogate] = []
    frozen: list[set[bool]] = []

    def made(*arguments: Any, **settings: Any) -> Surrogate:
        model = Surrogate(*arguments, **settings)
        model.register_forward_pre_hook(lambda *_: frozen.append({layer.frozen for layer in model.folded_layers()}))
        models.append(model)
        return model

    monkeypatch.setattr(training_speed, "Surrogate", made)
    turn = training_speed.surrogate(architecture, shape)
    before = [parameter.detach().clone() for parameter in models[0].parameters()]
    turn(batches)
    assert frozen == [{False}] * 3 + [{True}] * 2
    assert not any(torch.equal(x, y) for x, y in zip(before, models[0].parameters(), strict=True))


@pytest.mark.smoke
def test_sides_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    durations = {"mine": iter([50, 1, 9, 2, 3, 1]), "theirs": iter([70, 8, 6, 7, 90, 5])}

    def side(name: str) -> training_speed.Turn:
        def turn(batches: training_speed.Batches) -> None:
            order.append(name)
            assert torch.get_num_threads() == 1
            clock[0] += next(durations[name])

        return turn

    threads = torch.get_num_threads()
    monkeypatch.setattr(training_speed.time, "perf_counter", lambda: clock[0])
    assert training_speed.seconds([side("mine"), side("theirs")], [], turns=5) == [2, 7]
    assert order == ["mine", "theirs"] * 6
    assert torch.get_num_threads() == threads


@pytest.mark.smoke
def test_row_of_training_speed() -> None:
    row = training_speed.row("4C3-10", (1, 8, 8), 600, [2.0, 9.0])
    assert row.keys() == SOFTWARE
    assert row["network"] == "1x8x8-4C3-10"
    assert (row["images_per_s"], row["ratio"]) == (300.0, 4.5)


@pytest.mark.smoke
@pytest.mark.usefixtures("_no_snntorch")
def test_without_snntorch_a_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match="snnTorch is not installed"):
        training_speed.through_time("5-3", (16,))
    out = io.StringIO()
    console = Console(file=out, width=120, soft_wrap=True)
    assert throughput.training([workspace(tmp_path, 28)], console) == []
    assert out.getvalue() == f"{training_speed.MISSING}; run: pip install -e '.[bench]'\n"


@pytest.mark.smoke
def test_training_speed_is_of_the_first_images_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Any] = []
    monkeypatch.setattr(training_speed, "rows", lambda images, labels: shapes.append(images.shape) or [{"row": 1}])
    (tmp_path / "small").mkdir()
    spaces = [workspace(tmp_path / "small", 8), workspace(tmp_path, 28)]
    assert throughput.training(spaces, Console(file=io.StringIO())) == [{"row": 1}]
    assert shapes == [(16, 28, 28)]
    assert throughput.training(spaces[:1], Console(file=io.StringIO())) == []


@pytest.mark.smoke
@pytest.mark.parametrize(("name", "fires"), [("digits", [*["search"] * 3, "stepped"]), ("digits-if", ["dynamics"])])
def test_neurons_with_dynamics_have_one_fire_unit(name: str, fires: list[str], tmp_path: Path) -> None:
    """Without dynamics: 16, 32 and 48 lanes with the search, and 48 with steps. With: the experiment's own core."""
    own = Workspace.open(EXAMPLES / f"{name}.toml", tmp_path)
    least_network(own.experiment, own.dataset).save(own.network)
    assert [core.layers[0].fire for core in throughput.cores(own)] == fires


@pytest.mark.smoke
def test_the_bench_cuts_nothing_off_and_writes_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[data]\nset = "digits"\n')
    monkeypatch.chdir(tmp_path)
    software = training_speed.row("12C5-P2-64C5-P2-10", (1, 28, 28), 512, [0.1, 0.65])
    monkeypatch.setattr(throughput, "bench", lambda workspace: ([RTL], [software | {"what": "golden model"}]))
    monkeypatch.setattr(throughput, "training", lambda workspaces, console: [software])
    throughput.main([str(file)])
    first = capsys.readouterr().out
    throughput.main([str(file)])
    second = capsys.readouterr().out
    assert "…" not in first + second
    for text in (RTL["network"], "[12, 64, 10]", "12345.6", "8100", "97.2 %", "utilisation", "mismatches", "340.9"):
        assert text in first
    assert first.count("12345.6") == 1
    assert second.count("12345.6") == 2, "with the clocks of the bench before"
    assert f"{software['network']} surrogate training: 5120 images/s, 6.5 times the snnTorch LIF, T = 8" in first
    written = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert written["rtl"] == [RTL]
    assert [row["what"] for row in written["software"]] == ["golden model", "surrogate training"]
    assert all(row.keys() == SOFTWARE for row in written["software"])


def test_pictures_of_the_bench_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one core, and of many with long names."""
    made = legible.figures_of(plots, monkeypatch)
    many = [RTL | {"slowest": RTL["slowest"] | {"lanes": 1 << n, "operations_mean": 3e3 * 4**n}} for n in range(12)]
    for rows in ([RTL], many):
        throughput_plots.roofline(rows, Path("roofline.png"))
        throughput_plots.clocks_by_layer(rows, Path("layers.png"))
    for figure in made:
        legible.check(figure)
