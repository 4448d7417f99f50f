"""Bench: reset, and stop by register, at any moment; what follows is exact."""

from __future__ import annotations

from typing import Any

import cocotb

from firstspike_verify.benches.bench import KINDS, WORD_BYTES, Bench, Stalls

ROUNDS = 12


def random_stalls(bench: Bench) -> Stalls:
    """Any mixture."""
    draw = bench.random.choice
    return Stalls(input=draw(KINDS), output=draw(KINDS), monitor=draw(KINDS))


async def interrupted(bench: Bench, longest: int) -> None:
    """Images under way, for a random number of clocks."""
    bench.stall(random_stalls(bench))
    await bench.enable()
    bench.send(bench.pictures(5))
    await bench.clocks(bench.random.randint(1, longest))


async def some_clocks(bench: Bench) -> int:
    """About as many clocks as three images take."""
    await bench.enable()
    bench.send(bench.pictures(3))
    await bench.finish()
    clocks = await bench.read("clocks")
    bench.fresh_scoreboard()
    return clocks


@cocotb.test()
async def reset_in_mid_image(dut: Any) -> None:
    """``aresetn`` while images are anywhere in the core: it forgets them, counters and control, and starts anew."""
    bench = Bench(dut, "reset_in_mid_image")
    await bench.start()
    longest = await some_clocks(bench)
    for _ in range(ROUNDS):
        await interrupted(bench, longest)
        await bench.reset()
        for name in ("control", "status", "images", "clocks", "faults"):
            assert await bench.read(name) == 0, name
        await bench.clocks(50)
        await bench.enable()
        bench.send(bench.pictures(2))
        await bench.finish()
        assert await bench.read("images") == 2


@cocotb.test()
async def stop_in_mid_image(dut: Any) -> None:
    """``enable`` cleared while images are anywhere in the core: it forgets them, but not its counters."""
    bench = Bench(dut, "stop_in_mid_image")
    await bench.start()
    longest = await some_clocks(bench)
    for _ in range(ROUNDS):
        await interrupted(bench, longest)
        await bench.disable()
        assert await bench.read("status") == 0
        clocks = await bench.read("clocks")
        assert clocks > 0
        await bench.clocks(50)
        assert await bench.read("clocks") == clocks
        await bench.enable()
        bench.send(bench.pictures(2))
        await bench.finish()
        assert await bench.read("images") == 2


@cocotb.test()
async def disabled_core_takes_nothing(dut: Any) -> None:
    """While disabled the input is not ready; words that wait are taken once it is enabled."""
    bench = Bench(dut, "disabled_core_takes_nothing")
    await bench.start()
    bench.send(bench.pictures(2))
    for _ in range(100):
        await bench.clocks(1)
        assert not dut.s_axis_tready.value
        assert not dut.m_axis_tvalid.value
    assert not bench.source.idle()
    await bench.enable()
    await bench.finish()


@cocotb.test()
async def reset_in_register_access(dut: Any) -> None:
    """Reset at every clock of a register read and write; the bus works afterwards."""
    bench = Bench(dut, "reset_in_register_access")
    await bench.start()
    address = bench.registers["control"].address()
    for clocks in range(1, 8):
        bench.lite.init_write(address, (1).to_bytes(WORD_BYTES, "little"))
        bench.lite.init_read(address, WORD_BYTES)
        await bench.clocks(clocks)
        await bench.reset()
        assert await bench.read("control") == 0
    await bench.enable()
    bench.send(bench.pictures(2))
    await bench.finish()
