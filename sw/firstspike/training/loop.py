"""The training loop's part that knows the network: loss, optimiser, schedules over the epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import TrainConfig
from firstspike.training.batches import Batch, ImageBatches
from firstspike.training.distributed import mean_over_processes
from firstspike.training.penalties import Penalties
from firstspike.training.regularise import relaxation_probability
from firstspike.training.surrogate import Model


class Training(lightning.LightningModule):
    """Loss, optimiser and schedule of a surrogate.

    Parameters
    ----------
    model
        The surrogate.
    recipe
        Section ``[train]``.
    images
        Told of each epoch, which its random shifts follow.
    stamp
        Kept in each checkpoint: what it was made for.

    Raises
    ------
    FirstspikeError
        if a penalty does not fit the network; while training, at the end of an epoch with a loss that is not finite.

    """

    def __init__(self, model: Model, recipe: TrainConfig, images: ImageBatches, *, stamp: str = "") -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self.penalties = Penalties(model, recipe)
        self._images, self._stamp = images, stamp
        self.history: list[dict[str, Any]] = []
        self._sums = torch.zeros(2)
        self._started = 0.0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Cross entropy of the real output membranes, and the penalties."""
        images, labels = batch
        self._relax(batch_index)
        *hidden, output = self.model.membranes(images)
        loss = nn.functional.cross_entropy(output, labels, label_smoothing=self.recipe.label_smoothing)
        penalty = self.penalties(self.model, images, hidden) if self._passed(self.recipe.penalty_start) else 0 * loss
        # Summed where they are: reading them here would make a GPU wait for every step.
        self._sums = self._sums + torch.stack((loss.detach(), penalty.detach()))
        # A relaxed layer leaves its kernel without a gradient, for which several processes would wait: it gets 0.
        return loss + penalty + sum(0 * parameter for parameter in self.model.slow_parameters())

    def _passed(self, part: float | None) -> bool:
        """Whether this part of the epochs is over."""
        return part is not None and self.current_epoch >= round(part * self.recipe.epochs)

    def _relax(self, batch_index: int) -> None:
        """Stochastically relaxed activation: each layer and batch draws TTFS or plain ReLU.

        The draw follows from seed, epoch and batch alone, so that a resumed run and all processes draw the same.
        """
        activations = self.model.hidden_activations()
        if self.recipe.method == "relu":
            for activation in self.model.activations_of_all():
                activation.relaxed = True
            return
        target = round(self.recipe.relaxation * self.recipe.epochs)
        chance = relaxation_probability(self.current_epoch, target)
        draws = np.random.default_rng((self.recipe.seed, self.current_epoch, batch_index)).random(len(activations))
        for activation, draw in zip(activations, draws, strict=True):
            activation.relaxed = bool(draw >= chance)

    def on_train_epoch_start(self) -> None:
        """Each epoch's setting follows from its number, so that a resumed run goes on as it would have."""
        self.model.freeze_statistics(self._passed(self.recipe.freeze_statistics))
        self._images.set_epoch(self.current_epoch)
        self._sums = torch.zeros(2, device=self.device)
        self._started = time.monotonic()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Kernels get no gradient before their start; the optimiser passes over parameters without one."""
        if not self._passed(self.recipe.kernel_start):
            for parameter in self._kernel_parameters():
                parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Check and note the loss. Lightning writes the checkpoint after this, so a bad state is never kept."""
        sums = mean_over_processes(self._sums)
        loss, penalty = (sums / max(1, int(self.trainer.num_training_batches))).tolist()
        if not np.isfinite(loss + penalty) or not all(
            torch.isfinite(p).all() for p in self.model.state_dict().values()
        ):
            raise FirstspikeError(
                f"training diverged in epoch {self.current_epoch + 1}: the loss or a weight is not finite ({loss})",
                f"lower [train] learning_rate (it is {self.recipe.learning_rate:g})",
            )
        self.history.append(
            {
                "epoch": self.current_epoch,
                "loss": loss,
                "penalty": penalty,
                "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
                "statistics_frozen": self._passed(self.recipe.freeze_statistics),
                **self.model.shared(),
                "seconds": round(time.monotonic() - self._started, 3),
            }
        )

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule that ends near 0, so that the quantised weights come to rest."""
        recipe, slow = self.recipe, list(self.model.slow_parameters())
        apart = {id(parameter) for parameter in slow}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if id(p) not in apart], "weight_decay": recipe.weight_decay}
        ]
        rates = [recipe.learning_rate]
        if slow:
            groups.append({"params": slow, "weight_decay": 0.0})
            rates.append(recipe.learning_rate * recipe.kernel_rate)
        optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
        schedule = one_cycle(optimiser, rates, int(self.trainer.estimated_stepping_batches), recipe.warmup)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """History and recipe go with the weights."""
        checkpoint["history"] = self.history
        checkpoint["experiment"] = self._stamp

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history up again."""
        self.history = list(checkpoint["history"])

    def _kernel_parameters(self) -> Iterator[nn.Parameter]:
        for activation in self.model.trainable_activations():
            yield from activation.parameters()


def one_cycle(
    optimiser: torch.optim.Optimizer, peaks: list[float], steps: int, warmup: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """Learning rates that rise to ``peaks`` in the part ``warmup`` of ``steps``, and then fall to nearly 0."""
    if steps == 1:  # nothing to rise or to fall in
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak
        return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    # torch divides by the steps of the rise but one, and by those of the fall.
    if warmup * steps == 1:
        warmup *= 1 - 1e-9
    if warmup == 1:
        steps, warmup = steps + 1, steps / (steps + 1)
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=peaks, total_steps=steps, pct_start=warmup)
