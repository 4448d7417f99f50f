"""A ReLU network, trained and converted as an experiment asks: T2FSNN through the whole chain's border."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firstspike.conversion import ann, relu_network
from firstspike.conversion.t2fsnn import convert_as
from firstspike.errors import FirstspikeError
from firstspike.experiment import data
from firstspike.experiment.config import ConversionConfig, Experiment, NetworkConfig, TrainConfig
from firstspike.network import golden
from firstspike.training import train

KERNEL = {"kind": "exponential", "tau": 5.0, "rounding": "ceil"}


def experiment(**network: object) -> Experiment:
    shape = {"hidden": "8C3-P2-32", "steps": 20, "input_kernel": KERNEL, "kernel": KERNEL} | network
    return Experiment(
        name="t2fsnn",
        network=NetworkConfig(**shape),  # type: ignore[arg-type]
        train=TrainConfig(method="relu", weight_bits=8, epochs=20, batch_size=64),
        conversion=ConversionConfig(samples=2000),
    )


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(Experiment(name="x").data)


@pytest.fixture(scope="module")
def result(digits: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> train.TrainResult:
    return train.train(experiment(), digits, tmp_path_factory.mktemp("t2fsnn"))


def test_a_converted_network_keeps_the_classes_of_its_relu_network(
    digits: data.Dataset, result: train.TrainResult
) -> None:
    logits = relu_network.activations(result.model.relu_layers(), digits.test_images, digits.image_shape)[-1]
    relu = float((logits.argmax(axis=1) == digits.test_labels).mean())
    assert relu > 0.97
    # Half a point of accuracy is two of 360 images; the ceil of spike times and 8 bits cost that much.
    assert abs(result.accuracy - relu) <= 2 / 360 + 0.01
    frozen = golden.run(result.network, digits.test_images)
    assert np.array_equal(frozen.classes, result.classes)
    assert result.network.shape_name == "1x8x8-8C3-P2-32-10"


def test_conversion_settings_reach_the_network(digits: data.Dataset, result: train.TrainResult) -> None:
    layers = result.model.relu_layers()
    early = experiment(fire_start=10)
    early = replace(early, conversion=replace(early.conversion, optimise_kernels=True, images=500))
    made = convert_as(early, layers, digits.train_images, digits.image_shape, {})
    assert made.network.latency_steps == 2 * 10 + 20
    assert result.network.latency_steps == 3 * 20
    taus = {kernel.tau for kernel in (made.input_kernel, *made.kernels)}  # type: ignore[attr-defined]
    assert len(taus) == 3
    assert 5.0 not in taus
    assert made.network.populations[1].kernel == made.kernels[0].table()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"readout": "first_spike"}, "readout 'first_spike' cannot be converted"),
        (
            {"kernel": {"kind": "linear"}, "input_kernel": {"kind": "linear"}},
            "needs an exponential kernel, not 'linear'",
        ),
    ],
)
def test_what_cannot_be_converted(network: dict[str, object], message: str) -> None:
    layers = [
        ann.FloatLayer(weight=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32)),
        ann.FloatLayer(weight=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32)),
    ]
    wrong = experiment(**network)
    wrong = replace(wrong, conversion=replace(wrong.conversion, optimise_kernels=True))
    with pytest.raises(FirstspikeError, match=message):
        convert_as(wrong, layers, np.full((3, 4), 200, np.uint8), (4,), {})
