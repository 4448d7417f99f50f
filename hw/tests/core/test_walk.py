"""Walk: the places each spike reaches, against the definition of a convolution, and to the clock."""

from __future__ import annotations

import random

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulation import exchange, loose

from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.walk import Walk

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def events_of(rng: random.Random, shape: LayerShape, indices: list[int], count: int) -> list[tuple[int, dict]]:
    """Spikes of random neurons, and watermarks (neuron -1) with any index among them."""
    items = []
    for _ in range(count):
        neuron, step = rng.randrange(shape.inputs), rng.randrange(shape.input_codes)
        if rng.random() < 0.25:
            items.append((-1, {"mark": 1, "fault": rng.randrange(2), "step": step, "index": indices[neuron]}))
        else:
            items.append((neuron, {"step": step, "index": indices[neuron]}))
    return items


def walk(shape: LayerShape, rng: random.Random, count: int, *, stall=0.0, seed=0, waves=None) -> None:
    core = parts.followed(shape, simultaneous=shape.input_codes != 4)
    reached = parts.synapses(shape)
    assert (shape.visits * shape.groups).tolist() == [len(pairs) for pairs in reached]
    events = events_of(rng, shape, core.indices(0).tolist(), count)
    clocks = [1 if neuron < 0 else max(1, len(reached[neuron])) for neuron, _ in events]
    dut = Walk(core, 0)
    dut.o = loose(
        dut.valid, dut.ready, mark=dut.mark, fault=dut.fault, step=dut.step, visit=dut.visit,
        weight=dut.weight, row=dut.row,
    )  # fmt: skip
    seen = exchange(
        dut, {"i": [item for _, item in events]}, {"o": sum(clocks)}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    addresses = iter(seen["o"].items)
    for (neuron, event), length in zip(events, clocks, strict=True):
        mine = [next(addresses) for _ in range(length)]
        mark = event.get("mark", 0)
        assert {(a.mark, a.fault, a.step) for a in mine} == {(mark, event.get("fault", 0), event["step"])}
        pairs = [(a.weight, a.row) for a in mine if a.visit]
        assert len(pairs) == (0 if neuron < 0 else len(reached[neuron]))
        assert set(pairs) == (set() if neuron < 0 else set(reached[neuron]))
    if not stall:
        begin = seen["i"].taken[0] + Walk.LATENCY
        assert seen["o"].offered == seen["o"].taken == list(range(begin, begin + sum(clocks)))
        # An event is taken while the last address of the one before is.
        ends = [begin + sum(clocks[: n + 1]) - 1 for n in range(len(clocks))]
        assert seen["i"].taken[1:] == ends[:-1]


@settings(max_examples=60, deadline=None, phases=GENERATE)
@given(shape=parts.shapes(), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_walk_is_the_definition(shape, seed, stall) -> None:
    walk(shape, random.Random(seed), 20, stall=stall, seed=seed)


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(parts.layer(inputs=1, outputs=1), id="one_synapse"),
        pytest.param(parts.layer(inputs=5, outputs=7, lanes=3, input_codes=255), id="dense"),
        pytest.param(parts.convolution(), id="pooled"),
        pytest.param(parts.convolution(kernel=(4, 3), stride=2, padding=1, pool=1), id="strides"),
        pytest.param(parts.convolution(input_shape=(2, 3, 7), kernel=(1, 2), stride=3, pool=1), id="gaps"),
        pytest.param(parts.convolution(input_shape=(1, 1, 9), kernel=(1, 3), padding=0, pool=1), id="one_row"),
        pytest.param(parts.convolution(input_shape=(3, 5, 1), kernel=(3, 1), pool=1, lanes=1), id="one_column"),
        pytest.param(parts.convolution(input_shape=(3, 4, 4), kernel=(4, 4), pool=1, lanes=3), id="one_place"),
    ],
)
def test_every_neuron_without_a_gap(shape, stall, seed, waves) -> None:
    """Spikes of all neurons, some of which reach nothing, and watermarks, one behind the other."""
    walk(shape, random.Random(seed), 4 * shape.inputs, stall=stall, seed=seed, waves=waves)
