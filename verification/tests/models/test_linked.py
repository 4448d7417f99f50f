"""The host's class on the Verilated board, through a pseudo-terminal, with faults on the wires."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILDS
from designs import Design, build, leaky, random_network, trains
from naive_operations import tally
from numpy.typing import NDArray
from PIL import Image

from firstspike.contract import images, words
from firstspike.energy.estimate import describe, summary
from firstspike.energy.operations import Counters, count
from firstspike.errors import FirstspikeError
from firstspike.flow import inference
from firstspike.flow.workspace import Workspace, write_json
from firstspike.host import device as host
from firstspike.host.device import Device
from firstspike.host.link import LinkError
from firstspike.network import golden, kernels
from firstspike.network.model import Network
from firstspike_rtl.boards import flow as board_flow
from firstspike_rtl.top import boot
from firstspike_rtl.top.verilog import generate
from firstspike_verify.models.linked import Board, Faults, compile_linked

#: Chance of a fault a byte: about one on the way of an image to the device and back.
RATE = 1 / 70
WANTED_FAULTS = 1000
TIMEOUT = 0.03


def pixels() -> Design:
    """Small, so that frames are short and many."""
    kernel = kernels.PowerOfTwo(steps=4)
    return build(
        lambda seed: random_network([12, 7, 4], [kernel] * 3, steps=4, fire_start=4, seed=seed),
        lanes=[4, 2],
        monitor=False,
    )


def events() -> Design:
    """Event input that is sorted in the core, a monitor that nobody reads, first-spike readout."""
    kernel = kernels.Linear(steps=5)
    return build(
        lambda seed: random_network([12, 6, 3], [kernel] * 3, steps=5, fire_start=2, first_spike=True, seed=seed),
        lanes=[3, 1],
        input="events",
    )


@pytest.fixture(scope="module")
def board() -> Callable[..., tuple[Board, Design]]:
    """Makes a board with the first network of a design in it."""

    def make(make_design: Callable[[], Design] = pixels, **faults: Faults) -> tuple[Board, Design]:
        design = make_design()
        folder = BUILDS / f"{make_design.__name__}-linked"
        shared_object = compile_linked(design.hardware, images.contents(design.network, design.hardware), folder)
        return Board(design.hardware, shared_object, **faults), design

    return make


@pytest.fixture(scope="module")
def booted() -> tuple[Callable[[], Board], Design]:
    """Boards as they are after configuration: weights of the first network, and a list to load the rest from."""
    design = pixels()
    rows = boot.power_up(design.hardware, images.contents(design.network, design.hardware))
    folder = BUILDS / "booted-linked"
    shared_object = compile_linked(design.hardware, rows, folder, boot=True)
    return lambda: Board(design.hardware, shared_object), design


def pictures(network: Network, seed: int, count: int) -> NDArray[np.uint8]:
    shape, most = (count, *network.image_shape), network.image_most
    return np.random.default_rng(seed).integers(0, most + 1, shape).astype(np.uint8)


def check(records: words.Records, network: Network, shown: NDArray[np.uint8]) -> None:
    expected = golden.run(network, shown)
    assert records.classes.tolist() == expected.classes.tolist()
    assert records.membranes.tolist() == expected.membranes.tolist()
    assert records.decision_steps.tolist() == expected.decision_steps.tolist()
    assert not records.faults.any()


def persist(call: Callable[[], None]) -> int:
    """Call until there is no error of the link; how many there were."""
    for errors in range(100):
        try:
            call()
        except LinkError:
            continue
        return errors
    raise AssertionError("the link does not recover")


@pytest.mark.slow
def test_a_thousand_faults(board, seed: int) -> None:
    """Bytes lost, doubled, flipped, late, or without stop bit: no wrong answer, also across a load under faults."""
    down = Faults(random.Random(seed), RATE, 3 * TIMEOUT, framing=True)
    up = Faults(random.Random(seed + 1), RATE, 3 * TIMEOUT, framing=False)
    simulated, design = board(down=down, up=up)
    answers = errors = 0
    begin = time.monotonic()
    port = host.open_port(simulated.path)
    with simulated, Device(port, design.hardware, timeout=TIMEOUT, retries=12, chunk_words=8) as device:
        for network in (design.network, design.other, design.network):
            errors += persist(lambda network=network: device.use(network))
            answered = unanswered = 0
            until = simulated.faults.total() + WANTED_FAULTS // 3
            while simulated.faults.total() <= until:
                shown = pictures(network, seed + answers, 3)
                try:
                    check(device.infer(shown), network, shown)
                except LinkError:
                    unanswered += 1
                    continue
                answered += len(shown)
            answers, errors = answers + answered, errors + unanswered
            assert answered
            counted: dict[str, list[int]] = {}
            errors += persist(lambda counted=counted: counted.update(device.counters()))
            # Of three images that ended in an error some may have been shown; no other one twice, or never.
            assert answered <= counted["images"][0] <= answered + 3 * unanswered
        down.rate = up.rate = 0.0
        counts = simulated.faults
        print(
            f"{counts.total()} faults {dict(counts)}: {answers} answers, all right; {device.repeated} repetitions, "
            f"{device.strays} replies to other requests, {device.dropped} damaged, {errors} errors; "
            f"{simulated.clock} clocks in {time.monotonic() - begin:.1f} s"
        )
        # What is still late on the wires may cost one more.
        errors += persist(lambda: device.infer(pictures(design.network, 0, 1)) and None)
        shown = pictures(design.network, seed, 50)
        check(device.infer(shown), design.network, shown)
        device.load(design.other)
        check(device.infer(shown), design.other, shown)
        assert device.counters()["images"] == [50]
    assert counts.total() >= WANTED_FAULTS
    assert set(counts) == {"lost", "doubled", "flipped", "late", "no_stop"}
    assert min(counts.values()) > WANTED_FAULTS / 20
    assert device.repeated > 100
    assert device.dropped > 50


@pytest.mark.parametrize("design", [pixels, events, leaky, trains])
def test_networks_at_run_time(design: Callable[[], Design], board, seed: int) -> None:
    """Two networks in one board, by turns; counters are those of the golden model's spikes."""
    simulated, made = board(design)
    with simulated:
        for network in (made.network, made.other, made.network):
            shown = pictures(network, seed, 20)
            shown[7] = 0
            with Device.open(simulated.path, made.hardware) as device:
                device.use(network)
                check(device.infer(shown), network, shown)
                counters = device.counters()
            assert counters["images"] == [20]
            assert counters["faults"] == [0]
            assert counters["spikes"] == golden.run(network, shown).spikes(network).sum(axis=0).tolist()
            operations = count(made.hardware, Counters.read(counters))
            expected = golden.run(network, shown).synaptic_operations(network).sum()
            assert sum(operations.synaptic_operations) == expected
        records = host.infer(simulated.path, made.hardware, made.other, shown)
        check(records, made.other, shown)


