"""What is generated: reproducible, clean for lint, described by its manifest, with memories that hold the network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from generated import CORES, network

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.registers import register_map
from firstspike.errors import FirstspikeError
from firstspike_rtl.core.layouts import EVENT_WORD, RESULT_WORD
from firstspike_rtl.core.tables import copies
from firstspike_rtl.top import verilog
from firstspike_rtl.top.verilog import (
    LINT_EXCEPTIONS,
    content_hash,
    generate,
    load_contents,
    load_manifest,
    write_manifest,
)
from firstspike_verify.models.toolchain import environment

SCHEMA = Path(__file__).parents[3] / "docs" / "manifest.schema.json"


EVERY_CORE = pytest.mark.parametrize("core", CORES)


class Folders(dict[str, Path]):
    """Generated folders of the cores, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __missing__(self, name: str) -> Path:
        net, options = CORES[name]
        self[name] = generate(net, Hardware.for_network(net, **options), self._root / name)
        return self[name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Folders:
    return Folders(tmp_path_factory.mktemp("cores"))


# -- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_same_input_same_bytes(tmp_path) -> None:
    """Two processes, two hash seeds, two working folders: the same bytes in all files."""
    network().save(tmp_path / "net")
    program = (
        "import sys; from pathlib import Path; from firstspike.network.model import Network;"
        "from firstspike.contract.hardware import Hardware; from firstspike_rtl.top.verilog import generate;"
        "n = Network.load(sys.argv[1]); generate(n, Hardware.for_network(n, lanes=3), Path('core'))"
    )
    made = []
    for seed in ("1", "2"):
        place = tmp_path / seed
        place.mkdir()
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "net")],
            cwd=place, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        )  # fmt: skip
        made.append({path.name: path.read_bytes() for path in (place / "core").iterdir()})
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
    assert {"top.v", "top.json", "top_layer0_weight.mem"} <= made[0].keys()


@pytest.mark.smoke
@EVERY_CORE
def test_names_of_the_source_and_no_paths(core, folders) -> None:
    text = (folders[core] / "top.v").read_text()
    assert "U$" not in text  # a submodule without a name
    assert "$signal" not in text  # a signal without a name
    assert "$like" not in text
    assert "src = " not in text
    for place in (str(Path(verilog.__file__).parent), str(Path.home()), str(folders[core]), sys.prefix):
        assert place not in text


# -- lint -------------------------------------------------------------------------------------------------------------


def lint(folder: Path, text: str) -> list[str]:
    """First lines of the warnings and errors of ``verilator --lint-only -Wall``."""
    file = folder / "top.v"
    file.write_text(text)
    done = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "-Wno-fatal", file.name], cwd=folder, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("%")]
    assert done.returncode == 0 or found
    return found


def truncations(warnings: list[str]) -> list[str]:
    """Warnings of WIDTHTRUNC other than '!' on a number."""
    return [w for w in warnings if "WIDTHTRUNC" in w and "Logical operator LOGNOT expects 1 bit" not in w]


@EVERY_CORE
def test_lint_is_silent(core, folders, tmp_path) -> None:
    assert lint(tmp_path, (folders[core] / "top.v").read_text()) == []


def without(text: str, rule: str) -> str:
    line = f"/* verilator lint_off {rule} */\n"
    assert text.count(line) == 1
    return text.replace(line, "")


@pytest.mark.parametrize("rule", LINT_EXCEPTIONS)
def test_each_exception_is_needed_and_alone(rule, folders, tmp_path) -> None:
    found = lint(tmp_path, without((folders["usual"] / "top.v").read_text(), rule))
    assert found
    assert all(w.startswith(f"%Warning-{rule}:") for w in found)


@EVERY_CORE
def test_nothing_is_truncated(core, folders, tmp_path) -> None:
    found = lint(tmp_path, without((folders[core] / "top.v").read_text(), "WIDTHTRUNC"))
    assert found
    assert truncations(found) == []


