"""Rate, phase and burst coding: the codings that time-to-first-spike is compared with, simulated step by step.

All hidden neurons integrate and fire without leak and are reset by subtraction; the output only integrates, and the
class of a time step is the argmax of what it has so far. In one time step all layers are evaluated in order, so that a
spike crosses the whole network in it.

* **rate**: a neuron fires when V reaches the threshold, and the spike is worth the threshold.
* **phase** (Kim et al. 2018, weighted spikes): threshold and worth are multiplied by 2^-(1 + t mod P), P = 8.
* **burst** (Park et al., DAC 2019): threshold and worth double with each further spike in successive steps and fall
  back to the start when there is none.

Sources: the authors' T2FSNN release, which has all three, for the rules, the gate of max pooling, and input and biases
in parts of 1/P under phase coding. Thresholds are uncertain. The release's script has 0.125 for input neurons of burst
coding and 0.4 for hidden ones (the burst paper: 0.125 for both, recalled, not read); in rate coding hidden neurons fire
at 0.4 with spikes worth 1, which is ``threshold=1, initial=0.6`` here; phase weights start at 1 instead of 1/2, which
is ``threshold=2``. Its burst input loads a pixel once, and again when all is sent; here the pixel
drives its neuron in every step. Which settings and which input the published tables have is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstspike.conversion.ann import FloatLayer, batches, shapes
from firstspike.conversion.relu_network import Synapses
from firstspike.errors import FirstspikeError
from firstspike.network.layers import PIXEL_LEVELS

Hidden = Literal["rate", "phase", "burst"]
Input = Literal["real", "poisson", "phase", "burst"]

PIXEL_BITS = (PIXEL_LEVELS - 1).bit_length()
#: The "empirical best" of the authors' release.
BURST_THRESHOLD = 0.4
#: Images simulated at a time: their membranes stay in a core's cache.
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How hidden neurons code and how pixels enter.

    Parameters
    ----------
    hidden
        ``rate``, ``phase`` or ``burst``.
    input
        ``real``: the pixel's value enters in every step, without spikes. ``poisson``: a spike of worth 1 with the
        pixel as its probability. ``phase``: the pixel's bits, the highest first, exact after eight steps. ``burst``:
        burst-coding neurons that the pixel's value drives in every step.
    steps
        Time steps to simulate.
    threshold
        Of hidden neurons, in units of the normalised values; ``None`` is 0.4 for burst coding, else 1.
    input_threshold
        Of burst-coding input neurons.
    initial
        Membrane of hidden neurons before the first step, as part of their threshold, 0 up to 1.
    growth
        Factor of the burst.
    period
        P of phase coding, in steps.
    seed
        Of Poisson input.

    Raises
    ------
    FirstspikeError
        if a setting is out of range, or phase input meets another period than the eight bits of a pixel.

    """

    hidden: Hidden
    input: Input
    steps: int
    threshold: float | None = None
    input_threshold: float = 0.125
    initial: float = 0.0
    growth: float = 2.0
    period: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("hidden", self.hidden, get_args(Hidden)),
            ("input", self.input, get_args(Input)),
        ):
            if value not in choices:
                raise FirstspikeError(f"{name} coding is {value!r}", f"use one of {', '.join(choices)}")
        if self.steps < 1 or self.period < 1:
            raise FirstspikeError(f"{self.steps} steps with a period of {self.period}", "use integers >= 1")
        if not (self.hidden_threshold > 0 and self.input_threshold > 0 and self.growth >= 1):
            raise FirstspikeError(
                f"thresholds are {self.hidden_threshold} and {self.input_threshold}, growth {self.growth}",
                "use thresholds above 0 and a growth of at least 1",
            )
        if not 0 <= self.initial < 1:
            raise FirstspikeError(f"initial membrane is {self.initial} thresholds", "use 0 up to 1, 1 not included")
        if self.input == "phase" and self.period != PIXEL_BITS:
            raise FirstspikeError(f"phase input with a period of {self.period}", f"pixels have {PIXEL_BITS} bits")

    @property
    def hidden_threshold(self) -> float:
        """Threshold of hidden neurons, with the default filled in."""
        if self.threshold is not None:
            return self.threshold
        return BURST_THRESHOLD if self.hidden == "burst" else 1.0

    @property
    def cycle(self) -> int:
        """Steps in which the input enters once: the period where phases are used, else 1."""
        return self.period if "phase" in (self.hidden, self.input) else 1


