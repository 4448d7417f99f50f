"""The surrogate network: trained without time steps, evaluated as the integer network it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firstspike.conversion.ann import FloatLayer
from firstspike.errors import FirstspikeError
from firstspike.network.architecture import parse, shapes
from firstspike.network.kernels import Exponential, Kernel
from firstspike.network.model import Network, Readout, chain
from firstspike.training.activation import TTFS
from firstspike.training.inference import Inference, IntegerNetwork
from firstspike.training.layers import Folded


class Model(nn.Module):
    """What is trained, and evaluated as the integer network that it is frozen to."""

    layers: nn.ModuleList
    #: Of the input and of each population after it.
    shapes: list[tuple[int, ...]]
    #: T.
    steps: int

    def folded_layers(self) -> list[Folded]:
        """The layers with weights, first to last."""
        return [layer for layer in self.layers if isinstance(layer, Folded)]

    def hidden_activations(self) -> list[TTFS]:
        """The activations of the hidden populations, first to last, if these have tables."""
        return []

    def trainable_activations(self) -> list[TTFS]:
        """Those with a trainable kernel, the input's first."""
        return []

    def activations_of_all(self) -> list[TTFS]:
        """Those of the hidden populations and of the input."""
        return []

    def slow_parameters(self) -> Iterator[nn.Parameter]:
        """What trains with a rate of its own: not weights, but what all neurons of a population share."""
        for activation in self.trainable_activations():
            yield from activation.parameters()

    def shared(self) -> dict[str, Any]:
        """What all neurons of a population share, as it is now, for the history; JSON values."""
        kernels = [[round(a.tau.item(), 4), round(a.delay.item(), 4)] for a in self.trainable_activations()]
        return {"kernels": kernels}

    @property
    def shape_name(self) -> str:
        """Input and layers in the notation of the field, such as ``1x28x28-12C5-P2-10``."""
        return "-".join(["x".join(map(str, self.shapes[0])), *(layer.stage.label for layer in self.folded_layers())])

    def freeze_statistics(self, frozen: bool) -> None:
        """Whether training uses the running statistics of batch norm instead of those of the batch."""
        for layer in self.folded_layers():
            layer.frozen = frozen

    def output_unit(self) -> float:
        """The real value of a unit of the frozen output membranes."""
        return self.folded_layers()[-1].frozen_layer("").scale

    def forward(self, pixels: Tensor) -> Tensor:
        """Real output membranes as they are read, float32, shape (B, outputs), of images of bytes, shape (B, ...)."""
        if not self.training:
            return (self.infer(pixels).membranes.double() * self.output_unit()).float()
        *_, membranes = self.membranes(pixels)
        return membranes

    def membranes(self, pixels: Tensor) -> Iterator[Tensor]:
        """In training mode: real membranes of each hidden population with tables, and what decides at the output."""
        raise NotImplementedError

    def encoded(self, pixels: Tensor) -> Tensor:
        """Values of the input's spikes, float32."""
        raise NotImplementedError

    def freeze(self, provenance: Mapping[str, Any] | None = None) -> Network:
        """The integer network that the model computes at evaluation."""
        raise NotImplementedError

    def infer(self, pixels: Tensor) -> Inference:
        """Every spike time and output membrane of the integer network, for images of bytes, shape (B, ...).

        Raises
        ------
        FirstspikeError
            if the images do not fit, or sums could leave the exact range of double precision.

        """
        return IntegerNetwork(self.freeze(), next(self.parameters()).device).infer(pixels)


