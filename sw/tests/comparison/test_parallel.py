"""Trainings side by side are stopped together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

EXPERIMENT = """
name = "long"
[network]
hidden = [6]
[train]
epochs = 100000
batch_size = 128
"""


def test_a_signal_stops_all_trainings(tmp_path: Path) -> None:
    """Nothing is left of them but their last whole checkpoints, and the one that has not begun does not begin."""
    (tmp_path / "long.toml").write_text(EXPERIMENT)
    command = ["-m", "firstspike.comparison.seeds", "long.toml", "--seeds", "3", "--workers", "2", "--out", "out"]
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, *command], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("last.ckpt"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "stopped by SIGTERM\n")
    assert process.returncode == 143
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):  # one of Python's own follows its parent
        assert time.monotonic() < deadline
        time.sleep(0.02)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["last.ckpt"] * 2
