"""The order of the rooms: read from the sources, and seen in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).parents[2]
PACKAGES = {"firstspike": ROOT / "sw", "firstspike_rtl": ROOT / "hw", "firstspike_verify": ROOT / "verification"}
GROUND = (
    "firstspike.program", "firstspike.artefact", "firstspike.documents",
    "firstspike.console", "firstspike.signals", "firstspike.processes",
    "firstspike.errors",
)  # fmt: skip

#: From the top down. A file imports its own room and rooms below it on a staircase that both are on. Libraries that
#: bind a room to one side stand in the order, too.
SOFTWARE = (
    "firstspike_verify.throughput", "firstspike.comparison", "firstspike.__main__", "firstspike.flow",
    "firstspike.training", "lightning", "firstspike.conversion", "torch",
    "firstspike.energy", "firstspike.host", "firstspike.experiment",
    "firstspike.contract", "firstspike.network", *GROUND,
)  # fmt: skip
HARDWARE = (
    "firstspike_verify.throughput", "firstspike.comparison", "firstspike.flow",
    "firstspike_verify.benches", "firstspike_verify.models", "pyverilator", "firstspike_verify.checks",
    "cocotb", "cocotb_tools", "cocotbext",
    "firstspike_rtl.boards", "amaranth_boards", "firstspike_rtl.clocks", "firstspike_rtl.top", "firstspike_rtl.core",
    "amaranth",
    "firstspike.energy", "firstspike.host", "firstspike.contract", "firstspike.network", *GROUND,
)  # fmt: skip
ORDERED = {*SOFTWARE, *HARDWARE}


def place(module: str) -> str | None:
    """The room, or the ordered library, that a module is of."""
    parts = module.split(".")
    name = ".".join(parts[:2]) if parts[0] in PACKAGES else parts[0]
    return name if name in ORDERED else None


def room(path: Path) -> str:
    for package, folder in PACKAGES.items():
        if path.is_relative_to(folder / package):
            return f"{package}.{path.relative_to(folder / package).parts[0].removesuffix('.py')}"
    raise AssertionError(path)


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


def up(own: str, other: str) -> bool:
    """Whether from room ``own`` an import of ``other`` would not point down."""
    return not any(
        own in order and other in order and order.index(own) <= order.index(other) for order in (SOFTWARE, HARDWARE)
    )


#: All files but the doors of the packages, which gather short names from everywhere below.
FILES = [
    path
    for package, folder in PACKAGES.items()
    for path in sorted((folder / package).rglob("*.py"))
    if path != folder / package / "__init__.py"
]


def test_every_file_is_in_a_room() -> None:
    assert len(FILES) > 100
    assert {room(path) for path in FILES} <= ORDERED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = room(path)
    wrong = {module for module in imports(path) if (other := place(module)) and other != own and up(own, other)}
    assert not wrong


def test_imports_that_point_up_are_found() -> None:
    """The rule itself, on both staircases and between them."""
    assert up("firstspike.network", "firstspike.contract")
    assert up("firstspike_rtl.core", "firstspike_rtl.top")
    assert up("firstspike_rtl.core", "firstspike.training")
    assert up("firstspike.training", "firstspike_rtl.core")
    assert up("firstspike.host", "torch")
    assert not up("firstspike.flow", "firstspike_verify.models")
    assert not up("firstspike_rtl.top", "firstspike.contract")


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_have_no_circles(package: str) -> None:
    """They can be put in an order in which each imports only earlier ones."""
    base = PACKAGES[package]
    files = [path for path in FILES if path.is_relative_to(base / package) and path.name != "__init__.py"]
    names = {".".join(path.relative_to(base).with_suffix("").parts): path for path in files}
    left = {name: imports(path) & names.keys() - {name} for name, path in names.items()}
    while left:
        ready = {name for name, wanted in left.items() if not wanted & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: wanted for name, wanted in left.items() if name not in ready}


@pytest.mark.parametrize("folder", [*PACKAGES.values(), ROOT / "docs", ROOT / "examples"], ids=lambda path: path.name)
def test_folders_can_be_held_in_the_head(folder: Path) -> None:
    """At most 14 files of code side by side."""
    code = (".py", ".v", ".cpp", ".tcl", ".toml")
    for place in chain([folder], (path for path in folder.rglob("*") if path.is_dir())):
        files = [path.name for path in place.iterdir() if path.suffix in code and path.name != "__init__.py"]
        assert len(files) <= 14, place


def loaded(*modules: str) -> set[str]:
    """Roots of all modules in a fresh process after these imports."""
    program = f"import sys\nimport {', '.join(modules)}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("highest", "order", "has", "lacks"),
    [
        ("firstspike.energy", SOFTWARE, "numpy", {"torch", "lightning", "amaranth", "firstspike_rtl"}),
        ("firstspike.training", SOFTWARE, "torch", {"amaranth", "firstspike_rtl", "firstspike_verify"}),
        ("firstspike_rtl.boards", HARDWARE, "amaranth", {"torch", "lightning", "firstspike_verify", "cocotb"}),
    ],
)
def test_in_a_fresh_process(highest: str, order: tuple[str, ...], has: str, lacks: set[str]) -> None:
    """What is imported by what is imported counts, too."""
    rooms = order[order.index(highest) :]
    modules = [
        ".".join(path.relative_to(PACKAGES[room(path).partition(".")[0]]).with_suffix("").parts)
        for path in FILES
        if room(path) in rooms and path.name != "__init__.py"
    ]
    assert len(modules) > 20
    found = loaded(*modules)
    assert has in found
    assert not found & lacks
