"""The integer TTFS network: the only thing that crosses a border between training, golden model, images and RTL.

A :class:`Network` is frozen and checked when made; what it computes is defined in ``docs/numerics.md``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network import files as network_files
from firstspike.network.dynamics import Dynamics
from firstspike.network.layers import (
    LAYER_KINDS,
    MAX_STEPS,
    PIXEL_LEVELS,
    Conv2d,
    Dense,
    IntArray,
    Layer,
    Population,
    integers,
    signed_bits,
    unsigned_bits,
)
from firstspike.network.ranges import Arrivals, Ranges, ranges

__all__ = [
    "MAX_STEPS",
    "PIXEL_LEVELS",
    "Conv2d",
    "Dense",
    "Dynamics",
    "IntArray",
    "Layer",
    "Network",
    "Population",
    "Readout",
    "chain",
    "check_images",
    "dense",
    "signed_bits",
    "unsigned_bits",
]

Readout = Literal["membrane", "largest_membrane", "first_spike"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A chain of populations joined by layers, with everything that its result depends on.

    Parameters
    ----------
    populations
        Input, hidden ..., output.
    layers
        ``layers[l]`` joins ``populations[l]`` to ``populations[l + 1]``.
    encoder
        Code of each pixel value 0..255, or the input's number of codes for "no spike"; none for an input of events.
    steps
        T, the number of time steps of every window.
    fire_start
        S, in steps, 0..T: a layer starts to fire S steps after the one before it. S = T waits for all spikes.
        Populations with dynamics have a start of their own.
    provenance
        Where the network comes from (data set, seed, versions ...): JSON values; not part of what it computes.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """

    populations: tuple[Population, ...]
    layers: tuple[Layer, ...]
    encoder: tuple[int, ...] = ()
    steps: int
    fire_start: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "fire_start"):
            (value,) = integers(name, [getattr(self, name)])
            object.__setattr__(self, name, value)
        if not 1 <= self.steps <= MAX_STEPS:
            raise FirstspikeError(f"steps is {self.steps}, outside 1..{MAX_STEPS}")
        if not 0 <= self.fire_start <= self.steps:
            raise FirstspikeError(f"fire_start is {self.fire_start}, outside 0..{self.steps}")
        if not self.layers or len(self.populations) != len(self.layers) + 1:
            raise FirstspikeError(f"{len(self.populations)} populations cannot be joined by {len(self.layers)} layers")
        first, *hidden, last = self.populations
        if first.threshold or not 1 <= first.codes <= MAX_STEPS:
            raise FirstspikeError(f"the input population has a kernel of 1..{MAX_STEPS} codes, but no threshold")
        if not first.simultaneous and first.codes != self.steps:
            raise FirstspikeError(
                f"the input's kernel has {first.codes} entries, not one for each of {self.steps} steps"
            )
        for population in hidden:
            kernel, threshold = len(population.kernel), len(population.threshold)
            if kernel != self.steps or (threshold != self.steps and not population.dynamics):
                has = f"kernel has {kernel}" + ("" if population.dynamics else f" and threshold {threshold}")
                raise FirstspikeError(
                    f"population {population.name}: {has} entries, not one for each of {self.steps} steps"
                )
            if not population.fires:
                raise FirstspikeError(f"population {population.name} has no threshold, so that it would never fire")
        for population in self.populations[1:]:
            if population.simultaneous or population.repeat:
                raise FirstspikeError(f"population {population.name}: only the input can be simultaneous or of events")
            if population.dynamics:
                population.dynamics.check(population.name, population.shape[0], self.steps)
        if first.dynamics:
            raise FirstspikeError("the input population has no dynamics")
        if last.kernel or len(last.threshold) not in (0, self.steps):
            raise FirstspikeError(
                f"the output has no kernel, and a threshold for none or all of {self.steps} steps, "
                f"not {len(last.threshold)}"
            )
        if last.spikes_a_step and last.fires:
            raise FirstspikeError("the output is read by its first spike", 'use mode = "once", or no threshold')
        for population in hidden:
            if population.dynamics and population.dynamics.read != "final":
                raise FirstspikeError(f"population {population.name}: only the output is read")
        object.__setattr__(self, "encoder", integers("the encoder table", self.encoder))
        if first.repeat and self.encoder:
            raise FirstspikeError("an input of events has no encoder table", "leave it out")
        levels = 0 if first.repeat else PIXEL_LEVELS
        if len(self.encoder) != levels or not all(0 <= c <= first.codes for c in self.encoder):
            raise FirstspikeError(
                f"the encoder table needs {PIXEL_LEVELS} codes in 0..{first.codes}",
                "give an encoder, or repeat for an input of events",
            )
        for layer, pre, post in zip(self.layers, self.populations, self.populations[1:], strict=False):
            if layer.output_shape(pre.shape) != post.shape:
                raise FirstspikeError(
                    f"layer {layer.name} makes {layer.output_shape(pre.shape)} of {pre.shape}, "
                    f"but the population after it has shape {post.shape}"
                )
            if getattr(layer, "pool", 1) > 1 and post.spikes_a_step:
                raise FirstspikeError(
                    f"layer {layer.name} pools the first spikes of neurons that fire again",
                    'use a stride, average pooling, or mode = "once"',
                )
        if not isinstance(self.layers[-1], Dense):
            raise FirstspikeError(f"the last layer, {self.layers[-1].name}, is not dense")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population."""
        return tuple(population.size for population in self.populations)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of an image without its axes of space: (N,) pixels, or (T, N) counts of events."""
        first = self.populations[0]
        return (self.steps, first.size) if first.repeat else (first.size,)

    @property
    def image_most(self) -> int:
        """The greatest value in an image."""
        return self.populations[0].repeat or PIXEL_LEVELS - 1

    @property
    def shape_name(self) -> str:
        """For example ``784-128-10`` or ``1x28x28-12C5-P2-10``."""
        return "-".join(["x".join(map(str, self.populations[0].shape)), *(layer.label for layer in self.layers)])

    @property
    def readout(self) -> Readout:
        """What decides: the final output membranes, the largest ones over time, or the first output spike."""
        last = self.populations[-1]
        if last.fires:
            return "first_spike"
        return "largest_membrane" if last.dynamics and last.dynamics.read == "largest" else "membrane"

    @property
    def latency_steps(self) -> int:
        """Time steps until the class is known at the latest, counted from the first input step.

        The membranes of the output, layer L, are complete after (L - 1) * S + T. A first-spike readout decides within
        the output's own window, which starts at step L * S and ends S later than the membranes are complete.
        S of a population with dynamics is its own; its membranes are complete when its last test is over.
        """
        last = self.populations[-1]
        tested = last.dynamics is not None or last.fires
        return self.begin(len(self.layers) - (not tested)) + self.steps

    def start(self, population: Population) -> int:
        """S, the step of its input's window in which a population tests first."""
        return population.dynamics.start if population.dynamics else self.fire_start

    def begin(self, population: int) -> int:
        """The step, counted from the first one of the input, at which the window of a population begins."""
        return sum(self.start(each) for each in self.populations[1 : population + 1])

    @property
    def has_tables(self) -> bool:
        """Whether any population after the input has tables, to which ``fire_start`` applies."""
        return any(population.dynamics is None for population in self.populations[1:])

    def arrivals(self, index: int) -> Arrivals:
        """The spikes that come to layer ``index``."""
        before = self.populations[index]
        values = before.kernel[:1] if before.simultaneous else before.kernel
        return Arrivals(values=values, repeat=before.spikes_a_step)

    def ranges(self, index: int) -> Ranges:
        """Bounds of what the neurons after layer ``index``, which have dynamics, hold.

        Raises
        ------
        FirstspikeError
            if they have tables.

        """
        layer, after = self.layers[index], self.populations[index + 1]
        if after.dynamics is None:
            raise FirstspikeError(f"population {after.name} has no dynamics")
        low, high = _weight_sums(layer)
        weights = list(zip(low, high, strict=True))
        channels = after.shape[0]
        return ranges(after.dynamics, self.arrivals(index), weights, layer.bias.tolist()[:channels], self.steps)

    def membrane_range(self, index: int) -> tuple[int, int]:
        """Least and greatest value any membrane of layer ``index`` can take, over all spike patterns and orders."""
        if self.populations[index + 1].dynamics:
            return self.ranges(index).membrane
        layer, largest = self.layers[index], self.arrivals(index).total
        low, high = _weight_sums(layer)
        bias = layer.bias.tolist()
        return (
            min(b + largest * w for b, w in zip(bias, low, strict=True)),
            max(b + largest * w for b, w in zip(bias, high, strict=True)),
        )

    def membrane_bits(self, index: int) -> int:
        """Width of a signed number that holds every membrane and every threshold of layer ``index``."""
        low, high = self.membrane_range(index)
        return signed_bits(low, max(high, self.largest_threshold(index), 0))

    def largest_threshold(self, index: int) -> int:
        """What membranes of layer ``index`` are compared with, at most; 0 if with nothing."""
        after = self.populations[index + 1]
        if after.dynamics and after.dynamics.threshold is not None:
            return int(after.dynamics.threshold.max()) * after.dynamics.cap
        return max(after.threshold, default=0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything the result depends on; names, scales and provenance play no part."""
        content = {
            "populations": [(p.shape, p.kernel, p.threshold, p.simultaneous) for p in self.populations],
            "layers": [layer.geometry for layer in self.layers],
            "encoder": self.encoder,
            "steps": self.steps,
            "fire_start": self.fire_start,
        }
        if self.populations[0].repeat:
            content["repeat"] = self.populations[0].repeat
        stepped = {i: p.dynamics.least() for i, p in enumerate(self.populations) if p.dynamics}
        if stepped:
            content["dynamics"] = {
                str(i): d.settings() | {name: array.shape for name, array in d.arrays()} for i, d in stepped.items()
            }
        sha = hashlib.sha256(network_files.canonical(content).encode())
        for layer in self.layers:
            sha.update(layer.weight.astype("<i8").tobytes())
            sha.update(layer.bias.astype("<i8").tobytes())
        for dynamics in stepped.values():
            for _, array in sorted(dynamics.arrays()):
                sha.update(array.astype("<i8").tobytes())
        return sha.hexdigest()

    def save(self, path: Path | str) -> Path:
        """Write the folder ``path`` (``network.json`` and ``tensors.safetensors``), whole or not at all.

        Raises
        ------
        FirstspikeError
            if the folder cannot be written.

        """
        body = {
            "digest": self.digest,
            "steps": self.steps,
            "fire_start": self.fire_start,
            "encoder": self.encoder,
            "populations": [
                asdict(replace(p, dynamics=None)) | {"dynamics": p.dynamics and p.dynamics.settings()}
                for p in self.populations
            ],
            "layers": [
                {"name": x.name, "weight_bits": x.weight_bits, "scale": x.scale, **x.geometry} for x in self.layers
            ],
            "provenance": dict(self.provenance),
        }
        arrays = {
            f"layers.{i}.{name}": getattr(layer, name)
            for i, layer in enumerate(self.layers)
            for name in ("weight", "bias")
        }
        for i, population in enumerate(self.populations):
            if population.dynamics:
                arrays |= {f"populations.{i}.{name}": array for name, array in population.dynamics.arrays()}
        network_files.write(Path(path), body, arrays)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Network:
        """Read a folder that :meth:`save` wrote; every byte of it is checked.

        Raises
        ------
        FirstspikeError
            if a file is missing, of another format version, or changed since it was written.

        """
        body, arrays = network_files.read(Path(path))
        try:
            network = cls._from_parts(body, arrays)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise FirstspikeError(f"{path} does not hold a whole network ({problem})", network_files.AGAIN) from error
        if network.digest != body["digest"]:
            raise FirstspikeError(
                f"{path}: the network's digest differs from the one in network.json", network_files.AGAIN
            )
        return network

    @classmethod
    def _from_parts(cls, body: Mapping[str, Any], arrays: Mapping[str, IntArray]) -> Network:
        """Of what a folder holds."""
        return cls(
            populations=tuple(_population(i, x, arrays) for i, x in enumerate(body["populations"])),
            layers=tuple(
                LAYER_KINDS[x["kind"]](
                    weight=arrays[f"layers.{i}.weight"],
                    bias=arrays[f"layers.{i}.bias"],
                    **{key: value for key, value in x.items() if key != "kind"},
                )
                for i, x in enumerate(body["layers"])
            ),
            encoder=body["encoder"],
            steps=body["steps"],
            fire_start=body["fire_start"],
            provenance=body["provenance"],
        )


def _population(index: int, body: Mapping[str, Any], arrays: Mapping[str, IntArray]) -> Population:
    """Of its part of ``network.json``; format 2 had no dynamics."""
    settings, begin = body.get("dynamics"), f"populations.{index}."
    own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
    return Population(**{**body, "dynamics": Dynamics.from_parts(settings, own) if settings else None})


def _weight_sums(layer: Layer) -> tuple[list[int], list[int]]:
    """For each row of W the sum of the negative weights, and that of the positive ones, as Python integers."""
    rows = layer.weight.reshape(len(layer.weight), -1)
    return np.minimum(rows, 0).sum(axis=1).tolist(), np.maximum(rows, 0).sum(axis=1).tolist()


def check_images(network: Network, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``images`` as a (batch, inputs) array of bytes; further axes are flattened, one axis is one image.

    For an input of events they are counts, and the shape is (batch, steps, inputs).

    Raises
    ------
    FirstspikeError
        if the values are not bytes or their number does not fit the input.

    """
    first = network.populations[0]
    single = isinstance(images, np.ndarray) and images.ndim < 2
    batch = images.reshape(1, -1) if single else images
    return check_batch(batch, inputs=first.size, steps=network.steps, repeat=first.repeat)


def check_batch(
    images: NDArray[np.uint8], *, inputs: int, steps: int, repeat: int, taker: str = "network"
) -> NDArray[np.uint8]:
    """As :func:`check_images`, of a batch, for what takes so many inputs (``taker``, in messages).

    Raises
    ------
    FirstspikeError
        as there.

    """
    if not isinstance(images, np.ndarray):
        raise FirstspikeError(
            f"images are of type {type(images).__name__}, not an array", "give an array of uint8, shape (B, ...)"
        )
    if images.dtype != np.uint8:
        what = "counts of events" if repeat else "pixels 0..255"
        raise FirstspikeError(f"images have type {images.dtype}, not uint8 ({what})")
    flat = images.reshape(len(images), math.prod(images.shape[1:]))  # -1 would not do for a batch of none
    if not repeat:
        if flat.shape[1] != inputs:
            raise FirstspikeError(f"an image has {flat.shape[1]} pixels; the {taker} takes {inputs}")
        return flat
    if images.ndim < 3 or images.shape[1] != steps or flat.shape[1] != steps * inputs:
        raise FirstspikeError(
            f"events have shape {images.shape}; the {taker} takes (images, {steps} steps, {inputs} inputs)"
        )
    if flat.max(initial=0) > repeat:
        raise FirstspikeError(f"{flat.max()} events of an input in a step; the {taker} takes {repeat}")
    return flat.reshape(len(images), steps, inputs)


def chain(
    layers: Sequence[Layer],
    *,
    input_shape: Sequence[int],
    kernels: Sequence[tuple[int, ...]],
    thresholds: Sequence[tuple[int, ...]],
    encoder: tuple[int, ...] = (),
    steps: int,
    fire_start: int,
    simultaneous: bool = False,
    repeat: int = 0,
    dynamics: Sequence[Dynamics | None] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Network:
    """A network of ``layers``, one after the other; the shapes of the populations follow from them.

    Parameters
    ----------
    layers
        First to last; the last is dense.
    input_shape
        (N,), or (channels, rows, columns) for a convolution.
    kernels
        K of the input and of each hidden population.
    thresholds
        TH of each hidden population and, for the first-spike readout, of the output; () for one with dynamics.
    encoder, steps, fire_start, provenance
        As for :class:`Network`.
    simultaneous
        Direct input.
    repeat
        Of an input of events.
    dynamics
        Of each population after the input, or None for the tables; those that are left out at the end have tables.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """
    after = f"the network has {len(layers)} populations after the input"
    if not isinstance(dynamics, Sequence) or not all(x is None or isinstance(x, Dynamics) for x in dynamics):
        raise FirstspikeError("dynamics are no list of Dynamics", "give one of each population, or None")
    for name, given in (("thresholds", thresholds), ("dynamics", dynamics)):
        if len(given) > len(layers):
            raise FirstspikeError(f"{name} are given for {len(given)} populations; {after}", "leave the others out")
    if len(kernels) != len(layers):
        raise FirstspikeError(
            f"kernels are given for {len(kernels)} populations", f"give {len(layers)}: one of each before a layer"
        )
    shapes = [tuple(input_shape)]
    for layer in layers:
        shapes.append(layer.output_shape(shapes[-1]))
    names = ["input", *(f"hidden{i}" for i in range(1, len(layers))), "output"]
    populations = tuple(
        Population(
            name=name,
            shape=shape,
            kernel=kernels[i] if i < len(layers) else (),
            threshold=thresholds[i - 1] if 0 < i <= len(thresholds) else (),
            simultaneous=simultaneous and i == 0,
            repeat=repeat if i == 0 else 0,
            dynamics=dynamics[i - 1] if 0 < i <= len(dynamics) else None,
        )
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    )
    return Network(
        populations=populations,
        layers=tuple(layers),
        encoder=encoder,
        steps=steps,
        fire_start=fire_start,
        provenance=provenance or {},
    )


def dense(
    weights: Sequence[NDArray[np.integer[Any]]],
    biases: Sequence[NDArray[np.integer[Any]]],
    *,
    weight_bits: int,
    scales: Sequence[float] | None = None,
    **rest: Any,
) -> Network:
    """A fully connected network from plain arrays.

    Parameters
    ----------
    weights, biases
        Of each layer, shapes (outputs, inputs) and (outputs,).
    weight_bits
        Of every layer.
    scales
        Real value of a unit of each layer's membrane.
    rest
        ``kernels``, ``thresholds``, ``encoder``, ``steps``, ``fire_start``, ``simultaneous``, ``repeat``,
        ``dynamics``, ``provenance`` of :func:`chain`.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """
    if not weights or len(biases) != len(weights):
        raise FirstspikeError(
            f"weights are given for {len(weights)} layers, biases for {len(biases)}", "give both for each layer"
        )
    layers = [
        Dense(
            name=f"layer{i}",
            weight=np.asarray(w),
            bias=np.asarray(b),
            weight_bits=weight_bits,
            scale=1.0 if scales is None else float(scales[i]),
        )
        for i, (w, b) in enumerate(zip(weights, biases, strict=True))
    ]
    return chain(layers, input_shape=layers[0].weight.shape[1:], **rest)
