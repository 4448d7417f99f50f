"""Populations with dynamics: the golden model against the definition, files, and wrong values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import inputs_for, stepped_networks

from firstspike.errors import FirstspikeError
from firstspike.network import golden, naive
from firstspike.network.dynamics import DROP, KEEP, Dynamics, Factor
from firstspike.network.model import Network, dense

CASES = {"dense": False, "convolutional": True}


@pytest.mark.parametrize("convolutional", CASES.values(), ids=CASES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_golden_is_the_definition(convolutional: bool, data: st.DataObject) -> None:
    network = data.draw(stepped_networks(convolutional=convolutional))
    images = data.draw(inputs_for(network))
    assert golden.run(network, images) == naive.run(network, images)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_files_hold_it(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    network = data.draw(stepped_networks())
    images = data.draw(inputs_for(network))
    loaded = Network.load(network.save(tmp_path_factory.mktemp("files") / "network"))
    assert loaded.digest == network.digest
    assert golden.run(loaded, images) == golden.run(network, images)


THRESHOLD = np.array([[3], [2]])
PLAIN = Dynamics(threshold=THRESHOLD, drive=np.array([[1, 2]]))


def network_of(hidden: Dynamics | None, last: Dynamics | None = None, *, repeat: int = 0, **given: Any) -> Network:
    """2-2-2 in two steps."""
    return dense(
        [np.array([[1, -2], [2, 1]])] * 2, [np.array([0, 1])] * 2, weight_bits=4, kernels=[(1, 1)] * 2,
        thresholds=[() if hidden else (1, 1), ()], encoder=() if repeat else tuple(min(p, 2) for p in range(256)),
        steps=2, fire_start=2, repeat=repeat, dynamics=[hidden, last], **given,
    )  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change",
    [
        {"threshold": THRESHOLD + 1},
        {"threshold": THRESHOLD[:1]},
        {"mode": "once"},
        {"mode": "hard"},
        {"retain": KEEP},
        {"leak": DROP},
        {"leak": Factor(numerator=np.array(1), shift=1)},
        {"leak": Factor(numerator=np.array([1, 0]))},
        {"drive": np.array([[2, 1]])},
        {"drive": np.array([[1, 2], [2, 1]])},
        {"gain": np.array(2), "gain_shift": 1},
        {"reset": THRESHOLD - 1},
        {"cap": 2},
        {"guard": 1},
        {"start": 1},
    ],
    ids=str,
)
def test_the_digest_tells_every_parameter(change: dict[str, Any]) -> None:
    digests = {network_of(None).digest, network_of(PLAIN).digest, network_of(replace(PLAIN, **change)).digest}
    assert len(digests) == 3


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change",
    [
        {"threshold": np.array([[3, 3], [2, 2]])},
        {"drive": np.array([[1, 2], [1, 2]])},
        {"gain": np.array(1)},
        {"reset": THRESHOLD},
        {"leak": Factor(numerator=np.array([1, 1]))},
    ],
    ids=str,
)
def test_the_digest_does_not_tell_how_it_is_written(change: dict[str, Any]) -> None:
    assert network_of(PLAIN).digest == network_of(replace(PLAIN, **change)).digest


@pytest.mark.smoke
def test_the_digest_tells_the_input_and_the_readout() -> None:
    last = Dynamics()
    networks = [network_of(PLAIN, last), network_of(PLAIN, last, repeat=1), network_of(PLAIN, last, repeat=2)]
    networks.append(network_of(PLAIN, replace(last, read="largest")))
    assert len({network.digest for network in networks}) == len(networks)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"leak": (5, 2)}, "a factor is 5/4, outside 0..1"),
        ({"retain": (-1, 2)}, "a factor is -1/4, outside 0..1"),
        ({"leak": (1, 30)}, "a factor has 30 bits after the point, outside 0..24"),
        ({"threshold": np.array([[3], [0]])}, "threshold is 0, not >= 1"),
        ({"threshold": np.array([1.5])}, "threshold has type float64, not an integer type"),
        ({"threshold": np.array([])}, "threshold has type float64, not an integer type"),
        ({"threshold": np.zeros((1, 1, 1), int)}, "threshold has shape (1, 1, 1), not at most 2 axes"),
        ({"threshold": np.array(1 << 60)}, "threshold has a value of more than 53 bits"),
        ({"mode": "twice"}, "mode is 'twice'; use 'once' or 'soft' or 'hard'"),
        ({"read": "mean"}, "read is 'mean'; use 'final' or 'largest'"),
        ({"read": "largest"}, "an output with thresholds is read by its first spike; leave out read or threshold"),
        ({"cap": 0}, "cap is 0, not a whole number in 1..15"),
        ({"cap": 1.5}, "cap is 1.5, not a whole number in 1..15"),
        ({"guard": 25}, "guard is 25, not a whole number in 0..24"),
        ({"start": -1}, "start is -1, not a whole number >= 0"),
        ({"gain": np.array(-1)}, "gain is -1, not >= 0"),
        ({"gain_shift": 3}, "gain_shift is given without a gain"),
        ({"mode": "once", "cap": 2}, "a neuron that fires once has no reset and no cap"),
        ({"mode": "once", "reset": np.array(1)}, "a neuron that fires once has no reset and no cap"),
        ({"mode": "soft", "reset": np.array(-1)}, "reset is -1; a soft reset subtracts, >= 0"),
        ({"mode": "hard", "reset": np.array(2)}, "a hard reset goes below the threshold"),
        ({"mode": "hard", "reset": np.zeros((1, 3), int)}, "reset has shape (1, 3) and threshold (2, 2)"),
        ({"threshold": None, "cap": 2}, "reset, cap and start need a threshold"),
        ({"cap": True}, "cap is True, not a whole number in 1..15"),
        ({"start": "2"}, "start is '2', not a whole number >= 0"),
        ({"drive": None}, "drive is None; leave it out"),
        ({"drive": np.array([(1 << 64) - 3], np.uint64)}, "drive has a value of more than 53 bits"),
        ({"threshold": [[5], [4, 3]]}, "threshold has rows of different lengths"),
    ],
)
def test_wrong_values(given: dict[str, Any], message: str) -> None:
    def factor(numerator: int, shift: int) -> Factor:
        return Factor(numerator=np.array(numerator), shift=shift)

    def make() -> Dynamics:
        values = {key: factor(*value) if isinstance(value, tuple) else value for key, value in given.items()}
        return Dynamics(**({"threshold": np.array([[3, 2], [2, 1]])} | values))

    with pytest.raises(FirstspikeError) as error:
        make()
    assert error.value.one_line().startswith(message)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("hidden", "given", "message"),
    [
        ({"threshold": np.ones((3, 1), int)}, {}, "threshold has shape (3, 1), not (1 or 2, 1 or 2)"),
        ({"start": 1, "drive": np.ones((2, 1), int)}, {}, "drive has shape (2, 1), not (1 or 3, 1 or 2)"),
        ({"leak": Factor(numerator=np.ones(3, int))}, {}, "leak has shape (1, 3), not (1 or 1, 1 or 2)"),
        ({"start": 3}, {}, "start is 3, beyond the 2 steps of the window"),
        ({"threshold": None}, {}, "population hidden1 has no threshold, so that it would never fire"),
        ({}, {"last": PLAIN}, "the output is read by its first spike; use mode"),
        ({}, {"repeat": 16}, "population input: repeat is 16, outside 0..15"),
        ({}, {"repeat": 1, "simultaneous": True}, "population input: repeat is of an input of events alone"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_network(hidden: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(FirstspikeError) as error:
        network_of(replace(PLAIN, **hidden), **given)
    assert message in error.value.one_line()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("events", "message"),
    [
        (np.zeros((3, 2), np.uint8), "events have shape (3, 2); the network takes (images, 2 steps, 2 inputs)"),
        (np.zeros((3, 1, 2), np.uint8), "events have shape (3, 1, 2); the network takes (images, 2 steps, 2 inputs)"),
        (np.full((1, 2, 2), 3, np.uint8), "3 events of an input in a step; the network takes 2"),
        (np.zeros((3, 2, 2), np.int64), "images have type int64, not uint8 (counts of events)"),
        (np.zeros((3, 1, 4), np.uint8), "events have shape (3, 1, 4); the network takes (images, 2 steps, 2 inputs)"),
        (np.zeros((3, 4, 1), np.uint8), "events have shape (3, 4, 1); the network takes (images, 2 steps, 2 inputs)"),
        ([[[0, 0], [0, 0]]], "images are of type list, not an array"),
    ],
)
def test_events_that_do_not_fit(events: np.ndarray, message: str) -> None:
    with pytest.raises(FirstspikeError) as error:
        golden.run(network_of(PLAIN, repeat=2), events)
    assert str(error.value) == message


@pytest.mark.smoke
def test_a_sum_beyond_floats() -> None:
    wide = Dynamics(threshold=np.array(1), guard=24, gain=np.array(1 << 40), gain_shift=20)
    with pytest.raises(FirstspikeError, match=r"layer layer0: numbers reach .*, beyond the exact range of 2"):
        golden.run(network_of(wide), np.zeros((1, 2), np.uint8))
