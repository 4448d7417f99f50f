"""Training in two processes started by ``torchrun``: as one would do it, but for rounding and the noise of seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import one_step
import pytest
import torch

from firstspike import processes
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.flow import chain
from firstspike.flow.workspace import Workspace
from firstspike.network.model import Network
from firstspike.training import train

#: Every way in which training depends on other processes: batch norm, a budget, and kernels that some steps leave
#: without a gradient, since their layer is relaxed.
RECIPE = """
name = "quick"
[network]
hidden = [24]
kernel = { kind = "exponential", tau = 2.0 }
[train]
epochs = 12
batch_size = 64
learning_rate = 0.01
relaxation = 0.3
kernel_start = 0.3
spike_budget = 8
"""

#: Mean and standard deviation of the recipe in one process with the seeds 0..7: accuracy of 96.4 .. 98.6 %, loss of
#: the last epoch of 0.327 .. 0.338, tau of 2.105 .. 2.130. Within the noise is within four standard deviations.
NOISE = {"accuracy": (0.973, 0.008), "loss": (0.3323, 0.0035), "tau": (2.121, 0.009)}


def torchrun(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, *map(str, command)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def within_noise(name: str, value: float) -> bool:
    mean, deviation = NOISE[name]
    return abs(value - mean) <= 4 * deviation


def assert_within_noise(history: list[dict[str, Any]], accuracy: float) -> None:
    assert within_noise("accuracy", accuracy)
    assert within_noise("loss", history[-1]["loss"])
    assert within_noise("tau", history[-1]["kernels"][0][0])


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(RECIPE)
    for command in ("train", "quantize"):
        done = torchrun("-m", "firstspike.flow.cli", command, file, "--out", tmp_path / "two")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1, "one process speaks"
        assert done.stderr.count("\n") == 0, done.stderr
    two = Workspace(Experiment.load(file), tmp_path / "two")
    files = {str(path.relative_to(two.folder)) for path in two.folder.rglob("*") if path.is_file()}
    network = {f"network/{name}" for name in (".firstspike", "network.json", "tensors.safetensors")}
    assert files == {"train/last.ckpt", "train/history.json", "seconds.json", "surrogate.json"} | network
    history = json.loads((two.training / "history.json").read_text())
    outcome = json.loads(two.surrogate.read_text())
    assert len(history) == 12
    assert_within_noise(history, outcome["accuracy"])
    # One process makes the same network of the checkpoint.
    chain.quantize(two)
    assert Network.load(two.network).digest == outcome["network"] == json.loads(two.surrogate.read_text())["network"]

    one = train.train(two.experiment, two.dataset, tmp_path / "one")
    assert_within_noise(one.history, one.accuracy)
    # Batches are of the same size, so that there are as many steps.
    for mine, theirs in zip(one.history, history, strict=True):
        assert mine["learning_rate"] == pytest.approx(theirs["learning_rate"], rel=1e-9)


@pytest.mark.smoke
def test_the_noise_tells_a_batch_of_another_size() -> None:
    """The recipe with batches of 128, as if each process took a whole one, in one process with the seeds 0..4."""
    assert not any(within_noise("loss", loss) for loss in (0.3713, 0.3690, 0.3731, 0.3732, 0.3664))
    assert not any(within_noise("tau", tau) for tau in (2.0667, 2.0639, 2.0589, 2.0638, 2.0670))


@pytest.mark.smoke
def test_processes_are_those_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.started_by_torchrun(), processes.count(), processes.is_first()) == (False, 1, True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        assert (processes.started_by_torchrun(), processes.count(), processes.is_first()) == (True, 4, rank == 0)
    assert train._share(250) == 62
    with pytest.raises(FirstspikeError, match="a batch of 3 images has less than one for each of 4 processes"):
        train._share(3)


def test_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    done = torchrun(one_step.__file__, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = one_step.step(*one_step.data(), parallel=False)
    half = one_step.step(*(x[: one_step.BATCH // 2] for x in one_step.data()), parallel=False)
    assert len(expected) > 12
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # Double precision: sums of some hundred terms of order 1, in another order, differ by about 1e-13.
            assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-11), name
    assert not all(torch.allclose(half[name], value, rtol=1e-2) for name, value in expected.items())
