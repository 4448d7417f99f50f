"""Plain names for the Verilog of Amaranth's back end: of letters, digits and ``_``, with meaning, no reserved words.

A signal that has a name in the source keeps it. What has none is named after what it is: the operation and its
operands, the instance and the port that it comes from, or the register that it goes to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from firstspike.errors import FirstspikeError
from firstspike_rtl.top.verilog_syntax import Module, Name, Statement, strip
from firstspike_rtl.top.verilog_tidy import anonymous, second

#: Of a name that is made up.
LONGEST = 40
#: Of a core: the names of its files and modules, and of folders of tools, begin with it.
LONGEST_CORE = 60
#: Of a core with its host link: what its module begins with.
LINKED = "linked_"
#: The top of the board in a folder for Vivado, beside which the core lies.
BOARD_TOP = "arty_a7_100t"
#: What the modules of a core ``A`` go on with: ``A_core``, ``A_core_skid0``, ..., with its host link and without.
INSIDE = frozenset({"core", "registers", "link", "receiver", "transmitter"})

#: Reserved words of Verilog 2005, SystemVerilog 2017 and VHDL 2008.
KEYWORDS = frozenset(
    """
    abs accept_on access after alias all always always_comb always_ff always_latch and architecture array assert assign
    assume assume_guarantee attribute automatic before begin bind bins binsof bit block body break buf buffer bufif0
    bufif1 bus byte case casex casez cell chandle checker class clocking cmos component config configuration const
    constant constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
    disconnect dist do downto edge else elsif end endcase endchecker endclass endclocking endconfig endfunction
    endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify
    endtable endtask entity enum event eventually exit expect export extends extern fairness file final first_match for
    force foreach forever fork forkjoin function generate generic genvar global group guarded highz0 highz1 if iff
    ifnone ignore_bins illegal_bins implements implies import impure in incdir include inertial initial inout input
    inside instance int integer interconnect interface intersect is join join_any join_none label large let liblist
    library linkage literal local localparam logic longint loop macromodule map matches medium mod modport module nand
    negedge nettype new next nexttime nmos nor noshowcancelled not notif0 notif1 null of on open or others out output
    package packed parameter pmos port posedge postponed primitive priority procedure process program property
    protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence
    range rcmos real realtime record ref reg register reject reject_on release rem repeat report restrict
    restrict_guarantee return rnmos rol ror rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until
    s_until_with scalared select sequence severity shared shortint shortreal showcancelled signal signed sla sll small
    soft solve specify specparam sra srl static string strong strong0 strong1 struct subtype super supply0 supply1
    sync_accept_on sync_reject_on table tagged task then this throughout time timeprecision timeunit to tran tranif0
    tranif1 transport tri tri0 tri1 triand trior trireg type typedef unaffected unbounded union unique unique0 units
    unsigned until until_with untyped use uwire var variable vectored virtual vmode void vprop vunit wait wait_order
    wand weak weak0 weak1 when while wildcard wire with within wor xnor xor
    """.split()  # noqa: SIM905
)

_UNARY = {"~": "not", "!": "no", "|": "any", "&": "all", "^": "parity", "-": "minus"}
_BINARY = {
    "&": "and", "|": "or", "^": "xor", "+": "plus", "-": "minus", "*": "times", "<<": "shifted_by",
    "<<<": "shifted_by", ">>": "shifted_down_by", ">>>": "shifted_down_by", "==": "is", "!=": "is_not", "<": "below",
    "<=": "at_most", ">": "above", ">=": "reaches",
}  # fmt: skip


def is_plain(name: str) -> bool:
    """Whether a name needs no escape in any tool."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None and name.lower() not in KEYWORDS


