"""The converted network before quantisation: TTFS coding of real weights in float32, for the cost of time alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstspike.ann import FloatLayer, batches, shapes
from firstspike.convert import window
from firstspike.errors import FirstspikeError
from firstspike.float_synapses import Synapses
from firstspike.kernels import Kernel


@dataclass(frozen=True, eq=False)
class FloatResult:
    """What the network makes of N images.

    Parameters
    ----------
    classes
        int64, shape (N,).
    spikes
        int64, shape (N, populations): spikes of the input and each hidden population.

    """

    classes: NDArray[np.int64]
    spikes: NDArray[np.int64]


def run(
    layers: Sequence[FloatLayer],
    images: NDArray[np.uint8],
    *,
    input_shape: Sequence[int],
    input_kernel: Kernel,
    kernels: Sequence[Kernel],
    fire_start: int | None = None,
    device: torch.device | str = "cpu",
) -> FloatResult:
    """As the golden model on :func:`firstspike.convert.convert` of the same arguments, but for the quantisation.

    Spike times are those of the same comparisons, ``V(k) >= threshold(k)``; decoded values are not rounded to a table
    and weights not to integers. Early firing costs a sum for each time step of a layer.

    Raises
    ------
    FirstspikeError
        if layers, kernels, images or ``fire_start`` do not fit.

    """
    steps = window(layers, input_kernel, kernels)
    start = steps if fire_start is None else fire_start
    if not 0 <= start <= steps:
        raise FirstspikeError(f"fire_start is {start}, outside 0..{steps}")
    found = shapes(layers, input_shape)
    synapses = [Synapses(layer, shape, device) for layer, shape in zip(layers, found, strict=False)]
    encoder = torch.tensor(input_kernel.encoder(), device=device)
    classes, spikes = [], []
    with torch.inference_mode():
        for part in batches(images, input_shape):
            codes = encoder[torch.tensor(part, device=device).long()]
            kernel, counts = input_kernel, []
            for index, each in enumerate(synapses):
                counts.append((codes < kernel.steps).flatten(1).sum(1))
                if index < len(kernels):
                    codes = _fire(each, codes, kernel, kernels[index], start)
                    kernel = kernels[index]
            output = synapses[-1].sums(_values(kernel, codes)) + synapses[-1].bias
            classes.append(output.argmax(1).cpu().numpy())
            spikes.append(torch.stack(counts, 1).cpu().numpy())
    return FloatResult(np.concatenate(classes), np.concatenate(spikes))


def _values(kernel: Kernel, codes: Tensor) -> Tensor:
    """What spikes are worth: the real curve, and 0 for the code of no spike."""
    curve = kernel.curve(np.arange(kernel.steps, dtype=np.float64))
    return torch.tensor([*curve, 0.0], dtype=torch.float32, device=codes.device)[codes]


def _fire(synapses: Synapses, codes: Tensor, before: Kernel, kernel: Kernel, start: int) -> Tensor:
    """Steps of the first spikes after max pooling, ``kernel.steps`` for none."""
    steps, values = kernel.steps, _values(before, codes)
    threshold = torch.tensor(kernel.threshold(), dtype=torch.float32, device=codes.device)
    arrival = torch.zeros_like(codes) if before.simultaneous else (codes - start).clamp(min=0)
    v = synapses.sums(values * (arrival == 0)) + synapses.bias
    fired = torch.full(v.shape, steps, device=codes.device)
    for k in range(steps):
        if 0 < k < steps - start:
            v = v + synapses.sums(values * (arrival == k))
        fired = torch.where((v >= threshold[k]) & (fired == steps), k, fired)
    return -synapses.max_pool(-fired.float()).long()
