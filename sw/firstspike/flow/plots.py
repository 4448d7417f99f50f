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
from firstspike.console import three_digits
from firstspike.energy.estimate import NAMES
from firstspike.network.golden import Result, output_spikes
from firstspike.network.model import Network

#: What is at least so many times as large at one end as at the other is drawn over an axis of powers of two.
OCTAVES = 8


def raster(network: Network, result: Result, picture: NDArray[np.uint8], label: int, path: Path) -> None:
    """Spike raster of one image through the populations against global time steps, and the output membranes.

    A population's window, T steps from its fire start on, is shaded. The output has spikes, and the decision a step,
    if the network is read by its first spike.

    Parameters
    ----------
    network
        The network.
    result
        Of this one image.
    picture
        The image, bytes of shape (rows, columns), (1, rows, columns) or (3, rows, columns); drawn as the network sees
        it, 255 white. Other shapes are not drawn. Of events, a frame a step, the sum over all steps is.
    label
        Its true class.
    path
        PNG file to write.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    times = [spikes[0] for spikes in result.spike_times]
    if network.readout == "first_spike":
        times.append(output_spikes(network, result)[0])
    heights = [1.1 + 0.45 * np.log10(population.size) for population in network.populations[: len(times)]]
    figure = Figure(figsize=(11, max(4.8, 1.0 + sum(heights))), layout="constrained")
    columns = figure.add_gridspec(1, 2, width_ratios=[3, 1])
    left, right = (figure.add_subfigure(columns[0, n]) for n in range(2))
    ratios = {"height_ratios": heights[::-1]}
    panels = left.subplots(len(times), 1, sharex=True, squeeze=False, gridspec_kw=ratios)[::-1, 0]
    for level, (axes, codes) in enumerate(zip(panels, times, strict=True)):
        counts = result.spike_counts.get(level)
        _population(axes, network, level, codes, None if counts is None else counts[0])
    panels[0].set_xlabel("time step (shaded: the window of a population; dashed: its fire start)")
    panels[0].set_xlim(-0.5, network.latency_steps - 0.5)
    panels[0].xaxis.set_major_locator(MaxNLocator(15, integer=True, steps=[1, 2, 5, 10]))
    largest = "the largest " if network.readout == "largest_membrane" else ""
    decision = f"{largest}output membranes decide after the last step"
    if network.readout == "first_spike":
        decision = _decision(panels[-1], network, result)
    start = f"S = {network.fire_start}, " if network.has_tables else ""
    above, below = right.subplots(2, 1)
    _membranes(above, network, result, label)
    if network.populations[0].repeat:
        total = picture.sum(axis=0, dtype=np.float64)
        _picture(below, (255 * total / max(1, total.max())).astype(np.uint8), "events of all steps")
    else:
        _picture(below, picture, "the image")
    figure.suptitle(
        f"One image through {network.shape_name}: class {result.classes[0]}, label {label}\n"
        f"T = {network.steps}, {start}{network.latency_steps} time steps in all; {decision}",
        fontsize=11,
    )
    save(figure, path)


def _population(
    axes: Axes,
    network: Network,
    level: int,
    codes: NDArray[np.integer[Any]],
    counts: NDArray[np.integer[Any]] | None,
) -> None:
    """Spikes of one population, at their global time steps: the first ones, or of each step those that there are."""
    population, begin = network.populations[level], network.begin(level)
    silent = network.steps if level else population.codes
    (neurons,) = np.nonzero(codes < silent)
    spiking = f"{len(neurons)} of {population.size} neurons spike"
    steps = np.array([population.arrival(int(code)) for code in codes[neurons]]) + begin
    if counts is not None:
        steps, neurons = np.nonzero(counts)
        spiking += f", {counts.sum()} times"
        steps = steps + begin
    axes.axvspan(begin - 0.5, begin + network.steps - 0.5, color=f"C{level}", alpha=0.08, lw=0)
    # A mark is about as high as three neurons, so that those beside it which are silent show; few have longer ones.
    area = min(40.0, max(2.0, (400 / population.size) ** 2))
    axes.scatter(steps, neurons, s=area, marker="|", linewidths=2.2, color=f"C{level}")
    title = f"{population.name}: {spiking}"
    if level:
        before, after = network.populations[level - 1].name, network.start(population)
        title += f"; fires from step {begin} on, {f'{after} after' if after else 'with'} {before}"
        axes.axvline(begin - 0.5, color=f"C{level}", lw=1.2, ls="--")
    # Room for the marks of the first and the last neuron.
    room = 0.02 * population.size + 0.5
    axes.set_ylim(-room, population.size - 1 + room)
    axes.set_ylabel("class" if level == len(network.layers) else "neuron")
    axes.set_title(title, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _decision(axes: Axes, network: Network, result: Result) -> str:
    """Mark the first output spike; returns what there is to say of it."""
    step, chosen = int(result.decision_steps[0]), int(result.classes[0])
    if step == network.steps:
        return "no output spike, so that the final membranes decide"
    at = network.begin(len(network.layers)) + step
    axes.axvline(at, color="0.6", lw=1, ls=":", zorder=0.5)
    axes.scatter([at], [chosen], s=170, marker="o", facecolors="none", edgecolors="0.2", linewidths=1.2)
    return f"the first output spike decides, in step {at}"


def _picture(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    """The image as the network sees it: a grey value of 255 is white, three channels are colours."""
    colours = picture.ndim == 3 and len(picture) == 3
    shown = np.moveaxis(picture, 0, -1) if colours else picture.squeeze()
    axes.axis("off")
    if colours or shown.ndim == 2:
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=9)


def _membranes(axes: Axes, network: Network, result: Result, label: int) -> None:
    values = result.membranes[0]
    chosen = int(result.classes[0])
    colours = dict.fromkeys(range(len(values)), "0.7") | {chosen: "C3", label: "C2"}
    axes.axhspan(label - 0.5, label + 0.5, color="C2", alpha=0.15, lw=0)  # its membrane may be 0
    axes.barh(np.arange(len(values)), values, color=list(colours.values()))
    axes.axvline(0, color="0.3", lw=0.8)
    largest = network.readout == "largest_membrane"
    axes.set(xlabel="largest membrane" if largest else "membrane after the last step", ylabel="class")
    wrong = "" if chosen == label else f" (green)\nclass {chosen} (red) is wrong"
    axes.set_title(f"output membranes, label {label}{wrong}", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(3))


def kernels(network: Network, path: Path) -> None:
    """Decode kernel K and dynamic threshold TH of each population, as the integer tables hold them.

    A direct input is left out: its 255 codes are the values of pixels, and no time steps.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    figure = Figure(figsize=(11, max(3.8, 1.0 + 0.22 * len(network.populations))), layout="constrained")
    left, right = figure.subplots(1, 2)
    for level, population in enumerate(network.populations):
        # Equal tables lie on each other: later ones are thinner, and have gaps, so that all show.
        gaps = min(level, 3)
        dashes = {"ls": (4 * level, (4, 4 * gaps))} if gaps else {}
        width = 3.5 - 2.5 * level / len(network.populations)
        style = {
            "color": f"C{level}", "marker": "o", "ms": 2 + width, "lw": width, "drawstyle": "steps-mid",
            "label": population.name, **dashes,
        }  # fmt: skip
        if population.kernel and not population.simultaneous:
            left.plot(np.arange(population.codes), population.kernel, **style)
        if population.fires:
            scale = network.layers[level - 1].scale
            values = np.array(population.threshold)
            if population.dynamics and population.dynamics.threshold is not None:
                scale /= 1 << population.dynamics.guard
                values = np.resize(population.dynamics.threshold.mean(axis=1), network.steps)
            label = f"{population.name} (unit {scale:.3g})"
            right.plot(np.arange(network.steps), values, **(style | {"label": label}))
    left.set(title="decode kernel: what a spike is worth", xlabel="time step k", ylabel="K[k]")
    right.set(title="threshold", xlabel="time step k", ylabel="TH[k], in units of the membrane")
    for axes in (left, right):
        values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines] or [np.ones(1)])
        if values.max() >= OCTAVES * max(1, values.min()):
            axes.set_yscale("log", base=2)
        else:  # powers of two would be no marks, or one
            axes.set_ylim(0, 1.1 * values.max())
            axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
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
        axes.annotate(f" {three_digits(total)}", (total, y), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1.1 * left.max()), xlabel="nJ an image: estimate, 45 nm ASIC figures, not measured", title=title
    )  # fmt: skip
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
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
