"""What is refused or doubted before training, and not after it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.experiment.outline import least_network
from firstspike.flow import chain, precheck
from firstspike.flow.workspace import Workspace
from firstspike.network import golden
from firstspike.training import train as training
from firstspike.training.train import surrogate

pytestmark = pytest.mark.smoke


class TrainedError(Exception):
    """The training has begun."""


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object, **__: object) -> None:
        raise TrainedError

    monkeypatch.setattr(training.lightning.Trainer, "fit", fit)


def workspace(folder: Path, text: str = "", **arrays: np.ndarray) -> Workspace:
    """An experiment on images (1, 8, 8) of three classes, if arrays do not say otherwise; else on the digits."""
    if arrays or 'set = "npz"' in text:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (12, 8, 8), np.uint8)
        labels = np.arange(12) % 3
        given = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
        np.savez(folder / "own.npz", **(given | arrays))
    (folder / "mine.toml").write_text(text)
    return Workspace.open(folder / "mine.toml", folder / "out")


OWN = '[data]\nset = "npz"\npath = "own.npz"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[hardware]\nlanes = [4]", "lanes are given for 1 layers; the network has 2"),
        ("[hardware]\nlanes = [4, 3, 2]", "lanes are given for 3 layers; the network has 2"),
        ("[hardware]\nlanes = [99, 3]", "layer 0: 99 lanes for 48 neurons"),
        ('[network]\nhidden = "4C3"\n[hardware]\nlanes = [5, 3]', "layer 0: 5 lanes for 4 channels"),
        ('[hardware]\nfire = ["search"]', "fire is given for 1 layers"),
        ('[hardware]\nproduct = ["shift"]', "product is given for 1 layers"),
        ('[network]\nfire_start = 3\n[hardware]\nfire = "search"', "a search needs complete membranes"),
        ('[network]\nkernel = { kind = "linear" }\n[hardware]\nproduct = "shift"', "layer 1: the hardware shifts, but"),
        ("[network]\nhidden = [70000]", "[network] hidden is [70000]"),
        ("[network]\nsteps = 25\n[hardware]\nspare_membrane_bits = 16", "membranes"),
        (f"[network]\nhidden = {[4] * 15}\n[hardware]\nlanes = 2", "16 layers; the core has at most 15"),
        ('[network]\nhidden = "2000C1"\n[hardware]\nlanes = 2', "an index of population 1 takes 17 bits"),
        ('[dynamics]\nmode = "soft"\n[hardware]\nlanes = [99, 3]', "layer 0: 99 lanes for 48 neurons"),
        ("[hardware]\nblocks = 1", "blocks of memory, more than 1"),
        ("[hardware]\nclocks = 3", "3 clocks an image are out of reach: layer 0 dense 48 is the slowest part"),
    ],
)
def test_hardware_that_no_training_fits(tmp_path: Path, text: str, message: str) -> None:
    named = "" if "70000" in text else "[hardware]: "
    with pytest.raises(FirstspikeError, match=re.escape(named) + ".*" + re.escape(message)) as error:
        chain.train(workspace(tmp_path, text))
    assert named == "" or str(error.value).startswith(f"{tmp_path / 'mine.toml'}: {named}")
    assert not (tmp_path / "out").exists()


def test_hardware_of_the_command_line(tmp_path: Path) -> None:
    for lanes in ([4], [4, 3, 2], [49, 1]):
        with pytest.raises(FirstspikeError, match=r"^--lanes: .*lanes"):
            chain.train(workspace(tmp_path).folded(lanes=lanes), hardware=True)
    with pytest.raises(FirstspikeError, match=r"^--lanes and --clocks are given together$"):
        workspace(tmp_path).folded(lanes=4, clocks=3)
    with pytest.raises(FirstspikeError, match=r"^--lanes is 0$"):
        workspace(tmp_path).folded(lanes=0)
    deep = workspace(tmp_path, f"[network]\nhidden = {[4] * 15}")
    with pytest.raises(FirstspikeError, match="16 layers; the core has at most 15"):
        chain.train(deep, hardware=True)
    with pytest.raises(TrainedError):  # such a network may be trained, if nobody asks for hardware
        chain.train(deep)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[hardware]\nlanes = [4, 3]",
        "[hardware]\nlanes = 200",
        "[hardware]\nclocks = 400",
        "[hardware]\nblocks = 20",
        '[network]\nhidden = "4C3-P2"\nfire_start = 3\nreadout = "first_spike"\n[hardware]\nlanes = [4, 3]',
        '[network]\nhidden = "A2-4C3p1-A2-D0.5-6"\n[hardware]\nclocks = 4000',
        '[network]\nhidden = []\ninput_kernel = { kind = "direct" }\n[hardware]\ninput = "events"',
        '[network]\nkernel = { kind = "exponential", tau = 2.0 }\ninput_kernel = { kind = "exponential", tau = 2.0 }\n'
        "[train]\nkernel_start = 0.5\n[hardware]\nclocks = 3",
    ],
)
def test_what_may_fit_is_trained(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainedError):
        chain.train(workspace(tmp_path, text), hardware=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[network]\nhidden = "A2-4C3p1-P2-6"\nkernel = { kind = "linear" }\ninput_kernel = { kind = "direct" }',
        '[network]\nhidden = "3C3s2-A3"\nreadout = "first_spike"\nfire_start = 2\n[train]\nweight_bits = 2',
    ],
)
def test_the_least_network_takes_no_more_than_others(tmp_path: Path, text: str) -> None:
    """It has the shape and tables of an untrained one, fits into its hardware, and makes no spike but the input's."""
    mine = workspace(tmp_path, text)
    least, other = least_network(mine.experiment, mine.dataset), surrogate(mine.experiment, mine.dataset).freeze()
    assert least.shape_name == other.shape_name
    Hardware.for_network(other).check(least)
    for name in ("encoder", "steps", "fire_start", "readout"):
        assert getattr(least, name) == getattr(other, name)
    images = mine.dataset.test_images[:9]
    spikes, expected = (golden.run(network, images).spikes(network) for network in (least, other))
    assert np.array_equal(spikes[:, 0], expected[:, 0])
    assert not spikes[:, 1:].any()


