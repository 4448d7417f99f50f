"""Bench: another network of the same shape, loaded at run time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cocotb
import pytest

from firstspike.contract import images
from firstspike.errors import FirstspikeError
from firstspike_verify.benches.bench import SLVERR, Bench, Stalls


async def run_images(bench: Bench, count: int = 4) -> None:
    """Exact images, of the network that is in the core."""
    await bench.enable()
    bench.send(bench.pictures(count))
    await bench.finish()
    await bench.disable()


async def loaded(bench: Bench) -> list[int]:
    """The digest in the core."""
    return [await bench.read("digest", i) for i in range(8)]


@cocotb.test()
async def reload(dut: Any) -> None:
    """The second network is exact, and so is the first when it comes back; reset keeps what is loaded."""
    bench = Bench(dut, "reload")
    await bench.start()
    await run_images(bench)
    first, second = bench.network, bench.other
    assert first.digest != second.digest
    for network in (second, first, second, first):
        await bench.load(network)
        bench.network = network
        assert await loaded(bench) == images.digest_words(network)
        await run_images(bench)
        await bench.reset()
        await run_images(bench)


@cocotb.test()
async def reload_with_stalls(dut: Any) -> None:
    """Loading through a bus that pauses, while an image waits at the input."""
    bench = Bench(dut, "reload_with_stalls")
    await bench.start(Stalls(lite="random"))
    for network in (bench.other, bench.network):
        bench.network = network
        bench.send(bench.pictures(3))
        await bench.load(network)
        await bench.enable()
        await bench.finish()
        await bench.disable()


@cocotb.test()
async def refused_network(dut: Any) -> None:
    """A network that does not fit is refused before anything is written."""
    bench = Bench(dut, "refused_network")
    await bench.start()
    await run_images(bench, 1)
    first = bench.network
    wide = [replace(layer, bias=layer.bias * 0 + (1 << 28)) for layer in first.layers]
    misfits = [
        replace(first, layers=tuple(wide)),
        replace(first, layers=(*first.layers[:-1], replace(first.layers[-1], weight_bits=16))),
        replace(first, fire_start=(first.fire_start + 1) % first.steps),
    ]
    before = len(bench.lite_checker.writes)
    for misfit in misfits:
        with pytest.raises(FirstspikeError, match="the network"):
            await bench.load(misfit)
    assert len(bench.lite_checker.writes) == before
    assert await loaded(bench) == images.digest_words(first)
    await run_images(bench)


@cocotb.test()
async def load_while_enabled(dut: Any) -> None:
    """Loading while enabled is refused, word by word, and changes nothing."""
    bench = Bench(dut, "load_while_enabled")
    await bench.start()
    await bench.enable()
    words = images.load_words(images.contents(bench.other, bench.hardware), bench.hardware)
    bench.send(bench.pictures(4))
    for memory in bench.hardware.memories:
        await bench.write("load_memory", memory.index)
        for word in words[memory.name][:5]:
            assert await bench.try_write(bench.registers["load_data"].address(), word) == SLVERR
    await bench.finish()
    assert await loaded(bench) == images.digest_words(bench.network)


@cocotb.test()
async def load_restarts_a_memory(dut: Any) -> None:
    """A write to load_memory begins again at row 0, so that a broken-off load can be repeated."""
    bench = Bench(dut, "load_restarts_a_memory")
    await bench.start()
    words = images.load_words(images.contents(bench.network, bench.hardware), bench.hardware)
    for memory in bench.hardware.memories:
        await bench.write("load_memory", memory.index)
        for word in words[memory.name][: len(words[memory.name]) // 2]:
            await bench.write("load_data", word ^ 1)
        await bench.write("load_memory", memory.index)
        for word in words[memory.name]:
            await bench.write("load_data", word)
    await run_images(bench)
