"""Frames of the host link: bytes to words that can be trusted, and words to bytes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from firstspike.contract.memory import WORD_BITS
from firstspike.host import link
from firstspike_rtl.core.layouts import WORD, Component, number

#: The two words before the payload.
HEADER = data.StructLayout(link.HEADER)


class FrameReceiver(Component):
    """Takes frames apart. The payload is written into a memory as it comes, and is of worth only after ``good``.

    Good is a frame that is properly escaped, as long as its header says, and has the right CRC. All else is dropped
    without a word: what comes after the next END is a new frame.

    Latency: 2 clocks from the END to ``good``. Throughput: a byte a clock.

    Parameters
    ----------
    payload_words
        Of the longest frame that is taken.

    Members
    -------
    i : In(stream of bytes), never kept waiting
    hold : In(1), drop what comes, and every frame of which a byte came meanwhile
    good : Out(1), high for one clock
    header : Out(HEADER), of the good frame until the next one comes in
    write, address, word : Out, payload as it comes
    """

    def __init__(self, payload_words: int) -> None:
        self._payload_words = payload_words
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "hold": In(1),
                "good": Out(1),
                "header": Out(HEADER),
                "write": Out(1),
                "address": Out(number(payload_words)),
                "word": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        around = link.HEADER_WORDS + link.CRC_WORDS
        most = (self._payload_words + around) * link.WORD_BYTES
        m.submodules.checksum = crc = CRC32_ETHERNET().create()
        byte = Signal(8)
        take = Signal()  # a byte of the frame
        wrong = Signal()
        ends = Signal()
        escaped = Signal()
        bad = Signal(init=1)  # until the first END
        count = Signal(range(most + 1))  # of bytes
        stated = Signal(range(link.MAX_PAYLOAD_WORDS * link.WORD_BYTES + most))  # by the header
        before = Signal(WORD_BITS - 8)  # bytes of the same word

        # First what a byte is, by itself; a clock later what becomes of it.
        code = self.i.payload
        escape = Signal()  # the byte before was ESC
        strange = Signal()  # nothing that is escaped
        plain = Signal()  # a byte of a frame, if it is in one
        held = Signal()  # it came while on hold
        with m.If(self.i.valid):
            m.d.sync += escape.eq((code == link.ESC) & ~escape)
        m.d.sync += [
            ends.eq(self.i.valid & (code == link.END)),
            plain.eq(self.i.valid & (code != link.END) & (escape | (code != link.ESC))),
            strange.eq(self.i.valid & escape & (code != link.ESC_END) & (code != link.ESC_ESC)),
            escaped.eq(escape),
            held.eq(self.hold),
            byte.eq(Mux(escape, Mux(code == link.ESC_END, link.END, link.ESC), code)),
        ]
        m.d.comb += [
            wrong.eq(strange | (plain & (count == most))),
            take.eq(plain & ~wrong & ~bad & ~held),
            crc.valid.eq(take),
            crc.data.eq(byte),
            crc.start.eq(ends),
        ]
        with m.If(wrong):
            m.d.sync += bad.eq(1)
        with m.If(take):
            m.d.sync += [count.eq(count + 1), before.eq(Cat(before[8:], byte))]
        with m.If(ends):
            m.d.sync += [count.eq(0), bad.eq(0)]
        with m.If(held):
            m.d.sync += bad.eq(1)
        whole = count == stated
        m.d.sync += self.good.eq(ends & ~bad & ~escaped & ~held & whole & crc.match_detected)
        m.d.sync += stated.eq((self.header.length + around) * link.WORD_BYTES)

        index = count[2:]
        complete = Signal()
        word = Cat(before, byte)
        m.d.comb += complete.eq(take & count[:2].all())
        m.d.sync += [
            self.word.eq(word),
            self.address.eq(index - link.HEADER_WORDS),
            self.write.eq(complete & (index >= link.HEADER_WORDS) & (index < link.HEADER_WORDS + self._payload_words)),
        ]
        # The header is needed long after.
        fresh = Signal()
        place = Signal.like(index)
        m.d.sync += [fresh.eq(complete), place.eq(index)]
        with m.If(fresh):
            for n in range(link.HEADER_WORDS):
                with m.If(place == n):
                    m.d.sync += self.header.as_value().word_select(n, WORD_BITS).eq(self.word)
        return m


class FrameSender(Component):
    """Makes frames: END, the words escaped, their CRC, END.

    Throughput: 3 clocks a byte, 1 more for an escaped one, 2 more a frame.

    Members
    -------
    i : In(stream of WORD), header and payload of a frame
    o : Out(stream of bytes)
    idle : Out(1), between frames
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(8)), "idle": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.checksum = crc = CRC32_ETHERNET().create()
        place = Signal(range(link.WORD_BYTES))
        escaping = Signal()  # ESC was sent
        checking = Signal()  # the CRC goes out
        byte = Signal(8)
        special = Signal()
        m.d.comb += crc.data.eq(byte)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += [self.idle.eq(1), crc.start.eq(1)]
                m.d.comb += [self.o.payload.eq(link.END), self.o.valid.eq(self.i.valid)]
                with m.If(self.o.valid & self.o.ready):
                    m.next = "PICK"
            with m.State("PICK"):
                m.d.sync += byte.eq(Mux(checking, crc.crc, self.i.payload.data).word_select(place, 8))
                with m.If(self.i.valid | checking):
                    m.next = "WEIGH"
            with m.State("WEIGH"):
                m.d.sync += special.eq((byte == link.END) | (byte == link.ESC))
                m.next = "BYTE"
            with m.State("BYTE"):
                code = Mux(byte == link.END, link.ESC_END, link.ESC_ESC)
                m.d.comb += [self.o.payload.eq(Mux(special, Mux(escaping, code, link.ESC), byte)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    with m.If(special & ~escaping):
                        m.d.sync += escaping.eq(1)
                    with m.Else():
                        m.d.sync += [escaping.eq(0), place.eq(place + 1)]
                        m.d.comb += crc.valid.eq(~checking)
                        m.next = "PICK"
                        with m.If(place == link.WORD_BYTES - 1):
                            m.d.comb += self.i.ready.eq(~checking)
                            m.d.sync += checking.eq(~checking & self.i.payload.last)
                            with m.If(checking):
                                m.next = "END"
            with m.State("END"):
                m.d.comb += [self.o.payload.eq(link.END), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "BEGIN"
        return m
