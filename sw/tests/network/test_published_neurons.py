"""Neurons as their works write them, each with its own loop, against the recurrence with the right settings.

Where a work computes in real numbers, weights, leaks and guard bits are chosen so that nothing is rounded: then the
integers hold its numbers exactly. ``docs/numerics.md`` has the table of settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from firstspike.network import golden, kernels
from firstspike.network.dynamics import KEEP, Dynamics, Factor
from firstspike.network.model import Network, dense

STEPS, INPUTS, NEURONS, IMAGES, NETWORKS = 8, 7, 6, 5, 60
Real = NDArray[Any]
HALF = Factor(numerator=np.array(1), shift=1)


@dataclass
class Case:
    """One layer, its input in every step, shape (IMAGES, STEPS, INPUTS), and what the engine makes of it."""

    rng: np.random.Generator
    weight: NDArray[np.int64]
    bias: NDArray[np.int64]

    @classmethod
    def of(cls, seed: int) -> Case:
        rng = np.random.default_rng(seed)
        return cls(rng, rng.integers(-20, 21, (NEURONS, INPUTS)), rng.integers(-30, 31, NEURONS))

    def network(self, dynamics: Dynamics | None, *, once: bool = False, repeat: int = 0, **given: Any) -> Network:
        """The layer under test, hidden if it fires, and an output that adds its spikes up."""
        fires = dynamics is None or dynamics.threshold is not None
        weights, biases = [self.weight], [given.pop("bias", np.zeros(NEURONS, np.int64))]
        hidden = (1,) * STEPS
        if fires:
            weights.append(np.eye(NEURONS, dtype=np.int64))
            biases.append(np.zeros(NEURONS, np.int64))
        settings: dict[str, Any] = {
            "kernels": [given.pop("kernel", hidden), *[hidden] * fires],
            "thresholds": [given.pop("threshold", ())],
            "encoder": () if repeat else tuple(min(p, STEPS) for p in range(256)),
            "fire_start": STEPS,
            "dynamics": [dynamics],
        }
        return dense(weights, biases, weight_bits=8, steps=STEPS, repeat=repeat, **(settings | given))

    def events(self, most: int = 1) -> NDArray[np.uint8]:
        """Which of the inputs fire in each step, and how often."""
        shape = (IMAGES, STEPS, INPUTS)
        return (self.rng.integers(0, most + 1, shape) * (self.rng.random(shape) < 0.6)).astype(np.uint8)

    def codes(self) -> NDArray[np.uint8]:
        """A step for each input, or STEPS for none, as pixels of the encoder above."""
        return self.rng.integers(0, STEPS + 1, (IMAGES, INPUTS)).astype(np.uint8)

    def currents(self, events: NDArray[np.uint8]) -> Real:
        """W times the events of each step, as exact numbers, shape (STEPS, IMAGES, NEURONS)."""
        return (events.astype(np.int64) @ self.weight.T).transpose(1, 0, 2).astype(object)


def counts(network: Network, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Spikes of the layer under test, shape (STEPS, IMAGES, NEURONS)."""
    result = golden.run(network, images)
    if 1 in result.spike_counts:
        return result.spike_counts[1].transpose(1, 0, 2).astype(np.int64)
    return (result.spike_times[1] == np.arange(STEPS)[:, None, None]).astype(np.int64)


def once(fires: Real) -> Real:
    """The first of the steps in which a neuron would fire."""
    return (fires & (np.cumsum(fires, axis=0) == 1)).astype(np.int64)


TESTS: list[Callable[[Case], None]] = []


def setting(test: Callable[[Case], None]) -> Callable[[Case], None]:
    TESTS.append(test)
    return test


@setting
def tables(case: Case) -> None:
    """Park & Yoon: the tables K and TH, any start of firing."""
    kernel = kernels.PowerOfTwo(steps=STEPS)
    start = int(case.rng.integers(0, STEPS + 1))
    spread = int(case.rng.integers(200, 2000))
    threshold = kernel.integer_threshold(1 / spread)
    common = {"kernel": kernel.table(), "bias": case.bias, "fire_start": start}
    plain = case.network(None, threshold=threshold, **common)
    stepped = case.network(Dynamics(threshold=np.array(threshold)[:, None], mode="once", start=start), **common)
    assert golden.run(plain, images := case.codes()) == golden.run(stepped, images)


