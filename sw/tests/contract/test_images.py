"""Memory images: the way there and back, and every kind of damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images_for, networks

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.contract.image_formats import TEXT_FORMATS
from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels
from firstspike.network.model import Conv2d, Dense, Network, chain, dense

TEXT = sorted(TEXT_FORMATS)


def small_network(*, seed: int = 0, first_spike: bool = True) -> Network:
    """5-7-3 with every kind of memory; rows of one word and of several."""
    rng = np.random.default_rng(seed)
    kernel = kernels.PowerOfTwo(steps=4)
    return dense(
        [rng.integers(-8, 8, (7, 5)), rng.integers(-8, 8, (3, 7))],
        [rng.integers(-50, 50, 7), rng.integers(-50, 50, 3)],
        weight_bits=4,
        kernels=[kernel.table(), kernel.table()],
        thresholds=[kernel.integer_threshold(0.01)] * (2 if first_spike else 1),
        encoder=kernel.encoder(),
        steps=4,
        fire_start=4,
    )


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Network, Hardware]:
    network = small_network()
    hardware = Hardware.for_network(network, lanes=[4, 2])
    images.write(tmp_path / "images", network, hardware)
    return tmp_path / "images", network, hardware


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_contents_give_the_network_back(data: st.DataObject) -> None:
    network = data.draw(st.one_of(networks(), networks(convolutional=True)))
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in network.layers]
    spare = data.draw(st.integers(0, 3))
    product = data.draw(st.sampled_from([None, "multiply"]))
    hardware = Hardware.for_network(network, lanes=lanes, product=product, spare_membrane_bits=spare)
    rows = images.contents(network, hardware)
    back = images.network(hardware, rows)
    assert back.digest == network.digest
    pixels = data.draw(images_for(network))
    assert golden.run(back, pixels) == golden.run(network, pixels)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_format_gives_the_contents_back(data: st.DataObject) -> None:
    network = data.draw(st.one_of(networks(), networks(convolutional=True)))
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in network.layers]
    hardware = Hardware.for_network(network, lanes=lanes)
    rows = images.contents(network, hardware)
    for memory in hardware.memories:
        for text_format in TEXT_FORMATS.values():
            assert text_format.parse(memory, text_format.render(memory, rows[memory.name])) == rows[memory.name]


@pytest.mark.smoke
def test_rows_hold_the_documented_fields() -> None:
    network = small_network()
    hardware = Hardware.for_network(network, lanes=[4, 2])
    rows = images.contents(network, hardware)
    weight, bias = network.layers[0].weight, network.layers[0].bias
    for j in range(7):
        for i in range(5):
            field = rows["layer0_weight"][(j // 4) * 5 + i] >> (4 * (j % 4)) & 0xF
            assert field == weight[j, i] & 0xF
    # A row is a slice of a group of four: neurons 0 1 2, 3, 4 5 6.
    sliced = replace(hardware, layers=(replace(hardware.layers[0], fire_lanes=3), hardware.layers[1]))
    bits = sliced.memory("bias", 0).field_bits
    found = [
        [row >> (bits * f) & ((1 << bits) - 1) for f in range(3)]
        for row in images.contents(network, sliced)["layer0_bias"]
    ]
    masked = (bias & ((1 << bits) - 1)).tolist()
    assert found == [masked[:3], [masked[3], 0, 0], masked[4:]]
    assert all(row >> 12 == 0 for row in rows["layer0_weight"][5:])  # neuron 7 does not exist
    assert rows["layer0_kernel"] == [3, 2, 1, 0]  # lanes shift
    multiplying = Hardware.for_network(network, lanes=[4, 2], product="multiply")
    assert images.contents(network, multiplying)["layer0_kernel"] == [8, 4, 2, 1]
    assert rows["layer0_threshold"] == list(network.populations[1].threshold)
    assert rows["layer1_threshold"] == list(network.populations[2].threshold)
    assert rows["encoder"] == [0 if code == 4 else 4 | code for code in network.encoder]
    assert b"".join(word.to_bytes(4, "big") for word in rows["digest"]).hex() == network.digest


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_rows_of_convolutions(data: st.DataObject) -> None:
    """Weight by weight: tap (input channel, row, column) of a group, channels side by side; what is left is zero."""
    network = data.draw(networks(convolutional=True))
    lanes, clocks = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 200))
    hardware = Hardware.for_network(network, lanes=lanes, test_clocks=clocks)
    rows = images.contents(network, hardware)
    for i, (layer, shape) in enumerate(zip(network.layers, hardware.layers, strict=True)):
        weights, biases = (hardware.memory(role, i) for role in ("weight", "bias"))
        expected = {"weight": [0] * weights.depth, "bias": [0] * biases.depth}
        taps = list(np.ndindex(layer.weight.shape[1:]))
        for j in range(shape.channels):
            group, lane = j // shape.lanes, j % shape.lanes
            for n, tap in enumerate(taps):
                weight = int(layer.weight[(j, *tap)]) % (1 << weights.field_bits)
                expected["weight"][group * len(taps) + n] |= weight << lane * weights.field_bits
            bias = int(layer.bias[j]) % (1 << biases.field_bits)
            part, field = divmod(lane, shape.fire_lanes)
            row = group * -(-shape.lanes // shape.fire_lanes) + part
            expected["bias"][row] |= bias << field * biases.field_bits
        assert rows[weights.name] == expected["weight"]
        assert rows[biases.name] == expected["bias"]
        kernel = network.populations[i].kernel
        logarithms = [value.bit_length() - 1 for value in kernel]
        assert rows[f"layer{i}_kernel"] == (logarithms if shape.product == "shift" else list(kernel))
        assert shape.product == ("shift" if [1 << n for n in logarithms if n >= 0] == list(kernel) else "multiply")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_load_words_put_the_rows_together_again(data: st.DataObject) -> None:
    network = data.draw(networks(convolutional=True))
    hardware = Hardware.for_network(network, lanes=data.draw(st.integers(1, 5)))
    rows = images.contents(network, hardware)
    words = images.load_words(rows, hardware)
    assert list(words) == [memory.name for memory in hardware.memories]
    for memory in hardware.memories:
        mine = words[memory.name]
        assert all(0 <= word < 1 << 32 for word in mine)
        again = [
            sum(word << 32 * n for n, word in enumerate(mine[at : at + memory.words]))
            for at in range(0, len(mine), memory.words)
        ]
        assert again == rows[memory.name]


@pytest.mark.smoke
def test_a_logarithm_that_is_changed_is_another_network() -> None:
    network = small_network()
    hardware = Hardware.for_network(network)
    rows = images.contents(network, hardware)
    for row, value, message in [(3, 1, "digest"), (3, 3, "above kernel"), (0, 4, "does not fit 2 bits")]:
        changed = rows | {"layer0_kernel": [*rows["layer0_kernel"][:row], value, *rows["layer0_kernel"][row + 1 :]]}
        with pytest.raises(FirstspikeError, match=message):
            images.network(hardware, changed)


@pytest.mark.smoke
def test_the_folder_holds_every_file_and_each_reads_back(written: tuple[Path, Network, Hardware]) -> None:
    folder, network, hardware = written
    rows = images.contents(network, hardware)
    names = {f"{m.name}.{f}" for m in hardware.memories for f in TEXT} | {"network.bin"}
    assert {path.name for path in folder.iterdir()} >= names
    for name in images.FORMATS:
        assert images.read(folder, hardware, name) == rows


def test_the_network_read_back_computes_the_same(written: tuple[Path, Network, Hardware]) -> None:
    folder, network, hardware = written
    pixels = np.random.default_rng(1).integers(0, 256, (50, 5)).astype(np.uint8)
    for name in images.FORMATS:
        back = images.network(hardware, images.read(folder, hardware, name))
        assert golden.run(back, pixels) == golden.run(network, pixels)


def test_the_same_network_gives_the_same_bytes(written: tuple[Path, Network, Hardware], tmp_path: Path) -> None:
    folder, network, hardware = written
    again = images.write(tmp_path / "again", network, hardware)
    assert again
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in again)


@pytest.mark.smoke
def test_load_words_are_row_major_and_low_word_first(written: tuple[Path, Network, Hardware]) -> None:
    folder, network, hardware = written
    rows = images.contents(network, hardware)
    words = images.load_words((folder / "network.bin").read_bytes(), hardware)
    assert words == images.load_words(rows, hardware)
    assert list(words) == [memory.name for memory in hardware.memories]
    wide = hardware.memory("bias", 0)
    assert wide.words > 1
    assert words[wide.name][: wide.words + 1] == [
        *(rows[wide.name][0] >> (32 * w) & 0xFFFFFFFF for w in range(wide.words)),
        rows[wide.name][1] & 0xFFFFFFFF,
    ]
    assert all(len(words[m.name]) == m.depth * m.words for m in hardware.memories)


def one_line(error: pytest.ExceptionInfo[FirstspikeError], begins: Path) -> None:
    assert str(error.value).startswith(str(begins))
    assert error.value.hint
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", images.FORMATS)
def test_a_changed_byte_is_never_read_as_something_else(name: str, written: tuple[Path, Network, Hardware]) -> None:
    """White space and the case of a digit carry nothing; every other change of a byte is refused."""
    folder, network, hardware = written
    rows = images.contents(network, hardware)
    path = folder / ("network.bin" if name == "bin" else f"layer0_bias.{name}")
    data = path.read_bytes()
    refused, changes = 0, (0x01,) if name == "bin" else (0x01, 0x07, 0x20, 0x80)
    for position in range(len(data)):
        for change in changes:
            path.write_bytes(data[:position] + bytes([data[position] ^ change]) + data[position + 1 :])
            try:
                assert images.read(folder, hardware, name) == rows
            except FirstspikeError as error:
                assert str(error).startswith(str(path))  # noqa: PT017
                assert "\n" not in error.one_line()  # noqa: PT017
                refused += 1
    assert refused >= max(1, len(changes) - 1) * (len(data) - data.count(b"\n"))


@pytest.mark.parametrize("name", images.FORMATS)
def test_a_truncated_file_is_refused(name: str, written: tuple[Path, Network, Hardware]) -> None:
    folder, _, hardware = written
    path = folder / ("network.bin" if name == "bin" else f"layer0_weight.{name}")
    data = path.read_bytes()
    for size in range(len(data.rstrip(b"\n")) if name != "bin" else len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(FirstspikeError) as error:
            images.read(folder, hardware, name)
        one_line(error, path)


@pytest.mark.parametrize("name", images.FORMATS)
def test_a_missing_file_and_other_bytes_are_refused(name: str, written: tuple[Path, Network, Hardware]) -> None:
    folder, _, hardware = written
    path = folder / ("network.bin" if name == "bin" else f"digest.{name}")
    path.write_bytes(b"\xff\xd8 a picture")
    with pytest.raises(FirstspikeError) as error:
        images.read(folder, hardware, name)
    one_line(error, path)
    path.unlink()
    with pytest.raises(FirstspikeError, match="No such file") as error:
        images.read(folder, hardware, name)
    one_line(error, Path(f"cannot read {path}"))


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize(
    ("line", "change"),
    [
        pytest.param(-1, "repeat", id="one_row_more"),
        pytest.param(-1, "drop", id="one_row_less"),
        pytest.param(-1, "letter", id="not_a_hex_digit"),
    ],
)
def test_wrong_depth_and_wrong_digits(
    name: str, line: int, change: str, written: tuple[Path, Network, Hardware]
) -> None:
    folder, _, hardware = written
    path = folder / f"layer0_weight.{name}"
    lines = path.read_text().splitlines()
    # the last row: before END; in a .mif, before the end-of-file record in a .hex
    last = len(lines) + line - (name in ("mif", "hex"))
    match change:
        case "repeat":
            lines.insert(last, lines[last])
        case "drop":
            del lines[last]
        case "letter":
            lines[last] = lines[last][:-2] + "g" + lines[last][-1]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FirstspikeError) as error:
        images.read(folder, hardware, name)
    one_line(error, path)


@pytest.mark.parametrize("name", TEXT)
def test_a_file_of_another_network_of_the_same_shape_is_refused_by_the_digest(
    name: str, written: tuple[Path, Network, Hardware], tmp_path: Path
) -> None:
    folder, _, hardware = written
    images.write(tmp_path / "other", small_network(seed=1), Hardware.for_network(small_network(seed=1), lanes=[4, 2]))
    (folder / f"layer0_weight.{name}").write_bytes((tmp_path / "other" / f"layer0_weight.{name}").read_bytes())
    with pytest.raises(FirstspikeError, match="digest"):
        images.network(hardware, images.read(folder, hardware, name))


def test_a_binary_for_another_core_is_refused(written: tuple[Path, Network, Hardware]) -> None:
    folder, network, _ = written
    other = Hardware.for_network(network, lanes=[2, 2])
    with pytest.raises(FirstspikeError, match="another core") as error:
        images.read(folder, other)
    assert error.value.hint == "export the network for this core"
    with pytest.raises(FirstspikeError, match="another core"):
        images.load_words((folder / "network.bin").read_bytes(), other)


def test_the_monitor_and_the_fire_unit_do_not_matter_to_the_layout_digest() -> None:
    """As long as a slice has as many neurons: a row of the bias memory is a slice."""
    network = small_network()
    first, *same = (
        Hardware.for_network(network, lanes=[4, 2], **changes)
        for changes in ({"monitor": False}, {"monitor": True}, {"fire": "stepped"}, {"test_clocks": 1})
    )
    assert {images.layout_digest(hardware) for hardware in same} == {images.layout_digest(first)}
    others = [
        Hardware.for_network(network, lanes=[4, 2], test_clocks=7),
        Hardware.for_network(network, lanes=[4, 2], spare_membrane_bits=1),
        Hardware.for_network(network, lanes=[3, 2]),
        Hardware.for_network(network, lanes=[4, 2], input="events"),
        Hardware.for_network(small_network(first_spike=False), lanes=[4, 2]),
    ]
    assert len({images.layout_digest(h) for h in [first, *others]}) == 6


def test_what_changes_a_result_but_no_memory_matters_to_the_layout_digest() -> None:
    """Shifting by 0 is not multiplying by 0; a stride or a padding has no memory of its own."""
    table = (1, 1, 1, 1)
    shapes = {"weight": np.ones((2, 1, 3, 3), np.int64), "bias": np.zeros(2, np.int64), "weight_bits": 2}
    last = {"weight": np.ones((3, 8), np.int64), "bias": np.zeros(3, np.int64), "weight_bits": 2}
    found = []
    # Each has a grid of 4 x 4, or after pooling 2 x 2.
    for size, geometry in [(6, {}), (4, {"padding": 1}), (9, {"stride": 2})]:
        for product in ("multiply", "shift"):
            network = chain(
                [Conv2d(name="layer0", pool=2, **shapes, **geometry), Dense(name="layer1", **last)],
                input_shape=(1, size, size), kernels=[table] * 2, thresholds=[(4, 3, 2, 1)],
                encoder=kernels.Constant(steps=4).encoder(), steps=4, fire_start=4,
            )  # fmt: skip
            found.append(Hardware.for_network(network, product=product))
    memories = {tuple((m.name, m.depth, m.fields, m.field_bits, m.signed) for m in h.memories) for h in found}
    assert len(memories) == 1
    assert len({images.layout_digest(h) for h in found}) == len(found)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("memory", "row", "value", "message"),
    [
        ("layer0_weight", 0, 1 << 16, "does not fit 16 bits"),
        ("layer0_weight", 3, -1, "does not fit"),
        ("layer0_weight", 5, 1 << 12, "beyond the 7 that exist"),
        ("layer0_kernel", 1, 9, "above kernel"),
        ("layer0_threshold", 3, 0, "not >= 1"),
        ("encoder", 5, 1, "neither 0 nor"),
        ("layer1_bias", 0, 0, "digest"),
        ("digest", 7, 0, "digest"),
    ],
)
def test_contents_that_are_no_network(memory: str, row: int, value: int, message: str) -> None:
    network = small_network()
    hardware = Hardware.for_network(network, lanes=[4, 2], product="multiply")
    rows = images.contents(network, hardware)
    rows[memory][row] = value
    with pytest.raises(FirstspikeError, match=message):
        images.network(hardware, rows)


def test_contents_of_another_depth_or_without_a_memory() -> None:
    network = small_network()
    hardware = Hardware.for_network(network, lanes=[4, 2])
    rows = images.contents(network, hardware)
    with pytest.raises(FirstspikeError, match="layer1_bias has 4 rows, not 3"):
        images.network(hardware, rows | {"layer1_bias": [0] * 4})
    del rows["layer1_bias"]
    for function in (images.network, lambda h, r: images.load_words(r, h)):
        with pytest.raises(FirstspikeError, match="layer1_bias is missing"):
            function(hardware, rows)


def test_event_input_has_no_encoder_memory() -> None:
    network = small_network()
    hardware = Hardware.for_network(network, input="events")
    rows = images.contents(network, hardware)
    assert "encoder" not in rows
    with pytest.raises(FirstspikeError, match="no encoder table"):
        images.network(hardware, rows)
    assert images.network(hardware, rows, encoder=network.encoder).digest == network.digest


def test_a_network_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    hardware = Hardware.for_network(small_network(first_spike=False))
    with pytest.raises(FirstspikeError, match="readout"):
        images.write(tmp_path / "images", small_network(), hardware)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    network = small_network()
    with pytest.raises(FirstspikeError, match="'elf'") as error:
        images.write(tmp_path / "images", network, Hardware.for_network(network), formats=["mem", "elf"])
    assert error.value.hint == "use one of mem, coe, mif, hex, bin"
    assert list(tmp_path.iterdir()) == []


def test_images_that_read_back_otherwise_are_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison after writing is real: a writer that drops a bit is caught, and leaves no folder."""
    network = small_network()
    good = TEXT_FORMATS["coe"]
    bad = good._replace(render=lambda memory, rows: good.render(memory, [row & ~1 for row in rows]))
    monkeypatch.setitem(TEXT_FORMATS, "coe", bad)
    with pytest.raises(FirstspikeError, match="read back otherwise"):
        images.write(tmp_path / "images", network, Hardware.for_network(network))
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    network = small_network()
    (tmp_path / "file").write_text("")
    with pytest.raises(FirstspikeError, match="cannot write"):
        images.write(tmp_path / "file" / "images", network, Hardware.for_network(network))
