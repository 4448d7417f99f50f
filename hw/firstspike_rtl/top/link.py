"""The device's end of the host link: requests in, replies out, each request executed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.contract.registers import register_map
from firstspike.host import link
from firstspike.host.link import Status, Type
from firstspike_rtl.core.layouts import WORD, Component, number
from firstspike_rtl.core.tables import NO_RW_CHECK, Table
from firstspike_rtl.top.bus import OKAY, LiteSignature
from firstspike_rtl.top.framing import HEADER, FrameReceiver, FrameSender


@dataclass
class _Request:
    """The request; of its payload ``word`` is the one at ``position``, once that is ``fresh``, and so is what it is."""

    header: Any
    position: Signal
    last_position: Signal
    word: Signal
    stale: Signal
    fresh: Signal
    last_word: Signal
    no_address: Signal
    no_count: Signal  # of words of a reply

    def advance(self, m: Module) -> None:
        """To the next word."""
        m.d.sync += [self.position.eq(self.position + 1), self.stale.eq(~0)]


@dataclass
class _Reply:
    """The reply to the last request that was executed; sent again on demand."""

    note: Signal  # ``data`` is noted
    data: Signal
    recall: ReadPort[int, Value]
    noted: Signal
    kind: Signal
    status: Signal
    tag: Signal
    stranger: Signal  # it is to a request that was not executed

    def end(self, m: Module, how: Status) -> None:
        """Of the request: what is noted is sent, if all went well."""
        m.d.sync += self.status.eq(how)
        if how != Status.OK:
            m.d.sync += self.noted.eq(0)
        m.next = "SEND"


@dataclass
class _Work:
    """How far the request has come."""

    address: Signal  # of a register
    stopping: Signal
    showing: Signal  # a word of the image is offered
    offering: Signal  # one of the reply
    offered: Any
    shown: Signal  # the whole image
    listening: Signal  # a word of the result is taken
    seen: Signal  # the whole result
    waited: Signal  # clocks
    late: Signal  # too many


#: What is known of a request before it is decided upon.
WEIGHED = ("hello", "access", "image", "following", "repeated")


class Link(Component):
    """Executes requests (``docs/link.md``) on the registers and streams of a core.

    One request at a time; what comes before its reply is out is ignored. A request with the tag of the last one is a
    repetition: its reply is sent again, and nothing else happens. One with any tag but the next is refused, until a
    HELLO sets the tag. An image without a result in time stops the core (``control`` = 0), so that its result cannot be
    taken for that of a later image.

    Parameters
    ----------
    hardware
        The core.
    clock_hz, divisor
        Stated in the reply to HELLO.

    Members
    -------
    i, o : In, Out(stream of bytes)
    bus : Out(LiteSignature)
    image : Out(stream of WORD), a frame an image
    result : In(stream of WORD), a record an image
    """

    def __init__(self, hardware: Hardware, clock_hz: int, divisor: int) -> None:
        self._hardware = hardware
        self._hello_words = link.hello_words(hardware, clock_hz, divisor)
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "o": Out(stream.Signature(8)),
                "bus": Out(LiteSignature()),
                "image": Out(stream.Signature(WORD)),
                "result": In(stream.Signature(WORD)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver(link.request_words(self._hardware))
        m.submodules.sender = sender = FrameSender()
        connect(m, flipped(self.i), receiver.i)
        connect(m, sender.o, flipped(self.o))
        request = self._payload(m, receiver)
        reply = self._reply(m)
        work = self._work()
        with m.FSM() as machine:
            self._decide(m, receiver, request, reply, work)
            self._hello(m, reply)
            self._read(m, request, reply, work)
            self._write(m, request, reply, work)
            self._image(m, request, reply, work)
            self._send(m, sender, request, reply, work)
        m.d.comb += receiver.hold.eq(~machine.ongoing("IDLE"))
        return m

    def _payload(self, m: Module, receiver: FrameReceiver) -> _Request:
        capacity = link.request_words(self._hardware)
        request: Table = Memory(shape=WORD_BITS, depth=capacity, init=[], attrs=NO_RW_CHECK)
        m.submodules.request = request
        store = request.write_port()
        fetch = request.read_port()
        word = Signal(WORD_BITS, reset_less=True)
        stale = Signal(4)
        no_address = Signal()
        most = link.reply_words(self._hardware)
        low = Signal(most.bit_length())
        above = Signal()  # bits above these are set
        no_count = Signal()
        fresh = Signal()
        last_word = Signal()
        made = _Request(
            header=receiver.header,
            position=Signal(number(capacity)),
            last_position=Signal(number(capacity)),
            word=word,
            stale=stale,
            fresh=fresh,
            last_word=last_word,
            no_address=no_address,
            no_count=no_count,
        )
        m.d.comb += [
            store.en.eq(receiver.write),
            store.addr.eq(receiver.address),
            store.data.eq(receiver.word),
            fetch.addr.eq(made.position),
            fresh.eq(~stale[0]),
        ]
        m.d.sync += [
            word.eq(fetch.data),
            stale.eq(stale >> 1),
            last_word.eq(made.position == made.last_position),
            no_address.eq(word[len(self.bus.araddr) :].any()),
            above.eq(word[most.bit_length() :].any()),
            low.eq(word),
            no_count.eq(above | (low == 0) | (low > most)),
        ]
        return made

    def _reply(self, m: Module) -> _Reply:
        capacity = link.reply_words(self._hardware)
        reply: Table = Memory(shape=WORD_BITS, depth=capacity, init=[])
        m.submodules.reply = reply
        store = reply.write_port()
        recall = reply.read_port()
        note = Signal()
        data = Signal(WORD_BITS)
        noted = Signal(range(capacity + 1))
        with m.If(note):
            m.d.sync += noted.eq(noted + 1)
        # A clock late: what is noted and when comes late enough.
        held = [Signal.like(port, name=f"held{n}") for n, port in enumerate((store.en, store.addr, store.data))]
        m.d.sync += [signal.eq(value) for signal, value in zip(held, (note, noted, data), strict=True)]
        m.d.comb += [port.eq(signal) for port, signal in zip((store.en, store.addr, store.data), held, strict=True)]
        kind = Signal(HEADER["type"].shape)
        status = Signal(Status)
        tag = Signal(HEADER["tag"].shape)
        stranger = Signal()
        return _Reply(note, data, recall, noted, kind, status, tag, stranger)

    def _work(self) -> _Work:
        address = Signal.like(self.bus.araddr)
        stopping = Signal()
        showing = Signal()
        offering = Signal()
        offered: Any = Signal(WORD)
        shown = Signal()
        listening = Signal()
        seen = Signal()
        waited = Signal(range(link.patience_clocks(self._hardware) + 1))
        late = Signal()
        return _Work(address, stopping, showing, offering, offered, shown, listening, seen, waited, late)

    def _decide(self, m: Module, receiver: FrameReceiver, request: _Request, reply: _Reply, work: _Work) -> None:
        """A request comes: whether it is executed, and how."""
        header = request.header
        ahead = Signal.like(reply.tag)  # how much its tag is
        known = Signal()  # there was a HELLO
        hello, access, image, following, repeated = (Signal(name=name) for name in WEIGHED)
        with m.State("IDLE"):
            m.d.sync += [reply.stranger.eq(0), request.position.eq(0), request.stale.eq(~0)]
            with m.If(receiver.good):
                m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.sync += [ahead.eq(header.tag - reply.tag), request.last_position.eq(header.length - 1)]
            m.d.sync += [work.shown.eq(0), work.seen.eq(0), work.waited.eq(0), work.late.eq(0), work.stopping.eq(0)]
            m.next = "WEIGH"
        with m.State("WEIGH"):
            m.d.sync += [
                hello.eq((header.type == Type.HELLO) & (header.length == 0)),
                access.eq(
                    ((header.type == Type.READ) & (header.length == 2))
                    | ((header.type == Type.WRITE) & (header.length >= 2))
                ),
                image.eq((header.type == Type.IMAGE) & (header.length != 0)),
                following.eq(known & (ahead == 1)),
                repeated.eq(known & (ahead == 0)),
            ]
            m.next = "DECIDE"
        with m.State("DECIDE"):
            with m.If(hello | following):
                m.d.sync += [reply.kind.eq(header.type), reply.tag.eq(header.tag), reply.noted.eq(0), known.eq(1)]
                with m.If(hello):
                    m.next = "HELLO"
                with m.Elif(access):
                    m.next = "ADDRESS"
                with m.Elif(image):
                    m.d.sync += work.listening.eq(1)
                    m.next = "IMAGE"
                with m.Else():
                    reply.end(m, Status.MALFORMED)
            with m.Else():
                m.d.sync += reply.stranger.eq(~repeated)
                m.next = "SEND"

    def _hello(self, m: Module, reply: _Reply) -> None:
        """What the device is."""
        words = Array(Const(x, WORD_BITS) for x in self._hello_words)
        place = Signal(range(len(words) + 1))
        word = Signal(WORD_BITS)
        m.d.sync += word.eq(words[place])
        with m.State("HELLO"):
            m.d.comb += [reply.note.eq(place != 0), reply.data.eq(word)]
            m.d.sync += place.eq(place + 1)
            with m.If(place == len(words)):
                m.d.sync += place.eq(0)
                reply.end(m, Status.OK)

    def _read(self, m: Module, request: _Request, reply: _Reply, work: _Work) -> None:
        """The address of READ and WRITE; then so many registers from there on."""
        bus, address = self.bus, work.address
        left = Signal.like(reply.noted)
        with m.State("ADDRESS"), m.If(request.fresh):
            request.advance(m)
            m.d.sync += address.eq(request.word)
            m.next = "COUNT"
            with m.If(reply.kind == Type.WRITE):
                m.next = "WRITE"
            with m.If(request.no_address):
                reply.end(m, Status.MALFORMED)
        with m.State("COUNT"), m.If(request.fresh):
            m.d.sync += left.eq(request.word)
            m.next = "READ"
            with m.If(request.no_count):
                reply.end(m, Status.MALFORMED)
        m.d.comb += bus.araddr.eq(address)
        with m.State("READ"):
            m.d.comb += bus.arvalid.eq(1)
            with m.If(bus.arready):
                m.next = "READ_ANSWER"
        with m.State("READ_ANSWER"):
            m.d.comb += [bus.rready.eq(1), reply.data.eq(bus.rdata)]
            with m.If(bus.rvalid):
                m.d.comb += reply.note.eq(bus.rresp == OKAY)
                m.d.sync += [address.eq(address + link.WORD_BYTES), left.eq(left - 1)]
                m.next = "READ"
                with m.If(left == 1):
                    reply.end(m, Status.OK)
                with m.If(bus.rresp != OKAY):
                    reply.end(m, Status.REFUSED)

    def _write(self, m: Module, request: _Request, reply: _Reply, work: _Work) -> None:
        """All words to one address; or a zero, if the core is to be stopped."""
        bus = self.bus
        sent = Signal(2)  # address, data
        m.d.comb += [
            bus.awaddr.eq(work.address),
            bus.wdata.eq(Mux(work.stopping, 0, request.word)),
            bus.wstrb.eq(~0),
        ]
        with m.State("WRITE"), m.If(request.fresh):
            m.d.comb += [bus.awvalid.eq(~sent[0]), bus.wvalid.eq(~sent[1])]
            done = sent | Cat(bus.awready, bus.wready)
            m.d.sync += sent.eq(done)
            with m.If(done.all()):
                m.d.sync += sent.eq(0)
                m.next = "WRITE_ANSWER"
        with m.State("WRITE_ANSWER"):
            m.d.comb += bus.bready.eq(1)
            with m.If(bus.bvalid):
                request.advance(m)
                m.next = "WRITE"
                with m.If(request.last_word):
                    reply.end(m, Status.OK)
                with m.If(bus.bresp != OKAY):
                    reply.end(m, Status.REFUSED)
                with m.If(work.stopping):
                    reply.end(m, Status.TIMEOUT)

    def _image(self, m: Module, request: _Request, reply: _Reply, work: _Work) -> None:
        """An image to the core, and its record back; a core that is silent too long is stopped."""
        m.d.comb += [self.image.valid.eq(work.showing), self.image.payload.eq(work.offered)]
        m.d.comb += self.result.ready.eq(work.listening)
        given = work.showing & self.image.ready
        with m.State("IMAGE"):
            m.d.comb += reply.data.eq(self.result.payload.data)
            got = self.result.valid & self.result.ready
            m.d.sync += [
                work.waited.eq(work.waited + 1),
                work.late.eq((work.waited == link.patience_clocks(self._hardware)) & ~given & ~got),
            ]
            with m.If(~work.showing & ~work.shown & request.fresh):
                m.d.sync += [
                    work.showing.eq(1),
                    work.offered.data.eq(request.word),
                    work.offered.last.eq(request.last_word),
                ]
                request.advance(m)
            with m.If(given):
                m.d.sync += [work.showing.eq(0), work.shown.eq(work.offered.last), work.waited.eq(0)]
            with m.If(got):
                m.d.comb += reply.note.eq(1)
                last = self.result.payload.last
                m.d.sync += [work.seen.eq(last), work.listening.eq(~last), work.waited.eq(0)]
            with m.If(work.shown & work.seen):
                reply.end(m, Status.OK)
            with m.Elif(work.late):
                m.d.sync += [
                    work.showing.eq(0),
                    work.listening.eq(0),
                    work.stopping.eq(1),
                    work.address.eq(register_map(self._hardware)["control"].address()),
                ]
                m.next = "WRITE"

    def _send(self, m: Module, sender: FrameSender, request: _Request, reply: _Reply, work: _Work) -> None:
        """The reply: its header, and what was noted."""
        index = Signal(range(link.HEADER_WORDS + link.reply_words(self._hardware)))  # of a word of it
        end = Signal.like(index, init=1)  # of its last one
        before = -link.HEADER_WORDS % (1 << len(reply.recall.addr))
        place = Signal.like(reply.recall.addr, init=before)  # of the word in what was noted
        m.d.comb += reply.recall.addr.eq(place)
        word = Signal(WORD_BITS)
        ready = Signal()  # the word is that of the index
        sent = Signal()  # the whole reply
        m.d.sync += ready.eq(0)
        with m.State("SEND"):
            answer: Any = Signal(HEADER)
            stranger, header = reply.stranger, request.header
            m.d.comb += [
                answer.length.eq(Mux(stranger, 0, reply.noted)),
                answer.type.eq(Mux(stranger, header.type, reply.kind) | link.REPLY),
                answer.status.eq(Mux(stranger, Status.STRANGER, reply.status)),
                answer.tag.eq(Mux(stranger, header.tag, reply.tag)),
            ]
            m.d.comb += [
                sender.i.valid.eq(work.offering),
                sender.i.payload.eq(work.offered),
            ]
            # Both a clock late: the first word is never the last one, and a word is not offered in its first clocks.
            m.d.sync += [end.eq(answer.length + link.HEADER_WORDS - 1), ready.eq(1), word.eq(reply.recall.data)]
            for n in range(link.HEADER_WORDS):
                with m.If(index == n):
                    m.d.sync += word.eq(answer.as_value().word_select(n, WORD_BITS))
            with m.If(~work.offering & request.fresh & ready):
                m.d.sync += [work.offering.eq(1), work.offered.data.eq(word), work.offered.last.eq(index == end)]
            with m.If(sender.i.valid & sender.i.ready):
                m.d.sync += [work.offering.eq(0), index.eq(index + 1), place.eq(place + 1), request.stale.eq(~0)]
                with m.If(work.offered.last):
                    m.d.sync += [index.eq(0), place.eq(before), sent.eq(1)]
            with m.If(sent):
                m.d.sync += sent.eq(0)
                m.next = "FINISH"
        with m.State("FINISH"), m.If(sender.idle):
            m.next = "IDLE"
