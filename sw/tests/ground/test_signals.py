"""A signal unwinds a program, once; it waits for what must not be cut in two."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firstspike import signals
from firstspike.artefact import new_folder, write_file
from firstspike.signals import Stopped

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_draft(number: signal.Signals, status: int, tmp_path: Path) -> None:
    before = [signal.getsignal(x) for x in signals.STOPPING]

    def work() -> None:
        with signals.handled(), new_folder(tmp_path / "x") as draft:
            (draft / "half").write_text("half")
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=f"stopped by {number.name}") as stop:
        work()
    assert stop.value.status == status
    assert list(tmp_path.iterdir()) == []
    assert [signal.getsignal(x) for x in signals.STOPPING] == before


def test_what_is_deferred_comes_at_the_end_and_once() -> None:
    done = []

    def work() -> None:
        with signals.handled():
            try:
                with signals.deferred():
                    with signals.deferred():
                        os.kill(os.getpid(), signal.SIGTERM)
                        done.append("inner")
                    done.append("outer")
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                done.append("cleaned up")

    with pytest.raises(Stopped, match="SIGTERM"):
        work()
    assert done == ["inner", "outer", "cleaned up"]


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled():
            os.kill(os.getpid(), signal.SIGHUP)
            write_file(tmp_path / "x", "whole")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "x").read_text() == "whole"


def test_processes_are_ended_with_theirs() -> None:
    """A grandchild that nobody waits for, too."""
    program = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        grandchild = int(child.stdout.readline())
        with signals.handled(), contextlib.suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        assert child.wait(10) == -signal.SIGTERM
    deadline = time.monotonic() + 10
    while Path(f"/proc/{grandchild}/cmdline").exists() and Path(f"/proc/{grandchild}/cmdline").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
