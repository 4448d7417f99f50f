"""The flag of a malformed frame, from the input to the record and the counter, through all parts between."""

from __future__ import annotations

import random

import pytest
from malformed import CORES, expected, frames_for, said


@pytest.mark.parametrize("name", CORES)
def test_flags(name: str, seed: int, waves) -> None:
    core = CORES[name]
    shown = frames_for(core, random.Random(seed))
    assert {frame.fault for frame in shown} == {True, False}
    assert said(core, shown, waves=waves) == expected(core, shown)
