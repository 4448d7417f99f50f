"""Operations from counters against a count one by one; what is no count of whole images; energies an operation."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_operations import expected, seen, tally, tally_ann
from networks import images_for, networks

from firstspike.contract.hardware import Hardware
from firstspike.energy import estimate as energy_estimate
from firstspike.energy.estimate import HOROWITZ, estimate
from firstspike.energy.operations import Access, Arithmetic, Counters, Operations, ann, count
from firstspike.errors import FirstspikeError
from firstspike.network import golden
from firstspike.network.model import Network, dense


def small(**changes: Any) -> tuple[Network, Hardware]:
    """6-5-3 by hand: 4 steps, groups of two lanes and a padded one."""
    table = (8, 4, 2, 1)
    parts: dict[str, Any] = {
        "weight_bits": 3, "kernels": [table, table], "thresholds": [(12, 8, 4, 2)],
        "encoder": tuple(4 if p == 0 else 3 - p // 64 for p in range(256)), "steps": 4, "fire_start": 4,
    }  # fmt: skip
    network = dense(
        [np.ones((5, 6), np.int64), np.ones((3, 5), np.int64)], [np.zeros(5, np.int64), np.zeros(3, np.int64)], **parts
    )
    return network, Hardware.for_network(network, lanes=[2, 3], **changes)


def counters(**changes: Any) -> Counters:
    """Of two images in that: three spikes and one; five."""
    values: dict[str, Any] = {"images": 2, "faults": 0, "clocks": 100, "spikes": (4, 5), "active": (12, 5)}
    return Counters(**(values | changes))


def draw_case(data: st.DataObject, *, convolutional: bool) -> tuple[Network, Hardware, golden.Result]:
    network = data.draw(networks(convolutional=convolutional))
    early = network.fire_start < network.steps
    hardware = Hardware.for_network(
        network,
        lanes=[data.draw(st.integers(1, len(layer.weight))) for layer in network.layers],
        fire=["stepped" if early else data.draw(st.sampled_from(["search", "stepped"])) for _ in network.layers],
        test_clocks=data.draw(st.integers(1, 20)),
        input=data.draw(st.sampled_from(["pixels", "events"])),
    )
    return network, hardware, golden.run(network, data.draw(images_for(network, max_images=2)))


@pytest.mark.smoke
@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_counts_are_those_of_one_by_one(convolutional: bool, data: st.DataObject) -> None:
    """Dense and convolutional, S = T and S < T, both fire units and readouts, any lanes."""
    network, hardware, result = draw_case(data, convolutional=convolutional)
    registers, done = tally(network, hardware, result)
    operations = count(hardware, Counters.read(registers))
    assert operations.images == len(result)
    assert +seen(operations, hardware) == +expected(done)
    assert sum(operations.synaptic_operations) == result.synaptic_operations(network).sum()


@pytest.mark.smoke
@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_ann_is_counted_one_by_one(convolutional: bool, data: st.DataObject) -> None:
    network, hardware, result = draw_case(data, convolutional=convolutional)
    read = Counters.read(tally(network, hardware, result)[0])
    for operations, done in (
        (ann(hardware), tally_ann(network, hardware)),
        (ann(hardware, read), tally_ann(network, hardware, result)),
    ):
        totals = seen(operations, hardware)
        for n in range(len(hardware.layers)):
            macs = done[n, "macs"]
            assert operations.synaptic_operations[n] == macs == totals[n, "weights: weight reads"]
            assert totals[n, "arithmetic: multiply"] == totals[n, "arithmetic: add"] == macs
            assert totals[n, "activations: activations reads"] == done[n, "activation reads"]
            assert totals[n, "activations: activations writes"] == done[n, "activation writes"]
        last = len(hardware.layers) - 1
        assert totals[last, "activations: outputs writes"] == done[last + 1, "activation writes"]


@pytest.mark.smoke
def test_by_hand() -> None:
    """Bits and sizes of every memory, and widths of every operation."""
    _, hardware = small()
    width = hardware.layers[0].membrane_bits
    assert (width, hardware.layers[1].membrane_bits) == (7, 7)
    operations = count(hardware, counters())
    assert operations.synaptic_operations == (4 * 5, 5 * 3)
    assert operations.idle_additions == (4, 0)
    by_name = {(a.layer, a.part, a.memory): (a.row_bits, a.rows, a.reads, a.writes) for a in operations.accesses}
    assert by_name == {
        (None, "tables", "encoder"): (3, 256, 2 * 8, 0),  # two words of four pixels
        (0, "weights", "weight"): (2 * 3, 3 * 6, 12, 0),
        (0, "tables", "kernel"): (2, 4, 12, 0),
        (0, "membranes", "membranes"): (2 * 7, 3, 12, 12),
        (0, "scan", "membranes"): (2 * 7, 3, 2 * hardware.layers[0].slices, 0),
        (0, "scan", "bias"): (7 * hardware.layers[0].fire_lanes, hardware.layers[0].slices, 2 * 3, 0),
        (0, "scan", "threshold"): (7, 4, 2 * 3 * 2 * 3, 0),
        (1, "weights", "weight"): (3 * 3, 5, 5, 0),
        (1, "tables", "kernel"): (2, 4, 5, 0),
        (1, "membranes", "membranes"): (3 * 7, 1, 5, 5),
        (1, "scan", "membranes"): (3 * 7, 1, 2 * 3, 0),
        (1, "scan", "bias"): (7, 3, 2 * 3, 0),
    }
    assert {(a.layer, a.part, a.kind, a.bits): a.count for a in operations.arithmetic} == {
        (0, "arithmetic", "shift", (3 + 4 - 1,)): 24,
        (0, "arithmetic", "add", (7,)): 24,
        (0, "scan", "add", (7,)): 2 * 3 * 2,
        (0, "scan", "compare", (7,)): 2 * 3 * 2 * 3,
        (1, "arithmetic", "shift", (3 + 4 - 1,)): 15,
        (1, "arithmetic", "add", (7,)): 15,
        (1, "scan", "add", (7,)): 6,
        (1, "scan", "compare", (7,)): 6,
    }
    multiplied = count(small(product="multiply")[1], counters()).arithmetic
    assert {a.bits for a in multiplied if a.kind == "multiply"} == {(3, 4)}


@pytest.mark.smoke
def test_every_driver_s_counters_are_read() -> None:
    """Numbers of one driver, lists of the other."""
    numbers = {"images": 2, "faults": 0, "clocks": 100, "spikes": [4, 5], "active": [12, 5]}
    lists = numbers | {"images": [2], "faults": [0], "clocks": [100]}
    assert Counters.read(numbers) == Counters.read(lists) == counters()
    with pytest.raises(FirstspikeError, match="no counters spikes, active"):
        Counters.read({name: numbers[name] for name in ("images", "faults", "clocks")})


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"active": (12, 5, 1)}, "counters of 3 layers; the hardware has 2"),
        ({"spikes": (4,)}, "counters of 2 layers"),
        ({"images": 0}, "hold no images"),
        ({"faults": 1}, "1 of 2 images were malformed"),
        ({"active": (13, 5)}, "layer 0: 4 spikes and 13 rows"),
        ({"active": (39, 5)}, "not those of 2 whole images"),
        ({"spikes": (13, 5)}, "layer 0: 13 spikes"),
        ({"spikes": (4, 11)}, "layer 1: 11 spikes"),
    ],
)
def test_counters_of_something_else_are_refused(changes: dict[str, Any], words: str) -> None:
    _, hardware = small()
    for call in (count, ann):
        with pytest.raises(FirstspikeError, match=words) as caught:
            call(hardware, counters(**changes))
        assert "\n" not in caught.value.one_line()
        assert caught.value.hint


def adding(bits: int, kind: Any = "add") -> float:
    return HOROWITZ.arithmetic(Arithmetic(layer=0, part="scan", kind=kind, bits=(bits,), count=1))


def multiplying(*bits: int) -> float:
    return HOROWITZ.arithmetic(Arithmetic(layer=0, part="scan", kind="multiply", bits=bits, count=1))


def reading(row_bits: int, size: int, **how: float) -> float:
    access = Access(layer=0, part="weights", memory="weight", row_bits=row_bits, rows=size * 8 // row_bits, reads=1)
    assert access.capacity_bits == 8 * size
    return HOROWITZ.access(access, **how)


@pytest.mark.smoke
def test_published_energies() -> None:
    """The figures themselves, between them and beyond."""
    assert (adding(8), adding(32), multiplying(8, 8), multiplying(32, 32)) == (0.03, 0.1, 0.2, 3.1)
    assert math.isclose(adding(20), 0.065)
    assert math.isclose(adding(20, "compare"), adding(20, "shift"))
    assert math.isclose(multiplying(4, 16), 0.2)
    assert multiplying(4, 8) < 0.2 < multiplying(9, 8)
    assert all(math.isclose(reading(64, kb << 10), pj) for kb, pj in ((8, 10), (32, 20), (1024, 100)))
    assert math.isclose(reading(64, 16 << 10), 10 * math.sqrt(2))
    assert math.isclose(reading(64, 2 << 10), 5)  # capacity by four, energy by two
    assert math.isclose(reading(64, 2 << 10, least_bytes=8 << 10), 10)
    assert math.isclose(reading(64, 4 << 20), 100 * 5 ** (math.log(4) / math.log(32)))
    assert math.isclose(reading(512, 8 << 10), 80)


@pytest.mark.smoke
def test_an_estimate_is_the_sum_of_its_parts() -> None:
    operations = Operations(
        images=4, synaptic_operations=(0,), idle_additions=(0,),
        arithmetic=(Arithmetic(layer=0, part="arithmetic", kind="add", bits=(8,), count=1000),
                    Arithmetic(layer=0, part="scan", kind="multiply", bits=(8, 8), count=100)),
        accesses=(Access(layer=0, part="weights", memory="weight", row_bits=64, rows=1024, reads=30, writes=10),
                  Access(layer=0, part="scan", memory="membranes", row_bits=64, rows=256, reads=4)),
    )  # fmt: skip
    result = estimate(operations)
    low = {"arithmetic": 0.03 / 4, "scan": (0.02 + 0.02) / 4, "weights": 0.4 / 4}
    assert result.parts.keys() == low.keys() == result.high_parts.keys()
    for part, value in low.items():
        assert math.isclose(result.parts[part], value)
    assert math.isclose(result.high_parts["scan"], (0.02 + 0.04) / 4)
    assert math.isclose(result.total, sum(low.values()))
    assert math.isclose(result.high_total, result.total + 0.02 / 4)
    doubled = replace(operations, images=8)
    assert math.isclose(estimate(doubled).total, result.total / 2)


@pytest.mark.smoke
def test_summary_says_that_it_is_an_estimate() -> None:
    _, hardware = small()
    outcome = energy_estimate.summary(hardware, counters())
    assert outcome["label"].startswith("estimate")
    assert "not measured" in outcome["label"]
    line = energy_estimate.describe(outcome)
    assert "estimate" in line
    assert "not measured" in line
    assert outcome["nanojoules"].keys() == energy_estimate.NAMES.keys()
    for values in outcome["nanojoules"].values():
        assert values["low"] == sum(values["low_parts"].values())
        assert values["high"] == sum(values["high_parts"].values())
        assert 0 < values["low"] < values["high"]
    assert outcome["operations"]["synaptic_operations"] == (20, 15)
    # As dense as can be, an ANN that skips zeros does what one does that does not.
    full = counters(spikes=(12, 10), active=(36, 10))
    dense_one, skipping = (Counter(seen(x, hardware)) for x in (ann(hardware), ann(hardware, full)))
    assert {key: 2 * value for key, value in dense_one.items()} == skipping
