"""Reading the membranes of a layer, window by window, a few neurons a clock."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import TEST, LoadSignature, number, slice_layout
from firstspike_rtl.core.membranes import ScanSignature
from firstspike_rtl.core.tables import Contents, add_table, fields

#: Slices that are chosen from in one clock.
CHOICE = 8


class Scanner(wiring.Component):
    """Every neuron of a layer, in slices of ``fire_lanes`` neighbouring channels, once for each step that is tested.

    A slice of the membranes of one place is read in a clock, and the bias added. Of a pooling window's membranes the
    largest of each channel goes on: it reaches a threshold first. The last pass over an image clears the bank, and
    gives it back.

    ===== ==============================================
    stage holds
    ===== ==============================================
    A     address of a row
    B     the row
    C     some of its slices
    D     one slice, with the bias
    E     the largest of the window so far, on the output
    ===== ==============================================

    All stages wait together, while ``ready`` is low. A test is accepted when the stages, and the reader of the slices,
    are empty.

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
    ready : In(1)
    idle : In(1), the reader of the slices has none
    release : Out(2), for each bank high for one clock when it was cleared, or read for a step
    """

    LATENCY = 4

    def __init__(self, hardware: Hardware, index: int, contents: Contents, *, passes: bool) -> None:
        self._hardware, self._index, self._contents, self._passes = hardware, index, contents, passes
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
                "load": In(LoadSignature(hardware)),
                "valid": Out(1),
                "slice": Out(slice_layout(hardware, index)),
                "last": Out(1),
                "ready": In(1),
                "idle": In(1),
                "release": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape, steps = self._shape, self._hardware.steps
        scan, ready = self.scan, self.ready
        width, w, pool = shape.membrane_bits, shape.fire_lanes, shape.pool
        _, rows, columns = shape.output_map
        slices = shape.group_slices
        channel_stride, row_stride, _ = self._strides()
        bias_spec = self._hardware.memory("bias", self._index)
        bias = add_table(m, bias_spec, self._contents, self.load).read_port()

        clearing = Signal(init=1)
        scanning = Signal()
        final = Signal()
        fault = Signal()
        k = Signal(number(steps))
        last_step = Signal()
        m.d.comb += last_step.eq(k == steps - 1 if self._passes else 1)

        # A: counters, the membrane of a window innermost, and what follows from them by constants.
        group = Signal(number(shape.groups))
        last_group = Signal()
        m.d.comb += last_group.eq(group == shape.groups - 1)
        member = data.StructLayout({"j": number(pool), "i": number(pool)})
        at = Signal(member)
        slice_ = Signal(number(slices[0]))
        column = Signal(number(columns))
        line = Signal(number(rows))
        ends: list[Value] = []  # whether a counter, and all inside it, is at its end
        inner: Value | int = 1
        for counter, end in (
            (at.j, pool - 1),
            (at.i, pool - 1),
            (slice_, Mux(last_group, slices[-1] - 1, slices[0] - 1)),
            (column, columns - 1),
            (line, rows - 1),
        ):
            with m.If(scanning & ready & inner):
                m.d.sync += counter.eq(Mux(counter == end, 0, counter + 1))
            end_of = Signal(name=f"end{len(ends)}")
            m.d.comb += end_of.eq(inner & (counter == end))
            ends.append(end_of)
            inner = end_of
        _, end_member, end_slice, end_column, end_group = ends
        # Counted apart: through all the counters it would come late.
        left = Signal(number(shape.pass_clocks), init=shape.pass_clocks - 1)
        end_a = Signal(init=shape.pass_clocks == 1)
        with m.If(scanning & ready):
            m.d.sync += [
                left.eq(Mux(end_a, shape.pass_clocks - 1, left - 1)),
                end_a.eq(left == 1 if shape.pass_clocks > 1 else 1),
            ]

        place = Signal(self.slice.index.shape())  # index of the slice's first neuron
        window = Signal.like(place)  # of the first slice of the window
        first = Signal.like(place)  # of the first window of the group
        bias_row = Signal(number(bias_spec.depth))
        group_bias = Signal.like(bias_row)
        jumps = self._jumps()
        with m.If(scanning & ready):
            m.d.sync += scan.row.eq(scan.row + 1)
            for condition, jump in zip(ends, jumps, strict=True):
                with m.If(condition):
                    m.d.sync += scan.row.eq(scan.row + jump)
            with m.If(end_member):
                m.d.sync += [place.eq(place + w * channel_stride), bias_row.eq(bias_row + 1)]
            with m.If(end_slice):
                following = Mux(end_column, window + row_stride - (columns - 1), window + 1)
                m.d.sync += [place.eq(following), window.eq(following), bias_row.eq(group_bias)]
            with m.If(end_group):
                channel = first + shape.lanes * channel_stride
                m.d.sync += [place.eq(channel), window.eq(channel), first.eq(channel)]
                m.d.sync += [bias_row.eq(bias_row + 1), group_bias.eq(bias_row + 1), group.eq(group + 1)]
            with m.If(end_a):
                zeros = (scan.row, place, window, first, bias_row, group_bias, group)
                m.d.sync += [signal.eq(0) for signal in zeros]

        # What goes with a slice from stage to stage.
        tag = data.StructLayout(
            {
                "valid": 1, "index": self.slice.index.shape(), "step": number(steps), "last": 1, "end": 1,
                "first": 1, "emit": 1,
            }
        )  # fmt: skip
        tags = [Signal(tag, name=f"tag_{stage}") for stage in "abcde"]
        tag_a, tag_b, _, tag_d, tag_e = tags
        m.d.comb += [
            tag_a.valid.eq(scanning),
            tag_a.index.eq(place),
            tag_a.step.eq(k),
            tag_a.last.eq(last_step),
            tag_a.end.eq(end_a),
            tag_a.first.eq(~at.as_value().any()),
            tag_a.emit.eq(end_member),
        ]
        with m.If(ready):
            m.d.sync += [after.eq(before) for before, after in pairwise(tags)]

        # B
        slice_b = Signal.like(slice_)
        bias_c = Signal.like(bias.data)  # block memory is too slow to be added in the clock that it is read
        clear_b = Signal()
        release_b = Signal()
        row_b = Signal.like(scan.row)
        with m.If(ready):
            m.d.sync += [
                slice_b.eq(slice_),
                bias_c.eq(bias.data),
                row_b.eq(scan.row),
                clear_b.eq(last_step & (slice_ == Mux(last_group, slices[-1] - 1, slices[0] - 1))),
                release_b.eq(end_a & (last_step | ~final)),
            ]
        leaving = Signal()
        m.d.comb += [
            leaving.eq(tag_b.valid & ready),
            scan.step.eq(ready),
            scan.active.eq(scanning | tag_b.valid),
            bias.addr.eq(bias_row),
            bias.en.eq(ready),
        ]
        with m.If(clearing):
            m.d.sync += scan.clear_row.eq(scan.clear_row + 1)
            with m.If(scan.clear_row == shape.membrane_rows - 1):
                m.d.sync += [clearing.eq(0), scan.clear_row.eq(0), self.release.eq(0b11)]
        with m.Else():
            m.d.sync += [scan.clear_row.eq(row_b), self.release.eq((leaving & release_b) << scan.bank)]
        cleared = Signal(2)
        m.d.sync += cleared.eq((leaving & clear_b) << scan.bank)
        m.d.comb += scan.clear.eq(cleared | clearing.replicate(2))
        with m.If(leaving & release_b & final):
            m.d.sync += scan.bank.eq(~scan.bank)

        # C and D: the slice out of the row, in two steps.
        value = data.ArrayLayout(signed(width), w)
        count = max(slices)
        parts = [scan.values.as_value()[n * value.size : (n + 1) * value.size] for n in range(count)]
        chosen_c, high_c = [], slice_b[(CHOICE - 1).bit_length() :]
        for n in range(0, count, CHOICE):
            chosen = Signal(value.size, name=f"slices{n}")
            with m.If(ready):
                m.d.sync += chosen.eq(_choose(parts[n : n + CHOICE], slice_b[: (CHOICE - 1).bit_length()]))
            chosen_c.append(chosen)
        held_high = Signal(max(1, len(high_c)))
        value_d = Signal(value)
        slice_c = data.View(value, _choose(chosen_c, held_high))
        with m.If(ready):
            m.d.sync += held_high.eq(high_c)
            for total, part, b in zip(value_d, slice_c, fields(bias_spec, bias_c), strict=True):
                m.d.sync += total.eq(part + b)

        # E
        largest = Signal(value)
        with m.If(ready):
            for best, new in zip(largest, value_d, strict=True):
                with m.If(tag_d.first | (new > best) if pool > 1 else 1):
                    m.d.sync += best.eq(new)
        m.d.comb += [
            self.valid.eq(tag_e.valid & tag_e.emit),
            self.slice.values.eq(largest),
            self.slice.index.eq(tag_e.index),
            self.slice.step.eq(tag_e.step),
            self.slice.end.eq(tag_e.end),
            self.slice.fault.eq(fault),
            self.last.eq(tag_e.last),
        ]

        # Tests.
        waiting = [stage.valid for stage in tags[1:]]
        m.d.comb += self.test.ready.eq(~clearing & ~scanning & ~_any(waiting) & self.idle)
        with m.If(self.test.valid & self.test.ready):
            m.d.sync += [scanning.eq(1), final.eq(self.test.payload.final), fault.eq(self.test.payload.fault)]
        with m.If(scanning & ready & end_a):
            m.d.sync += scanning.eq(final & ~last_step)
            if self._passes:
                m.d.sync += k.eq(Mux(last_step, 0, k + 1))
        return m

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


def _choose(parts: list[Value], index: Value) -> Value:
    return Array(parts)[index] if len(parts) > 1 else parts[0]


def _any(values: list[Value]) -> Value:
    some = values[0]
    for value in values[1:]:
        some = some | value
    return some
