"""Phase-locked loops: a board's oscillator to the clock of the core, for each family of devices.

Every loop divides its input by one number, multiplies it by another, and divides a fast oscillator (VCO) for its
output. Limits are those of the data sheets; a test compares settings with the tools of the families.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from amaranth.hdl import Const, Instance, Module
from amaranth.lib import io
from amaranth.lib.wiring import Out

from firstspike.errors import FirstspikeError
from firstspike_rtl.core.layouts import Component

MEGA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Output = input * ``multiply`` / ``divide``, from a VCO ``post`` times as fast as the output.

    Frequencies are in Hz, as fractions: nothing is rounded.
    """

    reference_hz: int
    divide: int
    multiply: int
    post: int

    @property
    def compared_hz(self) -> Fraction:
        """Of the phase detector."""
        return Fraction(self.reference_hz, self.divide)

    @property
    def output_hz(self) -> Fraction:
        """Of the output."""
        return self.compared_hz * self.multiply

    @property
    def vco_hz(self) -> Fraction:
        """Of the oscillator."""
        return self.output_hz * self.post


@dataclass(frozen=True, kw_only=True)
class IceSetting(Setting):
    """As :class:`Setting`, but ``multiply`` makes the VCO, which ``post`` divides for the output."""

    @property
    def output_hz(self) -> Fraction:
        """Of the output."""
        return self.vco_hz / self.post

    @property
    def vco_hz(self) -> Fraction:
        """Of the oscillator."""
        return self.compared_hz * self.multiply


class Pll(Component):
    """A loop of one family: ``clk`` from the board's oscillator.

    Parameters
    ----------
    setting
        Of the family.
    port
        The oscillator's pin.

    Members
    -------
    clk : Out(1)
    locked : Out(1), whether ``clk`` has its frequency; in no clock domain
    """

    compared_mhz: ClassVar[tuple[float, float]]
    vco_mhz: ClassVar[tuple[float, float]]
    output_mhz: ClassVar[tuple[float, float]]

    def __init__(self, setting: Setting, port: io.SingleEndedPort) -> None:
        self._setting, self._port = setting, port
        super().__init__({"clk": Out(1), "locked": Out(1)})

    @classmethod
    def settings(cls, reference_hz: int) -> Iterator[Setting]:
        """Every setting within the limits of the family."""
        for setting in cls._all(reference_hz):
            limits = (cls.compared_mhz, cls.vco_mhz, cls.output_mhz)
            values = (setting.compared_hz, setting.vco_hz, setting.output_hz)
            if all(low * MEGA <= value <= high * MEGA for (low, high), value in zip(limits, values, strict=True)):
                yield setting

    @classmethod
    def _all(cls, reference_hz: int) -> Iterator[Setting]:
        raise NotImplementedError

    @classmethod
    def setting(cls, reference_hz: int, wanted_hz: float) -> Setting:
        """The setting for the fastest clock that is not above ``wanted_hz``.

        Of several, the one with the fastest phase detector, which has the least jitter, then the VCO nearest the
        middle of its range.

        Raises
        ------
        FirstspikeError
            if there is none.
        """
        possible = [x for x in cls.settings(reference_hz) if x.output_hz <= wanted_hz]
        if not possible:
            slowest = min(x.output_hz for x in cls.settings(reference_hz))
            raise FirstspikeError(
                f"the board's PLL makes no clock of {wanted_hz / MEGA:g} MHz",
                f"ask for {float(slowest / MEGA):g} MHz or more",
            )
        middle = Fraction(sum(cls.vco_mhz) * MEGA) / 2
        return max(possible, key=lambda x: (x.output_hz, x.compared_hz, -abs(x.vco_hz - middle), -x.post))


