"""Operations and memory accesses of a core, from its own counters; and those of a dense 8-bit ANN of the same shape.

Everything is counted, nothing weighed: what an operation costs is the affair of :mod:`firstspike.energy.estimate`.
``docs/energy.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from firstspike.contract.dynamics_shape import FactorShape, TableShape
from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.contract.memory import MemoryRole
from firstspike.errors import FirstspikeError

#: Of an ANN of integers: weights and activations, and sums of their products.
ANN_BITS, ANN_SUM_BITS = 8, 32

#: What an operation or access is for: reading weights; products and their addition; reading and writing membranes to
#: add to them; finding spikes and the class, and clearing membranes; encoder and kernel; activations of an ANN.
Part = Literal["weights", "arithmetic", "membranes", "scan", "tables", "activations"]
Kind = Literal["add", "multiply", "shift", "compare"]

AGAIN = "clear the counters, send whole images, and read them when status says that the core is idle"


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The core's counters (:data:`firstspike.contract.registers.COUNTERS`), read when every image had its result.

    Parameters
    ----------
    images, faults, clocks
        Results sent, malformed images, clocks while enabled.
    spikes
        Of each spiking population.
    active
        For each layer the rows of membranes that it added to.

    """

    images: int
    faults: int
    clocks: int
    spikes: tuple[int, ...]
    active: tuple[int, ...]

    @classmethod
    def read(cls, values: Mapping[str, int | Sequence[int]]) -> Counters:
        """From values by name, as ``counters()`` of every driver gives them: numbers, or lists of one or more.

        Raises
        ------
        FirstspikeError
            if one is missing.

        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise FirstspikeError(f"no counters {', '.join(missing)}", "give what counters() of the driver returns")
        lists = {n: tuple(v) if isinstance(v := values[n], Sequence) else (v,) for n in names}
        return cls(
            images=lists["images"][0],
            faults=lists["faults"][0],
            clocks=lists["clocks"][0],
            spikes=lists["spikes"],
            active=lists["active"],
        )

    def check(self, hardware: Hardware) -> None:
        """Refuse counters that are not those of whole, well-formed images in this hardware.

        Raises
        ------
        FirstspikeError
            naming the first that cannot be.

        """
        layers = hardware.layers
        if not len(self.spikes) == len(self.active) == len(layers):
            raise FirstspikeError(
                f"counters of {len(self.active)} layers; the hardware has {len(layers)}",
                "give the hardware that was generated",
            )
        if not self.images:
            raise FirstspikeError("the counters hold no images", "run some first")
        if self.faults:
            raise FirstspikeError(f"{self.faults} of {self.images} images were malformed", AGAIN)
        for n, (layer, spikes, rows) in enumerate(zip(layers, self.spikes, self.active, strict=True)):
            times = max(1, hardware.spikes_a_step(n) * hardware.steps)  # that a neuron fires, at most
            most = self.images * dense_rows(layer) * times
            if spikes > self.images * layer.inputs * times or rows > most or rows % layer.groups:
                raise FirstspikeError(
                    f"layer {n}: {spikes} spikes and {rows} rows added to are not those of {self.images} whole images",
                    AGAIN,
                )


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """``count`` operations of one kind, with operands of ``bits`` (of a sum or a comparison: its width)."""

    layer: int | None
    part: Part
    kind: Kind
    bits: tuple[int, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class Access:
    """``reads`` and ``writes`` of rows of ``row_bits`` bits in a memory of ``rows`` of them."""

    layer: int | None
    part: Part
    memory: str
    row_bits: int
    rows: int
    reads: int
    writes: int = 0

    @property
    def capacity_bits(self) -> int:
        """Bits of the memory."""
        return self.rows * self.row_bits

    @property
    def bits(self) -> int:
        """Bits that were read or written."""
        return (self.reads + self.writes) * self.row_bits


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What was done for a number of images, in all.

    Parameters
    ----------
    images
        Their number.
    synaptic_operations
        For each layer the additions of a weight to a membrane that has a neuron; for an ANN its MACs.
    idle_additions
        For each layer those of lanes that have no neuron: the padding of the last group.
    arithmetic, accesses
        Everything that was done, idle lanes included.

    """

    images: int
    synaptic_operations: tuple[int, ...]
    idle_additions: tuple[int, ...]
    arithmetic: tuple[Arithmetic, ...]
    accesses: tuple[Access, ...]


