"""Pictures of the table: accuracy against spikes and against time, when layers spike, and what became of kernels.

``python -m firstspike.comparison.figures docs/results.json docs/results`` draws those of a table that was made before.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from firstspike import program
from firstspike.comparison.methods import ROWS
from firstspike.comparison.runs import Measured
from firstspike.comparison.table import Row
from firstspike.documents import read_json
from firstspike.flow.plots import save

#: A row has the same colour in every picture; ANN, the line that the others are held against, is grey.
COLOURS = dict(zip(ROWS, ["0.6", *(f"C{n}" for n in range(len(ROWS) - 1))], strict=True))

#: Rows whose spike times are shown.
TIMES = ("T2FSNN", "+EF", "SM", "TB")


def draw(result: Mapping[str, Any], out: Path) -> list[Path]:
    """All pictures of a table; returns their files.

    Parameters
    ----------
    result
        Contents of ``table.json``. Where ``shown`` has no measurements of single networks, only the picture of the
        rows is drawn.
    out
        Folder of the pictures.

    Raises
    ------
    FirstspikeError
        if a file cannot be written.

    """
    pictures = {}
    for shown in result["shown"]:
        lines = [line for line in result["rows"] if line["dataset"] == shown["dataset"]]
        pictures[f"{shown['name']}-spikes"] = partial(accuracy_against_spikes, lines)
        if measured := shown.get("measured"):
            pictures[f"{shown['name']}-steps"] = partial(accuracy_against_steps, measured)
            pictures[f"{shown['name']}-times"] = partial(spike_times, measured, TIMES)
            pictures[f"{shown['name']}-kernels"] = partial(kernels, measured, shown["kernels"])
    if result["front"]:
        pictures[f"{result['front_name']}-front"] = partial(front, result["front"])
    for name, picture in pictures.items():
        picture(out / f"{name}.png")
    return [path for name in pictures if (path := out / f"{name}.png").exists()]


def accuracy_against_spikes(lines: Sequence[Row], path: Path) -> None:
    """One point a row, with the spread over seeds; spikes on a logarithmic axis.

    Raises
    ------
    FirstspikeError
        if the file cannot be written (as for all functions here).

    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    shown = [line for line in lines if line["spikes"]]
    for line in shown:
        which = "surrogate" if line["accuracy"]["golden"] is None else "golden"
        axes.errorbar(
            line["spikes"],
            100 * line["accuracy"][which],
            xerr=line["spread"]["spikes"],
            yerr=100 * line["spread"][which],
            fmt="o" if which == "golden" else "s",
            color=COLOURS[line["row"]],
            capsize=2,
            label=line["row"],
        )
    relu = next((line["accuracy"]["surrogate"] for line in lines if line["row"] == "ANN"), None)
    if relu is not None:
        axes.axhline(100 * relu, color=COLOURS["ANN"], lw=1, ls="--", label="ANN (ReLU)")
    axes.set(xlabel="spikes an image", ylabel="accuracy, %")
    _logarithmic(axes)
    figure.legend(fontsize=9, loc="outside right upper")
    save(figure, path)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis of numbers that are written out."""
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 100 * left else (1,), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def accuracy_against_steps(measured: Mapping[str, Measured], path: Path) -> None:
    """Curves of the codings that have an answer in every step, and rings of those that have one at the end.

    Rings of rows with the same number of steps lie in each other.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    rings: Counter[int] = Counter()
    for row, one in measured.items():
        if "curve" in one:
            steps = np.arange(1, len(one["curve"]) + 1)
            axes.plot(steps, 100 * np.array(one["curve"]), color=COLOURS[row], label=row)
        elif "steps" in one:
            size = 16 - 4 * rings[one["steps"]]
            rings[one["steps"]] += 1
            axes.plot(
                one["steps"], 100 * one["accuracy"]["golden"], "o", ms=max(size, 4), mew=1.8, fillstyle="none",
                color=COLOURS[row], label=f"{row}: {one['steps']} steps",
            )  # fmt: skip
    axes.set(xlabel="time step", ylabel="accuracy, %", ylim=(0, 104))
    _logarithmic(axes)
    figure.legend(fontsize=9, loc="outside right upper", labelspacing=1.0)
    save(figure, path)


