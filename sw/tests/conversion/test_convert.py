from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import relu_networks
from relu_networks import NETWORKS, random_layer

from firstspike.conversion.ann import FloatLayer
from firstspike.conversion.convert import convert
from firstspike.conversion.kernel_optimisation import Losses, Settings, optimise, optimise_kernel, spike_steps
from firstspike.conversion.normalise import layer_maxima, normalised
from firstspike.conversion.relu_network import activations
from firstspike.errors import FirstspikeError
from firstspike.network import golden, naive
from firstspike.network.kernels import Direct, Exponential, Kernel, PowerOfTwo


def made(name: str) -> tuple[list[FloatLayer], tuple[int, ...]]:
    make, shape = NETWORKS[name]
    _, layers = make()
    return normalised(layers, layer_maxima(layers, relu_networks.digits().train_images, shape)), shape


@pytest.mark.parametrize("name", NETWORKS)
def test_a_long_window_and_fine_weights_give_the_classes_of_the_relu_network(name):
    layers, shape = made(name)
    images = relu_networks.digits().test_images
    # The step of a value is below 1 % and the least value exp(-5); the largest is e^0.5, above the 99.9 percentile.
    kernel = Exponential(tau=100.0, delay=50.0, steps=550, kernel_fraction_bits=16)
    network = convert(
        layers,
        input_shape=shape,
        input_kernel=Direct(),
        kernels=[kernel] * (len(layers) - 1),
        weight_bits=16,
    )
    classes = activations(layers, images, shape)[-1].argmax(axis=1)
    assert int((golden.run(network, images).classes == classes).sum()) >= 355  # of 360
    coarse = convert(
        layers,
        input_shape=shape,
        input_kernel=Exponential(tau=0.5, steps=2),
        kernels=[Exponential(tau=0.5, steps=2)] * (len(layers) - 1),
        weight_bits=2,
    )
    assert int((golden.run(coarse, images).classes == classes).sum()) < 330


@pytest.mark.parametrize("rounding", ["ceil", "round"])
@pytest.mark.parametrize("name", NETWORKS)
def test_t2fsnn_on_the_digits(name, rounding):
    """T and tau of T2FSNN for MNIST, and eight-bit weights: within two points of the ReLU network."""
    layers, shape = made(name)
    data = relu_networks.digits()
    kernel = Exponential(tau=5.0, steps=20, rounding=rounding)
    arguments = {"input_shape": shape, "input_kernel": kernel, "kernels": [kernel] * (len(layers) - 1)}
    network = convert(layers, **arguments)
    result = golden.run(network, data.test_images)
    right = int((activations(layers, data.test_images, shape)[-1].argmax(axis=1) == data.test_labels).sum())
    assert right >= 330
    assert int((result.classes == data.test_labels).sum()) >= right - 7


def exact_layers() -> list[FloatLayer]:
    """Integer weights, the largest 3: with three bits of weight nothing is rounded."""
    return [
        random_layer(10, 4, 2, 3, 3, stride=1, padding=1, pool=2),
        random_layer(11, 5, 4, 2, 2, average=2),
        random_layer(12, 6, 5),
    ]


@pytest.mark.smoke
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("start", [0, 1, 3, 5, 6])
def test_a_converted_network_is_one_of_the_definition(start, direct):
    images = np.random.default_rng(13).integers(0, 256, (40, 2, 8, 8)).astype(np.uint8)
    kernel = PowerOfTwo(steps=6, theta0=8.0)
    first: Kernel = Direct() if direct else PowerOfTwo(steps=6)
    arguments = {
        "input_shape": (2, 8, 8),
        "input_kernel": first,
        "kernels": [kernel, replace(kernel, theta0=2.0)],
        "fire_start": start,
    }
    network = convert(exact_layers(), weight_bits=3, **arguments)
    assert [int(np.abs(layer.weight).max()) for layer in network.layers] == [3, 3, 3]
    result = golden.run(network, images)
    assert result == naive.run(network, images)
    assert len(np.unique(result.spikes(network)[:, 1:])) > 3


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("depth", "steps", "start", "latency"),
    [
        pytest.param(16, 80, None, 1280, id="VGG-16"),
        pytest.param(16, 80, 40, 680, id="VGG-16-early"),
        pytest.param(3, 20, 10, 40, id="MNIST-CNN-early"),
        pytest.param(3, 20, None, 60, id="MNIST-CNN"),
    ],
)
def test_latency_is_the_papers(depth, steps, start, latency):
    kernel = Exponential(tau=steps / 4, steps=steps, rounding="ceil")
    network = convert(
        [random_layer(i, 4, 4) for i in range(depth)],
        input_shape=(4,),
        input_kernel=kernel,
        kernels=[kernel] * (depth - 1),
        fire_start=start,
    )
    assert network.latency_steps == latency


