"""Random networks and images for property tests, drawn so that early, late and missing spikes all occur."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from firstspike.network import kernels
from firstspike.network.model import Conv2d, Dense, Network, chain, dense

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
def dense_shapes(draw: st.DrawFn, max_size: int = 9) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """Shape of the input, and of one to three dense layers the arguments besides name, weights and biases."""
    sizes = draw(st.lists(st.integers(1, max_size), min_size=2, max_size=4))
    return (sizes[0],), [{"shape": (n, m)} for m, n in pairwise(sizes)]


@st.composite
def convolution_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """As :func:`dense_shapes`, of one or two convolutions and a dense layer."""
    shape = first = draw(st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)))
    layers: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        padding = draw(st.integers(0, min(2, *shape[1:])))
        kernel = [draw(st.integers(padding + 1, max(padding + 1, min(5, n)))) for n in shape[1:]]
        kernel = [min(k, n + 2 * padding) for k, n in zip(kernel, shape[1:], strict=True)]
        stride = draw(st.integers(1, 3))
        grid = [(n + 2 * padding - k) // stride + 1 for n, k in zip(shape[1:], kernel, strict=True)]
        pool = draw(st.integers(1, min(3, *grid)))
        channels = draw(st.integers(1, 4))
        layers.append({"shape": (channels, shape[0], *kernel), "stride": stride, "padding": padding, "pool": pool})
        shape = (channels, grid[0] // pool, grid[1] // pool)
    layers.append({"shape": (draw(st.integers(1, 5)), math.prod(shape))})
    return first, layers


@st.composite
def networks(
    draw: st.DrawFn, *, max_size: int = 9, fire_start: int | None = None, convolutional: bool = False
) -> Network:
    """A network of one to three layers, any kernel, any S, either readout; weights are often at their extremes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(STEPS)
    start = draw(st.one_of(st.just(steps), st.integers(0, steps))) if fire_start is None else min(fire_start, steps)
    input_shape, shapes = draw(convolution_shapes() if convolutional else dense_shapes(max_size))
    bits = draw(st.integers(2, 8))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    style = draw(st.sampled_from(["uniform", "extreme", "small"]))
    choices = {"uniform": np.arange(low, high + 1), "extreme": np.array([low, high]), "small": np.array([-1, 0, 1])}
    weights = [rng.choice(choices[style], size=x.pop("shape")) for x in shapes]
    hidden = [draw(kernel_specs(steps)) for _ in weights[1:]]
    first = kernels.Direct() if draw(st.integers(0, 3)) == 0 else draw(kernel_specs(steps))
    tables = [first.table(), *(k.table() for k in hidden)]
    first_spike = draw(st.booleans())
    firing = [*hidden, draw(kernel_specs(steps))] if first_spike else hidden
    thresholds, biases = [], []
    for i, weight in enumerate(weights):
        spread = max(1, int(tables[i][0] * np.abs(weight).reshape(len(weight), -1).sum(axis=1).mean()) // 2)
        biases.append(rng.integers(-spread, spread + 1, size=weight.shape[0]))
        if i < len(firing):
            thresholds.append(firing[i].integer_threshold(firing[i].theta0 / spread))
    kinds = [Conv2d if weight.ndim == 4 else Dense for weight in weights]
    return chain(
        [
            kind(name=f"layer{i}", weight=weights[i], bias=biases[i], weight_bits=bits, **shapes[i])
            for i, kind in enumerate(kinds)
        ],
        input_shape=input_shape,
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


KERNEL = kernels.PowerOfTwo(steps=8)


def dense_layers(sizes: tuple[int, ...]) -> Network:
    rng = np.random.default_rng(3)
    return dense(
        [rng.integers(-32, 32, (n, m)) for m, n in pairwise(sizes)], [rng.integers(-99, 99, n) for n in sizes[1:]],
        weight_bits=6, kernels=[KERNEL.table()] * (len(sizes) - 1),
        thresholds=[KERNEL.integer_threshold(0.01)] * (len(sizes) - 2), encoder=KERNEL.encoder(), steps=8, fire_start=8,
    )  # fmt: skip
