"""The device's end of the host link: requests in, replies out, each request executed once."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.contract.registers import register_map
from firstspike.host import link
from firstspike.host.link import Status, Type
from firstspike_rtl.core.layouts import WORD, number
from firstspike_rtl.top.bus import OKAY, LiteSignature
from firstspike_rtl.top.framing import HEADER, FrameReceiver, FrameSender


class Link(wiring.Component):
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
        self._hello = link.hello_words(hardware, clock_hz, divisor)
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "o": Out(stream.Signature(8)),
                "bus": Out(LiteSignature()),
                "image": Out(stream.Signature(WORD)),
                "result": In(stream.Signature(WORD)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hardware, bus = self._hardware, self.bus
        capacity, reply_capacity = link.request_words(hardware), link.reply_words(hardware)
        m.submodules.receiver = receiver = FrameReceiver(capacity)
        m.submodules.sender = sender = FrameSender()
        m.submodules.request = request = Memory(shape=WORD_BITS, depth=capacity, init=[], attrs={"no_rw_check": 1})
        m.submodules.reply = reply = Memory(shape=WORD_BITS, depth=reply_capacity, init=[])
        connect(m, flipped(self.i), receiver.i)
        connect(m, sender.o, flipped(self.o))

        # The request's payload: ``word`` is the one at ``position``, once that is ``fresh``.
        store, fetch = request.write_port(), request.read_port()
        position, last_position = Signal(number(capacity)), Signal(number(capacity))
        word = Signal(WORD_BITS)
        stale = Signal(2)
        fresh, last_word = Signal(), Signal()
        header = receiver.header
        m.d.comb += [
            store.en.eq(receiver.write),
            store.addr.eq(receiver.address),
            store.data.eq(receiver.word),
            fetch.addr.eq(position),
            fresh.eq(stale == 0),
            last_word.eq(position == last_position),
        ]
        m.d.sync += [word.eq(fetch.data), stale.eq(stale >> 1)]

        def advance() -> None:
            m.d.sync += [position.eq(position + 1), stale.eq(~0)]

        # The reply to the last request that was executed; sent again on demand.
        note, recall = reply.write_port(), reply.read_port()
        noted = Signal(range(reply_capacity + 1))
        m.d.comb += note.addr.eq(noted)
        with m.If(note.en):
            m.d.sync += noted.eq(noted + 1)
        kind = Signal(HEADER["type"].shape)
        status = Signal(Status)
        tag = Signal(HEADER["tag"].shape)
        ahead = Signal.like(tag)  # how much the request's is
        known = Signal()  # there was a HELLO
        stranger = Signal()  # the reply is to a request that was not executed

        address = Signal.like(bus.araddr)
        stopping = Signal()
        sent = Signal(2)  # address, data
        left = Signal.like(noted)
        offering = Signal()
        offered = Signal(WORD)  # of the image, or of the reply
        index = Signal(range(link.HEADER_WORDS + reply_capacity))  # of a word of the reply
        shown, seen = Signal(), Signal()  # the whole image, the whole result
        patience = link.patience_clocks(hardware)
        waited = Signal(range(patience + 1))

        def end(how: Status) -> None:
            m.d.sync += status.eq(how)
            if how != Status.OK:
                m.d.sync += noted.eq(0)
            m.next = "SEND"

        with m.FSM() as machine:
            with m.State("IDLE"):
                m.d.sync += [stranger.eq(0), position.eq(0), stale.eq(~0)]
                with m.If(receiver.good):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [ahead.eq(header.tag - tag), last_position.eq(header.length - 1)]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                hello = (header.type == Type.HELLO) & (header.length == 0)
                with m.If(hello | (known & (ahead == 1))):
                    m.d.sync += [kind.eq(header.type), tag.eq(header.tag), noted.eq(0), known.eq(1)]
                    m.d.sync += [shown.eq(0), seen.eq(0), waited.eq(0), stopping.eq(0)]
                    with m.If(hello):
                        m.next = "HELLO"
                    with m.Elif(
                        ((header.type == Type.READ) & (header.length == 2))
                        | ((header.type == Type.WRITE) & (header.length >= 2))
                    ):
                        m.next = "ADDRESS"
                    with m.Elif((header.type == Type.IMAGE) & (header.length != 0)):
                        m.next = "IMAGE"
                    with m.Else():
                        end(Status.MALFORMED)
                with m.Else():
                    m.d.sync += stranger.eq(~known | (ahead != 0))
                    m.next = "SEND"

            with m.State("HELLO"):
                m.d.comb += [note.en.eq(1), note.data.eq(Array(Const(x, WORD_BITS) for x in self._hello)[noted])]
                with m.If(noted == len(self._hello) - 1):
                    end(Status.OK)

            with m.State("ADDRESS"), m.If(fresh):
                advance()
                m.d.sync += address.eq(word)
                m.next = "COUNT"
                with m.If(kind == Type.WRITE):
                    m.next = "WRITE"
                with m.If(word[len(address) :].any()):
                    end(Status.MALFORMED)
            with m.State("COUNT"), m.If(fresh):
                m.d.sync += left.eq(word)
                m.next = "READ"
                with m.If((word == 0) | (word > reply_capacity)):
                    end(Status.MALFORMED)
            with m.State("READ"):
                m.d.comb += [bus.araddr.eq(address), bus.arvalid.eq(1)]
                with m.If(bus.arready):
                    m.next = "READ_ANSWER"
            with m.State("READ_ANSWER"):
                m.d.comb += [bus.rready.eq(1), note.data.eq(bus.rdata)]
                with m.If(bus.rvalid):
                    m.d.comb += note.en.eq(bus.rresp == OKAY)
                    m.d.sync += [address.eq(address + link.WORD_BYTES), left.eq(left - 1)]
                    m.next = "READ"
                    with m.If(left == 1):
                        end(Status.OK)
                    with m.If(bus.rresp != OKAY):
                        end(Status.REFUSED)

            with m.State("WRITE"), m.If(fresh):
                m.d.comb += [
                    bus.awaddr.eq(address),
                    bus.awvalid.eq(~sent[0]),
                    bus.wdata.eq(Mux(stopping, 0, word)),
                    bus.wstrb.eq(~0),
                    bus.wvalid.eq(~sent[1]),
                ]
                done = sent | Cat(bus.awready, bus.wready)
                m.d.sync += sent.eq(done)
                with m.If(done.all()):
                    m.d.sync += sent.eq(0)
                    m.next = "WRITE_ANSWER"
            with m.State("WRITE_ANSWER"):
                m.d.comb += bus.bready.eq(1)
                with m.If(bus.bvalid):
                    advance()
                    m.next = "WRITE"
                    with m.If(last_word):
                        end(Status.OK)
                    with m.If(bus.bresp != OKAY):
                        end(Status.REFUSED)
                    with m.If(stopping):
                        end(Status.TIMEOUT)

            with m.State("IMAGE"):
                m.d.comb += [
                    self.image.valid.eq(offering),
                    self.image.payload.eq(offered),
                    self.result.ready.eq(~seen),
                    note.data.eq(self.result.payload.data),
                ]
                given = self.image.valid & self.image.ready
                got = self.result.valid & self.result.ready
                m.d.sync += waited.eq(waited + 1)
                with m.If(~offering & ~shown & fresh):
                    m.d.sync += [offering.eq(1), offered.data.eq(word), offered.last.eq(last_word)]
                    advance()
                with m.If(given):
                    m.d.sync += [offering.eq(0), shown.eq(offered.last), waited.eq(0)]
                with m.If(got):
                    m.d.comb += note.en.eq(1)
                    m.d.sync += [seen.eq(self.result.payload.last), waited.eq(0)]
                with m.If(shown & seen):
                    end(Status.OK)
                with m.Elif(waited == patience):
                    m.d.sync += [
                        offering.eq(0),
                        stopping.eq(1),
                        address.eq(register_map(hardware)["control"].address()),
                    ]
                    m.next = "WRITE"

            with m.State("SEND"):
                answer = Signal(HEADER)
                m.d.comb += [
                    answer.length.eq(Mux(stranger, 0, noted)),
                    answer.type.eq(Mux(stranger, header.type, kind) | link.REPLY),
                    answer.status.eq(Mux(stranger, Status.STRANGER, status)),
                    answer.tag.eq(Mux(stranger, header.tag, tag)),
                ]
                m.d.comb += [
                    sender.i.valid.eq(offering),
                    sender.i.payload.eq(offered),
                    recall.addr.eq(index - link.HEADER_WORDS),
                ]
                with m.If(~offering & fresh):
                    m.d.sync += [offering.eq(1), offered.data.eq(recall.data)]
                    m.d.sync += offered.last.eq(index == answer.length + link.HEADER_WORDS - 1)
                    for n in range(link.HEADER_WORDS):
                        with m.If(index == n):
                            m.d.sync += offered.data.eq(answer.as_value().word_select(n, WORD_BITS))
                with m.If(sender.i.valid & sender.i.ready):
                    m.d.sync += [offering.eq(0), index.eq(index + 1), stale.eq(~0)]
                    with m.If(offered.last):
                        m.d.sync += index.eq(0)
                        m.next = "FINISH"
            with m.State("FINISH"), m.If(sender.idle):
                m.next = "IDLE"
        m.d.comb += receiver.hold.eq(~machine.ongoing("IDLE"))
        return m
