"""The result of a run: ``report.json`` with stable keys, a table for people, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from firstspike import __version__
from firstspike.contract.hardware import Hardware
from firstspike.documents import Form, check, read_json
from firstspike.energy import estimate as energy_estimate
from firstspike.energy.operations import Counters
from firstspike.errors import FirstspikeError
from firstspike.flow import freshness, plots
from firstspike.flow.simulation import FORM
from firstspike.flow.workspace import Workspace, write_json
from firstspike.host import link
from firstspike.network import golden
from firstspike.network.model import Network

FORMAT = 1
#: What is read of a board's figures.
BOARD: Form = {
    "hardware": {}, "resources": {str: {"used": int, "available": int}}, "clock_hz": float, "fmax_mhz": float,
    "seed": int, "baud": float, "seconds": {str: float},
}  # fmt: skip


def write(workspace: Workspace) -> dict[str, Any]:
    """Collect the stages' results; writes ``report.json`` and the pictures, and returns the report.

    Raises
    ------
    FirstspikeError
        if a stage is missing, or its result belongs to another network.

    """
    network, dataset = workspace.frozen, workspace.dataset
    surrogate = read_json(workspace.surrogate, "run 'firstspike quantize' first", {"accuracy": float, "classes": [int]})
    simulation = read_json(workspace.simulation, "run 'firstspike simulate' first", {})
    _, hardware = workspace.generated()  # whatever the experiment says by now
    old = freshness.stale(workspace)
    for path in (workspace.surrogate, workspace.simulation, workspace.images):
        if path in old:
            raise old[path]
    if "counters_from" not in simulation:
        raise FirstspikeError(f"{workspace.simulation} is of an older version", "run 'firstspike simulate' again")
    check(workspace.simulation, simulation, FORM, "run 'firstspike simulate' again")
    labels = dataset.test_labels
    simulated = simulation["images"]
    for path, classes, count, verb in (
        (workspace.surrogate, surrogate["classes"], len(labels), "quantize"),
        (workspace.simulation, simulation["classes"], simulated, "simulate"),
    ):
        if not 1 <= count == len(classes) <= len(labels):
            raise FirstspikeError(
                f"{path} is damaged: it has {len(classes)} classes, not {count}", f"run 'firstspike {verb}' again"
            )
    with workspace.timed("golden"):
        result = golden.run(network, dataset.test_images)
    spikes = result.spikes(network).mean(axis=0)
    estimated = energy_estimate.summary(hardware, Counters.read(simulation["counters"]))
    estimated["counters"] = simulation["counters_from"]
    with workspace.timed("plots"):
        plots.raster(network, result[:1], dataset.test_images[0], int(labels[0]), workspace.raster)
        plots.kernels(network, workspace.kernels)
        plots.energy(network.shape_name, estimated["nanojoules"], workspace.energy)
    report = {
        "format": FORMAT,
        "firstspike": __version__,
        "name": workspace.experiment.name,
        "dataset": dataset.name,
        "network": network.shape_name,
        "digest": network.digest,
        "bits": {
            "weight": network.layers[0].weight_bits,
            "kernel": max(layer.kernel_bits for layer in hardware.layers),
            "membrane": [layer.membrane_bits for layer in hardware.layers],
        },
        "steps": network.steps,
        "fire_start": network.fire_start if network.has_tables else None,
        "readout": network.readout,
        "latency_steps": network.latency_steps,
        "decision": decision(network, result),
        "accuracy": {
            "surrogate": surrogate["accuracy"],
            "golden": float((result.classes == labels).mean()),
            "rtl": float((np.array(simulation["classes"]) == labels[:simulated]).mean()),
        },
        "images": {"test": len(labels), "rtl": simulated},
        "mismatches": simulation["mismatches"]
        | {"surrogate_classes": int((np.array(surrogate["classes"]) != result.classes).sum())},
        "spikes": {
            "input": float(spikes[0]),
            "hidden": [float(x) for x in spikes[1:]],
            "per_neuron": float(spikes.sum() / sum(network.sizes[:-1])),
        },
        "synaptic_operations": float(result.synaptic_operations(network).mean()),
        "cycles": simulation["cycles"],
        "energy_estimate": estimated,
        "hardware": {
            "lanes": [layer.lanes for layer in hardware.layers],
            "fire": [layer.fire for layer in hardware.layers[:-1]],
            "fire_lanes": [layer.fire_lanes for layer in hardware.layers[:-1]],
            "product": [layer.product for layer in hardware.layers],
            "clock_domain": "aclk",
            "input": hardware.input,
            "monitor": hardware.monitor,
            "counters": hardware.counters,
            "memory_bits": {memory.name: memory.depth * memory.row_bits for memory in hardware.memories},
            **_routed(workspace),
        },
        "boards": boards(workspace, result),
        "netlist": netlist(workspace),
        "seconds": workspace.seconds,
    }
    write_json(workspace.report, report)
    return report


def decision(network: Network, result: golden.Result) -> dict[str, Any]:
    """When the class is known, in time steps, means over the images of ``result``.

    ``step_mean``: in the output's window, T where it has no spike, and for the membrane readout. ``latency_mean``: the
    same, counted from the first input step. ``undecided``: images without an output spike, None for the membrane
    readout.
    """
    first_spike = network.readout == "first_spike"
    step = float(result.decision_steps.mean())
    return {
        "step_mean": step,
        "latency_mean": network.latency_steps - network.steps + step,
        "undecided": int((result.decision_steps == network.steps).sum()) if first_spike else None,
    }


def boards(workspace: Workspace, result: golden.Result | None) -> dict[str, dict[str, Any]]:
    """Figures of each board's bitstream that holds the workspace's network, by name of the board.

    ``resources``, ``clock_mhz``, ``fmax_mhz``, ``seed``, ``lanes``, ``seconds``; ``interval``: clocks from one image to
    the next, a mean over the images of ``result``, predicted; ``images_per_s`` that follow, ``at_clock`` and
    ``at_fmax``, and those that the serial port lets through (``over_link``). These two are missing without ``result``,
    or if it has a single image.

    Raises
    ------
    FirstspikeError
        if a file of figures is damaged.

    """
    from firstspike_rtl.boards.flow import FIGURES
    from firstspike_rtl.clocks import cycles

    found = {}
    for path in sorted(workspace.boards.glob(f"*/{FIGURES}")):
        again = f"run 'firstspike bitstream --board {path.parent.name}' again"
        figures = read_json(path, again, {"network": str})
        if figures["network"] != workspace.frozen.digest:
            continue
        check(path, figures, BOARD, again)
        hardware = Hardware.from_json(figures["hardware"])
        hardware.check(workspace.frozen)
        clock = figures["clock_hz"] / 1e6
        found[path.parent.name] = {
            "resources": figures["resources"],
            "clock_mhz": clock,
            "fmax_mhz": figures["fmax_mhz"],
            "seed": figures["seed"],
            "lanes": [layer.lanes for layer in hardware.layers],
            "seconds": figures["seconds"],
        }
        if result is not None and len(result.classes) > 1:
            interval = float(cycles.predict(hardware, result).intervals.mean())
            found[path.parent.name] |= {
                "interval": interval,
                "images_per_s": {
                    "at_clock": 1e6 * clock / interval,
                    "at_fmax": 1e6 * figures["fmax_mhz"] / interval,
                    "over_link": figures["baud"] / link.image_bits(hardware),
                },
            }
    return found


def board_rows(figures: Mapping[str, Any]) -> list[str]:
    """The figures of :func:`boards` for one board, for people."""
    uses = "   ".join(f"{name} {use['used']} of {use['available']}" for name, use in figures["resources"].items())
    seconds = sum(figures["seconds"].values())
    lines = [
        f"{figures['clock_mhz']:g} MHz, up to {figures['fmax_mhz']:g} MHz (seed {figures['seed']})   lanes "
        f"{', '.join(map(str, figures['lanes']))}   {seconds:.0f} s",
        uses,
    ]
    if rate := figures.get("images_per_s"):
        lines.append(
            f"images/s {rate['at_clock']:.0f}, up to {rate['at_fmax']:.0f}   over the serial port "
            f"{rate['over_link']:.0f}"
        )
    return lines


def _routed(workspace: Workspace) -> dict[str, Any]:
    """Resources and fmax, if this core was placed and routed."""
    figures = _fresh(workspace, workspace.bitstream / "figures.json", "bitstream", {}) or {}
    return {name: value for name, value in figures.items() if name != "verilog"}


def _fresh(workspace: Workspace, path: Path, verb: str, form: Form) -> dict[str, Any] | None:
    """What a stage found, if it is of this network and this RTL."""
    if not path.exists() or path in freshness.stale(workspace):
        return None
    return dict(read_json(path, f"run 'firstspike {verb}' again", form))


def netlist(workspace: Workspace) -> dict[str, Any] | None:
    """What the netlist made of the test images, if that of this RTL was simulated."""
    found = _fresh(workspace, workspace.netlist_simulation, "simulate --netlist", FORM)
    if found is None:
        return None
    return {"images": found["images"], "mismatches": found["mismatches"], "cycles": found["cycles"]}


def steps_rows(report: Mapping[str, Any]) -> dict[str, str]:
    """Rows of the summary: time steps, and when the first spike decides."""
    start = "" if report["fire_start"] is None else f"fire start {report['fire_start']}   "
    steps = f"T {report['steps']}   {start}{report['latency_steps']} in all"
    rows = {"steps": f"{steps}   readout {report['readout'].replace('_', ' ')}"}
    if report["readout"] == "first_spike":
        found = report["decision"]
        later = found["latency_mean"] != found["step_mean"]  # than the input's window
        window = f", {found['step_mean']:.2f} of the output's window" if later else ""
        rows["decision"] = (
            f"in step {found['latency_mean']:.2f} on average{window}   {found['undecided']} images without output spike"
        )
    return rows


def show(workspace: Workspace, report: dict[str, Any], console: Console) -> None:
    """Print the summary."""
    cycles, accuracy, mismatches = report["cycles"], report["accuracy"], report["mismatches"]
    simulated = report["images"]["rtl"]
    of_images = "" if simulated == report["images"]["test"] else f" of {simulated} images"
    rows = {
        "accuracy": "   ".join(f"{name} {100 * value:.2f} %" for name, value in accuracy.items()) + of_images,
        **steps_rows(report),
        "images": f"{simulated} of {report['images']['test']} test images through the RTL",
        "mismatches": "   ".join(
            f"{name.replace('_', ' ')} {'not observed' if mismatches[name] is None else mismatches[name]}"
            for name in ("spike_times", "membranes", "classes", "surrogate_classes")
        ),
        "spikes": f"input {report['spikes']['input']:.1f}   hidden "
        + ", ".join(f"{x:.1f}" for x in report["spikes"]["hidden"])
        + f" an image   {report['spikes']['per_neuron']:.3f} a neuron   "
        f"{report['synaptic_operations']:.0f} synaptic operations",
        "clocks": f"{cycles['mean']:.1f} an image alone (predicted {cycles['predicted_mean']:.1f})",
        "energy": energy_estimate.describe(report["energy_estimate"]),
        "bits": f"weight {report['bits']['weight']}   kernel {report['bits']['kernel']}   "
        f"membrane {', '.join(map(str, report['bits']['membrane']))}   lanes "
        + ", ".join(map(str, report["hardware"]["lanes"])),
        "seconds": "   ".join(f"{stage} {seconds:.1f}" for stage, seconds in report["seconds"].items()),
    }
    if report["netlist"] is not None:
        wrong = sum(n for what, n in report["netlist"]["mismatches"].items() if n and what != "compared")
        rows["netlist"] = (
            f"{report['netlist']['images']} test images through the synthesised netlist: {wrong} mismatches"
        )
    if cycles["interval_mean"] is not None:
        rows["clocks"] += (
            f"   {cycles['interval_mean']:.1f} back to back (predicted {cycles['interval_predicted_mean']:.1f}, "
            f"floor {cycles['floor_mean']:.1f}, {100 * cycles['utilisation']:.0f} %)"
        )
    rows |= {board: "\n".join(board_rows(figures)) for board, figures in report["boards"].items()}
    paths = [workspace.network, workspace.images, workspace.rtl, workspace.raster, workspace.kernels, workspace.energy]
    rows["files"] = "\n".join(str(path) for path in (*paths, workspace.report) if path.exists())
    width = max(map(len, rows))
    # No table, which would break long lines where no terminal is, and paths everywhere.
    console.print(Text(f"{report['name']}: {report['dataset']}, {report['network']}", "bold"))
    for name, value in rows.items():
        for number, line in enumerate(value.splitlines()):
            console.print(Text.assemble((f" {'' if number else name:<{width}}", "bold"), f"  {line}"), soft_wrap=True)
