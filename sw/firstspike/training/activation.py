"""The time-to-first-spike activation: encode a membrane to a spike step and decode it again, without time steps.

Source: Park & Yoon (arXiv 2106.02568), surrogate DNN. There the step comes from a logarithm and a rounding; here it
comes from the comparison with the threshold curve that the hardware makes, so that both give the same step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from firstspike.errors import FirstspikeError
from firstspike.network.kernels import Exponential, Kernel


class _EncodeDecode(torch.autograd.Function):
    """Value carried by the first spike; straight-through gradient ``vhat / v`` inside the range."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, rising: Tensor, values: Tensor, saturation: Tensor) -> Tensor:
        decoded = values[torch.bucketize(v, rising, out_int32=True, right=True)]
        ctx.save_for_backward(v, decoded, saturation)
        return decoded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        v, decoded, saturation = ctx.saved_tensors
        return gradients[0] * _slope(v, decoded, saturation), None, None, None


class _TrainedEncodeDecode(torch.autograd.Function):
    """The same for the exponential kernel, with gradients of tau and t_d."""

    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        tau: Tensor,
        delay: Tensor,
        rising: Tensor,
        values: Tensor,
        saturation: Tensor,
        theta0: float,
    ) -> Tensor:
        decoded = values[torch.bucketize(v, rising, out_int32=True, right=True)]
        ctx.save_for_backward(v, tau, delay, decoded, saturation)
        ctx.theta0 = theta0
        return decoded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        v, tau, delay, decoded, saturation = ctx.saved_tensors
        gradient = gradients[0]
        by_tau = by_delay = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            weighted, saturated = gradient * decoded, v > saturation
            at_start = weighted[saturated].sum()
            inside = (decoded > 0) & ~saturated
            residue = (v[inside] / (ctx.theta0 * decoded[inside])).log()  # what rounding the spike time leaves
            by_tau = (weighted[inside] * residue).sum() / tau - at_start * delay / tau**2
            by_delay = at_start / tau
        return gradient * _slope(v, decoded, saturation), by_tau, by_delay, None, None, None, None


def _slope(v: Tensor, decoded: Tensor, saturation: Tensor) -> Tensor:
    # A neuron without a spike has the value 0, and so no gradient; v is clamped for those only.
    return decoded / v.clamp(min=torch.finfo(v.dtype).tiny) * (v <= saturation)


class TTFS(nn.Module):
    """Membranes to decoded values, elementwise: ``vhat = K[k]``, k the first step with ``v >= TH[k]``; 0 without spike.

    The gradient is ``vhat / v`` between the last threshold and the value of step 0; it is 0 below (no spike) and above
    (saturated). It follows the ratio that the rounding of the time leaves, between exp(-1/2 tau) and exp(1/2 tau) for
    the exponential kernel.

    With a trainable exponential kernel, tau and t_d are parameters, shared by threshold (encoder) and decode curve.
    Their gradients are those of ``exp((t_d - t)/tau)``, ``t = t_d - tau ln(v/theta0)`` rounded straight through:
    ``d vhat/d tau = vhat/tau (ln(v/theta0) - ln vhat)`` inside the range, ``-t_d/tau^2 vhat`` where saturated;
    ``d vhat/d t_d`` is 0 inside, ``vhat/tau`` where saturated (derived from Park & Yoon's released surrogate).

    Parameters
    ----------
    kernel
        The curves, or where they start.
    trainable
        Whether tau and t_d are parameters.

    Raises
    ------
    FirstspikeError
        if another kernel than the exponential shall be trained.

    """

    rising: Tensor
    values: Tensor
    saturation: Tensor
    #: Below this time constant (in steps) a table of T >= 2 entries is a single spike.
    LEAST_TAU = 0.1

    def __init__(self, kernel: Kernel, *, trainable: bool = False) -> None:
        super().__init__()
        self.initial = kernel
        self.relaxed = False
        if trainable:
            if not isinstance(kernel, Exponential):
                raise FirstspikeError(
                    f"[train] kernel_start is set, but a kernel of kind {kernel.kind!r} has no time constant to train",
                    "leave kernel_start out, or use kind 'exponential' for kernel and input_kernel",
                )
            self.tau = nn.Parameter(torch.tensor(kernel.tau))
            self.delay = nn.Parameter(torch.tensor(kernel.delay))
        self.trainable = trainable
        for name, table in zip(("rising", "values", "saturation"), self._tables(), strict=True):
            self.register_buffer(name, table)

    @property
    def kernel(self) -> Kernel:
        """The kernel with the present time constant and delay."""
        if not (self.trainable and isinstance(self.initial, Exponential)):
            return self.initial
        return replace(
            self.initial, tau=max(self.LEAST_TAU, self.tau.detach().item()), delay=self.delay.detach().item()
        )

    def forward(self, v: Tensor) -> Tensor:
        """Decoded values of membranes ``v`` (any shape), in units of the real membrane.

        While :attr:`relaxed` is set the activation is a plain ReLU.
        """
        decoded: Tensor
        if self.relaxed:
            return nn.functional.relu(v)
        if not self.trainable:
            decoded = _EncodeDecode.apply(v, self.rising, self.values, self.saturation)  # type: ignore[no-untyped-call]
            return decoded
        with torch.no_grad():
            # New tensors: what an earlier forward pass has saved must not change under it.
            self.rising, self.values, self.saturation = (x.to(v.device) for x in self._tables())
        decoded = _TrainedEncodeDecode.apply(  # type: ignore[no-untyped-call]
            v, self.tau, self.delay, self.rising, self.values, self.saturation, self.initial.theta0
        )
        return decoded

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Thresholds in rising order; the value where r of them are reached (step T - r); the largest v coded."""
        kernel = self.kernel
        decode = kernel.decode()
        return (
            torch.tensor(kernel.threshold()[::-1].copy(), dtype=torch.float32),
            torch.tensor([0.0, *decode[::-1]], dtype=torch.float32),
            torch.tensor(kernel.theta0 * decode[0], dtype=torch.float32),
        )
