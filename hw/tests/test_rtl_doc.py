"""docs/rtl.md against the code: registers, words and latencies."""

from __future__ import annotations

import re
from pathlib import Path

import parts
import pytest

from firstspike.contract.layer_shape import SHALLOW_ROWS
from firstspike.contract.registers import ADDRESS_BITS, IDENTITY, register_map
from firstspike_rtl.core.buffers import Queue, SkidBuffer
from firstspike_rtl.core.inputs.events import EventInput, TrainInput
from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.inputs.sorter import Sorter
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.layouts import EVENT_WORD, RESULT_WORD
from firstspike_rtl.core.membranes import Membranes
from firstspike_rtl.core.monitor import Monitor
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.stepper import DRIVE
from firstspike_rtl.core.walk import Walk
from firstspike_rtl.top.bus import Registers
from firstspike_rtl.top.verilog import LINT_EXCEPTIONS

TEXT = (Path(__file__).parents[2] / "docs" / "rtl.md").read_text()
COUNTS = {"one a spiking population": 2, "one a layer": 2, "one a population": 3}


def table(title: str) -> dict[str, list[str]]:
    """Rows of the table whose first heading is ``title``: name, without back quotes, to the other cells."""
    lines = TEXT[TEXT.index(f"\n| {title} |") :].strip().split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): cells for name, *cells in rows}


@pytest.mark.smoke
def test_registers() -> None:
    core = parts.hardware(parts.layer(inputs=9, outputs=3), parts.layer(inputs=3))
    listed = {
        name: (int(offset, 16), COUNTS.get(count) or int(count), access)
        for name, (offset, count, access, _) in table("register").items()
    }
    assert listed == {name: (r.offset, r.count, r.access) for name, r in register_map(core).items()}
    assert f"{IDENTITY:#x}" in TEXT
    assert f"{ADDRESS_BITS} address bits" in TEXT


@pytest.mark.smoke
@pytest.mark.parametrize(("title", "layout"), [("event word", EVENT_WORD), ("result word", RESULT_WORD)])
def test_words(title, layout) -> None:
    expected = {}
    for name, field in layout:
        high = field.offset + field.width - 1
        expected[name] = f"{high}:{field.offset}" if field.width > 1 else str(high)
    assert {name: bits for name, (bits, *_) in table(title).items()} == expected


@pytest.mark.smoke
def test_latencies() -> None:
    numbers = {name: [int(n) for n in re.findall(r"\b\d+\b", latency)] for name, (latency, _) in table("part").items()}
    assert numbers == {
        "PixelEncoder": [PixelEncoder.LATENCY],
        "EventInput": [EventInput.LATENCY],
        "TrainInput": [TrainInput.LATENCY],
        "Sorter": [Sorter.LATENCY],
        "Walk": [Walk.LATENCY],
        "Integrator": [Integrator.LATENCY_TEST],
        "Membranes": [Membranes.LATENCY],
        "Scanner": [2, Scanner.LATENCY],  # pool^2 + LATENCY
        "Stepper": [DRIVE + 2, 1, 1],  # 1 with a gain, 1 with pooling
        "Neurons": [Neurons.LATENCY, 1],  # and 1 stage stepped
        "Readout": [Readout.LATENCY],
        "Fork": [0],
        "Monitor": [Monitor.LATENCY],
        "SkidBuffer": [SkidBuffer.LATENCY],
        "Queue": [Queue.LATENCY],
        "Registers": [Registers.LATENCY, Registers.WRITE_LATENCY],
    }
    assert f"a queue of {PixelEncoder.QUEUE} words" in table("part")["PixelEncoder"][1]
    intervals = f"a read every {Registers.INTERVAL} clocks, a write every {Registers.WRITE_INTERVAL}"
    assert table("part")["Registers"][1] == intervals


@pytest.mark.smoke
def test_shallow_rows() -> None:
    (cells,) = (cells for name, cells in table("memory").items() if "few rows" in name)
    assert re.findall(r"up to (\d+)", cells[1]) == [str(SHALLOW_ROWS)]


@pytest.mark.smoke
def test_lint_exceptions() -> None:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")
    assert f"{words[len(LINT_EXCEPTIONS)]} rules are switched off" in TEXT
