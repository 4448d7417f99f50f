"""Bench: two cores of one design, each on clock and pins of its own, both at work at the same time.

The top's ports are those of both cores, each behind the core's name and ``_``. For each core a folder of its name,
below that in the environment variable :data:`PAIR`, holds ``rtl`` and ``network``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb

from firstspike_verify.benches import cocotb_runner
from firstspike_verify.benches.bench import Bench, Stalls

PAIR = "FIRSTSPIKE_BENCH_PAIR"
IMAGES = 20


class Half:
    """The pins of one core, by their own names."""

    def __init__(self, dut: Any, name: str) -> None:
        self._dut, self._name = dut, name

    def __getattr__(self, pin: str) -> Any:
        return getattr(self._dut, pin if pin.startswith("_") else f"{self._name}_{pin}")

    def __dir__(self) -> list[str]:
        begin = f"{self._name}_"
        return [name.removeprefix(begin) for name in dir(self._dut) if name.startswith(begin)]


@cocotb.test()
async def both_at_once(dut: Any) -> None:
    """Images in both, with pauses: each core's records, spikes and membranes are those of its own network."""
    benches = []
    for folder in sorted(Path(os.environ[PAIR]).iterdir()):
        os.environ[cocotb_runner.GENERATED] = str(folder / "rtl")
        os.environ[cocotb_runner.NETWORK] = os.environ[cocotb_runner.OTHER_NETWORK] = str(folder / "network")
        benches.append(Bench(Half(dut, folder.name), folder.name))
    assert len({bench.network.digest for bench in benches}) == len(benches) == 2
    for bench in benches:
        await bench.start(Stalls(input="random", output="random", monitor="random"))
        await bench.enable()
    for bench in benches:
        bench.send(bench.pictures(IMAGES))
    for bench in benches:
        await bench.finish()
        assert await bench.read("images") == IMAGES
