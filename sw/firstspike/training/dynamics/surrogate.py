"""A network with dynamics: trained step by step in real numbers, evaluated as the integer network it stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from firstspike.experiment.dynamics import Neurons, input_table
from firstspike.network.architecture import Stage, parse, shapes
from firstspike.network.kernels import Kernel
from firstspike.network.layers import Layer
from firstspike.network.model import Network, chain
from firstspike.training.distributed import var_mean
from firstspike.training.dynamics.neurons import SteppedNeurons
from firstspike.training.layers import Folded
from firstspike.training.quantise import quantised, straight_through, weight_scale
from firstspike.training.surrogate import Model


class SteppedLayer(Folded):
    """A layer whose batch norm is that of the current U; the folded bias is added to V in each step.

    Parameters
    ----------
    stage, input_shape, input_unit, weight_bits, weight_clip, momentum
        As for :class:`~firstspike.training.layers.Folded`; there is no max pooling.
    neurons
        Those after it.
    batch_norm
        Without it, a current stays as the weights make it.

    Raises
    ------
    FirstspikeError
        if the stage does not fit the input.

    """

    def __init__(
        self,
        stage: Stage,
        input_shape: tuple[int, ...],
        neurons: SteppedNeurons,
        *,
        input_unit: float,
        weight_bits: int,
        weight_clip: float,
        momentum: float,
        batch_norm: bool,
    ) -> None:
        super().__init__(
            stage,
            input_shape,
            input_unit=input_unit,
            weight_bits=weight_bits,
            weight_clip=weight_clip,
            momentum=momentum,
        )
        self._retain, self._guard, self._batch_norm = neurons.real_retain, neurons.neurons.guard, batch_norm

    def drive(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of each step, shape (steps, B, ...), and the bias that each step adds, which broadcasts to (B, ...).

        Parameters
        ----------
        x
            What arrives in step 0, 1, ...; shape (steps, B, ...), of the population before the layer.

        """
        assert self.weight_bits is not None
        steps, stage = len(x), self.stage
        flat = x.flatten(0, 1)
        if stage.average > 1:
            flat = nn.functional.avg_pool2d(flat, stage.average)
        if stage.kernel is None:
            flat = flat.flatten(1)
        if stage.dropout and self.training:
            # What is dropped of an image is dropped in all steps.
            kept = nn.functional.dropout(torch.ones_like(flat[: x.shape[1]]), stage.dropout)
            flat = flat * kept.repeat(steps, *[1] * (flat.ndim - 1))
        still = self.frozen or not self._batch_norm
        weight, bias = self._folded(*(self._statistics() if still else self._current_statistics(flat, steps)))
        scale = weight_scale(weight, self.weight_bits, self.weight_clip)
        weight = straight_through(weight, quantised(weight, scale, self.weight_bits) * scale)
        unit = scale * (self.input_unit * 2.0**-self._guard)
        bias = straight_through(bias, (bias.detach() / unit).round_() * unit)
        sums = self._sums(flat, weight)
        return sums.reshape(steps, -1, *sums.shape[1:]), bias.reshape(-1, *[1] * (sums.ndim - 2))

    def frozen_layer(self, name: str) -> Layer:
        """The layer as the hardware holds it; V starts at 0.

        Raises
        ------
        FirstspikeError
            if a value is not finite.

        """
        folded, bias = self.real()
        return self._integers(name, folded, torch.zeros_like(bias))

    def _current_statistics(self, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of U over images, places, and steps in which something arrives."""
        current = self._sums(x, self.weight)
        retain = self._retain()
        if retain is not None and steps > 1:
            parts = list(current.reshape(steps, -1, *current.shape[1:]))
            for t in range(1, steps):
                parts[t] = retain * parts[t - 1] + parts[t]
            current = torch.cat(parts)
        var, mean = var_mean(current, dim=(0,) if current.ndim == 2 else (0, 2, 3))
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return mean, var


class SteppedSurrogate(Model):
    """A network of fully connected layers and convolutions whose neurons have dynamics.

    In training mode :meth:`forward` is differentiable, by surrogate gradients through time. In evaluation mode every
    result is that of the frozen integers (``docs/numerics.md``): see :meth:`infer`.

    Parameters
    ----------
    input_shape
        (N,), or (channels, rows, columns), which convolutions need.
    architecture
        Layers in the notation of :mod:`firstspike.network.architecture`, output included.
    neurons
        Of each population after the input.
    input_kernel
        Encodes pixels in time, of which each spike is worth 1; or the direct kernel, whose values come in step 0.
    steps
        T.
    repeat
        How often an input neuron may fire in a step, of images that are counts of events, shape (B, T, ...); 0: pixels.
    trained, slope
        See :class:`~firstspike.training.dynamics.neurons.SteppedNeurons`.
    batch_norm
        Whether training normalises the current of each layer.
    weight_bits, weight_clip, momentum
        See :class:`firstspike.training.layers.Folded`.

    Raises
    ------
    FirstspikeError
        if layers do not fit each other.

    """

    codes: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        architecture: str,
        neurons: Sequence[Neurons],
        *,
        input_kernel: Kernel,
        steps: int,
        repeat: int = 0,
        trained: Collection[str] = (),
        slope: float = 2.0,
        batch_norm: bool = True,
        weight_bits: int = 8,
        weight_clip: float = 0.7,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        stages = parse(architecture)
        self.shapes = shapes(input_shape, stages)
        self.steps, self.input_kernel, self.repeat = steps, input_kernel, repeat
        self.populations = nn.ModuleList(
            SteppedNeurons(each, steps=steps, trained=trained, slope=slope) for each in neurons
        )
        self._table, input_unit = input_table(input_kernel)
        self.layers = nn.ModuleList(
            SteppedLayer(
                stage,
                shape,
                after,
                input_unit=1.0 if index else input_unit,
                weight_bits=weight_bits,
                weight_clip=weight_clip,
                momentum=momentum,
                batch_norm=batch_norm,
            )
            for index, (stage, shape, after) in enumerate(zip(stages, self.shapes, self._stepped(), strict=False))
        )
        self.register_buffer("codes", torch.tensor(input_kernel.encoder()), persistent=False)

    def slow_parameters(self) -> Iterator[nn.Parameter]:
        """What of the dynamics is trained."""
        for population in self._stepped():
            yield from population.parameters()

    def shared(self) -> dict[str, Any]:
        """What each population retains, its leak and threshold, if any of these is trained."""
        if not list(self.slow_parameters()):
            return {}
        return {
            "dynamics": [{k: None if v is None else round(v.item(), 4) for k, v in x.values()} for x in self._stepped()]
        }

    def output_unit(self) -> float:
        """The real value of a unit of the frozen output membranes, which has guard bits."""
        return super().output_unit() * 2.0 ** -self._stepped()[-1].neurons.guard

    def membranes(self, pixels: Tensor) -> Iterator[Tensor]:
        """What decides at the output, shape (B, outputs), as :meth:`SteppedNeurons.read` has it."""
        x = self.encoded(pixels)
        *hidden, last = zip(self._driven(), self._stepped(), strict=True)
        for layer, neurons in hidden:
            x = neurons(*layer.drive(x))
        layer, neurons = last
        yield neurons.read(*layer.drive(x))

    def encoded(self, pixels: Tensor) -> Tensor:
        """What the input's spikes are worth in each step: (T, B, ...), or (1, B, ...) for a direct input."""
        if self.repeat:
            return pixels.reshape(-1, self.steps, *self.shapes[0]).transpose(0, 1).float()
        shaped = pixels.reshape(-1, *self.shapes[0])
        if self.input_kernel.simultaneous:
            return (shaped.float() / 255)[None]
        codes = self.codes[shaped.int()]
        return torch.stack([(codes == k).float() for k in range(self.steps)])

    def freeze(self, provenance: Mapping[str, Any] | None = None) -> Network:
        """The integer network that the model computes at evaluation: equal in every spike and membrane.

        Batch norm is folded with its running statistics and weights are rounded to signed ``weight_bits``, as for
        :class:`~firstspike.training.surrogate.Surrogate`. Biases, which each step adds, and thresholds are rounded to
        units of ``2**-guard`` of a layer's sums.

        Parameters
        ----------
        provenance
            Where the network comes from, JSON values; kept with it.

        Raises
        ------
        FirstspikeError
            if a weight or bias has no finite value.

        """
        driven = self._driven()
        layers = [layer.frozen_layer(f"layer{i}") for i, layer in enumerate(driven)]
        return chain(
            layers,
            input_shape=self.shapes[0],
            kernels=[self._table, *[(1,) * self.steps] * (len(layers) - 1)],
            thresholds=[],
            encoder=() if self.repeat else self.input_kernel.encoder(),
            steps=self.steps,
            fire_start=self.steps,
            simultaneous=self.input_kernel.simultaneous,
            repeat=self.repeat,
            dynamics=[
                neurons.dynamics(layer.scale, trained.real()[1].numpy())
                for neurons, layer, trained in zip(self._stepped(), layers, driven, strict=True)
            ],
            provenance=provenance,
        )

    def _stepped(self) -> list[SteppedNeurons]:
        return [population for population in self.populations if isinstance(population, SteppedNeurons)]

    def _driven(self) -> list[SteppedLayer]:
        return [layer for layer in self.layers if isinstance(layer, SteppedLayer)]
