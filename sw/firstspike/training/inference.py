"""The integer network of ``docs/numerics.md`` in torch: what a surrogate computes at evaluation.

It shares no code with the golden model, so that equality of the two says something. Sums are matrix products of
integers in floating point: float32 while every sum stays below 2**24, else float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firstspike.errors import FirstspikeError
from firstspike.network.model import Conv2d, Network


class Inference(NamedTuple):
    """Result for a batch of B images; the fields are those of :class:`firstspike.network.golden.Result`.

    Parameters
    ----------
    spike_times
        Of the input and each hidden population, int64, shape (B, N): the code, or the number of codes for no spike.
    membranes
        Output membranes after the whole window, int64, shape (B, outputs).
    classes, decision_steps
        The decision, and the step of the earliest output spike or T; int64, shape (B,).

    """

    spike_times: tuple[Tensor, ...]
    membranes: Tensor
    classes: Tensor
    decision_steps: Tensor


class IntegerLayer:
    """One layer of a network on a device, with the tables of the populations it joins.

    Raises
    ------
    FirstspikeError
        if a sum could reach 2**53.

    """

    def __init__(self, network: Network, index: int, device: torch.device) -> None:
        layer, pre, post = network.layers[index], network.populations[index], network.populations[index + 1]
        rows = layer.weight.reshape(len(layer.weight), -1)
        sums = pre.kernel[0] * np.abs(rows).sum(axis=1) + np.abs(layer.bias)
        bound = max(int(sums.max()), *post.threshold, 0)
        if bound >= 1 << 53:
            raise FirstspikeError(f"membranes reach {bound}, beyond the exact range of 2**53", "use smaller kernels")
        self.dtype = torch.float32 if bound < 1 << 24 else torch.float64
        as_tensor = {"dtype": self.dtype, "device": device}
        self.weight = torch.tensor(rows, **as_tensor)  # type: ignore[arg-type]
        self.bias = torch.tensor(layer.bias, **as_tensor)  # type: ignore[arg-type]
        self.thresholds = [float(x) for x in post.threshold]
        self.simultaneous, self.codes = pre.simultaneous, pre.codes
        self.kernel = torch.tensor([*pre.kernel, 0], **as_tensor)  # type: ignore[arg-type]
        self.convolution = layer if isinstance(layer, Conv2d) else None
        self.shape = pre.shape

    def changes(self, step: int) -> bool:
        """Whether spikes can arrive in this step."""
        return not self.simultaneous and step < self.codes

    def membranes(self, codes: Tensor, until: int) -> Tensor:
        """V after all spikes whose step is at most ``until``, shape (B, M), M the membranes before pooling."""
        if not self.simultaneous and until < self.codes - 1:
            codes = torch.where(codes <= until, codes, self.codes)
        values = self.kernel[codes]
        if self.convolution is None:
            return torch.nn.functional.linear(values, self.weight, self.bias)
        # Patches and one product: a library's convolution may transform its input (Winograd, Fourier) and so round.
        patches = torch.nn.functional.unfold(
            values.reshape(-1, *self.shape),
            self.convolution.kernel_shape,
            padding=self.convolution.padding,
            stride=self.convolution.stride,
        )
        return (self.weight @ patches + self.bias[:, None]).flatten(1)

    def pooled(self, first: Tensor) -> Tensor:
        """The earliest step of each pooling window, shape (B, N), of those of the membranes, shape (B, M)."""
        if self.convolution is None:
            return first
        pool = self.convolution.pool
        rows, columns = self.convolution.grid(self.shape)
        grid = first.reshape(len(first), -1, rows, columns)
        windows = grid.unfold(2, pool, pool).unfold(3, pool, pool)
        return windows.amin(dim=(4, 5)).flatten(1)


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
        self._layers = [IntegerLayer(network, i, self._device) for i in range(len(network.layers))]
        self._encoder = torch.tensor(network.encoder, device=self._device)

    @torch.no_grad()
    def infer(self, pixels: Tensor) -> Inference:
        """Every spike time and output membrane, for images of bytes, shape (B, ...).

        Raises
        ------
        FirstspikeError
            if the images do not fit.

        """
        flat, size = pixels.flatten(1), self.network.populations[0].size
        if flat.dtype != torch.uint8 or flat.shape[1] != size:
            raise FirstspikeError(
                f"images have {flat.shape[1]} pixels of {flat.dtype}; the network takes {size} of torch.uint8"
            )
        with exact_matmul():
            parts = [self._infer(part.to(self._device)) for part in torch.split(flat, self.BATCH)]
        return Inference(
            tuple(torch.cat(times) for times in zip(*(part.spike_times for part in parts), strict=True)),
            *(torch.cat([part[i] for part in parts]) for i in range(1, len(Inference._fields))),  # type: ignore[misc]
        )

    def _infer(self, pixels: Tensor) -> Inference:
        return infer(
            self._layers,
            self._encoder[pixels.int()],
            steps=self.network.steps,
            fire_start=self.network.fire_start,
        )


def infer(layers: Sequence[IntegerLayer], codes: Tensor, *, steps: int, fire_start: int) -> Inference:
    """Run the integer network on input spikes ``codes``, shape (B, inputs)."""
    times = [codes]
    *hidden, last = layers
    for layer in hidden:
        times.append(layer.pooled(_first_steps(layer, times[-1], steps, fire_start)[0]))
    membranes = last.membranes(times[-1], steps)
    decision_steps = torch.full_like(codes[:, 0], steps)
    deciding = membranes
    if last.thresholds:
        spikes, at_spike = _first_steps(last, times[-1], steps, fire_start)
        decision_steps = spikes.amin(dim=1)
        earliest = (spikes == decision_steps[:, None]) & (decision_steps < steps)[:, None]
        silent = (decision_steps == steps)[:, None]
        deciding = torch.where(silent, membranes, at_spike.masked_fill(~earliest, -torch.inf))
    return Inference(tuple(times), membranes.to(torch.int64), _lowest_argmax(deciding), decision_steps)


def _first_steps(layer: IntegerLayer, codes: Tensor, steps: int, fire_start: int) -> tuple[Tensor, Tensor]:
    """The first step with V >= TH of each neuron (or T), and V at that step."""
    v = layer.membranes(codes, fire_start)
    first = torch.full(v.shape, steps, dtype=torch.int64, device=v.device)
    at_first = v.clone()
    for k in range(steps):
        if k and layer.changes(k + fire_start):
            v = layer.membranes(codes, k + fire_start)
        fires = (first == steps) & (v >= layer.thresholds[k])
        first = torch.where(fires, k, first)
        at_first = torch.where(fires, v, at_first)
    return first, at_first


def _lowest_argmax(v: Tensor) -> Tensor:
    """Index of the largest value, the lowest of equal ones (torch.argmax leaves ties open)."""
    index = torch.arange(v.shape[1], device=v.device)
    return torch.where(v == v.amax(dim=1, keepdim=True), index, v.shape[1]).amin(dim=1)


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """Full float32 products inside the block: a caller's permission for TF32 or bfloat16 would round the integers."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
