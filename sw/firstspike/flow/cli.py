"""The command line: one verb a stage, and ``run`` for the whole chain."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from firstspike import __version__, processes, program
from firstspike.artefact import locked
from firstspike.console import console, status
from firstspike.documents import read_json
from firstspike.errors import FirstspikeError
from firstspike.flow import chain, freshness, inference, routing, simulation
from firstspike.flow.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Deep spiking networks with time-to-first-spike coding, from PyTorch to an FPGA, bit-exactly.",
)


def _path(text: str) -> Path:
    """A path of the command line; empty it would be the current folder."""
    if not text:
        raise typer.BadParameter("it is empty; give a path")
    return Path(text)


ExperimentFile = Annotated[
    Path, typer.Argument(parser=_path, metavar="EXPERIMENT", help="TOML file, such as examples/digits.toml")
]
Out = Annotated[
    Path | None, typer.Option(parser=_path, metavar="PATH", help="Folder for the artefacts (default: build/<name>)")
]
Lanes = Annotated[str | None, typer.Option(metavar="N[,N...]", help="Lanes of all layers, or of each")]
Clocks = Annotated[int | None, typer.Option(min=1, help="Choose the lanes for so many clocks an image")]
Blocks = Annotated[int | None, typer.Option(min=0, help="Choose the lanes for so many memory blocks")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint")]
Count = Annotated[int | None, typer.Option("--images", min=1, help="How many test images (default: all)")]
Waves = Annotated[bool, typer.Option("--waves", help="Write a VCD of the simulation")]
Stall = Annotated[float, typer.Option(min=0, max=0.9, help="Chance that a stream pauses in a clock")]
Seed = Annotated[int, typer.Option(help="Seed of the pauses")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"firstspike {__version__}")
        raise typer.Exit


#: What a command holds until it ends.
_held = contextlib.ExitStack()


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    context.with_resource(_held)


def _opened(experiment: Path, out: Path | None) -> Workspace:
    """The workspace, for this process alone until the command ends."""
    workspace = Workspace.open(experiment, out)
    if processes.is_first():
        _held.enter_context(locked(workspace.folder))
        workspace.check_place()
    return workspace


def _stage(stage: Callable[..., Path], workspace: Workspace, **settings: Any) -> None:
    path = stage(workspace, **settings)
    if processes.is_first():
        print(f"{stage.__name__}: {path}")


@app.command(epilog="Example: firstspike train examples/digits.toml")
def train(experiment: ExperimentFile, out: Out = None, resume: Resume = False) -> None:
    """Train the TTFS surrogate; writes train/ (checkpoint and history)."""
    _stage(chain.train, _opened(experiment, out), resume=resume)


@app.command(epilog="Example: firstspike quantize examples/digits.toml")
def quantize(experiment: ExperimentFile, out: Out = None) -> None:
    """Freeze the trained surrogate into the integer network; writes network/."""
    _stage(chain.quantize, _opened(experiment, out))


@app.command(epilog="Example: firstspike export examples/digits.toml")
def export(
    experiment: ExperimentFile, out: Out = None, lanes: Lanes = None, clocks: Clocks = None, blocks: Blocks = None
) -> None:
    """Write FPGA memory images (.mem .coe .mif .hex, and one .bin to load at run time); writes images/."""
    _stage(chain.export, _folded(_opened(experiment, out), lanes, clocks, blocks))


@app.command(epilog="Example: firstspike generate examples/digits.toml --clocks 100")
def generate(
    experiment: ExperimentFile,
    out: Out = None,
    lanes: Lanes = None,
    clocks: Clocks = None,
    blocks: Blocks = None,
    name: Annotated[str | None, typer.Option(help="Of the top module and its files (default: top)")] = None,
) -> None:
    """Generate the Verilog and its manifest, and show what each layer takes; writes rtl/."""
    _generate(_folded(_opened(experiment, out), lanes, clocks, blocks), name)


@app.command(epilog="Example: firstspike simulate examples/digits.toml --images 20 --waves")
def simulate(
    experiment: ExperimentFile,
    out: Out = None,
    count: Count = None,
    waves: Waves = False,
    stall: Stall = 0.0,
    seed: Seed = 0,
    reload: Annotated[
        Path | None,
        typer.Option(parser=_path, metavar="PATH", help="Network folder to load into the same RTL at run time"),
    ] = None,
    netlist: Annotated[
        bool, typer.Option("--netlist", help="Synthesise the RTL for ECP5 and run the netlist in its place")
    ] = False,
) -> None:
    """Run the test images through the Verilated RTL against the golden model; writes simulation.json."""
    workspace = _opened(experiment, out)
    with status("simulate") as progress:
        _stage(
            simulation.simulate, workspace, count=count, waves=waves, stall=stall, seed=seed, reload=reload,
            netlist=netlist, progress=progress, note=_note,
        )  # fmt: skip
    if waves:
        print(f"waves: {workspace.waves}")
    simulation.check_simulation(workspace, experiment, reload, netlist=netlist)
    print(f"{'netlist' if netlist else 'RTL'} and golden model agree")


@app.command(epilog="Example: firstspike bitstream examples/digits.toml --board ulx3s-85f")
def bitstream(
    experiment: ExperimentFile,
    out: Out = None,
    board: Annotated[
        str | None, typer.Option(help="For a board: ulx3s-25f, ulx3s-85f, icebreaker or tang-nano-9k")
    ] = None,
    clock: Annotated[float | None, typer.Option(min=0.001, help="MHz, at most, of the board's core")] = None,
    baud: Annotated[int | None, typer.Option(min=1, help="Bits a second on the board's serial port")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Placements to try for a board; the fastest is kept (default: 1)")
    ] = None,
    lanes: Lanes = None,
    clocks: Clocks = None,
    blocks: Blocks = None,
    reload: Annotated[
        Path | None,
        typer.Option(
            parser=_path, metavar="PATH", help="Network folder to put into the board's design without synthesis"
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of the core alone: ecp5-25k, ecp5-45k or ecp5-85k (default: ecp5-85k)")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of placement of the core alone (default: 1)")] = None,
) -> None:
    """Place and route with open tools: for a board, or the core alone, whose pins are then the router's choice.

    EXPERIMENT may also be the folder of a network, such as build/digits. Writes boards/<board>/ or bitstream/.
    """
    order: dict[str, Any] = {"clock": clock, "baud": baud, "seeds": seeds}
    order |= {"lanes": lanes, "clocks": clocks, "blocks": blocks}
    if board is None:
        _refuse("without a board", "give --board, too", **order, reload=reload)
    else:
        _refuse("with a board", "leave out one of them", device=device, seed=seed)
    if reload is not None:
        _refuse("with --reload, which puts a network into the design as it is", "leave out one of them", **order)
    workspace = _opened(experiment, out)
    if board is None:
        _core_bitstream(workspace, device or "ecp5-85k", 1 if seed is None else seed)
        return
    folded = _folded(workspace, lanes, clocks, blocks)
    with status("bitstream") as progress:
        path = routing.board(
            folded, name=board, lanes_given=folded is not workspace, megahertz=clock, baud=baud, seeds=seeds or 1,
            reload=reload, progress=progress,
        )  # fmt: skip
    print(f"bitstream: {path}")
    if reload is None:
        from firstspike.flow import report as reporting
        from firstspike.network import golden

        try:
            result = golden.run(workspace.frozen, workspace.dataset.test_images)
        except FirstspikeError:  # the images may be elsewhere; the bitstream is there
            result = None
        for line in reporting.board_rows(reporting.boards(workspace, result)[board]):
            print(line)


def _refuse(why: str, remedy: str, **options: object) -> None:
    """Refuse the first option that is given, for it would play no part."""
    for name, value in options.items():
        if value is not None:
            raise FirstspikeError(f"--{name} is given {why}", remedy)


def _core_bitstream(workspace: Workspace, device: str, seed: int) -> None:
    with status("bitstream") as progress:
        _stage(routing.bitstream, workspace, device=device, seed=seed, progress=progress)
    figures = read_json(workspace.bitstream / "figures.json", "run 'firstspike bitstream' again")
    cells = "   ".join(f"{kind} {use['used']} of {use['available']}" for kind, use in figures["resources"].items())
    print(f"{figures['device']}: {figures['fmax_mhz']} MHz   {cells}")


@app.command(epilog="Example: firstspike vivado examples/digits.toml --part xc7z020clg400-1")
def vivado(
    experiment: ExperimentFile,
    out: Out = None,
    part: Annotated[str, typer.Option(help="Device, as Vivado names it")] = "xc7a100tcsg324-1",
    megahertz: Annotated[float, typer.Option(help="Clock that the core by itself is built for")] = 100.0,
) -> None:
    """Write sources, constraints and a Tcl script for Vivado (not run on Vivado by us); writes vivado/."""
    _stage(routing.vivado, _opened(experiment, out), part=part, megahertz=megahertz)


@app.command(epilog="Example: firstspike report examples/digits.toml")
def report(experiment: ExperimentFile, out: Out = None) -> None:
    """Sum up the stages; writes report.json, raster.png, kernels.png and energy.png."""
    _report(_opened(experiment, out))


@app.command(epilog="Example: firstspike run examples/digits.toml")
def run(
    experiment: ExperimentFile,
    out: Out = None,
    resume: Resume = False,
    lanes: Lanes = None,
    clocks: Clocks = None,
    blocks: Blocks = None,
    count: Count = None,
    waves: Waves = False,
    stall: Stall = 0.0,
    seed: Seed = 0,
) -> None:
    """The whole chain: train, quantize, export, generate, simulate, report."""
    workspace = _folded(_opened(experiment, out), lanes, clocks, blocks)
    simulation.check_tools()
    _stage(chain.train, workspace, resume=resume, hardware=True)
    _stage(chain.quantize, workspace)
    if not processes.is_first():
        return  # torchrun starts several to train; the rest is for one
    _stage(chain.export, workspace)
    _generate(workspace)
    _stage(simulation.simulate, workspace, count=count, waves=waves, stall=stall, seed=seed, note=_note)
    if waves:
        print(f"waves: {workspace.waves}")
    print()
    _report(workspace)
    simulation.check_simulation(workspace, experiment)


@app.command(epilog="Example: firstspike infer examples/digits.toml seven.png --port /dev/ttyUSB0")
def infer(
    experiment: ExperimentFile,
    pictures: Annotated[
        list[Path], typer.Argument(parser=_path, metavar="IMAGE...", help="Image files, light on dark")
    ],
    out: Out = None,
    rtl: Annotated[bool, typer.Option("--rtl", help="By the Verilated RTL instead of the golden model")] = False,
    port: Annotated[str | None, typer.Option(help="By the board at this serial port")] = None,
    board: Annotated[str | None, typer.Option(help="Which one, if its bitstream was made with --board")] = None,
    baud: Annotated[int | None, typer.Option(min=1, help="Bits a second of that port (default: the board's)")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="The images are dark on light")] = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Estimate the energy of an image from the core's counters")
    ] = False,
) -> None:
    """Classify image files; prints a line each, and writes inference.json."""
    if rtl and port is not None:
        raise FirstspikeError("--rtl and --port are both given", "give one of them")
    if port is None:
        _refuse("without a port", "give --port, too", board=board, baud=baud)
    workspace = _opened(experiment, out)
    with status("infer") as progress:
        lines = inference.infer(
            workspace, pictures, rtl=rtl, port=port, baud=baud, board=board, invert=invert, energy=energy,
            progress=lambda done: progress(f"load {done:.0%}"), note=_note,
        )  # fmt: skip
    for line in lines:
        print(line)


def _note(text: str) -> None:
    """Say what is doubtful, in one line."""
    print(f"note: {FirstspikeError(text).one_line()}", file=sys.stderr)


def _folded(workspace: Workspace, lanes: str | None, clocks: int | None, blocks: int | None) -> Workspace:
    if lanes is not None and not re.fullmatch(r"-?[0-9]+(,-?[0-9]+)*", lanes):
        raise FirstspikeError(f"--lanes is {lanes!r}", "give a number, or one a layer such as 16,10")
    numbers = None if lanes is None else [int(part) for part in lanes.split(",")]
    return workspace.folded(
        lanes=numbers[0] if numbers and len(numbers) == 1 else numbers, clocks=clocks, blocks=blocks
    )


def _generate(workspace: Workspace, name: str | None = None) -> None:
    _stage(chain.generate, workspace, name=name)
    if workspace.images in freshness.stale(workspace):
        _stage(chain.export, workspace)
    console().print(chain.folding_table(workspace))


def _report(workspace: Workspace) -> None:
    from firstspike.flow import report as reporting

    outcome = reporting.write(workspace)
    for problem in freshness.stale(workspace).values():
        _note(problem.one_line())
    reporting.show(workspace, outcome, console())


def _app() -> None:
    try:
        program.command(app)
    except simulation.MismatchError as error:
        if processes.is_first():
            print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Entry point: see :func:`firstspike.program.run`; exit status 1 if golden model and RTL differ."""
    program.run(_app)


if __name__ == "__main__":
    main()
