"""The definition of ``docs/numerics.md`` as a program: one image, one neuron, one step at a time.

Slow and obvious, in Python integers. It exists to test the golden model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstspike.network.dynamics import value
from firstspike.network.golden import Result
from firstspike.network.model import Conv2d, Network, check_images


def run(network: Network, images: NDArray[np.uint8]) -> Result:
    """Result for images of bytes, shape (B, ...).

    Raises
    ------
    FirstspikeError
        if the images do not fit the network.

    """
    outcomes = [_image(network, image.tolist()) for image in check_images(network, images)]
    trains, membranes, classes, steps = zip(*outcomes, strict=True)
    populations = list(zip(network.populations[:-1], zip(*trains, strict=True), strict=True))
    return Result(
        tuple(
            np.array([[codes[0] if codes else before.codes for codes in image] for image in batch], np.int16)
            for before, batch in populations
        ),
        np.array(membranes, np.int64),
        np.array(classes, np.int64),
        np.array(steps, np.int64),
        {
            number: np.array(
                [[[codes.count(k) for codes in image] for k in range(network.steps)] for image in batch], np.uint8
            )
            for number, (before, batch) in enumerate(populations)
            if before.spikes_a_step
        },
    )


# A place is a membrane: (neuron,) of a dense layer, (channel, row, column) of a convolution before pooling.
Place = tuple[int, ...]


# The codes of a neuron's spikes, rising: none, one, or as many as it sends.
Codes = list[int]


def _trains(network: Network, image: list[Any]) -> list[list[Codes]]:
    """Of the neurons of the input and of each hidden population."""
    first = network.populations[0]
    if first.repeat:
        spikes = [[k for k, counts in enumerate(image) for _ in range(counts[i])] for i in range(first.size)]
    else:
        spikes = [[code] if (code := network.encoder[pixel]) < first.codes else [] for pixel in image]
    trains = [spikes]
    for index, population in enumerate(network.populations[1:-1]):
        trains.append([_fires(network, index, neuron, trains[-1]) for neuron in range(population.size)])
    return trains


def _image(network: Network, image: list[Any]) -> tuple[list[list[Codes]], list[int], int, int]:
    trains = _trains(network, image)
    last = len(network.layers) - 1
    places = [(neuron,) for neuron in range(network.populations[-1].size)]
    histories = [_history(network, last, place, trains[-1]) for place in places]
    read = max if network.readout == "largest_membrane" else _final
    membranes = [read(history.membranes) for history in histories]
    decision_step = min([codes[0] for history in histories if (codes := history.codes)], default=network.steps)
    deciding = dict(enumerate(membranes))
    if decision_step < network.steps:  # among those that spike then
        deciding = {
            j: history.membranes[history.first_test + decision_step]
            for j, history in enumerate(histories)
            if history.codes[:1] == [decision_step]
        }
    return trains, membranes, max(deciding, key=lambda j: (deciding[j], -j)), decision_step


def _final(membranes: list[int]) -> int:
    return membranes[-1]


def _fires(network: Network, index: int, neuron: int, trains: list[Codes]) -> Codes:
    """Of a neuron, or the first spike of its pooling window."""
    codes = [_history(network, index, place, trains).codes for place in _window(network, index, neuron)]
    return codes[0] if len(codes) == 1 else min([c[:1] for c in codes if c], default=[])


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


class History(NamedTuple):
    """What a membrane does in a window.

    Parameters
    ----------
    codes
        Of its spikes.
    membranes
        V of each step, before a reset.
    first_test
        The step that the first test sees.
    steps
        With dynamics, what each step computes: (X, U, D, V, and V after the reset).
    """

    codes: Codes
    membranes: list[int]
    first_test: int
    steps: list[tuple[int, int, int, int, int]]


def histories(network: Network, image: NDArray[np.uint8], index: int) -> list[History]:
    """What the membranes of layer ``index`` do for one image, or one window of events; in the order of the neurons.

    Those of a pooling window stand side by side.

    Raises
    ------
    FirstspikeError
        if the image does not fit the network.

    """
    (values,) = check_images(network, image[None])
    trains = _trains(network, values.tolist())[index]
    neurons = range(network.populations[index + 1].size)
    return [_history(network, index, place, trains) for n in neurons for place in _window(network, index, n)]


def _history(network: Network, index: int, place: Place, trains: list[Codes]) -> History:
    after = network.populations[index + 1]
    return (_stepped if after.dynamics else _tables)(network, index, place, trains)


def _tables(network: Network, index: int, place: Place, trains: list[Codes]) -> History:
    """V_j(k) = b_j + sum of W[j,i] * K[k_i] over spikes that came by step k + S; one spike at V >= TH[k]."""
    pre, layer, threshold = network.populations[index], network.layers[index], network.populations[index + 1].threshold
    membranes = []
    for k in range(network.steps):
        v = int(layer.bias[place[0]])
        for i, weight in _synapses(network, index, place):
            for code in trains[i]:
                if pre.arrival(code) <= k + network.fire_start:
                    v += weight * pre.kernel[code]
        membranes.append(v)
    return History([k for k, least in enumerate(threshold) if membranes[k] >= least][:1], membranes, 0, [])


def _stepped(network: Network, index: int, place: Place, trains: list[Codes]) -> History:
    """The recurrence of a neuron with dynamics."""
    pre, layer, dynamics = network.populations[index], network.layers[index], network.populations[index + 1].dynamics
    assert dynamics is not None
    channel = place[0]

    u, v, fired = 0, int(layer.bias[channel]), False
    codes, membranes, steps = [], [], []
    for t in range(dynamics.start + network.steps):
        # arrive
        x = 0
        for i, weight in _synapses(network, index, place):
            for code in trains[i]:
                if pre.arrival(code) == t:
                    x += weight * pre.kernel[code]
        # current
        u = dynamics.retain(u, channel) + x * 2**dynamics.guard
        # drive
        d = u + value(dynamics.drive, t, channel)
        if dynamics.gain is not None:
            d = (value(dynamics.gain, t, channel) * u + value(dynamics.drive, t, channel)) // 2**dynamics.gain_shift
        # membrane
        v = dynamics.leak(v, channel) + d
        membranes.append(v)
        # test
        k, n = t - dynamics.start, 0
        if dynamics.threshold is not None and k >= 0 and not fired:
            while n < dynamics.cap and v >= (n + 1) * value(dynamics.threshold, k, channel):
                n += 1
        # send
        codes += n * [k]
        # reset
        if n and dynamics.mode == "once":
            fired = True
        elif n and dynamics.mode == "soft":
            v -= n * value(dynamics.resets(), k, channel)
        elif n:
            v = value(dynamics.resets(), k, channel)
        steps.append((x, u, d, membranes[-1], v))
    return History(codes, membranes, dynamics.start, steps)
