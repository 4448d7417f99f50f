"""docs/python.md: every example runs, in order, and prints what the page says."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, examples, masked

PAGE = (ROOT / "docs" / "python.md").read_text()


def test_every_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    ran = examples(PAGE)
    assert len(ran) > 12
    for code, expected in ran:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/python.md", "exec"), names)
        # Numbers with a point depend on the machine that trained.
        assert masked(printed.getvalue(), integers=False) == masked(expected, integers=False), code
