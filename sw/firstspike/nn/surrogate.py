"""The surrogate network: trained without time steps, evaluated as the integer network it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.kernels import Kernel
from firstspike.model import Readout
from firstspike.nn.activation import TTFS
from firstspike.nn.inference import Inference, IntegerLayer, exact_matmul, infer
from firstspike.nn.layers import FoldedLinear


class Surrogate(nn.Module):
    """A fully connected TTFS network.

    In training mode :meth:`forward` is differentiable and has no loop over time. In evaluation mode every result is
    that of the frozen integers (``docs/numerics.md``), whatever S and the readout are: see :meth:`infer`.

    Parameters
    ----------
    sizes
        Neurons of each population: input, hidden ..., output.
    input_kernel, kernel
        Of the input, and of every hidden population and the thresholds of an output read by its first spike.
    fire_start
        S, in steps. Training takes all spikes into account, as S = T does; only evaluation stops early.
    readout, weight_bits, weight_clip, momentum
        See :class:`firstspike.nn.layers.FoldedLinear` and :class:`firstspike.model.Network`.

    Raises
    ------
    FirstspikeError
        if the kernels do not have the same number of steps.

    """

    input_values: Tensor
    encoder: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        input_kernel: Kernel,
        kernel: Kernel,
        fire_start: int | None = None,
        readout: Readout = "membrane",
        weight_bits: int = 6,
        weight_clip: float = 0.7,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if not input_kernel.simultaneous and input_kernel.steps != kernel.steps:
            raise FirstspikeError(f"the input kernel has {input_kernel.steps} steps, the hidden one {kernel.steps}")
        self.sizes = tuple(sizes)
        self.input_kernel, self.kernel = input_kernel, kernel
        self.steps = kernel.steps
        self.fire_start = kernel.steps if fire_start is None else fire_start
        self.readout: Readout = readout
        units = [input_kernel.unit, *([kernel.unit] * (len(sizes) - 2))]
        self.layers = nn.ModuleList(
            FoldedLinear(
                inputs, outputs, input_unit=unit, weight_bits=weight_bits, weight_clip=weight_clip, momentum=momentum
            )
            for (inputs, outputs), unit in zip(pairwise(sizes), units, strict=True)
        )
        self.activation = TTFS(kernel)
        codes = torch.tensor(input_kernel.encoder())
        values = torch.tensor([*input_kernel.decode(), 0.0], dtype=torch.float32)
        self.register_buffer("encoder", codes, persistent=False)
        self.register_buffer("input_values", values[codes], persistent=False)

    def folded_layers(self) -> list[FoldedLinear]:
        """The layers with weights, first to last."""
        return [layer for layer in self.layers if isinstance(layer, FoldedLinear)]

    def freeze_statistics(self, frozen: bool) -> None:
        """Whether training uses the running statistics of batch norm instead of those of the batch."""
        for layer in self.folded_layers():
            layer.frozen = frozen

    def forward(self, pixels: Tensor) -> Tensor:
        """Real output membranes, float32, shape (B, outputs), of images of bytes, shape (B, ...)."""
        if not self.training:
            scale = self.folded_layers()[-1].integers().scale
            return (self.infer(pixels).membranes.double() * scale).float()
        x = self.input_values[pixels.flatten(1).int()]
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        out: Tensor = last(x)
        return out

    @torch.no_grad()
    def infer(self, pixels: Tensor) -> Inference:
        """Every spike time and output membrane of the integer network, for images of bytes, shape (B, ...).

        Raises
        ------
        FirstspikeError
            if the images do not fit, or sums could leave the exact range of double precision.

        """
        flat = pixels.flatten(1)
        if flat.dtype != torch.uint8 or flat.shape[1] != self.sizes[0]:
            raise FirstspikeError(
                f"images have {flat.shape[1]} pixels of {flat.dtype}; the network takes {self.sizes[0]} of torch.uint8"
            )
        with exact_matmul():
            return infer(self._integer_layers(), self.encoder[flat.int()], steps=self.steps, fire_start=self.fire_start)

    def _integer_layers(self) -> list[IntegerLayer]:
        layers = []
        for index, layer in enumerate(self.folded_layers()):
            integers = layer.integers()
            last = index == len(self.layers) - 1
            fires = not last or self.readout == "first_spike"
            layers.append(
                IntegerLayer(
                    integers,
                    pre=self.kernel if index else self.input_kernel,
                    thresholds=self.kernel.integer_threshold(integers.scale) if fires else (),
                    device=layer.weight.device,
                )
            )
        return layers