@setting
def windowed_ramp(case: Case) -> None:
    """LC-TTFS, DTA-TTFS: the potential is a sum of ramps; the threshold falls to nothing in the layer's own window."""
    theta = int(case.rng.integers(1, 60))
    network = case.network(
        Dynamics(threshold=theta * np.arange(STEPS, 0, -1)[:, None], mode="once", retain=KEEP, start=STEPS - 1)
    )
    codes = case.codes()
    fired = codes < STEPS
    area = (np.where(fired, STEPS - codes.astype(np.int64), 0)) @ case.weight.T
    slope = fired.astype(np.int64) @ case.weight.T
    q = np.arange(STEPS)[:, None, None]
    assert np.array_equal(counts(network, codes), once(area + q * slope >= theta * (STEPS - q)))


@setting
def causal_ramp(case: Case) -> None:
    """ReL-PSP, YOSO: ramps from the spike on, a threshold that stays."""
    theta = int(case.rng.integers(1, 200))
    network = case.network(Dynamics(threshold=np.array(theta), mode="once", retain=KEEP))
    codes = case.codes().astype(np.int64)
    t = np.arange(STEPS)[:, None, None]
    ramps = np.where(codes < STEPS, np.maximum(t - codes + 1, 0), 0) @ case.weight.T
    assert np.array_equal(counts(network, codes.astype(np.uint8)), once(ramps >= theta))


@setting
def one_shot(case: Case) -> None:
    """ETTFS: V_t = V_{t-1} + sum of w s_t + beta; one spike."""
    theta = int(case.rng.integers(1, 100))
    network = case.network(Dynamics(threshold=np.array(theta), mode="once", drive=case.bias[None]), repeat=1)
    events = case.events()
    v, fires = np.zeros((IMAGES, NEURONS), object), []
    for x in case.currents(events):
        v = v + x + case.bias
        fires.append(v >= theta)
    assert np.array_equal(counts(network, events), once(np.array(fires, bool)))


@setting
def integrate_and_fire(case: Case) -> None:
    """PTL: mem = mem + x - spike * vthr."""
    vthr = int(case.rng.integers(1, 80))
    network = case.network(Dynamics(threshold=np.array(vthr), drive=case.bias[None]), repeat=1)
    events = case.events()
    mem, spike, spikes = 0, 0, []
    for x in case.currents(events):
        mem = mem + x + case.bias
        spike = (mem >= vthr).astype(np.int64)
        mem = mem - spike * vthr
        spikes.append(spike)
    assert np.array_equal(counts(network, events), np.array(spikes))


