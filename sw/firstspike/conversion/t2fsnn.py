"""A trained ReLU network -> the integer TTFS network that an experiment asks for (T2FSNN, Park et al., DAC 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.conversion.ann import FloatLayer
from firstspike.conversion.convert import convert
from firstspike.conversion.kernel_optimisation import Settings, optimise
from firstspike.conversion.normalise import layer_maxima, normalised
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.network.kernels import Exponential, Kernel
from firstspike.network.model import Network


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A converted network and what it was made of.

    Parameters
    ----------
    network
        The integers.
    input_kernel, kernels
        Of the input and of each hidden population, after optimisation if that was asked for.

    """

    network: Network
    input_kernel: Kernel
    kernels: tuple[Kernel, ...]


def check_convertible(experiment: Experiment) -> None:
    """Refuse settings that no trained ReLU network can be converted with.

    Raises
    ------
    FirstspikeError
        if a kernel that is not exponential shall be optimised, or the readout is not that of membranes.

    """
    shape = experiment.network
    if shape.readout != "membrane":
        raise FirstspikeError(f"[network] readout {shape.readout!r} cannot be converted", 'use readout = "membrane"')
    if experiment.conversion.optimise_kernels and not isinstance(shape.spiking_hidden, Exponential):
        raise FirstspikeError(
            f"[conversion] optimise_kernels needs an exponential kernel, not {shape.spiking_hidden.kind!r}",
            'use kernel = { kind = "exponential", tau = 5.0 }',
        )


def convert_as(
    experiment: Experiment,
    layers: Sequence[FloatLayer],
    images: NDArray[np.uint8],
    input_shape: Sequence[int],
    provenance: Mapping[str, Any],
) -> Converted:
    """Normalise, optimise kernels if asked, and convert, by the sections ``[network]`` and ``[conversion]``.

    Parameters
    ----------
    experiment
        Kernels, S, weight bits, percentile, and whether kernels are optimised.
    layers
        Of the ReLU network.
    images
        Training images.
    input_shape
        (N,), or (channels, rows, columns).
    provenance
        Kept with the network.

    Raises
    ------
    FirstspikeError
        as :func:`check_convertible`, or if a layer is silent.

    """
    check_convertible(experiment)
    shape, recipe = experiment.network, experiment.conversion
    scaled = normalised(layers, layer_maxima(layers, images, input_shape, percentile=recipe.percentile))
    first, kernels = shape.spiking_input, tuple([shape.spiking_hidden] * (len(layers) - 1))
    if recipe.optimise_kernels and isinstance(shape.spiking_hidden, Exponential):
        found = optimise(
            scaled,
            images[: recipe.images],
            input_shape=input_shape,
            start=shape.spiking_hidden,
            settings=Settings(samples=recipe.samples),
        )
        kernels = found.kernels
        first = found.input_kernel if isinstance(first, Exponential) else first
    network = convert(
        scaled,
        input_shape=input_shape,
        input_kernel=first,
        kernels=kernels,
        fire_start=shape.start,
        weight_bits=experiment.train.weight_bits,
        weight_clip=recipe.weight_clip,
        provenance=provenance,
    )
    return Converted(network=network, input_kernel=first, kernels=kernels)
