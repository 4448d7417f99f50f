"""What the modules of a design are: the docstrings of the components that they come from, as comments."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from amaranth.hdl import Elaboratable

from firstspike.contract.memory import Memory

WIDTH = 120
#: Of this library the Verilog says its own; of others, what is said first.
OWN = "firstspike_rtl."


def of_modules(design: Any) -> dict[str, list[str]]:
    """Comment of each module of an Amaranth ``Design``, by the path of the hierarchy, with dots."""
    found = {}
    for fragment, info in design.fragments.items():
        made = [part for part in fragment.origins or () if isinstance(part, Elaboratable) and type(part).__doc__]
        if made:
            found[".".join(info.name)] = of_class(made[-1])
    return found


def of_class(component: object) -> list[str]:
    """The lines of a docstring in plain text: all before its sections, which describe the Python object.

    Constants of the class are written out. Of a component of Amaranth it is the first paragraph.
    """
    kind = type(component)
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.split(r"\n+(?=[A-Z]\w+\n-{3,}$)", text, maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = [_plain(paragraph, kind) for paragraph in text.split("\n\n") if paragraph != "::"]
    if kind.__module__.startswith(OWN):
        paragraphs[0] = f"{kind.__name__}: {paragraphs[0]}"
    else:
        paragraphs = [f"Amaranth's {kind.__name__}: {paragraphs[0]}"]
    return [line for paragraph in paragraphs for line in ["", *_wrapped(paragraph)]][1:]


def of_memory(memory: Memory) -> list[str]:
    """What a loadable memory holds."""
    sign = "signed" if memory.signed else "unsigned"
    row = f"{memory.fields} x {memory.field_bits} bits, {sign}, the first lowest" if memory.fields > 1 else sign
    return [f"Loadable, number {memory.index}: {memory.depth} rows of {memory.row_bits} bits ({row})."]


def _plain(text: str, kind: type) -> str:
    """Text without the marks of reStructuredText: ``:class:`a.b.C``` is C, and quoted words are bare."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`.]*)`", r"\1", text).replace("`", "")

    def number(match: re.Match[str]) -> str:
        value = getattr(kind, match[0], None)
        return str(value) if isinstance(value, int) else match[0]

    return re.sub(r"\b[A-Z][A-Z_]+\b", number, text)


def _wrapped(paragraph: str) -> list[str]:
    """A paragraph in lines; a table and a diagram keep their own."""
    if paragraph.startswith("    "):
        return textwrap.dedent(paragraph).splitlines()
    if paragraph.startswith("==="):
        return [line for line in paragraph.splitlines() if not line.startswith("===")]
    return textwrap.wrap(" ".join(paragraph.split()), WIDTH - 3)
