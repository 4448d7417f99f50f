"""Registers over AXI4-Lite against the register map, and memories filled through the load port."""

from __future__ import annotations

import inspect
import random
import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import parts
import pytest
from amaranth.hdl import Fragment, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks
from parts import some_core
from simulation import Stalls, Trace, exchange, loose, protocol_checker, simulate

from firstspike.contract import images, registers, words
from firstspike.contract.hardware import Hardware
from firstspike.network.model import dense
from firstspike_rtl.core.layouts import LoadSignature
from firstspike_rtl.core.tables import add_table, fields
from firstspike_rtl.top.bus import OKAY, SLVERR, Registers


class Master:
    """AXI4-Lite master: one access at a time, the channels of a write in any order."""

    def __init__(self, bus, stalls: Stalls) -> None:
        self.bus, self.stalls = bus, stalls

    async def pause(self, ctx) -> None:
        for _ in range(self.stalls.clocks()):
            await ctx.tick()

    async def read(self, ctx, address: int) -> tuple[int, int]:
        """(data, response)."""
        bus = self.bus
        await self.pause(ctx)
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        await ctx.tick().until(bus.arready)
        ctx.set(bus.arvalid, 0)
        ctx.set(bus.araddr, 0)
        await self.pause(ctx)
        ctx.set(bus.rready, 1)
        data, response = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
        ctx.set(bus.rready, 0)
        return data, response

    async def write(self, ctx, address: int, value: int, strobe: int = 0xF) -> int:
        bus = self.bus
        await self.pause(ctx)
        channels = [(bus.awvalid, bus.awready), (bus.wvalid, bus.wready)]
        begin = [self.stalls.clocks() for _ in channels]
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobe)
        taken = [False, False]
        while not all(taken):
            for n, (valid, _) in enumerate(channels):
                ctx.set(valid, not taken[n] and begin[n] <= 0)
                begin[n] -= 1
            _, _, *passed = await ctx.tick().sample(*(valid & ready for valid, ready in channels))
            taken = [before or now for before, now in zip(taken, passed, strict=True)]
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await self.pause(ctx)
        ctx.set(bus.bready, 1)
        (response,) = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
        ctx.set(bus.bready, 0)
        return response


def run(core: Hardware, bench, *, contents=None, stall=0.0, seed=0, waves=None) -> list[tuple[int, int, int]]:
    """Run ``bench(ctx, dut, master, table)``; the writes on the load port (memory, row, data)."""
    dut = Registers(core, contents or parts.contents(core))
    master = Master(dut.bus, Stalls(seed, stall))
    loads: list[tuple[int, int, int]] = []

    async def watch(ctx) -> None:
        load = dut.load
        async for _, _, valid, *write in ctx.tick().sample(load.valid, load.memory, load.row, load.data):
            if valid:
                loads.append(tuple(write))

    async def main(ctx) -> None:
        await bench(ctx, dut, master, registers.register_map(core))
        await ctx.tick().repeat(3)

    bus = dut.bus
    answers = [
        protocol_checker(SimpleNamespace(valid=bus.rvalid, ready=bus.rready, payload=bus.rdata), "read data"),
        protocol_checker(SimpleNamespace(valid=bus.rvalid, ready=bus.rready, payload=bus.rresp), "read response"),
        protocol_checker(SimpleNamespace(valid=bus.bvalid, ready=bus.bready, payload=bus.bresp), "write response"),
    ]
    simulate(dut, main, processes=[watch, *answers], waves=waves)
    return loads


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["pixels", "events"])
def test_every_address(kind, stall, seed, waves) -> None:
    """Every word of the address space after reset: the registers of the map, and errors everywhere else."""
    core = some_core(input=kind, fire_start=2)
    digest = [random.Random(seed + n).getrandbits(32) for n in range(8)]
    contents = parts.contents(core, digest=[[word] for word in digest])
    constants = registers.constants(core) | {"digest": digest}
    assert constants["hardware"] == words.hash_words(core.fingerprint)

    async def bench(ctx, dut, master, table) -> None:
        expected = {}
        for register in table.values():
            for n in range(register.count):
                value = constants[register.name][n] if register.name in constants else 0
                expected[register.address(n)] = (value, OKAY) if register.access != "wo" else (0, SLVERR)
        assert len(expected) == sum(register.count for register in table.values()), "registers overlap"
        for address in range(0, 1 << registers.ADDRESS_BITS, 4):
            got = await master.read(ctx, address)
            assert got == expected.get(address, (0, SLVERR)), f"address {address:#x}"

    assert run(core, bench, contents=contents, stall=stall, seed=seed, waves=waves) == []