def test_a_truncation_would_be_found(folders, tmp_path) -> None:
    text = without((folders["usual"] / "top.v").read_text(), "WIDTHTRUNC")
    line = "\nendmodule\n"
    found = lint(tmp_path, text.replace(line, f"\n  wire [3:0] cut = s_axis_tdata;{line}", 1))
    assert len(truncations(found)) == 1


def test_hardware_too_deep_for_the_converter(monkeypatch) -> None:
    def too_deep(design, **options) -> tuple[str, object]:
        raise RecursionError

    monkeypatch.setattr(verilog.verilog, "convert_fragment", too_deep)
    net, limit = network(), sys.getrecursionlimit()
    hardware = Hardware.for_network(net)
    with pytest.raises(FirstspikeError, match="too deep for the Verilog converter"):
        verilog.convert(hardware, images.contents(net, hardware))
    assert sys.getrecursionlimit() == limit


# -- memories ---------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@EVERY_CORE
def test_images_hold_the_network(core, folders) -> None:
    net, options = CORES[core]
    hardware = Hardware.for_network(net, **options)
    assert load_contents(folders[core], manifest_of(folders[core]), hardware) == images.contents(net, hardware)
    text = (folders[core] / "top.v").read_text()
    for memory in hardware.memories:
        rows, bits = max(2, memory.depth), memory.row_bits
        for name in copies(memory):
            declared = re.findall(rf"^  reg (?:\[(\d+):0\] )?{name} \[0:(\d+)\];$", text, re.M)
            assert [(int(high or 0) + 1, int(last) + 1) for high, last in declared] == [(bits, rows)]
            assert text.count(f'$readmemh("top_{memory.name}.mem", {name});') == 1
    assert text.count("$readmemh") == sum(len(copies(memory)) for memory in hardware.memories)


MEMORY = Hardware.for_network(network()).memory("threshold", 0)
ROWS = [5, 4, 3, 200]


def memory_text(values: list[str], name: str = MEMORY.name) -> str:
    body = "".join(f"    {name}[{n}] = {value};\n" for n, value in enumerate(values))
    return f"  reg x;\n  initial begin\n{body}  end\nend\n"


@pytest.mark.smoke
def test_initial_values_become_an_image() -> None:
    text = memory_text(["9'h005", "9'd4", "9'h003", "9'h0c8"])
    image = f'  reg x;\n  initial $readmemh("x.mem", {MEMORY.name});\nend\n'
    assert verilog._read_image(text, MEMORY.name, ROWS, "x.mem") == image
    longer = memory_text(["9'h005", "9'd4", "9'h003", "9'h0c8", "9'h000"])  # a row that only fills up
    assert verilog._read_image(longer, MEMORY.name, ROWS, "x.mem") == image


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (memory_text(["9'h005", "9'h004", "9'h003", "9'h0c9"]), "has other contents"),
        (memory_text(["9'h005", "9'h004", "9'h003"]), "has other contents"),
        (memory_text(["9'h004", "9'h005", "9'h003", "9'h0c8"]), "has other contents"),
        (memory_text(["9'h005", "9'h004", "9'h003", "9'h0c8", "9'h001"]), "has other contents"),
        (memory_text(["9'h005"], "other"), "is initialised 0 times"),
        (memory_text(["9'h005"]) * 2, "is initialised 2 times"),
    ],
)
def test_other_initial_values_are_refused(text, message) -> None:
    with pytest.raises(RuntimeError, match=message):
        verilog._read_image(text, MEMORY.name, ROWS, "x.mem")


def test_wrong_contents_do_not_pass_the_generator(monkeypatch) -> None:
    """The check sees the Verilog that the back end made, not only texts written for it."""
    net = network()
    hardware = Hardware.for_network(net)
    contents = images.contents(net, hardware)
    original = verilog.verilog.convert_fragment
    changed = re.compile(r"(layer0_kernel\[0\] = \d+'h)([0-9a-f]+);")

    def damaged(*arguments, **options) -> tuple[str, object]:
        text, names = original(*arguments, **options)
        text, count = changed.subn(lambda m: f"{m[1]}{int(m[2], 16) ^ 1:x};", text)
        assert count == 1
        return text, names

    monkeypatch.setattr(verilog.verilog, "convert_fragment", damaged)
    with pytest.raises(RuntimeError, match="layer0_kernel has other contents"):
        verilog.convert(hardware, contents)


