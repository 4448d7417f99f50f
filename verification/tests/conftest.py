"""Generated cores and their compiled models, made once for all workers of a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from designs import DESIGNS, Design, folders

from firstspike_verify.benches.cocotb_runner import compile_bench
from firstspike_verify.models.verilated import VerilatedCore

#: Compiled models outlive a session: each holds the hash of what it was made from.
BUILDS = Path(__file__).parents[2] / "build" / "verification"


@dataclass(frozen=True)
class Generated:
    """A design on disk."""

    name: str
    design: Design
    rtl: Path
    network: Path
    other: Path

    def compile_bench(self, waves: bool = False, standard: str | None = None) -> Path:
        """The build for cocotb: for Verilator, or for Icarus in a standard of the language."""
        build = BUILDS / f"{self.name}-{f'icarus-{standard}' if standard else 'cocotb'}{'-waves' if waves else ''}"
        compile_bench(self.rtl / "top.v", build, waves=waves, standard=standard)
        return build

    def verilated(self, waves: Path | None = None) -> VerilatedCore:
        """The model as a Python object, fresh from reset."""
        build = BUILDS / f"{self.name}-verilated{'-waves' if waves else ''}"
        return VerilatedCore(self.rtl, build, waves=waves, fast=False)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all workers."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def generated(session_folder: Path) -> Callable[..., Generated]:
    """Makes a design by name, or a changed one under a name of its own."""

    def make(name: str, design: Design | None = None) -> Generated:
        design = DESIGNS[name]() if design is None else design
        return Generated(name, design, *folders(session_folder / "cores", name, design))

    return make
