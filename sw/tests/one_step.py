"""One training step on a small surrogate; run by ``torchrun``, each process takes it on its share of the batch."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import torch

from firstspike.network.kernels import PowerOfTwo
from firstspike.training.regularise import SpikeBudget, spike_count
from firstspike.training.surrogate import Surrogate

ARCHITECTURE, SHAPE, BATCH = "4C3-P2-6C3-12-5", (2, 10, 10), 16


def step(pixels: torch.Tensor, labels: torch.Tensor, *, parallel: bool) -> dict[str, torch.Tensor]:
    """Gradients and statistics after one step on a surrogate with real weights, in double precision.

    Real weights, since rounding could tip a quantised one over; convolutions take their statistics from one image in
    four, so that the halves of the batch are interleaved by four.
    """
    torch.manual_seed(0)
    model = Surrogate(
        SHAPE, ARCHITECTURE, input_kernel=PowerOfTwo(steps=8), kernel=PowerOfTwo(steps=8), weight_bits=None
    )
    budget = SpikeBudget(1.0)
    budget.multiplier.fill_(0.7)
    whole = torch.nn.ModuleList([model, budget]).double()

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self) -> torch.Tensor:
            *hidden, output = model.membranes(pixels)
            count = torch.stack([spike_count(v, 0.1) for v in hidden]).sum()
            return torch.nn.functional.cross_entropy(output, labels) + budget(count)

    loss = torch.nn.parallel.DistributedDataParallel(Loss()) if parallel else Loss()
    loss().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in whole.named_parameters() if p.grad is not None}
    return gradients | {name: b for name, b in whole.named_buffers() if "running" in name or "multiplier" in name}


def data() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (BATCH, *SHAPE), np.uint8)
    return torch.tensor(images), torch.tensor(rng.integers(0, 5, BATCH))


def work(folder: Path) -> None:
    """One of two processes: a step on its half of the batch."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    pixels, labels = (x.unflatten(0, (-1, 2, 4))[:, rank].flatten(0, 1) for x in data())
    torch.save(step(pixels, labels, parallel=True), folder / f"{rank}.pt")
    gc.collect()  # a parallel module that outlives its process group aborts the process at exit
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    work(Path(sys.argv[1]))
