"""Hidden neurons against the definition: thresholds as steps pass, fire once, refill, to the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import parts
import pytest
from amaranth.hdl import Module, Signal
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulation import exchange, simulate

from firstspike.hardware import Hardware
from firstspike_rtl.membranes import FiringClock
from firstspike_rtl.neurons import Neurons

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


@dataclass
class Case:
    """A hidden layer and what is sent to it.

    ``bias`` has a number for every lane of every group, also for those that have no neuron. ``images`` are lists of
    updates (group, products) and watermarks (``None``, step, fault).
    """

    core: Hardware
    bias: list[list[int]]
    threshold: list[int]
    images: list[list[tuple]] = field(default_factory=list)

    @property
    def shape(self):
        return self.core.layers[0]

    def items(self) -> list[dict]:
        out = []
        for image in self.images:
            for entry in image:
                if entry[0] is None:
                    out.append({"mark": 1, "step": entry[1], "fault": entry[2]})
                else:
                    out.append({"group": entry[0], "products": entry[1]})
        return out

    def scans(self) -> list[list[tuple[int, list[list[int]], int]]]:
        """For each image the tested steps: (step, spikes of each group, fault); and which watermark let them begin."""
        out = []
        for image in self.images:
            v = [row[:] for row in self.bias]
            fired: set[int] = set()
            k, tested = 0, []
            for place, entry in enumerate(image):
                if entry[0] is not None:
                    for lane, product in enumerate(entry[1]):
                        v[entry[0]][lane] += product
                    continue
                _, mark, fault = entry
                final = mark == self.shape.input_codes - 1
                while k < self.core.steps and (final or k + self.core.fire_start <= mark):
                    groups = []
                    for group, row in enumerate(v):
                        first = group * self.shape.lanes
                        hits = [
                            first + lane
                            for lane, value in enumerate(row)
                            if first + lane < self.shape.outputs
                            and first + lane not in fired
                            and value >= self.threshold[k]
                        ]
                        fired.update(hits)
                        groups.append(hits)
                    tested.append((place, k, groups, fault and k == self.core.steps - 1))
                    k += 1
            assert k == self.core.steps
            out.append(tested)
        return out

    def expected(self) -> list[tuple]:
        out = []
        for tested in self.scans():
            for _, k, groups, fault in tested:
                out += [(0, 0, k, neuron) for group in groups for neuron in group]
                if self.core.ordered[1] or k == self.core.steps - 1:
                    out.append((1, int(fault), k, None))
        return out

    def run(self, *, stall=0.0, seed=0, wait=0, waves=None):
        bias = {"layer0_bias": self.bias, "layer0_threshold": [[t] for t in self.threshold]}
        dut = Neurons(self.core, 0, parts.contents(self.core, **bias))
        expected = self.expected()
        seen = exchange(
            dut, {"i": self.items()}, {"o": len(expected)}, stall=stall, seed=seed, wait=wait, waves=waves
        )  # fmt: skip
        got = [(e.mark, e.fault, e.step, None if e.mark else e.index) for e in seen["o"].items]
        assert got == expected
        return seen


def hidden(
    *,
    steps: int = 4,
    fire_start: int | None = None,
    next_fires: bool = True,
    simultaneous: bool = False,
    **shape: int,
) -> Hardware:
    first = parts.layer(**({"input_codes": steps} | shape))
    second = parts.layer(inputs=first.outputs, fires=next_fires)
    start = steps if fire_start is None else fire_start
    return parts.hardware(first, second, steps=steps, fire_start=start, simultaneous=simultaneous)


def image_of(rng: random.Random, core: Hardware, updates: int, spread: int) -> list[tuple]:
    """Updates with watermarks among them as the layer before would send them: after every step if it has to."""
    shape = core.layers[0]
    marks = list(range(shape.input_codes)) if core.ordered[0] else [shape.input_codes - 1]
    image: list[tuple] = []
    for mark in marks:
        for _ in range(rng.randint(0, updates)):
            products = [rng.randint(-spread, spread) for _ in range(shape.lanes)]
            image.append((rng.randrange(shape.groups), products))
        final = mark == shape.input_codes - 1
        image.append((None, mark, rng.randrange(2) if final else 0))
    return image


def random_case(rng: random.Random, core: Hardware, images: int) -> Case:
    """Membranes and thresholds are small numbers, so that V == TH is frequent; absent neurons would fire at once."""
    shape = core.layers[0]
    bias = [
        [rng.randint(-3, 3) if group * shape.lanes + lane < shape.outputs else 2000 for lane in range(shape.lanes)]
        for group in range(shape.groups)
    ]
    threshold = sorted((rng.randint(1, 9) for _ in range(core.steps)), reverse=True)
    case = Case(core, bias, threshold)
    case.images = [image_of(rng, core, rng.choice([0, 1, 4]), rng.choice([2, 6])) for _ in range(images)]
    return case


@st.composite
def cores(draw: st.DrawFn) -> Hardware:
    steps = draw(st.integers(1, 6))
    outputs = draw(st.integers(1, 7))
    direct = draw(st.integers(0, 3)) == 0
    return hidden(
        steps=steps,
        fire_start=draw(st.one_of(st.just(steps), st.just(0), st.integers(0, steps))),
        next_fires=draw(st.booleans()),
        outputs=outputs,
        lanes=draw(st.integers(1, outputs)),
        simultaneous=direct,
        input_codes=draw(st.integers(1, 12)) if direct else steps,
    )


@settings(max_examples=60, deadline=None, phases=GENERATE)
@given(core=cores(), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_neurons_are_the_definition(core, seed, stall) -> None:
    random_case(random.Random(seed), core, images=4).run(stall=stall, seed=seed)


@pytest.mark.smoke
@pytest.mark.parametrize("fire_start", [0, 2, 4])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_images_in_a_row(fire_start, stall, seed, waves) -> None:
    """Each image begins at the bias, with no neuron fired; two lanes of the last group have no neuron."""
    core = hidden(fire_start=fire_start, outputs=7, lanes=3)
    rng = random.Random(seed)
    case = random_case(rng, core, images=5)
    case.images += [image_of(rng, core, updates=8, spread=20) for _ in range(25)]
    case.run(stall=stall, seed=seed, waves=waves)
    expected = case.expected()
    assert len({e[3] for e in expected if not e[0]}) == 7, "some neuron never fired: the case tests too little"


ONE = {"outputs": 1, "lanes": 1}


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("core", "bias", "threshold", "image", "spikes"),
    [
        pytest.param(hidden(**ONE), [[0]], [8, 4, 2, 1], [(0, [4]), (None, 3, 0)], [(1, 0)], id="threshold_met"),
        pytest.param(hidden(**ONE), [[0]], [8, 4, 2, 1], [(0, [3]), (None, 3, 0)], [(2, 0)], id="one_below"),
        pytest.param(hidden(**ONE), [[0]], [8, 4, 2, 1], [(0, [8]), (None, 3, 0)], [(0, 0)], id="at_step_0"),
        pytest.param(hidden(**ONE), [[0]], [8, 4, 2, 1], [(0, [1]), (None, 3, 0)], [(3, 0)], id="at_the_last_step"),
        pytest.param(hidden(**ONE), [[0]], [8, 4, 2, 1], [(None, 3, 0)], [], id="no_spike"),
        pytest.param(hidden(**ONE), [[-5]], [1] * 4, [(0, [5]), (None, 3, 0)], [], id="negative_bias"),
        pytest.param(hidden(**ONE), [[1]], [1] * 4, [(None, 3, 0)], [(0, 0)], id="fires_from_the_bias"),
        pytest.param(hidden(steps=1, **ONE), [[0]], [3], [(0, [3]), (None, 0, 0)], [(0, 0)], id="one_step"),
        pytest.param(
            hidden(outputs=5, lanes=4), [[9, 9, 0, 9], [9, 9, 9, 9]], [9] * 4, [(None, 3, 0)],
            [(0, 0), (0, 1), (0, 3), (0, 4)], id="several_in_a_group_in_order",
        ),
        pytest.param(
            hidden(fire_start=0, **ONE), [[0]], [5, 4, 3, 2],
            [(None, 0, 0), (0, [4]), (None, 1, 0), (0, [-100]), (None, 2, 0), (None, 3, 0)],
            [(1, 0)], id="early_firing_ignores_what_comes_later",
        ),
        pytest.param(
            hidden(fire_start=0, **ONE), [[0]], [5, 4, 3, 2],
            [(None, 0, 0), (0, [4]), (0, [-3]), (None, 1, 0), (0, [2]), (None, 2, 0), (None, 3, 0)],
            [(2, 0)], id="a_step_is_complete_before_its_test",
        ),
        pytest.param(
            hidden(fire_start=3, **ONE), [[0]], [5, 4, 3, 2],
            [(None, 0, 0), (None, 1, 0), (None, 2, 0), (0, [4]), (None, 3, 0)],
            [(1, 0)], id="the_last_watermark_frees_all_steps",
        ),
        pytest.param(
            hidden(membrane_bits=4, outputs=2, lanes=2), [[-8, 7]], [7, 6, 2, 1], [(0, [15, 0]), (None, 3, 0)],
            [(0, 0), (0, 1)], id="membranes_at_their_limits",
        ),
    ],
)  # fmt: skip
def test_corner(core, bias, threshold, image, spikes, waves) -> None:
    """By hand, twice in a row: the second image must find nothing of the first."""
    case = Case(core, bias, threshold, [image, image])
    assert [(k, n) for mark, _, k, n in case.expected() if not mark] == spikes * 2
    case.run(waves=waves)


@pytest.mark.smoke
@pytest.mark.parametrize("ordered", [False, True])
def test_neuron_clocks(ordered, seed, waves) -> None:
    """An update a clock; a step takes max(1, spikes) clocks a group, and one for its watermark."""
    rng = random.Random(seed)
    core = hidden(outputs=7, lanes=3, fire_start=3 if ordered else 4)
    case = random_case(rng, core, images=8)
    for image in case.images:  # all steps after the final watermark, so that each image is one formula
        image[:] = [entry for entry in image if entry[0] is not None or entry[1] == 3]
    seen = case.run(waves=waves)
    taken, offered = [], []
    clock = core.layers[0].groups  # the first refill
    for image, tested in zip(case.images, case.scans(), strict=True):
        taken += range(clock, clock + len(image))
        scan = taken[-1] + Neurons.LATENCY_SCAN
        for _, k, groups, _ in tested:
            for spikes in groups:
                offered += [scan + Neurons.LATENCY_EVENT + n for n in range(len(spikes))]
                scan += max(1, len(spikes))
            if ordered or k == core.steps - 1:
                offered.append(scan + Neurons.LATENCY_EVENT)
                scan += 1
        clock = scan
    assert core.ordered[1] == ordered
    assert seen["i"].taken == taken
    assert seen["o"].offered == offered


@pytest.mark.smoke
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_firing_clock(steps) -> None:
    """A watermark allows the steps k for which no spike with a code <= k + S can still come."""
    for start in range(steps + 1):
        for codes in (steps, 9):
            direct = codes != steps
            core = hidden(steps=steps, fire_start=start, input_codes=codes, simultaneous=direct)
            marks = [codes - 1] if direct else range(codes)
            m, mark = Module(), Signal(range(max(2, codes)))
            count = FiringClock(m, core, 0).allows(mark)

            async def bench(ctx, codes=codes, start=start, mark=mark, count=count, marks=marks) -> None:
                for watermark in marks:
                    ctx.set(mark, watermark)
                    allowed = [k for k in range(steps) if all(c <= watermark for c in range(codes) if c <= k + start)]
                    complete = watermark == codes - 1
                    assert ctx.get(count) == (steps if complete else len(allowed))

            m.d.sync += Signal().eq(mark[0])  # a domain for the clock
            simulate(m, bench)
