"""The Verilog of Amaranth's back end as statements of tokens: enough of the language to rename and to rearrange it.

yosys writes one statement, or one line of a block, on a line of its own. What does not have this form is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s+ | \\\S+[ ] | "[^"]*" | \(\* | \*\) | \$?[A-Za-z_]\w* | \d*'s?[bdh][0-9a-fxz?_]+ | \d+
    | <<< | >>> | << | >> | <= | >= | == | != | && | \|\| | \S""",
    re.VERBOSE,
)
#: The words of Verilog that the back end writes.
_WORDS = frozenset(
    (
        "always", "assign", "begin", "case", "casez", "default", "else", "end", "endcase", "endmodule", "if", "initial",
        "input", "module", "negedge", "output", "posedge", "reg", "signed", "wire",
    )
)  # fmt: skip


class Name(str):
    """A token that is an identifier, without the backslash and the space of an escaped one."""

    __slots__ = ()


def tokens(line: str) -> list[str]:
    """The tokens of a line, white space among them."""
    found: list[str] = []
    for text in _TOKEN.findall(line):
        if text[0] == "\\":
            found.append(Name(text[1:-1]))
        elif (text[0].isalpha() or text[0] == "_") and text not in _WORDS:
            found.append(Name(text))
        else:
            found.append(text)
    return found


@dataclass
class Line:
    """Part of a statement."""

    indent: str
    tokens: list[str]

    @classmethod
    def of(cls, text: str) -> Line:
        """A line of text."""
        bare = text.lstrip(" ")
        return cls(text[: len(text) - len(bare)], tokens(bare))

    def __str__(self) -> str:
        return self.indent + "".join(self.tokens)

    @property
    def target(self) -> Name | None:
        """What a line of a block assigns to."""
        return self.tokens[0] if self.tokens and isinstance(self.tokens[0], Name) else None


@dataclass
class Statement:
    """A statement of a module, with the attributes and the comment before it.

    ``kind`` is ``declaration``, ``port`` (of a port, in the module's head), ``assign``, ``clocked``
    (``always @(posedge ...)``), ``always`` (``always @*``), ``initial`` or ``instance``.
    """

    kind: str
    lines: list[Line]
    comment: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "".join(f"  // {text}\n" for text in self.comment) + "".join(f"{line}\n" for line in self.lines)

    @property
    def head(self) -> Line:
        """The first line that is no attribute."""
        return next(line for line in self.lines if line.tokens[0] != "(*")

    @property
    def name(self) -> Name:
        """What is declared, assigned, or instantiated: the first name, but the second of an instance."""
        names = [token for token in self.head.tokens if isinstance(token, Name)]
        return names[self.kind == "instance"]

    def targets(self) -> set[Name]:
        """What an assignment or a block assigns to."""
        if self.kind == "assign":
            return {self.name}
        if self.kind in ("clocked", "always", "initial"):
            return {line.target for line in self.lines if line.target is not None}
        return set()

    def reads(self) -> Iterator[Name]:
        """Names of signals that are read, as often as they are; what is connected to an instance is."""
        if self.kind in ("declaration", "port"):
            return
        for place, line in enumerate(self.lines):
            if self.kind == "instance":
                if place:
                    yield from self.connection(line)[1]
                continue
            assigns = self.kind == "assign" or line.target is not None
            for token in line.tokens[1 + 2 * (self.kind == "assign") if assigns else 0 :]:
                if isinstance(token, Name):
                    yield token

    @staticmethod
    def connection(line: Line) -> tuple[Name | None, list[Name]]:
        """The port of a line of an instance, and the names that it is connected to."""
        names = [token for token in line.tokens if isinstance(token, Name)]
        return (names[0], names[1:]) if names else (None, [])

    @property
    def value(self) -> list[str]:
        """Tokens of the right side of an ``assign``, without white space at the ends."""
        parts = self.head.tokens
        return strip(parts[parts.index("=") + 1 : -1])

    @property
    def whole(self) -> bool:
        """Whether an ``assign`` is to a whole signal, not to some of its bits."""
        return strip(self.head.tokens[3:])[0] == "="

    def substitute(self, names: Mapping[Name, Name]) -> None:
        """Replace names, but those of ports and modules of an instance."""
        for place, line in enumerate(self.lines):
            kept = self.kind == "instance" and bool(place)
            for n, token in enumerate(line.tokens):
                if isinstance(token, Name) and token in names:
                    if kept and n <= 2:
                        continue
                    line.tokens[n] = names[token]


