"""A normalised ReLU network -> the integer TTFS network (T2FSNN, Park et al., DAC 2020): no training in time.

The steps of T2FSNN: fold batch norm (done when :class:`firstspike.conversion.ann.FloatLayer` is made), normalise the
weights (:mod:`firstspike.conversion.normalise`), optimise the kernels
(:mod:`firstspike.conversion.kernel_optimisation`), convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firstspike.conversion.ann import FloatLayer, shapes
from firstspike.errors import FirstspikeError
from firstspike.network.kernels import Kernel
from firstspike.network.layers import Layer, integer_layer
from firstspike.network.model import Network, chain


def window(layers: Sequence[FloatLayer], input_kernel: Kernel, kernels: Sequence[Kernel]) -> int:
    """T that all kernels share.

    Raises
    ------
    FirstspikeError
        if there is not one kernel for each hidden population, or they differ in their steps.

    """
    if len(kernels) != len(layers) - 1:
        raise FirstspikeError(f"{len(kernels)} kernels for {len(layers) - 1} hidden populations", "give one for each")
    steps = {kernel.steps for kernel in kernels}
    if not input_kernel.simultaneous or not kernels:
        steps.add(input_kernel.steps)
    if len(steps) != 1:
        raise FirstspikeError(f"kernels have {sorted(steps)} steps", "give all populations one window")
    return steps.pop()


def convert(
    layers: Sequence[FloatLayer],
    *,
    input_shape: Sequence[int],
    input_kernel: Kernel,
    kernels: Sequence[Kernel],
    fire_start: int | None = None,
    weight_bits: int = 8,
    weight_clip: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
) -> Network:
    """The integer network whose neurons fire as early as the ReLU network's values are large.

    The class is the argmax of the output membranes. Average pooling is folded into weights; a layer's largest weight,
    times ``weight_clip``, becomes the largest integer, and biases are rounded to the unit of the membrane.

    Parameters
    ----------
    layers
        First to last, normalised so that values are about 0..1: a value above ``theta0 * exp(delay / tau)`` fires at
        step 0 and is cut to what that step is worth.
    input_shape
        (inputs,), or (channels, rows, columns).
    input_kernel
        Of the pixels. :class:`firstspike.network.kernels.Direct` injects them as real values.
    kernels
        Of each hidden population. ``rounding="ceil"`` is T2FSNN's, ``round`` that of the later surrogate.
    fire_start
        S; ``None`` is T (guaranteed integration), less is early firing.
    weight_bits
        2..16, of every layer.
    weight_clip
        Range of the quantiser as part of the largest weight, above 0 and up to 1.
    provenance
        Kept with the network.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other or a setting is out of range.

    """
    if not 0 < weight_clip <= 1:
        raise FirstspikeError(f"weight_clip is {weight_clip}", "use a number above 0 and up to 1")
    steps = window(layers, input_kernel, kernels)
    found = shapes(layers, input_shape)
    made: list[Layer] = []
    thresholds = []
    for index, (layer, shape, kernel) in enumerate(zip(layers, found, [input_kernel, *kernels], strict=False)):
        whole = layer.without_average(shape)
        made.append(
            integer_layer(
                f"layer{index}",
                whole.weight.astype(np.float64),
                whole.bias.astype(np.float64),
                unit=kernel.unit,
                weight_bits=weight_bits,
                weight_clip=weight_clip,
                stride=whole.stride,
                padding=whole.padding,
                pool=whole.pool,
            )
        )
        if index < len(kernels):
            thresholds.append(kernels[index].integer_threshold(made[-1].scale))
    return chain(
        made,
        input_shape=tuple(input_shape),
        kernels=[input_kernel.table(), *(kernel.table() for kernel in kernels)],
        thresholds=thresholds,
        encoder=input_kernel.encoder(),
        steps=steps,
        fire_start=steps if fire_start is None else fire_start,
        simultaneous=input_kernel.simultaneous,
        provenance=provenance,
    )
