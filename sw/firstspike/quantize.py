"""A trained surrogate -> the frozen integer network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firstspike.model import Network, dense
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
    layers = [layer.integers() for layer in model.folded_layers()]
    firing = layers if model.readout == "first_spike" else layers[:-1]
    return dense(
        [layer.weight for layer in layers],
        [layer.bias for layer in layers],
        weight_bits=model.folded_layers()[0].weight_bits,
        kernels=[model.input_kernel.table(), *([model.kernel.table()] * (len(layers) - 1))],
        thresholds=[model.kernel.integer_threshold(layer.scale) for layer in firing],
        encoder=model.input_kernel.encoder(),
        steps=model.steps,
        fire_start=model.fire_start,
        simultaneous=model.input_kernel.simultaneous,
        scales=[layer.scale for layer in layers],
        provenance=provenance,
    )
