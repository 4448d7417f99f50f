"""From a spike to the places it reaches: one row of weights and one row of membranes a clock."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.layouts import Component, event_layout, number


class Walk(Component):
    """Addresses of all membranes that a spike reaches, without a division or a multiplication by a variable.

    A spike (channel, row, column) of a map reaches the outputs whose kernel covers it: a rectangle of places, walked
    row by row, and at each place every group of ``lanes`` channels. Where the rectangle begins stands in one small
    table for rows and one for columns; from there on addresses change by constants. In a dense layer the rectangle is
    one place.

    Latency: 1 clock from an event to its first address.
    Throughput: ``max(1, visits * groups)`` clocks a spike (:attr:`LayerShape.visits`), 1 a watermark.

    Members
    -------
    i : In(stream of events)
    valid, ready : Out(1), In(1)
        An address, or a watermark, is there; it is taken.
    mark, fault, step
        Of the event.
    visit : Out(1)
        There is a membrane to add to: not for a watermark or a spike that reaches no membrane.
    weight, row
        Addresses of a row of weights and of one of membranes.
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware, index: int) -> None:
        self._shape = shape = hardware.layers[index]
        self._layout = layout = event_layout(hardware, index)
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "valid": Out(1),
                "ready": In(1),
                "mark": Out(1),
                "fault": Out(1),
                "step": Out(layout["step"].shape),
                "visit": Out(1),
                "weight": Out(number(shape.groups * shape.taps)),
                "row": Out(number(shape.membrane_rows)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self._shape
        taps, places = shape.taps, shape.places
        kernel_columns, grid_columns = shape.kernel[1], shape.grid[1]
        weight, row = self.weight, self.row
        begin_weight, begin_row, columns, rows = self._begin(m)

        group = Signal(number(shape.groups))
        last_group = Signal()
        last_column = Signal()
        last_row = Signal()
        m.d.comb += [last_group.eq(group == shape.groups - 1), last_column.eq(1), last_row.eq(1)]
        rewind = shape.groups - 1
        with m.If(self.valid & self.ready):
            m.d.sync += [group.eq(group + 1), weight.eq(weight + taps), row.eq(row + places)]
        if max(len(reached) for reached in shape.reach(1)) > 1:
            column = Signal.like(columns)
            m.d.comb += last_column.eq(column == columns)
            with m.If(self.valid & self.ready & last_group):
                m.d.sync += [
                    group.eq(0),
                    weight.eq(weight - rewind * taps - shape.stride),
                    row.eq(row - rewind * places + 1),
                    column.eq(column + 1),
                ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += column.eq(0)
        if max(len(reached) for reached in shape.reach(0)) > 1:
            line = Signal.like(rows)
            line_weight = Signal.like(weight)  # where the row of places began
            line_row = Signal.like(row)
            next_weight = Signal.like(weight)
            next_row = Signal.like(row)
            m.d.comb += [
                last_row.eq(line == rows),
                next_weight.eq(line_weight - shape.stride * kernel_columns),
                next_row.eq(line_row + grid_columns),
            ]
            with m.If(self.valid & self.ready & last_group & last_column):
                m.d.sync += [
                    group.eq(0),
                    weight.eq(next_weight),
                    line_weight.eq(next_weight),
                    row.eq(next_row),
                    line_row.eq(next_row),
                    line.eq(line + 1),
                ]
                if max(len(reached) for reached in shape.reach(1)) > 1:
                    m.d.sync += column.eq(0)
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [line.eq(0), line_weight.eq(begin_weight), line_row.eq(begin_row)]

        last = Signal()
        m.d.comb += [
            last.eq(~self.visit | (last_group & last_column & last_row)),
            self.i.ready.eq(~self.valid | (self.ready & last)),
        ]
        with m.If(self.i.ready):
            event = self.i.payload
            m.d.sync += [
                self.valid.eq(self.i.valid),
                self.mark.eq(event.mark),
                self.fault.eq(event.fault),
                self.step.eq(event.step),
                self.visit.eq(~event.mark & self._reaches),
                group.eq(0),
                weight.eq(begin_weight),
                row.eq(begin_row),
            ]
        return m

    def _begin(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """Addresses of the first place of the spike on the input, and its number of columns and rows, less one."""
        shape, index = self._shape, self.i.payload.index
        _, map_rows, map_columns = shape.map
        row_bits, column_bits = ((size - 1).bit_length() for size in (map_rows, map_columns))
        column = index[:column_bits]
        line = index[column_bits : column_bits + row_bits]
        channel = index[column_bits + row_bits :]
        if shape.kind == "dense":
            self._reaches: Any = 1
            return index, Value.cast(0), Value.cast(0), Value.cast(0)
        kernel_rows, kernel_columns = shape.kernel
        row_reach, column_reach = shape.reach(0), shape.reach(1)

        def table(position: Value, entries: list[int]) -> Signal:
            value = Signal(number(max(entries) + 1))
            m.d.comb += value.eq(Array(entries)[position] if len(position) else entries[0])
            return value

        def first(reached: list[tuple[int, int]]) -> tuple[int, int]:
            return reached[0] if reached else (0, 0)

        self._reaches = Signal()
        m.d.comb += self._reaches.eq(
            table(line, [int(bool(x)) for x in row_reach]) & table(column, [int(bool(x)) for x in column_reach])
        )
        begin_weight = Signal(number(shape.groups * shape.taps))
        begin_row = Signal(number(shape.membrane_rows))
        m.d.comb += [
            begin_weight.eq(
                _times(channel, kernel_rows * kernel_columns)
                + table(line, [first(x)[1] * kernel_columns for x in row_reach])
                + table(column, [first(x)[1] for x in column_reach])
            ),
            begin_row.eq(
                table(line, [first(x)[0] * shape.grid[1] for x in row_reach])
                + table(column, [first(x)[0] for x in column_reach])
            ),
        ]
        columns = table(column, [max(0, len(x) - 1) for x in column_reach])
        rows = table(line, [max(0, len(x) - 1) for x in row_reach])
        held_columns = Signal.like(columns)
        held_rows = Signal.like(rows)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held_columns.eq(columns), held_rows.eq(rows)]
        return begin_weight, begin_row, held_columns, held_rows


def _times(value: Value, factor: int) -> Value:
    """A product as a sum of shifts: synthesis would spend a multiplier on it."""
    shifted = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return sum(shifted[1:], start=shifted[0])
