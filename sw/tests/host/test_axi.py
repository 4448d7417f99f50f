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
from firstspike.host.axi import DmaError, Driver
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
        self.dma = Dma(self)
        self.stored = images.load_words(images.contents(net, hardware), hardware)
        self.constants = registers.constants(hardware)
        self.control = 0
        self.places = {
            r.address(i): (name, i) for name, r in registers.register_map(hardware).items() for i in range(r.count)
        }
        self.writes: list[tuple[str, int]] = []
        self.results: list[list[int]] = []
        self.counts = dict.fromkeys(("images", "faults", "clocks"), 0)
        self.ahead = 0  # of where most counters would be
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
                return (100 * len(name) + index + self.ahead) % (1 << 32)
            case "images" | "faults":
                return (self.counts[name] + self.ahead) % (1 << 32)
            case "clocks":
                return self.counts[name] >> 32 * index & 0xFFFFFFFF
        raise AssertionError(f"{name} cannot be read")

    def write(self, offset: int, data: int) -> None:
        assert type(data) is int  # PYNQ takes no NumPy integer
        assert 0 <= data < 1 << 32
        name, _ = self.places[offset]
        self.writes.append((name, data))
        match name:
            case "control":
                self.control = data & ~registers.CLEAR_COUNTERS
                if not data & registers.ENABLE:
                    self.results.clear()
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

    @property
    def ready(self) -> bool:
        """Whether it takes a frame; else it waits for a result to be fetched, or to be enabled."""
        return bool(self.control & registers.ENABLE) and len(self.results) < BUSY_FRAMES

    def frame(self, data: NDArray[np.uint32]) -> None:
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


class Dma:
    """PYNQ's ``DMA`` on an AXI DMA: its channels, and the reset in its registers, which takes a while."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.resets = self.busy = 0
        self.reset_clocks = 2
        self.sendchannel, self.recvchannel = Sender(core, 0x04), Receiver(core, 0x34)

    def write(self, offset: int, value: int) -> None:
        assert (offset, value) == (0x00, 0x04)
        assert not self.core.control & registers.ENABLE, "reset while the core may be in the middle of a record"
        self.resets += 1
        self.busy = self.reset_clocks
        for channel in (self.sendchannel, self.recvchannel):
            channel.running, channel.error, channel.under_way = False, False, None

    def read(self, offset: int) -> int:
        if offset in (0x04, 0x34):
            return offset
        assert offset == 0x00
        self.busy -= self.busy > 0
        return 0x04 if self.busy else 0x02


class Sender:
    """PYNQ's channel to the core. It reads the buffer as late as it can: at the end of the transfer.

    ``halt`` is asked at the end of a transfer whether it fails.
    """

    max_size = (1 << 14) - 1

    def __init__(self, core: Core, status: int) -> None:
        self.core, self.status = core, status
        self.running, self.error, self.transferred = True, False, 0
        self.under_way: tuple[NDArray[np.uint32], int, int] | None = None
        self.done = False
        self.first = True
        self.stuck: Callable[[], bool] = lambda: False
        self.fails: Callable[[], bool] = lambda: False

    def start(self) -> None:
        assert not self.core.dma.busy, "started in the middle of a reset"
        self.running = self.first = True
        self.done = False

    @property
    def idle(self) -> bool:
        if self.under_way and not self.done and self.running and not self.stuck():
            if self.fails():
                self.running, self.error = False, True
            else:
                self.done = self.move(*self.under_way)
        return self.done

    def transfer(self, array: NDArray[np.uint32], start: int = 0, nbytes: int = 0) -> None:
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self.idle and not self.first:
            raise RuntimeError("DMA channel not idle")
        assert self.under_way is None, "nobody waited for the transfer before"
        assert isinstance(array, Buffer)
        assert not array.freed
        assert array.dtype == np.uint32
        assert 0 < nbytes <= array.nbytes
        if nbytes > self.max_size:
            raise ValueError(f"Transfer size is {nbytes} bytes, which exceeds the maximum DMA buffer size.")
        self.under_way, self.done, self.first = (array, start, nbytes), False, False

    def wait(self) -> None:
        if not self.running:
            raise RuntimeError("DMA channel not started")
        assert self.idle, "waits for ever"
        self.under_way = None

    def move(self, array: NDArray[np.uint32], start: int, nbytes: int) -> bool:
        """Whether it came to its end."""
        if not self.core.ready:
            return False
        self.core.frame(np.array(array).view(np.uint8)[start : start + nbytes].view(np.uint32))
        self.transferred = nbytes
        return True


class Receiver(Sender):
    """The way back, up to the end of a record."""

    def move(self, array: NDArray[np.uint32], start: int, nbytes: int) -> bool:
        if not self.core.results:
            return False
        record = self.core.results.pop(0)
        assert start == 0
        assert 4 * len(record) <= nbytes, "the DMA stops with an internal error"
        array[: len(record)] = record
        self.transferred = 4 * len(record)
        return True


class Buffer(np.ndarray):
    """Memory that the DMA can reach."""

    freed = False

    def freebuffer(self) -> None:
        assert not self.freed
        self.freed = True


def allocate(shape: tuple[int, ...], dtype: Any) -> Buffer:
    return np.full(shape, 0xDEADBEEF, dtype).view(Buffer)


def driver_of(core: Core, **settings: Any) -> Driver:
    return Driver(core, core.dma, core.hardware, allocate, **({"timeout": 0.02} | settings))


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


def test_counters_that_wrap_within_a_batch(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """With each image the counters go round by more than half: the driver looks often enough while it infers."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core, timeout=1e9)
    driver.load(net)
    now, step = 0.0, (1 << 31) + 12345
    monkeypatch.setattr("firstspike.host.counters.time.monotonic", lambda: now)
    driver._totals.clear()
    frame = core.frame

    def long(data: NDArray[np.uint32]) -> None:
        nonlocal now
        frame(data)
        core.ahead += step
        core.counts["clocks"] += step
        now += step / 2_000_000_000

    core.frame = long  # type: ignore[method-assign]
    images_in = pictures(9, seed)
    same(driver.infer(images_in), golden.run(net, images_in))
    assert driver.counters() == {
        "images": 9 + 9 * step, "faults": 9 * step, "clocks": 9 * step,
        "spikes": [600 + 9 * step, 601 + 9 * step], "active": [600 + 9 * step, 601 + 9 * step],
    }  # fmt: skip


