"""How many threads train a network, and that the user's own choice stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from firstspike.network import kernels
from firstspike.training import threads
from firstspike.training.surrogate import Surrogate

pytestmark = pytest.mark.smoke
KERNEL = kernels.PowerOfTwo(steps=8)


def surrogate(shape: tuple[int, ...], layers: str) -> Surrogate:
    return Surrogate(shape, layers, input_kernel=KERNEL, kernel=KERNEL)


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in threads.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def used(model: Surrogate, batch: int) -> int:
    with threads.as_many_as_pay(model, batch):
        count = torch.get_num_threads()
    assert torch.get_num_threads() == 4
    return count


@pytest.mark.parametrize(
    ("shape", "layers", "products"),
    [
        ((64,), "48-10", 64 * 48 + 48 * 10),
        ((784,), "128-10", 784 * 128 + 128 * 10),
        ((1, 28, 28), "12C5-P2-64C5-P2-10", 12 * 24 * 24 * 25 + 64 * 8 * 8 * 12 * 25 + 64 * 4 * 4 * 10),
        ((1, 28, 28), "16C5s2-32C5s2-10", 16 * 12 * 12 * 25 + 32 * 4 * 4 * 16 * 25 + 32 * 4 * 4 * 10),
    ],
)
def test_products(shape, layers, products) -> None:
    assert threads.products(surrogate(shape, layers)) == products


def test_small_networks_train_with_one_thread_and_large_ones_with_all() -> None:
    assert used(surrogate((64,), "48-10"), 64) == 1
    assert used(surrogate((784,), "128-10"), 128) == 1
    assert used(surrogate((1, 28, 28), "12C5-P2-64C5-P2-10"), 64) == 3
    assert used(surrogate((1, 28, 28), "12C5-P2-64C5-P2-10"), 500) == 4


@pytest.mark.parametrize("name", threads.CHOSEN_BY)
def test_the_users_number_stays(name, monkeypatch) -> None:
    monkeypatch.setenv(name, "4")
    assert used(surrogate((64,), "48-10"), 64) == 4


def test_the_number_comes_back_after_an_error() -> None:
    with pytest.raises(KeyError), threads.as_many_as_pay(surrogate((64,), "48-10"), 64):
        raise KeyError
    assert torch.get_num_threads() == 4
