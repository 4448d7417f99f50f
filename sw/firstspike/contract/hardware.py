"""What is fixed when hardware is generated: shapes, widths, lanes; and every memory that follows from them.

A :class:`Hardware` is the contract between a network and a generated core. Memory images, RTL, loader and manifest all
take depths, widths and order from here. A network fits the hardware or is refused (:meth:`Hardware.check`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from firstspike.errors import FirstspikeError
from firstspike.network.architecture import places
from firstspike.network.model import PIXEL_LEVELS, Conv2d, IntArray, Layer, Network, Readout, unsigned_bits

WORD_BITS = 32
PIXELS_PER_WORD = WORD_BITS // 8
INDEX_BITS = 16  # of an event word
DIGEST_WORDS = 8
#: An event word names 16 populations, the shape register counts to 15.
MAX_LAYERS = 15
MAX_MEMBRANE_BITS = 54  # signed, below 2**53: what a float64 holds exactly

InputKind = Literal["pixels", "events"]
#: How a hidden layer finds its spikes: a search once a neuron (S = T only), or a test of every step.
FireUnit = Literal["search", "stepped"]
#: How a weight is multiplied by K: by a multiplier, or by a shift (K all powers of two).
Product = Literal["multiply", "shift"]
_Choice = TypeVar("_Choice")
MemoryRole = Literal["digest", "encoder", "weight", "bias", "kernel", "threshold"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory: ``depth`` rows of ``row_bits`` bits, loaded in words of 32 bits, lowest word first.

    Parameters
    ----------
    index
        Number of the memory in the load register.
    fields, field_bits
        A row is ``fields`` numbers of ``field_bits`` bits side by side, field 0 in the lowest bits.
    signed
        Whether a field is in two's complement.

    """

    name: str
    index: int
    role: MemoryRole
    layer: int | None
    depth: int
    fields: int
    field_bits: int
    signed: bool

    @property
    def data_bits(self) -> int:
        """Bits of a row that carry data."""
        return self.fields * self.field_bits

    @property
    def words(self) -> int:
        """32-bit words in a row."""
        return -(-self.data_bits // WORD_BITS)

    @property
    def row_bits(self) -> int:
        """Width of the memory: a row longer than a word is filled up to whole words with zeros."""
        return self.data_bits if self.words == 1 else self.words * WORD_BITS


#: Rows of a bank of membranes up to which both banks lie in one look-up memory; more are for block RAM.
SHALLOW_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer as generated.

    Parameters
    ----------
    kind
        ``dense`` or ``conv2d``.
    input_shape
        Of the population before.
    channels
        Rows of the weights: output neurons of a dense layer, output channels of a convolution.
    kernel, stride, padding, pool
        Of a convolution; a dense layer is one of 1 x 1 at a single place.
    lanes
        Membranes updated in one clock, 1..channels. They lie side by side in the channels.
    fire, fire_lanes
        How thresholds are tested, and how many neurons a clock.
    product
        How a weight is multiplied by a kernel entry.
    input_codes
        Codes that an arriving spike can carry (depth of the kernel table).
    weight_bits, kernel_bits, membrane_bits
        Widths of a signed weight, an unsigned kernel entry, and a signed membrane (also of bias and threshold).
    fires
        Whether the layer compares with thresholds: every hidden layer, and the output with the first-spike readout.

    """

    kind: str
    input_shape: tuple[int, ...]
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = 0
    pool: int = 1
    lanes: int
    fire: FireUnit = "stepped"
    fire_lanes: int = 1
    product: Product = "multiply"
    input_codes: int
    weight_bits: int
    kernel_bits: int
    membrane_bits: int
    fires: bool

    def __post_init__(self) -> None:
        for name in ("input_shape", "kernel"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 1 <= self.lanes <= self.channels:
            what = "neurons" if self.kind == "dense" else "channels"
            raise FirstspikeError(f"{self.lanes} lanes for {self.channels} {what}", f"use 1..{self.channels} lanes")
        if not 1 <= self.fire_lanes <= self.lanes:
            raise FirstspikeError(f"fire_lanes is {self.fire_lanes}, outside 1..{self.lanes}")
        for name, kinds in (("fire", FireUnit), ("product", Product)):
            if getattr(self, name) not in get_args(kinds):
                raise FirstspikeError(f"unknown {name} {getattr(self, name)!r}", f"use {' or '.join(get_args(kinds))}")
        if self.membrane_bits > MAX_MEMBRANE_BITS:
            raise FirstspikeError(
                f"membranes of {self.membrane_bits} bits; the golden model is exact up to {MAX_MEMBRANE_BITS}",
                "use fewer weight or kernel bits, or lower thresholds",
            )
        if self.kernel_bits > WORD_BITS:
            raise FirstspikeError(f"kernel entries of {self.kernel_bits} bits; a word holds {WORD_BITS}")

    @property
    def inputs(self) -> int:
        """Neurons of the population before."""
        return math.prod(self.input_shape)

    @property
    def map(self) -> tuple[int, int, int]:
        """Channels, rows and columns that the layer sees: those before a convolution, (inputs, 1, 1) if it is dense."""
        if self.kind == "dense":
            return self.inputs, 1, 1
        channels, rows, columns = self.input_shape
        return channels, rows, columns

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of membranes that are used; those that fill no pooling window are left out."""
        rows, columns = (
            places(size, kernel, stride=self.stride, padding=self.padding) // self.pool * self.pool
            for size, kernel in zip(self.map[1:], self.kernel, strict=True)
        )
        return rows, columns

    @property
    def places(self) -> int:
        """Membranes of a channel."""
        return math.prod(self.grid)

    @property
    def output_map(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the population after; (outputs, 1, 1) of a dense layer."""
        rows, columns = self.grid
        return self.channels, rows // self.pool, columns // self.pool

    @property
    def outputs(self) -> int:
        """Neurons of the population after."""
        return math.prod(self.output_map)

    @property
    def groups(self) -> int:
        """Clocks to update every channel at one place: ceil(channels / lanes).

        Channel j is lane j % lanes of group j // lanes.
        """
        return -(-self.channels // self.lanes)

    @property
    def taps(self) -> int:
        """Weights of a channel: inputs of a dense layer, channels * rows * columns of a convolution's kernel."""
        return self.map[0] * math.prod(self.kernel)

    @property
    def membrane_rows(self) -> int:
        """Rows of ``lanes`` membranes; place p of group g is row ``g * places + p``."""
        return self.groups * self.places

    @property
    def shallow(self) -> bool:
        """Whether the membranes' banks have so few rows that both lie in one look-up memory."""
        return self.membrane_rows <= SHALLOW_ROWS

    @property
    def group_slices(self) -> tuple[int, ...]:
        """For each group the clocks that a row of it is tested in, ``fire_lanes`` neurons a clock."""
        last = self.channels - (self.groups - 1) * self.lanes
        return tuple(-(-n // self.fire_lanes) for n in (self.lanes,) * (self.groups - 1) + (last,))

    @property
    def slice_channels(self) -> IntArray:
        """Channels of each slice of a place, group by group, ``channels`` where there is none; (slices, fire_lanes)."""
        rows = []
        for group, slices in enumerate(self.group_slices):
            lane = np.arange(slices * self.fire_lanes).reshape(slices, self.fire_lanes)
            channel = group * self.lanes + lane
            rows.append(np.where((lane < self.lanes) & (channel < self.channels), channel, self.channels))
        return np.concatenate(rows)

    @property
    def windows(self) -> int:
        """Pooling windows of a channel: its neurons."""
        return self.places // self.pool**2

    @property
    def slices(self) -> int:
        """Slices of all neurons."""
        return self.windows * sum(self.group_slices)

    @property
    def pass_clocks(self) -> int:
        """Clocks to test every neuron once: a slice takes as many as its window has places."""
        return self.slices * self.pool**2

    @cached_property
    def visits(self) -> IntArray:
        """Places of the kernel at which each input neuron reaches a membrane, shape (inputs,)."""
        cover = [np.array([len(taps) for taps in self.reach(axis)]) for axis in (0, 1)]
        return np.tile(np.multiply.outer(*cover).ravel(), self.map[0]).astype(np.int64)

    def reach(self, axis: int) -> list[list[tuple[int, int]]]:
        """For each input row (axis 0) or column (axis 1) the (place, tap) pairs it reaches, in order of place."""
        size, kernel, used = self.map[1 + axis], self.kernel[axis], self.grid[axis]
        pairs = []
        for position in range(size):
            taps = [(place, position + self.padding - place * self.stride) for place in range(used)]
            pairs.append([(place, tap) for place, tap in taps if 0 <= tap < kernel])
        return pairs


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A core as generated.

    Parameters
    ----------
    steps, fire_start
        T and S of the network (steps).
    readout
        Rule for the class.
    simultaneous
        Direct input.
    layers
        One shape for each layer.
    input
        ``pixels``: four bytes to a word of the input stream, encoded in the core. ``events``: spikes come encoded.
    monitor
        Whether the core has the event-monitor stream.

    Raises
    ------
    FirstspikeError
        if a value is outside what can be generated.

    """

    steps: int
    fire_start: int
    readout: Readout
    simultaneous: bool
    layers: tuple[LayerShape, ...]
    input: InputKind = "pixels"
    monitor: bool = True

    def __post_init__(self) -> None:
        if self.input not in ("pixels", "events"):
            raise FirstspikeError(f"unknown input {self.input!r}", "use 'pixels' or 'events'")
        if self.layers[-1].membrane_bits > WORD_BITS:
            raise FirstspikeError(
                f"output membranes have {self.layers[-1].membrane_bits} bits; a result word holds {WORD_BITS}",
                "use fewer weight or kernel bits in the last layer",
            )
        if len(self.layers) > MAX_LAYERS:
            raise FirstspikeError(f"{len(self.layers)} layers; the core has at most {MAX_LAYERS}")
        for layer, after in zip(self.layers, self.layers[1:], strict=False):
            if layer.outputs != after.inputs:
                raise FirstspikeError(f"a layer of {layer.outputs} outputs before one of {after.inputs} inputs")
        if any(layer.fire == "search" for layer in self.layers[:-1]) and self.fire_start < self.steps:
            raise FirstspikeError(
                f"a search needs complete membranes, but firing starts at step {self.fire_start} of {self.steps}",
                "use fire = 'stepped'",
            )
        if self.layers[-1].kind != "dense":
            raise FirstspikeError("the last layer is not dense")
        for p in range(len(self.layers)):
            if self.index_bits(p) > INDEX_BITS:
                raise FirstspikeError(
                    f"an index of population {p} takes {self.index_bits(p)} bits; an event word holds {INDEX_BITS}"
                )
        if self.layers[-1].outputs > 1 << INDEX_BITS:
            raise FirstspikeError(f"{self.layers[-1].outputs} outputs; a result word holds {INDEX_BITS} index bits")
        if max(self.steps, self.layers[0].input_codes) > 1 << 10:
            raise FirstspikeError("more than 1024 steps; an event word holds 10 step bits")

    @classmethod
    def for_network(
        cls,
        network: Network,
        *,
        lanes: int | Sequence[int] | None = None,
        fire: FireUnit | Sequence[FireUnit] | None = None,
        product: Product | Sequence[Product] | None = None,
        test_clocks: int | None = None,
        input: InputKind = "pixels",
        monitor: bool = True,
        spare_membrane_bits: int = 0,
    ) -> Hardware:
        """The hardware that holds ``network``.

        Parameters
        ----------
        network
            Gives the shapes and the least widths.
        lanes
            For each layer, or one number for all, then at most the layer's channels. Default 64.
        fire
            For each layer or for all; default is the search where S = T. Of no effect in the output layer.
        product
            For each layer or for all; default is to shift where every kernel entry is a power of two.
        test_clocks
            A search tests as few neurons a clock as test all within so many clocks. Default: as many as an image of
            pixels takes to come in, so that a search never limits the throughput.
        input, monitor
            As for the class.
        spare_membrane_bits
            Added to every membrane, so that other networks of the same shape fit later.

        Raises
        ------
        FirstspikeError
            if a setting does not fit the network.

        """
        layers = network.layers
        if lanes is None:
            lanes = 64
        chosen = [min(lanes, len(x.weight)) for x in layers] if isinstance(lanes, int) else list(lanes)
        if len(chosen) != len(layers):
            raise FirstspikeError(f"lanes are given for {len(chosen)} layers; the network has {len(layers)}")
        early = network.fire_start < network.steps
        best: FireUnit = "stepped" if early else "search"
        fires = _for_each("fire", fire, [best] * len(layers))
        products = _for_each("product", product, [_best_product(p.kernel) for p in network.populations[:-1]])
        budget = test_clocks or -(-network.sizes[0] // PIXELS_PER_WORD)
        shapes = []
        for i, layer in enumerate(layers):
            last = i == len(layers) - 1
            shape = LayerShape(
                **_geometry(layer, network.populations[i].shape),
                lanes=chosen[i],
                fire="stepped" if last else fires[i],
                fire_lanes=chosen[i] if not last and fires[i] == "stepped" else 1,
                product=products[i],
                input_codes=network.populations[i].codes,
                weight_bits=layer.weight_bits,
                kernel_bits=unsigned_bits(network.populations[i].kernel[0]),
                membrane_bits=network.membrane_bits(i) + spare_membrane_bits,
                fires=bool(network.populations[i + 1].threshold),
            )
            while shape.fire == "search" and shape.pass_clocks > budget and shape.fire_lanes < shape.lanes:
                shape = replace(shape, fire_lanes=shape.fire_lanes + 1)
            shapes.append(shape)
        hardware = cls(
            steps=network.steps,
            fire_start=network.fire_start,
            readout=network.readout,
            simultaneous=network.populations[0].simultaneous,
            layers=tuple(shapes),
            input=input,
            monitor=monitor,
        )
        hardware.check(network)
        return hardware

    def check(self, network: Network) -> None:
        """Refuse a network that this hardware would not compute exactly.

        Raises
        ------
        FirstspikeError
            naming the first property that differs or does not fit.

        """
        remedy = "generate hardware for this network, or train one of the same shape and widths"
        rules = {
            "steps": network.steps,
            "fire_start": network.fire_start,
            "readout": network.readout,
            "simultaneous": network.populations[0].simultaneous,
        }
        for name in rules:
            mine, its = getattr(self, name), rules[name]
            if mine != its:
                raise FirstspikeError(f"the network has {name} {its}, the hardware {mine}", remedy)
        if len(self.layers) != len(network.layers):
            raise FirstspikeError(
                f"the network has {len(network.layers)} layers, the hardware {len(self.layers)}", remedy
            )
        for i, (shape, layer) in enumerate(zip(self.layers, network.layers, strict=True)):
            before = network.populations[i]
            wanted = _geometry(layer, before.shape) | {"input_codes": before.codes}
            for name, value in wanted.items():
                if getattr(shape, name) != value:
                    raise FirstspikeError(
                        f"layer {i}: the network has {name} {value}, the hardware {getattr(shape, name)}", remedy
                    )
            needs = {
                "weight_bits": layer.weight_bits,
                "kernel_bits": unsigned_bits(before.kernel[0]),
                "membrane_bits": network.membrane_bits(i),
            }
            for name, value in needs.items():
                if value > getattr(shape, name):
                    raise FirstspikeError(
                        f"layer {i}: the network needs {name} {value}, the hardware has {getattr(shape, name)}", remedy
                    )
            if shape.product == "shift" and _best_product(before.kernel) != "shift":
                raise FirstspikeError(
                    f"layer {i}: the hardware shifts, but not all of {before.name}'s kernel {before.kernel} are powers "
                    "of two",
                    "generate hardware with product = 'multiply'",
                )

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each population, input first."""
        return (*(layer.input_shape for layer in self.layers), (self.layers[-1].outputs,))

    @property
    def frame_words(self) -> int:
        """Words of the longest image on the input stream: four pixels each, or an event each."""
        return -(-self.sizes[0] // PIXELS_PER_WORD) if self.input == "pixels" else self.sizes[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population, input first."""
        return (self.layers[0].inputs, *(layer.outputs for layer in self.layers))

    def strides(self, population: int) -> tuple[int, int, int]:
        """What a channel, a row and a column add to the index in an event of a spiking population.

        Before a convolution channel, row and column stand side by side in fields, so that nothing divides; before a
        dense layer the index is the neuron's number.
        """
        after = self.layers[population]
        if after.kind == "dense":
            _, rows, columns = self.layers[population - 1].output_map if population else after.map
            return rows * columns, columns, 1
        row_bits, column_bits = ((size - 1).bit_length() for size in after.map[1:])
        return 1 << row_bits + column_bits, 1 << column_bits, 1

    def index_bits(self, population: int) -> int:
        """Bits of the index in an event of a spiking population, at least one."""
        return unsigned_bits(int(self.indices(population)[-1]))

    def indices(self, population: int) -> IntArray:
        """Index in an event of each neuron of a spiking population, shape (N,), rising."""
        after = self.layers[population]
        shape = self.layers[population - 1].output_map if population and after.kind == "dense" else after.map
        axes = np.ix_(*(np.arange(size) * stride for size, stride in zip(shape, self.strides(population), strict=True)))
        return np.asarray(sum(axes), np.int64).ravel()

    @property
    def ordered(self) -> tuple[bool, ...]:
        """For each spiking population, whether it must send its spikes in order, a watermark after every step.

        Needed where the layer that receives them tests thresholds before the window is over (S < T).
        """
        early = self.fire_start < self.steps
        return tuple(
            early and layer.fires and not (i == 0 and self.simultaneous) for i, layer in enumerate(self.layers)
        )

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """Every memory of the core, in the order of their load numbers.

        Weights: row ``group * taps + i`` holds, in field ``lane``, the weight of tap ``i`` of channel ``group * lanes +
        lane``: of input ``i``, or of a convolution's (input channel, row, column), the last fastest. Bias: a row a
        slice of ``fire_lanes`` channels, group by group. Channels that do not exist have zeros. Kernel: K, or its
        logarithm to the base 2 where lanes shift.
        Encoder: the low bits hold the code, the top bit tells whether there is a spike.
        """
        rows: list[dict[str, Any]] = [
            {"name": "digest", "role": "digest", "depth": DIGEST_WORDS, "field_bits": WORD_BITS}
        ]
        if self.input == "pixels":
            bits = unsigned_bits(self.layers[0].input_codes - 1) + 1
            rows.append({"name": "encoder", "role": "encoder", "depth": PIXEL_LEVELS, "field_bits": bits})
        for i, layer in enumerate(self.layers):
            lanes = {"fields": layer.lanes, "signed": True}
            membrane = {"field_bits": layer.membrane_bits}
            kernel_bits = layer.kernel_bits if layer.product == "multiply" else unsigned_bits(layer.kernel_bits - 1)
            parts: list[dict[str, Any]] = [
                {"role": "weight", "depth": layer.groups * layer.taps, "field_bits": layer.weight_bits, **lanes},
                {
                    "role": "bias",
                    "depth": sum(layer.group_slices),
                    **membrane,
                    "fields": layer.fire_lanes,
                    "signed": True,
                },
                {"role": "kernel", "depth": layer.input_codes, "field_bits": kernel_bits},
            ]
            if layer.fires:
                parts.append({"role": "threshold", "depth": self.steps, "signed": True, **membrane})
            rows += [{"name": f"layer{i}_{part['role']}", "layer": i, **part} for part in parts]
        defaults = {"layer": None, "fields": 1, "signed": False}
        return tuple(Memory(**(defaults | row | {"index": index})) for index, row in enumerate(rows))

    def memory(self, role: MemoryRole, layer: int | None = None) -> Memory:
        """The memory with this role.

        Raises
        ------
        KeyError
            if the core has none.

        """
        for memory in self.memories:
            if (memory.role, memory.layer) == (role, layer):
                return memory
        raise KeyError((role, layer))

    def to_json(self) -> dict[str, Any]:
        """A mapping of JSON values from which :meth:`from_json` makes this object again."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Hardware:
        """The object that :meth:`to_json` wrote.

        Raises
        ------
        FirstspikeError
            if the mapping lacks a part, has an unknown one, or a value out of range.

        """
        try:
            return cls(**(value | {"layers": tuple(LayerShape(**x) for x in value["layers"])}))
        except (TypeError, KeyError, IndexError) as error:
            raise FirstspikeError(f"not a description of hardware: {error}", "generate the hardware again") from error


def _for_each(name: str, given: _Choice | Sequence[_Choice] | None, best: Sequence[_Choice]) -> Sequence[_Choice]:
    """A setting for each layer: given for each, for all, or the best."""
    if given is None:
        return best
    values: Sequence[_Choice] = [given] * len(best) if isinstance(given, str) else given  # type: ignore[assignment]
    if len(values) != len(best):
        raise FirstspikeError(f"{name} is given for {len(values)} layers; the network has {len(best)}")
    return values


def _best_product(kernel: Sequence[int]) -> Product:
    return "shift" if all(value and not value & (value - 1) for value in kernel) else "multiply"


def _geometry(layer: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    """What a network's layer fixes of its :class:`LayerShape`, for a population of ``shape`` before it."""
    geometry: dict[str, Any] = {"kind": layer.kind, "input_shape": shape, "channels": len(layer.weight)}
    if isinstance(layer, Conv2d):
        names = ("stride", "padding", "pool")
        geometry |= {"kernel": layer.kernel_shape} | {name: getattr(layer, name) for name in names}
    return geometry
