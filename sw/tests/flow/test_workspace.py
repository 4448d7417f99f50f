"""Stages refuse what was made for other settings, of other images, or for another network or core."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.experiment import data
from firstspike.flow import chain, cli, freshness, inference, routing, simulation
from firstspike.flow import report as reporting
from firstspike.flow.workspace import Workspace, write_json
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike.training import train as training
from firstspike_rtl.boards import vivado

EXPERIMENT = """
name = "tiny"
[data]
set = "npz"
path = "own.npz"
[network]
hidden = [4]
steps = 4
[train]
epochs = 1
batch_size = 4
"""


def save_images(folder: Path, seed: int = 0, **change: np.ndarray) -> None:
    rng = np.random.default_rng(seed)
    shown, labels = rng.integers(0, 256, (12, 3, 4), np.uint8), np.arange(12) % 3
    arrays = {"train_images": shown, "train_labels": labels, "test_images": shown[:5], "test_labels": labels[:5]}
    np.savez(folder / "own.npz", **(arrays | change))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace in ``out``: trained, frozen, exported and generated; and a picture."""
    folder = tmp_path_factory.mktemp("finished")
    save_images(folder)
    (folder / "tiny.toml").write_text(EXPERIMENT)
    Image.new("L", (4, 3), "white").save(folder / "x.png")
    workspace = Workspace.open(folder / "tiny.toml", folder / "out")
    for stage in (chain.train, chain.quantize, chain.export, chain.generate):
        stage(workspace)
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to spoil."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def opened(folder: Path, *change: tuple[str, str]) -> Workspace:
    """The workspace after changes in its experiment's file."""
    text = EXPERIMENT
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    (folder / "tiny.toml").write_text(text)
    return Workspace.open(folder / "tiny.toml", folder / "out")


def infer(workspace: Workspace) -> list[str]:
    return inference.infer(workspace, [workspace.folder.parent / "x.png"])


def infer_by_rtl(workspace: Workspace) -> list[str]:
    return inference.infer(workspace, [workspace.folder.parent / "x.png"], rtl=True)


def bitstream(workspace: Workspace) -> Path:
    return routing.bitstream(workspace, device="ecp5-85k", seed=1, progress=lambda step: None)


def board(workspace: Workspace) -> Path:
    return routing.board(workspace, name="icebreaker")


def to_vivado(workspace: Workspace) -> Path:
    return routing.vivado(workspace, part=vivado.BOARD_PART, megahertz=100.0)


def folded(workspace: Workspace) -> Path:
    return chain.generate(workspace.folded(clocks=400))


#: What stands behind each verb that follows ``quantize``.
FOLLOWING = [
    chain.export, chain.generate, simulation.simulate, reporting.write, infer, infer_by_rtl, bitstream, board,
    to_vivado,
]  # fmt: skip
by_name = pytest.mark.parametrize("stage", FOLLOWING, ids=lambda stage: stage.__name__)


@pytest.mark.smoke
@by_name
def test_settings_that_changed_after_the_network_was_made(done: Path, stage: Callable[[Workspace], Any]) -> None:
    shutil.copytree(done / "out", done / "before")
    with pytest.raises(FirstspikeError) as error:
        stage(opened(done, ("steps = 4", "steps = 5"), ("epochs = 1", "epochs = 2\nseed = 3")))
    message = error.value.one_line()
    assert str(done / "out/network") in message
    for key in ("[network] steps was 4 and is 5", "[train] epochs was 1 and is 2", "[train] seed was 0 and is 3"):
        assert key in message
    assert "run 'firstspike train' and 'firstspike quantize' again" in message
    for path in (path for path in (done / "before").rglob("*") if path.is_file()):
        assert path.read_bytes() == (done / "out" / path.relative_to(done / "before")).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("hidden = [4]", "hidden = [5]"), "[network] hidden was [4] and is [5]"),
        (("hidden = [4]", "fire_start = 2"), "[network] fire_start was not set and is 2"),
        (("steps = 4", 'steps = 4\nkernel = { kind = "linear" }'), '[network] kernel was {"kind": "power_of_two"} and'),
        (("epochs = 1", "epochs = 1\nlearning_rate = 0.5"), "[train] learning_rate was 0.004 and is 0.5"),
        (
            ("batch_size = 4", "batch_size = 4\n[conversion]\npercentile = 99"),
            "[conversion] percentile was 99.9 and is 99",
        ),
        (('"own.npz"', '"other.npz"'), '[data] path was "own.npz" and is "other.npz"'),
        (('set = "npz"\npath = "own.npz"', 'set = "digits"'), '[data] set was "npz" and is "digits"'),
    ],
)
def test_every_setting_of_the_network_counts(done: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)):
        chain.export(opened(done, change))


