"""Bench: malformed input frames. The record says so, the rest of the image counts, the next image is exact."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import INDEX_BITS, PIXELS_PER_WORD
from firstspike.network import golden
from firstspike_rtl.core.inputs.events import TrainInput, event_input
from firstspike_rtl.core.layouts import EVENT_WORD
from firstspike_verify.benches.bench import KINDS, Bench, Stalls

Pictures = NDArray[np.uint8]


def send_malformed(bench: Bench, words: list[int], counted: Pictures) -> None:
    """One frame, which counts as the image ``counted``."""
    bench.expect(golden.run(bench.network, counted[None]), fault=True)
    bench.send_words(words)


def cases(bench: Bench) -> list[tuple[list[int], Pictures]]:
    """(words, the image they count as) of malformed frames."""
    return pixel_cases(bench) if bench.hardware.input == "pixels" else event_cases(bench)


def pixel_cases(bench: Bench) -> list[tuple[list[int], Pictures]]:
    """Too short by any number of words, too long by a few or very many."""
    assert bench.network.encoder[0] == bench.network.populations[0].codes, "a missing pixel counts as 0: no spike"
    length = bench.manifest["frame_words"]
    found = []
    for words in range(1, length):
        picture = bench.pictures(1)[0]
        cut = np.where(np.arange(len(picture)) < words * PIXELS_PER_WORD, picture, 0).astype(np.uint8)
        found.append((bench.words(picture[None])[0][:words], cut))
    for more in (1, 2, length, 10 * length):
        picture = bench.pictures(1)[0]
        noise = [bench.random.getrandbits(32) for _ in range(more)]
        found.append((bench.words(picture[None])[0] + noise, picture))
    return found


def event_cases(bench: Bench) -> list[tuple[list[int], Pictures]]:
    """One event, or several, with an index or a step that does not exist, anywhere in the frame."""
    codes = bench.hardware.layers[0].input_codes
    unknown = np.setdiff1d(np.arange(1 << INDEX_BITS), bench.hardware.indices(0))
    first, last, some = int(unknown[0]), int(unknown[-1]), int(bench.rng.choice(unknown))
    wrong = [
        {"index": first}, {"index": last}, {"index": some}, {"step": codes}, {"step": 1023},
        {"index": first, "step": codes},
    ]  # fmt: skip
    found = []
    for change in (*wrong, *wrong):
        picture = bench.pictures(1)[0]
        picture.flat[:3] = bench.network.image_most
        frame = bench.words(picture[None])[0]
        at = bench.random.randrange(len(frame) + 1)
        frame.insert(at, EVENT_WORD.const({"index": 0, "step": 0} | change).as_bits())
        found.append((frame, picture))
    if event_input(bench.hardware) is not TrainInput:
        return found
    for mark in (0, 1):  # a word that comes too late, with a spike or without
        picture = bench.pictures(1)[0]
        picture[-1, 0] = 1
        late = EVENT_WORD.const({"index": 1, "step": codes - 2, "mark": mark}).as_bits()
        found.append(([*bench.words(picture[None])[0], late], picture))
    return found


@cocotb.test()
@cocotb.parametrize(idle=KINDS, output=KINDS)
async def malformed_frames(dut: Any, idle: Any, output: Any) -> None:
    """Each malformed frame sets the fault bit of its record, and only of its own."""
    bench = Bench(dut, f"malformed_frames {idle} {output}")
    await bench.start(Stalls(input=idle, output=output))
    await bench.enable()
    malformed = cases(bench)
    bench.random.shuffle(malformed)
    for words, counted in malformed:
        send_malformed(bench, words, counted)
        bench.send(bench.pictures(bench.random.randint(0, 1)))
    bench.send(bench.pictures(1))
    await bench.drain()
    await bench.finish()
    assert await bench.read("faults") == len(malformed)


@cocotb.test()
async def no_tlast(dut: Any) -> None:
    """Words without ``tlast`` for very long: one result with its fault bit, and recovery at the next ``tlast``."""
    bench = Bench(dut, "no_tlast")
    await bench.start()
    await bench.enable()
    good = bench.pictures(2)
    bench.send(good[:1])
    await bench.drain()
    picture = bench.pictures(1)
    frame = bench.words(picture)[0]
    if bench.hardware.input == "pixels":
        frame += [bench.random.getrandbits(32) for _ in range(3000)]
    else:  # an event frame may be of any length: marks carry no spike
        step = bench.hardware.layers[0].input_codes - 1
        frame += [EVENT_WORD.const({"mark": 1, "step": step}).as_bits()] * 3000
    bench.expect(golden.run(bench.network, picture), fault=bench.hardware.input == "pixels")
    bench.send_words(frame)
    await bench.clocks(2000)
    assert not bench.source.idle()
    assert await bench.read("images") == (2 if bench.hardware.input == "pixels" else 1)
    bench.send(good[1:])
    await bench.finish()


@cocotb.test()
async def event_order(dut: Any) -> None:
    """Events of an image in any order, or of a step, give the same result (pixels: the same image several times)."""
    bench = Bench(dut, "event_order")
    await bench.start(Stalls(input="random"))
    await bench.enable()
    picture = bench.pictures(1)
    picture[picture == 0] = bench.network.image_most
    for _ in range(6):
        bench.send(picture)
    await bench.finish()
