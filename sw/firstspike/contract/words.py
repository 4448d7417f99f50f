"""What goes over the wires: images and events to 32-bit words, result words to records.

RTL, drivers and benches take the fields of a word from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import DIGEST_WORDS, INDEX_BITS, PIXELS_PER_WORD, Hardware

Words = NDArray[np.uint32]

#: Fields of an event word (event input, monitor) and their widths, the lowest bits first.
EVENT_WORD = {"index": INDEX_BITS, "step": 10, "population": 4, "fault": 1, "mark": 1}
#: The last word of a result record. ``step`` is that of the earliest output spike, T if there is none.
RESULT_WORD = {"index": 16, "step": 15, "fault": 1}


def pack(layout: Mapping[str, int], **values: int) -> int:
    """A word from its fields; those not given are 0.

    Raises
    ------
    ValueError
        if a field is unknown, or a value does not fit it.

    """
    word = offset = 0
    for name, width in layout.items():
        value = values.pop(name, 0)
        if value < 0 or value >> width:
            raise ValueError(f"{name} is {value}, outside {width} bits")
        word |= value << offset
        offset += width
    if values:
        raise ValueError(f"no field {min(values)}")
    return word


def hash_words(digits: str) -> list[int]:
    """A SHA-256 in hex as 8 words: word 0 is its first 4 bytes, the first byte highest (its first 8 digits)."""
    return [int(digits[8 * i : 8 * i + 8], 16) for i in range(DIGEST_WORDS)]


def hash_digits(words: Sequence[int]) -> str:
    """The inverse of :func:`hash_words`."""
    return "".join(f"{word:08x}" for word in words)


def field(layout: Mapping[str, int], name: str, words: NDArray[np.integer]) -> NDArray[np.int64]:
    """One field of many words."""
    offset = 0
    for other, width in layout.items():
        if other == name:
            break
        offset += width
    values: NDArray[np.int64] = words.astype(np.int64) >> offset & (1 << layout[name]) - 1
    return values


def image_words(images: NDArray[np.uint8]) -> Words:
    """Frames of the pixel input, shape (B, ceil(N/4)): four pixels a word, pixel 0 in the lowest byte."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))  # -1 would not do for no images
    padded = np.zeros((len(flat), -(-flat.shape[1] // PIXELS_PER_WORD) * PIXELS_PER_WORD), np.uint8)
    padded[:, : flat.shape[1]] = flat
    return padded.view("<u4")


def input_frames(
    hardware: Hardware,
    encoder: Sequence[int],
    images: NDArray[np.uint8],
    rng: np.random.Generator | None = None,
) -> Words | list[list[int]]:
    """The words of each image's frame.

    Parameters
    ----------
    hardware
        What takes them.
    encoder
        The network's, for spikes that come encoded.
    images
        As :func:`~firstspike.network.model.check_images` returns them.
    rng
        Shuffles events; without it they come in order of their neurons.

    """
    if hardware.input == "pixels":
        return image_words(images)
    return event_words(hardware, images if hardware.repeat else np.array(encoder, np.int64)[images], rng)


def event_words(
    hardware: Hardware, events: NDArray[np.integer], rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Frames of the event input, from codes of shape (B, N) or, of neurons that fire again, counts (B, T, N).

    Codes come in order of the neurons or shuffled by ``rng``, counts in order of the steps and shuffled within each. An
    image without spikes is a single word with ``mark``.
    """
    frames = []
    indices = hardware.indices(0)
    for image in events:
        if hardware.repeat:
            fired = np.nonzero(image)
            steps, neurons = (axis.repeat(image[fired]) for axis in fired)
        else:
            (neurons,) = np.nonzero(image < hardware.layers[0].input_codes)
            steps = image[neurons]
        if rng is not None:
            mixed = rng.permutation(len(neurons))
            if hardware.repeat:
                mixed = mixed[np.argsort(steps[mixed], kind="stable")]
            steps, neurons = steps[mixed], neurons[mixed]
        pairs = zip(indices[neurons].tolist(), steps.tolist(), strict=True)
        frames.append([pack(EVENT_WORD, index=i, step=k) for i, k in pairs] or [pack(EVENT_WORD, mark=1)])
    return frames


@dataclass(frozen=True, eq=False)
class Records:
    """Result records of B images.

    Parameters
    ----------
    membranes
        Shape (B, outputs), or (B, 0) if they were not sent.
    classes, decision_steps
        Shape (B,).
    faults
        Whether the input frame was malformed, shape (B,).

    """

    membranes: NDArray[np.int64]
    classes: NDArray[np.int64]
    decision_steps: NDArray[np.int64]
    faults: NDArray[np.bool_]


def parse_records(words: NDArray[np.integer], record_words: int) -> Records:
    """Result words of whole records of equal length.

    Raises
    ------
    ValueError
        if the words are no whole number of records.

    """
    rows = np.asarray(words).astype(np.uint32).reshape(-1, record_words)
    last = rows[:, -1]
    return Records(
        membranes=rows[:, :-1].view(np.int32).astype(np.int64),
        classes=field(RESULT_WORD, "index", last),
        decision_steps=field(RESULT_WORD, "step", last),
        faults=field(RESULT_WORD, "fault", last).astype(bool),
    )
