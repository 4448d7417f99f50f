"""Names and comments of the generated Verilog: plain in every language, of a meaning, the same on every Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from generated import CORES

import firstspike_rtl
from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike_rtl.boards import vivado
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.top import verilog
from firstspike_rtl.top.bus import Registers
from firstspike_rtl.top.pins import ports
from firstspike_rtl.top.verilog_comments import of_class
from firstspike_rtl.top.verilog_names import (
    INSIDE,
    KEYWORDS,
    LONGEST,
    check_core_name,
    is_plain,
    rename,
    without_escapes,
)
from firstspike_rtl.top.verilog_syntax import Module, Name, parse, tokens
from firstspike_rtl.top.verilog_tidy import tidy

#: Words of the language that the text may have.
WORDS = {
    "always", "assign", "begin", "casez", "else", "end", "endcase", "endmodule", "if", "initial", "input", "module",
    "output", "posedge", "reg", "wire",
}  # fmt: skip


@pytest.fixture(scope="module", params=["usual", "early_first_spike", "events", "convolutions_early", "linked"])
def text(request: pytest.FixtureRequest) -> str:
    net, options = CORES["usual" if request.param == "linked" else request.param]
    hardware = Hardware.for_network(net, **options)
    contents = images.contents(net, hardware)
    if request.param == "linked":
        return verilog.convert_linked(hardware, contents, clock_hz=100_000_000, baud=115_200)
    return verilog.convert(hardware, contents)


def bare(text: str) -> str:
    """A text without comments, attributes, strings and numbers."""
    return re.sub(r"//.*|\(\* .*? \*\)|/\*.*?\*/|\"[^\"]*\"|\b\d*'[hdb][0-9a-fx]+", " ", text)


def modules(text: str) -> dict[str, str]:
    return dict(re.findall(r"^module (\w+) (.*?)^endmodule$", text, re.M | re.S))


@pytest.mark.smoke
def test_every_name_is_plain(text: str) -> None:
    assert "\\" not in text
    assert set(re.findall(r"\$\w*", bare(text))) <= {"$signed", "$readmemh"}
    names = set(re.findall(r"(?<![\w$])[A-Za-z_][\w$]*", bare(text))) - WORDS
    assert [name for name in names if not is_plain(name)] == []
    assert len(names) > 300


@pytest.mark.smoke
def test_names_are_unique_in_their_module(text: str) -> None:
    found = modules(text)
    assert len(found) == len(re.findall(r"^module ", text, re.M)) == len({name.lower() for name in found})
    for body in found.values():
        declared = re.findall(r"^  (?:(?:input|output) )?(?:wire|reg) (?:\[\d+:0\] )?(\w+)", body, re.M)
        instances = re.findall(r"^  \w+ (\w+) \($", body, re.M)
        assert len({name.lower() for name in declared + instances}) == len(declared + instances)
        used = set(re.findall(r"(?<![\w$.])[A-Za-z_]\w*", bare(body))) - WORDS
        assert used - set(found) == set(declared + instances)


@pytest.mark.smoke
def test_names_have_a_meaning(text: str) -> None:
    """None is a number; few are only what is done for something; and none is too long."""
    for body in modules(text).values():
        names = re.findall(r"^  (?:wire|reg) (?:\[\d+:0\] )?(\w+)", body, re.M)
        assert [name for name in names if re.fullmatch(r"_*\w?\d+_*", name) and not name.startswith("k")] == []
        assert [name for name in names if len(name) > LONGEST + 20] == []
    everything = re.findall(r"^  (?:wire|reg) (?:\[\d+:0\] )?(\w+)", text, re.M)
    by_use = [n for n in everything if re.search(r"_(term|choice|sum|test|difference|shift|product|value)(_\d+)?$", n)]
    assert len(by_use) < len(everything) / 6  # a CRC takes many


@pytest.mark.smoke
def test_every_module_says_what_it_is(text: str) -> None:
    before = re.findall(r"((?:^//.*\n)*)^module (\w+) ", text, re.M)
    assert len(before) == len(modules(text))
    for comment, name in before:
        first, _, rest = comment.partition("\n")
        assert re.match(r"// (Amaranth's )?[A-Z]\w+: [A-Z0-9]", first), name
        assert "Parameters" not in rest
        assert "`" not in comment
        assert max(map(len, comment.splitlines())) <= 120
    integrator = next(comment for comment, name in before if name.endswith("core_integrator0"))
    assert (
        f"Latency: 3 clocks from an address to its membranes, {Integrator.LATENCY_TEST} from a watermark" in integrator
    )
    assert "\n// stage holds\n// 0     addresses of weights" in integrator
    registers = next(comment for comment, name in before if name.endswith("_registers"))
    assert "::" not in registers
    assert "\n//\n// clock     0    1    2    3    4    5    6\n// awvalid   A    B    B    B " in registers
    assert f"{Registers.WRITE_LATENCY} from address and data of a write" in " ".join(registers.split("\n// "))


@pytest.mark.smoke
def test_docstrings_of_others() -> None:
    class Part:
        """What it is.

        More, of no use to a reader of Verilog.
        """

    assert of_class(Part()) == ["Amaranth's Part: What it is."]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "name", ["release", "final", "Signal", "to", "logic", "always_ff", "2x", "a b", "a$1", "", "a.b"]
)
def test_names_that_are_not_plain(name: str) -> None:
    assert not is_plain(name)


# -- the name of a core ----------------------------------------------------------------------------------------------

PORTS = ports(Hardware.for_network(CORES["usual"][0]))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, "no name of a module") for name in ("", "_", "_x", "x_", "a__b", "2x", "a b", "a.b", "a$1", "a-b")),
        *((name, "no name of a module") for name in ("é", "\u212aernel", "x\n", "x１")),
        *((name, "a word of Verilog or VHDL") for name in ("release", "Signal", "to", "always_ff")),
        ("x" * 61, "a name of 61 characters"),
        *(
            (name, "the name of a port of the core")
            for name in ("aclk", "ACLK", "s_axis_tdata", "m_axis_monitor_tkeep")
        ),
        *((name, "the name of a board's top module") for name in (vivado.BOARD, vivado.BOARD.upper())),
        ("TOP", "a word of Verilator"),
        *((name, "like the name of a core with its host link") for name in ("linked_x", "Linked_top")),
        *((name, "like the name of a module in a core") for name in ("left_core", "left_core_skid0", "a_Registers")),
    ],
)
def test_names_that_no_core_can_have(name: str, wrong: str, tmp_path: Path) -> None:
    net = CORES["usual"][0]
    with pytest.raises(FirstspikeError, match=re.escape(f"{name!r} is {wrong}") if len(name) < 61 else wrong) as caught:
        verilog.generate(net, Hardware.for_network(net), tmp_path / "rtl", name)
    assert len(caught.value.one_line().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["top", "left", "Left2", "mnist_64_5", "core", "registers", "hardcore", "x" * 60])
def test_names_of_cores(name: str) -> None:
    check_core_name(name, PORTS)


@pytest.mark.smoke
def test_a_port_that_the_core_has_not() -> None:
    check_core_name("m_axis_monitor_tkeep", ports(Hardware.for_network(CORES["usual"][0], monitor=False)))


@pytest.mark.smoke
def test_modules_go_on_with_what_no_name_has(text: str) -> None:
    """So cores of two names have no module in common, by themselves or with their host links."""
    top, *others = modules(text)
    assert top in ("top", "linked_top")
    words = {re.fullmatch(rf"{top}_([a-z]+)(_\w+)?", module)[1] for module in others}  # type: ignore[index]
    assert words <= INSIDE
    assert {"core", "registers"} <= words
    assert top == "top" or words == INSIDE


@pytest.mark.smoke
def test_images_of_two_cores_are_different_files() -> None:
    """No memory's name ends as another's: a core's name between the two would make one file of both."""
    for net, options in CORES.values():
        names = [memory.name for memory in Hardware.for_network(net, **options).memories]
        assert not any(name.endswith(f"_{other}") for name in names for other in names)


