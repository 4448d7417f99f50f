"""A trained surrogate -> the frozen integer network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firstspike.model import Conv2d, Dense, Layer, Network, chain
from firstspike.nn import Surrogate
from firstspike.nn.layers import Folded, Integers


def freeze(model: Surrogate, provenance: Mapping[str, Any]) -> Network:
    """The integer network that ``model`` computes at evaluation: equal in every spike time and output membrane.

    Batch norm is folded with its running statistics, weights are rounded to signed ``weight_bits`` in units of the
    layer's weight scale s_w, biases to the membrane's scale ``s_l = s_w * unit`` of the kernel before the layer, and
    thresholds are ``max(1, ceil(TH / s_l))``.

    Parameters
    ----------
    model
        The surrogate, trained.
    provenance
        Where the network comes from, JSON values; kept with it.

    Raises
    ------
    FirstspikeError
        if a weight or bias has no finite value.

    """
    stages = model.folded_layers()
    integers = [stage.integers() for stage in stages]
    kernels = model.kernels()
    firing = integers if model.readout == "first_spike" else integers[:-1]
    return chain(
        [_layer(f"layer{i}", stage, values) for i, (stage, values) in enumerate(zip(stages, integers, strict=True))],
        input_shape=model.shapes[0],
        kernels=[kernel.table() for kernel in kernels[: len(stages)]],
        thresholds=[kernel.integer_threshold(layer.scale) for kernel, layer in zip(kernels[1:], firing, strict=False)],
        encoder=kernels[0].encoder(),
        steps=model.steps,
        fire_start=model.fire_start,
        simultaneous=kernels[0].simultaneous,
        provenance=provenance,
    )


def _layer(name: str, folded: Folded, integers: Integers) -> Layer:
    common: dict[str, Any] = {
        "name": name,
        "weight": integers.weight,
        "bias": integers.bias,
        "weight_bits": folded.weight_bits,
        "scale": integers.scale,
    }
    stage = folded.stage
    if stage.kernel is None:
        return Dense(**common)
    return Conv2d(stride=stage.stride * stage.average, padding=stage.padding * stage.average, pool=stage.pool, **common)
