"""Artefacts appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from firstspike.errors import FirstspikeError

# In every folder that new_folder made: only such a folder may be replaced as a whole.
MARKER = ".firstspike"


def _unwritable(path: Path, error: OSError) -> FirstspikeError:
    return FirstspikeError(
        f"cannot write {path}: {error.strerror or error}",
        "choose a folder you may write to, with --out",
    )


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block ends without an exception.

    A former folder of this program is replaced; one that holds anything else is left alone.

    Raises
    ------
    FirstspikeError
        if the folder cannot be written, or holds files that are not of this program.

    """
    path = Path(os.path.abspath(path))  # "." has no name to put a draft beside  # noqa: PTH100
    _check_replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        draft.chmod(0o755)
        (draft / MARKER).write_text("Made by firstspike, which replaces this folder as a whole.\n")
        try:
            yield draft
            _move(draft, path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_replaceable(path: Path) -> None:
    try:
        names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    except OSError as error:
        raise _unwritable(path, error) from error
    if names and MARKER not in names:
        raise FirstspikeError(
            f"cannot write {path}: it holds other files ({min(names)})", "choose a new or empty folder, with --out"
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        draft.unlink(missing_ok=True)
