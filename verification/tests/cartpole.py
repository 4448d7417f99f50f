"""A pole on a cart, and a spiking Q-network that learns to hold it: double deep Q-learning after Chen et al. (2022)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from firstspike.experiment.dynamics import Neurons
from firstspike.network import kernels
from firstspike.training.dynamics.surrogate import SteppedSurrogate

#: Of states, shape (B, inputs), the actions, shape (B,).
Policy = Callable[[NDArray[np.uint8]], NDArray[np.int64]]

OBSERVATION_SCALE = np.array([2.4, 3.0, 0.21, 3.0])
UNITS_OF_A_SCALE = 64
ACTIONS = 2

DISCOUNT = 0.99
LEARNING_RATE = 7e-4
BATCH = 128
TARGET_RATE = 0.01
#: Side by side, with one batch a step: a batch every second step of a cart.
LEARNING_CARTS = 2
FIRST_BATCH = 500
EXPLORING = 4_000
LEAST_EXPLORATION = 0.05
EVALUATED_EVERY = 500
EVALUATION_CARTS, EVALUATION_SEED = 20, 1_000


def states(observations: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The network's input: what is positive of each number, then what is negative, as bytes."""
    rounded = np.rint(observations / OBSERVATION_SCALE * UNITS_OF_A_SCALE)
    return np.concatenate([rounded, -rounded], axis=1).clip(0, 255).astype(np.uint8)


def q_network(guard: int) -> SteppedSurrogate:
    """Leaky neurons, tau = 2, that forget all when they fire; a state flows in as a constant current."""
    leaky: dict[str, Any] = {"leak": 0.5, "guard": guard}
    return SteppedSurrogate(
        (2 * len(OBSERVATION_SCALE),),
        f"64-64-{ACTIONS}",
        [
            Neurons(mode="hard", retain=1.0, **leaky),
            Neurons(mode="hard", **leaky),
            Neurons(threshold=None, read="largest", **leaky),
        ],
        input_kernel=kernels.Direct(),
        steps=4,
        batch_norm=False,
        weight_bits=8,
    )


def with_guard(model: SteppedSurrogate, guard: int) -> SteppedSurrogate:
    """The same parameters, rounded with other guard bits."""
    other = q_network(guard)
    other.load_state_dict(model.state_dict())
    return other


@torch.no_grad()
def values(model: SteppedSurrogate, shown: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of each action, shape (B, actions)."""
    return model(torch.from_numpy(shown)).numpy()


def float_policy(model: SteppedSurrogate) -> Policy:
    """That of the network in training: weights are on their grid of integers, thresholds and membranes are real."""
    return lambda shown: values(model.train(), shown).argmax(axis=1)


def play(
    policy: Policy, carts: int, seed: int, exploration: Callable[[int], float]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Transitions of one step of the carts after another, some at random; none of a cart that begins anew."""
    rng = np.random.default_rng(seed)
    poles = gymnasium.make_vec("CartPole-v1", carts, vectorization_mode="vector_entry_point")
    before = states(poles.reset(seed=seed)[0])
    ended = np.zeros(carts, np.bool_)
    for step in itertools.count():
        explores = rng.random(carts) < exploration(step * carts)
        action = np.where(explores, rng.integers(ACTIONS, size=carts), policy(before))
        observations, _, fallen, over, _ = poles.step(action)
        after = states(observations)
        row = {"before": before, "action": action, "after": after, "fallen": fallen}
        yield {name: values[~ended] for name, values in row.items()}
        before, ended = after, fallen | over


def returns(policy: Policy, carts: int, seed: int) -> NDArray[np.int64]:
    """How many steps each pole stays upright."""
    poles = gymnasium.make_vec("CartPole-v1", carts, vectorization_mode="vector_entry_point")
    observations, _ = poles.reset(seed=seed)
    upright, lasted = np.ones(carts, np.bool_), np.zeros(carts, np.int64)
    while upright.any():
        observations, _, fallen, over, _ = poles.step(policy(states(observations)))
        lasted += upright
        upright &= ~(fallen | over)
    return lasted


def visited(policy: Policy, count: int, seed: int) -> NDArray[np.uint8]:
    """States that the policy comes to when one action in ten is random."""
    found: list[NDArray[np.uint8]] = []
    for transitions in play(policy, 20, seed, lambda _: 0.1):
        found.extend(transitions["before"])
        if len(found) >= count:
            break
    return np.stack(found[:count])


class Replay:
    """Transitions of the past."""

    def __init__(self, room: int, seed: int) -> None:
        self._room, self._size, self._rows = room, 0, dict[str, NDArray[Any]]()
        self._rng = np.random.default_rng(seed)

    def add(self, transitions: dict[str, NDArray[Any]]) -> None:
        size = self._size
        for name, values in transitions.items():
            rows = self._rows.setdefault(name, np.zeros((self._room, *values.shape[1:]), values.dtype))
            rows[size : size + len(values)] = values
            self._size = size + len(values)

    def sample(self, count: int) -> dict[str, torch.Tensor]:
        chosen = self._rng.integers(self._size, size=count)
        return {name: torch.from_numpy(rows[chosen]) for name, rows in self._rows.items()}


def loss(model: SteppedSurrogate, target: SteppedSurrogate, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The network chooses the next action, its slow copy says what that is worth."""
    with torch.no_grad():
        best = model(batch["after"]).argmax(dim=1, keepdim=True)
        future = target(batch["after"]).gather(1, best)[:, 0]
        wanted = 1 + DISCOUNT * future * ~batch["fallen"]
    found = model(batch["before"]).gather(1, batch["action"][:, None])[:, 0]
    return torch.nn.functional.smooth_l1_loss(found, wanted)


@torch.no_grad()
def follow(target: SteppedSurrogate, model: SteppedSurrogate) -> None:
    for slow, fast in zip(target.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, TARGET_RATE)


def learned(guard: int, *, seed: int, steps: int, enough: float) -> SteppedSurrogate:
    """The best slow copy of all evaluations, up to the first whose mean return is ``enough``.

    Learning is erratic, and the slow copy less so than the network that it follows.
    """
    torch.manual_seed(seed)
    model = q_network(guard).train()
    best = target = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    policy, replay, highest = float_policy(model), Replay(steps, seed), 0.0

    def exploration(step: int) -> float:
        return max(LEAST_EXPLORATION, 1 - step / EXPLORING)

    numbers = range(LEARNING_CARTS, steps + 1, LEARNING_CARTS)
    for step, transitions in zip(numbers, play(policy, LEARNING_CARTS, seed, exploration), strict=False):
        replay.add(transitions)
        if step > FIRST_BATCH:
            optimiser.zero_grad()
            loss(model, target, replay.sample(BATCH)).backward()
            optimiser.step()
            follow(target, model)
        if step % EVALUATED_EVERY == 0:
            mean = returns(float_policy(target), EVALUATION_CARTS, EVALUATION_SEED).mean()
            print(f"{step} steps: return {mean:.1f}")
            if mean > highest:
                best, highest = copy.deepcopy(target), mean
            if mean >= enough:
                break
    return best
