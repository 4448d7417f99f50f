"""The AXI driver against a model of the core in Python: registers by the register map, results by the golden model.

That the registers of the RTL are those of the map is tested with the same driver in ``verification/tests``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from firstspike.contract import images, registers, words
from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware, InputKind
from firstspike.errors import FirstspikeError
from firstspike.host.axi import Driver
from firstspike.network import golden, kernels
from firstspike.network.model import Network, dense

BUSY_FRAMES = 2  # what the model takes before it wants a result to be fetched


def network(seed: int = 1, sizes: tuple[int, ...] = (10, 7, 5), *, steps: int = 4) -> Network:
    rng = np.random.default_rng(seed)
    kernel = kernels.Linear(steps=steps)
    return dense(
        [rng.integers(-8, 8, (n, m)) for m, n in pairwise(sizes)],
        [rng.integers(-50, 50, n) for n in sizes[1:]],
        weight_bits=4,
        kernels=[kernel.table()] * (len(sizes) - 1),
        thresholds=[kernel.integer_threshold(0.05)] * (len(sizes) - 2),
        encoder=kernel.encoder(),
        steps=steps,
        fire_start=steps,
    )


def hardware_for(net: Network, input: InputKind = "pixels") -> Hardware:
    return Hardware.for_network(net, lanes=2, input=input, spare_membrane_bits=2)


class Core:
    """What a core does, as its driver sees it; strict about what PYNQ and AXI are strict about."""

    def __init__(self, hardware: Hardware, net: Network) -> None:
        self.hardware = hardware
        self.sendchannel, self.recvchannel = Sender(self), Receiver(self)
        self.stored = images.load_words(images.contents(net, hardware), hardware)
        self.constants = registers.constants(hardware)
        self.control = 0
        self.places = {
            r.address(i): (name, i) for name, r in registers.register_map(hardware).items() for i in range(r.count)
        }
        self.writes: list[tuple[str, int]] = []
        self.results: list[list[int]] = []
        self.counts = dict.fromkeys(("images", "faults", "clocks"), 0)
        self.change: Callable[[str, int], int] = lambda name, value: value

    # Registers

    def read(self, offset: int) -> int:
        name, index = self.places[offset]
        if name in self.constants:
            return self.change(name, self.constants[name][index])
        match name:
            case "control":
                return self.control
            case "digest":
                return self.change(name, self.stored["digest"][index])
            case "spikes" | "active":
                return 100 * len(name) + index
            case "images" | "faults" | "clocks":
                return self.counts[name]
        raise AssertionError(f"{name} cannot be read")

    def write(self, offset: int, data: int) -> None:
        assert type(data) is int  # PYNQ takes no NumPy integer
        assert 0 <= data < 1 << 32
        name, _ = self.places[offset]
        self.writes.append((name, data))
        match name:
            case "control":
                self.control = data & ~registers.CLEAR_COUNTERS
                if data & registers.CLEAR_COUNTERS:
                    self.counts = dict.fromkeys(self.counts, 0)
            case "load_memory":
                self.selected = self.hardware.memories[data]
                self.stored[self.selected.name] = []
            case "load_data":
                assert not self.control & registers.ENABLE, "loaded while enabled"
                self.stored[self.selected.name].append(self.change("load_data", data))
                assert len(self.stored[self.selected.name]) <= self.selected.depth * self.selected.words
            case _:
                raise AssertionError(f"{name} cannot be written")

    # Streams

    @property
    def network(self) -> Network:
        """The network that the words in the memories are."""
        rows = {}
        for memory in self.hardware.memories:
            parts = np.array(self.stored[memory.name], object).reshape(memory.depth, memory.words)
            rows[memory.name] = [sum(int(word) << 32 * i for i, word in enumerate(row)) for row in parts]
        return images.network(self.hardware, rows, encoder=kernels.Linear(steps=self.hardware.steps).encoder())

    def frame(self, data: NDArray[np.uint32]) -> None:
        assert self.control & registers.ENABLE, "a frame while disabled"
        assert len(self.results) < BUSY_FRAMES, "the core waits for a result to be fetched"
        net = self.network
        if self.hardware.input == "pixels":
            assert len(data) == -(-self.hardware.sizes[0] // PIXELS_PER_WORD)
            pixels = data.astype("<u4").view(np.uint8)[: self.hardware.sizes[0]]
        else:
            pixels = self.pixels(data, net)
        result = golden.run(net, pixels[None])
        last = words.pack(words.RESULT_WORD, index=int(result.classes[0]), step=int(result.decision_steps[0]))
        sent = result.membranes[0].tolist() if self.control & registers.SEND_MEMBRANES else []
        self.results.append([*(v & 0xFFFFFFFF for v in sent), last])
        self.counts["images"] += 1

    def pixels(self, data: NDArray[np.uint32], net: Network) -> NDArray[np.uint8]:
        """An image with these events."""
        code = {c: pixel for pixel, c in enumerate(net.encoder)}
        pixels = np.full(self.hardware.sizes[0], code[self.hardware.steps], np.uint8)
        spikes = words.field(words.EVENT_WORD, "mark", data) == 0
        neurons = words.field(words.EVENT_WORD, "index", data)[spikes]
        steps = words.field(words.EVENT_WORD, "step", data)[spikes]
        assert len(spikes) == 1 or spikes.all()
        pixels[np.searchsorted(self.hardware.indices(0), neurons)] = [code[int(step)] for step in steps]
        return pixels


class Sender:
    """The DMA's way to the core. It reads the buffer as late as it can: at the end of the transfer."""

    def __init__(self, core: Core) -> None:
        self.core, self.under_way = core, None

    def transfer(self, array: NDArray[np.uint32], start: int = 0, nbytes: int = 0) -> None:
        assert self.under_way is None, "the channel is not idle"
        assert isinstance(array, Buffer)
        assert array.dtype == np.uint32
        assert 0 < nbytes <= array.nbytes
        self.under_way = (array, start, nbytes)

    def wait(self) -> None:
        array, start, nbytes = self.under_way
        self.under_way = None
        self.core.frame(np.array(array).view(np.uint8)[start : start + nbytes].view(np.uint32))


