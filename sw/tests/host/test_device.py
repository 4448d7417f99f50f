"""The host's end of the link against a device written in Python, which can lose, repeat and hold back whole frames."""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from firstspike.contract import images, registers, words
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.host import device as host
from firstspike.host import link
from firstspike.host.device import Device
from firstspike.host.link import Frame, LinkError, Status, Type
from firstspike.network import golden, kernels
from firstspike.network.model import Network, dense

CLOCK_HZ, DIVISOR = 1_000_000_000, 4
TIMEOUT = 0.02


def network(seed: int, sizes: tuple[int, ...] = (6, 5, 4), steps: int = 4) -> Network:
    kernel = kernels.PowerOfTwo(steps=steps)
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-8, 8, (n, m)) for m, n in pairwise(sizes)]
    return dense(
        weights,
        [rng.integers(-20, 20, len(w)) for w in weights],
        weight_bits=4,
        kernels=[kernel.table()] * len(weights),
        thresholds=[kernel.integer_threshold(0.05)] * (len(weights) - 1),
        encoder=kernel.encoder(),
        steps=steps,
        fire_start=steps,
    )


FIRST, SECOND = network(1), network(2)


def hardware(**changes: Any) -> Hardware:
    return Hardware.for_network(FIRST, spare_membrane_bits=2, **changes)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, FIRST.sizes[0])).astype(np.uint8)


