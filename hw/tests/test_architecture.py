"""Who may import whom: read from the sources, and seen in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SW, HW, VERIFY = ROOT / "sw" / "firstspike", ROOT / "hw" / "firstspike_rtl", ROOT / "verification" / "firstspike_verify"

#: The integer side: what hardware and verification build on.
INTEGER = (
    "architecture", "artefact", "axi", "errors", "golden", "hardware", "image_formats", "images", "kernels", "layers",
    "model", "link", "naive", "network_files", "operations", "energy_estimate", "registers", "sums", "words",
)  # fmt: skip
TRAINING = {"torch", "lightning"}
HARDWARE = {"amaranth", "firstspike_rtl", "firstspike_verify", "pyverilator", "cocotb", "cocotb_tools"}


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def within(path: Path) -> set[str]:
    """First part below the package of each ``firstspike`` import: model, kernels, nn ..."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("firstspike.")}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"{folder} has no files: the test would test nothing"
    return found


@pytest.mark.smoke
@pytest.mark.parametrize("path", [SW / f"{module}.py" for module in INTEGER], ids=name)
def test_the_integer_side_knows_neither_torch_nor_hdl(path) -> None:
    assert not roots(path) & (TRAINING | HARDWARE)
    assert within(path) <= set(INTEGER)


@pytest.mark.smoke
@pytest.mark.parametrize("path", files(SW / "nn"), ids=name)
def test_training_knows_no_hardware(path) -> None:
    assert not roots(path) & HARDWARE
    assert not within(path) & {"images", "registers", "hardware", "cli"}


#: Where results come together: the only files of the software that may use hardware and verification.
JOINING = {path for path in SW.glob("*.py") if path.stem in ("cli", "chain", "report", "workspace")}


@pytest.mark.smoke
@pytest.mark.parametrize("path", [p for p in files(SW) if p not in JOINING], ids=name)
def test_only_commands_and_report_use_hardware(path) -> None:
    assert not roots(path) & HARDWARE


@pytest.mark.smoke
@pytest.mark.parametrize("path", files(HW), ids=name)
def test_hardware_knows_no_training(path) -> None:
    assert not roots(path) & (TRAINING | {"firstspike_verify"})
    assert within(path) <= set(INTEGER)


@pytest.mark.smoke
@pytest.mark.parametrize("path", files(VERIFY), ids=name)
def test_verification_knows_no_training(path) -> None:
    assert not roots(path) & TRAINING
    assert not within(path) & {"nn", "train", "quantize", "cli", "report"}


def rtl_imports(module: str) -> set[str]:
    """Modules of ``firstspike_rtl`` that a module of it imports."""
    return {x.split(".")[1] for x in imports(HW / f"{module}.py") if x.startswith("firstspike_rtl.")}


@pytest.mark.smoke
def test_hardware_has_no_circles() -> None:
    """Modules can be put in an order in which each imports only earlier ones."""
    left = {path.stem: rtl_imports(path.stem) for path in files(HW)}
    assert left["core"] >= {"integrator", "membranes", "neurons", "readout"}
    while left:
        ready = {module for module, wanted in left.items() if not wanted & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {module: wanted for module, wanted in left.items() if module not in ready}


@pytest.mark.smoke
def test_the_core_knows_nothing_around_it() -> None:
    """What the core is made of imports no bus, no pins, no prediction of clocks, and no tool."""
    reached, todo = set(), {"core"}
    while todo:
        module = todo.pop()
        reached.add(module)
        todo |= rtl_imports(module) - reached
    assert reached >= {"walk", "scanner", "serialiser", "tables", "layouts"}
    assert not reached & {"bus", "top", "cycles", "verilog", "bitstream", "folding"}


@pytest.mark.smoke
def test_training_is_where_it_belongs() -> None:
    assert any("torch" in roots(path) for path in files(SW / "nn"))


def loaded(*modules: str) -> set[str]:
    """Roots of all modules in a fresh process after these imports."""
    program = f"import sys\nimport {', '.join(modules)}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.smoke
def test_in_a_fresh_process() -> None:
    """What is imported by what is imported counts, too."""
    software = loaded(*(f"firstspike.{module}" for module in INTEGER))
    assert "numpy" in software
    assert not software & (TRAINING | HARDWARE)
    hardware = loaded(*(f"firstspike_rtl.{path.stem}" for path in HW.glob("*.py")))
    assert "amaranth" in hardware
    assert not hardware & (TRAINING | {"firstspike_verify"})
