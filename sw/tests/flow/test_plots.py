"""The pictures of a run: what they show, for networks of every kind, and that it can be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import legible
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from firstspike.flow import plots
from firstspike.network import golden, kernels
from firstspike.network.dynamics import Dynamics
from firstspike.network.model import Conv2d, Dense, Network, chain

POWER = kernels.PowerOfTwo(steps=8)
CIRCLE = 170  # around the spike that decides; all other marks are spikes


def network(
    shape: tuple[int, ...], hidden: list[int], *, fire_start: int = 8, first_spike: bool = False, direct: bool = False,
    classes: int = 10,
) -> Network:  # fmt: skip
    """Random weights; of three axes the first layer is a convolution."""
    rng = np.random.default_rng(3)
    layers: list[Conv2d | Dense] = []
    before = shape
    if len(shape) == 3:
        weight = rng.integers(-8, 8, (4, shape[0], 3, 3))
        layers.append(Conv2d(name="layer0", weight=weight, bias=np.zeros(4, int), weight_bits=4, pool=2))
        before = layers[0].output_shape(shape)
    for size in [*hidden, classes]:
        weight = rng.integers(-8, 8, (size, int(np.prod(before))))
        layers.append(Dense(name=f"layer{len(layers)}", weight=weight, bias=np.zeros(size, int), weight_bits=4))
        before = (size,)
    first = kernels.Direct() if direct else POWER
    firing = len(layers) - (not first_spike)
    return chain(
        layers, input_shape=shape, kernels=[first.table()] + [POWER.table()] * (len(layers) - 1),
        thresholds=[POWER.integer_threshold(1 / 600)] * firing, encoder=first.encoder(), steps=8,
        fire_start=fire_start, simultaneous=direct,
    )  # fmt: skip


def image(*shape: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    return (rng.integers(1, 256, shape) * (rng.random(shape) < 0.4)).astype(np.uint8)


KINDS = {
    "membrane": (network((64,), [48]), image(8, 8)),
    "first_spike": (network((64,), [48], first_spike=True), image(8, 8)),
    "early": (network((64,), [48], first_spike=True, fire_start=2), image(8, 8)),
    "at_once": (network((64,), [48, 20], first_spike=True, fire_start=0), image(8, 8)),
    "input_only": (network((64,), []), image(8, 8)),
    "colours": (network((3, 16, 16), [20], direct=True), image(3, 16, 16)),
    "one_channel": (network((1, 16, 16), [20]), image(1, 16, 16)),
    "no_picture": (network((40,), [30] * 5, fire_start=4), image(40)),
    "many_classes": (network((784,), [128], classes=100), image(28, 28)),
    "dark": (network((64,), [48], first_spike=True), np.zeros((8, 8), np.uint8)),
}


def drawn(kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Figure, Network, golden.Result, np.ndarray[Any, Any]]:
    made = legible.figures_of(plots, monkeypatch)
    net, picture = KINDS[kind]
    result = golden.run(net, picture[None])
    plots.raster(net, result, picture, 7, Path("raster.png"))
    return made[0], net, result, picture


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_network_can_be_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, net, *_ = drawn(kind, monkeypatch)
    legible.check(figure)
    made = legible.figures_of(plots, monkeypatch)
    plots.kernels(net, Path("kernels.png"))
    legible.check(made[0])
    assert all(len(legible.numbers(axes)) >= 2 for axes in made[0].axes if axes.lines)


@pytest.mark.parametrize("high", [1.1, 30.0])
def test_the_picture_of_energy_can_be_read(high: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(plots, monkeypatch)
    parts = dict.fromkeys(plots.ENERGY_PARTS, 0.5)
    values = {
        name: {"low_parts": parts, "high_parts": {"scan": high}} for name in ("core", "dense_ann", "skipping_ann")
    }
    plots.energy("64-48-10", values, Path("energy.png"))
    legible.check(made[0])


@pytest.mark.parametrize(("kind", "shape"), [("membrane", (8, 8)), ("one_channel", (16, 16)), ("colours", (16, 16, 3))])
def test_the_image_is_drawn_as_infer_wants_it(
    kind: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pixel of 255 is white and one of 0 black: light ink on dark."""
    figure, _, _, picture = drawn(kind, monkeypatch)
    (shown,) = [x for axes in figure.axes for x in axes.get_images()]
    assert shown.get_array().shape == shape
    colours = shown.to_rgba(shown.get_array())[..., :3]
    assert colours.shape[:2] == shape[:2]
    expected = np.moveaxis(picture, 0, -1) if len(shape) == 3 else picture.reshape(shape)[..., None].repeat(3, -1)
    assert np.array_equal(
        np.round(255 * np.asarray(colours, float)) if colours.dtype != np.uint8 else colours, expected
    )


