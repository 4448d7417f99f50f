"""The table: means over seeds, energies relative to rate coding, as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from firstspike.comparison.methods import ROWS
from firstspike.comparison.normalised_energy import SPINNAKER, TRUENORTH, Chip, normalised_energy
from firstspike.comparison.runs import Measured

#: One line of the table, as JSON; ``spread`` holds standard deviations over the seeds (0 for one seed).
Row = dict[str, Any]


def rows(dataset: str, measured: Mapping[int, Mapping[str, Measured]]) -> list[Row]:
    """Lines of the table, in the order of :data:`firstspike.comparison.methods.ROWS`.

    Parameters
    ----------
    dataset
        Name of the data set.
    measured
        For each seed the measured rows.

    """
    made = [
        _row(name, dataset, sorted(measured), [measured[seed][name] for seed in sorted(measured)])
        for name in ROWS
        if all(name in of_seed for of_seed in measured.values())
    ]
    rate = next((row for row in made if row["row"] == "rate"), None)
    for row in made:
        row["energy"] = _energies(row, rate)
        row["settled"]["energy"] = _energies(row["settled"], rate and rate["settled"])
    return made


def _row(name: str, dataset: str, seeds: Sequence[int], of_seeds: Sequence[Measured]) -> Row:
    def mean(*path: str) -> tuple[float | None, float]:
        values = [_at(measured, path) for measured in of_seeds]
        if any(value is None for value in values):
            return None, 0.0
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    surrogate, surrogate_spread = mean("accuracy", "surrogate")
    golden, golden_spread = mean("accuracy", "golden")
    totals = [m["spikes"]["input"] + m["spikes"]["hidden"] if "spikes" in m else None for m in of_seeds]
    known = [total for total in totals if total is not None]
    total = statistics.fmean(known) if known else None

    def settled(key: str, otherwise: float | None) -> float | None:
        """A TTFS network has its answer at the end of its last window: there is nothing to settle."""
        return mean("settled", key)[0] if "settled" in of_seeds[0] else otherwise

    return {
        "row": name,
        "dataset": dataset,
        "network": of_seeds[0]["network"],
        "seeds": list(seeds),
        "accuracy": {"surrogate": surrogate, "golden": golden},
        "spikes": total,
        "hidden_spikes": mean("spikes", "hidden")[0],
        "spikes_per_neuron": mean("spikes", "per_neuron")[0],
        "steps": mean("steps")[0],
        "settled": {"steps": settled("steps", mean("steps")[0]), "spikes": settled("spikes", total)},
        "seconds": mean("seconds")[0],
        "spread": {
            "surrogate": surrogate_spread,
            "golden": golden_spread,
            "spikes": statistics.stdev(known) if len(known) > 1 else 0.0,
        },
        "mismatches": sum(measured.get("mismatches", 0) for measured in of_seeds),
    }


def _at(measured: Measured, path: Iterable[str]) -> Any:
    value: Any = measured
    for key in path:
        value = None if value is None else value.get(key)
    return value


def _energies(row: Row, rate: Row | None) -> dict[str, float | None]:
    return {"truenorth": _energy(TRUENORTH, row, rate), "spinnaker": _energy(SPINNAKER, row, rate)}


def _energy(chip: Chip, row: Row, rate: Row | None) -> float | None:
    if rate is None or row["spikes"] is None:
        return None
    return normalised_energy(
        chip, spikes=row["spikes"], steps=row["steps"], rate_spikes=rate["spikes"], rate_steps=rate["steps"]
    )


def markdown(lines: Sequence[Row]) -> str:
    """The lines as a Markdown table; accuracies in percent with the spread over seeds, spikes of an image."""
    head = (
        "| row | accuracy, surrogate | accuracy, golden | spikes | hidden | a neuron | steps | energy "
        "| settled: spikes | steps | energy | seconds |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(_cells(line))} |\n" for line in lines)


def _cells(line: Row) -> list[str]:
    accuracy, spread, several = line["accuracy"], line["spread"], len(line["seeds"]) > 1
    spikes = "-" if line["spikes"] is None else f"{line['spikes']:,.0f}"
    return [
        line["row"],
        _percent(accuracy["surrogate"], spread["surrogate"] if several else None),
        _percent(accuracy["golden"], spread["golden"] if several else None),
        f"{spikes} ± {spread['spikes']:,.0f}" if several and line["spikes"] is not None else spikes,
        _number(line["hidden_spikes"], ",.0f"),
        _number(line["spikes_per_neuron"], ".3f"),
        _number(line["steps"], ".0f"),
        _both(line["energy"]),
        _number(line["settled"]["spikes"], ",.0f"),
        _number(line["settled"]["steps"], ".0f"),
        _both(line["settled"]["energy"]),
        _number(line["seconds"], ",.0f"),
    ]


def _percent(value: float | None, spread: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f} %"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _both(energy: Mapping[str, float | None]) -> str:
    return ", ".join(_number(energy[chip], ".3f") for chip in ("truenorth", "spinnaker"))
