"""The page of early firing: its tables are those of the measurement, and its sentences are true of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from designs import random_network

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.network import golden, kernels
from firstspike_verify.throughput import early_firing

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "digits-early.toml"


def measured() -> list[dict[str, Any]]:
    source: list[dict[str, Any]] = json.loads((ROOT / early_firing.SOURCE).read_text())
    return source


@pytest.mark.smoke
def test_the_tables_are_those_of_the_measurement() -> None:
    head, heading, tables = (ROOT / early_firing.PAGE).read_text().partition(early_firing.HEADING)
    assert head
    assert heading
    assert tables == early_firing.markdown(measured()), "run: python -m firstspike_verify.throughput.early_firing"


@pytest.mark.smoke
def test_the_measurement_is_of_the_example() -> None:
    experiment = Experiment.load(EXAMPLE)
    names = [experiment.name, early_firing.deep(experiment).name]
    assert [one["experiment"] for one in measured()] == names
    for one in measured():
        assert len(set(one["digests"])) == early_firing.SEEDS
        assert one["lanes"][0] == experiment.hardware.lanes[0]
        rows = [(row["readout"], row["fire_start"]) for row in one["rows"]]
        assert rows == [("membrane", 8), *(("first_spike", start) for start in range(8, -1, -1))]
        for row in one["rows"]:
            assert (row["mismatches"], row["predicted_equal"]) == (0, True)
            parts = [sum(layer.values()) for layer in row["layer0"]]
            # Means over all images of a run; the interval leaves out the first.
            assert np.allclose(parts, row["back_to_back"], rtol=0.02)


@pytest.mark.smoke
def test_what_the_page_says_is_so() -> None:
    shallow, deep = ({(row["readout"], row["fire_start"]): row for row in one["rows"]} for one in measured())

    def mean(row: dict[str, Any], what: str) -> float:
        return fmean(row[what])

    for table in (shallow, deep):
        late, whole = table["membrane", 8], table["first_spike", 8]
        early = [table["first_spike", start] for start in range(7, -1, -1)]
        # Steps: fewer with every step that a layer fires earlier; the first spike saves none where S = T.
        assert mean(whole, "decision") > late["latency_steps"] == mean(late, "decision")
        decided = [mean(row, "decision") for row in (whole, *early)]
        assert decided == sorted(decided, reverse=True)
        # The class of complete membranes is that of the first spike, if all spikes are in.
        assert whole["accuracy"] == late["accuracy"]
        # Clocks back to back: never fewer than with S = T, and more the earlier.
        paces = [mean(row, "back_to_back") for row in (whole, *early)]
        assert paces[0] == pytest.approx(mean(late, "back_to_back"), rel=0.01)
        assert min(paces[1:]) > 1.3 * paces[0]
        assert paces[-1] == max(paces)
        waits = [fmean(layer["membranes"] for layer in row["layer0"]) for row in (whole, *early)]
        assert waits == sorted(waits)
        # Accuracy stays as it is until S is small; at the end it falls.
        assert mean(table["first_spike", 4], "accuracy") == pytest.approx(mean(whole, "accuracy"), abs=0.002)
        assert mean(table["first_spike", 0], "accuracy") < mean(whole, "accuracy") - 0.015
        # The first-spike readout costs clocks, and early firing more; at the end of the deep table it costs fewer.
        alone = [mean(row, "alone") for row in (whole, *early)]
        assert mean(late, "alone") < min(alone)
        assert min(alone[1:-1]) > alone[0]
        assert (alone[-1] < alone[0]) is (table is deep)
    # The answer of the example comes after about a third of the steps.
    decided_in = mean(shallow["first_spike", 2], "decision") / shallow["membrane", 8]["latency_steps"]
    assert decided_in == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.smoke
def test_experiments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    experiment = Experiment.load(EXAMPLE)
    by_membrane = replace(experiment, network=replace(experiment.network, readout="membrane"))
    with pytest.raises(FirstspikeError, match="membrane readout"):
        early_firing.trained(by_membrane, tmp_path)
    with pytest.raises(FirstspikeError, match="not as this measurement needs it"):
        early_firing.deep(early_firing.deep(experiment))
    assert early_firing.deep(experiment).network.hidden == (48, 48, 48)


def test_a_row_is_simulated_for_each_network() -> None:
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (6, 12)) * (rng.random((6, 12)) < 0.5)).astype(np.uint8)
    table = kernels.PowerOfTwo(steps=4)
    networks = [
        random_network([12, 9, 5], [table] * 3, steps=4, fire_start=2, first_spike=True, seed=seed) for seed in (1, 2)
    ]
    expected = [golden.run(network, images) for network in networks]
    dataset: Any = SimpleNamespace(test_images=images, test_labels=expected[0].classes)
    found = early_firing.row(networks, dataset, [3, 5])
    assert (found["mismatches"], found["predicted_equal"]) == (0, True)
    assert found["accuracy"] == [1.0, (expected[1].classes == expected[0].classes).mean()]
    assert found["latency_steps"] == 2 * 2 + 4
    assert found["decision"] == [2 * 2 + result.decision_steps.mean() for result in expected]
