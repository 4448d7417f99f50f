"""The integer network of ``docs/numerics.md`` in torch: what a surrogate computes at evaluation.

It shares no code with the golden model, so that equality of the two says something.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from firstspike.errors import FirstspikeError
from firstspike.network.model import Network
from firstspike.training.integer.layers import IntegerLayer, Spikes, TableLayer
from firstspike.training.integer.stepped import SteppedLayer


class Inference(NamedTuple):
    """Result for a batch of B images; the fields are those of :class:`firstspike.network.golden.Result`.

    Parameters
    ----------
    spike_times
        Of the input and each hidden population, int64, shape (B, N): the code of each neuron's first spike, or the
        number of codes for no spike.
    membranes
        Output membranes after the whole window, or the largest ones if these are read; int64, shape (B, outputs).
    classes, decision_steps
        The decision, and the step of the earliest output spike or T; int64, shape (B,).
    spike_counts
        For each population that fires again, by its number, the spikes of each step, uint8, shape (B, T, N).

    """

    spike_times: tuple[Tensor, ...]
    membranes: Tensor
    classes: Tensor
    decision_steps: Tensor
    spike_counts: Mapping[int, Tensor] = MappingProxyType({})


class IntegerNetwork:
    """A frozen network in torch.

    Parameters
    ----------
    network
        The integers.
    device
        Where to compute.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53.

    """

    #: Patches of a convolution are large; this many images at a time keep them below a gigabyte for VGG-16.
    BATCH = 256

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self.network = network
        self._device = torch.device(device)
        self._layers: list[IntegerLayer] = [
            (SteppedLayer if after.dynamics else TableLayer)(network, i, self._device)
            for i, after in enumerate(network.populations[1:])
        ]
        self._encoder = torch.tensor(network.encoder, dtype=torch.int64, device=self._device)

    @torch.no_grad()
    def infer(self, pixels: Tensor) -> Inference:
        """Every spike time and output membrane, for images of bytes, shape (B, ...).

        For an input of events they are counts, shape (B, T, ...).

        Raises
        ------
        FirstspikeError
            if the images do not fit.

        """
        flat = self._checked(pixels)
        with exact_matmul():
            parts = [self._infer(part.to(self._device)) for part in torch.split(flat, self.BATCH)]
        return Inference(
            tuple(torch.cat(times) for times in zip(*(part.spike_times for part in parts), strict=True)),
            torch.cat([part.membranes for part in parts]),
            torch.cat([part.classes for part in parts]),
            torch.cat([part.decision_steps for part in parts]),
            {n: torch.cat([part.spike_counts[n] for part in parts]) for n in parts[0].spike_counts},
        )

    def _checked(self, pixels: Tensor) -> Tensor:
        """Images as (B, inputs), events as (B, T, inputs)."""
        first, steps = self.network.populations[0], self.network.steps
        if first.repeat:
            events = pixels.flatten(2) if pixels.ndim > 2 else pixels
            if events.dtype != torch.uint8 or events.shape[1:] != (steps, first.size):
                raise FirstspikeError(
                    f"events have shape {tuple(pixels.shape)} of {pixels.dtype}; the network takes (images, {steps} "
                    f"steps, {first.size} inputs) of torch.uint8"
                )
            if events.numel() and int(events.max()) > first.repeat:
                raise FirstspikeError(
                    f"{int(events.max())} events of an input in a step; the network takes {first.repeat}"
                )
            return events
        flat = pixels.flatten(1)
        if flat.dtype != torch.uint8 or flat.shape[1] != first.size:
            raise FirstspikeError(
                f"images have {flat.shape[1]} pixels of {flat.dtype}; the network takes {first.size} of torch.uint8"
            )
        return flat

    def _infer(self, images: Tensor) -> Inference:
        events = bool(self.network.populations[0].repeat)
        trains = [Spikes.of_counts(images) if events else Spikes(self._encoder[images.int()])]
        *hidden, last = self._layers
        for layer in hidden:
            trains.append(layer.fire(trains[-1]))
        counts = {number: spikes.counts for number, spikes in enumerate(trains) if spikes.counts is not None}
        return Inference(tuple(spikes.times for spikes in trains), *last.read(trains[-1]), counts)


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """Full float32 products inside the block: a caller's permission for TF32 or bfloat16 would round the integers."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
