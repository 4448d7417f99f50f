"""The synthesised netlist of a core against the golden model: every value and every clock, as of the Verilog itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUILDS, Generated
from designs import DESIGNS, Design, parts, pictures

from firstspike.network import golden
from firstspike.network.model import Network, check_images
from firstspike_rtl.clocks.cycles import predict
from firstspike_rtl.top.verilog import generate, load_manifest
from firstspike_verify.checks.scoreboard import Mismatches, compare
from firstspike_verify.models import frames, netlist
from firstspike_verify.models.netlist import Changes, Netlist
from firstspike_verify.models.verilated import VerilatedCore

IMAGES = 100
#: Synthesis of each design makes these cells besides those of logic. Between them: dense layers and convolutions, a
#: search, a stepped fire unit and dynamics, lanes that shift and that multiply, pixels and events in, both readouts.
BLOCKS = {
    "window": {"DP16KD", "TRELLIS_DPR16X4"},
    "events": {"DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"},
    "leaky": {"DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"},
    "trains": {"DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"},
    "convolution_early": {"DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"},
}
#: The smallest of them, and the largest.
SMALL, LARGE = "events", "convolution_early"


@dataclass(frozen=True)
class Synthesised:
    """A design, and its netlist."""

    generated: Generated
    netlist: Netlist

    @property
    def design(self) -> Design:
        """What was synthesised."""
        return self.generated.design

    def core(self, folder: Path, name: str, changes: Changes | None = None) -> VerilatedCore:
        """The netlist as a core, with changes if wanted."""
        build = BUILDS / f"{name}-netlist"
        netlist.write(self.netlist.changed(changes or {}), self.generated.rtl, folder)
        return VerilatedCore(folder, build, fast=False)


@pytest.fixture(scope="module")
def synthesised(generated: Callable[..., Generated]) -> Callable[..., Synthesised]:
    """Synthesises a design, each once."""
    made: dict[str, Synthesised] = {}

    def make(name: str, design: Design | None = None) -> Synthesised:
        if name not in made:
            rtl = generated(name, design)
            made[name] = Synthesised(rtl, netlist.synthesised(rtl.rtl))
        return made[name]

    return make


def test_netlist_of_a_core_of_another_name(tmp_path: Path) -> None:
    """Module, file and manifest have the name of the core."""
    design = DESIGNS["single"]()
    rtl = generate(design.network, design.hardware, tmp_path / "rtl", "engine")
    netlist.write(netlist.synthesised(rtl), rtl, tmp_path / "netlist")
    manifest, hardware = load_manifest(tmp_path / "netlist")
    assert (manifest["name"], [*manifest["files"]], hardware) == ("engine", ["engine.v"], design.hardware)
    assert "module engine(" in (tmp_path / "netlist" / "engine.v").read_text()


def outcome(core: VerilatedCore, network: Network, seed: int) -> Mismatches:
    """Random images through the core; all it shows against the golden model, and its clocks against the prediction."""
    shown = pictures(network, seed, IMAGES)
    expected = golden.run(network, shown)
    for one_at_a_time in (False, True):
        # Events in order of their neurons, as the prediction wants them.
        rows = frames.input_frames(core.hardware, network.encoder, check_images(network, shown))
        run = core.run_frames(rows, one_at_a_time=one_at_a_time)
        found = compare(expected, run.result, seed, parts=parts(core))
        if not found.ok:
            break
        predicted = predict(core.hardware, expected, one_at_a_time=one_at_a_time)
        assert np.array_equal(predicted.latencies, run.latencies)
        if not one_at_a_time:
            assert np.array_equal(predicted.finished - predicted.started[0], run.finished - run.started[0])
    return found


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x == LARGE else x for x in BLOCKS])
def test_netlist_is_the_golden_model(
    name: str, synthesised: Callable[..., Synthesised], tmp_path: Path, seed: int
) -> None:
    """Classes, decision steps, membranes, all spike times and all clocks; with stalls; with a second network loaded."""
    made = synthesised(name)
    types = {cell["type"] for cell in made.netlist.cells.values()}
    assert types >= BLOCKS[name]
    core = made.core(tmp_path / "netlist", name)
    for network in (made.design.network, made.design.other):
        if network is made.design.other:
            core.write("control", 0)
            core.load(network)
        outcome(core, network, seed).check()
        shown = pictures(network, seed + 1, IMAGES)
        stalled = core.run(shown, network, stall=0.4, seed=seed)
        compare(golden.run(network, shown), stalled.result, seed, parts=parts(core)).check()
        assert "".join(f"{core.read('digest', i):08x}" for i in range(8)) == network.digest


def driver(made: Netlist, bit: int) -> tuple[str, dict[str, Any]]:
    """The look-up table that decides a wire, behind flip-flops and the memory of a queue."""
    ways = {"TRELLIS_FF": ("DI", "Q"), "TRELLIS_DPR16X4": ("DI", "DO"), "LUT4": ("", "Z")}
    while True:
        ((name, cell, before, place),) = (
            (name, cell, before, cell["connections"][out].index(bit))
            for name, cell in made.cells.items()
            for before, out in [ways.get(cell["type"], ("", ""))]
            if bit in cell["connections"].get(out, ())
        )
        if not before:
            return name, cell
        bit = cell["connections"][before][place]


def test_one_bit_of_a_look_up_table(synthesised: Callable[..., Synthesised], tmp_path: Path, seed: int) -> None:
    """The comparison finds a single wrong bit of logic."""
    made = synthesised(SMALL)
    name, cell = driver(made.netlist, made.netlist.ports["m_axis_tdata"]["bits"][0])
    # The entry for inputs that are all low: on this way the lowest bit of a result depends on it.
    table = int(cell["parameters"]["INIT"], 2) ^ 1
    core = made.core(tmp_path / "netlist", f"{SMALL}_table", {name: {"INIT": table}})
    found = outcome(core, made.design.network, seed)
    assert (found.spike_times, found.missing, found.extra) == (0, 0, 0)
    assert found.membranes + found.classes > 0
    # Only the lowest bit of a word is wrong.
    assert {x.expected ^ x.actual for x in found.first} == {1}


def test_one_bit_of_a_weight(synthesised: Callable[..., Synthesised], tmp_path: Path, seed: int) -> None:
    """The comparison finds a single wrong bit of a block memory: the lowest one of a weight of the output layer."""
    made = synthesised(SMALL)
    name = "core.integrator1.layer1_weight.0.0"
    cell = made.netlist.cells[name]
    assert cell["type"] == "DP16KD"
    value = int(cell["parameters"]["INITVAL_00"], 2)
    core = made.core(tmp_path / "netlist", f"{SMALL}_weight", {name: {"INITVAL_00": value ^ 1}})
    found = outcome(core, made.design.network, seed)
    assert (found.spike_times, found.missing, found.extra) == (0, 0, 0)
    # The weight from hidden neuron 0 to output 0, and nothing else: one membrane wherever that neuron fires.
    fires = golden.run(made.design.network, pictures(made.design.network, seed, IMAGES)).spike_times[1][:, 0]
    assert found.membranes == (fires < made.design.network.steps).sum() > 0
    assert {(x.part, x.neuron) for x in found.first if x.part == "membranes"} == {("membranes", 0)}


def test_contents_by_cell_name(synthesised: Callable[..., Synthesised], tmp_path: Path, seed: int) -> None:
    """With the memory contents of another network's netlist, and nothing else of it, the core is that network's."""
    made = synthesised(SMALL)
    swapped = Design(made.design.other, made.design.network, made.design.hardware)
    other = synthesised(f"{SMALL}_other", swapped).netlist
    contents = {
        name: {
            key: int(value.replace("x", "0"), 2)
            for key, value in cell["parameters"].items()
            if key.startswith("INITVAL")
        }
        for name, cell in other.cells.items()
        if cell["type"] in ("DP16KD", "TRELLIS_DPR16X4")
    }
    core = made.core(tmp_path / "netlist", f"{SMALL}_contents", contents)
    outcome(core, made.design.other, seed).check()
