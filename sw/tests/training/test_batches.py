"""Batches of images: shifts, flips, and the order of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firstspike.errors import FirstspikeError
from firstspike.training.batches import ImageBatches, loader

pytestmark = pytest.mark.smoke


def test_shifts_move_pixels_and_bring_in_zeros() -> None:
    image = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4)
    batches = ImageBatches(np.repeat(image, 400, axis=0), np.zeros(400, np.int64), shift=1)
    images, labels = batches.__getitems__(range(400))
    assert labels.shape == (400,)
    padded = np.pad(image[0], 1)
    allowed = {padded[r : r + 3, c : c + 4].tobytes() for r in range(3) for c in range(3)}
    assert {x.numpy().tobytes() for x in images} == allowed


def test_shifts_follow_seed_and_epoch() -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (50, 4, 4), np.uint8), np.zeros(50, np.int64)

    def shifted(seed: int, epoch: int) -> torch.Tensor:
        batches = ImageBatches(images, labels, shift=1, seed=seed)
        batches.set_epoch(epoch)
        return batches.__getitems__(range(50))[0]

    assert torch.equal(shifted(1, 2), shifted(1, 2))
    assert not torch.equal(shifted(1, 2), shifted(1, 3))
    assert not torch.equal(shifted(1, 2), shifted(2, 2))


def test_shifts_keep_channels_in_place() -> None:
    image = np.stack([np.full((2, 2), 7, np.uint8), np.full((2, 2), 9, np.uint8)])[None]
    images, _ = ImageBatches(np.repeat(image, 50, axis=0), np.zeros(50, np.int64), shift=1).__getitems__(range(50))
    assert images.shape == (50, 2, 2, 2)
    assert set(images[:, 0].unique().tolist()) == {0, 7}
    assert set(images[:, 1].unique().tolist()) == {0, 9}


def test_an_epoch_holds_each_image_once_and_epochs_differ() -> None:
    images = np.arange(100, dtype=np.uint8).reshape(100, 1)
    batches = loader(ImageBatches(images, np.zeros(100, np.int64)), batch_size=10, seed=0)
    orders = []
    for epoch in range(2):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append(torch.cat([x for x, _ in batches]).ravel().tolist())
        assert sorted(orders[-1]) == list(range(100))
    assert orders[0] != orders[1]


def flipped(image: np.ndarray, count: int, *, shift: int = 0, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    """The image ``count`` times in one batch, shape (count, ...)."""
    images = np.repeat(image[None], count, axis=0)
    batches = ImageBatches(images, np.zeros(count, np.int64), shift=shift, flip=True, seed=seed)
    batches.set_epoch(epoch)
    return batches.__getitems__(range(count))[0]


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)], ids=["one_channel", "channels"])
def test_flips_mirror_the_columns_of_half_the_images(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    kinds = [x.numpy().tobytes() for x in flipped(image, 4000)]
    plain, mirrored = image.tobytes(), np.ascontiguousarray(image[..., ::-1]).tobytes()
    assert set(kinds) == {plain, mirrored}
    assert 1874 <= kinds.count(mirrored) <= 2126, "four standard deviations"


def test_flips_and_shifts_are_drawn_apart() -> None:
    image = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    allowed = [
        np.ascontiguousarray(np.pad(image, 1)[r : r + 3, c : c + 4][:, ::way]).tobytes()
        for r in range(3) for c in range(3) for way in (1, -1)
    ]  # fmt: skip
    assert {x.numpy().tobytes() for x in flipped(image, 800, shift=1)} == set(allowed)
    assert len(set(allowed)) == 18


def test_flips_follow_seed_and_epoch() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert torch.equal(flipped(image, 50, seed=1, epoch=2), flipped(image, 50, seed=1, epoch=2))
    assert not torch.equal(flipped(image, 50, seed=1, epoch=2), flipped(image, 50, seed=1, epoch=3))
    assert not torch.equal(flipped(image, 50, seed=1, epoch=2), flipped(image, 50, seed=2, epoch=2))


@pytest.mark.parametrize("shift", [0, 1])
def test_flips_leave_the_images_in_memory_alone(shift: int) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    images = np.repeat(image[None], 50, axis=0)
    batches = ImageBatches(images, np.zeros(50, np.int64), shift=shift, flip=True)
    first = batches.__getitems__(range(50))[0]
    assert not torch.equal(first, batches.__getitems__(range(50))[0]), "the second batch is drawn anew"
    batches.set_epoch(0)
    assert torch.equal(first, batches.__getitems__(range(50))[0])
    assert np.array_equal(images, np.repeat(image[None], 50, axis=0))


def test_flat_images_cannot_be_flipped() -> None:
    with pytest.raises(
        FirstspikeError, match=r"\[train\] flip is on, but an image of shape \(12,\) has no rows"
    ) as error:
        ImageBatches(np.zeros((2, 12), np.uint8), np.zeros(2, np.int64), flip=True)
    assert "use flip = false" in error.value.one_line()
