"""Training and measuring the rows of one seed. What has been measured is found again by its experiment."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from firstspike.comparison import codings, methods
from firstspike.conversion import relu_network
from firstspike.conversion.ann import FloatLayer
from firstspike.conversion.normalise import layer_maxima, normalised
from firstspike.conversion.t2fsnn import convert_as
from firstspike.documents import read_json
from firstspike.experiment import data
from firstspike.experiment.config import Experiment
from firstspike.flow.workspace import write_json
from firstspike.network import golden
from firstspike.network.kernels import Exponential, Kernel
from firstspike.network.model import Network
from firstspike.training import train
from firstspike.training.surrogate import Surrogate

#: A measured row, as JSON: ``network``, ``accuracy`` {surrogate, golden}, ``spikes`` {input, hidden, per_neuron},
#: ``steps``, ``seconds``; ``kernels`` and ``histogram`` of TTFS networks; of codings ``curve`` (accuracy by time step),
#: ``settled`` (steps and spikes until the accuracy stays), while ``steps`` and ``spikes`` are until 99 % of it.
Measured = dict[str, Any]

#: Names in a folder of experiments, by which :func:`firstspike.artefact.check_place` knows it.
SIGNS = ("*/*-*/last.ckpt", "*/*-*/measured.json")


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
        folder = self._place(row, experiment)
        return self._cached(folder, partial(self._measure_surrogate, experiment, folder))

    def relu_family(self) -> dict[str, Measured]:
        """ANN, the codings rate, phase and burst, and T2FSNN with its two additions, all of one ReLU network."""
        experiment = methods.relu(self._experiment)
        rows = {"ANN": self._cached(self._place("ANN", experiment), self._measure_relu)}
        for row, coding in methods.codings(self._experiment).items():
            folder = self._place(row, experiment, coding=asdict(coding))
            rows[row] = self._cached(folder, partial(self._measure_coding, coding))
        for row, conversion in methods.conversions(self._experiment).items():
            folder = self._place(row, conversion)
            rows[row] = self._cached(folder, partial(self._measure_conversion, conversion))
        return rows

    def _place(self, row: str, experiment: Experiment, **more: Any) -> Path:
        """The folder of a row, named by all that its measurement depends on."""
        described = experiment.to_json()
        for key in ("name", "hardware"):
            del described[key]
        whole = {"experiment": described, "dataset": self._dataset.digest, **more}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]
        return self._folder / f"{row.strip('+')}-{self._seed}-{key}"

    def _cached(self, folder: Path, measure: Callable[[], Measured]) -> Measured:
        path = folder / "measured.json"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            measured = measure() | {"seconds": round(time.monotonic() - started, 1)}
            write_json(path, measured)
        found: Measured = read_json(path, "remove it")
        return found

    def _fit(self, experiment: Experiment, folder: Path) -> Surrogate:
        """Train, or go on where an interrupted training of the same experiment stopped."""
        model, _ = train.fit(experiment, self._dataset, folder, resume=(folder / train.CHECKPOINT).is_file())
        assert isinstance(model, Surrogate)
        return model

    def _measure_surrogate(self, experiment: Experiment, folder: Path) -> Measured:
        model = self._fit(experiment, folder)
        network = model.freeze()
        network.save(folder / "network")
        return self._measure(network) | {"kernels": _curves(model.kernels()[:-1])}

    @cached_property
    def _relu(self) -> Surrogate:
        experiment = methods.relu(self._experiment)
        return self._fit(experiment, self._place("ANN", experiment))

    @cached_property
    def _normalised(self) -> list[FloatLayer]:
        """The ReLU network's layers for the codings; conversions normalise their own, as their experiments say."""
        layers, images = self._relu.relu_layers(), self._dataset.train_images
        recipe = methods.relu(self._experiment).conversion
        return normalised(layers, layer_maxima(layers, images, self._relu.shapes[0], percentile=recipe.percentile))

    def _measure_relu(self) -> Measured:
        layers = self._relu.relu_layers()
        logits = relu_network.activations(layers, self._dataset.test_images, self._relu.shapes[0])[-1]
        accuracy = float((logits.argmax(axis=1) == self._dataset.test_labels).mean())
        return {"network": self._relu.shape_name, "accuracy": {"surrogate": accuracy, "golden": None}}

    def _measure_conversion(self, experiment: Experiment) -> Measured:
        layers, images = self._relu.relu_layers(), self._dataset.train_images
        converted = convert_as(experiment, layers, images, self._relu.shapes[0], {})
        kernels = _curves([converted.input_kernel, *converted.kernels])
        return self._measure(converted.network) | {"kernels": kernels}

    def _measure_coding(self, coding: codings.Coding) -> Measured:
        count = methods.CODING_IMAGES.get(self._experiment.data.set)
        images, labels = self._dataset.test_images[:count], self._dataset.test_labels[:count]
        shapes = self._relu.shapes
        result = codings.simulate(self._normalised, images, labels, input_shape=shapes[0], coding=coding)
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
