"""The protocol of the host link: frames, requests and replies; ``docs/link.md`` describes it.

The RTL takes every number from here, as the host does.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from firstspike.contract import words
from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.errors import FirstspikeError

#: Of frames, types, statuses and payloads; a host refuses another one.
VERSION = 2
DEFAULT_BAUD = 115_200

#: Framing of RFC 1055 (SLIP): END before and after each frame, and in no other place.
END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD

WORD_BYTES = WORD_BITS // 8
#: On the wire for a byte: start, eight, stop.
UART_BITS = 10
#: Fields of the two words before the payload, the lowest bits first. ``length``: words of payload.
HEADER = {"length": 16, "type": 8, "status": 8, "tag": 32}
HEADER_WORDS = sum(HEADER.values()) // WORD_BITS
CRC_WORDS = 1
MAX_PAYLOAD_WORDS = (1 << HEADER["length"]) - 1
TAGS = 1 << HEADER["tag"]
#: Set in the type of a reply, so that an echoed request is none.
REPLY = 0x80

#: A load in frames of so many words wastes little time on waiting for replies.
CHUNK_WORDS = 256
#: At least, of a reply: more than any range of registers.
REPLY_WORDS = 32


class Type(IntEnum):
    """What a request asks for."""

    HELLO = 1
    READ = 2
    WRITE = 3
    IMAGE = 4


class Status(IntEnum):
    """How a request ended. All but OK come without payload."""

    OK = 0
    MALFORMED = 1
    REFUSED = 2
    TIMEOUT = 3
    STRANGER = 4


class LinkError(FirstspikeError):
    """The other end does not answer, or not as it should; no result was delivered."""


@dataclass(frozen=True)
class Frame:
    """A request or a reply.

    Parameters
    ----------
    type
        A :class:`Type`, of a reply with :data:`REPLY` set.
    tag
        Number of the request, repeated in its reply.
    payload
        32-bit words.
    status
        Of a reply: a :class:`Status`.

    """

    type: int
    tag: int
    payload: tuple[int, ...] = ()
    status: int = 0


def encode(frame: Frame) -> bytes:
    """The bytes on the wire.

    Raises
    ------
    ValueError
        if a field does not fit.

    """
    header = words.pack(HEADER, length=len(frame.payload), type=frame.type, status=frame.status, tag=frame.tag)
    inside = header.to_bytes(HEADER_WORDS * WORD_BYTES, "little") + _bytes(frame.payload)
    return enclose(inside)


def enclose(inside: bytes) -> bytes:
    """Header and payload with their CRC, escaped, between two END."""
    checked = inside + _bytes([zlib.crc32(inside)])
    escaped = checked.replace(bytes([ESC]), bytes([ESC, ESC_ESC])).replace(bytes([END]), bytes([ESC, ESC_END]))
    return bytes([END]) + escaped + bytes([END])


class Decoder:
    """Frames out of bytes as they come; what is no whole, right frame is dropped and counted.

    Parameters
    ----------
    max_words
        Payload of the longest frame that is taken.

    """

    def __init__(self, max_words: int = MAX_PAYLOAD_WORDS) -> None:
        self._max_bytes = 2 * WORD_BYTES * (HEADER_WORDS + max_words + CRC_WORDS)  # every byte may be escaped
        self._open = bytearray()
        self.dropped = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end within ``data``."""
        for piece in _split(data):
            if piece[-1] != END:
                # Of a flood without END no more is kept than it takes to know that it is too long.
                self._open += piece[: self._max_bytes + 1 - len(self._open)]
                continue
            inside = bytes(self._open) + piece[:-1]
            self._open.clear()
            if not inside:
                continue
            frame = _decode(inside) if len(inside) <= self._max_bytes else None
            if frame is None:
                self.dropped += 1
            else:
                yield frame


def _split(data: bytes) -> Iterator[bytes]:
    """Pieces that end with END; the last one may not."""
    begin = 0
    while begin < len(data):
        end = data.find(END, begin)
        end = len(data) if end < 0 else end + 1
        yield data[begin:end]
        begin = end


def _decode(escaped: bytes) -> Frame | None:
    """The frame between two END, or None if it is none."""
    inside = bytearray()
    rest = iter(escaped)
    for byte in rest:
        if byte == ESC:
            code = next(rest, None)
            if code not in (ESC_END, ESC_ESC):
                return None
            byte = END if code == ESC_END else ESC
        inside.append(byte)
    if len(inside) < (HEADER_WORDS + CRC_WORDS) * WORD_BYTES or len(inside) % WORD_BYTES:
        return None
    numbers = [int.from_bytes(inside[i : i + WORD_BYTES], "little") for i in range(0, len(inside), WORD_BYTES)]
    payload = tuple(numbers[HEADER_WORDS:-CRC_WORDS])
    header = int.from_bytes(inside[: HEADER_WORDS * WORD_BYTES], "little")
    fields: dict[str, int] = {}
    for name, width in HEADER.items():
        fields[name] = header & (1 << width) - 1
        header >>= width
    if fields["length"] != len(payload) or numbers[-1] != zlib.crc32(inside[: -CRC_WORDS * WORD_BYTES]):
        return None
    return Frame(fields["type"], fields["tag"], payload, fields["status"])


def _bytes(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(WORD_BYTES, "little") for number in numbers)


def request_words(hardware: Hardware) -> int:
    """Payload of the longest request that a device of this hardware takes: any image, or a chunk of a load.

    Raises
    ------
    FirstspikeError
        if an image may be longer than a frame.

    """
    image = hardware.frame_words
    if image > MAX_PAYLOAD_WORDS:
        raise FirstspikeError(f"an image may take {image} words; a frame of the link holds {MAX_PAYLOAD_WORDS}")
    return max(image, CHUNK_WORDS)


def record_words(hardware: Hardware) -> int:
    """Words of a result with membranes."""
    return hardware.sizes[-1] + 1


def reply_words(hardware: Hardware) -> int:
    """Payload of the longest reply."""
    return max(record_words(hardware), REPLY_WORDS)


def hello_words(hardware: Hardware, clock_hz: int, divisor: int) -> tuple[int, ...]:
    """Payload of the reply to HELLO: version, clock in Hz, clocks of a bit, and the hardware's fingerprint.

    Raises
    ------
    ValueError
        if the clock does not fit a word.

    """
    if clock_hz >> WORD_BITS:
        raise ValueError(f"a clock of {clock_hz} Hz does not fit {WORD_BITS} bits")
    return VERSION, clock_hz, divisor, *words.hash_words(hardware.fingerprint)


def patience_clocks(hardware: Hardware) -> int:
    """Clocks without a word in or out, of an image, after which a core is stopped: twice the most that it may take.

    The most: every neuron fires, every layer works alone, and tests all its neurons in every step.
    """
    work = 4 * hardware.sizes[0]  # in, through the queue, and sorted
    for layer in hardware.layers:
        work += layer.groups * int(layer.visits.sum()) + layer.membrane_rows
        work += hardware.steps * layer.pass_clocks + 2 * layer.outputs
    return 2 * work + 1024


def image_bits(hardware: Hardware) -> int:
    """Bits on both wires for the longest image and its record, without escapes."""
    lengths = hardware.frame_words, record_words(hardware)
    return UART_BITS * sum(len(encode(Frame(Type.IMAGE, 0, (0,) * words))) for words in lengths)
