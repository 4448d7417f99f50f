"""Scanner: windows, slices, passes and clearing of any layer, in the documented order and at the documented clocks."""

from __future__ import annotations

import random
from dataclasses import dataclass

import parts
import pytest
from amaranth.hdl import Signal
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scans import (
    Bank,
    Rows,
    bias_rows,
    clear_clocks,
    pooled,
    random_bank,
    random_bias,
    rows_of_a_pass,
    slice_clocks,
    slices,
)
from simulation import Stalls, exchange, loose

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.scanner import CHOICE, Scanner
from firstspike_rtl.core.tables import Contents

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


class Room:
    """Process that takes the room away at random, and counts the slices that come nevertheless."""

    def __init__(self, dut: Scanner, stalls: Stalls) -> None:
        self._dut, self._stalls = dut, stalls
        self.surplus = 0  # the most of them at once

    async def watch(self, ctx) -> None:
        dut, pause, surplus = self._dut, 0, 0
        ctx.set(dut.room, 1)
        async for _, _, room, valid in ctx.tick().sample(dut.room, dut.valid):
            surplus = 0 if room else surplus + valid
            self.surplus = max(self.surplus, surplus)
            pause = pause - 1 if pause else self._stalls.clocks()
            ctx.set(dut.room, not pause)


@dataclass
class Case:
    """A layer, its bias, and the tests of its membranes: (final, fault, bank)."""

    core: Hardware
    passes: bool
    bias: list[int]
    tests: list[tuple[int, int, Bank]]

    @property
    def shape(self) -> LayerShape:
        return self.core.layers[0]

    def steps(self) -> list[list[int]]:
        """Steps that each test reads the neurons for."""
        out, k = [], 0
        count = self.core.steps if self.passes else 1
        for final, *_ in self.tests:
            out.append(list(range(k, count if final else k + 1)))
            k = 0 if final else k + 1
        return out

    def indices(self) -> list[int]:
        return list(range(self.shape.outputs)) if len(self.core.layers) == 1 else self.core.indices(1).tolist()

    def expected(self) -> list[tuple]:
        """(values, index, step, end, last, fault) of each slice."""
        out, indices, order = [], self.indices(), slices(self.shape)
        for (_, fault, bank), steps in zip(self.tests, self.steps(), strict=True):
            values = pooled(self.shape, bank)
            for k in steps:
                last = int(not self.passes or k == self.core.steps - 1)
                for neurons in order:
                    end = int(neurons is order[-1])
                    out.append(([values[n] for n in neurons], indices[neurons[0]], k, end, last, fault))
        return out

    def contents(self) -> Contents:
        return parts.contents(self.core, layer0_bias=bias_rows(self.shape, self.bias))

    def run(self, *, stall=0.0, seed=0, waves=None) -> None:
        shape = self.shape
        dut = Scanner(self.core, 0, self.contents(), passes=self.passes)
        dut.o = loose(dut.valid, Signal(), slice=dut.slice, last=dut.last)
        rows = Rows(dut, shape, [bank for *_, bank in self.tests], self.bias)
        room = Room(dut, Stalls(seed, stall, longest=3 * Scanner.LATENCY))
        expected = self.expected()
        seen = exchange(
            dut, {"test": [{"final": final, "fault": fault} for final, fault, _ in self.tests]},
            {"o": len(expected)}, stall={"test": stall}, seed=seed, levels={"idle": 1},
            processes=[rows.watch, room.watch], waves=waves,
        )  # fmt: skip
        assert room.surplus <= Scanner.LATENCY, "more slices come than were under way"
        for item, (values, *rest) in zip(seen["o"].items, expected, strict=True):
            s = item.slice
            assert list(s.values)[: len(values)] == values
            assert all(value <= 0 for value in list(s.values)[len(values) :])
            assert [s.index, s.step, s.end, item.last, s.fault] == rest
        self.check_banks(rows)
        if not stall:
            self.check_clocks(rows, seen["o"].offered)

    def check_banks(self, rows: Rows) -> None:
        """Every row is cleared just once, after its last pass; with the last, or after a step, the bank is released."""
        every = list(range(self.shape.membrane_rows))
        assert rows.clears[0] == [(clock, 0b11, clock) for clock in every]
        assert rows.releases[0] == [(len(every), 0b11)]
        in_order = [row for row, last in rows_of_a_pass(self.shape) if last]
        assert sorted(in_order) == every
        bank = 0
        for (final, *_), read, clears, releases in zip(
            self.tests, rows.read[1:], rows.clears[1:], rows.releases[1:], strict=True
        ):
            assert read == {bank}
            assert [banks for _, banks in releases] == [1 << bank]
            assert [clear[1:] for clear in clears] == ([(1 << bank, row) for row in in_order] if final else [])
            assert not final or clears[-1][0] == releases[-1][0]
            bank ^= final

    def check_clocks(self, rows: Rows, offered: list[int]) -> None:
        clocks, period = slice_clocks(self.shape)
        cleared = clear_clocks(self.shape)
        expected: list[int] = []
        active: list[int] = []
        ready = self.shape.membrane_rows  # both banks are clear
        for accepted, clears, releases, steps in zip(
            rows.accepted, rows.clears[1:], rows.releases[1:], self.steps(), strict=True
        ):
            assert accepted == ready
            expected += [accepted + n * period + clock for n in range(len(steps)) for clock in clocks]
            active += range(accepted + 1, accepted + len(steps) * period + 2)  # to the data of the last address
            last = accepted + (len(steps) - 1) * period
            assert not clears or [(clock - last, row) for clock, _, row in clears] == cleared
            assert releases[0][0] == last + cleared[-1][0]
            ready = expected[-1] + 1
        assert offered == expected
        assert rows.active == active


