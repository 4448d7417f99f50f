"""What a picture must keep to be read: nothing cut off, nothing on top of something else, no tiny text."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

DPI = 110
POINTS = 8


def figures_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str = "save") -> list[Figure]:
    """The figures that a module of pictures is about to save, instead of the files."""
    made: list[Figure] = []

    def save(figure: Figure, path: Path) -> None:
        del path
        made.append(figure)

    monkeypatch.setattr(module, name, save)
    return made


def drawn_texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Each text that is really drawn, and its place in pixels."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    found: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def recorded(text: Text, renderer: Any, *rest: Any) -> None:
        draw(text, renderer, *rest)
        if text.get_visible() and text.get_text().strip():
            found.append((text, Text.get_window_extent(text, renderer)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        canvas.draw()
    return found


def overlap(a: Bbox, b: Bbox) -> bool:
    """Whether boxes share more than a pixel."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def inside(box: Bbox, frame: Bbox) -> bool:
    return box.x0 >= frame.x0 and box.y0 >= frame.y0 and box.x1 <= frame.x1 and box.y1 <= frame.y1


def numbers(axes: Axes) -> list[str]:
    """What is written beside the marks of the upright axis."""
    low, high = sorted(axes.get_ylim())
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return [label.get_text() for at, label in ticks if low <= at <= high and label.get_text()]


def check(figure: Figure) -> None:
    """Every text is whole, large enough and by itself; no legend lies on data; a note stays within its axes."""
    texts = drawn_texts(figure)
    assert texts
    for text, box in texts:
        assert text.get_fontsize() >= POINTS, f"{text.get_text()!r} is tiny"
        assert inside(box, figure.bbox), f"{text.get_text()!r} is cut off"
        if isinstance(text, Annotation):
            assert inside(box, text.axes.get_window_extent()), f"{text.get_text()!r} leaves its axes"
    for (one, a), (other, b) in combinations(texts, 2):
        assert not overlap(a, b), f"{one.get_text()!r} lies on {other.get_text()!r}"
    for legend in figure.findobj(Legend):
        for axes in figure.axes:
            assert not overlap(legend.get_window_extent(), axes.get_window_extent()), "a legend lies on the data"
