"""Generated Verilog -> a folder for Vivado: sources, constraints and the script that builds from them.

Nothing here has been run on Vivado; ``docs/vivado.md`` says what was checked instead.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import firstspike
from firstspike.artefact import new_folder
from firstspike.contract.registers import ADDRESS_BITS
from firstspike.errors import FirstspikeError
from firstspike.host.link import DEFAULT_BAUD
from firstspike_rtl.core.tables import copies
from firstspike_rtl.top.interfaces import CLOCK, LITE, RESET, STREAM, interfaces
from firstspike_rtl.top.verilog import convert_linked, load_contents, load_manifest, verilog_name
from firstspike_rtl.top.verilog_names import BOARD_TOP, LINKED

SCRIPT = "build.tcl"
BOARD = BOARD_TOP
BOARD_PART = "xc7a100tcsg324-1"
BOARD_MEGAHERTZ = 100.0

#: The IP is for these, none of which it was tried on; each is "Beta".
IP_FAMILIES = (
    "spartan7", "artix7", "kintex7", "virtex7", "zynq", "kintexu", "virtexu", "kintexuplus", "virtexuplus", "zynquplus",
)  # fmt: skip
SMALLEST_RANGE = 4096  # bytes of an AXI slave's addresses


def write(rtl: Path, folder: Path, *, part: str = BOARD_PART, megahertz: float = 100.0) -> Path:
    """Write into ``folder``, whole or not at all, all that Vivado needs to build the core.

    ``build.tcl``; the manifest of ``rtl``; ``src/`` with the Verilog and the memory images; ``core.xdc``, the clock of
    the core by itself. If ``part`` is that of the Arty A7-100T, also the core with the host link, ``linked_<name>.v``,
    the board's ``arty_a7_100t.v`` and its constraints.

    Parameters
    ----------
    rtl
        Folder of :func:`firstspike_rtl.top.verilog.generate`.
    folder
        Where to.
    part
        The device, as Vivado names it.
    megahertz
        Clock that the core by itself is built for; the board's is fixed.

    Raises
    ------
    FirstspikeError
        if ``rtl`` is no generated folder or was changed, the part or the clock is wrong, or the folder cannot be
        written.
    RuntimeError
        if the Verilog does not hold the memories of its manifest: a bug.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", part):
        raise FirstspikeError(f"part is {part!r}", f"give Vivado's name of a device, such as {BOARD_PART}")
    if not 1 <= megahertz <= 1000:
        raise FirstspikeError(f"a clock of {megahertz} MHz", "give 1 to 1000")
    manifest, hardware = load_manifest(rtl)
    core = manifest["name"]
    verilog = {core: (rtl / verilog_name(manifest)).read_text()}
    depths = {memory.name: _depth(verilog[core], copies(memory)[0]) for memory in hardware.memories}
    for_board = part == BOARD_PART
    if for_board:
        contents = load_contents(rtl, manifest, hardware)
        clock_hz = round(BOARD_MEGAHERTZ * 1_000_000)
        linked = convert_linked(hardware, contents, clock_hz=clock_hz, baud=DEFAULT_BAUD, name=core)
        verilog |= {f"{LINKED}{core}": linked, BOARD: BOARD_VERILOG.format(linked=f"{LINKED}{core}")}
    with new_folder(folder) as draft:
        sources = draft / "src"
        sources.mkdir()
        for name, text in verilog.items():
            (sources / f"{name}.v").write_text(text)
        for memory in manifest["memories"]:
            image = (rtl / memory["image"]).read_text()
            (sources / memory["image"]).write_text(_plain(image, depths[memory["name"]]))
        shutil.copy(rtl / f"{core}.json", draft)
        (draft / "core.xdc").write_text(_core_constraints(megahertz))
        if for_board:
            (draft / f"{BOARD}.xdc").write_text(BOARD_CONSTRAINTS)
        (draft / SCRIPT).write_text(HEAD + _settings(manifest, part, for_board) + BODY)
    return folder


