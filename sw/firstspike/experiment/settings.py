"""Settings of an experiment: read from its file, checked when made, and what they may be said in one sentence."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from firstspike.errors import FirstspikeError, as_written


@dataclass(frozen=True)
class Allowed:
    """What a setting may be; ``text`` says so to the user."""

    text: str
    types: tuple[type, ...]
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    items: bool = False

    def holds(self, value: object) -> bool:
        """Whether ``value``, or each item of it where lists are allowed, is one of these."""
        if self.items and isinstance(value, (tuple, list)):
            return all(self._one(x) for x in value)
        return self._one(value)

    def _one(self, value: object) -> bool:
        if (isinstance(value, bool) and bool not in self.types) or not isinstance(value, self.types):
            return False
        if isinstance(value, str):
            return not self.choices or value in self.choices
        return not isinstance(value, (int, float)) or self.low <= value <= self.high


def allow(text: str, *types: type, optional: bool = False, **limits: Any) -> dict[str, Any]:
    """Metadata of a field: values of these types, or None if ``optional``; ``text`` says so to the user."""
    return {"allowed": Allowed(text, types, **limits), "optional": optional}


def whole(low: int, high: int, *, items: bool = False, optional: bool = False) -> dict[str, Any]:
    """An integer in ``low``..``high``."""
    text = f"an integer in {low}..{high}" + (", or a list of them" if items else "")
    return allow(text, int, low=low, high=high, items=items, optional=optional)


def real(low: float, high: float, *, items: bool = False, optional: bool = False) -> dict[str, Any]:
    """A number in ``low``..``high``."""
    text = f"a number in {low:g}..{high:g}" + (", or a list of them" if items else "")
    return allow(text, int, float, low=low, high=high, items=items, optional=optional)


def choice(*choices: str, items: bool = False, optional: bool = False) -> dict[str, Any]:
    """One of these words."""
    text = f"one of {', '.join(choices)}" + (", or a list of them" if items else "")
    return allow(text, str, choices=choices, items=items, optional=optional)


TABLE = allow('a table such as { kind = "exponential", tau = 2.0 }', dict)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of an experiment file; each field carries what it may be, and is checked when made."""

    #: Its name in the file.
    section: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and item.metadata["optional"]:
                continue
            allowed = item.metadata["allowed"]
            if not allowed.holds(value):
                raise self.wrong(item.name, f"is {as_written(value)}", allowed.text)
            if isinstance(value, list):
                object.__setattr__(self, item.name, tuple(value))

    def wrong(self, key: str, problem: str, allowed: str) -> FirstspikeError:
        """The error for a key of this section."""
        return FirstspikeError(f"[{self.section}] {key} {problem}", f"use {allowed}")


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file, with or without the byte-order mark that some editors write.

    Raises
    ------
    FirstspikeError
        if the file cannot be read, is not UTF-8, or is not TOML.

    """
    try:
        content = path.read_bytes()
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise FirstspikeError(f"cannot read {path}: {error.strerror or error}", "give an experiment file") from error
    except UnicodeDecodeError as error:
        raise _no_text(path, content) from error
    except tomllib.TOMLDecodeError as error:
        if b"\0" in content:
            raise _no_text(path, content) from error
        raise FirstspikeError(f"{path} is not TOML: {_problem(error, content)}", "see examples/digits.toml") from error


def _no_text(path: Path, content: bytes) -> FirstspikeError:
    zeros = content.count(0)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or 4 * zeros > len(content):
        return FirstspikeError(f"{path} is not text in UTF-8, but perhaps in UTF-16", "save it as UTF-8")
    if zeros:
        return FirstspikeError(f"{path} is not text: it holds a zero byte", "give an experiment file")
    return FirstspikeError(f"{path} is not text in UTF-8", "save it as UTF-8")


def _problem(error: tomllib.TOMLDecodeError, content: bytes) -> str:
    """What is said of a key or section that is given twice, with its name; or the error as it is."""
    text = str(error)
    if "Cannot overwrite a value" in text or "Cannot declare" in text:
        lines = content.decode("utf-8-sig").rstrip().splitlines()
        place = re.search(r"at line (\d+)", text)
        number = int(place[1]) if place else len(lines)
        return f"{lines[number - 1].partition('=')[0].strip()} in line {number} is there already"
    return text
