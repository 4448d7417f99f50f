"""Reading the membranes of a layer, window by window, a few neurons a clock."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware
from firstspike_rtl.layouts import TEST, number, slice_layout
from firstspike_rtl.membranes import ScanSignature


class Scanner(wiring.Component):
    """Every neuron of a layer, in slices of ``fire_lanes`` neighbouring channels, once for each step that is tested.

    A row of membranes is read in a clock. Of a pooling window's rows the largest membrane of each channel goes on: it
    reaches a threshold first. The last pass over an image writes the bias back, which gives the bank free.

    ===== =========================================================================
    stage holds
    ===== =========================================================================
    A     address of a row
    B     the row; largest membranes of the window so far
    C     a row of neurons, from which slices are shifted out
    ===== =========================================================================

    All stages wait together, while ``ready`` is low; and A and B for C. A test is accepted when the stages, and the
    reader of the slices, are empty.

    Latency: ``pool**2 + 2`` clocks from a test to the first slice.
    Throughput: ``max(pool**2, slices)`` clocks a window and group (:attr:`LayerShape.group_slices`), without a gap from
    step to step. After reset ``membrane_rows + 1`` clocks to fill both banks.

    Parameters
    ----------
    hardware, index
        The core and the number of the layer.
    passes
        Whether it reads the neurons for each step; else once for the whole window.

    Members
    -------
    test : In(stream of TEST)
    scan : Out(ScanSignature)
    valid : Out(1), slice : Out(slice), last : Out(1)
        A slice, and whether it is of the last step of the window.
    ready : In(1)
    idle : In(1), the reader of the slices has none
    release : Out(2), for each bank high for one clock when it was filled with the bias, or read for a step
    """

    def __init__(self, hardware: Hardware, index: int, *, passes: bool) -> None:
        self._hardware, self._index, self._passes = hardware, index, passes
        self._shape = shape = hardware.layers[index]
        super().__init__(
            {
                "test": In(stream.Signature(TEST)),
                "scan": Out(ScanSignature(shape)),
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
        scan, bank = self.scan, self.scan.bank
        width, w = shape.membrane_bits, shape.fire_lanes
        pool = shape.pool
        _, rows, columns = shape.output_map
        slices = shape.group_slices

        filling = Signal(init=1)
        scanning = Signal()
        final = Signal()
        fault = Signal()
        k = Signal(number(steps))
        last_step = Signal()
        m.d.comb += last_step.eq(k == steps - 1 if self._passes else 1)

        # A: counters of channel group, window, and membrane in the window.
        ends = []  # whether a counter, and all inside it, is at its end
        at_end = 1
        counters = {}
        for name, count in (("j", pool), ("i", pool), ("column", columns), ("line", rows), ("group", shape.groups)):
            counters[name] = counter = Signal(number(count), name=name)
            ends.append(at_end)
            at_end = at_end & (counter == count - 1)
        end_a = Signal()
        end_window_a = Signal()
        m.d.comb += [end_a.eq(at_end), end_window_a.eq(ends[2])]
        place = Signal(self.slice.index.shape())  # index of the first channel of the group in this window
        first_place = Signal.like(place)  # of the first window
        channel_stride, row_stride, _ = self._strides()

        advance = Signal()  # of A and B
        valid_b = Signal()
        emit_b = Signal()
        first_b = Signal()
        fill_b = Signal()
        valid_c = Signal()
        left_c = Signal(number(max(slices)))
        m.d.comb += [
            advance.eq(self.ready & ~(valid_b & emit_b & valid_c & (left_c != 0))),
            scan.step.eq(advance | scan.both),
            scan.active.eq(filling | fill_b | scanning | valid_b),
            scan.both.eq(filling | fill_b),
            scan.group.eq(counters["group"]),
        ]
        jump = self._jumps()
        with m.If((scanning & advance) | filling):
            for n, counter in enumerate(counters.values()):
                with m.If(ends[n]):
                    m.d.sync += counter.eq(counter + 1)
                with m.If(ends[n + 1] if n + 1 < len(ends) else at_end):
                    m.d.sync += counter.eq(0)
            m.d.sync += scan.row.eq(scan.row + 1)
            for condition, delta in zip(ends[1:], jump, strict=True):
                with m.If(condition):
                    m.d.sync += scan.row.eq(scan.row + delta)
            with m.If(ends[2]):
                m.d.sync += place.eq(place + 1)
            with m.If(ends[3]):
                m.d.sync += place.eq(place + row_stride - (columns - 1))
            with m.If(ends[4]):
                following = first_place + shape.lanes * channel_stride
                m.d.sync += [place.eq(following), first_place.eq(following)]
            with m.If(at_end):
                m.d.sync += [scan.row.eq(0), place.eq(0), first_place.eq(0)]

        with m.If(filling & end_a):
            m.d.sync += filling.eq(0)
        filled = Signal()
        m.d.sync += filled.eq(filling & end_a)

        # B
        place_b = Signal.like(place)
        group_end_b = Signal()
        k_b = Signal.like(k)
        end_b = Signal()
        release_b = Signal()
        last_b = Signal()
        with m.If(advance | filling):
            m.d.sync += [
                valid_b.eq(scanning),
                emit_b.eq(end_window_a),
                first_b.eq((counters["i"] == 0) & (counters["j"] == 0)),
                place_b.eq(place),
                group_end_b.eq(counters["group"] == shape.groups - 1),
                k_b.eq(k),
                last_b.eq(last_step),
                end_b.eq(end_a),
                release_b.eq(end_a & (last_step | ~final)),
            ]
        m.d.sync += fill_b.eq(filling)
        m.d.comb += scan.refill.eq((valid_b & last_b) | fill_b)
        largest = Signal(data.ArrayLayout(signed(width), shape.lanes))
        if pool == 1:
            m.d.comb += largest.eq(scan.values)
        else:
            held = Signal.like(largest)
            for new, old, value in zip(largest, held, scan.values, strict=True):
                m.d.comb += new.eq(Mux(first_b | (value > old), value, old))
            with m.If(advance):
                m.d.sync += held.eq(largest)

        # C
        row_c = Signal(data.ArrayLayout(signed(width), max(slices) * w))
        place_c = Signal.like(place)
        k_c = Signal.like(k)
        last_c = Signal()
        end_c = Signal()
        with m.If(self.ready):
            with m.If(valid_c & (left_c != 0)):
                m.d.sync += [
                    row_c.as_value().eq(row_c.as_value()[w * width :]),
                    place_c.eq(place_c + w * channel_stride),
                    left_c.eq(left_c - 1),
                ]
            with m.Else():
                m.d.sync += [
                    valid_c.eq(valid_b & emit_b),
                    row_c.as_value().eq(largest.as_value()),
                    place_c.eq(place_b),
                    left_c.eq(Mux(group_end_b, slices[-1] - 1, slices[0] - 1)),
                    k_c.eq(k_b),
                    last_c.eq(last_b),
                    end_c.eq(end_b),
                ]
        m.d.comb += [
            self.valid.eq(valid_c),
            self.slice.values.as_value().eq(row_c.as_value()),
            self.slice.index.eq(place_c),
            self.slice.step.eq(k_c),
            self.slice.end.eq(end_c & (left_c == 0)),
            self.slice.fault.eq(fault),
            self.last.eq(last_c),
        ]

        # Tests.
        m.d.comb += [
            self.test.ready.eq(~filling & ~scanning & ~valid_b & ~valid_c & self.idle),
            self.release.eq(filled.replicate(2) | ((valid_b & advance & release_b) << bank)),
        ]
        with m.If(self.test.valid & self.test.ready):
            m.d.sync += [scanning.eq(1), final.eq(self.test.payload.final), fault.eq(self.test.payload.fault)]
        with m.If(scanning & advance & end_a):
            m.d.sync += scanning.eq(final & ~last_step)
            if self._passes:
                m.d.sync += k.eq(Mux(last_step, 0, k + 1))
        with m.If(valid_b & advance & release_b & final):
            m.d.sync += bank.eq(~bank)
        return m

    def _strides(self) -> tuple[int, int, int]:
        if self._index == len(self._hardware.layers) - 1:
            return 1, 1, 1
        return self._hardware.strides(self._index + 1)

    def _jumps(self) -> list[int]:
        """What the row address changes by at the end of a line of a window, a window, a line of windows, a group."""
        shape = self._shape
        pool, (_, columns), (_, windows_down, windows) = shape.pool, shape.grid, shape.output_map
        corner = (pool - 1) * columns + pool - 1  # from the first to the last membrane of a window
        down = pool * columns - (windows - 1) * pool - corner
        group = shape.places - ((windows_down - 1) * pool * columns + (windows - 1) * pool) - corner
        return [columns - (pool - 1), pool - corner, down, group]
