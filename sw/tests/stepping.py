"""Random networks with dynamics, alone or beside tables, and what comes to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from networks import networks
from numpy.typing import NDArray

from firstspike.network.dynamics import DROP, KEEP, Dynamics, Factor
from firstspike.network.model import Conv2d, Network


@st.composite
def factors(draw: st.DrawFn, channels: int) -> Factor:
    """All, nothing, a half, or anything between, for all channels or for each."""
    match draw(st.integers(0, 3)):
        case 0:
            return KEEP
        case 1:
            return DROP
        case 2:
            return Factor(numerator=np.array(1), shift=1)
    shift = draw(st.integers(1, 8))
    count = draw(st.sampled_from([1, channels]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Factor(numerator=rng.integers(0, (1 << shift) + 1, count), shift=shift)


@st.composite
def dynamics(
    draw: st.DrawFn, *, channels: int, steps: int, spread: int, fires: bool, once: bool, guard: int
) -> Dynamics:
    """Of any mode, with every parameter by step and channel or not; thresholds about ``spread``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start = draw(st.sampled_from([0, 0, steps - 1, steps])) if fires else 0

    def some(low: int, high: int, rows: int) -> NDArray[np.int64]:
        shape = (draw(st.sampled_from([1, rows])), draw(st.sampled_from([1, channels])))
        return rng.integers(low, max(low + 1, high), shape)

    parts: dict[str, Any] = {}
    if draw(st.booleans()):
        parts["drive"] = some(-spread, spread, start + steps)
    if draw(st.integers(0, 3)) == 0:
        parts["gain_shift"] = draw(st.integers(0, 5))
        parts["gain"] = some(0, 2 << parts["gain_shift"], start + steps)
    if fires:
        mode = "once" if once else draw(st.sampled_from(["once", "soft", "hard"]))
        parts |= {"mode": mode, "start": start, "threshold": some(1, spread, steps)}
        if mode != "once":
            parts["cap"] = draw(st.sampled_from([1, 1, 2, 5]))
        if mode == "soft" and draw(st.booleans()):
            parts["reset"] = some(0, 2 * spread, steps)
        if mode == "hard" and draw(st.booleans()):
            parts["reset"] = some(-spread, int(parts["threshold"].min()), steps)
    else:
        parts["read"] = draw(st.sampled_from(["final", "largest"]))
    return Dynamics(retain=draw(factors(channels)), leak=draw(factors(channels)), guard=guard, **parts)


@st.composite
def stepped_networks(draw: st.DrawFn, *, convolutional: bool = False, max_size: int = 7) -> Network:
    """As :func:`networks.networks` draws, with dynamics in at least one population; the input may be events."""
    plain = draw(networks(convolutional=convolutional, max_size=max_size))
    layers, populations = list(plain.layers), list(plain.populations)
    stepped = draw(st.sets(st.integers(1, len(layers)), min_size=1))
    if not populations[0].simultaneous and draw(st.integers(0, 2)) == 0:
        populations[0] = replace(populations[0], repeat=draw(st.sampled_from([1, 1, 3])))
    for i in sorted(stepped):
        after, layer, last = populations[i], layers[i - 1], i == len(layers)
        guard = draw(st.sampled_from([0, 0, 4]))
        spread = max(2, int(np.abs(layer.bias).max()) << guard)
        pools = isinstance(layer, Conv2d) and layer.pool > 1
        layers[i - 1] = replace(layer, bias=layer.bias << guard)
        made = draw(
            dynamics(
                channels=after.shape[0],
                steps=plain.steps,
                spread=spread,
                fires=not last or draw(st.booleans()),
                once=last or pools,
                guard=guard,
            )
        )
        populations[i] = replace(after, threshold=(), dynamics=made)
    encoder = () if populations[0].repeat else plain.encoder
    return replace(plain, layers=tuple(layers), populations=tuple(populations), encoder=encoder)


@st.composite
def inputs_for(draw: st.DrawFn, network: Network, *, max_images: int = 3) -> NDArray[np.uint8]:
    """Images, or events if the network takes these; dark and bright ones, too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape, high = (draw(st.integers(1, max_images)), *network.image_shape), network.image_most
    lit = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    values = rng.integers(0, high + 1, shape) if draw(st.booleans()) else np.full(shape, high)
    return (values * (rng.random(shape) < lit)).astype(np.uint8)
