"""A board without a board: the Verilated core with its host link, and a pseudo-terminal that a host opens as port."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from amaranth.back import verilog

from firstspike.artefact import locked
from firstspike.contract.hardware import Hardware
from firstspike.host import link
from firstspike_rtl.core.tables import Contents
from firstspike_rtl.top.linked import NAME, LinkedTop
from firstspike_rtl.top.uart import LEAST_DIVISOR
from firstspike_rtl.top.verilog import converter
from firstspike_verify.models import toolchain

DRIVER = Path(__file__).with_name("linked.cpp")
FLAGS = ("--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal")
#: The model is small: all of its files compile as one, nearly as fast as it can be.
MAKE_VARIABLES = "OPT_FAST=-O1 VM_PARALLEL_BUILDS=0"
COMPILER_FLAGS = "-fPIC -std=c++17 -fno-gnu-unique"
#: A byte that is sent without its stop bit.
NO_STOP = 1 << 8
CLOCK_HZ = 100_000_000
#: Between two looks at the pseudo-terminal.
CLOCKS = 2000


def compile_linked(hardware: Hardware, contents: Contents, build: Path, *, boot: bool = False) -> Path:
    """Verilog of a linked core, as fast as its wires can be, compiled; returns the shared object.

    Nothing is done if it is up to date. With ``boot`` it is that of a board, which loads its network at power-up.

    Raises
    ------
    FirstspikeError
        if a tool is missing, or Verilator or the compiler fails: the message names the log.
    """
    top = LinkedTop(hardware, contents, clock_hz=CLOCK_HZ, baud=CLOCK_HZ // LEAST_DIVISOR, boot=boot)
    with converter():
        text = verilog.convert(top, name=NAME, emit_src=False, strip_internal_attrs=True)
    env = toolchain.environment()
    env["MAKEFLAGS"] += f" {MAKE_VARIABLES}"
    settings = [*FLAGS, COMPILER_FLAGS, MAKE_VARIABLES, *toolchain.programs(env)]
    key = hashlib.sha256(b"\0".join([text.encode(), DRIVER.read_bytes(), *(x.encode() for x in settings)])).hexdigest()
    shared_object = build / f"V{NAME}"
    if toolchain.up_to_date(shared_object, key):
        return shared_object
    with locked(build), toolchain.workshop() as scratch:
        if toolchain.up_to_date(shared_object, key):  # by another process meanwhile
            return shared_object
        toolchain.prepare(build)
        env = toolchain.installed(env, scratch)
        source = scratch / f"{NAME}.v"
        source.write_text(text)
        driver = shutil.copy(DRIVER, scratch)
        commands = (
            ["verilator", *FLAGS, "-CFLAGS", COMPILER_FLAGS, "--Mdir", str(scratch), str(source), str(driver)],
            ["make", "-C", str(scratch), "-f", f"V{NAME}.mk", "LDFLAGS=-fPIC -shared"],
        )
        for command in commands:
            with (scratch / toolchain.LOG).open("ab") as file:
                done = subprocess.run(command, env=env, stdout=file, stderr=file, check=False)
            if done.returncode:
                raise toolchain.failed(scratch, build, f"{command[0]} ended with status {done.returncode}")
        toolchain.deliver(scratch, build, shared_object.name, key)
    return shared_object


class Model:
    """The Verilated core, by the bytes on its wires.

    Parameters
    ----------
    shared_object
        Of :func:`compile_linked`.
    """

    def __init__(self, shared_object: Path) -> None:
        # A library is loaded once for each path: models of their own want copies of their own.
        with tempfile.TemporaryDirectory() as private:
            self._library: Any = ctypes.CDLL(shutil.copy(shared_object, private))
        for name in ("linked_new", "linked_clock", "linked_run"):
            getattr(self._library, name).restype = ctypes.c_void_p if name == "linked_new" else ctypes.c_uint64
        self._bench = ctypes.c_void_p(self._library.linked_new(ctypes.c_uint32(LEAST_DIVISOR)))

    def close(self) -> None:
        """Free the model."""
        if self._bench:
            self._library.linked_delete(self._bench)
            self._bench = ctypes.c_void_p()

    @property
    def clock(self) -> int:
        """Clocks so far."""
        return int(self._library.linked_clock(self._bench))

    def reset(self) -> None:
        """Two clocks of reset."""
        self._library.linked_reset(self._bench)

    def run(self, data: deque[int], clocks: int, quiet: int) -> tuple[bytes, int]:
        """Let clocks pass, fewer if nothing is on the wires for ``quiet`` clocks.

        Parameters
        ----------
        data
            Bytes for the device, with :data:`NO_STOP` those whose stop bit is missing; what is sent is taken away.

        Returns
        -------
        What the device sent, and the clocks that passed.
        """
        words = (ctypes.c_uint16 * len(data))(*data)
        out = (ctypes.c_uint8 * (clocks // (10 * LEAST_DIVISOR) + 2))()
        taken, count = ctypes.c_uint64(), ctypes.c_uint64()
        passed = self._library.linked_run(
            self._bench, words, ctypes.c_uint64(len(words)), ctypes.byref(taken), out, ctypes.byref(count),
            ctypes.c_uint64(clocks), ctypes.c_uint64(quiet),
        )  # fmt: skip
        for _ in range(taken.value):
            data.popleft()
        return bytes(out[: count.value]), int(passed)


class Faults:
    """What may happen to bytes on one of two wires: some are lost, doubled, flipped, or late; none overtakes another.

    Parameters
    ----------
    rng
        Draws.
    rate
        Chance of a fault a byte; may be changed at any time.
    seconds
        The longest that bytes are late.
    framing
        Whether a byte may lack its stop bit, too.
    """

    def __init__(self, rng: random.Random, rate: float, seconds: float, *, framing: bool) -> None:
        self.rate = rate
        self.counts: Counter[str] = Counter()
        self._rng, self._seconds = rng, seconds
        self._kinds = ("lost", "doubled", "flipped", "late", *(("no_stop",) if framing else ()))
        self._waiting: deque[tuple[float, int]] = deque()

    def push(self, data: Iterable[int]) -> None:
        """Bytes that come in."""
        now = time.monotonic()
        for byte in data:
            # Not before those ahead of it.
            due = max(now, self._waiting[-1][0] if self._waiting else now)
            if self._rng.random() >= self.rate:
                self._waiting.append((due, byte))
                continue
            kind = self._rng.choice(self._kinds)
            self.counts[kind] += 1
            match kind:
                case "doubled":
                    self._waiting += [(due, byte)] * 2
                case "flipped":
                    self._waiting.append((due, byte ^ self._rng.randrange(1, 256)))
                case "late":
                    self._waiting.append((due + self._rng.uniform(0, self._seconds), byte))
                case "no_stop":
                    self._waiting.append((due, byte | NO_STOP))

    def pop(self) -> list[int]:
        """Bytes that are due."""
        now = time.monotonic()
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        return due

    @property
    def wait(self) -> float | None:
        """Seconds until a byte is due; None without any."""
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None


class Board:
    """A Verilated core that a host finds at :attr:`path`, served by a thread.

    Clocks pass only while bytes are on their way or the core may still answer: a board that waits costs nothing.

    Parameters
    ----------
    hardware
        Of the core.
    shared_object
        Of :func:`compile_linked`.
    down, up
        Faults on the way to the device, and back; default: none.
    """

    def __init__(
        self, hardware: Hardware, shared_object: Path, *, down: Faults | None = None, up: Faults | None = None
    ) -> None:
        nothing = random.Random(0)
        self.down = down or Faults(nothing, 0.0, 0.0, framing=False)
        self.up = up or Faults(nothing, 0.0, 0.0, framing=False)
        self._model = Model(shared_object)
        # As long may the core work without a byte on the wires.
        self._quiet = link.patience_clocks(hardware) + CLOCKS
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_read, self._wake_write = os.pipe()
        self._stop = threading.Event()
        self._reset = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="board")
        self._thread.start()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def faults(self) -> Counter[str]:
        """How many faults there were, by kind, on both ways."""
        return self.down.counts + self.up.counts

    @property
    def clock(self) -> int:
        """Clocks so far."""
        return self._model.clock

    def reset(self) -> None:
        """Press the reset button; returns when it was pressed."""
        self._reset.set()
        os.write(self._wake_write, b"r")
        while self._reset.is_set() and self._thread.is_alive():
            time.sleep(0.001)

    def close(self) -> None:
        """Stop the thread.

        Raises
        ------
        BaseException
            what the thread died of, if it did.
        """
        self._stop.set()
        os.write(self._wake_write, b"s")
        self._thread.join()
        self._model.close()
        for descriptor in (self._master, self._slave, self._wake_read, self._wake_write):
            os.close(descriptor)
        if self._error is not None and sys.exc_info()[0] is None:
            raise self._error

    def _serve(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._error = error

    def _loop(self) -> None:
        to_device: deque[int] = deque()
        to_host = bytearray()
        still = self._quiet
        while not self._stop.is_set():
            waits = [wait for wait in (self.down.wait, self.up.wait) if wait is not None]
            asleep = still >= self._quiet and not to_device
            readable, _, _ = select.select(
                [self._master, self._wake_read],
                [self._master] if to_host else [],
                [],
                (min(waits) if waits else None) if asleep else 0,
            )
            if self._wake_read in readable:
                os.read(self._wake_read, 1)
            if self._reset.is_set():
                self._model.reset()
                self._reset.clear()
            if self._master in readable:
                self.down.push(os.read(self._master, 4096))
            to_device.extend(self.down.pop())
            if to_device or still < self._quiet:
                before = len(to_device)
                answer, passed = self._model.run(to_device, CLOCKS, self._quiet)
                still = 0 if answer or before else still + passed
                self.up.push(answer)
            to_host += bytes(self.up.pop())
            if to_host:
                with contextlib.suppress(BlockingIOError):  # the host does not read
                    del to_host[: os.write(self._master, to_host)]
