"""Classes of the user's own pictures: by the golden model, the Verilated RTL or a board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from firstspike.contract.hardware import Hardware
from firstspike.contract.registers import check_counters
from firstspike.contract.words import Records
from firstspike.documents import read_json
from firstspike.energy.estimate import describe, summary
from firstspike.energy.operations import Counters
from firstspike.errors import FirstspikeError
from firstspike.flow.pictures import read
from firstspike.flow.workspace import Workspace, write_json
from firstspike.host.link import DEFAULT_BAUD
from firstspike.network import golden
from firstspike.network.model import Network


def infer(
    workspace: Workspace,
    pictures: list[Path],
    *,
    rtl: bool = False,
    port: str | None = None,
    baud: int | None = None,
    board: str | None = None,
    invert: bool = False,
    energy: bool = False,
    progress: Callable[[float], None] = lambda done: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Classify image files; writes ``inference.json`` and returns a line for each.

    A picture is made grey, and scaled to the size of the data set's images (:func:`firstspike.flow.pictures.read`).

    Parameters
    ----------
    workspace
        With a frozen network and, for ``rtl`` and ``port``, generated RTL.
    pictures
        Files of any common format.
    rtl
        By the Verilated RTL instead of the golden model.
    port, baud, board
        By the board at this serial port; the network is loaded unless it is there. The device holds the bitstream that
        was made for ``board``, whose rate is the default; or, without it, the generated core with the host link
        (``docs/link.md``).
    invert
        The pictures are dark on light.
    energy
        One more line: the estimated energy of an image, from the core's counters; for ``rtl`` and ``port``.
    progress
        Called with the fraction of the load that is done.
    note
        Called with what is doubtful about a picture, a sentence each.

    Raises
    ------
    FirstspikeError
        if a file is no picture, a stage is missing, the board does not answer or is another, or there are no counters.

    """
    if energy and port is None and not rtl:
        raise FirstspikeError("the golden model has no counters", "estimate energy with --rtl or --port")
    network = workspace.frozen
    shape = _image_shape(network)
    border = network.provenance.get("image_border")
    bytes_in = np.stack([read(path, shape, invert=invert, border=border, note=note).reshape(-1) for path in pictures])
    with workspace.timed("infer"):
        result: golden.Result | Records
        counters: dict[str, list[int]] = {}
        if port is not None:
            from firstspike.host import device as host

            hardware, rate = _device(workspace, board)
            hardware.check(network)
            if energy:
                check_counters(hardware)
            with host.Device.open(port, hardware, baud=baud or rate) as device:
                device.use(network, progress)
                result, counters = device.infer(bytes_in), device.counters() if energy else {}
        elif rtl:
            from firstspike_verify.models.verilated import VerilatedCore

            _, hardware = workspace.generated()  # whose memories hold this network
            if energy:
                check_counters(hardware)
            with VerilatedCore(workspace.rtl, workspace.verilated, fast=False) as core:
                result, counters = core.run(bytes_in, network).result, core.counters() if energy else {}
        else:
            result = golden.run(network, bytes_in)
    classes, membranes = result.classes.tolist(), result.membranes.tolist()
    write_json(
        workspace.inference,
        [
            {"image": str(path), "class": chosen, "membranes": values, "network": network.digest}
            for path, chosen, values in zip(pictures, classes, membranes, strict=True)
        ],
    )
    lines = [f"{_printable(path)}: class {chosen}" for path, chosen in zip(pictures, classes, strict=True)]
    return [*lines, f"energy: {describe(summary(hardware, Counters.read(counters)))}"] if energy else lines


def _printable(path: Path) -> str:
    """The name in one line."""
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in str(path))


def _device(workspace: Workspace, board: str | None) -> tuple[Hardware, int]:
    """Hardware and rate of what is at the serial port."""
    if board is None:
        from firstspike_rtl.top.verilog import load_manifest

        return load_manifest(workspace.rtl)[1], DEFAULT_BAUD
    from firstspike_rtl.boards.flow import FIGURES

    remedy = f"run 'firstspike bitstream --board {board}' first"
    figures = read_json(workspace.board(board) / FIGURES, remedy, {"hardware": {}, "baud": int})
    return Hardware.from_json(figures["hardware"]), figures["baud"]


def _image_shape(network: Network) -> tuple[int, int, int]:
    """Channels, rows and columns of the images that a network was trained with."""
    shape = network.provenance.get("dataset", {}).get("image_shape")
    channels = shape[0] if shape and len(shape) == 3 else 1
    if network.populations[0].repeat or not shape or len(shape) not in (2, 3) or channels not in (1, 3):
        raise FirstspikeError("the network takes no pictures, grey or of three colours", "use Python: golden.run")
    return channels, shape[-2], shape[-1]
