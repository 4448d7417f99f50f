"""The rows of the table: what each trains, converts or simulates, all from one experiment.

The experiment's ``[train]`` section is the whole method of Park & Yoon (row TB). The rows before it switch parts off,
so that each of SR, TR, TB adds to the one before it. T2FSNN and the codings rate, phase and burst share one ReLU
network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from firstspike.comparison.codings import Coding
from firstspike.experiment.config import Experiment

ROWS = ("ANN", "rate", "phase", "burst", "T2FSNN", "+GO", "+EF", "SM", "SR", "TR", "TB")

#: No training follows a conversion, so that weights keep two bits more than those that train with their rounding.
CONVERTED_BITS = 8


@dataclass(frozen=True)
class Start:
    """Where T2FSNN starts on a data set, as its authors' scripts have it; fire start of early firing is half of T."""

    tau: float
    steps: int


STARTS = {"mnist": Start(5.0, 20), "digits": Start(5.0, 20), "cifar10": Start(20.0, 80)}

#: Time steps to simulate, by data set. The published rate-coded runs have 200 steps on MNIST and 10,000 on CIFAR-10;
#: so many are out of reach of a CPU, so that the rate row of CIFAR-10 is what 500 steps give.
CODING_STEPS = {
    "mnist": {"rate": 200, "phase": 96, "burst": 96},
    "cifar10": {"rate": 500, "phase": 200, "burst": 200},
}

#: Test images of those runs; where not all, the first ones. A step costs as much as all of a TTFS network.
CODING_IMAGES = {"cifar10": 1000}


def start(experiment: Experiment) -> Start:
    """Where the T2FSNN rows of the experiment's data set start."""
    return STARTS.get(experiment.data.set, STARTS["mnist"])


def relu(experiment: Experiment) -> Experiment:
    """The ReLU network of the experiment, trained without anything that belongs to time or integers."""
    plain = surrogates(experiment)["SM"]
    return replace(plain, train=replace(plain.train, method="relu", kernel_start=None))


def surrogates(experiment: Experiment) -> dict[str, Experiment]:
    """SM, SR, TR, TB: the experiment with parts of the method switched off."""
    rows: dict[str, Experiment] = {"TB": experiment}
    switched: dict[str, Any] = {}
    for row, change in (
        ("TR", {"spike_loss": 0.0, "spike_budget": None, "operation_budget": None}),
        ("SR", {"kernel_regularisation": 0.0}),
        ("SM", {"relaxation": 0.0}),
    ):
        switched |= change
        rows[row] = replace(experiment, train=replace(experiment.train, **switched))
    return {row: rows[row] for row in ROWS if row in rows}


def conversions(experiment: Experiment) -> dict[str, Experiment]:
    """T2FSNN, then with optimised kernels, then with early firing as well."""
    begin = start(experiment)
    kernel = {"kind": "exponential", "tau": begin.tau, "rounding": "ceil"}
    network = replace(
        experiment.network, steps=begin.steps, fire_start=None, input_kernel=kernel, kernel=kernel, readout="membrane"
    )
    base = relu(experiment)
    plain = replace(base, network=network, train=replace(base.train, weight_bits=CONVERTED_BITS))
    optimised = replace(plain, conversion=replace(plain.conversion, optimise_kernels=True))
    early = replace(optimised, network=replace(network, fire_start=begin.steps // 2))
    return {"T2FSNN": plain, "+GO": optimised, "+EF": early}


def codings(experiment: Experiment) -> dict[str, Coding]:
    """Rate, phase and burst coding; pixels are coded like hidden neurons, so that input spikes count in each."""
    steps = CODING_STEPS.get(experiment.data.set, CODING_STEPS["mnist"])
    return {
        "rate": Coding(hidden="rate", input="poisson", steps=steps["rate"]),
        "phase": Coding(hidden="phase", input="phase", steps=steps["phase"]),
        "burst": Coding(hidden="burst", input="burst", steps=steps["burst"]),
    }
