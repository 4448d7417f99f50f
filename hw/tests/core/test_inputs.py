"""The input stages, each against a few lines of Python: pixels, events, events that repeat, and the sorter."""

from __future__ import annotations

import random
from itertools import accumulate

import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulation import Stalls, Transfers, exchange, receive, send, simulate

from firstspike.contract.hardware import INDEX_BITS, PIXELS_PER_WORD, Hardware
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.inputs.events import EventInput, TrainInput
from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.inputs.sorter import Sorter
from firstspike_rtl.core.layouts import EVENT_WORD

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)
STALLS = pytest.mark.parametrize("stall", [0.0, 0.3, 0.8], ids=["flowing", "some_stalls", "mostly_stalled"])
Shape = tuple[int, ...]


def events(items) -> list[tuple[int, int, int, int | None]]:
    """(mark, fault, step, index); the index of a watermark has no meaning."""
    return [(e.mark, e.fault, e.step, None if e.mark else e.index) for e in items]


def words(frames: list[list[int]]) -> list[dict[str, int]]:
    return [{"data": word, "last": n == len(frame) - 1} for frame in frames for n, word in enumerate(frame)]


def network(shape: Shape, codes: int, kind: str = "pixels", **changes: int) -> Hardware:
    """A dense layer on a flat input, a convolution on a map."""
    given = {"input_codes": codes, "input_shape": shape}
    first = parts.convolution(**given, kernel=(1, 1), pool=1) if len(shape) == 3 else parts.layer(**given)
    return parts.followed(first, steps=codes, input=kind, **changes)


# -- pixels -----------------------------------------------------------------------------------------------------------


def frame_of(pixels: list[int]) -> list[int]:
    padded = pixels + [0] * (-len(pixels) % PIXELS_PER_WORD)
    return [int.from_bytes(bytes(padded[n : n + 4]), "little") for n in range(0, len(padded), 4)]


