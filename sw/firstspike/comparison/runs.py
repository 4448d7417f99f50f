"""Training and measuring the rows of one seed. What has been measured is found again by its experiment."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firstspike import codings, data, golden, relu_network, train
from firstspike.artefact import write_file
from firstspike.comparison import methods
from firstspike.config import Experiment
from firstspike.kernels import Exponential, Kernel
from firstspike.model import Network
from firstspike.nn import Surrogate
from firstspike.t2fsnn import Converted, convert_as, relu_layers

#: A measured row, as JSON: ``network``, ``accuracy`` {surrogate, golden}, ``spikes`` {input, hidden, per_neuron},
#: ``steps``, ``seconds``; ``kernels`` and ``histogram`` of TTFS networks; of codings ``curve`` (accuracy by time step),
#: ``settled`` (steps and spikes until the accuracy stays), while ``steps`` and ``spikes`` are until 99 % of it.
Measured = dict[str, Any]


class Runs:
    """All rows of one experiment with its seed.

    Parameters
    ----------
    experiment
        The whole method.
    folder
        Where trainings and measurements are kept, one folder each, named by row, seed and a hash of the experiment.

    Raises
    ------
    FirstspikeError
        if data or recipe is wrong.

    """

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self._experiment, self._folder = experiment, folder
        self._seed = experiment.train.seed
        self._dataset = data.load(experiment.data)

    def surrogate(self, row: str) -> Measured:
        """One of SM, SR, TR, TB: trained, frozen, and measured by the golden model."""
        experiment = methods.surrogates(self._experiment)[row]

        def measure(folder: Path) -> Measured:
            model = self._fit(experiment, folder)
            network = model.freeze()
            network.save(folder / "network")
            return self._measure(network) | {"kernels": _curves(model.kernels()[:-1])}

        return self._cached(row, self._described(experiment), measure)

    def relu_family(self) -> dict[str, Measured]:
        """ANN, the codings rate, phase and burst, and T2FSNN with its two additions, all of one ReLU network."""
        experiment = methods.relu(self._experiment)
        rows = {"ANN": self._cached("ANN", self._described(experiment), lambda _: self._measure_relu())}
        for row, coding in methods.codings(self._experiment).items():
            described = self._described(experiment) | {"coding": asdict(coding)}
            rows[row] = self._cached(row, described, lambda _, c=coding: self._measure_coding(c))  # type: ignore[misc]
        for row, conversion in methods.conversions(self._experiment).items():
            measure = lambda _, c=conversion: self._measure_conversion(c)  # noqa: E731
            rows[row] = self._cached(row, self._described(conversion), measure)
        return rows

    def _described(self, experiment: Experiment) -> dict[str, Any]:
        """What a measurement depends on."""
        described = experiment.to_json()
        for key in ("name", "hardware"):
            del described[key]
        return {"experiment": described, "dataset": self._dataset.digest}

    def _cached(self, row: str, described: dict[str, Any], measure: Callable[[Path], Measured]) -> Measured:
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
        folder = self._folder / f"{row.strip('+')}-{self._seed}-{key}"
        path = folder / "measured.json"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            measured = measure(folder) | {"seconds": round(time.monotonic() - started, 1)}
            write_file(path, json.dumps(measured, indent=1).encode())
        found: Measured = json.loads(path.read_text())
        return found

    def _fit(self, experiment: Experiment, folder: Path) -> Surrogate:
        """Train, or go on where an interrupted training of the same experiment stopped."""
        return train.fit(experiment, self._dataset, folder, resume=(folder / train.CHECKPOINT).is_file())[0]

    @cached_property
    def _relu(self) -> Surrogate:
        experiment = methods.relu(self._experiment)
        key = hashlib.sha256(json.dumps(self._described(experiment), sort_keys=True).encode()).hexdigest()[:12]
        return self._fit(experiment, self._folder / f"ANN-{self._seed}-{key}")

    def _measure_relu(self) -> Measured:
        layers = relu_layers(self._relu)
        logits = relu_network.activations(layers, self._dataset.test_images, self._relu.shapes[0])[-1]
        accuracy = float((logits.argmax(axis=1) == self._dataset.test_labels).mean())
        return {"network": self._relu.shape_name, "accuracy": {"surrogate": accuracy, "golden": None}}

    def _convert(self, experiment: Experiment) -> Converted:
        layers, images = relu_layers(self._relu), self._dataset.train_images
        return convert_as(experiment, layers, images, self._relu.shapes[0], {})

    def _measure_conversion(self, experiment: Experiment) -> Measured:
        converted = self._convert(experiment)
        kernels = _curves([converted.input_kernel, *converted.kernels])
        return self._measure(converted.network) | {"kernels": kernels}

    def _measure_coding(self, coding: codings.Coding) -> Measured:
        normalised = self._convert(methods.conversions(self._experiment)["T2FSNN"]).layers
        count = methods.CODING_IMAGES.get(self._experiment.data.set)
        images, labels = self._dataset.test_images[:count], self._dataset.test_labels[:count]
        shapes = self._relu.shapes
        result = codings.simulate(normalised, images, labels, input_shape=shapes[0], coding=coding)
        steps = result.steps_to()
        neurons = sum(math.prod(shape) for shape in shapes[:-1])
        return {
            "network": self._relu.shape_name,
            "accuracy": {"surrogate": float(result.accuracy[-1]), "golden": None},
            "spikes": {
                "input": float(result.input_spikes[steps - 1]),
                "hidden": float(result.hidden_spikes[steps - 1]),
                "per_neuron": result.spikes(steps) / neurons,
            },
            "images": len(images),
            "steps": steps,
            "settled": {"steps": result.settled(), "spikes": result.spikes(result.settled())},
            "curve": [round(float(x), 6) for x in result.accuracy],
        }

    def _measure(self, network: Network) -> Measured:
        """Accuracy by torch's integer arithmetic and by the golden model, and what the latter sends."""
        images, labels = self._dataset.test_images, self._dataset.test_labels
        classes = train.classify(network, images)
        result = golden.run(network, images)
        counts = result.spikes(network).mean(axis=0)
        histogram = [
            [float((times == k).sum() / len(images)) for k in range(population.codes)]
            for times, population in zip(result.spike_times, network.populations, strict=False)
        ]
        return {
            "network": network.shape_name,
            "digest": network.digest,
            "accuracy": {
                "surrogate": float((classes == labels).mean()),
                "golden": float((result.classes == labels).mean()),
            },
            "mismatches": int((classes != result.classes).sum()),
            "spikes": {
                "input": float(counts[0]),
                "hidden": float(counts[1:].sum()),
                "per_neuron": float(counts.sum() / sum(network.sizes[:-1])),
            },
            "synaptic_operations": float(np.mean(result.synaptic_operations(network))),
            "steps": network.latency_steps,
            "histogram": histogram,
        }


def _curves(kernels: list[Kernel]) -> list[list[float]]:
    """(tau, t_d) of each exponential kernel, input first."""
    return [[kernel.tau, kernel.delay] for kernel in kernels if isinstance(kernel, Exponential)]
