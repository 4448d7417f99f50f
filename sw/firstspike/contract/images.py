"""Network -> FPGA memory images, and back.

What a memory holds and in which order follows from :attr:`Hardware.memories`; the packing of fields into rows, and of
rows into files, is in ``docs/memory-images.md``. Contents are mappings from the name of a memory to its rows: one
non-negative integer a row, field 0 in the lowest bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from firstspike.artefact import new_folder
from firstspike.contract.dynamics_shape import TABLES, FactorShape
from firstspike.contract.hardware import Hardware
from firstspike.contract.image_formats import (
    AGAIN,
    TEXT_FORMATS,
    TextFormat,
    check_rows,
    parse_binary,
    render_binary,
    words_of,
)
from firstspike.contract.layer_shape import LayerShape
from firstspike.contract.memory import Memory, MemoryRole
from firstspike.contract.words import hash_words
from firstspike.errors import FirstspikeError
from firstspike.network.dynamics import Dynamics, Factor
from firstspike.network.model import Conv2d, Dense, IntArray, Layer, Network, Population

Contents = dict[str, list[int]]
Rows = TypeVar("Rows")

BINARY = "network.bin"
FORMATS = (*TEXT_FORMATS, "bin")


def contents(network: Network, hardware: Hardware) -> Contents:
    """Rows of every memory of the core, in the order of their load numbers.

    Raises
    ------
    FirstspikeError
        if the network does not fit the hardware.

    """
    hardware.check(network)
    return {memory.name: _pack(memory, _values(memory, network, hardware)) for memory in hardware.memories}


def network(
    hardware: Hardware, contents: Mapping[str, Sequence[int]], *, encoder: tuple[int, ...] | None = None
) -> Network:
    """The network whose memories these are: the inverse of :func:`contents`.

    Names, scales and provenance are not in the memories; weights take the width of the hardware.

    Parameters
    ----------
    hardware
        The core.
    contents
        Rows of each of its memories.
    encoder
        The encoder table, needed (and used) only for events that do not repeat: the core has no memory for it.

    Raises
    ------
    FirstspikeError
        if a memory is missing, has a wrong depth or a value out of range, or the digest is not that of the rest.

    """
    tables = {}
    for memory in hardware.memories:
        if memory.name not in contents:
            raise FirstspikeError(f"memory {memory.name} is missing", AGAIN)
        check_rows(memory, contents[memory.name])
        tables[memory.role, memory.layer] = _unpack(memory, contents[memory.name])
    if hardware.input == "pixels":
        encoder = _decode_encoder(hardware, tables["encoder", None])
    elif hardware.repeat:
        encoder = ()
    elif encoder is None:
        raise FirstspikeError("a core with event input has no encoder table", "give the network's encoder table")

    last = len(hardware.layers)
    populations = tuple(
        Population(
            name="input" if i == 0 else "output" if i == last else f"hidden{i}",
            shape=shape,
            kernel=_kernel(hardware, i, tables["kernel", i]) if i < last else (),
            threshold=_thresholds(hardware, i - 1, tables) if i else (),
            dynamics=_dynamics(hardware, i - 1, tables) if i else None,
            simultaneous=hardware.simultaneous and i == 0,
            repeat=hardware.repeat if i == 0 else 0,
        )
        for i, shape in enumerate(hardware.shapes)
    )
    layers: list[Layer] = []
    for i, shape in enumerate(hardware.layers):
        # (group, tap, lane) -> (group, lane, tap): channel j is lane j % lanes of group j // lanes
        grouped = tables["weight", i].reshape(shape.groups, shape.taps, shape.lanes).transpose(0, 2, 1)
        weight = grouped.reshape(-1, shape.taps)
        (bias,), others = _to_channels(tables["bias", i], shape)
        if weight[shape.channels :].any() or others.any():
            raise FirstspikeError(f"layer {i}: a channel beyond the {shape.channels} that exist is not zero", AGAIN)
        parts: dict[str, Any] = {"name": f"layer{i}", "bias": bias, "weight_bits": shape.weight_bits}
        weight = weight[: shape.channels]
        if shape.kind == "dense":
            layers.append(Dense(weight=weight, **parts))
        else:
            taps = weight.reshape(shape.channels, shape.input_shape[0], *shape.kernel)
            geometry = {name: getattr(shape, name) for name in ("stride", "padding", "pool")}
            layers.append(Conv2d(weight=taps, **parts, **geometry))
    result = Network(
        populations=populations,
        layers=tuple(layers),
        encoder=encoder,
        steps=hardware.steps,
        fire_start=hardware.fire_start,
    )
    if digest_words(result) != tables["digest", None][:, 0].tolist():
        raise FirstspikeError("the digest memory is not that of the other memories", AGAIN)
    hardware.check(result)
    return result


def digest_words(network: Network) -> list[int]:
    """The digest as 8 words (:func:`~firstspike.contract.words.hash_words`)."""
    return hash_words(network.digest)


def layout_digest(hardware: Hardware) -> str:
    """SHA-256 (hex) of what a core and ``network.bin`` must agree on: rules of computing, layers, and memories.

    Cores that take the same file may differ otherwise; :attr:`Hardware.fingerprint` tells those apart.
    """
    rules: list[Any] = [hardware.steps, hardware.fire_start, hardware.readout, hardware.simultaneous]
    layers = [
        [x.kind, x.input_shape, x.channels, x.kernel, x.stride, x.padding, x.pool, x.product] for x in hardware.layers
    ]
    memories = [[m.name, m.depth, m.fields, m.field_bits, m.signed] for m in hardware.memories]
    stepped = [asdict(x.dynamics) if x.dynamics else None for x in hardware.layers]
    rules += [stepped] if any(stepped) else []
    return hashlib.sha256(json.dumps([rules, layers, memories], separators=(",", ":")).encode()).hexdigest()


def load_words(source: bytes | Mapping[str, Sequence[int]], hardware: Hardware) -> dict[str, list[int]]:
    """For each memory, in order of number, the words of its load port: row 0 word 0, row 0 word 1, ...

    Parameters
    ----------
    source
        The bytes of a ``network.bin``, or contents.
    hardware
        The core to be loaded.

    Raises
    ------
    FirstspikeError
        if the source is damaged or is not for this core.

    """
    rows = parse_binary(hardware.memories, layout_digest(hardware), source) if isinstance(source, bytes) else source
    words = {}
    for memory in hardware.memories:
        if memory.name not in rows:
            raise FirstspikeError(f"memory {memory.name} is missing", AGAIN)
        check_rows(memory, rows[memory.name])
        words[memory.name] = words_of(memory, rows[memory.name])
    return words


def write(
    folder: Path | str, network: Network, hardware: Hardware, formats: Iterable[str] = FORMATS
) -> tuple[Path, ...]:
    """Write the memory images into ``folder``, whole or not at all; every file is read back and compared.

    One file a memory and text format, ``<memory>.<format>``; the format ``bin`` is one file, ``network.bin``.

    Returns
    -------
    The files.

    Raises
    ------
    FirstspikeError
        if the network does not fit, a format is unknown, or the folder cannot be written.

    """
    folder, formats = Path(folder), tuple(formats)
    for name in formats:
        _check_format(name)
    rows = contents(network, hardware)
    files: dict[str, bytes] = {}
    for name in formats:
        if name == "bin":
            files[BINARY] = render_binary(hardware.memories, layout_digest(hardware), rows)
        else:
            render = TEXT_FORMATS[name].render
            files |= {f"{m.name}.{name}": render(m, rows[m.name]).encode() for m in hardware.memories}
    with new_folder(folder) as draft:
        for file, data in files.items():
            (draft / file).write_bytes(data)
        for name in formats:
            if read(draft, hardware, name) != rows:
                raise FirstspikeError(f"{folder}: the .{name} images read back otherwise than written", "try again")
    return tuple(folder / file for file in files)


def read(
    folder: Path | str, hardware: Hardware, format: str = "bin", names: Mapping[str, str] | None = None
) -> Contents:
    """The contents that :func:`write` wrote in one format; or, in a text format, files of other ``names`` by memory.

    Raises
    ------
    FirstspikeError
        if a file is missing, damaged or not for this core; the message begins with the file.

    """
    folder = Path(folder)
    _check_format(format)
    if format == "bin":
        return _parsed(folder / BINARY, lambda data: parse_binary(hardware.memories, layout_digest(hardware), data))
    parse = partial(_parse_text, TEXT_FORMATS[format])
    names = names or {m.name: f"{m.name}.{format}" for m in hardware.memories}
    return {m.name: _parsed(folder / names[m.name], partial(parse, m)) for m in hardware.memories}


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise FirstspikeError(f"unknown memory image format {name!r}", f"use one of {', '.join(FORMATS)}")


def _parse_text(format: TextFormat, memory: Memory, data: bytes) -> list[int]:
    return format.parse(memory, data.decode("ascii"))


def _parsed(path: Path, parse: Callable[[bytes], Rows]) -> Rows:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise FirstspikeError(f"cannot read {path}: {error.strerror or error}", AGAIN) from error
    except UnicodeDecodeError as error:
        raise FirstspikeError(f"{path}: byte {error.start} is not ASCII", AGAIN) from error
    except FirstspikeError as error:
        raise FirstspikeError(f"{path}: {error}", error.hint) from error


def _values(memory: Memory, network: Network, hardware: Hardware) -> IntArray:
    """The numbers of a memory, shape (depth, fields)."""
    match memory.role:
        case "digest":
            values = digest_words(network)
        case "encoder":
            none, spike = network.populations[0].codes, 1 << (memory.field_bits - 1)
            values = [0 if code == none else spike | code for code in network.encoder]
        case "kernel":
            values = list(network.populations[memory.layer or 0].kernel)
            if hardware.layers[memory.layer or 0].product == "shift":
                values = [value.bit_length() - 1 for value in values]
        case role if role in TABLES and hardware.layers[memory.layer or 0].dynamics:
            return _table(memory, network, hardware)
        case "threshold":
            values = list(network.populations[(memory.layer or 0) + 1].threshold)
        case "bias":
            layer, shape = network.layers[memory.layer or 0], hardware.layers[memory.layer or 0]
            return _to_slices(layer.bias[None], shape)
        case "weight":
            layer, shape = network.layers[memory.layer or 0], hardware.layers[memory.layer or 0]
            columns = layer.weight.reshape(shape.channels, -1)
            padded = np.zeros((shape.groups * shape.lanes, columns.shape[1]), np.int64)
            padded[: shape.channels] = columns
            return padded.reshape(shape.groups, shape.lanes, -1).transpose(0, 2, 1).reshape(-1, shape.lanes)
    return np.array(values, np.int64)[:, None]


def _thresholds(
    hardware: Hardware, layer: int, tables: Mapping[tuple[MemoryRole, int | None], IntArray]
) -> tuple[int, ...]:
    """TH of the neurons after a layer without dynamics."""
    if hardware.layers[layer].dynamics or ("threshold", layer) not in tables:
        return ()
    return tuple(tables["threshold", layer][:, 0].tolist())


def _table(memory: Memory, network: Network, hardware: Hardware) -> IntArray:
    """The values of a table of dynamics."""
    shape, dynamics = hardware.layers[memory.layer or 0], network.populations[(memory.layer or 0) + 1].dynamics
    assert dynamics is not None
    assert shape.dynamics is not None
    table = shape.dynamics.table(memory.role)
    assert table is not None
    steps = shape.dynamics.steps(memory.role, hardware.steps)
    values = shape.dynamics.values(dynamics, memory.role)
    values = np.broadcast_to(values, (steps, shape.channels if table.by_channel else 1))
    return _to_slices(values, shape) if table.by_channel else values


def _to_slices(values: IntArray, shape: LayerShape) -> IntArray:
    """Values of channels, shape (steps, channels), as rows of slices; channels that do not exist have zeros."""
    padded = np.concatenate([values, np.zeros((len(values), 1), np.int64)], axis=1)
    return padded[:, shape.slice_channels].reshape(-1, shape.fire_lanes)


def _to_channels(rows: IntArray, shape: LayerShape) -> tuple[IntArray, IntArray]:
    """The inverse of :func:`_to_slices`, and the values of channels that do not exist."""
    exists = shape.slice_channels < shape.channels
    slices = rows.reshape(-1, *exists.shape)
    values = np.zeros((len(slices), shape.channels), np.int64)
    values[:, shape.slice_channels[exists]] = slices[:, exists]
    return values, slices[:, ~exists]


def _dynamics(
    hardware: Hardware, layer: int, tables: Mapping[tuple[MemoryRole, int | None], IntArray]
) -> Dynamics | None:
    """Those of the neurons after a layer, from their tables."""
    shape = hardware.layers[layer]
    fixed = shape.dynamics
    if fixed is None:
        return None
    parts: dict[str, Any] = {}
    for name, table in fixed.tables():
        values = tables[name, layer]
        if table.by_channel:
            values, others = _to_channels(values, shape)
            if others.any():
                raise FirstspikeError(
                    f"layer {layer}: a channel of {name} beyond the {shape.channels} that exist is not zero", AGAIN
                )
        parts[name] = values
    for name in ("retain", "leak"):
        made: FactorShape = getattr(fixed, name)
        numerator = parts[name][0] if name in parts else np.array(made.numerator)
        parts[name] = Factor(numerator=numerator, shift=made.shift)
    return Dynamics(
        mode=fixed.mode, cap=fixed.cap, guard=fixed.guard, start=fixed.start, read=fixed.read,
        gain_shift=fixed.gain_shift, **parts,
    )  # fmt: skip


def _kernel(hardware: Hardware, layer: int, table: IntArray) -> tuple[int, ...]:
    """K from its memory; the memory of lanes that shift holds logarithms to the base 2."""
    values = table[:, 0].tolist()
    return tuple(1 << value for value in values) if hardware.layers[layer].product == "shift" else tuple(values)


def _decode_encoder(hardware: Hardware, table: IntArray) -> tuple[int, ...]:
    none = hardware.layers[0].input_codes
    spike = 1 << (hardware.memory("encoder").field_bits - 1)
    codes = []
    for pixel, value in enumerate(table[:, 0].tolist()):
        if value and not spike <= value < spike + none:
            raise FirstspikeError(
                f"memory encoder: row {pixel} is {value:#x}: neither 0 nor {spike:#x} + a code below {none}", AGAIN
            )
        codes.append(value - spike if value else none)
    return tuple(codes)


def _pack(memory: Memory, values: IntArray) -> list[int]:
    span = 1 << memory.field_bits
    low, high = (-span // 2, span // 2) if memory.signed else (0, span)
    outside = np.argwhere((values < low) | (values >= high))
    if len(outside):
        row, field = outside[0]
        raise FirstspikeError(
            f"memory {memory.name}: row {row}, field {field} is {values[row, field]}, outside [{low}, {high - 1}]"
        )
    bits = np.empty((*values.shape, memory.field_bits), np.uint8)
    for bit in range(memory.field_bits):
        bits[..., bit] = (values >> bit) & 1
    packed = np.packbits(bits.reshape(len(values), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _unpack(memory: Memory, rows: Sequence[int]) -> IntArray:
    """The inverse of :func:`_pack`: shape (depth, fields)."""
    size = -(-memory.data_bits // 8)
    data = np.frombuffer(b"".join(row.to_bytes(size, "little") for row in rows), np.uint8).reshape(-1, size)
    bits = np.unpackbits(data, axis=1, count=memory.data_bits, bitorder="little")
    bits = bits.reshape(len(rows), memory.fields, memory.field_bits)
    values = np.zeros(bits.shape[:2], np.int64)
    for bit in range(memory.field_bits):
        values += bits[..., bit].astype(np.int64) << bit
    if memory.signed:
        values -= bits[..., -1].astype(np.int64) << memory.field_bits
    return values