# -- manifest ---------------------------------------------------------------------------------------------------------


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "top.json").read_text())


@pytest.mark.smoke
@EVERY_CORE
def test_manifest_follows_its_schema(core, folders) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(manifest_of(folders[core]))


@pytest.mark.smoke
@EVERY_CORE
def test_manifest_lists_all_there_is(core, folders) -> None:
    net, options = CORES[core]
    folder, hardware = folders[core], Hardware.for_network(net, **options)
    manifest = manifest_of(folder)

    top = (folder / "top.v").read_text().partition("\nmodule top (")[2].partition("\n);")[0]
    pins = re.findall(r"^  (input|output) wire (?:\[(\d+):0\] )?(\w+),?$", top, re.M)
    assert manifest["ports"] == {
        name: {"direction": way.removesuffix("put"), "width": int(high or 0) + 1} for way, high, name in pins
    }
    assert len(manifest["ports"]) == len(pins) == len(re.findall(r"^  (?:input|output) ", top, re.M))

    assert [m["name"] for m in manifest["memories"]] == [m.name for m in hardware.memories]
    for listed, memory in zip(manifest["memories"], hardware.memories, strict=True):
        image = listed.pop("image")
        assert listed == {name: getattr(memory, name) for name in listed}
        assert image in manifest["files"]
    assert manifest["registers"] == {
        name: {k: getattr(register, k) for k in ("offset", "count", "access", "description")}
        for name, register in register_map(hardware).items()
    }
    for name, layout in (("event_word", EVENT_WORD), ("result_word", RESULT_WORD)):
        fields = manifest["layouts"][name]
        ones = {field: (1 << place["width"]) - 1 << place["offset"] for field, place in fields.items()}
        assert ones == {f: layout.const({f: (1 << part.width) - 1}).as_bits() for f, part in layout}
        assert sum(ones.values()) == 0xFFFFFFFF

    made = {path.name for path in folder.iterdir()} - {"top.json", ".firstspike"}
    assert manifest["files"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in made}
    assert manifest["fingerprint"] == hardware.fingerprint
    assert manifest["network"] == {"digest": net.digest, "shape": net.shape_name}
    words = None if hardware.input == "events" else -(-net.sizes[0] // 4)
    assert manifest["frame_words"] == words
    assert load_manifest(folder) == (manifest_of(folder), hardware)


@pytest.fixture
def copy(folders, tmp_path) -> Path:
    """A generated folder to be damaged."""
    folder = tmp_path / "core"
    folder.mkdir()
    for path in folders["usual"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    load_manifest(folder)
    return folder


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["top.v", "top_layer1_weight.mem", "top_digest.mem"])
def test_a_changed_or_missing_file_is_refused(name, copy) -> None:
    original = (copy / name).read_bytes()
    (copy / name).write_bytes(original.replace(b"0", b"1", 1))
    with pytest.raises(FirstspikeError, match=rf"{name} was changed since it was generated") as caught:
        load_manifest(copy)
    assert caught.value.hint == "generate the hardware again"
    (copy / name).unlink()
    with pytest.raises(FirstspikeError, match=r"is not a generated folder"):
        load_manifest(copy)


CHANGED = r"top\.json was changed since it was generated \(hash differs\)"


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "has manifest format 3, not 4"),
        ({"format": "4"}, "has manifest format '4', not 4"),
        ({"fingerprint": "0" * 64}, CHANGED),
        ({"hardware": None}, CHANGED),
        ({"files": None}, CHANGED),
        ({"content": None}, CHANGED),
        (None, "its content is no object"),
        ([], "its content is no object"),
    ],
)
def test_another_manifest_is_refused(change, message, copy) -> None:
    manifest = manifest_of(copy) | change if isinstance(change, dict) else change
    (copy / "top.json").write_text(json.dumps(manifest))
    with pytest.raises(FirstspikeError, match=message):
        load_manifest(copy)