class Board:
    """A port with a device behind it, which executes each request when it is written.

    ``lose_request``, ``lose_reply``, ``hold_reply`` are called with each request, and tell what happens to it; a reply
    that is held comes before the one to the next request that is no repetition.
    """

    def __init__(self, hardware: Hardware, network: Network) -> None:
        self.hardware = hardware
        self.timeout: float | None = None
        self.echo = False
        self.closed = False
        self.error: OSError | None = None
        self.requests: list[Frame] = []
        self.executed: list[Frame] = []
        self.writes: list[tuple[int, int]] = []
        self.lose_request = self.lose_reply = self.hold_reply = lambda request: False
        self.version, self.answer = link.VERSION, None
        self._names = {
            r.address(i): (r.name, i) for r in registers.register_map(hardware).values() for i in range(r.count)
        }
        self._memories = images.load_words(images.contents(network, hardware), hardware)
        self._pending = bytearray()
        self._held: list[Frame] = []
        self._decoder = link.Decoder()
        self.restart()

    def restart(self) -> None:
        """As by its reset button: memories stay."""
        self._tag: int | None = None
        self._stored: Frame | None = None
        self._control = self._memory = self._place = 0
        self.counts = {"images": 0, "faults": 0, "clocks": 0}

    @property
    def in_waiting(self) -> int:
        if self.error:
            raise self.error
        return len(self._pending)

    def read(self, size: int) -> bytes:
        if not self._pending:
            time.sleep(self.timeout or 0)
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data

    def write(self, data: bytes) -> int:
        if self.error:
            raise self.error
        if self.echo:
            self._pending += data
        for request in self._decoder.feed(data):
            self.requests.append(request)
            if self.lose_request(request):
                continue
            reply = self._reply(request)
            if self.lose_reply(request):
                continue
            for held in [held for held in self._held if held.tag != reply.tag]:
                self._pending += link.encode(held)
                self._held.remove(held)
            if self.hold_reply(request):
                self._held.append(reply)
            else:
                self._pending += link.encode(reply)
        return len(data)

    def close(self) -> None:
        self.closed = True

    @property
    def digest(self) -> list[int]:
        return self._memories["digest"]

    def network(self) -> Network:
        """What the memories hold."""
        encoder = FIRST.encoder
        rows = {}
        for memory in self.hardware.memories:
            loaded = self._memories[memory.name]
            rows[memory.name] = [
                sum(word << 32 * n for n, word in enumerate(loaded[i : i + memory.words]))
                for i in range(0, len(loaded), memory.words)
            ]
        return images.network(self.hardware, rows, encoder=encoder)

    def _reply(self, request: Frame) -> Frame:
        if request.type != Type.HELLO and (self._tag is None or request.tag not in (self._tag, self._tag + 1)):
            return Frame(request.type | link.REPLY, request.tag, (), Status.STRANGER)
        if request.type == Type.HELLO or request.tag != self._tag:
            self._tag = request.tag
            self.executed.append(request)
            status, payload = self._execute(request)
            self._stored = Frame(request.type | link.REPLY, request.tag, tuple(payload), status)
        assert self._stored is not None
        return self._stored

    def _execute(self, request: Frame) -> tuple[int, Any]:
        if self.answer is not None and request.type == Type.IMAGE:
            return self.answer
        match request.type:
            case Type.HELLO:
                return Status.OK, (self.version, *link.hello_words(self.hardware, CLOCK_HZ, DIVISOR)[1:])
            case Type.READ:
                address, count = request.payload
                return Status.OK, [self._read(*self._names[address + 4 * i]) for i in range(count)]
            case Type.WRITE:
                address, *values = request.payload
                self.writes += [(address, value) for value in values]
                return self._write(self._names[address][0], values), ()
            case Type.IMAGE:
                return Status.OK, self._image(request.payload)
        raise AssertionError(request)

    def _read(self, name: str, index: int) -> int:
        values = registers.constants(self.hardware) | {
            "digest": self.digest,
            "spikes": [100, 101],
            "active": [200, 201],
        }
        values |= {name: [value % (1 << 32), value >> 32] for name, value in self.counts.items()}
        return values[name][index]

    def _write(self, name: str, values: list[int]) -> Status:
        match name:
            case "control":
                (self._control,) = values
                if self._control & registers.CLEAR_COUNTERS:
                    self.counts = dict.fromkeys(self.counts, 0)
            case "load_memory":
                (self._memory,) = values
                self._place = 0
            case "load_data":
                loaded = self._memories[self.hardware.memories[self._memory].name]
                if self._control & registers.ENABLE or self._place + len(values) > len(loaded):
                    return Status.REFUSED
                loaded[self._place : self._place + len(values)] = values
                self._place += len(values)
        return Status.OK

    def _image(self, frame: tuple[int, ...]) -> list[int]:
        assert self._control == registers.ENABLE | registers.SEND_MEMBRANES or self._control & registers.CLEAR_COUNTERS
        network = self.network()
        if self.hardware.input == "pixels":
            image = np.array(frame, "<u4").view(np.uint8)[: network.sizes[0]]
            codes = np.array(network.encoder)[image]
        else:
            codes = np.full(network.sizes[0], network.populations[0].codes)
            for word in frame:
                fields = {n: int(words.field(words.EVENT_WORD, n, np.array([word]))[0]) for n in words.EVENT_WORD}
                if not fields["mark"]:
                    codes[fields["index"]] = fields["step"]
        # A pixel for each code.
        pixels = np.array([network.encoder.index(code) for code in codes.tolist()], np.uint8)
        result = golden.run(network, pixels)
        self.counts["images"] += 1
        last = words.pack(words.RESULT_WORD, index=int(result.classes[0]), step=int(result.decision_steps[0]))
        return [value & 0xFFFFFFFF for value in result.membranes[0].tolist()] + [last]


def make(network: Network = FIRST, **changes: Any) -> tuple[Board, Device]:
    """A board that holds a network, and a device on it."""
    core = hardware(**changes)
    board = Board(core, network)
    return board, Device(board, core, timeout=TIMEOUT, retries=4, chunk_words=7)


