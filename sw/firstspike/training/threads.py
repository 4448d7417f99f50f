"""As many threads as pay: those of a small network would wait for each other longer than they work."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator

import torch

from firstspike.training.surrogate import Model

#: Products of weights and inputs in a batch that keep one thread busy. On two cores, two threads train MNIST's
#: 784-128-10 (13 million) no faster than one, and the convolutional 12C5-P2-64C5-P2-10 (180 million) much faster.
PRODUCTS = 1 << 25
#: Variables by which users choose the number of threads themselves.
CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def products(model: Model) -> int:
    """Products of weights and inputs for one image: inputs times outputs of each dense layer; of each convolution its
    weights times the places that it is computed at.
    """
    total = 0
    for layer, before, after in zip(model.folded_layers(), model.shapes, model.shapes[1:], strict=False):
        stage = layer.stage
        places = math.prod(after[1:]) * stage.pool**2 if stage.kernel else 1
        total += math.prod(stage.weight_shape(before)) * places
    return total


@contextlib.contextmanager
def as_many_as_pay(model: Model, batch: int) -> Iterator[None]:
    """In this block torch uses a thread for each :data:`PRODUCTS` of a batch, at most as many as before.

    Threads of a small network cost more than they bring; beside another busy process they take ten times as long, since
    each step ends when the last of them has had its turn. ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` in the
    environment, which the user has set, stay in force. Afterwards the number is what it was.

    Parameters
    ----------
    model
        Of the training.
    batch
        Images in a step of this process.

    """
    before = torch.get_num_threads()
    if not any(name in os.environ for name in CHOSEN_BY):
        torch.set_num_threads(min(before, -(-products(model) * batch // PRODUCTS)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
