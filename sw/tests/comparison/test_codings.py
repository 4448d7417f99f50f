from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import relu_networks
import torch
from relu_networks import NETWORKS, random_layer

from firstspike.comparison.codings import Coding, CodingResult, Neurons, PixelInput, simulate
from firstspike.comparison.normalised_energy import SPINNAKER, TRUENORTH, Chip, normalised_energy
from firstspike.conversion.ann import FloatLayer
from firstspike.conversion.normalise import layer_maxima, normalised
from firstspike.conversion.relu_network import Synapses, activations
from firstspike.errors import FirstspikeError


def sent(neurons: Neurons, drives: list[float]) -> list[float]:
    return [float(neurons.step(t, torch.tensor([x]))[0]) for t, x in enumerate(drives)]


def neurons(code: str, **settings: float) -> Neurons:
    return Neurons(code, **{"threshold": 1.0, "initial": 0.0, "growth": 2.0, "period": 8} | settings)


@pytest.mark.smoke
def test_rate_neurons_send_the_whole_part_of_their_sum():
    drives = torch.arange(65) / 64  # sums of 64ths are exact
    many = neurons("rate")
    total = torch.zeros(65)
    for t in range(130):
        total += many.step(t, drives)
        assert (total == torch.floor((t + 1) * drives)).all()
    half = neurons("rate", threshold=0.5, initial=0.5)  # membrane 1/4 at first, spikes worth 1/2
    assert sent(half, [0.25, 0.25, 0.25, 0.25]) == [0.5, 0.0, 0.5, 0.0]


@pytest.mark.smoke
def test_phase_neurons_send_binary_digits():
    assert sent(neurons("phase"), [13 / 16] + [0.0] * 8) == [0.5, 0.25, 0, 0.0625, 0, 0, 0, 0, 0]
    # What is left over, 3/4 of the last digit, waits for the next period.
    assert sent(neurons("phase", period=2), [0.9375, 0, 0, 0, 0]) == [0.5, 0.25, 0, 0, 0]
    assert sent(neurons("phase", period=2), [1.25, 0, 0, 0]) == [0.5, 0.25, 0.5, 0]
    assert sent(neurons("phase", threshold=2.0), [1.5] + [0.0] * 2) == [1.0, 0.5, 0.0]


@pytest.mark.smoke
def test_burst_neurons_double_until_they_pause():
    assert sent(neurons("burst", threshold=0.125), [1.0, 0, 0, 0, 0, 0]) == [0.125, 0.25, 0.5, 0, 0.125, 0]
    assert sent(neurons("burst", threshold=0.25, growth=1.0), [1.0, 0, 0, 0, 0]) == [0.25, 0.25, 0.25, 0.25, 0]


def pixel_input(coding: Coding, pixels: torch.Tensor, steps: int) -> torch.Tensor:
    inputs = PixelInput(pixels, coding, torch.Generator().manual_seed(coding.seed))
    return torch.stack([inputs.step(t) for t in range(steps)])


@pytest.mark.smoke
def test_phase_input_is_exact_after_each_period():
    pixels = torch.arange(256, dtype=torch.uint8)
    values = pixel_input(Coding(hidden="phase", input="phase", steps=16), pixels, 16)
    unit = torch.tensor(1 / 255)
    for period in (values[:8], values[8:]):
        # A spike is worth a power of two times 1/255 in float32, so that its bits can be read off exactly.
        parts = period / unit
        assert (parts == parts.round()).all()
        assert (parts.sum(0) == pixels).all()
        assert [int(n) for n in period.count_nonzero(0)] == [p.bit_count() for p in range(256)]
    assert (values[:7].sum(0) / unit != pixels).any()


@pytest.mark.smoke
def test_the_other_inputs_carry_the_pixel():
    pixels = torch.tensor([0, 1, 64, 128, 255], dtype=torch.uint8)
    real = pixel_input(Coding(hidden="rate", input="real", steps=1), pixels, 3)
    assert (real == pixels / 255).all()
    shared = pixel_input(Coding(hidden="phase", input="real", steps=1), pixels, 8)
    assert (shared.sum(0) == pixels / 255).all()  # eighths
    burst = pixel_input(Coding(hidden="burst", input="burst", steps=1), pixels, 400)
    # What is left in the membrane is less than the worth of the next spike, at most the largest sent so far.
    assert ((pixels / 255 * 400 - burst.sum(0)).abs() <= 2 * burst.max(0).values.clamp(min=0.125)).all()
    poisson = pixel_input(Coding(hidden="rate", input="poisson", steps=1), pixels, 4000)
    assert set(poisson.unique().tolist()) == {0.0, 1.0}
    assert (poisson[:, 0] == 0).all()
    assert (poisson[:, 4] == 1).all()
    # Within five standard deviations of a mean of 4,000 draws, each at most 1/2.
    assert ((poisson.mean(0) - pixels / 255).abs() < 5 * 0.5 / 4000**0.5).all()


