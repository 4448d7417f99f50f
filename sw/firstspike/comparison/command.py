"""Make the table: train what is not yet trained, measure, and write ``table.json``, ``table.md`` and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from firstspike.artefact import check_place, locked, write_file
from firstspike.comparison import figures, methods, parallel, runs, table
from firstspike.console import console
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.flow.workspace import BUILD, write_json

_Number = TypeVar("_Number", int, float)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def compare(
    experiment: Experiment, seeds: list[int], folder: Path, pool: ProcessPoolExecutor, tell: Callable[[str], None]
) -> dict[int, dict[str, runs.Measured]]:
    """All rows of all seeds.

    Raises
    ------
    FirstspikeError
        if data or recipe is wrong, or a training diverges.

    """
    measured: dict[int, dict[str, runs.Measured]] = {seed: {} for seed in seeds}
    jobs: dict[Future[dict[str, runs.Measured]], int] = {}
    for seed in seeds:
        seeded = replace(experiment, train=replace(experiment.train, seed=seed))
        for row in methods.surrogates(seeded):
            jobs[pool.submit(parallel.surrogate, seeded, folder, row)] = seed
        jobs[pool.submit(parallel.relu_family, seeded, folder)] = seed
    for job in as_completed(jobs):
        measured[jobs[job]].update(job.result())
        tell(f"{experiment.name}, seed {jobs[job]}: {', '.join(job.result())}")
    return measured


def spike_front(
    experiment: Experiment, budgets: list[float], folder: Path, pool: ProcessPoolExecutor
) -> list[dict[str, float]]:
    """Networks trained to different budgets of hidden spikes; a budget of 0 is none.

    Raises
    ------
    FirstspikeError
        if data or recipe is wrong, or a training diverges.

    """
    jobs = {
        budget: pool.submit(
            parallel.surrogate,
            replace(experiment, train=replace(experiment.train, spike_budget=budget or None)),
            folder,
            "TB",
        )
        for budget in budgets
    }
    return [
        {
            "budget": budget,
            "spikes": job.result()["TB"]["spikes"]["hidden"],
            "accuracy": job.result()["TB"]["accuracy"]["golden"],
        }
        for budget, job in jobs.items()
    ]


@app.command()
def main(
    files: Annotated[list[Path], typer.Argument(help="experiments of the whole method, one for each data set")],
    seeds: Annotated[str, typer.Option(help="how many seeds, counted from 1; one number, or one for each file")] = "3",
    front: Annotated[Path | None, typer.Option(help="experiment for the front of accuracy against spikes")] = None,
    budgets: Annotated[str, typer.Option(help="its budgets of hidden spikes, 0 for none")] = "0,24,17,12,8,4",
    out: Annotated[Path, typer.Option(help="where to keep trainings and write the table")] = BUILD / "table",
    workers: Annotated[int, typer.Option(help="processes; each takes one core")] = os.cpu_count() or 1,
) -> None:
    """Write the comparison table of all methods and codings.

    For example: python -m firstspike.comparison examples/mnist-cnn.toml --seeds 3
    """
    counts = _numbers("--seeds", seeds, int)
    amounts = _numbers("--budgets", budgets, float)
    if len(counts) not in (1, len(files)) or min(counts) < 1 or min(amounts) < 0:
        raise FirstspikeError(
            f"--seeds {seeds} and --budgets {budgets} do not fit", "give one count >= 1 for each file"
        )
    lines: list[table.Row] = []
    points: list[dict[str, float]] = []
    shown: list[dict[str, Any]] = []
    text = front_name = ""
    with locked(out), parallel.processes(workers) as pool:
        check_place(out, runs.SIGNS)
        for file, count in zip(files, counts * len(files) if len(counts) == 1 else counts, strict=True):
            experiment = Experiment.load(file)
            measured = compare(
                experiment, list(range(1, count + 1)), out / experiment.name, pool, console(stderr=True).print
            )
            made = table.rows(experiment.data.set, measured)
            lines += made
            text += f"## {experiment.data.set}: {made[0]['network']}\n\n{table.markdown(made)}\n"
            shown.append(_shown(experiment, measured[1]))
        if front:
            experiment = Experiment.load(front)
            points = spike_front(experiment, amounts, out / f"{experiment.name}-front", pool)
            front_name = experiment.name
    result = {"rows": lines, "front": points, "front_name": front_name, "shown": shown}
    write_json(out / "table.json", result)
    figures.draw(result, out)
    write_file(out / "table.md", text)
    print(text)
    print(f"table: {out / 'table.json'}, {out / 'table.md'}")


def _numbers(option: str, text: str, kind: Callable[[str], _Number]) -> list[_Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise FirstspikeError(f"{option} {text!r} is no list of numbers", "separate them by commas") from error


def _shown(experiment: Experiment, measured: dict[str, runs.Measured]) -> dict[str, Any]:
    """What the pictures of an experiment show besides the table's rows: those of one seed."""
    start, trained = methods.start(experiment), experiment.network.spiking_hidden
    return {
        "name": experiment.name,
        "dataset": experiment.data.set,
        "measured": {row: measured[row] for row in methods.ROWS if row in measured},
        "kernels": {"+GO": (start.tau, start.steps), "TB": (getattr(trained, "tau", 0.0), trained.steps)},
    }