def check_core_name(name: str, ports: Iterable[str]) -> None:
    """Refuse what cannot be the name of a core in every tool, or could be that of something beside it or in it.

    Letters of both cases count as one. Cores of two names that pass have no module in common: each module is called
    after its core, and goes on with one of :data:`INSIDE`, which no name has behind a ``_``.

    Parameters
    ----------
    name
        Of the top module; files and all other modules begin with it.
    ports
        Of the core.

    Raises
    ------
    FirstspikeError
        naming what is wrong.
    """
    lower = name.lower()
    inside = INSIDE.intersection(lower.split("_")[1:])
    wrong, hint = "", "give another name"
    if lower in KEYWORDS:
        wrong = "a word of Verilog or VHDL"
    elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name):
        wrong, hint = "no name of a module", "use letters, digits and single _ between them, and begin with a letter"
    elif len(name) > LONGEST_CORE:
        wrong, hint = f"a name of {len(name)} characters", f"use {LONGEST_CORE} or fewer"
    elif lower in ports:
        wrong = "the name of a port of the core"
    elif lower == BOARD_TOP:
        wrong = "the name of a board's top module"
    elif name == "TOP":
        wrong = "a word of Verilator"
    elif lower.startswith(LINKED):
        wrong, hint = "like the name of a core with its host link", f"do not begin with {LINKED}"
    elif inside:
        part = min(inside)
        wrong, hint = f"like the name of a module in a core: _{part}", f"use another word in place of {part}"
    if wrong:
        shown = name if len(name) <= LONGEST_CORE else f"{name[:LONGEST_CORE]}..."
        raise FirstspikeError(f"{shown!r} is {wrong}", hint)


def without_escapes(text: str) -> str:
    r"""Verilog with a plain name for each escaped one, the same in all modules.

    yosys takes a signal that is called ``\o[1]`` for a bit of a vector ``o`` beside it, and joins the two.
    """
    escaped = dict.fromkeys(re.findall(r"\\(\S+)\s", text))
    taken = _Taken([*re.findall(r"[A-Za-z_]\w*", re.sub(r"\\\S+", " ", text)), *KEYWORDS])
    names = {name: taken.new(_folded(name)) for name in escaped}
    return re.sub(r"\\(\S+)(?=\s)", lambda found: names[found[1]], text)


def rename(modules: list[Module]) -> None:
    """Give plain names to modules and signals, in place. Ports of the first module have them.

    Raises
    ------
    ValueError
        if one of those has not.
    """
    taken = _Taken(())
    names = {module.name: taken.new(_folded(module.name)) for module in modules}
    ports: dict[Name, Mapping[Name, Name]] = {}
    for module in reversed(modules):  # a module comes before those that it has instances of
        made = _Namer(module, ports, fixed=module.ports if module is modules[0] else ()).names()
        for statement in module.statements:
            if statement.kind == "instance":
                of = Name(next(t for t in statement.head.tokens if isinstance(t, Name)))
                for line in statement.lines[1:-1]:
                    line.tokens[1] = ports[of].get(Name(line.tokens[1]), Name(line.tokens[1]))
                statement.head.tokens[0] = names[of]
            statement.substitute(made)
        ports[module.name] = made
        module.ports = [made.get(port, port) for port in module.ports]
    for module in modules:
        module.name = names[module.name]


