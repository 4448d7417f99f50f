"""Tools of the flow are stopped with the program, and leave nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from firstspike import signals
from firstspike_rtl.boards.tools import Tool

pytestmark = pytest.mark.smoke

SLOW = """
import os, sys, tempfile, time
def run_slow(arguments):
    tempfile.mkdtemp(prefix="of_the_tool_")
    print(os.getpid(), *arguments, file=sys.stderr, flush=True)
    time.sleep(60)
"""


def test_a_tool_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "it's [v2]; $x"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        os.kill(os.getpid(), signal.SIGTERM)

    with signals.handled(), pytest.raises(signals.Stopped):
        Tool("slow", "run_slow")(folder, "a b", watch=stop)
    process, rest = said[0].split(maxsplit=1)
    assert rest == "a b\n"
    assert not Path(f"/proc/{process}").exists()
    assert len(list(folder.glob("of_the_tool_*"))) == 1
