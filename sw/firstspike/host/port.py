"""The serial port that a board is at."""

from __future__ import annotations

import os
from typing import Protocol

from firstspike.host.link import DEFAULT_BAUD, LinkError


class Port(Protocol):
    """What is needed of a ``serial.Serial``."""

    timeout: float | None

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; less, or none, after ``timeout`` seconds."""

    def write(self, data: bytes, /) -> int | None:
        """Send."""

    def close(self) -> None:
        """Give the port back."""


def open_port(path: str, baud: int = DEFAULT_BAUD, write_timeout: float = 10.0) -> Port:
    """A serial port, for this process alone.

    Raises
    ------
    LinkError
        if it cannot be opened.

    """
    import serial

    try:
        port: Port = serial.Serial(path, baud, exclusive=True, write_timeout=write_timeout)
    except (OSError, ValueError) as error:
        raise LinkError(f"cannot open {path}: {reason(error)}", "name the board's serial port") from error
    return port


def reason(error: Exception) -> str:
    """Why a port failed: the system's own words, or those of the error."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