def test_pictures_and_their_energy_by_the_board(board, tmp_path: Path, seed: int) -> None:
    """``firstspike infer --port --energy``: classes of the golden model, and the estimate of what the board counted."""
    simulated, made = board()
    network = replace(made.network, provenance={"dataset": {"image_shape": [3, 4]}})
    workspace = Workspace.open(Path(__file__).parents[3] / "examples" / "digits.toml", tmp_path)
    network.save(workspace.network)
    generate(network, made.hardware, workspace.rtl)
    shown = pictures(network, seed, 4)
    files = [tmp_path / f"{n}.png" for n in range(len(shown))]
    for file, picture in zip(files, shown, strict=True):
        Image.fromarray(picture.reshape(3, 4)).save(file)
    with simulated:
        lines = inference.infer(workspace, files, port=simulated.path, energy=True)
    expected = golden.run(network, shown)
    registers, _ = tally(network, made.hardware, expected)
    energy = describe(summary(made.hardware, Counters.read(registers)))
    classes = [f"{file}: class {c}" for file, c in zip(files, expected.classes, strict=True)]
    assert lines == [*classes, f"energy: {energy}"]


def test_a_network_that_does_not_fit(board) -> None:
    """Refused before anything is sent: not a clock passes on the board, and its network gives its results."""
    simulated, design = board()
    wrong = [
        random_network([12, 7, 5], [kernels.PowerOfTwo(steps=4)] * 3, steps=4, fire_start=4),
        random_network([12, 7, 4], [kernels.PowerOfTwo(steps=5)] * 3, steps=5, fire_start=5),
        random_network([12, 7, 4], [kernels.PowerOfTwo(steps=4)] * 3, steps=4, fire_start=4, bits=6),
    ]
    with simulated, Device.open(simulated.path, design.hardware) as device:
        device.use(design.network)
        before = -1
        while simulated.clock != before:  # it falls asleep when nothing can come any more
            before = simulated.clock
            time.sleep(0.3)
        for network in wrong:
            with pytest.raises(FirstspikeError, match="the network") as caught:
                device.load(network)
            assert caught.value.hint
        assert simulated.clock == before
        assert device.digest() == design.network.digest
        shown = pictures(design.network, 1, 10)
        check(device.infer(shown), design.network, shown)


