"""The stages of the chain. Each reads what the one before left in the workspace and writes one artefact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from firstspike import processes
from firstspike.contract import images
from firstspike.flow import precheck
from firstspike.flow.workspace import Workspace, write_json
from firstspike.network import golden
from firstspike.signals import Stopped

if TYPE_CHECKING:
    from rich.table import Table


def train(workspace: Workspace, *, resume: bool = False, hardware: bool = False) -> Path:
    """Train the surrogate; leaves checkpoint and history.

    Under ``torchrun`` all processes must call it; the first one writes, and says on stderr what is doubtful.

    Parameters
    ----------
    workspace
        Of the experiment.
    resume
        Go on from the last checkpoint.
    hardware
        Hardware is to be generated afterwards: see :func:`firstspike.flow.precheck.check`.

    Raises
    ------
    FirstspikeError
        if data, recipe or folder is wrong, what shall follow is known to fail, or the loss is not finite.

    """
    with workspace.naming_file():
        doubts = precheck.check(workspace, hardware=hardware)

        def say() -> None:
            for doubt in doubts if processes.is_first() else ():
                print(f"note: {doubt}", file=sys.stderr)

        # These take seconds to load: what is wrong is said before.
        from firstspike.training import train as training
        from firstspike.training.distributed import wait_for_all

        checkpoint, history_file = workspace.training / training.CHECKPOINT, workspace.training / "history.json"
        former = _written(checkpoint)

        def begin() -> None:
            say()
            if not resume and processes.is_first():
                history_file.unlink(missing_ok=True)  # that of another training

        with workspace.timed("train"):
            try:
                _, history = training.fit(
                    workspace.experiment, workspace.loaded, workspace.training, resume=resume, begin=begin
                )
            except Stopped as stop:
                if checkpoint.is_file() and (resume or _written(checkpoint) != former):
                    stop.hint = "go on after the last whole epoch with --resume"
                raise
            if processes.is_first():
                write_json(history_file, history)
    wait_for_all()
    return workspace.training


def _written(path: Path) -> int | None:
    """When a file was written; None if it is not there."""
    return path.stat().st_mtime_ns if path.is_file() else None


def quantize(workspace: Workspace) -> Path:
    """Freeze the trained surrogate into the integer network, and note what it makes of each test image.

    Under ``torchrun`` all processes must call it; the first one writes.

    Raises
    ------
    FirstspikeError
        if there is no finished training of this experiment.

    """
    from firstspike.training import train as training
    from firstspike.training.distributed import wait_for_all

    with workspace.timed("quantize"):
        result = training.finished(workspace.experiment, workspace.loaded, workspace.training)
        golden.Golden(result.network)  # refuses what it would not compute exactly
        if processes.is_first():
            result.network.save(workspace.network)
            write_json(
                workspace.surrogate,
                {"network": result.network.digest, "accuracy": result.accuracy, "classes": result.classes.tolist()},
            )
    wait_for_all()
    return workspace.network


def export(workspace: Workspace) -> Path:
    """Write the images of every memory, in every format.

    Raises
    ------
    FirstspikeError
        if there is no network, or it does not fit the hardware asked for.

    """
    with workspace.timed("export"):
        images.write(workspace.images, workspace.frozen, workspace.hardware)
    return workspace.images


def generate(workspace: Workspace, name: str | None = None) -> Path:
    """Write Verilog, manifest, and the memory images that the Verilog reads; ``name`` is that of the top module.

    Raises
    ------
    FirstspikeError
        if there is no network, it does not fit the hardware asked for, or the name cannot be that of a module.

    """
    from firstspike_rtl.top import pins, verilog

    with workspace.timed("generate"):
        verilog.generate(workspace.frozen, workspace.hardware, workspace.rtl, pins.NAME if name is None else name)
    return workspace.rtl


def folding_table(workspace: Workspace) -> Table:
    """What each layer of the hardware takes, in clocks and in memory, for the spikes of the workspace's sample.

    Raises
    ------
    FirstspikeError
        if there is no network, or it does not fit the hardware asked for, or there are no training images.

    """
    from firstspike_rtl.clocks import folding

    table = folding.table(workspace.hardware, workspace.sample)
    table.title = f"{table.title}, for the first {len(workspace.sample)} training images"
    return table
