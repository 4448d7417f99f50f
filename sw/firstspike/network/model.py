"""The integer TTFS network: the only thing that crosses a border between training, golden model, images and RTL.

A :class:`Network` is frozen and checked when made; what it computes is defined in ``docs/numerics.md``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network import files as network_files
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

__all__ = [
    "MAX_STEPS",
    "PIXEL_LEVELS",
    "Conv2d",
    "Dense",
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

Readout = Literal["membrane", "first_spike"]


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
        Code of each pixel value 0..255, or the input's number of codes for "no spike".
    steps
        T, the number of time steps of every window.
    fire_start
        S, in steps, 0..T: a layer starts to fire S steps after the one before it. S = T waits for all spikes.
    provenance
        Where the network comes from (data set, seed, versions ...): JSON values; not part of what it computes.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """

    populations: tuple[Population, ...]
    layers: tuple[Layer, ...]
    encoder: tuple[int, ...]
    steps: int
    fire_start: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
            if not len(population.kernel) == len(population.threshold) == self.steps:
                raise FirstspikeError(
                    f"population {population.name}: kernel has {len(population.kernel)} and threshold "
                    f"{len(population.threshold)} entries, not one for each of {self.steps} steps"
                )
        for population in self.populations[1:]:
            if population.simultaneous:
                raise FirstspikeError(f"population {population.name}: only the input can be simultaneous")
        if last.kernel or len(last.threshold) not in (0, self.steps):
            raise FirstspikeError(
                f"the output has no kernel, and a threshold for none or all of {self.steps} steps, "
                f"not {len(last.threshold)}"
            )
        object.__setattr__(self, "encoder", integers("the encoder table", self.encoder))
        if len(self.encoder) != PIXEL_LEVELS or not all(0 <= c <= first.codes for c in self.encoder):
            raise FirstspikeError(f"the encoder table needs {PIXEL_LEVELS} codes in 0..{first.codes}")
        for layer, pre, post in zip(self.layers, self.populations, self.populations[1:], strict=False):
            if layer.output_shape(pre.shape) != post.shape:
                raise FirstspikeError(
                    f"layer {layer.name} makes {layer.output_shape(pre.shape)} of {pre.shape}, "
                    f"but the population after it has shape {post.shape}"
                )
        if not isinstance(self.layers[-1], Dense):
            raise FirstspikeError(f"the last layer, {self.layers[-1].name}, is not dense")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population."""
        return tuple(population.size for population in self.populations)

    @property
    def shape_name(self) -> str:
        """For example ``784-128-10`` or ``1x28x28-12C5-P2-10``."""
        return "-".join(["x".join(map(str, self.populations[0].shape)), *(layer.label for layer in self.layers)])

    @property
    def readout(self) -> Readout:
        """``membrane``: the class is the argmax of the output membranes. ``first_spike``: the earliest output spike."""
        return "first_spike" if self.populations[-1].threshold else "membrane"

    @property
    def latency_steps(self) -> int:
        """Time steps until the class is known at the latest, counted from the first input step.

        The membranes of the output, layer L, are complete after (L - 1) * S + T. A first-spike readout decides within
        the output's own window, which starts at step L * S and ends S later than the membranes are complete.
        """
        windows_before = len(self.layers) - (self.readout == "membrane")
        return windows_before * self.fire_start + self.steps

    def membrane_range(self, index: int) -> tuple[int, int]:
        """Least and greatest value any membrane of layer ``index`` can take, over all spike patterns and orders."""
        layer, largest = self.layers[index], self.populations[index].kernel[0]
        # Python integers from here on: no product overflows, whatever the kernel.
        rows = layer.weight.reshape(len(layer.weight), -1)
        low = np.minimum(rows, 0).sum(axis=1).tolist()
        high = np.maximum(rows, 0).sum(axis=1).tolist()
        bias = layer.bias.tolist()
        return (
            min(b + largest * w for b, w in zip(bias, low, strict=True)),
            max(b + largest * w for b, w in zip(bias, high, strict=True)),
        )

    def membrane_bits(self, index: int) -> int:
        """Width of a signed number that holds every membrane and every threshold of layer ``index``."""
        low, high = self.membrane_range(index)
        return signed_bits(low, max(high, *self.populations[index + 1].threshold, 0))

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
        sha = hashlib.sha256(network_files.canonical(content).encode())
        for layer in self.layers:
            sha.update(layer.weight.astype("<i8").tobytes())
            sha.update(layer.bias.astype("<i8").tobytes())
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
            "populations": [asdict(population) for population in self.populations],
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
        network = cls(
            populations=tuple(Population(**population) for population in body["populations"]),
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
        if network.digest != body["digest"]:
            raise FirstspikeError(
                f"{path}: the network's digest differs from the one in network.json", network_files.AGAIN
            )
        return network


def check_images(network: Network, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``images`` as a (batch, inputs) array of bytes; further axes are flattened, one axis is one image.

    Raises
    ------
    FirstspikeError
        if the values are not bytes or their number does not fit the input.

    """
    if images.dtype != np.uint8:
        raise FirstspikeError(f"images have type {images.dtype}, not uint8 (pixels 0..255)")
    batch = images if images.ndim > 1 else images.reshape(1, -1)
    flat = batch.reshape(len(batch), math.prod(batch.shape[1:]))  # -1 would not do for a batch of none
    if flat.shape[1] != network.populations[0].size:
        raise FirstspikeError(f"an image has {flat.shape[1]} pixels; the network takes {network.populations[0].size}")
    return flat


def chain(
    layers: Sequence[Layer],
    *,
    input_shape: Sequence[int],
    kernels: Sequence[tuple[int, ...]],
    thresholds: Sequence[tuple[int, ...]],
    encoder: tuple[int, ...],
    steps: int,
    fire_start: int,
    simultaneous: bool = False,
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
        TH of each hidden population and, for the first-spike readout, of the output.
    encoder, steps, fire_start, provenance
        As for :class:`Network`.
    simultaneous
        Direct input.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """
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
        ``kernels``, ``thresholds``, ``encoder``, ``steps``, ``fire_start``, ``simultaneous``, ``provenance`` of
        :func:`chain`.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """
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
