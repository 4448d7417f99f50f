# amaranth: UnusedElaboratable=no
"""Loading at power-up: every row of the list becomes one register write, once."""

from __future__ import annotations

from pathlib import Path

import parts
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect
from parts import some_core
from simulation import simulate

from firstspike.contract import registers
from firstspike.contract.hardware import Hardware
from firstspike.contract.image_formats import words_of
from firstspike_rtl.core.layouts import LoadSignature
from firstspike_rtl.top import boot
from firstspike_rtl.top.bus import Registers

CORE = some_core()


def contents(hardware: Hardware) -> dict[str, list[int]]:
    """Rows that all differ, so that none can stand for another."""
    return {
        memory.name: [(0x9E3779B97F4A7C15 * (memory.index + 1) * (row + 3)) % (1 << memory.data_bits)
                      for row in range(memory.depth)]
        for memory in hardware.memories
    }  # fmt: skip


def expected(hardware: Hardware) -> list[tuple[int, int, int]]:
    """(memory, row, contents) of every memory but the weights, the digest last."""
    rows = contents(hardware)
    small = [memory for memory in hardware.memories if memory.role != "weight"]
    return [(memory.index, n, row) for memory in (*small[1:], small[0]) for n, row in enumerate(rows[memory.name])]


class Booted(wiring.Component):
    """Registers with nothing else on their bus; ``reset`` resets both."""

    def __init__(self, hardware: Hardware, rows: list[int]) -> None:
        super().__init__({"load": Out(LoadSignature(hardware)), "done": Out(1)})
        self.reset = Signal()
        self.boot = boot.Boot(hardware, rows)
        self.registers = Registers(hardware, parts.contents(hardware))

    def elaborate(self, platform):
        inner = Module()
        inner.submodules.boot = self.boot
        inner.submodules.registers = self.registers
        connect(inner, self.boot.bus, self.registers.bus)
        m = Module()
        m.submodules.inner = ResetInserter(self.reset)(inner)
        load = self.registers.load
        m.d.comb += [getattr(self.load, name).eq(getattr(load, name)) for name in load.signature.members]
        m.d.comb += self.done.eq(self.boot.done)
        return m


def run(rows: list[int], bench, waves=None) -> tuple[list[tuple[int, int, int]], int]:
    """The writes on the load port, and the clock of the end."""
    dut = Booted(CORE, rows)
    loads: list[tuple[int, int, int]] = []
    ended: list[int] = []

    async def watch(ctx) -> None:
        load, clock = dut.load, 0
        async for _, _, valid, done, *write in ctx.tick().sample(
            load.valid, dut.done, load.memory, load.row, load.data
        ):
            if valid:
                memory, row, data = write
                loads.append((memory, row, data % (1 << CORE.memories[memory].row_bits)))
            if done and not ended:
                ended.append(clock)
            clock += 1

    async def main(ctx) -> None:
        await bench(ctx, dut)

    simulate(dut, main, processes=[watch], waves=waves)
    return loads, ended[0]


async def whole(ctx, dut) -> None:
    await ctx.tick().until(dut.done)
    await ctx.tick().repeat(50)


@pytest.mark.smoke
@pytest.mark.parametrize("spare", [0, 5])
def test_every_memory_is_loaded_once(spare: int, waves) -> None:
    """All but the weights, in whole, the digest last; rows beyond the list are not replayed."""
    rows = boot.rows(CORE, contents(CORE))
    assert len(rows) == boot.depth(CORE)
    weights = {CORE.memory("weight", n).index for n in range(len(CORE.layers))}
    loads, clocks = run(rows + [1] * spare, whole, waves)
    assert loads == expected(CORE)
    assert not weights & {memory for memory, *_ in loads}
    assert clocks == boot.Boot.CLOCKS_PER_ROW * boot.depth(CORE)
    page = (Path(__file__).parents[3] / "docs" / "boards.md").read_text()
    assert f"in {boot.Boot.CLOCKS_PER_ROW}\nclocks a row" in page


def test_a_reset_before_the_end_begins_again(waves) -> None:
    """A list that was cut anywhere is loaded from its first row."""
    rows = boot.rows(CORE, contents(CORE))
    for clocks in (1, 2, 3, 4, 5, 6, 7, 30, 101, boot.Boot.CLOCKS_PER_ROW * len(rows) - 2):

        async def bench(ctx, dut, clocks=clocks) -> None:
            await ctx.tick().repeat(clocks)
            assert not ctx.get(dut.done)
            ctx.set(dut.reset, 1)
            await ctx.tick().repeat(3)
            ctx.set(dut.reset, 0)
            await whole(ctx, dut)

        loads, _ = run(rows, bench, waves)
        assert loads[-len(expected(CORE)) :] == expected(CORE)


def test_a_reset_after_the_end_does_nothing(waves) -> None:
    """What a host loaded since is not overwritten."""

    async def bench(ctx, dut) -> None:
        await whole(ctx, dut)
        ctx.set(dut.reset, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.reset, 0)
        await ctx.tick().repeat(8 * boot.depth(CORE))
        assert ctx.get(dut.done)

    loads, _ = run(boot.rows(CORE, contents(CORE)), bench, waves)
    assert loads == expected(CORE)


def test_a_refused_write_ends_it(waves) -> None:
    """Before the digest: nobody takes the core for one that holds a network."""
    rows = boot.rows(CORE, contents(CORE))
    place = boot.selections(CORE)[2]
    rows[place] = len(CORE.memories)
    loads, _ = run(rows, whole, waves)
    assert loads == expected(CORE)[: place - 2]
    assert CORE.memory("digest").index not in {memory for memory, *_ in loads}


def test_too_few_rows() -> None:
    with pytest.raises(ValueError, match=f"3 rows for a list of {boot.depth(CORE)}"):
        boot.Boot(CORE, [0] * 3)


def test_the_list_is_that_of_a_load() -> None:
    """The same words, to the same registers, as a host writes them."""
    words = {memory.name: words_of(memory, contents(CORE)[memory.name]) for memory in CORE.memories}
    table = registers.register_map(CORE)
    cleared = 1 + CORE.memory("digest").depth  # which holds zeros at power-up
    by_host = list(registers.load_writes(CORE, words))[1 + cleared : -1]
    weights = [CORE.memory("weight", n) for n in range(len(CORE.layers))]
    skipped = [
        (table[name].address(), value)
        for memory in weights
        for name, value in [("load_memory", memory.index), *(("load_data", word) for word in words[memory.name])]
    ]
    selections = boot.selections(CORE)
    by_boot = [
        (table["load_memory" if n in selections else "load_data"].address(), row)
        for n, row in enumerate(boot.rows(CORE, contents(CORE)))
    ]
    assert sorted(by_boot + skipped) == sorted(by_host)