@pytest.mark.smoke
@pytest.mark.parametrize("low", [1, 2, 3])
def test_the_lowest_address_bits_are_ignored(low, seed, waves) -> None:
    """Reads and writes of unaligned addresses are those of the word around them."""

    async def bench(ctx, dut, master, table) -> None:
        identity, control = table["identity"].address(), table["control"].address()
        assert await master.read(ctx, identity + low) == (registers.IDENTITY, OKAY)
        assert await master.write(ctx, control + low, registers.ENABLE) == OKAY
        assert await master.read(ctx, control) == (registers.ENABLE, OKAY)
        assert ctx.get(dut.enable) == 1
        assert (await master.read(ctx, 0x1C + low))[1] == SLVERR
        assert await master.write(ctx, identity + low, 1) == SLVERR

    run(some_core(), bench, seed=seed, waves=waves)


@pytest.mark.smoke
def test_shape_word_has_the_documented_fields() -> None:
    word = registers.shape_word(some_core(input="events", fire_start=3))
    assert (word & 15, word >> 4 & 0x7FF, word >> 15 & 0x7FF) == (2, 4, 3)
    assert (word >> 29 & 1, word >> 30 & 1, word >> 31) == (0, 1, 0)
    only = parts.layer(input_codes=9, fires=True)
    word = registers.shape_word(parts.hardware(only, steps=1024, simultaneous=True))
    assert (word & 15, word >> 4 & 0x7FF, word >> 15 & 0x7FF) == (1, 1024, 1024)
    assert (word >> 29 & 1, word >> 30 & 1, word >> 31) == (1, 0, 1)


@pytest.mark.smoke
def test_writes_that_are_refused_change_nothing(seed, waves) -> None:
    core = some_core()

    async def bench(ctx, dut, master, table) -> None:
        control, memory, data = (table[n].address() for n in ("control", "load_memory", "load_data"))
        writable = {control, memory, data}
        for address in range(0, 1 << registers.ADDRESS_BITS, 4):
            if address not in writable:
                assert await master.write(ctx, address, 7) == SLVERR, f"address {address:#x}"
        for strobe in range(15):
            for address in writable:
                assert await master.write(ctx, address, 1, strobe) == SLVERR
        assert await master.write(ctx, memory, len(core.memories)) == SLVERR
        assert await master.write(ctx, memory, 1 << 16) == SLVERR
        assert await master.read(ctx, control) == (0, OKAY)
        assert await master.read(ctx, memory) == (0, OKAY)
        assert await master.write(ctx, control, registers.ENABLE) == OKAY
        assert await master.write(ctx, data, 5) == SLVERR  # enabled

    assert run(core, bench, seed=seed, stall=0.2, waves=waves) == []


@pytest.mark.smoke
def test_control(waves) -> None:
    core = some_core()

    async def bench(ctx, dut, master, table) -> None:
        address = table["control"].address()
        for value in range(8):
            assert await master.write(ctx, address, value | 0xABCDE0) == OKAY
            assert ctx.get(dut.enable) == value & 1
            assert ctx.get(dut.send_membranes) == value >> 1 & 1
            assert await master.read(ctx, address) == (value & 3, OKAY)  # clear reads 0

    run(core, bench, waves=waves)


