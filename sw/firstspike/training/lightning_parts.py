"""What Lightning does otherwise here: checkpoints are written whole or not at all, and signals are left alone."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Callback

from firstspike.artefact import write_file
from firstspike.signals import STOPPING


class WholeCheckpoints(CheckpointIO):
    """A checkpoint replaces the one before when all of it is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file.

        Raises
        ------
        FirstspikeError
            if it cannot be written; what was there stays.

        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_file(Path(path), content.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, location: storage, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a file."""
        loaded: dict[str, Any] = torch.load(path, map_location, weights_only=weights_only)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()


class KeepSignals(Callback):
    """Puts back the handlers of signals that Lightning replaces: it would end the training at a SIGTERM in silence."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in STOPPING}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Lightning has set its own handlers by now; it takes them away itself when it ends."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
