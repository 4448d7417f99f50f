"""Deliberately wrong hardware: each a context in which the RTL is built with one mistake.

A mistake is a change of the RTL's own text, so that it says exactly what is wrong; if the text is no longer there, the
mutant fails.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import ModuleType
from unittest import mock

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped
from mistakes import changed

from firstspike_rtl.core import datapath as core
from firstspike_rtl.core import (
    integrator,
    membranes,
    monitor,
    neurons,
    readout,
    scanner,
    serialiser,
    stepper,
    walk,
)
from firstspike_rtl.core.datapath import Core
from firstspike_rtl.core.inputs import events, pixels, sorter
from firstspike_rtl.core.monitor import Fork
from firstspike_rtl.top import pins as top

RTL = (core, events, integrator, membranes, monitor, neurons, readout, scanner, serialiser, stepper, top, walk)


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Parameters
    ----------
    design
        The design that it shows in.
    module, old, new
        As of :func:`mistakes.changed`; or ``module`` and the name ``old`` of what is replaced by the object ``new``.
    """

    design: str
    module: ModuleType
    old: str
    new: object

    def __call__(self) -> contextlib.AbstractContextManager[object]:
        """The context in which hardware is wrong."""
        if isinstance(self.new, str):
            return changed(self.module, self.old, self.new, RTL)
        return mock.patch.object(self.module, self.old, self.new)


class DroppingFork(Fork):
    """Every fifth spike does not go on."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Fork(self.i.payload.shape())
        count, drop = Signal(3), Signal()
        connect(m, flipped(self.i), inner.i)
        connect(m, flipped(self.tap), inner.tap)
        m.d.comb += [
            drop.eq((count == 4) & ~inner.o.payload.mark),
            self.o.payload.eq(inner.o.payload),
            self.o.valid.eq(inner.o.valid & ~drop),
            inner.o.ready.eq(self.o.ready | drop),
        ]
        with m.If(inner.o.valid & inner.o.ready & ~inner.o.payload.mark):
            m.d.sync += count.eq(Mux(count == 4, 0, count + 1))
        return m


class HidingFork(Fork):
    """The tap misses the events of odd steps."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload), self.i.ready.eq(self.o.ready),
            self.tap.valid.eq(self.i.valid & self.o.ready & ~self.i.payload.step[0]),
            self.tap.payload.eq(self.i.payload),
        ]  # fmt: skip
        return m


