"""The device's end of the host link, on real registers and a made-up core: every request once, whatever happens."""

from __future__ import annotations

from types import SimpleNamespace

import parts
import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect
from simulation import Stalls, Transfers, protocol_checker, simulate

from firstspike.contract.hardware import Hardware
from firstspike.contract.registers import CLEAR_COUNTERS, ENABLE, IDENTITY, SEND_MEMBRANES, register_map
from firstspike.host import link
from firstspike.host.link import Frame, Status, Type
from firstspike_rtl.top.bus import Registers
from firstspike_rtl.top.link import Link

CLOCK_HZ, DIVISOR = 25_000_000, 217
TAG = 0xFFFFFFFE  # the next but one is 0
CORE = parts.hardware(parts.layer(inputs=6, outputs=4), parts.layer(inputs=4, outputs=3, fires=False))
REGISTERS = register_map(CORE)
#: Longer than the device works on any request of these tests but an image, or pauses in a reply.
QUIET = 200
RECORD = link.record_words(CORE)


class Device(Elaboratable):
    """A link on registers; the core's streams are left to the bench."""

    def __init__(self, hardware: Hardware = CORE) -> None:
        self.link = Link(hardware, CLOCK_HZ, DIVISOR)
        digest = [[n * 0x01020304] for n in range(8)]
        self.registers = Registers(hardware, parts.contents(hardware, digest=digest))
        self.i, self.o = self.link.i, self.link.o

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = self.link
        m.submodules.registers = self.registers
        connect(m, self.link.bus, self.registers.bus)
        return m


def record_of(image: list[int]) -> list[int]:
    """What the made-up core answers: depends on every word and on their order."""
    return [sum(word * (n + k + 1) for n, word in enumerate(image)) & 0xFFFFFFFF for k in range(RECORD)]


