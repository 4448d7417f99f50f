"""The core on a board: two wires to a host, besides clock and reset."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import Out, connect

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import Component
from firstspike_rtl.core.tables import Contents
from firstspike_rtl.top import boot
from firstspike_rtl.top.link import Link
from firstspike_rtl.top.pins import add_core
from firstspike_rtl.top.uart import RX, TX, UartReceiver, UartTransmitter, divisor

NAME = "linked_top"


class LinkedTop(Component):
    """A core with the host link on it, in the clock domain ``sync``: ``clk`` and ``rst`` of the Verilog.

    The monitor, if there is one, is not used. After a reset memories hold what they held before. With ``boot``, a
    :class:`~firstspike_rtl.top.boot.Boot` loads all memories but the weights once after configuration; requests wait.

    Parameters
    ----------
    hardware
        What to build.
    contents
        Initial rows of every memory, by name; with ``boot`` also those of the memory of that name.
    clock_hz, baud
        Frequency of the clock, and bits a second on the wires.
    boot
        Whether the network is loaded at power-up.

    Members
    -------
    rx, tx : In(1), Out(1), 8 data bits, no parity, 1 stop bit; ``rx`` from any clock domain
    ready : Out(1), only with ``boot``: the load is over

    Raises
    ------
    FirstspikeError
        if the clock cannot make the rate, or an image may be longer than a frame.
    """

    def __init__(self, hardware: Hardware, contents: Contents, *, clock_hz: int, baud: int, boot: bool = False) -> None:
        self._hardware, self._contents, self._boot = hardware, contents, boot
        self._divisor = divisor(clock_hz, baud)
        self._link = Link(hardware, clock_hz, self._divisor)
        super().__init__({"rx": RX, "tx": TX} | ({"ready": Out(1)} if boot else {}))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        registers, core = add_core(m, self._hardware, self._contents)
        m.submodules.link = link = self._link
        m.submodules.receiver = receiver = UartReceiver(self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self._divisor)
        connect(m, receiver.o, link.i)
        connect(m, link.o, transmitter.i)
        self._connect_bus(m, link.bus, registers.bus)
        connect(m, core.o, link.result)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            core.i.payload.eq(link.image.payload),
            core.i.valid.eq(link.image.valid & registers.enable),
            link.image.ready.eq(core.i.ready & registers.enable),
        ]
        if self._hardware.monitor:
            m.d.comb += core.monitor.ready.eq(1)
        return m

    def _connect_bus(self, m: Module, host: Any, bus: Any) -> None:
        if not self._boot:
            connect(m, host, bus)
            return
        m.submodules.boot = loader = boot.Boot(self._hardware, self._contents[boot.NAME])
        m.d.comb += self.ready.eq(loader.done)
        for master, owns in ((loader.bus, ~loader.done), (host, loader.done)):
            for name, member in master.signature.members.items():
                with m.If(owns):
                    if member.flow == Out:
                        m.d.comb += getattr(bus, name).eq(getattr(master, name))
                    else:
                        m.d.comb += getattr(master, name).eq(getattr(bus, name))
