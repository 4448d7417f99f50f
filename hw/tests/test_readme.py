"""hw/README.md against the tree: every file of every room, under its room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
ROOMS = sorted(path.parent.name for path in (HERE / "firstspike_rtl").glob("*/__init__.py"))


@pytest.mark.smoke
def test_rooms_and_files() -> None:
    text = (HERE / "README.md").read_text()
    sections = dict(re.findall(r"^## (\w+): .*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sorted(sections) == ROOMS
    for room, section in sections.items():
        files = {path.name for path in (HERE / "firstspike_rtl" / room).glob("*.py")} - {"__init__.py"}
        assert set(re.findall(r"`(\w+\.py)`", section)) == files, room