class Bench:
    """Host and core around a device.

    Parameters
    ----------
    stall
        Chance of pauses of all streams.
    slow
        The core pauses before each word of an image, for longer than it takes to send one.
    mute
        The core takes images, and answers none.
    early
        The core answers after the first word of an image, before it has seen the rest.

    """

    def __init__(self, *, stall: float = 0.0, seed: int = 0, slow=False, mute=False, early=False) -> None:
        self.dut = Device()
        self._stall, self._seed, self._slow, self._mute, self._early = stall, seed, slow, mute, early
        self._decoder = link.Decoder()
        self.replies: list[Frame] = []
        self.images: list[list[int]] = []
        #: Writes on the load port (memory, row, word, data), and to the control register.
        self.loads: list[tuple[int, int, int, int]] = []
        self.controls: list[int] = []
        self.tag = TAG

    def run(self, bench, waves=None, max_clocks: int = 2_000_000) -> None:
        """Run ``bench(ctx)``."""
        bus, result = self.dut.link.bus, self.dut.link.result
        image = Transfers(self.dut.link.image)

        async def core(ctx) -> None:
            stalls = Stalls(self._seed + 1, 1.0, 12) if self._slow else Stalls(self._seed + 1, self._stall)
            words: list[int] = []
            port, enable = self.dut.link.image, self.dut.registers.enable
            while True:
                for _ in range(stalls.clocks()):
                    await ctx.tick()
                ctx.set(port.ready, ctx.get(enable))  # a core takes nothing while it is disabled
                *_, taken, enabled, word = await ctx.tick().sample(port.valid & port.ready, enable, port.payload)
                ctx.set(port.ready, 0)
                if not enabled:
                    words = []
                elif taken:
                    words.append(word.data)
                    if word.last:
                        self.images.append(words)
                    if not self._mute and (len(words) == 1 if self._early else word.last):
                        await answer(ctx, stalls, words)
                    if word.last:
                        words = []

        async def answer(ctx, stalls: Stalls, words: list[int]) -> None:
            record = record_of(words)
            for n, number in enumerate(record):
                for _ in range(stalls.clocks()):
                    await ctx.tick()
                ctx.set(result.payload, {"data": number, "last": n == len(record) - 1})
                ctx.set(result.valid, 1)
                while not (await ctx.tick().sample(result.ready))[-1]:
                    pass
                ctx.set(result.valid, 0)

        async def host(ctx) -> None:
            stalls, o = Stalls(self._seed + 2, self._stall), self.dut.o
            while True:
                ctx.set(o.ready, 0)
                for _ in range(stalls.clocks()):
                    await ctx.tick()
                ctx.set(o.ready, 1)
                *_, valid, byte = await ctx.tick().sample(o.valid, o.payload)
                if valid:
                    self.replies += self._decoder.feed(bytes([byte]))

        async def watch(ctx) -> None:
            load = self.dut.registers.load
            written = bus.awvalid & bus.awready & (bus.awaddr == REGISTERS["control"].address())
            async for _, _, valid, *write, control, value in ctx.tick().sample(
                load.valid, load.memory, load.row, load.data, written, bus.wdata
            ):
                if valid:
                    self.loads.append(tuple(write))
                if control:
                    self.controls.append(value)

        checks = [
            protocol_checker(self.dut.o, "bytes"),
            protocol_checker(SimpleNamespace(valid=bus.arvalid, ready=bus.arready, payload=bus.araddr), "read address"),
            protocol_checker(SimpleNamespace(valid=bus.awvalid, ready=bus.awready, payload=bus.awaddr), "address"),
            protocol_checker(SimpleNamespace(valid=bus.wvalid, ready=bus.wready, payload=bus.wdata), "data"),
        ]
        simulate(
            self.dut, bench, background=[core, host], processes=[watch, image.watch, *checks],
            max_clocks=max_clocks, waves=waves,
        )  # fmt: skip
        assert self._decoder.dropped == 0, "the device sent something that is no frame"

    async def say(self, ctx, data: bytes) -> None:
        """Send bytes, a clock each or with pauses."""
        stalls = Stalls(self._seed + len(data), self._stall)
        for byte in data:
            for _ in range(stalls.clocks()):
                await ctx.tick()
            ctx.set(self.dut.i.payload, byte)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.i.valid, 0)

    async def quiet(self, ctx, clocks: int = QUIET) -> None:
        """Wait until the device has sent nothing for so many clocks."""
        still = 0
        while still < clocks:
            _, _, valid = await ctx.tick().sample(self.dut.o.valid)
            still = 0 if valid else still + 1

    async def reply(self, ctx, data: bytes, quiet: int = QUIET) -> list[Frame]:
        """What comes after these bytes."""
        before = len(self.replies)
        await self.say(ctx, data)
        await self.quiet(ctx, quiet)
        return self.replies[before:]

    async def ask(self, ctx, kind: int, *payload: int, quiet: int = QUIET) -> tuple[int, tuple[int, ...]]:
        """Status and payload of the one reply to the next request."""
        self.tag = (self.tag + 1) % link.TAGS
        (reply,) = await self.reply(ctx, link.encode(Frame(kind, self.tag, payload)), quiet)
        assert (reply.type, reply.tag) == (kind | link.REPLY, self.tag)
        return reply.status, reply.payload

    async def hello(self, ctx) -> None:
        (reply,) = await self.reply(ctx, link.encode(Frame(Type.HELLO, self.tag)))
        expected = link.hello_words(CORE, CLOCK_HZ, DIVISOR)
        assert reply == Frame(Type.HELLO | link.REPLY, self.tag, expected, Status.OK)

    async def control(self, ctx, value: int) -> None:
        assert await self.ask(ctx, Type.WRITE, REGISTERS["control"].address(), value) == (Status.OK, ())


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_requests(stall: float, seed: int, waves) -> None:
    """Every kind of request, its replies, and what it does on the bus."""
    bench = Bench(stall=stall, seed=seed)
    weights = CORE.memory("weight", 0)
    words = [n * 3 % (1 << weights.row_bits) for n in range(weights.depth)]

    async def main(ctx) -> None:
        await bench.hello(ctx)
        ask = bench.ask
        assert await ask(ctx, Type.READ, REGISTERS["identity"].address(), 1) == (Status.OK, (IDENTITY,))
        assert await ask(ctx, Type.READ, REGISTERS["sizes"].address(), 3) == (Status.OK, CORE.sizes)
        digest = tuple(n * 0x01020304 for n in range(8))
        assert await ask(ctx, Type.READ, REGISTERS["digest"].address(), 8) == (Status.OK, digest)
        # The first word after the sizes is no register.
        assert await ask(ctx, Type.READ, REGISTERS["sizes"].address(), 4) == (Status.REFUSED, ())
        load = REGISTERS["load_data"].address()
        assert await ask(ctx, Type.WRITE, REGISTERS["load_memory"].address(), weights.index) == (Status.OK, ())
        assert await ask(ctx, Type.WRITE, load, *words[:3]) == (Status.OK, ())
        assert await ask(ctx, Type.WRITE, load, *words[3:]) == (Status.OK, ())
        assert bench.loads == [(weights.index, row, word) for row, word in enumerate(words)]
        assert await ask(ctx, Type.WRITE, load, 0) == (Status.REFUSED, ()), "the memory is full"
        await bench.control(ctx, ENABLE | SEND_MEMBRANES)
        assert await ask(ctx, Type.WRITE, load, 0) == (Status.REFUSED, ()), "not while enabled"
        for length in (1, 2, 7, link.request_words(CORE)):
            image = [(0x9E3779B9 * (n + 1)) & 0xFFFFFFFF for n in range(length)]
            assert await ask(ctx, Type.IMAGE, *image, quiet=QUIET + 20 * length) == (Status.OK, tuple(record_of(image)))
            assert bench.images.pop() == image
        assert not bench.images
        assert bench.controls == [ENABLE | SEND_MEMBRANES]
        assert len(bench.loads) == len(words)

    bench.run(main, waves)