class HastyCore(wiring.Component):
    """The core, but its results go out whether or not anybody is ready."""

    def __init__(self, *arguments: object) -> None:
        self._inner = Core(*arguments)
        super().__init__(self._inner.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = self._inner
        for name, member in self.signature.members.items():
            if name == "o":
                m.d.comb += [self.o.valid.eq(inner.o.valid), self.o.payload.eq(inner.o.payload), inner.o.ready.eq(1)]
            elif member.is_port:
                mine, its = getattr(self, name), getattr(inner, name)
                m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
            else:
                connect(m, flipped(getattr(self, name)), getattr(inner, name))
        return m


_STEPPED, _SEARCH, _MAPS, _AGAIN, _ONCE = "ties", "convolution", "convolution_early", "leaky", "ramps"
_IN_ORDER = "trains"

#: Those that any comparison of the core must find, with or without stalls.
CORE: dict[str, Mutant] = {
    # Events.
    "dropped_event": Mutant(_STEPPED, core, "Fork", DroppingFork),
    "hidden_event": Mutant(_STEPPED, core, "Fork", HidingFork),
    "equal_events_once": Mutant(_IN_ORDER, events, "spike & exists & (step == k)",
                                "spike & exists & (step == k) & ((index != o.index) | o.mark)"),
    "watermarks_of_steps_without_events_missing": Mutant(_IN_ORDER, events, "~exists | (step <= k)",
                                                         "~exists | (step <= k + 1)"),
    "time_goes_on": Mutant(_IN_ORDER, events, "k.eq(0), ending.eq(0)", "ending.eq(0)"),
    "highest_lane_first": Mutant(
        _STEPPED, serialiser, "for lane in reversed(range(self._lanes)):", "for lane in range(self._lanes):"
    ),
    "lost_end": Mutant(_SEARCH, neurons, "slice_.end & (last | hardware", "slice_.end & (~last | hardware"),
    # Walk.
    "taps_in_wrong_order": Mutant(
        _SEARCH, walk, "rewind * taps - shape.stride", "rewind * taps + shape.stride"
    ),
    "rows_of_taps_in_wrong_order": Mutant(
        _SEARCH, walk, "line_weight - shape.stride * kernel_columns", "line_weight + shape.stride * kernel_columns"
    ),
    "stride_of_one": Mutant(_MAPS, walk, "line_weight - shape.stride * kernel_columns", "line_weight - kernel_columns"),
    "one_column_too_few": Mutant(_SEARCH, walk, "- 1) for x in column_reach", "- 2) for x in column_reach"),
    "one_row_too_few": Mutant(_SEARCH, walk, "- 1) for x in row_reach", "- 2) for x in row_reach"),
    "one_group_too_few": Mutant(_STEPPED, walk, "group == shape.groups - 1", "group == max(0, shape.groups - 2)"),
    "reaches_what_it_does_not": Mutant(
        _SEARCH, walk, "self.visit.eq(~event.mark & self._reaches)", "self.visit.eq(~event.mark)"
    ),
    # Integrator.
    "swapped_lanes": Mutant(
        _STEPPED, integrator, "fields(weight_spec, weights_s2)", "fields(weight_spec, weights_s2)[::-1]"
    ),
    "shift_off_by_one": Mutant(_SEARCH, integrator, "w << k if", "w << (k + 1) if"),
    "late_fire_start": Mutant(_STEPPED, integrator, "step >= start", "step > start"),
    "early_fire_start": Mutant(_STEPPED, integrator, "step >= start", "step + 1 >= start"),
    "bank_not_switched": Mutant(_SEARCH, integrator, "bank.eq(bank ^ (issued & full))", "bank.eq(bank)"),
    "bank_not_waited_for": Mutant(_STEPPED, integrator, "~busy & ~(due & waiting)", "~(due & waiting)"),
    "test_lost": Mutant(_STEPPED, integrator, "& ~(due & waiting)", ""),
    # Membranes.
    "one_bank": Mutant(_SEARCH, membranes, "row.holds & (chosen == bank)", "row.holds & (bank == 0)"),
    "cleared_rows_stay": Mutant(_SEARCH, membranes, "row.holds & (chosen == bank)", "(chosen == bank)"),
    "sums_are_cleared": Mutant(_SEARCH, membranes, "written.holds.eq(~scan.clear[bank])", "written.holds.eq(0)"),
    "one_shallow_bank": Mutant(_STEPPED, membranes, "Cat(add.row, add.bank)", "Cat(add.row, 0)"),
    "cleared_shallow_rows_stay": Mutant(_STEPPED, membranes, "held.eq(kept |", "held.eq(held |"),
    "the_empty_row_is_full": Mutant(_SEARCH, membranes, "writer.addr.eq(place ^", "writer.addr.eq(empty ^"),
    "last_sum_not_seen": Mutant(_SEARCH, membranes, "Mux(again ^ (part % 2), sums[mine], adder.data)", "adder.data"),
    "sum_of_another_row": Mutant(_SEARCH, membranes, "(valid & (place == add_place))", "valid"),
    # Scanner.
    "first_of_a_window": Mutant(_SEARCH, scanner, "tag_f.first | (ordered(new) > ordered(best))", "tag_f.first"),
    "least_of_a_window": Mutant(_SEARCH, scanner, "(ordered(new) > ordered(best))", "(ordered(new) < ordered(best))"),
    "window_not_begun": Mutant(_SEARCH, scanner, "tag_f.first | (ordered(new)", "(ordered(new)"),
    "windows_shifted": Mutant(_SEARCH, scanner, "pool * columns - (windows - 1)", "pool * columns + 1 - (windows - 1)"),
    "no_bias": Mutant(_STEPPED, scanner, "total.eq(part + b)", "total.eq(part)"),
    "bias_of_the_first_group": Mutant(_SEARCH, scanner, "group_bias.eq(bias_row + 1)", "group_bias.eq(0)"),
    "bias_of_the_first_window": Mutant(_SEARCH, scanner, "bias_row.eq(group_bias)", "bias_row.eq(bias_row + 1)"),
    "not_cleared": Mutant(
        _STEPPED, scanner, "cleared.eq((row.leaving & row.clear) << self.scan.bank)", "cleared.eq(0)"
    ),
    "cleared_every_step": Mutant(_STEPPED, scanner, "clear_b.eq(clears & ", "clear_b.eq("),
    "cleared_after_a_slice": Mutant(
        _SEARCH, scanner, "clears & (at.slice_ == self._last_slice(at.last_group))", "clears"
    ),
    "wrong_final_step": Mutant(_STEPPED, scanner, "._steps - 1 if self._passes", "._steps - 2 if self._passes"),
    "other_bank_tested": Mutant(_SEARCH, scanner, "bank.eq(~self.scan.bank)", "bank.eq(self.scan.bank)"),
    "sums_of_the_step_before": Mutant(_AGAIN, scanner, "Mux(fresh, part, 0)", "part"),
    "sums_cleared_too_late": Mutant(
        _ONCE,
        scanner,
        "clears, releases = state.fresh",
        "clears, releases = state.last_step",
    ),
    # Stepper.
    "state_of_the_image_before": Mutant(_AGAIN, stepper, "Mux(first[OLD - 1], b, s)", "s"),
    "current_of_the_image_before": Mutant(_AGAIN, stepper, "Mux(first[OLD - 1], 0, s)", "s"),
    "largest_of_the_image_before": Mutant(_AGAIN, stepper, "first[at_v] | (ordered(new)", "(ordered(new)"),
    "last_in_place_of_largest": Mutant(_AGAIN, stepper, "(ordered(new) > ordered(old))", "1"),
    "leak_rounded_up": Mutant(_AGAIN, stepper, "x + (-x >> shape.shift)", "x - (x >> shape.shift)"),
    "no_guard_bits": Mutant(_AGAIN, stepper, "x << dynamics.guard", "x"),
    "gain_off_by_one": Mutant(_AGAIN, stepper, "(u + b) >> dynamics.gain_shift", "(u >> dynamics.gain_shift) + b"),
    "reset_once_for_all_spikes": Mutant(
        _AGAIN,
        stepper,
        "new.eq(v - n * amount)",
        "new.eq(v - Mux(n.any(), amount, 0))",
    ),
    "hard_reset_to_zero": Mutant(_AGAIN, stepper, "Mux(n.any(), amount, v)", "Mux(n.any(), 0, v)"),
    "two_spikes_at_most": Mutant(_AGAIN, stepper, "sum(r[1:], start=r[0])", "sum(r[1:2], start=r[0])"),
    "one_threshold_for_all_steps": Mutant(_AGAIN, stepper, "window + tag.tests", "window"),
    "parameters_of_the_first_row": Mutant(_AGAIN, stepper, "step * rows + tag.row", "step * rows"),
    "repeated_spike_lost": Mutant(_AGAIN, serialiser, "bit & (count > 1)", "bit & (count > 2)"),
    "state_written_to_another_place": Mutant(
        _AGAIN,
        stepper,
        "_writer.addr.eq(tag.place)",
        "_writer.addr.eq(tag.place ^ 1)",
    ),
    "fires_again_once": Mutant(_ONCE, stepper, "hits = [r[0] & ~before[n]", "hits = [r[0]"),
    "fired_flag_not_kept": Mutant(_ONCE, stepper, "writer.data.eq(before | hits)", "writer.data.eq(before)"),
    "fired_flag_of_the_image_before": Mutant(
        _ONCE, stepper, "Mux(tag.step == self._dynamics.start, 0, reader.data)", "reader.data"
    ),
    "tests_before_the_window": Mutant(_ONCE, stepper, "given.step >= self._dynamics.start if", "1 if"),
    "last_of_a_window_of_ramps": Mutant(_ONCE, stepper, "tag.first_member | (ordered(new) > ordered(largest))", "1"),
    "decided_by_a_silent_neuron": Mutant(
        _ONCE, readout, "better = (spikes & ~spiked) | ((spikes == spiked) & better)", "pass"
    ),
    # Neurons.
    "greater": Mutant(_STEPPED, neurons, "(membrane) >= ordered", "(membrane) > ordered"),
    "greater_in_a_search": Mutant(_SEARCH, neurons, "(membrane) >= ordered", "(membrane) > ordered"),
    "fires_again": Mutant(_STEPPED, neurons, "now[n] & ~before[n]", "now[n]"),
    "fired_flag_forgotten": Mutant(_STEPPED, neurons, "writer.data.eq(before | now)", "writer.data.eq(now)"),
    "fired_flag_stays": Mutant(_STEPPED, neurons, "Mux(slice_.step == 0, 0, reader.data)", "reader.data"),
    "search_one_bit_short": Mutant(_SEARCH, neurons, "early.eq((more", "early.eq((bit > 0) & (more"),
    "search_off_by_one": Mutant(_SEARCH, neurons, "low | ((1 << bit) - 1)", "low | (1 << bit)"),
    "search_ends_early": Mutant(_SEARCH, neurons, "(more <= steps) &", "(more < steps) &"),
    # Readout.
    "last_of_equals": Mutant(_STEPPED, readout, "(membrane) > ordered", "(membrane) >= ordered"),
    "greater_at_the_output": Mutant(_STEPPED, readout, "reaches(v, level", "(v > level"),
    "later_decision": Mutant(_STEPPED, readout, "reached(best) & ~decided", "reached(best)"),
    "decision_stays": Mutant(_STEPPED, readout, "m.d.sync += decided.eq(0)", "pass"),
}  # fmt: skip
#: Those that the cocotb benches must find, too.
BENCH: dict[str, Mutant] = {
    name: CORE[name] for name in ("greater", "dropped_event", "wrong_final_step", "first_of_a_window")
} | {"no_backpressure": Mutant(_STEPPED, top, "Core", HastyCore)}

_PIXELS, _PIXELS_SORTED, _EVENTS, _SORTED = "pixels", "pixels_sorted", "events", "events_sorted"
_TRAINS = "trains_in_order"

#: Those that the flags of malformed frames must tell; ``design`` is one of the cores for these.
FLAGS: dict[str, Mutant] = {
    # Pixels.
    "short_frame_unseen": Mutant(_PIXELS, pixels, "~(self.i.payload.last & end)", "~self.i.payload.last"),
    "long_frame_unseen": Mutant(_PIXELS, pixels, "~(self.i.payload.last & end)", "~end"),
    "not_looked_up": Mutant(_PIXELS, pixels, "entry.eq(word_s2)", "entry.eq(word_s2), entry.fault.eq(0)"),
    "not_queued": Mutant(_PIXELS, pixels, "serialiser.fault.eq(held.fault)", "serialiser.fault.eq(0)"),
    "rest_of_a_frame_is_the_next": Mutant(_PIXELS, pixels, "dropping.eq(~self.i.payload.last)", "dropping.eq(0)"),
    # Events.
    "unknown_step_unseen": Mutant(_EVENTS, events,
                                  "inside.eq(_exists(self._hardware, event.index) & (event.step < codes))",
                                  "inside.eq(_exists(self._hardware, event.index))"),
    "unknown_index_unseen": Mutant(_EVENTS, events,
                                   "inside.eq(_exists(self._hardware, event.index) & (event.step < codes))",
                                   "inside.eq(event.step < codes)"),
    "only_the_last_event_counts": Mutant(_EVENTS, events, "fault.eq(fault | (~inside", "fault.eq((~inside"),
    "events_not_told": Mutant(_EVENTS, events, "self.o.payload.fault.eq(fault)", "self.o.payload.fault.eq(0)"),
    "told_of_the_next_too": Mutant(_EVENTS, events, "\n                    fault.eq(0),", ""),
    # Events that repeat.
    "late_unseen": Mutant(_TRAINS, events, "fault | ~exists | (step != k)", "fault | ~exists"),
    "unknown_unseen_in_order": Mutant(_TRAINS, events, "fault | ~exists | (step != k)",
                                      "fault | (exists & (step != k))"),
    "unknown_step_in_order": Mutant(_TRAINS, events, " & (given.step <= final)", ""),
    "only_the_last_word_counts": Mutant(_TRAINS, events, "fault.eq(fault | ~exists", "fault.eq(~exists"),
    "told_of_the_next_in_order": Mutant(_TRAINS, events, "o.fault.eq(fault), fault.eq(0)]", "o.fault.eq(fault)]"),
    "told_in_every_watermark": Mutant(_TRAINS, events, "o.index.eq(index), o.fault.eq(0)",
                                      "o.index.eq(index), o.fault.eq(fault)"),
    # Sorter.
    "too_many_unseen": Mutant(_SORTED, sorter, "fault.eq(i.fault | too_many)", "fault.eq(i.fault)"),
    "too_many_not_counted": Mutant(_SORTED, sorter, "too_many.eq(1)", "too_many.eq(0)"),
    "too_many_a_neuron_late": Mutant(_SORTED, sorter, "with m.If(left == self._neurons):",
                                     "with m.If(left == self._neurons + 1):"),
    "too_many_for_ever": Mutant(_SORTED, sorter, "fault.eq(i.fault | too_many), too_many.eq(0)",
                                "fault.eq(i.fault | too_many)"),
    "sorter_forgets": Mutant(_SORTED, sorter, "fault.eq(i.fault | too_many)", "fault.eq(too_many)"),
    "sorter_forgets_pixels": Mutant(_PIXELS_SORTED, sorter, "fault.eq(i.fault | too_many)", "fault.eq(too_many)"),
    "stored_fault_lost": Mutant(_SORTED, sorter, "wrong = fault | pending", "wrong = pending"),
    "list_without_end_unseen": Mutant(_SORTED, sorter, "wrong = fault | pending", "wrong = fault"),
    "list_without_end_forgotten": Mutant(_SORTED, sorter, "fault.eq(fault | pending)", "fault.eq(fault)"),
    "rest_unseen": Mutant(_SORTED, sorter, "| pending | (left != 0)", "| pending"),
    "rest_kept": Mutant(_SORTED, sorter, "used.eq(0), left.eq(0)", "used.eq(0)"),
    "flag_in_every_watermark": Mutant(_SORTED, sorter, "o.fault.eq(wrong & (k == steps - 1))", "o.fault.eq(wrong)"),
    # Layers.
    "walk": Mutant(_EVENTS, walk, "self.fault.eq(event.fault)", "self.fault.eq(0)"),
    "integrator": Mutant(_EVENTS, integrator, "test.fault.eq(walk.fault)", "test.fault.eq(0)"),
    "test_taken": Mutant(_PIXELS, scanner, "state.fault.eq(self.test.payload.fault)", "state.fault.eq(0)"),
    "scan": Mutant(_PIXELS, scanner, "self.slice.fault.eq(state.fault)", "self.slice.fault.eq(0)"),
    "neurons": Mutant(_PIXELS, neurons, "item.fault.eq(slice_.fault & last)", "item.fault.eq(0)"),
    "neurons_hasty": Mutant(_SORTED, neurons, "item.fault.eq(slice_.fault & last)",
                            "item.fault.eq(slice_.fault)"),
    "serialiser": Mutant(_PIXELS, serialiser, "event.fault.eq(~some & held.fault)", "event.fault.eq(0)"),
    "serialiser_hasty": Mutant(_PIXELS, serialiser, "event.fault.eq(~some & held.fault)", "event.fault.eq(held.fault)"),
    # What is told of it.
    "readout": Mutant(_PIXELS, readout, "result.fault.eq(fault)", "result.fault.eq(0)"),
    "readout_stage": Mutant(_PIXELS, readout, "fault.eq(slice_.fault)", "fault.eq(0)"),
    "not_counted": Mutant(_PIXELS, core, "ends(inputs) & inputs.payload.fault", "ends(inputs) & 0"),
    "counted_before_the_sorter": Mutant(_SORTED, core, "ends(inputs) & inputs.payload.fault",
                                        "ends(source.o) & source.o.payload.fault"),
    "monitor": Mutant(_PIXELS, monitor, '"mark", "fault", "step"', '"mark", "step"'),
}  # fmt: skip