def other(value):
    """Another value of the same kind."""
    if isinstance(value, dict):
        return dict(list(value.items())[1:])
    return value[1:] if isinstance(value, (list, str)) else not value if isinstance(value, bool) else value + 1


def places(value, path=()) -> list[tuple]:
    """Every value of a manifest, whole objects among them, by the keys on the way to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in inner for found in [(*path, key), *places(part, (*path, key))]]


@pytest.mark.smoke
def test_every_change_of_a_manifest_is_found(copy) -> None:
    """One line says so, whatever was changed: pins, registers, memories, steps, the hashes themselves."""
    manifest = manifest_of(copy)
    every = [path for path in places(manifest) if path != ("format",)]
    assert len(every) > 300
    for path in every:
        changed = json.loads(json.dumps(manifest))
        *way, last = path
        place = changed
        for key in way:
            place = place[key]
        place[last] = other(place[last])
        (copy / "top.json").write_text(json.dumps(changed))
        with pytest.raises(FirstspikeError, match=CHANGED) as caught:
            load_manifest(copy)
        assert caught.value.hint == "generate the hardware again"


@pytest.mark.smoke
def test_what_is_missing_in_a_manifest_or_too_much_is_found(copy) -> None:
    manifest = manifest_of(copy)
    changes = [{k: v for k, v in manifest.items() if k != key} for key in manifest if key != "format"]
    for changed in [*changes, manifest | {"more": 1}]:
        (copy / "top.json").write_text(json.dumps(changed))
        with pytest.raises(FirstspikeError, match=CHANGED):
            load_manifest(copy)


@pytest.mark.smoke
def test_white_space_and_order_of_a_manifest_do_not_matter(copy) -> None:
    expected = load_manifest(copy)
    (copy / "top.json").write_text(json.dumps(manifest_of(copy), sort_keys=True))
    assert load_manifest(copy) == expected


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0" * 64}, r"top\.json is of another version: hardware and fingerprint differ"),
        ({"hardware": {}}, "not a description of hardware"),
        ({"hardware": None}, r"top\.json is damaged: hardware is no object"),
        ({"files": None}, r"top\.json is damaged: files is no object"),
        ({"name": "other"}, r"is not a generated folder: it has 2 manifests"),
    ],
)
def test_a_manifest_of_other_hardware_is_refused(change, message, copy) -> None:
    """One that another version wrote, with its hash."""
    write_manifest(copy, manifest_of(copy) | change)
    with pytest.raises(FirstspikeError, match=message):
        load_manifest(copy)


@pytest.mark.smoke
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", None], ids=["empty", "cut", "binary", "missing"])
def test_a_manifest_that_is_none_is_refused(content, copy) -> None:
    (copy / "top.json").unlink()
    if content is not None:
        (copy / "top.json").write_bytes(content)
    with pytest.raises(FirstspikeError, match="is not a generated folder" if content is None else "is damaged: "):
        load_manifest(copy)


@pytest.mark.smoke
@pytest.mark.parametrize("key", ["format", "name", "network", "hardware", "fingerprint", "ports", "memories", "files"])
def test_a_manifest_without_a_key_is_refused(key, copy) -> None:
    manifest = manifest_of(copy)
    del manifest[key]
    manifest["content"] = content_hash(manifest)
    (copy / "top.json").write_text(json.dumps(manifest))
    with pytest.raises(FirstspikeError, match=rf"top\.json is damaged: its content has no '{key}'") as caught:
        load_manifest(copy)
    assert caught.value.hint == "generate the hardware again"


@pytest.mark.smoke
def test_a_network_that_does_not_fit_leaves_nothing(tmp_path) -> None:
    with pytest.raises(FirstspikeError, match="layer 0: the network has channels 7, the hardware 6"):
        generate(network(), Hardware.for_network(network((9, 6, 4))), tmp_path / "core")
    assert list(tmp_path.iterdir()) == []
