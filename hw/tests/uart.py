"""A host's serial port at the wires of a simulated device, in real time; and the rate of a device in its Verilog."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from simulation import PERIOD, simulate

from firstspike.host import link
from firstspike.host.link import Decoder, Frame
from firstspike_rtl.top.linked import LinkedTop

#: Longer than the reply to HELLO takes.
PATIENCE_BITS = 1000


def bits(byte: int, stop: int = 1) -> list[int]:
    """Levels of the wire for a byte."""
    return [0, *(byte >> n & 1 for n in range(8)), stop]


def converse(dut: LinkedTop, requests: Iterable[Frame], *, clock_hz: int, baud: int, waves=None) -> list[Frame]:
    """Replies of a device to a host that knows nothing of it but the rate: a bit lasts 1 / ``baud`` seconds.

    The device's clock is ``clock_hz``; no bit is a whole number of clocks, unless the two happen to make it so.
    """
    bit = clock_hz / baud * PERIOD
    decoder, requests = Decoder(), list(requests)
    replies: list[Frame] = []

    async def host(ctx: Any) -> None:
        await ctx.tick().repeat(3)
        for request in requests:
            for level in (level for byte in link.encode(request) for level in bits(byte)):
                ctx.set(dut.rx, level)
                await ctx.delay(bit)
            count = len(replies)
            for _ in range(PATIENCE_BITS):
                if len(replies) > count:
                    break
                await ctx.delay(bit)
            assert len(replies) > count, f"no reply to {request}"

    async def listen(ctx: Any) -> None:
        while True:
            await ctx.negedge(dut.tx)
            levels = []
            await ctx.delay(bit / 2)
            for _ in range(link.UART_BITS):
                levels.append(ctx.get(dut.tx))
                await ctx.delay(bit if len(levels) < link.UART_BITS else 0)
            start, *data, stop = levels
            assert (start, stop) == (0, 1), "a byte without its start or stop bit"
            replies.extend(decoder.feed(bytes([sum(level << n for n, level in enumerate(data))])))

    simulate(dut, host, background=[listen], waves=waves)
    return replies


def loaded(verilog: str) -> dict[str, set[int]]:
    """What the timer of each UART in a Verilog text is set to, by the last part of the module's name: clocks less 1."""
    found = {}
    for name, body in re.findall(r"^module \w*?(receiver|transmitter) \((.*?)^endmodule", verilog, re.M | re.S):
        if "timer" not in body or ("tx" not in body and "rx" not in body):
            continue
        # In the text of a board the register takes a wire that has the values.
        wires = re.findall(r"timer <= (\w+) *;", body)
        targets = "|".join(["timer <=", *(rf"\b{wire} +=" for wire in wires)])
        values = re.findall(rf"(?:{targets}) \d+'h([0-9a-f]+);", body)
        found[name] = {int(value, 16) for value in values} - {0}
    return found
