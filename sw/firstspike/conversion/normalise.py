"""Data-based weight normalisation: after it a layer's values lie in 0..1 but for the rare largest ones.

Source: the authors' T2FSNN release (statistic ``max_999``): the 99.9 percentile of each neuron over the training set;
the largest of a layer is its lambda; W *= lambda_before / lambda, b /= lambda. There the percentile is that of the
convolution, here of the values after max pooling, which are those that spikes carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from firstspike.conversion.ann import FloatArray, FloatLayer
from firstspike.conversion.relu_network import batched_activations
from firstspike.errors import FirstspikeError

PERCENTILE = 99.9


def layer_maxima(
    layers: Sequence[FloatLayer],
    images: NDArray[np.uint8],
    input_shape: Sequence[int],
    *,
    percentile: float = PERCENTILE,
) -> list[float]:
    """Lambda of each layer: the percentile of each neuron over the images (interpolated), the largest of the layer.

    Only the largest values of each neuron are held, so that the whole training set can be given.

    Raises
    ------
    FirstspikeError
        if the percentile is outside 0..100, layers or images do not fit, or a hidden layer is silent. An output whose
        logits are all negative has lambda 1.

    """
    if not 0 <= percentile <= 100:
        raise FirstspikeError(f"percentile is {percentile}", "use 0..100; T2FSNN has 99.9")
    rank = percentile / 100 * (len(images) - 1)
    kept = len(images) - math.floor(rank)
    largest: list[FloatArray] = []
    for index, made in enumerate(batched_activations(layers, images, input_shape)):
        flat = [values.reshape(len(values), -1) for values in made]
        if index:
            flat = [np.concatenate(pair) for pair in zip(largest, flat, strict=True)]
        largest = [np.partition(values, -kept, axis=0)[-kept:] if len(values) > kept else values for values in flat]
    maxima = []
    for index, values in enumerate(largest):
        ordered = np.sort(values, axis=0)[:2].astype(np.float64)
        low, high = ordered[0], ordered[-1]
        value = float((low + (high - low) * (rank - math.floor(rank))).max())
        if value <= 0 and index < len(layers) - 1:
            raise FirstspikeError(
                f"layer {index} of the network is silent: its {percentile} percentile is 0",
                "train it again, or raise the percentile",
            )
        maxima.append(value if value > 0 else 1.0)
    return maxima


def normalised(layers: Sequence[FloatLayer], maxima: Sequence[float]) -> list[FloatLayer]:
    """The layers with their values divided by ``maxima``: in real numbers the same classes for every image.

    Raises
    ------
    FirstspikeError
        if there is not one positive number for each layer.

    """
    if len(maxima) != len(layers) or not all(m > 0 and math.isfinite(m) for m in maxima):
        raise FirstspikeError(f"the maxima are {list(maxima)}", f"give {len(layers)} positive numbers, one a layer")
    return [
        replace(
            layer,
            weight=(layer.weight * np.float64(before / after)).astype(np.float32),
            bias=(layer.bias / np.float64(after)).astype(np.float32),
        )
        for layer, before, after in zip(layers, [1.0, *maxima], maxima, strict=False)
    ]
