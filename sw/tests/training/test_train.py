"""Training: exact at evaluation, deterministic, resumable, silent, and clear when it fails."""

from __future__ import annotations

import math
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from surrogates import cut_off

from firstspike import signals
from firstspike.errors import FirstspikeError
from firstspike.experiment import data
from firstspike.experiment.config import DataConfig, Experiment, NetworkConfig, TrainConfig
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike.training import train
from firstspike.training.batches import ImageBatches
from firstspike.training.loop import one_cycle

EXAMPLES = Path(__file__).parents[3] / "examples"
QUICK = TrainConfig(epochs=12, batch_size=64, learning_rate=0.01, seed=3)
AUGMENTED = replace(QUICK, shift=1, flip=True)
#: Every part of a recipe that has a state or a schedule of its own.
WHOLE_METHOD = replace(
    QUICK,
    relaxation=0.6,
    kernel_start=0.2,
    kernel_regularisation=1e-2,
    spike_loss=1e-2,
    spike_budget=6.0,
    operation_budget=1500.0,
    penalty_start=0.1,
)
EXPONENTIAL = {"kind": "exponential", "tau": 2.0}


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


@pytest.fixture(autouse=True)
def _one_thread_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    assert not list((tmp_path / "here").iterdir()), "something was written to the current folder"


def experiment(**network: Any) -> Experiment:
    return Experiment(name="quick", network=NetworkConfig(hidden=(24,), **network), train=QUICK)


def assert_exact(result: train.TrainResult, dataset: data.Dataset) -> None:
    expected = golden.run(result.network, dataset.test_images)
    inferred = result.model.infer(torch.tensor(dataset.test_images))
    for mine, theirs in zip(inferred.spike_times, expected.spike_times, strict=True):
        assert np.array_equal(mine.numpy(), theirs)
    assert np.array_equal(inferred.membranes.numpy(), expected.membranes)
    assert np.array_equal(result.classes, expected.classes)
    assert result.accuracy == (expected.classes == dataset.test_labels).mean()


@pytest.mark.smoke
def test_digits_surrogate_is_the_integer_network(digits: data.Dataset, tmp_path: Path) -> None:
    result = train.train(experiment(), digits, tmp_path / "out")
    assert_exact(result, digits)
    assert result.accuracy > 0.85
    assert [x["epoch"] for x in result.history] == list(range(12))
    assert [x["statistics_frozen"] for x in result.history] == [False] * 7 + [True] * 5
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [x.name for x in (tmp_path / "out").iterdir()] == [train.CHECKPOINT]
    assert result.network.shape_name == "64-24-10"
    provenance = Network.load(result.network.save(tmp_path / "network")).provenance
    assert provenance["experiment"]["train"]["seed"] == provenance["seed"] == 3
    assert provenance["image_border"] == digits.border == 0
    assert provenance["dataset"] == {
        "name": "digits",
        "sha256": digits.digest,
        "train_images": 1437,
        "test_images": 360,
        "image_shape": [8, 8],
    }


@pytest.mark.parametrize(
    "network",
    [
        pytest.param({"input_kernel": {"kind": "direct"}, "steps": 5}, id="direct"),
        pytest.param({"kernel": {"kind": "exponential", "tau": 2.0}, "fire_start": 4}, id="early_exponential"),
        pytest.param({"kernel": {"kind": "linear"}, "readout": "first_spike", "fire_start": 6}, id="first_spike"),
        pytest.param({"input_kernel": {"kind": "constant", "theta0": 0.5}}, id="binary_input"),
    ],
)
def test_other_networks_are_exact(digits: data.Dataset, tmp_path: Path, network: dict[str, Any]) -> None:
    assert_exact(train.train(experiment(**network), digits, tmp_path / "out"), digits)


def test_no_hidden_layer(digits: data.Dataset, tmp_path: Path) -> None:
    result = train.train(Experiment(name="flat", network=NetworkConfig(hidden=()), train=QUICK), digits, tmp_path)
    assert_exact(result, digits)
    assert result.accuracy > 0.85


@pytest.mark.smoke
def test_the_seed_decides(digits: data.Dataset, tmp_path: Path) -> None:
    short = replace(experiment(), train=replace(AUGMENTED, epochs=2))
    other = replace(short, train=replace(short.train, seed=4))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first, second, third = (train.train(x, digits, tmp_path / "out").network for x in (short, short, other))
    assert first.digest == second.digest != third.digest
    assert torch.equal(torch.get_rng_state(), before), "the caller's random state"