@pytest.mark.smoke
def test_keywords() -> None:
    assert {"wire", "logic", "downto", "release", "final", "expect", "signal"} <= KEYWORDS
    assert {word.lower() for word in KEYWORDS} == KEYWORDS


# -- from a text of the back end --------------------------------------------------------------------------------------


def made(*body: str, ports: str = "clk", child: str = "") -> list[Module]:
    """Modules of a body, tidied and renamed."""
    lines = "\n".join(f"  {line}" for line in body)
    found = parse(f"module top({ports});\n  input clk;\n  wire clk;\n{lines}\nendmodule\n\n{child}")
    for module in found:
        tidy(module)
    rename(found)
    return found


def assigned(module: Module) -> dict[str, str]:
    return {s.name: "".join(s.value) for s in module.of("assign")}


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("due & waiting", "due_and_waiting"),
        ("~ due", "not_due"),
        ("! group", "no_group"),
        ("| group", "any_group"),
        ("group + 1'h1", "group_plus_1"),
        ("group == 4'h2", "group_is_2"),
        ("group [3:1] != 3'h2", "group_3_1_is_not_2"),
        ("$signed(group) >= $signed(other)", "group_reaches_other"),
        ("due ? group : 4'h0", "group_if_due_else_0"),
        ("due ? 4'h0 : group", "if_due_0_else_group"),
        ("{ due, waiting } << group", "due_waiting_shifted_by_group"),
        ("{ 3'h0, due } + group", "due_plus_group"),
        ("group * 32'd4294967295", "group_times_ones"),
        ("\\o.payload  & \\o.payload$4 ", "o_payload_and_o_payload_2"),
    ],
)
def test_name_of_an_operation(expression: str, name: str) -> None:
    declared = ["wire due;", "wire waiting;", "wire [3:0] group;", "wire [3:0] other;", "wire \\o.payload ;"]
    declared += ["wire \\o.payload$4 ;"]
    (top,) = made(*declared, "wire \\$5 ;", "wire y;", f"assign \\$5  = {expression};", "assign y = \\$5  & due;")
    assert assigned(top)["y"] == f"{name} & due"