def check(records: words.Records, network: Network, shown: NDArray[np.uint8]) -> None:
    expected = golden.run(network, shown)
    assert records.classes.tolist() == expected.classes.tolist()
    assert records.membranes.tolist() == expected.membranes.tolist()
    assert records.decision_steps.tolist() == expected.decision_steps.tolist()
    assert not records.faults.any()


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["pixels", "events"])
def test_images_and_networks(kind: str) -> None:
    """Results are those of the network in use; each image is shown once; counters start anew."""
    board, device = make(input=kind)
    shown = pictures(7)
    shown[3] = 0
    with device:
        device.use(FIRST)
        assert not any(address == device._registers["load_data"].address() for address, _ in board.writes)
        check(device.infer(shown), FIRST, shown)
        done: list[float] = []
        device.use(SECOND, done.append)
        assert done[-1] == 1.0
        assert done == sorted(done)
        assert device.digest() == SECOND.digest
        check(device.infer(shown), SECOND, shown)
        counters = device.counters()
        assert counters == {"images": [7], "faults": [0], "clocks": [0], "spikes": [100, 101], "active": [200, 201]}
        assert len(device.infer(shown[:0]).classes) == 0
        device.load(FIRST)
        check(device.infer(shown[:1]), FIRST, shown[:1])
    assert board.closed
    assert (device.repeated, device.strays, device.dropped) == (0, 0, 0)


