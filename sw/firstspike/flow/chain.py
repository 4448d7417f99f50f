"""The stages of the chain. Each reads what the one before left in the workspace and writes one artefact."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firstspike import processes
from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.words import Records
from firstspike.energy.estimate import describe, summary
from firstspike.energy.operations import Counters
from firstspike.errors import FirstspikeError
from firstspike.flow.workspace import Workspace, read_json, write_json
from firstspike.host.link import DEFAULT_BAUD
from firstspike.network import golden
from firstspike.network.model import Network

if TYPE_CHECKING:
    from rich.table import Table

    from firstspike_verify.models.verilated import Run


class MismatchError(Exception):
    """Surrogate, golden model and RTL do not agree: the run failed, by no fault of the input."""


def train(workspace: Workspace, *, resume: bool = False) -> Path:
    """Train the surrogate; leaves checkpoint and history.

    Under ``torchrun`` all processes must call it; the first one writes.

    Raises
    ------
    FirstspikeError
        if data, recipe or folder is wrong, or the loss is not finite.

    """
    from firstspike.training import train as training
    from firstspike.training.distributed import wait_for_all

    with workspace.timed("train"):
        _, history = training.fit(workspace.experiment, workspace.dataset, workspace.training, resume=resume)
        if processes.is_first():
            write_json(workspace.training / "history.json", history)
    wait_for_all()
    return workspace.training


def quantize(workspace: Workspace) -> Path:
    """Freeze the trained surrogate into the integer network, and note what it makes of each test image.

    Under ``torchrun`` all processes must call it; the first one writes.

    Raises
    ------
    FirstspikeError
        if there is no finished training of this experiment.

    """
    from firstspike.training import train as training
    from firstspike.training.distributed import wait_for_all

    history = read_json(workspace.training / "history.json", "run 'firstspike train' first")
    with workspace.timed("quantize"):
        # The checkpoint of the last epoch: no step of training is left to do.
        result = training.train(workspace.experiment, workspace.dataset, workspace.training, resume=True)
        if len(result.history) != len(history):
            raise FirstspikeError("training was not finished", "run 'firstspike train' again")
        if processes.is_first():
            result.network.save(workspace.network)
            write_json(
                workspace.surrogate,
                {"network": result.network.digest, "accuracy": result.accuracy, "classes": result.classes.tolist()},
            )
    wait_for_all()
    return workspace.network


def export(workspace: Workspace) -> Path:
    """Write the images of every memory, in every format.

    Raises
    ------
    FirstspikeError
        if there is no network, or it does not fit the hardware asked for.

    """
    with workspace.timed("export"):
        images.write(workspace.images, workspace.frozen, workspace.hardware)
    return workspace.images


def generate(workspace: Workspace) -> Path:
    """Write Verilog, manifest, and the memory images that the Verilog reads.

    Raises
    ------
    FirstspikeError
        if there is no network, or it does not fit the hardware asked for.

    """
    from firstspike_rtl.top import verilog

    with workspace.timed("generate"):
        verilog.generate(workspace.frozen, workspace.hardware, workspace.rtl)
    return workspace.rtl


def folding_table(workspace: Workspace) -> Table:
    """What each layer of the hardware takes, in clocks and in memory, for the spikes of the workspace's sample.

    Raises
    ------
    FirstspikeError
        if there is no network, or it does not fit the hardware asked for, or there are no training images.

    """
    from firstspike_rtl.clocks import folding

    return folding.table(workspace.hardware, workspace.sample)


def simulate(
    workspace: Workspace,
    *,
    count: int | None = None,
    waves: bool = False,
    stall: float = 0.0,
    seed: int = 0,
    reload: Path | None = None,
    netlist: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Run test images through the Verilated RTL, or its synthesised netlist, and hold them against the golden model.

    Twice: back to back with membranes and all spikes compared, then one at a time for the latency of each.

    Parameters
    ----------
    workspace
        With generated RTL.
    count
        How many test images; default: all.
    waves
        Write a VCD.
    stall, seed
        Chance that a stream pauses in a clock. With stalls, clocks are not compared with the prediction.
    reload
        Folder of another network, loaded into the same RTL at run time; the result goes to a file of its own.
    netlist
        Synthesise the RTL, and run the netlist in its place; the result goes to a file of its own.
    progress
        Called with the name of each step as it begins.

    Raises
    ------
    FirstspikeError
        if a tool is missing, the RTL is of another network, or the network to load does not fit it.

    """
    from firstspike_rtl.clocks import cycles
    from firstspike_rtl.top.verilog import load_manifest
    from firstspike_verify.checks import scoreboard
    from firstspike_verify.models import netlist as synthesis
    from firstspike_verify.models.verilated import VerilatedCore, compile_core

    network = workspace.frozen if reload is None else Network.load(reload)
    pictures = workspace.dataset.test_images[:count]
    if not len(pictures):
        raise FirstspikeError("no images to simulate", "ask for at least one")
    manifest, hardware = load_manifest(workspace.rtl)
    if reload is not None:
        hardware.check(network)
    elif manifest["network"]["digest"] != network.digest:
        raise FirstspikeError(f"{workspace.rtl} was generated for another network", "run 'firstspike generate' again")
    folder, build, suffix = workspace.rtl, workspace.verilated, ""
    if netlist:
        folder, build, suffix = workspace.netlist, workspace.verilated_netlist, "_netlist"
        progress("synthesis")
        with workspace.timed("synthesis"):
            synthesis.write(synthesis.synthesised(workspace.rtl), workspace.rtl, folder)
    progress("compilation")
    with workspace.timed(f"compile{suffix}"):
        compile_core(folder, build)
    progress("simulation")
    core = VerilatedCore(folder, build, waves=workspace.waves if waves else None)
    if reload is not None:
        core.load(network)
    expected = golden.run(network, pictures)
    with workspace.timed(f"simulate{suffix}"), core:
        streamed = core.run(pictures, network, stall=stall, seed=seed)
        counters = core.counters()
        alone = core.run(pictures, network, send_membranes=False, one_at_a_time=True, stall=stall, seed=seed)
    spikes = {"spike_times"} if core.hardware.monitor else set()
    first = scoreboard.compare(expected, streamed.result, seed, parts=set(scoreboard.PARTS) - {"spike_times"} | spikes)
    second = scoreboard.compare(expected, alone.result, seed, parts={"classes", "decision_steps"} | spikes)
    predicted = [cycles.predict(core.hardware, expected, one_at_a_time=single) for single in (False, True)]
    target = _simulation(workspace, reload, netlist)
    write_json(
        target,
        {
            "network": network.digest,
            "verilog": manifest["files"]["top.v"],
            "images": len(pictures),
            "seed": seed,
            "stall": stall,
            "classes": streamed.result.classes.tolist(),
            "mismatches": {
                "spike_times": first.spike_times + second.spike_times if spikes else None,
                "membranes": first.membranes,
                "classes": first.classes + second.classes,
                "decision_steps": first.decision_steps + second.decision_steps,
                "missing": first.missing + second.missing,
                "compared": first.compared + second.compared,
            },
            "counters": counters,
            "first_difference": None if first.ok and second.ok else (second if first.ok else first).describe(),
            "cycles": _cycles(streamed, alone, predicted) | ({"predicted_equal": None} if stall else {}),
        },
    )
    return target


