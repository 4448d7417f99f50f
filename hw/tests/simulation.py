"""Running Amaranth components: streams driven and watched with random stalls, a watchdog, waves on request."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

PERIOD = 1e-6


class Stalls:
    """A random pattern of waiting: ``probability`` of a pause before each item, of 1..longest clocks."""

    def __init__(self, seed: int, probability: float = 0.0, longest: int = 6) -> None:
        self._random, self._probability, self._longest = random.Random(seed), probability, longest

    def clocks(self) -> int:
        return self._random.randint(1, self._longest) if self._random.random() < self._probability else 0


class Clock:
    """Counts clocks, so that benches can say when something happened."""

    def __init__(self) -> None:
        self.now = 0

    async def run(self, ctx: Any) -> None:
        async for _ in ctx.tick():
            self.now += 1


def send(stream: Any, items: Iterable[Any], stalls: Stalls, *, clock: Clock | None = None, times: list | None = None):
    """Testbench that sends ``items``; while not valid the payload is garbage. ``times`` gets the transfer clocks."""
    garbage = random.Random(1)

    async def bench(ctx: Any) -> None:
        for item in items:
            for _ in range(stalls.clocks()):
                ctx.set(stream.payload.as_value(), garbage.getrandbits(len(stream.payload.as_value())))
                await ctx.tick()
            ctx.set(stream.payload, item)
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            if times is not None:
                times.append(clock.now - 1)
            ctx.set(stream.valid, 0)

    return bench


def receive(
    stream: Any,
    into: list,
    count: int,
    stalls: Stalls,
    *,
    clock: Clock | None = None,
    times: list | None = None,
    read: Callable[[Any], Any] = lambda payload: payload,
):
    """Testbench that takes ``count`` items; the simulation ends when all receivers are done."""

    async def bench(ctx: Any) -> None:
        while len(into) < count:
            for _ in range(stalls.clocks()):
                await ctx.tick()
            ctx.set(stream.ready, 1)
            (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
            if times is not None:
                times.append(clock.now - 1)
            into.append(read(payload))
            ctx.set(stream.ready, 0)

    return bench


def protocol_checker(stream: Any, name: str):
    """Process that fails when ``valid`` drops or the payload changes before it was taken."""

    async def check(ctx: Any) -> None:
        waiting = None
        async for _, reset, valid, ready, payload in ctx.tick().sample(
            stream.valid, stream.ready, stream.payload.as_value()
        ):
            if reset:
                waiting = None
                continue
            if waiting is not None:
                assert valid, f"{name}: valid dropped before the transfer"
                assert payload == waiting, f"{name}: payload changed before the transfer"
            waiting = payload if valid and not ready else None

    return check


def simulate(
    dut: Elaboratable,
    *benches: Any,
    background: Iterable[Any] = (),
    processes: Iterable[Any] = (),
    max_clocks: int = 200_000,
    waves: Path | None = None,
) -> None:
    """Run until every bench has ended; ``waves`` names the VCD file to write.

    Raises
    ------
    TimeoutError
        after ``max_clocks``.
    """
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    for process in processes:
        simulator.add_process(process)

    async def watchdog(ctx: Any) -> None:
        await ctx.delay(max_clocks * PERIOD)
        raise TimeoutError(f"no end after {max_clocks} clocks")

    simulator.add_testbench(watchdog, background=True)
    with contextlib.ExitStack() as stack:
        if waves is not None:
            stack.enter_context(simulator.write_vcd(str(waves)))
            print(f"waves: {waves}")
        simulator.run()