@pytest.mark.smoke
def test_answers_take_latency_clocks(waves) -> None:
    """An answer is there LATENCY clocks after its address and data; a read comes every INTERVAL clocks, and a write."""
    core = some_core()
    clocks = 41
    seen: dict[str, list[int]] = {"ar": [], "r": [], "aw": [], "b": []}

    async def bench(ctx, dut, master, table) -> None:
        bus = dut.bus
        for name, value in {"araddr": 0, "arvalid": 1, "rready": 1, "awaddr": table["control"].address(), "awvalid": 1,
                            "wvalid": 1, "wstrb": 15, "bready": 1}.items():  # fmt: skip
            ctx.set(getattr(bus, name), value)
        channels = {name: (getattr(bus, f"{name}valid"), getattr(bus, f"{name}ready")) for name in seen}
        for clock in range(clocks):
            for name, (valid, ready) in channels.items():
                if ctx.get(valid) and ctx.get(ready):
                    seen[name].append(clock)
            await ctx.tick()

    run(core, bench, waves=waves)
    reads, writes = (list(range(0, clocks, interval)) for interval in (Registers.INTERVAL, Registers.WRITE_INTERVAL))
    assert (seen["ar"], seen["aw"]) == (reads, writes)
    assert seen["r"] == [clock + Registers.LATENCY for clock in reads if clock + Registers.LATENCY < clocks]
    assert seen["b"] == [
        clock + Registers.WRITE_LATENCY for clock in writes if clock + Registers.WRITE_LATENCY < clocks
    ]


@pytest.mark.smoke
def test_writes_are_those_of_the_diagram(waves) -> None:
    """The one in the docstring, which every generated core has as a comment: A and B are values of control."""
    found = re.finditer(r"^ +(clock|awvalid|awready|write|bvalid) .*$", inspect.getdoc(Registers) or "", re.M)
    lines = {line[1]: line[0] for line in found}
    clocks = [digit.start() for digit in re.finditer(r"\d", lines.pop("clock"))]
    drawn = {name: [line[clock : clock + 1].strip() for clock in clocks] for name, line in lines.items()}
    values = {"": 0, "A": registers.ENABLE, "B": registers.ENABLE | registers.SEND_MEMBRANES}
    seen: dict[str, list[str]] = {name: [] for name in drawn}

    async def bench(ctx, dut, master, table) -> None:
        bus, answers, control = dut.bus, iter("AB"), 0
        ctx.set(bus.awaddr, table["control"].address())
        ctx.set(bus.wstrb, 15)
        ctx.set(bus.bready, 1)
        for letter in drawn["awvalid"]:
            ctx.set(bus.awvalid, bool(letter))
            ctx.set(bus.wvalid, bool(letter))
            ctx.set(bus.wdata, values[letter])
            seen["awvalid"].append(letter)
            seen["awready"].append(str(ctx.get(bus.awready)))
            seen["bvalid"].append(next(answers) if ctx.get(bus.bvalid) else "")
            await ctx.tick()
            before, control = control, ctx.get(dut.enable) | ctx.get(dut.send_membranes) << 1
            seen["write"].append(next(x for x in values if values[x] == control) if control != before else "")

    run(some_core(), bench, waves=waves)
    assert seen == drawn


WRITE_STALLS = {
    "full_rate": {},
    "address_late": {"aw": 0.7},
    "data_late": {"w": 0.7},
    "answer_late": {"b": 0.7},
    "address_and_data_late": {"aw": 0.5, "w": 0.5},
    "all_late": {"aw": 0.5, "w": 0.5, "b": 0.5},
}


