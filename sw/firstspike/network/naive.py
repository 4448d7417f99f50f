"""The definition of ``docs/numerics.md`` as a program: one image, one neuron, one step at a time.

Slow and obvious, in Python integers. It exists to test the golden model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstspike.network.golden import Result
from firstspike.network.model import Conv2d, Network, check_images


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


# A place is a membrane: (neuron,) of a dense layer, (channel, row, column) of a convolution before pooling.
Place = tuple[int, ...]


def _image(network: Network, pixels: list[int]) -> tuple[list[list[int]], list[int], int, int]:
    times = [[network.encoder[pixel] for pixel in pixels]]
    for index in range(len(network.layers) - 1):
        threshold = network.populations[index + 1].threshold
        times.append(
            [
                min(
                    _first_step(network, index, place, times[-1], threshold)
                    for place in _window(network, index, neuron)
                )
                for neuron in range(network.populations[index + 1].size)
            ]
        )

    last = len(network.layers) - 1
    places = [(neuron,) for neuron in range(network.populations[-1].size)]
    membranes = [_membrane(network, last, place, times[-1], network.steps - 1) for place in places]
    decision_step, deciding = network.steps, membranes
    if network.readout == "first_spike":
        threshold = network.populations[-1].threshold
        decision_step = min(_first_step(network, last, place, times[-1], threshold) for place in places)
        if decision_step < network.steps:
            deciding = [_membrane(network, last, place, times[-1], decision_step) for place in places]
    return times, membranes, deciding.index(max(deciding)), decision_step


def _window(network: Network, index: int, neuron: int) -> list[Place]:
    """The membranes whose first spike is the neuron's: one, or those of its pooling window."""
    layer = network.layers[index]
    if not isinstance(layer, Conv2d):
        return [(neuron,)]
    _, rows, columns = network.populations[index + 1].shape
    channel, rest = divmod(neuron, rows * columns)
    row, column = divmod(rest, columns)
    pool = range(layer.pool)
    return [(channel, row * layer.pool + i, column * layer.pool + j) for i in pool for j in pool]


def _synapses(network: Network, index: int, place: Place) -> list[tuple[int, int]]:
    """(neuron before the layer, weight) of every synapse of a membrane."""
    layer, shape = network.layers[index], network.populations[index].shape
    if not isinstance(layer, Conv2d):
        return [(i, int(weight)) for i, weight in enumerate(layer.weight[place[0]])]
    channel, row, column = place
    synapses = []
    for (c, i, j), weight in np.ndenumerate(layer.weight[channel]):
        r, s = row * layer.stride + i - layer.padding, column * layer.stride + j - layer.padding
        if 0 <= r < shape[1] and 0 <= s < shape[2]:
            synapses.append(((c * shape[1] + r) * shape[2] + s, int(weight)))
    return synapses


def _membrane(network: Network, index: int, place: Place, times: list[int], k: int) -> int:
    """V_j(k) = b_j + sum of W[j,i] * K[k_i] over the spikes that have arrived by step k + S."""
    pre, layer = network.populations[index], network.layers[index]
    v = int(layer.bias[place[0]])
    for i, weight in _synapses(network, index, place):
        if times[i] < pre.codes and pre.arrival(times[i]) <= k + network.fire_start:
            v += weight * pre.kernel[times[i]]
    return v


def _first_step(network: Network, index: int, place: Place, times: list[int], threshold: tuple[int, ...]) -> int:
    """The first step k with V_j(k) >= TH[k], or T."""
    for k in range(network.steps):
        if _membrane(network, index, place, times, k) >= threshold[k]:
            return k
    return network.steps