@pytest.mark.smoke
def test_a_core_without_counters(seed: int) -> None:
    """Everything else works; no such register is read."""
    net = network()
    core = Core(Hardware.for_network(net, lanes=2, spare_membrane_bits=2, counters=False), net)
    assert not set(registers.COUNTERS) & {name for name, _ in core.places.values()}
    driver = driver_of(core)
    driver.load(net)
    images_in = pictures(4, seed)
    same(driver.infer(images_in), golden.run(net, images_in))
    with pytest.raises(FirstspikeError, match="generated without counters"):
        driver.counters()


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
    core.writes.clear()
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
@pytest.mark.parametrize("settings", [{"lanes": [4, 2]}, {"monitor": False}, {"fire": "stepped"}, {"counters": False}])
def test_a_core_generated_otherwise_is_refused(settings: dict[str, Any]) -> None:
    """With the same network, shape and sizes; one of other lanes would give wrong classes."""
    net = network()
    core = Core(hardware_for(net), net)
    other = Hardware.for_network(net, **({"lanes": 2, "spare_membrane_bits": 2} | settings))
    assert registers.shape_word(other) == registers.shape_word(core.hardware)
    with pytest.raises(FirstspikeError, match="generated otherwise, with other lanes, widths or options") as caught:
        Driver(core, core.dma, other, allocate)
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
    core.writes.clear()
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


def check_recovery(core: Core, driver: Driver, seed: int) -> None:
    """The next batch is exact, and no result of an image before it is left over."""
    assert not core.control & registers.ENABLE
    images_in = pictures(5, seed + 1)
    same(driver.infer(images_in), golden.run(core.network, images_in))
    assert core.results == []