def whole(core: Hardware) -> int:
    """Words of a whole frame."""
    return -(-core.sizes[0] // PIXELS_PER_WORD)


def sent_by(core: Hardware, table: list[int], frame: list[int]) -> list[list[tuple]]:
    """What the encoder makes of each word of a frame of any length; of dropped words nothing."""
    codes, indices = core.layers[0].input_codes, core.indices(0).tolist()
    out = []
    for n, word in enumerate(frame[: whole(core)]):
        pixels = list(enumerate(word.to_bytes(PIXELS_PER_WORD, "little"), PIXELS_PER_WORD * n))
        out.append([(0, 0, table[p], indices[i]) for i, p in pixels if i < len(indices) and table[p] < codes])
    out[-1].append((1, int(len(frame) != whole(core)), codes - 1, None))
    return out


def encoded(core: Hardware, table: list[int], frames: list[list[int]]) -> list[tuple]:
    return [event for frame in frames for word in sent_by(core, table, frame) for event in word]


def pixel_encoder(core: Hardware, table: list[int]) -> PixelEncoder:
    spike = 1 << (core.memory("encoder").field_bits - 1)
    rows = [[0 if code == core.layers[0].input_codes else spike | code] for code in table]
    return PixelEncoder(core, parts.contents(core, encoder=rows))


def table_of(rng: random.Random, codes: int) -> list[int]:
    return [codes, *(rng.randint(0, codes) for _ in range(255))]


def lit_by(table: list[int], codes: int) -> int:
    """A pixel that spikes; a dark one if none does."""
    return next((pixel for pixel in range(1, 256) if table[pixel] < codes), 0)


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(
    ("shape", "codes"),
    [((1,), 1), ((4,), 8), ((9,), 4), ((15,), 3), ((10,), 255), ((2, 3, 5), 4), ((3, 2, 4), 4), ((2, 5, 1), 2)],
)
def test_pixels_in_any_frames(shape, codes, stall, seed, waves) -> None:
    """Whole frames, frames of any wrong length, dark and all-lit ones, one behind the other."""
    rng, core = random.Random(seed), network(shape, codes)
    table = table_of(rng, codes)
    count = whole(core)
    lit = lit_by(table, codes)
    lengths = [count, count, max(1, count - 1), count + 1, 1, 3 * count, count, count + 5, count]
    frames = [[rng.choice([0, rng.getrandbits(32)]) for _ in range(n)] for n in lengths]
    frames += [[0] * count, [lit * 0x01010101] * count, frame_of([lit] * core.sizes[0])]
    expected = encoded(core, table, frames)
    seen = exchange(
        pixel_encoder(core, table), {"i": words(frames)}, {"o": len(expected)}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    assert events(seen["o"].items) == expected
    assert sum(e[1] for e in expected) >= 3  # the wrong frames were seen


@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 10_000))
def test_pixels_of_any_map(shape, seed) -> None:
    """Fields of the index count up four at a time, over rows and channels that end within a word."""
    rng, core = random.Random(seed), network(shape, 4)
    table = table_of(rng, 4)
    pixels = [rng.choice([0, 255, rng.randrange(256)]) for _ in range(core.sizes[0])]
    frames = [frame_of([lit_by(table, 4)] * core.sizes[0]), frame_of(pixels)]
    expected = encoded(core, table, frames)
    seen = exchange(pixel_encoder(core, table), {"i": words(frames)}, {"o": len(expected)})
    assert events(seen["o"].items) == expected


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(3,), (8,), (13,), (2, 3, 3)])
def test_pixel_clocks(shape, seed, waves) -> None:
    """A word a clock, from image to image too, while the queue has room; a spike a clock, LATENCY after its word."""
    rng, core = random.Random(seed), network(shape, 4)
    table = table_of(rng, 4)
    count = min(8, PixelEncoder.QUEUE // whole(core))
    frames = [frame_of([rng.choice([0, rng.randrange(256)]) for _ in range(core.sizes[0])]) for _ in range(count)]
    frames[3] = frame_of([0] * core.sizes[0])
    expected = encoded(core, table, frames)
    seen = exchange(pixel_encoder(core, table), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    assert events(seen["o"].items) == expected
    begin = seen["i"].taken[0]
    sent = [word for frame in frames for word in sent_by(core, table, frame)]
    assert len(sent) <= PixelEncoder.QUEUE
    assert seen["i"].taken == list(range(begin, begin + len(sent)))
    offered: list[int] = []
    for clock, word in enumerate(sent, begin):
        first = max(clock + PixelEncoder.LATENCY, offered[-1] + 1 if offered else 0)
        offered += range(first, first + len(word))
    assert seen["o"].offered == offered == seen["o"].taken


@pytest.mark.smoke
def test_a_full_queue_loses_nothing(seed, waves) -> None:
    """While nothing is taken, words go on until one lit one more than the limit waits; those under way find room."""
    rng, core = random.Random(seed), network((13,), 4)
    table = table_of(rng, 4)
    table[1:3] = [0, 4]
    lit, silent = 0x01010101, 0x02020202
    frames = [[rng.choice([lit, silent, silent]) for _ in range(whole(core))] for _ in range(40)]
    frames[0][0] = lit  # of several spikes, so that it stays in the serialiser
    sent = [bool(word) for frame in frames for word in sent_by(core, table, frame)]
    expected = encoded(core, table, frames)
    dut, got = pixel_encoder(core, table), []
    taken = Transfers(dut.i)

    async def hold(ctx) -> None:
        await ctx.tick().repeat(len(sent) + 10)
        # One that was too many, and one in the serialiser; of those that were in the stages then nothing is known.
        limit = Queue.limit(PixelEncoder.STAGES, PixelEncoder.QUEUE)
        assert sum(sent[: len(taken.items) - PixelEncoder.STAGES]) == limit + 2
        assert taken.taken == list(range(taken.taken[0], taken.taken[0] + len(taken.items)))
        await receive(dut.o, got, len(expected), Stalls(0))(ctx)

    simulate(dut, send(dut.i, words(frames), Stalls(0)), hold, processes=[taken.watch], waves=waves)
    assert events(got) == expected


@pytest.mark.smoke
def test_a_full_queue_keeps_the_output_busy(waves) -> None:
    """Images that are all lit: a clock a spike and one a watermark, without a gap; words wait for them."""
    core = network((32,), 4)
    frames = [frame_of([1] * core.sizes[0])] * 10
    expected = encoded(core, [4] + [0] * 255, frames)
    seen = exchange(pixel_encoder(core, [4] + [0] * 255), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    assert events(seen["o"].items) == expected
    begin = seen["i"].taken[0] + PixelEncoder.LATENCY
    assert seen["o"].taken == list(range(begin, begin + len(expected)))
    assert seen["i"].taken[-1] - seen["i"].taken[0] > len(seen["i"].items), "the queue never was full"


# -- events -----------------------------------------------------------------------------------------------------------


def event(**values: int) -> int:
    return EVENT_WORD.const(values).as_bits()


def passed(core: Hardware, frames: list[list[int]]) -> list[tuple]:
    codes, indices = core.layers[0].input_codes, set(core.indices(0).tolist())
    out = []
    for frame in frames:
        fault = 0
        for word in map(EVENT_WORD.from_bits, frame):
            if not word.mark and word.index in indices and word.step < codes:
                out.append((0, 0, word.step, word.index))
            elif not word.mark:
                fault = 1
        out.append((1, fault, codes - 1, None))
    return out


def event_frames(rng: random.Random, core: Hardware, *, wrong: float) -> list[list[int]]:
    codes, indices, frames = core.layers[0].input_codes, core.indices(0).tolist(), []
    outside = indices[-1] + 1
    for _ in range(12):
        frame = [
            event(index=n, step=rng.randrange(codes), population=rng.randrange(16), fault=rng.randrange(2))
            for n in rng.sample(indices, rng.randint(0, len(indices)))
        ]
        if rng.random() < wrong:
            bad = [(outside, 0), (0, codes), (65535, 1023), (indices[-1], codes), (outside, codes - 1)]
            index, step = rng.choice(bad)
            frame.insert(rng.randint(0, len(frame)), event(index=index, step=step))
        if not frame or rng.random() < 0.3:
            frame.insert(rng.randint(0, len(frame)), event(mark=1, index=rng.randrange(65536), step=1023))
        frames.append(frame)
    return frames


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(("shape", "codes"), [((1,), 1), ((5,), 3), ((8,), 8), ((7,), 255), ((2, 3, 5), 4)])
def test_events_in_order_and_faults(shape, codes, stall, seed, waves) -> None:
    core = network(shape, codes, "events")
    frames = event_frames(random.Random(seed), core, wrong=0.4)
    expected = passed(core, frames)
    assert {e[1] for e in expected if e[0]} == {0, 1}
    seen = exchange(
        EventInput(core), {"i": words(frames)}, {"o": len(expected)}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    assert events(seen["o"].items) == expected


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(1,), (6,), (8,), (2, 3, 5), (3, 1, 6), (1, 4, 1)])
def test_every_index(shape, waves) -> None:
    """Each in an image of its own: those of no neuron, with a field outside the map or bits above, are a fault."""
    core = network(shape, 2, "events")
    above = 2 << core.index_bits(0)
    indices = [*range(above), *(1 << bit for bit in range(above.bit_length(), INDEX_BITS)), (1 << INDEX_BITS) - 1]
    frames = [[event(index=index)] for index in indices]
    expected = passed(core, frames)
    assert sum(not e[0] for e in expected) == core.sizes[0]
    seen = exchange(EventInput(core), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    assert events(seen["o"].items) == expected


@pytest.mark.smoke
def test_event_clocks(seed, waves) -> None:
    """A clock a word, and one for the watermark; every word that is a spike comes out LATENCY clocks later."""
    core = network((6,), 4, "events")
    frames = event_frames(random.Random(seed), core, wrong=0.0)
    expected = passed(core, frames)
    seen = exchange(EventInput(core), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    starts = accumulate((len(frame) + 1 for frame in frames[:-1]), initial=seen["i"].taken[0])
    clocks, offered = [], []
    for begin, frame in zip(starts, frames, strict=True):
        clocks += range(begin, begin + len(frame))
        spikes = [n for n, word in enumerate(frame) if not EVENT_WORD.from_bits(word).mark]
        offered += [begin + n + EventInput.LATENCY for n in (*spikes, len(frame))]
    assert seen["i"].taken == clocks
    assert seen["o"].offered == offered


# -- events that repeat -----------------------------------------------------------------------------------------------


def train_input(shape: Shape, codes: int) -> Hardware:
    return network(shape, codes, "events", repeat=3, fire_start=0)


def passed_in_order(core: Hardware, frames: list[list[int]]) -> list[tuple]:
    """Spikes with the watermarks between them; what names no neuron or step, or is late, is left out."""
    codes, indices = core.steps, set(core.indices(0).tolist())
    out = []
    for frame in frames:
        fault = now = 0
        for word in map(EVENT_WORD.from_bits, frame):
            if word.step >= codes or word.step < now or not (word.mark or word.index in indices):
                fault = 1
                continue
            out += [(1, 0, k, None) for k in range(now, word.step)]
            now = word.step
            if not word.mark:
                out.append((0, 0, word.step, word.index))
        out += [(1, int(fault and k == codes - 1), k, None) for k in range(now, codes)]
    return out


def trains(rng: random.Random, core: Hardware, *, wrong: float) -> list[list[int]]:
    """Frames of spikes and marks in order; with a chance for one word each that is late, or of no neuron or step."""
    codes, indices, frames = core.steps, core.indices(0).tolist(), []
    outside = indices[-1] + 1
    for _ in range(12):
        steps = sorted(rng.randrange(codes) for _ in range(rng.randint(0, 3 * len(indices))))
        frame = [event(index=rng.choice(indices), step=k, mark=rng.random() < 0.1) for k in steps]
        if rng.random() < wrong:
            bad = [(outside, 0, 0), (65535, codes - 1, 0), (0, codes, 0), (0, 1023, 1), (0, 0, 0), (0, 0, 1)]
            index, step, mark = rng.choice(bad)
            frame.insert(rng.randint(0, len(frame)), event(index=index, step=step, mark=mark))
        frames.append(frame or [event(mark=1, step=rng.randrange(codes))])
    return frames


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(("shape", "codes"), [((1,), 1), ((5,), 3), ((8,), 8), ((2, 3, 5), 4)])
def test_trains_in_order_and_faults(shape, codes, stall, seed, waves) -> None:
    core = train_input(shape, codes)
    frames = trains(random.Random(seed), core, wrong=0.5)
    expected = passed_in_order(core, frames)
    assert {e[1] for e in expected if e[0]} == {0, 1}
    seen = exchange(TrainInput(core), {"i": words(frames)}, {"o": len(expected)}, stall=stall, seed=seed, waves=waves)
    assert events(seen["o"].items) == expected


@pytest.mark.smoke
def test_train_clocks(waves) -> None:
    """A clock a word and a clock a watermark, LATENCY clocks later; frames follow without a gap."""
    core = train_input((6,), 4)
    frames = [[event(index=n, step=k) for k in (0, 2, 3) for n in (1, 1, 4)]] * 5
    expected = passed_in_order(core, frames)
    seen = exchange(TrainInput(core), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    assert events(seen["o"].items) == expected
    begin = seen["i"].taken[0] + TrainInput.LATENCY
    assert seen["o"].taken == list(range(begin, begin + len(expected)))


# -- sorter -----------------------------------------------------------------------------------------------------------


def images_of_events(rng: random.Random, core: Hardware) -> list[list[tuple[int, int]]]:
    """(index, step): random, none, all in one step, all in the last step, one each step, falling steps."""
    steps, indices = core.steps, core.indices(0).tolist()

    def everyone() -> list[int]:
        return rng.sample(indices, len(indices))

    one = rng.randrange(steps)
    return [
        [(n, rng.randrange(steps)) for n in everyone()],
        [],
        [(n, one) for n in everyone()],
        [(n, steps - 1) for n in everyone()],
        [(n, n % steps) for n in everyone()],
        *([(n, rng.randrange(steps)) for n in everyone()[: rng.randint(0, len(indices))]] for _ in range(6)),
        sorted(((n, rng.randrange(steps)) for n in everyone()), key=lambda e: -e[1]),
    ]


def in_order(images, faults, steps: int) -> list[tuple]:
    out = []
    for image, fault in zip(images, faults, strict=True):
        for k in range(steps):
            out += [(0, 0, k, n) for n, step in image if step == k]
            out.append((1, int(fault and k == steps - 1), k, None))
    return out


def stream_of(images, faults, steps: int, rng: random.Random | None = None) -> list[dict[str, int]]:
    items = []
    for image, fault in zip(images, faults, strict=True):
        for index, step in image:
            items.append({"index": index, "step": step})
            if rng and steps > 1 and rng.random() < 0.2:  # any other watermark is ignored
                items.append({"mark": 1, "step": rng.randrange(steps - 1), "index": rng.randrange(index + 1)})
        items.append({"mark": 1, "fault": fault, "step": steps - 1})
    return items


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(
    ("shape", "steps"), [((1,), 1), ((1,), 5), ((9,), 1), ((8,), 8), ((13,), 3), ((5,), 9), ((2, 3, 5), 4)]
)
def test_sorter_sorts(shape, steps, stall, seed, waves) -> None:
    rng, core = random.Random(seed), network(shape, steps)
    images = images_of_events(rng, core)
    faults = [rng.randrange(2) for _ in images]
    expected = in_order(images, faults, steps)
    seen = exchange(
        Sorter(core), {"i": stream_of(images, faults, steps, rng)}, {"o": len(expected)},
        stall=stall, seed=seed, waves=waves,
    )  # fmt: skip
    assert events(seen["o"].items) == expected


@pytest.mark.smoke
@pytest.mark.parametrize(("shape", "steps"), [((1,), 1), ((7,), 4)])
def test_sorter_clocks(shape, steps, seed, waves) -> None:
    """One event a clock in; LATENCY clocks after the final watermark ``spikes + T`` events out, one a clock."""
    core = network(shape, steps)
    images = images_of_events(random.Random(seed), core)
    faults = [0] * len(images)
    expected = in_order(images, faults, steps)
    seen = exchange(
        Sorter(core), {"i": stream_of(images, faults, steps)}, {"o": len(expected)}, waves=waves
    )  # fmt: skip
    begin, taken, offered = seen["i"].taken[0], [], []
    for image in images:
        taken += range(begin, begin + len(image) + 1)
        offered += range(taken[-1] + Sorter.LATENCY, taken[-1] + Sorter.LATENCY + len(image) + steps)
        begin = offered[-1]  # stores again while the last event is on the output
    assert seen["i"].taken == taken
    assert seen["o"].offered == offered


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(
    ("twice", "fault"),
    [
        pytest.param([(5, 0), (7, 0), (5, 1), (8, 1)], 1, id="lists_joined"),
        pytest.param([(5, 2), (3, 2), (5, 2)], 1, id="list_cut"),
        pytest.param([(5, 1), (5, 1)], 1, id="same_step"),
        pytest.param([(n % 3, n % 4) for n in range(60)], 1, id="more_than_neurons"),
        # As many go out as there are neurons, and every list ends well: only the count of those that came tells.
        pytest.param([*((n, n % 4) for n in range(10)), (9, 1)], 1, id="one_more_than_neurons"),
        pytest.param([(5, 1), (5, 2)], 0, id="not_noticed"),
    ],
)
def test_a_neuron_that_comes_twice_harms_only_its_image(twice, fault, stall, seed, waves) -> None:
    """Such an image ends, with no more spikes than came; those around it are sorted as ever."""
    steps = 4
    core = network((10,), steps)
    good = [(n, n % steps) for n in range(10)]
    images, faults = [good, twice, good], [0, 0, 0]
    one = in_order([good], [0], steps)

    def complete(items) -> bool:
        return sum(e.mark and e.step == steps - 1 for e in items) == len(images)

    seen = exchange(
        Sorter(core), {"i": stream_of(images, faults, steps)}, {"o": complete}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    got = events(seen["o"].items)
    assert got[: len(one)] == got[-len(one) :] == one
    damaged = got[len(one) : -len(one)]
    assert [e[2] for e in damaged if e[0]] == list(range(steps))
    assert [e[1] for e in damaged if e[0]] == [0] * (steps - 1) + [fault]
    assert sum(not e[0] for e in damaged) <= len(twice)
