"""A trained surrogate -> the frozen integer network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firstspike.model import Network, chain
from firstspike.nn import Surrogate


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
    layers = [layer.frozen_layer(f"layer{i}") for i, layer in enumerate(model.folded_layers())]
    kernels = model.kernels()
    firing = layers if model.readout == "first_spike" else layers[:-1]
    return chain(
        layers,
        input_shape=model.shapes[0],
        kernels=[kernel.table() for kernel in kernels[: len(layers)]],
        thresholds=[kernel.integer_threshold(layer.scale) for kernel, layer in zip(kernels[1:], firing, strict=False)],
        encoder=kernels[0].encoder(),
        steps=model.steps,
        fire_start=model.fire_start,
        simultaneous=kernels[0].simultaneous,
        provenance=provenance,
    )