def marks(figure: Figure, level: int) -> set[tuple[int, int]]:
    """(step, neuron) of the spikes drawn of a population, in a figure with the input at the bottom."""
    panels = [axes for axes in figure.axes if any(x.get_sizes()[0] != CIRCLE for x in _scatters(axes))]
    return {(round(x), round(y)) for x, y in _scatters(panels[::-1][level])[0].get_offsets()}


def test_silent_neurons_show_between_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many neurons, of which two in ten are silent, in one step."""
    made = legible.figures_of(plots, monkeypatch)
    net, picture = network((250,), [20]), np.full(250, 255, np.uint8)
    picture[::10] = picture[1::10] = 0
    plots.raster(net, golden.run(net, picture[None]), picture, 0, Path("raster.png"))
    (figure,) = made
    figure.set_dpi(legible.DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panel = figure.axes[1]
    drawn = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    blue = (drawn == np.round(255 * np.array(to_rgba("C0")[:3]))).all(axis=2)
    column = round(panel.transData.transform((0, 0))[0])
    rows = [round(panel.transData.transform((0, neuron))[1]) for neuron in (0, 249)]
    inked = blue[rows[0] : rows[1], column - 1 : column + 2].any(axis=1)
    assert (np.diff(inked.astype(int)) == 1).sum() >= 20


def _scatters(axes: Any) -> list[PathCollection]:
    return [x for x in axes.collections if isinstance(x, PathCollection) and len(x.get_sizes())]


@pytest.mark.parametrize("kind", ["first_spike", "early", "at_once"])
def test_output_spikes_and_the_decision_are_drawn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, net, result, _ = drawn(kind, monkeypatch)
    times = [*result.spike_times, golden.output_spikes(net, result)]
    for level, codes in enumerate(times):
        begin = level * net.fire_start
        assert marks(figure, level) == {(begin + k, j) for j, k in enumerate(codes[0].tolist()) if k < net.steps}
    output = figure.axes[0]
    at = len(net.layers) * net.fire_start + int(result.decision_steps[0])
    assert _scatters(output)[1].get_offsets().tolist() == [[at, int(result.classes[0])]]
    assert (at, int(result.classes[0])) in marks(figure, len(net.layers))
    # The dashed line stands where the window begins: S after that of the population before.
    for level in range(1, len(times)):
        panel = figure.axes[len(times) - 1 - level]
        dashed = [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == "--"]
        assert dashed == [level * net.fire_start - 0.5]
    assert f"in step {at}" in figure.get_suptitle()
    assert output.get_xlim() == (-0.5, net.latency_steps - 0.5)


@pytest.mark.parametrize("right", [True, False])
def test_a_wrong_class_and_the_label_are_marked(right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = legible.figures_of(plots, monkeypatch)
    net, picture = KINDS["membrane"]
    result = golden.run(net, picture[None])
    chosen = int(result.classes[0])
    label = chosen if right else (chosen + 1) % 10
    plots.raster(net, result, picture, label, Path("raster.png"))
    (axes,) = [axes for axes in made[0].axes if axes.get_title().startswith(f"output membranes, label {label}")]
    bars = [bar for bars in axes.containers for bar in bars]
    green, red = (to_rgba(colour) for colour in ("C2", "C3"))
    assert [n for n, bar in enumerate(bars) if bar.get_facecolor() == green] == [label]
    assert [n for n, bar in enumerate(bars) if bar.get_facecolor() == red] == ([] if right else [chosen])
    assert ("is wrong" in axes.get_title()) != right
    (mark,) = [patch for patch in axes.patches if patch not in bars]
    assert mark.get_y() + mark.get_height() / 2 == label
    legible.check(made[0])


@pytest.mark.parametrize("kind", ["membrane", "no_picture"])
def test_equal_kernels_all_show(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their curves lie on each other."""
    made = legible.figures_of(plots, monkeypatch)
    net, _ = KINDS[kind]
    plots.kernels(net, Path("kernels.png"))
    (figure,) = made
    figure.set_dpi(legible.DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    frame = figure.axes[0].get_window_extent()
    drawn = np.asarray(canvas.buffer_rgba())[::-1][int(frame.y0) : int(frame.y1), int(frame.x0) : int(frame.x1), :3]
    for level in range(len(net.layers)):
        colour = np.round(255 * np.array(to_rgba(f"C{level}")[:3]))
        assert (drawn == colour).all(axis=2).sum() > 100, level


def test_what_cannot_be_read_is_found() -> None:
    """The checker itself."""
    for spoil, message in (
        (lambda axes: axes.text(0.9, 0.5, "far too long to fit in here", transform=axes.transAxes), "is cut off"),
        (lambda axes: axes.set_title("small", fontsize=5), "is tiny"),
        (lambda axes: axes.text(0.0, -0.1, "over the numbers"), "lies on"),
        (lambda axes: (axes.plot([0, 1], label="x"), axes.legend()), "a legend lies"),
        (lambda axes: axes.annotate("out here", (1, 1), xycoords="axes fraction"), "leaves its axes"),
    ):
        figure = Figure(figsize=(4, 3))
        axes = figure.add_axes((0.2, 0.2, 0.6, 0.6))
        axes.set_xlabel("x")
        legible.check(figure)
        spoil(axes)
        with pytest.raises(AssertionError, match=message):
            legible.check(figure)


def test_spikes_that_repeat_are_drawn_in_their_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every spike of neurons that fire again; windows begin where their population starts, thresholds have steps."""
    made = legible.figures_of(plots, monkeypatch)
    net, picture = KINDS["membrane"]
    hidden = Dynamics(threshold=np.array(9), cap=2, start=1)
    populations = [replace(p, threshold=(), dynamics=hidden) for p in net.populations[1:-1]]
    last = replace(net.populations[-1], threshold=(), dynamics=Dynamics(read="largest"))
    stepped = replace(net, populations=(net.populations[0], *populations, last))
    result = golden.run(stepped, picture[None])
    assert result.spike_counts[1].sum() > (result.spike_times[1] < net.steps).sum()
    plots.raster(stepped, result, picture, 3, tmp_path / "raster.png")
    plots.kernels(stepped, tmp_path / "kernels.png")
    raster, thresholds = made
    steps, neurons = np.nonzero(result.spike_counts[1][0])
    assert marks(raster, 1) == set(zip((steps + 1).tolist(), neurons.tolist(), strict=True))
    assert f"{result.spike_counts[1].sum()} times" in raster.axes[len(net.layers) - 2].get_title()
    assert "S = " not in raster.get_suptitle()
    assert "largest" in raster.get_suptitle()
    assert [*thresholds.axes[1].lines[0].get_ydata()] == [9.0] * net.steps
    legible.check(thresholds)
    for axes in thresholds.axes:  # the hidden kernel and the threshold are the same in every step
        assert len(legible.numbers(axes)) >= 2
