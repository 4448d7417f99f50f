"""The files of a network folder: ``network.json`` and ``tensors.safetensors``, every byte under a hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from firstspike.artefact import new_folder
from firstspike.errors import FirstspikeError

FORMAT = 3
#: Those that are read. Format 2 is a network without dynamics.
READ = (2, FORMAT)
AGAIN = "train or export the network again"


def canonical(value: object) -> str:
    """JSON of ``value``, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def write(path: Path, body: dict[str, Any], arrays: dict[str, NDArray[np.int64]]) -> None:
    """Write the folder ``path``, whole or not at all.

    Raises
    ------
    FirstspikeError
        if the folder cannot be written.

    """
    tensors = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    body = {"tensors_sha256": hashlib.sha256(tensors).hexdigest(), **body}
    with new_folder(path) as folder:
        (folder / "network.json").write_bytes(_pretty({"format": FORMAT, "sha256": _sha256(body), "network": body}))
        (folder / "tensors.safetensors").write_bytes(tensors)


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """The body and the arrays that :func:`write` wrote.

    Raises
    ------
    FirstspikeError
        if a file is missing, of another format version, or changed since it was written.

    """
    try:
        text = (path / "network.json").read_bytes()
        tensors = (path / "tensors.safetensors").read_bytes()
    except OSError as error:
        raise FirstspikeError(f"{path} is not a network folder: {error}", AGAIN) from error
    try:
        document = json.loads(text)
        version = document["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FirstspikeError(f"{path}/network.json is damaged", AGAIN) from error
    if version not in READ:
        raise FirstspikeError(
            f"{path} has network format {version!r}; this version reads formats {', '.join(map(str, READ))}",
            "use the version of firstspike that wrote it, or export the network again",
        )
    body = document.get("network")
    if not isinstance(body, dict) or document.get("sha256") != _sha256(body) or text != _pretty(document):
        raise FirstspikeError(f"{path}/network.json was changed since it was written (hash differs)", AGAIN)
    if body["tensors_sha256"] != hashlib.sha256(tensors).hexdigest():
        raise FirstspikeError(f"{path}/tensors.safetensors was changed since it was written (hash differs)", AGAIN)
    return body, safetensors.numpy.load(tensors)


def _pretty(value: object) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()


def _sha256(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(body).encode()).hexdigest()