@dataclass(frozen=True, eq=False)
class CodingResult:
    """Means over the images of a run of T steps; entry t is the state after step t, arrays have shape (T,).

    Parameters
    ----------
    accuracy
        Part of the images whose class is right.
    input_spikes, hidden_spikes
        Spikes of an image so far, of the input and of all hidden populations. Of a pooled population those count that
        pass the gate, as in :meth:`firstspike.network.golden.Result.spikes`.
    fired_spikes
        As ``hidden_spikes``, but before the gates: what the neurons themselves spend.

    """

    accuracy: NDArray[np.float64]
    input_spikes: NDArray[np.float64]
    hidden_spikes: NDArray[np.float64]
    fired_spikes: NDArray[np.float64]

    def steps_to(self, fraction: float = 0.99) -> int:
        """Time steps until the accuracy first reaches ``fraction`` of that of the last step."""
        return int(np.argmax(self.accuracy >= fraction * self.accuracy[-1])) + 1

    def settled(self, fraction: float = 0.999) -> int:
        """Time steps after which the accuracy never falls below ``fraction`` of that of the last step again."""
        below = np.flatnonzero(self.accuracy < fraction * self.accuracy[-1])
        return int(below[-1]) + 2 if len(below) else 1

    def spikes(self, steps: int) -> float:
        """Spikes of an image, input and hidden, in the first ``steps`` steps.

        Raises
        ------
        FirstspikeError
            if the run was not that long.

        """
        if not 1 <= steps <= len(self.accuracy):
            raise FirstspikeError(f"the run has {len(self.accuracy)} steps, not {steps}")
        return float(self.input_spikes[steps - 1] + self.hidden_spikes[steps - 1])


class Neurons:
    """Integrate-and-fire neurons of one population that code in one way.

    Parameters
    ----------
    code
        ``rate``, ``phase`` or ``burst``.
    threshold, initial, growth, period
        As for :class:`Coding`.

    """

    def __init__(self, code: Hidden, *, threshold: float, initial: float, growth: float, period: int) -> None:
        self._code, self._threshold, self._growth, self._period = code, threshold, growth, period
        self._initial = initial * threshold
        self._v: Tensor | None = None
        self._level: Tensor | float = threshold

    def step(self, t: int, added: Tensor) -> Tensor:
        """What each neuron sends in step ``t``: the worth of its spike, or 0. ``added`` is what came in."""
        self._v = added + self._initial if self._v is None else self._v.add_(added)
        if self._code == "phase":
            self._level = self._threshold * 2.0 ** -(1 + t % self._period)
        fired = self._v >= self._level
        sent = fired * self._level
        self._v -= sent
        if self._code == "burst":
            self._level = torch.where(fired, self._level * self._growth, self._threshold)
        return sent


