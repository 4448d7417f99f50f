"""The core with AXI pins: what becomes ``top.v``."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, Module, ResetInserter
from amaranth.lib.wiring import In, Member, Out, connect

from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike_rtl.core.datapath import Core
from firstspike_rtl.core.layouts import Component
from firstspike_rtl.core.tables import Contents
from firstspike_rtl.top.bus import LiteSignature, Registers, watched

NAME = "top"


def ports(hardware: Hardware) -> dict[str, Member]:
    """The pins of the core, by name."""
    spiking = len(hardware.layers)
    members = {
        "aclk": In(1),
        "aresetn": In(1),
        "s_axis_tdata": In(WORD_BITS),
        "s_axis_tvalid": In(1),
        "s_axis_tready": Out(1),
        "s_axis_tlast": In(1),
        "m_axis_tdata": Out(WORD_BITS),
        "m_axis_tvalid": Out(1),
        "m_axis_tready": In(1),
        "m_axis_tlast": Out(1),
    }
    members |= {f"s_axil_{name}": member.flip() for name, member in LiteSignature().members.items()}
    if hardware.monitor:
        members |= {
            "m_axis_monitor_tdata": Out(spiking * WORD_BITS),
            "m_axis_monitor_tkeep": Out(spiking * WORD_BITS // 8),
            "m_axis_monitor_tvalid": Out(1),
            "m_axis_monitor_tready": In(1),
            "m_axis_monitor_tlast": Out(1),
        }
    return members


def add_core(m: Module, hardware: Hardware, contents: Contents) -> tuple[Registers, Core]:
    """Add a core and its registers to ``m``, joined but for the core's streams: no input may come unless enabled."""
    m.submodules.registers = registers = Registers(hardware, contents)
    core = Core(hardware, contents)
    m.submodules.core = ResetInserter(~registers.enable)(core)
    connect(m, registers.load, core.load)
    m.d.comb += core.send_membranes.eq(registers.send_membranes)
    # Counted a clock late: it comes through the ready of whole layers.
    for name in watched(hardware):
        m.d.sync += getattr(registers, name).eq(getattr(core, name))
    return registers, core


class Top(Component):
    """AXI4-Stream in and out, AXI4-Lite registers, and the event-monitor stream.

    One clock ``aclk``, synchronous reset ``aresetn`` (low). After reset the core is disabled: set ``enable`` in the
    control register. ``s_axis`` takes a frame an image; ``m_axis`` sends a record an image; ``m_axis_monitor`` has a
    32-bit event word for each population side by side, ``tkeep`` tells which are used.

    Latency and throughput are those of :class:`firstspike_rtl.core.datapath.Core`.

    Parameters
    ----------
    hardware
        What to build.
    contents
        Initial rows of every memory, by name.
    """

    def __init__(self, hardware: Hardware, contents: Contents) -> None:
        self._hardware, self._contents = hardware, contents
        super().__init__(ports(hardware))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sync: Any = ClockDomain("sync")
        m.domains.sync = sync
        registers, core = add_core(m, self._hardware, self._contents)
        m.d.comb += [
            sync.clk.eq(self.aclk),
            sync.rst.eq(~self.aresetn),
            core.i.valid.eq(self.s_axis_tvalid & registers.enable),
            core.i.payload.data.eq(self.s_axis_tdata),
            core.i.payload.last.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(core.i.ready & registers.enable),
            self.m_axis_tvalid.eq(core.o.valid),
            self.m_axis_tdata.eq(core.o.payload.data),
            self.m_axis_tlast.eq(core.o.payload.last),
            core.o.ready.eq(self.m_axis_tready),
        ]
        for name, member in LiteSignature().members.items():
            inside, outside = getattr(registers.bus, name), getattr(self, f"s_axil_{name}")
            m.d.comb += outside.eq(inside) if member.flow == In else inside.eq(outside)
        if self._hardware.monitor:
            beat = core.monitor.payload
            m.d.comb += [
                self.m_axis_monitor_tdata.eq(beat.slots),
                self.m_axis_monitor_tkeep.eq(Cat(used.replicate(WORD_BITS // 8) for used in beat.keep)),
                self.m_axis_monitor_tvalid.eq(core.monitor.valid),
                self.m_axis_monitor_tlast.eq(beat.last),
                core.monitor.ready.eq(self.m_axis_monitor_tready),
            ]
        return m
