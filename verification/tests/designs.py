"""The generated cores of these tests: small, and between them every feature of the hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from firstspike.contract.hardware import Hardware
from firstspike.network import kernels
from firstspike.network.dynamics import KEEP, Dynamics, Factor
from firstspike.network.model import Conv2d, Dense, Network, chain, signed_bits
from firstspike_rtl.top.verilog import generate
from firstspike_verify.benches.cocotb_runner import locked
from firstspike_verify.checks.scoreboard import PARTS, SPIKES
from firstspike_verify.models.verilated import VerilatedCore


@dataclass(frozen=True)
class Design:
    """Two networks of one shape, and the hardware that holds both."""

    network: Network
    other: Network
    hardware: Hardware


def random_network(
    sizes: list[int],
    tables: list[kernels.Kernel],
    *,
    steps: int,
    fire_start: int,
    maps: tuple[int, int, int] | None = None,
    convolutions: list[dict[str, Any]] | None = None,
    first_spike: bool = False,
    bits: int = 5,
    seed: int = 0,
) -> Network:
    """Random weights and biases; thresholds such that about as many neurons fire early, late and never.

    Sizes are those of the populations; or of the dense layers' outputs after ``convolutions`` (channels, kernel and
    geometry of each) over an input of shape ``maps``.
    """
    rng = np.random.default_rng(seed)
    span = 1 << (bits - 1)
    input_shape: tuple[int, ...] = maps or (sizes[0],)
    shape = input_shape
    layers: list[Conv2d | Dense] = []
    for geometry in [*(convolutions or []), *({"channels": n} for n in (sizes if maps else sizes[1:]))]:
        parts: dict[str, Any] = {"bias": np.zeros(geometry["channels"], np.int64), "weight_bits": bits}
        if "kernel" in geometry:
            weight = rng.integers(-span, span, (geometry["channels"], shape[0], *geometry["kernel"]))
            parts |= {key: value for key, value in geometry.items() if key not in ("channels", "kernel")}
        else:
            weight = rng.integers(-span, span, (geometry["channels"], int(np.prod(shape))))
        kind = Conv2d if "kernel" in geometry else Dense
        layers.append(kind(name=f"layer{len(layers)}", weight=weight, **parts))
        shape = layers[-1].output_shape(shape)
    spreads = []
    for n, (layer, table) in enumerate(zip(layers, tables, strict=False)):
        sums = np.abs(layer.weight).reshape(len(layer.weight), -1).sum(axis=1)
        spreads.append(max(1, int(table.table()[0] * sums.mean()) // 4))
        layers[n] = replace(layer, bias=rng.integers(-spreads[n] // 4, spreads[n] // 4 + 1, len(sums)))
    firing = len(layers) if first_spike else len(layers) - 1
    return chain(
        layers,
        input_shape=input_shape,
        kernels=[k.table() for k in tables[: len(layers)]],
        thresholds=[tables[i + 1].integer_threshold(1 / spreads[i]) for i in range(firing)],
        encoder=tables[0].encoder(),
        steps=steps,
        fire_start=fire_start,
        simultaneous=tables[0].simultaneous,
    )


def build(make: Callable[[int], Network], **options: object) -> Design:
    """Two networks of seeds 1 and 2; the second may need wider membranes, or wider sums of a step."""
    first, second = make(1), make(2)
    wider = [second.membrane_bits(i) - first.membrane_bits(i) for i in range(len(first.layers))]
    for i, after in enumerate(first.populations[1:]):
        if after.dynamics:
            both = [network.ranges(i) for network in (first, second)]
            for name in ("sums", "current", "drive"):
                mine, its = (signed_bits(*getattr(ranges, name)) for ranges in both)
                wider.append(its - mine)
    return Design(first, second, Hardware.for_network(first, spare_membrane_bits=max(0, *wider), **options))


def window() -> Design:
    """S = T, membrane readout, two layers; lanes do not divide N, and inputs are not a multiple of 4."""
    kernel = kernels.PowerOfTwo(steps=8)
    return build(
        lambda seed: random_network([30, 13, 10], [kernel] * 3, steps=8, fire_start=8, seed=seed), lanes=[5, 4]
    )


def early() -> Design:
    """S < T, first-spike readout, three layers of other kernels."""
    tables = [
        kernels.Exponential(steps=6, tau=2.5, kernel_fraction_bits=4),
        kernels.PowerOfTwo(steps=6, steps_per_octave=2),
        kernels.Linear(steps=6),
        kernels.Linear(steps=6),
    ]
    return build(
        lambda seed: random_network([14, 9, 7, 5], tables, steps=6, fire_start=2, first_spike=True, seed=seed),
        lanes=[4, 7, 2],
    )


def events() -> Design:
    """Event input, sorted in the core, since S < T; one lane."""
    kernel = kernels.Linear(steps=5)
    return build(
        lambda seed: random_network([12, 8, 4], [kernel] * 3, steps=5, fire_start=1, seed=seed),
        lanes=[3, 1],
        input="events",
    )


def direct() -> Design:
    """Direct input and early firing, first-spike readout."""
    kernel = kernels.Exponential(steps=7, tau=3.0, kernel_fraction_bits=6)
    return build(
        lambda seed: random_network(
            [17, 11, 6], [kernels.Direct(), kernel, kernel], steps=7, fire_start=3, first_spike=True, seed=seed
        ),
        lanes=[11, 4],
    )


def constant() -> Design:
    """S = 0 and a constant kernel, events in."""
    kernel = kernels.Constant(steps=6, theta0=0.4)
    return build(
        lambda seed: random_network([10, 9, 6, 3], [kernel] * 4, steps=6, fire_start=0, first_spike=True, seed=seed),
        lanes=[9, 2, 3],
        input="events",
    )


def single() -> Design:
    """One layer, no hidden population, no monitor, no counters, one step."""
    kernel = kernels.Constant(steps=1, theta0=0.4)
    return build(
        lambda seed: random_network([5, 3], [kernel] * 2, steps=1, fire_start=1, seed=seed),
        lanes=[2],
        monitor=False,
        counters=False,
    )


def ties() -> Design:
    """Small numbers, so that equality happens all the time: for the tests with wrong hardware."""
    kernel = kernels.Linear(steps=4, theta0=0.5)
    return build(
        lambda seed: random_network(
            [9, 8, 7, 5], [kernel] * 4, steps=4, fire_start=2, first_spike=True, bits=2, seed=seed + 4
        ),
        lanes=[3, 4, 2],
    )


def convolution() -> Design:
    """Convolutions, S = T: pooling that leaves a row out, inputs that reach no membrane, groups, lanes that shift."""
    kernel = kernels.PowerOfTwo(steps=8)
    layers = [
        {"channels": 3, "kernel": (3, 2), "padding": 1, "pool": 2},
        {"channels": 4, "kernel": (1, 2), "stride": 2},
    ]
    return build(
        lambda seed: random_network(
            [5], [kernel] * 4, maps=(2, 5, 7), convolutions=layers, steps=8, fire_start=8, bits=4, seed=seed
        ),
        lanes=[2, 4, 2],
        test_clocks=8,
    )


def stepped(network: Network, dynamics: list[Dynamics | None]) -> Network:
    """The network with dynamics after its layers, in units of their guard bits."""
    populations = [network.populations[0]]
    layers = []
    for layer, after, given in zip(network.layers, network.populations[1:], dynamics, strict=True):
        populations.append(replace(after, threshold=() if given else after.threshold, dynamics=given))
        layers.append(replace(layer, bias=layer.bias << given.guard) if given else layer)
    return replace(network, populations=tuple(populations), layers=tuple(layers))


def spread(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random integers with both ends among them, so that those of two seeds have one width."""
    values = rng.integers(low, high + 1, shape)
    values.flat[0], values.flat[-1] = low, high
    return values


