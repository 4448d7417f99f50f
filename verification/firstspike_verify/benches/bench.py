"""The cocotb bench of the top level: drivers, monitors, checkers and scoreboard around one generated core.

It configures itself from ``top.json`` of the generated folder and from the network folder, named by the environment
(:mod:`firstspike_verify.benches.cocotb_runner`).
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from cocotbext.axi.axil_channels import AxiLiteBus
from cocotbext.axi.axil_master import AxiLiteMaster
from cocotbext.axi.axis import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from numpy.typing import NDArray

from firstspike.contract import images
from firstspike.contract.memory import WORD_BITS
from firstspike.contract.registers import CLEAR_COUNTERS, ENABLE, SEND_MEMBRANES, load_writes, register_map
from firstspike.network import golden
from firstspike.network.model import Network
from firstspike_rtl.core.layouts import EVENT_WORD
from firstspike_rtl.top.verilog import load_manifest
from firstspike_verify.benches import cocotb_runner
from firstspike_verify.checks.protocol import LiteChecker, StreamChecker, watch
from firstspike_verify.checks.scoreboard import SPIKES, Scoreboard
from firstspike_verify.models import frames

OKAY, SLVERR = 0, 2
CLOCK_NS = 10
WORD_BYTES = WORD_BITS // 8
PATIENCE_CLOCKS = 20_000

Kind = Literal["none", "random", "long"]
KINDS: tuple[Kind, ...] = ("none", "random", "long")


@dataclass(frozen=True, kw_only=True)
class Stalls:
    """How each stream pauses: never, at random clock by clock, or in long bursts."""

    input: Kind = "none"
    output: Kind = "none"
    monitor: Kind = "none"
    lite: Kind = "none"


def pauses(kind: Kind, rng: random.Random) -> Iterator[bool] | None:
    """Whether to pause, clock by clock."""
    if kind == "none":
        return None
    if kind == "random":
        return iter(lambda: rng.random() < 0.5, None)

    def bursts() -> Iterator[bool]:
        while True:
            for pause, longest in ((False, 12), (True, 60)):
                yield from [pause] * rng.randint(1, longest)

    return bursts()


class Bench:
    """One core in one cocotb test.

    Use: make it, ``await start()``, ``await enable()``, then :meth:`send` images, and ``await finish()``.

    Parameters
    ----------
    dut
        Handle of the top level.
    name
        Of the test: with the run's seed it seeds everything random.
    """

    def __init__(self, dut: Any, name: str) -> None:
        self.dut = dut
        folder = Path(os.environ[cocotb_runner.GENERATED])
        self.manifest, self.hardware = load_manifest(folder)
        self.network = Network.load(os.environ[cocotb_runner.NETWORK])
        self.other = Network.load(os.environ[cocotb_runner.OTHER_NETWORK])
        self.registers = register_map(self.hardware)
        self.seed = int(os.environ[cocotb_runner.SEED])
        self.random = random.Random(f"{self.seed} {name}")
        self.rng = np.random.default_rng(self.random.getrandbits(64))
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)  # else every frame is printed
        self.fresh_scoreboard()

    def fresh_scoreboard(self) -> None:
        """Forget what was expected and seen."""
        self.scoreboard = Scoreboard(
            self.hardware.sizes, seed=self.seed, repeat=os.environ.get(cocotb_runner.REPEAT, "")
        )
        self._slots: list[list[int]] = [[] for _ in self.hardware.layers]
        self._faults: list[list[bool]] = [[] for _ in self.hardware.layers]
        self._expected_faults: list[bool] = []

    async def start(self, stalls: Stalls | None = None) -> None:
        """Clock, reset, drivers, monitors and checkers."""
        dut, stalls = self.dut, stalls or Stalls()
        self.clock = dut.aclk
        dut.aresetn.value = 0
        dut.s_axis_tvalid.value = 0
        Clock(self.clock, CLOCK_NS, unit="ns").start()
        await ClockCycles(self.clock, 2)
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), self.clock, **reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), self.clock, **reset)
        self.monitor = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_monitor"), self.clock, **reset)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), self.clock, **reset)
        self.stall(stalls)
        self.streams = [StreamChecker(dut, prefix) for prefix in ("s_axis", "m_axis", "m_axis_monitor")]
        self.lite_checker = LiteChecker(dut, "s_axil")
        cocotb.start_soon(watch(self.clock, dut.aresetn, (*self.streams, self.lite_checker)))
        cocotb.start_soon(self._noise())
        cocotb.start_soon(self._read_records())
        cocotb.start_soon(self._read_monitor())
        await self.reset()

    def stall(self, stalls: Stalls) -> None:
        """Change how the streams pause."""
        write: Any = self.lite.write_if
        read: Any = self.lite.read_if
        for streams, kind in (
            ((self.source,), stalls.input),
            ((self.sink,), stalls.output),
            ((self.monitor,), stalls.monitor),
            ((write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel), stalls.lite),
        ):
            for stream in streams:
                stream.set_pause_generator(pauses(kind, random.Random(self.random.getrandbits(64))))
                stream.pause = False

    async def reset(self) -> None:
        """Hold ``aresetn`` low for a clock or more, whatever is under way; frames not yet sent are dropped."""
        self.dut.aresetn.value = 0
        self._drop()
        await ClockCycles(self.clock, self.random.choice((1, 1, 3)))
        self._drop()
        self.dut.aresetn.value = 1
        await ClockCycles(self.clock, 1)
        self.fresh_scoreboard()

    def _drop(self) -> None:
        for stream in (self.source, self.sink, self.monitor):
            stream.clear()

    async def _noise(self) -> None:
        """While the input is not valid its payload is noise, so that a core that looks at it is found out."""
        dut, noise = self.dut, random.Random(self.random.getrandbits(64))
        edge = FallingEdge(self.clock)
        while True:
            await edge
            if not dut.s_axis_tvalid.value:
                dut.s_axis_tdata.value = noise.getrandbits(WORD_BITS)
                dut.s_axis_tlast.value = noise.getrandbits(1)

    # Registers

    async def try_write(self, address: int, value: int, length: int = WORD_BYTES) -> int:
        """Write ``length`` bytes (less than 4: a partial strobe); returns the response."""
        answer = await self.lite.write(address, value.to_bytes(WORD_BYTES, "little")[:length])
        return int(answer.resp)

    async def try_read(self, address: int) -> tuple[int, int]:
        """Returns value and response."""
        answer = await self.lite.read(address, WORD_BYTES)
        return int.from_bytes(answer.data, "little"), int(answer.resp)

    async def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register, which must answer OKAY."""
        response = await self.try_write(self.registers[name].address(index), value)
        assert response == OKAY, f"register {name}: response {response}"

    async def read(self, name: str, index: int = 0) -> int:
        """Read a register, which must answer OKAY."""
        value, response = await self.try_read(self.registers[name].address(index))
        assert response == OKAY, f"register {name}: response {response}"
        return value

    async def enable(self, *, membranes: bool = True) -> None:
        """Clear the counters and start the core."""
        await self.write("control", ENABLE | CLEAR_COUNTERS | (SEND_MEMBRANES if membranes else 0))

    async def disable(self) -> None:
        """Stop the core, whatever is under way: drivers and monitors drop what they hold, as a user's would."""
        await self.stop()
        await self.forget()

    async def stop(self) -> None:
        """Clear ``enable``; from then on a record or an event that is offered may vanish."""
        for checker in self.streams:
            checker.paused = True
        await self.write("control", 0)

    async def forget(self) -> None:
        """After :meth:`stop`: everything under way is dropped, and rules hold again."""
        for stream in (self.source, self.sink, self.monitor):
            stream.assert_reset(True)
        self._drop()
        await ClockCycles(self.clock, 3)
        for stream in (self.source, self.sink, self.monitor):
            stream.assert_reset(False)
        for checker in self.streams:
            checker.paused = False
        self.fresh_scoreboard()

    async def load(self, network: Network) -> None:
        """Put a network into the memories of the stopped core.

        Raises
        ------
        FirstspikeError
            before any write, if it does not fit.
        """
        words = images.load_words(images.contents(network, self.hardware), self.hardware)
        for address, value in load_writes(self.hardware, words, control=0):
            assert await self.try_write(address, value) == OKAY

    # Images

    def pictures(self, count: int) -> NDArray[np.uint8]:
        """Random images, from dark to bright; now and then all black or all white."""
        shape = (count, *self.network.image_shape)
        chance = [0.05, 0.35, 0.3, 0.25, 0.05]
        density = self.rng.choice([0.0, 0.2, 0.5, 0.9, 1.0], size=(count, *[1] * (len(shape) - 1)), p=chance)
        values = self.rng.integers(1, self.network.image_most + 1, shape)
        return np.where(self.rng.random(shape) < density, values, 0).astype(np.uint8)

    def words(self, pictures: NDArray[np.uint8]) -> list[list[int]]:
        """Frames of the input stream; events in any order that they may have."""
        given = frames.input_frames(self.hardware, self.network.encoder, pictures, self.rng)
        return [[int(word) for word in frame] for frame in given]

    def send(self, pictures: NDArray[np.uint8], network: Network | None = None) -> golden.Result:
        """Queue images, and expect what the golden model makes of them."""
        result = golden.run(network or self.network, pictures)
        self.expect(result)
        for frame in self.words(pictures):
            self.send_words(frame)
        return result

    def send_words(self, words: Sequence[int]) -> None:
        """Queue one frame."""
        self.source.send_nowait(AxiStreamFrame(b"".join(int(word).to_bytes(WORD_BYTES, "little") for word in words)))

    def expect(self, result: golden.Result, *, fault: bool = False) -> None:
        """Expect further images; ``fault``: of malformed frames."""
        faults = [fault] * len(result)
        self._expected_faults += faults
        self.scoreboard.expect(result, faults)

    async def clocks(self, count: int) -> None:
        """Let clocks pass."""
        await ClockCycles(self.clock, count)

    async def drain(self, patience: int = PATIENCE_CLOCKS) -> None:
        """Wait for everything that is expected, until for ``patience`` clocks nothing came; then for what is not."""
        missing, waited = self.scoreboard.missing, 0
        while missing and waited < patience:
            await self.clocks(20)
            before, missing = missing, self.scoreboard.missing
            waited = waited + 20 if missing == before else 0
        await self.clocks(100)

    async def finish(self) -> None:
        """Wait for all results and compare; every stream must have been used, and nothing be left over."""
        self.stall(Stalls())
        await self.drain()
        sent = self._record_words > 1 if self._record_words else True
        self.scoreboard.finish((*SPIKES, *(["membranes"] if sent else []), "classes", "decision_steps"))
        for population, faults in enumerate(self._faults):
            assert faults == self._expected_faults, f"population {population}: fault bits {faults}"
        assert not any(self._slots), "events behind the final watermark"
        assert self.source.idle(), "input words were not taken"
        assert self.sink.idle(), "a result record without an end"
        for checker in (*self.streams, self.lite_checker):
            checker.finish()

    _record_words = 0

    async def _read_records(self) -> None:
        while True:
            frame = await self.sink.recv()
            words = np.frombuffer(bytes(frame.tdata), "<u4")
            self._record_words = len(words)
            record = frames.parse_records(words, len(words))
            self.scoreboard.note(
                f"record: class {record.classes[0]}, decision step {record.decision_steps[0]}, "
                f"membranes {record.membranes[0].tolist()}, fault {int(record.faults[0])}"
            )
            self.scoreboard.record(
                record.membranes[0].tolist(), int(record.classes[0]), int(record.decision_steps[0]),
                bool(record.faults[0]),
            )  # fmt: skip

    async def _read_monitor(self) -> None:
        codes = frames.codes_of(self.hardware)
        while True:
            frame = await self.monitor.recv(compact=False)
            words = np.frombuffer(bytes(frame.tdata), "<u4")
            keep = np.array(frame.tkeep).reshape(-1, WORD_BYTES)
            assert (keep == keep[:, :1]).all(), "monitor: tkeep splits a word"
            beats = keep[:, 0].reshape(-1, len(self.hardware.layers))
            assert beats.any(axis=1).all(), "monitor: a beat without an event"
            for word, used in zip(words.tolist(), keep[:, 0].tolist(), strict=True):
                if used:
                    self._event(word, codes)

    def _event(self, word: int, codes: Sequence[int]) -> None:
        event = EVENT_WORD.from_bits(word)
        self.scoreboard.note(frames.describe_event(word))
        self._slots[event.population].append(word)
        if event.mark and event.step == codes[event.population] - 1:
            seen = frames.seen(self.hardware, np.array(self._slots[event.population]))
            self._slots[event.population] = []
            self._faults[event.population].append(bool(seen.faults[event.population][0]))
            counts = seen.counts.get(event.population)
            times = seen.times[event.population][0]
            self.scoreboard.spikes(event.population, times, None if counts is None else counts[0])
