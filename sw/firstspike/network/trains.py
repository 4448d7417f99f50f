"""The spikes of one population for a batch of B images: one a neuron, or a count for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.network.layers import Population
from firstspike.network.sums import FloatArray


@dataclass(frozen=True, eq=False)
class Train:
    """Spikes, and what they are worth to the next layer.

    Parameters
    ----------
    population
        That sends them.
    times
        Code of each neuron's first spike, or the number of codes where it has none; shape (B, N).
    counts
        Of a population that fires again: spikes of each step, shape (B, T, N). Else None.
    """

    population: Population
    times: NDArray[np.int16]
    counts: NDArray[np.uint8] | None = None

    @staticmethod
    def of_counts(population: Population, counts: NDArray[np.uint8]) -> Train:
        """With the first spikes found."""
        fires = counts.astype(bool)
        first = np.where(fires.any(axis=1), fires.argmax(axis=1), population.codes)
        return Train(population, first.astype(np.int16), counts)

    def value(self, codes: Sequence[int], dtype: Any) -> FloatArray | None:
        """What the spikes with these codes are worth, shape (B, N); None if they are worth nothing in any image."""
        kernel = self.population.kernel
        if not any(kernel[code] for code in codes):
            return None
        if self.counts is None:
            # One entry more, worth 0, for the code that means "no spike".
            table: FloatArray = np.zeros(len(kernel) + 1, dtype)
            table[list(codes)] = [kernel[code] for code in codes]
            return np.asarray(table[self.times])
        worth: FloatArray = np.array([kernel[code] for code in codes], dtype)
        if len(codes) == 1:
            return np.asarray(self.counts[:, codes[0]] * worth[0])
        return np.asarray(np.einsum("btn,t->bn", self.counts[:, list(codes)], worth, dtype=dtype))
