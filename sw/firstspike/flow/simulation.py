"""The stage that holds the Verilated RTL, or its netlist, against the golden model."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firstspike.contract.hardware import Hardware
from firstspike.documents import Form, read_json
from firstspike.errors import FirstspikeError
from firstspike.flow.workspace import Workspace, write_json
from firstspike.network import golden
from firstspike.network.model import Network

if TYPE_CHECKING:
    from firstspike_verify.models.verilated import Run


#: Below that many clocks a fast model costs more to compile than it saves.
MANY_CLOCKS = 1_000_000

#: What :func:`simulate` leaves; a None was not observed.
FORM: Form = {
    "network": str, "verilog": str, "images": int, "seed": float, "stall": float, "classes": [int],
    "mismatches": {**dict.fromkeys(("spike_times", "membranes", "classes"), (int, None)), str: (int, None)},
    "counters": {str: [int]}, "counters_from": str, "first_difference": (str, None),
    "cycles": {
        **dict.fromkeys(("mean", "max", "predicted_mean", "floor_mean"), float),
        **dict.fromkeys(("interval_mean", "interval_predicted_mean", "utilisation"), (float, None)),
        "predicted_equal": (bool, None),
    },
}  # fmt: skip


class MismatchError(Exception):
    """Surrogate, golden model and RTL do not agree: the run failed, by no fault of the input."""


def check_tools() -> None:
    """Refuse what could not be simulated later.

    Raises
    ------
    FirstspikeError
        naming the first program that is missing.

    """
    from firstspike_verify.models import toolchain

    toolchain.environment()


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
    note: Callable[[str], None] = lambda text: None,
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
    note
        Called with a sentence if there are fewer images than asked for.

    Raises
    ------
    FirstspikeError
        if a tool is missing, the RTL is of another network, or the network to load does not fit it.

    """
    from firstspike_rtl.clocks import cycles
    from firstspike_rtl.top.verilog import load_manifest, verilog_digest
    from firstspike_verify.checks import scoreboard
    from firstspike_verify.models import netlist as synthesis
    from firstspike_verify.models.compilation import compile_core
    from firstspike_verify.models.verilated import VerilatedCore

    network = workspace.frozen if reload is None else Network.load(reload)
    pictures = workspace.dataset.test_images[:count]
    if not len(pictures):
        raise FirstspikeError("no images to simulate", "ask for at least one")
    if count is not None and count > len(pictures):
        note(f"there are {len(pictures)} test images, not {count}: all are simulated")
    manifest, hardware = workspace.generated() if reload is None else load_manifest(workspace.rtl)
    hardware.check(network)
    folder, build, suffix = workspace.rtl, workspace.verilated, ""
    if netlist:
        folder, build, suffix = workspace.netlist, workspace.verilated_netlist, "_netlist"
        progress("synthesis")
        with workspace.timed("synthesis"):
            synthesis.write(synthesis.synthesised(workspace.rtl), workspace.rtl, folder)
    expected = golden.run(network, pictures)
    predicted = [cycles.predict(hardware, expected, one_at_a_time=single) for single in (False, True)]
    fast = sum(int(clocks.finished[-1]) for clocks in predicted) > MANY_CLOCKS
    progress("compilation")
    with workspace.timed(f"compile{suffix}"):
        compile_core(folder, build, fast=fast, waves=waves)
    progress("simulation")
    core = VerilatedCore(folder, build, waves=workspace.waves if waves else None, fast=fast)
    if reload is not None:
        core.load(network)
    with workspace.timed(f"simulate{suffix}"), core:
        streamed = core.run(pictures, network, stall=stall, seed=seed)
        counters = core.counters() if core.hardware.counters else golden_counters(core.hardware, expected)
        alone = core.run(pictures, network, send_membranes=False, one_at_a_time=True, stall=stall, seed=seed)
    spikes = set(scoreboard.SPIKES) if core.hardware.monitor else set()
    parts = set(scoreboard.PARTS) - set(scoreboard.SPIKES) | spikes
    first = scoreboard.compare(expected, streamed.result, seed, parts=parts)
    second = scoreboard.compare(expected, alone.result, seed, parts={"classes", "decision_steps"} | spikes)
    target = _simulation(workspace, reload, netlist)
    write_json(
        target,
        {
            "network": network.digest,
            "verilog": verilog_digest(manifest),
            "images": len(pictures),
            "seed": seed,
            "stall": stall,
            "classes": streamed.result.classes.tolist(),
            "mismatches": {
                "spike_times": sum(getattr(x, part) for x in (first, second) for part in spikes) if spikes else None,
                "membranes": first.membranes,
                "classes": first.classes + second.classes,
                "decision_steps": first.decision_steps + second.decision_steps,
                "missing": first.missing + second.missing,
                "compared": first.compared + second.compared,
            },
            "counters": counters,
            "counters_from": "rtl" if core.hardware.counters else "golden",
            "first_difference": None if first.ok and second.ok else (second if first.ok else first).describe(),
            "cycles": _cycles(streamed, alone, predicted) | ({"predicted_equal": None} if stall else {}),
        },
    )
    return target


def golden_counters(hardware: Hardware, result: golden.Result) -> dict[str, list[int]]:
    """What the counters of a core would read after these images back to back, from the golden model's spikes.

    The clocks are those that are predicted from the first word of the first image to the last record.
    """
    from firstspike_rtl.clocks import cycles

    spikes = [int(result.fired(i, layer.input_codes).sum()) for i, layer in enumerate(hardware.layers)]
    return {
        "images": [len(result)],
        "faults": [0],
        "clocks": [int(cycles.predict(hardware, result).finished[-1]) + 1],
        "spikes": spikes,
        "active": cycles.floor(hardware, result).sum(axis=0).tolist(),
    }


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


def check_simulation(
    workspace: Workspace, experiment_file: Path, reload: Path | None = None, *, netlist: bool = False
) -> None:
    """Fail if the last simulation found a difference.

    Raises
    ------
    MismatchError
        with the first differences, the seed, and the command that repeats them.

    """
    simulation = read_json(_simulation(workspace, reload, netlist), "run 'firstspike simulate' first", FORM)
    if simulation["first_difference"] is None and simulation["cycles"]["predicted_equal"] is not False:
        return
    problem = simulation["first_difference"] or "the clocks are not those predicted"
    again = ["firstspike", "simulate", experiment_file, "--out", workspace.folder, "--images", simulation["images"]]
    again += ["--stall", simulation["stall"], "--seed", simulation["seed"], "--waves"]
    again += [] if reload is None else ["--reload", reload]
    again += ["--netlist"] if netlist else []
    raise MismatchError(f"{problem}\nrepeat with: {shlex.join(map(str, again))}")


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    return float(values.mean()) if len(values) else None