def _simulation(workspace: Workspace, reload: Path | None, netlist: bool) -> Path:
    if netlist:
        return workspace.netlist_simulation if reload is None else workspace.netlist_reloaded
    return workspace.simulation if reload is None else workspace.reloaded


def _cycles(streamed: Run, alone: Run, predicted: list[Any]) -> dict[str, Any]:
    together, single = predicted
    floor, interval = float(together.slowest_floor.mean()), _mean(streamed.intervals)
    return {
        "mean": float(alone.latencies.mean()),
        "max": int(alone.latencies.max()),
        "predicted_mean": float(single.latencies.mean()),
        "interval_mean": interval,
        "interval_predicted_mean": _mean(together.intervals),
        "predicted_equal": bool(
            np.array_equal(single.latencies, alone.latencies)
            and np.array_equal(together.finished - together.started[0], streamed.finished - streamed.started[0])
        ),
        "floor_mean": floor,
        "utilisation": floor / interval if interval else None,
    }


def bitstream(workspace: Workspace, *, device: str, seed: int, progress: Callable[[str], None]) -> Path:
    """Synthesise, place and route the generated core by itself, and pack the bitstream.

    Raises
    ------
    FirstspikeError
        if a tool is missing, or the core does not fit the device.

    """
    from firstspike_rtl.boards import bitstream as flow

    with workspace.timed("bitstream"):
        flow.build(workspace.rtl, workspace.bitstream, device=device, seed=seed, progress=progress)
    return workspace.bitstream