def random_case(rng: random.Random, core: Hardware, *, passes: bool, images: int) -> Case:
    shape, tests = core.layers[0], []
    limit = 1 << shape.membrane_bits - 1
    for _ in range(images):
        early = rng.randrange(core.steps) if passes and core.fire_start < core.steps else 0
        for n in range(early + 1):
            low, high = rng.choice([(-limit, limit - 1), (-2, 2), (-limit, -1)])
            tests.append((int(n == early), rng.randrange(2), random_bank(rng, shape, low, high)))
    return Case(core, passes, random_bias(rng, shape), tests)


@st.composite
def cores(draw: st.DrawFn) -> tuple[Hardware, bool]:
    steps = draw(st.integers(1, 4))
    passes = draw(st.booleans())
    start = draw(st.integers(0, steps)) if passes else steps
    shape = draw(parts.shapes(input_codes=steps, membrane_bits=draw(st.integers(3, 20))))
    if shape.kind == "dense" and draw(st.booleans()):
        return parts.hardware(shape, steps=steps, fire_start=start), passes
    by_map = shape.kind == "conv2d" and draw(st.booleans())
    return parts.followed(shape, steps=steps, fire_start=start, by_map=by_map), passes


@settings(max_examples=80, deadline=None, phases=GENERATE)
@given(core=cores(), seed=st.integers(0, 10_000), stall=st.sampled_from([0.0, 0.2, 0.7]))
def test_scanner_is_the_definition(core, seed, stall) -> None:
    hardware, passes = core
    random_case(random.Random(seed), hardware, passes=passes, images=3).run(stall=stall, seed=seed)


@pytest.mark.smoke
@pytest.mark.parametrize("passes", [False, True], ids=["once", "each_step"])
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(parts.layer(outputs=1, lanes=1), id="one_neuron"),
        pytest.param(parts.layer(outputs=7, lanes=3, fire_lanes=2), id="dense"),
        pytest.param(parts.convolution(channels=7, lanes=4, fire_lanes=2), id="windows_of_four"),
        pytest.param(parts.convolution(channels=7, lanes=5, pool=1), id="no_pooling"),
        pytest.param(parts.layer(outputs=40, lanes=2 * CHOICE + 5), id="choice_in_two_steps"),
        pytest.param(parts.layer(outputs=2 * CHOICE + 1, lanes=2 * CHOICE + 1, fire_lanes=2), id="one_slice_more"),
        pytest.param(parts.convolution(input_shape=(1, 8, 9), channels=2, pool=3, padding=1), id="windows_of_nine"),
    ],
)
def test_images_in_a_row(shape, passes, stall, seed, waves) -> None:
    core = parts.followed(shape, fire_start=1 if passes else 4, by_map=shape.kind == "conv2d")
    random_case(random.Random(seed), core, passes=passes, images=4).run(stall=stall, seed=seed, waves=waves)


@pytest.mark.smoke
def test_a_test_waits_for_the_reader(waves) -> None:
    """Until what reads the slices is idle."""
    core = parts.followed(parts.layer())
    case = random_case(random.Random(0), core, passes=False, images=1)
    dut = Scanner(core, 0, case.contents(), passes=False)
    dut.o = loose(dut.valid, Signal(), slice=dut.slice)
    rows = Rows(dut, case.shape, [case.tests[0][2]], case.bias)
    begun = 50

    async def reader(ctx) -> None:
        clock = 0
        async for _ in ctx.tick():
            clock += 1
            ctx.set(dut.idle, clock == begun)

    exchange(
        dut, {"test": [{"final": 1}]}, {"o": core.layers[0].outputs}, levels={"room": 1},
        processes=[rows.watch, reader], waves=waves,
    )  # fmt: skip
    assert rows.accepted == [begun]


@pytest.mark.smoke
@pytest.mark.parametrize("pool", [1, 2])
def test_no_address_is_taken_without_room(pool, waves) -> None:
    """The slices under way come when they would have come; the others as much later as there was no room."""
    shape = parts.convolution(input_shape=(1, 9, 9), channels=3, lanes=2, fire_lanes=2, pool=pool)
    core = parts.followed(shape, by_map=True)
    case = random_case(random.Random(0), core, passes=False, images=1)
    clocks, _ = slice_clocks(shape)
    accepted, away = shape.membrane_rows, 50
    for begun in range(accepted + 20, accepted + 20 + pool**2):
        dut = Scanner(core, 0, case.contents(), passes=False)
        dut.o = loose(dut.valid, Signal(), slice=dut.slice)
        rows = Rows(dut, shape, [bank for *_, bank in case.tests], case.bias)

        async def room(ctx, dut=dut, begun=begun) -> None:
            ctx.set(dut.room, 1)
            clock = 0
            async for _ in ctx.tick():
                clock += 1
                ctx.set(dut.room, not begun <= clock < begun + away)

        seen = exchange(
            dut, {"test": [{"final": 1}]}, {"o": len(case.expected())}, levels={"idle": 1},
            processes=[rows.watch, room], waves=waves,
        )  # fmt: skip
        assert rows.accepted == [accepted]
        last_addresses = [accepted + clock - Scanner.LATENCY for clock in clocks]
        assert last_addresses[0] < begun < last_addresses[-1]
        assert seen["o"].offered == [
            address + Scanner.LATENCY + away * (address >= begun) for address in last_addresses
        ]
        assert [
            list(x.slice.values)[: len(values)]
            for x, (values, *_) in zip(seen["o"].items, case.expected(), strict=True)
        ] == [values for values, *_ in case.expected()]