@pytest.mark.parametrize(
    "text",
    [
        '[dynamics]\nmode = "soft"',
        '[network]\nhidden = "A2-4C3p1-6"\nreadout = "largest_membrane"\n'
        '[dynamics]\nmode = "hard"\ninput = "direct"\nleak = 0.9',
        '[network]\nreadout = "first_spike"\n[dynamics]\nmode = "once"\nretain = 1.0\nstart = 3\nguard = 0',
    ],
)
def test_the_least_network_with_dynamics(tmp_path: Path, text: str) -> None:
    """As above, but that there is no hardware; and the thresholds are the least ones."""
    mine = workspace(tmp_path, text)
    least, other = least_network(mine.experiment, mine.dataset), surrogate(mine.experiment, mine.dataset).freeze()
    assert least.shape_name == other.shape_name
    for name in ("encoder", "steps", "fire_start", "readout", "latency_steps"):
        assert getattr(least, name) == getattr(other, name)
    for mine_has, other_has in zip(least.populations, other.populations, strict=True):
        assert (mine_has.kernel, mine_has.spikes_a_step) == (other_has.kernel, other_has.spikes_a_step)
        if mine_has.dynamics and other_has.dynamics:
            assert mine_has.dynamics.settings() == other_has.dynamics.settings()
            assert mine_has.dynamics.threshold is None or mine_has.dynamics.threshold.item() == 1
    assert not golden.run(least, mine.dataset.test_images[:9]).spikes(least)[:, 1:].any()


