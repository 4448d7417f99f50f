"""Neurons with dynamics: from the sums of a step to membranes and spikes, a slice a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.dynamics_shape import FactorShape
from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.contract.memory import MemoryRole
from firstspike_rtl.core.layouts import TEST, Component, LoadSignature, number, ordered, slice_layout
from firstspike_rtl.core.membranes import ScanSignature
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.tables import NO_RW_CHECK, Contents, Table, add_table, fields

#: Stages of the pipeline: what their registers hold. With a gain, what is after ``DRIVE`` comes a stage later.
OLD = 3  # U and V of the step before
LEFT = 4  # what retain and leak leave of them
CURRENT = 5  # U
DRIVE = 6  # D, or the product with the gain


def membrane_stage(shape: LayerShape) -> int:
    """The stage that holds V."""
    assert shape.dynamics is not None
    return DRIVE + 1 + (shape.dynamics.gain is not None)


def stages(shape: LayerShape) -> int:
    """Clocks from a slice of the :class:`Scanner` to one of the :class:`Stepper`; 0 without dynamics."""
    return membrane_stage(shape) + 1 + (shape.pool > 1) if shape.dynamics else 0


def write_stage(shape: LayerShape) -> int:
    """The stage whose registers are written to the state memory."""
    assert shape.dynamics is not None
    if shape.dynamics.read == "largest":
        return membrane_stage(shape) + 1
    return membrane_stage(shape) + (2 if shape.dynamics.resets else 0)


def gap(shape: LayerShape) -> int:
    """Clocks between the addresses of two passes."""
    return max(Scanner.LATENCY + 1, write_stage(shape))


def state_layout(shape: LayerShape) -> data.StructLayout:
    """A row of the state memory, neurons side by side."""
    assert shape.dynamics is not None
    parts = shape.dynamics.state(shape.membrane_bits)
    return data.StructLayout({name: data.ArrayLayout(signed(bits), shape.fire_lanes) for name, bits in parts.items()})


class Stepper(Component):
    """The recurrence of ``docs/numerics.md`` for a layer, with a :class:`Scanner` that reads the sums of each step.

    U and V of all neurons lie in a memory that each pass over the neurons reads and writes. Step 0 takes their values
    at the start in place of what it reads, so that nothing is cleared between images. Parameters are read in time for
    the stage that needs them.

    ============ ===================================================================
    stage        holds
    ============ ===================================================================
    0            sums X of a slice; the memories are addressed
    1            what the memories gave
    2            the same, in registers
    3            U and V of the step before
    4            what retain and leak leave of them
    5            U
    6 (and 7)    D; with a gain first its product with U
    then         V
    then         with pooling the largest V of the window so far
    then         how many spikes each neuron sends; the slice on the output
    then         V after the reset
    ============ ===================================================================

    A pass begins when the state that it reads first has been written.

    Latency: :func:`stages` clocks more than that of the scanner.
    Throughput: as of the scanner; :func:`gap` clocks from pass to pass.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memories.

    Members
    -------
    test, scan, load, valid, slice, last, room, idle, release
        As of the :class:`Scanner`. Only steps with a test give slices, the values are those that are read.
    counts : Out(array), spikes that each neuron sends
    """

    def __init__(self, hardware: Hardware, index: int, contents: Contents) -> None:
        self._hardware, self._index, self._contents = hardware, index, contents
        self._shape = shape = hardware.layers[index]
        assert shape.dynamics is not None
        self._dynamics = shape.dynamics
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
                "load": In(LoadSignature(hardware)),
                "valid": Out(1),
                "slice": Out(slice_layout(hardware, index)),
                "last": Out(1),
                "counts": Out(data.ArrayLayout(number(shape.dynamics.cap + 1), shape.fire_lanes)),
                "room": In(1),
                "idle": In(1),
                "release": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, dynamics, lanes = self._shape, self._dynamics, range(self._shape.fire_lanes)
        m.submodules.scanner = scanner = Scanner(self._hardware, self._index, self._contents, passes=True)
        connect(m, flipped(self.test), scanner.test)
        connect(m, flipped(self.scan), scanner.scan)
        m.d.comb += [scanner.room.eq(self.room), self.release.eq(scanner.release)]

        at_v, at_out, at_write = membrane_stage(shape), stages(shape), write_stage(shape)
        tags = self._tags(m, scanner, max(at_out, at_write))
        # A pass that is begun now reads the state Scanner.LATENCY + 1 clocks later.
        waiting = Cat(tag.valid for tag in tags[1 : max(1, at_write - Scanner.LATENCY)])
        m.d.comb += scanner.idle.eq(self.idle & ~waiting.any())

        first = [tag.first_step for tag in tags]
        state = self._state(m, tags)
        start = self._table(m, "bias", tags, OLD)
        retain, leak = (self._factor_table(m, name, tags) for name in ("retain", "leak"))
        sums = _delayed(m, [scanner.slice.values[n] for n in lanes], CURRENT - 1, "sum")

        bits, current_bits = shape.membrane_bits, dynamics.current_bits
        v_old = self._registers("v_old", bits)
        m.d.sync += [v.eq(Mux(first[OLD - 1], b, s)) for v, b, s in zip(v_old, start, state["membrane"], strict=True)]
        v_left = self._registers("v_left", bits)
        m.d.sync += [left.eq(_factor(dynamics.leak, v, n)) for left, v, n in zip(v_left, v_old, leak, strict=True)]
        u_left: list[Any] = [Const(0, signed(1))] * len(lanes)
        if "current" in state:
            u_old = self._registers("u_old", current_bits)
            m.d.sync += [u.eq(Mux(first[OLD - 1], 0, s)) for u, s in zip(u_old, state["current"], strict=True)]
            u_left = self._registers("u_left", current_bits)
            m.d.sync += [
                left.eq(_factor(dynamics.retain, u, n)) for left, u, n in zip(u_left, u_old, retain, strict=True)
            ]
        u_now = self._registers("current", current_bits)
        m.d.sync += [u.eq(left + (x << dynamics.guard)) for u, left, x in zip(u_now, u_left, sums, strict=True)]

        drive = self._drive(m, u_now, tags)
        left = _delayed(m, v_left, at_v - 1 - LEFT, "kept")
        v = self._registers("membrane", bits)
        m.d.sync += [total.eq(a + b) for total, a, b in zip(v, left, drive, strict=True)]

        read = v
        if dynamics.read == "largest":
            largest = self._registers("largest", bits)
            before = _delayed(m, state["largest"], at_v - OLD + 1, "before")
            for best, new, old in zip(largest, v, before, strict=True):
                m.d.sync += best.eq(Mux(first[at_v] | (ordered(new) > ordered(old)), new, old))
            read = largest
        counts, tested = self._test(m, v, tags)
        if dynamics.resets:
            kept = {"membrane": self._reset(m, tested, counts, tags)}
        else:
            kept = {"membrane": _delayed(m, v, at_write - at_v, "v_later")}
        if "current" in state:
            kept["current"] = _delayed(m, u_now, at_write - CURRENT, "current_later")
        if "largest" in state:
            kept["largest"] = read
        self._write(m, kept, tags, at_write)

        values = read if dynamics.read == "largest" else tested
        out, tag = self.slice, tags[at_out]
        m.d.comb += [
            self.valid.eq(tag.valid & tag.emit & tag.tests),
            *(port.eq(value) for port, value in zip(out.values, values, strict=True)),
            out.index.eq(tag.index),
            out.step.eq(tag.step - dynamics.start if dynamics.start else tag.step),
            out.end.eq(tag.end),
            out.fault.eq(tag.fault),
            self.last.eq(tag.last),
            *(port.eq(count) for port, count in zip(self.counts, counts, strict=True)),
        ]
        return m

    # -- what goes along ----------------------------------------------------------------------------------------------

    def _tags(self, m: Module, scanner: Scanner, count: int) -> list[Any]:
        """What goes with a slice from stage to stage; that of stage 0 is the scanner's."""
        shape, given = self._shape, scanner.slice
        rows, places = self._hardware.memory("bias", self._index).depth, shape.pass_clocks
        layout = data.StructLayout(
            {
                "valid": 1,
                "index": given.index.shape(),
                "step": given.step.shape(),
                "end": 1,
                "fault": 1,
                "last": 1,
                "emit": 1,
                "first_step": 1,
                "first_member": 1,
                "tests": 1,
                "row": number(rows),
                "place": number(places),
                "window": number(self._hardware.steps),
            }
        )
        tags: list[Any] = [Signal(layout, name=f"tag{n}") for n in range(count + 1)]
        tag = tags[0]
        place = Signal(number(places))
        window = Signal.like(tag.window)
        m.d.comb += [
            tag.valid.eq(scanner.valid),
            *(tag[name].eq(given[name]) for name in ("index", "step", "end", "fault", "row", "emit")),
            tag.first_member.eq(given.first),
            tag.last.eq(scanner.last),
            tag.first_step.eq(given.step == 0),
            tag.tests.eq(given.step >= self._dynamics.start if self._dynamics.start else 1),
            tag.place.eq(place),
            tag.window.eq(window),
        ]
        with m.If(scanner.valid):
            m.d.sync += place.eq(Mux(given.end, 0, place + 1))
        with m.If(scanner.valid & given.end):
            m.d.sync += window.eq(Mux(scanner.last, 0, window + tag.tests))
        m.d.sync += [after.eq(before) for before, after in pairwise(tags)]
        return tags

    # -- memories -----------------------------------------------------------------------------------------------------

    def _table(self, m: Module, role: MemoryRole, tags: list[Any], stage: int) -> list[Value]:
        """A parameter of each lane, to be used for the registers of a stage."""
        spec = self._hardware.memory(role, self._index)
        read = add_table(m, spec, self._contents, self.load).read_port()
        tag = tags[stage - 3]
        m.d.comb += read.addr.eq(self._row(m, role, tag))
        held = Signal.like(read.data, name=f"{role}_row", reset_less=True)
        m.d.sync += held.eq(read.data)
        values = fields(spec, held)
        return values if len(values) == self._shape.fire_lanes else values * self._shape.fire_lanes

    def _row(self, m: Module, role: MemoryRole, tag: Any) -> Value:
        """The row of a table for the slice and the step of a tag."""
        rows = self._hardware.memory("bias", self._index).depth
        if role == "bias":
            return Value.cast(tag.row)
        table = self._dynamics.table(role)
        assert table is not None
        step = tag.window if role in ("threshold", "reset") else tag.step
        if not table.by_step:
            return Value.cast(tag.row if table.by_channel else 0)
        return Value.cast(step * rows + tag.row if table.by_channel else step)

    def _factor_table(self, m: Module, role: MemoryRole, tags: list[Any]) -> list[Value]:
        """Numerators of a factor that is multiplied; zeros where it is not."""
        made: FactorShape = getattr(self._dynamics, role)
        if made.kind != "multiply":
            return [Const(0)] * self._shape.fire_lanes
        return self._table(m, role, tags, LEFT)

    def _state(self, m: Module, tags: list[Any]) -> dict[str, list[Value]]:
        """U, V, and where it is read the largest V, of the step before, as registers of stage 2."""
        shape = self._shape
        self._kept = state_layout(shape)
        memory: Table = Memory(shape=self._kept.size, depth=max(2, shape.pass_clocks), init=[], attrs={**NO_RW_CHECK})
        m.submodules.state = memory
        self._writer = memory.write_port()
        read = memory.read_port()
        m.d.comb += read.addr.eq(tags[0].place)
        held = Signal(self._kept.size, name="state_row", reset_less=True)
        m.d.sync += held.eq(read.data)
        view = data.View(self._kept, held)
        return {name: list(view[name]) for name, _ in self._kept}

    def _write(self, m: Module, kept: Mapping[str, Sequence[Value]], tags: list[Any], stage: int) -> None:
        row: Any = Signal(self._kept)
        for name, _ in self._kept:
            m.d.comb += [port.eq(value) for port, value in zip(row[name], kept[name], strict=True)]
        tag = tags[stage]
        m.d.comb += [
            self._writer.en.eq(tag.valid),
            self._writer.addr.eq(tag.place),
            self._writer.data.eq(row),
        ]

    # -- the recurrence -----------------------------------------------------------------------------------------------

    def _registers(self, name: str, bits: int) -> list[Any]:
        return [Signal(signed(bits), name=f"{name}{n}") for n in range(self._shape.fire_lanes)]

    def _drive(self, m: Module, current: list[Any], tags: list[Any]) -> list[Any]:
        """D, from U."""
        dynamics = self._dynamics
        added: list[Any] = [0] * self._shape.fire_lanes
        if dynamics.drive:
            added = self._table(m, "drive", tags, membrane_stage(self._shape) - 1)
        if dynamics.gain:
            gains = self._table(m, "gain", tags, DRIVE)
            products = self._registers("gained", dynamics.current_bits + dynamics.gain.bits)
            m.d.sync += [p.eq(g * u) for p, g, u in zip(products, gains, current, strict=True)]
            current = products
        drive = self._registers("drive", dynamics.drive_bits)
        m.d.sync += [d.eq((u + b) >> dynamics.gain_shift) for d, u, b in zip(drive, current, added, strict=True)]
        return drive

    def _test(self, m: Module, v: list[Any], tags: list[Any]) -> tuple[list[Any], list[Any]]:
        """Spikes of each lane, and the V that was tested, in the registers of the output's stage."""
        shape, dynamics, stage = self._shape, self._dynamics, stages(self._shape)
        if shape.pool > 1:
            best = self._registers("best", shape.membrane_bits)
            tag = tags[stage - 2]
            for largest, new in zip(best, v, strict=True):
                with m.If(tag.valid & (tag.first_member | (ordered(new) > ordered(largest)))):
                    m.d.sync += largest.eq(new)
            v = best
        tested = self._registers("tested", shape.membrane_bits)
        m.d.sync += [new.eq(old) for new, old in zip(tested, v, strict=True)]
        if dynamics.threshold is None:
            return [Const(0)] * shape.fire_lanes, tested
        tag = tags[stage - 1]
        levels = self._levels(m, tags, stage)
        self._thresholds = [lane_levels[0] for lane_levels in levels]
        reached = [
            [ordered(value) >= ordered(level) for level in lane_levels]
            for value, lane_levels in zip(v, levels, strict=True)
        ]
        exists = self._exists(m, tag)
        counts = [Signal(number(dynamics.cap + 1), name=f"count{n}") for n in range(shape.fire_lanes)]
        if dynamics.mode == "once":
            before = self._fired(m, tag, [r[0] for r in reached])
            hits = [r[0] & ~before[n] for n, r in enumerate(reached)]
            m.d.sync += [c.eq(hit & exists[n] & tag.tests) for n, (c, hit) in enumerate(zip(counts, hits, strict=True))]
        else:
            for n, (count, r) in enumerate(zip(counts, reached, strict=True)):
                spikes = sum(r[1:], start=r[0])
                m.d.sync += count.eq(Mux(exists[n] & tag.tests, spikes, 0))
        return counts, tested

    def _levels(self, m: Module, tags: list[Any], stage: int) -> list[list[Value]]:
        """For each lane what V is compared with: one to ``cap`` times the threshold."""
        shape, dynamics = self._shape, self._dynamics
        if dynamics.cap == 1:
            return [[_wide(t, shape.membrane_bits)] for t in self._table(m, "threshold", tags, stage)]
        levels = []
        for n, threshold in enumerate(self._table(m, "threshold", tags, stage - 1)):
            lane = [Signal(signed(shape.membrane_bits), name=f"level{n}_{k}") for k in range(1, dynamics.cap + 1)]
            m.d.sync += [level.eq(threshold * k) for k, level in enumerate(lane, 1)]
            levels.append(list[Value](lane))
        return levels

    def _fired(self, m: Module, tag: Any, now: list[Value]) -> Value:
        """Of each lane whether it has fired in an earlier test."""
        shape = self._shape
        fired: Table = Memory(shape=shape.fire_lanes, depth=max(2, shape.slices), init=[])
        m.submodules.fired = fired
        reader = fired.read_port(domain="comb")
        writer = fired.write_port()
        position = Signal(number(shape.slices))
        before = Signal(shape.fire_lanes)
        counts = Signal()
        hits = Signal(shape.fire_lanes, name="now")
        m.d.comb += [
            hits.eq(Cat(now)),
            counts.eq(tag.valid & tag.emit & tag.tests),
            reader.addr.eq(position),
            before.eq(Mux(tag.step == self._dynamics.start, 0, reader.data)),
            writer.addr.eq(position),
            writer.data.eq(before | hits),
            writer.en.eq(counts),
        ]
        with m.If(counts):
            m.d.sync += position.eq(Mux(tag.end, 0, position + 1))
        return before

    def _exists(self, m: Module, tag: Any) -> Value:
        """Of each lane whether its channel exists."""
        shape = self._shape
        rows = (shape.slice_channels < shape.channels).tolist()
        exists = Signal(shape.fire_lanes, name="exists")
        m.d.comb += exists.eq(~0)
        with m.Switch(tag.row):
            for row, there in enumerate(rows):
                if not all(there):
                    with m.Case(row):
                        m.d.comb += exists.eq(sum(bit << n for n, bit in enumerate(there)))
        return exists

    def _reset(self, m: Module, tested: list[Any], counts: list[Any], tags: list[Any]) -> list[Any]:
        """V after the reset."""
        shape, dynamics = self._shape, self._dynamics
        amounts: list[Any]
        if dynamics.reset:
            amounts = self._table(m, "reset", tags, write_stage(shape))
        elif dynamics.mode == "soft":
            amounts = _delayed(m, self._thresholds, 1, "threshold_later")
        else:
            amounts = [Const(0, signed(1))] * shape.fire_lanes
        after = self._registers("after", shape.membrane_bits)
        for new, v, n, amount in zip(after, tested, counts, amounts, strict=True):
            if dynamics.mode == "hard":
                m.d.sync += new.eq(Mux(n.any(), amount, v))
            elif dynamics.cap == 1:
                m.d.sync += new.eq(v - Mux(n, amount, 0))
            else:
                m.d.sync += new.eq(v - n * amount)
        return after


def _delayed(m: Module, values: Sequence[Any], clocks: int, name: str) -> list[Any]:
    """Values some clocks later."""
    now = list(values)
    for clock in range(clocks):
        later = [Signal.like(Value.cast(value), name=f"{name}{n}_{clock}") for n, value in enumerate(now)]
        m.d.sync += [b.eq(a) for a, b in zip(now, later, strict=True)]
        now = list(later)
    return now


def _factor(shape: FactorShape, x: Value, numerator: Value) -> Value:
    """``floor(x * numerator / 2**shift)``."""
    match shape.kind:
        case "keep":
            return x
        case "drop":
            return Const(0, signed(1))
        case "shift":
            return x >> shape.shift
        case "decay":
            return x + (-x >> shape.shift)
    return x * numerator >> shape.shift


def _wide(value: Value, bits: int) -> Value:
    """A signed number with more bits."""
    return value if len(value) == bits else (value + Const(0, signed(bits)))[:bits].as_signed()
