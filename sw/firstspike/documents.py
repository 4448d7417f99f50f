"""Artefacts of JSON, read: each is an object that has the parts it is read for, or it is refused as damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firstspike.errors import FirstspikeError

#: What a value may be. A type, where ``int`` is a number that counts, from 0, and ``float`` any number; ``[form]``: a
#: list of such values; ``{name: form, ...}``: an object with these parts at least; ``{str: form}``: one whose parts are
#: all such; a tuple: any of several, among them None.
Form = Any


def read_json(path: Path, remedy: str, form: Form = object) -> Any:
    """Read JSON.

    Parameters
    ----------
    path
        Of the file.
    remedy
        What to do if it is of no use.
    form
        What its contents must be (:data:`Form`); default: anything.

    Raises
    ------
    FirstspikeError
        if the file is missing or damaged, naming the first part that is.

    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FirstspikeError(f"{path} does not exist", remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        raise FirstspikeError(f"{path} is damaged: {error}", remedy) from error
    check(path, value, form, remedy)
    return value


def check(path: Path, value: object, form: Form, remedy: str) -> None:
    """Refuse what was read from a file, if it has not this form.

    Raises
    ------
    FirstspikeError
        naming the first part that is wrong.

    """
    if problem := _problem(value, form):
        raise FirstspikeError(f"{path} is damaged: {problem}", remedy)


def _problem(value: object, form: Form, at: str = "") -> str | None:
    """What is wrong with a value at a place in a document, if anything is."""
    if isinstance(form, tuple):
        return None if any(_problem(value, one) is None for one in form) else _problem(value, form[0], at)
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{_named(at)} is no list"
        parts = {f"{at}[{index}]": (part, form[0]) for index, part in enumerate(value)}
    elif isinstance(form, Mapping):
        if not isinstance(value, dict):
            return f"{_named(at)} is no object"
        if missing := [name for name in form if isinstance(name, str) and name not in value]:
            return f"{_named(at)} has no {missing[0]!r}"
        wanted = dict.fromkeys(value, form[str]) if str in form else form
        parts = {f"{at}.{name}" if at else name: (value[name], one) for name, one in wanted.items()}
    else:
        right = value is None if form is None else _is(value, form)
        return None if right else f"{_named(at)} is {_short(value)}"
    return next((problem for place, part in parts.items() if (problem := _problem(*part, place))), None)


def _is(value: object, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, (int, float) if kind is float else kind)


def _named(at: str) -> str:
    return at or "its content"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
