"""Verilog of Amaranth's back end without what only the back end needs; what the modules do is unchanged.

* Intermediate results that nobody reads, and second names of a signal, go; equal results are computed once.
* A register gets its value where it is clocked, not by a signal of its own.
* A field of a structure is read by its name.
* Every ``always @*`` runs at time 0, in all simulators. Verilog says only that it runs when something changes; where
  all that it reads has its value from the beginning, nothing does, and its result would stay unknown. So each reads a
  register that gets its value at time 0 by a nonblocking assignment: an event whatever the order of processes.
* Memories have rising ranges. Verilog 2001 and 2005 differ in where ``$readmemh`` begins in a falling one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from firstspike_rtl.top.verilog_syntax import Line, Module, Name, Statement, strip

#: Of the register that every ``always @*`` reads.
GUARD = Name("at_time_0")
#: Attributes that hold what the declaration says anyway, or what is of use to a waveform viewer alone.
_DROPPED = re.compile(r"\(\* (init|enum_\w+) = .*\*\)")


def tidy(module: Module) -> None:
    """Change a module in place."""
    for statement in module.statements:
        statement.lines = [line for line in statement.lines if not _DROPPED.fullmatch(str(line).strip())]
    _collect(module)
    while _share(module):
        pass
    _sweep(module)
    _merge_registers(module)
    _read_fields(module)
    _guard(module)
    _raise_ranges(module)
    _declare_ports(module)
    for statement in module.statements:
        for line in statement.lines:
            _repeat(line)
            line.tokens = [t for n, t in enumerate(line.tokens) if t != " " or not _is_unary(line.tokens, n - 1)]


def anonymous(name: Name) -> bool:
    """Whether the back end made the name up, or Amaranth did not find one in the source."""
    return re.match(r"\$|_\d+_$|port\$", name) is not None


def second(name: Name) -> bool:
    """Whether the name was taken already: it ends with a number, or is a field of such a signal."""
    return "$" in name


def _declarations(module: Module) -> dict[Name, list[Statement]]:
    found: dict[Name, list[Statement]] = {}
    for statement in module.of("declaration"):
        found.setdefault(statement.name, []).append(statement)
    return found


def _collect(module: Module) -> None:
    """One name for a signal where one of two is made up: the other. A port keeps its own."""
    ports, declared = set(module.ports), _declarations(module)
    names: dict[Name, Name] = {}
    gone: list[Statement] = []
    for assign in module.of("assign"):
        if not assign.whole or len(assign.value) != 1 or not isinstance(assign.value[0], Name):
            continue
        other, origin = (names.get(name, name) for name in (assign.name, assign.value[0]))
        if anonymous(other) and other not in ports:
            gone += [assign, *declared.pop(other)]
            old, new = other, origin
        elif anonymous(origin) and origin not in ports:
            # The signal is what drives it: a register with its initial value, or a wire.
            alias = next(s for s in declared[other] if s.head.tokens[0] in ("wire", "reg"))
            (driven,) = declared.pop(origin)
            alias.lines = driven.lines
            gone += [assign, driven]
            old, new = origin, other
        else:
            continue
        names = {name: new if kept == old else kept for name, kept in names.items()} | {old: new}
    unwanted = set(map(id, gone))
    module.remove(lambda s: id(s) in unwanted)
    for statement in module.statements:
        statement.substitute(names)


def _share(module: Module) -> bool:
    """Compute equal results once; whether there were any."""
    first: dict[tuple[str, str], Name] = {}
    same: dict[Name, Name] = {}
    declared = _declarations(module)
    ports = set(module.ports)
    for statement in module.of("assign"):
        if not statement.whole or len(statement.value) == 1:
            continue
        width = "".join(token for token in declared[statement.name][-1].head.tokens[1:] if token != statement.name)
        key = (width, "".join(statement.value))
        kept = first.setdefault(key, statement.name)
        if kept != statement.name and anonymous(statement.name) and statement.name not in ports:
            same[statement.name] = kept
    module.remove(lambda s: s.kind in ("assign", "declaration") and s.name in same)
    for statement in module.statements:
        statement.substitute(same)
    return bool(same)


def _sweep(module: Module) -> None:
    """Take out what nobody reads and has no name of its own."""
    ports = set(module.ports)
    while True:
        read = module.reads()
        unread = {
            s.name
            for s in module.of("declaration")
            if second(s.name) | anonymous(s.name) and s.name not in read and s.name not in ports
        }
        driven = {s.name for s in module.of("assign")} & unread
        if not driven:
            return
        module.statements = [
            s for s in module.statements if s.kind not in ("assign", "declaration") or s.name not in driven
        ]


def _merge_registers(module: Module) -> None:
    """``always @(posedge clk) r <= n;`` with an ``always @*`` that makes n becomes one clocked block."""
    read = module.reads()
    makers = {next(iter(s.targets())): s for s in module.of("always") if len(s.targets()) == 1}
    merged: set[Name] = set()
    for clocked in module.of("clocked"):
        if len(clocked.lines) != 2:
            continue
        register, value = clocked.lines[1].target, strip(clocked.lines[1].tokens[:-1])[-1]
        if not isinstance(value, Name) or value not in makers or read[value] != 1 or not anonymous(value):
            continue
        assert register is not None
        body = makers[value].lines[1:]
        for line in body:
            if line.target is not None:
                line.tokens[0] = register
                line.tokens[line.tokens.index("=")] = "<="
        clocked.lines[0].tokens += [" ", "begin"]
        body = [line for line in body if not _is_guard(line)]
        if "".join(body[0].tokens).split() == [register, "<=", f"{register};"]:
            del body[0]  # a register keeps its value anyway
        clocked.lines[1:] = body
        module.statements = [s for s in module.statements if s is not makers[value]]
        merged.add(value)
    module.remove(lambda s: s.kind == "declaration" and s.name in merged)


def _is_guard(line: Line) -> bool:
    return any(isinstance(token, Name) and "dump_module" in token for token in line.tokens)


def _read_fields(module: Module) -> None:
    """Bits of a structure that are one of its fields are read by the field's name."""
    fields: dict[tuple[Name, str], Name] = {}
    for statement in module.of("assign"):
        value = statement.value
        if statement.whole and len(value) > 1 and isinstance(value[0], Name):
            base = value[0]
            if statement.name.startswith((f"{base}.", f"{base}[")):
                fields.setdefault((base, "".join(strip(value[1:]))), statement.name)
    if not fields:
        return
    for statement in module.statements:
        if statement.kind == "declaration" or (statement.kind == "assign" and statement.name in fields.values()):
            continue
        for line in statement.lines:
            begin = _reading_from(statement, line)
            line.tokens[begin:] = _with_fields(line.tokens[begin:], fields)


