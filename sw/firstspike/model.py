"""The integer TTFS network: the only thing that crosses a border between training, golden model, images and RTL.

A :class:`Network` is frozen and checked when made; what it computes is defined in ``docs/numerics.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from firstspike.artefact import new_folder
from firstspike.errors import FirstspikeError

FORMAT = 1
PIXEL_LEVELS = 256

Readout = Literal["membrane", "first_spike"]
IntArray = NDArray[np.int64]


def signed_bits(low: int, high: int) -> int:
    """Bits of the narrowest two's complement number that holds ``low`` and ``high``."""
    return max((x if x >= 0 else ~x).bit_length() for x in (low, high)) + 1


def unsigned_bits(high: int) -> int:
    """Bits of the narrowest unsigned number that holds ``high`` (at least 1)."""
    return max(1, high.bit_length())


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons that share one window and fire at most once in it.

    Parameters
    ----------
    name
        For reports and file names.
    size
        N, the number of neurons (>= 1).
    kernel
        K, what a spike with code k is worth to the next layer: non-negative, non-increasing. Empty for the output.
        For a hidden population the code is the time step; its length is T.
    threshold
        TH, one threshold a step: >= 1, non-increasing, length T. Empty for the input, and for an output that is read
        by its membranes.
    simultaneous
        Direct input: the code is a value, not a time; all spikes arrive before the first step.

    Raises
    ------
    FirstspikeError
        if a table is out of range or rises.

    """

    name: str
    size: int
    kernel: tuple[int, ...] = ()
    threshold: tuple[int, ...] = ()
    simultaneous: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise FirstspikeError(f"population {self.name}: size is {self.size}, not >= 1")
        for table, values, least in (("kernel", self.kernel, 0), ("threshold", self.threshold, 1)):
            for k, value in enumerate(values):
                if value < least:
                    raise FirstspikeError(f"population {self.name}: {table}[{k}] is {value}, not >= {least}")
                if k and value > values[k - 1]:
                    raise FirstspikeError(
                        f"population {self.name}: {table}[{k}] is {value}, above {table}[{k - 1}] = {values[k - 1]}"
                    )

    @property
    def codes(self) -> int:
        """How many codes a spike of this population can carry; also the code that stands for "no spike"."""
        return len(self.kernel)

    def arrival(self, code: int) -> int:
        """The time step in which a spike with this code reaches the next layer."""
        return 0 if self.simultaneous else code


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Weights and biases between two populations.

    Parameters
    ----------
    weight
        W, integers, shape (outputs, inputs), in the range of signed ``weight_bits``.
    bias
        b, integers, shape (outputs,).
    weight_bits
        Width of a weight in two's complement (2..16).
    scale
        The real value of one unit of the membrane. It plays no part in the integer network.

    Raises
    ------
    FirstspikeError
        if a shape is wrong or a value is out of range; the message names layer, row, column, value and range.

    """

    name: str
    weight: IntArray
    bias: IntArray
    weight_bits: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 16:
            raise FirstspikeError(f"layer {self.name}: weight_bits is {self.weight_bits}, outside 2..16")
        for name in ("weight", "bias"):
            values = np.asarray(getattr(self, name))
            if not np.issubdtype(values.dtype, np.integer):
                raise FirstspikeError(f"layer {self.name}: {name} has type {values.dtype}, not an integer type")
            values = values.astype(np.int64)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise FirstspikeError(
                f"layer {self.name}: weight has shape {self.weight.shape} and bias {self.bias.shape}, "
                "not (outputs, inputs) and (outputs,)"
            )
        low, high = -(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1
        outside = np.argwhere((self.weight < low) | (self.weight > high))
        if len(outside):
            row, column = outside[0]
            raise FirstspikeError(
                f"layer {self.name}: weight[{row}][{column}] is {self.weight[row, column]}, "
                f"outside [{low}, {high}] of signed({self.weight_bits})"
            )
        if np.abs(self.bias).max(initial=0) >= 1 << 62:
            raise FirstspikeError(f"layer {self.name}: a bias does not fit 63 bits")

    @property
    def inputs(self) -> int:
        """Neurons of the population before."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Neurons of the population after."""
        return int(self.weight.shape[0])


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
        if self.steps < 1:
            raise FirstspikeError(f"steps is {self.steps}, not >= 1")
        if not 0 <= self.fire_start <= self.steps:
            raise FirstspikeError(f"fire_start is {self.fire_start}, outside 0..{self.steps}")
        if not self.layers or len(self.populations) != len(self.layers) + 1:
            raise FirstspikeError(f"{len(self.populations)} populations cannot be joined by {len(self.layers)} layers")
        first, *hidden, last = self.populations
        if first.threshold or not first.kernel:
            raise FirstspikeError("the input population has a kernel and an encoder table, but no threshold")
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
        if len(self.encoder) != PIXEL_LEVELS or not all(0 <= c <= first.codes for c in self.encoder):
            raise FirstspikeError(f"the encoder table needs {PIXEL_LEVELS} codes in 0..{first.codes}")
        for layer, pre, post in zip(self.layers, self.populations, self.populations[1:], strict=False):
            if (layer.inputs, layer.outputs) != (pre.size, post.size):
                raise FirstspikeError(
                    f"layer {layer.name}: weight has shape {layer.weight.shape}, "
                    f"but joins {pre.size} to {post.size} neurons"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population."""
        return tuple(population.size for population in self.populations)

    @property
    def shape_name(self) -> str:
        """For example ``784-128-10``."""
        return "-".join(map(str, self.sizes))

    @property
    def readout(self) -> Readout:
        """``membrane``: the class is the argmax of the output membranes. ``first_spike``: the earliest output spike."""
        return "first_spike" if self.populations[-1].threshold else "membrane"

    @property
    def latency_steps(self) -> int:
        """Time steps from the first input step to the last output step: (L - 1) * S + T."""
        return (len(self.layers) - 1) * self.fire_start + self.steps

    def membrane_range(self, index: int) -> tuple[int, int]:
        """Least and greatest value any membrane of layer ``index`` can take, over all spike patterns and orders."""
        layer, largest = self.layers[index], self.populations[index].kernel[0]
        low = layer.bias + largest * np.minimum(layer.weight, 0).sum(axis=1)
        high = layer.bias + largest * np.maximum(layer.weight, 0).sum(axis=1)
        return int(low.min()), int(high.max())

    def membrane_bits(self, index: int) -> int:
        """Width of a signed number that holds every membrane and every threshold of layer ``index``."""
        low, high = self.membrane_range(index)
        return signed_bits(low, max(high, *self.populations[index + 1].threshold, 0))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything the result depends on; names, scales and provenance play no part."""
        content = {
            "populations": [(p.size, p.kernel, p.threshold, p.simultaneous) for p in self.populations],
            "encoder": self.encoder,
            "steps": self.steps,
            "fire_start": self.fire_start,
        }
        sha = hashlib.sha256(_canonical(content).encode())
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
        path = Path(path)
        tensors = safetensors.numpy.save(
            {
                f"layers.{i}.{name}": np.ascontiguousarray(getattr(layer, name), np.int64)
                for i, layer in enumerate(self.layers)
                for name in ("weight", "bias")
            }
        )
        body = {
            "digest": self.digest,
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            "steps": self.steps,
            "fire_start": self.fire_start,
            "encoder": self.encoder,
            "populations": [
                {
                    "name": p.name,
                    "size": p.size,
                    "kernel": p.kernel,
                    "threshold": p.threshold,
                    "simultaneous": p.simultaneous,
                }
                for p in self.populations
            ],
            "layers": [{"name": x.name, "weight_bits": x.weight_bits, "scale": x.scale} for x in self.layers],
            "provenance": dict(self.provenance),
        }
        document = {"format": FORMAT, "sha256": _sha256(_canonical(body)), "network": body}
        with new_folder(path) as folder:
            (folder / "network.json").write_text(_pretty(document))
            (folder / "tensors.safetensors").write_bytes(tensors)
        return path

    @classmethod
    def load(cls, path: Path | str) -> Network:
        """Read a folder that :meth:`save` wrote; every byte of it is checked.

        Raises
        ------
        FirstspikeError
            if a file is missing, of another format version, or changed since it was written.

        """
        path = Path(path)
        again = "train or export the network again"
        try:
            text = (path / "network.json").read_text()
            tensors = (path / "tensors.safetensors").read_bytes()
        except (OSError, UnicodeDecodeError) as error:
            raise FirstspikeError(f"{path} is not a network folder: {error}", again) from error
        try:
            document = json.loads(text)
            version = document["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise FirstspikeError(f"{path}/network.json is damaged", again) from error
        if version != FORMAT:
            raise FirstspikeError(
                f"{path} has network format {version!r}; this version reads format {FORMAT}",
                "use the version of firstspike that wrote it, or export the network again",
            )
        body = document.get("network")
        if (
            not isinstance(body, dict)
            or document.get("sha256") != _sha256(_canonical(body))
            or text != _pretty(document)
        ):
            raise FirstspikeError(f"{path}/network.json was changed since it was written (hash differs)", again)
        if body["tensors_sha256"] != hashlib.sha256(tensors).hexdigest():
            raise FirstspikeError(f"{path}/tensors.safetensors was changed since it was written (hash differs)", again)
        arrays = safetensors.numpy.load(tensors)
        network = cls(
            populations=tuple(
                Population(
                    name=p["name"],
                    size=p["size"],
                    kernel=tuple(p["kernel"]),
                    threshold=tuple(p["threshold"]),
                    simultaneous=p["simultaneous"],
                )
                for p in body["populations"]
            ),
            layers=tuple(
                Layer(weight=arrays[f"layers.{i}.weight"], bias=arrays[f"layers.{i}.bias"], **x)
                for i, x in enumerate(body["layers"])
            ),
            encoder=tuple(body["encoder"]),
            steps=body["steps"],
            fire_start=body["fire_start"],
            provenance=body["provenance"],
        )
        if network.digest != body["digest"]:
            raise FirstspikeError(f"{path}: the network's digest differs from the one in network.json", again)
        return network


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _pretty(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_images(network: Network, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``images`` as a (batch, inputs) array of bytes; further axes are flattened.

    Raises
    ------
    FirstspikeError
        if the values are not bytes or their number does not fit the input.

    """
    if images.dtype != np.uint8:
        raise FirstspikeError(f"images have type {images.dtype}, not uint8 (pixels 0..255)")
    flat = images.reshape(len(images), -1) if images.ndim > 1 else images.reshape(1, -1)
    if flat.shape[1] != network.populations[0].size:
        raise FirstspikeError(f"an image has {flat.shape[1]} pixels; the network takes {network.populations[0].size}")
    return flat


def dense(
    weights: Sequence[NDArray[np.integer[Any]]],
    biases: Sequence[NDArray[np.integer[Any]]],
    *,
    weight_bits: int,
    kernels: Sequence[tuple[int, ...]],
    thresholds: Sequence[tuple[int, ...]],
    encoder: tuple[int, ...],
    steps: int,
    fire_start: int,
    simultaneous: bool = False,
    scales: Sequence[float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Network:
    """A fully connected network from plain arrays.

    Parameters
    ----------
    weights, biases
        Of each layer, shapes (outputs, inputs) and (outputs,).
    weight_bits
        Of every layer.
    kernels
        K of the input and of each hidden population.
    thresholds
        TH of each hidden population and, for the first-spike readout, of the output.
    encoder, steps, fire_start, provenance
        As for :class:`Network`.
    simultaneous
        Direct input.
    scales
        Real value of a unit of each layer's membrane.

    Raises
    ------
    FirstspikeError
        if parts do not fit each other.

    """
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    names = ["input", *(f"hidden{i}" for i in range(1, len(weights))), "output"]
    populations = tuple(
        Population(
            name=name,
            size=int(size),
            kernel=tuple(kernels[i]) if i < len(weights) else (),
            threshold=tuple(thresholds[i - 1]) if 0 < i <= len(thresholds) else (),
            simultaneous=simultaneous and i == 0,
        )
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    )
    layers = tuple(
        Layer(
            name=f"layer{i}",
            weight=np.asarray(w),
            bias=np.asarray(b),
            weight_bits=weight_bits,
            scale=1.0 if scales is None else float(scales[i]),
        )
        for i, (w, b) in enumerate(zip(weights, biases, strict=True))
    )
    return Network(
        populations=populations,
        layers=layers,
        encoder=tuple(encoder),
        steps=steps,
        fire_start=fire_start,
        provenance=provenance or {},
    )
