"""Artefacts that stages left for another network or other RTL than the workspace has now.

Every artefact says what it was made of: a file of JSON by ``network`` and ``verilog``, a folder in one of its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.documents import read_json
from firstspike.errors import FirstspikeError
from firstspike.flow.workspace import Workspace


def stale(workspace: Workspace) -> dict[Path, FirstspikeError]:
    """What is wrong with each artefact that is there, but not of the frozen network and the generated RTL.

    Raises
    ------
    FirstspikeError
        if there is no network, or no RTL of it, or an artefact is damaged.

    """
    manifest, hardware = workspace.generated()
    now = _of_manifest(manifest)
    found: dict[Path, FirstspikeError] = {}
    for path, verb, made_of in _artefacts(workspace, hardware):
        lanes = ", with the lanes of 'firstspike generate'" if path == workspace.images else ""
        for part, what in (("network", "another network"), ("verilog", "other RTL")):
            if part in made_of and made_of[part] != now[part]:
                found.setdefault(path, FirstspikeError(f"{path} is of {what}", f"run 'firstspike {verb}' again{lanes}"))
    return found


def _manifest(path: Path, remedy: str) -> dict[str, Any]:
    from firstspike_rtl.top.verilog import read_manifest

    return read_manifest(path, remedy)


def _of_manifest(manifest: dict[str, Any]) -> dict[str, str]:
    from firstspike_rtl.top.verilog import verilog_digest

    return {"network": manifest["network"]["digest"], "verilog": verilog_digest(manifest)}


def _artefacts(workspace: Workspace, hardware: Hardware) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Path, verb that makes it anew, and what it is of, of each artefact that is there."""
    if workspace.images.exists():
        yield workspace.images, "export", _of_images(workspace, hardware)
    both, network, verilog = ("network", "verilog"), ("network",), ("verilog",)
    of_boards = [
        (path, f"bitstream --board {path.parent.name}", network) for path in workspace.boards.glob("*/figures.json")
    ]
    for path, verb, parts in (
        (workspace.surrogate, "quantize", network),
        (workspace.simulation, "simulate", both),
        (workspace.reloaded, "simulate --reload", verilog),
        (workspace.netlist_simulation, "simulate --netlist", both),
        (workspace.netlist_reloaded, "simulate --netlist --reload", verilog),
        (workspace.bitstream / "figures.json", "bitstream", both),
        *of_boards,
    ):
        if path.exists():
            content = read_json(path, f"run 'firstspike {verb}' again", {})
            yield path, verb, {part: content.get(part) for part in parts}
    for path in workspace.vivado.glob("*.json"):
        yield workspace.vivado, "vivado", _of_manifest(_manifest(path, "run 'firstspike vivado' again"))
    if workspace.inference.exists():
        pictures = read_json(workspace.inference, "run 'firstspike infer' again", [{}])
        yield workspace.inference, "infer", {"network": pictures[0].get("network") if pictures else None}


def _of_images(workspace: Workspace, hardware: Hardware) -> dict[str, Any]:
    """What memory images are of: laid out for the hardware of this RTL, or of other."""
    manifest, _ = workspace.generated()
    try:
        same = images.read(workspace.images, hardware)["digest"] == images.digest_words(workspace.frozen)
    except FirstspikeError:
        return {"verilog": None}
    return _of_manifest(manifest) if same else {"network": None}
