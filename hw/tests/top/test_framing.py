"""Frames of the host link in hardware against those of :mod:`firstspike.host.link`: every single fault, everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from simulation import Stalls, Transfers, protocol_checker, receive, send, simulate

from firstspike.host import link
from firstspike.host.link import END, ESC, Frame
from firstspike_rtl.top.framing import FrameReceiver, FrameSender

CAPACITY = 8
SPECIAL = (END, ESC, link.ESC_END, link.ESC_ESC, 0x00, 0xFF)
#: Every special byte in header and payload; short, so that all faults of all bytes can be tried.
SAMPLE = Frame(0x42, 0x01C0DB7F, (0xC0DBDCDD,))
#: What a receiver must take after any mishap.
AFTER = Frame(0x17, 0x89ABCDEF)


def random_frame(rng: random.Random, words: int) -> Frame:
    """Every third byte is special."""

    def byte() -> int:
        return rng.choice(SPECIAL) if rng.random() < 1 / 3 else rng.randrange(256)

    def number() -> int:
        return sum(byte() << 8 * n for n in range(4))

    return Frame(byte(), number(), tuple(number() for _ in range(words)), byte())


def faulty(data: bytes) -> Iterable[bytes]:
    """Each byte lost, doubled, and changed into every other."""
    for n, byte in enumerate(data):
        yield data[:n] + data[n + 1 :]
        yield data[: n + 1] + data[n:]
        for other in range(256):
            if other != byte:
                yield data[:n] + bytes([other]) + data[n + 1 :]


def received(chunks: Iterable[bytes], *, capacity: int = CAPACITY, waves=None) -> list[list[Frame]]:
    """The frames that a receiver takes while each chunk comes, a byte a clock."""
    dut = FrameReceiver(capacity)
    frames: list[list[Frame]] = []
    memory = [0] * capacity

    async def clock(ctx, before: list[Frame]) -> None:
        """A clock in which a byte comes; what is good was so ``before`` it."""
        await ctx.tick()
        if ctx.get(dut.write):
            memory[ctx.get(dut.address)] = ctx.get(dut.word)
        if ctx.get(dut.good):
            header = ctx.get(dut.header)
            before.append(Frame(header.type, header.tag, tuple(memory[: header.length]), header.status))

    async def bench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        before: list[Frame] = []
        for chunk in chunks:
            frames.append([])
            for byte in chunk:
                ctx.set(dut.i.payload, byte)
                await clock(ctx, before)
                before = frames[-1]
        ctx.set(dut.i.valid, 0)
        await clock(ctx, before)

    simulate(dut, bench, max_clocks=10_000_000, waves=waves)
    return frames


@pytest.mark.smoke
def test_frames_in(seed: int, waves) -> None:
    """All lengths up to the capacity, back to back; longer ones are dropped, and harm nothing after them."""
    rng = random.Random(seed)
    frames = [random_frame(rng, words) for words in (*range(CAPACITY + 4), CAPACITY, 0, CAPACITY + 40, 1)]
    expected = [[frame] if len(frame.payload) <= CAPACITY else [] for frame in frames]
    assert received([bytes([END]), *map(link.encode, frames)], waves=waves) == [[], *expected]


@pytest.mark.smoke
def test_lengths_that_are_wrong(waves) -> None:
    """A frame whose CRC is right, but whose header states another length, is dropped."""
    lengths = (2, 0, 1, 3, 2 + (1 << 14), CAPACITY + 1, link.MAX_PAYLOAD_WORDS, 2)
    rest = bytes([2, 0, 3, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0])
    chunks = [link.enclose(length.to_bytes(2, "little") + rest) for length in lengths]
    right = [Frame(2, 3, (5, 6))]
    assert received([bytes([END]), *chunks], waves=waves)[1:] == [right if n == 2 else [] for n in lengths]


def test_every_single_fault(waves) -> None:
    """A byte lost, doubled or changed, in any place: the frame, or none; and the next one comes through at once."""
    data, after = link.encode(SAMPLE), link.encode(AFTER)
    faults = list(faulty(data))
    assert len(faults) == 257 * len(data)
    chunks = [chunk for fault in faults for chunk in (fault, after)]
    frames = received([bytes([END]), *chunks], waves=waves)[1:]
    taken = 0
    for n, fault in enumerate(faults):
        # A frame whose last END is gone ends with the first END of the next.
        (first, second) = frames[2 * n : 2 * n + 2]
        assert first + second in ([AFTER], [SAMPLE, AFTER]), fault.hex()
        assert first + second == list(link.Decoder().feed(bytes([END]) + fault + after)), fault.hex()
        taken += len(first + second) == 2
    # The four whose faults are to an END in a way that leaves the frame whole: lost or doubled, first or last.
    assert taken == 4


@pytest.mark.smoke
def test_random_damage(seed: int, waves) -> None:
    """Many faults at once, as the host's decoder sees them."""
    rng = random.Random(seed)
    chunks = []
    for _ in range(400):
        data = bytearray(link.encode(random_frame(rng, rng.randrange(CAPACITY + 1))))
        while rng.random() < 0.6:
            place = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[place:place] = bytes(rng.choice(SPECIAL) for _ in range(rng.randrange(1, 4)))
                case 1:
                    del data[place : place + rng.randrange(1, 6)]
                case 2:
                    data[place : place + 1] = rng.randbytes(1)
                case 3:
                    data[place:place] = data[max(0, place - 4) : place]
        chunks.append(bytes(data))
    frames = [frame for part in received([bytes([END]), *chunks, bytes([END])], waves=waves) for frame in part]
    decoder = link.Decoder(CAPACITY)
    assert frames == [
        frame for frame in decoder.feed(b"".join(chunks) + bytes([END])) if len(frame.payload) <= CAPACITY
    ]
    assert frames
    assert decoder.dropped


