"""docs/python.md and the host's example in docs/link.md: they run, in order, and print what the page says."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, examples, masked

from firstspike_verify.models.linked import Board

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

    ((code, _),) = examples((ROOT / "docs" / "link.md").read_text())
    with Board(names["hardware"], names["model"]) as board:
        exec(code.replace("/dev/ttyUSB0", board.path), names)
    assert (names["records"].classes == names["result"].classes).all()
