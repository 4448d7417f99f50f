"""Artefacts appear whole or not at all, and nothing else is ever removed."""

from __future__ import annotations

import errno
import os
import select
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firstspike.artefact import MARKER, check_place, locked, new_folder, write_file
from firstspike.errors import FirstspikeError

pytestmark = pytest.mark.smoke


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(path: Path, file: str = "a") -> None:
    with new_folder(path) as draft:
        (draft / file).write_text(file)


def test_a_folder_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "x") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "deep" / "x").exists()
    assert names(tmp_path / "deep") == ["x"]
    assert names(tmp_path / "deep" / "x") == [MARKER, "a"]


def test_a_former_artefact_is_replaced_as_a_whole(tmp_path: Path) -> None:
    make(tmp_path / "x", "old")
    make(tmp_path / "x", "new")
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == [MARKER, "new"]


def test_an_empty_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    make(Path())
    assert names(tmp_path / "x") == [MARKER, "a"]


@pytest.mark.parametrize("out", [".", "../home", "{home}"])
def test_a_folder_of_the_user_is_left_alone(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    monkeypatch.chdir(home)
    with pytest.raises(FirstspikeError, match=r"it holds other files \(thesis.tex\)") as error:
        make(Path(out.format(home=home)))
    assert error.value.hint == "choose a new or empty folder, with --out"
    assert names(home) == ["thesis.tex"]
    assert names(tmp_path) == ["home"]


@pytest.mark.parametrize("mine", ["notes.txt", "src/notes.txt", "mine/notes.txt", ".notes", "empty/", "link"])
def test_files_of_the_user_among_ours_are_left_alone(mine: str, tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "x") as draft:
            (draft / "src").mkdir()
            (draft / "src" / "a").write_text("a")

    write()
    write()
    path = tmp_path / "x" / mine
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if mine.endswith("/") else path.symlink_to("src") if mine == "link" else path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        with pytest.raises(FirstspikeError) as error:
            write()
        assert error.value.one_line() == (
            f"cannot write {tmp_path / 'x'}: it holds {'mine' if mine.startswith('mine') else mine.rstrip('/')}"
            ", which firstspike did not write; move it to another folder"
        )
        assert sorted(tmp_path.rglob("*")) == before
    path.rmdir() if mine.endswith("/") else path.unlink()
    if mine.startswith("mine"):
        path.parent.rmdir()
    write()


def test_a_file_that_comes_while_we_write_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "x", "old")

    def slowly() -> None:
        with new_folder(tmp_path / "x") as draft:
            (draft / "new").write_text("new")
            (tmp_path / "x" / "mine").write_text("mine")

    with pytest.raises(FirstspikeError, match="it holds mine, which firstspike did not write"):
        slowly()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == [MARKER, "mine", "old"]


def test_a_folder_of_an_older_version_is_replaced(tmp_path: Path) -> None:
    """Its marker does not say what it holds."""
    make(tmp_path / "x", "old")
    (tmp_path / "x" / MARKER).write_text("Made by firstspike, which replaces this folder as a whole.\n")
    make(tmp_path / "x", "new")
    assert names(tmp_path / "x") == [MARKER, "new"]


def test_a_place_to_work_in_is_new_or_empty_or_ours(tmp_path: Path) -> None:
    signs = ("x/.firstspike", "*/last")
    check_place(tmp_path / "new", signs)
    (tmp_path / "train").mkdir()
    (tmp_path / ".x-0123abcd").mkdir()
    (tmp_path / ".x-0123abcd" / "half").write_text("of a process that was killed")
    check_place(tmp_path, signs)
    (tmp_path / "train" / "thesis.tex").write_text("years of work")
    with pytest.raises(
        FirstspikeError, match=r"it holds other files \(train/thesis.tex\), and nothing of firstsp"
    ) as error:
        check_place(tmp_path, signs)
    assert error.value.hint == "choose a new or empty folder, with --out"
    make(tmp_path / "x")
    check_place(tmp_path, signs)
    assert (tmp_path / "train" / "thesis.tex").exists()


def test_an_exception_in_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    make(tmp_path / "x", "old")

    def stop() -> None:
        with new_folder(tmp_path / "x") as draft:
            (draft / "new").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == [MARKER, "old"]


def test_a_rename_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "x", "old")
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.is_dir() and (path / "new").exists():
            raise OSError(30, "Read-only file system")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(FirstspikeError, match="Read-only file system"):
        make(tmp_path / "x", "new")
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == [MARKER, "old"]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for action in (
        lambda: make(tmp_path / "file"),
        lambda: make(tmp_path / "file" / "x"),
        lambda: write_file(tmp_path / "file" / "x", "text"),
        lambda: write_file(tmp_path, "text"),
    ):
        with pytest.raises(FirstspikeError, match="cannot write") as error:
            action()
        assert "\n" not in error.value.one_line()
        assert error.value.one_line().endswith("; choose a folder you may write to, with --out")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "x"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "x", "text")
    write_file(tmp_path / "deep" / "x", b"bytes")
    assert (tmp_path / "deep" / "x").read_bytes() == b"bytes"
    assert names(tmp_path / "deep") == ["x"]


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002, 0o027])
def test_the_umask_says_who_may_read(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        for _ in range(2):
            make(tmp_path / "deep" / "x")
            write_file(tmp_path / "other" / "y", "text")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_what_was_there(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "x", "old")
    write_file(tmp_path / "y", "old")

    def full(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "write_text", full)
    for action in (lambda: make(tmp_path / "x", "new"), lambda: write_file(tmp_path / "y", "new")):
        with pytest.raises(FirstspikeError, match="cannot write") as error:
            action()
        assert error.value.one_line().endswith("; make room, or choose another folder, with --out")
    monkeypatch.undo()
    assert names(tmp_path) == ["x", "y"]
    assert names(tmp_path / "x") == [MARKER, "old"]
    assert (tmp_path / "y").read_text() == "old"


def test_an_error_in_one_line() -> None:
    assert FirstspikeError("a\n b", "c").one_line() == "a b; c"
    assert FirstspikeError("a").one_line() == "a"


WORK = """
import sys, time
from pathlib import Path
from firstspike.artefact import locked
with locked(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["leaves", "killed"])
def test_processes_take_turns(end: str, tmp_path: Path) -> None:
    """The second one waits for the first, or for its end by force; nothing is left of the locks."""
    folder = tmp_path / "deep" / "[v2] x"
    if end == "killed":
        folder.mkdir(parents=True)

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", WORK, folder], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path
        )

    with start() as first, start() as second:
        assert first.stdout
        assert second.stdout
        ready, _, _ = select.select([first.stdout, second.stdout], [], [])
        holder, waiter = (first, second) if first.stdout in ready else (second, first)
        assert waiter.stderr
        assert waiter.stderr.readline() == f"waiting for another process, which works in {folder}\n"
        holder.kill() if end == "killed" else holder.communicate("")
        assert waiter.communicate("") == ("in\n", "")
        assert waiter.returncode == 0
    assert names(tmp_path) == ([] if end == "leaves" else ["deep"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_lock_leaves_a_folder_in_use(tmp_path: Path) -> None:
    with locked(tmp_path / "x"):
        write_file(tmp_path / "x" / "y", "text")
    assert names(tmp_path / "x") == ["y"]
    with pytest.raises(FirstspikeError, match="cannot write"), locked(tmp_path / "x" / "y"):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path / "x"):
        write_file(tmp_path / "x" / "y", "text")
    assert names(tmp_path / "x") == ["y"]
