"""What is to be routed for a board, and what yosys and nextpnr get for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from firstspike.contract.hardware import Hardware
from firstspike_rtl.boards import boards, patching
from firstspike_rtl.boards.families import FAMILIES, Family
from firstspike_rtl.boards.tools import YOSYS
from firstspike_rtl.top.verilog import converter
from firstspike_rtl.top.verilog_names import without_escapes

TOP = "top"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be routed.

    Parameters
    ----------
    board
        A key of :data:`firstspike_rtl.boards.boards.BOARDS`.
    hardware
        Of the core.
    megahertz
        Clock of the core, at most; None for the board's own.
    baud
        Bits a second on the serial port; None for the board's own.
    seeds
        How many placements are tried; the one with the fastest clock is kept.
    """

    board: str
    hardware: Hardware
    megahertz: float | None = None
    baud: int | None = None
    seeds: int = 1

    @property
    def family(self) -> Family:
        """Of the board's device."""
        return FAMILIES[boards.find(self.board).family]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Files of a design before synthesis, and the router's arguments for device and pins."""

    family: Family
    files: dict[str, bytes]
    arguments: list[str]
    clock_hz: int
    baud: int

    def synthesise(self, scratch: Path) -> None:
        """Write the files into ``scratch``, and the netlist beside them.

        Raises
        ------
        FirstspikeError
            if yosys is missing or fails.
        """
        for name, body in self.files.items():
            (scratch / name).write_bytes(body)
        YOSYS(scratch, "-q", f"{TOP}.ys")
        self.family.improve(scratch / f"{TOP}.json")


def plan(order: Order) -> Plan:
    """Verilog, synthesis script and constraints of a board's top, with placeholders in its memories.

    Raises
    ------
    FirstspikeError
        if the board is unknown, its PLL cannot make the clock, or the clock not the rate.
    """
    board = boards.find(order.board)
    setting, baud = board.clock(order.megahertz), order.baud or board.baud
    contents = patching.placeholders(order.hardware, order.family)
    top = boards.BoardTop(board, setting, order.hardware, contents, baud=baud)
    with converter():
        built = board.open().prepare(top, TOP, emit_src=False, synth_opts=order.family.synthesis, debug_verilog=True)
    files = {name: body if isinstance(body, bytes) else body.encode() for name, body in built.files.items()}
    _, route, *_ = json.loads(files[f"build_{TOP}.json"])["commands"]
    # Of the Verilog, since yosys heeds ``no_rw_check`` only where it finds the ports of a memory itself.
    design, verilog, script = f"{TOP}.il", f"{TOP}.debug.v", f"{TOP}.ys"
    files[verilog] = without_escapes(files[verilog].decode()).encode()
    files[script] = files[script].replace(f"read_rtlil {design}".encode(), f"read_verilog {verilog}".encode())
    wanted = {name: body for name, body in files.items() if not name.startswith("build_") and name != design}
    # All but the program, and the options of its log.
    arguments = order.family.arguments([x for x in route[1:] if x not in ("--quiet", "--log", f"{TOP}.tim")])
    return Plan(family=order.family, files=wanted, arguments=arguments, clock_hz=int(setting.output_hz), baud=baud)
