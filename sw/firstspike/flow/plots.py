"""Pictures of a network: spikes of an image through the layers, and the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from firstspike.artefact import write_file
from firstspike.energy.estimate import NAMES
from firstspike.network.golden import Result
from firstspike.network.model import Network


def raster(network: Network, result: Result, picture: NDArray[np.uint8], label: int, path: Path) -> None:
    """Spike raster of one image through the layers against global time steps, and the output membranes.

    Parameters
    ----------
    network
        The network.
    result
        Of this one image.
    picture
        The image, shown beside its spikes if it has two axes.
    label
        Its true class.
    path
        PNG file to write.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    spiking = network.populations[:-1]
    heights = [max(1.0, np.sqrt(p.size) / 4) for p in spiking]
    figure = Figure(figsize=(11, 1.6 + 1.3 * sum(heights)), layout="constrained")
    ratios = {"height_ratios": heights[::-1], "width_ratios": [3, 1]}
    grid = figure.subplots(len(spiking), 2, squeeze=False, gridspec_kw=ratios)
    end = network.latency_steps
    for level, (population, times) in enumerate(zip(spiking, result.spike_times, strict=True)):
        axes = grid[len(spiking) - 1 - level, 0]
        (neurons,) = np.nonzero(times[0] < population.codes)
        steps = np.array([population.arrival(int(c)) for c in times[0][neurons]]) + level * network.fire_start
        begin = level * network.fire_start
        axes.axvspan(begin - 0.5, begin + network.steps - 0.5, color=f"C{level}", alpha=0.08, lw=0)
        axes.scatter(steps, neurons, s=30, marker="|", linewidths=1.8, color=f"C{level}")
        axes.set(
            xlim=(-0.5, end - 0.5), ylim=(-0.02 * population.size - 0.5, 1.02 * population.size - 0.5),
            ylabel=f"{population.name}\nneuron", title=f"{len(neurons)} of {population.size} neurons spike",
        )  # fmt: skip
        axes.title.set_fontsize(9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    grid[-1, 0].set_xlabel("time step (each window shaded)")
    _membranes(grid[0, 1], result, label)
    for axes in grid[1:, 1]:
        axes.axis("off")
    if picture.ndim == 2 and len(spiking) > 1:
        grid[-1, 1].imshow(picture, cmap="gray_r", interpolation="nearest")
    figure.suptitle(f"One image through {network.shape_name}: class {result.classes[0]}, label {label}")
    save(figure, path)


def _membranes(axes: Axes, result: Result, label: int) -> None:
    values = result.membranes[0]
    colours = ["C2" if j == result.classes[0] else "0.7" for j in range(len(values))]
    axes.barh(np.arange(len(values)), values, color=colours)
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set(xlabel="output membrane", ylabel="class", title=f"label {label}")
    axes.title.set_fontsize(9)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(3))


def kernels(network: Network, path: Path) -> None:
    """Decode kernel K and dynamic threshold TH of each population, as the integer tables hold them.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for level, population in enumerate(network.populations):
        # Equal tables lie on each other: later ones are thinner, so that all show.
        width = 3.5 - 2.5 * level / len(network.populations)
        style = {
            "color": f"C{level}", "marker": "o", "ms": 2 + width, "lw": width, "drawstyle": "steps-mid",
            "label": population.name,
        }  # fmt: skip
        if population.kernel:
            left.plot(np.arange(population.codes), population.kernel, **style)
        if population.threshold:
            scale = network.layers[level - 1].scale
            label = f"{population.name} (unit {scale:.3g})"
            right.plot(np.arange(network.steps), population.threshold, **(style | {"label": label}))
    left.set(title="decode kernel: what a spike is worth", xlabel="code or time step k", ylabel="K[k]")
    right.set(title="dynamic threshold", xlabel="time step k", ylabel="TH[k], in units of the membrane")
    for axes in (left, right):
        axes.set_yscale("log", base=2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        else:
            axes.text(0.5, 0.5, "no population has one", ha="center", transform=axes.transAxes)
    figure.suptitle(f"Kernels of {network.shape_name}")
    save(figure, path)


#: Parts of an estimate, from those that hold a network to those that find its spikes, and what they are called.
ENERGY_PARTS = {
    "weights": "reading weights",
    "activations": "reading and writing activations",
    "arithmetic": "products and additions",
    "membranes": "membranes: reading and writing for an addition",
    "scan": "finding spikes and class, clearing membranes",
    "tables": "encoder and kernel",
}


def energy(title: str, nanojoules: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Estimated energy of an image, by part, of the core and its rivals, low and high.

    Parameters
    ----------
    title
        The network.
    nanojoules
        As in :func:`firstspike.energy.estimate.summary`.
    path
        PNG file to write.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    bars = {
        f"{NAMES[name]}, {bound}": values[f"{bound}_parts"]
        for name, values in nanojoules.items()
        for bound in ("low", "high")
    }
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(bars))
    for part, label in ENERGY_PARTS.items():
        widths = np.array([parts.get(part, 0.0) for parts in bars.values()])
        axes.barh(list(bars), widths, left=left, label=label)
        left += widths
    for y, total in enumerate(left):
        axes.annotate(f" {total:.3g}", (total, y), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1.1 * left.max()), xlabel="nJ an image: estimate, 45 nm ASIC figures, not measured", title=title
    )  # fmt: skip
    axes.legend(fontsize=8, loc="lower right")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_file(path, buffer.getvalue())