@pytest.mark.smoke
@pytest.mark.parametrize("stall", WRITE_STALLS.values(), ids=WRITE_STALLS)
def test_writes_in_any_order_and_at_full_rate(stall, seed, waves) -> None:
    """A whole load, with rows of one word and of more, and memories of one row: each write is executed once, in order.

    Without stalls the next write is executed as soon as it can be, when the place for its word must be right.
    """
    core = parts.hardware(
        parts.layer(inputs=7, outputs=19, lanes=19), parts.layer(inputs=19, outputs=2, lanes=2), fire_start=2
    )
    assert {memory.words for memory in core.memories} >= {1, 3}
    rng = random.Random(seed)
    contents = {m.name: [rng.getrandbits(m.data_bits) for _ in range(m.depth)] for m in core.memories}
    table = registers.register_map(core)
    load = list(registers.load_writes(core, images.load_words(contents, core)))
    one_too_many = [(table["control"].address(), 0), (table["load_data"].address(), 7), (0x1FC, 7)]
    writes = [*load, *one_too_many]
    dut = Registers(core, parts.contents(core))
    bus, seen = dut.bus, Trace(valid=dut.load.valid, memory=dut.load.memory, row=dut.load.row, data=dut.load.data)
    dut.aw = loose(bus.awvalid, bus.awready, address=bus.awaddr)
    dut.w = loose(bus.wvalid, bus.wready, data=bus.wdata, strobe=bus.wstrb)
    dut.b = loose(bus.bvalid, bus.bready, response=bus.bresp)
    passed = exchange(
        dut,
        {"aw": [{"address": address} for address, _ in writes], "w": [{"data": x, "strobe": 15} for _, x in writes]},
        {"b": len(writes)}, stall=stall, seed=seed, processes=[seen.watch], waves=waves,
    )  # fmt: skip
    assert [answer.response for answer in passed["b"].items] == [OKAY] * (len(load) + 1) + [SLVERR] * 2
    expected = [(core.memory("digest").index, row, 0) for row in range(8)]
    expected += [(m.index, row, x) for m in registers.load_order(core) for row, x in enumerate(contents[m.name])]
    masks = [(1 << memory.row_bits) - 1 for memory in core.memories]
    assert [(x.memory, x.row, x.data & masks[x.memory]) for x in seen.clocks if x.valid] == expected
    whole = [max(clocks) for clocks in zip(passed["aw"].taken, passed["w"].taken, strict=True)]
    if "b" not in stall:
        assert passed["b"].offered == [clock + Registers.WRITE_LATENCY for clock in whole]
    if not stall:
        assert whole == [whole[0] + n * Registers.WRITE_INTERVAL for n in range(len(writes))]
    if stall == {"aw": 0.7}:
        assert any(w < aw for aw, w in zip(passed["aw"].taken, passed["w"].taken, strict=True))
    if stall == {"w": 0.7}:
        assert any(aw < w for aw, w in zip(passed["aw"].taken, passed["w"].taken, strict=True))


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [{}, {"ar": 0.5}, {"r": 0.7}, {"ar": 0.5, "r": 0.5}])
def test_reads_one_after_another(stall, seed, waves) -> None:
    """A read that waits behind an answer is that of its own address: also of the digest, which comes from a memory."""
    core = some_core()
    contents = parts.contents(core, digest=[[n + 1] for n in range(8)])
    table = registers.register_map(core)
    constants = registers.constants(core) | {"digest": list(range(1, 9))}
    places = {table[name].address(n): value for name, values in constants.items() for n, value in enumerate(values)}
    addresses = random.Random(seed).choices(list(places), k=120)
    dut = Registers(core, contents)
    bus = dut.bus
    dut.ar = loose(bus.arvalid, bus.arready, address=bus.araddr)
    dut.r = loose(bus.rvalid, bus.rready, data=bus.rdata, response=bus.rresp)
    passed = exchange(
        dut, {"ar": [{"address": a} for a in addresses]}, {"r": len(addresses)}, stall=stall, seed=seed, waves=waves
    )
    assert [(x.data, x.response) for x in passed["r"].items] == [(places[a], OKAY) for a in addresses]
    if "r" not in stall:
        assert passed["r"].offered == [clock + Registers.LATENCY for clock in passed["ar"].taken]
    if not stall:
        first = passed["ar"].taken[0]
        assert passed["ar"].taken == [first + n * Registers.INTERVAL for n in range(len(addresses))]


