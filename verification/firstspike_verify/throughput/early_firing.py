"""What early firing saves and costs: time steps, accuracy and clocks for every fire start of one trained network.

``python -m firstspike_verify.throughput.early_firing examples/digits-early.toml`` measures, writes
``docs/early-firing.json`` and makes the tables of ``docs/early-firing.md`` from it.

Training takes every spike into account, so that one network can be run with every fire start. It is trained with
several seeds, and a second time with three hidden layers in place of one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from firstspike import program
from firstspike.artefact import write_file
from firstspike.contract.hardware import Hardware
from firstspike.documents import read_json
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.experiment.data import Dataset
from firstspike.flow import chain
from firstspike.flow.report import decision
from firstspike.flow.workspace import BUILD, Workspace, write_json
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike_rtl.clocks import cycles
from firstspike_rtl.top import verilog
from firstspike_verify.checks import scoreboard
from firstspike_verify.models.verilated import VerilatedCore

SEEDS = 5
#: Hidden layers of the second network, each like the first one of the experiment.
DEEP = 3
SOURCE, PAGE = Path("docs/early-firing.json"), Path("docs/early-firing.md")
#: The tables are all that follows this heading.
HEADING = "## Figures\n\n"

Row = dict[str, Any]


def by_membranes(network: Network) -> Network:
    """The same network, read by its membranes."""
    *populations, output = network.populations
    return replace(network, populations=(*populations, replace(output, threshold=())))


def cases(network: Network) -> Iterator[Network]:
    """The network as it is usually run, by membranes with S = T; then read by the first spike with every S."""
    yield replace(by_membranes(network), fire_start=network.steps)
    for start in range(network.steps, -1, -1):
        yield replace(network, fire_start=start)


def deep(experiment: Experiment) -> Experiment:
    """The experiment with more hidden layers, each with the neurons and lanes of its only one.

    Raises
    ------
    FirstspikeError
        if it has more than one hidden layer, or not a number of lanes for each layer.

    """
    hidden, lanes = experiment.network.hidden, experiment.hardware.lanes
    if isinstance(hidden, str) or len(hidden) != 1 or isinstance(lanes, int) or lanes is None:
        raise FirstspikeError(
            f"{experiment.name} is not as this measurement needs it", "use examples/digits-early.toml"
        )
    return replace(
        experiment,
        name=f"{experiment.name}-deep",
        network=replace(experiment.network, hidden=hidden * DEEP),
        hardware=replace(experiment.hardware, lanes=lanes[:1] * DEEP + lanes[1:]),
    )


def trained(experiment: Experiment, folder: Path) -> list[Workspace]:
    """A workspace with a network for each seed; what is in ``folder`` already is not trained again.

    Raises
    ------
    FirstspikeError
        if data or recipe is wrong, or the output has no thresholds.

    """
    if experiment.network.readout != "first_spike":
        raise FirstspikeError(f"{experiment.name} has the membrane readout", 'use one with readout = "first_spike"')
    workspaces = []
    for seed in range(1, SEEDS + 1):
        seeded = replace(experiment, train=replace(experiment.train, seed=seed))
        workspaces.append(Workspace(seeded, folder / f"{experiment.name}-{seed}"))
        if not workspaces[-1].network.exists():
            chain.train(workspaces[-1])
            chain.quantize(workspaces[-1])
    return workspaces


def row(networks: Sequence[Network], dataset: Dataset, lanes: Sequence[int]) -> Row:
    """One core, with each of the networks in its turn: all test images through the RTL, back to back and alone.

    Parameters
    ----------
    networks
        Of one shape, readout and fire start.
    dataset
        With the test images.
    lanes
        Of each layer.

    Returns
    -------
    dict
        ``readout``, ``fire_start``, ``latency_steps``; for each network ``accuracy`` (of 1), ``decision`` (the mean
        step), ``alone`` and ``back_to_back`` (clocks, simulated), and of layer 0 the parts of the latter; and over all
        networks ``mismatches`` and ``predicted_equal``.

    """
    first = networks[0]
    bits = [max(network.membrane_bits(n) for network in networks) for n in range(len(first.layers))]
    spare = max(most - first.membrane_bits(n) for n, most in enumerate(bits))
    hardware = Hardware.for_network(first, lanes=lanes, spare_membrane_bits=spare)
    found: Row = {
        "readout": first.readout, "fire_start": first.fire_start, "latency_steps": first.latency_steps,
        "accuracy": [], "decision": [], "alone": [], "back_to_back": [], "layer0": [],
        "mismatches": 0, "predicted_equal": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = verilog.generate(first, hardware, Path(scratch) / "rtl")
        with VerilatedCore(folder, Path(scratch) / "verilated", fast=False) as core:
            for network in networks:
                core.load(network)
                _add(found, core, network, dataset)
    return found


def _add(found: Row, core: VerilatedCore, network: Network, dataset: Dataset) -> None:
    """What one network in the core gives."""
    images, expected = dataset.test_images, golden.run(network, dataset.test_images)
    streamed = core.run(images, network)
    alone = core.run(images, network, send_membranes=False, one_at_a_time=True)
    together = cycles.predict(core.hardware, expected)
    single = cycles.predict(core.hardware, expected, one_at_a_time=True)
    found["accuracy"].append(float((streamed.result.classes == dataset.test_labels).mean()))
    found["decision"].append(decision(network, expected)["latency_mean"])
    found["alone"].append(float(alone.latencies.mean()))
    found["back_to_back"].append(float(streamed.intervals.mean()))
    found["layer0"].append(asdict(together.layers[0]))
    found["mismatches"] += scoreboard.compare(expected, streamed.result).total
    found["predicted_equal"] &= bool(
        np.array_equal(together.intervals, streamed.intervals) and np.array_equal(single.latencies, alone.latencies)
    )


def measure(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """All rows of an experiment, with what they were measured on.

    Raises
    ------
    FirstspikeError
        as :func:`trained`.

    """
    workspaces = trained(experiment, folder)
    dataset, networks = workspaces[0].dataset, [workspace.frozen for workspace in workspaces]
    lanes = [layer.lanes for layer in workspaces[0].hardware.layers]
    rows = []
    for versions in zip(*map(cases, networks), strict=True):
        rows.append(row(versions, dataset, lanes))
        print(f"{networks[0].shape_name}: {versions[0].readout}, S = {versions[0].fire_start}", flush=True)
    return {
        "experiment": experiment.name,
        "network": networks[0].shape_name,
        "digests": [network.digest for network in networks],
        "steps": networks[0].steps,
        "lanes": lanes,
        "images": len(dataset.test_labels),
        "rows": rows,
    }


#: Where the clocks of layer 0 go, back to back, and what they are called.
PARTS = {"adds": "adding", "watermarks": "watermarks", "waits for tests": "membranes", "waits for spikes": "events"}
COLUMNS = ("readout", "S", "decision in step", "accuracy", "clocks alone", "clocks back to back", *PARTS)


def markdown(measured: Sequence[Mapping[str, Any]]) -> str:
    """The tables of the page."""
    parts = []
    for one in measured:
        title = f"### {one['network']}, T = {one['steps']}, lanes {', '.join(map(str, one['lanes']))}"
        head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
        parts.append(f"{title}\n\n{head}{''.join(map(_line, one['rows']))}")
    return "\n".join(parts)


def _line(row: Row) -> str:
    decided = f"{row['latency_steps']}" if row["readout"] == "membrane" else _spread(row["decision"], 2)
    cells = [
        row["readout"].replace("_", " "), str(row["fire_start"]), decided,
        f"{_spread([100 * value for value in row['accuracy']], 2)} %",
        _spread(row["alone"], 1), _spread(row["back_to_back"], 1),
        *(f"{statistics.fmean(layer[part] for layer in row['layer0']):.1f}" for part in PARTS.values()),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def main(files: Sequence[str]) -> None:
    """Measure the experiment, or without one only make the page from what was measured before.

    Raises
    ------
    FirstspikeError
        if the experiment is not fit for it, or a file cannot be read or written.

    """
    if files:
        experiment = Experiment.load(files[0])
        measured = [measure(each, BUILD / "early-firing") for each in (experiment, deep(experiment))]
        write_json(SOURCE, measured)
    tables = markdown(read_json(SOURCE, "run it in the repository's root"))
    page = PAGE.read_text(encoding="utf-8").partition(HEADING)[0]
    write_file(PAGE, page + HEADING + tables)
    print(f"early firing: {SOURCE}, {PAGE}")


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]))