@pytest.mark.smoke
def test_quantisation():
    layer = FloatLayer(weight=np.array([[0.5, -1.0], [0.26, 0.0]]), bias=np.array([0.3, -0.7]))
    kernel = Exponential(tau=2.0, steps=8, kernel_fraction_bits=4)
    arguments = {"input_shape": (2,), "input_kernel": kernel, "kernels": [], "weight_bits": 4}
    whole = convert([layer], **arguments).layers[0]
    assert whole.weight.tolist() == [[4, -7], [2, 0]]  # 3.5 and 1.82 of a seventh
    assert whole.scale == 1 / 7 / 16
    assert whole.bias.tolist() == [34, -78]  # 33.6 and -78.4
    clipped = convert([layer], weight_clip=0.5, **arguments).layers[0]
    assert clipped.weight.tolist() == [[7, -8], [4, 0]]
    zero = convert([FloatLayer(weight=np.zeros((2, 2)), bias=np.array([1.0, 0.0]))], **arguments).layers[0]
    assert zero.weight.tolist() == [[0, 0], [0, 0]]
    assert zero.bias.tolist() == [16, 0]


@pytest.mark.smoke
def test_wrong_arguments_are_refused():
    layers = [random_layer(0, 4, 4), random_layer(1, 3, 4)]
    kernel = Exponential(tau=2.0, steps=8)
    arguments = {"input_shape": (4,), "input_kernel": kernel, "kernels": [kernel]}
    with pytest.raises(FirstspikeError, match="0 kernels for 1 hidden"):
        convert(layers, **arguments | {"kernels": []})
    with pytest.raises(FirstspikeError, match=r"\[8, 9\] steps"):
        convert(layers, **arguments | {"input_kernel": replace(kernel, steps=9)})
    with pytest.raises(FirstspikeError, match="weight_clip"):
        convert(layers, **arguments, weight_clip=1.5)
    with pytest.raises(FirstspikeError, match="fire_start is 9"):
        convert(layers, **arguments, fire_start=9)


def reference_step(kernel: Exponential, value: float) -> int:
    """The closed form of the spike time."""
    if value <= 0:
        return kernel.steps
    exact = -kernel.tau * np.log(value / kernel.theta0) + kernel.delay
    k = max(0, int(np.ceil(exact - (0.5 if kernel.rounding == "round" else 0.0))))
    return min(k, kernel.steps)


@pytest.mark.smoke
@pytest.mark.parametrize("rounding", ["ceil", "round"])
def test_spike_steps_are_the_closed_form(rounding):
    kernel = Exponential(tau=5.0, delay=-1.5, steps=20, rounding=rounding, theta0=1.25)
    values = np.random.default_rng(20).random(2000).astype(np.float32) * np.float32(1.5) - np.float32(0.1)
    assert spike_steps(kernel, values).tolist() == [reference_step(kernel, float(v)) for v in values]