@pytest.mark.smoke
def test_counters(seed, waves) -> None:
    """Each counts what it is named after, from the last clear; clocks only while enabled."""
    core = some_core()
    rng = random.Random(seed)
    layers = len(core.layers)

    async def bench(ctx, dut, master, table) -> None:
        async def read(name, index=0) -> int:
            value, response = await master.read(ctx, table[name].address(index))
            assert response == OKAY
            return value

        async def all_counters() -> dict[str, list[int]]:
            names = ("images", "faults", "spikes", "active")
            return {name: [await read(name, n) for n in range(table[name].count)] for name in names}

        for _ in range(3):
            await master.write(ctx, table["control"].address(), registers.ENABLE | registers.CLEAR_COUNTERS)
            await ctx.tick()
            counts = {"images": [0], "faults": [0], "spikes": [0] * layers, "active": [0] * layers}
            assert await all_counters() == counts
            for _ in range(100):
                drawn = {"finished": rng.getrandbits(1), "faulty": rng.getrandbits(1), "started": rng.getrandbits(1),
                         "spikes": rng.getrandbits(layers), "active": rng.getrandbits(layers)}  # fmt: skip
                for name, value in drawn.items():
                    ctx.set(getattr(dut, name), value)
                await ctx.tick()
                counts["images"][0] += drawn["finished"]
                counts["faults"][0] += drawn["faulty"]
                for n in range(layers):
                    counts["spikes"][n] += drawn["spikes"] >> n & 1
                    counts["active"][n] += drawn["active"] >> n & 1
            for name in drawn:
                ctx.set(getattr(dut, name), 0)
            assert await all_counters() == counts

        assert await read("clocks", 1) == 0
        before = await read("clocks")
        await ctx.tick().repeat(50)
        # Two reads in a row tell how many clocks a read takes.
        middle = await read("clocks")
        after = await read("clocks")
        assert middle - before == 50 + (after - middle)
        await master.write(ctx, table["control"].address(), 0)
        stopped = await read("clocks")
        await ctx.tick().repeat(20)
        assert await read("clocks") == stopped > after

    run(core, bench, waves=waves)


@pytest.mark.smoke
def test_clocks_are_one_number_of_two_words(seed, waves) -> None:
    """Read across the wrap of the low word, at every distance from it: always the clock of the read of the low word."""
    core = some_core()
    for before in range(12):

        async def bench(ctx, dut, master, table, before=before) -> None:
            low, high = (table["clocks"].address(n) for n in range(2))
            await master.write(ctx, table["control"].address(), registers.ENABLE | registers.CLEAR_COUNTERS)
            start = (5 << 32) + (1 << 32) - before
            ctx.set(dut.clocks, start)
            values = []
            for _ in range(4):
                words_read = [(await master.read(ctx, address))[0] for address in (low, high)]
                values.append(words_read[0] | words_read[1] << 32)
            await ctx.tick().repeat(3)
            late, _ = await master.read(ctx, high)
            assert late == values[-1] >> 32, "the high word is held until the low one is read again"
            steps = {b - a for a, b in pairwise(values)}
            assert len(steps) == 1, "a read of both words takes always the same number of clocks"
            assert start < values[0] < start + 8
            await master.write(ctx, table["control"].address(), registers.ENABLE | registers.CLEAR_COUNTERS)
            assert ctx.get(dut.clocks) < 8

        run(core, bench, waves=waves)


@pytest.mark.smoke
def test_clocks_stand_still_while_disabled(waves) -> None:
    """Both words, also where the next clock would carry from one to the other; then they go on from there."""
    start = (5 << 32) + (1 << 32) - 1

    async def bench(ctx, dut, master, table) -> None:
        low, high = (table["clocks"].address(n) for n in range(2))
        ctx.set(dut.clocks, start)
        await ctx.tick().repeat(20)
        assert [await master.read(ctx, address) for address in (low, high)] == [(0xFFFFFFFF, OKAY), (5, OKAY)]
        assert await master.write(ctx, table["control"].address(), registers.ENABLE) == OKAY
        await ctx.tick().repeat(20)
        assert start + 20 < ctx.get(dut.clocks) < start + 30

    run(some_core(), bench, waves=waves)


@pytest.mark.smoke
def test_without_counters(seed, waves) -> None:
    """Their addresses are answered with an error, there are no such members, and status still tells."""
    core = some_core(counters=False)
    counted = registers.register_map(some_core())
    absent = {counted[name].address(n) for name in registers.COUNTERS for n in range(counted[name].count)}

    async def bench(ctx, dut, master, table) -> None:
        assert not set(registers.COUNTERS) & set(table)
        assert not {"faulty", "spikes", "active"} & set(dut.signature.members)
        for address in absent:
            assert await master.read(ctx, address) == (0, SLVERR), f"address {address:#x}"
        await master.write(ctx, table["control"].address(), registers.ENABLE | registers.CLEAR_COUNTERS)
        ctx.set(dut.started, 1)
        await ctx.tick()
        ctx.set(dut.started, 0)
        assert await master.read(ctx, table["status"].address()) == (registers.BUSY, OKAY)

    run(core, bench, seed=seed, waves=waves)


