"""Artefacts appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from firstspike.errors import FirstspikeError


def _unwritable(path: Path, error: OSError) -> FirstspikeError:
    return FirstspikeError(
        f"cannot write {path}: {error.strerror or error}",
        "choose a folder you may write to, with --out",
    )


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block ends without an exception.

    Raises
    ------
    FirstspikeError
        if the folder cannot be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        draft.chmod(0o755)
        try:
            yield draft
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            draft.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
