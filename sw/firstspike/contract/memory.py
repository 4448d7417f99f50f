"""One memory of a core: what memory images, loader, RTL and manifest all take its shape from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WORD_BITS = 32  # of the load port, the registers and the streams

MemoryRole = Literal[
    "digest", "encoder", "weight", "bias", "kernel", "threshold", "reset", "drive", "gain", "retain", "leak"
]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory: ``depth`` rows of ``row_bits`` bits, loaded in words of 32 bits, lowest word first.

    Parameters
    ----------
    index
        Number of the memory in the load register.
    fields, field_bits
        A row is ``fields`` numbers of ``field_bits`` bits side by side, field 0 in the lowest bits.
    signed
        Whether a field is in two's complement.

    """

    name: str
    index: int
    role: MemoryRole
    layer: int | None
    depth: int
    fields: int
    field_bits: int
    signed: bool

    @property
    def data_bits(self) -> int:
        """Bits of a row that carry data."""
        return self.fields * self.field_bits

    @property
    def words(self) -> int:
        """32-bit words in a row."""
        return -(-self.data_bits // WORD_BITS)

    @property
    def row_bits(self) -> int:
        """Width of the memory: a row longer than a word is filled up to whole words with zeros."""
        return self.data_bits if self.words == 1 else self.words * WORD_BITS