def test_counters_that_wrap_and_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device looks often enough while it infers; a restart loses only what nobody had looked at."""
    board, device = make()
    device.use(FIRST)
    now, step = 0.0, (1 << 31) + 777
    monkeypatch.setattr("firstspike.host.counters.time.monotonic", lambda: now)
    device._totals.clear()
    image = board._image

    def long(frame: tuple[int, ...]) -> list[int]:
        nonlocal now
        for name in board.counts:
            board.counts[name] += step - (name == "images")
        now += step / CLOCK_HZ
        return image(frame)

    board._image = long  # type: ignore[method-assign]
    shown = pictures(7)
    check(device.infer(shown), FIRST, shown)
    counters = device.counters()
    assert (counters["images"], counters["faults"], counters["clocks"]) == ([7 * step],) * 3
    board.restart()
    with pytest.raises(LinkError, match="restarted"):
        device.infer(shown)
    check(device.infer(shown[:2]), FIRST, shown[:2])
    counters = device.counters()
    assert (counters["images"], counters["faults"], counters["clocks"]) == ([9 * step],) * 3


@pytest.mark.smoke
def test_a_core_without_counters() -> None:
    board, device = make(counters=False)
    shown = pictures(3)
    device.use(FIRST)
    check(device.infer(shown), FIRST, shown)
    with pytest.raises(FirstspikeError, match="generated without counters"):
        device.counters()
    board.restart()
    with pytest.raises(LinkError, match="restarted"):
        device.infer(shown)
    check(device.infer(shown), FIRST, shown)
    addresses = {r.address() for n, r in registers.register_map(hardware()).items() if n in registers.COUNTERS}
    assert not addresses & {request.payload[0] for request in board.executed if request.type == Type.READ}


@pytest.mark.parametrize("mishap", ["lose_request", "lose_reply", "hold_reply"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_whole_frames_lost_or_late(mishap: str, every: int) -> None:
    """Each request is executed once, in order, and answered by its own reply, also if an older one comes late."""
    board, device = make(SECOND)
    seen: dict[int, int] = {}
    number = 0

    def happens(request: Frame) -> bool:
        nonlocal number
        seen[request.tag] = seen.get(request.tag, 0) + 1
        number += seen[request.tag] == 1
        return seen[request.tag] == 1 and number % every == 0

    setattr(board, mishap, happens)
    device.load(FIRST)
    shown = pictures(5)
    check(device.infer(shown), FIRST, shown)
    assert device.counters()["images"] == [5]
    assert device.repeated >= len(seen) // every > 5
    if mishap == "hold_reply":
        assert device.strays > 5
    tags = [request.tag for request in board.executed if request.type != Type.HELLO]
    assert tags == [(tags[0] + n) % link.TAGS for n in range(len(tags))]


@pytest.mark.smoke
def test_reply_of_another_request_is_never_taken() -> None:
    """The reply to the image before, again and right in every way but its tag, comes first."""
    board, device = make()
    device.use(FIRST)
    old = deque[Frame]()

    def remember(request: Frame) -> bool:
        if old:
            board._pending += link.encode(old.popleft())
        if request.type == Type.IMAGE:
            assert board._stored is not None
            old.append(board._stored)
        return False

    board.lose_reply = remember
    shown = pictures(6)
    check(device.infer(shown), FIRST, shown)
    assert device.strays == 5


@pytest.mark.smoke
def test_an_echo_is_no_reply() -> None:
    board, device = make(SECOND)
    board.echo = True
    device.load(FIRST)
    shown = pictures(3)
    check(device.infer(shown), FIRST, shown)
    assert device.strays > 3


def test_no_answer_and_recovery() -> None:
    """An error in one line with a remedy, after as many tries as allowed; when the line works again, so does all."""
    board, device = make()
    device.use(FIRST)
    shown = pictures(4)
    images_shown = 0

    def lose(request: Frame) -> bool:
        nonlocal images_shown
        images_shown += request.type == Type.IMAGE
        return images_shown > 2

    board.lose_reply = lose
    with pytest.raises(LinkError, match="no answer to IMAGE, asked 5 times") as caught:
        device.infer(shown)
    assert "check cable" in caught.value.one_line()
    assert "\n" not in caught.value.one_line()
    with pytest.raises(LinkError, match="no answer to HELLO"):
        device.infer(shown)
    board.lose_reply = lambda request: False
    check(device.infer(shown), FIRST, shown)
    assert device.counters()["images"] == [2 + 1 + 4]


def test_restart() -> None:
    """Between two images: an error, then all goes on, for the memories still hold the network."""
    board, device = make()
    device.use(FIRST)
    shown = pictures(4)
    board.restart()
    with pytest.raises(LinkError, match="restarted"):
        device.infer(shown)
    check(device.infer(shown), FIRST, shown)


def test_restart_with_another_network() -> None:
    """A board that was configured anew holds what was built into it, and gives no result until that is mended."""
    board, device = make(SECOND)
    device.load(FIRST)
    shown = pictures(4)
    board.restart()
    board._memories = Board(board.hardware, SECOND)._memories
    with pytest.raises(LinkError, match="restarted"):
        device.infer(shown)
    with pytest.raises(LinkError, match="no longer holds the network") as caught:
        device.infer(shown)
    assert "load it again" in caught.value.one_line()
    with pytest.raises(FirstspikeError, match="no network is in use"):
        device.infer(shown)
    device.use(FIRST)
    check(device.infer(shown), FIRST, shown)


def test_load_cut_short_anywhere() -> None:
    """Until its last word is written the core has no network's digest, and the host shows it no image."""
    board, device = make(SECOND)
    device.load(FIRST)
    total = sum(request.type == Type.WRITE for request in board.executed)
    whole = {n.digest: images.load_words(images.contents(n, board.hardware), board.hardware) for n in (FIRST, SECOND)}
    shown = pictures(1)
    found = []
    for cut in range(total):
        board, device = make(SECOND)
        device.connect()
        device._retries = 0
        left = cut

        def lose(request: Frame) -> bool:
            nonlocal left
            left -= request.type == Type.WRITE
            return left < 0

        board.lose_request = lose
        with pytest.raises(LinkError):
            device.load(FIRST)
        found.append("".join(f"{word:08x}" for word in board.digest))
        assert found[-1] not in whole or board._memories == whole[found[-1]], cut
        board.lose_request = lambda request: False
        with pytest.raises(FirstspikeError, match="no network is in use"):
            device.infer(shown)
        device.use(FIRST)
        check(device.infer(shown), FIRST, shown)
    # To stop the core and choose the digest changes nothing yet; only to start it is left to do at the end.
    assert found[:3] == [SECOND.digest] * 3
    assert found.count("0" * 64) > total / 2
    assert found.count(FIRST.digest) == 1
    assert found[-1] == FIRST.digest


@pytest.mark.smoke
@pytest.mark.parametrize("call", ["use", "load"])
def test_a_network_that_does_not_fit_is_refused_before_anything_is_sent(call: str) -> None:
    board, device = make()
    device.use(FIRST)
    before = len(board.requests)
    for wrong in (network(1, (6, 7, 4)), network(1, steps=5), network(1, (6, 4))):
        with pytest.raises(FirstspikeError, match="the network"):
            getattr(device, call)(wrong)
    assert len(board.requests) == before
    shown = pictures(2)
    check(device.infer(shown), FIRST, shown)


