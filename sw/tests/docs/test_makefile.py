"""The Makefile in a checkout whose folder has an odd name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke
ROOT = Path(__file__).parents[3]

#: In place of Python: makes a virtual environment that consists of itself, and notes what it is called with.
PYTHON = """#!/bin/sh
echo "$@" >> called
case "$2" in venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";; esac
"""


def make(folder: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = folder.parent / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", *targets]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["a b", "it's [v2] (1); #ü & `w`"])
def test_setup_and_demo_in_an_odd_folder(name: str, tmp_path: Path) -> None:
    done = make(tmp_path / name, "setup", "demo")
    assert (done.returncode, done.stderr) == (0, "")
    called = (tmp_path / name / "called").read_text().splitlines()
    assert called[1] == "-m venv .venv"
    assert called[2].startswith("-m pip install ")
    assert called[3] == "-m firstspike run examples/digits.toml"
    assert list((tmp_path / name / ".venv").glob(".ready-*"))


def test_a_folder_that_pip_cannot_install_from(tmp_path: Path) -> None:
    done = make(tmp_path / "a $b", "setup")
    assert done.returncode != 0
    assert "pip cannot install from a folder with a dollar sign in its name; move the checkout" in done.stderr
    assert not (tmp_path / "a $b" / ".venv").exists()


def test_no_script_of_the_virtual_environment_is_called() -> None:
    """Their first line is the whole path of the interpreter, which the shell takes apart."""
    assert set(re.findall(r"(?:\$\(VENV\)|\.venv)/bin/\S+", (ROOT / "Makefile").read_text())) == {"$(VENV)/bin/python"}
