"""Arrays of images and labels as a data set needs them; the message names the array, the place, and what to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import MAX_CAP

#: Colours of a picture, with transparency at most.
COLOURS = 4
#: Brightest pixel of images that were hardly meant for 0..255: 0 and 1, the 0..16 of scikit-learn's digits,
#: or the upper bytes of a camera's 14 bits in 16.
DIM = 63
NUMBER_ANEW = "number the classes 0, 1, 2, ...: np.unique(labels, return_inverse=True)[1]"


def check_images(name: str, images: NDArray[Any]) -> None:
    """Refuse an array that is not of pixels 0..255, or has its channels last.

    Raises
    ------
    FirstspikeError
        if it is not uint8 (N, ...), or its images are surely (rows, columns, channels).

    """
    if images.dtype != np.uint8 or images.ndim < 2:
        wrong = f"{name} has type {images.dtype} and shape {images.shape}, not uint8 (N, ...)"
        raise FirstspikeError(wrong, _as_bytes(name, images))
    if images.ndim == 4 and _channels_last(*images.shape[1:]):
        first, second, last = images.shape[1:]
        raise FirstspikeError(
            f"{name} has shape {images.shape}: {first} channels of {second} x {last} pixels, or channels come last",
            f"put the channels first: {name}.transpose(0, 3, 1, 2); or, if there are {first} channels, exchange rows "
            f"and columns: {name}.transpose(0, 1, 3, 2)",
        )


def check_events(name: str, events: NDArray[Any]) -> None:
    """Refuse an array that is not of counts of events, a frame a step.

    Raises
    ------
    FirstspikeError
        if it is not uint8 (N, T, ...), or more events come at once than an input may have.

    """
    if events.dtype != np.uint8 or events.ndim < 3:
        raise FirstspikeError(
            f"{name} has type {events.dtype} and shape {events.shape}, not uint8 (N, T, ...)",
            "save how many events each pixel has in each of T steps",
        )
    most = int(events.max(initial=0))
    if most > MAX_CAP:
        raise FirstspikeError(
            f"{name} has {most} events of a pixel in one step; an input has at most {MAX_CAP}",
            f"use more steps, or np.minimum({name}, {MAX_CAP}); or leave out [data] events, if these are pixels",
        )


def _channels_last(first: int, second: int, last: int) -> bool:
    """Whether an image of this shape has few values along its last axis alone, as (rows, columns, channels) has."""
    return last <= COLOURS and last < second and (first > COLOURS or first == second)


def _as_bytes(name: str, images: NDArray[Any]) -> str:
    """How to make bytes of images of another type."""
    if images.dtype.kind not in "biuf" or images.ndim < 2 or not images.size:
        return "save images of bytes, shape (N, rows, columns) or (N, channels, rows, columns)"
    low, high = images.min(), images.max()
    if not (math.isfinite(low) and math.isfinite(high)):
        return "replace what is not finite, and save pixels 0..255 as bytes"
    if low < 0 or high > 65535:
        return f"its values are {low:g}..{high:g}: scale them to 0..255, and save them as bytes"
    if high <= 1:
        return f"use np.rint({name} * 255.0).astype(np.uint8)"
    if high <= 255:
        return f"use np.rint({name}).astype(np.uint8)"
    return f"its values are {low:g}..{high:g}: if 65535 is white, use ({name} // 257).astype(np.uint8)"


def dim(images: NDArray[np.uint8]) -> str:
    """What of the brightest pixel is hardly meant; empty if nothing is."""
    brightest = int(images.max())
    if brightest > DIM:
        return ""
    return f"is {brightest} of 255, so that {'hardly any spikes' if brightest else 'nothing spikes'}"


def border(images: NDArray[np.uint8]) -> int:
    """Median of the pixels at the edges of images, shape (..., rows, columns)."""
    sides = (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1])
    return int(np.median(np.concatenate([side.reshape(-1) for side in sides])))


def check_labels(name: str, labels: NDArray[Any]) -> None:
    """Refuse an array that is not of whole numbers from 0, one an image.

    Raises
    ------
    FirstspikeError
        naming the first label that is wrong.

    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        wrong = f"{name} has type {labels.dtype} and shape {labels.shape}, not integers (N,)"
        raise FirstspikeError(f"{wrong}{_first(name, labels)}", _as_classes(name, labels))
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        raise FirstspikeError(
            f"{name}[{negative[0]}] is {labels[negative[0]]}, out of range: classes count from 0", NUMBER_ANEW
        )


def _first(name: str, labels: NDArray[Any]) -> str:
    """The first label that is wrong in an array of another type or shape."""
    if not labels.ndim or not len(labels):
        return ""
    index = 0
    if labels.ndim == 1 and labels.dtype.kind == "f":
        index = int(np.argmax(labels != np.floor(labels)))
    text = np.array2string(labels[index], threshold=8, edgeitems=3) if labels.ndim > 1 else repr(labels[index].item())
    return f": {name}[{index}] is {text}"


def _as_classes(name: str, labels: NDArray[Any]) -> str:
    """How to make classes of labels of another type or shape."""
    numbers = labels.dtype.kind in "biuf"
    if labels.ndim == 2 and labels.shape[1] == 1:
        return f"use {name}.ravel()"
    if labels.ndim == 2 and numbers and np.all((labels == 0) | (labels == 1)) and np.all(labels.sum(axis=1) == 1):
        return f"use the place of the one: {name}.argmax(axis=1)"
    if labels.ndim == 1 and numbers and np.all(labels == np.floor(labels)):
        return f"use {name}.astype(np.int64)"
    return f"save one integer an image, shape (N,); {NUMBER_ANEW}"


def count_classes(name: str, labels: NDArray[Any]) -> int:
    """How many classes labels 0, 1, 2, ... stand for.

    Raises
    ------
    FirstspikeError
        if they are no such labels: they begin above 0, or most classes below the largest have no image.

    """
    check_labels(name, labels)
    if not len(labels):
        return 0
    present, places = np.unique(labels, return_index=True)
    low, high = int(present[0]), int(present[-1])
    if low:
        remedy = f"use {name} - {low}, and the same for the other labels" if high - low < len(present) else NUMBER_ANEW
        raise FirstspikeError(
            f"{name} holds {low}..{high}, and {name}[{places[0]}] is {low}, its smallest: classes count from 0", remedy
        )
    if high + 1 > 2 * len(present):
        raise FirstspikeError(
            f"{name}[{places[-1]}] is {high}, but {high + 1 - len(present)} of the classes 0..{high} have no image",
            f"mend the label, or {NUMBER_ANEW}",
        )
    return high + 1


def missing_classes(labels: NDArray[np.int64], classes: int) -> str:
    """The classes without a label, for people; empty if there is none."""
    missing = np.setdiff1d(np.arange(classes), labels)
    shown = ", ".join(map(str, missing[:10]))
    return f"{shown}, ... ({len(missing)} in all)" if len(missing) > 10 else shown
