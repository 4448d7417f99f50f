"""A core in another simulator, in both standards of the language: what it reads and what it sends is never unknown."""

from __future__ import annotations

import pytest
from benches import run

from firstspike.errors import FirstspikeError
from firstspike_verify.benches.cocotb_runner import STANDARDS, icarus


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    try:
        icarus()
    except FirstspikeError as error:
        pytest.skip(error.one_line())


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize(
    ("design", "module"), [("window", "streams"), ("leaky", "streams"), ("window", "registers"), ("ties", "reset")]
)
def test_bench(standard: str, design: str, module: str, generated, seed: int, request: pytest.FixtureRequest) -> None:
    """Small cores, and some of their cases: Icarus takes long."""
    only = {"streams": "back_to_back|idle=long/output=random", "reset": "", "registers": ""}[module]
    assert run(generated(design), module, seed, request, only=only or None, standard=standard)
