"""The surrogate: activation and folding by their definitions, evaluation equal to the golden model with ``==``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolution_shapes, dense_shapes, kernel_specs
from surrogates import notation

from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels
from firstspike.network.architecture import NAMED, Stage
from firstspike.training.activation import TTFS
from firstspike.training.inference import exact_matmul
from firstspike.training.layers import Folded
from firstspike.training.pooling import max_pool
from firstspike.training.quantise import quantised, straight_through, weight_scale
from firstspike.training.surrogate import Surrogate

KERNELS = [
    pytest.param(kernels.Exponential(steps=8, tau=2.0), id="exponential"),
    pytest.param(kernels.Exponential(steps=8, tau=2.0, delay=1.5, rounding="ceil"), id="exponential_ceil"),
    pytest.param(kernels.PowerOfTwo(steps=8), id="power_of_two"),
    pytest.param(kernels.PowerOfTwo(steps=16, steps_per_octave=2, theta0=0.5), id="half_octaves"),
    pytest.param(kernels.Linear(steps=8), id="linear"),
    pytest.param(kernels.Constant(steps=8), id="constant"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("kernel", KERNELS)
def test_activation_is_the_first_step_that_reaches_the_threshold(kernel: kernels.Kernel) -> None:
    threshold = np.float32(kernel.threshold())
    exact = np.concatenate([threshold, np.nextafter(threshold, np.float32(0))])
    v = np.concatenate([exact, np.linspace(-1, 4, 500, dtype=np.float32)])
    decode = np.float32([*kernel.decode(), 0])
    steps = [next((k for k in range(kernel.steps) if x >= threshold[k]), kernel.steps) for x in v]
    assert np.array_equal(TTFS(kernel)(torch.from_numpy(v)).numpy(), decode[steps])


@pytest.mark.smoke
def test_activation_gradient_passes_inside_the_range_only() -> None:
    kernel = kernels.PowerOfTwo(steps=4)  # values 1, 1/2, 1/4, 1/8; last threshold 2**-3.5
    v = torch.tensor([-1.0, 0.0, 0.08, 0.1, 0.5, 0.6, 1.0, 1.01, 9.0], requires_grad=True)
    TTFS(kernel)(v).sum().backward()
    expected = torch.tensor([0.0, 0.0, 0.0, 0.125 / 0.1, 1.0, 0.5 / 0.6, 1.0, 0.0, 0.0])
    torch.testing.assert_close(v.grad, expected)


@pytest.mark.smoke
@pytest.mark.parametrize("bits", range(2, 9))
def test_quantised_weights_fill_the_signed_range(bits: int) -> None:
    weight = torch.linspace(-1, 1, 2001).reshape(3, 667)
    integers = quantised(weight, weight_scale(weight, bits, 0.7), bits)
    high = 2 ** (bits - 1) - 1
    assert integers.max() == high
    assert integers.min() == (-high - 1 if bits > 2 else -1)  # 1 / 0.7 of one unit is nearest to one unit
    assert torch.equal(integers, integers.round())


@pytest.mark.smoke
def test_a_layer_of_zeros_has_a_scale() -> None:
    assert weight_scale(torch.zeros(2, 2), 6, 0.7) == 1


@pytest.mark.smoke
def test_straight_through_keeps_the_gradient() -> None:
    x = torch.tensor([0.3, -1.7], requires_grad=True)
    y = straight_through(x, x.detach().round())
    (y * torch.tensor([2.0, 5.0])).sum().backward()
    assert y.tolist() == [0.0, -2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 5.0]


@pytest.mark.smoke
def test_fold_is_batch_norm() -> None:
    """With weights of 8 bits the layer differs from float batch norm by the rounding of weights and bias alone."""
    torch.manual_seed(0)
    layer = Folded(Stage(outputs=7), (30,), input_unit=2.0**-7, weight_bits=8, weight_clip=1.0, momentum=0.1)
    linear, norm = torch.nn.Linear(30, 7, bias=False), torch.nn.BatchNorm1d(7)
    with torch.no_grad():
        layer.gamma.uniform_(0.5, 2)
        layer.beta.uniform_(-1, 1)
        for mine, theirs in ((layer.weight, linear.weight), (layer.gamma, norm.weight), (layer.beta, norm.bias)):
            theirs.copy_(mine)
    x = torch.rand(64, 30)
    expected = norm(linear(x))
    weight = layer.weight * (layer.gamma / (linear(x).var(0, correction=0) + layer.epsilon).sqrt())[:, None]
    half = float(weight.detach().abs().max()) / 127 / 2
    # Each of 30 weights is off by at most half a unit and x < 1; the bias by half a unit of the membrane.
    assert float((layer(x) - expected).detach().abs().max()) <= 30 * half + half * 2.0**-7 + 1e-5
    torch.testing.assert_close(layer.running_mean, norm.running_mean)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * linear(x).detach().var(0, correction=0))


@pytest.mark.smoke
def test_frozen_layer_trains_with_the_integers_it_will_have() -> None:
    torch.manual_seed(0)
    layer = Folded(Stage(outputs=5), (20,), input_unit=2.0**-7, weight_bits=4, weight_clip=0.7, momentum=0.1)
    layer(torch.rand(64, 20))
    layer.frozen = True
    integers = layer.frozen_layer("x")
    codes = torch.randint(0, 129, (50, 20))
    exact = codes.double() @ torch.tensor(integers.weight).double().T + torch.tensor(integers.bias)
    torch.testing.assert_close(layer(codes * 2.0**-7).double(), exact * integers.scale, rtol=1e-5, atol=1e-5)


@st.composite
def surrogates(draw: st.DrawFn) -> Surrogate:
    """An untrained surrogate whose statistics, gains and offsets are drawn, so that spikes come early, late, never."""
    hidden = draw(kernel_specs(draw(st.integers(1, 9))))
    first = kernels.Direct() if draw(st.integers(0, 3)) == 0 else draw(kernel_specs(hidden.steps))
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    input_shape, layers = draw(st.one_of(dense_shapes(), convolution_shapes()))
    model = Surrogate(
        input_shape,
        "-".join(notation(x) for x in layers),
        input_kernel=first,
        kernel=hidden,
        fire_start=draw(st.one_of(st.none(), st.integers(0, hidden.steps))),
        readout=draw(st.sampled_from(["membrane", "first_spike"])),
        weight_bits=draw(st.integers(2, 8)),
        weight_clip=draw(st.sampled_from([0.3, 0.7, 1.0])),
    )
    with torch.no_grad():
        for layer in model.folded_layers():
            layer.weight.normal_()
            layer.gamma.normal_(draw(st.sampled_from([0.3, 1.0, 3.0])))
            layer.beta.normal_(0.0, draw(st.sampled_from([0.1, 1.0, 3.0])))
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.1, 2.0)
    return model.eval()


def assert_equal(model: Surrogate, images: np.ndarray) -> None:
    expected = golden.run(model.freeze(), images)
    result = model.infer(torch.from_numpy(images))
    for mine, theirs in zip(result.spike_times, expected.spike_times, strict=True):
        assert np.array_equal(mine.numpy(), theirs)
    for name in ("membranes", "classes", "decision_steps"):
        assert np.array_equal(getattr(result, name).numpy(), getattr(expected, name)), name


def random_images(seed: int, count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bright = rng.random((count, 1)) * 1.5
    return (rng.integers(0, 256, size=(count, size)) * (rng.random((count, size)) < bright)).astype(np.uint8)


@settings(max_examples=300, deadline=None)
@given(model=surrogates(), seed=st.integers(0, 2**32 - 1))
def test_evaluation_is_the_golden_model(model: Surrogate, seed: int) -> None:
    assert_equal(model, random_images(seed, 6, math.prod(model.shapes[0])))


@pytest.mark.smoke
@pytest.mark.parametrize("readout", ["membrane", "first_spike"])
@pytest.mark.parametrize("fire_start", [0, 3, 8])
@pytest.mark.parametrize("bits", [2, 6, 8])
def test_evaluation_is_the_golden_model_at_scale(readout: str, fire_start: int, bits: int) -> None:
    torch.manual_seed(bits)
    kernel = kernels.PowerOfTwo(steps=8)
    model = Surrogate(
        (64,),
        "48-10",
        input_kernel=kernel,
        kernel=kernel,
        fire_start=fire_start,
        readout=readout,  # type: ignore[arg-type]
        weight_bits=bits,
    )
    images = random_images(bits, 500, 64)
    model(torch.from_numpy(images))  # statistics
    assert_equal(model.eval(), images)


@pytest.mark.parametrize(
    ("shape", "architecture"),
    [
        ((1, 28, 28), "mnist-cnn"),
        pytest.param((3, 32, 32), "vgg16", marks=pytest.mark.slow),
        ((2, 8, 8), "A2-6C3p1-P2-D0.5-A2-7"),
    ],
    ids=["mnist-cnn", "vgg16", "average"],
)
def test_named_networks_are_the_golden_model(shape: tuple[int, ...], architecture: str) -> None:
    torch.manual_seed(0)
    kernel = kernels.Exponential(steps=8, tau=2.0)
    text = f"{NAMED.get(architecture, architecture)}-10"
    model = Surrogate(shape, text, input_kernel=kernels.Direct(), kernel=kernel)
    images = random_images(3, 8, math.prod(shape))
    for _ in range(3):
        model(torch.from_numpy(images)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert_equal(model.eval(), images[:3])
    network = model.freeze()
    spikes = golden.run(network, images).spikes(network)
    assert (spikes.sum(axis=0) > 0).all()


@pytest.mark.smoke
def test_frozen_training_computes_the_integers_of_a_convolution() -> None:
    """With frozen statistics the training pass is the integer network: the same spikes but for rounding of float32."""
    torch.manual_seed(2)
    kernel = kernels.PowerOfTwo(steps=8)
    model = Surrogate((2, 9, 9), "6C3p1s2-P2-A2-9-4", input_kernel=kernel, kernel=kernel)
    images = random_images(5, 60, 162)
    model(torch.from_numpy(images))
    model.freeze_statistics(True)
    output = model(torch.from_numpy(images)).detach()
    *hidden, _ = model.membranes(torch.from_numpy(images))
    network = model.freeze()
    result = golden.run(network, images)
    for v, times in zip(hidden, result.spike_times[1:], strict=True):
        fires = (v >= float(kernel.threshold()[-1])).flatten(1).numpy()
        assert (fires != (times < 8)).mean() < 1e-3
    close = np.isclose(output.numpy(), result.membranes * network.layers[-1].scale, rtol=1e-4, atol=1e-4)
    assert close.mean() > 0.99


@pytest.mark.smoke
@pytest.mark.parametrize(("shape", "size"), [((3, 2, 8, 6), 2), ((2, 4, 7, 9), 3), ((1, 1, 5, 4), 2)])
def test_pooling_is_that_of_torch(shape: tuple[int, ...], size: int) -> None:
    """With many equal values, so that their order is tested too."""
    torch.manual_seed(0)
    x = torch.randint(-3, 3, shape).float()
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    pooled, expected = max_pool(mine, size), torch.nn.functional.max_pool2d(theirs, size)
    assert torch.equal(pooled, expected)
    weight = torch.randn_like(pooled)
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.smoke
def test_sums_beyond_float32_are_exact() -> None:
    kernel = kernels.Exponential(steps=4, tau=2.0, kernel_fraction_bits=22)
    torch.manual_seed(0)
    model = Surrogate((40,), "20-5", input_kernel=kernel, kernel=kernel, weight_bits=8).eval()
    network = model.freeze()
    assert max(abs(x) for x in network.membrane_range(0)) > 1 << 24
    assert_equal(model, random_images(0, 50, 40))


@pytest.mark.smoke
def test_evaluation_in_real_units() -> None:
    kernel = kernels.Linear(steps=5)
    model = Surrogate((12,), "6-3", input_kernel=kernel, kernel=kernel).eval()
    images = torch.from_numpy(random_images(1, 9, 12))
    scale = model.freeze().layers[-1].scale
    assert torch.equal(model(images), (model.infer(images).membranes.double() * scale).float())


@pytest.mark.smoke
def test_exact_products_whatever_the_caller_permits() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with exact_matmul():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.smoke
@pytest.mark.parametrize("images", [torch.zeros(2, 5, dtype=torch.uint8), torch.zeros(2, 4)], ids=["size", "type"])
def test_images_that_do_not_fit(images: torch.Tensor) -> None:
    kernel = kernels.Linear(steps=5)
    model = Surrogate((4,), "2", input_kernel=kernel, kernel=kernel).eval()
    with pytest.raises(FirstspikeError, match=r"the network takes 4 of torch\.uint8"):
        model.infer(images)


@pytest.mark.smoke
def test_windows_of_different_length() -> None:
    with pytest.raises(FirstspikeError, match="input kernel has 4 steps, the hidden one 5"):
        Surrogate((4,), "2", input_kernel=kernels.Linear(steps=4), kernel=kernels.Linear(steps=5))