def test_dynamics_are_trained(tmp_path: Path) -> None:
    mine = workspace(tmp_path, '[dynamics]\nmode = "soft"')
    for hardware in (False, True):
        with pytest.raises(TrainedError):
            chain.train(mine, hardware=hardware)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[network]\nhidden = "8C9"', "[network] hidden: 8C9 does not fit 1 x 8 x 8 (channels x rows x columns)"),
        ('[network]\nhidden = "8C3-P9"', "[network] hidden: 8C3-P9 does not fit 1 x 8 x 8"),
        ('[network]\nhidden = "8C3-8C3-8C3-8C3"', "[network] hidden: 8C3 does not fit 8 x 2 x 2"),
        ('[network]\nhidden = "A3-8C3"', "[network] hidden: A3 (average pooling) does not divide 1 x 8 x 8"),
        ('[network]\nhidden = "vgg16"', "[network] hidden: 512C3p1-P2 does not fit 512 x 1 x 1"),
        (
            '[train]\nmethod = "relu"\n[network]\nreadout = "first_spike"',
            "[network] readout 'first_spike' cannot be converted",
        ),
        (
            '[train]\nmethod = "relu"\n[conversion]\noptimise_kernels = true',
            "[conversion] optimise_kernels needs an exponential kernel, not 'power_of_two'",
        ),
        ('[network]\nkernel = { kind = "constant" }', "[network] kernel 'constant' cannot be trained"),
        (
            '[network]\nkernel = { kind = "exponential", tau = 1e9 }',
            "[network] kernel 'exponential' cannot be trained: its spikes carry one value",
        ),
        ("[train]\nkernel_start = 0.5", "[train] kernel_start is set, but a kernel of kind 'power_of_two' has no"),
    ],
)
def test_settings_that_do_not_fit_the_images(tmp_path: Path, text: str, message: str) -> None:
    """File and setting are named, in the words of who wrote them."""
    with pytest.raises(FirstspikeError, match=re.escape(f"{tmp_path / 'mine.toml'}: {message}")) as error:
        chain.train(workspace(tmp_path, text))
    assert "-1" not in error.value.one_line().replace(str(tmp_path), "")
    assert not (tmp_path / "out" / "train").exists()


def test_a_data_file_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[data]\nset = "npz"\npath = "none.npz"')
    named = rf"^{re.escape(str(tmp_path / 'mine.toml'))}: \[data\] path: .*none\.npz does not exist$"
    with pytest.raises(FirstspikeError, match=named):
        chain.train(Workspace.open(tmp_path / "mine.toml", tmp_path / "out"))


def test_flat_images_have_no_convolutions(tmp_path: Path) -> None:
    flat = np.zeros((12, 64), np.uint8)
    with pytest.raises(FirstspikeError, match=r"mine\.toml: \[network\] hidden: .*shape \(64,\) has no rows"):
        chain.train(workspace(tmp_path, f'{OWN}[network]\nhidden = "8C3"', train_images=flat, test_images=flat))


@pytest.mark.parametrize(
    ("hidden", "shape"),
    [
        ('"8C3-P2-16-3"', "1x8x8-8C3-P2-16-3-3"), ('"16-3"', "64-16-3-3"), ("[16, 3]", "64-16-3-3"), ("[3]", "64-3-3"),
        ('"64-16-3"', "64-64-16-3-3"), ('"16-D0.5-3"', "64-16-3-3"),
    ],
)  # fmt: skip
def test_the_output_is_named_too(tmp_path: Path, hidden: str, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainedError):
        chain.train(workspace(tmp_path, f"{OWN}[network]\nhidden = {hidden}"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the last layer of [network] hidden has 3 neurons, as many as there are classes")
    assert f"so that the network is {shape}:" in line


@pytest.mark.parametrize("hidden", ['"8C3-P2-16"', '"3C3"', '"3C3-P2"', "[16]", "[]", "[3, 16]"])
def test_nothing_is_doubtful(tmp_path: Path, hidden: str) -> None:
    assert precheck.check(workspace(tmp_path, f"{OWN}[network]\nhidden = {hidden}")) == []


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("[conversion]\npercentile = 99.0", '[conversion] plays no part without [train] method = "relu": leave it out'),
        ('[network]\nkernel = { kind = "exponential", tau = 1e-9 }', "[network] kernel: only the first of its 8 steps"),
        (
            '[network]\ninput_kernel = { kind = "exponential", tau = 1e-9 }',
            "[network] input_kernel: only the first of its 8 steps",
        ),
    ],
)
def test_settings_without_effect(tmp_path: Path, text: str, note: str) -> None:
    (found,) = precheck.check(workspace(tmp_path, text))
    assert found.startswith(note)
    assert precheck.check(workspace(tmp_path, '[train]\nmethod = "relu"\n[conversion]\npercentile = 99.0')) == []


def test_doubtful_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.array([0, 1, 2, 4] * 3)
    with pytest.raises(TrainedError):
        chain.train(workspace(tmp_path, OWN, train_labels=labels, train_images=np.ones((12, 8, 8), np.uint8)))
    missing, dim = capsys.readouterr().err.splitlines()
    assert missing.startswith("note: data set own has no training image of class 3, but the network has an output")
    assert dim.startswith("note: data set own: the brightest pixel of train_images is 1 of 255")
