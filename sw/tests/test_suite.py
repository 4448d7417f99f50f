"""Every test runs in continuous integration: what ``make test`` leaves out is what ``make test-slow`` runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.smoke
def test_two_targets_share_all_tests() -> None:
    recipes = dict(re.findall(r"^(test|test-slow): .*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert recipes == {"test": "$(PYTEST) -m 'not slow'", "test-slow": "$(PYTEST) -m slow"}
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-2:] == ["make test", "make test-slow"]