def spike_times(measured: Mapping[str, Measured], rows: Sequence[str], path: Path) -> None:
    """For each row and population: spikes of an image at each time step of the population's window."""
    shown = [row for row in rows if row in measured]
    depth = max(len(measured[row]["histogram"]) for row in shown)
    figure = Figure(figsize=(2.2 + 2.6 * depth, 1.0 + 1.7 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), depth, squeeze=False)
    for axes_of_row, row in zip(grid, shown, strict=True):
        for level, (axes, counts) in enumerate(zip(axes_of_row, measured[row]["histogram"], strict=True)):
            # Filled steps, since the 255 bars of a direct input would leave gaps that are none.
            axes.stairs(counts, np.arange(len(counts) + 1) - 0.5, fill=True, color=f"C{level}")
            axes.set_title(f"{row}, {'input' if level == 0 else f'hidden {level}'}: {sum(counts):.0f}", fontsize=9)
            direct = level == 0 and len(counts) != len(measured[row]["histogram"][-1])
            axes.set_xlabel("255 - pixel (direct input)" if direct else "time step", fontsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes_of_row[0].set_ylabel("spikes an image", fontsize=8)
    save(figure, path)


def kernels(measured: Mapping[str, Measured], starts: Mapping[str, tuple[float, int]], path: Path) -> None:
    """Decode kernels of each population before (dashed) and after training or optimisation.

    Parameters
    ----------
    measured
        Rows with ``kernels``.
    starts
        For each row to show: the time constant that all populations start with (their delay is 0), and T.
    path
        PNG file to write.

    """
    shown = {row: start for row, start in starts.items() if measured.get(row, {}).get("kernels")}
    if not shown:
        return
    figure = Figure(figsize=(1.0 + 4.5 * len(shown), 4.4), layout="constrained")
    for axes, (row, (tau, steps)) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        k = np.linspace(0, steps - 1, 200)
        axes.plot(k, np.exp(-k / tau), "k--", lw=1, label=f"before: tau {tau:g}, t_d 0")
        # A direct input has no such kernel: the first one is that of a hidden population then.
        curves = measured[row]["kernels"]
        for level, (trained, delay) in enumerate(curves, start=len(measured[row]["histogram"]) - len(curves)):
            name = "input" if level == 0 else f"hidden {level}"
            axes.plot(
                k,
                np.exp(-(k - delay) / trained),
                color=f"C{level}",
                label=f"{name}: tau {trained:.2f}, t_d {delay:.2f}",
            )
        axes.set(xlabel="time step k", ylabel="K(k)", title=row)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    save(figure, path)


def front(points: Sequence[Mapping[str, float]], path: Path) -> None:
    """Accuracy against hidden spikes of networks trained to different spike budgets.

    Parameters
    ----------
    points
        Each with ``spikes``, ``accuracy`` and ``budget`` (0: none).
    path
        PNG file to write.

    """
    ordered = sorted(points, key=lambda point: point["spikes"])
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([p["spikes"] for p in ordered], [100 * p["accuracy"] for p in ordered], "o-")
    for point in ordered:
        axes.annotate(
            f"budget {point['budget']:g}" if point["budget"] else "no budget",
            (point["spikes"], 100 * point["accuracy"]),
            textcoords="offset points",
            xytext=(6, -10),
            fontsize=8,
        )
    axes.set(xlabel="hidden spikes an image", ylabel="accuracy, %")
    axes.margins(x=0.2, y=0.1)
    save(figure, path)


def main(table: str, out: str) -> None:
    """Draw the pictures of a table file into a folder.

    Raises
    ------
    FirstspikeError
        if the table cannot be read, or a picture not be written.

    """
    for path in draw(read_json(Path(table), "make it by 'make table'"), Path(out)):
        print(path)


if __name__ == "__main__":
    program.run(lambda: main(*sys.argv[1:]))