@pytest.mark.smoke
@pytest.mark.parametrize("recipe", [AUGMENTED, WHOLE_METHOD], ids=["augmented", "whole_method"])
def test_resumed_training_is_uninterrupted_training(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: TrainConfig
) -> None:
    augmented = replace(experiment(kernel=EXPONENTIAL, input_kernel=EXPONENTIAL), train=recipe)
    whole = train.train(augmented, digits, tmp_path / "whole")
    cut_off(monkeypatch, lambda: train.train(augmented, digits, tmp_path / "cut"))
    with pytest.raises(FirstspikeError, match=rf"is of epoch 3 of {recipe.epochs}: training was not finished"):
        train.finished(augmented, digits, tmp_path / "cut")
    resumed = train.train(augmented, digits, tmp_path / "cut", resume=True)
    assert resumed.network.digest == whole.network.digest
    again = train.train(augmented, digits, tmp_path / "cut", resume=True)
    assert again.network.digest == whole.network.digest, "of a finished run"
    frozen = train.finished(augmented, digits, tmp_path / "cut")
    assert (frozen.network.digest, frozen.accuracy) == (whole.network.digest, whole.accuracy)
    drop = {"seconds"}
    assert [{k: v for k, v in x.items() if k not in drop} for x in resumed.history] == [
        {k: v for k, v in x.items() if k not in drop} for x in whole.history
    ]


