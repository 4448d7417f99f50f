"""Gradient-based optimisation of tau and t_d after conversion (T2FSNN, Park et al., DAC 2020).

With x a value of the ReLU network, k its spike time, and xh = exp(-(k - td)/tau) what the spike carries (0 if none):

    L_prec = 1/2 mean (x - xh)^2
    L_min  = 1/2 mean (x_min - xh_min)^2    xh_min = exp(-(T - td)/tau), x_min a low percentile of a sample's values
    L_max  = 1/2 mean (x_max - xh_max)^2    xh_max = exp(td/tau), x_max = exp(-(k_first - td)/tau)

    tau += r_prec mean_{> 0} [(x - xh) xh (k - td)] / tau^2  +  r_min mean [(x_min - xh_min) xh_min (T - td)] / tau^2
    td  += r_max mean [(x_max - xh_max) xh_max / tau]

Losses, updates, rates and the batch of 400 are those of the authors' release; its first mean is over the positive
entries only. Three things differ from it. The release has an inverted mask of xh (silent neurons have the value of a
late spike) and compares global with local first spike times: both are mended, as in the authors' earlier code. A sample
without any spike has no k_first and is left out of L_max. And here k is the spike time of the ReLU network's own value;
the release takes it from the simulated network, whose values carry the errors of the layers before.

xh_min has T where the last step of the window is T - 1, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstspike.conversion.ann import FloatArray, FloatLayer
from firstspike.conversion.relu_network import activations
from firstspike.errors import FirstspikeError
from firstspike.network.kernels import Exponential


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the kernels are optimised; the defaults are the authors'.

    Parameters
    ----------
    samples
        Images seen in total, in the order given, over and over.
    batch_size
        Images of one update.
    precision_rate, minimum_rate, delay_rate
        r_prec, r_min and r_max.
    minimum_percentile
        Of a sample's values, zeros included, that counts as x_min; 0 is the least value.

    Raises
    ------
    FirstspikeError
        if a number is outside its range.

    """

    samples: int = 60_000
    batch_size: int = 400
    precision_rate: float = 10.0
    minimum_rate: float = 100.0
    delay_rate: float = 1.0
    minimum_percentile: float = 2.0

    def __post_init__(self) -> None:
        if not (self.samples >= 1 and self.batch_size >= 1):
            raise FirstspikeError(f"{self.samples} samples in batches of {self.batch_size}", "use integers >= 1")
        if min(self.precision_rate, self.minimum_rate, self.delay_rate) < 0:
            raise FirstspikeError("a learning rate of the kernels is negative", "use rates >= 0")
        if not 0 <= self.minimum_percentile <= 100:
            raise FirstspikeError(f"minimum_percentile is {self.minimum_percentile}", "use 0..100; T2FSNN has 2")


@dataclass(frozen=True)
class Losses:
    """The three losses of one batch, and the kernel that they are of (before the update)."""

    precision: float
    minimum: float
    maximum: float
    tau: float
    delay: float


@dataclass(frozen=True)
class _Gradients:
    """Losses, and the means of the update rules before their rates."""

    losses: Losses
    precision: float
    minimum: float
    delay: float


def spike_steps(kernel: Exponential, values: FloatArray) -> NDArray[np.int64]:
    """The first step with ``value >= threshold``, or T for none; the shape of ``values``."""
    rising = kernel.threshold()[::-1].astype(np.float32)
    return kernel.steps - np.searchsorted(rising, values, side="right")


