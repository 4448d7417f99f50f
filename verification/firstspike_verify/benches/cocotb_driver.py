"""Bench: the AXI driver on the core, through the AXI4-Lite and AXI4-Stream models in the place of PYNQ's MMIO and DMA.

The driver blocks, so it runs in a thread of its own, which cocotb holds still while simulated time passes.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.task import Task, bridge, resume
from cocotbext.axi.axis import AxiStreamFrame, AxiStreamSink, AxiStreamSource
from numpy.typing import NDArray

from firstspike.contract.hardware import Hardware
from firstspike.contract.registers import ENABLE
from firstspike.contract.words import Records
from firstspike.energy import operations
from firstspike.errors import FirstspikeError
from firstspike.host.axi import DMACR, DMACR_RESET, DmaError, Driver
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike_verify.benches.bench import OKAY, Bench, Stalls

#: Seconds, in which a simulation makes at least some thousand clocks.
TIMEOUT = 5.0


class Buffer(np.ndarray):
    """Memory of the DMA; there is nothing to free."""

    def freebuffer(self) -> None:
        """As PYNQ's."""


def allocate(shape: tuple[int, ...], kind: Any) -> Buffer:
    """As PYNQ's."""
    return np.zeros(shape, kind).view(Buffer)


class DriverBench(Bench):
    """A bench whose records go to the driver."""

    async def _read_records(self) -> None:
        pass

    def driver(self, hardware: Hardware | None = None) -> Driver:
        """The driver, to be made and used in a thread of :func:`cocotb.task.bridge`; of the core, or of another."""
        return Driver(Mmio(self), Dma(self), hardware or self.hardware, allocate, timeout=TIMEOUT)

    async def nothing_left(self) -> None:
        """No rule of a bus was broken, every frame was taken, and no further result comes."""
        self.sink.pause = False
        await self.clocks(200)
        assert self.source.idle(), "input words were not taken"
        assert self.sink.empty(), "a result that nobody asked for"
        assert self.sink.idle(), "a result record without an end"
        for checker in (*self.streams, self.lite_checker):
            checker.finish()


class Mmio:
    """Reads and writes of whole registers, as a processor makes them: an error of the bus ends the program."""

    def __init__(self, bench: Bench) -> None:
        self.read, self.write = resume(self._read), resume(self._write)
        self._bench = bench

    async def _read(self, offset: int) -> int:
        value, response = await self._bench.try_read(offset)
        assert response == OKAY, f"read of {offset:#x}: response {response}"
        return value

    async def _write(self, offset: int, data: int) -> None:
        if offset == self._bench.registers["control"].address():
            if not data & ENABLE:
                await self._bench.stop()
                return
            for checker in self._bench.streams:
                checker.paused = False
        response = await self._bench.try_write(offset, data)
        assert response == OKAY, f"write of {offset:#x}: response {response}"


class Dma:
    """Two channels of which each does one transfer at a time, and a reset."""

    def __init__(self, bench: Bench) -> None:
        self.sendchannel, self.recvchannel = Sender(bench, bench.source), Receiver(bench, bench.sink)
        self.write = resume(self._reset)
        self._bench = bench

    def read(self, offset: int) -> int:
        """The control register: the reset is over."""
        assert offset == DMACR
        return 0

    async def _reset(self, offset: int, value: int) -> None:
        assert (offset, value) == (DMACR, DMACR_RESET)
        for channel in (self.sendchannel, self.recvchannel):
            channel.cancel()
        await self._bench.forget()
        self._bench.sink.pause = True


class Channel:
    """A transfer goes on while the driver does something else, until it waits."""

    error = False

    def __init__(self, bench: Bench) -> None:
        self._task: Task[None] | None = None
        self.running, self.transferred = True, 0
        self.transfer, self.wait, self._over = resume(self._transfer), resume(self._wait), resume(self._poll)
        self._bench = bench

    @property
    def idle(self) -> bool:
        """Whether the transfer is over; a look takes some clocks, as on a bus."""
        return bool(self._over())

    def start(self) -> None:
        """After a reset."""
        self.running = True

    def cancel(self) -> None:
        """Reset: what is under way never ends."""
        if self._task is not None:
            self._task.cancel()
        self._task, self.running = None, False

    async def _poll(self) -> bool:
        await self._bench.clocks(10)
        return self._task is not None and self._task.done()

    async def _transfer(self, array: NDArray[np.uint32], start: int = 0, nbytes: int = 0) -> None:
        assert self._task is None, "the channel is not idle"
        assert array.dtype == np.uint32
        assert self.running, "not started since the reset"
        length = nbytes or array.nbytes - start
        assert start + length <= array.nbytes
        self.transferred = length
        self._task = cocotb.start_soon(self._move(array.view(np.uint8)[start : start + length]))

    async def _wait(self) -> None:
        assert self._task is not None, "nothing to wait for"
        assert self._task.done(), "the driver would wait for ever"
        self._task = None

    async def _move(self, data: NDArray[np.uint8]) -> None:
        raise NotImplementedError


class Sender(Channel):
    """To the core: a transfer is a frame."""

    def __init__(self, bench: Bench, source: AxiStreamSource) -> None:
        super().__init__(bench)
        self._source = source

    async def _move(self, data: NDArray[np.uint8]) -> None:
        await self._source.send(AxiStreamFrame(data.tobytes()))
        await self._source.wait()


