"""The linked core at its two wires, against a host that knows the rate in bits a second and nothing else."""

from __future__ import annotations

from fractions import Fraction

import parts
import pytest
from uart import converse, loaded

from firstspike.contract.registers import IDENTITY, register_map
from firstspike.host import link
from firstspike.host.link import Frame, Status, Type
from firstspike_rtl.top.linked import LinkedTop
from firstspike_rtl.top.verilog import convert_linked

CORE = parts.hardware(parts.layer(inputs=4, outputs=2), parts.layer(inputs=2, outputs=2, fires=False))
#: Clock and rate: a whole number of clocks a bit, one that is rounded up, and one that is rounded down.
RATES = [(8_000_000, 2_000_000), (6_900_000, 1_000_000), (9_150_000, 1_000_000)]


@pytest.mark.parametrize(("clock_hz", "baud"), RATES)
def test_rate(clock_hz: int, baud: int, waves) -> None:
    """Both wires keep the rate; what HELLO says of clock and rate is true, and a register is what it is."""
    dut = LinkedTop(CORE, parts.contents(CORE), clock_hz=clock_hz, baud=baud)
    identity = register_map(CORE)["identity"].address()
    requests = [Frame(Type.HELLO, 5), Frame(Type.READ, 6, (identity, 1))]
    hello, read = converse(dut, requests, clock_hz=clock_hz, baud=baud, waves=waves)
    assert hello == Frame(
        Type.HELLO | link.REPLY, 5, link.hello_words(CORE, clock_hz, round(Fraction(clock_hz, baud))), Status.OK
    )
    assert read == Frame(Type.READ | link.REPLY, 6, (IDENTITY,), Status.OK)


@pytest.mark.parametrize("part", [Fraction(1, 2), 2])
def test_another_rate_is_seen(part: Fraction | int) -> None:
    """The test above can fail: a host of half the rate, or twice, is not understood."""
    clock_hz, baud = 8_000_000, 2_000_000
    dut = LinkedTop(CORE, parts.contents(CORE), clock_hz=clock_hz, baud=baud)
    with pytest.raises(AssertionError):
        converse(dut, [Frame(Type.HELLO, 5)], clock_hz=clock_hz, baud=int(baud * part))


@pytest.mark.parametrize(("clock_hz", "baud", "clocks"), [(100_000_000, 115_200, 868), (16_000_000, 115_200, 139)])
def test_rate_of_the_verilog(clock_hz: int, baud: int, clocks: int) -> None:
    """Usual rates take too long to simulate: what the timers of both wires are set to."""
    timers = loaded(convert_linked(CORE, parts.contents(CORE), clock_hz=clock_hz, baud=baud))
    assert timers == {"transmitter": {clocks - 1}, "receiver": {clocks - 1, (clocks - 1) // 2 - 1}}