class _Taken:
    """Names of a scope; letters of both cases count as one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.lower() for name in names}

    def new(self, wanted: str) -> Name:
        """``wanted``, or with the first number behind it that is free."""
        name, number = wanted, 1
        while name.lower() in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name.lower())
        return Name(name)


def _folded(name: str) -> str:
    """A name without its dots, brackets, and the number of a second one."""
    plain = re.sub(r"\$\d+", "", name).strip("$")
    plain = re.sub(r"\W+", "_", plain).strip("_") if not plain.startswith("_") else re.sub(r"\W+", "_", plain)
    plain = f"n{plain}" if not plain or plain[0].isdigit() else plain
    return f"{plain}_" if plain.lower() in KEYWORDS else plain


class _Namer:
    """Names of one module's signals."""

    def __init__(self, module: Module, ports: Mapping[Name, Mapping[Name, Name]], fixed: Iterable[Name]) -> None:
        self._module = module
        self._ports = ports
        self._made: dict[Name, Name] = {}
        self._naming: set[Name] = set()
        self._assigns = {s.name: s for s in module.of("assign") if s.whole}
        self._blocks = {next(iter(s.targets())): s for s in module.of("always") if len(s.targets()) == 1}
        self._drivers = self._driven_by_instances()
        self._instances = sorted(s.name for s in module.of("instance"))
        for name in fixed:
            if not is_plain(name):
                raise ValueError(f"{name} in {module.name} is no plain name")
        self._made.update({name: name for name in fixed})
        self._taken = _Taken([*fixed, *KEYWORDS])

    def names(self) -> dict[Name, Name]:
        """A new name for each old one; instances and memories first."""
        memories = [s.name for s in self._module.of("declaration") if s.head.tokens[-2:] == ["]", ";"]]
        for name in [*self._instances, *sorted(memories)]:
            self._made[name] = self._taken.new(_folded(name))
        declared = [s.name for s in self._module.of("declaration", "port") if s.name not in self._made]
        named = [name for name in declared if not anonymous(name)]
        for name in sorted(named, key=_number):
            self._made[name] = self._taken.new(self._of_source(name))
        self._targets = self._readers()
        for name in sorted(set(declared) - set(named), key=_number):
            self._name(name)
        return self._made

    def _of_source(self, name: Name) -> str:
        """A name of the source; where several signals have it, that of the instance that drives it goes first."""
        plain = _folded(name)
        if second(name) and name in self._drivers:
            return f"{self._drivers[name][0]}_{plain}"
        return plain

    def _driven_by_instances(self) -> dict[Name, tuple[Name, str]]:
        """Of each signal that is connected to one instance, or first to it: the instance, and the port's new name."""
        found: dict[Name, tuple[Name, str]] = {}
        for statement in self._module.of("instance"):
            of = next(t for t in statement.head.tokens if isinstance(t, Name))
            for line in statement.lines:
                port, signals = statement.connection(line)
                if port is not None and len(signals) == 1 and port in self._ports.get(of, {}):
                    found.setdefault(signals[0], (statement.name, self._ports[of][port]))
        return found

    def _readers(self) -> dict[Name, Name]:
        """For each signal the first that is made of it."""
        found: dict[Name, Name] = {}
        for statement in self._module.of("assign", "always", "clocked"):
            target = next(iter(sorted(statement.targets())), None)
            for name in statement.reads():
                if target is not None and name != target:
                    found.setdefault(name, target)
        return found

    def _name(self, name: Name) -> Name:
        """The name of a signal, which is made when it is first asked for."""
        if name not in self._made:
            if name in self._naming:
                return Name("loop")
            self._naming.add(name)
            wanted = self._wanted(name)
            self._made[name] = self._taken.new(wanted)
        return self._made[name]

    def _wanted(self, name: Name) -> str:
        assign = self._assigns.get(name)
        if assign is not None:
            words = self._expression(assign.value)
            words = _words(f"constant_{words}" if words.isdecimal() else words)
            return words if len(words) <= LONGEST else self._by_use(name, _operation(assign.value))
        if name in self._blocks:
            words = self._choice(self._blocks[name])
            return words if words and len(words) <= LONGEST else self._by_use(name, "choice")
        if name in self._drivers:
            return "_".join(self._drivers[name])
        parts = [self._name(s.name) for s in self._module.of("assign") if s.value[:1] == [name] and len(s.value) > 1]
        whole = [part for part in parts if not any(part.startswith(f"{other}_") for other in parts)]
        words = _words("_and_".join(whole))
        return words if parts and len(words) <= LONGEST else self._by_use(name, "value")

    def _by_use(self, name: Name, what: str) -> str:
        """A name after the first signal with a name of its own that is made of this one."""
        target: Name | None = self._targets.get(name)
        seen = {name}
        while target is not None and anonymous(target) and target not in seen:
            seen.add(target)
            target = self._targets.get(target)
        known = None if target is None else self._made.get(target)
        return what if known is None else f"{known}_{what}"

    def _choice(self, block: Statement) -> str:
        """``kept_at_row`` for a signal that is one of ``kept[0]``, ``kept[1]``, ... by ``row``."""
        selector = next((line.tokens for line in block.lines if "casez" in line.tokens), None)
        values = [strip(line.tokens[line.tokens.index("=") + 1 : -1]) for line in block.lines if line.target]
        bases = {value[0] for value in values if isinstance(value[0], Name)}
        if selector is None or not bases:
            return ""
        words = self._expression(selector[selector.index("(") + 1 : -1])
        common = _common([_folded(self._name(Name(base))) for base in sorted(bases)])
        return _words(f"{common}_at_{words}") if common else ""

    def _expression(self, parts: list[str]) -> str:
        """Words for an operation and its operands."""
        parts = strip(parts)
        if parts[0] in _UNARY:
            return f"{_UNARY[parts[0]]}_{self._operand(parts[1:])}"
        if "?" in parts:
            first, colon = parts.index("?"), _top_level(parts, ":")
            chosen, other = self._operand(parts[first + 1 : colon]), self._operand(parts[colon + 1 :])
            condition = self._operand(parts[:first])
            ends = f"if_{condition}_{chosen}" if chosen[0].isdigit() else f"{chosen}_if_{condition}"
            return f"{ends}_else_{other}"
        for n, token in enumerate(parts):
            if token in _BINARY and n and _depth(parts[:n]) == 0:
                left, right = self._operand(parts[:n]), self._operand(parts[n + 1 :])
                return f"{left}_{_BINARY[token]}_{right}"
        return self._operand(parts)

    def _operand(self, parts: list[str]) -> str:
        """Words for names, bits, constants, and several side by side, the highest first."""
        words: list[str] = []
        n = 0
        parts = strip(parts)
        while n < len(parts):
            token = parts[n]
            if isinstance(token, Name):
                words.append(self._name(token).rstrip("_"))
            elif match := re.fullmatch(r"\d*'s?([bdh])([0-9a-f]+)", token):
                value = int(match[2], {"b": 2, "d": 10, "h": 16}[match[1]])
                if value.bit_length() > 16 and value & value + 1 == 0:
                    words.append("ones")
                elif value or len(parts) == 1:  # zeros before a number only make it wider
                    words.append(str(value))
            elif token.isdecimal() and (n == 0 or parts[n - 1] in "[:" or parts[n + 1 : n + 2] == ["]"]):
                words.append(token)
            n += 1
        return "_".join(words)


