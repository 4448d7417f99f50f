"""The processes of a run that ``torchrun`` has started, by the variables that it sets; without it there is one."""

from __future__ import annotations

import os

from firstspike.errors import FirstspikeError

#: Set by torchrun, and by nothing else.
MARK = "LOCAL_WORLD_SIZE"
NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", MARK)
PLACE = ("MASTER_ADDR", "MASTER_PORT")


def started_by_torchrun() -> bool:
    """Whether this process is one of a group."""
    return MARK in os.environ


def count() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not started_by_torchrun() or os.environ.get("RANK", "0") == "0"


def check() -> None:
    """Look whether the processes can train together. Variables of cluster managers play no part.

    Raises
    ------
    FirstspikeError
        if the environment has a part of torchrun's variables, or they are no numbers.

    """
    remedy = "start with torchrun; or, to train in one process, unset"
    if not started_by_torchrun():
        if (size := os.environ.get("WORLD_SIZE", "1")) != "1":
            raise FirstspikeError(f"WORLD_SIZE is {size!r} in the environment, but {MARK} is not set", f"{remedy} it")
        return
    for name in (*NUMBERS, *PLACE):
        value = os.environ.get(name)
        if value is None or (name in NUMBERS and not (value.isascii() and value.isdigit())):
            what = "not set" if value is None else f"{value!r}"
            raise FirstspikeError(f"{MARK} is set in the environment, but {name} is {what}", f"{remedy} {MARK}")
