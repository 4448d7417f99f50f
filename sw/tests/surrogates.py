"""Surrogates in tests of training: as architectures have them, with statistics, and with a training that stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from firstspike.training import train
from firstspike.training.surrogate import Model


def notation(layer: dict[str, Any], *, pooled: bool = True) -> str:
    """A layer of :mod:`networks` as an architecture has it, with its pooling or without."""
    channels, *rest = layer["shape"]
    if len(rest) == 1:
        return str(channels)
    _, rows, columns = rest
    pool = f"-P{layer['pool']}" if pooled else ""
    return f"{channels}C{rows}x{columns}s{layer['stride']}p{layer['padding']}{pool}"


def trained_somehow(model: Model) -> None:
    """Gains, offsets and running statistics at random, as a training might leave them."""
    with torch.no_grad():
        for layer in model.folded_layers():
            layer.gamma.uniform_(0.5, 2)
            layer.beta.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)


def cut_off(monkeypatch: pytest.MonkeyPatch, training: Callable[[], object]) -> None:
    """Begin a training, which a power cut ends in epoch 3."""
    start = train.Training.on_train_epoch_start

    def power_cut(self: train.Training) -> None:
        if self.current_epoch == 3:
            raise OSError("power cut")
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "on_train_epoch_start", power_cut)
        with pytest.raises(OSError, match="power cut"):
            training()