def _gradients(kernel: Exponential, values: FloatArray, minimum_percentile: float) -> _Gradients:
    tau, delay, steps = kernel.tau, kernel.delay, kernel.steps
    k = spike_steps(kernel, values)
    fired = k < steps
    curve = np.append(kernel.curve(np.arange(steps, dtype=np.float64)), 0.0)
    error = values - curve[k]
    rise = (error * curve[k] * (k - delay))[fired]
    rise = rise[rise > 0]
    x_min = np.percentile(values, minimum_percentile, axis=1).astype(np.float64)
    carried_min = float(kernel.curve(np.array(steps, np.float64)))
    first = k.min(axis=1)
    x_max, carried_max = curve[first[first < steps]], float(kernel.curve(np.array(0.0)))
    some = len(x_max) > 0
    return _Gradients(
        losses=Losses(
            precision=float(np.square(error).mean() / 2),
            minimum=float(np.square(x_min - carried_min).mean() / 2),
            maximum=float(np.square(x_max - carried_max).mean() / 2) if some else 0.0,
            tau=tau,
            delay=delay,
        ),
        precision=float(rise.mean()) / tau**2 if len(rise) else 0.0,
        minimum=float((x_min - carried_min).mean()) * carried_min * (steps - delay) / tau**2,
        delay=float((x_max - carried_max).mean()) * carried_max / tau if some else 0.0,
    )


def optimise_kernel(
    kernel: Exponential, values: FloatArray, settings: Settings, *, train_delay: bool = True
) -> tuple[Exponential, list[Losses]]:
    """The kernel that codes ``values`` better, and the losses of each batch.

    Parameters
    ----------
    kernel
        Where to start; T, base threshold and rounding stay.
    values
        float32, shape (N, ...): of one population, normalised, >= 0.
    settings
        How.
    train_delay
        Whether t_d moves; T2FSNN keeps that of the input.

    Raises
    ------
    FirstspikeError
        if there are no values, or the rates drive tau to 0.

    """
    if values.ndim < 2 or not values.size:
        raise FirstspikeError(f"values of a population have shape {values.shape}", "give (N >= 1, neurons)")
    flat = values.reshape(len(values), -1)
    history = []
    for start in range(0, settings.samples, settings.batch_size):
        rows = np.arange(start, min(start + settings.batch_size, settings.samples)) % len(flat)
        found = _gradients(kernel, flat[rows], settings.minimum_percentile)
        history.append(found.losses)
        tau = kernel.tau + settings.precision_rate * found.precision + settings.minimum_rate * found.minimum
        if not tau > 0:
            raise FirstspikeError(f"the optimisation drives tau to {tau:.3g}", "lower minimum_rate, or start higher")
        delay = kernel.delay + settings.delay_rate * found.delay if train_delay else kernel.delay
        kernel = replace(kernel, tau=tau, delay=delay)
    return kernel, history


@dataclass(frozen=True)
class Optimised:
    """Kernels of the input and each hidden population, and their losses batch by batch, in the same order."""

    input_kernel: Exponential
    kernels: tuple[Exponential, ...]
    history: tuple[tuple[Losses, ...], ...]


def optimise(
    layers: Sequence[FloatLayer],
    images: NDArray[np.uint8],
    *,
    input_shape: Sequence[int],
    start: Exponential,
    settings: Settings | None = None,
) -> Optimised:
    """Optimise the kernels of all populations, each for itself, on the values of the ReLU network.

    Parameters
    ----------
    layers
        Normalised.
    images
        Training images; all their values are held at once. The first ``settings.samples`` of them are used.
    input_shape
        (inputs,), or (channels, rows, columns).
    start
        Kernel that all populations start with. T2FSNN: tau 5, T 20 for MNIST; tau 20, T 80 for CIFAR; delay 0, ceil.
    settings
        How.

    Raises
    ------
    FirstspikeError
        if layers or images do not fit.

    """
    settings = settings or Settings()
    used = images[: settings.samples]
    *hidden, _ = activations(layers, used, input_shape)
    pixels = used.reshape(len(used), -1).astype(np.float32) / np.float32(255)
    found = [optimise_kernel(start, pixels, settings, train_delay=False)]
    found += [optimise_kernel(start, values, settings) for values in hidden]
    return Optimised(
        input_kernel=found[0][0],
        kernels=tuple(kernel for kernel, _ in found[1:]),
        history=tuple(tuple(history) for _, history in found),
    )
