"""Wrong hardware is found out: by the comparison of the core with the golden model, and by the cocotb benches."""

from __future__ import annotations

import gc
import inspect
import random
from functools import cache, partial
from pathlib import Path
from unittest import mock

import cores
import numpy as np
import pytest
from amaranth.hdl import Const, signed
from benches import run
from designs import DESIGNS, Design
from malformed import CORES, expected, frames_for, said
from mistakes import changed
from mutants import BENCH, CORE, FLAGS, RTL
from simulation import simulate

from firstspike.network import golden
from firstspike_rtl.core import neurons, readout
from firstspike_verify.checks.scoreboard import compare
from firstspike_verify.models.frames import MonitorError

#: Images for each design, so many that every mistake shows.
IMAGES = {"ties": 48, "convolution": 10, "convolution_early": 3, "leaky": 40, "ramps": 12, "trains": 4}
MAX_CLOCKS = 6_000  # several times what the right cores take
#: Mistakes after which there is nothing to compare: the end of an image never comes, or the monitor shows nonsense.
NO_RESULT = {
    "hidden_event": TimeoutError,
    "time_goes_on": MonitorError,
    "watermarks_of_steps_without_events_missing": AssertionError,  # good images are called malformed
    "highest_lane_first": MonitorError,
    "lost_end": TimeoutError,
    "swapped_lanes": MonitorError,
    "bank_not_switched": TimeoutError,
    "test_lost": TimeoutError,
    "cleared_rows_stay": MonitorError,
    "one_bank": MonitorError,
    "window_not_begun": MonitorError,
    "bias_of_the_first_group": MonitorError,
    "bias_of_the_first_window": MonitorError,
    "wrong_final_step": TimeoutError,
    "other_bank_tested": TimeoutError,
    "fires_again": MonitorError,
    "fired_flag_forgotten": MonitorError,
    "search_ends_early": MonitorError,
    "fires_again_once": MonitorError,
    "fired_flag_not_kept": MonitorError,
    "tests_before_the_window": TimeoutError,
}


@cache
def example(name: str) -> tuple[Design, np.ndarray, golden.Result]:
    """A design, images from black to bright, and what the golden model makes of them."""
    design = DESIGNS[name]()
    rng = np.random.default_rng(5)
    shape, most = (IMAGES[name], *design.network.image_shape), design.network.image_most
    density = rng.choice([0.0, 0.3, 0.6, 1.0], (IMAGES[name], *[1] * (len(shape) - 1)), p=[0.15, 0.15, 0.6, 0.1])
    pictures = (rng.integers(0, most + 1, shape) * (rng.random(shape) < density)).astype(np.uint8)
    return design, pictures, golden.run(design.network, pictures)


def simulated(name: str, waves: Path | None = None) -> golden.Result:
    design, pictures, _ = example(name)
    with mock.patch.object(cores, "simulate", partial(simulate, max_clocks=MAX_CLOCKS)):
        return cores.run_core(design.network, design.hardware, pictures, waves=waves)[0]


def test_images_tell_mistakes_apart() -> None:
    """The test's own images hold what the mistakes are about: spikes at every step, decisions late, ties."""
    design, _, expected = example("ties")
    undecided = expected.membranes[expected.decision_steps == design.network.steps]
    assert ((undecided == undecided.max(axis=1, keepdims=True)).sum(axis=1) > 1).any()
    for times in expected.spike_times[1:]:
        assert set(range(design.network.steps + 1)) == set(np.unique(times).tolist())
    design, _, expected = example("convolution")
    assert {0, design.network.steps - 1, design.network.steps} <= set(np.unique(expected.spike_times[1]).tolist())


@pytest.mark.parametrize("name", IMAGES)
def test_right_core_passes(name: str, waves: Path | None) -> None:
    compare(example(name)[2], simulated(name, waves)).check()


# An exception ends a simulation in the middle, and Amaranth's coroutines are then collected with a complaint.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CORE)
def test_core_comparison_finds(name: str, waves: Path | None) -> None:
    mutant = CORE[name]
    with mutant():
        if name in NO_RESULT:
            with pytest.raises(NO_RESULT[name]):
                simulated(mutant.design, waves)
            gc.collect()
            return
        actual = simulated(mutant.design, waves)
    outcome = compare(example(mutant.design)[2], actual)
    assert outcome.total > 0
    assert not outcome.ok
    assert "expected" in outcome.describe()


@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", FLAGS)
def test_flags_tell(name: str, seed: int, waves: Path | None) -> None:
    """A flag is missing, or there is one too many, in a record, a watermark or the count; or no record comes."""
    mutant = FLAGS[name]
    hardware = CORES[mutant.design]
    shown = frames_for(hardware, random.Random(seed))
    with mutant():
        try:
            actual = said(hardware, shown, waves=waves)
        except (TimeoutError, AssertionError):
            gc.collect()
            return
    assert actual != expected(hardware, shown)


@pytest.mark.smoke
def test_a_mistake_that_is_not_made_is_an_error() -> None:
    """A mutant whose text is gone from the RTL would be the right core."""
    right, levels = inspect.getsource(neurons.reaches), (Const(3, signed(4)), Const(3, signed(4)))
    with pytest.raises(LookupError, match="has 'no such text' 0 times"), changed(neurons, "no such text", "", RTL):
        pass
    with changed(neurons, "ordered(membrane) >= ordered(threshold)", "ordered(membrane) > ordered(threshold)", RTL):
        assert (neurons.reaches(*levels).operator, readout.reaches(*levels).operator) == (">", ">")
    assert neurons.reaches(*levels).operator == ">="
    assert inspect.getsource(neurons.reaches) == right


def test_right_benches_pass(generated, seed: int, waves: Path | None, request: pytest.FixtureRequest) -> None:
    cases = run(
        generated("ties"), "streams", seed, request, waves, only="back_to_back|idle=none/output=random/monitor=none"
    )
    assert [case.passed for case in cases] == [True, True], cases


@pytest.mark.parametrize("name", BENCH)
def test_cocotb_bench_finds(
    name: str, generated, seed: int, waves: Path | None, request: pytest.FixtureRequest
) -> None:
    mutant = BENCH[name]
    with mutant():
        wrong = generated(f"wrong_{name}", DESIGNS[mutant.design]())
    stalls = name == "no_backpressure"
    only = "idle=none/output=random/monitor=none" if stalls else "back_to_back"
    (case,) = run(wrong, "streams", seed, request, waves, only=only, check=False)
    assert not case.passed
    if stalls:
        assert "m_axis, clock" in case.message
    else:
        assert "values compared" in case.message, case.message
        assert "expected" in case.message
        assert f"seed {seed}" in case.message
        assert f"repeat with: pytest {request.node.nodeid}" in case.message.replace("'", "")
