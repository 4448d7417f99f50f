"""Training of networks with dynamics: evaluated as the integers, the same integers in training, and its gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolution_shapes, dense_shapes
from surrogates import cut_off, notation, trained_somehow

from firstspike.errors import FirstspikeError
from firstspike.experiment import data
from firstspike.experiment.config import DataConfig, Experiment, NetworkConfig, TrainConfig
from firstspike.experiment.dynamics import LEAST_THRESHOLD, DynamicsConfig, Neurons
from firstspike.network import golden, kernels
from firstspike.network.model import Network
from firstspike.training import train
from firstspike.training.dynamics.neurons import SteppedNeurons, _Count
from firstspike.training.dynamics.surrogate import SteppedSurrogate

EXAMPLES = Path(__file__).parents[3] / "examples"
QUICK = TrainConfig(epochs=8, batch_size=64, learning_rate=0.01, seed=3, weight_bits=8)
#: Where a half of each of at most eight steps is exact.
EXACT_GUARD = 8


@st.composite
def neurons(draw: st.DrawFn, *, last: bool, steps: int, exact: bool) -> Neurons:
    """Of a hidden population or an output; ``exact``: with nothing that real numbers would round otherwise."""
    parts = [0.0, 0.5, 1.0]
    factor = st.sampled_from(parts) if exact else st.one_of(st.sampled_from(parts), st.floats(0, 1))
    fires = not last or draw(st.booleans())
    mode = "once" if last else draw(st.sampled_from(["once", "soft", "hard"]))
    common: dict[str, Any] = {
        "retain": draw(factor),
        "leak": draw(factor),
        "guard": EXACT_GUARD if exact else draw(st.sampled_from([0, 4])),
    }
    if not fires:
        return Neurons(threshold=None, read=draw(st.sampled_from(["final", "largest"])), **common)
    threshold = draw(st.integers(1, 200)) if exact else draw(st.floats(0.01, 3))
    cap = 1 if mode == "once" else draw(st.sampled_from([1, 3]))
    return Neurons(
        mode=mode, threshold=float(threshold), cap=cap, start=draw(st.sampled_from([0, 0, 1, steps])), **common
    )


@st.composite
def surrogates(draw: st.DrawFn, *, exact: bool = False) -> SteppedSurrogate:
    """An untrained one whose statistics, gains and offsets are drawn; ``exact``: weights are integers, their unit 1."""
    steps = draw(st.integers(1, 4 if exact else 7))
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    input_shape, layers = draw(st.one_of(dense_shapes(), convolution_shapes().map(without_pooling)))
    kernel = kernels.Direct() if not exact and draw(st.booleans()) else kernels.Linear(steps=steps)
    repeat = 0 if kernel.simultaneous else draw(st.sampled_from([0, 0, 1, 3]))
    model = SteppedSurrogate(
        input_shape,
        "-".join(notation(x, pooled=False) for x in layers),
        [draw(neurons(last=i == len(layers) - 1, steps=steps, exact=exact)) for i in range(len(layers))],
        input_kernel=kernel,
        steps=steps,
        repeat=repeat,
        batch_norm=not exact,
        weight_bits=8 if exact else draw(st.integers(2, 8)),
        weight_clip=1.0 if exact else draw(st.sampled_from([0.3, 0.7, 1.0])),
    )
    with torch.no_grad():
        for layer in model.folded_layers():
            if exact:
                layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape))
                layer.weight.view(-1)[0] = 127  # so that the largest integer stands for itself
                layer.beta.copy_(torch.randint(-99, 100, layer.beta.shape))
                layer.running_var.fill_(1 - layer.epsilon)
                continue
            layer.weight.normal_()
            layer.gamma.normal_(draw(st.sampled_from([0.3, 1.0, 3.0])))
            layer.beta.normal_(0.0, draw(st.sampled_from([0.1, 1.0])))
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.1, 2.0)
    return model


def without_pooling(drawn: tuple[Any, list[dict[str, Any]]]) -> tuple[Any, list[dict[str, Any]]]:
    """The shapes of a network whose convolutions do not pool: the last layer sees their whole maps."""
    shape, layers = drawn
    size = shape
    for layer in layers[:-1]:
        layer["pool"] = 1
        channels, _, *kernel = layer["shape"]
        layer["shape"] = (channels, size[0], *kernel)
        grid = [(n + 2 * layer["padding"] - k) // layer["stride"] + 1 for n, k in zip(size[1:], kernel, strict=True)]
        if min(grid) < 1:
            layer["shape"], grid = (channels, size[0], *(n + 2 * layer["padding"] for n in size[1:])), [1, 1]
        size = (channels, *grid)
    layers[-1]["shape"] = (layers[-1]["shape"][0], math.prod(size))
    return shape, layers


def random_images(seed: int, network: Network, count: int = 5) -> np.ndarray:
    """Pixels, or counts of events if the network takes these."""
    rng = np.random.default_rng(seed)
    shape = (count, *network.image_shape)
    lit = rng.random((count, *[1] * (len(shape) - 1))) * 1.5
    return (rng.integers(0, network.image_most + 1, shape) * (rng.random(shape) < lit)).astype(np.uint8)


def assert_exact(model: SteppedSurrogate, network: Network, images: np.ndarray) -> golden.Result:
    expected = golden.run(network, images)
    found = model.infer(torch.tensor(images))
    for mine, theirs in zip(found.spike_times, expected.spike_times, strict=True):
        assert np.array_equal(mine.numpy(), theirs)
    assert found.spike_counts.keys() == expected.spike_counts.keys()
    for number, counts in found.spike_counts.items():
        assert np.array_equal(counts.numpy(), expected.spike_counts[number])
    for name in ("membranes", "classes", "decision_steps"):
        assert np.array_equal(getattr(found, name).numpy(), getattr(expected, name)), name
    return expected


@settings(max_examples=150, deadline=None)
@given(model=surrogates(), seed=st.integers(0, 2**32 - 1))
def test_evaluation_is_the_golden_model(model: SteppedSurrogate, seed: int) -> None:
    model.eval()
    network = model.freeze()
    images = random_images(seed, network)
    expected = assert_exact(model, network, images)
    dynamics = network.populations[-1].dynamics
    assert dynamics is not None
    unit = network.layers[-1].scale / 2**dynamics.guard
    assert np.array_equal(model(torch.from_numpy(images)).numpy(), (expected.membranes * unit).astype(np.float32))


@settings(max_examples=200, deadline=None)
@given(model=surrogates(exact=True), seed=st.integers(0, 2**32 - 1))
def test_training_computes_the_integers_where_nothing_is_rounded(model: SteppedSurrogate, seed: int) -> None:
    """Weights, biases and thresholds are integers, all factors 0, 1/2 or 1: every spike and membrane is equal."""
    network = model.freeze()
    images = random_images(seed, network)
    expected = golden.run(network, images)
    model.train()
    sent: list[torch.Tensor] = []
    for population in list(model.populations)[:-1]:
        population.register_forward_hook(lambda _, __, spikes: sent.append(spikes.detach()))
    read = model(torch.from_numpy(images)).detach().numpy()
    for number, spikes in enumerate(sent, 1):
        counts = spikes.flatten(2).transpose(0, 1).numpy()
        if number in expected.spike_counts:
            assert np.array_equal(counts, expected.spike_counts[number])
        else:
            steps = np.arange(network.steps)[:, None]
            assert np.array_equal(np.where(counts, steps, network.steps).min(axis=1), expected.spike_times[number])
    if network.readout == "first_spike":
        best = read == read.max(axis=1, keepdims=True)
        assert np.array_equal(best.argmax(axis=1), expected.classes)
    else:
        assert np.array_equal(read, expected.membranes / 2.0**EXACT_GUARD)


@pytest.mark.smoke
@pytest.mark.parametrize("cap", [1, 3])
def test_the_gradient_is_that_of_arcs_tangent(cap: int) -> None:
    v = torch.linspace(-3, 12, 61, dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    n = _Count.apply(v, threshold, cap, 1.5)
    assert torch.equal(n, (v / threshold).floor().clamp(0, cap))
    weight = torch.cos(torch.arange(61.0, dtype=torch.float64))
    found = torch.autograd.grad((n * weight).sum(), (v, threshold))
    smooth = sum(torch.atan(math.pi / 2 * 1.5 * (v / threshold - m)) / math.pi for m in range(1, cap + 1))
    expected = torch.autograd.grad((smooth * weight).sum(), (v, threshold))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.smoke
@pytest.mark.parametrize("mode", ["once", "soft", "hard"])
def test_no_gradient_passes_a_reset(mode: Any) -> None:
    """A neuron that has fired keeps the gradient of its current, as if there had been no spike."""
    population = SteppedNeurons(Neurons(mode=mode, leak=0.5, threshold=1.0), steps=3, trained=["leak"])
    sums = torch.tensor([[[1.5]], [[0.25]], [[0.25]]], requires_grad=True)
    *_, last = population.run(sums, torch.zeros(1))
    last.membrane.sum().backward()
    assert sums.grad is not None
    kept = 0.0 if mode == "hard" else 0.25
    assert sums.grad.flatten().tolist() == [kept, 0.5, 1.0]


@pytest.mark.smoke
def test_parameters_stay_in_range() -> None:
    population = SteppedNeurons(Neurons(threshold=0.5), steps=2, trained=["leak", "threshold"])
    with torch.no_grad():
        for value, far in zip(population.parameters(), (1.5, -1.0), strict=True):
            value.fill_(far)
    population(torch.ones(1, 1, 1), torch.zeros(1))
    assert isinstance(population.threshold, torch.Tensor)
    assert (population.leak.item(), population.threshold.item()) == (1.0, LEAST_THRESHOLD)


def stepped(**settings: Any) -> SteppedSurrogate:
    torch.manual_seed(0)
    model = SteppedSurrogate(
        (30,), "20-5", [Neurons(leak=0.9, threshold=0.8), Neurons(threshold=None)],
        input_kernel=kernels.Linear(steps=6), steps=6, **settings,
    )  # fmt: skip
    trained_somehow(model)
    return model


@pytest.mark.smoke
def test_what_is_frozen() -> None:
    """Weights as those of tables; V starts at 0, each step adds the bias; both and thresholds in units of 2**-4."""
    model = stepped(weight_bits=6, weight_clip=0.8)
    network = model.freeze({"seed": 7})
    assert network.provenance == {"seed": 7}
    for layer, frozen, after in zip(model.folded_layers(), network.layers, network.populations[1:], strict=True):
        factor = (layer.gamma / (layer.running_var + layer.epsilon).sqrt()).detach().double().numpy()
        folded = layer.weight.detach().double().numpy() * factor[:, None]
        bias = layer.beta.detach().double().numpy() - layer.running_mean.double().numpy() * factor
        assert frozen.scale == pytest.approx(0.8 * np.abs(folded).max() / 31)
        # Half a unit, and the float32 of the surrogate's parameters.
        assert np.abs(frozen.weight - np.clip(folded / frozen.scale, -32, 31)).max() <= 0.5 + 1e-4
        assert not frozen.bias.any()
        assert after.dynamics is not None
        assert np.abs(after.dynamics.drive - bias * 16 / frozen.scale).max() <= 0.5 + 1e-2
    hidden, output = (population.dynamics for population in network.populations[1:])
    assert hidden is not None
    assert hidden.threshold is not None
    assert hidden.threshold.item() == math.ceil(0.8 * 16 / network.layers[0].scale)
    assert hidden.leak.numerator / 2.0**hidden.leak.shift == 230 / 256
    assert output is not None
    assert (output.threshold, network.readout) == (None, "membrane")
    assert network.populations[0].kernel == network.populations[1].kernel == (1,) * 6


@pytest.mark.smoke
def test_values_that_are_not_finite() -> None:
    model = stepped()
    with torch.no_grad():
        model.folded_layers()[0].beta[2] = math.nan
    with pytest.raises(FirstspikeError, match="not finite"):
        model.freeze()


@pytest.mark.smoke
def test_dropout_is_the_same_in_all_steps() -> None:
    model = SteppedSurrogate(
        (40,), "20-D0.5-3", [Neurons(threshold=0.1), Neurons(threshold=None)],
        input_kernel=kernels.Direct(), steps=5, batch_norm=False,
    )  # fmt: skip
    last = list(model.layers)[-1]
    assert isinstance(last, torch.nn.Module)
    with torch.no_grad():
        last.weight.copy_(torch.eye(3, 20))
    sums, _ = last.drive(torch.ones(5, 7, 20))
    assert all(torch.equal(part, sums[0]) for part in sums)
    assert len(sums.unique()) == 2


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def experiment(dynamics: dict[str, Any], **network: Any) -> Experiment:
    return Experiment(
        name="quick",
        network=NetworkConfig(**({"hidden": (24,)} | network)),
        dynamics=DynamicsConfig(**({"mode": "soft", "input": "constant"} | dynamics)),
        train=QUICK,
    )


@pytest.mark.parametrize(
    ("dynamics", "network"),
    [
        pytest.param({}, {}, id="integrate_and_fire"),
        pytest.param({"leak": 0.8, "mode": "hard", "cap": 3}, {"readout": "largest_membrane"}, id="hard"),
        pytest.param({"mode": "once", "input": "direct", "retain": 0.5}, {"readout": "first_spike"}, id="once"),
        pytest.param({"input": "codes", "start": 2, "leak": 0.9}, {"steps": 6}, id="codes"),
        pytest.param({"leak": 0.9}, {"hidden": "8C3p1-A2", "steps": 4}, id="convolution"),
        pytest.param({}, {"hidden": ()}, id="no_hidden_layer"),
    ],
)
def test_other_networks_are_exact(
    digits: data.Dataset, tmp_path: Path, dynamics: dict[str, Any], network: dict[str, Any]
) -> None:
    result = train.train(experiment(dynamics, **network), digits, tmp_path / "out")
    assert isinstance(result.model, SteppedSurrogate)
    expected = assert_exact(result.model, result.network, digits.test_images)
    assert np.array_equal(result.classes, expected.classes)
    assert result.accuracy == (expected.classes == digits.test_labels).mean()
    assert result.accuracy > 0.8
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_dynamics_are_trained_and_resumed(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = experiment(
        {"input": "codes", "leak": 0.8, "retain": (0.5, 1.0), "trained": ("retain", "leak", "threshold")}
    )
    whole = train.train(trained, digits, tmp_path / "whole")
    begin, end = (whole.history[i]["dynamics"] for i in (0, -1))
    assert len(begin) == 2
    assert (begin[0] != end[0], begin[1] != end[1]) == (True, True)
    assert begin[1]["threshold"] is None
    assert [population["retain"] for population in (*begin, *end)].count(1.0) == 2, (
        "a current that stays is not trained"
    )
    hidden = whole.network.populations[1].dynamics
    assert hidden is not None
    for name in ("retain", "leak"):
        assert {0 <= population[name] <= 1 for population in end} == {True}
        assert begin[0][name] != end[0][name]
        factor = getattr(hidden, name)
        assert abs(factor.numerator.item() / 2**factor.shift - end[0][name]) <= 2**-9 + 1e-4
    cut_off(monkeypatch, lambda: train.train(trained, digits, tmp_path / "cut"))
    resumed = train.train(trained, digits, tmp_path / "cut", resume=True)
    assert resumed.network.digest == whole.network.digest
    frozen = train.finished(trained, digits, tmp_path / "cut")
    assert frozen.network.digest == whole.network.digest
    loaded = Network.load(frozen.network.save(tmp_path / "network"))
    assert loaded.digest == whole.network.digest
    other = replace(trained, dynamics=replace(trained.dynamics, leak=0.9))
    with pytest.raises(FirstspikeError, match=r"\[dynamics\] leak was 0\.8 and is 0\.9"):
        train.finished(other, digits, tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("digits-if", 0.97), ("digits-ramp", 0.94)])
def test_examples_reach_their_accuracy(digits: data.Dataset, tmp_path: Path, name: str, least: float) -> None:
    result = train.train(Experiment.load(EXAMPLES / f"{name}.toml"), digits, tmp_path / "out")
    assert isinstance(result.model, SteppedSurrogate)
    assert_exact(result.model, result.network, digits.test_images)
    assert result.accuracy >= least


@pytest.mark.mnist
def test_mnist_recipe_learns(tmp_path: Path) -> None:
    """Two epochs of the recipe; the whole one reaches 99.0 % with its seed."""
    recipe = Experiment.load(EXAMPLES / "mnist-lif.toml")
    mnist = data.load(recipe.data)
    result = train.train(replace(recipe, train=replace(recipe.train, epochs=2)), mnist, tmp_path / "out")
    assert isinstance(result.model, SteppedSurrogate)
    assert_exact(result.model, result.network, mnist.test_images)
    assert result.accuracy > 0.9
