from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import relu_networks
import torch
from relu_networks import NETWORKS, random_layer

from firstspike.conversion import ann
from firstspike.conversion.ann import FloatLayer
from firstspike.conversion.normalise import layer_maxima, normalised
from firstspike.conversion.relu_network import activations
from firstspike.errors import FirstspikeError


@pytest.mark.smoke
def test_the_layers_import_without_torch():
    code = "import sys, firstspike.conversion.ann, firstspike.conversion.convert; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_are_those_of_torch(name):
    make, shape = NETWORKS[name]
    network, layers = make()
    images = relu_networks.digits().test_images
    with torch.no_grad():
        logits = network(torch.from_numpy(images).reshape(-1, *shape).float() / 255).numpy()
    found = activations(layers, images, shape)
    assert [x.dtype for x in found] == [np.float32] * len(layers)
    assert [x.shape[1:] for x in found] == ann.shapes(layers, shape)[1:]
    # Both are float32 sums of at most 72 products a layer; only their order may differ.
    np.testing.assert_allclose(found[-1], logits, atol=72 * 2**-23 * np.abs(logits).max())
    assert (found[-1].argmax(axis=1) == logits.argmax(axis=1)).all()
    assert all((x >= 0).all() for x in found[:-1])
    assert (found[-1] < 0).any()


@pytest.mark.smoke
def test_geometry_is_that_of_the_integer_convolution():
    layer = random_layer(0, 5, 2, 3, 4, stride=2, padding=1, pool=2)
    assert layer.output_shape((2, 14, 15)) == (5, 3, 3)
    images = np.random.default_rng(1).integers(0, 256, (3, 2, 14, 15)).astype(np.uint8)
    found = activations([layer, random_layer(2, 4, 45)], images, (2, 14, 15))
    convolved = torch.nn.functional.conv2d(
        torch.from_numpy(images).float() / 255, torch.tensor(layer.weight), torch.tensor(layer.bias), 2, 1
    )
    expected = torch.nn.functional.max_pool2d(convolved.relu(), 2).numpy()
    assert (found[0] == expected).all()


@pytest.mark.smoke
@pytest.mark.parametrize("average", [2, 3])
def test_average_pooling_folds_into_weights(average):
    shape = (2, 4 * average, 3 * average)
    images = (np.random.default_rng(3).integers(0, 2, (6, *shape)) * 255).astype(np.uint8)
    convolution = random_layer(4, 3, 2, 2, 3, stride=2, padding=1, average=average)
    head = random_layer(5, 10, 18)
    folded = convolution.without_average(shape)
    assert (folded.stride, folded.padding, folded.average) == (2 * average, average, 1)
    assert folded.weight.shape == (3, 2, 2 * average, 3 * average)
    for plain, other in (
        ([convolution, head], [folded, head]),
        ([random_layer(6, 10, 24, average=average)], [random_layer(6, 10, 24, average=average).without_average(shape)]),
    ):
        mine, theirs = activations(plain, images, shape)[-1], activations(other, images, shape)[-1]
        if average == 2:  # quarters: every sum is exact
            assert (mine == theirs).all()
        np.testing.assert_allclose(mine, theirs, atol=1e-4)  # sums below 2**9 of at most 216 terms
        assert len(np.unique(mine)) > 10


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.zeros((3, 2, 2), np.float32)}, "weight has shape"),
        ({"bias": np.zeros(4, np.float32)}, "bias"),
        ({"bias": np.array([0, np.nan, 0], np.float32)}, "not finite"),
        ({"stride": 2}, "stride of a dense layer is 2"),
        ({"pool": 2}, "pool of a dense layer"),
        ({"average": 0}, "average"),
        ({"weight": np.zeros((3, 1, 2, 2), np.float32), "padding": 2}, "padding of a convolution is 2"),
    ],
)
def test_wrong_layers_are_refused(change, message):
    parts = {"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(3, np.float32)} | change
    with pytest.raises(FirstspikeError, match=message):
        FloatLayer(**parts)


@pytest.mark.smoke
def test_networks_and_images_that_do_not_fit_are_refused():
    head, convolution = random_layer(0, 10, 64), random_layer(1, 2, 1, 3, 3)
    images = np.zeros((2, 8, 8), np.uint8)
    with pytest.raises(FirstspikeError, match="no layers"):
        activations([], images, (64,))
    with pytest.raises(FirstspikeError, match="does not fit"):
        activations([head], images, (1, 7, 8))
    with pytest.raises(FirstspikeError, match="last layer of the network is a convolution"):
        activations([convolution], images, (1, 8, 8))
    with pytest.raises(FirstspikeError, match="does not fit"):
        activations([convolution, head], images, (64,))
    with pytest.raises(FirstspikeError, match="average pooling by 3"):
        activations([random_layer(2, 10, 4, average=3)], images, (1, 8, 8))
    with pytest.raises(FirstspikeError, match="the network takes"):
        activations([head], images[:, :7], (64,))
    with pytest.raises(FirstspikeError, match="not uint8"):
        activations([head], images.astype(np.float32), (64,))


@pytest.mark.parametrize("name", NETWORKS)
def test_normalisation_by_powers_of_two_is_exact(name):
    make, shape = NETWORKS[name]
    _, layers = make()
    images = relu_networks.digits().test_images
    maxima = [4.0, 0.5, 8.0][: len(layers)]
    before, after = activations(layers, images, shape), activations(normalised(layers, maxima), images, shape)
    # Factors of two change exponents only, so that every product, sum and rounding is the same.
    for x, y, largest in zip(before, after, maxima, strict=True):
        assert (x == y * np.float32(largest)).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_normalised_values_have_a_percentile_of_one_and_the_same_classes(name):
    make, shape = NETWORKS[name]
    _, layers = make()
    data = relu_networks.digits()
    made = normalised(layers, layer_maxima(layers, data.train_images, shape))
    # Rounded weights and sums of at most 72 products in each of at most 3 layers.
    assert layer_maxima(made, data.train_images, shape) == pytest.approx([1.0] * len(layers), rel=3 * 75 * 2**-23)
    classes = [activations(x, data.test_images, shape)[-1].argmax(axis=1) for x in (layers, made)]
    assert int((classes[0] != classes[1]).sum()) == 0
    assert layer_maxima(layers, data.train_images, shape)[0] > 1.2, "nothing to normalise: the test shows nothing"


@pytest.mark.parametrize("percentile", [0.0, 37.3, 99.0, 99.9, 100.0])
def test_maxima_are_numpys_percentiles(percentile):
    _, layers = relu_networks.convolutional()
    images = relu_networks.digits().train_images[:1203]  # three batches, the last one short
    values = activations(layers, images, relu_networks.CONVOLUTION_SHAPE)
    expected = [np.percentile(x.astype(np.float64), percentile, axis=0).max() for x in values]
    if expected[0] == 0:
        with pytest.raises(FirstspikeError, match="layer 0 of the network is silent"):
            layer_maxima(layers, images, relu_networks.CONVOLUTION_SHAPE, percentile=percentile)
        return
    expected[-1] = expected[-1] if expected[-1] > 0 else 1.0
    found = layer_maxima(layers, images, relu_networks.CONVOLUTION_SHAPE, percentile=percentile)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.smoke
def test_wrong_normalisation_is_refused():
    layers = [random_layer(0, 10, 64)]
    with pytest.raises(FirstspikeError, match="percentile is 101"):
        layer_maxima(layers, np.zeros((2, 64), np.uint8), (64,), percentile=101)
    for maxima in ([], [0.0], [float("nan")]):
        with pytest.raises(FirstspikeError, match="maxima are"):
            normalised(layers, maxima)
