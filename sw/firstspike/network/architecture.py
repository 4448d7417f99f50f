"""The shape of a network in the notation of the field: ``12C5-P2-64C5-P2-10``.

| part | means |
|---|---|
| ``128`` | 128 neurons, fully connected |
| ``64C3`` | convolution, 64 channels, kernel 3 x 3; ``64C3x5`` 3 rows and 5 columns |
| ``64C3s2p1`` | the same with stride 2 and padding 1 |
| ``P2`` | max pooling 2 x 2 of the convolution before |
| ``A2`` | average pooling 2 x 2 |
| ``D0.3`` | dropout with probability 0.3, in training |
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from firstspike.errors import FirstspikeError

#: Networks of the literature, without their output. VGG-16 for 32 x 32 images, dropout as Park & Yoon's code has it.
NAMED = {
    "mnist-cnn": "12C5-P2-64C5-P2",
    "vgg16": (
        "64C3p1-D0.3-64C3p1-P2-128C3p1-D0.4-128C3p1-P2-256C3p1-D0.4-256C3p1-D0.4-256C3p1-P2-"
        "512C3p1-D0.4-512C3p1-D0.4-512C3p1-P2-512C3p1-D0.4-512C3p1-D0.4-512C3p1-P2-D0.5-512-D0.5-512-D0.5"
    ),
}
NOTATION = "parts such as 128, 12C5, 64C3s2p1, P2 (max), A2 (average pooling), D0.3 (dropout), joined by -"

_DENSE = re.compile(r"[1-9]\d{0,5}")
_CONVOLUTION = re.compile(
    r"(?P<channels>[1-9]\d{0,4})C(?P<rows>[1-9]\d?)(x(?P<columns>[1-9]\d?))?"
    r"(?=[sp\d]*$)(?!.*(s.*s|p.*p))(s(?P<stride>[1-9])|p(?P<padding>\d))*"
)
_POOL = re.compile(r"[PA]([1-9]\d?)")
_DROPOUT = re.compile(r"D(0?\.\d+)")


def places(size: int, kernel: int, *, stride: int, padding: int) -> int:
    """How many places a kernel has along an axis of ``size``; below 1 where it does not fit."""
    return (size + 2 * padding - kernel) // stride + 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A layer with weights, and what belongs to it.

    Parameters
    ----------
    outputs
        Neurons, or channels of a convolution.
    kernel
        Rows and columns of a convolution's kernel; none for a fully connected layer.
    stride, padding, pool
        As for :class:`firstspike.network.layers.Conv2d`.
    average
        Average pooling of what enters the layer (1: none).
    dropout
        Probability that a value which enters the layer is dropped in training.

    """

    outputs: int
    kernel: tuple[int, int] | None = None
    stride: int = 1
    padding: int = 0
    pool: int = 1
    average: int = 1
    dropout: float = 0.0

    @property
    def label(self) -> str:
        """The layer in the notation of the field, without dropout."""
        average = f"A{self.average}-" if self.average > 1 else ""
        if self.kernel is None:
            return f"{average}{self.outputs}"
        rows, columns = self.kernel
        kernel = str(rows) if rows == columns else f"{rows}x{columns}"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        padding = f"p{self.padding}" if self.padding else ""
        pool = f"-P{self.pool}" if self.pool > 1 else ""
        return f"{average}{self.outputs}C{kernel}{stride}{padding}{pool}"

    def weight_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the weights for an input of ``shape``, after average pooling.

        Raises
        ------
        FirstspikeError
            if the layer does not fit the input.

        """
        pooled = self._averaged(shape)
        if self.kernel is None:
            return (self.outputs, math.prod(pooled))
        return (self.outputs, pooled[0], *self.kernel)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the population after the layer for an input of ``shape``.

        Raises
        ------
        FirstspikeError
            if the layer does not fit the input.

        """
        pooled = self._averaged(shape)
        if self.kernel is None:
            return (self.outputs,)
        rows, columns = (
            places(n, k, stride=self.stride, padding=self.padding) // self.pool
            for n, k in zip(pooled[1:], self.kernel, strict=True)
        )
        if min(rows, columns) < 1:
            what = "kernel or pooling is" if self.pool > 1 else "kernel is"
            raise FirstspikeError(
                f"{self.label} does not fit {by(pooled)} (channels x rows x columns): its {what} larger",
                "use smaller kernels, less pooling or stride before it, or larger images",
            )
        return (self.outputs, rows, columns)

    def _averaged(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.kernel is None and self.average == 1:
            return shape
        if len(shape) != 3:
            raise FirstspikeError(f"{self.label} needs channels, rows and columns, not {by(shape)} values without")
        if shape[1] % self.average or shape[2] % self.average:
            raise FirstspikeError(
                f"A{self.average} (average pooling) does not divide {by(shape)} (channels x rows x columns)",
                "use another size of pooling or another kernel before it",
            )
        return (shape[0], shape[1] // self.average, shape[2] // self.average)


def by(shape: Iterable[int]) -> str:
    """A shape for people: ``3 x 32 x 32``."""
    return " x ".join(map(str, shape))


def parse(text: str, *, output: bool = True) -> tuple[Stage, ...]:
    """Stages of an architecture: ``"12C5-P2-10"``.

    Parameters
    ----------
    text
        In the notation of this module.
    output
        Whether the last part is the output layer; else the output comes after it.

    Raises
    ------
    FirstspikeError
        naming the part that is wrong, and why.

    """
    stages: list[Stage] = []
    average, dropout = 1, 0.0
    for part in text.split("-"):
        wrong = ""
        before = stages[-1] if stages else None
        if match := _POOL.fullmatch(part):
            size = int(match[1])
            if part[0] == "A":
                wrong = "follows another average pooling" if average > 1 else _flat(before)
                average = size
            elif before is not None and before.kernel and before.pool == average == 1 and not dropout:
                stages[-1] = replace(before, pool=size)
            else:
                wrong = "(max pooling) does not come right after a convolution"
        elif match := _DROPOUT.fullmatch(part):
            if dropout or not stages:
                wrong = "(dropout) comes before any layer" if not stages else "follows another dropout"
            dropout = float(match[1])
        else:
            stage = _layer(part)
            if stage is None:
                wrong = "is no layer"
            elif stage.kernel and stage.padding >= min(stage.kernel):
                wrong = "has more padding than kernel"
            elif stage.kernel:
                wrong = _flat(before)
            if stage is not None:
                stages.append(replace(stage, average=average, dropout=dropout))
            average, dropout = 1, 0.0
        if wrong:
            raise FirstspikeError(f"{part!r} in {text!r} {wrong}", f"use {NOTATION}")
    if output and (not stages or average > 1 or dropout or stages[-1].kernel):
        raise FirstspikeError(f"architecture {text!r} does not end in a fully connected layer", f"use {NOTATION}")
    return tuple(stages)


def _flat(before: Stage | None) -> str:
    """What is wrong with a convolution or pooling after ``before``: nothing, if it leaves rows and columns."""
    flat = before is not None and before.kernel is None
    return "comes after a fully connected layer, which leaves no rows and columns" if flat else ""


def _layer(part: str) -> Stage | None:
    if _DENSE.fullmatch(part):
        return Stage(outputs=int(part))
    match = _CONVOLUTION.fullmatch(part)
    return None if match is None else _convolution(match)


def _convolution(match: re.Match[str]) -> Stage:
    rows = int(match["rows"])
    return Stage(
        outputs=int(match["channels"]),
        kernel=(rows, int(match["columns"] or rows)),
        stride=int(match["stride"] or 1),
        padding=int(match["padding"] or 0),
    )


def shapes(input_shape: Iterable[int], stages: Iterable[Stage]) -> list[tuple[int, ...]]:
    """Shape of every population: the input's, then after each stage.

    Raises
    ------
    FirstspikeError
        if a stage does not fit what comes before it.

    """
    result = [tuple(input_shape)]
    for stage in stages:
        result.append(stage.output_shape(result[-1]))
    return result


def needs_map(architecture: str) -> bool:
    """Whether the input must be a map of channels, rows and columns: any layer convolves or averages."""
    return any(stage.kernel or stage.average > 1 for stage in parse(architecture))
