"""Small ReLU networks trained with plain torch on the digits, as FloatLayers, for tests of what starts from them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

from firstspike.conversion.ann import FloatLayer
from firstspike.experiment.config import DataConfig
from firstspike.experiment.data import Dataset, load

DENSE_SHAPE = (64,)
CONVOLUTION_SHAPE = (1, 8, 8)


@cache
def digits() -> Dataset:
    return load(DataConfig())


def layer(module: nn.Linear | nn.Conv2d, **geometry: int) -> FloatLayer:
    assert module.bias is not None
    return FloatLayer(weight=module.weight.detach().numpy(), bias=module.bias.detach().numpy(), **geometry)


def trained(network: nn.Sequential, shape: tuple[int, ...], epochs: int) -> None:
    data = digits()
    images = torch.from_numpy(data.train_images).reshape(-1, *shape).float() / 255
    labels = torch.from_numpy(data.train_labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimiser.step()


@cache
def dense() -> tuple[nn.Sequential, list[FloatLayer]]:
    """64-32-10."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        trained(network, DENSE_SHAPE, epochs=20)
    return network, [layer(network[0]), layer(network[2])]


@cache
def convolutional() -> tuple[nn.Sequential, list[FloatLayer]]:
    """8C3-P2-10."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))
        trained(network, CONVOLUTION_SHAPE, epochs=15)
    return network, [layer(network[0], pool=2), layer(network[4])]


@cache
def averaging() -> tuple[nn.Sequential, list[FloatLayer]]:
    """6C3p1, average pooling by 2, 8C3s1, average pooling by 2, 10."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 10),
        )
        trained(network, CONVOLUTION_SHAPE, epochs=30)
    return network, [
        layer(network[0], padding=1),
        layer(network[3], padding=1, average=2),
        layer(network[7], average=2),
    ]


NETWORKS = {
    "dense": (dense, DENSE_SHAPE),
    "convolutional": (convolutional, CONVOLUTION_SHAPE),
    "averaging": (averaging, CONVOLUTION_SHAPE),
}


def random_layer(seed: int, *shape: int, **geometry: int) -> FloatLayer:
    """Small integers as weights: sums of few of them are exact in float32."""
    rng = np.random.default_rng(seed)
    return FloatLayer(
        weight=rng.integers(-3, 4, shape).astype(np.float32),
        bias=rng.integers(-3, 4, shape[0]).astype(np.float32),
        **geometry,
    )
