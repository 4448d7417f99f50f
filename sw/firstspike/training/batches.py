"""Images in memory, handed to the training loop a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from firstspike.errors import FirstspikeError

Batch = tuple[Tensor, Tensor]
_T = TypeVar("_T")


class ImageBatches(Dataset[Batch]):
    """Images and labels whose ``__getitems__`` gathers a batch in one operation, augmented at random.

    Parameters
    ----------
    images
        uint8, shape (N, ...); the last two axes are rows and columns if they shift or flip.
    events
        Whether the second axis is that of time.
    labels
        int64, shape (N,).
    shift
        Each image of a batch moves by -shift..shift pixels along both axes; what comes in is 0.
    flip
        Each image of a batch is mirrored left-right with probability 1/2.
    seed
        Shifts and flips follow from it, the epoch, and the sizes of the batches so far alone: a resumed run sees the
        same images.

    Raises
    ------
    FirstspikeError
        if images without rows and columns shall be shifted or flipped.

    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        events: bool = False,
        shift: int = 0,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value, off in (("shift", shift, "0"), ("flip", flip, "false")):
            if value and images.ndim < 3 + events:
                raise FirstspikeError(
                    f"[train] {name} is on, but an image of shape {images.shape[1 + events :]} has no rows and columns",
                    f"use {name} = {off}",
                )
        self._shift, self._flip, self._seed = shift, flip, seed
        self._labels = torch.tensor(labels)
        self._images = torch.tensor(images)  # a copy: the caller's array may be read-only
        if shift:
            rows, columns = images.shape[-2:]
            padded = torch.nn.functional.pad(self._images, (shift,) * 4)
            # A view, axes (N, row shift, column shift, ..., rows, columns): every shifted image, none of them copied.
            windows = padded.unfold(-2, rows, 1).unfold(-2, columns, 1)
            self._images = windows.movedim((-4, -3), (1, 2))
        self._generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Start the random shifts and flips of an epoch."""
        self._generator.manual_seed(self._seed * 1_000_003 + epoch)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Images, uint8 (B, ...), and labels, int64 (B,)."""
        chosen = torch.as_tensor(indices)
        if self._shift:
            rows, columns = torch.randint(0, 2 * self._shift + 1, (2, len(chosen)), generator=self._generator)
            images = self._images[chosen, rows, columns]
        else:
            images = self._images[chosen]
        if self._flip:
            mirrored = torch.randint(0, 2, (len(chosen),), generator=self._generator).bool()
            images[mirrored] = images[mirrored].flip(-1)
        return images, self._labels[chosen]


class _Shuffle(Sampler[int]):
    """Random order that follows from seed and epoch alone."""

    def __init__(self, data: ImageBatches, seed: int) -> None:
        self._data, self._seed, self._epoch = data, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop at the start of each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        return iter(torch.randperm(len(self._data), generator=generator).tolist())

    def __len__(self) -> int:
        return len(self._data)


def _identity(batch: _T) -> _T:
    return batch


def loader(data: ImageBatches, *, batch_size: int, seed: int) -> DataLoader[Batch]:
    """Shuffled batches; a last, smaller batch is left out, since its statistics would count as much as a whole one's.

    The sampler is an ordinary one, so that a distributed run can put its own in its place.
    """
    return DataLoader(
        data,
        batch_size=min(batch_size, len(data)),
        sampler=_Shuffle(data, seed),
        collate_fn=_identity,
        drop_last=True,
    )
