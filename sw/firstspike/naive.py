"""The definition of ``docs/numerics.md`` as a program: one image, one neuron, one step at a time.

Slow and obvious, in Python integers. It exists to test the golden model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstspike.golden import Result
from firstspike.model import Network, check_images


def run(network: Network, images: NDArray[np.uint8]) -> Result:
    """Result for images of bytes, shape (B, ...).

    Raises
    ------
    FirstspikeError
        if the images do not fit the network.

    """
    outcomes = [_image(network, [int(p) for p in image]) for image in check_images(network, images)]
    times, membranes, classes, steps = zip(*outcomes, strict=True)
    return Result(
        tuple(np.array(population, np.int16) for population in zip(*times, strict=True)),
        np.array(membranes, np.int64),
        np.array(classes, np.int64),
        np.array(steps, np.int64),
    )


def _image(network: Network, pixels: list[int]) -> tuple[list[list[int]], list[int], int, int]:
    times = [[network.encoder[pixel] for pixel in pixels]]
    for index in range(len(network.layers) - 1):
        threshold = network.populations[index + 1].threshold
        times.append(
            [
                _first_step(network, index, neuron, times[-1], threshold)
                for neuron in range(network.layers[index].outputs)
            ]
        )

    last = len(network.layers) - 1
    neurons = range(network.layers[last].outputs)
    membranes = [_membrane(network, last, neuron, times[-1], network.steps - 1) for neuron in neurons]
    decision_step, deciding = network.steps, membranes
    if network.readout == "first_spike":
        threshold = network.populations[-1].threshold
        decision_step = min(_first_step(network, last, neuron, times[-1], threshold) for neuron in neurons)
        if decision_step < network.steps:
            deciding = [_membrane(network, last, neuron, times[-1], decision_step) for neuron in neurons]
    return times, membranes, deciding.index(max(deciding)), decision_step


def _membrane(network: Network, index: int, neuron: int, times: list[int], k: int) -> int:
    """V_j(k) = b_j + sum of W[j,i] * K[k_i] over the spikes that have arrived by step k + S."""
    pre, layer = network.populations[index], network.layers[index]
    v = int(layer.bias[neuron])
    for i, code in enumerate(times):
        if code < pre.codes and pre.arrival(code) <= k + network.fire_start:
            v += int(layer.weight[neuron, i]) * pre.kernel[code]
    return v


def _first_step(network: Network, index: int, neuron: int, times: list[int], threshold: tuple[int, ...]) -> int:
    """The first step k with V_j(k) >= TH[k], or T."""
    for k in range(network.steps):
        if _membrane(network, index, neuron, times, k) >= threshold[k]:
            return k
    return network.steps
