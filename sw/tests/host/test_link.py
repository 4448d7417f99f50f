"""Frames of the host link: round trips, and every single fault in every place."""

from __future__ import annotations

import random
import re
import zlib
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.errors import FirstspikeError
from firstspike.host import link
from firstspike.host.link import END, ESC, Decoder, Frame

pytestmark = pytest.mark.smoke

BYTES = st.one_of(st.sampled_from([END, ESC, link.ESC_END, link.ESC_ESC]), st.integers(0, 255))
WORDS = st.lists(BYTES, min_size=4, max_size=4).map(lambda b: int.from_bytes(b, "little"))
FRAMES = st.builds(Frame, BYTES, WORDS, st.lists(WORDS, max_size=20).map(tuple), BYTES)
SAMPLE = Frame(0x42, 0x01C0DB7F, (0xC0DBDCDD, 0x04030201))
AFTER = Frame(0x17, 0x89ABCDEF, (0x5A5A5A5A,))


def test_a_frame_by_hand() -> None:
    """The layout of docs/link.md, written out."""
    inside = bytes([0x01, 0x00, 0x02, 0x00, 0x78, 0x56, 0x34, 0x12, 0xC0, 0xDB, 0x00, 0x01])
    crc = zlib.crc32(inside)
    assert crc == 0xDE68898D
    expected = bytes([0xC0, *inside[:8], 0xDB, 0xDC, 0xDB, 0xDD, 0x00, 0x01, 0x8D, 0x89, 0x68, 0xDE, 0xC0])
    assert link.encode(Frame(2, 0x12345678, (0x0100DBC0,))) == expected


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_round_trip(frames: list[Frame], cuts: list[int]) -> None:
    """However the bytes are cut, and never is END within a frame."""
    data = b""
    for frame in frames:
        encoded = link.encode(frame)
        assert encoded.count(END) == 2
        assert encoded[0] == encoded[-1] == END
        data += encoded
    decoder, seen, place = Decoder(), [], 0
    for cut in cuts * (len(data) // sum(cuts) + 1):
        seen += decoder.feed(data[place : place + cut])
        place += cut
    assert place >= len(data)
    assert seen == frames
    assert decoder.dropped == 0


def test_every_single_fault() -> None:
    """A byte lost, doubled or changed, in any place: the frame, or none; and the next one comes through at once."""
    data, after = link.encode(SAMPLE), link.encode(AFTER)
    harmless = 0
    for n, byte in enumerate(data):
        for middle in (b"", bytes([byte, byte]), *(bytes([x]) for x in range(256) if x != byte)):
            decoder = Decoder()
            frames = list(decoder.feed(bytes([END]) + data[:n] + middle + data[n + 1 :] + after))
            assert frames in ([AFTER], [SAMPLE, AFTER]), (n, middle)
            assert (decoder.dropped > 0) == (len(frames) == 1), (n, middle)
            harmless += len(frames) == 2
    assert harmless == 4  # an END lost or doubled, first or last


def test_lengths_that_are_wrong() -> None:
    """A frame whose CRC is right, but whose header states another length, is dropped."""
    rest = bytes([2, 0, 3, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0])
    for length in (2, 0, 1, 3, link.MAX_PAYLOAD_WORDS):
        frames = list(Decoder().feed(link.enclose(length.to_bytes(2, "little") + rest)))
        assert frames == ([Frame(2, 3, (5, 6))] if length == 2 else [])


def test_every_pair_of_lost_and_doubled_bytes() -> None:
    """The faults that leave the length as it was, which the CRC alone can find."""
    data = link.encode(SAMPLE)
    inside = range(1, len(data) - 1)
    for lost, doubled in product(inside, inside):
        changed = bytearray(data)
        changed[doubled : doubled + 1] = bytes([data[doubled]] * 2)
        del changed[lost + (lost > doubled)]
        frames = list(Decoder().feed(bytes(changed)))
        assert frames == ([SAMPLE] if changed == data else []), (lost, doubled)


def test_noise(seed: int) -> None:
    """A million bytes without order hold no frame, and memory stays bounded; the frame after them is taken."""
    decoder = Decoder(max_words=8)
    noise = random.Random(seed).randbytes(1_000_000)
    assert list(decoder.feed(noise)) == []
    assert decoder.dropped > 1000
    assert list(decoder.feed(b"\x00" * 1_000_000)) == []
    assert len(decoder._open) < 200
    assert list(decoder.feed(link.encode(AFTER))) == [AFTER]


def test_the_longest_frame_is_taken() -> None:
    """Even if every byte is escaped."""
    frame = Frame(END, 0xC0C0C0C0, (0xDBC0DBC0,) * 8, ESC)
    assert list(Decoder(max_words=8).feed(link.encode(frame))) == [frame]


def test_fields_that_do_not_fit() -> None:
    for frame in (Frame(256, 0), Frame(0, 1 << 32), Frame(0, -1), Frame(0, 0, (), 256)):
        with pytest.raises(ValueError, match="outside"):
            link.encode(frame)
    with pytest.raises(OverflowError):
        link.encode(Frame(0, 0, (1 << 32,)))
    with pytest.raises(ValueError, match="length is 65536"):
        link.encode(Frame(0, 0, (0,) * (link.MAX_PAYLOAD_WORDS + 1)))


def hardware(inputs: int, outputs: int = 3, **changes) -> Hardware:
    layer = LayerShape(
        kind="dense", input_shape=(inputs,), channels=outputs, lanes=1,
        input_codes=4, weight_bits=4, kernel_bits=4, membrane_bits=12, fires=False,
    )  # fmt: skip
    return Hardware(steps=4, fire_start=4, readout="membrane", simultaneous=False, layers=(layer,), **changes)


def test_buffers_hold_any_image_and_any_result() -> None:
    assert link.request_words(hardware(3073)) == 769
    assert link.request_words(hardware(784)) == link.CHUNK_WORDS
    assert link.request_words(hardware(784, input="events")) == 784
    assert link.reply_words(hardware(5)) == link.REPLY_WORDS
    assert link.reply_words(hardware(5, 1000)) == 1001
    with pytest.raises(FirstspikeError, match="an image may take 65536 words"):
        link.request_words(hardware(1 << 16, input="events"))


def test_the_document_has_the_numbers() -> None:
    text = (Path(__file__).parents[3] / "docs" / "link.md").read_text()
    for value in (*link.Type, *link.Status):
        assert re.search(rf"^\| {value.value} \| `{value.name}` \|", text, re.M), value
    for name in ("END", "ESC", "ESC_END", "ESC_ESC"):
        assert f"{name} `{getattr(link, name):02x}`" in text, name
    for name, width in link.HEADER.items():
        assert f"`{name}` {width}" in text, name
    assert f"version {link.VERSION}" in text
    assert f"{link.CHUNK_WORDS} words" in text
