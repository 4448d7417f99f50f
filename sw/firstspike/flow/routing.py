"""The stages behind the Verilog: place and route for a board or of the core alone, and the folder for Vivado."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from firstspike.contract.hardware import Hardware
from firstspike.flow.workspace import Workspace
from firstspike.network.model import Network

if TYPE_CHECKING:
    pass


def bitstream(workspace: Workspace, *, device: str, seed: int, progress: Callable[[str], None]) -> Path:
    """Synthesise, place and route the generated core by itself, and pack the bitstream.

    Raises
    ------
    FirstspikeError
        if the RTL is missing or of another network, a tool is missing, or the core does not fit the device.

    """
    from firstspike_rtl.boards import bitstream as flow

    with workspace.timed("bitstream"):
        workspace.generated()
        flow.build(workspace.rtl, workspace.bitstream, device=device, seed=seed, progress=progress)
    return workspace.bitstream


def board(
    workspace: Workspace,
    *,
    name: str,
    lanes_given: bool = False,
    megahertz: float | None = None,
    baud: int | None = None,
    seeds: int = 1,
    reload: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Make the bitstream for a board; what was placed and routed for the same hardware before is used again.

    Parameters
    ----------
    workspace
        With a frozen network.
    name
        Of the board.
    lanes_given
        Whether the user chose the lanes for it; else those of the experiment, as far as the board has room for them.
    megahertz, baud, seeds
        As of :class:`firstspike_rtl.boards.order.Order`.
    reload
        Folder of another network, put into the design that was routed before, without synthesis: its bitstream is
        called ``reloaded``.
    progress
        Called with the name of each step as it begins.

    Returns
    -------
    The bitstream.

    Raises
    ------
    FirstspikeError
        if a tool is missing, the design does not fit the board or does not reach the clock, or the network to reload
        differs from the hardware of the design.

    """
    from firstspike_rtl.boards import boards
    from firstspike_rtl.boards import flow as board_flow
    from firstspike_rtl.boards.order import Order

    folder = workspace.board(name)
    if reload is not None:
        boards.find(name)
        network = Network.load(reload)
        filled = board_flow.fill(folder / board_flow.ROUTED, network, folder / board_flow.RELOADED, progress=progress)
        return folder / str(filled["bitstream"])
    hardware = board_hardware(workspace, name, lanes_given=lanes_given)
    order = Order(board=name, hardware=hardware, megahertz=megahertz, baud=baud, seeds=seeds)
    with workspace.timed(f"bitstream {name}"):
        figures = board_flow.build(
            order,
            workspace.frozen,
            folder,
            fewer_lanes=lambda lanes: board_hardware(workspace.folded(lanes=lanes), name, lanes_given=True),
            progress=progress,
        )
    return folder / str(figures["bitstream"])


def board_hardware(workspace: Workspace, name: str, *, lanes_given: bool) -> Hardware:
    """The hardware for a board: with the lanes that fit, and what of the core goes on it.

    Raises
    ------
    FirstspikeError
        if the board is unknown, there is no network, or it does not fit the hardware asked for.

    """
    from firstspike_rtl.boards import boards

    board = boards.find(name)
    most = board.lanes
    wanted = [layer.lanes for layer in workspace.hardware.layers]
    if not lanes_given and max(wanted) > most:
        workspace = workspace.folded(lanes=[min(lanes, most) for lanes in wanted])
    return board.core(workspace.hardware)


def vivado(workspace: Workspace, *, part: str, megahertz: float) -> Path:
    """Write the folder for Vivado.

    Raises
    ------
    FirstspikeError
        if the RTL is missing, was changed or is of another network, or the part or the clock is wrong.

    """
    from firstspike_rtl.boards import vivado as flow

    with workspace.timed("vivado"):
        workspace.generated()
        return flow.write(workspace.rtl, workspace.vivado, part=part, megahertz=megahertz)