def test_malformed_requests(waves) -> None:
    """Answered with an error, and nothing is done; a repetition gives the same answer."""
    bench = Bench()
    control = REGISTERS["control"].address()
    wrong = [
        (0, ()),
        (Type.IMAGE + 1, (1, 2)),
        (Type.HELLO, (1,)),
        (Type.HELLO | link.REPLY, ()),
        (Type.READ, ()),
        (Type.READ, (control,)),
        (Type.READ, (control, 1, 1)),
        (Type.READ, (control, 0)),
        (Type.READ, (control, link.reply_words(CORE) + 1)),
        (Type.READ, (control, 1 << 31)),
        (Type.READ, (control | 1 << 9, 1)),
        (Type.WRITE, ()),
        (Type.WRITE, (control,)),
        (Type.WRITE, (control | 1 << 31, ENABLE)),
        (Type.IMAGE, ()),
    ]

    async def main(ctx) -> None:
        await bench.hello(ctx)
        for kind, payload in wrong:
            assert await bench.ask(ctx, kind, *payload) == (Status.MALFORMED, ()), (kind, payload)
            bench.tag -= 1
            assert await bench.ask(ctx, kind, *payload) == (Status.MALFORMED, ()), (kind, payload)
        assert await bench.ask(ctx, Type.READ, control, 1) == (Status.OK, (0,))
        assert (bench.controls, bench.loads, bench.images) == ([], [], [])

    bench.run(main, waves)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_each_request_is_executed_once(stall: float, seed: int, waves) -> None:
    """A repetition is answered as before; what is older or newer than the next request is refused, and forgotten."""
    bench = Bench(stall=stall, seed=seed)
    control = REGISTERS["control"].address()

    async def main(ctx) -> None:
        for first in (0, 1, bench.tag + 1):  # there was no HELLO
            (reply,) = await bench.reply(ctx, link.encode(Frame(Type.WRITE, first, (control, ENABLE))))
            assert reply == Frame(Type.WRITE | link.REPLY, first, (), Status.STRANGER)
        await bench.hello(ctx)
        await bench.control(ctx, ENABLE)
        image = [5, 6, 7]
        request = Frame(Type.IMAGE, (bench.tag + 1) % link.TAGS, tuple(image))
        expected = (Status.OK, tuple(record_of(image)))
        for _ in range(4):
            assert await bench.ask(ctx, *(request.type, *image)) == expected
            bench.tag -= 1
            # Neither older ones, nor one from the future, nor what is damaged change what a repetition gives.
            for tag in (request.tag - 1, request.tag + 2, request.tag + (1 << 16), request.tag ^ 1 << 31):
                stray = Frame(Type.IMAGE, tag % link.TAGS, (1, 2))
                (reply,) = await bench.reply(ctx, link.encode(stray))
                assert reply == Frame(Type.IMAGE | link.REPLY, stray.tag, (), Status.STRANGER)
            assert await bench.reply(ctx, link.encode(request)[:-5]) == []
        assert bench.images == [image]
        assert bench.controls == [ENABLE]
        # Another host: its HELLO ends what was before.
        old, bench.tag = bench.tag, 12345
        await bench.hello(ctx)
        (reply,) = await bench.reply(ctx, link.encode(request))
        assert reply.status == Status.STRANGER
        assert old != bench.tag
        assert await bench.ask(ctx, Type.READ, control, 1) == (Status.OK, (ENABLE,))
        assert bench.images == [image]

    bench.run(main, waves)


