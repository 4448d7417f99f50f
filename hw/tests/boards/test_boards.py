"""Bitstreams for boards, from the network to the file and back: contents of block memories, and what does not fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import dense_layers
from uart import loaded

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.host.link import hello_words
from firstspike.network.model import Network
from firstspike_rtl.boards import boards, fitting, patching, place_and_route
from firstspike_rtl.boards import flow as board_flow
from firstspike_rtl.boards.families import FAMILIES
from firstspike_rtl.boards.order import TOP, Order, plan
from firstspike_rtl.boards.tools import ToolError, exceeded, utilisation
from firstspike_rtl.top import boot
from firstspike_rtl.top.uart import divisor

#: That of the digits.
SIZES = (64, 48, 10)
LANES = {"ulx3s-25f": 2, "icebreaker": 1}


def as_trained(network: Network) -> Network:
    """The same shape with smaller weights: membranes as wide as those of the trained digits."""
    smaller = [replace(x, weight=x.weight // n) for x, n in zip(network.layers, (4, 2), strict=True)]
    return replace(network, layers=tuple(smaller))


def another(network: Network) -> Network:
    """The same shape, with other weights, biases and thresholds."""
    layers = tuple(replace(layer, weight=-layer.weight[::-1] - 1, bias=layer.bias + 1) for layer in network.layers)
    populations = tuple(
        replace(p, threshold=tuple(value + 1 for value in p.threshold)) if p.threshold else p
        for p in network.populations
    )
    return replace(network, layers=layers, populations=populations)


@dataclass(frozen=True)
class Built:
    """A design of a board with one network in it, and another network."""

    order: Order
    folder: Path
    network: Network
    other: Network
    figures: dict[str, Any]

    @property
    def design(self) -> dict[str, Any]:
        return json.loads((self.folder / board_flow.ROUTED / place_and_route.DESIGN).read_text())

    def unpacked(self, bitstream: Path, folder: Path) -> str:
        """The text of a bitstream."""
        shutil.copy(bitstream, folder / "packed")
        self.order.family.unpack(folder, "packed", "text")
        return (folder / "text").read_text()


@pytest.fixture(scope="module", params=[pytest.param(board, marks=pytest.mark.slow) for board in LANES])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    network = as_trained(dense_layers(SIZES))
    hardware = Hardware.for_network(network, lanes=LANES[request.param])
    order = Order(board=request.param, hardware=boards.find(request.param).core(hardware))
    folder = tmp_path_factory.mktemp("board") / "board"
    figures = board_flow.build(order, network, folder)
    return Built(order, folder, network, another(network), figures)


def small_memories(hardware: Hardware, rows: list[int]) -> dict[int, list[int]]:
    """Words of each memory in a list for power-up, by number."""
    ends = [*boot.selections(hardware)[1:], boot.depth(hardware)]
    return {rows[first]: rows[first + 1 : end] for first, end in zip(boot.selections(hardware), ends, strict=True)}


def test_the_bitstream_holds_the_network(built: Built, tmp_path: Path) -> None:
    """Bit for bit in the packed file, for the first network and for one that was filled in later."""
    board_flow.fill(built.folder / board_flow.ROUTED, built.other, tmp_path / "other")
    hardware, family = built.order.hardware, built.order.family
    places = [patching.Place(**place) for place in built.design["places"]]
    texts = []
    for path, network in ((built.folder / board_flow.NAME, built.network), (tmp_path / "other", built.other)):
        bitstream = path.with_suffix(family.bitstream)
        blocks = board_flow.block_memories(bitstream, built.order.board)
        rows = patching.read_rows(family, places, blocks, hardware)
        wanted = images.contents(network, hardware)
        for memory in hardware.memories:
            if memory.role == "weight":
                assert rows[memory.name][: memory.depth] == wanted[memory.name]
                assert not any(rows[memory.name][memory.depth :])
        words = images.load_words(wanted, hardware)
        loaded = small_memories(hardware, rows[boot.NAME])
        small = [memory for memory in hardware.memories if memory.role != "weight"]
        assert loaded == {memory.index: words[memory.name] for memory in small}
        texts.append(built.unpacked(bitstream, tmp_path))
    # Nothing but contents of block memories differs.
    contents = re.compile(r"^\.(bram_init|ram_data) [\d ]+\n[0-9a-f\s]+", re.MULTILINE)
    assert texts[0] != texts[1]
    assert contents.sub("", texts[0]) == contents.sub("", texts[1])


def test_every_block_memory_has_its_cell(built: Built, tmp_path: Path) -> None:
    """The number of a block in the bitstream is that of a cell of the routed netlist, named after its memory."""
    blocks = board_flow.block_memories(
        (built.folder / board_flow.NAME).with_suffix(built.order.family.bitstream), built.order.board
    )
    design = built.design
    assert set(design["cells"].values()) == set(blocks)
    by_number = {number: name for name, number in design["cells"].items()}
    for place in design["places"]:
        assert f".{place['memory']}." in by_number[place["block"]]


def test_figures(built: Built) -> None:
    figures, board = built.figures, boards.find(built.order.board)
    assert json.loads((built.folder / board_flow.FIGURES).read_text()) == figures
    assert figures["network"] == built.network.digest
    assert Hardware.from_json(figures["hardware"]) == built.order.hardware
    assert figures["clock_hz"] == board.clock_mhz * 1e6 <= figures["fmax_mhz"] * 1e6
    assert figures["baud"] == board.baud
    assert set(figures["resources"]) >= {"LUTs", "flip-flops", "block RAMs", "DSPs"}
    for use in figures["resources"].values():
        assert 0 <= use["used"] <= use["available"]
    assert figures["resources"]["block RAMs"]["used"] == len(built.design["cells"])
    assert figures["resources"]["LUTs"]["used"] > 1000
    assert figures["resources"]["flip-flops"]["used"] > 1000
    # What the device will answer to HELLO.
    assert hello_words(built.order.hardware, figures["clock_hz"], divisor(figures["clock_hz"], figures["baud"]))


def test_it_is_routed_only_once(built: Built) -> None:
    """For the same hardware another network takes no synthesis; for another clock it does."""
    steps: list[str] = []
    figures = board_flow.build(built.order, built.other, built.folder, progress=steps.append)
    assert "synthesis" not in steps
    assert "packing" in steps
    assert figures["network"] == built.other.digest
    assert figures["seconds"]["synthesis"] == built.figures["seconds"]["synthesis"]
    key, planned = built.design["key"], plan(built.order)
    assert place_and_route._key(built.order, planned) == key
    assert place_and_route._key(replace(built.order, seeds=2), planned) != key
    slower = replace(built.order, megahertz=17.5)
    assert place_and_route._key(slower, plan(slower)) != key


def test_a_network_of_other_hardware_is_refused(built: Built, tmp_path: Path) -> None:
    """Before anything is written, and with the difference."""
    before = sorted(built.folder.rglob("*"))
    larger = dense_layers((64, 47, 10))
    with pytest.raises(FirstspikeError, match="layer 0: the network has channels 47, the hardware 48"):
        board_flow.fill(built.folder / board_flow.ROUTED, larger, tmp_path / "larger")
    with pytest.raises(FirstspikeError, match="channels 47"):
        board_flow.build(built.order, larger, built.folder)
    assert list(tmp_path.iterdir()) == []
    assert sorted(built.folder.rglob("*")) == before


def test_a_changed_design_is_refused(built: Built, tmp_path: Path) -> None:
    text = built.folder / board_flow.ROUTED / f"{TOP}{built.order.family.routed}"
    whole = text.read_bytes()
    text.write_bytes(whole[:-1])
    try:
        with pytest.raises(FirstspikeError, match="was changed since it was written"):
            board_flow.fill(built.folder / board_flow.ROUTED, built.network, tmp_path / "changed")
    finally:
        text.write_bytes(whole)
    with pytest.raises(FirstspikeError, match="holds no routed design"):
        board_flow.fill(tmp_path, built.network, tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.smoke
def test_a_board_that_is_unknown() -> None:
    with pytest.raises(FirstspikeError, match="unknown board 'abacus'"):
        boards.find("abacus")


@pytest.mark.parametrize("name", boards.BOARDS)
def test_pins_are_the_boards(name: str) -> None:
    """Clock, both wires and LEDs at the places of the board, in the constraints of the plan."""
    network = dense_layers((9, 5, 3))
    order = Order(board=name, hardware=Hardware.for_network(network, lanes=2, monitor=False))
    files = plan(order).files
    (text,) = [body.decode() for file, body in files.items() if file.endswith((".lpf", ".pcf", ".cst"))]
    located = r'^(?:LOCATE COMP|set_io|IO_LOC) "?(\w+?)(?:__io)?"?(?: SITE)? "?(\w+)"?;?$'
    found = dict(re.findall(located, text, re.MULTILINE))
    board = boards.find(name).open()

    def pin(resource: str, number: int = 0, wire: str | None = None) -> str:
        (pins,) = [x for x in board.lookup(resource, number).ios if wire is None or x.name == wire]
        return (pins.ios[0] if wire else pins).names[0]

    assert found == {
        f"{board.default_clk}_0": pin(board.default_clk),
        "uart_0__rx": pin("uart", wire="rx"),
        "uart_0__tx": pin("uart", wire="tx"),
        "led_0": pin("led", 0),
        "led_1": pin("led", 1),
    }


@pytest.mark.parametrize("baud", [None, 460_800])
@pytest.mark.parametrize("name", boards.BOARDS)
def test_rate_is_the_one_asked_for(name: str, baud: int | None) -> None:
    """The board's own, or the user's: in the plan, which the host follows, and in the timers of both wires."""
    hardware = Hardware.for_network(dense_layers((9, 5, 3)), lanes=2, monitor=False)
    planned = plan(Order(board=name, hardware=hardware, baud=baud))
    assert planned.baud == (baud or boards.BOARDS[name].baud)
    clocks = round(Fraction(planned.clock_hz, planned.baud))
    text = planned.files[f"{TOP}.debug.v"].decode()
    assert "\\" not in text  # yosys would take a signal called \\o[1] for a bit of o
    timers = loaded(text)
    assert timers == {"transmitter": {clocks - 1}, "receiver": {clocks - 1, (clocks - 1) // 2 - 1}}


FULL = "Info: \t ICESTORM_LC: {}/ 5280 \nInfo: \t ICESTORM_RAM: {}/ 30 \nERROR: Unable to place cell\n"


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[Hardware]]]:
    """The error for a router's log, and what was tried, if only the last that is tried fits, or nothing."""

    def explain(network: Network, lanes: int, log: str, last: int | None) -> tuple[str, list[Hardware]]:
        tried: list[Hardware] = []

        def shortage(order: Order) -> dict[str, tuple[int, int]]:
            tried.append(order.hardware)
            return {} if len(tried) == last else {"ICESTORM_LC": (2, 1)}

        def fewer(n: int) -> Hardware:
            return Hardware.for_network(network, lanes=n, monitor=False)

        monkeypatch.setattr(fitting, "shortage", shortage)
        order = Order(board="icebreaker", hardware=fewer(lanes))
        return fitting.no_fit(order, log, fewer, lambda step: None).one_line(), tried

    return explain


