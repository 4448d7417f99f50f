"""Training speed: the surrogate, which has no loop over time, against back-propagation through time in snnTorch.

Both train the same network on the same images and batches with the same optimiser, in turns, so that whatever else the
machine does meets both; and in one thread, since several wait for each other as soon as it does anything. snnTorch's
network is that of its tutorials: leaky integrate-and-fire neurons (``snn.Leaky``) after each layer, rate-coded spikes
for T steps, a surrogate gradient, no batch norm.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import TrainConfig
from firstspike.network.architecture import Stage, parse, shapes
from firstspike.network.kernels import PowerOfTwo
from firstspike.training.surrogate import Surrogate

STEPS = 8
BATCH = 256
#: Architecture, shape of an image, and batches a turn: about a second of the slower side.
NETWORKS = (("128-10", (784,), 20), ("12C5-P2-64C5-P2-10", (1, 28, 28), 5))
TURNS = 9

Batches = Sequence[tuple[Tensor, Tensor]]
Turn = Callable[[Batches], None]
MISSING = "training speed was not measured: snnTorch is not installed"


def surrogate(architecture: str, shape: tuple[int, ...]) -> Turn:
    """Training steps of this project's surrogate with six-bit weights.

    A turn is a small training by the default recipe: batch norm takes the statistics of each batch in the first part of
    it, and those of before in the rest, which is faster.
    """
    kernel = PowerOfTwo(steps=STEPS)
    model = Surrogate(shape, architecture, input_kernel=kernel, kernel=kernel)
    frozen_from = TrainConfig().freeze_statistics
    return _turn(model, model, lambda part: model.freeze_statistics(part >= frozen_from))


def through_time(architecture: str, shape: tuple[int, ...]) -> Turn:
    """Training steps of snnTorch's leaky integrate-and-fire neurons, by back-propagation through T steps.

    Raises
    ------
    FirstspikeError
        if snnTorch is not installed.

    """
    try:  # not an import statement: types are checked with and without it
        library = import_module("snntorch")
        spikegen, gradients = import_module("snntorch.spikegen"), import_module("snntorch.surrogate")
    except ImportError as error:
        raise FirstspikeError(MISSING, "run: pip install -e '.[bench]'") from error
    stages = parse(architecture)
    layers = nn.ModuleList(_layer(stage, before) for stage, before in zip(stages, shapes(shape, stages), strict=False))
    gradient = gradients.fast_sigmoid()
    neurons = [library.Leaky(beta=0.9, spike_grad=gradient) for _ in stages]

    def forward(pixels: Tensor) -> Tensor:
        spikes = spikegen.rate(pixels.reshape(-1, *shape).float() / 255, num_steps=STEPS)
        membranes = [neuron.reset_mem() for neuron in neurons]
        total = torch.zeros(())
        for x in spikes:
            for i, (layer, neuron) in enumerate(zip(layers, neurons, strict=True)):
                x, membranes[i] = neuron(layer(x), membranes[i])
            total = total + membranes[-1]
        return total

    return _turn(nn.ModuleList([*layers, *neurons]), forward)


def _layer(stage: Stage, before: tuple[int, ...]) -> nn.Module:
    if stage.kernel is None:
        return nn.Sequential(nn.Flatten(), nn.Linear(stage.weight_shape(before)[1], stage.outputs))
    convolution = nn.Conv2d(before[0], stage.outputs, stage.kernel, stage.stride, stage.padding)
    return nn.Sequential(convolution, nn.MaxPool2d(stage.pool))


def _turn(
    model: nn.Module, forward: Callable[[Tensor], Tensor], prepare: Callable[[float], None] = lambda part: None
) -> Turn:
    """``prepare`` is told, before each batch, what part of the batches is done."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.001, fused=True)

    def turn(batches: Batches) -> None:
        model.train()
        for index, (pixels, labels) in enumerate(batches):
            prepare(index / len(batches))
            optimiser.zero_grad()
            nn.functional.cross_entropy(forward(pixels), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return turn


def seconds(sides: Sequence[Turn], batches: Batches, turns: int = TURNS) -> list[float]:
    """Median wall time of a turn of each side, in one thread; they take turns, and a first round is not counted."""
    taken: list[list[float]] = [[] for _ in sides]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(turns + 1):
            for side, times in zip(sides, taken, strict=True):
                begin = time.perf_counter()
                side(batches)
                times.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(times[1:]) for times in taken]


def rows(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows of ``software`` in the bench, one a network, measured on images of 28 x 28 bytes, shape (N, 28, 28).

    Raises
    ------
    FirstspikeError
        if snnTorch is not installed.

    """
    result = []
    for architecture, shape, count in NETWORKS:
        torch.manual_seed(0)
        sides = [surrogate(architecture, shape), through_time(architecture, shape)]
        parts = [slice(i * BATCH, (i + 1) * BATCH) for i in range(count)]
        batches = [(torch.tensor(images[part]), torch.tensor(labels[part])) for part in parts]
        result.append(row(architecture, shape, count * BATCH, seconds(sides, batches)))
    return result


def row(architecture: str, shape: tuple[int, ...], count: int, taken: Sequence[float]) -> dict[str, Any]:
    """One row, of the seconds that surrogate and back-propagation through time took for ``count`` images."""
    mine, theirs = taken
    return {
        "network": f"{'x'.join(map(str, shape))}-{architecture}",
        "what": "surrogate training",
        "against": f"snnTorch LIF, T = {STEPS}",
        "images_per_s": count / mine,
        "ratio": theirs / mine,
    }
