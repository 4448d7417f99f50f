"""The page ``docs/figures.md``: ``python -m firstspike.comparison.figures_page`` makes it from ``docs/figures.json``.

With ``--record`` the figures of the runs below ``build/`` are put into ``docs/figures.json`` before: of each experiment
in ``examples/`` that has a report there, of ``bench.json``, and of ``seeds/``. Figures of other runs stay as they were
recorded, with their date.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from firstspike import program
from firstspike.artefact import write_file
from firstspike.comparison import measured
from firstspike.comparison.measured import Measurement
from firstspike.console import console, three_digits
from firstspike.documents import read_json
from firstspike.flow import chain, report
from firstspike.flow.workspace import BUILD, Workspace, write_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

DOCS, EXAMPLES = Path("docs"), Path("examples")
#: Clocks an image for which ``docs/experiments.md`` shows the folding of the digits.
TARGET = 100
#: Columns of figures up to which each thing has a row; with more it has a column.
WIDTH = 8

#: Title and introduction of each section, in the order of the page.
SECTIONS = {
    "seeds": (
        "Accuracy over seeds",
        "What a recipe gives depends on its seed, and on the machine: float sums differ between processors and numbers "
        "of threads, so that the same seed trains another network elsewhere. Each recipe was therefore trained with "
        "several seeds. Mean ± standard deviation, and the least and the greatest. All test images.",
    ),
    "runs": (
        "Runs through the RTL",
        "The figures below are of one trained network each, which the digest names. For this network they are exact, "
        "and the same on every machine. Your own training makes another network, with slightly other figures.",
    ),
    "energy": (
        "Estimated energy of an image",
        "Estimated from counted operations and published energies of a 45 nm ASIC: not measured, and not of an FPGA. "
        "[energy.md](energy.md) says how. Low to high estimate.",
    ),
    "bench": (
        "Clocks an image",
        "Each core runs all test images, and each clock is compared with the prediction. Where firing starts after the "
        "window (S = T, as in all of these but those with dynamics), the slowest layer adds in nearly every clock, "
        "unless the input at four pixels a clock is slower.",
    ),
    "netlist": ("The synthesised netlist", "All test images through the netlist after synthesis for ECP5."),
    "boards": (
        "Bitstreams for boards",
        "Placed and routed with seed 1; nothing was run on a real board. Images a second in the core follow from "
        "predicted clocks. [boards.md](boards.md) says how to make them.",
    ),
    "times": (
        "Wall times",
        "Of one machine, which did nothing else meanwhile. Processor time counts the command's own work alone.",
    ),
    "speed": ("Images a second in software", "Of one machine, which did nothing else meanwhile."),
}  # fmt: skip


def markdown(measurements: Sequence[Measurement]) -> str:
    """The whole page."""
    parts = [
        "# Figures",
        "This page is made by `python -m firstspike.comparison.figures_page` from [figures.json](figures.json), which "
        "holds what was measured, when, and with what. `--record` takes in what you have run yourself.\n\n"
        "The comparison of methods and codings has a page of its own: [results.md](results.md).",
    ]
    for section, (title, introduction) in SECTIONS.items():
        chosen = [one for one in measurements if one["section"] == section]
        if chosen:
            parts += [f"## {title}", introduction, _table(chosen), "\n".join(_conditions(chosen)).strip()]
    return "\n\n".join(parts) + "\n"


def _table(chosen: Sequence[Measurement]) -> str:
    names = list(dict.fromkeys(figure["what"] for one in chosen for figure in one["figures"]))
    cells = [["", *names]]
    for one in chosen:
        found = {figure["what"]: shown(figure["value"], figure["unit"]) for figure in one["figures"]}
        cells.append([one["of"], *(found.get(name, "") for name in names)])
    rows = cells if len(names) <= WIDTH else [list(row) for row in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def shown(value: Any, unit: str) -> str:
    """A value of :mod:`firstspike.comparison.measured` as text."""
    after = f" {unit}" if unit else ""
    match value:
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case {"mean": mean, "spread": spread, "each": each}:
            return f"{mean:.2f} ± {spread:.2f}{after} ({min(each):.2f} to {max(each):.2f})"
        case {"low": low, "high": high}:
            return f"{three_digits(low)} to {three_digits(high)}{after}"
        case {"value": count, "of": whole}:
            return f"{count:,} of {whole:,}"
        case [*several]:
            return ", ".join(shown(one, "") for one in several) + after
        case float():
            return f"{value:,.{2 if unit == '%' else 1}f}{after}"
    return f"{value:,}{after}"


def _conditions(chosen: Sequence[Measurement]) -> Iterator[str]:
    """When the figures were measured, and with what: a line for all that share it, and one for each command."""
    for _, group in groupby(chosen, key=lambda one: (one["date"], one["machine"], one["versions"])):
        measurements = list(group)
        first = measurements[0]
        versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
        yield f"Measured {first['date']} on {first['machine']}, with {versions}:\n"
        for one in {one["command"]: one for one in measurements}.values():
            network = f" (network `{one['network'][:16]}…`)" if "network" in one else ""
            yield f"* `{one['command']}`{network}"
        yield ""


def found(build: Path, *, times: bool) -> Iterator[Measurement]:
    """Measurements of what was run below ``build``; with ``times`` also those that are only of this machine."""
    for path in sorted((build / "seeds").glob("*.json")):
        yield from measured.of_seeds(path, read_json(path, "remove it"))
    for experiment in sorted(EXAMPLES.glob("*.toml")):
        workspace = Workspace.open(experiment, build / experiment.stem)
        if not workspace.report.exists():
            continue
        made = read_json(workspace.report, "run 'firstspike report' again")
        printed = _printed(partial(report.show, workspace, made))
        output = [line for line in printed if line.split()[0] != "seconds"]  # those are in another section
        yield from measured.of_report(workspace.report, made, output)
        if experiment.stem == "digits":
            yield _folded(workspace)
        if times:
            yield from measured.of_times(workspace.report, made)
    path = build / "bench.json"
    if path.exists():
        bench = read_json(path, "remove it")
        yield from measured.of_bench(path, bench)
        if times:
            yield from measured.of_speed(path, bench)


def _folded(workspace: Workspace) -> Measurement:
    """What ``docs/experiments.md`` shows of a target: no figures, only what is printed."""
    table = chain.folding_table(workspace.folded(clocks=TARGET))
    name, network = workspace.experiment.name, workspace.frozen.digest
    command = f"firstspike generate examples/{name}.toml --clocks {TARGET}"
    output = _printed(lambda page: page.print(table))
    return measured.measurement("output", name, command, workspace.report, [], network=network, output=output)


def _printed(show: Callable[[Console], None]) -> list[str]:
    """Lines, as a wide terminal shows them."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(console(width=200))
    return [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]


@app.command()
def main(
    record: Annotated[bool, typer.Option("--record", help="take in the runs below the build folder first")] = False,
    times: Annotated[bool, typer.Option("--times", help="their wall times, too: the machine did nothing else")] = False,
    build: Annotated[Path, typer.Option(help="where the runs are")] = BUILD,
    docs: Annotated[Path, typer.Option(help="folder of figures.json and figures.md")] = DOCS,
) -> None:
    """Make docs/figures.md from docs/figures.json."""
    source = docs / "figures.json"
    measurements: list[Measurement] = read_json(source, "run it in the repository's root")
    if record:
        known = {(one["section"], one["of"]): one for one in measurements}
        known |= {(one["section"], one["of"]): one for one in found(build, times=times)}
        measurements = list(known.values())
        write_json(source, measurements)
    write_file(docs / "figures.md", markdown(measurements))
    print(f"figures: {docs / 'figures.md'}")


if __name__ == "__main__":
    program.run(lambda: program.command(app))
