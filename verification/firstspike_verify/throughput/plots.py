"""Pictures of ``make bench``: how near each core is to what bounds it, and what its layers' clocks are spent on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from firstspike.flow import plots

Rows = Sequence[Mapping[str, Any]]

#: Parts of a layer's clocks, and what they are called.
PARTS = {
    "adding": "adds (the floor)",
    "watermarks": "watermarks, spikes that reach nothing",
    "membranes": "waits for membranes",
    "events": "waits for events",
}


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['network']}, lanes {', '.join(map(str, row['lanes']))}, {row['fire']}"


def roofline(rows: Rows, path: Path) -> None:
    """Synaptic operations a clock of the slowest layer, against operations a word of input.

    The roofs: one word of input a clock, and the lanes of that layer.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.
    """
    figure = Figure(figsize=(9, 4.5 + 0.25 * len(rows)), layout="constrained")
    axes = figure.subplots()
    points = [
        (row["slowest"]["operations_mean"] / row["slowest"]["input_words"],
         row["slowest"]["operations_mean"] / row["interval_mean"])
        for row in rows
    ]  # fmt: skip
    right = 2 * max((x for x, _ in points), default=1.0)
    x = np.geomspace(right / 50, right, 200)
    axes.plot(x, x, color="black", lw=1, label="one word of input a clock")
    for lanes in sorted({row["slowest"]["lanes"] for row in rows}):
        axes.plot(x, np.minimum(x, lanes), color="grey", lw=0.8)
        axes.annotate(f"{lanes} lanes", (right, lanes), ha="right", va="bottom", fontsize=8)
    for index, (row, (intensity, speed)) in enumerate(zip(rows, points, strict=True)):
        axes.scatter(intensity, speed, s=45, color=f"C{index % 10}", zorder=3, marker="os^Dv"[index // 10],
                     label=f"{_name(row)}: {row['interval_mean']:.0f} clocks")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="synaptic operations of the slowest layer, a word of input",
             ylabel="synaptic operations a clock")  # fmt: skip
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize=8, loc="outside lower center")
    plots.save(figure, path)


def clocks_by_layer(rows: Rows, path: Path) -> None:
    """What the adders of each layer do in the clocks of an image.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.
    """
    bars = [(f"{_name(row)}: layer {n}", layer) for row in rows for n, layer in enumerate(row["layers"])]
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(bars)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(bars))
    for part, label in PARTS.items():
        widths = np.array([layer[part] for _, layer in bars])
        axes.barh(
            [name for name, _ in bars], widths, left=left, label=label, color="lightgrey" if part == "events" else None
        )
        left += widths
    axes.invert_yaxis()
    axes.set(xlabel="clocks an image")
    axes.tick_params(axis="y", labelsize=8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(PARTS))
    plots.save(figure, path)
