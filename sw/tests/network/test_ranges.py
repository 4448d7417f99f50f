"""The bounds of what populations with dynamics hold: nothing leaves them, they are tight, and wrong ones are found."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mistakes import changed
from stepping import dynamics, inputs_for, stepped_networks

from firstspike.network import model, naive, ranges
from firstspike.network.model import dense

CASES = {"dense": False, "convolutional": True}
#: Bounds that are wrong: what stands in :mod:`firstspike.network.ranges`, and a mistake in its place.
MISTAKES = {
    "guard_bits_forgotten": ("weights[1] << guard", "weights[1]"),
    "input_fires_once_a_step": ("max(membrane[t], v)", "membrane[t] + v"),
    "events_of_one_step_alone": ("membrane[t] += arrivals.repeat * v", "membrane[t] = arrivals.repeat * v"),
    "current_rounds_nothing": ("(one if retain_rounds and t else 0)", "0"),
    "membrane_rounds_nothing": ("(one if leak_rounds else 0)", "0"),
    "gain_rounds_nothing": ("+ (one if shift else 0)", "+ 0"),
    "lost_current_stays_there": ("+ _scaled(lost_current, gain, shift, up=True)", "+ 0"),
    "start_is_not_held": ("membrane = bias", "membrane = (0, 0)"),
    "drive_without_bias": ("(gain * u_high + added) >> shift", "(gain * u_high) >> shift"),
    "leak_is_not_applied": ("high = min(channel.leak(high, up=False) + d_high, ", "high = min(high + d_high, "),
    "reset_lowers_no_start": ("start_low = min(start_low, after[0] * one)", "pass"),
    "reset_lowers_nothing": ("low, high = min(low, after[0]), after[1]", "low, high = low, after[1]"),
    "reset_at_every_step": ("low, high = min(low, after[0]), after[1]", "low, high = after"),
    "one_reset_of_many": ("least.append(n * (threshold - reset))", "least.append(threshold - reset)"),
    "cap_forgotten": ("most = high if n == dynamics.cap else ", "most = "),
}


@pytest.mark.parametrize("convolutional", CASES.values(), ids=CASES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_number_leaves_its_range(convolutional: bool, data: st.DataObject) -> None:
    """Every membrane of the definition; and what the definition computes on the way, by its own recurrence."""
    network = data.draw(stepped_networks(convolutional=convolutional))
    images = data.draw(inputs_for(network))
    for index, after in enumerate(network.populations[1:]):
        if after.dynamics is None:
            continue
        ranges = network.ranges(index)
        for image in images:
            for history in naive.histories(network, image, index):
                for sums, current, drive, *membranes in history.steps:
                    within(sums, ranges.sums)
                    within(current, ranges.current)
                    within(drive, ranges.drive)
                    for membrane in membranes:
                        within(membrane, ranges.membrane)


def every_input(data: st.DataObject, most: int) -> None:
    """One neuron with two inputs, and every pattern of events in up to ``most`` steps.

    Without a test and without rounding the bounds are reached.
    """
    steps = data.draw(st.integers(1, most))
    weights = data.draw(st.lists(st.integers(-8, 7), min_size=2, max_size=2))
    fires, guard = data.draw(st.booleans()), data.draw(st.sampled_from([0, 2]))
    once = data.draw(st.booleans())  # spikes of the input
    made = data.draw(dynamics(channels=1, steps=steps, spread=9 << guard, fires=fires, once=False, guard=guard))
    network = dense(
        [np.array([weights]), *[np.ones((1, 1), np.int64)] * fires],
        [np.array([data.draw(st.integers(-9, 9)) << guard]), *[np.zeros(1, np.int64)] * fires],
        weight_bits=4, kernels=[tuple(range(steps, 0, -1)), *[(1,) * steps] * fires], thresholds=[()],
        encoder=tuple(min(p, steps) for p in range(256)) if once else (), steps=steps, fire_start=steps,
        repeat=0 if once else 1, dynamics=[made],
    )  # fmt: skip
    ranges, seen = network.ranges(0), set()
    each = range(steps + 1) if once else product([0, 1], repeat=steps)
    for pair in product(each, repeat=2):
        image = np.array(pair, np.uint8) if once else np.array(pair, np.uint8).T
        (history,) = naive.histories(network, image, 0)
        for sums, current, drive, *membranes in history.steps:
            within(sums, ranges.sums)
            within(current, ranges.current)
            within(drive, ranges.drive)
            seen |= {*membranes, int(network.layers[0].bias[0])}
            for membrane in membranes:
                within(membrane, ranges.membrane)
    exact = all((x.numerator % (1 << x.shift) == 0).all() for x in (made.retain, made.leak))
    if made.threshold is None and exact and made.gain is None:
        assert (min(seen), max(seen)) == ranges.membrane


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ranges_over_all_inputs(data: st.DataObject) -> None:
    every_input(data, most=4)


@settings(max_examples=3000, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(data=st.data())
def few_inputs(data: st.DataObject) -> None:
    """Quick, and not told in the shortest way."""
    every_input(data, most=3)


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_ranges_are_found(name: str) -> None:
    with changed(ranges, *MISTAKES[name], [model]), pytest.raises(AssertionError):
        few_inputs()


def within(value: int, limits: tuple[int, int]) -> None:
    assert limits[0] <= value <= limits[1]