def simulate(
    layers: Sequence[FloatLayer],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    input_shape: Sequence[int],
    coding: Coding,
    batch_size: int = BATCH,
    device: torch.device | str = "cpu",
) -> CodingResult:
    """Run the network on images under one of the codings.

    Average pooling is linear. Of a max-pooling window only that neuron's spikes go on which has sent most so far, this
    step included (the gate of Rueckauer et al. 2017 and of the T2FSNN release); the first of several. Biases enter in
    every step, in parts of 1 / :attr:`Coding.cycle`, as real input does.

    Parameters
    ----------
    layers
        Normalised.
    images, labels
        uint8, shape (N, ...), and classes, shape (N,).
    input_shape
        (inputs,), or (channels, rows, columns).
    coding
        How neurons code.
    batch_size
        Images at a time; it plays no part in the result but for Poisson input, and for the rounding of float32 sums.
    device
        Where to compute.

    Raises
    ------
    FirstspikeError
        if layers, images or labels do not fit.

    """
    if labels.shape != images.shape[:1]:
        raise FirstspikeError(f"labels have shape {labels.shape} for {len(images)} images", "give one for each")
    found = shapes(layers, input_shape)
    synapses = [Synapses(layer, shape, device) for layer, shape in zip(layers, found, strict=False)]
    totals = np.zeros((4, coding.steps))
    generator = torch.Generator(device).manual_seed(coding.seed)
    with torch.inference_mode():
        for index, part in enumerate(batches(images, input_shape, batch_size)):
            truth = torch.tensor(labels[index * batch_size :][: len(part)], device=device)
            pixels = torch.tensor(part, device=device)
            totals += _batch(synapses, pixels, truth, coding, generator)
    return CodingResult(*(totals / len(images)))


def _batch(
    synapses: list[Synapses], pixels: Tensor, labels: Tensor, coding: Coding, generator: torch.Generator
) -> NDArray[np.float64]:
    """The parts of :class:`CodingResult`, summed over the batch, shape (4, T)."""
    first = synapses[0]
    hidden = [
        Neurons(
            coding.hidden,
            threshold=coding.hidden_threshold,
            initial=coding.initial,
            growth=coding.growth,
            period=coding.period,
        )
        for _ in synapses[1:]
    ]
    scores: dict[int, Tensor] = {}
    biases = [each.bias / coding.cycle for each in synapses]
    inputs = PixelInput(pixels, coding, generator)
    constant = first.sums(inputs.real) if coding.input == "real" else None
    output: Tensor | None = None
    counts = np.zeros((4, coding.steps))
    for t in range(coding.steps):
        if constant is None:
            values = inputs.step(t)
            counts[1, t] = float(values.count_nonzero())
            added = first.sums(values) + biases[0]
        else:
            added = constant + biases[0]
        for index, neurons in enumerate(hidden):
            sent = neurons.step(t, added)
            counts[3, t] += float(sent.count_nonzero())
            if synapses[index].pools:
                scores[index] = scores[index].add_(sent) if index in scores else sent.clone()
                sent = synapses[index].pool_through(sent, scores[index])
            counts[2, t] += float(sent.count_nonzero())
            added = synapses[index + 1].sums(sent) + biases[index + 1]
        output = added if output is None else output + added
        counts[0, t] = float((output.argmax(1) == labels).sum())
    counts[1:] = counts[1:].cumsum(axis=1)
    return counts


class PixelInput:
    """What pixels send under a coding.

    Parameters
    ----------
    pixels
        uint8, shape (B, ...).
    coding
        Its input.
    generator
        Of Poisson spikes, on the device of the pixels.

    """

    def __init__(self, pixels: Tensor, coding: Coding, generator: torch.Generator) -> None:
        self._pixels, self._coding, self._generator = pixels, coding, generator
        #: What a real-valued input sends in every step, without a spike.
        self.real = pixels / (PIXEL_LEVELS - 1) / coding.cycle
        self._neurons = Neurons(
            "burst", threshold=coding.input_threshold, initial=0.0, growth=coding.growth, period=coding.period
        )

    def step(self, t: int) -> Tensor:
        """The worth of each pixel's spike, or 0, in step ``t``; to be called for t = 0, 1, 2, ... in turn."""
        match self._coding.input:
            case "poisson":
                draw = torch.rand(self.real.shape, generator=self._generator, device=self.real.device)
                return (draw < self._pixels / (PIXEL_LEVELS - 1)) / self._coding.cycle
            case "burst":
                return self._neurons.step(t, self.real)
            case "phase":
                bit = PIXEL_BITS - 1 - t % PIXEL_BITS
                # The bits of p add up to p / 255 exactly as the real input does.
                return ((self._pixels >> bit) & 1) * (2.0**bit / (PIXEL_LEVELS - 1))
            case _:
                return self.real