def _declaration(name: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*reg (?:\[\d+:0\] )?{re.escape(name)} \[0:(\d+)\];$", re.MULTILINE)


def _depth(text: str, name: str) -> int:
    """Rows of a memory as the Verilog has it; one more than its image if that has a single row."""
    found = _declaration(name).findall(text)
    if len(found) != 1:
        raise RuntimeError(f"memory {name} is declared {len(found)} times in the Verilog")
    return int(found[0]) + 1


def _plain(image: str, depth: int) -> str:
    """The rows alone, as many as the memory has: UG901 allows no comment in the file, and asks for every row."""
    rows = [line for line in image.splitlines() if not line.startswith("//")]
    rows += ["0" * len(rows[0])] * (depth - len(rows))
    return "\n".join(rows) + "\n"


def _settings(manifest: Mapping[str, Any], part: str, for_board: bool) -> str:
    ports = manifest["ports"]
    memories = [f"src/{memory['image']}" for memory in manifest["memories"]]
    settings = {
        "part": part,
        "top": manifest["name"],
        "images": memories,
        "lite": interfaces(ports, LITE),
        "streams": interfaces(ports, STREAM),
        "optional": [name for name in ("m_axis_monitor_tready",) if name in ports],
        "clock": CLOCK,
        "reset": RESET,
        "ip": f"firstspike_{manifest['name']}",
        "families": " ".join(f"{family} Beta" for family in IP_FAMILIES),
        "address_range": max(SMALLEST_RANGE, 1 << ADDRESS_BITS),
        "description": f"TTFS spiking network {manifest['network']['shape']}, {manifest['network']['digest'][:16]}",
        "board": BOARD if for_board else "",
        "board_sources": [f"src/{name}.v" for name in (BOARD, f"{LINKED}{manifest['name']}")] if for_board else [],
    }
    for name in (settings["clock"], settings["reset"]):
        if name not in ports:
            raise RuntimeError(f"the core has no port {name}")
    return "".join(f"set {name} {_tcl(value)}\n" for name, value in settings.items())


def _tcl(value: Any) -> str:
    """A value as one word of Tcl."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if re.search(r"[{}\\]", text):
        raise ValueError(f"{text!r} does not go between braces")
    return "{" + text + "}"


def _core_constraints(megahertz: float) -> str:
    return (
        "# The clock of the core by itself; where it is part of a design, that design's own clock counts.\n"
        f"create_clock -name aclk -period {1000 / megahertz:.3f} [get_ports aclk]\n"
    )


HEAD = f"""\
# firstspike {firstspike.__version__}. Generated; never run on Vivado, see docs/vivado.md.
#
#   vivado -mode batch -source {SCRIPT} -tclargs STEP
#
# project    the core's project alone, to open in the GUI
# ip         the core as an IP, in the folder ip
# synth      synthesis of the core by itself, with its utilisation
# impl       the same and place and route, with utilisation and timing
# bitstream  the board's top, where there is one, down to its bitstream

"""

BODY = """
set here [file dirname [file normalize [info script]]]

proc in_folder {files} {
    global here
    set paths {}
    foreach file $files {
        set path [file join $here $file]
        if {![file isfile $path]} {
            error "$path is missing: write the folder again"
        }
        lappend paths $path
    }
    return $paths
}

proc make_project {name top verilog constraints} {
    global here part images
    create_project -force -part $part $name [file join $here work $name]
    add_files -norecurse -fileset sources_1 [in_folder $verilog]
    # $readmemh finds a file by its name where it is a source of this type.
    add_files -norecurse -fileset sources_1 [in_folder $images]
    set_property file_type {Memory File} [get_files -of_objects [get_filesets sources_1] *.mem]
    add_files -norecurse -fileset constrs_1 [in_folder $constraints]
    set_property top $top [get_filesets sources_1]
    update_compile_order -fileset sources_1
}

# By itself the core has more pins than a package: no I/O buffers, and a clock that no other design sees.
proc core_project {} {
    global top
    make_project core $top [list src/$top.v] core.xdc
    set_property USED_IN {synthesis implementation out_of_context} [get_files *core.xdc]
    set_property -name {STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS} -value {-mode out_of_context} -objects [get_runs synth_1]
}

proc run {name args} {
    launch_runs $name {*}$args
    wait_on_run $name
    if {[get_property PROGRESS [get_runs $name]] ne "100%"} {
        error "$name: [get_property STATUS [get_runs $name]]"
    }
}

proc report {run} {
    global here
    set folder [file join $here reports [current_project]]
    file mkdir $folder
    open_run $run
    report_utilization -hierarchical -file [file join $folder ${run}_utilization.rpt]
    if {$run eq "impl_1"} {
        report_timing_summary -file [file join $folder timing.rpt]
        foreach slack {WNS WHS} {
            set value [get_property STATS.$slack [get_runs $run]]
            if {![string is double -strict $value] || $value < 0} {
                error "timing is not met: $slack is '$value' ns, see [file join $folder timing.rpt]"
            }
        }
    }
}

proc step_project {} {
    core_project
}

proc step_ip {} {
    global here clock reset lite streams optional address_range description ip families
    core_project
    ipx::package_project -root_dir [file join $here ip] -vendor firstspike -library core -taxonomy /UserIP \\
        -import_files -force
    set core [ipx::current_core]
    foreach {name value} [list name $ip display_name $ip version 1.0 description $description \\
            supported_families $families] {
        set_property $name $value $core
    }
    # The packager knows the interfaces by the names of their ports; what it did not find must not go unnoticed.
    foreach name [concat $lite $streams $clock $reset] {
        if {[llength [ipx::get_bus_interfaces $name -of_objects $core]] != 1} {
            error "the packager found no interface $name"
        }
    }
    foreach name [concat $lite $streams] {
        ipx::associate_bus_interfaces -busif $name -clock $clock $core
    }
    ipx::associate_bus_interfaces -clock $clock -reset $reset $core
    set interface [ipx::get_bus_interfaces $reset -of_objects $core]
    if {![llength [ipx::get_bus_parameters POLARITY -of_objects $interface]]} {
        ipx::add_bus_parameter POLARITY $interface
    }
    set_property value ACTIVE_LOW [ipx::get_bus_parameters POLARITY -of_objects $interface]
    # A monitor that nothing listens to must not stop the core.
    foreach name $optional {
        set_property driver_value 1 [ipx::get_ports $name -of_objects $core]
    }
    foreach name $lite {
        if {![llength [ipx::get_memory_maps $name -of_objects $core]]} {
            ipx::add_memory_map $name $core
            set_property slave_memory_map_ref $name [ipx::get_bus_interfaces $name -of_objects $core]
        }
        set map [ipx::get_memory_maps $name -of_objects $core]
        if {![llength [ipx::get_address_blocks reg0 -of_objects $map]]} {
            ipx::add_address_block reg0 $map
        }
        set_property range $address_range [ipx::get_address_blocks reg0 -of_objects $map]
    }
    ipx::create_xgui_files $core
    ipx::update_checksums $core
    ipx::check_integrity $core
    ipx::save_core $core
}

proc step_synth {} {
    core_project
    run synth_1
    report synth_1
}

proc step_impl {} {
    step_synth
    run impl_1
    report impl_1
}

proc step_bitstream {} {
    global here board board_sources
    if {$board eq ""} {
        error "there is no board's top: it needs the core with a host link, and the board's own part"
    }
    make_project $board $board $board_sources $board.xdc
    run synth_1
    run impl_1 -to_step write_bitstream
    report impl_1
    file copy -force [file join [get_property DIRECTORY [get_runs impl_1]] $board.bit] $here
}

set steps {project ip synth impl bitstream}
if {[llength $argv] != 1 || [lindex $argv 0] ni $steps} {
    error "give one of: $steps"
}
step_[lindex $argv 0]
"""

BOARD_VERILOG = f"""\
// The core with its host link on the Arty A7-100T; generated, and never run on the board.
module {BOARD} (
    input  wire       clk,  // 100 MHz
    input  wire       rst,  // a button, 1 while pressed
    input  wire       rx,   // from the computer
    output wire       tx,   // to the computer
    output wire [2:0] led   // running, receiving, sending
);
    // The button does not know the clock: two registers side by side, and one that the placer may put near the core.
    // After configuration this is a reset of three clocks, too.
    (* ASYNC_REG = "TRUE" *) reg [1:0] pressed;
    reg reset;
    initial pressed = 2'b11;
    initial reset = 1'b1;
    always @(posedge clk) pressed <= {{{{pressed[0], rst}}}};
    always @(posedge clk) reset <= pressed[1];

    {{linked}} core (.clk(clk), .rst(reset), .rx(rx), .tx(tx));

    assign led = {{{{~tx, ~rx, ~reset}}}};
endmodule
"""

#: Pins and their standard as in Digilent's Arty-A7-100-Master.xdc (https://github.com/Digilent/digilent-xdc).
BOARD_CONSTRAINTS = f"""\
# Arty A7-100T. Pins: Digilent's Arty-A7-100-Master.xdc, whose names are behind each line.
set_property -dict {{PACKAGE_PIN E3  IOSTANDARD LVCMOS33}} [get_ports clk]      ;# CLK100MHZ
set_property -dict {{PACKAGE_PIN D9  IOSTANDARD LVCMOS33}} [get_ports rst]      ;# btn[0]
set_property -dict {{PACKAGE_PIN A9  IOSTANDARD LVCMOS33}} [get_ports rx]       ;# uart_txd_in
set_property -dict {{PACKAGE_PIN D10 IOSTANDARD LVCMOS33}} [get_ports tx]       ;# uart_rxd_out
set_property -dict {{PACKAGE_PIN H5  IOSTANDARD LVCMOS33}} [get_ports {{led[0]}}] ;# led[0]
set_property -dict {{PACKAGE_PIN J5  IOSTANDARD LVCMOS33}} [get_ports {{led[1]}}] ;# led[1]
set_property -dict {{PACKAGE_PIN T9  IOSTANDARD LVCMOS33}} [get_ports {{led[2]}}] ;# led[2]

create_clock -name clk -period {1000 / BOARD_MEGAHERTZ:.3f} [get_ports clk]
# The configuration bank has 3.3 V.
set_property CFGBVS VCCO [current_design]
set_property CONFIG_VOLTAGE 3.3 [current_design]

# Nothing outside knows this clock.
set_false_path -from [get_ports {{rst rx}}]
set_false_path -to [get_ports {{tx led[*]}}]
"""