@pytest.mark.parametrize(
    "change",
    [
        ("batch_size = 4", "batch_size = 4\n[hardware]\nlanes = 2"),
        ('"tiny"', '"other"'),
        ("epochs = 1", "epochs = 1\nlearning_rate = 4e-3\nwarmup = 0.2"),
        ("steps = 4", "steps = 4 # as before"),
    ],
)
def test_other_settings_may_change(done: Path, change: tuple[str, str]) -> None:
    chain.export(opened(done, change))


def test_a_checkpoint_is_of_its_settings(done: Path) -> None:
    changed = opened(done, ("steps = 4", "steps = 5"))
    for again in (chain.quantize, lambda workspace: chain.train(workspace, resume=True)):
        with pytest.raises(
            FirstspikeError, match=r"last\.ckpt is of another experiment: \[network\] steps was 4 and is 5"
        ):
            again(changed)
    chain.quantize(opened(done, ("batch_size = 4", "batch_size = 4\n[conversion]\npercentile = 99")))


def test_one_line_for_what_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is doubtful is said when a training begins, and not beside an error."""
    doubtful = opened(done, ("hidden = [4]", "hidden = [4, 3]"))
    with pytest.raises(FirstspikeError, match="is of another experiment"):
        chain.train(doubtful, resume=True)
    assert capsys.readouterr().err == ""
    chain.train(doubtful)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the last layer of [network] hidden has 3 neurons")


def test_a_checkpoint_of_an_older_version(done: Path) -> None:
    import torch

    path = done / "out/train" / training.CHECKPOINT
    content = torch.load(path, weights_only=True)
    content["experiment"] = json.dumps(list(json.loads(content["experiment"])["experiment"].values()))
    torch.save(content, path)
    with pytest.raises(FirstspikeError, match=r"last\.ckpt is of an older version"):
        chain.quantize(opened(done))


@pytest.mark.smoke
@pytest.mark.parametrize(
    "stage",
    [
        chain.quantize, lambda workspace: chain.train(workspace, resume=True), simulation.simulate, reporting.write,
        folded, chain.folding_table,
    ],
    ids=["quantize", "resume", "simulate", "report", "target", "table"],
)  # fmt: skip
def test_images_that_changed_after_the_training(done: Path, stage: Callable[[Workspace], Any]) -> None:
    write_json(done / "out/simulation.json", {})
    before = (done / "out/network/network.json").read_bytes()
    save_images(done, seed=1)
    with pytest.raises(FirstspikeError, match=re.escape(f"{done / 'own.npz'} has changed: ")) as error:
        stage(opened(done))
    assert "put the former file back" in error.value.one_line()
    assert (done / "out/network/network.json").read_bytes() == before
    save_images(done)
    assert opened(done).dataset.classes == 3


@pytest.mark.parametrize(
    "change",
    [
        {"test_labels": np.array([0, 1, 2, 0, 2])},
        {"test_images": np.zeros((5, 3, 4), np.uint8)},
        {"train_labels": np.arange(12)[::-1] % 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_array_counts(done: Path, change: dict[str, np.ndarray]) -> None:
    save_images(done, **change)
    with pytest.raises(FirstspikeError, match="was made of other images or labels"):
        chain.quantize(opened(done))
    with pytest.raises(FirstspikeError, match="was made of other images or labels"):
        _ = opened(done).dataset


def test_other_shapes_of_the_same_bytes(done: Path) -> None:
    with np.load(done / "own.npz") as file:
        flat = {name: file[name].reshape(-1, 12) for name in ("train_images", "test_images")}
    save_images(done, **flat)
    with pytest.raises(FirstspikeError, match="was made of other images or labels"):
        chain.quantize(opened(done))


def test_published_files_that_changed(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    shown, labels = rng.integers(0, 256, (20, 8, 8), np.uint8), np.arange(20) % 10
    monkeypatch.setattr(data, "_digits", lambda: (shown, labels, shown, labels))
    digits = opened(done, ('set = "npz"\npath = "own.npz"', 'set = "digits"'))
    chain.train(digits)
    chain.quantize(digits)
    monkeypatch.setattr(data, "_digits", lambda: (255 - shown, labels, shown, labels))
    with pytest.raises(FirstspikeError, match="a file of data set digits has changed"):
        chain.quantize(replace(digits))


def test_training_anew_takes_images_as_they_are(done: Path) -> None:
    save_images(done, seed=1)
    workspace = opened(done)
    old = workspace.frozen.digest
    chain.train(workspace)
    chain.quantize(workspace)
    assert opened(done).frozen.digest != old
    assert opened(done).dataset.digest == workspace.loaded.digest


def test_a_folder_is_its_own_experiment(done: Path) -> None:
    workspace = Workspace.open(done / "out")
    assert workspace.frozen.digest == opened(done).frozen.digest
    chain.export(workspace.folded(lanes=2))
    assert infer(workspace)


def other_network(workspace: Workspace) -> Network:
    """The same with another bias, in the workspace."""
    network = workspace.frozen
    last = network.layers[-1]
    changed = replace(network, layers=(*network.layers[:-1], replace(last, bias=last.bias + 1)))
    changed.save(workspace.network)
    return changed


@pytest.mark.parametrize("stage", [simulation.simulate, infer_by_rtl, bitstream, to_vivado, reporting.write])
def test_rtl_of_another_network(done: Path, stage: Callable[[Workspace], Any]) -> None:
    other_network(opened(done))
    write_json(done / "out/simulation.json", {})
    with pytest.raises(FirstspikeError, match=re.escape(f"{done / 'out/rtl'} was generated for another network")):
        stage(opened(done))


@pytest.mark.parametrize("stage", [simulation.simulate, infer_by_rtl, bitstream, to_vivado])
def test_no_rtl(done: Path, stage: Callable[[Workspace], Any]) -> None:
    shutil.rmtree(done / "out/rtl")
    with pytest.raises(FirstspikeError, match=r"rtl does not exist") as error:
        stage(opened(done))
    assert error.value.hint == "run 'firstspike generate' first"


def with_everything(workspace: Workspace) -> Workspace:
    """All artefacts, as far as they say what they are of; those that take long stand still."""
    manifest, _ = workspace.generated()
    made_of = {"network": workspace.frozen.digest, "verilog": manifest["files"]["top.v"]}
    for path in (workspace.simulation, workspace.netlist_simulation, workspace.bitstream / "figures.json"):
        write_json(path, made_of)
    for path in (workspace.reloaded, workspace.netlist_reloaded):
        write_json(path, made_of | {"network": "0" * 64})
    write_json(workspace.board("icebreaker") / "figures.json", {"network": made_of["network"]})
    to_vivado(workspace)
    infer(workspace)
    return workspace


def test_what_is_stale(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of other lanes all that was made of the RTL; of another network all but what was loaded into it."""
    workspace = with_everything(opened(done))
    assert freshness.stale(workspace) == {}

    chain.generate(workspace.folded(lanes=[2, 1]))
    of_rtl = {
        workspace.images, workspace.simulation, workspace.netlist_simulation, workspace.bitstream / "figures.json",
        workspace.reloaded, workspace.netlist_reloaded, workspace.vivado,
    }  # fmt: skip
    found = freshness.stale(workspace)
    assert found.keys() == of_rtl
    assert found[workspace.vivado].one_line() == f"{workspace.vivado} is of other RTL; run 'firstspike vivado' again"
    assert "with the lanes of 'firstspike generate'" in found[workspace.images].one_line()

    chain.generate(workspace)
    assert freshness.stale(workspace) == {}
    other_network(workspace)
    again = opened(done)
    chain.generate(again)
    found = freshness.stale(again)
    assert found.keys() == of_rtl - {workspace.reloaded, workspace.netlist_reloaded} | {
        workspace.surrogate, workspace.inference, workspace.board("icebreaker") / "figures.json",
    }  # fmt: skip
    assert (
        found[workspace.images].one_line().startswith(f"{workspace.images} is of another network; run 'firstspike ex")
    )
    board_line = found[workspace.board("icebreaker") / "figures.json"].one_line()
    assert board_line.endswith("is of another network; run 'firstspike bitstream --board icebreaker' again")