class Receiver(Sender):
    """The way back. A record must be as long as the transfer: else its end is missing, or the buffer's is stale."""

    def wait(self) -> None:
        array, start, nbytes = self.under_way
        assert self.core.results, "no result will come: nothing was sent"
        record = self.core.results.pop(0)
        assert (start, nbytes) == (0, 4 * len(record))
        array[: len(record)] = record
        self.under_way = None


class Buffer(np.ndarray):
    """Memory that the DMA can reach."""


def allocate(shape: tuple[int, ...], dtype: Any) -> NDArray[np.uint32]:
    return np.full(shape, 0xDEADBEEF, dtype).view(Buffer)


def driver_of(core: Core) -> Driver:
    return Driver(core, core, core.hardware, allocate)


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (count, 10)) * (rng.random((count, 10)) < 0.7)).astype(np.uint8)


def same(records: words.Records, expected: golden.Result, *, membranes: bool = True) -> None:
    assert records.membranes.tolist() == (expected.membranes.tolist() if membranes else [[]] * len(expected))
    assert records.classes.tolist() == expected.classes.tolist()
    assert records.decision_steps.tolist() == expected.decision_steps.tolist()
    assert records.faults.tolist() == [False] * len(expected)


@pytest.mark.smoke
@pytest.mark.parametrize("membranes", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_images(count: int, membranes: bool, seed: int) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    images_in = pictures(count, seed)
    expected = golden.run(net, images_in)
    same(driver.infer(images_in.reshape(count, 2, 5), membranes=membranes), expected, membranes=membranes)
    assert driver.counters() == {
        "images": count, "faults": 0, "clocks": 0, "spikes": [600, 601], "active": [600, 601]
    }  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("input", ["pixels", "events"])
def test_another_network(input: InputKind, seed: int) -> None:
    """Loaded word by word through the registers; counters begin at zero; the core runs."""
    first, second = network(1), network(2)
    core = Core(hardware_for(first, input), first)
    driver = driver_of(core)
    assert driver.digest == first.digest
    for net in (second, first):
        core.counts["images"] = 9
        driver.load(net)
        assert driver.digest == net.digest
        assert core.network.digest == net.digest
        assert core.counts["images"] == 0
        images_in = pictures(5, seed)
        images_in[0] = 0  # no spike
        same(driver.infer(images_in), golden.run(net, images_in))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("misfit", "message"),
    [(network(sizes=(10, 6, 5)), "the network has channels 6, the hardware 7"), (network(steps=5), "the network has")],
)
def test_a_network_that_does_not_fit_writes_nothing(misfit: Network, message: str) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    with pytest.raises(FirstspikeError, match=message):
        driver.load(misfit)
    assert core.writes == []
    assert driver.digest == net.digest


