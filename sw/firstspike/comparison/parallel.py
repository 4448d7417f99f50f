"""Trainings side by side, each in a process and a thread of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from firstspike.comparison import runs
from firstspike.experiment.config import Experiment


def _one_thread() -> None:
    """Each process trains on one core: two trainings side by side are faster than two threads in one."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; after an error what has not begun is cancelled."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def surrogate(experiment: Experiment, folder: Path, row: str) -> dict[str, runs.Measured]:
    """Job: one of the rows SM, SR, TR, TB."""
    return {row: runs.Runs(experiment, folder).surrogate(row)}


def relu_family(experiment: Experiment, folder: Path) -> dict[str, runs.Measured]:
    """Job: all rows of the ReLU network."""
    return runs.Runs(experiment, folder).relu_family()
