"""``make bench``: clocks an image in the RTL, images a second in software and in training; into ``bench.json``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from firstspike.artefact import locked
from firstspike.comparison import training_speed
from firstspike.console import console, three_digits
from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike.documents import read_json
from firstspike.errors import FirstspikeError
from firstspike.flow import chain
from firstspike.flow.workspace import BUILD, Workspace, write_json
from firstspike.network import naive
from firstspike.network.golden import Golden, Result
from firstspike_rtl.clocks import cycles
from firstspike_rtl.top import verilog
from firstspike_verify.checks import scoreboard
from firstspike_verify.models.verilated import VerilatedCore
from firstspike_verify.throughput import plots as throughput_plots

LANES = (16, 32, 64, 128)
CLOCKS = tuple(field.name for field in fields(cycles.LayerClocks))
NAIVE_IMAGES = 2


def _images_per_second(work: Callable[[], Any], count: int, repeats: int = 3) -> float:
    """Best of a few repeats, since other work on the machine only ever slows one down."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return count / min(seconds)


def rtl_row(workspace: Workspace, hardware: Hardware, expected: Result) -> tuple[dict[str, Any], float]:
    """One row of the bench for a core, and the Verilated RTL's images a second."""
    network, dataset = workspace.frozen, workspace.dataset
    pictures, labels = dataset.test_images, dataset.test_labels
    with tempfile.TemporaryDirectory() as scratch:
        folder = verilog.generate(network, hardware, Path(scratch) / "rtl")
        with VerilatedCore(folder, Path(scratch) / "verilated") as core:
            begin = time.perf_counter()
            streamed = core.run(pictures, network)
            seconds = time.perf_counter() - begin
            alone = core.run(pictures, network, send_membranes=False, one_at_a_time=True)
    together = cycles.predict(hardware, expected)
    single = cycles.predict(hardware, expected, one_at_a_time=True)
    interval, slowest = float(streamed.intervals.mean()), together.slowest_layer
    floor, shape = float(together.floor[:, slowest].mean()), hardware.layers[slowest]
    return {
        "network": network.shape_name,
        "lanes": [layer.lanes for layer in hardware.layers],
        "fire": hardware.layers[0].fire,
        "accuracy": float((streamed.result.classes == labels).mean()),
        "images": len(pictures),
        "interval_mean": interval,
        "latency_mean": float(alone.latencies.mean()),
        "images_per_s_at_100_mhz": 100e6 / interval,
        "floor_mean": floor,
        "utilisation": floor / interval,
        "slowest": {
            "layer": slowest,
            "lanes": shape.lanes,
            "operations_mean": floor / shape.groups * shape.channels,
            "input_words": -(-hardware.sizes[0] // PIXELS_PER_WORD),
        },
        "layers": [asdict(layer) for layer in together.layers],
        "predicted_equal": bool(
            np.array_equal(together.intervals, streamed.intervals) and np.array_equal(single.latencies, alone.latencies)
        ),
        "mismatches": scoreboard.compare(expected, streamed.result).total,
    }, len(pictures) / seconds


def cores(workspace: Workspace) -> list[Hardware]:
    """What is measured of a network: a dense one with several numbers of lanes, another as its experiment says.

    The last core comes a second time with the stepped fire unit. Neurons with dynamics have one of their own.
    """
    network, own = workspace.frozen, workspace.hardware
    if any(layer.fire == "dynamics" for layer in own.layers):
        return [own]
    if all(layer.kind == "dense" for layer in own.layers):
        counts = sorted({min(lanes, max(network.sizes[1:])) for lanes in LANES})
        made = [Hardware.for_network(network, lanes=lanes) for lanes in counts]
    else:
        made = [own]
    lanes = [layer.lanes for layer in made[-1].layers]
    return [*made, Hardware.for_network(network, lanes=lanes, fire="stepped")]


def bench(workspace: Workspace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of ``rtl`` and of ``software`` for one experiment; it is trained first if it was not.

    Raises
    ------
    FirstspikeError
        if a stage of the chain fails.
    """
    if not workspace.network.exists():
        chain.train(workspace)
        chain.quantize(workspace)
    network, pictures = workspace.frozen, workspace.dataset.test_images
    golden = Golden(network)
    expected = golden.run(pictures)
    speed = _images_per_second(lambda: golden.run(pictures), len(pictures))
    slow = _images_per_second(lambda: naive.run(network, pictures[:NAIVE_IMAGES]), NAIVE_IMAGES, repeats=1)
    rows, verilated = [], 0.0
    for hardware in cores(workspace):
        row, rate = rtl_row(workspace, hardware, expected)
        rows.append(row)
        verilated = max(verilated, rate)
    software = [
        {"what": "golden model", "against": "naive model", "images_per_s": speed, "ratio": speed / slow},
        {"what": "Verilated RTL", "against": "golden model", "images_per_s": verilated, "ratio": verilated / speed},
    ]
    return rows, [{"network": network.shape_name} | row for row in software]


def training(workspaces: Sequence[Workspace], console: Console) -> list[dict[str, Any]]:
    """Rows of ``software`` on training speed, on the first images of 28 x 28; none, and a line, without snnTorch."""
    for workspace in workspaces:
        dataset = workspace.dataset
        if dataset.train_images.shape[1:] == (28, 28):
            try:
                return training_speed.rows(dataset.train_images, dataset.train_labels)
            except FirstspikeError as error:
                console.print(error.one_line(), markup=False)
    return []


def show(result: Mapping[str, Sequence[Mapping[str, Any]]], before: Mapping[str, Any], console: Console) -> None:
    """Print a bench, with the clocks an image of the bench before, and where each layer's clocks go."""

    def name(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["network"], tuple(row["lanes"]), row.get("fire", "stepped")

    old = {name(row): row["interval_mean"] for row in before.get("rtl", [])}
    columns = (
        "network", "lanes", "fire unit", "clocks/image", "before", "images/s at 100 MHz", "latency", "floor",
        "utilisation", "as predicted", "mismatches",
    )  # fmt: skip
    table = Table(*(Column(name, overflow="fold") for name in columns))
    parts = Table(*(Column(name, overflow="fold") for name in ("network", "lanes", "fire unit", "layer", *CLOCKS)))
    for row in result["rtl"]:
        previous = old.get(name(row))
        table.add_row(
            row["network"], str(row["lanes"]), row["fire"], f"{row['interval_mean']:.1f}",
            "-" if previous is None else f"{previous:.1f}", f"{row['images_per_s_at_100_mhz']:.0f}",
            f"{row['latency_mean']:.1f}", f"{row['floor_mean']:.1f}", f"{100 * row['utilisation']:.1f} %",
            "all" if row["predicted_equal"] else "NO", str(row["mismatches"]),
        )  # fmt: skip
        for index, layer in enumerate(row["layers"]):
            shown = [f"{layer[clock]:.1f}" for clock in CLOCKS]
            parts.add_row(row["network"], str(row["lanes"]), row["fire"], str(index), *shown)
    console.print(table)
    console.print("\nclocks an image: a layer adds, passes on what adds nothing, waits for membranes, for events")
    console.print(parts)
    for row in result["software"]:
        console.print(
            f"{row['network']} {row['what']}: {row['images_per_s']:.0f} images/s, "
            f"{three_digits(row['ratio'])} times the {row['against']}"
        )


def main(files: list[str]) -> None:
    """Bench the given experiments; the result before stands beside the new one."""
    screen = console(width=160)
    path = BUILD / "bench.json"
    before = read_json(path, "remove it") if path.exists() else {}
    workspaces = [Workspace.open(Path(file)) for file in files]
    result: dict[str, list[dict[str, Any]]] = {"rtl": [], "software": []}
    for workspace in workspaces:
        with locked(workspace.folder):
            workspace.check_place()
            rtl, software = bench(workspace)
        result["rtl"] += rtl
        result["software"] += software
    result["software"] += training(workspaces, screen)
    show(result, before, screen)
    write_json(path, result)
    pictures = [BUILD / "bench-roofline.png", BUILD / "bench-layers.png"]
    throughput_plots.roofline(result["rtl"], pictures[0])
    throughput_plots.clocks_by_layer(result["rtl"], pictures[1])
    screen.print(f"bench: {', '.join(map(str, (path, *pictures)))}")
