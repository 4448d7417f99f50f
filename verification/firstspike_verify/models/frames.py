"""What goes over the wires: monitor words to spike times; with :mod:`firstspike.contract.words`, all of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import Hardware
from firstspike.contract.words import EVENT_WORD, Records, field
from firstspike.contract.words import event_words as event_words
from firstspike.contract.words import image_words as image_words
from firstspike.contract.words import input_frames as input_frames
from firstspike.contract.words import parse_records as parse_records
from firstspike.network.golden import Result
from firstspike.network.model import Network
from firstspike_rtl.core import layouts


def codes_of(hardware: Hardware) -> list[int]:
    """How many codes the spikes of each spiking population can carry."""
    return [hardware.layers[0].input_codes] + [hardware.steps] * (len(hardware.layers) - 1)


class MonitorError(AssertionError):
    """The monitor showed something that no network does: a second spike, a spike behind its watermark ..."""


class Seen(NamedTuple):
    """What the monitor showed of B images.

    Parameters
    ----------
    times
        For each population the code of each neuron's first spike, shape (B, N), or the number of codes for none.
    counts
        For each population that fires again, by its number, its spikes of each step, shape (B, T, N).
    faults
        For each population the fault bit of each image, shape (B,).
    """

    times: list[NDArray[np.int16]]
    counts: dict[int, NDArray[np.uint8]]
    faults: list[NDArray[np.bool_]]


def seen(hardware: Hardware, words: NDArray[np.integer]) -> Seen:
    """The spikes of each population from monitor words in the order they came.

    Raises
    ------
    MonitorError
        if a neuron fires more often than it may, does not exist, or spikes or watermarks contradict each other.
    """
    words = np.asarray(words)
    population = field(EVENT_WORD, "population", words)
    mark = field(EVENT_WORD, "mark", words).astype(bool)
    step = field(EVENT_WORD, "step", words)
    index = field(EVENT_WORD, "index", words)
    fault = field(EVENT_WORD, "fault", words).astype(bool)
    times, counts, faults = [], {}, []
    for p, (codes, size) in enumerate(zip(codes_of(hardware), hardware.sizes, strict=False)):
        mine = population == p
        m, k, f = mark[mine], step[mine], fault[mine]
        indices = hardware.indices(p)
        i = np.searchsorted(indices, index[mine])  # the neuron's number
        unknown = indices[np.minimum(i, size - 1)] != index[mine]
        final = m & (k == codes - 1)
        image = np.cumsum(final) - final  # image number of each word
        count = int(final.sum())
        if len(final) and not final[-1]:
            raise MonitorError(f"population {p}: events after the last image's final watermark")
        spike = ~m
        if unknown[spike].any() or (k[spike] >= codes).any():
            raise MonitorError(f"population {p}: a spike of a neuron or step that does not exist")
        cells = image[spike] * size + i[spike]
        most = hardware.spikes_a_step(p)
        times_fired = np.bincount(
            cells * codes + k[spike] if most else cells, minlength=count * size * (codes if most else 1)
        )
        if times_fired.max(initial=0) > max(1, most):
            what = f"more than {most} times in one step" if most else "twice in one image"
            raise MonitorError(f"population {p}: a neuron fires {what}")
        late = np.maximum.accumulate(np.where(m, image * (codes + 1) + k, -1)) >= image * (codes + 1) + k
        if len(final) and late[spike].any():
            raise MonitorError(f"population {p}: a spike behind the watermark of its step")
        result = np.full(count * size, codes, np.int16)
        np.minimum.at(result, cells, k[spike].astype(np.int16))
        times.append(result.reshape(count, size))
        faults.append(f[final])
        if most:
            counts[p] = times_fired.reshape(count, size, codes).transpose(0, 2, 1).astype(np.uint8)
    return Seen(times, counts, faults)


def describe_event(word: int) -> str:
    """An event word, for people."""
    event = layouts.EVENT_WORD.from_bits(word)
    what = "watermark" if event.mark else f"spike of neuron {event.index}"
    return f"population {event.population}: {what} at step {event.step}{', fault' if event.fault else ''}"


def describe_events(hardware: Hardware, words: NDArray[np.integer], image: int) -> list[str]:
    """The events of one image, of all populations, in the order the monitor showed them."""
    words = np.asarray(words)
    population = field(EVENT_WORD, "population", words)
    codes = np.array(codes_of(hardware))[population]
    final = field(EVENT_WORD, "mark", words).astype(bool) & (field(EVENT_WORD, "step", words) == codes - 1)
    wanted = np.zeros(len(words), bool)
    for p in range(len(hardware.layers)):
        mine = population == p
        wanted[mine] = np.cumsum(final[mine]) - final[mine] == image
    return [describe_event(word) for word in words[wanted].tolist()]


def result(records: Records, seen: Seen | None) -> Result:
    """Records, and spikes if they were watched, in the form of the golden model."""
    times, counts = (tuple(seen.times), seen.counts) if seen else ((), {})
    return Result(times, records.membranes, records.classes, records.decision_steps, counts)


def record_words(network: Network, send_membranes: bool) -> int:
    """Words in a result record."""
    return 1 + (network.sizes[-1] if send_membranes else 0)
