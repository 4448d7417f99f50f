"""The processes of a run that ``torchrun`` has started, by the variables that it sets; without it there is one."""

from __future__ import annotations

import os


def started_by_torchrun() -> bool:
    """Whether this process is one of a group."""
    return "LOCAL_WORLD_SIZE" in os.environ


def count() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"
