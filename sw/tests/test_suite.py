"""Every test runs in continuous integration: what ``make test`` leaves out is what ``make test-slow`` runs."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.smoke
def test_two_targets_share_all_tests() -> None:
    recipes = dict(re.findall(r"^(test|test-slow): .*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert recipes == {"test": "$(PYTEST) -m 'not slow'", "test-slow": "$(PYTEST) -m slow"}
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-2:] == ["make test", "make test-slow"]


@pytest.mark.smoke
def test_files_that_are_no_python_are_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    others = {
        (".".join(path.parent.relative_to(base).parts), path.name)
        for base in map(ROOT.joinpath, settings["packages"]["find"]["where"])
        for path in base.glob("firstspike*/**/*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert ("firstspike_verify.models", "driver.cpp") in others
    packaged = settings["package-data"]
    assert [(p, n) for p, n in others if not any(fnmatch(n, glob) for glob in packaged.get(p, ()))] == []
