"""The output layer against the definition: classes, ties, membranes on the wire, to the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scans import Bank, Rows, bias_rows, pooled, random_bank, random_bias, slice_clocks
from simulation import Stalls, exchange, receive, send, simulate

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.contract.memory import WORD_BITS
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.layouts import RESULT_WORD
from firstspike_rtl.core.readout import Readout

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def output(*, steps: int = 4, fire_start: int | None = None, first_spike: bool = False, **shape: int) -> Hardware:
    only = parts.layer(**({"input_codes": steps} | shape), fires=first_spike)
    return parts.hardware(only, steps=steps, fire_start=steps if fire_start is None else fire_start)


def signed(word: int) -> int:
    return word - (1 << WORD_BITS) if word >> WORD_BITS - 1 else word


@dataclass
class Case:
    """As in the tests of neurons: for each image the tests of its membranes, (final, fault, bank)."""

    core: Hardware
    threshold: list[int]
    images: list[list[tuple[int, int, Bank]]]

    @property
    def shape(self) -> LayerShape:
        return self.core.layers[0]

    def records(self) -> list[tuple[list[int], int, int, int]]:
        """(membranes, class, decision step, fault) of each image."""
        out = []
        for image in self.images:
            values = [pooled(self.shape, bank) for *_, bank in image]
            last = values[-1]
            decision = last.index(max(last)), self.core.steps
            for k in reversed(range(self.core.steps if self.shape.fires else 0)):
                v = values[min(k, len(values) - 1)]
                if max(v) >= self.threshold[k]:
                    decision = v.index(max(v)), k
            out.append((last, *decision, image[-1][1]))
        return out

    def readout(self, seed: int) -> tuple[Readout, Rows]:
        bias = random_bias(random.Random(seed), self.shape)
        tables = {"layer0_bias": bias_rows(self.shape, bias)}
        if self.shape.fires:
            tables["layer0_threshold"] = [[t] for t in self.threshold]
        dut = Readout(self.core, 0, parts.contents(self.core, **tables))
        return dut, Rows(dut, self.shape, [bank for image in self.images for *_, bank in image], bias)

    def run(self, *, send: bool = True, stall=0.0, seed=0, waves=None):
        tests = [test for image in self.images for test in image]
        dut, rows = self.readout(seed)
        length = 1 + (self.shape.outputs if send else 0)
        seen = exchange(
            dut, {"test": [{"final": final, "fault": fault} for final, fault, _ in tests]},
            {"o": length * len(self.images)}, stall=stall, seed=seed, levels={"send_membranes": send},
            processes=[rows.watch], waves=waves,
        )  # fmt: skip
        assert records_of(seen["o"].items, length) == [(v if send else [], *rest) for v, *rest in self.records()]
        return seen, rows


def records_of(words: list, length: int) -> list[tuple]:
    out = []
    for n in range(0, len(words), length):
        *membranes, last = words[n : n + length]
        assert [w.last for w in words[n : n + length]] == [0] * len(membranes) + [1]
        result = RESULT_WORD.from_bits(last.data)
        out.append(([signed(w.data) for w in membranes], result.index, result.step, result.fault))
    return out


def random_case(rng: random.Random, core: Hardware, images: int) -> Case:
    """Small numbers, so that ties are frequent."""
    shape = core.layers[0]
    case = Case(core, sorted((rng.randint(1, 9) for _ in range(core.steps)), reverse=True), [])
    for _ in range(images):
        early = rng.randrange(core.steps) if shape.fires and core.fire_start < core.steps else 0
        low, high = rng.choice([(-4, 2), (0, 9), (-9, -1), (-3, 4)])
        image: list[tuple[int, int, Bank]] = []
        for n in range(early + 1):
            final = int(n == early)
            image.append((final, final and rng.randrange(2), random_bank(rng, shape, low, high)))
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
        membrane_bits=draw(st.sampled_from([5, 12, WORD_BITS])),
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


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("core", "threshold", "banks", "decision"),
    [
        pytest.param(output(), [], [[[1, 5], [5, 0]]], (1, 4), id="tie_to_the_lowest"),
        pytest.param(output(), [], [[[-7, -3], [-9, -3]]], (1, 4), id="all_negative"),
        pytest.param(output(), [], [[[0, 0], [0, 1]]], (3, 4), id="last_neuron"),
        pytest.param(output(outputs=3), [], [[[-7, -3], [-3, 0]]], (1, 4), id="no_such_neuron"),
        pytest.param(output(membrane_bits=4), [], [[[-8, 7], [-8, -8]]], (1, 4), id="limits"),
        pytest.param(output(outputs=1), [], [[[-5]]], (0, 4), id="one_output"),
        pytest.param(
            output(first_spike=True), [9, 4, 3, 2], [[[0, 2], [3, 1]]], (2, 2), id="first_spike_threshold_met",
        ),
        pytest.param(output(first_spike=True), [9, 4, 3, 2], [[[0, -2], [-3, 0]]], (0, 4), id="first_spike_none"),
        pytest.param(
            output(first_spike=True), [9, 4, 3, 2], [[[0, 5], [5, 4]]], (1, 1), id="first_spike_larger_v_lowest",
        ),
        pytest.param(
            output(first_spike=True, fire_start=0), [9, 3, 3, 2],
            [[[0, 3], [0, 0]], [[0, 3], [0, 0]], [[99, -96], [0, 0]], [[99, -96], [0, 0]]],
            (1, 1), id="first_spike_is_not_changed_by_what_comes_later",
        ),
        pytest.param(
            output(first_spike=True, fire_start=0), [9, 9, 9, 2],
            [[[0, 3], [0, 0]], [[0, 3], [0, 0]], [[0, 3], [0, 0]], [[1, 0], [0, 0]]], (0, 4), id="early_but_none",
        ),
        pytest.param(
            output(first_spike=True, fire_start=0), [9, 9, 4, 2], [[[0, 8], [0, 0]], [[0, 0], [4, 5]]], (3, 2),
            id="the_final_test_is_of_all_steps_left",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("send", [False, True], ids=["class_only", "membranes_too"])
def test_corner(core, threshold, banks, decision, send, waves) -> None:
    """By hand, twice in a row; only the second image is faulty."""
    images = [[(int(bank is banks[-1]), fault, bank) for bank in banks] for fault in (0, 1)]
    case = Case(core, threshold, images)
    assert [(index, step, fault) for _, index, step, fault in case.records()] == [(*decision, 0), (*decision, 1)]
    case.run(send=send, waves=waves)


@pytest.mark.smoke
def test_whether_membranes_are_sent_is_read_with_the_test(waves) -> None:
    """While an image is read the level may change."""
    core = output(outputs=3)
    case = random_case(random.Random(0), core, images=4)
    dut, rows = case.readout(0)

    async def toggle(ctx) -> None:
        """High for every second image."""
        level = 0
        async for _, _, valid, ready in ctx.tick().sample(dut.test.valid, dut.test.ready):
            level ^= valid & ready
            ctx.set(dut.send_membranes, level)

    lengths = [1, 4, 1, 4]
    tests = [{"final": 1, "fault": fault} for ((_, fault, _),) in case.images]
    seen = exchange(dut, {"test": tests}, {"o": sum(lengths)}, processes=[rows.watch, toggle], waves=waves)
    words = iter(seen["o"].items)
    for length, (v, *rest) in zip(lengths, case.records(), strict=True):
        assert records_of([next(words) for _ in range(length)], length) == [(v if length > 1 else [], *rest)]


@pytest.mark.smoke
def test_a_waiting_record_does_not_hold_up_the_next_image(waves) -> None:
    """Its membranes are read and given back; only its record waits."""
    case = random_case(random.Random(0), output(), images=2)
    dut, rows = case.readout(0)
    got: list = []

    async def wait(ctx) -> None:
        await ctx.tick().repeat(60)
        assert [len(releases) for releases in rows.releases] == [1, 1, 1]
        await receive(dut.o, got, 2, Stalls(0))(ctx)

    tests = [{"final": 1, "fault": fault} for ((_, fault, _),) in case.images]
    simulate(dut, send(dut.test, tests, Stalls(0)), wait, processes=[rows.watch], waves=waves)
    assert records_of(got, 1) == [([], *rest) for _, *rest in case.records()]


@pytest.mark.smoke
@pytest.mark.parametrize("send", [False, True], ids=["class_only", "membranes_too"])
@pytest.mark.parametrize(
    ("first_spike", "fire_start"), [(False, 4), (True, 4), (True, 1)], ids=["membrane", "first_spike", "early"]
)
def test_readout_clocks(first_spike, fire_start, send, seed, waves) -> None:
    """A neuron a clock; the class LATENCY clocks after the last one, and a clock later the next scan may begin."""
    core = output(first_spike=first_spike, fire_start=fire_start, outputs=5)
    case = random_case(random.Random(seed), core, images=6)
    seen, rows = case.run(send=send, waves=waves)
    clocks, period = slice_clocks(case.shape)
    offered, accepted = [], [case.shape.membrane_rows]  # both banks are clear
    for image in case.images:
        for n, (final, *_) in enumerate(image):
            more = core.steps - n - 1 if final and first_spike else 0
            begin = accepted[-1] + more * period
            if final and send:
                offered += [begin + clock + 1 + Queue.LATENCY for clock in clocks]
            if final:
                offered.append(begin + clocks[-1] + Readout.LATENCY)
            accepted.append(begin + clocks[-1] + 2)
    assert rows.accepted == accepted[:-1]
    assert seen["o"].offered == offered
