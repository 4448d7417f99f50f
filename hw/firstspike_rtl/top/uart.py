"""Bytes on two wires: 8 data bits, no parity, 1 stop bit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from firstspike.errors import FirstspikeError
from firstspike_rtl.core.layouts import Component

BYTE_BITS = 8
#: Start, data, stop.
FRAME_BITS = BYTE_BITS + 2
#: Below, a bit's middle could not be told from its edges.
LEAST_DIVISOR = 4
#: Of the rate; as much again is left to the other end.
TOLERANCE = 0.02

#: Of registers that take what another clock gave.
ASYNC_REG = {"ASYNC_REG": "TRUE"}
#: Wires, high without a byte.
RX, TX = In(1, init=1), Out(1, init=1)  # type: ignore[call-arg]  # amaranth-stubs know the name of before 0.5


def divisor(clock_hz: int, baud: int) -> int:
    """Clocks of a bit.

    Raises
    ------
    FirstspikeError
        if the clock cannot make the rate to within :data:`TOLERANCE`.
    """
    clocks = round(clock_hz / baud)
    if clocks < LEAST_DIVISOR:
        raise FirstspikeError(
            f"{baud} baud needs a clock of {LEAST_DIVISOR * baud} Hz or more, not {clock_hz}", "use a lower rate"
        )
    if abs(clock_hz / clocks - baud) > TOLERANCE * baud:
        raise FirstspikeError(
            f"a clock of {clock_hz} Hz makes {clock_hz // clocks} baud, too far from {baud}",
            f"use {clock_hz // clocks} baud, or a lower rate",
        )
    return clocks


class UartReceiver(Component):
    """Bytes from a wire, each bit read once, in its middle.

    A start bit that is gone at its middle is a glitch, and ignored. A byte without a stop bit is dropped, and the next
    start is awaited only after the wire was high again. The rates of both ends may differ by 4 %, with less than 8
    clocks a bit by 2 %, for a byte is synchronised by its start alone.

    Latency: 3 clocks from the middle of the stop bit to the byte.

    Parameters
    ----------
    divisor
        Clocks of a bit.

    Members
    -------
    rx : In(1), from any clock domain
    o : Out(stream of bytes), not to be kept waiting
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"rx": RX, "o": Out(stream.Signature(BYTE_BITS, always_ready=True))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Two registers side by side, as AMD's tools are told, that nobody resets.
        edge = Signal(init=1, reset_less=True, attrs=ASYNC_REG)
        line = Signal(init=1, reset_less=True, attrs=ASYNC_REG)
        m.d.sync += [edge.eq(self.rx), line.eq(edge)]
        timer = Signal(range(self._divisor))
        data = Signal(BYTE_BITS)
        left = Signal(range(BYTE_BITS))
        middle = Signal()
        m.d.comb += middle.eq(timer == 0)
        m.d.sync += [self.o.valid.eq(0), timer.eq(timer - 1)]
        with m.If(middle):
            m.d.sync += timer.eq(self._divisor - 1)
        with m.FSM():
            with m.State("IDLE"):
                # The edge was half a clock ago on average.
                m.d.sync += [timer.eq((self._divisor - 1) // 2 - 1), left.eq(BYTE_BITS - 1)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(middle):
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "DATA"
            with m.State("DATA"), m.If(middle):
                m.d.sync += [data.eq(Cat(data[1:], line)), left.eq(left - 1)]
                with m.If(left == 0):
                    m.next = "STOP"
            with m.State("STOP"), m.If(middle):
                m.d.sync += [self.o.valid.eq(line), self.o.payload.eq(data)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(Component):
    """Bytes to a wire.

    Latency: 1 clock from a byte to its start bit. Throughput: a byte in 10 bits and 1 clock.

    Parameters
    ----------
    divisor
        Clocks of a bit.

    Members
    -------
    i : In(stream of bytes)
    tx : Out(1), from a register
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(BYTE_BITS)), "tx": TX})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = Signal(FRAME_BITS, init=(1 << FRAME_BITS) - 1)
        left = Signal(range(FRAME_BITS + 1))
        timer = Signal(range(self._divisor), init=self._divisor - 1)
        # Known a clock before, since from here ready goes far.
        idle = Signal(init=1)
        expired = Signal()
        m.d.comb += [self.i.ready.eq(idle), self.tx.eq(bits[0])]
        m.d.sync += [timer.eq(timer - 1), expired.eq(timer == 1)]
        with m.If(idle | expired):
            m.d.sync += timer.eq(self._divisor - 1)
        with m.If(idle & self.i.valid):
            m.d.sync += [bits.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))), left.eq(FRAME_BITS), idle.eq(0)]
        with m.Elif(~idle & expired):
            m.d.sync += [bits.eq(Cat(bits[1:], Const(1, 1))), left.eq(left - 1), idle.eq(left == 1)]
        return m