def test_other_hardware(board) -> None:
    simulated, _ = board()
    with simulated, pytest.raises(FirstspikeError, match="other hardware than expected"):
        Device.open(simulated.path, events().hardware)


def test_reset(board, seed: int) -> None:
    """The button between two images: an error, then all goes on; the memories hold what was loaded."""
    simulated, design = board()
    with simulated, Device.open(simulated.path, design.hardware) as device:
        device.load(design.other)
        shown = pictures(design.other, seed, 10)
        check(device.infer(shown), design.other, shown)
        simulated.reset()
        with pytest.raises(LinkError, match="restarted"):
            device.infer(shown)
        check(device.infer(shown), design.other, shown)


def test_a_cable_that_is_pulled(board) -> None:
    simulated, design = board()
    with simulated:
        device = Device.open(simulated.path, design.hardware, timeout=TIMEOUT)
        device.use(design.network)
    with device, pytest.raises(LinkError) as caught:
        device.infer(pictures(design.network, 0, 1))
    assert "check cable" in caught.value.one_line()
    assert "\n" not in caught.value.one_line()


def test_compilation_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verilator = tmp_path / "bin" / "verilator"
    verilator.parent.mkdir()
    verilator.write_text("#!/bin/sh\nexit 1\n")
    verilator.chmod(0o755)
    monkeypatch.setenv("FIRSTSPIKE_VERILATOR", str(verilator.parent))
    design = pixels()
    with pytest.raises(FirstspikeError, match="compiling the Verilog failed: verilator ended with status 1") as caught:
        compile_linked(design.hardware, images.contents(design.network, design.hardware), tmp_path / "build")
    assert caught.value.hint == f"see {tmp_path / 'build' / 'build.log'}"


def test_a_board_has_its_network_at_power_up(booted, seed: int) -> None:
    """The digest is there before anything was loaded, nothing is loaded, and the answers are right."""
    make, design = booted
    loaded: list[float] = []
    with make() as simulated, Device.open(simulated.path, design.hardware) as device:
        assert device.digest() == design.network.digest
        device.use(design.network, loaded.append)
        shown = pictures(design.network, seed, 20)
        check(device.infer(shown), design.network, shown)
        assert loaded == []


def test_a_reset_leaves_what_the_host_loaded(booted, seed: int) -> None:
    """Power-up happens once: neither a whole network nor half of one is overwritten after a reset."""
    make, design = booted
    with make() as simulated, Device.open(simulated.path, design.hardware) as device:
        device.load(design.other)
        simulated.reset()
        device.connect()
        assert device.digest() == design.other.digest
        device.use(design.other)
        shown = pictures(design.other, seed, 5)
        check(device.infer(shown), design.other, shown)

        def half(done: float) -> None:
            if done > 0.5:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            device.load(design.network, half)
        simulated.reset()
        device.connect()
        assert device.digest() == "0" * 64
        device.use(design.network)
        check(device.infer(shown), design.network, shown)


def test_the_command_finds_a_board_by_its_bitstream(booted, seed: int, tmp_path: Path) -> None:
    """``infer --board``: hardware and rate are those of the bitstream's figures, not of generated RTL."""
    make, design = booted
    provenance = {"dataset": {"image_shape": [3, 4]}, "experiment": {"name": "some"}}
    replace(design.network, provenance=provenance).save(tmp_path / "network")
    shown = pictures(design.network, seed, 3)
    for n, picture in enumerate(shown):
        Image.fromarray(picture.reshape(3, 4)).save(tmp_path / f"{n}.png")
    figures = {"hardware": design.hardware.to_json(), "baud": 230_400}
    write_json(tmp_path / "boards" / "some" / board_flow.FIGURES, figures)
    files = [tmp_path / f"{n}.png" for n in range(3)]
    with make() as simulated:
        lines = inference.infer(Workspace.open(tmp_path), files, port=simulated.path, board="some")
    expected = golden.run(design.network, shown).classes.tolist()
    assert lines == [f"{file}: class {chosen}" for file, chosen in zip(files, expected, strict=True)]
    with pytest.raises(FirstspikeError, match=r"boards/other/figures\.json does not exist") as caught:
        inference.infer(Workspace.open(tmp_path), files, port="/dev/null", board="other")
    assert caught.value.hint == "run 'firstspike bitstream --board other' first"