def test_a_report_of_stale_artefacts(done: Path) -> None:
    """What it needs is refused; a measurement of other RTL is not reported."""
    workspace = with_everything(opened(done))
    with pytest.raises(FirstspikeError, match=r"simulation\.json is of an older version"):
        reporting.write(workspace)
    assert reporting._routed(workspace).keys() == {"network"}
    images.write(workspace.images, workspace.frozen, Hardware.for_network(workspace.frozen, lanes=1))
    with pytest.raises(FirstspikeError, match="images is of other RTL"):
        reporting.write(workspace)
    chain.generate(workspace.folded(lanes=1))
    assert reporting._routed(workspace) == {}
    assert reporting.netlist(workspace) is None
    with pytest.raises(FirstspikeError, match=r"simulation\.json is of other RTL"):
        reporting.write(workspace)


def test_generate_makes_images_of_other_lanes_again(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = opened(done)
    cli._generate(workspace.folded(lanes=[2, 1]))
    assert f"export: {workspace.images}" in capsys.readouterr().out
    image, memory = workspace.images / "layer0_weight.mem", workspace.rtl / "top_layer0_weight.mem"
    assert image.read_bytes() == memory.read_bytes()
    cli._generate(workspace.folded(lanes=[2, 1]))
    assert "export" not in capsys.readouterr().out
    shutil.rmtree(workspace.images)
    cli._generate(workspace)
    assert "export" not in capsys.readouterr().out
    assert not workspace.images.exists()


def with_a_simulation(workspace: Workspace) -> Workspace:
    """One that agrees, as far as a report wants to know."""
    manifest, hardware = workspace.generated()
    result = golden.run(workspace.frozen, workspace.dataset.test_images)
    write_json(workspace.simulation, {
        "network": workspace.frozen.digest, "verilog": manifest["files"]["top.v"], "images": 5, "seed": -3, "stall": 0,
        "classes": [0] * 5, "counters_from": "rtl", "first_difference": None,
        "mismatches": {"spike_times": None, "membranes": 0, "classes": 0, "decision_steps": 0},
        "counters": simulation.golden_counters(hardware, result),
        "cycles": {
            "mean": 3.5, "max": 4, "predicted_mean": 3.5, "interval_mean": 2.0, "interval_predicted_mean": 2,
            "predicted_equal": None, "floor_mean": 1.5, "utilisation": None,
        },
    })  # fmt: skip
    return workspace


DAMAGED = [
    ("simulation.json", [], "its content is no object"),
    ("simulation.json", 5, "its content is no object"),
    ("simulation.json", {"images": -1}, "images is -1"),
    ("simulation.json", {"images": 6}, "it has 5 classes, not 6"),
    ("simulation.json", {"images": 0, "classes": []}, "it has 0 classes, not 0"),
    ("simulation.json", {"classes": "x"}, "classes is no list"),
    ("simulation.json", {"counters": [1]}, "counters is no object"),
    ("simulation.json", {"mismatches": {}}, "mismatches has no 'spike_times'"),
    ("simulation.json", {"cycles": {"mean": 1}}, "cycles has no 'max'"),
    ("surrogate.json", [], "its content is no object"),
    ("surrogate.json", "x", "its content is no object"),
    ("surrogate.json", {"classes": [1]}, "it has 1 classes, not 5"),
    ("surrogate.json", {"accuracy": None}, "accuracy is null"),
    ("seconds.json", [1], "its content is no object"),
    ("seconds.json", {"train": "long"}, 'train is "long"'),
    ("inference.json", {}, "its content is no list"),
    ("inference.json", [3], r"[0] is no object"),
    ("bitstream/figures.json", [], "its content is no object"),
    ("netlist_simulation.json", 3, "its content is no object"),
    ("boards/icebreaker/figures.json", [3], "its content is no object"),
    ("boards/icebreaker/figures.json", {"baud": 9600}, "its content has no 'hardware'"),
    ("vivado/top.json", [], "its content is no object"),
]


@pytest.mark.parametrize(("name", "content", "problem"), DAMAGED)
def test_a_damaged_artefact_is_one_line(name: str, content: Any, problem: str, done: Path) -> None:
    workspace = with_a_simulation(opened(done))
    infer(workspace)
    to_vivado(workspace)
    write_json(workspace.board("icebreaker") / "figures.json", {"network": workspace.frozen.digest})
    path = done / "out" / name
    if isinstance(content, dict) and path.exists() and path != workspace.inference:
        content = json.loads(path.read_text()) | content
    write_json(path, content)
    if "icebreaker" not in name:
        (workspace.board("icebreaker") / "figures.json").unlink()
    with pytest.raises(FirstspikeError) as error:
        reporting.write(opened(done))
    assert error.value.one_line().startswith(f"{path} is damaged: {problem}; "), error.value.one_line()


def test_a_report_of_what_is_whole(done: Path) -> None:
    assert reporting.write(with_a_simulation(opened(done)))["images"] == {"test": 5, "rtl": 5}