@pytest.mark.smoke
def test_the_gate_lets_the_leader_of_a_window_through():
    layer = FloatLayer(weight=np.ones((1, 1, 1, 1)), bias=np.zeros(1), pool=2)
    synapses = Synapses(layer, (1, 2, 4))
    values = torch.tensor([[[[1.0, 0, 1, 1], [0, 2, 0, 4]]]])
    score = torch.tensor([[[[3.0, 2, 1, 1], [1, 1, 1, 1]]]])
    assert synapses.pool_through(values, score).tolist() == [[[[1.0, 1.0]]]]  # the leader; the first of four equals
    assert synapses.max_pool(values).tolist() == [[[[2.0, 4.0]]]]


def identity(pool: int = 1) -> list[FloatLayer]:
    """One neuron a pixel of a 2 x 2 image, then outputs (0, value)."""
    first = FloatLayer(weight=np.ones((1, 1, 1, 1)), bias=np.zeros(1), pool=pool)
    count = 4 // pool**2
    return [first, FloatLayer(weight=np.stack([np.zeros(count), np.ones(count)]), bias=np.array([0.5, 0.0]))]


@pytest.mark.smoke
def test_counts_and_accuracy_by_hand():
    images = np.array([[255, 255, 0, 0], [0, 0, 0, 0]], np.uint8)
    result = simulate(
        identity(),
        images,
        np.array([1, 1]),
        input_shape=(1, 2, 2),
        coding=Coding(hidden="rate", input="real", steps=4),
        batch_size=1,
    )
    # Two neurons of the first image fire in every step, 2 against the bias 0.5; the dark image stays with class 0.
    assert result.accuracy.tolist() == [0.5] * 4
    assert result.hidden_spikes.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert result.input_spikes.tolist() == [0.0] * 4
    pooled = simulate(
        identity(pool=2),
        images,
        np.array([1, 0]),
        input_shape=(1, 2, 2),
        coding=Coding(hidden="phase", input="phase", steps=8),
    )
    assert pooled.accuracy[-1] == 1.0
    assert pooled.input_spikes.tolist() == [1.0 * n for n in range(1, 9)]
    assert pooled.fired_spikes[-1] == 2 * pooled.hidden_spikes[-1] > 0
    assert pooled.spikes(8) == pooled.input_spikes[-1] + pooled.hidden_spikes[-1]


@pytest.mark.smoke
def test_steps_to_a_part_of_the_final_accuracy():
    spikes = np.arange(1, 6) * 10.0
    result = CodingResult(np.array([0.1, 0.5, 0.97, 0.99, 0.98]), spikes, 2 * spikes, 3 * spikes)
    assert result.steps_to() == 4
    assert result.steps_to(0.9) == 3
    assert result.steps_to(0.0) == 1
    assert result.spikes(3) == 90.0
    with pytest.raises(FirstspikeError, match="5 steps, not 6"):
        result.spikes(6)