@pytest.mark.parametrize(
    ("channel", "message"), [("sendchannel", "the core took no image within"), ("recvchannel", "no result came within")]
)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_transfer_that_never_ends(channel: str, message: str, after: int, seed: int) -> None:
    """Whichever it is: one line in time, and the next batch works."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    before = core.dma.resets
    getattr(core.dma, channel).stuck = lambda: core.counts["images"] > after
    if channel == "sendchannel":
        getattr(core.dma, channel).stuck = lambda: core.counts["images"] >= after
    with pytest.raises(DmaError, match=message) as caught:
        driver.infer(pictures(6, seed))
    assert "check clocks and resets" in caught.value.one_line()
    assert core.dma.resets == before + 1
    getattr(core.dma, channel).stuck = lambda: False
    check_recovery(core, driver, seed)


@pytest.mark.parametrize("channel", ["sendchannel", "recvchannel"])
def test_a_transfer_that_fails(channel: str, seed: int) -> None:
    """The DMA halts: PYNQ only says that it is not started; the status says why."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    getattr(core.dma, channel).fails = lambda: core.counts["images"] == 2
    with pytest.raises(DmaError, match=r"the DMA failed: DMA channel not started \(status 0x4, 0x34\)"):
        driver.infer(pictures(6, seed))
    getattr(core.dma, channel).fails = lambda: False
    check_recovery(core, driver, seed)


@pytest.mark.smoke
def test_a_result_of_another_length(seed: int) -> None:
    """Of a core that sends no membranes, say: what the buffer holds from before is no result."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    frame = core.frame

    def short(data: NDArray[np.uint32]) -> None:
        frame(data)
        core.results[-1] = core.results[-1][-1:]

    core.frame = short  # type: ignore[method-assign]
    with pytest.raises(DmaError, match="a result of 4 bytes, not 24"):
        driver.infer(pictures(2, seed))
    core.frame = frame  # type: ignore[method-assign]
    check_recovery(core, driver, seed)


@pytest.mark.smoke
def test_an_image_that_the_length_register_cannot_hold(seed: int) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    core.dma.sendchannel.max_size = 8
    with pytest.raises(DmaError, match="exceeds the maximum") as caught:
        driver.infer(pictures(2, seed))
    assert "a wider length register" in caught.value.one_line()
    core.dma.sendchannel.max_size = 100
    check_recovery(core, driver, seed)


def test_an_interruption(seed: int) -> None:
    """By a signal, wherever it comes: what is under way is thrown away."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    polls = 0

    def interrupt() -> bool:
        nonlocal polls
        polls += 1
        if polls == 7:
            raise KeyboardInterrupt
        return False

    core.dma.recvchannel.stuck = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.infer(pictures(9, seed))
    check_recovery(core, driver, seed)


@pytest.mark.smoke
def test_what_another_program_left_under_way_is_thrown_away(seed: int) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    core.control = registers.ENABLE
    core.results = [[1, 2, 3]]
    core.dma.sendchannel.transfer(allocate((3,), np.uint32), nbytes=12)
    core.dma.recvchannel.transfer(allocate((3,), np.uint32), nbytes=12)
    check_recovery(core, driver_of(core), seed)


@pytest.mark.smoke
def test_a_reset_that_never_ends() -> None:
    net = network()
    core = Core(hardware_for(net), net)
    core.dma.reset_clocks = 1 << 40
    with pytest.raises(DmaError, match="the DMA did not end its reset") as caught:
        driver_of(core)
    assert "load the overlay again" in caught.value.one_line()


@pytest.mark.smoke
def test_a_load_that_breaks_off_leaves_a_driver_that_refuses_images(seed: int) -> None:
    """This driver, and the next one on the same core; a load mends both."""
    first, second = network(1), network(2)
    core = Core(hardware_for(first), first)
    driver = driver_of(core)

    def interrupt(name: str, value: int) -> int:
        if len(core.writes) > 100 and name == "load_data":
            raise KeyboardInterrupt
        return value

    core.change = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.load(second)
    core.change = lambda name, value: value
    for one in (driver, driver_of(core)):
        assert one.digest == "0" * 64
        with pytest.raises(FirstspikeError, match="holds no network: never loaded, or a load broke off") as caught:
            one.infer(pictures(1, seed))
        assert caught.value.hint == "load one"
        one.load(second)
        images_in = pictures(3, seed)
        same(one.infer(images_in), golden.run(second, images_in))
        core.stored["digest"] = [0] * 8


