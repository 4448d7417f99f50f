"""What a recipe adds to the loss of a surrogate: for kernels that keep their place, and for fewer spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import TrainConfig
from firstspike.network.kernels import Exponential, Kernel, PowerOfTwo
from firstspike.training.regularise import (
    SpikeBudget,
    expected_spikes,
    initial_value_loss,
    spike_count,
    spike_count_loss,
)
from firstspike.training.surrogate import Model


class Penalties(nn.Module):
    """The sum of all penalties that a recipe asks for.

    Parameters
    ----------
    model
        The surrogate, untrained.
    recipe
        ``kernel_regularisation``, ``spike_loss``, ``spike_budget``, ``operation_budget``: see
        :class:`firstspike.experiment.config.TrainConfig`.

    Raises
    ------
    FirstspikeError
        if the spike loss does not know the kernel, or there are no hidden populations to save spikes in; at the first
        batch, if input spikes alone take more operations than the budget has.

    """

    def __init__(self, model: Model, recipe: TrainConfig) -> None:
        super().__init__()
        self._recipe = recipe
        activations = model.hidden_activations()
        wanted = [key for key in ("spike_loss", "spike_budget", "operation_budget") if getattr(recipe, key)]
        if wanted and not activations:
            raise FirstspikeError(f"[train] {wanted[0]} is set, but the network has no hidden neurons", "leave it out")
        taylor = recipe.spike_loss and recipe.spike_loss_form == "taylor"
        self._fixed = [_time_constant(a.initial) for a in activations] if taylor else []
        self._initial = [_time_constant(activation.initial) for activation in model.trainable_activations()]
        self._checked = False
        self.spikes = SpikeBudget(recipe.spike_budget) if recipe.spike_budget else None
        self.operations = SpikeBudget(recipe.operation_budget) if recipe.operation_budget else None
        if self.operations:
            for index, layer in enumerate(model.folded_layers()):
                fan_out = torch.tensor(layer.frozen_layer("").fan_out(model.shapes[index]).astype(np.float32))
                self.register_buffer(f"fan_out{index}", fan_out.reshape(model.shapes[index]), persistent=False)

    def forward(self, model: Model, images: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """The penalty, a scalar.

        Parameters
        ----------
        model
            The surrogate.
        images
            uint8, shape (B, ...).
        hidden
            Real membranes of each hidden population for these images, after pooling.

        """
        recipe = self._recipe
        total = torch.zeros((), device=images.device)
        activations = model.hidden_activations()
        if recipe.kernel_regularisation and self._initial:
            now = [(activation.tau, activation.delay) for activation in model.trainable_activations()]
            total = total + recipe.kernel_regularisation * initial_value_loss(now, self._initial)
        if recipe.spike_loss:
            total = total + recipe.spike_loss * self._spike_loss(model)
        if self.spikes:
            counts = [spike_count(v, a.rising[0]) for v, a in zip(hidden, activations, strict=True)]
            total = total + self.spikes(torch.stack(counts).sum())
        if self.operations:
            first, rest = self._operations(model, images, hidden)
            # Against what the budget leaves to hidden spikes, since no training changes the input's.
            budget = self.operations.budget
            if not self._checked and budget <= float(first):
                raise FirstspikeError(
                    f"[train] operation_budget is {budget:g}, but input spikes alone take {float(first):.0f} an image",
                    "raise it, or give the first layer fewer outputs",
                )
            self._checked = True
            total = total + self.operations(rest * (budget / (budget - first).clamp(min=1e-3 * budget)))
        return total

    def _spike_loss(self, model: Model) -> Tensor:
        losses = []
        for i, (layer, activation) in enumerate(zip(model.folded_layers(), model.hidden_activations(), strict=False)):
            if self._recipe.spike_loss_form == "gaussian":
                losses.append(expected_spikes(layer.gamma, layer.beta, activation.rising[0]))
            elif activation.trainable:
                losses.append(spike_count_loss(layer.gamma, layer.beta, activation.tau, activation.delay, model.steps))
            else:
                losses.append(spike_count_loss(layer.gamma, layer.beta, *self._fixed[i], model.steps))
        return torch.stack(losses).sum()

    def _operations(self, model: Model, images: Tensor, hidden: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Synaptic operations an image, of input spikes and of hidden ones."""
        fan_outs = [getattr(self, f"fan_out{index}") for index in range(len(hidden) + 1)]
        first = ((model.encoded(images) > 0) * fan_outs[0]).sum() / len(images)
        counts = [
            spike_count(v, activation.rising[0], weight=fan_out)
            for v, activation, fan_out in zip(hidden, model.hidden_activations(), fan_outs[1:], strict=True)
        ]
        return first.detach(), torch.stack(counts).sum()


def _time_constant(kernel: Kernel) -> tuple[float, float]:
    """(tau, t_d) of an exponential curve, in steps.

    Raises
    ------
    FirstspikeError
        for another curve.

    """
    if isinstance(kernel, Exponential):
        return kernel.tau, kernel.delay
    if isinstance(kernel, PowerOfTwo):
        return kernel.steps_per_octave / math.log(2), 0.0
    raise FirstspikeError(
        f"[train] spike_loss in its Taylor form needs an exponential kernel, not {kernel.kind!r}",
        'use spike_loss_form = "gaussian"',
    )
