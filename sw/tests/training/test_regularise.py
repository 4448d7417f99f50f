"""Additions to training: published formulas against their integral, exact counts, and a budget that is met."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from firstspike.errors import FirstspikeError
from firstspike.network import kernels
from firstspike.training.activation import TTFS
from firstspike.training.regularise import (
    SpikeBudget,
    expected_spikes,
    initial_value_loss,
    relaxation_probability,
    spike_count,
    spike_count_loss,
)

DOUBLE = {"dtype": torch.float64}


def channels(seed: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """gamma and beta of six channels."""
    generator = torch.Generator().manual_seed(seed)
    gamma, beta = spread * torch.randn(2, 6, generator=generator, **DOUBLE)
    return gamma.requires_grad_(), beta.requires_grad_()


@pytest.mark.smoke
def test_the_ramp_reaches_one() -> None:
    assert [relaxation_probability(epoch, 4) for epoch in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert relaxation_probability(49, 50) == 1
    assert relaxation_probability(48, 50) == 0.98
    assert relaxation_probability(0, 0) == 1, "no ramp"


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("reference", "loss", "slopes"),
    [
        pytest.param("L2-I", 1 + 4 + 9 + 0, (2, 4, -6, 0), id="from_the_start"),
        pytest.param("L2-Z", 9 + 4 + 1 + 1, (6, 4, -2, 2), id="from_zero"),
        pytest.param("L1-I", 1 + 2 + 3 + 0, (1, 1, -1, 0), id="absolute"),
    ],
)
def test_initial_value_loss(reference: str, loss: float, slopes: tuple[float, ...]) -> None:
    values = [torch.tensor(x, requires_grad=True) for x in (3.0, 2.0, -1.0, 1.0)]
    found = initial_value_loss([(values[0], values[1]), (values[2], values[3])], [(2, 0), (2, 1)], reference)
    assert found.item() == loss
    found.backward()
    assert tuple(x.grad.item() for x in values) == slopes


@pytest.mark.smoke
def test_unknown_regularisation_is_refused() -> None:
    tau = torch.tensor(1.0)
    with pytest.raises(FirstspikeError, match="is 'L3'"):
        initial_value_loss([(tau, tau)], [(1, 1)], "L3")


def gaussian_mass(gamma: float, beta: float, x_t: float) -> float:
    """int_{x_t}^{beta} exp(-(gamma x + beta)^2/2) dx; 40 Gauss points are exact to 1e-14 on an interval this short."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    x = (beta - x_t) / 2 * nodes + (beta + x_t) / 2
    return float((beta - x_t) / 2 * (weights * np.exp(-((gamma * x + beta) ** 2) / 2)).sum())


@pytest.mark.smoke
@pytest.mark.parametrize("tau", [2.0, 8.0])
@pytest.mark.parametrize("delay", [-1.0, 0.0, 2.0])
def test_spike_count_loss_is_the_integral_but_for_a_sign(tau: float, delay: float) -> None:
    steps = 8
    x_t = math.exp(-(steps - delay) / tau)
    gammas, betas = (x.tolist() for x in channels(int(tau), 0.3))
    for gamma, beta in zip(gammas, betas, strict=True):
        found = spike_count_loss(torch.tensor([gamma], **DOUBLE), torch.tensor([beta], **DOUBLE), tau, delay, steps)
        # exp(-y) differs from 1 - y by at most y^2/2 for y >= 0. Here y = u^2/2 with u = gamma x + beta, which is
        # largest at an end of the interval, so that the integrals differ by at most |beta - x_t| max(u)^4/8.
        u = max(abs(gamma * x + beta) for x in (x_t, beta))
        bound = abs(beta - x_t) * u**4 / 8 + 1e-13
        assert abs(found.item() - 2 * x_t - gaussian_mass(gamma, beta, x_t)) <= bound
        assert bound < x_t, "or else the bound would not tell the signs apart"


@pytest.mark.smoke
def test_spike_count_loss_sums_channels_and_leaves_the_kernel_alone() -> None:
    gamma, beta = channels(1, 0.5)
    tau, delay = (torch.tensor(x, requires_grad=True, **DOUBLE) for x in (2.0, 0.5))
    assert torch.autograd.gradcheck(lambda g, b: spike_count_loss(g, b, tau, delay, 8), (gamma, beta))
    whole = spike_count_loss(gamma, beta, tau, delay, 8)
    parts = sum(spike_count_loss(gamma[i : i + 1], beta[i : i + 1], 2.0, 0.5, 8) for i in range(6))
    assert torch.allclose(whole, parts, rtol=1e-14, atol=1e-14)  # six terms of order 1, each rounded to 2**-53
    whole.backward()
    assert tau.grad is None
    assert delay.grad is None


@pytest.mark.smoke
def test_expected_spikes_are_those_of_a_gaussian() -> None:
    gamma, beta = channels(2, 1.0)
    threshold = 0.3
    assert torch.autograd.gradcheck(lambda g, b: expected_spikes(g, b, threshold), (gamma, beta))
    drawn = 100_000
    z = torch.randn(drawn, 6, generator=torch.Generator().manual_seed(0), **DOUBLE)
    counted = ((gamma * z + beta) >= threshold).double().sum(dim=1).mean()
    # Six binary counts of variance at most 1/4 each, independent: six standard deviations of their mean.
    assert abs(expected_spikes(gamma, beta, threshold) - counted) < 6 * math.sqrt(6 / 4 / drawn)


