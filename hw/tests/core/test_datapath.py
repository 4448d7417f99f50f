"""The whole datapath against the golden model, spike by spike, with random networks, lanes and stalls."""

from __future__ import annotations

import numpy as np
import pytest
from cores import GENERATE, draw_case, draw_stepped, run_core
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.contract.hardware import Hardware
from firstspike.network import golden
from firstspike.network.model import Network, dense
from firstspike_rtl.clocks.cycles import predict

Case = tuple[Network, Hardware, np.ndarray]


EACH = pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])


def with_stalls(data: st.DataObject, case: Case) -> None:
    """A case is golden, whatever stalls."""
    network, hardware, pictures = case
    stall, seed = data.draw(st.sampled_from([0.1, 0.5])), data.draw(st.integers(0, 1000))
    result, _, _ = run_core(network, hardware, pictures, seed=seed, stall=stall)
    assert result == golden.run(network, pictures)


def without_stalls(case: Case) -> None:
    """A case is golden, and takes the predicted clocks."""
    network, hardware, pictures = case
    expected = golden.run(network, pictures)
    result, started, finished = run_core(network, hardware, pictures)
    assert result == expected
    prediction = predict(hardware, expected)
    assert (prediction.started + started[0]).tolist() == started
    assert (prediction.finished + started[0]).tolist() == finished


@EACH
@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_core_with_stalls_is_golden(convolutional: bool, data: st.DataObject) -> None:
    with_stalls(data, draw_case(data, convolutional=convolutional))


@EACH
@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_core_takes_the_predicted_clocks(convolutional: bool, data: st.DataObject) -> None:
    without_stalls(draw_case(data, convolutional=convolutional))


@EACH
@settings(max_examples=20, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_dynamics_with_stalls_are_golden(convolutional: bool, data: st.DataObject) -> None:
    with_stalls(data, draw_stepped(data, convolutional=convolutional))


@EACH
@settings(max_examples=20, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_dynamics_take_the_predicted_clocks(convolutional: bool, data: st.DataObject) -> None:
    without_stalls(draw_stepped(data, convolutional=convolutional))


@pytest.mark.smoke
def test_one_image(waves) -> None:
    """A small network by hand: one spike a step, a tie with the threshold, one lane for three neurons."""
    table = (8, 4, 2, 1)
    network = dense(
        [np.array([[1, 1, 0, 0], [0, 0, 1, 1], [-1, 0, 0, -1]]), np.array([[1, -1, 2], [0, 1, 0]])],
        [np.array([0, 5, 0]), np.array([1, 1])],
        weight_bits=3, kernels=[table, table], thresholds=[(12, 8, 4, 2)],
        encoder=tuple(4 if p == 0 else 3 - p // 64 for p in range(256)), steps=4, fire_start=4,
    )  # fmt: skip
    pictures = np.array([[255, 130, 70, 5], [0, 0, 0, 0]], np.uint8)
    hardware = Hardware.for_network(network, lanes=[1, 2])
    result, _, _ = run_core(network, hardware, pictures, waves=waves)
    assert result.spike_times[1].tolist() == [[0, 1, 4], [4, 2, 4]]
    assert result.membranes.tolist() == [[5, 5], [-1, 3]]
    assert result.classes.tolist() == [0, 1]
    assert result == golden.run(network, pictures)