@pytest.mark.smoke
def test_too_much_logic(no_room) -> None:
    network = dense_layers(SIZES)
    log = FULL.format(9299, 28)
    assert utilisation(log) == {"ICESTORM_LC": (9299, 5280), "ICESTORM_RAM": (28, 30)}
    assert exceeded(log) == {"ICESTORM_LC": (9299, 5280)}
    line, tried = no_room(network, 16, log, 2)
    assert line == "the design does not fit icebreaker: 9299 logic cells of 5280; --lanes 4 fits"
    assert [hardware.layers[0].lanes for hardware in tried] == [8, 4]
    line, tried = no_room(network, 16, log, None)
    assert [hardware.layers[0].lanes for hardware in tried] == [8, 4, 2, 1]
    assert "use a larger board or a smaller network" in line


@pytest.mark.smoke
def test_too_many_weights(no_room) -> None:
    """Where weights alone are more than the block memory, lanes do not help; fewer bits of a weight may."""
    network = dense_layers((400, 64, 10))  # 26,240 weights in 122,880 bits
    line, tried = no_room(network, 4, FULL.format(5000, 60), 1)
    assert line == "the design does not fit icebreaker: 60 block RAMs of 30; weight_bits = 4 in [train] fits"
    assert [layer.weight_bits for layer in tried[0].layers] == [4, 4]
    line, tried = no_room(network, 4, FULL.format(9000, 60), 1)
    assert "9000 logic cells of 5280, 60 block RAMs of 30; weight_bits = 4 in [train] with --lanes 1 fits" in line
    assert [layer.lanes for layer in tried[0].layers] == [1, 1]
    line, tried = no_room(dense_layers((800, 128, 10)), 4, FULL.format(5000, 160), None)
    assert tried == []


