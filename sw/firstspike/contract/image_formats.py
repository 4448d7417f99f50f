"""File formats of memory images, each with its writer and reader; ``docs/memory-images.md`` describes them.

The text formats begin with one comment that names the memory, its shape and a CRC-32 of its rows, so that a file that
was cut, changed or swapped with another is refused when it is read.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import intelhex

from firstspike.contract.hardware import DIGEST_WORDS
from firstspike.contract.memory import WORD_BITS, Memory
from firstspike.errors import FirstspikeError

AGAIN = "export the network again"
HEX_DIGITS = frozenset("0123456789abcdefABCDEF")

MAGIC = b"FSNB"
BINARY_VERSION = 1
_HEADER = struct.Struct(f"<4sIII{DIGEST_WORDS}I{DIGEST_WORDS}I")
_RECORD = struct.Struct("<III")
_CRC = struct.Struct("<I")


class TextFormat(NamedTuple):
    """One file a memory: ``render(memory, rows)`` gives its text, ``parse(memory, text)`` gives the rows back.

    ``parse`` raises FirstspikeError if the text is not exactly a file of that memory.
    """

    render: Callable[[Memory, Sequence[int]], str]
    parse: Callable[[Memory, str], list[int]]


def check_rows(memory: Memory, rows: Sequence[int]) -> None:
    """Refuse rows that do not fit ``memory``.

    Raises
    ------
    FirstspikeError
        on a wrong number of rows, or a row outside 0 .. 2**data_bits - 1 (the bits above the data are zero).

    """
    if len(rows) != memory.depth:
        raise FirstspikeError(f"memory {memory.name} has {len(rows)} rows, not {memory.depth}", AGAIN)
    for address, row in enumerate(rows):
        if not 0 <= row < 1 << memory.data_bits:
            raise FirstspikeError(f"memory {memory.name}: row {address} does not fit {memory.data_bits} bits", AGAIN)


def row_bytes(memory: Memory) -> int:
    """Bytes of a row, filled up to whole bytes."""
    return -(-memory.row_bits // 8)


def head(memory: Memory, rows: Sequence[int]) -> str:
    """The comment of a text format, without its comment mark."""
    crc = zlib.crc32(b"".join(row.to_bytes(row_bytes(memory), "little") for row in rows))
    return f"firstspike {memory.name}: {memory.depth} rows of {memory.row_bits} bits, CRC-32 {crc:08x}"


def _hex(memory: Memory, row: int) -> str:
    return f"{row:0{-(-memory.row_bits // 4)}x}"


def _row(memory: Memory, address: int, digits: str) -> int:
    if len(digits) != -(-memory.row_bits // 4) or not HEX_DIGITS.issuperset(digits):
        raise FirstspikeError(
            f"memory {memory.name}: row {address} is {digits[:40]!r}, not {-(-memory.row_bits // 4)} hex digits", AGAIN
        )
    return int(digits, 16)


def _rows(memory: Memory, lines: Sequence[str], first_line: str, mark: str) -> list[int]:
    """The rows of ``lines`` (one row of digits each), checked against the head of the file."""
    rows = [_row(memory, address, line) for address, line in enumerate(lines)]
    check_rows(memory, rows)
    if first_line != f"{mark} {head(memory, rows)}":
        raise FirstspikeError(
            f"memory {memory.name}: the first line does not match the rows (another memory, or changed since written)",
            AGAIN,
        )
    return rows


def _expect(memory: Memory, lines: Sequence[str], wanted: Sequence[str]) -> None:
    for line, want in zip(lines, wanted, strict=False):
        if line != want:
            raise FirstspikeError(f"memory {memory.name}: found {line[:40]!r} where {want!r} belongs", AGAIN)
    if len(lines) < len(wanted):
        raise FirstspikeError(f"memory {memory.name}: the file ends before {wanted[len(lines)]!r}", AGAIN)


def _render_mem(memory: Memory, rows: Sequence[int]) -> str:
    return "".join(f"{line}\n" for line in (f"// {head(memory, rows)}", *(_hex(memory, row) for row in rows)))


def _parse_mem(memory: Memory, text: str) -> list[int]:
    lines = text.splitlines()
    return _rows(memory, lines[1:], "".join(lines[:1]), "//")


_COE_HEAD = ["memory_initialization_radix=16;", "memory_initialization_vector="]


def _render_coe(memory: Memory, rows: Sequence[int]) -> str:
    vector = ",\n".join(_hex(memory, row) for row in rows)
    return "\n".join([f"; {head(memory, rows)}", *_COE_HEAD, f"{vector};\n"])


def _parse_coe(memory: Memory, text: str) -> list[int]:
    lines = text.splitlines()
    _expect(memory, lines[1:3], _COE_HEAD)
    body = lines[3:]
    for address, line in enumerate(body):
        mark = ";" if address == memory.depth - 1 else ","
        if not line.endswith(mark):
            raise FirstspikeError(f"memory {memory.name}: row {address} is {line[:40]!r}, without {mark!r}", AGAIN)
    return _rows(memory, [line[:-1] for line in body], lines[0], ";")


def _mif_head(memory: Memory) -> list[str]:
    sizes = [f"DEPTH = {memory.depth};", f"WIDTH = {memory.row_bits};"]
    return [*sizes, "ADDRESS_RADIX = HEX;", "DATA_RADIX = HEX;", "CONTENT", "BEGIN"]


def _render_mif(memory: Memory, rows: Sequence[int]) -> str:
    body = [f"{address:x} : {_hex(memory, row)};" for address, row in enumerate(rows)]
    return "".join(f"{line}\n" for line in (f"-- {head(memory, rows)}", *_mif_head(memory), *body, "END;"))


def _parse_mif(memory: Memory, text: str) -> list[int]:
    lines = text.splitlines()
    begin = 1 + len(_mif_head(memory))
    _expect(memory, lines[1:begin], _mif_head(memory))
    _expect(memory, lines[-1:], ["END;"])
    digits = []
    for address, line in enumerate(lines[begin:-1]):
        start, end = f"{address:x} : ", ";"
        if not (line.startswith(start) and line.endswith(end)):
            raise FirstspikeError(f"memory {memory.name}: row {address:#x} is {line[:40]!r}, not '{start}...;'", AGAIN)
        digits.append(line[len(start) : -len(end)])
    return _rows(memory, digits, lines[0], "--")


def _new_hex() -> Any:
    factory: Any = intelhex.IntelHex  # the library has no types
    return factory()


def _render_hex(memory: Memory, rows: Sequence[int]) -> str:
    image, text = _new_hex(), io.StringIO()
    image.frombytes(b"".join(row.to_bytes(row_bytes(memory), "little") for row in rows))
    image.write_hex_file(text)
    return text.getvalue()


def _parse_hex(memory: Memory, text: str) -> list[int]:
    image, size = _new_hex(), row_bytes(memory)
    try:
        image.loadhex(io.StringIO(text))
    except (intelhex.IntelHexError, ValueError) as error:
        raise FirstspikeError(f"memory {memory.name}: {error}", AGAIN) from error
    if not text.rstrip().endswith(":00000001FF"):
        raise FirstspikeError(f"memory {memory.name}: the file ends before the end-of-file record", AGAIN)
    if image.addresses() != list(range(memory.depth * size)):
        raise FirstspikeError(
            f"memory {memory.name}: the file does not hold just the bytes 0..{memory.depth * size - 1}", AGAIN
        )
    data = image.tobinstr()
    rows = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
    check_rows(memory, rows)
    return rows


TEXT_FORMATS: dict[str, TextFormat] = {
    "mem": TextFormat(_render_mem, _parse_mem),
    "coe": TextFormat(_render_coe, _parse_coe),
    "mif": TextFormat(_render_mif, _parse_mif),
    "hex": TextFormat(_render_hex, _parse_hex),
}


def words_of(memory: Memory, rows: Sequence[int]) -> list[int]:
    """The rows as 32-bit words: row 0 word 0 (its lowest bits), row 0 word 1, ..."""
    data = b"".join(row.to_bytes(4 * memory.words, "little") for row in rows)
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def rows_of(memory: Memory, words: Sequence[int]) -> list[int]:
    """The rows that :func:`words_of` made words of."""
    data = struct.pack(f"<{len(words)}I", *words)
    size = 4 * memory.words
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def render_binary(memories: Sequence[Memory], layout_digest: str, contents: Mapping[str, Sequence[int]]) -> bytes:
    """``network.bin``: every memory in the order of the load port.

    Parameters
    ----------
    memories
        The core's memories; the first is the digest.
    layout_digest
        SHA-256 (hex) of what a core must agree on.
    contents
        Rows of each memory.

    """
    body = bytearray()
    for memory in memories:
        words = words_of(memory, contents[memory.name])
        body += _RECORD.pack(memory.index, memory.depth, memory.words) + struct.pack(f"<{len(words)}I", *words)
    size = _HEADER.size + len(body) + _CRC.size
    core = struct.unpack(f">{DIGEST_WORDS}I", bytes.fromhex(layout_digest))
    data = _HEADER.pack(MAGIC, BINARY_VERSION, size, len(memories), *contents[memories[0].name], *core) + bytes(body)
    return data + _CRC.pack(zlib.crc32(data))


def parse_binary(memories: Sequence[Memory], layout_digest: str, data: bytes) -> dict[str, list[int]]:
    """The contents that :func:`render_binary` wrote, for a core with the same memories and rules.

    Raises
    ------
    FirstspikeError
        if the data is damaged, of another version, or for another core.

    """
    what = "network.bin"
    if data[: len(MAGIC)] != MAGIC:
        raise FirstspikeError(f"{what} does not begin with {MAGIC.decode()}", "give the network.bin of an export")
    if len(data) < _HEADER.size + _CRC.size:
        raise FirstspikeError(f"{what} has only {len(data)} bytes", AGAIN)
    _, version, size, count, *words = _HEADER.unpack_from(data)
    digest, core = words[:DIGEST_WORDS], struct.pack(f">{DIGEST_WORDS}I", *words[DIGEST_WORDS:]).hex()
    if len(data) != size:
        raise FirstspikeError(f"{what} has {len(data)} bytes, not {size}: cut or changed since it was written", AGAIN)
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(data[: -_CRC.size]):
        raise FirstspikeError(f"{what} was changed since it was written (CRC-32 differs)", AGAIN)
    if version != BINARY_VERSION:
        raise FirstspikeError(f"{what} has version {version}; this program reads version {BINARY_VERSION}", AGAIN)
    if core != layout_digest or count != len(memories):
        raise FirstspikeError(
            f"{what} is for another core (layout {core[:8]}, this core has {layout_digest[:8]})",
            "export the network for this core",
        )
    contents: dict[str, list[int]] = {}
    at = _HEADER.size
    for memory in memories:
        shape = (memory.index, memory.depth, memory.words)
        end = at + _RECORD.size + memory.depth * memory.words * WORD_BITS // 8
        if end > len(data) - _CRC.size or _RECORD.unpack_from(data, at) != shape:
            raise FirstspikeError(f"{what}: the record of memory {memory.name} has another shape", AGAIN)
        words = list(struct.unpack_from(f"<{memory.depth * memory.words}I", data, at + _RECORD.size))
        contents[memory.name] = rows_of(memory, words)
        check_rows(memory, contents[memory.name])
        at = end
    if at != len(data) - _CRC.size or contents[memories[0].name] != digest:
        raise FirstspikeError(f"{what}: its memories do not fill it, or its digest is not theirs", AGAIN)
    return contents
