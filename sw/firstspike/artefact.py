"""Artefacts appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from firstspike import signals
from firstspike.errors import FirstspikeError

#: In every folder that new_folder made: only such a folder may be replaced as a whole.
MARKER = ".firstspike"
#: First line of a marker, before the names of all that was written. Those of older versions name nothing.
LISTED = "Made by firstspike, which replaces this folder as long as it holds nothing else than:"
#: A draft that a killed process has left, or what it was to replace.
DRAFT = re.compile(r"\..+-[0-9a-f]{8}(-former)?")


#: What a write fails with when there is no room, by the disk or by a limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _unwritable(path: Path, error: OSError) -> FirstspikeError:
    remedy = "make room, or choose another folder" if error.errno in FULL else "choose a folder you may write to"
    return FirstspikeError(f"cannot write {path}: {error.strerror or error}", f"{remedy}, with --out")


def _draft(path: Path) -> Path:
    """A new name beside ``path``; what is made there has the permissions that the umask leaves."""
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block ends without an exception.

    A former folder of this program is replaced; one that holds anything else is left alone.

    Raises
    ------
    FirstspikeError
        if the folder cannot be written, or holds files that this program did not write.

    """
    path = Path(os.path.abspath(path))  # "." has no name to put a draft beside  # noqa: PTH100
    check_replaceable(path)
    draft = _draft(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        (draft / MARKER).write_text("\n".join([LISTED, *_names(draft)]) + "\n")
        with signals.deferred():
            check_replaceable(path)  # the block may have taken minutes
            _move(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with signals.deferred():
            shutil.rmtree(draft, ignore_errors=True)


def check_replaceable(path: Path) -> None:
    """Refuse a folder that :func:`new_folder` would not replace: before work that takes long.

    Raises
    ------
    FirstspikeError
        if the folder cannot be read, or holds files that this program did not write.

    """
    try:
        names = set(_names(path)) if path.is_dir() else set()
        ours = MARKER in names
        lines = (path / MARKER).read_text(errors="surrogateescape").splitlines() if ours else []
    except OSError as error:
        raise _unwritable(path, error) from error
    if names and not ours:
        raise FirstspikeError(
            f"cannot write {path}: it holds other files ({min(names)})", "choose a new or empty folder, with --out"
        )
    if lines[:1] == [LISTED] and (others := names - {MARKER, *lines[1:]}):
        raise FirstspikeError(
            f"cannot write {path}: it holds {min(others)}, which firstspike did not write", "move it to another folder"
        )


def _names(folder: Path) -> list[str]:
    """Of all that is in a folder, at any depth, relative to it and in order."""

    def refuse(error: OSError) -> None:
        raise error

    walk = os.walk(folder, onerror=refuse)
    return sorted((Path(at) / name).relative_to(folder).as_posix() for at, *both in walk for name in chain(*both))


def check_place(folder: Path, signs: Iterable[str]) -> None:
    """Refuse to work in a folder of the user's: one that holds files, but nothing of this program.

    Parameters
    ----------
    folder
        To put artefacts into, each under a name of its own.
    signs
        Patterns of names, relative to the folder, by which those of former artefacts are known.

    Raises
    ------
    FirstspikeError
        if it is such a one.

    """
    files = (Path(at, name).relative_to(folder) for at, _, names in os.walk(folder) for name in sorted(names))
    other = next((file for file in files if not any(map(DRAFT.fullmatch, file.parts))), None)
    if other is not None and not any(next(folder.glob(sign), None) for sign in signs):
        raise FirstspikeError(
            f"cannot work in {folder}: it holds other files ({other}), and nothing of firstspike",
            "choose a new or empty folder, with --out",
        )


def _move(draft: Path, path: Path) -> None:
    """Rename ``draft`` to ``path``; a folder that was there stays if that fails."""
    if not path.is_dir() or path.is_symlink():
        draft.replace(path)
        return
    former = draft.with_name(f"{draft.name}-former")
    path.replace(former)
    try:
        draft.replace(path)
    except OSError:
        former.replace(path)
        raise
    shutil.rmtree(former)


def write_file(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path``, whole or not at all.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    data = content.encode() if isinstance(content, str) else content
    draft = _draft(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # some file systems find out only here that there is no room
        draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is in such a block with ``folder``; the next one says so, and waits until it ends.

    The lock is on the folder itself, which is made if need be, and removed again if it is left empty.

    Raises
    ------
    FirstspikeError
        if the folder cannot be made.

    """
    handle, new = _lock(folder)
    try:
        yield
    finally:
        for path in new:
            with contextlib.suppress(OSError):  # most often, that it is not empty
                path.rmdir()
        os.close(handle)


def _lock(folder: Path) -> tuple[int, list[Path]]:
    """The open folder with the lock on it, and the folders that were made for it."""
    waited = False
    new: list[Path] = []
    while True:
        # False for a folder that one may not look into, too.
        new += [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    print(f"waiting for another process, which works in {folder}", file=sys.stderr, flush=True)
                waited = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                return handle, new
            if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
                return handle, new
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the other process has removed the folder, empty
