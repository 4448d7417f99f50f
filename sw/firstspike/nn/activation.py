"""The time-to-first-spike activation: encode a membrane to a spike step and decode it again, without time steps.

Source: Park & Yoon (arXiv 2106.02568), surrogate DNN. There the step comes from a logarithm and a rounding; here it
comes from the comparison with the threshold curve that the hardware makes, so that both give the same step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from firstspike.kernels import Kernel


class _EncodeDecode(torch.autograd.Function):
    """Value carried by the first spike; straight-through gradient ``vhat / v`` inside the range."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, rising: Tensor, values: Tensor, saturation: float) -> Tensor:
        reached = torch.bucketize(v, rising, out_int32=True, right=True)
        decoded = values[reached]
        ctx.save_for_backward(v, decoded)
        ctx.saturation = saturation
        return decoded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        v, decoded = ctx.saved_tensors
        # A neuron without a spike has the value 0, and so no gradient; v is clamped for those only.
        slope = decoded / v.clamp(min=torch.finfo(v.dtype).tiny)
        return gradients[0] * slope.masked_fill_(v > ctx.saturation, 0.0), None, None, None


class TTFS(nn.Module):
    """Membranes to decoded values, elementwise: ``vhat = K[k]``, k the first step with ``v >= TH[k]``; 0 without spike.

    The gradient is ``vhat / v`` between the last threshold and the value of step 0; it is 0 below (no spike) and above
    (saturated). It follows the ratio that the rounding of the time leaves, between exp(-1/2 tau) and exp(1/2 tau) for
    the exponential kernel.

    Parameters
    ----------
    kernel
        The curves; both tables are buffers, so that they move with the module and are stored with it.

    """

    rising: Tensor
    values: Tensor

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        decode = kernel.decode()
        self.saturation = float(kernel.theta0 * decode[0])
        self.register_buffer("rising", torch.tensor(kernel.threshold()[::-1].copy(), dtype=torch.float32))
        # Entry r: the value where r thresholds are reached, which is that of step T - r.
        self.register_buffer("values", torch.tensor([0.0, *decode[::-1]], dtype=torch.float32))

    def forward(self, v: Tensor) -> Tensor:
        """Decoded values of membranes ``v`` (any shape), in units of the real membrane."""
        decoded: Tensor = _EncodeDecode.apply(v, self.rising, self.values, self.saturation)  # type: ignore[no-untyped-call]
        return decoded