class Receiver(Channel):
    """From the core, which waits while there is no transfer; a frame of another length is an error of the DMA."""

    def __init__(self, bench: Bench, sink: AxiStreamSink) -> None:
        super().__init__(bench)
        self._sink = sink
        self._sink.pause = True

    async def _move(self, data: NDArray[np.uint8]) -> None:
        self._sink.pause = False
        frame = await self._sink.recv()
        self._sink.pause = True
        assert len(frame.tdata) == len(data), f"a record of {len(frame.tdata)} bytes, not {len(data)}"
        data[:] = np.frombuffer(bytes(frame.tdata), np.uint8)


def check_records(records: Records, network: Network, pictures: NDArray[np.uint8], *, membranes: bool = True) -> None:
    """What the driver returns is what the golden model says."""
    expected = golden.run(network, pictures)
    sent = expected.membranes if membranes else expected.membranes[:, :0]
    for name, actual, wanted in (
        ("membranes", records.membranes, sent),
        ("classes", records.classes, expected.classes),
        ("decision steps", records.decision_steps, expected.decision_steps),
        ("faults", records.faults, np.zeros(len(pictures), bool)),
    ):
        assert actual.tolist() == wanted.tolist(), f"{name}: {actual.tolist()}, expected {wanted.tolist()}"


@cocotb.test()
async def registers(dut: Any) -> None:
    """The driver accepts the core, and reads the digest of its network and counters that are zero."""
    bench = DriverBench(dut, "registers")
    await bench.start(Stalls(lite="random"))

    def use() -> None:
        driver = bench.driver()
        assert driver.digest == bench.network.digest
        zeros = [0] * len(bench.hardware.layers)
        assert driver.counters() == {"images": 0, "faults": 0, "clocks": 0, "spikes": zeros, "active": zeros}

    await bridge(use)()
    bench.lite_checker.finish()


@cocotb.test()
async def another_core(dut: Any) -> None:
    """A driver for hardware of other lanes, which holds the same network, refuses the core and writes nothing."""
    bench = DriverBench(dut, "another_core")
    await bench.start()
    first = bench.hardware.layers[0]
    lanes = [first.lanes % first.channels + 1, *(layer.lanes for layer in bench.hardware.layers[1:])]
    fire = [layer.fire for layer in bench.hardware.layers[:-1]]
    other = Hardware.for_network(bench.network, lanes=lanes, fire=[*fire, "stepped"], input=bench.hardware.input)

    def use() -> None:
        with pytest.raises(FirstspikeError, match="generated otherwise, with other lanes"):
            bench.driver(other)

    await bridge(use)()
    assert bench.lite_checker.writes == []


@cocotb.test()
async def networks_and_images(dut: Any) -> None:
    """Networks one after another, batches of images with and without membranes, and what was counted."""
    bench = DriverBench(dut, "networks_and_images")
    await bench.start(Stalls(lite="random"))

    def use() -> None:
        driver = bench.driver()
        for network in (bench.other, bench.network):
            driver.load(network)
            assert driver.digest == network.digest
            spikes, synapses = np.zeros(len(bench.hardware.layers), np.int64), 0
            for count, membranes in ((5, True), (1, False), (4, False), (2, True)):
                pictures = bench.pictures(count)
                records = driver.infer(pictures, membranes=membranes)
                check_records(records, network, pictures, membranes=membranes)
                expected = golden.run(network, pictures)
                spikes += expected.spikes(network).sum(axis=0)
                synapses += expected.synaptic_operations(network).sum()
            counters = driver.counters()
            assert (counters["images"], counters["faults"]) == (12, 0)
            assert counters["spikes"] == spikes.tolist()
            counted = operations.count(bench.hardware, operations.Counters.read(counters))
            assert sum(counted.synaptic_operations) == synapses

    await bridge(use)()
    await bench.nothing_left()


@cocotb.test()
async def stalls(dut: Any) -> None:
    """Streams and registers that pause."""
    bench = DriverBench(dut, "stalls")
    await bench.start(Stalls(input="random", monitor="random", lite="long"))

    def use() -> None:
        driver = bench.driver()
        driver.load(bench.other)
        pictures = bench.pictures(6)
        check_records(driver.infer(pictures), bench.other, pictures)

    await bridge(use)()
    await bench.nothing_left()


@cocotb.test()
async def stuck(dut: Any) -> None:
    """Nobody takes the monitor, so that the core stops: a time-out; when it is taken again, the next batch is exact."""
    bench = DriverBench(dut, "stuck")
    await bench.start()

    def use() -> None:
        driver = bench.driver()
        driver.load(bench.other)
        for _ in range(2):
            bench.monitor.pause = True
            driver._timeout = 0.5
            with pytest.raises(DmaError, match=r"(no result came|the core took no image) within 0.5 s"):
                driver.infer(bench.pictures(4))
            bench.monitor.pause = False
            driver._timeout = TIMEOUT
            assert driver.digest == bench.other.digest
            pictures = bench.pictures(4)
            check_records(driver.infer(pictures), bench.other, pictures)
        driver.close()
        assert Mmio(bench).read(bench.registers["control"].address()) & ENABLE == 0

    await bridge(use)()
    await bench.nothing_left()
