"""Trainings side by side, each in a process and a thread of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from firstspike import signals
from firstspike.comparison import runs
from firstspike.experiment.config import Experiment


def _one_thread() -> None:
    """Each process trains on one core: two trainings side by side are faster than two threads in one."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; after an error, or a signal, they are stopped."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def _stoppable() -> Iterator[None]:
    """A signal ends the process as soon as its job has cleaned up: the pool would give it the next one."""
    try:
        with signals.handled():
            yield
    except signals.Stopped as stop:
        os._exit(stop.status)


@_stoppable()
def surrogate(experiment: Experiment, folder: Path, row: str) -> dict[str, runs.Measured]:
    """Job: one of the rows SM, SR, TR, TB."""
    return {row: runs.Runs(experiment, folder).surrogate(row)}


@_stoppable()
def relu_family(experiment: Experiment, folder: Path) -> dict[str, runs.Measured]:
    """Job: all rows of the ReLU network."""
    return runs.Runs(experiment, folder).relu_family()
