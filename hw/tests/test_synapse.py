"""Synapse: products of every group for every spike, watermarks in their place, to the clock."""

from __future__ import annotations

import random

import parts
import pytest
from simulation import Stalls, Transfers, exchange, send, simulate

from firstspike_rtl.synapse import Synapse

STALLS = pytest.mark.parametrize("stall", [0.0, 0.3, 0.8], ids=["flowing", "some_stalls", "mostly_stalled"])
SHAPES = pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"inputs": 1, "outputs": 1, "lanes": 1, "input_codes": 1}, id="smallest"),
        pytest.param({"inputs": 5, "outputs": 4, "lanes": 4}, id="one_group"),
        pytest.param({"inputs": 5, "outputs": 7, "lanes": 3, "weight_bits": 2, "kernel_bits": 1}, id="three_groups"),
        pytest.param({"inputs": 3, "outputs": 5, "lanes": 1, "weight_bits": 8, "kernel_bits": 8}, id="one_lane"),
        pytest.param({"inputs": 6, "outputs": 6, "lanes": 5, "input_codes": 255, "weight_bits": 16}, id="direct"),
    ],
)


def layer_of(rng: random.Random, shape: dict[str, int]):
    """The layer's shape with weights (row, lane) and a kernel, their extremes among them."""
    layer = parts.layer(**shape)
    low, high = -(1 << (layer.weight_bits - 1)), (1 << (layer.weight_bits - 1)) - 1
    weights = [
        [rng.choice([low, high, rng.randint(low, high)]) for _ in range(layer.lanes)]
        for _ in range(layer.groups * layer.inputs)
    ]
    largest = (1 << layer.kernel_bits) - 1
    kernel = [largest, *(rng.randint(0, largest) for _ in range(layer.input_codes - 1))]
    return layer, weights, kernel


def events_of(rng: random.Random, layer, count: int) -> list[dict[str, int]]:
    items = []
    for _ in range(count):
        step, index = rng.randrange(layer.input_codes), rng.randrange(layer.inputs)
        if rng.random() < 0.25:
            items.append({"mark": 1, "step": step, "fault": rng.randrange(2), "index": index})
        else:
            items.append({"step": rng.choice([0, step]), "index": index})
    return items


def updates(items, layer, weights, kernel) -> list[tuple]:
    """What has a meaning in each update: (mark, fault, step), or (group, products)."""
    out: list[tuple] = []
    for item in items:
        if item.get("mark"):
            out.append(("mark", item["fault"], item["step"]))
            continue
        for group in range(layer.groups):
            row = weights[group * layer.inputs + item["index"]]
            out.append((group, [weight * kernel[item["step"]] for weight in row]))
    return out


def run(shape, seed, stall, waves, count=40):
    rng = random.Random(seed)
    layer, weights, kernel = layer_of(rng, shape)
    core = parts.hardware(layer, steps=4, simultaneous=layer.input_codes != 4)
    rows = parts.contents(core, layer0_weight=weights, layer0_kernel=[[k] for k in kernel])
    items = events_of(rng, layer, count)
    expected = updates(items, layer, weights, kernel)
    seen = exchange(
        Synapse(core, 0, rows), {"i": items}, {"o": len(expected)}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    got = [
        ("mark", u.fault, u.step) if u.mark else (u.group, [u.products[n] for n in range(layer.lanes)])
        for u in seen["o"].items
    ]
    assert got == expected
    return layer, items, seen


@pytest.mark.smoke
@STALLS
@SHAPES
def test_products_and_watermarks_in_order(shape, stall, seed, waves) -> None:
    run(shape, seed, stall, waves)


@pytest.mark.smoke
@SHAPES
def test_a_group_a_clock(shape, seed, waves) -> None:
    """``groups`` clocks a spike, one a watermark; each update comes LATENCY clocks after its group."""
    layer, items, seen = run(shape, seed, 0.0, waves)
    clock, taken = seen["i"].offered[0], []
    for item in items:
        clock += 1 if item.get("mark") else layer.groups
        taken.append(clock - 1)
    assert seen["i"].taken == taken
    groups = range(seen["i"].offered[0], clock)
    assert seen["o"].offered == [entered + Synapse.LATENCY for entered in groups]


def test_extreme_products_fit(waves) -> None:
    """The least and the greatest product of every width of 2..8 bits."""
    for bits in range(2, 9):
        layer = parts.layer(inputs=2, outputs=1, lanes=1, weight_bits=bits, kernel_bits=bits, input_codes=2)
        core = parts.hardware(layer, steps=2)
        low, high, largest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1, (1 << bits) - 1
        rows = parts.contents(core, layer0_weight=[[low], [high]], layer0_kernel=[[largest], [0]])
        items = [{"index": index, "step": step} for step in (0, 1) for index in (0, 1)]
        seen = exchange(Synapse(core, 0, rows), {"i": items}, {"o": len(items)}, waves=waves)
        assert [u.products[0] for u in seen["o"].items] == [low * largest, high * largest, 0, 0]


@pytest.mark.smoke
def test_a_waiting_output_does_not_stop_the_stages_before(waves) -> None:
    """While nothing is taken, as many updates enter as there are stages."""
    core = parts.hardware(parts.layer(inputs=2, outputs=2, lanes=2))
    dut = Synapse(core, 0, parts.contents(core))
    entered = Transfers(dut.i)

    held = []

    async def wait(ctx) -> None:
        await ctx.tick().repeat(20)
        held.extend(entered.items)
        ctx.set(dut.o.ready, 1)

    sender = send(dut.i, [{"index": 0}] * 9, Stalls(5, 0.5))
    simulate(dut, wait, sender, processes=[entered.watch], waves=waves)
    assert len(held) == Synapse.LATENCY
