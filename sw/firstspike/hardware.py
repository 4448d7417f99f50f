"""What is fixed when hardware is generated: shapes, widths, lanes; and every memory that follows from them.

A :class:`Hardware` is the contract between a network and a generated core. Memory images, RTL, loader and manifest all
take depths, widths and order from here. A network fits the hardware or is refused (:meth:`Hardware.check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from firstspike.errors import FirstspikeError
from firstspike.model import PIXEL_LEVELS, Dense, Network, Readout, unsigned_bits

WORD_BITS = 32
DIGEST_WORDS = 8
#: An event word names 16 populations, the shape register counts to 15.
MAX_LAYERS = 15
MAX_MEMBRANE_BITS = 54  # signed, below 2**53: what a float64 holds exactly

InputKind = Literal["pixels", "events"]
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


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer as generated.

    Parameters
    ----------
    inputs, outputs
        Neurons of the populations it joins.
    lanes
        Membranes updated in one clock, 1..outputs.
    input_codes
        Codes that an arriving spike can carry (depth of the kernel table).
    weight_bits, kernel_bits, membrane_bits
        Widths of a signed weight, an unsigned kernel entry, and a signed membrane (also of bias and threshold).
    fires
        Whether the layer compares with thresholds: every hidden layer, and the output with the first-spike readout.

    """

    inputs: int
    outputs: int
    lanes: int
    input_codes: int
    weight_bits: int
    kernel_bits: int
    membrane_bits: int
    fires: bool

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= self.outputs:
            raise FirstspikeError(f"{self.lanes} lanes for {self.outputs} neurons", f"use 1..{self.outputs} lanes")
        if self.membrane_bits > MAX_MEMBRANE_BITS:
            raise FirstspikeError(
                f"membranes of {self.membrane_bits} bits; the golden model is exact up to {MAX_MEMBRANE_BITS}",
                "use fewer weight or kernel bits, or lower thresholds",
            )
        if self.kernel_bits > WORD_BITS:
            raise FirstspikeError(f"kernel entries of {self.kernel_bits} bits; a word holds {WORD_BITS}")

    @property
    def groups(self) -> int:
        """Clocks to update every membrane once: ceil(outputs / lanes).

        Neuron j is lane j % lanes of group j // lanes.
        """
        return -(-self.outputs // self.lanes)


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
        if max(self.layers[0].inputs, *(x.outputs for x in self.layers)) > 1 << 16:
            raise FirstspikeError("a population has more than 65536 neurons; an event word holds 16 index bits")
        if max(self.steps, self.layers[0].input_codes) > 1 << 10:
            raise FirstspikeError("more than 1024 steps; an event word holds 10 step bits")

    @classmethod
    def for_network(
        cls,
        network: Network,
        *,
        lanes: int | Sequence[int] | None = None,
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
            For each layer, or one number for all, then at most the layer's outputs. Default 64.
        input, monitor
            As for the class.
        spare_membrane_bits
            Added to every membrane, so that other networks of the same shape fit later.

        Raises
        ------
        FirstspikeError
            if the lanes do not fit the layers, or the network has convolutions.

        """
        layers = [layer for layer in network.layers if isinstance(layer, Dense)]
        if len(layers) != len(network.layers):
            raise FirstspikeError(
                f"network {network.shape_name} has convolutions, which the core cannot compute yet",
                "use dense layers for hardware; train, quantize and the golden model take convolutions",
            )
        outputs = [layer.outputs for layer in layers]
        if lanes is None:
            lanes = 64
        chosen = [min(lanes, n) for n in outputs] if isinstance(lanes, int) else list(lanes)
        if len(chosen) != len(outputs):
            raise FirstspikeError(f"lanes are given for {len(chosen)} layers; the network has {len(outputs)}")
        return cls(
            steps=network.steps,
            fire_start=network.fire_start,
            readout=network.readout,
            simultaneous=network.populations[0].simultaneous,
            layers=tuple(
                LayerShape(
                    inputs=layer.inputs,
                    outputs=layer.outputs,
                    lanes=chosen[i],
                    input_codes=network.populations[i].codes,
                    weight_bits=layer.weight_bits,
                    kernel_bits=unsigned_bits(network.populations[i].kernel[0]),
                    membrane_bits=network.membrane_bits(i) + spare_membrane_bits,
                    fires=bool(network.populations[i + 1].threshold),
                )
                for i, layer in enumerate(layers)
            ),
            input=input,
            monitor=monitor,
        )

    def check(self, network: Network) -> None:
        """Refuse a network that this hardware would not compute exactly.

        Raises
        ------
        FirstspikeError
            naming the first property that differs or does not fit.

        """
        remedy = "generate hardware for this network, or train one of the same shape and widths"
        wanted = Hardware.for_network(network, lanes=1, input=self.input, monitor=self.monitor)
        for name in ("steps", "fire_start", "readout", "simultaneous"):
            mine, its = getattr(self, name), getattr(wanted, name)
            if mine != its:
                raise FirstspikeError(f"the network has {name} {its}, the hardware {mine}", remedy)
        if len(self.layers) != len(wanted.layers):
            raise FirstspikeError(
                f"the network has {len(wanted.layers)} layers, the hardware {len(self.layers)}", remedy
            )
        for i, (mine, its) in enumerate(zip(self.layers, wanted.layers, strict=True)):
            for name in ("inputs", "outputs", "input_codes"):
                if getattr(mine, name) != getattr(its, name):
                    raise FirstspikeError(
                        f"layer {i}: the network has {getattr(its, name)} {name}, the hardware {getattr(mine, name)}",
                        remedy,
                    )
            for name in ("weight_bits", "kernel_bits", "membrane_bits"):
                if getattr(its, name) > getattr(mine, name):
                    raise FirstspikeError(
                        f"layer {i}: the network needs {name} {getattr(its, name)}, the hardware has "
                        f"{getattr(mine, name)}",
                        remedy,
                    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each population, input first."""
        return (self.layers[0].inputs, *(layer.outputs for layer in self.layers))

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

        Weights: row ``group * inputs + i`` holds, in field ``lane``, the weight from input ``i`` to neuron
        ``group * lanes + lane``. Bias: row ``group``, field ``lane``. Neurons that do not exist have zeros.
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
            parts: list[dict[str, Any]] = [
                {"role": "weight", "depth": layer.groups * layer.inputs, "field_bits": layer.weight_bits, **lanes},
                {"role": "bias", "depth": layer.groups, **membrane, **lanes},
                {"role": "kernel", "depth": layer.input_codes, "field_bits": layer.kernel_bits},
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
