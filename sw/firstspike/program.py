"""How every program of the project begins and ends, whatever machine and user it runs for."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from firstspike import artefact, processes, signals
from firstspike.errors import FirstspikeError

#: Errors of the machine: no fault of the input, and no bug either.
MACHINE = (*artefact.FULL, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE)
#: Variables that say where libraries keep what they do not want to make again.
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "YOWASP_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
#: Where Lightning looks for the number of this process, whoever has set it.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def run(main: Callable[[], object]) -> None:
    """Run a program; what the user can mend is one line on stderr and exit status 2, a bug keeps its traceback.

    A signal that stops it is one line, too, and an exit status of 128 and its number.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    with signals.handled():
        try:
            with _surroundings():
                main()
        except FirstspikeError as error:
            status, line = 2, f"error: {error.one_line()}"
        except signals.Stopped as stop:
            status, line = stop.status, stop.one_line()
        except OSError as error:
            if error.errno not in MACHINE:
                raise
            place = f"{error.filename}: " if error.filename else ""
            status, line = 2, f"error: {place}{error.strerror}; make room, or choose another folder"
        else:
            return
        if processes.is_first():
            print(line, file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """What holds for this program: pictures go to files, libraries find a cache folder, and threads wait asleep."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FirstspikeError("no folder for temporary files can be written", "set TMPDIR to one") from error
    with _own_environment(), contextlib.ExitStack() as stack:
        os.environ["MPLBACKEND"] = "agg"
        # Threads that wait for others do not keep a processor busy: beside another program they would wait for long.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
        if not any(name in os.environ for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")):
            # numpy's; torch has threads of its own.
            stack.enter_context(threadpool_limits(1, user_api="blas"))  # type: ignore[no-untyped-call]
        if not processes.started_by_torchrun():
            for name in RANKS:
                os.environ.pop(name, None)
        if not all(map(_can_be_made, _library_folders())):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="firstspike-", ignore_cleanup_errors=True))
            os.environ.update(dict.fromkeys(CACHES, folder))
            if not _home().is_absolute():
                os.environ["HOME"] = folder
        yield


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """What is set in the block holds in the block alone."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _home() -> Path:
    """The user's home; ``~`` where nobody knows it."""
    return Path(os.path.expanduser("~"))  # noqa: PTH111


def _library_folders() -> list[Path]:
    """Where libraries keep such things."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config")
    folders = [Path(os.environ.get("MPLCONFIGDIR") or config / "matplotlib"), cache / "matplotlib", cache / "wasmtime"]
    return [*folders, Path(os.environ.get("YOWASP_CACHE_DIR") or cache / "YoWASP")]


def _can_be_made(folder: Path) -> bool:
    """Whether ``folder`` is there and may be written, or can be made."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path) or path == path.parent)  # noqa: PTH110
    return folder.is_absolute() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
