"""Spikes of an image in the order in which the core meets them, from the golden model's spike times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.network.golden import Result


@dataclass
class Spikes:
    """Spikes of one image. A number stands for each: the rows of membranes that it has the next layer add to."""

    words: list[list[int]]  # of each input word
    steps: list[list[int]]  # of each input step
    slices: list[list[list[tuple[int, list[int]]]]]  # for each hidden layer and pass, of each slice that has any


def spikes(hardware: Hardware, result: Result) -> Iterator[Spikes]:
    """Those of each image of a run."""
    layers = hardware.layers
    rows = [np.maximum(1, layer.visits * layer.groups) for layer in layers]
    orders = [_scan_order(layer) for layer in layers[:-1]]
    reached = [after[order] for after, (order, _) in zip(rows[1:], orders, strict=True)]
    for n in range(len(result)):
        words, steps = _trains(hardware, result, n, rows[0]) if hardware.repeat else _once(hardware, result, n, rows[0])
        slices = []
        for index, (layer, (order, numbers)) in enumerate(zip(layers, orders, strict=False)):
            times = result.spike_times[index + 1][n][order]
            counts = result.spike_counts.get(index + 1)
            passes: Sequence[NDArray[Any]]
            if counts is not None:
                passes = counts[n][:, order]
            elif layer.fire == "search":
                passes = [times < hardware.steps]
            else:
                passes = times == np.arange(hardware.steps)[:, None]
            slices.append([_by_slice(numbers.repeat(p), reached[index].repeat(p)) for p in passes])
        yield Spikes(words, steps, slices)


def _once(
    hardware: Hardware, result: Result, n: int, rows: NDArray[np.int64]
) -> tuple[list[list[int]], list[list[int]]]:
    """Input spikes of image ``n``, by word and by step, of neurons that fire once."""
    codes, count = result.spike_times[0][n], hardware.layers[0].input_codes
    (lit,) = np.nonzero(codes < count)
    words: list[list[int]] = [[] for _ in range(-(-len(codes) // PIXELS_PER_WORD))]
    for word, row in zip((lit // PIXELS_PER_WORD).tolist(), rows[lit].tolist(), strict=True):
        words[word].append(row)
    steps = [rows[lit][codes[lit] == k].tolist() for k in range(count)] if hardware.ordered[0] else []
    return words, steps


def _trains(
    hardware: Hardware, result: Result, n: int, rows: NDArray[np.int64]
) -> tuple[list[list[int]], list[list[int]]]:
    """The same of neurons that may fire again."""
    steps = [rows.repeat(count).tolist() for count in result.spike_counts[0][n]]
    return steps, steps


def _scan_order(shape: LayerShape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neurons in the order in which they are tested, and the number of the slice of each in a pass."""
    windows = shape.windows
    channel, place = np.divmod(np.arange(shape.outputs), windows)
    group, lane = np.divmod(channel, shape.lanes)
    number = (group * windows + place) * shape.group_slices[0] + lane // shape.fire_lanes
    last = group == shape.groups - 1
    number[last] -= place[last] * (shape.group_slices[0] - shape.group_slices[-1])
    order = np.lexsort((lane, number))
    return order, number[order]


def _by_slice(numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> list[tuple[int, list[int]]]:
    pairs = zip(numbers.tolist(), rows.tolist(), strict=True)
    return [(number, [row for _, row in group]) for number, group in groupby(pairs, key=lambda pair: pair[0])]
