"""How every program of the project begins and ends, whatever machine and user it runs for."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from threadpoolctl import threadpool_limits

from firstspike import artefact, processes, signals
from firstspike.errors import FirstspikeError

#: Errors of the machine: no fault of the input, and no bug either.
MACHINE = (*artefact.FULL, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE)
#: Exit status of a program whose output nobody reads any more.
READER_GONE = 128 + signal.SIGPIPE
#: Variables that say where libraries keep what they do not want to make again.
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "YOWASP_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
#: Where Lightning looks for the number of this process, whoever has set it.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def run(main: Callable[[], object]) -> None:
    """Run a program; what the user can mend is one line on stderr and exit status 2, a bug keeps its traceback.

    A signal that stops it is one line, too, and an exit status of 128 and its number. So is a reader of the output that
    has gone, as ``head`` does, which needs no line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    with signals.handled():
        try:
            with _output(), _surroundings():
                main()
        except FirstspikeError as error:
            status, line = 2, f"error: {error.one_line()}"
        except signals.Stopped as stop:
            status, line = stop.status, "" if stop.status == READER_GONE else stop.one_line()
        except OSError as error:
            if error.errno not in MACHINE:
                raise
            place = f"{error.filename}: " if error.filename else ""
            status, line = 2, f"error: {place}{error.strerror}; make room, or choose another folder"
        else:
            return
        if line and processes.is_first():
            print(line, file=sys.stderr)
    sys.exit(status)


def command(app: Callable[..., object]) -> NoReturn:
    """Run a command line of Typer, and exit; options that it does not take are wrong input like any other.

    Raises
    ------
    FirstspikeError
        naming the option or the argument.

    """
    import typer

    # Of click, or of Typer's own copy of it.
    usage_error = cast(type[typer.BadParameter], typer.BadParameter.__bases__[0])
    try:
        status = app(standalone_mode=False)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        text = error.format_message().strip().rstrip(".")
        hint = None if error.ctx is None else f"see '{error.ctx.command_path} --help'"
        raise FirstspikeError(text[:1].lower() + text[1:], hint) from error
    sys.exit(status if isinstance(status, int) else 0)


class _Output:
    """Standard output. What it fails with is said of it: libraries would end the program with a status of their own."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._failure: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        if self._failure is not None:  # which a library has passed over
            raise self._failure
        try:
            yield
        except OSError as error:
            # What is left in the buffer has nowhere to go, and Python would try again at its end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._failure = FirstspikeError(
                f"cannot write standard output: {error.strerror}", "send it to a file or a program that takes it"
            )
            if error.errno == errno.EPIPE:
                self._failure = signals.Stopped(signal.SIGPIPE)
            raise self._failure from error


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """In this block standard output is one that is told of, written to the last byte at the end."""
    before = sys.stdout
    if not isinstance(before, io.TextIOWrapper):
        yield
        return
    sys.stdout = output = cast(TextIO, _Output(before))
    try:
        yield
    finally:
        sys.stdout = before
        output.flush()


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