@pytest.mark.smoke
def test_long_names_say_what_for() -> None:
    long = "a_long_name_that_goes_on"
    (top,) = made(
        f"wire {long};", f"wire {long}2;", "wire \\$1 ;", "wire \\$2 ;", "wire y;",
        f"assign \\$1  = {long} & {long}2;", f"assign \\$2  = \\$1  + {long};", "assign y = ~ \\$2 ;",
    )  # fmt: skip
    assert assigned(top)["y"] == f"~y_term_plus_{long}"
    assert assigned(top)["y_term"] == f"{long} & {long}2"


@pytest.mark.smoke
def test_a_register_is_set_where_it_is_clocked() -> None:
    (top,) = made(
        "reg taken = 1'h0;", "reg \\$22 ;", "wire rst;", "wire due;",
        "always @(posedge clk)", "  taken <= \\$22 ;",
        "always @* begin", "  if (\\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end",
        "  \\$22  = taken;", "  if (due) begin", "    \\$22  = 1'h1;", "  end", "end",
    )  # fmt: skip
    (clocked,) = top.of("clocked")
    assert [str(line).strip() for line in clocked.lines] == [
        "always @(posedge clk) begin", "if (due) begin", "taken <= 1'h1;", "end", "end",
    ]  # fmt: skip
    assert list(top.of("always")) == []
    assert "dump_module" not in str(top)


@pytest.mark.smoke
def test_a_register_whose_next_value_is_read_elsewhere() -> None:
    """Then it stays a signal; every ``always @*`` reads what changes at time 0."""
    (top,) = made(
        "reg taken = 1'h0;", "reg \\$22 ;", "wire y;",
        "always @(posedge clk)", "  taken <= \\$22 ;", "assign y = ~ \\$22 ;",
        "always @*", "  \\$22  = taken;",
    )  # fmt: skip
    (block,) = top.of("always")
    assert str(block).count("if (at_time_0) begin end") == 1
    assert "  reg at_time_0;\n" in str(top)
    assert "  initial at_time_0 <= 1'b0;\n" in str(top)


