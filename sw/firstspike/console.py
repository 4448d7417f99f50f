"""Text for people, printed as it is: a name in brackets, or one with colons, is no markup and no emoji."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

#: Columns of a table that goes to a file: without a terminal rich assumes 80, too few for ours.
WIDTH = 120


def console(*, stderr: bool = False, width: int = WIDTH) -> Console:
    """A console on stdout or stderr; ``width`` counts where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=None if stream.isatty() else width,
    )


def three_digits(value: float) -> str:
    """``value`` with three digits that count, large ones without an exponent."""
    rounded = f"{value:.3g}"
    return rounded if abs(float(rounded)) < 1000 else f"{float(rounded):.0f}"


@contextlib.contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal's stderr for as long as the block lasts; yields what puts another text in its place."""
    with console(stderr=True).status(Text(title)) as line:
        yield lambda text: line.update(Text(text))
