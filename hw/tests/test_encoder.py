"""The input stages, each against a few lines of Python: pixels, events, and the sorter."""

from __future__ import annotations

import random
from itertools import accumulate

import parts
import pytest
from simulation import exchange

from firstspike.hardware import Hardware
from firstspike_rtl.encoder import EventInput, PixelEncoder, Sorter
from firstspike.hardware import PIXELS_PER_WORD
from firstspike_rtl.layouts import EVENT_WORD

STALLS = pytest.mark.parametrize("stall", [0.0, 0.3, 0.8], ids=["flowing", "some_stalls", "mostly_stalled"])


def events(transfers) -> list[tuple[int, int, int, int | None]]:
    """(mark, fault, step, index); the index of a watermark has no meaning."""
    return [(e.mark, e.fault, e.step, None if e.mark else e.index) for e in transfers.items]


def words(frames: list[list[int]]) -> list[dict[str, int]]:
    return [{"data": word, "last": n == len(frame) - 1} for frame in frames for n, word in enumerate(frame)]


def network(size: int, codes: int, kind: str = "pixels") -> Hardware:
    first = parts.layer(inputs=size, input_codes=codes)
    return parts.hardware(first, steps=codes, input=kind)


# -- pixels -----------------------------------------------------------------------------------------------------------


def frame_of(pixels: list[int]) -> list[int]:
    padded = pixels + [0] * (-len(pixels) % PIXELS_PER_WORD)
    return [int.from_bytes(bytes(padded[n : n + 4]), "little") for n in range(0, len(padded), 4)]


def spikes_of_words(frame: list[int], size: int, codes: int, table: list[int]) -> list[list[tuple[int, int]]]:
    """(index, code) of each word of a whole frame."""
    pixels = [pixel for word in frame for pixel in word.to_bytes(4, "little")]
    found = [[(n, table[pixels[n]]) for n in range(w, min(w + 4, size))] for w in range(0, len(pixels), 4)]
    return [[(n, code) for n, code in word if code < codes] for word in found]


