"""docs/report.md from docs/report.schema.json. ``python sw/tests/report_page.py`` writes the page's table anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "report.schema.json").read_text())
PAGE = DOCS / "report.md"
#: The table is all that follows this heading.
HEADING = "## Keys\n\n"


def validate(report: Any) -> None:
    """Fail unless a report has the keys and types of the schema, and no other key."""
    jsonschema.validate(report, SCHEMA, jsonschema.Draft202012Validator)


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema with what it refers to; its own words come first."""
    if "$ref" not in part:
        return part
    return SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] | {k: v for k, v in part.items() if k != "$ref"}


def parts(path: str, part: dict[str, Any], missing: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and schema of a key and of those below it; what is described "as" another key is not followed again."""
    whole = resolved(part)
    yield path, whole | {"missing": missing}
    if whole.get("description", "").startswith("as `"):
        return
    for name, below in whole.get("properties", {}).items():
        yield from parts(f"{path}.{name}", below, name not in whole["required"])
    if isinstance(below := whole.get("additionalProperties"), dict):
        yield from parts(f"{path}.<{whole['propertyNames']['title']}>", below)
    if "properties" in whole.get("items", {}):
        yield from parts(f"{path}[]", whole["items"])


def keys() -> list[tuple[str, dict[str, Any]]]:
    """Every key of the report, in the order of the file; objects in lists and under any name stand for themselves."""
    rows = [row for name, part in SCHEMA["properties"].items() for row in parts(name, part)]
    return [(key, part) for key, part in rows if not (part.get("type") == "object" and key[-1] in ">]")]


def type_of(part: dict[str, Any], plural: str = "") -> str:
    """In words."""
    if part.get("missing"):
        return f"{type_of(part | {'missing': False})}; may be missing"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    if part["type"] == "array":
        return f"list of {type_of(part['items'], 's')}"
    return part["type"] + plural if isinstance(part["type"], str) else " or ".join(part["type"])


def table() -> str:
    """The page's table."""
    rows = [f"| `{key}` | {type_of(p)} | {p.get('unit', '')} | {p['description']} |" for key, p in keys()]
    return "\n".join(["| key | type | unit | meaning |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(HEADING)[0] + HEADING + table())