@pytest.mark.smoke
def test_a_load_that_goes_wrong_is_found() -> None:
    first, second = network(1), network(2)
    core = Core(hardware_for(first), first)
    driver = driver_of(core)
    core.change = lambda name, value: value ^ (name == "digest")
    with pytest.raises(FirstspikeError, match=rf"the core holds network [0-9a-f]{{64}}, not {second.digest}"):
        driver.load(second)


@pytest.mark.smoke
@pytest.mark.parametrize("register", ["identity", "version", "shape", "sizes"])
def test_another_core_is_refused(register: str) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    core.change = lambda name, value: value ^ (name == register)
    with pytest.raises(FirstspikeError, match=rf"register {register}(\[0\])? reads 0x"):
        driver_of(core)
    assert core.writes == []


@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{"lanes": [4, 2]}, {"monitor": False}, {"fire": "stepped"}])
def test_a_core_generated_otherwise_is_refused(settings: dict[str, Any]) -> None:
    """With the same network, shape and sizes; one of other lanes would give wrong classes."""
    net = network()
    core = Core(hardware_for(net), net)
    other = Hardware.for_network(net, **({"lanes": 2, "spare_membrane_bits": 2} | settings))
    assert registers.shape_word(other) == registers.shape_word(core.hardware)
    with pytest.raises(FirstspikeError, match="generated otherwise, with other lanes, widths or options") as caught:
        Driver(core, core, other, allocate)
    assert other.fingerprint[:8] in caught.value.one_line()
    assert core.hardware.fingerprint[:8] in caught.value.one_line()
    assert core.writes == []


@pytest.mark.smoke
def test_a_core_of_another_interface_is_asked_no_more() -> None:
    """Of an older one, some registers do not exist: reading them would be a bus error."""
    net = network()
    core = Core(hardware_for(net), net)
    read: list[str] = []

    def change(name: str, value: int) -> int:
        read.append(name)
        return value - (name == "version")

    core.change = change
    with pytest.raises(FirstspikeError, match="register version reads 0x2, not 0x3"):
        driver_of(core)
    assert read == ["identity", "version"]


@pytest.mark.smoke
def test_images_that_do_not_fit() -> None:
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    with pytest.raises(FirstspikeError, match="an image has 9 pixels; the core takes 10"):
        driver.infer(np.zeros((2, 9), np.uint8))
    for wrong in (np.zeros((2, 10)), np.zeros(10, np.uint8)):
        with pytest.raises(FirstspikeError, match="images have type"):
            driver.infer(wrong)
    assert core.writes == []


@pytest.mark.smoke
def test_events_need_the_encoder() -> None:
    net = network()
    driver = driver_of(Core(hardware_for(net, "events"), net))
    with pytest.raises(FirstspikeError, match="has no encoder table"):
        driver.infer(pictures(1, 0))


@pytest.mark.smoke
def test_fields_of_a_word() -> None:
    """Packed and taken apart again; what does not fit is refused, not cut."""
    values = {"index": 65535, "step": 513, "population": 9, "fault": 0, "mark": 1}
    word = words.pack(words.EVENT_WORD, **values)
    assert word == 65535 | 513 << 16 | 9 << 26 | 1 << 31
    assert {name: int(words.field(words.EVENT_WORD, name, np.array([word]))[0]) for name in values} == values
    with pytest.raises(ValueError, match="step is 1024, outside 10 bits"):
        words.pack(words.EVENT_WORD, step=1024)
    with pytest.raises(ValueError, match="index is -1"):
        words.pack(words.EVENT_WORD, index=-1)
    with pytest.raises(ValueError, match="no field steps"):
        words.pack(words.EVENT_WORD, steps=1)
