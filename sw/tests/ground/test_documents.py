"""What is read of a file of JSON has the form that its reader needs, or the file is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firstspike.documents import read_json
from firstspike.errors import FirstspikeError

pytestmark = pytest.mark.smoke

FORM = {
    "count": int, "rate": float, "name": str, "told": (bool, None), "list": [int], "part": {"inner": [{"x": str}]},
    "all": {str: (int, None)}, "some": {"must": int, str: int},
}  # fmt: skip
GOOD: dict[str, Any] = {
    "count": 3, "rate": 2, "name": "a", "told": None, "list": [1, 0], "part": {"inner": [{"x": "y", "more": 1}]},
    "all": {"a": 1, "b": None}, "some": {"must": 1, "other": 2}, "unknown": [{}],
}  # fmt: skip


def written(folder: Path, content: object) -> Path:
    (folder / "x.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "x.json"


def test_what_is_right_is_read(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, GOOD), "again", FORM) == GOOD
    assert read_json(written(tmp_path, GOOD | {"told": False, "rate": -0.5}), "again", FORM)["rate"] == -0.5
    assert read_json(written(tmp_path, [1, "x"]), "again") == [1, "x"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "its content is no object"),
        (5, "its content is no object"),
        ("null", "its content is no object"),
        ({k: v for k, v in GOOD.items() if k != "list"}, "its content has no 'list'"),
        (GOOD | {"count": -1}, "count is -1"),
        (GOOD | {"count": True}, "count is true"),
        (GOOD | {"count": 2.5}, "count is 2.5"),
        (GOOD | {"rate": "fast"}, 'rate is "fast"'),
        (GOOD | {"rate": False}, "rate is false"),
        (GOOD | {"name": ["x" * 100]}, f'name is ["{"x" * 38}...'),
        (GOOD | {"told": 0}, "told is 0"),
        (GOOD | {"list": {}}, "list is no list"),
        (GOOD | {"list": [1, "2"]}, 'list[1] is "2"'),
        (GOOD | {"part": {"inner": [{"x": "y"}, {}]}}, "part.inner[1] has no 'x'"),
        (GOOD | {"all": {"a": "b"}}, 'all.a is "b"'),
        (GOOD | {"some": {"other": 1}}, "some has no 'must'"),
        (GOOD | {"some": {"must": 1, "other": None}}, "some.other is null"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_what_is_damaged_is_one_line(content: object, problem: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(FirstspikeError) as caught:
        read_json(path, "make it again", FORM)
    assert caught.value.one_line().startswith(f"{path} is damaged: {problem}")
    assert caught.value.hint == "make it again"


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match=r"x\.json does not exist"):
        read_json(tmp_path / "x.json", "make it")
