"""Clocks an image takes, before synthesis: computed from event counts, and equal to the simulation on every image.

It is assumed that the source always has the next word, that events come in order of their neurons, and that results and
monitor are always taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstspike.contract.hardware import Hardware
from firstspike.network.golden import Result
from firstspike_rtl.clocks.pipeline import LONG_AGO, Pipeline
from firstspike_rtl.clocks.spikes import spikes


@dataclass(frozen=True, eq=False, kw_only=True)
class Clocks:
    """Clocks at which B images came and went, predicted or seen.

    Parameters
    ----------
    started, finished
        Clock of the first input word and of the last result word of each image, shape (B,).
    """

    started: NDArray[np.int64]
    finished: NDArray[np.int64]

    @property
    def latencies(self) -> NDArray[np.int64]:
        """Clocks from the first input word to the last result word of each image, both counted. Shape (B,)."""
        return self.finished - self.started + 1

    @property
    def intervals(self) -> NDArray[np.int64]:
        """Clocks from one result to the next, shape (B - 1,)."""
        return np.diff(self.finished)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction(Clocks):
    """Clocks of B images, counted from the first word of the first image.

    Parameters
    ----------
    started, finished
        As in :class:`Clocks`.
    floor
        For each image and layer the clocks that its synaptic operations alone need, shape (B, layers): for each spike
        the places it reaches, times ``ceil(channels / lanes)``.
    layers
        Where each layer's clocks go.
    """

    floor: NDArray[np.int64]
    layers: tuple[LayerClocks, ...]

    @property
    def slowest_layer(self) -> int:
        """The layer that has the most work over all images."""
        return int(self.floor.sum(axis=0).argmax())

    @property
    def slowest_floor(self) -> NDArray[np.int64]:
        """Floor of the slowest layer, shape (B,)."""
        return self.floor[:, self.slowest_layer]


@dataclass(frozen=True, kw_only=True)
class LayerClocks:
    """What the adders of a layer do, in clocks an image (mean over a run); the four add up to the run's length.

    Parameters
    ----------
    adding
        Adding to a row of membranes: the floor, the only clocks that do the network's work.
    watermarks
        Passing on watermarks, and spikes that reach no membrane.
    membranes
        Holding an event back until a bank of membranes has been tested, or the last test has begun.
    events
        Waiting for the next event.
    """

    adding: float
    watermarks: float
    membranes: float
    events: float


def floor(hardware: Hardware, result: Result) -> NDArray[np.int64]:
    """Clocks that synaptic operations alone need in each image and layer, shape (B, layers)."""
    layers = enumerate(hardware.layers)
    return np.stack([result.fired(i, x.input_codes) @ x.visits * x.groups for i, x in layers], axis=1)


def refill_clocks(hardware: Hardware) -> int:
    """Clocks after reset or enable until all membranes are clear; an image that comes earlier may wait."""
    return max(layer.membrane_rows for layer in hardware.layers) + 1


def predict(
    hardware: Hardware,
    result: Result,
    *,
    send_membranes: bool = False,
    one_at_a_time: bool = False,
) -> Prediction:
    """Clocks of each image of a run, from the golden model's result.

    The first image comes :func:`refill_clocks` after the core was enabled, or later.

    Parameters
    ----------
    hardware
        The core.
    result
        Of the golden model; only spike times are used.
    send_membranes
        Whether records carry the membranes; they are on the wire while the scan goes on, so no clock depends on it.
    one_at_a_time
        Each image waits for the result of the one before; else they follow without a gap.
    """
    del send_membranes
    pipeline = Pipeline(hardware)
    started, finished = [], []
    begin = 0
    for image in spikes(hardware, result):
        first, last = pipeline.run(begin if one_at_a_time else LONG_AGO, image)
        started.append(first)
        finished.append(last)
        begin = last + 1
    origin = started[0] if started else 0
    least = floor(hardware, result)
    return Prediction(
        started=np.array(started, np.int64) - origin,
        finished=np.array(finished, np.int64) - origin,
        floor=least,
        layers=_layer_clocks(pipeline, begin - origin, least),
    )


def _layer_clocks(pipeline: Pipeline, clocks: int, floor: NDArray[np.int64]) -> tuple[LayerClocks, ...]:
    """Where a run's clocks went in each layer, a mean over its images."""
    count = max(1, len(floor))
    return tuple(
        LayerClocks(
            adding=adding / count,
            watermarks=(walking - adding) / count,
            membranes=held / count,
            events=(clocks - walking - held) / count,
        )
        for walking, held, adding in zip(pipeline.walking, pipeline.held, floor.sum(axis=0).tolist(), strict=True)
    )
