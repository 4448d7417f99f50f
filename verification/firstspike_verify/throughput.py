"""``make bench``: clocks an image in the RTL, images a second in software and in training; into ``bench.json``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from firstspike import chain, naive, training_speed
from firstspike.errors import FirstspikeError
from firstspike.golden import Golden, Result
from firstspike.hardware import Hardware
from firstspike.workspace import BUILD, Workspace, read_json, write_json
from firstspike_rtl import cycles, verilog
from firstspike_verify import scoreboard
from firstspike_verify.verilated import VerilatedCore

LANES = (16, 32, 64, 128)
NAIVE_IMAGES = 2


def _images_per_second(work: Callable[[], Any], count: int, repeats: int = 3) -> float:
    """Best of a few repeats, since other work on the machine only ever slows one down."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return count / min(seconds)


def rtl_row(workspace: Workspace, lanes: int, expected: Result) -> tuple[dict[str, Any], float]:
    """One row of the bench for a number of lanes, and the Verilated RTL's images a second."""
    network, dataset = workspace.frozen, workspace.dataset
    hardware = Hardware.for_network(network, lanes=lanes)
    pictures, labels = dataset.test_images, dataset.test_labels
    with tempfile.TemporaryDirectory() as scratch:
        folder = verilog.generate(network, hardware, Path(scratch) / "rtl")
        with VerilatedCore(folder, Path(scratch) / "verilated") as core:
            begin = time.perf_counter()
            streamed = core.run(pictures, network)
            seconds = time.perf_counter() - begin
            alone = core.run(pictures, network, send_membranes=False, one_at_a_time=True)
    together = cycles.predict(network, hardware, expected)
    single = cycles.predict(network, hardware, expected, one_at_a_time=True)
    floor, interval = float(together.slowest_floor.mean()), float(streamed.intervals.mean())
    return {
        "network": network.shape_name,
        "lanes": [layer.lanes for layer in hardware.layers],
        "accuracy": float((streamed.result.classes == labels).mean()),
        "images": len(pictures),
        "interval_mean": interval,
        "latency_mean": float(alone.latencies.mean()),
        "floor_mean": floor,
        "utilisation": floor / interval,
        "predicted_equal": bool(
            np.array_equal(together.intervals, streamed.intervals) and np.array_equal(single.latencies, alone.latencies)
        ),
        "mismatches": scoreboard.compare(expected, streamed.result).total,
    }, len(pictures) / seconds


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
    for lanes in sorted({min(lanes, max(network.sizes[1:])) for lanes in LANES}):
        row, rate = rtl_row(workspace, lanes, expected)
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
    """Print a bench, with the clocks an image of the bench before."""
    old = {(row["network"], tuple(row["lanes"])): row["interval_mean"] for row in before.get("rtl", [])}
    columns = ("network", "lanes", "clocks/image", "before", "latency", "floor", "utilisation", "mismatches")
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in result["rtl"]:
        previous = old.get((row["network"], tuple(row["lanes"])))
        table.add_row(
            row["network"], str(row["lanes"]), f"{row['interval_mean']:.1f}",
            "-" if previous is None else f"{previous:.1f}", f"{row['latency_mean']:.1f}", f"{row['floor_mean']:.1f}",
            f"{100 * row['utilisation']:.1f} %", str(row["mismatches"]),
        )  # fmt: skip
    console.print(table)
    for row in result["software"]:
        console.print(
            f"{row['network']} {row['what']}: {row['images_per_s']:.0f} images/s, "
            f"{row['ratio']:.3g} times the {row['against']}"
        )


def main(files: list[str]) -> None:
    """Bench the given experiments; the result before stands beside the new one."""
    # Without a terminal rich would assume 80 columns, too few for the table.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    path = BUILD / "bench.json"
    before = read_json(path, "remove it") if path.exists() else {}
    workspaces = [Workspace.open(Path(file)) for file in files]
    result: dict[str, list[dict[str, Any]]] = {"rtl": [], "software": []}
    for workspace in workspaces:
        rtl, software = bench(workspace)
        result["rtl"] += rtl
        result["software"] += software
    result["software"] += training(workspaces, console)
    show(result, before, console)
    write_json(path, result)
    console.print(f"bench: {path}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FirstspikeError as error:
        sys.exit(f"error: {error.one_line()}")