class Surrogate(Model):
    """A TTFS network of fully connected layers and convolutions.

    In training mode :meth:`forward` is differentiable and has no loop over time. In evaluation mode every result is
    that of the frozen integers (``docs/numerics.md``), whatever S and the readout are: see :meth:`infer`.

    Parameters
    ----------
    input_shape
        (N,), or (channels, rows, columns), which convolutions need.
    architecture
        Layers in the notation of :mod:`firstspike.network.architecture`, output included.
    input_kernel, kernel
        Of the input, and of every hidden population and the thresholds of an output read by its first spike.
    trainable_kernels
        Whether every exponential kernel has its own trainable time constant and delay. The input's delay stays.
    fire_start
        S, in steps. Training takes all spikes into account, as S = T does; only evaluation stops early.
    readout, weight_bits, weight_clip, momentum
        See :class:`firstspike.training.layers.Folded` and :class:`firstspike.network.model.Network`.

    Raises
    ------
    FirstspikeError
        if the kernels do not have the same number of steps, or layers do not fit each other.

    """

    input_values: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        architecture: str,
        *,
        input_kernel: Kernel,
        kernel: Kernel,
        trainable_kernels: bool = False,
        fire_start: int | None = None,
        readout: Readout = "membrane",
        weight_bits: int | None = 6,
        weight_clip: float = 0.7,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if not input_kernel.simultaneous and input_kernel.steps != kernel.steps:
            raise FirstspikeError(f"the input kernel has {input_kernel.steps} steps, the hidden one {kernel.steps}")
        stages = parse(architecture)
        self.shapes = shapes(input_shape, stages)
        self.steps = kernel.steps
        self.fire_start = kernel.steps if fire_start is None else fire_start
        self.readout: Readout = readout
        self.layers = nn.ModuleList(
            Folded(
                stage,
                shape,
                input_unit=kernel.unit if index else input_kernel.unit,
                weight_bits=weight_bits,
                weight_clip=weight_clip,
                momentum=momentum,
            )
            for index, (stage, shape) in enumerate(zip(stages, self.shapes, strict=False))
        )
        trainable_input = trainable_kernels and isinstance(input_kernel, Exponential)
        self.input_activation = TTFS(input_kernel, trainable=trainable_input)
        if trainable_input:
            self.input_activation.delay.requires_grad_(False)
        self.activations = nn.ModuleList(TTFS(kernel, trainable=trainable_kernels) for _ in stages[:-1])
        self.output_kernel = kernel  # its thresholds are those of an output that is read by its first spike
        values = torch.tensor([*input_kernel.decode(), 0.0], dtype=torch.float32)
        self.register_buffer("input_values", values[torch.tensor(input_kernel.encoder())], persistent=False)

    def hidden_activations(self) -> list[TTFS]:
        """The activations of the hidden populations, first to last."""
        return [activation for activation in self.activations if isinstance(activation, TTFS)]

    def trainable_activations(self) -> list[TTFS]:
        """Those with a trainable kernel, the input's first."""
        return [each for each in self.activations_of_all() if each.trainable]

    def activations_of_all(self) -> list[TTFS]:
        """Those of the hidden populations and of the input."""
        return [self.input_activation, *self.hidden_activations()]

    def kernels(self) -> list[Kernel]:
        """Kernels of input, hidden populations and output, as they are now."""
        hidden = [activation.kernel for activation in self.hidden_activations()]
        return [self.input_activation.kernel, *hidden, self.output_kernel]

    def membranes(self, pixels: Tensor) -> Iterator[Tensor]:
        """Real membranes of each layer after pooling, first to last, as :meth:`forward` makes them in training mode."""
        x = self.encoded(pixels)
        *hidden, last = self.folded_layers()
        for layer, activation in zip(hidden, self.activations, strict=True):
            v = layer(x)
            yield v
            x = activation(v)
        yield last(x)

    def encoded(self, pixels: Tensor) -> Tensor:
        """Decoded values of the input's spikes, float32, in the shape of the input."""
        shaped = pixels.reshape(-1, *self.shapes[0])
        if self.input_activation.relaxed or self.input_activation.trainable:
            values: Tensor = self.input_activation(shaped.float() / 255)
            return values
        return self.input_values[shaped.int()]

    def freeze(self, provenance: Mapping[str, Any] | None = None) -> Network:
        """The integer network that the surrogate computes at evaluation: equal in every spike time and membrane.

        Batch norm is folded with its running statistics, weights are rounded to signed ``weight_bits`` in units of the
        layer's weight scale s_w, biases to the membrane's scale ``s_l = s_w * unit`` of the kernel before the layer,
        and thresholds are ``max(1, ceil(TH / s_l))``.

        Parameters
        ----------
        provenance
            Where the network comes from, JSON values; kept with it.

        Raises
        ------
        FirstspikeError
            if a weight or bias has no finite value.

        """
        layers = [layer.frozen_layer(f"layer{i}") for i, layer in enumerate(self.folded_layers())]
        kernels = self.kernels()
        firing = layers if self.readout == "first_spike" else layers[:-1]
        return chain(
            layers,
            input_shape=self.shapes[0],
            kernels=[kernel.table() for kernel in kernels[: len(layers)]],
            thresholds=[
                kernel.integer_threshold(layer.scale) for kernel, layer in zip(kernels[1:], firing, strict=False)
            ],
            encoder=kernels[0].encoder(),
            steps=self.steps,
            fire_start=self.fire_start,
            simultaneous=kernels[0].simultaneous,
            provenance=provenance,
        )

    def relu_layers(self) -> list[FloatLayer]:
        """The real layers, batch norm folded by its running statistics: the ReLU network that T2FSNN converts.

        Raises
        ------
        FirstspikeError
            if a value is not finite.

        """
        layers = []
        for folded in self.folded_layers():
            weight, bias = folded.real()
            stage = folded.stage
            layers.append(
                FloatLayer(
                    weight=weight.numpy().astype(np.float32),
                    bias=bias.numpy().astype(np.float32),
                    stride=stage.stride,
                    padding=stage.padding,
                    pool=stage.pool,
                    average=stage.average,
                )
            )
        return layers