def leaky() -> Design:
    """Neurons that leak and fire again, up to thrice in a step, with parameters of their own; constant current in.

    Layer 0: soft reset, a leak that is multiplied. Layer 1: hard reset, U that stays, a gain in each step. Output: the
    largest membrane.
    """
    steps = 5

    def make(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        tables = [kernels.Direct(), *[kernels.Constant(steps=steps)] * 2]
        network = random_network([17, 11, 6, 4], tables, steps=steps, fire_start=steps, seed=seed)
        soft = Dynamics(
            threshold=spread(rng, 2000, 60000, (1, 11)), mode="soft", cap=3, retain=KEEP, guard=2,
            leak=Factor(numerator=spread(rng, 101, 255, (11,)), shift=8), drive=spread(rng, -900, 900, (steps, 11)),
        )  # fmt: skip
        hard = Dynamics(
            threshold=spread(rng, 40, 900, (steps, 6)), mode="hard", reset=spread(rng, -90, 30, (1, 6)), guard=3,
            retain=Factor(numerator=np.array(3), shift=2), leak=Factor(numerator=np.array(1), shift=1),
            gain=spread(rng, 0, 31, (steps, 6)), gain_shift=4, drive=spread(rng, -99, 300, (1, 6)),
        )  # fmt: skip
        largest = Dynamics(leak=Factor(numerator=np.array(7), shift=3), read="largest", guard=1)
        return stepped(network, [soft, hard, largest])

    return build(make, lanes=[5, 4, 3], test_clocks=9)


def ramps() -> Design:
    """A convolution with tables, one with ramps that are pooled, dense neurons that fire once later, events in."""
    tables = [kernels.Linear(steps=5)] * 4
    layers = [
        {"channels": 3, "kernel": (2, 2)},
        {"channels": 4, "kernel": (2, 3), "padding": 1, "pool": 2},
    ]

    def make(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        network = random_network(
            [7, 5], tables, maps=(1, 5, 6), convolutions=layers, steps=5, fire_start=2, bits=4, seed=seed
        )
        pooled = Dynamics(threshold=spread(rng, 20, 400, (1, 4)), mode="once", retain=KEEP)
        window = Dynamics(threshold=30 * np.arange(5, 0, -1)[:, None], mode="once", retain=KEEP, start=4)
        first = Dynamics(threshold=spread(rng, 9, 60, (1, 5)), mode="once", start=2)
        return stepped(network, [None, pooled, window, first])

    return build(make, lanes=[2, 3, 4, 2], input="events")


def trains() -> Design:
    """Events in that repeat, to a convolution whose neurons leak and fire again; a population with tables after it."""
    steps = 6
    tables = [kernels.Linear(steps=steps), *[kernels.Constant(steps=steps)] * 2]
    layers = [{"channels": 4, "kernel": (2, 3), "stride": 2, "padding": 1}]

    def make(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        network = random_network(
            [5, 4], tables, maps=(2, 3, 5), convolutions=layers, steps=steps, fire_start=3, bits=4, seed=seed
        )
        first = replace(network.populations[0], repeat=3)
        soft = Dynamics(
            threshold=spread(rng, 100, 1500, (1, 4)), mode="soft", cap=2, guard=2,
            leak=Factor(numerator=spread(rng, 9, 15, (4,)), shift=4),
        )  # fmt: skip
        network = replace(network, populations=(first, *network.populations[1:]), encoder=())
        return stepped(network, [soft, None, Dynamics(leak=Factor(numerator=np.array(3), shift=2))])

    return build(make, lanes=[3, 2, 4])


def convolution_early() -> Design:
    """Convolutions and early firing, events in, first-spike readout; lanes that multiply."""
    tables = [kernels.Linear(steps=5), kernels.Exponential(steps=5, tau=2.0, kernel_fraction_bits=4)] * 2
    layers = [
        {"channels": 4, "kernel": (3, 3), "stride": 2, "padding": 1},
        {"channels": 5, "kernel": (2, 2), "padding": 1, "pool": 2},
    ]
    return build(
        lambda seed: random_network(
            [4], tables, maps=(2, 5, 6), convolutions=layers, steps=5, fire_start=2, first_spike=True, seed=seed
        ),
        lanes=[3, 2, 4],
        input="events",
    )


DESIGNS: dict[str, Callable[[], Design]] = {
    f.__name__: f
    for f in (
        window,
        early,
        events,
        direct,
        constant,
        single,
        ties,
        leaky,
        ramps,
        trains,
        convolution,
        convolution_early,
    )
}


def folders(root: Path, name: str, design: Design) -> tuple[Path, Path, Path]:
    """Generated folder, network, other network under ``root``; made once, whichever process comes first."""
    generated, network, other = root / name / "rtl", root / name / "network", root / name / "other"
    with locked(root / name):
        if not other.is_dir():
            generate(design.network, design.hardware, generated)
            design.network.save(network)
            design.other.save(other)
    return generated, network, other


IMAGES = 400


def pictures(network: Network, seed: int, count: int = IMAGES) -> np.ndarray:
    """Random images of every density, black and white among them."""
    rng = np.random.default_rng(seed)
    shape, most = network.image_shape, network.image_most
    density = rng.choice([0.0, 0.1, 0.3, 0.6, 1.0], size=(count, *[1] * len(shape)))
    values = (rng.integers(1, most + 1, (count, *shape)) * (rng.random((count, *shape)) < density)).astype(np.uint8)
    values[0], values[1] = 0, most
    return values


def parts(core: VerilatedCore) -> set[str]:
    """All that this core can show."""
    return set(PARTS) - (set() if core.hardware.monitor else set(SPIKES))
