"""What training adds to the loss, or changes over the epochs: for kernels that keep their place, and for fewer spikes.

Sources: Park & Yoon (arXiv 2106.02568) and the authors' released code, for :func:`relaxation_probability`,
:func:`initial_value_loss` and :func:`spike_count_loss`. :func:`expected_spikes`, :func:`spike_count` and
:class:`SpikeBudget` are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.training.distributed import mean_over_processes

Reference = Literal["L2-I", "L2-Z", "L1-I"]

#: A channel whose gamma is smaller counts as constant: a division by 0 would give no number.
SMALLEST_SPREAD = 1e-6

#: Default of :func:`spike_count`, in units of the membrane. Batch norm spreads the membranes of a channel over about 1,
#: and the slope estimates how many of a batch lie at the last threshold: Silverman's rule for 256 values is a standard
#: deviation of 1.06 * 256**-0.2 = 0.35, which for the logistic curve is a width of 0.35 * sqrt(3)/pi = 0.19. A width of
#: the order of the last threshold itself (0.006 at T = 8) would give a gradient to one membrane in a hundred.
WIDTH = 0.19


def relaxation_probability(epoch: int, target: int) -> float:
    """Chance that a layer uses the TTFS activation in a batch, else plain ReLU: ``(epoch + 1)/target``, at most 1.

    ``epoch`` counts from 0; a ``target`` of 0 or 1 means TTFS from the start. The released code draws once a layer and
    batch, with a target of 50 epochs, and always evaluates with TTFS.
    """
    return 1.0 if epoch + 1 >= target else (epoch + 1) / target


def initial_value_loss(
    kernels: Sequence[tuple[Tensor, Tensor]], initial: Sequence[tuple[float, float]], reference: Reference = "L2-I"
) -> Tensor:
    """Sum over layers of the distance of (tau, t_d) from where they began: a scalar, in steps squared.

    Parameters
    ----------
    kernels, initial
        (tau, t_d) of each layer, in steps: scalar tensors, and their values before training. At least one layer.
    reference
        ``L2-I``: ``(tau - tau_init)**2 + (td - td_init)**2``, as published, with a weight of 1e-5. ``L2-Z``:
        ``tau**2 + td**2``. ``L1-I``: ``|tau - tau_init| + |td - td_init|``, in steps. The last two are in the released
        code, which does not use them.

    Raises
    ------
    FirstspikeError
        on another ``reference``.

    """
    if reference not in ("L2-I", "L2-Z", "L1-I"):
        raise FirstspikeError(f"kernel regularisation is {reference!r}", "use L2-I, L2-Z or L1-I")
    values = torch.stack([torch.stack(pair) for pair in kernels])
    away = values - _detached(initial, values) if reference != "L2-Z" else values
    return away.abs().sum() if reference == "L1-I" else away.square().sum()


def spike_count_loss(
    gamma: Tensor, beta: Tensor, tau: Tensor | float, delay: Tensor | float, steps: int | float
) -> Tensor:
    r"""The loss of temporal kernel-aware batch normalisation for one layer: a scalar, the sum over its channels.

    With ``x_T = exp(-(T - td)/tau)``, the value of a spike at the end of the window::

        -1/2 (gamma^2/3 + gamma + 1) beta^3 + 1/2 x_T beta^2 + 1/2 (x_T^2 gamma + 2) beta + x_T (x_T^2 gamma^2 + 6)/6

    It is ``int_{x_T}^{beta} exp(-(gamma x + beta)^2 / 2) dx``, a stand-in for the number of spikes, with the
    exponential replaced by its Taylor polynomial of second order, but for one sign: the released code adds ``x_T``
    where the integral subtracts it. That changes no gradient, as tau and t_d get none here. How the paper itself writes
    the loss is not certain; this is the code. The polynomial is a fair count for small ``beta`` alone: it falls again
    where ``beta`` passes about 1/2 (gamma = 1) to 0.8 (gamma = 0). :func:`expected_spikes` has no such limit.

    Parameters
    ----------
    gamma, beta
        Of the batch norm, shape (channels,).
    tau, delay
        Of the kernel of the layer, in steps; no gradient flows to them.
    steps
        T.

    """
    x_t = torch.exp(-(steps - _detached(delay, beta)) / _detached(tau, beta))
    terms = (
        -0.5 * (gamma.square() / 3 + gamma + 1) * beta**3
        + 0.5 * x_t * beta.square()
        + 0.5 * (x_t.square() * gamma + 2) * beta
        + x_t * (x_t.square() * gamma.square() + 6) / 6
    )
    return terms.sum()


def expected_spikes(gamma: Tensor, beta: Tensor, last_threshold: Tensor | float) -> Tensor:
    """Spikes an image that batch norm predicts for one neuron of each channel, summed over channels: a scalar.

    The probability of ``gamma z + beta >= last_threshold`` for z ~ N(0, 1), the exact Gaussian mass. It is this
    project's alternative to :func:`spike_count_loss`: a true count, which grows with ``beta`` everywhere. The threshold
    gets no gradient, since it is a table of the hardware. A feature map has as many neurons a channel as positions.

    Parameters
    ----------
    gamma, beta
        Of the batch norm, shape (channels,).
    last_threshold
        Real threshold at the last step, in units of the membrane.

    """
    spread = gamma.abs().clamp(min=SMALLEST_SPREAD)
    mass: Tensor = torch.special.ndtr((beta - _detached(last_threshold, beta)) / spread)
    return mass.sum()


def spike_count(
    v: Tensor, last_threshold: Tensor | float, width: float = WIDTH, weight: Tensor | float = 1.0
) -> Tensor:
    """Mean spikes an image of a layer: a scalar, exact forward, with the gradient of a smooth count.

    A neuron fires within the window just when its membrane reaches the last threshold. Forward this counts them;
    backward the step is ``sigmoid((v - last_threshold)/width)``, so that membranes near the threshold are pushed below.

    Parameters
    ----------
    v
        Real membranes, shape (B, ...). Of a max-pooled map: after pooling, if only the spikes that pass shall count.
    last_threshold
        Real threshold at the last step; no gradient flows to it.
    width
        In units of the membrane, > 0; see :data:`WIDTH`.
    weight
        What a spike of each neuron counts, its fan-out for synaptic operations; broadcast to ``v``.

    """
    threshold = _detached(last_threshold, v)
    smooth = (torch.sigmoid((v - threshold) / width) * weight).sum() / len(v)
    exact = ((v >= threshold) * weight).sum() / len(v)
    # Not smooth + (exact - smooth): that would round.
    return exact.to(smooth.dtype) + (smooth - smooth.detach())


class SpikeBudget(nn.Module):
    """Penalty that brings a count of spikes, or of synaptic operations, to a budget without a weight to tune.

    ``multiplier * max(0, count/budget - 1)``. The multiplier is that of the Lagrangian of "least loss with count <=
    budget", found by dual ascent: each training step adds ``rate * (count/budget - 1)`` to it, and it is never
    negative. So it rises while the budget is exceeded, however much the loss resists, and falls again below the budget.
    The penalty ends at the budget instead of turning into a reward below it, which would make the count swing. The
    multiplier is a buffer: a checkpoint holds it, and a resumed run goes on with it.

    Parameters
    ----------
    budget
        Target of the mean count an image (> 0).
    rate
        Growth of the multiplier a step, for a count of twice the budget. At 0.003 it finds its value within the first
        epoch of MNIST and then rests; at 0.1 it overshoots, and the count ends far below the budget.

    Raises
    ------
    FirstspikeError
        if the budget or the rate is not positive.

    """

    multiplier: Tensor

    def __init__(self, budget: float, rate: float = 0.003) -> None:
        super().__init__()
        if not budget > 0:
            raise FirstspikeError(f"spike budget is {budget!r}", "use a number of spikes an image above 0")
        if not rate > 0:
            raise FirstspikeError(f"spike budget rate is {rate!r}", "use a number above 0")
        self.budget, self.rate = budget, rate
        self.register_buffer("multiplier", torch.zeros(()))

    def forward(self, count: Tensor) -> Tensor:
        """The penalty, a scalar, for the ``count`` of a batch; in training mode the multiplier then moves.

        Several processes move it alike, by the mean of their counts.

        Parameters
        ----------
        count
            Scalar: a sum of :func:`spike_count`, each times its fan-out if synaptic operations are budgeted.

        """
        excess = count / self.budget - 1
        penalty = self.multiplier.clone() * torch.relu(excess)
        if self.training:
            with torch.no_grad():
                self.multiplier.add_(self.rate * mean_over_processes(excess.detach())).clamp_(min=0)
        return penalty


def _detached(value: Tensor | float | Sequence[tuple[float, float]], like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).detach()