def board(
    workspace: Workspace,
    *,
    name: str,
    lanes_given: bool = False,
    megahertz: float | None = None,
    baud: int | None = None,
    seeds: int = 1,
    reload: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Make the bitstream for a board; what was placed and routed for the same hardware before is used again.

    Parameters
    ----------
    workspace
        With a frozen network.
    name
        Of the board.
    lanes_given
        Whether the user chose the lanes for it; else those of the experiment, as far as the board has room for them.
    megahertz, baud, seeds
        As of :class:`firstspike_rtl.boards.flow.Order`.
    reload
        Folder of another network, put into the design that was routed before, without synthesis: its bitstream is
        called ``reloaded``.
    progress
        Called with the name of each step as it begins.

    Returns
    -------
    The bitstream.

    Raises
    ------
    FirstspikeError
        if a tool is missing, the design does not fit the board or does not reach the clock, or the network to reload
        differs from the hardware of the design.

    """
    from firstspike_rtl.boards import boards
    from firstspike_rtl.boards import flow as board_flow

    folder = workspace.board(name)
    if reload is not None:
        boards.find(name)
        network = Network.load(reload)
        filled = board_flow.fill(folder / board_flow.ROUTED, network, folder / board_flow.RELOADED, progress=progress)
        return folder / str(filled["bitstream"])
    hardware = board_hardware(workspace, name, lanes_given=lanes_given)
    order = board_flow.Order(board=name, hardware=hardware, megahertz=megahertz, baud=baud, seeds=seeds)
    with workspace.timed(f"bitstream {name}"):
        figures = board_flow.build(
            order,
            workspace.frozen,
            folder,
            fewer_lanes=lambda lanes: board_hardware(workspace.folded(lanes=lanes), name, lanes_given=True),
            progress=progress,
        )
    return folder / str(figures["bitstream"])


def board_hardware(workspace: Workspace, name: str, *, lanes_given: bool) -> Hardware:
    """The hardware for a board: without monitor, which has no pins there, and with as many lanes as it has room for.

    Raises
    ------
    FirstspikeError
        if the board is unknown, there is no network, or it does not fit the hardware asked for.

    """
    from firstspike_rtl.boards import boards

    most = boards.find(name).lanes
    wanted = [layer.lanes for layer in workspace.hardware.layers]
    if not lanes_given and max(wanted) > most:
        workspace = workspace.folded(lanes=[min(lanes, most) for lanes in wanted])
    return replace(workspace.hardware, monitor=False)


def vivado(workspace: Workspace, *, part: str, megahertz: float) -> Path:
    """Write the folder for Vivado.

    Raises
    ------
    FirstspikeError
        if the RTL is missing or was changed, or the part or the clock is wrong.

    """
    from firstspike_rtl.boards import vivado as flow

    with workspace.timed("vivado"):
        return flow.write(workspace.rtl, workspace.vivado, part=part, megahertz=megahertz)


def check_simulation(
    workspace: Workspace, experiment_file: Path, reload: Path | None = None, *, netlist: bool = False
) -> None:
    """Fail if the last simulation found a difference.

    Raises
    ------
    MismatchError
        with the first differences, the seed, and the command that repeats them.

    """
    simulation = read_json(_simulation(workspace, reload, netlist), "run 'firstspike simulate' first")
    if simulation["first_difference"] is None and simulation["cycles"]["predicted_equal"] is not False:
        return
    problem = simulation["first_difference"] or "the clocks are not those predicted"
    again = ["firstspike", "simulate", experiment_file, "--out", workspace.folder, "--images", simulation["images"]]
    again += ["--stall", simulation["stall"], "--seed", simulation["seed"], "--waves"]
    again += [] if reload is None else ["--reload", reload]
    again += ["--netlist"] if netlist else []
    raise MismatchError(f"{problem}\nrepeat with: {shlex.join(map(str, again))}")


def infer(
    workspace: Workspace,
    pictures: list[Path],
    *,
    rtl: bool = False,
    port: str | None = None,
    baud: int | None = None,
    board: str | None = None,
    invert: bool = False,
    energy: bool = False,
    progress: Callable[[float], None] = lambda done: None,
) -> list[str]:
    """Classify image files; writes ``inference.json`` and returns a line for each.

    A picture is made grey, and scaled to the size of the data set's images.

    Parameters
    ----------
    workspace
        With a frozen network and, for ``rtl`` and ``port``, generated RTL.
    pictures
        Files of any common format.
    rtl
        By the Verilated RTL instead of the golden model.
    port, baud, board
        By the board at this serial port; the network is loaded unless it is there. The device holds the bitstream that
        was made for ``board``, whose rate is the default; or, without it, the generated core with the host link
        (``docs/link.md``).
    invert
        The pictures are dark on light.
    energy
        One more line: the estimated energy of an image, from the core's counters; for ``rtl`` and ``port``.
    progress
        Called with the fraction of the load that is done.

    Raises
    ------
    FirstspikeError
        if a file is no picture, a stage is missing, the board does not answer or is another, or there are no counters.

    """
    if energy and port is None and not rtl:
        raise FirstspikeError("the golden model has no counters", "estimate energy with --rtl or --port")
    network = workspace.frozen
    bytes_in = np.stack([_picture(path, network, invert) for path in pictures])
    with workspace.timed("infer"):
        result: golden.Result | Records
        counters: dict[str, list[int]] = {}
        if port is not None:
            from firstspike.host import device as host

            hardware, rate = _device(workspace, board)
            hardware.check(network)
            with host.Device.open(port, hardware, baud=baud or rate) as device:
                device.use(network, progress)
                result, counters = device.infer(bytes_in), device.counters()
        elif rtl:
            from firstspike_verify.models.verilated import VerilatedCore

            with VerilatedCore(workspace.rtl, workspace.verilated) as core:
                result, counters, hardware = core.run(bytes_in, network).result, core.counters(), core.hardware
        else:
            result = golden.run(network, bytes_in)
    classes, membranes = result.classes.tolist(), result.membranes.tolist()
    write_json(
        workspace.inference,
        [{"image": str(p), "class": c, "membranes": v} for p, c, v in zip(pictures, classes, membranes, strict=True)],
    )
    lines = [f"{path}: class {chosen}" for path, chosen in zip(pictures, classes, strict=True)]
    return [*lines, f"energy: {describe(summary(hardware, Counters.read(counters)))}"] if energy else lines


def _device(workspace: Workspace, board: str | None) -> tuple[Hardware, int]:
    """Hardware and rate of what is at the serial port."""
    if board is None:
        from firstspike_rtl.top.verilog import load_manifest

        return load_manifest(workspace.rtl)[1], DEFAULT_BAUD
    from firstspike_rtl.boards.flow import FIGURES

    figures = read_json(workspace.board(board) / FIGURES, f"run 'firstspike bitstream --board {board}' first")
    return Hardware.from_json(figures["hardware"]), int(figures["baud"])


def _picture(path: Path, network: Network, invert: bool) -> np.ndarray[Any, Any]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    shape = network.provenance.get("dataset", {}).get("image_shape")
    channels = shape[0] if shape and len(shape) == 3 else 1
    if not shape or len(shape) not in (2, 3) or channels not in (1, 3):
        raise FirstspikeError("the network takes no pictures, grey or of three colours", "use Python: golden.run")
    try:
        with Image.open(path) as picture:
            mode = "L" if channels == 1 else "RGB"
            scaled = picture.convert(mode).resize((shape[-1], shape[-2]), Image.Resampling.BOX)
    except (OSError, UnidentifiedImageError) as error:
        raise FirstspikeError(f"{path} is not a picture: {error}", "give an image file, such as a PNG") from error
    pixels = np.asarray(ImageOps.invert(scaled) if invert else scaled, np.uint8)
    return (pixels if channels == 1 else pixels.transpose(2, 0, 1)).reshape(-1)


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    return float(values.mean()) if len(values) else None
