"""Driver of a core behind AXI: registers by memory-mapped reads and writes, images and results by DMA.

Registers and DMA are passed in: PYNQ's ``MMIO`` (or an IP of an ``Overlay``), ``DMA`` and ``allocate`` fit, and nothing
here needs PYNQ.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS
from firstspike.contract.registers import (
    ENABLE,
    SEND_MEMBRANES,
    check_core,
    load_writes,
    register_map,
)
from firstspike.contract.words import Records, hash_digits, input_frames, parse_records
from firstspike.errors import FirstspikeError
from firstspike.host.counters import Totals
from firstspike.network.model import Network, check_batch

#: Of the AXI DMA (PG021): control of its first channel. The bit resets the whole DMA, and reads 0 when that is done.
DMACR, DMACR_RESET = 0x00, 0x04
#: Status of the channels that send and receive.
DMASR = (0x04, 0x34)

CHECK_DESIGN = "check clocks and resets of core and DMA, and that all streams are joined as in docs/vivado.md"


class DmaError(FirstspikeError):
    """A transfer failed or did not end; no result was delivered, and core and DMA are ready for the next batch."""


def seconds(timeout: object) -> float:
    """A time that a transfer may take.

    Raises
    ------
    FirstspikeError
        if it is no number above 0.

    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float, np.number)) or not timeout > 0:
        raise FirstspikeError(f"timeout is {timeout!r}", "give seconds, a number above 0")
    return float(timeout)


class Mmio(Protocol):
    """Registers of an IP; ``offset`` in bytes."""

    def read(self, offset: int) -> int:
        """A 32-bit register."""

    def write(self, offset: int, data: int) -> None:
        """Write a 32-bit register."""


class Channel(Protocol):
    """One direction of the DMA, one transfer at a time."""

    #: Bytes of the last transfer that was waited for.
    transferred: int

    @property
    def running(self) -> bool:
        """Whether it was started, and no error halted it."""

    @property
    def idle(self) -> bool:
        """Whether the transfer is over."""

    @property
    def error(self) -> bool:
        """Whether the transfer failed."""

    def start(self) -> None:
        """Let it run, after a reset."""

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        """Begin to send, or receive into, ``nbytes`` bytes of a buffer (0: all), up to the end of a frame."""

    def wait(self) -> None:
        """Wait for the end of the transfer, for any time, and make what was received visible."""


class Buffer(Protocol):
    """An array of 32-bit words that the DMA can reach."""

    def __getitem__(self, key: slice) -> NDArray[np.uint32]:
        """Some words."""

    def __setitem__(self, key: slice, values: Any) -> None:
        """Set some words."""

    def freebuffer(self) -> None:
        """Give the memory back."""


class Dma(Mmio, Protocol):
    """A DMA between memory and the streams ``s_axis`` and ``m_axis``, and its own registers."""

    @property
    def sendchannel(self) -> Channel:
        """To ``s_axis``."""

    @property
    def recvchannel(self) -> Channel:
        """From ``m_axis``."""


