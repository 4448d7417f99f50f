"""The core's counters beyond their 32 bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.contract.registers import read_counters


class Totals:
    """What the counters of a core have moved by since they were cleared, added up from one look to the next.

    A counter moves by at most one a clock, and only while images are in the core. So :meth:`poll` must be called while
    they are; the clocks need it not, since they have 64 bits. Clocks that went backwards tell of a reset, after which
    all counters began at zero.

    Parameters
    ----------
    hardware
        The core.
    read
        Reads all words of a register, by name, the lowest first.
    clock_hz
        At most that many clocks a second; may be changed.

    """

    def __init__(
        self, hardware: Hardware, read: Callable[[str], Sequence[int]], clock_hz: float = 2_000_000_000
    ) -> None:
        self._hardware, self._read, self.clock_hz = hardware, read, clock_hz
        self.clear()

    def clear(self) -> None:
        """The core's counters were cleared."""
        self._seen: dict[str, list[int]] = {}
        self._totals: dict[str, list[int]] = {}
        self._looked = time.monotonic()

    def poll(self) -> None:
        """Look, if it is time to: when a counter may have moved half of its range."""
        if self._hardware.counters and (time.monotonic() - self._looked) * self.clock_hz >= 1 << WORD_BITS - 1:
            self.read()

    def read(self) -> dict[str, list[int]]:
        """The totals of now, by name, one for each population or layer.

        Raises
        ------
        FirstspikeError
            if the core has no counters.

        """
        now = read_counters(self._hardware, self._read)
        if not self._seen or now["clocks"] < self._seen["clocks"]:
            self._seen = {name: [0] * len(values) for name, values in now.items()}
        if not self._totals:
            self._totals = self._seen
        bits = {name: 2 * WORD_BITS if name == "clocks" else WORD_BITS for name in now}
        self._totals = {
            name: [
                total + (value - seen) % (1 << bits[name])
                for total, value, seen in zip(self._totals[name], values, self._seen[name], strict=True)
            ]
            for name, values in now.items()
        }
        self._seen, self._looked = now, time.monotonic()
        return {name: list(values) for name, values in self._totals.items()}
