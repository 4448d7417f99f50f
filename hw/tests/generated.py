"""Small networks and their cores: between them every feature of the hardware."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from firstspike.network import kernels
from firstspike.network.model import Conv2d, Dense, Network, chain, dense


def network(
    sizes: tuple[int, ...] = (9, 7, 4), *, fire_start: int = 4, first_spike: bool = False, steps: int = 4, direct=False
) -> Network:
    rng = np.random.default_rng(7)
    kernel = (kernels.PowerOfTwo if steps < 20 else kernels.Linear)(steps=steps)
    first = kernels.Direct() if direct else kernel
    weights = [rng.integers(-8, 8, (n, m)) for m, n in pairwise(sizes)]
    firing = len(weights) - (not first_spike)
    return dense(
        weights, [rng.integers(-9, 9, n) for n in sizes[1:]], weight_bits=4,
        kernels=[first.table()] + [kernel.table()] * (len(weights) - 1),
        thresholds=[kernel.integer_threshold(0.05)] * firing,
        encoder=first.encoder(), steps=steps, fire_start=min(fire_start, steps), simultaneous=direct,
    )  # fmt: skip


def convolutional(
    *,
    shape: tuple[int, int, int] = (2, 8, 7),
    layers: tuple[dict, ...] = ({"kernel": (3, 2), "padding": 1, "pool": 2}, {"kernel": (3, 2), "stride": 2}),
    fire_start: int = 4,
    first_spike: bool = False,
) -> Network:
    """Convolutions and a dense layer, with kernels of both kinds; pooling and stride leave membranes and rows out."""
    rng = np.random.default_rng(7)
    shifted, other = kernels.PowerOfTwo(steps=4), kernels.Linear(steps=4)
    made: list[Conv2d | Dense] = []
    before: tuple[int, ...] = shape
    for n, geometry in enumerate(layers):
        parts = {"name": f"layer{n}", "bias": rng.integers(-9, 9, 5), "weight_bits": 4}
        weight = rng.integers(-8, 8, (5, before[0], *geometry["kernel"]))
        made.append(Conv2d(weight=weight, **parts, **{k: v for k, v in geometry.items() if k != "kernel"}))
        before = made[-1].output_shape(before)
    weight = rng.integers(-8, 8, (3, int(np.prod(before))))
    made.append(Dense(name=f"layer{len(made)}", weight=weight, bias=rng.integers(-9, 9, 3), weight_bits=4))
    return chain(
        made, input_shape=shape, kernels=[(other if n == 1 else shifted).table() for n in range(len(made))],
        thresholds=[shifted.integer_threshold(0.05)] * (len(made) - (not first_spike)), encoder=shifted.encoder(),
        steps=4, fire_start=fire_start,
    )  # fmt: skip


CORES = {
    "usual": (network(), {"lanes": 3}),
    "early_first_spike": (network(fire_start=1, first_spike=True), {"lanes": [7, 1]}),
    "events": (network(fire_start=0), {"input": "events", "lanes": 1}),
    "no_monitor": (network(), {"monitor": False}),
    "no_counters": (network(), {"counters": False}),
    "direct_input": (network(fire_start=2, direct=True), {"lanes": 2}),
    "one_layer_one_step": (network((5, 2), steps=1), {}),
    "four_layers": (network((6, 5, 4, 3, 2)), {"lanes": 2}),
    "many_steps": (network((5, 4, 3), steps=1024, fire_start=500, first_spike=True), {"input": "events"}),
    "smallest": (network((1, 1, 1), steps=1, first_spike=True), {}),
    "convolutions": (convolutional(), {"lanes": [2, 3, 2], "test_clocks": 9}),
    "convolutions_early": (convolutional(fire_start=2, first_spike=True), {"lanes": [5, 1, 3], "product": "multiply"}),
    "one_column": (convolutional(shape=(3, 5, 1), layers=({"kernel": (2, 1)}, {"kernel": (1, 1)})), {"lanes": 2}),
    "one_row": (convolutional(shape=(2, 1, 6), layers=({"kernel": (1, 3), "stride": 3},)), {"lanes": 3}),
    "one_place": (convolutional(shape=(2, 3, 3), layers=({"kernel": (3, 3)},)), {"lanes": 4}),
    "convolutions_of_events": (convolutional(fire_start=1), {"lanes": 2, "input": "events", "monitor": False}),
}
