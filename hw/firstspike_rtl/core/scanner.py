"""Reading the membranes of a layer, window by window, a few neurons a clock.

For a :class:`firstspike_rtl.core.stepper.Stepper` they are the sums of one step. Then each membrane of a window goes on
by itself, and without a bias, which the stepper has. Each test is of one step, gives its bank back, and waits for the
one before; after the final one all steps that are left read zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import ReadPort
from amaranth.lib.wiring import In, Out

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import TEST, Component, LoadSignature, number, ordered, slice_layout, sums_layout
from firstspike_rtl.core.membranes import ScanSignature
from firstspike_rtl.core.tables import Contents, add_table, fields

#: Slices that are chosen from in one clock.
CHOICE = 8


@dataclass
class _State:
    """The scan as a whole."""

    clearing: Signal  # both banks, after reset
    scanning: Signal  # stage A has an address
    moving: Signal  # it is taken
    final: Signal  # it is the last of the image: all steps that are left are tested
    fault: Signal  # of the image
    k: Signal  # the step that is tested
    last_step: Signal
    fresh: Value  # the bank holds what has been added: with dynamics, for the first step of a test alone


@dataclass
class _Position:
    """Where stage A is: its counters."""

    group: Signal
    last_group: Signal
    member: Any  # of the window
    slice_: Signal
    ends: list[
        Value
    ]  # for columns and rows of a window, slices, columns, rows: it, and all inside it, ends in this clock
    end_pass: Signal


@dataclass
class _Row:
    """What stage B holds, a row of membranes; and what chooses from it, when that is needed."""

    slice_: Signal  # in stage C
    bias: Value | None  # in stage D
    number: Signal
    clear: Signal  # it is not needed again
    release: Signal  # nor is its bank, for this test
    leaving: Value


class Scanner(Component):
    """Every neuron of a layer, in slices of ``fire_lanes`` neighbouring channels, once for each step that is tested.

    A slice of the membranes of one place is read in a clock, and the bias added. Of a pooling window's membranes the
    largest of each channel goes on: it reaches a threshold first. The last pass over an image clears the bank, and
    gives it back.

    ===== ==============================================
    stage holds
    ===== ==============================================
    A     address of a row
    B     the row, in the memory
    C     the row
    D     some of its slices
    E     one slice
    F     the same with the bias
    G     the largest of the window so far, on the output
    ===== ==============================================

    Only stage A waits, while ``room`` is low: a slice on its way cannot be stopped, so that no signal has to reach all
    stages. A test is accepted when the stages, and the reader of the slices, are empty.

    Latency: ``pool**2`` + :attr:`LATENCY` clocks from a test to the first slice.
    Throughput: ``pool**2`` clocks a slice, without a gap from step to step. After reset ``membrane_rows`` clocks to
    clear both banks.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    contents
        Initial rows of its memory (bias).
    passes
        Whether it reads the neurons for each step; else once for the whole window.

    Members
    -------
    test : In(stream of TEST)
    scan : Out(ScanSignature)
    load : In(LoadSignature)
    valid : Out(1), slice : Out(slice), last : Out(1)
        A slice, and whether it is of the last step of the window.
    room : In(1)
        An address may be taken: there is room for its slice, and for :attr:`LATENCY` more.
    idle : In(1), the reader of the slices has none
    release : Out(2), for each bank high for one clock when it was cleared, or read for a step
    """

    LATENCY = 6

    def __init__(self, hardware: Hardware, index: int, contents: Contents, *, passes: bool) -> None:
        self._hardware, self._index, self._contents, self._passes = hardware, index, contents, passes
        self._shape = shape = hardware.layers[index]
        self._stepped = shape.dynamics is not None
        self._steps = hardware.passes(index) if self._stepped else hardware.steps
        self._bias = hardware.memory("bias", index)
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
                "load": In(LoadSignature(hardware)),
                "valid": Out(1),
                "slice": Out((sums_layout if self._stepped else slice_layout)(hardware, index)),
                "last": Out(1),
                "room": In(1),
                "idle": In(1),
                "release": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bias = None
        if not self._stepped:
            bias = add_table(m, self._bias, self._contents, self.load, platform=platform).read_port()
        state = self._state(m)
        # Stage A.
        at = self._count(m, state)
        place, bias_row = self._address(m, state, at)
        tags = self._tag(m, state, at, place, bias_row)
        # B.
        row = self._read(m, state, at, tags, bias, bias_row)
        self._clear(m, state, row)
        # D, E and F.
        value_f = self._slice_with_bias(m, row, tags)
        # G.
        self._maximum(m, state, tags, value_f)
        self._accept(m, state, at, tags)
        return m

    def _state(self, m: Module) -> _State:
        clearing = Signal(init=1)
        scanning = Signal()
        moving = Signal()
        final = Signal()
        fault = Signal()
        k = Signal(number(self._steps))
        last_step = Signal()
        fresh: Value = Signal() if self._stepped else Const(1)
        m.d.comb += [
            moving.eq(scanning & self.room),
            last_step.eq(k == self._steps - 1 if self._passes else 1),
        ]
        return _State(clearing, scanning, moving, final, fault, k, last_step, fresh)

    def _count(self, m: Module, state: _State) -> _Position:
        """Stage A: counters, the membrane of a window innermost."""
        shape = self._shape
        _, rows, columns = shape.output_map
        group = Signal(number(shape.groups))
        last_group = Signal()
        m.d.comb += last_group.eq(group == shape.groups - 1)
        member = data.StructLayout({"j": number(shape.pool), "i": number(shape.pool)})
        at: Any = Signal(member)
        slice_ = Signal(number(shape.group_slices[0]))
        column = Signal(number(columns))
        line = Signal(number(rows))
        ends: list[Value] = []
        inner: Value = state.moving
        for counter, limits in (
            (at.j, {shape.pool - 1}),
            (at.i, {shape.pool - 1}),
            (slice_, {count - 1 for count in shape.group_slices}),
            (column, {columns - 1}),
            (line, {rows - 1}),
        ):
            at_end: Value
            if len(limits) > 1:
                at_end = counter == self._last_slice(last_group)
            elif (limit := max(limits)) == 0:
                at_end = Const(1)
            else:  # known a clock before, since all counters ask for it
                at_end = Signal(name=f"at_end{len(ends)}")
                with m.If(inner):
                    m.d.sync += at_end.eq(counter == limit - 1)
            if limits != {0}:
                with m.If(inner):
                    m.d.sync += counter.eq(Mux(at_end, 0, counter + 1))
            end_of = Signal(name=f"end{len(ends)}")
            m.d.comb += end_of.eq(inner & at_end)
            ends.append(end_of)
            inner = end_of
        # Counted apart: through all the counters it would come late.
        left = Signal(number(shape.pass_clocks), init=shape.pass_clocks - 1)
        end_a = Signal(init=shape.pass_clocks == 1)
        with m.If(state.moving):
            m.d.sync += [
                left.eq(Mux(end_a, shape.pass_clocks - 1, left - 1)),
                end_a.eq(left == 1 if shape.pass_clocks > 1 else 1),
            ]
        return _Position(group, last_group, at, slice_, ends, end_a)

    def _address(self, m: Module, state: _State, at: _Position) -> tuple[Signal, Signal]:
        """Stage A: the address of the row follows from the counters by constants.

        So do the index of the slice's first neuron, and the row of its bias, which are returned.
        """
        shape, row = self._shape, self.scan.row
        columns = shape.output_map[-1]
        channel_stride, row_stride, _ = self._strides()
        _, end_member, end_slice, end_column, end_group = at.ends
        place = Signal(self.slice.index.shape())
        window = Signal.like(place)  # of the first slice of the window
        first = Signal.like(place)  # of the first window of the group
        bias_row = Signal(number(self._bias.depth))
        group_bias = Signal.like(bias_row)
        with m.If(state.moving):
            m.d.sync += row.eq(row + 1)
            for condition, jump in zip(at.ends, self._jumps(), strict=True):
                with m.If(condition):
                    m.d.sync += row.eq(row + jump)
            with m.If(end_member):
                m.d.sync += [place.eq(place + shape.fire_lanes * channel_stride), bias_row.eq(bias_row + 1)]
            with m.If(end_slice):
                following = Mux(end_column, window + row_stride - (columns - 1), window + 1)
                m.d.sync += [place.eq(following), window.eq(following), bias_row.eq(group_bias)]
            with m.If(end_group):
                channel = first + shape.lanes * channel_stride
                m.d.sync += [place.eq(channel), window.eq(channel), first.eq(channel)]
                m.d.sync += [bias_row.eq(bias_row + 1), group_bias.eq(bias_row + 1), at.group.eq(at.group + 1)]
            with m.If(at.end_pass):
                zeros = (row, place, window, first, bias_row, group_bias, at.group)
                m.d.sync += [signal.eq(0) for signal in zeros]
        return place, bias_row

    def _tag(self, m: Module, state: _State, at: _Position, place: Signal, bias_row: Signal) -> list[Any]:
        """What goes with a slice from stage to stage: a tag for each."""
        members = {
            "valid": 1, "index": place.shape(), "step": state.k.shape(), "last": 1, "end": 1, "first": 1, "emit": 1,
        }  # fmt: skip
        if self._stepped:
            members |= {"row": bias_row.shape(), "fresh": 1}
        tag = data.StructLayout(members)
        tags: list[Any] = [Signal(tag, name=f"tag_{stage}") for stage in "abcdefg"]
        tag_a = tags[0]
        _, end_member, *_ = at.ends
        m.d.comb += [
            tag_a.valid.eq(state.moving),
            tag_a.index.eq(place),
            tag_a.step.eq(state.k),
            tag_a.last.eq(state.last_step),
            tag_a.end.eq(at.end_pass),
            tag_a.first.eq(~at.member.as_value().any()),
            tag_a.emit.eq(end_member),
        ]
        if self._stepped:
            m.d.comb += [tag_a.row.eq(bias_row), tag_a.fresh.eq(state.fresh)]
        m.d.sync += [after.eq(before) for before, after in pairwise(tags)]
        return tags

    def _read(
        self,
        m: Module,
        state: _State,
        at: _Position,
        tags: list[Any],
        bias: ReadPort[int, Value] | None,
        bias_row: Signal,
    ) -> _Row:
        """Stage B: the membranes have been asked for the row, and the table for its bias."""
        tag_b = tags[1]
        slice_b = Signal.like(at.slice_)
        slice_c = Signal.like(at.slice_)
        clear_b = Signal()
        release_b = Signal()
        row_b = Signal.like(self.scan.row)
        if self._stepped:
            clears, releases = state.fresh, at.end_pass & state.fresh
        else:
            clears, releases = state.last_step, at.end_pass & (state.last_step | ~state.final)
        m.d.sync += [slice_b.eq(at.slice_), slice_c.eq(slice_b)]
        bias_d = None
        if bias is not None:
            # Block memory is too slow to be added in the clock that it is read; without a reset it can have this
            # register.
            bias_c = Signal.like(bias.data, reset_less=True)
            bias_d = Signal.like(bias.data)
            m.d.sync += [bias_c.eq(bias.data), bias_d.eq(bias_c)]
            m.d.comb += bias.addr.eq(bias_row)
        m.d.sync += [
            row_b.eq(self.scan.row),
            clear_b.eq(clears & (at.slice_ == self._last_slice(at.last_group))),
            release_b.eq(releases),
        ]
        active = state.scanning | tag_b.valid
        m.d.comb += self.scan.active.eq(active & state.fresh if self._stepped else active)
        return _Row(slice_c, bias_d, row_b, clear_b, release_b, tag_b.valid)

    def _clear(self, m: Module, state: _State, row: _Row) -> None:
        """Behind stage B: a row is cleared after its last slice, and the bank given back after its last row."""
        with m.If(state.clearing):
            m.d.sync += self.scan.clear_row.eq(self.scan.clear_row + 1)
            with m.If(self.scan.clear_row == self._shape.membrane_rows - 1):
                m.d.sync += [state.clearing.eq(0), self.scan.clear_row.eq(0), self.release.eq(0b11)]
        with m.Else():
            given_back = (row.leaving & row.release) << self.scan.bank
            m.d.sync += [self.scan.clear_row.eq(row.number), self.release.eq(given_back)]
        cleared = Signal(2)
        m.d.sync += cleared.eq((row.leaving & row.clear) << self.scan.bank)
        m.d.comb += self.scan.clear.eq(cleared | state.clearing.replicate(2))
        with m.If(row.leaving & row.release & (1 if self._stepped else state.final)):
            m.d.sync += self.scan.bank.eq(~self.scan.bank)

    def _slice_with_bias(self, m: Module, row: _Row, tags: list[Any]) -> Any:
        """Stages D, E and F: the slice out of the row, in two steps, and the bias on it."""
        shape = self._shape
        value = self._slice_layout()
        count = max(shape.group_slices)
        parts = [self.scan.values.as_value()[n * value.size : (n + 1) * value.size] for n in range(count)]
        low_bits = (CHOICE - 1).bit_length()
        chosen_d, high_c = [], row.slice_[low_bits:]
        for n in range(0, count, CHOICE):
            chosen = Signal(value.size, name=f"slices{n}")
            m.d.sync += chosen.eq(_choose(parts[n : n + CHOICE], row.slice_[:low_bits]))
            chosen_d.append(chosen)
        held_high = Signal(max(1, len(high_c)))
        value_f: Any = Signal(value)
        slice_e: Any = Signal(value)
        m.d.sync += [held_high.eq(high_c), slice_e.eq(_choose(chosen_d, held_high))]
        if row.bias is None:
            fresh = tags[4].fresh
            m.d.sync += [total.eq(Mux(fresh, part, 0)) for total, part in zip(value_f, slice_e, strict=True)]
            return value_f
        bias_e = Signal.like(row.bias)
        m.d.sync += bias_e.eq(row.bias)
        for total, part, b in zip(value_f, slice_e, fields(self._bias, bias_e), strict=True):
            m.d.sync += total.eq(part + b)
        return value_f

    def _maximum(self, m: Module, state: _State, tags: list[Any], value_f: Any) -> None:
        """Stage G: the largest membrane of each channel of the window, on the output."""
        *_, tag_f, tag_g = tags
        if self._stepped:
            given = Signal(self._slice_layout(), name="given")
            m.d.sync += given.eq(value_f)
            m.d.comb += [
                self.valid.eq(tag_g.valid),
                self.slice.values.eq(given),
                *(self.slice[name].eq(tag_g[name]) for name in ("index", "step", "end", "row", "first", "emit")),
                self.slice["fault"].eq(state.fault),
                self.last.eq(tag_g.last),
            ]
            return
        largest = Signal(self._slice_layout())
        for best, new in zip(largest, value_f, strict=True):
            with m.If(tag_f.valid & (tag_f.first | (ordered(new) > ordered(best))) if self._shape.pool > 1 else 1):
                m.d.sync += best.eq(new)
        m.d.comb += [
            self.valid.eq(tag_g.valid & tag_g.emit),
            self.slice.values.eq(largest),
            self.slice.index.eq(tag_g.index),
            self.slice.step.eq(tag_g.step),
            self.slice.end.eq(tag_g.end),
            self.slice.fault.eq(state.fault),
            self.last.eq(tag_g.last),
        ]

    def _accept(self, m: Module, state: _State, at: _Position, tags: list[Any]) -> None:
        """A test begins when the stages are empty; its last pass, or its only one, ends the scan."""
        waiting = [stage.valid for stage in tags[1:]]
        if self._stepped:
            self._accept_step(m, state, at, ~_any(waiting))
            return
        m.d.comb += self.test.ready.eq(~state.clearing & ~state.scanning & ~_any(waiting) & self.idle)
        with m.If(self.test.valid & self.test.ready):
            m.d.sync += [
                state.scanning.eq(1),
                state.final.eq(self.test.payload.final),
                state.fault.eq(self.test.payload.fault),
            ]
        with m.If(state.moving & at.end_pass):
            m.d.sync += state.scanning.eq(state.final & ~state.last_step)
            if self._passes:
                m.d.sync += state.k.eq(Mux(state.last_step, 0, state.k + 1))

    def _accept_step(self, m: Module, state: _State, at: _Position, empty: Value) -> None:
        """With dynamics a pass at a time, of a test or of those that are left after the final one."""
        more = Signal()
        begins = Signal()
        m.d.comb += [
            begins.eq(~state.clearing & ~state.scanning & empty & self.idle),
            self.test.ready.eq(begins & ~more),
        ]
        with m.If(begins & (more | self.test.valid)):
            m.d.sync += [state.scanning.eq(1), state.fresh.eq(~more), more.eq(0)]
        with m.If(self.test.valid & self.test.ready):
            test = self.test.payload
            m.d.sync += [state.final.eq(test.final), state.fault.eq(test.fault)]
        with m.If(state.moving & at.end_pass):
            m.d.sync += [
                state.scanning.eq(0),
                more.eq(state.final & ~state.last_step),
                state.k.eq(Mux(state.last_step, 0, state.k + 1)),
            ]

    def _last_slice(self, last_group: Signal) -> Value:
        """Number of the last slice of a place: the last group may have fewer."""
        slices = self._shape.group_slices
        return Mux(last_group, slices[-1] - 1, slices[0] - 1)

    def _slice_layout(self) -> data.ArrayLayout:
        return data.ArrayLayout(signed(self._shape.bank_bits), self._shape.fire_lanes)

    def _strides(self) -> tuple[int, int, int]:
        if self._index == len(self._hardware.layers) - 1:
            return 1, 1, 1
        return self._hardware.strides(self._index + 1)

    def _jumps(self) -> list[int]:
        """What the row address changes by at the end of a line of a window, a slice, a window, a line, a group."""
        shape = self._shape
        pool, (_, columns), (_, windows_down, windows) = shape.pool, shape.grid, shape.output_map
        corner = (pool - 1) * columns + pool - 1  # from the first to the last membrane of a window
        down = pool * columns - (windows - 1) * pool - corner
        group = shape.places - ((windows_down - 1) * pool * columns + (windows - 1) * pool) - corner
        return [columns - (pool - 1), -corner, pool - corner, down, group]


def _choose(parts: Sequence[Value], index: Value) -> Value:
    return Array(parts)[index] if len(parts) > 1 else parts[0]


def _any(values: list[Value]) -> Value:
    some = values[0]
    for value in values[1:]:
        some = some | value
    return some
