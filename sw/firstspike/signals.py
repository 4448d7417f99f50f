"""Signals that stop a program, as an exception that unwinds it: drafts are removed, other programs ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked the program to stop. ``hint`` says how to go on, and ``status`` is the exit status for it."""

    def __init__(self, number: int, hint: str | None = None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
        self.hint = hint

    def one_line(self) -> str:
        """What stopped the program, and the hint."""
        return str(self) if self.hint is None else f"{self}; {self.hint}"


class _State:
    received = False
    pending: int | None = None
    deferrals = 0


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """In this block the first of these signals ends all child processes and raises :class:`Stopped`.

    Later ones change nothing, so that what cleans up can finish. A signal that was ignored before stays so.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    _State.received, _State.pending = False, None
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In this block, which should be short, no signal raises :class:`Stopped`; one that came does so at its end."""
    _State.deferrals += 1
    try:
        yield
    finally:
        _State.deferrals -= 1
    if _State.pending is not None and not _State.deferrals:
        number, _State.pending = _State.pending, None
        raise Stopped(number)


def _stop(number: int, frame: FrameType | None) -> None:
    if _State.received:
        return
    _State.received = True
    end_children()
    if _State.deferrals:
        _State.pending = number
    else:
        raise Stopped(number)


def end_children() -> None:
    """Ask all processes to end that this one has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]  # the name may hold anything
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    left = children.get(os.getpid(), [])
    while left:
        process = left.pop()
        left += children.get(process, [])
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGTERM)
