"""Frames, good and malformed, through a whole core, and all that it says of each: nothing may hide a fault."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import parts
from simulation import Stalls, Trace, receive, send, simulate

from firstspike.contract.hardware import Hardware
from firstspike_rtl.clocks.cycles import refill_clocks
from firstspike_rtl.core.datapath import Core
from firstspike_rtl.core.inputs.events import TrainInput, event_input
from firstspike_rtl.core.layouts import EVENT_WORD, RESULT_WORD
from firstspike_verify.models import frames

STEPS = 4


@dataclass(frozen=True)
class Frame:
    """Words of one image, and whether something is wrong with them."""

    words: list[int]
    fault: bool


def three_layers(kind: str, fire: str, *, early: bool = False, repeat: int = 0) -> Hardware:
    """Eleven inputs, so that the last word of pixels is not full."""
    layers = (
        parts.layer(inputs=11, outputs=5, fire=fire),
        parts.layer(inputs=5, outputs=4, fire=fire),
        parts.layer(inputs=4, outputs=3, fires=False),
    )
    return parts.hardware(*layers, input=kind, repeat=repeat, steps=STEPS, fire_start=2 if early else STEPS)


#: Every kind of part that a flag passes through.
CORES = {
    "pixels": three_layers("pixels", "search"),
    "pixels_sorted": three_layers("pixels", "stepped", early=True),
    "events": three_layers("events", "stepped"),
    "events_sorted": three_layers("events", "stepped", early=True),
    "trains": three_layers("events", "stepped", repeat=2),
    "trains_in_order": three_layers("events", "stepped", early=True, repeat=2),
}


def event(index: int, step: int) -> int:
    return int(EVENT_WORD.const({"index": index, "step": step}).as_bits())


def frames_for(core: Hardware, rng: random.Random) -> list[Frame]:
    """Malformed frames of every kind, each followed by a good one."""
    return pixel_frames(core, rng) if core.input == "pixels" else event_frames(core, rng)


def pixel_frames(core: Hardware, rng: random.Random) -> list[Frame]:
    """Shorter and longer by one word and more."""
    whole = core.frame_words
    lengths = [whole, 1, whole, whole - 1, whole, whole + 1, whole, 3 * whole, whole]
    return [Frame([rng.getrandbits(32) for _ in range(length)], length != whole) for length in lengths]


def event_frames(core: Hardware, rng: random.Random) -> list[Frame]:
    """Events that cannot be, first, last and between others.

    Where they are sorted, also neurons that come twice; where they have to come in order, those that come too late.
    """
    codes, indices = core.layers[0].input_codes, core.indices(0).tolist()
    unknown = indices[-1] + 1

    def good() -> list[tuple[int, int]]:
        some = [(n, rng.randrange(codes)) for n in rng.sample(indices, len(indices) - 2)]
        return sorted(some, key=lambda e: e[1]) if core.repeat else some

    wrong = [[(unknown, 0), *good()], [*good(), (unknown, codes - 1)], [*good()[:3], (0, codes), *good()[3:]]]
    if core.sorts:
        each_once = [(n, n % codes) for n in indices]
        wrong += [
            [(5, 0), (7, 0), (5, 1), (8, 1)],  # lists are joined, the first goes on too long
            [(5, 3), (7, 3), (5, 2), (8, 2)],  # so does the last
            [(5, 2), (3, 2), (5, 2)],  # a list is cut, some are left
            [*each_once, each_once[-1]],  # as many go out as there are neurons; only the count of those that came tells
            [*each_once, (0, codes - 1)],  # none is left, but a list is not at its end
        ]
    if event_input(core) is TrainInput:
        wrong += [
            [(0, codes), *good()],
            [(3, 1), (4, 0)],
            [*good(), (0, codes - 1), (1, codes - 2)],
            [(2, codes - 1), *good()],
        ]
    found = [Frame([event(*e) for e in good()], False)]
    for image in wrong:
        found += [Frame([event(*e) for e in image], True), Frame([event(*e) for e in good()], False)]
    return found


@dataclass
class Said:
    """What a core says of an image.

    Parameters
    ----------
    record
        The flag in its record.
    populations
        For each population the flag in the final watermark, as the monitor shows it.
    others
        Flags in any other event.
    """

    record: int
    populations: list[int]
    others: int = 0


def said(core: Hardware, shown: list[Frame], *, seed: int = 0, waves: Any = None) -> tuple[list[Said], int]:
    """What a core says of each frame, and how many of them it counts as malformed."""
    spike = 1 << (core.memory("encoder").field_bits - 1) if core.input == "pixels" else 0
    rows = {"encoder": [[spike | pixel % STEPS if pixel % 3 else 0] for pixel in range(256)]} if spike else {}
    dut = Core(core, parts.contents(core, **rows))
    words = [{"data": w, "last": n == len(f.words) - 1} for f in shown for n, w in enumerate(f.words)]
    records: list[int] = []
    events: list[list[tuple[bool, int]]] = [[] for _ in core.layers]
    trace = Trace(faulty=dut.faulty)

    async def watch(ctx: Any) -> None:
        codes = frames.codes_of(core)
        ctx.set(dut.monitor.ready, 1)
        while any(sum(final for final, _ in seen) < len(shown) for seen in events):
            (beat,) = await ctx.tick().sample(dut.monitor.payload).until(dut.monitor.valid)
            for p, seen in enumerate(events):
                event = beat.slots[p]
                if beat.keep >> p & 1:
                    seen.append((event.mark and event.step == codes[p] - 1, event.fault))

    simulate(
        dut,
        send(dut.i, words, Stalls(seed), wait=refill_clocks(core)),
        receive(dut.o, records, len(shown), Stalls(seed), read=lambda p: RESULT_WORD.from_bits(p.data).fault),
        watch,
        processes=[trace.watch],
        max_clocks=20_000,
        waves=waves,
    )
    out = [Said(record, []) for record in records]
    for seen in events:
        image = 0
        for final, fault in seen:
            assert image < len(out), "more images come out than were shown"
            if final:
                out[image].populations.append(fault)
                image += 1
            else:
                out[image].others |= fault
    return out, sum(clock.faulty for clock in trace.clocks)


def expected(core: Hardware, shown: list[Frame]) -> tuple[list[Said], int]:
    """What it ought to say: each flag is that of its frame, and of no other."""
    images = [Said(int(frame.fault), [int(frame.fault)] * len(core.layers)) for frame in shown]
    return images, sum(frame.fault for frame in shown)
