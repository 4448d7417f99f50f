"""Random networks and images for property tests, drawn so that early, late and missing spikes all occur."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from firstspike import kernels
from firstspike.model import Network, dense

STEPS = st.integers(1, 9)


@st.composite
def kernel_specs(draw: st.DrawFn, steps: int) -> kernels.Kernel:
    """A kernel of any kind but direct, over ``steps`` steps."""
    rounding = draw(st.sampled_from(["round", "ceil"]))
    common = {"steps": steps, "rounding": rounding, "theta0": draw(st.sampled_from([0.5, 1.0, 3.0]))}
    match draw(st.sampled_from(["exponential", "power_of_two", "linear", "constant"])):
        case "exponential":
            return kernels.Exponential(
                tau=draw(st.floats(0.5, 20)), delay=draw(st.floats(-3, 3)), kernel_fraction_bits=6, **common
            )
        case "power_of_two":
            return kernels.PowerOfTwo(steps_per_octave=draw(st.integers(1, 4)), **common)
        case "linear":
            return kernels.Linear(**common)
        case _:
            return kernels.Constant(**common)


@st.composite
def networks(draw: st.DrawFn, *, max_size: int = 9, fire_start: int | None = None) -> Network:
    """A network of one to three layers, any kernel, any S, either readout; weights are often at their extremes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(STEPS)
    start = draw(st.one_of(st.just(steps), st.integers(0, steps))) if fire_start is None else min(fire_start, steps)
    sizes = draw(st.lists(st.integers(1, max_size), min_size=2, max_size=4))
    bits = draw(st.integers(2, 8))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    style = draw(st.sampled_from(["uniform", "extreme", "small"]))
    choices = {"uniform": np.arange(low, high + 1), "extreme": np.array([low, high]), "small": np.array([-1, 0, 1])}
    weights = [rng.choice(choices[style], size=(n, m)) for m, n in pairwise(sizes)]
    hidden = [draw(kernel_specs(steps)) for _ in sizes[1:-1]]
    first = kernels.Direct() if draw(st.integers(0, 3)) == 0 else draw(kernel_specs(steps))
    tables = [first.table(), *(k.table() for k in hidden)]
    first_spike = draw(st.booleans())
    firing = [*hidden, draw(kernel_specs(steps))] if first_spike else hidden
    thresholds, biases = [], []
    for i, weight in enumerate(weights):
        spread = max(1, int(tables[i][0] * np.abs(weight).sum(axis=1).mean()) // 2)
        biases.append(rng.integers(-spread, spread + 1, size=weight.shape[0]))
        if i < len(firing):
            thresholds.append(firing[i].integer_threshold(firing[i].theta0 / spread))
    return dense(
        weights,
        biases,
        weight_bits=bits,
        kernels=tables,
        thresholds=thresholds,
        encoder=first.encoder(),
        steps=steps,
        fire_start=start,
        simultaneous=first.simultaneous,
    )


@st.composite
def images_for(draw: st.DrawFn, network: Network, *, max_images: int = 4) -> NDArray[np.uint8]:
    """A few images: random, dark or bright."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, max_images))
    shape = (count, network.populations[0].size)
    images = rng.integers(0, 256, size=shape) * (rng.random(shape) < draw(st.sampled_from([0.2, 0.7, 1.0])))
    match draw(st.integers(0, 5)):
        case 0:
            images[:] = 0
        case 1:
            images[:] = 255
    return images.astype(np.uint8)
