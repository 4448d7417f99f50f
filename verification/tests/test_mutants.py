"""Wrong hardware is found out: by the comparison of the core with the golden model, and by the cocotb benches."""

from __future__ import annotations

import gc
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import test_core
from benches import run
from conftest import Generated
from designs import DESIGNS, Design
from mutants import BENCH, CORE
from simulation import simulate

from firstspike import golden
from firstspike_verify.frames import MonitorError
from firstspike_verify.scoreboard import compare

IMAGES = 60
#: Mistakes after which there is nothing to compare: the end of an image never comes, or the monitor shows nonsense.
NO_RESULT = {"lost_end": TimeoutError, "hidden_event": TimeoutError, "fires_again": MonitorError}
MAX_CLOCKS = 15_000  # several times what the right core takes


@cache
def ties() -> tuple[Design, np.ndarray, golden.Result]:
    design = DESIGNS["ties"]()
    rng = np.random.default_rng(5)
    size = design.network.sizes[0]
    pictures = (rng.integers(0, 256, (IMAGES, size)) * (rng.random((IMAGES, size)) < 0.6)).astype(np.uint8)
    return design, pictures, golden.run(design.network, pictures)


def simulated(name: str, waves: Path | None = None) -> golden.Result:
    design, pictures, _ = ties()
    with mock.patch.object(test_core, "simulate", partial(simulate, max_clocks=MAX_CLOCKS)):
        return test_core.run_core(design.network, design.hardware, pictures, waves=waves)[0]


def test_images_tell_mistakes_apart() -> None:
    """The test's own images hold what the mistakes are about: spikes at every step, decisions late, ties."""
    design, _, expected = ties()
    undecided = expected.membranes[expected.decision_steps == design.network.steps]
    assert ((undecided == undecided.max(axis=1, keepdims=True)).sum(axis=1) > 1).any()
    for times in expected.spike_times[1:]:
        assert set(range(design.network.steps + 1)) == set(np.unique(times).tolist())


def test_right_core_passes(waves: Path | None) -> None:
    compare(ties()[2], simulated("right", waves)).check()


# An exception ends a simulation in the middle, and Amaranth's coroutines are then collected with a complaint.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CORE)
def test_core_comparison_finds(name: str, waves: Path | None) -> None:
    with CORE[name]():
        if name in NO_RESULT:
            with pytest.raises(NO_RESULT[name]):
                simulated(name, waves)
            gc.collect()
            return
        actual = simulated(name, waves)
    outcome = compare(ties()[2], actual)
    assert outcome.total > 0
    assert not outcome.ok
    assert "expected" in outcome.describe()


@pytest.fixture(scope="module")
def right(generated) -> Generated:
    return generated("ties")


def test_right_benches_pass(right: Generated, seed: int, waves: Path | None, request: pytest.FixtureRequest) -> None:
    cases = run(right, "streams", seed, request, waves, only="back_to_back|idle=none/output=random/monitor=none")
    assert [case.passed for case in cases] == [True, True], cases


@pytest.mark.parametrize("name", BENCH)
def test_cocotb_bench_finds(
    name: str, generated, seed: int, waves: Path | None, request: pytest.FixtureRequest
) -> None:
    with BENCH[name]():
        wrong = generated(f"wrong_{name}", ties()[0])
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
