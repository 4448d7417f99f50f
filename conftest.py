"""Options and helpers of every test folder."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
CCACHE = Path(sys.executable).with_name("ccache")
LONGEST = ("test_boards.py", "test_cli.py", "test_benches.py", "test_mutants.py", "test_examples.py", "test_netlist.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--waves", action="store_true", help="write a VCD of every simulation to build/waves/")
    parser.addoption("--seed", type=int, default=None, help="seed of random stalls and images (printed on failure)")


def pytest_configure() -> None:
    """Verilator's makefiles compile what all models share once, and a model that is in two folders."""
    if CCACHE.is_file():
        os.environ.setdefault("OBJCACHE", str(CCACHE))
        os.environ.setdefault("CCACHE_DIR", str(ROOT / "build" / "ccache"))
        os.environ.setdefault("CCACHE_BASEDIR", tempfile.gettempdir())  # each is compiled in a folder of its own
    # A shell ignores these for what it starts in the background, and so would every program that the tests stop.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one of them at the end."""
    for item in items:
        if item.get_closest_marker("slow") and item.get_closest_marker("smoke"):
            raise pytest.UsageError(f"{item.nodeid} is marked smoke and slow")
    place = {name: n for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture
def waves(request: pytest.FixtureRequest) -> Path | None:
    """Where this test may put its VCD files, or None."""
    if not request.config.getoption("--waves"):
        return None
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.split("/")[-1])
    folder = ROOT / "build" / "waves"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.vcd"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed for the test: that of ``--seed``, or one made from its name, so that runs repeat."""
    chosen = request.config.getoption("--seed")
    value = chosen if chosen is not None else sum(ord(c) * (i + 1) for i, c in enumerate(request.node.nodeid)) % 100_000
    print(f"seed {value}; repeat with: pytest '{request.node.nodeid}' --seed {value} --waves")
    return int(value)