@pytest.mark.smoke
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_training_between_two_whole_checkpoints(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    short = replace(experiment(), train=replace(QUICK, epochs=4))
    whole = train.train(short, digits, tmp_path / "whole")
    step = train.Training.training_step

    def stopped(self: train.Training, batch: Any, batch_index: int) -> torch.Tensor:
        if (self.current_epoch, batch_index) == (2, 3):
            os.kill(os.getpid(), number)
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch, signals.handled():
        patch.setattr(train.Training, "training_step", stopped)
        with pytest.raises(signals.Stopped, match=f"stopped by {number.name}") as stop:
            train.train(short, digits, tmp_path / "cut")
        assert stop.value.status == status
    assert [x.name for x in (tmp_path / "cut").iterdir()] == [train.CHECKPOINT]
    resumed = train.train(short, digits, tmp_path / "cut", resume=True)
    assert resumed.network.digest == whole.network.digest


@pytest.mark.smoke
def test_a_full_disk_leaves_the_checkpoint_before(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a limit on the size of files, so that a part of the new checkpoint is written."""
    short = replace(experiment(), train=replace(QUICK, epochs=4))
    whole = train.train(short, digits, tmp_path / "whole")
    end = train.Training.on_train_epoch_end
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(self: train.Training) -> None:
        end(self)
        if self.current_epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "on_train_epoch_end", full)
        try:
            with pytest.raises(FirstspikeError, match=r"cannot write .*last\.ckpt: File too large") as error:
                train.train(short, digits, tmp_path / "cut")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert error.value.one_line().endswith("; make room, or choose another folder, with --out")
    assert [x.name for x in (tmp_path / "cut").iterdir()] == [train.CHECKPOINT]
    resumed = train.train(short, digits, tmp_path / "cut", resume=True)
    assert resumed.network.digest == whole.network.digest


@pytest.mark.smoke
@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_NAME": "job"},
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "none", "JSM_NAMESPACE_RANK": "2", "JSM_NAMESPACE_SIZE": "4"},
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "PMI_RANK": "2"},
        {"KUBERNETES_PORT": "1", "MASTER_ADDR": "none", "MASTER_PORT": "1", "WORLD_SIZE": "1", "RANK": "0"},
        {"TORCHELASTIC_RUN_ID": "left", "GROUP_RANK": "0"},
    ],
    ids=["slurm", "lsf", "mpi", "kubernetes", "torchelastic"],
)
def test_one_process_trains_in_a_cluster(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    short = replace(experiment(), train=replace(QUICK, epochs=1))
    expected = train.train(short, digits, tmp_path / "out").network.digest
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train.train(short, digits, tmp_path / "out").network.digest == expected


@pytest.mark.smoke
def test_nothing_to_resume(digits: data.Dataset, tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match="there is no checkpoint"):
        train.train(experiment(), digits, tmp_path, resume=True)
    (tmp_path / train.CHECKPOINT).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(FirstspikeError, match=r"last\.ckpt is damaged"):
        train.train(experiment(), digits, tmp_path, resume=True)


@pytest.mark.smoke
def test_resume_of_another_experiment(digits: data.Dataset, tmp_path: Path) -> None:
    short = replace(experiment(), train=replace(QUICK, epochs=1))
    train.train(short, digits, tmp_path / "out")
    with pytest.raises(FirstspikeError, match="of another experiment"):
        train.train(experiment(), digits, tmp_path / "out", resume=True)


@pytest.mark.smoke
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    step = train.Training.training_step

    def diverge(self: train.Training, batch: Any, batch_index: int) -> torch.Tensor:
        return step(self, batch, batch_index) * (value if batch_index == 5 else 1.0)

    monkeypatch.setattr(train.Training, "training_step", diverge)
    with pytest.raises(FirstspikeError, match="training diverged in epoch 1") as error:
        train.train(experiment(), digits, tmp_path / "out")
    assert "lower [train] learning_rate" in error.value.one_line()
    assert not list((tmp_path / "out").iterdir()), "no checkpoint of a bad state"


@pytest.mark.smoke
def test_training_is_silent(digits: data.Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train.train(replace(experiment(), train=replace(QUICK, epochs=1)), digits, tmp_path / "out")
    assert capfd.readouterr() == ("", "")


@pytest.mark.smoke
def test_unwritable_folder(digits: data.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FirstspikeError, match="cannot write"):
        train.train(experiment(), digits, tmp_path / "file" / "out")


@pytest.mark.smoke
def test_constant_kernel_is_refused(digits: data.Dataset, tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match="'constant' cannot be trained"):
        train.train(experiment(kernel={"kind": "constant"}), digits, tmp_path / "out")


@pytest.mark.smoke
def test_flat_images_cannot_be_shifted(digits: data.Dataset, tmp_path: Path) -> None:
    flat = replace(
        digits,
        train_images=digits.train_images.reshape(-1, 64),
        test_images=digits.test_images.reshape(-1, 64),
    )
    with pytest.raises(FirstspikeError, match="has no rows and columns"):
        train.train(replace(experiment(), train=AUGMENTED), flat, tmp_path / "out")


@pytest.mark.smoke
def test_time_is_not_shifted() -> None:
    """Recordings of (N, T, inputs) have no rows and columns either; those with maps move as a whole."""
    counts = np.random.default_rng(0).integers(0, 3, (2, 5, 4, 4)).astype(np.uint8)
    labels = np.zeros(2, np.int64)
    with pytest.raises(FirstspikeError, match=r"image of shape \(16,\) has no rows and columns"):
        ImageBatches(counts.reshape(2, 5, 16), labels, events=True, shift=1)
    moved, _ = ImageBatches(counts, labels, events=True, shift=1, seed=3)[0]
    padded = np.pad(counts[0], [(0, 0), (1, 1), (1, 1)])
    shifted = [padded[:, r : r + 4, c : c + 4] for r in range(3) for c in range(3)]
    assert any(np.array_equal(moved[0].numpy(), each) for each in shifted)


def part(dataset: data.Dataset, images: int) -> data.Dataset:
    return replace(dataset, train_images=dataset.train_images[:images], train_labels=dataset.train_labels[:images])


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("images", "batch_size", "epochs", "warmup"),
    [
        (1437, 256, 1, 0.2), (100, 256, 1, 0.2), (100, 20, 1, 0.2), (100, 50, 1, 0.5), (100, 100, 5, 0.2),
        (10, 256, 3, 1 / 3), (10, 256, 1, 0.0), (10, 256, 1, 1.0), (10, 5, 1, 1.0), (1, 2, 1, 0.2), (1, 256, 3, 0.2),
    ],
)  # fmt: skip
def test_few_steps(
    digits: data.Dataset, tmp_path: Path, images: int, batch_size: int, epochs: int, warmup: float
) -> None:
    """Also with a single batch or step, or where the learning rate rises for just one step."""
    recipe = replace(QUICK, batch_size=batch_size, epochs=epochs, warmup=warmup)
    few = part(digits, images)
    result = train.train(replace(experiment(), train=recipe), few, tmp_path / "out")
    assert_exact(result, few)
    assert len(result.history) == epochs
    untrained = train.train(replace(experiment(), train=replace(recipe, learning_rate=0.0)), few, tmp_path / "still")
    assert result.network.digest != untrained.network.digest


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("steps", "warmup", "highest"),
    [(1, 0.2, 0), (5, 0.2, 0), (2, 0.5, 0), (3, 1 / 3, 0), (10, 0.2, 1), (7, 1.0, 6), (2, 1.0, 1)],
)
def test_learning_rates_reach_their_peak(steps: int, warmup: float, highest: int) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW([{"params": [parameter]} for parameter in parameters], lr=9.0)
    schedule = one_cycle(optimiser, [0.5, 0.25], steps, warmup)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr())
        optimiser.step()
        schedule.step()
    assert rates[highest] == pytest.approx([0.5, 0.25])
    assert rates == sorted(rates[: highest + 1]) + sorted(rates[highest + 1 :], reverse=True)
    assert highest == steps - 1 or rates[-1][0] < 1e-4


@pytest.mark.smoke
def test_processes_of_torchrun_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train._placement()["devices"] == 1
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert train._placement() == {"accelerator": "auto", "strategy": "ddp", "devices": 2, "num_nodes": 3}


def test_digits_example_reaches_97_percent(digits: data.Dataset, tmp_path: Path) -> None:
    result = train.train(Experiment.load(EXAMPLES / "digits.toml"), digits, tmp_path / "out")
    assert_exact(result, digits)
    assert result.accuracy >= 0.97


@pytest.mark.mnist
def test_mnist_recipe_learns(tmp_path: Path) -> None:
    """Two epochs of the recipe; the accuracy of the whole one is measured by ``make mnist``."""
    recipe = Experiment.load(EXAMPLES / "mnist.toml")
    mnist = data.load(recipe.data)
    result = train.train(replace(recipe, train=replace(recipe.train, epochs=2)), mnist, tmp_path / "out")
    assert_exact(result, mnist)
    assert result.accuracy > 0.96
