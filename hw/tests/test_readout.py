"""The output layer against the definition: classes, ties, membranes on the wire, to the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulation import exchange

from firstspike.hardware import Hardware
from firstspike_rtl.layouts import RESULT_WORD
from firstspike_rtl.readout import Readout

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def output(*, steps: int = 4, fire_start: int | None = None, first_spike: bool = False, **shape: int) -> Hardware:
    only = parts.layer(**({"input_codes": steps} | shape), fires=first_spike)
    return parts.hardware(only, steps=steps, fire_start=steps if fire_start is None else fire_start)


def signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


@dataclass
class Case:
    """As in the tests of neurons: updates (group, products) and watermarks (None, step, fault)."""

    core: Hardware
    bias: list[list[int]]
    threshold: list[int]
    images: list[list[tuple]] = field(default_factory=list)

    @property
    def shape(self):
        return self.core.layers[0]

    def records(self) -> list[tuple[list[int], int, int, int]]:
        """(membranes, class, decision step, fault) of each image."""
        out = []
        for image in self.images:
            v = [value for row in self.bias for value in row]
            decision, k, fault = None, 0, 0
            for entry in image:
                if entry[0] is not None:
                    for lane, product in enumerate(entry[1]):
                        v[entry[0] * self.shape.lanes + lane] += product
                    continue
                _, mark, fault = entry
                final = mark == self.shape.input_codes - 1
                while k < self.core.steps and (final or k + self.core.fire_start <= mark):
                    best = max(v[: self.shape.outputs])
                    if self.shape.fires and decision is None and best >= self.threshold[k]:
                        decision = (v.index(best), k)
                    k += 1
            real = v[: self.shape.outputs]
            out.append((real, *(decision or (real.index(max(real)), self.core.steps)), fault))
        return out

    def run(self, *, send: bool = True, stall=0.0, seed=0, waves=None):
        items = [
            {"mark": 1, "step": e[1], "fault": e[2]} if e[0] is None else {"group": e[0], "products": e[1]}
            for image in self.images
            for e in image
        ]
        rows = {"layer0_bias": self.bias}
        if self.shape.fires:
            rows["layer0_threshold"] = [[t] for t in self.threshold]
        length = 1 + (self.shape.outputs if send else 0)
        seen = exchange(
            Readout(self.core, 0, parts.contents(self.core, **rows)), {"i": items},
            {"o": length * len(self.images)}, stall=stall, seed=seed, levels={"send_membranes": send}, waves=waves,
        )  # fmt: skip
        words = seen["o"].items
        got = []
        for n in range(0, len(words), length):
            *membranes, last = words[n : n + length]
            assert [w.last for w in words[n : n + length]] == [0] * len(membranes) + [1]
            result = RESULT_WORD.from_bits(last.data)
            got.append(([signed(w.data) for w in membranes], result.index, result.step, result.fault))
        assert got == [(v if send else [], *rest) for v, *rest in self.records()]
        return seen


def random_case(rng: random.Random, core: Hardware, images: int) -> Case:
    """Small numbers, so that ties are frequent; lanes without a neuron hold the largest membrane."""
    shape = core.layers[0]
    bias = [
        [rng.randint(-4, 2) if group * shape.lanes + lane < shape.outputs else 2000 for lane in range(shape.lanes)]
        for group in range(shape.groups)
    ]
    case = Case(core, bias, sorted((rng.randint(1, 9) for _ in range(core.steps)), reverse=True))
    marks = list(range(core.steps)) if core.ordered[0] else [core.steps - 1]
    for _ in range(images):
        image: list[tuple] = []
        for mark in marks:
            for _ in range(rng.choice([0, 0, 1, 3])):
                image.append((rng.randrange(shape.groups), [rng.randint(-3, 4) for _ in range(shape.lanes)]))
            image.append((None, mark, rng.randrange(2) if mark == core.steps - 1 else 0))
        case.images.append(image)
    return case


@st.composite
def cores(draw: st.DrawFn) -> Hardware:
    steps, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    return output(
        steps=steps,
        fire_start=draw(st.one_of(st.just(steps), st.just(0), st.integers(0, steps))),
        first_spike=draw(st.booleans()),
        outputs=outputs,
        lanes=draw(st.integers(1, outputs)),
    )


@settings(max_examples=60, deadline=None, phases=GENERATE)
@given(core=cores(), send=st.booleans(), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_readout_is_the_definition(core, send, seed, stall) -> None:
    random_case(random.Random(seed), core, images=4).run(send=send, stall=stall, seed=seed)


@pytest.mark.smoke
@pytest.mark.parametrize("first_spike", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_images_in_a_row(first_spike, stall, seed, waves) -> None:
    core = output(fire_start=1, first_spike=first_spike, outputs=5, lanes=3)
    case = random_case(random.Random(seed), core, images=40)
    case.run(stall=stall, seed=seed, waves=waves)
    records = case.records()
    assert any(v.count(max(v)) > 1 for v, *_ in records), "no tie: the case tests too little"
    assert {f for *_, f in records} == {0, 1}
    if first_spike:
        assert len({step for _, _, step, _ in records}) > 1


FINAL = (None, 3, 0)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("core", "bias", "threshold", "image", "decision"),
    [
        pytest.param(output(), [[1, 5], [5, 0]], [], [FINAL], (1, 4), id="tie_to_the_lowest"),
        pytest.param(output(), [[-7, -3], [-9, -3]], [], [FINAL], (1, 4), id="all_negative"),
        pytest.param(output(), [[0, 0], [0, 0]], [], [(1, [0, 1]), FINAL], (3, 4), id="last_neuron"),
        pytest.param(output(membrane_bits=4), [[-8, 7], [-8, -8]], [], [FINAL], (1, 4), id="limits"),
        pytest.param(output(outputs=1, lanes=1), [[-5]], [], [FINAL], (0, 4), id="one_output"),
        pytest.param(
            output(first_spike=True), [[0, 2], [3, 1]], [9, 4, 3, 2], [FINAL], (2, 2), id="first_spike_threshold_met",
        ),
        pytest.param(
            output(first_spike=True), [[0, -2], [-3, 0]], [9, 4, 3, 2], [FINAL], (0, 4), id="first_spike_none",
        ),
        pytest.param(
            output(first_spike=True), [[0, 5], [5, 4]], [9, 4, 3, 2], [FINAL], (1, 1), id="first_spike_larger_v_lowest",
        ),
        pytest.param(
            output(first_spike=True, fire_start=0), [[0, 3], [0, 0]], [9, 3, 3, 2],
            [(None, 0, 0), (None, 1, 0), (0, [99, -99]), (None, 2, 0), FINAL],
            (1, 1), id="first_spike_is_not_changed_by_what_comes_later",
        ),
        pytest.param(
            output(first_spike=True, fire_start=0), [[0, 3], [0, 0]], [9, 9, 9, 2],
            [(None, 0, 0), (None, 1, 0), (None, 2, 0), (0, [1, -3]), FINAL], (0, 4), id="early_but_none",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("send", [False, True], ids=["class_only", "membranes_too"])
def test_corner(core, bias, threshold, image, decision, send, waves) -> None:
    """By hand, twice in a row."""
    case = Case(core, bias, threshold, [image, image])
    assert [(index, step) for _, index, step, _ in case.records()] == [decision] * 2
    case.run(send=send, waves=waves)


@pytest.mark.smoke
@pytest.mark.parametrize("send", [False, True], ids=["class_only", "membranes_too"])
@pytest.mark.parametrize("first_spike", [False, True], ids=["membrane", "first_spike"])
def test_readout_clocks(first_spike, send, seed, waves) -> None:
    """An update a clock, a scan ``outputs + SCAN_EXTRA`` clocks, the class word one clock after the last scan."""
    core = output(first_spike=first_spike, outputs=5, lanes=2)
    outputs, scans = core.layers[0].outputs, core.steps if first_spike else 1
    case = random_case(random.Random(seed), core, images=6)
    seen = case.run(send=send, waves=waves)
    taken, offered = [], []
    clock = core.layers[0].groups  # the first refill
    for image in case.images:
        taken += range(clock, clock + len(image))
        clock = taken[-1] + scans * (outputs + Readout.SCAN_EXTRA) + 1
        if send:
            offered += range(clock - outputs, clock)
        offered.append(clock)
        if not first_spike:
            assert clock - taken[-1] == outputs + Readout.LATENCY
    assert seen["i"].taken == taken
    assert seen["o"].offered == offered
