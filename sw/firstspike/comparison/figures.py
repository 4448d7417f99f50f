"""Pictures of the table: accuracy against spikes and against time, when layers spike, and what became of kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from firstspike.comparison.runs import Measured
from firstspike.comparison.table import Row
from firstspike.flow.plots import save


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
    for number, line in enumerate(shown):
        which = "surrogate" if line["accuracy"]["golden"] is None else "golden"
        axes.errorbar(
            line["spikes"],
            100 * line["accuracy"][which],
            xerr=line["spread"]["spikes"],
            yerr=100 * line["spread"][which],
            fmt="o" if which == "golden" else "s",
            color=f"C{number}",
            capsize=2,
            label=line["row"],
        )
    relu = next((line["accuracy"]["surrogate"] for line in lines if line["row"] == "ANN"), None)
    if relu is not None:
        axes.axhline(100 * relu, color="0.6", lw=1, ls="--", label="ANN (ReLU)")
    axes.set(xscale="log", xlabel="spikes an image", ylabel="accuracy, %")
    axes.legend(fontsize=8, ncols=2)
    save(figure, path)


def accuracy_against_steps(measured: Mapping[str, Measured], path: Path) -> None:
    """Curves of the codings that have an answer in every step, and points of those that have one at the end."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (row, one) in enumerate(measured.items()):
        if "curve" in one:
            axes.plot(np.arange(1, len(one["curve"]) + 1), 100 * np.array(one["curve"]), color=f"C{number}", label=row)
        elif "steps" in one:
            axes.plot(one["steps"], 100 * one["accuracy"]["golden"], "o", color=f"C{number}", label=row)
    axes.set(xscale="log", xlabel="time step", ylabel="accuracy, %", ylim=(0, 101))
    axes.legend(fontsize=8)
    save(figure, path)


def spike_times(measured: Mapping[str, Measured], rows: Sequence[str], path: Path) -> None:
    """For each row and population: spikes of an image at each time step of the population's window."""
    shown = [row for row in rows if row in measured]
    depth = max(len(measured[row]["histogram"]) for row in shown)
    figure = Figure(figsize=(2.2 + 2.6 * depth, 1.0 + 1.7 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), depth, squeeze=False)
    for axes_of_row, row in zip(grid, shown, strict=True):
        for level, (axes, counts) in enumerate(zip(axes_of_row, measured[row]["histogram"], strict=True)):
            axes.bar(range(len(counts)), counts, color=f"C{level}")
            axes.set_title(f"{row}, {'input' if level == 0 else f'hidden {level}'}: {sum(counts):.0f}", fontsize=9)
            axes.set_xlabel("time step", fontsize=8)
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
    figure = Figure(figsize=(1.0 + 4.5 * len(shown), 3.8), layout="constrained")
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
        axes.legend(fontsize=8)
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
    save(figure, path)