@setting
def bursts(case: Case) -> None:
    """Hybrid coding, hidden layers: n = clamp(floor(V), 0, 5) in units of the threshold; V -= n."""
    unit = int(case.rng.integers(1, 40))
    network = case.network(Dynamics(threshold=np.array(unit), cap=5), repeat=3)
    events = case.events(3)
    v, spikes = 0, []
    for x in case.currents(events):
        v = v + x
        n = np.clip([[int(Fraction(y, unit) // 1) for y in row] for row in v], 0, 5)
        v = v - n * unit
        spikes.append(n)
    assert np.array_equal(counts(network, events), np.array(spikes))


@setting
def double_exponential(case: Case) -> None:
    """Hybrid coding, output: each spike is worth (l^(n+1) - s^(n+1)) / (l - s) after n steps, with l = 1/2, s = 1/4."""
    guard = 2 * STEPS
    network = case.network(
        Dynamics(retain=Factor(numerator=np.array(1), shift=2), leak=HALF, guard=guard),
        repeat=1,
    )
    events = case.events()
    slow, fast = Fraction(1, 2), Fraction(1, 4)
    worth = [(slow ** (n + 1) - fast ** (n + 1)) / (slow - fast) for n in range(STEPS)]
    v = sum(x * worth[STEPS - 1 - t] for t, x in enumerate(case.currents(events)))
    assert np.array_equal(golden.run(network, events).membranes.astype(object), v * 2**guard)


@setting
def hard_leak(case: Case) -> None:
    """Spiking Q-learning: v += (x - v) / tau with tau = 2, reset to 0. Weights stand for x / tau."""
    threshold = int(case.rng.integers(1, 40))
    network = case.network(
        Dynamics(
            threshold=np.array(threshold << STEPS),
            mode="hard",
            leak=HALF,
            guard=STEPS,
        ),
        repeat=1,
    )
    events = case.events()
    v, spikes = np.zeros((IMAGES, NEURONS), object), []
    for x in case.currents(events):
        v = v + (2 * x - v) * Fraction(1, 2)
        spike = v >= threshold
        v = np.where(spike, 0, v)
        spikes.append(spike)
    assert np.array_equal(counts(network, events), np.array(spikes, np.int64))


@setting
def learned_leak(case: Case) -> None:
    """Adaptive-SpikeNet on snnTorch: mem = beta * mem + x - threshold * (spike of the step before)."""
    threshold, beta = int(case.rng.integers(1, 40)), Fraction(1, 2)
    network = case.network(
        Dynamics(
            threshold=np.array(threshold << STEPS),
            reset=np.array(int(threshold / beta) << STEPS),
            leak=Factor.nearest(float(beta), 8),
            guard=STEPS,
        ),
        repeat=1,
    )
    events = case.events()
    mem, spike, spikes = np.zeros((IMAGES, NEURONS), object), 0, []
    for x in case.currents(events):
        mem = beta * mem + x - threshold * spike
        spike = (mem >= threshold).astype(np.int64)
        spikes.append(spike)
    assert np.array_equal(counts(network, events), np.array(spikes))


@setting
def gain_of_every_step(case: Case) -> None:
    """BNTT: batch norm with parameters of each step on the current; a spike above the threshold, which V falls by."""
    threshold, shift = int(case.rng.integers(1, 400)), 4
    gain = case.rng.integers(0, 60, (STEPS, NEURONS))
    drive = case.rng.integers(-900, 900, (STEPS, NEURONS))
    network = case.network(
        Dynamics(
            threshold=np.array(threshold + 1),
            reset=np.array(threshold),
            leak=Factor.nearest(0.95, 8),
            gain=gain,
            gain_shift=shift,
            drive=drive,
        ),
        repeat=1,
    )
    events = case.events()
    v, spikes = np.zeros((IMAGES, NEURONS), object), []
    for t, x in enumerate(case.currents(events)):
        v = 243 * v // 256 + (gain[t] * x + drive[t]) // 2**shift
        spike = (v > threshold).astype(np.int64)
        v = v - threshold * spike
        spikes.append(spike)
    assert np.array_equal(counts(network, events), np.array(spikes))


@setting
def constant_current(case: Case) -> None:
    """Pixels that are sent once, and count in every step."""
    direct = kernels.Direct()
    threshold = int(case.rng.integers(1, 4000))
    network = case.network(
        Dynamics(threshold=np.array(threshold), retain=KEEP),
        kernel=direct.table(), encoder=direct.encoder(), simultaneous=True,
    )  # fmt: skip
    images = case.rng.integers(0, 256, (IMAGES, INPUTS)).astype(np.uint8)
    v, spikes = 0, []
    for _ in range(STEPS):
        v = v + images.astype(np.int64) @ case.weight.T
        spike = (v >= threshold).astype(np.int64)
        v = v - threshold * spike
        spikes.append(spike)
    assert np.array_equal(counts(network, images), np.array(spikes))


@setting
def largest_membrane(case: Case) -> None:
    """Spiking Q-learning, output: the value of an action is the largest membrane of a neuron that does not fire."""
    network = case.network(Dynamics(leak=HALF, guard=STEPS, read="largest"), repeat=1)
    events = case.events()
    v, seen = np.zeros((IMAGES, NEURONS), object), []
    for x in case.currents(events):
        v = v + (2 * x - v) * Fraction(1, 2)
        seen.append(v)
    largest = np.max(seen, axis=0)
    result = golden.run(network, events)
    assert np.array_equal(result.membranes.astype(object), largest * 2**STEPS)
    assert np.array_equal(result.classes, largest.argmax(axis=1))


@pytest.mark.smoke
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_the_engine_is_the_published_neuron(test: Callable[[Case], None]) -> None:
    for seed in range(NETWORKS):
        test(Case.of(seed))
