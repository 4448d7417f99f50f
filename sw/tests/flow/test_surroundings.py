"""The chain where nothing is as on its author's machine: names of folders, home, umask, variables, signals, disks."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstspike.artefact import locked

EXPERIMENT = """
name = "tiny"
[data]
set = "digits"
[network]
hidden = [6]
[train]
epochs = 3
batch_size = 128
learning_rate = 0.02
"""
ODD = "ü it's [v2] (1) $HOME #x; :smile:  b"
OUT = "[bold] & [/] c"
#: Of batch systems, of Jupyter, of a container's user.
VARIABLES = {
    "SLURM_NTASKS": "4", "SLURM_PROCID": "1", "JSM_NAMESPACE_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": "/dev/null/home",
}  # fmt: skip


class Place:
    """A folder to run commands in, and one for their temporary files."""

    def __init__(self, folder: Path) -> None:
        self.cwd, self.temporary = folder / ODD, folder / "temporary"
        self.workspace = self.cwd / OUT
        self.cwd.mkdir()
        self.temporary.mkdir()
        (self.cwd / "tiny.toml").write_text(EXPERIMENT)

    def start(
        self, *arguments: str, program: str = "from firstspike.flow.cli import main; main()", experiment: str = "tiny"
    ) -> subprocess.Popen[str]:
        verb, *options = arguments
        hidden = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "YOWASP_CACHE_DIR")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment |= VARIABLES | {"TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-c", program, verb, f"{experiment}.toml", "--out", OUT, *options],
            cwd=self.cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0o077,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def printed(place: Place) -> tuple[str, str, int]:
    with place.start("run") as process:
        return *process.communicate(timeout=300), process.returncode


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_of(folder: Path) -> Iterator[str]:
    """Command lines that name a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            yield line


def test_the_chain_runs_and_prints_what_it_wrote(place: Place, printed: tuple[str, str, int]) -> None:
    out, error, status = printed
    assert (error, status) == ("", 0)
    lines = out.splitlines()
    for stage, name in {"train": "train", "quantize": "network", "simulate": "simulation.json"}.items():
        assert f"{stage}: {OUT}/{name}" in lines
    for name in ("network", "raster.png", "kernels.png", "report.json"):
        assert any(line.endswith(f" {OUT}/{name}") for line in lines)
        assert (place.workspace / name).exists()
    report = json.loads((place.workspace / "report.json").read_text())
    assert {n for what, n in report["mismatches"].items() if what != "compared"} == {0}
    assert (place.workspace / "raster.png").read_bytes().startswith(b"\x89PNG")


def test_the_umask_is_kept(place: Place, printed: tuple[str, str, int]) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [place.workspace, *place.workspace.rglob("*")]}
    assert len(modes) > 50
    assert not [(path, oct(mode)) for path, mode in modes.items() if mode & 0o077]


def test_nothing_is_left_elsewhere(place: Place, printed: tuple[str, str, int]) -> None:
    assert list(place.temporary.iterdir()) == []
    assert sorted(path.name for path in place.cwd.iterdir()) == sorted([OUT.partition("/")[0], "tiny.toml"])
    assert not [path for path in place.workspace.rglob(".*") if path.name != ".firstspike"]


def test_a_command_waits_for_another(place: Place, printed: tuple[str, str, int]) -> None:
    with locked(place.workspace):
        process = place.start("export")
        assert process.stderr
        ready, _, _ = select.select([process.stderr], [], [], 60)
        assert ready
        assert process.stderr.readline() == f"waiting for another process, which works in {OUT}\n"
        assert process.poll() is None
    assert process.communicate(timeout=60) == (f"export: {OUT}/images\n", "")
    assert process.returncode == 0


def test_training_is_stopped(place: Place, printed: tuple[str, str, int]) -> None:
    """In the middle of it, after a finished one. That it can be resumed is tested with the training."""
    checkpoint = place.workspace / "train" / "last.ckpt"
    checkpoint.unlink()
    (place.cwd / "long.toml").write_text(EXPERIMENT.replace("epochs = 3", "epochs = 100000"))
    with place.start("train", experiment="long") as process:
        until(checkpoint.exists, process)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # as some do
        out, error = process.communicate(timeout=60)
    assert (out, error) == ("", "stopped by SIGTERM; go on after the last whole epoch with --resume\n")
    assert process.returncode == 143
    assert {path.name for path in checkpoint.parent.iterdir()} == {"last.ckpt"}
    stopped = checkpoint.read_bytes()
    with place.start("quantize", experiment="long") as process:
        out, error = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 2)
    assert re.fullmatch(
        r"error: .*train/last\.ckpt is of epoch \d+ of 100000: training was not finished; "
        r"go on with 'firstspike train --resume'\n",
        error,
    )
    assert checkpoint.read_bytes() == stopped
    (place.cwd / "long.toml").unlink()


def test_a_simulation_is_stopped_while_it_compiles(place: Place, printed: tuple[str, str, int]) -> None:
    """Make and the compilers end with it, and no half of a model stays."""
    (place.workspace / "verilated" / "Vtop").unlink()
    with place.start("simulate") as process:
        until(lambda: any("cc1plus" in line for line in processes_of(place.temporary)), process)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("", "stopped by SIGTERM\n")
    assert process.returncode == 143
    assert list(processes_of(place.temporary)) == []
    assert list(place.temporary.iterdir()) == []
    assert not (place.workspace / "verilated" / "Vtop").exists()


def test_a_full_disk_is_one_line(place: Place, printed: tuple[str, str, int]) -> None:
    before = {path: path.read_bytes() for path in (place.workspace / "images").iterdir()}
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
    with place.start("export", program=limited + "from firstspike.flow.cli import main; main()") as process:
        out, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert error == f"error: cannot write {place.workspace / 'images'}: File too large; " \
        "make room, or choose another folder, with --out\n"  # fmt: skip
    assert {path: path.read_bytes() for path in (place.workspace / "images").iterdir()} == before
    test_nothing_is_left_elsewhere(place, printed)
