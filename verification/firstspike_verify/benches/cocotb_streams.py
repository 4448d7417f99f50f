"""Bench: images through the core, with every mixture of stalls, one after another and back to back."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.readout import Readout
from firstspike_verify.benches.bench import KINDS, Bench, Kind, Stalls


@cocotb.test()
async def back_to_back(dut: Any) -> None:
    """Many images without a gap."""
    bench = Bench(dut, "back_to_back")
    await bench.start()
    await bench.enable()
    bench.send(bench.pictures(12))
    await bench.finish()


@cocotb.test()
async def one_at_a_time(dut: Any) -> None:
    """Each image after the result of the one before."""
    bench = Bench(dut, "one_at_a_time")
    await bench.start()
    await bench.enable()
    for picture in bench.pictures(5):
        bench.send(picture[None])
        await bench.drain()
    await bench.finish()


@cocotb.test()
async def classes_only(dut: Any) -> None:
    """Records without membranes."""
    bench = Bench(dut, "classes_only")
    await bench.start()
    await bench.enable(membranes=False)
    bench.send(bench.pictures(5))
    await bench.finish()


@cocotb.test()
@cocotb.parametrize(idle=KINDS, output=KINDS, monitor=KINDS)
async def stalls(dut: Any, idle: Kind, output: Kind, monitor: Kind) -> None:
    """Input that pauses, output and monitor that are not ready, and a register bus that does both meanwhile."""
    bench = Bench(dut, f"stalls {idle} {output} {monitor}")
    await bench.start(Stalls(input=idle, output=output, monitor=monitor, lite=bench.random.choice(KINDS)))
    await bench.enable()
    bench.send(bench.pictures(3))

    async def poll() -> None:
        while True:
            assert await bench.read("images") <= 3
            await ClockCycles(bench.clock, 5)

    polling = cocotb.start_soon(poll())
    await bench.drain()
    polling.cancel()
    await bench.lite.wait()
    await bench.finish()


@cocotb.test()
async def blocked(dut: Any) -> None:
    """An output that is never ready fills the core, which then waits and loses nothing."""
    bench = Bench(dut, "blocked")
    await bench.start()
    await bench.enable()
    bench.sink.pause = True
    # Two images in the banks of each layer, one on its way out, and what the queues at input and output hold; all
    # white, since dark words take no room.
    queued = PixelEncoder.QUEUE // (bench.manifest["frame_words"] or PixelEncoder.QUEUE) + Readout.QUEUE
    images = 3 * len(bench.hardware.layers) + queued + 3
    bench.send(np.full((images, *bench.network.image_shape), bench.network.image_most, np.uint8))
    words, taken = bench.streams[0].channel.rule, -1
    while words.transfers != taken:
        taken = words.transfers
        await bench.clocks(2000)
    assert not bench.source.idle(), f"the core took {images} images and gave no result"
    await bench.finish()