def count(hardware: Hardware, counters: Counters) -> Operations:
    """What the core did, exactly as the RTL does it.

    A memory is counted as read when what it gives is used. Registers, queues, and the sorter of an input that is fired
    on early, are not counted.

    Raises
    ------
    FirstspikeError
        if the counters are not those of whole, well-formed images in this hardware.

    """
    counters.check(hardware)
    arithmetic: list[Arithmetic] = []
    accesses: list[Access] = []
    if hardware.input == "pixels":
        encoder = hardware.memory("encoder")
        looked_up = counters.images * hardware.frame_words * PIXELS_PER_WORD
        accesses.append(
            Access(layer=None, part="tables", memory="encoder", row_bits=encoder.data_bits, rows=encoder.depth,
                   reads=looked_up)
        )  # fmt: skip
    for n, rows in enumerate(counters.active):
        for item in (*_adding(hardware, n, rows), *_scanning(hardware, n, counters.images)):
            (accesses if isinstance(item, Access) else arithmetic).append(item)  # type: ignore[arg-type]
    pairs = list(zip(hardware.layers, counters.active, strict=True))
    useful = tuple(rows // layer.groups * layer.channels for layer, rows in pairs)
    return Operations(
        images=counters.images,
        synaptic_operations=useful,
        idle_additions=tuple(rows * layer.lanes - real for (layer, rows), real in zip(pairs, useful, strict=True)),
        arithmetic=tuple(arithmetic),
        accesses=tuple(accesses),
    )


def _table(hardware: Hardware, role: MemoryRole, n: int, reads: int) -> Access:
    memory = hardware.memory(role, n)
    parts: dict[MemoryRole, Part] = {"weight": "weights", "kernel": "tables"}
    return Access(
        layer=n, part=parts.get(role, "scan"), memory=role, row_bits=memory.data_bits, rows=memory.depth, reads=reads
    )


def _membranes(layer: LayerShape, n: int, part: Part, reads: int, writes: int) -> Access:
    """Of one bank. One more bit of a row says whether it holds anything; of shallow banks, registers do."""
    row_bits = layer.lanes * layer.bank_bits + (not layer.shallow)
    return Access(
        layer=n, part=part, memory="membranes", row_bits=row_bits, rows=layer.membrane_rows, reads=reads, writes=writes
    )


def _adding(hardware: Hardware, n: int, rows: int) -> Iterator[Arithmetic | Access]:
    """A row of weights times one kernel entry, added to a row of membranes: ``rows`` times."""
    layer = hardware.layers[n]
    yield _table(hardware, "weight", n, rows)
    yield _table(hardware, "kernel", n, rows)
    multiplies = layer.product == "multiply"
    factors = (layer.weight_bits, layer.kernel_bits)
    yield Arithmetic(
        layer=n, part="arithmetic", kind="multiply" if multiplies else "shift",
        bits=factors if multiplies else (sum(factors) - 1,), count=rows * layer.lanes,
    )  # fmt: skip
    yield Arithmetic(layer=n, part="arithmetic", kind="add", bits=(layer.bank_bits,), count=rows * layer.lanes)
    yield _membranes(layer, n, "membranes", rows, rows)


def _scanning(hardware: Hardware, n: int, images: int) -> Iterator[Arithmetic | Access]:
    """Every neuron is read, once or once a step, its bias added, its window's largest kept and tested."""
    layer, steps = hardware.layers[n], hardware.steps
    if layer.dynamics:
        yield from _stepping(hardware, n, images)
        return
    last = n == len(hardware.layers) - 1
    searches = layer.fire == "search" and not last
    passes = images * hardware.passes(n)
    reads, slices, width = passes * layer.pass_clocks, passes * layer.slices, layer.fire_lanes

    def work(kind: Kind, count: int) -> Arithmetic:
        return Arithmetic(layer=n, part="scan", kind=kind, bits=(layer.membrane_bits,), count=count)

    # Clearing writes that bit.
    yield _membranes(layer, n, "scan", reads, 0 if layer.shallow else images * layer.membrane_rows)
    yield _table(hardware, "bias", n, reads)
    yield work("add", reads * width)
    if layer.pool > 1:
        yield work("compare", reads * width)
    if last:
        yield work("compare", slices * width)  # with the largest so far
        if layer.fires:
            yield _table(hardware, "threshold", n, passes)
            yield work("compare", passes)
    elif searches:
        tests = slices * width * steps.bit_length()
        yield _table(hardware, "threshold", n, tests)
        yield work("compare", tests)
    else:
        yield _table(hardware, "threshold", n, slices)
        yield work("compare", slices * width)
        yield Access(
            layer=n, part="scan", memory="fired", row_bits=width, rows=max(2, layer.slices), reads=slices, writes=slices
        )


def _stepping(hardware: Hardware, n: int, images: int) -> Iterator[Arithmetic | Access]:
    """In each step the sums and the state of every neuron are read, and the state is written.

    The sums are read in each step that spikes may come in; those of a direct input come in the first one alone.
    """
    layer = hardware.layers[n]
    dynamics, last = layer.dynamics, n == len(hardware.layers) - 1
    assert dynamics is not None
    tests = images * (1 if n == 0 and hardware.simultaneous else hardware.steps)
    slices = images * hardware.passes(n) * layer.pass_clocks
    neurons = slices * layer.fire_lanes
    yield _membranes(layer, n, "scan", tests * layer.pass_clocks, 0 if layer.shallow else tests * layer.membrane_rows)
    state = dynamics.state(layer.membrane_bits)
    yield Access(
        layer=n, part="scan", memory="state", row_bits=sum(state.values()) * layer.fire_lanes, rows=layer.pass_clocks,
        reads=slices, writes=slices,
    )  # fmt: skip
    tables = dict(dynamics.tables())
    roles: tuple[MemoryRole, ...] = ("bias", *tables)
    for role in roles:
        yield _table(hardware, role, n, slices)

    def work(kind: Kind, *bits: int, times: int = 1) -> Arithmetic:
        return Arithmetic(layer=n, part="scan", kind=kind, bits=bits, count=neurons * times)

    factors: list[tuple[FactorShape, TableShape | None, int]] = [
        (dynamics.leak, dynamics.leak_table, layer.membrane_bits),
        (dynamics.retain, dynamics.retain_table, dynamics.current_bits),
    ]
    for factor, numerators, bits in factors:
        if numerators is not None:
            yield work("multiply", bits, numerators.bits)
        elif factor.kind == "decay":
            yield work("add", bits)
    if dynamics.retain.kind != "drop":
        yield work("add", dynamics.current_bits)
    if dynamics.gain:
        yield work("multiply", dynamics.current_bits, dynamics.gain.bits)
    if dynamics.drive:
        yield work("add", dynamics.drive_bits)
    yield work("add", layer.membrane_bits)
    if dynamics.read == "largest" or layer.pool > 1:
        yield work("compare", layer.membrane_bits)
    if layer.fires:
        yield work("compare", layer.membrane_bits, times=dynamics.cap)
        if dynamics.mode == "soft":
            yield work("add", layer.membrane_bits)
        if dynamics.mode == "once":
            fired = images * hardware.steps * layer.slices
            yield Access(
                layer=n, part="scan", memory="fired", row_bits=layer.fire_lanes, rows=max(2, layer.slices),
                reads=fired, writes=fired,
            )  # fmt: skip
    if last:
        yield work("compare", layer.membrane_bits)  # with the largest so far


def dense_rows(layer: LayerShape) -> int:
    """Rows of membranes that a layer adds to in an image if every neuron before it spikes."""
    return int(layer.visits.sum()) * layer.groups


def ann(hardware: Hardware, counters: Counters | None = None) -> Operations:
    """What an ANN of the same shape does, of 8-bit weights and activations, on as many lanes.

    An activation is read once for each group of lanes and place that it reaches; a weight once for each use; sums of
    32 bits stay in registers until they are complete. Each activation is written once. There are no MACs on the
    padding of a convolution. Not counted, in the ANN's favour: bias, scaling the sums to 8 bits, pooling, idle lanes.

    Parameters
    ----------
    hardware
        Gives shapes and lanes.
    counters
        If given, zeros are skipped, and activations are zero where the core had no spike: as many rows as the core
        added to. Else every MAC of one image is done.

    Raises
    ------
    FirstspikeError
        if the counters are not those of whole images in this hardware.

    """
    if counters is not None:
        counters.check(hardware)
    images = 1 if counters is None else counters.images
    arithmetic: list[Arithmetic] = []
    accesses: list[Access] = []
    macs = []
    for n, layer in enumerate(hardware.layers):
        rows = dense_rows(layer) if counters is None else counters.active[n]
        macs.append(rows // layer.groups * layer.channels)
        arithmetic += [
            Arithmetic(layer=n, part="arithmetic", kind="multiply", bits=(ANN_BITS, ANN_BITS), count=macs[n]),
            Arithmetic(layer=n, part="arithmetic", kind="add", bits=(ANN_SUM_BITS,), count=macs[n]),
        ]
        accesses += [
            Access(layer=n, part="weights", memory="weight", row_bits=ANN_BITS, rows=layer.channels * layer.taps,
                   reads=macs[n]),
            Access(layer=n, part="activations", memory="activations", row_bits=ANN_BITS, rows=layer.inputs,
                   reads=rows, writes=images * layer.inputs),
        ]  # fmt: skip
    last = len(hardware.layers) - 1
    outputs = hardware.layers[last].outputs
    accesses.append(
        Access(layer=last, part="activations", memory="outputs", row_bits=ANN_BITS, rows=outputs, reads=0,
               writes=images * outputs)
    )  # fmt: skip
    return Operations(
        images=images,
        synaptic_operations=tuple(macs),
        idle_additions=(0,) * len(macs),
        arithmetic=tuple(arithmetic),
        accesses=tuple(accesses),
    )