class Driver:
    """One core. It and its DMA belong to this object alone, from here to :meth:`close`, or the end of a ``with`` block.

    Whatever another program left under way is thrown away first. After an error the next call begins anew.

    Parameters
    ----------
    mmio
        Its registers.
    dma
        Its streams.
    hardware
        What was generated (in ``top.json`` under ``hardware``).
    allocate
        Makes a buffer that the DMA can reach, from a shape and a type; for PYNQ ``pynq.allocate``.
    timeout
        Seconds that a transfer may take. An image takes microseconds to milliseconds, but for the largest networks.

    Raises
    ------
    FirstspikeError
        if the registers are not those of such a core (:meth:`check`); nothing is written then.
    DmaError
        if the DMA does not end its reset, or there is no memory for it.

    """

    def __init__(
        self,
        mmio: Mmio,
        dma: Dma,
        hardware: Hardware,
        allocate: Callable[[tuple[int, ...], Any], Buffer],
        *,
        timeout: float = 10.0,
    ) -> None:
        if not isinstance(hardware, Hardware):
            raise FirstspikeError(
                f"hardware is of type {type(hardware).__name__}, not Hardware",
                "make it by Hardware.from_json of what top.json has under 'hardware'",
            )
        self._mmio, self._dma, self._hardware, self._timeout = mmio, dma, hardware, seconds(timeout)
        self._closed = False
        self._registers = register_map(hardware)
        self._encoder: tuple[int, ...] | None = None
        self._buffers: list[Buffer] = []
        self._totals = Totals(hardware, self._read_all)
        self.check()
        self.abort()
        self._whole = any(self._read_all("digest"))
        try:
            for words in (hardware.frame_words, 1 + hardware.sizes[-1]):
                self._buffers.append(allocate((words,), np.uint32))
        except BaseException as error:
            self.close()
            if not isinstance(error, (RuntimeError, MemoryError, OSError)):
                raise
            raise DmaError(
                f"no memory for the DMA: {error}", "free other buffers, or restart the programs that hold them"
            ) from error

    def close(self) -> None:
        """Stop the core, and free the buffers of the DMA; nothing else works afterwards."""
        if self._closed:
            return
        self._closed = True
        self._mmio.write(self._registers["control"].address(), 0)
        while self._buffers:
            self._buffers.pop().freebuffer()

    def __enter__(self) -> Driver:
        self._check_open()
        return self

    def _check_open(self) -> None:
        """Refuse every access to a core that may be another driver's by now."""
        if self._closed:
            raise FirstspikeError("the driver was closed", "make a new one")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def abort(self) -> None:
        """Stop the core and reset the DMA, whatever they are doing. Images under way are lost; the network stays.

        Done by itself after an error. Afterwards :meth:`infer` works as if nothing had happened.

        Raises
        ------
        DmaError
            if the DMA does not end its reset.
        FirstspikeError
            if the driver was closed.

        """
        self._write("control", 0)
        self._dma.write(DMACR, DMACR_RESET)
        deadline = time.monotonic() + self._timeout
        while self._dma.read(DMACR) & DMACR_RESET:
            if time.monotonic() > deadline:
                raise DmaError(f"the DMA did not end its reset within {self._timeout:g} s", "load the overlay again")
        self._dma.sendchannel.start()
        self._dma.recvchannel.start()

    def read(self, name: str, index: int = 0) -> int:
        """A register, by name."""
        self._check_open()
        return int(self._mmio.read(self._registers[name].address(index)))

    def _write(self, name: str, value: int) -> None:
        self._check_open()
        self._mmio.write(self._registers[name].address(), value)

    def _read_all(self, name: str) -> list[int]:
        return [self.read(name, i) for i in range(self._registers[name].count)]

    def check(self) -> None:
        """Compare identity, interface version, shape, sizes and fingerprint with the hardware.

        Raises
        ------
        FirstspikeError
            at the first that differs.

        """
        check_core(self._hardware, self._read_all)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the network in the core."""
        return hash_digits(self._read_all("digest"))

    def load(self, network: Network) -> None:
        """Stop the core, put a network into its memories, clear the counters and start it.

        Raises
        ------
        FirstspikeError
            before any write, if the network does not fit or the driver was closed; afterwards, if the digest reads back
            otherwise.

        """
        self._check_open()
        if not isinstance(network, Network):
            raise FirstspikeError(
                f"the network is of type {type(network).__name__}, not Network", "read its folder by Network.load"
            )
        words = images.load_words(images.contents(network, self._hardware), self._hardware)
        self._whole = False
        for address, value in load_writes(self._hardware, words):
            self._mmio.write(address, value)
        if self.digest != network.digest:
            raise FirstspikeError(f"the core holds network {self.digest}, not {network.digest}", "load it again")
        self._totals.clear()
        self._encoder, self._whole = network.encoder, True

    def infer(self, pictures: NDArray[np.uint8], *, membranes: bool = True) -> Records:
        """Results of a batch of images, in order; an image is one frame, one DMA transfer each way.

        The next image is sent while the core works on the one before.

        Parameters
        ----------
        pictures
            Pixels, shape (B, ...); axes after the first are flattened.
        membranes
            Whether the core sends its output membranes, too.

        Raises
        ------
        FirstspikeError
            if the images do not fit the core, it holds no whole network, it has event input and its network was not
            loaded by this driver, or the driver was closed; nothing is sent then.
        DmaError
            if a transfer fails or takes too long.

        """
        self._check_open()
        frames = self._frames_of(pictures)
        if not self._whole:
            raise FirstspikeError("the core holds no network: never loaded, or a load broke off", "load one")
        record_words = 1 + (self._hardware.sizes[-1] if membranes else 0)
        results = np.zeros((len(frames), record_words), np.uint32)
        self._write("control", ENABLE | (SEND_MEMBRANES if membranes else 0))
        try:
            self._transfer(frames, results)
        except BaseException as error:
            try:
                self.abort()
            except DmaError as second:
                if isinstance(error, DmaError):
                    raise DmaError(f"{error}; then {second}", second.hint) from error
            raise
        return parse_records(results, record_words)

    def _transfer(self, frames: Any, results: NDArray[np.uint32]) -> None:
        send, (buffer, _) = self._dma.sendchannel, self._buffers
        for i, frame in enumerate(frames):
            buffer[: len(frame)] = frame
            self._begin(send, buffer, len(frame))
            if i:
                self._receive(results[i - 1])
            self._wait(send, "the core took no image")
        if len(frames):
            self._receive(results[-1])

    def _receive(self, result: NDArray[np.uint32]) -> None:
        receive, (_, buffer) = self._dma.recvchannel, self._buffers
        self._begin(receive, buffer, len(result))
        self._wait(receive, "no result came")
        if receive.transferred != result.nbytes:
            raise DmaError(f"a result of {receive.transferred} bytes, not {result.nbytes}", CHECK_DESIGN)
        result[:] = buffer[: len(result)]

    def _begin(self, channel: Channel, buffer: Buffer, words: int) -> None:
        try:
            channel.transfer(buffer, nbytes=words * WORD_BITS // 8)
        except ValueError as error:
            remedy = "give the AXI DMA a wider length register, and make the bitstream again"
            raise DmaError(f"the DMA refused a transfer: {error}", remedy) from error
        except RuntimeError as error:
            raise DmaError(f"the DMA refused a transfer: {error}", CHECK_DESIGN) from error

    def _wait(self, channel: Channel, late: str) -> None:
        """Until the transfer is over: the channel's own ``wait`` has no limit, and comes last, to make data visible."""
        deadline = time.monotonic() + self._timeout
        self._totals.poll()
        while channel.running and not channel.idle and not channel.error:
            self._totals.poll()
            if time.monotonic() > deadline:
                raise DmaError(f"{late} within {self._timeout:g} s", CHECK_DESIGN)
        try:
            channel.wait()
        except RuntimeError as error:
            status = ", ".join(f"{self._dma.read(offset):#x}" for offset in DMASR)
            raise DmaError(f"the DMA failed: {error} (status {status})", CHECK_DESIGN) from error

    def _frames_of(self, pictures: NDArray[np.uint8]) -> Any:
        hardware = self._hardware
        if isinstance(pictures, np.ndarray) and (pictures.dtype != np.uint8 or pictures.ndim < 2):
            raise FirstspikeError(
                f"images have type {pictures.dtype} and shape {pictures.shape}, not uint8 (B, ...)",
                "give pixels 0..255, one axis more than an image has",
            )
        flat = check_batch(
            pictures, inputs=hardware.sizes[0], steps=hardware.steps, repeat=hardware.repeat, taker="core"
        )
        if self._encoder is None and hardware.input == "events" and not hardware.repeat:
            raise FirstspikeError("a core with event input has no encoder table", "load its network first")
        return input_frames(hardware, self._encoder or (), flat)

    def counters(self) -> dict[str, int | list[int]]:
        """Counters since the last load: images, faults, clocks; and for each population or layer spikes, active.

        They do not wrap, as those of the core do.

        Raises
        ------
        FirstspikeError
            if the core was generated without counters, or the driver was closed.

        """
        self._check_open()
        lists = self._totals.read()
        return {**lists, **{name: lists[name][0] for name in ("images", "faults", "clocks")}}
