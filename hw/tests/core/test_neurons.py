"""Hidden neurons against the definition, both fire units: every small case, random large ones, and to the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, pairwise

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scans import Bank, Rows, bias_rows, pooled, random_bank, random_bias, slice_clocks, slices
from simulation import exchange, simulate

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.serialiser import Serialiser

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)
UNITS = ("search", "stepped")
DENSE = parts.layer(outputs=7, lanes=3, fire_lanes=2)
POOLED = parts.convolution(fire_lanes=2)


def first_step(values: list[int], threshold: list[int]) -> int:
    """The first k with V(k) >= TH[k], the number of steps if there is none."""
    return next((k for k, (v, th) in enumerate(zip(values, threshold, strict=True)) if v >= th), len(threshold))


@dataclass
class Case:
    """A hidden layer, its thresholds, and for each image the tests of its membranes: (final, fault, bank)."""

    core: Hardware
    threshold: list[int]
    images: list[list[tuple[int, int, Bank]]]

    @property
    def shape(self) -> LayerShape:
        return self.core.layers[0]

    def with_unit(self, fire: str) -> Case:
        first, *rest = self.core.layers
        return replace(self, core=replace(self.core, layers=(replace(first, fire=fire), *rest)))

    def spikes(self) -> list[list[int]]:
        """The step of each neuron in each image; a test but the final one is of one step."""
        out = []
        for image in self.images:
            values = [pooled(self.shape, bank) for *_, bank in image]
            values += [values[-1]] * (self.core.steps - len(image))
            out.append([first_step(list(v), self.threshold) for v in zip(*values, strict=True)])
        return out

    def passes(self) -> list[list[list[list[tuple]]]]:
        """For each test the passes, for each pass what each slice sends: (mark, fault, step, index)."""
        steps, order, indices = self.core.steps, slices(self.shape), self.core.indices(1).tolist()
        out = []
        for image, spikes in zip(self.images, self.spikes(), strict=True):
            for n, (final, fault, _) in enumerate(image):
                tested = [range(k, k + 1) for k in range(n, steps if final else n + 1)]
                mine = []
                for ks in [range(steps)] if self.shape.fire == "search" else tested:
                    sent: list[list[tuple]] = [
                        [(0, 0, spikes[j], indices[j]) for j in neurons if spikes[j] in ks] for neurons in order
                    ]
                    last = ks[-1] == steps - 1
                    if last or self.core.ordered[1]:
                        sent[-1].append((1, fault if last else 0, ks[-1], None))
                    mine.append(sent)
                out.append(mine)
        return out

    def expected(self) -> list[tuple]:
        return [event for test in self.passes() for sent in test for events in sent for event in events]

    def run(self, *, stall=0.0, seed=0, waves=None):
        bias = random_bias(random.Random(seed), self.shape)
        tables = {"layer0_threshold": [[th] for th in self.threshold], "layer0_bias": bias_rows(self.shape, bias)}
        dut = Neurons(self.core, 0, parts.contents(self.core, **tables))
        tests = [test for image in self.images for test in image]
        rows = Rows(dut, self.shape, [bank for *_, bank in tests], bias)
        expected = self.expected()
        seen = exchange(
            dut, {"test": [{"final": final, "fault": fault} for final, fault, _ in tests]}, {"o": len(expected)},
            stall=stall, seed=seed, processes=[rows.watch], waves=waves,
        )  # fmt: skip
        assert [(e.mark, e.fault, e.step, None if e.mark else e.index) for e in seen["o"].items] == expected
        return seen, rows


def random_case(rng: random.Random, core: Hardware, images: int, *, threshold: list[int] | None = None) -> Case:
    """Often small numbers, so that V == TH and equal thresholds are frequent; else of the whole width."""
    shape = core.layers[0]
    limit = 1 << shape.membrane_bits - 1
    highest = min(rng.choice([9, limit - 1]), limit - 1)
    threshold = threshold or sorted((rng.randint(1, highest) for _ in range(core.steps)), reverse=True)
    case = Case(core, threshold, [])
    for _ in range(images):
        early = rng.randrange(core.steps) if core.fire_start < core.steps else 0
        image: list[tuple[int, int, Bank]] = []
        for n in range(early + 1):
            bank = random_bank(rng, shape, *rng.choice([(-4, 3), (-4, 0), (-limit, limit - 1), (-limit, -1)]))
            # Some membranes just reach a threshold, or just miss it.
            chance = rng.choice([0.05, 0.3])
            for row, lane in ((row, lane) for row in range(len(bank)) for lane in range(shape.lanes)):
                if row // shape.places * shape.lanes + lane < shape.channels and rng.random() < chance:
                    bank[row][lane] = rng.choice(threshold) - rng.randrange(2)
            final = int(n == early)
            image.append((final, final and rng.randrange(2), bank))
        case.images.append(image)
    return case


# -- every small case -------------------------------------------------------------------------------------------------

BITS = 5
VALUES = list(range(-1 << BITS - 1, 1 << BITS - 1))
LEVELS = (1, 2, 3, 4, 9, VALUES[-1])


@pytest.mark.parametrize("fire", UNITS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_every_membrane_and_table(fire, steps, waves) -> None:
    """A neuron for each membrane value; every table of thresholds is loaded and tested."""
    shape = parts.layer(
        outputs=len(VALUES), lanes=len(VALUES), fire_lanes=8, fire=fire, membrane_bits=BITS, input_codes=steps
    )  # fmt: skip
    core = parts.followed(shape, steps=steps)
    tables = [list(reversed(table)) for table in combinations_with_replacement(LEVELS, steps)]
    bias = random_bias(random.Random(steps), shape)
    dut = Neurons(core, 0, parts.contents(core, layer0_bias=bias_rows(shape, bias)))
    rows = Rows(dut, shape, [[VALUES]] * len(tables), bias)
    memory = core.memory("threshold", 0)
    found: list[list[int]] = []

    async def bench(ctx) -> None:
        load = dut.load
        for table in tables:
            ctx.set(load.valid, 1)
            ctx.set(load.memory, memory.index)
            for k, row in enumerate(parts.pack(memory, [[th] for th in table])):
                ctx.set(load.row, k)
                ctx.set(load.data, row)
                await ctx.tick()
            ctx.set(load.valid, 0)
            ctx.set(dut.test.payload.final, 1)
            ctx.set(dut.test.valid, 1)
            await ctx.tick().until(dut.test.ready)
            ctx.set(dut.test.valid, 0)
            times = [steps] * len(VALUES)
            ctx.set(dut.o.ready, 1)
            while True:
                (event,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
                if event.mark:
                    break
                assert times[event.index] == steps, "a neuron fires twice"
                times[event.index] = event.step
            found.append(times)

    simulate(dut, bench, processes=[rows.watch], waves=waves)
    assert found == [[first_step([v] * steps, table) for v in VALUES] for table in tables]


# -- random cases -----------------------------------------------------------------------------------------------------


@st.composite
def cores(draw: st.DrawFn, *, early: bool) -> Hardware:
    steps = draw(st.integers(1, 9) if early else st.one_of(st.integers(1, 9), st.integers(10, 40)))
    shape = draw(parts.shapes(input_codes=steps, membrane_bits=draw(st.integers(3, 30))))
    start = draw(st.integers(0, steps)) if early else steps
    by_map = shape.kind == "conv2d" and draw(st.booleans())
    return parts.followed(shape, steps=steps, fire_start=start, fires=draw(st.booleans()), by_map=by_map)


@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(core=cores(early=False), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_both_units_are_the_definition(core, seed, stall) -> None:
    case = random_case(random.Random(seed), core, images=2)
    for fire in UNITS:
        case.with_unit(fire).run(stall=stall, seed=seed)


@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(core=cores(early=True), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_early_firing_is_the_definition(core, seed, stall) -> None:
    """Membranes change from test to test; nobody fires twice; watermarks where the next layer needs them."""
    random_case(random.Random(seed), core, images=3).run(stall=stall, seed=seed)


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("fire", "fire_start"), [("search", 4), ("stepped", 4), ("stepped", 2), ("stepped", 0)])
@pytest.mark.parametrize(("shape", "images"), [(DENSE, 30), (POOLED, 10)], ids=["dense", "pooled"])
def test_images_in_a_row(shape, images, fire, fire_start, stall, seed, waves) -> None:
    core = parts.followed(replace(shape, fire=fire), fire_start=fire_start, by_map=shape.kind == "conv2d")
    case = random_case(random.Random(seed), core, images, threshold=[9, 6, 4, 2])
    case.run(stall=stall, seed=seed, waves=waves)
    steps = set().union(*case.spikes())
    assert steps == set(range(core.steps + 1)), "some step has no spike: the case tests too little"


# -- corners ----------------------------------------------------------------------------------------------------------

ONE = parts.layer(outputs=1)
TWO = parts.layer(outputs=2)


@pytest.mark.smoke
@pytest.mark.parametrize("fire", UNITS)
@pytest.mark.parametrize(
    ("shape", "threshold", "bank", "spikes"),
    [
        pytest.param(ONE, [8, 4, 2, 1], [[4]], [(1, 0)], id="threshold_met"),
        pytest.param(ONE, [8, 4, 2, 1], [[3]], [(2, 0)], id="one_below"),
        pytest.param(ONE, [8, 4, 2, 1], [[8]], [(0, 0)], id="at_step_0"),
        pytest.param(ONE, [8, 4, 2, 1], [[1]], [(3, 0)], id="at_the_last_step"),
        pytest.param(ONE, [8, 4, 2, 1], [[0]], [], id="no_spike"),
        pytest.param(ONE, [7, 5, 5, 5], [[5]], [(1, 0)], id="first_of_equal_thresholds"),
        pytest.param(ONE, [1, 1, 1, 1], [[-2048]], [], id="negative"),
        pytest.param(replace(ONE, input_codes=1), [3], [[3]], [(0, 0)], id="one_step"),
        pytest.param(
            parts.layer(outputs=5, lanes=4, fire_lanes=4), [9] * 4, [[9, 9, 0, 9], [9, 0, 0, 0]],
            [(0, 0), (0, 1), (0, 3), (0, 4)], id="several_in_a_slice_in_order",
        ),
        pytest.param(replace(TWO, membrane_bits=4), [7, 6, 2, 1], [[-8, 7]], [(0, 1)], id="limits"),
        pytest.param(
            parts.convolution(input_shape=(1, 3, 3), channels=1, lanes=1), [8, 4, 2, 1], [[1], [-5], [4], [3]],
            [(1, 0)], id="first_of_a_window",
        ),
    ],
)  # fmt: skip
def test_corner(fire, shape, threshold, bank, spikes, waves) -> None:
    """By hand, twice in a row: the second image must find nothing of the first."""
    core = parts.followed(replace(shape, fire=fire), steps=len(threshold))
    case = Case(core, threshold, [[(1, 0, bank)]] * 2)
    assert [(k, n) for mark, _, k, n in case.expected() if not mark] == spikes * 2
    case.run(waves=waves)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("values", "spikes"),
    [
        pytest.param([[0, 0], [4, 0], [-96, 3], [-96, 1]], [(1, 0), (2, 1)], id="what_comes_later_changes_nothing"),
        pytest.param([[9, 0], [9, 0], [9, 0], [9, 2]], [(0, 0), (3, 1)], id="nobody_fires_twice"),
        pytest.param([[0, 0], [4, 4]], [(1, 0), (1, 1)], id="the_final_test_is_of_all_steps_left"),
        pytest.param([[0, 0], [0, 0], [0, 0], [1, 0]], [], id="none"),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_early_corner(values, spikes, ordered, waves) -> None:
    """S < T, by hand, twice in a row: values of two neurons at each test. Watermarks only if the next layer fires."""
    core = parts.followed(parts.layer(outputs=2, fire_lanes=2), fire_start=0, fires=ordered)
    image = [(int(n == len(values) - 1), int(n == len(values) - 1), [row]) for n, row in enumerate(values)]
    marks = [(1, int(k == 3), k, None) for k in range(4) if ordered or k == 3]
    expected = []
    for k in range(4):
        expected += [(0, 0, k, n) for step, n in spikes if step == k] + [mark for mark in marks if mark[2] == k]
    case = Case(core, [5, 4, 3, 2], [image, image])
    assert case.expected() == expected * 2
    case.run(waves=waves)


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(("fire", "fire_start"), [("search", 5), ("stepped", 5), ("stepped", 2)])
@pytest.mark.parametrize("shape", [DENSE, POOLED], ids=["dense", "pooled"])
def test_neuron_clocks(shape, fire, fire_start, seed, waves) -> None:
    """Slices come one a clock; their spikes wait until those of the slice before have left, and its watermark."""
    core = parts.followed(replace(shape, fire=fire, input_codes=5), steps=5, fire_start=fire_start, fires=True)
    case = random_case(random.Random(seed), core, images=6)
    seen, rows = case.run(waves=waves)
    clocks, period = slice_clocks(core.layers[0])
    stages = Neurons.stages(core, 0)
    assert stages == (3 if fire == "search" else 1)
    offered, accepted = [], [core.layers[0].membrane_rows]  # both banks are clear
    free = 0  # clock of the last event
    for passes in case.passes():
        for n, sent in enumerate(passes):
            for clock, events in zip(clocks, sent, strict=True):
                if events:
                    queued = accepted[-1] + n * period + clock + stages
                    first = max(queued + Queue.LATENCY, free) + Serialiser.LATENCY
                    offered += range(first, first + len(events))
                    free = offered[-1]
        # The last slice must have left the stages, but not the queue.
        accepted.append(accepted[-1] + len(passes) * period + Scanner.LATENCY + stages)
    assert rows.accepted == accepted[:-1]
    assert seen["o"].offered == offered


@pytest.mark.smoke
@pytest.mark.parametrize("fire", UNITS)
def test_a_full_queue_stops_the_scan(fire, seed, waves) -> None:
    """Nothing is lost while the reader waits: the scan stops, and goes on from where it was."""
    shape = parts.layer(outputs=90, lanes=15, fire_lanes=1, fire=fire)
    core = parts.followed(shape)
    case = Case(core, [9, 4, 2, 1], [[(1, 0, [[5] * 15] * 6)], [(1, 1, [[9] * 15] * 6)]])
    assert Neurons.queue_limit(core, 0) < 90
    _, free = case.run(waves=waves)
    _, rows = case.run(stall={"o": 0.9}, seed=seed, waves=waves)
    # The second test has to wait for the scan of the first one, and that for its spikes.
    waited, flowing = ([b - a for a, b in pairwise(x.accepted)] for x in (rows, free))
    assert min(waited) > max(flowing) + 100