@pytest.mark.smoke
def test_hold(seed: int, waves) -> None:
    """A frame is dropped if any of its bytes came while the receiver was on hold, and only then."""
    data = link.encode(SAMPLE)
    dut = FrameReceiver(CAPACITY)
    good: list[tuple[int, int, int]] = []
    place = (0, 0, 0)

    async def bench(ctx) -> None:
        nonlocal place
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, END)
        await ctx.tick()
        for begin in range(len(data)):
            for end in (begin + 1, begin + 2, len(data)):
                for frame in range(2):
                    for n, byte in enumerate(data):
                        ctx.set(dut.hold, frame == 0 and begin <= n < end)
                        ctx.set(dut.i.payload, byte)
                        await ctx.tick()
                        if ctx.get(dut.good):
                            good.append(place)  # of the byte before
                        place = (begin, end, frame)
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.good)
        good.append(place)

    simulate(dut, bench, waves=waves)
    assert good == [(begin, end, 1) for begin in range(len(data)) for end in (begin + 1, begin + 2, len(data))]


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_frames_out(stall: float, seed: int, waves) -> None:
    """Byte for byte what the host would send; without waiting, as fast as documented."""
    rng = random.Random(seed)
    frames = [random_frame(rng, words) for words in (0, 1, 2, 3, 9, 40, 0)]
    words = []
    for frame in frames:
        numbers = [len(frame.payload) | frame.type << 16 | frame.status << 24, frame.tag, *frame.payload]
        words += [{"data": number, "last": n == len(numbers) - 1} for n, number in enumerate(numbers)]
    dut = FrameSender()
    expected = b"".join(map(link.encode, frames))
    out: list[int] = []
    seen = Transfers(dut.o)
    simulate(
        dut,
        send(dut.i, words, Stalls(seed, stall)),
        receive(dut.o, out, len(expected), Stalls(seed + 1, stall)),
        processes=[protocol_checker(dut.o, "bytes"), seen.watch],
        waves=waves,
    )
    assert bytes(out) == expected
    if not stall:
        escaped = expected.count(ESC)
        clocks = 3 * (len(expected) - 2 * len(frames) - escaped) + escaped + 2 * len(frames)
        assert seen.taken[-1] - seen.taken[0] == clocks - 1
