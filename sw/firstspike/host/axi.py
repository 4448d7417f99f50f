"""Driver of a core behind AXI: registers by memory-mapped reads and writes, images and results by DMA.

Registers and DMA are passed in: PYNQ's ``MMIO`` (or an IP of an ``Overlay``), ``DMA`` and ``allocate`` fit, and nothing
here needs PYNQ.
"""

from __future__ import annotations

from collections.abc import Callable
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
from firstspike.contract.words import Records, event_words, hash_digits, image_words, parse_records
from firstspike.errors import FirstspikeError
from firstspike.network.model import Network


class Mmio(Protocol):
    """The registers of the core; ``offset`` in bytes."""

    def read(self, offset: int) -> int:
        """A 32-bit register."""

    def write(self, offset: int, data: int) -> None:
        """Write a 32-bit register."""


class Channel(Protocol):
    """One direction of the DMA, one transfer at a time."""

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        """Begin to send, or receive into, ``nbytes`` bytes of a buffer (0: all), up to the end of a frame."""

    def wait(self) -> None:
        """Wait for the end of the transfer."""


class Dma(Protocol):
    """A DMA between memory and the streams ``s_axis`` and ``m_axis``."""

    @property
    def sendchannel(self) -> Channel:
        """To ``s_axis``."""

    @property
    def recvchannel(self) -> Channel:
        """From ``m_axis``."""


class Driver:
    """One core.

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

    Raises
    ------
    FirstspikeError
        if the registers are not those of such a core (:meth:`check`).

    """

    def __init__(
        self, mmio: Mmio, dma: Dma, hardware: Hardware, allocate: Callable[[tuple[int, ...], Any], NDArray[np.uint32]]
    ) -> None:
        self._mmio, self._dma, self._hardware = mmio, dma, hardware
        self._registers = register_map(hardware)
        self._encoder: tuple[int, ...] | None = None
        self.check()
        pixels = image_words(np.zeros((1, hardware.sizes[0]), np.uint8)).shape[1]
        longest = pixels if hardware.input == "pixels" else hardware.sizes[0]
        self._frame = allocate((longest,), np.uint32)
        self._record = allocate((1 + hardware.sizes[-1],), np.uint32)

    def read(self, name: str, index: int = 0) -> int:
        """A register, by name."""
        return int(self._mmio.read(self._registers[name].address(index)))

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
            before any write, if the network does not fit; afterwards, if the digest reads back otherwise.

        """
        words = images.load_words(images.contents(network, self._hardware), self._hardware)
        for address, value in load_writes(self._hardware, words):
            self._mmio.write(address, value)
        if self.digest != network.digest:
            raise FirstspikeError(f"the core holds network {self.digest}, not {network.digest}", "load it again")
        self._encoder = network.encoder

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
            if the images do not fit the core, or it has event input and its network was not loaded by this driver.

        """
        frames = self._frames_of(pictures)
        control = ENABLE | (SEND_MEMBRANES if membranes else 0)
        self._mmio.write(self._registers["control"].address(), control)
        record_words = 1 + (self._hardware.sizes[-1] if membranes else 0)
        results = np.zeros((len(frames), record_words), np.uint32)
        for i, frame in enumerate(frames):
            self._frame[: len(frame)] = frame
            self._dma.sendchannel.transfer(self._frame, nbytes=len(frame) * WORD_BITS // 8)
            if i:
                self._receive(results[i - 1])
            self._dma.sendchannel.wait()
        if len(frames):
            self._receive(results[-1])
        return parse_records(results, record_words)

    def _frames_of(self, pictures: NDArray[np.uint8]) -> Any:
        inputs = self._hardware.sizes[0]
        if pictures.dtype != np.uint8 or pictures.ndim < 2:
            raise FirstspikeError(f"images have type {pictures.dtype} and shape {pictures.shape}, not uint8 (B, ...)")
        flat = pictures.reshape(len(pictures), int(np.prod(pictures.shape[1:])))
        if flat.shape[1] != inputs:
            raise FirstspikeError(f"an image has {flat.shape[1]} pixels; the core takes {inputs}")
        if self._hardware.input == "pixels":
            return image_words(flat)
        if self._encoder is None:
            raise FirstspikeError("a core with event input has no encoder table", "load its network first")
        return event_words(self._hardware, np.array(self._encoder)[flat])

    def _receive(self, result: NDArray[np.uint32]) -> None:
        self._dma.recvchannel.transfer(self._record, nbytes=result.nbytes)
        self._dma.recvchannel.wait()
        result[:] = self._record[: len(result)]

    def counters(self) -> dict[str, int | list[int]]:
        """Counters since the last load: images, faults, clocks; and for each population or layer spikes, active."""
        single = {name: self.read(name) for name in ("images", "faults", "clocks")}
        lists = {
            name: [self.read(name, i) for i in range(self._registers[name].count)] for name in ("spikes", "active")
        }
        return {**single, **lists}
