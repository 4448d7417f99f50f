"""What is fixed when hardware is generated: shapes, widths, lanes; and every memory that follows from them.

A :class:`Hardware` is the contract between a network and a generated core. Memory images, RTL, loader and manifest all
take depths, widths and order from here. A network fits the hardware or is refused (:meth:`Hardware.check`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from firstspike.contract.dynamics_shape import DynamicsShape
from firstspike.contract.layer_shape import FireUnit, LayerShape, Product, check_number, check_numbers, geometry
from firstspike.contract.memory import WORD_BITS, Memory, MemoryRole
from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import MAX_CAP
from firstspike.network.model import PIXEL_LEVELS, IntArray, Network, Readout, unsigned_bits

PIXELS_PER_WORD = WORD_BITS // 8
INDEX_BITS = 16  # of an event word
DIGEST_WORDS = 8
#: An event word names 16 populations, the shape register counts to 15.
MAX_LAYERS = 15

InputKind = Literal["pixels", "events"]
_Choice = TypeVar("_Choice")


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
    repeat
        How often an input neuron may fire in a step, of events in order of time; 0: once in an image, in any order.
    monitor
        Whether the core has the event-monitor stream.
    counters
        Whether it counts images, clocks, spikes and additions (:data:`~firstspike.contract.registers.COUNTERS`).

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
    repeat: int = 0
    monitor: bool = True
    counters: bool = True

    def __post_init__(self) -> None:
        check_numbers(self, ("steps",), low=1)
        check_numbers(self, ("fire_start",), low=0)
        if self.fire_start > self.steps:
            raise FirstspikeError(f"fire_start is {self.fire_start}, outside 0..{self.steps}")
        if self.readout not in get_args(Readout):
            raise FirstspikeError(f"unknown readout {self.readout!r}", f"use {' or '.join(get_args(Readout))}")
        if self.input not in ("pixels", "events"):
            raise FirstspikeError(f"unknown input {self.input!r}", "use 'pixels' or 'events'")
        check_numbers(self, ("repeat",), low=0)
        if self.repeat > MAX_CAP:
            raise FirstspikeError(f"repeat is {self.repeat}, outside 0..{MAX_CAP}")
        if self.repeat and (self.input == "pixels" or self.simultaneous):
            raise FirstspikeError(f"repeat is {self.repeat}, but the input takes no events", "use input = 'events'")
        for name in ("simultaneous", "monitor", "counters"):
            if not isinstance(getattr(self, name), bool):
                raise FirstspikeError(f"{name} is {getattr(self, name)!r}", "use true or false")
        if self.layers[-1].membrane_bits > WORD_BITS:
            raise FirstspikeError(
                f"output membranes have {self.layers[-1].membrane_bits} bits; a result word holds {WORD_BITS}",
                f"use fewer {'guard' if self.layers[-1].dynamics else 'kernel'} or weight bits in the last layer",
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
        for layer, after in zip(self.layers, self.layers[1:], strict=False):
            if layer.fire == "search" and after.dynamics:
                raise FirstspikeError(
                    "a search sends spikes out of order, before neurons with dynamics", "use fire = 'stepped'"
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
        input: InputKind | None = None,
        monitor: bool = True,
        counters: bool = True,
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
        input
            As for the class. Default: what the network takes; pixels, if it takes both.
        monitor, counters
            As for the class.
        spare_membrane_bits
            Added to every membrane, so that other networks of the same shape fit later.

        Raises
        ------
        FirstspikeError
            if a setting does not fit the network.

        """
        layers = network.layers
        check_number("spare_membrane_bits", spare_membrane_bits, low=0)
        if test_clocks is not None:
            check_number("test_clocks", test_clocks, low=1)
        if lanes is None:
            lanes = 64
        chosen = [min(lanes, len(x.weight)) for x in layers] if isinstance(lanes, int) else list(lanes)
        if len(chosen) != len(layers):
            raise FirstspikeError(f"lanes are given for {len(chosen)} layers; the network has {len(layers)}")
        early = network.fire_start < network.steps
        # Neurons with dynamics need the spikes that come to them in order.
        in_order = [early or after.dynamics is not None for after in network.populations[2:]] + [early]
        best: list[FireUnit] = ["stepped" if x else "search" for x in in_order]
        fires = _for_each("fire", fire, best)
        products = _for_each("product", product, [_best_product(p.kernel) for p in network.populations[:-1]])
        budget = test_clocks or -(-network.sizes[0] // PIXELS_PER_WORD)
        shapes = []
        for i, layer in enumerate(layers):
            last, after = i == len(layers) - 1, network.populations[i + 1]
            unit: FireUnit = "dynamics" if after.dynamics else "stepped" if last else fires[i]
            try:
                shape = LayerShape(
                    **geometry(layer, network.populations[i].shape),
                    lanes=chosen[i],
                    fire=unit,
                    fire_lanes=chosen[i] if not last and unit == "stepped" else 1,
                    product=products[i],
                    input_codes=network.populations[i].codes,
                    weight_bits=layer.weight_bits,
                    kernel_bits=unsigned_bits(network.populations[i].kernel[0]),
                    membrane_bits=network.membrane_bits(i) + spare_membrane_bits,
                    fires=after.fires,
                    dynamics=DynamicsShape.of(after.dynamics, network.ranges(i), spare_bits=spare_membrane_bits)
                    if after.dynamics
                    else None,
                )
            except FirstspikeError as error:
                raise FirstspikeError(f"layer {i}: {error}", error.hint) from error
            passes = after.dynamics.steps(network.steps) if after.dynamics else 1
            while (
                shape.fire == "search" or (shape.fire == "dynamics" and not last)
            ) and passes * shape.pass_clocks > budget and shape.fire_lanes < shape.lanes:  # fmt: skip
                shape = replace(shape, fire_lanes=shape.fire_lanes + 1)
            shapes.append(shape)
        hardware = cls(
            steps=network.steps,
            fire_start=network.fire_start,
            readout=network.readout,
            simultaneous=network.populations[0].simultaneous,
            layers=tuple(shapes),
            input=input or ("events" if network.populations[0].repeat else "pixels"),
            repeat=network.populations[0].repeat,
            monitor=monitor,
            counters=counters,
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
            "repeat": network.populations[0].repeat,
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
            wanted = geometry(layer, before.shape) | {"input_codes": before.codes}
            for name, value in wanted.items():
                if getattr(shape, name) != value:
                    raise FirstspikeError(
                        f"layer {i}: the network has {name} {value}, the hardware {getattr(shape, name)}", remedy
                    )
            after = network.populations[i + 1].dynamics
            if (after is None) != (shape.dynamics is None):
                mine = "dynamics" if shape.dynamics else "tables"
                raise FirstspikeError(f"layer {i}: the neurons after it have {mine} in the hardware alone", remedy)
            if after is not None and shape.dynamics is not None:
                shape.dynamics.check(f"layer {i}", after, network.ranges(i))
            needs = {
                "weight_bits": layer.weight_bits,
                "kernel_bits": unsigned_bits(before.kernel[0]),
                "membrane_bits": network.membrane_bits(i),
            }
            for name, value in needs.items():
                mine = getattr(shape, name)
                if value > mine:
                    spare = "; or generate with room, such as [hardware] spare_membrane_bits = "
                    raise FirstspikeError(
                        f"layer {i}: the network needs {name} {value}, the hardware has {mine}",
                        remedy + (f"{spare}{value - mine}" if name == "membrane_bits" else ""),
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
        if self.input == "pixels":
            return -(-self.sizes[0] // PIXELS_PER_WORD)
        return self.sizes[0] * max(1, self.repeat * self.steps)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population, input first."""
        return (self.layers[0].inputs, *(layer.outputs for layer in self.layers))

    def spikes_a_step(self, population: int) -> int:
        """How often a neuron of a spiking population fires in one step, at most; 0: once in the whole window."""
        if not population:
            return self.repeat
        before = self.layers[population - 1].dynamics
        return before.cap if before and before.mode != "once" else 0

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

        Needed where the layer that receives them tests thresholds before the window is over (S < T), or has dynamics.
        """
        early = self.fire_start < self.steps
        return tuple(
            (layer.dynamics is not None or (early and layer.fires)) and not (i == 0 and self.simultaneous)
            for i, layer in enumerate(self.layers)
        )

    @property
    def sorts(self) -> bool:
        """Whether the core brings the input's events into order; those of neurons that fire again come in order."""
        return self.ordered[0] and not self.repeat

    def passes(self, layer: int) -> int:
        """Steps for which the neurons after a layer are read in an image: 1 for a search and for membranes alone."""
        shape = self.layers[layer]
        if shape.dynamics:
            return shape.dynamics.start + self.steps
        return self.steps if shape.fires and shape.fire != "search" else 1

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """Every memory of the core, in the order of their load numbers.

        Weights: row ``group * taps + i`` holds, in field ``lane``, the weight of tap ``i`` of channel ``group * lanes +
        lane``: of input ``i``, or of a convolution's (input channel, row, column), the last fastest. Bias: a row a
        slice of ``fire_lanes`` channels, group by group. Channels that do not exist have zeros. Kernel: K, or its
        logarithm to the base 2 where lanes shift. Tables of dynamics: for each step, if there is a value for each, rows
        as of the bias, if there is a value for each channel.
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
            if layer.dynamics:
                slices = sum(layer.group_slices)
                for name, table in layer.dynamics.tables():
                    parts.append(
                        {
                            "role": name,
                            "depth": layer.dynamics.steps(name, self.steps) * (slices if table.by_channel else 1),
                            "field_bits": table.bits,
                            "fields": layer.fire_lanes if table.by_channel else 1,
                            "signed": name not in ("gain", "retain", "leak"),
                        }
                    )
            elif layer.fires:
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all of this, which no two cores that differ share.

        Of the text of :meth:`to_json` as JSON, keys sorted, without white space.
        """
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A mapping of JSON values from which :meth:`from_json` makes this object again."""
        value = asdict(self)
        for layer in value["layers"]:
            if layer["dynamics"] is None:
                del layer["dynamics"]
        if not self.repeat:
            del value["repeat"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Hardware:
        """The object that :meth:`to_json` wrote.

        Raises
        ------
        FirstspikeError
            if the mapping lacks a part, has an unknown one, or a value out of range.

        """
        if not isinstance(value, dict):
            raise FirstspikeError(f"not a description of hardware: {value!r:.40}", "generate the hardware again")
        try:
            return cls(**(value | {"layers": tuple(_layer(x) for x in value["layers"])}))
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise FirstspikeError(f"not a description of hardware: {error}", "generate the hardware again") from error


def _layer(value: dict[str, Any]) -> LayerShape:
    given = value.get("dynamics")
    return LayerShape(**(value | {"dynamics": DynamicsShape.from_json(given)} if given else value))


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
