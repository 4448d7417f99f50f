"""Hardware: its memories, what it refuses, and the width of its membranes."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks

from firstspike.contract.hardware import INDEX_BITS, MAX_LAYERS, Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels
from firstspike.network.model import Conv2d, Dense, Network, chain, dense, signed_bits


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


def convolutional(
    *, stride: int = 1, padding: int = 1, pool: int = 2, channels: int = 6, shape: tuple[int, int, int] = (3, 9, 7)
) -> Network:
    """A convolution of 3 x 2 weights and a dense layer of 4 neurons."""
    rng = np.random.default_rng(0)
    table = kernels.PowerOfTwo(steps=4)
    weight = rng.integers(-8, 8, (channels, shape[0], 3, 2))
    rows, columns = (((n + 2 * padding - k) // stride + 1) // pool for n, k in zip(shape[1:], (3, 2), strict=True))
    layers = [
        Conv2d(
            name="layer0", weight=weight, bias=np.zeros(channels, np.int64), weight_bits=4,
            stride=stride, padding=padding, pool=pool,
        ),
        Dense(
            name="layer1", weight=rng.integers(-8, 8, (4, channels * rows * columns)), bias=np.zeros(4, np.int64),
            weight_bits=4,
        ),
    ]  # fmt: skip
    return chain(
        layers, input_shape=shape, kernels=[table.table()] * 2, thresholds=[table.integer_threshold(0.05)],
        encoder=table.encoder(), steps=4, fire_start=4,
    )  # fmt: skip


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
        (4, "layer0_kernel", "kernel", 0, 4, 1, 2, False),
        (5, "layer0_threshold", "threshold", 0, 4, 1, bits[0], True),
        (6, "layer1_weight", "weight", 1, 2 * 7, 2, 4, True),
        (7, "layer1_bias", "bias", 1, 3, 1, bits[1], True),
        (8, "layer1_kernel", "kernel", 1, 4, 1, 2, False),
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


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_memory_follows_from_the_shapes(data: st.DataObject) -> None:
    subject = data.draw(st.one_of(networks(), networks(convolutional=True)))
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in subject.layers]
    hardware = Hardware.for_network(subject, lanes=lanes)
    for i, (layer, shape) in enumerate(zip(subject.layers, hardware.layers, strict=True)):
        assert (shape.groups - 1) * shape.lanes < len(layer.weight) <= shape.groups * shape.lanes
        assert hardware.memory("weight", i).depth == shape.groups * layer.weight[0].size
        slices = {(j // shape.lanes, j % shape.lanes // shape.fire_lanes) for j in range(len(layer.weight))}
        assert hardware.memory("bias", i).depth == len(slices)
        assert hardware.memory("bias", i).fields == shape.fire_lanes
        kernel = subject.populations[i].kernel
        memory = hardware.memory("kernel", i)
        assert memory.depth == len(kernel)
        held = [k.bit_length() - 1 for k in kernel] if shape.product == "shift" else kernel
        assert max(held) < 1 << memory.field_bits
    for memory in hardware.memories:
        assert memory.words == max(1, -(-memory.data_bits // 32))
        assert memory.row_bits == (memory.data_bits if memory.data_bits <= 32 else 32 * memory.words)
    assert [m.index for m in hardware.memories] == list(range(len(hardware.memories)))
    hardware.check(subject)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_json_there_and_back(data: st.DataObject) -> None:
    subject = data.draw(st.one_of(networks(), networks(convolutional=True)))
    hardware = Hardware.for_network(
        subject,
        lanes=data.draw(st.integers(1, 5)),
        fire=data.draw(st.sampled_from([None, "stepped"])),
        product=data.draw(st.sampled_from([None, "multiply"])),
        test_clocks=data.draw(st.one_of(st.none(), st.integers(1, 50))),
        input=data.draw(st.sampled_from(["pixels", "events"])),
        monitor=data.draw(st.booleans()),
        counters=data.draw(st.booleans()),
        spare_membrane_bits=data.draw(st.integers(0, 2)),
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
    for whole in ([], "hardware", None):
        with pytest.raises(FirstspikeError, match="not a description of hardware"):
            Hardware.from_json(whole)  # type: ignore[arg-type]


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
        pytest.param(
            {"sizes": (6, 7, 3)}, r"layer 0: the network has input_shape \(6,\), the hardware \(5,\)", id="inputs"
        ),
        pytest.param({"sizes": (5, 8, 3)}, "layer 0: the network has channels 8, the hardware 7", id="hidden"),
        pytest.param({"sizes": (5, 7, 4)}, "layer 1: the network has channels 4, the hardware 3", id="outputs"),
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
    remedy, _, room = str(error.value.hint).partition("; ")
    assert remedy == "generate hardware for this network, or train one of the same shape and widths"
    needed = re.search(r"membrane_bits (\d+), the hardware has (\d+)", str(error.value))
    spare = int(needed[1]) - int(needed[2]) if needed else 0
    assert room == (f"or generate with room, such as [hardware] spare_membrane_bits = {spare}" if spare else "")


@pytest.mark.smoke
def test_direct_input_of_another_number_of_codes_is_refused() -> None:
    direct = network(kernel=kernels.Direct(), simultaneous=True, kernels=[kernels.Direct().table(), (8, 4, 2, 1)])
    fewer = network(
        simultaneous=True, kernels=[(200, 100, 50, 25, 12), (8, 4, 2, 1)], encoder=tuple(min(p, 5) for p in range(256))
    )
    with pytest.raises(FirstspikeError, match="layer 0: the network has input_codes 5, the hardware 255"):
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
        ({"steps": 1025, "fire_start": 1025}, "more than 1024 steps"),
        ({"layers": [{"input_shape": [70_000]}]}, "an index of population 0 takes 17 bits; an event word holds 16"),
        ({"layers": [{"channels": 70_000}, {"input_shape": [70_000]}]}, "an index of population 1 takes 17 bits"),
        ({"layers": [{}, {"channels": 70_000}]}, "70000 outputs; a result word holds 16 index bits"),
        ({"layers": [{"channels": 8}]}, "a layer of 8 outputs before one of 7 inputs"),
        ({"layers": [{"input_codes": 1025}]}, "more than 1024 steps"),
        ({"layers": [{}, {"membrane_bits": 33}]}, "33 bits; a result word holds 32"),
        ({"layers": [{"membrane_bits": 55}]}, "membranes of 55 bits; the golden model is exact up to 54"),
        ({"layers": [{"kernel_bits": 33}]}, "kernel entries of 33 bits"),
        ({"layers": [{"lanes": 0}]}, "0 lanes for 7 neurons"),
        ({"layers": [{"fire_lanes": 8}]}, r"fire_lanes is 8, outside 1\.\.7"),
        ({"layers": [{"fire_lanes": 0}]}, "fire_lanes is 0"),
        ({"layers": [{"fire": "guess"}]}, "unknown fire 'guess'"),
        ({"layers": [{"product": "add"}]}, "unknown product 'add'"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 4.0}, r"steps is 4\.0"),
        ({"steps": "4"}, "steps is '4'"),
        ({"steps": None}, "steps is None"),
        ({"fire_start": -1}, "fire_start is -1"),
        ({"fire_start": 5}, r"fire_start is 5, outside 0\.\.4"),
        ({"readout": "guess"}, "unknown readout 'guess'"),
        ({"simultaneous": 0}, "simultaneous is 0"),
        ({"layers": [{"kind": "sparse"}]}, "unknown kind 'sparse'"),
        ({"layers": [{"fires": 1}]}, "fires is 1"),
        ({"layers": [{"padding": -1}]}, "padding is -1"),
        ({"layers": [{"input_shape": [0]}]}, r"input_shape is \(0,\)"),
        *(
            ({"layers": [{name: value}]}, f"{name} is {value}")
            for name in ("channels", "stride", "pool", "input_codes", "weight_bits", "kernel_bits", "membrane_bits")
            for value in (0, -1, True, 2.5)
        ),
        ({"fire_start": 3}, "a search needs complete membranes, but firing starts at step 3 of 4"),
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


@pytest.mark.smoke
def test_more_layers_than_the_core_has() -> None:
    assert len(Hardware.for_network(network(sizes=(2,) * (MAX_LAYERS + 1))).layers) == MAX_LAYERS
    with pytest.raises(FirstspikeError, match=f"{MAX_LAYERS + 1} layers; the core has at most {MAX_LAYERS}"):
        Hardware.for_network(network(sizes=(2,) * (MAX_LAYERS + 2)))


# -- shifts and searches ----------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(("kernel", "best"), [((8, 4, 1, 1), "shift"), ((8, 4, 3, 1), "multiply"),
                                              ((8, 4, 2, 0), "multiply"), ((1, 1, 1, 1), "shift")])  # fmt: skip
def test_lanes_shift_by_powers_of_two(kernel: tuple[int, ...], best: str) -> None:
    subject = network(kernels=[kernel, (7, 5, 2, 0)])
    assert [layer.product for layer in Hardware.for_network(subject).layers] == [best, "multiply"]
    assert [x.product for x in Hardware.for_network(network(), product=["multiply", "shift"]).layers] == [
        "multiply", "shift",
    ]  # fmt: skip


@pytest.mark.smoke
def test_a_kernel_of_other_numbers_is_refused_where_lanes_shift() -> None:
    hardware = Hardware.for_network(network())
    for kernel in [(8, 4, 3, 1), (8, 4, 2, 0)]:
        other = network(kernels=[(8, 4, 2, 1), kernel])
        for refuse in (hardware.check, lambda x: Hardware.for_network(x, product="shift")):
            with pytest.raises(FirstspikeError) as error:
                refuse(other)
            assert error.value.one_line() == (
                f"layer 1: the hardware shifts, but not all of hidden1's kernel {kernel} are powers of two; "
                "generate hardware with product = 'multiply'"
            )
        Hardware.for_network(network(), product="multiply").check(other)


@pytest.mark.smoke
def test_search_where_membranes_are_complete() -> None:
    late, early = network(sizes=(5, 7, 6, 3)), network(sizes=(5, 7, 6, 3), fire_start=2)
    assert [x.fire for x in Hardware.for_network(late).layers] == ["search", "search", "stepped"]
    assert [x.fire for x in Hardware.for_network(early).layers] == ["stepped"] * 3
    mixed = Hardware.for_network(late, fire=["stepped", "search", "search"])
    assert [x.fire for x in mixed.layers] == ["stepped", "search", "stepped"]
    for fire in ("search", ["stepped", "search", "stepped"]):
        with pytest.raises(FirstspikeError, match="firing starts at step 2 of 4") as error:
            Hardware.for_network(early, fire=fire)
        assert error.value.hint == "use fire = 'stepped'"
    with pytest.raises(FirstspikeError, match="fire is given for 1 layers; the network has 3"):
        Hardware.for_network(late, fire=["search"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_search_has_the_fewest_lanes_that_are_fast_enough(data: st.DataObject) -> None:
    subject = data.draw(st.one_of(networks(fire_start=9), networks(fire_start=9, convolutional=True)))
    budget = data.draw(st.one_of(st.none(), st.integers(1, 60)))
    hardware = Hardware.for_network(subject, lanes=data.draw(st.integers(1, 9)), test_clocks=budget)
    words = -(-subject.sizes[0] // 4)
    for shape in hardware.layers[:-1]:

        def enough(lanes: int, shape: LayerShape = shape) -> bool:
            tried = replace(shape, fire_lanes=lanes)
            return tried.pass_clocks <= (budget or words) or lanes == shape.lanes

        assert shape.fire_lanes == next(lanes for lanes in range(1, shape.lanes + 1) if enough(lanes))
    assert hardware.layers[-1].fire_lanes == 1
    for shape in Hardware.for_network(subject, fire="stepped", lanes=3).layers[:-1]:
        assert shape.fire_lanes == shape.lanes


@pytest.mark.smoke
def test_lanes_of_a_search_by_hand() -> None:
    """28 words an image: 60 neurons in 28 clocks take three a clock."""
    subject = network(sizes=(112, 60, 3))
    assert [x.fire_lanes for x in Hardware.for_network(subject, lanes=20).layers] == [3, 1]
    assert [x.fire_lanes for x in Hardware.for_network(subject, lanes=20, test_clocks=60).layers] == [1, 1]
    assert [x.fire_lanes for x in Hardware.for_network(subject, lanes=20, test_clocks=2).layers] == [20, 1]
    # Six channels at 16 windows; the four rows of a window take four clocks to read, for each slice.
    for clocks, lanes, slices in [(1, 6, 1), (127, 6, 1), (128, 3, 2), (191, 3, 2), (192, 2, 3), (384, 1, 6)]:
        (shape, _) = Hardware.for_network(convolutional(), test_clocks=clocks).layers
        assert (shape.output_map, shape.fire_lanes, shape.pass_clocks) == ((6, 4, 4), lanes, 16 * 4 * slices)


# -- geometry ---------------------------------------------------------------------------------------------------------


Synapse = tuple[int, tuple[int, int], tuple[int, int]]


def synapses(layer: Conv2d, shape: tuple[int, ...]) -> list[Synapse]:
    """(input neuron, place, tap) of each synapse of one output channel, as the definition says; windows whole."""
    channels, *size = shape
    kernel = layer.kernel_shape
    grid = [(n + 2 * layer.padding - k) // layer.stride + 1 for n, k in zip(size, kernel, strict=True)]
    used = [n - n % layer.pool for n in grid]
    found = []
    for c, r, q, i, j in product(*map(range, (channels, *used, *kernel))):
        row, column = r * layer.stride + i - layer.padding, q * layer.stride + j - layer.padding
        if 0 <= row < size[0] and 0 <= column < size[1]:
            found.append(((c * size[0] + row) * size[1] + column, (r, q), (i, j)))
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_convolution_reaches_what_the_definition_says(data: st.DataObject) -> None:
    subject = data.draw(networks(convolutional=True))
    hardware = Hardware.for_network(subject, lanes=data.draw(st.integers(1, 4)))
    for i, (layer, shape) in enumerate(zip(subject.layers, hardware.layers, strict=True)):
        assert shape.inputs == subject.sizes[i]
        assert shape.outputs == subject.sizes[i + 1]
        if not isinstance(layer, Conv2d):
            continue
        input_shape = subject.populations[i].shape
        listed = synapses(layer, input_shape)
        assert shape.map == input_shape
        assert shape.output_map == subject.populations[i + 1].shape
        counted = Counter(neuron for neuron, _, _ in listed)
        assert shape.visits.tolist() == [counted[n] for n in range(shape.inputs)]
        for axis in (0, 1):
            size = input_shape[1 + axis]
            pairs = {(neuron // (input_shape[2] if axis == 0 else 1) % size, place[axis], tap[axis])
                     for neuron, place, tap in listed}  # fmt: skip
            assert shape.reach(axis) == [sorted((p, t) for n, p, t in pairs if n == at) for at in range(size)]
        rows, columns = shape.grid
        assert shape.places == rows * columns
        assert rows % layer.pool == columns % layer.pool == 0
        assert shape.taps == layer.weight[0].size
        assert shape.membrane_rows == len(
            {(j // shape.lanes, p) for j in range(shape.channels) for p in range(shape.places)}
        )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_clocks_of_a_pass(data: st.DataObject) -> None:
    """Slice by slice: neighbouring channels of a group, each as long as the rows of its window take to read."""
    subject = data.draw(st.one_of(networks(), networks(convolutional=True)))
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in subject.layers]
    for shape in Hardware.for_network(subject, lanes=lanes).layers:
        changed = replace(shape, fire_lanes=data.draw(st.integers(1, shape.lanes)))
        slices = {(j // shape.lanes, j % shape.lanes // changed.fire_lanes) for j in range(shape.channels)}
        counted = Counter(group for group, _ in slices)
        assert changed.group_slices == tuple(counted[g] for g in range(shape.groups))
        _, rows, columns = shape.output_map
        assert changed.slices == sum(counted.values()) * rows * columns
        assert changed.pass_clocks == changed.slices * shape.pool**2
        rows_of_channels = [[j for j in row if j < shape.channels] for row in changed.slice_channels.tolist()]
        every = range(shape.channels)
        assert rows_of_channels == [
            [j for j in every if (j // shape.lanes, j % shape.lanes // changed.fire_lanes) == key]
            for key in sorted(slices)
        ]
        assert changed.slice_channels.shape == (len(slices), changed.fire_lanes)
        assert changed.slice_channels.max() <= shape.channels


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_indices_of_events(data: st.DataObject) -> None:
    """Fields side by side before a convolution, numbers before a dense layer."""
    subject = data.draw(st.one_of(networks(), networks(convolutional=True)))
    hardware = Hardware.for_network(subject)
    for p, layer in enumerate(subject.layers):
        indices = hardware.indices(p)
        assert len(indices) == subject.sizes[p]
        assert hardware.index_bits(p) == max(1, int(indices.max()).bit_length())
        shape = subject.populations[p].shape
        if not isinstance(layer, Conv2d):
            assert indices.tolist() == list(range(subject.sizes[p]))
        else:
            row_bits, column_bits = (len(f"{n - 1:b}") if n > 1 else 0 for n in shape[1:])
            neurons = product(*map(range, shape))
            assert indices.tolist() == [
                channel << row_bits + column_bits | row << column_bits | column for channel, row, column in neurons
            ]
        places = product(*map(range, shape if len(shape) == 3 else (*shape, 1, 1)))
        strides = hardware.strides(p)
        assert indices.tolist() == [sum(x * s for x, s in zip(place, strides, strict=True)) for place in places]


@pytest.mark.smoke
def test_indices_by_hand() -> None:
    """A map of 3 x 9 x 7: 4 bits of row, 3 of column; after pooling 6 x 4 x 4 numbers for the dense layer."""
    hardware = Hardware.for_network(convolutional())
    assert (hardware.strides(0), hardware.index_bits(0)) == ((128, 8, 1), 9)
    assert hardware.indices(0)[7 * 9 + 7 + 6] == 128 + 8 + 6
    assert hardware.layers[0].grid == (8, 8)
    assert (hardware.strides(1), hardware.index_bits(1)) == ((16, 4, 1), 7)
    assert hardware.shapes == ((3, 9, 7), (6, 4, 4), (4,))


@pytest.mark.smoke
def test_a_map_whose_fields_do_not_fit_an_event_word() -> None:
    """33 x 33 x 33 neurons have numbers of 16 bits, but fields of 18."""
    assert (33**3 - 1).bit_length() == INDEX_BITS
    with pytest.raises(FirstspikeError, match="an index of population 0 takes 18 bits; an event word holds 16"):
        Hardware.for_network(convolutional(shape=(33, 33, 33), padding=0, pool=11, stride=2))


@pytest.mark.smoke
def test_the_last_layer_is_dense() -> None:
    value = Hardware.for_network(convolutional()).to_json()
    with pytest.raises(FirstspikeError, match="the last layer is not dense"):
        Hardware.from_json(value | {"layers": value["layers"][:1]})


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"stride": 2, "pool": 1}, "layer 0: the network has stride 2, the hardware 1"),
        ({"padding": 0}, "layer 0: the network has padding 0, the hardware 1"),
        ({"pool": 4}, "layer 0: the network has pool 4, the hardware 2"),
        ({"channels": 5}, "layer 0: the network has channels 5, the hardware 6"),
        ({"shape": (3, 8, 7)}, r"layer 0: the network has input_shape \(3, 8, 7\), the hardware \(3, 9, 7\)"),
    ],
)
def test_a_convolution_that_does_not_fit_is_refused(other: dict[str, Any], message: str) -> None:
    hardware = Hardware.for_network(convolutional())
    hardware.check(convolutional())
    with pytest.raises(FirstspikeError, match=message):
        hardware.check(convolutional(**other))
    flat = network(sizes=(189, 6, 4))
    with pytest.raises(FirstspikeError, match="layer 0: the network has kind dense, the hardware conv2d"):
        hardware.check(flat)


@pytest.mark.smoke
def test_lanes_of_a_convolution_are_channels() -> None:
    with pytest.raises(FirstspikeError, match="7 lanes for 6 channels") as error:
        Hardware.for_network(convolutional(), lanes=[7, 1])
    assert error.value.hint == "use 1..6 lanes"
    assert [x.lanes for x in Hardware.for_network(convolutional(), lanes=5).layers] == [5, 4]