def _depth(parts: list[str]) -> int:
    return sum((t in "([{") - (t in ")]}") for t in parts if len(t) == 1)


def _top_level(parts: list[str], token: str) -> int:
    return next(n for n, t in enumerate(parts) if t == token and _depth(parts[:n]) == 0)


def _operation(parts: list[str]) -> str:
    """One word for an operation whose operands have too long names."""
    parts = strip(parts)
    if "?" in parts:
        return "choice"
    for n, token in enumerate(parts):
        if token in ("+", "-") and n:
            return "sum" if token == "+" else "difference"
        if token == "*":
            return "product"
        if token in ("==", "!=", "<", "<=", ">", ">=") or (token == "!" and n == 0):
            return "test"
        if token in ("<<", "<<<", ">>", ">>>"):
            return "shift"
    return "term"


def _words(text: str) -> str:
    """A name of these words."""
    plain = re.sub(r"__+", lambda m: "__" if len(m[0]) == 2 else "_", text).strip("_")
    plain = f"n{plain}" if not plain or plain[0].isdigit() else plain
    return f"{plain}_" if plain.lower() in KEYWORDS else plain


def _common(names: list[str]) -> str:
    """What all of the names begin with."""
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same].rstrip("_0123456789") if first != last else first


def _number(name: Name) -> tuple[bool, int, int, str]:
    """For the order in which names are given: those of the source first, then by their numbers."""
    found = re.search(r"\$(\d+)|^_(\d+)_$", name)
    return second(name) or anonymous(name), name.count("."), int((found[1] or found[2]) if found else 0), name