class EcpPll(Pll):
    """EHXPLLL of Lattice ECP5 (FPGA-TN-02200; limits: FPGA-DS-02012, "sysCLOCK PLL Timing")."""

    compared_mhz = (3.125, 400)
    vco_mhz = (400, 800)
    output_mhz = (3.125, 400)

    @classmethod
    def _all(cls, reference_hz: int) -> Iterator[Setting]:
        top = int(cls.vco_mhz[1] * MEGA)
        for divide in range(1, int(reference_hz // (cls.compared_mhz[0] * MEGA)) + 1):
            for multiply in range(1, min(128, top * divide // reference_hz) + 1):
                for post in range(1, min(128, top * divide // (reference_hz * multiply)) + 1):
                    yield Setting(reference_hz=reference_hz, divide=divide, multiply=multiply, post=post)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        setting = self._setting
        m.submodules.pin = pin = io.Buffer(io.Direction.Input, self._port)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{setting.reference_hz / MEGA:g}",
            a_FREQUENCY_PIN_CLKOP=f"{float(setting.output_hz / MEGA):g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=setting.divide,
            p_CLKFB_DIV=setting.multiply,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=setting.post,
            p_CLKOP_CPHASE=(setting.post - 1) // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_RST=0,
            i_STDBY=0,
            i_CLKI=pin.i,
            i_CLKFB=self.clk,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=self.clk,
            o_LOCK=self.locked,
        )
        return m


class IcePll(Pll):
    """SB_PLL40_PAD of Lattice iCE40 (FPGA-TN-02052; limits: FPGA-DS-02008, "sysCLOCK PLL Timing")."""

    compared_mhz = (10, 133)
    vco_mhz = (533, 1066)
    output_mhz = (16, 275)
    #: Of the phase detector, in MHz, from which on another filter is used.
    FILTERS = (17, 26, 44, 66, 101)

    @classmethod
    def _all(cls, reference_hz: int) -> Iterator[Setting]:
        # The feedback comes from the VCO: output = input / divide * (DIVF + 1) / post.
        for divide in range(1, 17):
            for feedback in range(1, 129):
                for exponent in range(1, 7):
                    yield IceSetting(reference_hz=reference_hz, divide=divide, multiply=feedback, post=1 << exponent)

    @classmethod
    def filter_range(cls, setting: Setting) -> int:
        """FILTER_RANGE, as icepll chooses it."""
        return 1 + sum(setting.compared_hz >= limit * MEGA for limit in cls.FILTERS)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        setting = self._setting
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=setting.divide - 1,
            p_DIVF=setting.multiply - 1,
            p_DIVQ=setting.post.bit_length() - 1,
            p_FILTER_RANGE=self.filter_range(setting),
            i_PACKAGEPIN=self._port.io,
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTGLOBAL=self.clk,
            o_LOCK=self.locked,
        )
        return m


class GowinPll(Pll):
    """rPLL of Gowin GW1NR-9C, speed C6/I5 (UG286; limits: DS117, "PLL Switching Characteristic")."""

    compared_mhz = (3, 400)
    vco_mhz = (400, 1200)
    output_mhz = (3.125, 600)
    POSTS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)

    @classmethod
    def _all(cls, reference_hz: int) -> Iterator[Setting]:
        for divide in range(1, 65):
            for multiply in range(1, 65):
                for post in cls.POSTS:
                    yield Setting(reference_hz=reference_hz, divide=divide, multiply=multiply, post=post)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        setting = self._setting
        m.submodules.pin = pin = io.Buffer(io.Direction.Input, self._port)
        m.submodules.pll = Instance(
            "rPLL",
            p_FCLKIN=f"{setting.reference_hz / MEGA:g}",
            p_IDIV_SEL=setting.divide - 1,
            p_FBDIV_SEL=setting.multiply - 1,
            p_ODIV_SEL=setting.post,
            p_DEVICE=platform.family,
            i_CLKIN=pin.i,
            i_CLKFB=0,
            i_RESET=0,
            i_RESET_P=0,
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=self.clk,
            o_LOCK=self.locked,
        )
        return m