@pytest.mark.smoke
def test_expected_spikes_of_constant_channels() -> None:
    gamma = torch.tensor([0.0, 0.0, -0.0], requires_grad=True)
    beta = torch.tensor([0.4, -0.4, 30.0], requires_grad=True)
    count = expected_spikes(gamma, beta, 0.1)
    count.backward()
    assert count.item() == 2
    assert gamma.grad.tolist() == beta.grad.tolist() == [0, 0, 0], "and no division by zero"


@pytest.mark.smoke
@pytest.mark.parametrize(
    "kernel", [kernels.PowerOfTwo(steps=8), kernels.Exponential(steps=5, tau=2.0, delay=1.0, rounding="ceil")]
)
def test_spike_count_is_that_of_the_activation(kernel: kernels.Kernel) -> None:
    last = torch.tensor(kernel.threshold()[-1], dtype=torch.float32)
    v = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    v[0, 0, 0, :3] = torch.stack([last, torch.nextafter(last, torch.tensor(0.0)), torch.nextafter(last, 2 * last)])
    fired = int((TTFS(kernel)(v) > 0).sum())
    assert spike_count(v, float(kernel.threshold()[-1])).item() == fired / 8
    assert spike_count(v, last).item() == fired / 8


@pytest.mark.smoke
def test_spike_count_has_the_slope_of_the_sigmoid() -> None:
    v = torch.linspace(-2, 2, 40, **DOUBLE).reshape(4, 10).requires_grad_()
    (slope,) = torch.autograd.grad(spike_count(v, 0.25, width=0.5), v)
    soft = torch.sigmoid((v.detach() - 0.25) / 0.5)
    assert torch.allclose(slope, soft * (1 - soft) / 0.5 / 4, rtol=1e-12)


@pytest.mark.smoke
def test_the_default_width_sees_the_density_at_the_threshold() -> None:
    """What the gradient estimates: how fast the count of a standard normal membrane falls with the threshold."""
    v = torch.randn(200, 1000, generator=torch.Generator().manual_seed(0), **DOUBLE).requires_grad_()
    for threshold in (0.0055, 0.5, 1.0):
        (slope,) = torch.autograd.grad(spike_count(v, threshold), v)
        density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
        # Smoothing by variance s^2 = (pi width)^2/3 = 0.12 changes a normal density by at most s^2/2 of its peak 0.4.
        assert abs(slope.sum().item() / 1000 - density) < 0.4 * 0.12 / 2 + 0.005


def trained(budget: SpikeBudget | None, steps: int = 1500) -> float:
    """Spikes an image of 50 neurons, of which the loss would have 41 fire: it pulls their means to 1."""
    torch.manual_seed(0)
    means = torch.zeros(50, requires_grad=True)
    optimiser = torch.optim.Adam([means], lr=0.01)
    counts = []
    for _ in range(steps):
        count = spike_count(means + torch.randn(64, 50), 0.1)
        loss = 0.1 * (means - 1).square().sum() + (0 if budget is None else budget(count))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        counts.append(count.item())
    return float(np.mean(counts[-200:]))


def test_training_comes_to_the_budget() -> None:
    assert abs(trained(None) - 41) < 1
    for goal in (10.0, 25.0):
        assert abs(trained(SpikeBudget(goal, rate=0.05)) - goal) < 0.05 * goal


@pytest.mark.smoke
def test_the_multiplier_rises_above_the_budget_and_is_never_negative() -> None:
    budget = SpikeBudget(10, rate=0.5)
    assert budget(torch.tensor(30.0)).item() == 0, "nothing known of the price yet"
    assert budget.multiplier.item() == 0.5 * 2
    count = torch.tensor(15.0, requires_grad=True)
    penalty = budget(count)
    assert penalty.item() == 1.0 * 0.5
    penalty.backward()
    assert math.isclose(count.grad.item(), 0.1, rel_tol=1e-6)
    assert budget.multiplier.item() == 1.25
    assert budget(torch.tensor(5.0)).item() == 0
    assert budget.multiplier.item() == 1.0
    for _ in range(9):
        budget(torch.tensor(0.0))
    assert budget.multiplier.item() == 0


@pytest.mark.smoke
def test_the_multiplier_is_stored_and_rests_at_evaluation() -> None:
    budget, again = SpikeBudget(10), SpikeBudget(10)
    budget(torch.tensor(30.0))
    again.load_state_dict(budget.state_dict())
    assert again.multiplier.item() == budget.multiplier.item() > 0
    again.eval()
    again(torch.tensor(30.0))
    assert again.multiplier.item() == budget.multiplier.item()


@pytest.mark.smoke
@pytest.mark.parametrize(("budget", "rate"), [(0, 0.01), (-3, 0.01), (math.nan, 0.01), (5, 0)])
def test_an_impossible_budget_is_refused(budget: float, rate: float) -> None:
    with pytest.raises(FirstspikeError, match="spike budget"):
        SpikeBudget(budget, rate)