def _reading_from(statement: Statement, line: Line) -> int:
    """Where the tokens of a line that are read begin; of an instance, whose outputs cannot be told, none are."""
    if statement.kind == "instance":
        return len(line.tokens)
    if statement.kind == "assign" or line.target is not None:
        return next(n for n, token in enumerate(line.tokens) if token in ("=", "<="))
    return 0


def _with_fields(parts: Sequence[str], fields: dict[tuple[Name, str], Name]) -> list[str]:
    made: list[str] = []
    n = 0
    while n < len(parts):
        token = parts[n]
        if isinstance(token, Name) and "[" in parts[n + 1 : n + 3]:
            begin = parts.index("[", n)
            end = parts.index("]", n) + 1
            name = fields.get((token, "".join(parts[begin:end])))
            if name is not None:
                made.append(name)
                n = end
                continue
        made.append(token)
        n += 1
    return made


def _guard(module: Module) -> None:
    """Let every ``always @*`` read the guard, and give the guard its value at time 0."""
    module.remove(lambda s: s.kind == "declaration" and "dump_module" in s.name)
    blocks = list(module.of("always"))
    for block in blocks:
        body = [line for line in block.lines[1:] if not _is_guard(line)]
        if len(block.lines) == 2:
            block.lines[0].tokens += [" ", "begin"]
            body.append(Line.of("  end"))
        guard = Line("    ", ["if", " ", "(", GUARD, ")", " ", "begin", " ", "end"])
        block.lines = [block.lines[0], guard, *body]
    if blocks:
        module.statements = [
            Statement("declaration", [Line.of(f"  reg {GUARD};")], ["Its change at time 0 makes every always @* run."]),
            Statement("initial", [Line.of(f"  initial {GUARD} <= 1'b0;")]),
            *module.statements,
        ]


def _raise_ranges(module: Module) -> None:
    for statement in module.of("declaration"):
        parts = statement.head.tokens
        begin = parts.index(statement.name) + 2
        if parts[begin - 1 : begin + 1] == [" ", "["]:
            parts[begin + 1 : begin + 4] = reversed(parts[begin + 1 : begin + 4])


def _declare_ports(module: Module) -> None:
    """One declaration of each port in place of two."""
    directions = {s.name: s for s in module.of("declaration") if s.head.tokens[0] in ("input", "output")}
    for statement in module.of("declaration"):
        if statement.name in directions and statement.head.tokens[0] in ("wire", "reg"):
            statement.kind = "port"
            direction = directions[statement.name].head.tokens[0]
            statement.head.tokens[:0] = [direction, " "]
    gone = set(map(id, directions.values()))
    module.remove(lambda s: id(s) in gone)


def _is_unary(parts: list[str], n: int) -> bool:
    """Whether a token is an operator before its only operand."""
    before = [token for token in parts[: max(n, 0)] if token != " "]
    return parts[n] in ("~", "!", "|", "&", "^", "-") and before[-1:] in ([], ["="], ["<="], ["("])


def _repeat(line: Line) -> None:
    """``{ a, a, a }`` becomes ``{ 3{a} }``, also as a part of a longer concatenation."""
    begin = 0
    while "{" in line.tokens[begin:]:
        begin = line.tokens.index("{", begin)
        end = line.tokens.index("}", begin)
        groups: list[tuple[list[str], int]] = []
        for part in _split(line.tokens[begin + 1 : end]):
            if groups and groups[-1][0] == part:
                groups[-1] = (part, groups[-1][1] + 1)
            else:
                groups.append((part, 1))
        made: list[str] = []
        for part, times in groups:
            made += [",", " "] if made else []
            repeated = [str(times), "{", *part, "}"]
            made += part if times == 1 else repeated if len(groups) == 1 else ["{", *repeated, "}"]
        line.tokens[begin : end + 1] = ["{", " ", *made, " ", "}"]
        begin += len(made) + 4


def _split(parts: list[str]) -> list[list[str]]:
    """Tokens between commas, without the white space around them."""
    made: list[list[str]] = [[]]
    for token in parts:
        if token == ",":
            made.append([])
        else:
            made[-1].append(token)
    return [strip(part) for part in made]