@pytest.mark.smoke
def test_batches_play_no_part_and_poisson_follows_its_seed():
    layers = [random_layer(0, 6, 9), random_layer(1, 3, 6)]
    images = (np.random.default_rng(2).integers(0, 2, (10, 9)) * 255).astype(np.uint8)
    labels = np.arange(10) % 3
    arguments = {"input_shape": (9,)}
    # Every sum is exact: black and white pixels, integer weights, spikes worth powers of two.
    coding = Coding(hidden="burst", input="real", steps=20, threshold=0.25)
    one, other = (simulate(layers, images, labels, coding=coding, batch_size=b, **arguments) for b in (3, 10))
    assert (one.accuracy == other.accuracy).all()
    assert (one.hidden_spikes == other.hidden_spikes).all()
    coding = Coding(hidden="rate", input="poisson", steps=20)
    runs = [simulate(layers, images // 2, labels, coding=replace(coding, seed=seed), **arguments) for seed in (5, 5, 6)]
    spikes = [run.input_spikes for run in runs]
    assert (spikes[0] == spikes[1]).all()
    assert (spikes[0] != spikes[2]).any()


def made(name: str) -> tuple[list[FloatLayer], tuple[int, ...]]:
    make, shape = NETWORKS[name]
    _, layers = make()
    return normalised(layers, layer_maxima(layers, relu_networks.digits().train_images, shape)), shape


def agreement(layers: list[FloatLayer], shape: tuple[int, ...], coding: Coding) -> list[int]:
    """Of 360 images those whose class is the ReLU network's, after each step."""
    images = relu_networks.digits().test_images
    classes = activations(layers, images, shape)[-1].argmax(axis=1)
    run = simulate(layers, images, classes, input_shape=shape, coding=coding, batch_size=180)
    return [round(x * len(images)) for x in run.accuracy]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "coding",
    [
        pytest.param(Coding(hidden="rate", input="real", steps=256), id="rate"),
        pytest.param(Coding(hidden="phase", input="phase", steps=256), id="phase"),
        pytest.param(Coding(hidden="burst", input="phase", steps=256, threshold=0.125), id="burst"),
    ],
)
def test_every_coding_converges_to_the_relu_network(name, coding):
    layers, shape = made(name)
    found = agreement(layers, shape, coding)
    assert found[-1] >= 354
    assert found[-1] > found[0] + 20, "nothing to converge: the test shows nothing"


def test_a_network_that_is_not_normalised_saturates():
    _, layers = relu_networks.convolutional()
    shape = relu_networks.CONVOLUTION_SHAPE
    coding = Coding(hidden="rate", input="real", steps=256)
    assert agreement(layers, shape, coding)[-1] < agreement(made("convolutional")[0], shape, coding)[-1]


@pytest.mark.smoke
def test_default_thresholds():
    found = [Coding(hidden=hidden, input="real", steps=1).hidden_threshold for hidden in ("rate", "phase", "burst")]
    assert found == [1.0, 1.0, 0.4]
    assert Coding(hidden="burst", input="real", steps=1, threshold=0.125).hidden_threshold == 0.125


@pytest.mark.smoke
def test_wrong_settings_are_refused():
    right = {"hidden": "rate", "input": "real", "steps": 8}
    for wrong, message in (
        ({"hidden": "poisson"}, "hidden coding is 'poisson'"),
        ({"input": "rate"}, "input coding is 'rate'"),
        ({"steps": 0}, "0 steps"),
        ({"threshold": 0.0}, "thresholds"),
        ({"growth": 0.5}, "growth"),
        ({"initial": 1.0}, "initial membrane"),
        ({"input": "phase", "period": 4}, "8 bits|period of 4"),
    ):
        with pytest.raises(FirstspikeError, match=message):
            Coding(**right | wrong)
    layers = [random_layer(0, 3, 9)]
    with pytest.raises(FirstspikeError, match="labels have shape"):
        simulate(layers, np.zeros((2, 9), np.uint8), np.zeros(3, np.int64), input_shape=(9,), coding=Coding(**right))


#: T2FSNN's table (recalled): spikes in 10^6 an image, steps, energy on TrueNorth and SpiNNaker; the rate row first.
TABLE = {
    "CIFAR-10": [
        (61.949, 10_000, 1.0, 1.0),
        (35.196, 1_500, 0.317, 0.418),
        (6.920, 1_125, 0.112, 0.112),
        (0.068, 680, 0.041, 0.025),
    ],
    "CIFAR-100": [
        (81.525, 10_000, 1.0, 1.0),
        (258.346, 8_950, 1.805, 2.350),
        (25.074, 3_100, 0.309, 0.308),
        (0.084, 680, 0.041, 0.025),
    ],
    "MNIST": [(0.1, 200, 1.0, 1.0), (0.002, 40, 0.128, 0.085)],
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", TABLE)
def test_energies_of_the_paper(name):
    rate_spikes, rate_steps, *_ = TABLE[name][0]
    for spikes, steps, truenorth, spinnaker in TABLE[name]:
        arguments = {"spikes": spikes, "steps": steps, "rate_spikes": rate_spikes, "rate_steps": rate_steps}
        assert normalised_energy(TRUENORTH, **arguments) == pytest.approx(truenorth, abs=0.0006)
        assert normalised_energy(SPINNAKER, **arguments) == pytest.approx(spinnaker, abs=0.0006)


@pytest.mark.smoke
def test_wrong_energies_are_refused():
    with pytest.raises(FirstspikeError, match="shares of energy"):
        Chip(0.5, 0.6)
    with pytest.raises(FirstspikeError, match="of rate coding"):
        normalised_energy(TRUENORTH, spikes=1, steps=1, rate_spikes=0, rate_steps=1)
