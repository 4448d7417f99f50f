"""The AXI driver on the core: its registers on the AXI4-Lite model, its images through the AXI4-Stream models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benches import run
from conftest import BUILDS, Generated

from firstspike_rtl.boards import vivado
from firstspike_verify.benches.cocotb_runner import (
    GENERATED,
    NETWORK,
    OTHER_NETWORK,
    REPEAT,
    SEED,
    Case,
    compile_bench,
    run_bench,
)
from firstspike_verify.checks.scoreboard import repeat_command

CASES = 5

#: Drivers with one mistake, as a program that makes it before the bench is imported; and what the bench says.
MUTANTS = {
    "wrong_offset": (
        """
from dataclasses import replace
from firstspike.host import axi
right = axi.register_map
def register_map(hardware):
    registers = right(hardware)
    return registers | {"spikes": replace(registers["spikes"], offset=registers["active"].offset)}
axi.register_map = register_map
""",
        "networks_and_images",
        r"assert \[\d+, \d+, \d+\] == \[\d+, \d+, \d+\]",
    ),
    "unmapped_offset": (
        """
from dataclasses import replace
from firstspike.host import axi
right = axi.register_map
def register_map(hardware):
    registers = right(hardware)
    return registers | {"images": replace(registers["images"], offset=registers["images"].offset + 0x10)}
axi.register_map = register_map
""",
        "registers",
        "read of 0x30: response 2",
    ),
    "byte_order": (
        """
from firstspike.contract import words
right = words.image_words
words.image_words = lambda images: right(images).byteswap()
""",
        "stalls",
        "membranes: .* expected",
    ),
    "word_order": (
        """
from firstspike.host import axi
from firstspike.contract import images
right = images.load_words
def load_words(source, hardware):
    words = right(source, hardware)
    per_row = {memory.name: memory.words for memory in hardware.memories}
    swap = lambda row: [word for i in range(0, len(row[0]), row[1]) for word in reversed(row[0][i : i + row[1]])]
    return {name: swap((value, per_row[name])) for name, value in words.items()}
images.load_words = load_words
""",
        "stalls",
        # Weights out of range may make spikes that do not exist: then the monitor complains first.
        "membranes: .* expected|Multiple exceptions",
    ),
    "stays_enabled": (
        """
from firstspike.host import axi
right = axi.load_writes
def load_writes(hardware, words):
    control = axi.register_map(hardware)["control"].address()
    return ((a, v or axi.ENABLE) if a == control else (a, v) for a, v in right(hardware, words))
axi.load_writes = load_writes
""",
        "stalls",
        "write of 0x18: response 2",
    ),
    "results_of_the_image_before": (
        """
from firstspike.host import axi
right = axi.Driver._receive
def receive(self, result):
    before = self._buffers[1].copy()
    right(self, result)
    result[:] = before[: len(result)]
axi.Driver._receive = receive
""",
        "stalls",
        "membranes: .* expected",
    ),
}


def settings(core: Generated, seed: int, repeat: str) -> dict[str, str]:
    return {
        GENERATED: str(core.rtl), NETWORK: str(core.network), OTHER_NETWORK: str(core.other), SEED: str(seed),
        REPEAT: repeat,
    }  # fmt: skip


@pytest.mark.parametrize("design", ["window", "early", "events"])
def test_driver(design: str, generated, seed: int, waves: Path | None, request: pytest.FixtureRequest) -> None:
    assert len(run(generated(design), "driver", seed, request, waves)) == CASES


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_driver_is_found(
    name: str, generated, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    core = generated("early")  # some of its rows are longer than a word
    program, only, message = MUTANTS[name]
    (tmp_path / f"wrong_{name}.py").write_text(f"{program}\nfrom firstspike_verify.benches.cocotb_driver import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    repeat = repeat_command(request.node.nodeid, seed)
    (case,) = run_bench(
        [f"wrong_{name}"], core.compile_bench(), core.rtl, settings=settings(core, seed, repeat),
        test_filter=f"{only}$", name=f"driver-{name}",
    )  # fmt: skip
    assert not case.passed
    assert re.search(message, case.message), case.message


def test_files_for_vivado(generated, seed: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The Verilog and the images that Vivado gets, which are not quite those generated, are the same core."""
    core = generated("window")
    sources = vivado.write(core.rtl, tmp_path / "vivado") / "src"
    build = BUILDS / "window-vivado"
    compile_bench(sources / "top.v", build)
    repeat = repeat_command(request.node.nodeid, seed)
    cases: list[Case] = run_bench(
        ["firstspike_verify.benches.cocotb_streams"], build, sources, settings=settings(core, seed, repeat),
        test_filter="back_to_back$", name="vivado",
    )  # fmt: skip
    assert [(case.name, case.message) for case in cases if not case.passed] == [], repeat
    assert len(cases) == 1