def test_every_single_fault(waves) -> None:
    """A request with any byte lost, doubled or changed, then repeated: executed once, and answered rightly."""
    bench = Bench()
    load = REGISTERS["load_data"].address()
    weights = CORE.memory("weight", 0)
    word = 0x00C0DB  # both of its bytes are escaped

    async def main(ctx) -> None:
        await bench.hello(ctx)
        executed = place = 0
        whole = True
        while whole:
            for change in ("lost", "doubled", *(1 << n for n in range(8)), 0xFF):
                if executed % weights.depth == 0:
                    assert (await bench.ask(ctx, Type.WRITE, REGISTERS["load_memory"].address(), weights.index))[0] == 0
                bench.tag = (bench.tag + 1) % link.TAGS
                good = link.encode(Frame(Type.WRITE, bench.tag, (load, word)))
                whole = place < len(good)
                if not whole:
                    break
                byte = good[place]
                match change:
                    case "lost":
                        middle = b""
                    case "doubled":
                        middle = bytes([byte, byte])
                    case _:
                        middle = bytes([byte ^ change])
                replies = await bench.reply(ctx, good[:place] + middle + good[place + 1 :], 30)
                replies += await bench.reply(ctx, good, 30)
                # Two where the fault did no harm.
                assert 1 <= len(replies) <= 2, (place, change)
                assert set(replies) == {Frame(Type.WRITE | link.REPLY, bench.tag, (), Status.OK)}, (place, change)
                executed += 1
                assert len(bench.loads) == executed, (place, change)
                assert bench.loads[-1][-1] == word
            place += 1
        assert executed >= 24 * 11

    bench.run(main, waves)


def test_what_comes_while_busy_is_ignored(seed: int, waves) -> None:
    """Requests on top of each other: the first is executed, the rest are lost whole, and the next after is taken."""
    bench = Bench(seed=seed, slow=True)
    images = [[100 * n + i for i in range(30)] for n in range(4)]

    async def main(ctx) -> None:
        await bench.hello(ctx)
        await bench.control(ctx, ENABLE)
        for image in images:
            bench.tag = (bench.tag + 1) % link.TAGS
            mine = Frame(Type.IMAGE, bench.tag, tuple(image))
            more = Frame(Type.IMAGE, (bench.tag + 1) % link.TAGS, tuple(range(60)))
            (reply,) = await bench.reply(ctx, link.encode(mine) + link.encode(more), 4 * QUIET)
            assert reply == Frame(Type.IMAGE | link.REPLY, mine.tag, tuple(record_of(image)), Status.OK)
        assert bench.images == images

    bench.run(main, waves)


def test_an_image_may_take_long(seed: int, waves) -> None:
    """Longer than a device is patient, as long as something moves."""
    bench = Bench(seed=seed, slow=True)
    image = list(range(link.request_words(CORE)))
    patience = link.patience_clocks(CORE)

    async def main(ctx) -> None:
        await bench.hello(ctx)
        await bench.control(ctx, ENABLE | CLEAR_COUNTERS)
        assert await bench.ask(ctx, Type.IMAGE, *image, quiet=2 * patience) == (Status.OK, tuple(record_of(image)))
        assert bench.images == [image]

    bench.run(main, waves)


def test_a_core_that_does_not_answer_is_stopped(waves) -> None:
    """After a time that is long enough for any image; its result cannot come later."""
    bench = Bench(mute=True)
    patience = link.patience_clocks(CORE)

    async def main(ctx) -> None:
        await bench.hello(ctx)
        await bench.control(ctx, ENABLE | CLEAR_COUNTERS)
        assert await bench.ask(ctx, Type.IMAGE, 1, 2, quiet=patience + QUIET) == (Status.TIMEOUT, ())
        assert bench.controls == [ENABLE | CLEAR_COUNTERS, 0]
        (clocks,) = (await bench.ask(ctx, Type.READ, REGISTERS["clocks"].address(), 1))[1]
        assert clocks > patience
        assert await bench.ask(ctx, Type.READ, REGISTERS["control"].address(), 1) == (Status.OK, (0,))
        # A disabled core takes no image at all.
        assert await bench.ask(ctx, Type.IMAGE, 3, quiet=patience + QUIET) == (Status.TIMEOUT, ())
        bench._mute = False
        await bench.control(ctx, ENABLE)
        assert await bench.ask(ctx, Type.IMAGE, 4) == (Status.OK, tuple(record_of([4])))
        assert bench.images == [[1, 2], [4]]

    bench.run(main, waves)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_record_before_the_image_is_over(stall: float, seed: int, waves) -> None:
    """A core may end an image that is too long before its last word: both are taken before the reply."""
    bench = Bench(stall=stall, seed=seed, early=True)

    async def main(ctx) -> None:
        await bench.hello(ctx)
        await bench.control(ctx, ENABLE)
        for image in ([7, 8, 9, 10], [11, 12], [13]):
            assert await bench.ask(ctx, Type.IMAGE, *image) == (Status.OK, tuple(record_of(image[:1])))
            assert bench.images.pop() == image

    bench.run(main, waves)
