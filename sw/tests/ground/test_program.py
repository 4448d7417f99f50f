"""How programs begin and end: exit status, one line, and an environment that libraries can live in."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from firstspike import processes, program
from firstspike.errors import FirstspikeError

pytestmark = pytest.mark.smoke


def ended(main: Callable[[], object]) -> int:
    with pytest.raises(SystemExit) as stop:
        program.run(main)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def fail(error: BaseException) -> Callable[[], object]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "status", "line"),
    [
        (fail(FirstspikeError("wrong [v2]", "mend it")), 2, "error: wrong [v2]; mend it"),
        (fail(OSError(errno.ENOSPC, "No space left on device", "a/b")), 2,
         "error: a/b: No space left on device; make room, or choose another folder"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "stopped by SIGTERM"),
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130, "stopped by SIGINT"),
        (lambda: os.kill(os.getpid(), signal.SIGHUP), 129, "stopped by SIGHUP"),
    ],
)  # fmt: skip
def test_an_end_is_one_line(
    main: Callable[[], object], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(main) == status
    assert capsys.readouterr() == ("", f"{line}\n")


PRINTING = """
import sys
from firstspike import program
from firstspike.console import console
from firstspike.flow import cli
def main():
    with open(sys.argv[2]) as wait:
        wait.read()
    {"print": lambda: print("x" * 10), "many": lambda: print("x" * 10**6), "rich": lambda: console().print("x" * 10**6),
     "help": lambda: cli.app(["--help"]) }[sys.argv[1]]()
program.run(main)
"""


@pytest.mark.parametrize("how", ["print", "many", "rich", "help"])
def test_output_that_nobody_reads(how: str, tmp_path: Path) -> None:
    """Whichever library writes; status 141, without a word."""
    os.mkfifo(tmp_path / "go")
    with subprocess.Popen(
        [sys.executable, "-c", PRINTING, how, tmp_path / "go"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        (tmp_path / "go").write_text("")
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(60)) == (b"", 141)


@pytest.mark.parametrize("how", ["print", "many", "rich", "help"])
def test_output_that_is_full(how: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTING, how, "/dev/null"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr.decode() == "error: cannot write standard output: No space left on device; " \
        "send it to a file or a program that takes it\n"  # fmt: skip


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "a bug")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error), match="a bug"):
        program.run(fail(error))


def test_names_that_the_encoding_lacks_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, "ascii", write_through=True))
    program.run(lambda: print("ü \udcff"))
    assert out.getvalue() == b"\\xfc \\udcff\n"


VARIABLES = ("MPLBACKEND", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "YOWASP_CACHE_DIR", "RANK", "SLURM_PROCID")


def inside() -> dict[str, str | None]:
    """The variables as a program finds them."""
    found: dict[str, str | None] = {}
    program.run(lambda: found.update({name: os.environ.get(name) for name in VARIABLES}))
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*VARIABLES, "XDG_CONFIG_HOME", *processes.NUMBERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_home_is_used_as_it_is(home: Path) -> None:
    assert inside() == dict.fromkeys(VARIABLES, None) | {"MPLBACKEND": "agg", "HOME": str(home)}
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("which", ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "YOWASP_CACHE_DIR"])
def test_folders_that_cannot_be_made_have_others_in_their_place(
    which: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv(which, str(home / "file" / "below"))
    before = dict(os.environ)
    found = inside()
    folder = found["XDG_CACHE_HOME"]
    assert folder == found["MPLCONFIGDIR"] == found["YOWASP_CACHE_DIR"]
    assert folder is not None
    assert not Path(folder).exists(), "it is gone with the program"
    assert dict(os.environ) == before


def test_a_user_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a number that has no entry
    found = inside()
    assert found["HOME"] == found["XDG_CACHE_HOME"] is not None


def test_an_old_cache_of_another_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".cache" / "wasmtime").mkdir(parents=True)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "wasmtime" and access(path, mode))
    assert inside()["XDG_CACHE_HOME"] is not None


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tempfile.gettempdir", fail(FileNotFoundError(errno.ENOENT, "No usable temporary directory")))
    assert ended(lambda: None) == 2
    assert capsys.readouterr().err == "error: no folder for temporary files can be written; set TMPDIR to one\n"


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "tkagg", ""])
def test_pictures_whatever_the_backend_is(backend: str, tmp_path: Path) -> None:
    draw = (
        "from pathlib import Path; from firstspike import program\n"
        "def main():\n"
        "    from firstspike.flow import plots\n"
        "    from matplotlib.figure import Figure\n"
        f"    plots.save(Figure(), Path({str(tmp_path / 'x.png')!r}))\n"
        "program.run(main)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", draw], env=os.environ | {"MPLBACKEND": backend}, check=True)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_ranks_of_a_cluster_are_not_heeded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "7")
    monkeypatch.setenv("SLURM_PROCID", "x")
    assert (inside()["RANK"], inside()["SLURM_PROCID"]) == (None, None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert inside()["RANK"] == "7"


def test_half_of_torchruns_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check()
    monkeypatch.setenv("WORLD_SIZE", "1")
    processes.check()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(FirstspikeError, match="WORLD_SIZE is '4' in the environment, but LOCAL_WORLD_SIZE is not set"):
        processes.check()
    whole = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    whole |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in whole.items():
        monkeypatch.setenv(name, value)
    processes.check()
    for name, value in whole.items():
        if name == "LOCAL_WORLD_SIZE":
            continue
        monkeypatch.delenv(name)
        with pytest.raises(FirstspikeError, match=f"but {name} is not set"):
            processes.check()
        if value.isdigit() and name != "MASTER_PORT":
            monkeypatch.setenv(name, "-1x")
            with pytest.raises(FirstspikeError, match=f"but {name} is '-1x'"):
                processes.check()
        monkeypatch.setenv(name, value)


def test_threads_wait_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's OpenMP says so when it is loaded; numpy's threads are as many as before afterwards. Users may choose."""
    load = "from firstspike import program\ndef main():\n    import torch\nprogram.run(main)\n"
    shown = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown |= {"OMP_DISPLAY_ENV": "TRUE"}
    for given, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-c", load], env=shown | given, check=True, capture_output=True, text=True
        )
        assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr

    def count() -> int:
        return max(pool["num_threads"] for pool in threadpool_info() if pool["filepath"].count("numpy"))

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    inside: list[int] = []
    with threadpool_limits(3, user_api="blas"):
        program.run(lambda: inside.append(count()))
        assert (inside, count()) == ([1], 3)
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        program.run(lambda: inside.append(count()))
        assert inside == [1, 3]