@pytest.mark.smoke
def test_second_names_and_what_nobody_reads() -> None:
    (top,) = made(
        "wire [7:0] word;", "wire [7:0] \\word$3 ;", "wire [3:0] \\word.low ;", "wire [3:0] \\word$3.low ;",
        "wire [3:0] \\$1 ;", "wire [3:0] \\$2 ;", "wire [3:0] \\$3 ;", "wire [3:0] y;", "wire [3:0] z;",
        "assign \\word$3  = word;", "assign \\word.low  = word[3:0];", "assign \\word$3.low  = word[3:0];",
        "assign \\$1  = word[3:0] + 4'h1;", "assign \\$2  = word[3:0] + 4'h1;", "assign \\$3  = word[3:0] + 4'h2;",
        "assign y = \\$1 ;", "assign z = ~ \\$2 ;",
    )  # fmt: skip
    assert assigned(top) == {"word_low": "word[3:0]", "y": "word_low + 4'h1", "z": "~y"}


@pytest.mark.smoke
def test_ports_and_instances_of_the_same_names() -> None:
    child = (
        "module \\top.a (clk, \\release , o);\n  input clk;\n  wire clk;\n  input \\release ;\n  wire \\release ;\n"
        "  output o;\n  wire o;\n  assign o = \\release ;\nendmodule\n"
    )
    modules = made(
        "wire o;", "wire \\o$7 ;", "wire y;",
        "\\top.a  a (", "  .clk(clk),", "  .\\release (clk),", "  .o(o)", ");",
        "\\top.a  b (", "  .clk(clk),", "  .\\release (o),", "  .o(\\o$7 )", ");", "assign y = ~ \\o$7 ;", child=child,
    )  # fmt: skip
    assert [module.name for module in modules] == ["top", "top_a"]
    assert modules[1].ports == ["clk", "release_", "o"]
    assert ".release_(o),\n    .o(b_o)\n" in str(modules[0])
    assert assigned(modules[0])["y"] == "~b_o"


@pytest.mark.smoke
def test_repeated_bits() -> None:
    (top,) = made(
        "wire [3:0] y;", "wire [5:0] z;", "wire a;", "assign y = { a, a, a, a };", "assign z = { a, a, y[3:0] };"
    )
    assert assigned(top) == {"y": "{ 4{a} }", "z": "{ {2{a}}, y[3:0] }"}


@pytest.mark.smoke
def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="no statement begins with '  assert"):
        parse("module top(a);\n  assert (a);\nendmodule\n")
    with pytest.raises(ValueError, match="not a module"):
        parse("`define X\n")


@pytest.mark.smoke
def test_tokens() -> None:
    assert tokens("\\$5  = $signed(a[3:0]);") == [
        "$5", " ", "=", " ", "$signed", "(", "a", "[", "3", ":", "0", "]", ")", ";",
    ]  # fmt: skip
    assert [t for t in tokens("if (a && 4'hx) begin end") if isinstance(t, Name)] == ["a"]


# -- Amaranth finds a name --------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_what_is_named_has_a_statement_of_its_own() -> None:
    """Of several signals or ports in one statement Amaranth finds the names of some, by the version of Python."""
    found = []
    for file in sorted(Path(firstspike_rtl.__path__[0]).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                made = [ast.unparse(part.func) for part in node.value.elts if isinstance(part, ast.Call)]
                found += [f"{file.name}:{node.lineno}" for call in made if re.search(r"Signal|_port$", call)]
    assert found == []


@pytest.mark.smoke
def test_without_escapes() -> None:
    """Every escaped name becomes one that is free in the whole file, and the same wherever it stands."""
    text = (
        "module top(o);\n  output [1:0] o;\n  wire \\o[0] ;\n  wire o_0;\n  wire \\wire ;\n"
        "  \\a.b cell (.\\o[0] (\\o[0] ), .o_0(o_0));\nendmodule\n"
        "module \\a.b (\\o[0] , o_0);\nendmodule\n"
    )
    expected = (
        "module top(o);\n  output [1:0] o;\n  wire o_0_2 ;\n  wire o_0;\n  wire wire_ ;\n"
        "  a_b cell (.o_0_2 (o_0_2 ), .o_0(o_0));\nendmodule\n"
        "module a_b (o_0_2 , o_0);\nendmodule\n"
    )
    assert without_escapes(text) == expected
    assert without_escapes(expected) == expected