@pytest.mark.smoke
def test_status_tells_whether_an_image_is_in_the_core(waves) -> None:
    async def bench(ctx, dut, master, table) -> None:
        async def busy() -> int:
            value, _ = await master.read(ctx, table["status"].address())
            return value & registers.BUSY

        async def pulse(*names) -> None:
            for name in names:
                ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            for name in names:
                ctx.set(getattr(dut, name), 0)

        await master.write(ctx, table["control"].address(), registers.ENABLE)
        assert not await busy()
        await pulse("started")
        await pulse("started")
        await pulse("finished")
        assert await busy()
        await pulse("started", "finished")
        assert await busy()
        await pulse("finished")
        assert not await busy()
        await pulse("started")
        await master.write(ctx, table["control"].address(), 0)  # throws the image away
        assert not await busy()

    run(some_core(), bench, waves=waves)


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_loading_reaches_every_row_in_order(convolutional: bool, data: st.DataObject) -> None:
    """What the writes of ``load_writes`` become: memory, row and contents of each; a row that is not whole, nothing."""
    network = data.draw(networks(max_size=5, convolutional=convolutional))
    hardware = Hardware.for_network(network, lanes=[-(-len(layer.weight) // 2) for layer in network.layers])
    contents = images.contents(network, hardware)
    # The encoder and a long direct kernel are 256 words each; the first rows tell as much.
    few = {m.name: images.load_words(contents, hardware)[m.name][:24] for m in hardware.memories}

    async def bench(ctx, dut, master, table) -> None:
        for address, value in registers.load_writes(hardware, few):
            assert await master.write(ctx, address, value) == OKAY
        assert ctx.get(dut.enable) == 1

    digest, *others = hardware.memories
    expected = [(digest.index, row, 0) for row in range(digest.depth)]
    for memory in (*others, digest):
        rows = contents[memory.name][: len(few[memory.name]) // memory.words]
        expected += [(memory.index, row, value) for row, value in enumerate(rows)]
    masks = [(1 << memory.row_bits) - 1 for memory in hardware.memories]
    written = [(index, row, data & masks[index]) for index, row, data in run(hardware, bench)]
    assert written == expected


@pytest.mark.smoke
def test_a_word_too_many_is_refused(waves) -> None:
    """A memory takes as many words as it has; the next is an error until another memory is chosen."""
    core = some_core()

    async def bench(ctx, dut, master, table) -> None:
        for memory in core.memories:
            count = memory.depth * memory.words
            assert await master.write(ctx, table["load_memory"].address(), memory.index) == OKAY
            for _ in range(count):
                assert await master.write(ctx, table["load_data"].address(), 3) == OKAY
            for _ in range(2):
                assert await master.write(ctx, table["load_data"].address(), 3) == SLVERR

    loads = run(core, bench, waves=waves)
    assert len(loads) == sum(memory.depth for memory in core.memories)


@pytest.mark.smoke
def test_a_load_begins_at_the_first_word_of_the_first_row(waves) -> None:
    """Also after one that was cut short, within a row or behind some: of the same memory and of another."""
    core = parts.hardware(parts.layer(inputs=7, outputs=19, lanes=19), parts.layer(inputs=19, outputs=17, lanes=17))
    wide = [memory for memory in core.memories if memory.words > 2 and memory.depth > 1]
    assert len(wide) > 1
    rng = random.Random(0)
    expected: list[tuple[int, int, int]] = []

    async def bench(ctx, dut, master, table) -> None:
        async def load(memory, count: int) -> None:
            assert await master.write(ctx, table["load_memory"].address(), memory.index) == OKAY
            words_in = [rng.getrandbits(32) for _ in range(count)]
            for word in words_in:
                assert await master.write(ctx, table["load_data"].address(), word) == OKAY
            rows = [words_in[n : n + memory.words] for n in range(0, count - memory.words + 1, memory.words)]
            for row, parts_of_row in enumerate(rows):
                value = sum(word << 32 * n for n, word in enumerate(parts_of_row))
                expected.append((memory.index, row, value & (1 << memory.row_bits) - 1))

        for memory in wide:
            for cut in (1, memory.words - 1, memory.words + 1):
                for other in wide:
                    await load(other, cut)
                    await load(memory, memory.depth * memory.words)

    masks = [(1 << memory.row_bits) - 1 for memory in core.memories]
    written = [(index, row, data & masks[index]) for index, row, data in run(core, bench, waves=waves)]
    assert written == expected


# -- the memories -----------------------------------------------------------------------------------------------------


class Table(wiring.Component):
    """One memory with its load port and two read ports."""

    def __init__(self, core: Hardware, spec, contents) -> None:
        self.core, self.spec, self.contents = core, spec, contents
        super().__init__(
            {"load": In(LoadSignature(core)), "address": In(16), "now": Out(spec.row_bits), "next": Out(spec.row_bits)}
        )

    def elaborate(self, platform):
        m = Module()
        table = add_table(m, self.spec, self.contents, self.load)
        comb, sync = table.read_port(domain="comb"), table.read_port()
        m.d.comb += [
            comb.addr.eq(self.address), sync.addr.eq(self.address), sync.en.eq(1),
            self.now.eq(comb.data), self.next.eq(sync.data),
        ]  # fmt: skip
        return m


@pytest.mark.smoke
@pytest.mark.parametrize("name", [m.name for m in some_core().memories])
def test_load_port_writes_its_memory_only(name, seed, waves) -> None:
    """Image first; then every row written, with writes to all other memories among them; a row is there at once."""
    core = some_core()
    spec = next(m for m in core.memories if m.name == name)
    rng = random.Random(seed)
    initial, loaded = ([rng.getrandbits(spec.row_bits) for _ in range(spec.depth)] for _ in range(2))
    dut = Table(core, spec, {name: initial})

    async def bench(ctx) -> None:
        async def rows(expected) -> None:
            for row, value in enumerate(expected):
                ctx.set(dut.address, row)
                assert ctx.get(dut.now) == value
                await ctx.tick()
                assert ctx.get(dut.next) == value

        async def write(memory, row, data) -> None:
            for key, value in {"memory": memory, "row": row, "data": data, "valid": 1}.items():
                ctx.set(getattr(dut.load, key), value)
            await ctx.tick()
            ctx.set(dut.load.valid, 0)

        await rows(initial)
        ctx.set(dut.load.memory, spec.index)
        ctx.set(dut.load.data, 0xFFFFFFFF)
        await ctx.tick()  # not valid
        for row, value in enumerate(loaded):
            await write(spec.index, row, value)
            other = rng.choice([m.index for m in core.memories if m is not spec])
            await write(other, row, rng.getrandbits(32))
            ctx.set(dut.address, row)
            await ctx.tick()
            assert ctx.get(dut.next) == value
        await rows(loaded)

    simulate(dut, bench, waves=waves)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0] * 7, "memory digest has 8 rows, not 7"),
        ([0] * 9, "memory digest has 8 rows, not 9"),
        ([0] * 7 + [1 << 32], "memory digest: row 7 is 0x100000000, outside 32 bits"),
        ([-1] + [0] * 7, "memory digest: row 0 is -0x1, outside 32 bits"),
    ],
)
def test_contents_that_do_not_fit(rows, message) -> None:
    core, m = some_core(), Module()
    with pytest.raises(ValueError, match=message):
        add_table(m, core.memory("digest"), {"digest": rows}, LoadSignature(core).create())
    assert not Fragment.get(m, None).subfragments


@pytest.mark.smoke
def test_fields_of_a_row(waves) -> None:
    """Numpy integers as rows are taken, too; fields come out with their sign."""
    weight = np.array([[-4, 3, 0], [1, -1, 2]])
    network = dense([weight], [np.array([0, 0])], weight_bits=3, kernels=[(2, 1)], thresholds=[],
                    encoder=(2,) * 256, steps=2, fire_start=2)  # fmt: skip
    core = Hardware.for_network(network)
    spec, rows = core.memory("weight", 0), images.contents(network, core)["layer0_weight"]
    dut = Table(core, spec, {spec.name: np.array(rows)})
    parts_of_row = fields(spec, dut.now)

    async def bench(ctx) -> None:
        for row in range(spec.depth):
            ctx.set(dut.address, row)
            assert [ctx.get(part) for part in parts_of_row] == weight[:, row].tolist()

    simulate(dut, bench, waves=waves)
