"""A core on a board, from Python: load networks, classify images, read counters, over the host link."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from secrets import randbelow
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.contract import images, registers, words
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.host import link
from firstspike.host.counters import Totals
from firstspike.host.link import DEFAULT_BAUD, Frame, LinkError, Status, Type
from firstspike.host.port import Port, open_port, reason
from firstspike.network.model import Network, check_images

CHECK_WIRES = "check cable, port, rate, and that the board holds a linked core"
AGAIN = "try again"
#: Reads in the time of a timeout: setting the port's own each time would cost more.
POLLS = 10


class Device:
    """A core at the other end of a serial port.

    Every request is answered, or repeated, or ends in an error: bytes that are lost, doubled, changed or late never
    make a wrong result. After an error the next call begins anew, from the first greeting, and checks again what the
    core holds. To be used by one thread.

    Parameters
    ----------
    port
        Where the bytes go; closed at the end.
    hardware
        What was generated: the core must be exactly that.
    timeout
        Seconds to wait for a reply, besides those in which bytes are on the wire and the core works.
    retries
        How often a request is repeated before it is an error.
    chunk_words
        Words of a memory in one request; fewer for a bad line. Default: as many as the device takes.

    """

    def __init__(
        self,
        port: Port,
        hardware: Hardware,
        *,
        timeout: float = 1.0,
        retries: int = 5,
        chunk_words: int | None = None,
    ) -> None:
        most = link.request_words(hardware) - 1
        if chunk_words is not None and not 1 <= chunk_words <= most:
            raise FirstspikeError(f"chunk_words is {chunk_words}, outside 1..{most}")
        self.hardware = hardware
        self._port, self._timeout, self._retries = port, timeout, retries
        port.timeout = timeout / POLLS
        self._chunk_words = most if chunk_words is None else chunk_words
        self._registers = registers.register_map(hardware)
        self._decoder = link.Decoder(link.reply_words(hardware))
        self._tag = randbelow(link.TAGS)
        self._connected = False
        self._seconds_per_byte = self._seconds_per_image = 0.0
        self._network: Network | None = None
        self._totals = Totals(hardware, self._read)
        #: Requests sent again, and frames that were dropped as they were no answer to the last request.
        self.repeated = self.strays = 0

    @classmethod
    def open(cls, path: str, hardware: Hardware, *, baud: int = DEFAULT_BAUD, **settings: Any) -> Device:
        """The device at a serial port, ``/dev/ttyUSB0`` or the like; settings as for the class.

        Raises
        ------
        LinkError
            if the port cannot be opened, or nothing right answers.
        FirstspikeError
            if the device is other hardware.

        """
        device = cls(open_port(path, baud), hardware, **settings)
        try:
            device.connect()
        except BaseException:
            device.close()
            raise
        return device

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """Frames that came damaged."""
        return self._decoder.dropped

    def connect(self) -> None:
        """Greet the device and see that it is the hardware expected. Other methods do it by themselves when needed.

        Raises
        ------
        LinkError
            if nothing right answers.
        FirstspikeError
            if it is other hardware, or of another version.

        """
        self._connected = False
        self._tag = randbelow(link.TAGS)
        version, *rest = self._exchange(Type.HELLO, ()) or (0,)
        if version != link.VERSION:
            raise FirstspikeError(
                f"the device has version {version} of the link, not {link.VERSION}",
                "use the software that generated it",
            )
        clock_hz, divisor, *_ = rest
        self._totals.clock_hz = clock_hz
        if (version, *rest) != link.hello_words(self.hardware, clock_hz, divisor):
            raise FirstspikeError(
                "the device is other hardware than expected", "give the manifest that was generated with its bitstream"
            )
        self._seconds_per_byte = link.UART_BITS * divisor / clock_hz
        self._seconds_per_image = link.patience_clocks(self.hardware) / clock_hz
        registers.check_core(self.hardware, self._read)
        self._connected = True

    def digest(self) -> str:
        """SHA-256 (hex) of the network in the core; zeros while one is being loaded.

        Raises
        ------
        LinkError
            if the device does not answer.

        """
        self._ready()
        return words.hash_digits(self._read("digest"))

    def use(self, network: Network, progress: Callable[[float], None] = lambda done: None) -> None:
        """Have ``network`` in the core, ready for images: load it unless it is there already.

        Raises
        ------
        As :meth:`load`.

        """
        self.hardware.check(network)
        if self.digest() != network.digest:
            self.load(network, progress)
        else:
            self._start(network)

    def load(self, network: Network, progress: Callable[[float], None] = lambda done: None) -> None:
        """Put a network into the core's memories, and be ready for its images.

        The digest is written last: a load that was cut short leaves a core whose digest is of no network.

        Parameters
        ----------
        network
            Of the shape and widths of the hardware.
        progress
            Called with the fraction that is done.

        Raises
        ------
        FirstspikeError
            if the network does not fit the hardware; nothing is sent then.
        LinkError
            if the device does not answer, or holds another digest after all.

        """
        contents = images.load_words(images.contents(network, self.hardware), self.hardware)
        self._ready()
        self._network = None
        steps = list(registers.load_steps(self.hardware, contents))
        total, done = sum(len(values) for _, values in steps), 0
        for name, values in steps:
            for begin in range(0, len(values), self._chunk_words):
                chunk = values[begin : begin + self._chunk_words]
                self._write(name, chunk)
                done += len(chunk)
                progress(done / total)
        if self.digest() != network.digest:
            raise self._failed("the device holds another digest than was loaded", AGAIN)
        self._start(network)

    def _start(self, network: Network) -> None:
        control = registers.ENABLE | registers.SEND_MEMBRANES
        if self._network is network:
            self._write("control", [control])
        else:
            self._write("control", [control | registers.CLEAR_COUNTERS])
            self._totals.clear()
        self._network = network

    def infer(self, pictures: NDArray[np.uint8]) -> words.Records:
        """Classify images with the network in use.

        Parameters
        ----------
        pictures
            Bytes, shape (B, ...).

        Returns
        -------
        Classes, output membranes, decision steps and fault bits of the B images.

        Raises
        ------
        FirstspikeError
            if no network is in use, or the images do not fit it; nothing is sent then.
        LinkError
            if the device does not answer, or no longer holds the network.

        """
        network = self._network
        if network is None:
            raise FirstspikeError("no network is in use", "call use() or load() first")
        flat = check_images(network, pictures)
        if not self._connected:
            self._resume(network)
        records = []
        for frame in words.input_frames(self.hardware, network.encoder, flat):
            self._totals.poll()
            record = self._exchange(Type.IMAGE, tuple(map(int, frame)))
            if len(record) != link.record_words(self.hardware):
                raise self._failed(f"a result of {len(record)} words, not {link.record_words(self.hardware)}", AGAIN)
            records.append(record)
        return words.parse_records(np.array(records, np.int64), link.record_words(self.hardware))

    def _resume(self, network: Network) -> None:
        """After an error: the network in use must still be there."""
        if self.digest() != network.digest:
            self._network = None
            raise LinkError("the device no longer holds the network", "load it again")
        if self.hardware.counters:
            self._totals.read()  # before new clocks hide that it was restarted
        self._start(network)

    def counters(self) -> dict[str, list[int]]:
        """The core's counters since the network was loaded, by name of their register, beyond their 32 bits.

        ``images`` and ``faults`` (malformed images), ``clocks`` while enabled, ``spikes`` of each population, and
        ``active``: clocks in which each layer added to membranes. What was counted between the last look, here or in
        :meth:`infer`, and a reset of the device is lost.

        Raises
        ------
        LinkError
            if the device does not answer.
        FirstspikeError
            if the core was generated without counters.

        """
        registers.check_counters(self.hardware)
        self._ready()
        return self._totals.read()

    def _ready(self) -> None:
        if not self._connected:
            self.connect()

    def _read(self, name: str) -> list[int]:
        register = self._registers[name]
        values = self._exchange(Type.READ, (register.address(), register.count))
        if len(values) != register.count:
            raise self._failed(f"register {name}: {len(values)} words came", AGAIN)
        return list(values)

    def _write(self, name: str, values: Sequence[int]) -> None:
        self._exchange(Type.WRITE, (self._registers[name].address(), *values))

    def _exchange(self, kind: Type, payload: tuple[int, ...]) -> tuple[int, ...]:
        """Payload of the reply to a request."""
        self._tag = (self._tag + 1) % link.TAGS
        data = link.encode(Frame(kind, self._tag, payload))
        # Every byte of the reply may be escaped.
        longest = 2 * link.WORD_BYTES * (link.HEADER_WORDS + link.reply_words(self.hardware) + link.CRC_WORDS)
        patience = self._timeout + self._seconds_per_byte * (len(data) + longest)
        patience += self._seconds_per_image if kind == Type.IMAGE else 0
        for attempt in range(1 + self._retries):
            self.repeated += attempt > 0
            try:
                self._port.write(data)
                reply = self._reply(kind, time.monotonic() + patience)
            except OSError as error:
                raise self._failed(f"the port failed: {reason(error)}", CHECK_WIRES) from error
            if reply is not None:
                break
        else:
            raise self._failed(f"no answer to {kind.name}, asked {1 + self._retries} times", CHECK_WIRES)
        match reply.status:
            case Status.OK:
                return reply.payload
            case Status.STRANGER:
                raise self._failed("the device was restarted, or has another host", AGAIN)
            case Status.TIMEOUT:
                raise self._failed("the core made no result, and was stopped", AGAIN)
            case _:
                raise self._failed(
                    f"the device refused {kind.name} (status {reply.status})", "make the bitstream again"
                )

    def _reply(self, kind: Type, deadline: float) -> Frame | None:
        """The reply to the last request, if it comes in time."""
        while time.monotonic() < deadline:
            frames = list(self._decoder.feed(self._port.read(max(1, self._port.in_waiting))))
            mine = [frame for frame in frames if frame.type == kind | link.REPLY and frame.tag == self._tag]
            self.strays += len(frames) - bool(mine)
            if mine:
                return mine[0]
        return None

    def _failed(self, message: str, hint: str) -> LinkError:
        """The error; whether the last request was executed is not known, so the next one begins anew."""
        self._connected = False
        return LinkError(message, hint)


def infer(
    path: str,
    hardware: Hardware,
    network: Network,
    pictures: NDArray[np.uint8],
    *,
    baud: int = DEFAULT_BAUD,
    progress: Callable[[float], None] = lambda done: None,
) -> words.Records:
    """Classify images on the device at a serial port; the network is loaded unless it is there already.

    Raises
    ------
    LinkError
        if the port cannot be opened, or the device does not answer.
    FirstspikeError
        if the device is other hardware, or network or images do not fit it.

    """
    hardware.check(network)
    with Device.open(path, hardware, baud=baud) as device:
        device.use(network, progress)
        return device.infer(pictures)
