"""Text is printed as it is: brackets and colons of names are no markup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.table import Table

from firstspike import console
from firstspike.errors import FirstspikeError

pytestmark = pytest.mark.smoke

ODD = ("b[v2]", "b[/]", "[bold]b[/bold]", "[red]", ":smile: b", "two  spaces", "ünï \\[x]", "1.5e3 'q' 0x1f")


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("stderr", [False, True])
def test_a_console_prints_literally(text: str, stderr: bool, capsys: pytest.CaptureFixture[str]) -> None:
    long = "/".join([text] * 40)
    table = Table(title=text, show_header=False, box=None)
    table.add_row(text, text)
    screen = console.console(stderr=stderr)
    screen.print(long)
    screen.print(table)
    printed = capsys.readouterr()
    lines = (printed.err if stderr else printed.out).splitlines()
    assert lines[0] == long
    assert lines[1].strip() == text
    assert lines[2].strip() == f"{text}  {text}"


@pytest.mark.parametrize("text", ODD)
def test_a_status_line_is_literal(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with console.status(f"first {text}") as update:
        update(f"second {text}")
    assert f"second {text}" in shown.getvalue()


@pytest.mark.parametrize("text", ODD)
def test_a_message_is_one_line_and_literal(text: str) -> None:
    error = FirstspikeError(f"cannot write {text}", f"mend\n {text}")
    assert error.one_line() == f"cannot write {text}; mend {text}"


def test_no_other_file_makes_a_console() -> None:
    folder = Path(__file__).parents[3]
    files = [path for room in ("sw/firstspike", "hw/firstspike_rtl", "verification/firstspike_verify")
             for path in (folder / room).rglob("*.py")]  # fmt: skip
    makers = {path.name for path in files if "Console(" in path.read_text()}
    assert makers == {"console.py"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0060213, "0.00602"),
        (2, "2"),
        (23.46, "23.5"),
        (999.4, "999"),
        (999.7, "1000"),
        (1230.4, "1230"),
        (1e6, "1000000"),
    ],
)
def test_numbers_without_exponent(value: float, text: str) -> None:
    assert console.three_digits(value) == text
