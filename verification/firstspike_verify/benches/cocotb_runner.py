"""Running cocotb benches on Verilator or Icarus: one build for each generated core, one process for each run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from firstspike.errors import FirstspikeError
from firstspike_verify.models import toolchain

#: The bench's settings; it reads them from its environment.
GENERATED, NETWORK, OTHER_NETWORK, SEED, REPEAT = (
    f"FIRSTSPIKE_BENCH_{name}" for name in ("GENERATED", "NETWORK", "OTHER_NETWORK", "SEED", "REPEAT")
)
#: Years of the language that Icarus Verilog compiles the cores in.
STANDARDS = ("2005", "2012")


@dataclass(frozen=True)
class Case:
    """Outcome of one cocotb test; ``message`` is that of its failure, or empty."""

    name: str
    passed: bool
    message: str


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time works in ``folder``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def compile_bench(
    verilog: Path, build: Path, *, top: str = "top", waves: bool = False, standard: str | None = None
) -> None:
    """Compile a Verilog file for cocotb, unless ``build`` is up to date. Processes that share ``build`` take turns.

    Parameters
    ----------
    verilog
        The file.
    build
        For the compiled model.
    top
        The top module.
    waves
        Make a model that can write a VCD.
    standard
        For Icarus Verilog, in the language of this year: a key of :data:`STANDARDS`. Default: for Verilator.

    Raises
    ------
    FirstspikeError
        if a tool is missing or fails; the message names the log.
    """
    from cocotb_tools.runner import get_runner

    if standard is not None:
        _compile_icarus(verilog, build, top, standard)
        return
    env = toolchain.environment(fast=False)
    parts = [verilog.read_bytes(), top.encode(), env["PATH"].encode(), b"%d" % waves]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()
    with locked(build):
        if toolchain.up_to_date(build / top, key):
            return
        toolchain.prepare(build)
        with toolchain.workshop() as scratch, _libraries(scratch), mock.patch.dict(os.environ, env):
            os.environ.update(toolchain.installed(env, scratch))
            source = shutil.copy(verilog, scratch / "source.v")
            try:
                get_runner("verilator").build(
                    sources=[source], hdl_toplevel=top, build_dir=scratch, waves=waves, always=True,
                    log_file=scratch / toolchain.LOG, timescale=("1ns", "1ns"),
                )  # fmt: skip
            except RuntimeError as error:
                raise toolchain.failed(scratch, build, f"{verilog} for cocotb") from error
            toolchain.deliver(scratch, build, top, key)


def icarus() -> Path:
    """The program ``iverilog``.

    Raises
    ------
    FirstspikeError
        if it is not installed.
    """
    found = shutil.which("iverilog")
    if found is None or shutil.which("vvp") is None:
        raise FirstspikeError("Icarus Verilog is not installed", "install Debian's package iverilog, or your system's")
    return Path(found)


def _compile_icarus(verilog: Path, build: Path, top: str, standard: str) -> None:
    from cocotb_tools.runner import get_runner

    icarus()
    build.mkdir(parents=True, exist_ok=True)
    try:
        get_runner("icarus").build(
            sources=[verilog.resolve()], hdl_toplevel=top, build_dir=build, always=True, timescale=("1ns", "1ns"),
            build_args=[f"-g{standard}"], log_file=build / toolchain.LOG,
        )  # fmt: skip
    except RuntimeError as error:
        raise FirstspikeError(f"compiling {verilog} for Icarus failed", f"see {build / toolchain.LOG}") from error


@contextlib.contextmanager
def _libraries(scratch: Path) -> Iterator[None]:
    """In this block cocotb's libraries are at paths that make, the linker and its own lists of files can take."""
    import cocotb.simulator
    from cocotb_tools import config
    from find_libpython import find_libpython

    libraries, simulator = toolchain.plain(config.libs_dir, scratch), Path(cocotb.simulator.__file__)
    found = os.pathsep.join(filter(None, [str(libraries), os.environ.get("LD_LIBRARY_PATH")]))
    variables = {"LD_LIBRARY_PATH": found}
    if set(str(simulator)) & set(";,"):  # which part the list of files
        variables["GPI_USERS"] = f"{find_libpython()};{toolchain.plain(simulator, scratch)},initialize"
    with (
        mock.patch.object(config, "libs_dir", libraries),
        mock.patch.object(config, "share_dir", toolchain.plain(config.share_dir, scratch)),
        mock.patch.dict(os.environ, variables),
    ):
        yield


def run_bench(
    modules: Sequence[str],
    build: Path,
    folder: Path,
    *,
    top: str = "top",
    settings: Mapping[str, str],
    test_filter: str | None = None,
    waves: Path | None = None,
    name: str = "bench",
    simulator: str = "verilator",
) -> list[Case]:
    """Run the cocotb tests of ``modules``.

    Parameters
    ----------
    build
        Compiled by :func:`compile_bench`.
    folder
        Current folder of the simulation: ``$readmemh`` reads from it.
    settings
        Environment variables of the bench (:data:`GENERATED` ...).
    test_filter
        Regular expression that a test's name must contain.
    waves
        VCD file to write, with a build that allows it.
    name
        For the files ``<build>-logs/<name>.xml`` and ``<build>-logs/<name>.log``.
    simulator
        ``verilator`` or ``icarus``: that which ``build`` was compiled for.

    Raises
    ------
    RuntimeError
        if the simulation ended without results (a crash), or ran no test; the message has the end of its log.
    """
    from cocotb_tools.runner import get_runner

    logs = build.with_name(f"{build.name}-logs")  # what is compiled is replaced as a whole, and holds nothing else
    logs.mkdir(parents=True, exist_ok=True)
    results, log = logs / f"{name}.xml", logs / f"{name}.log"
    results.unlink(missing_ok=True)
    arguments = []
    if waves is not None:
        waves.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--trace-file", str(waves)]
        print(f"waves: {waves}")
    # The runner would end the process, as under pytest; here the results are read instead.
    with (
        toolchain.workshop() as scratch,
        _libraries(scratch),
        mock.patch.dict(os.environ, toolchain.environment(fast=False)),
    ):
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        with contextlib.suppress(SystemExit, RuntimeError):
            get_runner(simulator).test(
                test_module=list(modules), hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=build,
                test_dir=folder, results_xml=str(results), log_file=log, test_filter=test_filter, test_args=arguments,
                waves=waves is not None, extra_env={"COCOTB_ANSI_OUTPUT": "0", **settings},
            )  # fmt: skip
    cases = _cases(results)
    if not cases:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.is_file() else "no log"
        raise RuntimeError(f"the simulation ran no test to its end; {log} ends with\n{tail}")
    return cases


def _cases(results: Path) -> list[Case]:
    if not results.is_file():
        return []
    cases = []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        problems = [*case.iter("failure"), *case.iter("error")]
        message = "\n".join(filter(None, (p.get("error_msg") or p.get("message") or p.text for p in problems)))
        cases.append(Case(case.get("name", ""), not problems, message))
    return cases