def sample(seed: int = 21) -> np.ndarray:
    """Values as those of a layer: many zeros, some near 1, none at the least value that a spike can carry."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(0.1, 0.35, (400, 50)), 0).clip(max=1).astype(np.float32)


START = Exponential(tau=5.0, steps=20, rounding="ceil")


def losses(kernel: Exponential, values: np.ndarray) -> Losses:
    return optimise_kernel(kernel, values, Settings(samples=400))[1][0]


@pytest.mark.smoke
def test_the_update_of_tau_is_the_gradient_of_the_minimum_loss():
    settings = Settings(samples=400, precision_rate=0, minimum_rate=1.0, delay_rate=0)
    kernel, history = optimise_kernel(START, sample(), settings)
    h = 1e-4
    slope = (
        losses(replace(START, tau=5 + h), sample()).minimum - losses(replace(START, tau=5 - h), sample()).minimum
    ) / (2 * h)
    assert len(history) == 1
    # A central difference of a smooth function: wrong by h**2 of its size.
    assert kernel.tau - START.tau == pytest.approx(-slope, rel=1e-5)
    assert kernel.delay == START.delay


@pytest.mark.smoke
def test_the_updates_are_the_formulas():
    """One image, by hand: threshold and value are exp(-k/2), T = 4."""
    start = Exponential(tau=2.0, steps=4, rounding="ceil")
    values = np.array([[0.5, 0.0, 0.7, 0.2]], np.float32)  # steps 2, none, 1, none (the last is exp(-1.5) = 0.223)
    assert spike_steps(start, values).tolist() == [[2, 4, 1, 4]]
    settings = Settings(samples=1, minimum_percentile=0.0)
    kernel, history = optimise_kernel(start, values, settings)
    one, two, four = np.exp(-0.5), np.exp(-1.0), np.exp(-2.0)
    x = [float(v) for v in values[0]]
    assert history[0].precision == pytest.approx(((x[0] - two) ** 2 + (x[2] - one) ** 2 + x[3] ** 2) / 8, rel=1e-12)
    assert history[0].minimum == pytest.approx(four**2 / 2, rel=1e-12)
    assert history[0].maximum == pytest.approx((one - 1) ** 2 / 2, rel=1e-12)
    precision = ((x[0] - two) * two * 2 + (x[2] - one) * one * 1) / 2
    assert kernel.tau == pytest.approx(2.0 + (10 * precision + 100 * -four * four * 4) / 4, rel=1e-12)
    assert kernel.delay == pytest.approx((one - 1) / 2, rel=1e-12)
    fixed, _ = optimise_kernel(start, values, settings, train_delay=False)
    assert (fixed.tau, fixed.delay) == (kernel.tau, 0.0)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("loss", "start", "rates"),
    [
        ("precision", replace(START, tau=2.0), {"minimum_rate": 0, "delay_rate": 0}),
        ("minimum", START, {"precision_rate": 0, "delay_rate": 0}),
        ("maximum", replace(START, delay=2.0), {"precision_rate": 0, "minimum_rate": 0}),
    ],
)
def test_each_update_lowers_its_loss(loss, start, rates):
    _, history = optimise_kernel(start, sample(), Settings(samples=40_000, **rates))
    assert len(history) == 100
    assert getattr(history[-1], loss) < 0.8 * getattr(history[0], loss)


@pytest.mark.smoke
def test_a_layer_without_spikes_moves_nothing_but_tau_by_its_minimum():
    kernel, history = optimise_kernel(START, np.zeros((10, 3), np.float32), Settings(samples=10))
    assert (history[0].precision, history[0].maximum, kernel.delay) == (0.0, 0.0, 0.0)
    assert kernel.tau < START.tau


def test_optimised_kernels_lower_the_losses_of_the_digits():
    layers, shape = made("convolutional")
    data = relu_networks.digits()
    found = optimise(
        layers, data.train_images, input_shape=shape, start=START, settings=Settings(samples=40_000, batch_size=400)
    )
    assert found.input_kernel.delay == 0.0
    assert [len(h) for h in found.history] == [100, 100]
    assert len(found.kernels) == 1
    first, last = found.history[1][0], found.history[1][-1]
    assert (first.tau, first.delay) == (5.0, 0.0)
    assert sum((last.precision, last.minimum, last.maximum)) < 0.5 * sum(
        (first.precision, first.minimum, first.maximum)
    )
    network = convert(layers, input_shape=shape, input_kernel=found.input_kernel, kernels=found.kernels)
    right = int((golden.run(network, data.test_images).classes == data.test_labels).sum())
    assert right >= 330
    again = optimise(layers, data.train_images, input_shape=shape, start=START, settings=Settings(samples=40_000))
    assert again == found


@pytest.mark.smoke
def test_wrong_settings_are_refused():
    for wrong, message in (
        ({"samples": 0}, "0 samples"),
        ({"delay_rate": -1.0}, "negative"),
        ({"minimum_percentile": 101.0}, "minimum_percentile"),
    ):
        with pytest.raises(FirstspikeError, match=message):
            Settings(**wrong)
    with pytest.raises(FirstspikeError, match="drives tau"):
        optimise_kernel(START, sample(), Settings(minimum_rate=1e5))
    with pytest.raises(FirstspikeError, match="values of a population"):
        optimise_kernel(START, np.zeros((0, 3), np.float32), Settings())
