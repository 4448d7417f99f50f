"""Bench: what the registers say, count, and refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cocotb
import numpy as np

from firstspike.contract import images
from firstspike.contract.registers import (
    ADDRESS_BITS,
    CLEAR_COUNTERS,
    COUNTERS,
    ENABLE,
    SEND_MEMBRANES,
    constants,
    register_map,
)
from firstspike_rtl.clocks.cycles import floor
from firstspike_verify.benches.bench import OKAY, SLVERR, WORD_BYTES, Bench, Stalls


async def readable(bench: Bench) -> dict[tuple[str, int], int]:
    """Every register that can be read."""
    return {
        (r.name, i): await bench.read(r.name, i)
        for r in bench.registers.values()
        if r.access != "wo"
        for i in range(r.count)
    }


@cocotb.test()
async def description(dut: Any) -> None:
    """Identity, version, shape, sizes, fingerprint and digest are those of the manifest and the network."""
    bench = Bench(dut, "description")
    await bench.start(Stalls(lite="random"))
    for name, expected in constants(bench.hardware).items():
        assert [await bench.read(name, i) for i in range(len(expected))] == expected, name
    assert [await bench.read("sizes", i) for i in range(len(bench.network.sizes))] == list(bench.network.sizes)
    fingerprint = [await bench.read("hardware", i) for i in range(8)]
    assert "".join(f"{word:08x}" for word in fingerprint) == bench.manifest["fingerprint"]
    digest = [await bench.read("digest", i) for i in range(8)]
    assert digest == images.digest_words(bench.network)
    assert "".join(f"{word:08x}" for word in digest) == bench.manifest["network"]["digest"]


@cocotb.test()
async def counters(dut: Any) -> None:
    """Images, spikes, additions and clocks are counted exactly; the clear bit clears them all."""
    bench = Bench(dut, "counters")
    await bench.start()
    if not bench.hardware.counters:
        await no_counters(bench)
        return
    await bench.write("control", CLEAR_COUNTERS)
    await bench.write("control", ENABLE | SEND_MEMBRANES)
    result = bench.send(bench.pictures(7))
    await bench.finish()
    await bench.write("control", 0)
    control = [edge for edge, address in bench.lite_checker.writes if address == bench.registers["control"].address()]
    assert [await bench.read("clocks", n) for n in range(2)] == [control[-1] - control[-2], 0]
    assert await bench.read("images") == 7
    assert await bench.read("faults") == 0
    spikes = result.spikes(bench.network)
    assert [await bench.read("spikes", p) for p in range(spikes.shape[1])] == spikes.sum(axis=0).tolist()
    active = [await bench.read("active", i) for i in range(len(bench.hardware.layers))]
    assert active == floor(bench.hardware, result).sum(axis=0).tolist()
    await bench.write("control", CLEAR_COUNTERS)
    for name in COUNTERS:
        for i in range(bench.registers[name].count):
            assert await bench.read(name, i) == 0, name


async def no_counters(bench: Bench) -> None:
    """Of a core without: every address of one is an error, before images and after them."""
    for _ in range(2):
        for register in register_map(replace(bench.hardware, counters=True)).values():
            for i in range(register.count if register.name in COUNTERS else 0):
                assert await bench.try_read(register.address(i)) == (0, SLVERR), register.name
        await bench.enable()
        bench.send(bench.pictures(3))
        await bench.finish()


@cocotb.test()
async def status(dut: Any) -> None:
    """Busy from the end of an image's frame to its result."""
    bench = Bench(dut, "status")
    await bench.start()
    await bench.enable()
    assert await bench.read("status") == 0
    bench.sink.pause = True
    bench.send(bench.pictures(2))
    await bench.clocks(2000)
    assert await bench.read("status") == 1
    await bench.finish()
    assert await bench.read("status") == 0


@cocotb.test()
async def writable(dut: Any) -> None:
    """Control and load_memory read back what was written, but for the clear bit."""
    bench = Bench(dut, "writable")
    await bench.start(Stalls(lite="random"))
    for value in (SEND_MEMBRANES, ENABLE | SEND_MEMBRANES | CLEAR_COUNTERS, ENABLE, 0):
        await bench.write("control", value)
        assert await bench.read("control") == value & ~CLEAR_COUNTERS
    for memory in bench.hardware.memories:
        await bench.write("load_memory", memory.index)
        assert await bench.read("load_memory") == memory.index


@cocotb.test()
async def errors(dut: Any) -> None:
    """Everything that is refused answers SLVERR and changes nothing: the next images are exact."""
    bench = Bench(dut, "errors")
    await bench.start(Stalls(lite="random"))
    control, load = bench.registers["control"].address(), bench.registers["load_data"].address()
    mapped = {r.address(i): r for r in bench.registers.values() for i in range(r.count)}
    before = await readable(bench)
    noise = bench.random.getrandbits
    for address in range(0, 1 << ADDRESS_BITS, WORD_BYTES):
        register = mapped.get(address)
        if register is None or register.access == "wo":
            assert (await bench.try_read(address))[1] == SLVERR, f"read of {address:#x}"
        if register is None or register.access == "ro":
            assert await bench.try_write(address, noise(32)) == SLVERR, f"write of {address:#x}"
    for register in (bench.registers[name] for name in ("control", "load_memory", "load_data")):
        for length in (1, 2, 3):
            assert await bench.try_write(register.address(), 1, length) == SLVERR, f"{length} bytes to {register.name}"
    too_high = len(bench.hardware.memories)
    for number in (too_high, too_high + 1, 1 << 31):
        assert await bench.try_write(bench.registers["load_memory"].address(), number) == SLVERR
    assert await readable(bench) == before

    await bench.enable()
    for memory in bench.hardware.memories:
        await bench.write("load_memory", memory.index)
        assert await bench.try_write(load, noise(32)) == SLVERR
        bench.send(bench.pictures(1))
    assert await bench.try_read(control) == (ENABLE | SEND_MEMBRANES, OKAY)
    await bench.finish()
    assert [await bench.read("digest", i) for i in range(8)] == images.digest_words(bench.network)


@cocotb.test()
async def unaligned_and_mixed(dut: Any) -> None:
    """Reads and writes at the same time, address and data in any order, with stalls on all five channels."""
    bench = Bench(dut, "unaligned_and_mixed")
    await bench.start(Stalls(lite="random"))
    expected = {key: value for key, value in (await readable(bench)).items() if key[0] not in ("control", "clocks")}
    for _ in range(60):
        (name, index), value = bench.random.choice(list(expected.items()))
        write = bench.lite.init_write(
            bench.registers["control"].address(), SEND_MEMBRANES.to_bytes(WORD_BYTES, "little")
        )
        assert await bench.read(name, index) == value
        await write.wait()
        assert int(write.data.resp) == OKAY
    rule = bench.lite_checker.channels["b"].rule
    assert rule.transfers == 60
    assert np.unique([edge for edge, _ in bench.lite_checker.writes]).size == 60
    bench.lite_checker.finish()
