"""Bytes on wires: at the edges of the rate, with glitches, without stop bits; and the transmitter clock by clock."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from simulation import PERIOD, Stalls, Trace, Transfers, send, simulate
from uart import bits

from firstspike.errors import FirstspikeError
from firstspike_rtl.top.uart import FRAME_BITS, LEAST_DIVISOR, UartReceiver, UartTransmitter, divisor

QUIET = 3 * FRAME_BITS


class Wire:
    """Drives ``rx`` in real time, in units of a bit of the sender; its clock is off by ``error``, its phase random."""

    def __init__(self, dut: UartReceiver, clocks: int, error: float = 0.0, seed: int = 0) -> None:
        self._dut, self._bit = dut, clocks * PERIOD / (1 + error)
        self._random = random.Random(seed)
        self.log: list[int] = []

    async def hold(self, ctx, level: int, bits: float) -> None:
        ctx.set(self._dut.rx, level)
        await ctx.delay(bits * self._bit)

    async def byte(self, ctx, byte: int, stop: int = 1) -> None:
        for level in bits(byte, stop):
            await self.hold(ctx, level, 1)

    async def idle(self, ctx) -> None:
        await self.hold(ctx, 1, self._random.random() * 3)


def run_receiver(dut: UartReceiver, bench, clocks: int, waves=None) -> list[int]:
    """The bytes that come out while ``bench`` drives the wire."""
    seen = Transfers(dut.o)

    async def main(ctx) -> None:
        await bench(ctx)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(QUIET * clocks)

    simulate(dut, main, processes=[seen.watch], waves=waves)
    return seen.items


@pytest.mark.parametrize("gaps", [False, True], ids=["back_to_back", "gaps"])
@pytest.mark.parametrize(
    ("clocks", "error"),
    [
        (clocks, error)
        for clocks in (LEAST_DIVISOR, 5, 8, 16, 217)
        for error in ((-0.02, 0.0, 0.02) if clocks < 8 else (-0.04, 0.0, 0.04))
    ],
)
def test_rates(clocks: int, error: float, gaps: bool, seed: int, waves) -> None:
    """Every byte comes through as long as the rates of both ends are within the documented bounds."""
    values = list(range(256)) if clocks < 100 else [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7F, 0xFE]
    random.Random(seed).shuffle(values)
    dut = UartReceiver(clocks)
    wire = Wire(dut, clocks, error, seed)

    async def bench(ctx) -> None:
        await wire.idle(ctx)
        for value in values:
            await wire.byte(ctx, value)
            if gaps:
                await wire.idle(ctx)

    assert run_receiver(dut, bench, clocks, waves) == values


def test_a_rate_that_is_too_far_off_is_seen() -> None:
    """The test above can fail: at 8 % the last bits of a byte are read in their neighbours."""
    dut = UartReceiver(16)
    wire = Wire(dut, 16, 0.08)

    async def bench(ctx) -> None:
        for _ in range(20):
            await wire.byte(ctx, 0x55)

    assert run_receiver(dut, bench, 16) != [0x55] * 20


@pytest.mark.smoke
@pytest.mark.parametrize("clocks", [8, 16, 100])
def test_glitches(clocks: int, seed: int, waves) -> None:
    """Low for less than half a bit is no start, and a byte that follows at once is whole."""
    dut = UartReceiver(clocks)
    wire = Wire(dut, clocks, 0.0, seed)
    rng = random.Random(seed)
    values = [rng.randrange(256) for _ in range(20)]
    longest = 0.5 - 1.5 / clocks  # a clock of uncertainty, and half of one in the middle of even divisors

    async def bench(ctx) -> None:
        for value in values:
            await wire.hold(ctx, 0, rng.uniform(0.05, longest))
            await wire.hold(ctx, 1, 0.6)
            await wire.byte(ctx, value)
            await wire.hold(ctx, 1, rng.random())

    assert run_receiver(dut, bench, clocks, waves) == values


@pytest.mark.smoke
@pytest.mark.parametrize("clocks", [LEAST_DIVISOR, 16])
def test_missing_stop_bits(clocks: int, seed: int, waves) -> None:
    """Such a byte is dropped, and only that; so is a break of any length."""
    dut = UartReceiver(clocks)
    wire = Wire(dut, clocks, 0.0, seed)
    rng = random.Random(seed)
    values = [rng.randrange(256) for _ in range(30)]

    async def bench(ctx) -> None:
        for n, value in enumerate(values):
            match n % 3:
                case 0:
                    await wire.byte(ctx, rng.randrange(256), stop=0)
                    await wire.hold(ctx, 1, 1)
                case 1:
                    await wire.hold(ctx, 0, rng.uniform(10.5, 50))
                    await wire.hold(ctx, 1, 1)
            await wire.byte(ctx, value)

    assert run_receiver(dut, bench, clocks, waves) == values


def test_a_wire_that_is_low_from_the_start_makes_no_bytes() -> None:
    dut = UartReceiver(8)
    wire = Wire(dut, 8)

    async def bench(ctx) -> None:
        await wire.hold(ctx, 0, 200)
        await wire.hold(ctx, 1, 1)
        await wire.byte(ctx, 0xA5)

    assert run_receiver(dut, bench, 8) == [0xA5]


@pytest.mark.smoke
@pytest.mark.parametrize("clocks", [LEAST_DIVISOR, 5, 13])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_waveform(clocks: int, stall: float, seed: int, waves) -> None:
    """Every bit lasts ``divisor`` clocks, idle is high, and bytes follow each other in 10 bits and a clock."""
    dut = UartTransmitter(clocks)
    rng = random.Random(seed)
    values = [0x00, 0xFF, *(rng.randrange(256) for _ in range(30))]
    trace, taken = Trace(tx=dut.tx), Transfers(dut.i)

    async def end(ctx) -> None:
        while len(taken.items) < len(values):
            await ctx.tick()
        await ctx.tick().repeat(QUIET * clocks)

    simulate(dut, send(dut.i, values, Stalls(seed, stall, 99)), end, processes=[trace.watch, taken.watch], waves=waves)
    assert taken.items == values
    expected = [1] * len(trace.clocks)
    for start, value in zip(taken.taken, values, strict=True):
        for n, level in enumerate(bits(value)):
            expected[start + 1 + n * clocks : start + 1 + (n + 1) * clocks] = [level] * clocks
    assert [clock.tx for clock in trace.clocks] == expected
    if not stall:
        assert {b - a for a, b in zip(taken.taken, taken.taken[1:], strict=False)} == {FRAME_BITS * clocks + 1}


def test_both_ends(seed: int, waves) -> None:
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter(7)
    m.submodules.receiver = receiver = UartReceiver(7)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    rng = random.Random(seed)
    values = [rng.randrange(256) for _ in range(100)]
    seen = Transfers(receiver.o)

    async def end(ctx) -> None:
        await ctx.tick().repeat((len(values) + 3) * (FRAME_BITS * 7 + 1))

    simulate(m, send(transmitter.i, values, Stalls(seed)), end, processes=[seen.watch], waves=waves)
    assert seen.items == values


@pytest.mark.smoke
def test_divisors() -> None:
    assert divisor(25_000_000, 115_200) == 217
    assert divisor(12_000_000, 3_000_000) == 4
    assert divisor(16_000_000, 115_200) == 139  # of 138.9
    assert divisor(48_000_000, 921_600) == 52  # of 52.1
    for clock_hz, baud, message in (
        (12_000_000, 4_000_000, "needs a clock of 16000000 Hz or more"),
        (25_000_000, 3_000_000, "makes 3125000 baud, too far from 3000000"),
    ):
        with pytest.raises(FirstspikeError, match=message) as caught:
            divisor(clock_hz, baud)
        assert "lower rate" in caught.value.one_line()
