"""What is known of a network before it is trained: its shape, its kernels and time, and the least that it takes."""

from __future__ import annotations

import numpy as np

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import ConversionConfig, Experiment
from firstspike.experiment.data import Dataset
from firstspike.experiment.dynamics import LEAST_THRESHOLD, DynamicsConfig, input_table
from firstspike.network.architecture import Stage, needs_map, parse, shapes
from firstspike.network.layers import Layer, before_average, integer_layer
from firstspike.network.model import Network, chain


def populations(experiment: Experiment, dataset: Dataset) -> tuple[tuple[Stage, ...], list[tuple[int, ...]]]:
    """Stages of the experiment's network, and the shape of every population for images of the data set.

    Raises
    ------
    FirstspikeError
        if the layers do not fit the images, naming the setting and the part that does not.

    """
    if dataset.steps is not None and dataset.steps != experiment.network.steps:
        raise experiment.network.wrong(
            "steps", f"is {experiment.network.steps}", f"{dataset.steps}, the frames of an image of {dataset.name}"
        )
    architecture = experiment.network.architecture(dataset.classes)
    stages = parse(architecture)
    try:
        image = dataset.image_shape if needs_map(architecture) else (dataset.inputs,)
        return stages, shapes(image, stages)
    except FirstspikeError as error:
        raise FirstspikeError(f"[network] hidden: {error}", error.hint) from error


def doubts(experiment: Experiment, dataset: Dataset) -> list[str]:
    """What is probably not meant, though it can be trained; a sentence each."""
    found = list(dataset.doubts)
    if experiment.train.method != "relu" and experiment.conversion != ConversionConfig():
        found.append('[conversion] plays no part without [train] method = "relu": leave it out')
    kernels = [("input_kernel", experiment.input_kernel), ("kernel", experiment.kernel)]
    for key, kernel in kernels if experiment.dynamics.mode is None else ():
        if sum(value > 0 for value in kernel.table()) == 1 < kernel.steps:
            found.append(
                f"[network] {key}: only the first of its {kernel.steps} steps is worth anything: raise its tau"
            )
    found += _doubts_of_dynamics(experiment)
    stages, sizes = populations(experiment, dataset)
    last = stages[-2] if len(stages) > 1 else None
    if last is not None and last.kernel is None and last.outputs == dataset.classes:
        found.append(
            f"the last layer of [network] hidden has {last.outputs} neurons, as many as there are classes; an output "
            f"layer of {dataset.classes} comes after it, so that the network is {_described(stages, sizes[0])}: leave "
            "the last layer out of hidden if it was meant as the output"
        )
    return found


def _doubts_of_dynamics(experiment: Experiment) -> list[str]:
    dynamics, neurons = experiment.dynamics, experiment.neurons()
    found = []
    if neurons and all(each.threshold is None for each in neurons):
        default = DynamicsConfig()
        idle = [
            key for key in ("threshold", "start", "slope", "cap") if getattr(dynamics, key) != getattr(default, key)
        ]
        idle += ['trained = ["threshold"]'] if "threshold" in dynamics.trained else []
        found += [f"[dynamics] {key} plays no part: no population of this network fires" for key in idle]
    for key in ("retain", "leak"):
        for value in dict.fromkeys(getattr(each, key) for each in neurons):
            factor = neurons[0].factor(value)
            rounded = int(factor.numerator.item()) / (1 << factor.shift)
            if rounded in (0, 1) and rounded != value:
                found.append(
                    f"[dynamics] {key} {value:g} becomes {rounded:g} in {dynamics.factor_bits} factor_bits: raise these"
                )
    return found


def _described(stages: tuple[Stage, ...], image: tuple[int, ...]) -> str:
    return "-".join(["x".join(map(str, image)), *(stage.label for stage in stages)])


def least_network(experiment: Experiment, dataset: Dataset) -> Network:
    """A network of the experiment's shape, kernels and time, whose weights take the least width and make no spikes.

    A layer has one weight that is not 0, the largest: quantisation makes one in every trained layer. So hardware
    and clocks that this network does not fit no trained one does.

    Raises
    ------
    FirstspikeError
        if the layers do not fit the images.

    """
    shape, bits = experiment.network, experiment.train.weight_bits
    stages, sizes = populations(experiment, dataset)
    neurons = experiment.neurons()
    kernels = [experiment.input_kernel, *[experiment.kernel] * (len(stages) - 1)]
    tables = [(kernel.table(), kernel.unit) for kernel in kernels]
    if neurons:
        tables[0] = input_table(kernels[0])
    layers: list[Layer] = []
    for index, (stage, before, (_, unit)) in enumerate(zip(stages, sizes, tables, strict=False)):
        weight = np.zeros(stage.weight_shape(before))
        weight.flat[0] = -1.0
        layers.append(
            integer_layer(
                f"layer{index}",
                before_average(weight, stage.average, before),
                np.zeros(stage.outputs),
                unit=unit,
                weight_bits=bits,
                weight_clip=1.0,
                stride=stage.stride * stage.average,
                padding=stage.padding * stage.average,
                pool=stage.pool,
            )
        )
    firing = len(layers) if shape.readout == "first_spike" else len(layers) - 1
    return chain(
        layers,
        input_shape=sizes[0],
        kernels=[table for table, _ in tables],
        thresholds=[] if neurons else [(1,) * shape.steps] * firing,
        dynamics=[each.integers(scale=1.0, drive=np.zeros(1), threshold=LEAST_THRESHOLD) for each in neurons],
        encoder=() if dataset.events else kernels[0].encoder(),
        steps=shape.steps,
        fire_start=shape.start,
        simultaneous=kernels[0].simultaneous,
        repeat=dataset.repeat,
    )
