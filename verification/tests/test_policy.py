"""A policy that was trained in real numbers decides as integers do, and as the core does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cartpole import Policy, float_policy, learned, returns, values, visited, with_guard
from numpy.typing import NDArray

from firstspike.contract.hardware import Hardware
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike.training.dynamics.surrogate import SteppedSurrogate
from firstspike_rtl.top.verilog import generate
from firstspike_verify.checks.scoreboard import compare
from firstspike_verify.models.verilated import VerilatedCore

pytestmark = pytest.mark.slow

GUARD = 4
STATES, RTL_STATES = 10_000, 1_000
EPISODES = 20
#: Another machine trains another policy: here it is above 475.
LEAST_RETURN = 300
#: Of episodes and states that training does not see.
FRESH_SEED = 5


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(_one_thread: None) -> SteppedSurrogate:
    begin = time.monotonic()
    found = learned(GUARD, seed=2, steps=14_000, enough=475)
    print(f"learned in {time.monotonic() - begin:.0f} s")
    return found


@pytest.fixture(scope="module")
def network(model: SteppedSurrogate) -> Network:
    return model.freeze()


@pytest.fixture(scope="module")
def shown(model: SteppedSurrogate) -> NDArray[np.uint8]:
    return visited(float_policy(model), STATES, FRESH_SEED)


def integer_policy(network: Network) -> Policy:
    return lambda shown: golden.run(network, shown).classes.astype(np.int64)


def core_policy(core: VerilatedCore, network: Network) -> Policy:
    """The core decides, and every spike and membrane is as expected."""

    def decide(shown: NDArray[np.uint8]) -> NDArray[np.int64]:
        run = core.run(shown, network)
        assert run.result == golden.run(network, shown)
        assert not run.faults.any()
        return run.result.classes.astype(np.int64)

    return decide


def test_guard_bits_keep_the_decisions(model: SteppedSurrogate, shown: NDArray[np.uint8]) -> None:
    """Four of them keep all but one decision in a thousand; without them the values are far off."""
    assert len(np.unique(shown, axis=0)) > STATES / 2
    real = values(model.train(), shown)
    assert 0.1 < real.argmax(axis=1).mean() < 0.9
    lasted: dict[int | None, float] = {None: returns(float_policy(model), EPISODES, FRESH_SEED).mean()}
    print(f"real numbers: return {lasted[None]:.1f} in {EPISODES} episodes")
    equal, error = {}, {}
    for guard in (GUARD, 0):
        rounded = with_guard(model, guard).eval()
        policy = integer_policy(rounded.freeze())
        equal[guard] = (policy(shown) == real.argmax(axis=1)).mean()
        error[guard] = np.abs(values(rounded, shown) - real).mean()
        lasted[guard] = returns(policy, EPISODES, FRESH_SEED).mean()
        print(
            f"guard bits {guard}: {100 * equal[guard]:.2f} % of {STATES} decisions equal, "
            f"values {error[guard]:.5f} off, return {lasted[guard]:.1f}"
        )
    assert min(lasted[None], lasted[GUARD]) >= LEAST_RETURN
    assert equal[GUARD] >= 0.999
    assert error[GUARD] < error[0] / 2 ** (GUARD - 1)


def test_the_core_decides_as_the_golden_model(
    network: Network, shown: NDArray[np.uint8], tmp_path: Path, seed: int
) -> None:
    """States back to back; then a whole episode with the core in the loop."""
    begin = time.monotonic()
    generate(network, Hardware.for_network(network, lanes=16), tmp_path / "rtl")
    with VerilatedCore(tmp_path / "rtl", tmp_path / "build", fast=False) as core:
        some = shown[:: STATES // RTL_STATES]
        run = core.run(some, network, stall=0.1, seed=seed)
        outcome = compare(golden.run(network, some), run.result, seed)
        outcome.check()
        assert len(run.result) == RTL_STATES
        assert run.result == golden.run(network, some)
        episode = returns(core_policy(core, network), 1, FRESH_SEED)
        assert core.read("images") == RTL_STATES + episode
    assert episode == returns(integer_policy(network), 1, FRESH_SEED)
    seconds = time.monotonic() - begin
    print(f"core: {RTL_STATES} decisions and an episode of {episode[0]}, {outcome.compared} values, {seconds:.0f} s")
