"""Integrator: sums of random events against the definition, tests and banks, to the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulation import QUIET_CLOCKS, Stalls, Trace, Transfers, protocol_checker, send, simulate

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike_rtl.core.integrator import Integrator

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)
#: Clocks from an address to its membranes, as the class says.
LATENCY_ROW = 3


@dataclass
class Case:
    """A layer with its weights (row, lane) and K, and images: lists of (neuron, code), (None, code, fault)."""

    core: Hardware
    weights: list[list[int]]
    kernel: list[int]
    images: list[list[tuple]]

    @property
    def shape(self) -> LayerShape:
        return self.core.layers[0]

    def items(self) -> list[dict]:
        indices = self.core.indices(0).tolist()
        return [
            {"mark": 1, "step": e[1], "fault": e[2]} if e[0] is None else {"step": e[1], "index": indices[e[0]]}
            for image in self.images
            for e in image
        ]

    def allowed(self, watermark: int) -> int:
        """Steps k that a watermark frees: those for which no spike with a code <= k + S can still come."""
        codes, start = range(self.shape.input_codes), self.core.fire_start
        if watermark == codes[-1]:
            return self.core.steps
        if not self.shape.fires:
            return 0
        return sum(all(c <= watermark for c in codes if c <= k + start) for k in range(self.core.steps))

    def tests(self) -> list[tuple]:
        """(final, fault, membranes by row, without the bias) of each test."""
        synapses, out = parts.synapses(self.shape), []
        for image in self.images:
            v = [[0] * self.shape.lanes for _ in range(self.shape.membrane_rows)]
            allowed = 0
            for neuron, code, *fault in image:
                if neuron is not None:
                    for weight, row in synapses[neuron]:
                        for lane, w in enumerate(self.weights[weight]):
                            v[row][lane] += w * self.kernel[code]
                    continue
                final = code == self.shape.input_codes - 1
                if self.allowed(code) > allowed:
                    assert final or self.allowed(code) == allowed + 1
                    out.append((final, fault[0], [list(row) for row in v]))
                allowed = self.allowed(code)
        return out

    def run(self, *, stall=0.0, busy=0.0, seed=0, waves=None) -> tuple[Transfers, Trace]:
        """``busy`` is the chance that the scanner takes its time before it accepts, gives a bank back, goes on."""
        table = self.kernel if self.shape.product == "multiply" else [k.bit_length() - 1 for k in self.kernel]
        rows = parts.contents(self.core, layer0_weight=self.weights, layer0_kernel=[[k] for k in table])
        dut = Integrator(self.core, 0, rows)
        expected = self.tests()
        trace = Trace(
            valid=dut.add.valid, bank=dut.add.bank, row=dut.add.row, products=dut.add.products, release=dut.release,
            test_valid=dut.test.valid, test_ready=dut.test.ready, test=dut.test.payload, adding=dut.adding,
        )  # fmt: skip
        taken = Transfers(dut.i)

        async def scanner(ctx) -> None:
            """Accepts a test, gives its bank back, and is ready again."""
            stalls = Stalls(seed + 1, busy, 40)
            bank, count = 0, 0
            await stalls.wait(ctx)
            ctx.set(dut.release, 0b11)
            await ctx.tick()
            while count < len(expected):
                ctx.set(dut.release, 0)
                await stalls.wait(ctx)
                ctx.set(dut.test.ready, 1)
                (test,) = await ctx.tick().sample(dut.test.payload).until(dut.test.valid)
                ctx.set(dut.test.ready, 0)
                await stalls.wait(ctx)
                ctx.set(dut.release, 1 << bank)
                await ctx.tick()
                bank ^= test.final
                count += 1
            ctx.set(dut.release, 0)
            ctx.set(dut.test.ready, 1)
            await ctx.tick().repeat(QUIET_CLOCKS)

        simulate(
            dut, scanner, send(dut.i, self.items(), Stalls(seed, stall)),
            processes=[trace.watch, taken.watch, protocol_checker(dut.test, "test")], waves=waves,
        )  # fmt: skip
        assert self.tests_in(trace) == expected
        assert [c.adding for c in trace.clocks][:-2] == [c.valid for c in trace.clocks][2:]
        return taken, trace

    def tests_in(self, trace: Trace) -> list[tuple]:
        """The tests with what had been added by then. No bank is added to that was given away."""
        shape = self.shape
        banks = [[[0] * shape.lanes for _ in range(shape.membrane_rows)] for _ in (0, 1)]
        given, bank, before, out = 0b11, 0, None, []
        for now in trace.clocks:
            if before and before.valid:
                for lane in range(shape.lanes):
                    banks[before.bank][before.row][lane] += now.products[lane]
            before = now
            if now.test_valid:
                given |= 1 << bank
            if now.valid:
                assert not given >> now.bank & 1, f"bank {now.bank} is added to while it is tested"
            if now.test_valid and now.test_ready:
                out.append((now.test.final, now.test.fault, [list(row) for row in banks[bank]]))
                if now.test.final:
                    banks[bank] = [[0] * shape.lanes for _ in range(shape.membrane_rows)]
                    bank ^= 1
            given &= ~now.release
        return out


def random_case(rng: random.Random, core: Hardware, images: int, spikes: int, *, least: int = 0) -> Case:
    """Weights and K, their extremes among them; images as the layer before sends them, watermarks in their places.

    Before each watermark come ``least`` to ``spikes`` spikes.
    """
    shape = core.layers[0]
    low, high, largest = -(1 << shape.weight_bits - 1), (1 << shape.weight_bits - 1) - 1, (1 << shape.kernel_bits) - 1
    weights = [
        [rng.choice([low, high, rng.randint(low, high)]) for _ in range(shape.lanes)]
        for _ in range(shape.groups * shape.taps)
    ]
    if shape.product == "shift":
        kernel = [1 << rng.choice([shape.kernel_bits - 1, rng.randrange(shape.kernel_bits)]) for _ in
                  range(shape.input_codes)]  # fmt: skip
    else:
        kernel = [rng.choice([largest, rng.randint(0, largest)]) for _ in range(shape.input_codes)]
    case = Case(core, weights, kernel, [])
    marks = list(range(shape.input_codes)) if core.ordered[0] else [shape.input_codes - 1]
    for _ in range(images):
        image: list[tuple] = []
        for mark in marks:
            codes = [mark] if core.ordered[0] else range(shape.input_codes)
            # One neuron several times: the same rows are added to in consecutive clocks.
            favourite = rng.randrange(shape.inputs)
            for _ in range(rng.randint(least, spikes)):
                image.append((rng.choice([favourite, rng.randrange(shape.inputs)]), rng.choice(codes)))
            final = mark == shape.input_codes - 1
            image.append((None, mark, rng.randrange(2) if final else 0))
        case.images.append(image)
    return case


@st.composite
def cores(draw: st.DrawFn) -> Hardware:
    steps = draw(st.integers(1, 6))
    direct = draw(st.integers(0, 3)) == 0
    shape = draw(
        parts.shapes(
            input_codes=draw(st.integers(1, 12)) if direct else steps,
            product=draw(st.sampled_from(["multiply", "shift"])),
            weight_bits=draw(st.integers(2, 6)),
            kernel_bits=draw(st.integers(1, 6)),
            membrane_bits=20,
        )
    )
    start = draw(st.one_of(st.just(steps), st.just(0), st.integers(0, steps)))
    if draw(st.booleans()) or shape.kind == "conv2d":
        return parts.followed(shape, steps=steps, fire_start=start, simultaneous=direct)
    output = parts.layer(inputs=shape.inputs, outputs=shape.outputs, fires=draw(st.booleans()),
                         input_codes=shape.input_codes)  # fmt: skip
    return parts.hardware(output, steps=steps, fire_start=start, simultaneous=direct)


@settings(max_examples=60, deadline=None, phases=GENERATE)
@given(
    core=cores(),
    seed=st.integers(0, 10_000),
    stall=st.sampled_from([0.0, 0.3]),
    busy=st.sampled_from([0.0, 0.3, 0.8]),
)
def test_sums_are_the_definition(core, seed, stall, busy) -> None:
    random_case(random.Random(seed), core, images=4, spikes=4).run(stall=stall, busy=busy, seed=seed)


@pytest.mark.smoke
def test_both_lanes_give_the_same_products(seed, waves) -> None:
    """K all powers of two; the clocks are the same, too."""
    core = parts.followed(parts.convolution(product="shift", weight_bits=5, kernel_bits=7, membrane_bits=20))
    case = random_case(random.Random(seed), core, images=4, spikes=20)
    traces = []
    for product in ("multiply", "shift"):
        shape = parts.convolution(product=product, weight_bits=5, kernel_bits=7, membrane_bits=20)
        _, trace = Case(parts.followed(shape), case.weights, case.kernel, case.images).run(waves=waves)
        traces.append([(c.valid, c.row, [int(p) for p in c.products]) for c in trace.clocks])
    assert traces[0] == traces[1]


@pytest.mark.smoke
@pytest.mark.parametrize("product", ["multiply", "shift"])
def test_extreme_products_fit(product, waves) -> None:
    """The least and the greatest product of every width of 2..8 bits."""
    for bits in range(2, 9):
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        largest = (1 << bits) - 1 if product == "multiply" else 1 << bits - 1
        shape = parts.layer(inputs=2, outputs=1, weight_bits=bits, kernel_bits=bits, product=product, input_codes=2)
        images = [[(neuron, code), (None, 1, 0)] for code in (0, 1) for neuron in (0, 1)]
        case = Case(parts.hardware(shape, steps=2), [[low], [high]], [largest, 1], images)
        assert [v for *_, v in case.tests()] == [[[low * largest]], [[high * largest]], [[low]], [[high]]]
        case.run(waves=waves)


@pytest.mark.smoke
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_which_watermarks_make_a_test(steps) -> None:
    """Without a spike, and for every fire start: no test is lost or made twice."""
    for start in range(steps + 1):
        for codes in (steps, 9):
            direct = codes != steps
            shape = parts.layer(inputs=1, outputs=1, input_codes=codes)
            core = parts.followed(shape, steps=steps, fire_start=start, simultaneous=direct)
            case = random_case(random.Random(start), core, images=3, spikes=0)
            tests = 1 if direct else max(1, steps - start)
            assert len(case.tests()) == 3 * tests
            case.run(busy=0.5, seed=start)


@pytest.mark.smoke
def test_a_test_waits_for_the_one_before(waves) -> None:
    """The scanner gives a bank back while it still sends spikes; the tests of both banks then come due."""
    core = parts.followed(parts.layer(inputs=2, outputs=2))
    images = [[(0, 0), (None, 3, fault)] for fault in (0, 1)] * 3
    case = Case(core, [[0, 0]] * 4, [0] * 4, images)
    dut = Integrator(core, 0, parts.contents(core))
    accepted, taken = [], Transfers(dut.i)

    async def scanner(ctx) -> None:
        for count in range(len(images)):
            ctx.set(dut.release, 1 << (count - 1) % 2 if count else 0b11)  # the bank is free, but the scanner is not
            await ctx.tick()
            ctx.set(dut.release, 0)
            await ctx.tick().repeat(20)
            # One test is on offer, the watermark of the next image waits.
            assert len(taken.items) == min(2 * (count + 2), len(case.items()))
            ctx.set(dut.test.ready, 1)
            (test,) = await ctx.tick().sample(dut.test.payload).until(dut.test.valid)
            ctx.set(dut.test.ready, 0)
            accepted.append((test.final, test.fault))

    simulate(dut, scanner, send(dut.i, case.items(), Stalls(0)), processes=[taken.watch], waves=waves)
    assert accepted == [(1, 0), (1, 1)] * 3


@pytest.mark.smoke
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(parts.layer(inputs=5, outputs=7, lanes=3), id="dense"),
        pytest.param(parts.convolution(), id="convolution"),
    ],
)
def test_integrator_clocks(shape, seed, waves) -> None:
    """A row a clock; the test comes LATENCY_TEST clocks after its watermark; the next image follows without a gap."""
    core = parts.followed(shape)
    # So many spikes that no test has to wait for the one before.
    case = random_case(random.Random(seed), core, images=2, spikes=12, least=6)
    taken, trace = case.run(waves=waves)
    visits = (shape.visits * shape.groups).tolist()
    clocks = [1 if e[0] is None else max(1, visits[e[0]]) for image in case.images for e in image]
    addresses = taken.taken[1] - clocks[0] + 1  # the first event waits until the banks are clear
    tests, rows = [], []
    for event, length in zip((e for image in case.images for e in image), clocks, strict=True):
        if event[0] is None:
            tests.append(addresses + Integrator.LATENCY_TEST)
        elif visits[event[0]]:
            rows += range(addresses + LATENCY_ROW, addresses + LATENCY_ROW + length)
        addresses += length
    products = [clock + 1 for clock, now in enumerate(trace.clocks) if now.valid]
    assert products == rows
    assert [clock for clock, now in enumerate(trace.clocks) if now.test_valid] == tests
