"""A network on a board: placed and routed once for its hardware, then filled with the network, or another.

The design is routed with random rows in its block memories (:mod:`firstspike_rtl.boards.patching`). A bitstream is that
design with a network's contents in their place, so that networks of the same hardware differ in block memories alone.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firstspike.artefact import write_file
from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.network.model import Network
from firstspike_rtl.boards import boards, patching
from firstspike_rtl.boards.families import FAMILIES, Bits
from firstspike_rtl.boards.order import TOP, Order
from firstspike_rtl.boards.place_and_route import Progress, read_design, route

#: Folder of the routed design, beside the bitstreams made from it.
ROUTED = "routed"
NAME, RELOADED = "firstspike", "reloaded"
FIGURES = "figures.json"


def build(
    order: Order,
    network: Network,
    folder: Path,
    *,
    fewer_lanes: Callable[[int], Hardware] | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, Any]:
    """:func:`route` into ``folder/routed``, and :func:`fill`; the figures are also left in ``figures.json``.

    Raises
    ------
    FirstspikeError
        as these do.
    """
    order.hardware.check(network)
    route(order, folder / ROUTED, fewer_lanes=fewer_lanes, progress=progress)
    figures = fill(folder / ROUTED, network, folder / NAME, progress=progress)
    write_file(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return figures


def fill(folder: Path, network: Network, target: Path, *, progress: Progress = lambda step: None) -> dict[str, Any]:
    """The bitstream of a routed design with a network in it.

    Parameters
    ----------
    folder
        Of :func:`route`.
    network
        Fits the hardware of the design.
    target
        The bitstream, without the end of its name.

    Returns
    -------
    dict
        The figures of the design, and ``network``: its digest, and ``bitstream``: the file's name.

    Raises
    ------
    FirstspikeError
        if there is no such design, or the network differs from its hardware: nothing is written then.
    """
    design = read_design(folder)
    hardware = Hardware.from_json(design["hardware"])
    hardware.check(network)
    family = FAMILIES[boards.find(design["board"]).family]
    places = [patching.Place(**place) for place in design["places"]]
    old = patching.table(family, places, hardware, patching.placeholders(hardware, family))
    rows = patching.filled(hardware, family, images.contents(network, hardware))
    new = patching.table(family, places, hardware, rows)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, filled, packed = f"{TOP}{family.routed}", f"filled{family.routed}", f"{TOP}{family.bitstream}"
        shutil.copy(folder / source, scratch)
        progress("contents of the block memories")
        family.exchange(scratch, source, filled, old, new)
        blocks = family.contents((scratch / filled).read_text())
        if (patching.read_table(family, places, blocks) != new).any():
            raise RuntimeError("the block memories do not hold what was written into them")
        progress("packing")
        family.pack(scratch, filled, packed)
        target = target.with_name(target.name + family.bitstream)
        write_file(target, (scratch / packed).read_bytes())
    left_out = ("format", "key", "places", "cells", "files")
    figures = {name: value for name, value in design.items() if name not in left_out}
    figures["seconds"] = design["seconds"] | {"filling": round(time.perf_counter() - begin, 2)}
    return figures | {"network": network.digest, "bitstream": target.name}


def block_memories(bitstream: Path, board: str) -> dict[str, Bits]:
    """Contents of each block memory of a bitstream, by number: bits as :meth:`Family.contents` gives them.

    ``cells`` in the routed ``design.json`` has the number of every cell of the routed netlist.

    Raises
    ------
    FirstspikeError
        if the board is unknown or the file is no bitstream of its device.
    """
    family = FAMILIES[boards.find(board).family]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        shutil.copy(bitstream, scratch / "packed")
        family.unpack(scratch, "packed", "text")
        return family.contents((scratch / "text").read_text())
