"""Freezing: what of the surrogate reaches the integer network, and by which rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from surrogates import trained_somehow

from firstspike.errors import FirstspikeError
from firstspike.network import kernels
from firstspike.network.model import Network
from firstspike.training.surrogate import Surrogate

pytestmark = pytest.mark.smoke
INPUT = kernels.PowerOfTwo(steps=8)
HIDDEN = kernels.Exponential(steps=8, tau=3.0, kernel_fraction_bits=6)


def surrogate(**settings: object) -> Surrogate:
    torch.manual_seed(0)
    model = Surrogate((30,), "20-5", input_kernel=INPUT, kernel=HIDDEN, **settings)  # type: ignore[arg-type]
    trained_somehow(model)
    return model


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_weights_and_biases_are_the_nearest_integers(bits: int) -> None:
    model = surrogate(weight_bits=bits, weight_clip=0.8)
    network = model.freeze()
    for layer, frozen, pre in zip(model.folded_layers(), network.layers, (INPUT, HIDDEN), strict=True):
        factor = (layer.gamma / (layer.running_var + layer.epsilon).sqrt()).detach().double().numpy()
        folded = layer.weight.detach().double().numpy() * factor[:, None]
        bias = layer.beta.detach().double().numpy() - layer.running_mean.double().numpy() * factor
        scale = 0.8 * np.abs(folded).max() / (2 ** (bits - 1) - 1)
        assert frozen.scale == pytest.approx(scale * pre.unit)
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        # Half a unit, and the float32 of the surrogate's parameters.
        assert np.abs(frozen.weight - np.clip(folded / scale, low, high)).max() <= 0.5 + 1e-4
        assert np.abs(frozen.bias - bias / frozen.scale).max() <= 0.5 + 1e-2
        assert frozen.weight_bits == bits


def test_tables_come_from_the_kernels() -> None:
    network = surrogate(fire_start=3).freeze()
    first, hidden, output = network.populations
    assert first.kernel == INPUT.table()
    assert network.encoder == INPUT.encoder()
    assert hidden.kernel == HIDDEN.table()
    assert hidden.threshold == HIDDEN.integer_threshold(network.layers[0].scale)
    assert output.threshold == ()
    assert (network.steps, network.fire_start, network.readout) == (8, 3, "membrane")


def test_an_output_read_by_its_first_spike_has_thresholds() -> None:
    network = surrogate(readout="first_spike").freeze()
    assert network.populations[-1].threshold == HIDDEN.integer_threshold(network.layers[-1].scale)
    assert network.readout == "first_spike"


def test_direct_input() -> None:
    network = Surrogate((4,), "3", input_kernel=kernels.Direct(), kernel=HIDDEN).freeze()
    assert network.populations[0].simultaneous
    assert network.populations[0].kernel == tuple(range(255, 0, -1))


def test_provenance_is_kept_on_disk(tmp_path: Path) -> None:
    network = surrogate().freeze({"seed": 7})
    loaded = Network.load(network.save(tmp_path / "network"))
    assert loaded.provenance == {"seed": 7}
    assert loaded.digest == network.digest


def test_freezing_changes_nothing() -> None:
    model = surrogate()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.freeze().digest == model.eval().freeze().digest
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float) -> None:
    model = surrogate()
    with torch.no_grad():
        model.folded_layers()[0].weight[2, 3] = value
    with pytest.raises(FirstspikeError, match="not finite"):
        model.freeze()