def strip(parts: list[str]) -> list[str]:
    """Tokens without the white space at both ends."""
    begin, end = 0, len(parts)
    while begin < end and parts[begin].isspace():
        begin += 1
    while end > begin and parts[end - 1].isspace():
        end -= 1
    return parts[begin:end]


@dataclass
class Module:
    """A module: its ports in order, and its statements."""

    name: Name
    ports: list[Name]
    statements: list[Statement]
    comment: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        comment = "".join(f"// {text}".rstrip() + "\n" for text in self.comment)
        declared = {port.name: str(port).rstrip(";\n") for port in self.of("port")}
        ports = ",\n".join(declared[name] for name in self.ports)
        body = "".join(str(statement) for statement in self.statements if statement.kind != "port")
        return f"{comment}module {self.name} (\n{ports}\n);\n{body}endmodule\n"

    def of(self, *kinds: str) -> Iterator[Statement]:
        """The statements of some kinds."""
        return (statement for statement in self.statements if statement.kind in kinds)

    def reads(self) -> dict[Name, int]:
        """How often each name is read."""
        counted: dict[Name, int] = {}
        for statement in self.statements:
            for name in statement.reads():
                counted[name] = counted.get(name, 0) + 1
        return counted

    def remove(self, unwanted: Callable[[Statement], bool]) -> None:
        """Take statements out."""
        self.statements = [statement for statement in self.statements if not unwanted(statement)]


def parse(text: str) -> list[Module]:
    """The modules of a file, which holds nothing else but comments.

    Raises
    ------
    ValueError
        where the text has not the form of yosys.
    """
    modules: list[Module] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("module "):
            while not line.endswith(");"):
                line += next(lines)
            head = [token for token in tokens(line) if isinstance(token, Name)]
            body = list(iter(lambda: next(lines), "endmodule"))
            modules.append(Module(head[0], head[1:], list(_statements(body))))
        elif line.strip() and not re.match(r"\s*(//|/\*.*\*/$)", line):
            raise ValueError(f"not a module: {line!r}")
    return modules


#: How a statement begins, its kind, and the line that ends it; without one it is a single line.
_FORMS = (
    (re.compile(r"  (input|output|wire|reg) .*;$"), "declaration", None),
    (re.compile(r"  assign .*;$"), "assign", None),
    (re.compile(r"  always @\(posedge .*\) begin$"), "clocked", "  end"),
    (re.compile(r"  always @\(posedge .*\)$"), "clocked", ""),
    (re.compile(r"  always @\* begin$"), "always", "  end"),
    (re.compile(r"  always @\*$"), "always", ""),
    (re.compile(r"  initial begin$"), "initial", "  end"),
    (re.compile(r"  initial .*;$"), "initial", None),
    (re.compile(r"  \\?[A-Za-z_]\S* +\S+ \($"), "instance", "  );"),
)


def _statements(body: list[str]) -> Iterator[Statement]:
    lines = iter(body)
    held: list[Line] = []
    for line in lines:
        if line.startswith("  (*"):
            held.append(Line.of(line))
            continue
        forms = [(kind, end) for form, kind, end in _FORMS if form.match(line)]
        if not forms:
            raise ValueError(f"no statement begins with {line!r}")
        kind, end = forms[0]
        held.append(Line.of(line))
        if end == "":
            held.append(Line.of(next(lines)))
        while end and line != end:
            line = next(lines)
            held.append(Line.of(line))
        yield Statement(kind, held)
        held = []