@pytest.mark.smoke
def test_close_stops_the_core_and_frees_the_buffers(seed: int) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    made: list[Buffer] = []

    def remember(shape: tuple[int, ...], dtype: Any) -> Buffer:
        made.append(allocate(shape, dtype))
        return made[-1]

    with Driver(core, core.dma, core.hardware, remember) as driver:
        driver.infer(pictures(2, seed))
        assert core.control & registers.ENABLE
        assert [buffer.freed for buffer in made] == [False, False]
    assert not core.control & registers.ENABLE
    assert [buffer.freed for buffer in made] == [True, True]
    driver.close()
    core.writes.clear()
    resets = core.dma.resets

    def enter() -> None:
        with driver:
            pass

    for use in (
        lambda: driver.infer(pictures(1, seed)), lambda: driver.load(net), driver.abort, driver.counters,
        lambda: driver.digest, driver.check, lambda: driver.read("control"), enter,
    ):  # fmt: skip
        with pytest.raises(FirstspikeError, match="the driver was closed") as caught:
            use()
        assert caught.value.hint == "make a new one"
    driver.close()
    assert core.writes == []
    assert core.dma.resets == resets


@pytest.mark.smoke
@pytest.mark.parametrize("timeout", [float("nan"), None, "10", 0, -1, True, 0.0])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    net = network()
    core = Core(hardware_for(net), net)
    with pytest.raises(FirstspikeError, match=r"^timeout is ") as caught:
        driver_of(core, timeout=timeout)
    assert caught.value.hint == "give seconds, a number above 0"
    assert core.writes == []


@pytest.mark.smoke
def test_things_of_another_type() -> None:
    """Each is one line, and nothing is written."""
    net = network()
    core = Core(hardware_for(net), net)
    with pytest.raises(FirstspikeError, match="hardware is of type dict, not Hardware") as caught:
        Driver(core, core.dma, core.hardware.to_json(), allocate)  # type: ignore[arg-type]
    assert "Hardware.from_json" in caught.value.one_line()
    driver = driver_of(core)
    core.writes.clear()
    for wrong in ([[0] * 10], None, "images"):
        with pytest.raises(FirstspikeError, match=f"images are of type {type(wrong).__name__}, not an array"):
            driver.infer(wrong)  # type: ignore[arg-type]
    for network_of in ("network", None):
        with pytest.raises(FirstspikeError, match=f"the network is of type {type(network_of).__name__}, not Network"):
            driver.load(network_of)  # type: ignore[arg-type]
    assert core.writes == []


@pytest.mark.smoke
def test_a_reset_that_fails_after_a_transfer(seed: int) -> None:
    """What came first is said first; an interrupt stays one."""
    net = network()
    core = Core(hardware_for(net), net)
    driver = driver_of(core)
    core.dma.reset_clocks = 1 << 40
    core.dma.recvchannel.stuck = lambda: True
    with pytest.raises(DmaError, match=r"no result came within 0\.02 s; then the DMA did not end its reset") as caught:
        driver.infer(pictures(2, seed))
    assert caught.value.hint == "load the overlay again"

    def interrupt() -> bool:
        raise KeyboardInterrupt

    core.dma.reset_clocks = 0
    driver.abort()
    core.dma.reset_clocks = 1 << 40
    core.dma.recvchannel.stuck = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.infer(pictures(2, seed))


@pytest.mark.smoke
def test_an_interruption_while_memory_is_found() -> None:
    net = network()
    core = Core(hardware_for(net), net)
    made: list[Buffer] = []

    def interrupted(shape: tuple[int, ...], dtype: Any) -> Buffer:
        if made:
            raise KeyboardInterrupt
        made.append(allocate(shape, dtype))
        return made[-1]

    with pytest.raises(KeyboardInterrupt):
        Driver(core, core.dma, core.hardware, interrupted)
    assert made[0].freed


@pytest.mark.smoke
def test_no_memory_for_the_dma() -> None:
    net = network()
    core = Core(hardware_for(net), net)
    made: list[Buffer] = []

    def full(shape: tuple[int, ...], dtype: Any) -> Buffer:
        if made:
            raise RuntimeError("Failed to allocate memory!")
        made.append(allocate(shape, dtype))
        return made[-1]

    with pytest.raises(DmaError, match="no memory for the DMA: Failed to allocate memory!"):
        Driver(core, core.dma, core.hardware, full)
    assert made[0].freed


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