def encoded(frames: list[list[int]], size: int, codes: int, table: list[int]) -> list[tuple]:
    """What the encoder makes of frames of any length."""
    count = -(-size // PIXELS_PER_WORD)
    out = []
    for frame in frames:
        for word in spikes_of_words(frame[:count], size, codes, table):
            out += [(0, 0, code, index) for index, code in word]
        out.append((1, int(len(frame) != count), codes - 1, None))
    return out


def pixel_encoder(size: int, codes: int, table: list[int]) -> PixelEncoder:
    core = network(size, codes)
    spike = 1 << (core.memory("encoder").field_bits - 1)
    rows = [[0 if code == codes else spike | code] for code in table]
    return PixelEncoder(core, parts.contents(core, encoder=rows))


def table_of(rng: random.Random, codes: int) -> list[int]:
    return [codes, *(rng.randint(0, codes) for _ in range(255))]


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(("size", "codes"), [(1, 1), (4, 8), (9, 4), (15, 3), (10, 255)])
def test_pixels_in_any_frames(size, codes, stall, seed, waves) -> None:
    """Whole frames, frames of any wrong length, dark and all-lit ones, one behind the other."""
    rng = random.Random(seed)
    table = table_of(rng, codes)
    count = -(-size // PIXELS_PER_WORD)
    lit = next((pixel for pixel in range(1, 256) if table[pixel] < codes), 0)
    lengths = [count, count, max(1, count - 1), count + 1, 1, 3 * count, count, count + 5, count]
    frames = [[rng.choice([0, rng.getrandbits(32)]) for _ in range(n)] for n in lengths]
    frames += [frame_of([0] * size), [lit * 0x01010101] * count, frame_of([lit] * size)]
    expected = encoded(frames, size, codes, table)
    seen = exchange(
        pixel_encoder(size, codes, table), {"i": words(frames)}, {"o": len(expected)},
        stall=stall, seed=seed, waves=waves,
    )  # fmt: skip
    assert events(seen["o"]) == expected
    assert sum(e[1] for e in expected) >= 3  # the wrong frames were seen


@pytest.mark.smoke
@pytest.mark.parametrize("size", [3, 8, 13])
def test_pixel_clocks(size, seed, waves) -> None:
    """A word takes max(1, spikes) clocks, a frame one more; the first spike comes LATENCY clocks after its word."""
    rng = random.Random(seed)
    codes, table = 4, table_of(rng, 4)
    frames = [frame_of([rng.choice([0, rng.randrange(256)]) for _ in range(size)]) for _ in range(6)]
    expected = encoded(frames, size, codes, table)
    seen = exchange(pixel_encoder(size, codes, table), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    assert events(seen["o"]) == expected
    clocks, offered = [], []
    clock = seen["i"].taken[0]
    for frame in frames:
        for word in spikes_of_words(frame, size, codes, table):
            clocks.append(clock)
            offered += [clock + PixelEncoder.LATENCY + n for n in range(len(word))]
            clock += max(1, len(word))
        offered.append(clock + PixelEncoder.LATENCY)  # watermark
        clock += 1
    assert seen["i"].taken == clocks
    assert seen["o"].offered == offered == seen["o"].taken


# -- events -----------------------------------------------------------------------------------------------------------


def event(**values: int) -> int:
    return EVENT_WORD.const(values).as_bits()


def passed(frames: list[list[int]], size: int, codes: int) -> list[tuple]:
    out = []
    for frame in frames:
        fault = 0
        for word in map(EVENT_WORD.from_bits, frame):
            if not word.mark and word.index < size and word.step < codes:
                out.append((0, 0, word.step, word.index))
            elif not word.mark:
                fault = 1
        out.append((1, fault, codes - 1, None))
    return out


def event_frames(rng: random.Random, size: int, codes: int, *, wrong: float) -> list[list[int]]:
    frames = []
    for _ in range(12):
        frame = [
            event(index=n, step=rng.randrange(codes), population=rng.randrange(16), fault=rng.randrange(2))
            for n in rng.sample(range(size), rng.randint(0, size))
        ]
        if rng.random() < wrong:
            index, step = rng.choice([(size, 0), (0, codes), (65535, 1023), (size - 1, codes), (size, codes - 1)])
            frame.insert(rng.randint(0, len(frame)), event(index=index, step=step))
        if not frame or rng.random() < 0.3:
            frame.insert(rng.randint(0, len(frame)), event(mark=1, index=rng.randrange(65536), step=1023))
        frames.append(frame)
    return frames


@pytest.mark.smoke
@STALLS
@pytest.mark.parametrize(("size", "codes"), [(1, 1), (5, 3), (8, 8), (7, 255)])
def test_events_in_order_and_faults(size, codes, stall, seed, waves) -> None:
    frames = event_frames(random.Random(seed), size, codes, wrong=0.4)
    expected = passed(frames, size, codes)
    assert {e[1] for e in expected if e[0]} == {0, 1}
    core = network(size, codes, "events")
    seen = exchange(
        EventInput(core), {"i": words(frames)}, {"o": len(expected)}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    assert events(seen["o"]) == expected


@pytest.mark.smoke
def test_event_clocks(seed, waves) -> None:
    """A clock a word, and one for the watermark; every word that is a spike comes out LATENCY clocks later."""
    size, codes = 6, 4
    frames = event_frames(random.Random(seed), size, codes, wrong=0.0)
    expected = passed(frames, size, codes)
    core = network(size, codes, "events")
    seen = exchange(EventInput(core), {"i": words(frames)}, {"o": len(expected)}, waves=waves)
    starts = accumulate((len(frame) + 1 for frame in frames[:-1]), initial=seen["i"].taken[0])
    clocks, offered = [], []
    for begin, frame in zip(starts, frames, strict=True):
        clocks += range(begin, begin + len(frame))
        spikes = [n for n, word in enumerate(frame) if not EVENT_WORD.from_bits(word).mark]
        offered += [begin + n + EventInput.LATENCY for n in (*spikes, len(frame))]
    assert seen["i"].taken == clocks
    assert seen["o"].offered == offered


# -- sorter -----------------------------------------------------------------------------------------------------------


def images_of_events(rng: random.Random, neurons: int, steps: int) -> list[list[tuple[int, int]]]:
    """(index, step): random, none, all in one step, all in the last step, one each step, falling steps."""

    def everyone() -> list[int]:
        return rng.sample(range(neurons), neurons)

    one = rng.randrange(steps)
    return [
        [(n, rng.randrange(steps)) for n in everyone()],
        [],
        [(n, one) for n in everyone()],
        [(n, steps - 1) for n in everyone()],
        [(n, n % steps) for n in everyone()],
        *([(n, rng.randrange(steps)) for n in rng.sample(range(neurons), rng.randint(0, neurons))] for _ in range(6)),
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
@pytest.mark.parametrize(("neurons", "steps"), [(1, 1), (1, 5), (9, 1), (8, 8), (13, 3), (5, 9)])
def test_sorter_sorts(neurons, steps, stall, seed, waves) -> None:
    rng = random.Random(seed)
    images = images_of_events(rng, neurons, steps)
    faults = [rng.randrange(2) for _ in images]
    expected = in_order(images, faults, steps)
    seen = exchange(
        Sorter(neurons, steps), {"i": stream_of(images, faults, steps, rng)}, {"o": len(expected)},
        stall=stall, seed=seed, waves=waves,
    )  # fmt: skip
    assert events(seen["o"]) == expected


@pytest.mark.smoke
@pytest.mark.parametrize(("neurons", "steps"), [(1, 1), (7, 4)])
def test_sorter_clocks(neurons, steps, seed, waves) -> None:
    """One event a clock in; LATENCY clocks after the final watermark ``spikes + T`` events out, one a clock."""
    images = images_of_events(random.Random(seed), neurons, steps)
    faults = [0] * len(images)
    expected = in_order(images, faults, steps)
    seen = exchange(
        Sorter(neurons, steps), {"i": stream_of(images, faults, steps)}, {"o": len(expected)}, waves=waves
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
        pytest.param([(5, 1), (5, 2)], 0, id="not_noticed"),
    ],
)
def test_a_neuron_that_comes_twice_harms_only_its_image(twice, fault, stall, seed, waves) -> None:
    """Such an image ends, with no more spikes than came; those around it are sorted as ever."""
    steps = 4
    good = [(n, n % steps) for n in range(10)]
    images, faults = [good, twice, good], [0, 0, 0]
    whole = in_order([good], [0], steps)

    def complete(items) -> bool:
        return sum(e.mark and e.step == steps - 1 for e in items) == len(images)

    seen = exchange(
        Sorter(10, steps), {"i": stream_of(images, faults, steps)}, {"o": complete}, stall=stall, seed=seed, waves=waves
    )  # fmt: skip
    got = events(seen["o"])
    assert got[: len(whole)] == got[-len(whole) :] == whole
    damaged = got[len(whole) : -len(whole)]
    assert [e[2] for e in damaged if e[0]] == list(range(steps))
    assert [e[1] for e in damaged if e[0]] == [0] * (steps - 1) + [fault]
    assert sum(not e[0] for e in damaged) <= len(twice)
