"""Running Amaranth components: streams driven and watched with random stalls, a watchdog, waves on request."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Value
from amaranth.lib import data
from amaranth.sim import Simulator

PERIOD = 1e-6


class Stalls:
    """A random pattern of waiting: ``probability`` of a pause before each item, of 1..longest clocks."""

    def __init__(self, seed: int, probability: float = 0.0, longest: int = 6) -> None:
        self._random, self._probability, self._longest = random.Random(seed), probability, longest

    def clocks(self) -> int:
        return self._random.randint(1, self._longest) if self._random.random() < self._probability else 0

    async def wait(self, ctx: Any) -> None:
        for _ in range(self.clocks()):
            await ctx.tick()


class Frames:
    """Process that notes the clocks at which frames of a stream begin and end."""

    def __init__(self, stream):
        self._stream = stream
        self.first: list[int] = []
        self.last: list[int] = []

    async def watch(self, ctx) -> None:
        stream, clock, open_frame = self._stream, 0, False
        async for _, _, valid, ready, last in ctx.tick().sample(stream.valid, stream.ready, stream.payload.last):
            if valid and ready:
                if not open_frame:
                    self.first.append(clock)
                open_frame = not last
                if last:
                    self.last.append(clock)
            clock += 1


class Transfers:
    """Process that notes what passes on a stream, and the clocks at which items are offered and taken."""

    def __init__(self, stream):
        self._stream = stream
        self.items: list[Any] = []
        self.offered: list[int] = []
        self.taken: list[int] = []

    async def watch(self, ctx) -> None:
        stream, clock, open_item = self._stream, 0, False
        async for _, _, valid, ready, payload in ctx.tick().sample(stream.valid, stream.ready, stream.payload):
            if valid and not open_item:
                self.offered.append(clock)
            open_item = valid and not ready
            if valid and ready:
                self.taken.append(clock)
                self.items.append(payload)
            clock += 1


class Trace:
    """Process that notes signals at the end of every clock, by name."""

    def __init__(self, **signals: Any) -> None:
        self._signals = signals
        self.clocks: list[SimpleNamespace] = []

    async def watch(self, ctx) -> None:
        async for _, _, *values in ctx.tick().sample(*self._signals.values()):
            self.clocks.append(SimpleNamespace(**dict(zip(self._signals, values, strict=True))))


def loose(valid: Value, ready: Value, **parts: Any) -> SimpleNamespace:
    """Ports of a component that belong together, seen as a stream."""
    layout = data.StructLayout({name: part.shape() for name, part in parts.items()})
    return SimpleNamespace(valid=valid, ready=ready, payload=data.View(layout, Cat(parts.values())))


def send(stream, items, stalls, *, wait=0):
    """Testbench that sends ``items`` after ``wait`` clocks; while not valid the payload is garbage."""
    garbage = random.Random(1)

    async def bench(ctx: Any) -> None:
        for _ in range(wait):
            await ctx.tick()
        for item in items:
            for _ in range(stalls.clocks()):
                ctx.set(Value.cast(stream.payload), garbage.getrandbits(len(Value.cast(stream.payload))))
                await ctx.tick()
            ctx.set(stream.payload, item)
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)

    return bench


def receive(stream, into, count, stalls, *, read=lambda payload: payload):
    """Testbench that takes ``count`` items; the simulation ends when all receivers are done."""

    async def bench(ctx: Any) -> None:
        while len(into) < count:
            for _ in range(stalls.clocks()):
                await ctx.tick()
            ctx.set(stream.ready, 1)
            (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
            into.append(read(payload))
            ctx.set(stream.ready, 0)

    return bench


def protocol_checker(stream: Any, name: str):
    """Process that fails when ``valid`` drops or the payload changes before it was taken."""

    async def check(ctx: Any) -> None:
        waiting = None
        async for _, reset, valid, ready, payload in ctx.tick().sample(
            stream.valid, stream.ready, Value.cast(stream.payload)
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


#: Clocks without an item after which nothing more is expected.
QUIET_CLOCKS = 30


def exchange(
    dut: Any,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int | Callable[[list[Any]], bool]],
    *,
    stall: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    wait: int = 0,
    levels: Mapping[str, int] | None = None,
    processes: Iterable[Any] = (),
    waves: Path | None = None,
) -> dict[str, Transfers]:
    """Send items into streams of ``dut``, take so many from others, and check that no more come.

    Parameters
    ----------
    inputs, outputs
        Items to send, and numbers of items to take (or a test whether the items are all), by name of the stream. The
        protocol of outputs is checked.
    stall
        Chance of a pause before each item, of all streams or by name; without pauses a stream never waits.
    wait
        Clocks before the first item is sent.
    levels
        Values of other inputs of ``dut``, by name.
    processes
        Also run.

    Returns
    -------
    What passed on each stream.
    """
    chance = stall if isinstance(stall, Mapping) else dict.fromkeys([*inputs, *outputs], stall)
    streams = {name: getattr(dut, name) for name in (*inputs, *outputs)}
    seen = {name: Transfers(stream) for name, stream in streams.items()}
    missing = list(outputs)
    taken: dict[str, list[Any]] = {name: [] for name in outputs}

    async def configure(ctx: Any) -> None:
        for name, value in (levels or {}).items():
            ctx.set(attrgetter(name)(dut), value)

    def complete(name: str, items: list[Any]) -> bool:
        wanted = outputs[name]
        return len(items) >= wanted if isinstance(wanted, int) else wanted(items)

    def take(number: int, name: str) -> Any:
        stream, stalls, items = streams[name], Stalls(seed + 100 + number, chance.get(name, 0.0)), taken[name]

        async def bench(ctx: Any) -> None:
            while not complete(name, items):
                for _ in range(stalls.clocks()):
                    ctx.set(stream.ready, 0)
                    await ctx.tick()
                ctx.set(stream.ready, 1)
                (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
                items.append(payload)
            await finish(name, ctx)

        return bench

    async def finish(name: str, ctx: Any) -> None:
        missing.remove(name)
        while missing:
            await ctx.tick()
        await ctx.tick().repeat(QUIET_CLOCKS)

    simulate(
        dut,
        configure,
        *(
            send(streams[name], items, Stalls(seed + n, chance.get(name, 0.0)), wait=wait)
            for n, (name, items) in enumerate(inputs.items())
        ),
        *(take(n, name) for n, name in enumerate(outputs)),
        processes=[
            *(transfers.watch for transfers in seen.values()),
            *(protocol_checker(streams[name], name) for name in outputs),
            *processes,
        ],
        waves=waves,
    )
    for name, items in taken.items():
        assert len(seen[name].items) == len(items), f"{name}: {len(seen[name].items)} items, not {len(items)}"
    return seen
