"""Dynamics as generated: images there and back, what another network may have, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import stepped_networks

from firstspike.contract import images
from firstspike.contract.dynamics_shape import FactorShape
from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import DROP, KEEP, Dynamics, Factor
from firstspike.network.model import Network, dense


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_images_hold_the_network(convolutional: bool, data: st.DataObject) -> None:
    network = data.draw(stepped_networks(convolutional=convolutional))
    if network.membrane_bits(len(network.layers) - 1) > WORD_BITS:
        return
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in network.layers]
    hardware = Hardware.for_network(network, lanes=lanes, test_clocks=data.draw(st.integers(1, 20)))
    assert Hardware.from_json(hardware.to_json()) == hardware
    assert images.network(hardware, images.contents(network, hardware)).digest == network.digest


def factor(numerator: Any, shift: int) -> Factor:
    return Factor(numerator=np.array(numerator), shift=shift)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("given", "kind", "shift"),
    [
        (KEEP, "keep", 0),
        (DROP, "drop", 0),
        (factor(8, 3), "keep", 0),
        (factor(2, 3), "shift", 2),
        (factor(7, 3), "decay", 3),
        (factor(14, 4), "decay", 3),
        (factor(1, 1), "shift", 1),
        (factor(5, 3), "multiply", 3),
        (factor([7, 7], 3), "decay", 3),
        (factor([7, 6], 3), "multiply", 3),
    ],
)
def test_a_multiplier_only_where_a_shift_does_not_do(given: Factor, kind: str, shift: int) -> None:
    made = FactorShape.of(given.least())
    assert (made.kind, made.shift) == (kind, shift)


PLAIN = Dynamics(
    threshold=np.array([[30, 40, 50]]), retain=factor([5, 3, 7], 3), leak=factor(3, 2), drive=np.array([[1, -4, 9]])
)


def network_of(dynamics: Dynamics | None) -> Network:
    """3-3-2 in four steps; the last layer has tables."""
    rng = np.random.default_rng(1)
    return dense(
        [rng.integers(-8, 8, (3, 3)), rng.integers(-8, 8, (2, 3))], [np.zeros(3, int), np.zeros(2, int)],
        weight_bits=4, kernels=[(1, 1, 1, 1)] * 2, thresholds=[() if dynamics else (4, 3, 2, 1)],
        encoder=tuple(min(p, 4) for p in range(256)), steps=4, fire_start=4, dynamics=[dynamics],
    )  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change",
    [
        {"threshold": np.array(33)},
        {"retain": factor([2, 4, 6], 3)},
        {"retain": factor(1, 1)},
        {"drive": np.zeros((1, 1), int)},
        {"drive": np.array(-3)},
        {"drive": np.array([[1, -31, 9]]), "threshold": np.array([[30, 200, 50]])},
        {"retain": factor([5, 30, 1], 5)},
        {"leak": factor(13, 4)},
        {"reset": np.array([[7, 8, 9]])} | {"threshold": np.array([[7, 8, 9]])},
    ],
    ids=str,
)
def test_another_network_of_the_same_hardware(change: dict[str, Any]) -> None:
    hardware = Hardware.for_network(network_of(PLAIN), spare_membrane_bits=2)
    other = network_of(replace(PLAIN, **change))
    assert images.network(hardware, images.contents(other, hardware)).digest == other.digest


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "hard"}, "layer 0: the network's dynamics have mode hard, the hardware soft"),
        ({"cap": 2}, "have cap 2, the hardware 1"),
        ({"start": 1}, "have start 1, the hardware 0"),
        ({"guard": 1}, "have guard 1, the hardware 0"),
        ({"leak": factor(1, 2)}, "have leak a shift by 2 bits, the hardware a shift and a difference by 2 bits"),
        ({"retain": factor([1, 2, 3], 4)}, "have retain a product by 4 bits, the hardware a product by 3 bits"),
        (
            {"threshold": np.array([[1, 2, 3]] * 3 + [[3, 2, 1]])},
            "have threshold 3 bits for each step and channel, the hardware 7 bits for each channel",
        ),
        ({"threshold": np.array(1000)}, "have threshold 11 bits, the hardware 7 bits for each channel"),
        ({"reset": np.array(7)}, "have reset 4 bits, the hardware none"),
        ({"gain": np.array(3)}, "have gain 2 bits, the hardware none"),
    ],
    ids=str,
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    hardware = Hardware.for_network(network_of(PLAIN))
    with pytest.raises(FirstspikeError) as error:
        hardware.check(network_of(replace(PLAIN, **change)))
    assert message in error.value.one_line()


@pytest.mark.smoke
def test_tables_or_dynamics() -> None:
    for mine, its, what in ((PLAIN, None, "dynamics"), (None, PLAIN, "tables")):
        hardware = Hardware.for_network(network_of(mine))
        with pytest.raises(FirstspikeError, match=f"layer 0: the neurons after it have {what} in the hardware alone"):
            hardware.check(network_of(its))


@pytest.mark.smoke
def test_events_that_repeat_are_of_the_network_and_the_hardware() -> None:
    network = network_of(PLAIN)

    def events(repeat: int) -> Network:
        first = replace(network.populations[0], repeat=repeat)
        return replace(network, populations=(first, *network.populations[1:]), encoder=())

    core = Hardware.for_network(events(3))
    assert (core.input, core.repeat, core.spikes_a_step(0), core.frame_words) == ("events", 3, 3, 3 * 4 * 3)
    with pytest.raises(FirstspikeError, match="the network has repeat 2, the hardware 3"):
        core.check(events(2))
    with pytest.raises(FirstspikeError, match="the network has repeat 0, the hardware 3"):
        core.check(network)
    with pytest.raises(FirstspikeError, match="repeat is 1, but the input takes no events"):
        Hardware.for_network(events(1), input="pixels")
    with pytest.raises(FirstspikeError, match=r"repeat is 16, outside 0\.\.15"):
        replace(core, repeat=16)
