"""Blocks of code and of output in the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "verification" / "README.md"]


def blocks(text: str, language: str) -> list[str]:
    """Contents of all fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def examples(text: str) -> list[tuple[str, str]]:
    """Each Python block with the text block that follows it directly, or nothing."""
    return re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE)


def masked(text: str, *, integers: bool = True) -> str:
    """``text`` without its numbers, lists of numbers counting as one, and with single spaces.

    Without ``integers`` only numbers with a point are masked.
    """
    number = r"\d[\d,]*(?:\.\d+)?" if integers else r"\d+\.\d+"
    text = re.sub(number, "#", text)
    text = re.sub(r"#(?:, #)+", "#", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def rows(text: str, title: str) -> list[list[str]]:
    """Cells of the first table whose first heading is ``title``, without the head."""
    lines = text[text.index(f"| {title} |") :].strip().split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
