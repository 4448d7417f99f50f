"""The integer network in torch: equal to the definition, with dynamics and events, in every spike and membrane."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks
from stepping import inputs_for, stepped_networks

from firstspike.errors import FirstspikeError
from firstspike.network import golden, naive
from firstspike.network.dynamics import Dynamics, Factor
from firstspike.network.golden import Result
from firstspike.network.model import Network, dense
from firstspike.training.inference import Inference, IntegerNetwork

CASES = {"dense": False, "convolutional": True}


def as_result(found: Inference) -> Result:
    return Result(
        tuple(times.numpy() for times in found.spike_times),
        found.membranes.numpy(),
        found.classes.numpy(),
        found.decision_steps.numpy(),
        {number: counts.numpy() for number, counts in found.spike_counts.items()},
    )


def run(network: Network, images: np.ndarray) -> Result:
    return as_result(IntegerNetwork(network).infer(torch.from_numpy(images)))


@pytest.mark.parametrize("convolutional", CASES.values(), ids=CASES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_it_is_the_definition(convolutional: bool, data: st.DataObject) -> None:
    network = data.draw(stepped_networks(convolutional=convolutional))
    images = data.draw(inputs_for(network))
    found = run(network, images)
    assert found == naive.run(network, images)
    assert found == golden.run(network, images)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_tables_alone(data: st.DataObject) -> None:
    """Events, too, which a surrogate has not."""
    network = data.draw(networks())
    first = network.populations[0]
    if not first.simultaneous:
        events = replace(first, repeat=data.draw(st.sampled_from([0, 1, 3])))
        encoder = () if events.repeat else network.encoder
        network = replace(network, populations=(events, *network.populations[1:]), encoder=encoder)
    images = data.draw(inputs_for(network))
    assert run(network, images) == naive.run(network, images)


def lif(weight: int = 100, *, guard: int = 4, repeat: int = 0, inputs: int = 300, bits: int = 8) -> Network:
    """300-200-10 with a leak, soft resets and the largest output membrane."""
    rng = np.random.default_rng(5)
    sizes = [(200, inputs), (10, 200)]
    hidden = Dynamics(
        threshold=np.array(40 * weight << guard), leak=Factor.nearest(0.9, 8), retain=Factor.nearest(1.0, 0), cap=2,
        guard=guard,
    )  # fmt: skip
    output = Dynamics(leak=Factor(numerator=np.array(1), shift=1), read="largest", guard=guard)
    return dense(
        [rng.integers(-weight, weight + 1, size) for size in sizes],
        [rng.integers(-weight, weight, size[0]) for size in sizes],
        weight_bits=bits, kernels=[(1,) * 8, (1,) * 8], thresholds=[], steps=8, fire_start=8, repeat=repeat,
        encoder=() if repeat else tuple(min(p // 8, 8) for p in range(256)), dynamics=[hidden, output],
    )  # fmt: skip


@pytest.mark.parametrize("weight", [7, 127], ids=["float32", "float64"])
@pytest.mark.smoke
def test_at_scale(weight: int) -> None:
    """More images than a part of a batch; products beyond 2**24 with the larger weights, in the golden model."""
    network = lif(weight, guard=4 if weight < 100 else 12)
    images = np.random.default_rng(1).integers(0, 256, (300, 300)).astype(np.uint8)
    found = run(network, images)
    assert found == golden.run(network, images)
    assert len(found) == 300
    assert found.spike_counts[1].any()


@pytest.mark.smoke
def test_events() -> None:
    network = lif(repeat=3)
    events = np.random.default_rng(1).integers(0, 4, (5, 8, 300)).astype(np.uint8)
    found = run(network, events)
    assert found == golden.run(network, events)
    assert np.array_equal(found.spike_counts[0], events)
    assert found == run(network, events.reshape(5, 8, 3, 10, 10))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("events", "message"),
    [
        (np.zeros((5, 8, 299), np.uint8), r"events have shape \(5, 8, 299\) of torch.uint8; .* 8 steps, 300 inputs"),
        (np.zeros((5, 2400), np.uint8), r"events have shape \(5, 2400\)"),
        (np.zeros((5, 8, 300), np.int64), "of torch.int64"),
        (np.full((5, 8, 300), 4, np.uint8), "4 events of an input in a step; the network takes 3"),
    ],
)
def test_wrong_events(events: np.ndarray, message: str) -> None:
    with pytest.raises(FirstspikeError, match=message):
        run(lif(repeat=3), events)


@pytest.mark.smoke
def test_numbers_beyond_64_bits() -> None:
    wide = replace(lif(guard=24), layers=lif(guard=24).layers)
    leak = Factor(numerator=np.array((1 << 24) - 1), shift=24)
    hidden = wide.populations[1]
    assert hidden.dynamics is not None
    slow = replace(hidden, dynamics=replace(hidden.dynamics, leak=leak))
    with pytest.raises(FirstspikeError, match=r"population hidden1: numbers reach \d+, beyond 63 bits"):
        IntegerNetwork(replace(wide, populations=(wide.populations[0], slow, wide.populations[2])))
