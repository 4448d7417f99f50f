"""Energy of a spiking network relative to rate coding, from spikes and time steps alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstspike.errors import FirstspikeError


@dataclass(frozen=True)
class Chip:
    """Shares of the energy of rate coding that go with spikes (dynamic) and with time (static); their sum is 1.

    Raises
    ------
    FirstspikeError
        if a share is outside 0..1 or their sum is not 1.

    """

    dynamic: float
    static: float

    def __post_init__(self) -> None:
        if min(self.dynamic, self.static) < 0 or not math.isclose(self.dynamic + self.static, 1.0):
            raise FirstspikeError(f"shares of energy are {self.dynamic} and {self.static}", "use two that add to 1")


#: As T2FSNN (DAC 2020) uses them. Recalled, not read; they reproduce every energy of its table.
TRUENORTH = Chip(0.4, 0.6)
SPINNAKER = Chip(0.64, 0.36)


def normalised_energy(chip: Chip, *, spikes: float, steps: float, rate_spikes: float, rate_steps: float) -> float:
    """E = dynamic * spikes / rate_spikes + static * steps / rate_steps: 1 for rate coding itself (T2FSNN, DAC 2020).

    Parameters
    ----------
    chip
        The shares.
    spikes, rate_spikes
        Of an image, of this coding and of rate coding.
    steps, rate_steps
        Latency in time steps.

    Raises
    ------
    FirstspikeError
        if a number is negative or a reference is 0.

    """
    if min(spikes, steps) < 0 or min(rate_spikes, rate_steps) <= 0:
        raise FirstspikeError(
            f"{spikes} spikes in {steps} steps against {rate_spikes} in {rate_steps} of rate coding",
            "use numbers >= 0, and > 0 for rate coding",
        )
    return chip.dynamic * spikes / rate_spikes + chip.static * steps / rate_steps