@pytest.mark.slow
def test_what_is_said_to_fit_does(tmp_path: Path) -> None:
    """A design that is too large for the smallest board, and fits with half the lanes, as the error says."""
    network = dense_layers((4, 66, 2))

    def fewer(lanes: int) -> Hardware:
        return boards.find("icebreaker").core(Hardware.for_network(network, lanes=lanes))

    order = Order(board="icebreaker", hardware=fewer(4))
    with pytest.raises(FirstspikeError, match=r"does not fit icebreaker: \d+ \w+ \w+ of \d+") as caught:
        place_and_route.route(order, tmp_path / "routed", fewer_lanes=fewer)
    assert not (tmp_path / "routed").exists()
    assert caught.value.hint == "--lanes 2 fits"


def test_a_clock_that_is_not_reached() -> None:
    """The one that is recommended can be made, and is below what the router reached."""
    network = dense_layers((9, 5, 3))
    order = Order(board="ulx3s-85f", hardware=Hardware.for_network(network, lanes=2), megahertz=100)
    error = fitting.too_slow(order, plan(order), 64.2)
    assert str(error) == "the clock of 100 MHz is not reached: the router gets 64.20 MHz"
    (clock,) = re.findall(r"^use --clock ([\d.]+), or try more placements", error.hint)
    setting = boards.find("ulx3s-85f").clock(float(clock))
    assert 0.9 * 64.2 < setting.output_hz / 1e6 < 64.2


def test_a_tool_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="nextpnr_ice40 failed") as caught:
        FAMILIES["ice40"].place(tmp_path, "--up5k", "--json", "missing.json")
    assert "missing.json" in caught.value.log


@pytest.mark.smoke
def test_filled_memories_are_those_of_the_network() -> None:
    network = dense_layers((9, 5, 3))
    hardware = Hardware.for_network(network, lanes=2)
    family = FAMILIES["ecp5"]
    rows = patching.filled(hardware, family, images.contents(network, hardware))
    wanted = images.contents(network, hardware)
    weights = hardware.memory("weight", 0)
    assert rows[weights.name][: weights.depth] == wanted[weights.name]
    assert np.array_equal(rows["digest"], [0] * 8), "the digest comes with the list, after all else"
