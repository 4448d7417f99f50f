"""Hardware: its memories, what it refuses, and the width of its membranes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks

from firstspike import golden, kernels
from firstspike.errors import FirstspikeError
from firstspike.hardware import Hardware, LayerShape
from firstspike.model import Network, dense, signed_bits


def network(*, sizes: tuple[int, ...] = (5, 7, 3), first_spike: bool = False, **changes: Any) -> Network:
    kernel = changes.pop("kernel", kernels.PowerOfTwo(steps=4))
    rng = np.random.default_rng(0)
    weights = [rng.integers(-8, 8, (n, m)) for m, n in pairwise(sizes)]
    firing = len(weights) - (0 if first_spike else 1)
    arguments: dict[str, Any] = {
        "weights": weights,
        "biases": [np.zeros(len(w), np.int64) for w in weights],
        "weight_bits": 4,
        "kernels": [kernel.table()] * len(weights),
        "thresholds": [kernels.PowerOfTwo(steps=4).integer_threshold(0.05)] * firing,
        "encoder": kernel.encoder(),
        "steps": 4,
        "fire_start": 4,
    }
    return dense(**(arguments | changes))


@pytest.mark.smoke
def test_memories_in_their_order() -> None:
    hardware = Hardware.for_network(network(first_spike=True), lanes=[4, 2])
    bits = [layer.membrane_bits for layer in hardware.layers]
    facts = [(m.index, m.name, m.role, m.layer, m.depth, m.fields, m.field_bits, m.signed) for m in hardware.memories]
    assert facts == [
        (0, "digest", "digest", None, 8, 1, 32, False),
        (1, "encoder", "encoder", None, 256, 1, 3, False),
        (2, "layer0_weight", "weight", 0, 2 * 5, 4, 4, True),
        (3, "layer0_bias", "bias", 0, 2, 4, bits[0], True),
        (4, "layer0_kernel", "kernel", 0, 4, 1, 4, False),
        (5, "layer0_threshold", "threshold", 0, 4, 1, bits[0], True),
        (6, "layer1_weight", "weight", 1, 2 * 7, 2, 4, True),
        (7, "layer1_bias", "bias", 1, 2, 2, bits[1], True),
        (8, "layer1_kernel", "kernel", 1, 4, 1, 4, False),
        (9, "layer1_threshold", "threshold", 1, 4, 1, bits[1], True),
    ]
    assert hardware.sizes == (5, 7, 3)
    assert hardware.memory("bias", 1).index == 7
    with pytest.raises(KeyError):
        hardware.memory("bias", 2)


@pytest.mark.smoke
def test_memories_that_are_not_there() -> None:
    names = [m.name for m in Hardware.for_network(network(), input="events").memories]
    assert "encoder" not in names
    assert "layer0_threshold" in names
    assert "layer1_threshold" not in names


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_memory_follows_from_the_shapes(data: st.DataObject) -> None:
    subject = data.draw(networks())
    lanes = [data.draw(st.integers(1, layer.outputs)) for layer in subject.layers]
    hardware = Hardware.for_network(subject, lanes=lanes)
    for i, (layer, shape) in enumerate(zip(subject.layers, hardware.layers, strict=True)):
        assert (shape.groups - 1) * shape.lanes < layer.outputs <= shape.groups * shape.lanes
        assert hardware.memory("weight", i).depth == shape.groups * layer.inputs
        assert hardware.memory("bias", i).depth == shape.groups
        assert hardware.memory("kernel", i).depth == subject.populations[i].codes
    for memory in hardware.memories:
        assert memory.words == max(1, -(-memory.data_bits // 32))
        assert memory.row_bits == (memory.data_bits if memory.data_bits <= 32 else 32 * memory.words)
    assert [m.index for m in hardware.memories] == list(range(len(hardware.memories)))
    hardware.check(subject)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_json_there_and_back(data: st.DataObject) -> None:
    hardware = Hardware.for_network(
        data.draw(networks()), lanes=1, input=data.draw(st.sampled_from(["pixels", "events"])), monitor=False
    )
    assert Hardware.from_json(json.loads(json.dumps(hardware.to_json()))) == hardware


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change", [{"layers": []}, {"layers": [{}]}, {"layers": [3]}, {"colour": "red"}, {"layers": None}]
)
def test_json_that_is_no_hardware(change: dict[str, Any]) -> None:
    value = Hardware.for_network(network()).to_json() | change
    with pytest.raises(FirstspikeError, match="not a description of hardware"):
        Hardware.from_json(value)


@pytest.mark.smoke
def test_lanes() -> None:
    subject = network(sizes=(5, 100, 3))
    assert [x.lanes for x in Hardware.for_network(subject).layers] == [64, 3]
    assert [x.lanes for x in Hardware.for_network(subject, lanes=8).layers] == [8, 3]
    assert [x.groups for x in Hardware.for_network(subject, lanes=8).layers] == [13, 1]
    for lanes, message in [
        ([4], "lanes are given for 1 layers; the network has 2"),
        ([4, 4], "4 lanes for 3 neurons"),
        ([0, 1], "0 lanes for 100 neurons"),
    ]:
        with pytest.raises(FirstspikeError, match=message):
            Hardware.for_network(subject, lanes=lanes)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(
            {
                "kernel": kernels.PowerOfTwo(steps=3),
                "thresholds": [(20, 10, 5)],
                "steps": 3,
                "fire_start": 3,
            },
            "steps 3, the hardware 4",
            id="steps",
        ),
        pytest.param({"fire_start": 2}, "fire_start 2, the hardware 4", id="fire_start"),
        pytest.param({"first_spike": True}, "readout first_spike, the hardware membrane", id="readout"),
        pytest.param({"simultaneous": True}, "simultaneous True, the hardware False", id="simultaneous"),
        pytest.param({"sizes": (5, 7, 7, 3)}, "3 layers, the hardware 2", id="layers"),
        pytest.param({"sizes": (6, 7, 3)}, "layer 0: the network has 6 inputs, the hardware 5", id="inputs"),
        pytest.param({"sizes": (5, 8, 3)}, "layer 0: the network has 8 outputs, the hardware 7", id="hidden"),
        pytest.param({"sizes": (5, 7, 4)}, "layer 1: the network has 4 outputs, the hardware 3", id="outputs"),
        pytest.param({"weight_bits": 5}, "layer 0: the network needs weight_bits 5, the hardware has 4", id="weight"),
        pytest.param(
            {"kernels": [(8, 4, 2, 1), (16, 4, 2, 1)]},
            "layer 1: the network needs kernel_bits 5, the hardware has 4",
            id="kernel",
        ),
        pytest.param(
            {"biases": [np.full(7, 1000), np.zeros(3, np.int64)]},
            r"layer 0: the network needs membrane_bits 12, the hardware has \d",
            id="bias",
        ),
        pytest.param(
            {"thresholds": [(5000, 4, 4, 4)]},
            r"layer 0: the network needs membrane_bits 14, the hardware has \d",
            id="threshold",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(other: dict[str, Any], message: str) -> None:
    hardware = Hardware.for_network(network())
    hardware.check(network())
    with pytest.raises(FirstspikeError, match=message) as error:
        hardware.check(network(**other))
    assert error.value.hint == "generate hardware for this network, or train one of the same shape and widths"


@pytest.mark.smoke
def test_direct_input_of_another_number_of_codes_is_refused() -> None:
    direct = network(kernel=kernels.Direct(), simultaneous=True, kernels=[kernels.Direct().table(), (8, 4, 2, 1)])
    fewer = network(
        simultaneous=True, kernels=[(200, 100, 50, 25, 12), (8, 4, 2, 1)], encoder=tuple(min(p, 5) for p in range(256))
    )
    with pytest.raises(FirstspikeError, match="layer 0: the network has 5 input_codes, the hardware 255"):
        Hardware.for_network(direct).check(fewer)


@pytest.mark.smoke
def test_spare_bits_make_room() -> None:
    larger = network(biases=[np.full(7, 400), np.zeros(3, np.int64)])
    hardware = Hardware.for_network(network(), spare_membrane_bits=4)
    assert hardware.layers[0].membrane_bits == network().membrane_bits(0) + 4
    hardware.check(larger)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "sound"}, "unknown input 'sound'"),
        ({"steps": 1025}, "more than 1024 steps"),
        ({"layers": [{"outputs": 70_000}]}, "more than 65536 neurons"),
        ({"layers": [{"inputs": 70_000}]}, "more than 65536 neurons"),
        ({"layers": [{"input_codes": 1025}]}, "more than 1024 steps"),
        ({"layers": [{}, {"membrane_bits": 33}]}, "33 bits; a result word holds 32"),
        ({"layers": [{"membrane_bits": 55}]}, "membranes of 55 bits; the golden model is exact up to 54"),
        ({"layers": [{"kernel_bits": 33}]}, "kernel entries of 33 bits"),
        ({"layers": [{"lanes": 0}]}, "0 lanes for 7 neurons"),
    ],
)
def test_what_cannot_be_generated(change: dict[str, Any], message: str) -> None:
    value = Hardware.for_network(network()).to_json()
    layers = [layer | change for layer, change in zip(value["layers"], [*change.get("layers", [{}]), {}], strict=False)]
    with pytest.raises(FirstspikeError, match=message):
        Hardware.from_json(value | change | {"layers": layers})


@pytest.mark.smoke
def test_ordered_populations() -> None:
    assert Hardware.for_network(network()).ordered == (False, False)
    assert Hardware.for_network(network(fire_start=2)).ordered == (True, False)
    assert Hardware.for_network(network(fire_start=2, first_spike=True)).ordered == (True, True)
    direct = network(kernels=[kernels.Direct().table(), (8, 4, 2, 1)], simultaneous=True, fire_start=2)
    assert Hardware.for_network(direct).ordered == (False, False)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(-128, 127), min_size=3, max_size=3), min_size=1, max_size=4),
    st.integers(0, 300),
    st.integers(0, 2**32 - 1),
)
def test_membrane_bits_are_tight(weight: list[list[int]], largest: int, seed: int) -> None:
    """The golden model reaches the least and the greatest value that the width is made for."""
    bias = np.random.default_rng(seed).integers(-500, 500, len(weight))
    subject = dense(
        [np.array(weight)],
        [bias],
        weight_bits=8,
        kernels=[(largest, 0)],
        thresholds=[],
        encoder=(2, *[0] * 255),
        steps=2,
        fire_start=2,
    )
    # all sets of spiking inputs, all with the greatest kernel value
    patterns = np.array([[p >> i & 1 for i in range(3)] for p in range(8)], np.uint8)
    membranes = golden.run(subject, patterns).membranes
    low, high = subject.membrane_range(0)
    assert (membranes.min(), membranes.max()) == (low, high)
    bits = subject.membrane_bits(0)
    assert bits == signed_bits(low, max(high, 0))
    assert -(1 << (bits - 1)) <= low
    assert high < 1 << (bits - 1)
    assert bits == 1 or not (-(1 << (bits - 2)) <= low and max(high, 0) < 1 << (bits - 2))


@pytest.mark.smoke
def test_a_membrane_range_beyond_64_bits_is_exact() -> None:
    subject = network(kernels=[(1 << 70, 4, 2, 1), (8, 4, 2, 1)])
    low, high = subject.membrane_range(0)
    sums = subject.layers[0].weight
    assert low == (1 << 70) * int(np.minimum(sums, 0).sum(axis=1).min())
    assert high == (1 << 70) * int(np.maximum(sums, 0).sum(axis=1).max())
    with pytest.raises(FirstspikeError, match="the golden model is exact up to 54"):
        Hardware.for_network(subject)


def test_a_layer_shape_stands_for_itself() -> None:
    shape = LayerShape(
        inputs=4,
        outputs=5,
        lanes=2,
        input_codes=4,
        weight_bits=4,
        kernel_bits=4,
        membrane_bits=9,
        fires=True,
    )
    assert [(j // shape.lanes, j % shape.lanes) for j in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert shape.groups == 3
