"""Running a cocotb bench from a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from firstspike_verify.benches.cocotb_runner import GENERATED, NETWORK, OTHER_NETWORK, REPEAT, SEED, Case, run_bench
from firstspike_verify.checks.scoreboard import repeat_command

if TYPE_CHECKING:
    from conftest import Generated


def run(
    core: Generated,
    module: str,
    seed: int,
    request: pytest.FixtureRequest,
    waves: Path | None = None,
    *,
    only: str | None = None,
    check: bool = True,
    standard: str | None = None,
) -> list[Case]:
    """The cases of bench ``cocotb_<module>`` on a core; with ``check`` any that fails fails the test.

    With a ``standard`` they run on Icarus Verilog, else on Verilator.
    """
    build = core.compile_bench(waves is not None, standard)
    repeat = repeat_command(request.node.nodeid, seed)
    cases = run_bench(
        [f"firstspike_verify.benches.cocotb_{module}"],
        build,
        core.rtl,
        settings={
            GENERATED: str(core.rtl),
            NETWORK: str(core.network),
            OTHER_NETWORK: str(core.other),
            SEED: str(seed),
            REPEAT: repeat,
        },
        test_filter=only,
        waves=waves,
        name=f"{module}-{abs(hash(request.node.nodeid)) % 10**6}",
        simulator="icarus" if standard else "verilator",
    )
    failed = [case for case in cases if not case.passed]
    if check and failed:
        text = "\n".join(f"{case.name}: {case.message}" for case in failed)
        pytest.fail(f"{len(failed)} of {len(cases)} cases of cocotb_{module} on {core.name}\n{text}\n{repeat}")
    return cases