def test_images_that_do_not_fit_are_not_sent() -> None:
    board, device = make()
    with pytest.raises(FirstspikeError, match="no network is in use"):
        device.infer(pictures(1))
    device.use(FIRST)
    before = len(board.requests)
    with pytest.raises(FirstspikeError, match="an image has 5 pixels"):
        device.infer(pictures(1)[:, :5])
    assert len(board.requests) == before


@pytest.mark.smoke
def test_other_hardware_is_refused() -> None:
    """Also one that differs only in what no memory shows."""
    core = hardware()
    others = [{"lanes": [2, 4]}, {"input": "events"}, {"product": "multiply"}, {"monitor": False}, {"fire": "stepped"}]
    for other in (hardware(**changes) for changes in others):
        board = Board(other, FIRST)
        with pytest.raises(FirstspikeError, match="other hardware than expected"):
            Device(board, core, timeout=TIMEOUT).connect()
        assert not board.writes
    board = Board(core, FIRST)
    board.version = link.VERSION + 1
    with pytest.raises(FirstspikeError, match=f"has version {link.VERSION + 1} of the link, not {link.VERSION}"):
        Device(board, core, timeout=TIMEOUT).connect()
    board = Board(core, FIRST)
    board._read = lambda name, index: 0  # type: ignore[method-assign]
    with pytest.raises(FirstspikeError, match="register identity reads 0x0, not 0x54544653"):
        Device(board, core, timeout=TIMEOUT).connect()
    board = Board(core, FIRST)
    read, others = board._read, words.hash_words(hardware(lanes=[2, 4]).fingerprint)
    board._read = lambda name, index: others[index] if name == "hardware" else read(name, index)  # type: ignore
    with pytest.raises(FirstspikeError, match="the core was generated otherwise"):
        Device(board, core, timeout=TIMEOUT).connect()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((Status.TIMEOUT, ()), "the core made no result"),
        ((Status.REFUSED, ()), "refused IMAGE"),
        ((Status.OK, (1, 2)), "a result of 2 words, not 5"),
    ],
)
def test_answers_that_are_no_result(answer: tuple[int, tuple[int, ...]], message: str) -> None:
    board, device = make()
    device.use(FIRST)
    board.answer = answer
    with pytest.raises(LinkError, match=message) as caught:
        device.infer(pictures(2))
    assert caught.value.hint
    board.answer = None
    shown = pictures(2)
    check(device.infer(shown), FIRST, shown)


def test_a_digest_that_is_not_the_one_loaded() -> None:
    board, device = make(SECOND)
    device.connect()
    read = board._read
    board._read = lambda name, index: 7 if name == "digest" else read(name, index)  # type: ignore[method-assign]
    with pytest.raises(LinkError, match="holds another digest"):
        device.load(FIRST)
    with pytest.raises(FirstspikeError, match="no network is in use"):
        device.infer(pictures(1))


def test_a_port_that_fails() -> None:
    board, device = make()
    device.use(FIRST)
    board.error = OSError(5, "Input/output error")
    with pytest.raises(LinkError, match="the port failed: Input/output error"):
        device.infer(pictures(1))
    board.error = None
    shown = pictures(2)
    check(device.infer(shown), FIRST, shown)


def test_a_port_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(LinkError, match="cannot open") as caught:
            Device.open(str(path), hardware())
        assert "\n" not in caught.value.one_line()
        assert "serial port" in caught.value.one_line()


def test_chunks_that_do_not_fit() -> None:
    core = hardware()
    for words_ in (0, link.request_words(core)):
        with pytest.raises(FirstspikeError, match=r"outside 1\.\.255"):
            Device(Board(core, FIRST), core, chunk_words=words_)


def test_one_call_for_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = make(SECOND)
    monkeypatch.setattr(host, "open_port", lambda path, baud: board)
    shown = pictures(3)
    check(host.infer("/dev/somewhere", board.hardware, FIRST, shown), FIRST, shown)
    assert board.closed
    with pytest.raises(FirstspikeError, match="the network has"):
        host.infer("/dev/somewhere", board.hardware, network(1, steps=5), shown)
