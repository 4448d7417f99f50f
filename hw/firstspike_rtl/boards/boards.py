"""Boards with open tools: the core with its host link, on the board's clock and USB serial port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from amaranth.build import Platform
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.tang_nano_9k import TangNano9kPlatform
from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_85F_Platform

from firstspike.contract.hardware import Hardware
from firstspike.contract.images import Contents
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards.plls import EcpPll, GowinPll, IcePll, Pll, Setting
from firstspike_rtl.core.layouts import number
from firstspike_rtl.top.linked import LinkedTop

#: Block memories of iCE40 cannot be read for some microseconds after configuration.
RESET_SECONDS = Fraction(16, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is known of a board.

    Parameters
    ----------
    platform
        Class of amaranth-boards: device, pins, oscillator.
    family
        Of the device: a key of :data:`firstspike_rtl.boards.families.FAMILIES`.
    pll
        Of the device.
    clock_mhz
        Of the core, unless asked for otherwise.
    baud
        Bits a second on the USB serial port.
    lanes
        Of each layer, at most, unless the user asks for more.
    counters
        Whether there is room for the counters of a core.
    options
        Of the platform.
    """

    platform: type[Platform]
    family: str
    pll: type[Pll]
    clock_mhz: float
    baud: int
    lanes: int
    counters: bool = True
    options: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Platform:
        """A platform for one design, with open tools."""
        return self.platform(**self.options)

    def core(self, hardware: Hardware) -> Hardware:
        """What of a core goes on the board: no monitor, which has no pins there; counters where there is room."""
        return replace(hardware, monitor=False, counters=hardware.counters and self.counters)

    @property
    def oscillator_hz(self) -> int:
        """Of the board."""
        return int(self.open().default_clk_frequency)

    def clock(self, megahertz: float | None = None) -> Setting:
        """The PLL's setting for the fastest clock that is not above ``megahertz``, or the board's own.

        Raises
        ------
        FirstspikeError
            if there is none.
        """
        return self.pll.setting(self.oscillator_hz, (megahertz or self.clock_mhz) * 1_000_000)


#: Rates of one million are exact from whole megahertz; a bridge whose limits are not known has a usual rate.
BOARDS = {
    "ulx3s-25f": Board(platform=ULX3S_25F_Platform, family="ecp5", pll=EcpPll, clock_mhz=50, baud=1_000_000, lanes=64),
    "ulx3s-85f": Board(platform=ULX3S_85F_Platform, family="ecp5", pll=EcpPll, clock_mhz=50, baud=1_000_000, lanes=128),
    "icebreaker": Board(
        platform=ICEBreakerPlatform, family="ice40", pll=IcePll, clock_mhz=18, baud=1_000_000, lanes=1, counters=False
    ),
    "tang-nano-9k": Board(
        platform=TangNano9kPlatform,
        family="gowin",
        pll=GowinPll,
        clock_mhz=27,
        baud=115_200,
        lanes=4,
        options={"toolchain": "Apicula"},
    ),
}


def find(name: str) -> Board:
    """The board of this name.

    Raises
    ------
    FirstspikeError
        if it is unknown.
    """
    if name not in BOARDS:
        raise FirstspikeError(f"unknown board {name!r}", f"use one of {', '.join(BOARDS)}")
    return BOARDS[name]


class BoardTop(Elaboratable):
    """The linked core on a board.

    Reset lasts while the PLL is not locked, and :data:`RESET_SECONDS` more. LEDs: 0, the network is loaded; 1, bytes
    on the serial port.

    Parameters
    ----------
    board
        One of :data:`BOARDS`.
    setting
        Of its PLL.
    hardware, contents, baud
        As for :class:`firstspike_rtl.top.linked.LinkedTop`.
    """

    def __init__(self, board: Board, setting: Setting, hardware: Hardware, contents: Contents, *, baud: int) -> None:
        self._board, self._setting = board, setting
        self._linked = LinkedTop(hardware, contents, clock_hz=int(setting.output_hz), baud=baud, boot=True)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.awake = ClockDomain(reset_less=True)
        oscillator = platform.request(platform.default_clk, dir="-")
        m.submodules.pll = pll = self._board.pll(self._setting, oscillator)
        m.d.comb += [ClockSignal("sync").eq(pll.clk), ClockSignal("awake").eq(pll.clk)]

        locked = Signal()
        m.submodules.locked = FFSynchronizer(pll.locked, locked, o_domain="awake")
        clocks = -(-RESET_SECONDS * self._setting.output_hz // 1)
        passed = Signal(number(int(clocks) + 1))
        reset = Signal(init=1)
        with m.If(~locked):
            m.d.awake += [passed.eq(0), reset.eq(1)]
        with m.Elif(passed != clocks):
            m.d.awake += passed.eq(passed + 1)
        with m.Else():
            m.d.awake += reset.eq(0)
        m.d.comb += ResetSignal("sync").eq(reset)

        m.submodules.linked = linked = self._linked
        uart = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        m.d.comb += [linked.rx.eq(rx.i), tx.o.eq(linked.tx)]
        for index, state in enumerate((linked.ready, ~linked.rx | ~linked.tx)):
            m.submodules[f"led{index}"] = led = io.Buffer(io.Direction.Output, platform.request("led", index, dir="-"))
            m.d.comb += led.o.eq(state)
        return m
