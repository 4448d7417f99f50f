"""How much a recipe depends on its seed: ``python -m firstspike.comparison.seeds examples/mnist.toml --seeds 5``.

Float sums differ between machines, too, so that the same seed gives another network elsewhere. The spread over seeds
says how far two such networks lie apart.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from firstspike import program
from firstspike.artefact import check_place, locked
from firstspike.comparison import parallel, runs
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.flow.workspace import BUILD, write_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def measure(experiment: Experiment, count: int, folder: Path, workers: int = 1) -> dict[str, Any]:
    """Train an experiment with seeds 1 to ``count``, each in one thread, and measure each network on all test images.

    Parameters
    ----------
    experiment
        The recipe; its own seed plays no part.
    count
        How many seeds, at least 2.
    folder
        Where trainings are kept; what is there already is found again.
    workers
        Trainings side by side.

    Returns
    -------
    dict
        ``name``, ``network``, ``seeds``, and for each seed ``accuracy`` (a part of 1), ``hidden_spikes`` (an image) and
        ``digest`` of the network.

    Raises
    ------
    FirstspikeError
        if ``count`` is less than 2, data or recipe is wrong, or a training diverges.

    """
    if count < 2:
        raise FirstspikeError(f"--seeds is {count}", "give at least 2: one seed has no spread")
    seeds = list(range(1, count + 1))
    with parallel.processes(workers) as pool:
        seeded = (replace(experiment, train=replace(experiment.train, seed=seed)) for seed in seeds)
        jobs = [pool.submit(parallel.surrogate, one, folder, "TB") for one in seeded]  # TB: the recipe as it is
        found = [job.result()["TB"] for job in jobs]
    return {
        "name": experiment.name,
        "network": found[0]["network"],
        "seeds": seeds,
        "accuracy": [one["accuracy"]["golden"] for one in found],
        "hidden_spikes": [one["spikes"]["hidden"] for one in found],
        "digest": [one["digest"] for one in found],
    }


@app.command()
def main(
    files: Annotated[list[Path], typer.Argument(metavar="EXPERIMENT...", help="experiment files")],
    seeds: Annotated[int, typer.Option(help="how many seeds, counted from 1")] = 5,
    out: Annotated[Path, typer.Option(help="where to keep trainings and results")] = BUILD / "seeds",
    workers: Annotated[int, typer.Option(min=1, help="trainings side by side; each takes one core")] = 1,
) -> None:
    """Train each experiment with several seeds; prints and writes accuracy and spikes of each."""
    with locked(out):
        check_place(out, runs.SIGNS)
        for file in files:
            experiment = Experiment.load(file)
            result = measure(experiment, seeds, out / experiment.name, workers)
            write_json(out / f"{experiment.name}.json", result)
            shown = ", ".join(f"{100 * accuracy:.2f}" for accuracy in result["accuracy"])
            print(f"{experiment.name}: {shown} % with seeds 1 to {seeds}: {out / experiment.name}.json", flush=True)


if __name__ == "__main__":
    program.run(lambda: program.command(app))
