"""The network: what it refuses, what its digest covers, and its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images_for, networks

from firstspike.errors import FirstspikeError
from firstspike.network import files as network_files
from firstspike.network import golden
from firstspike.network.model import Conv2d, Dense, Network, Population, chain, dense, signed_bits, unsigned_bits

ENCODER = (4, *[3] * 63, *[2] * 64, *[1] * 64, *[0] * 64)


def parts() -> dict[str, Any]:
    """Arguments of :func:`dense` for a 3-2-2 network that is right."""
    return {
        "weights": [np.array([[1, -2, 3], [0, 7, -8]]), np.array([[1, 2], [3, 4]])],
        "biases": [np.array([5, -6]), np.array([0, 1])],
        "weight_bits": 4,
        "kernels": [(8, 4, 2, 1), (8, 4, 2, 1)],
        "thresholds": [(40, 20, 10, 5)],
        "encoder": ENCODER,
        "steps": 4,
        "fire_start": 2,
    }


def network(**changes: Any) -> Network:
    return dense(**(parts() | changes))


@pytest.mark.smoke
def test_widths() -> None:
    assert [signed_bits(-8, 7), signed_bits(-9, 7), signed_bits(-8, 8), signed_bits(0, 0)] == [4, 5, 5, 1]
    assert [unsigned_bits(0), unsigned_bits(1), unsigned_bits(255), unsigned_bits(256)] == [1, 1, 8, 9]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"weights": [np.array([[1, -2, 3], [0, 8, -8]]), np.array([[1, 2], [3, 4]])]},
            r"layer layer0: weight\[1\]\[1\] is 8, outside \[-8, 7\] of signed\(4\)",
            id="weight_too_large",
        ),
        pytest.param(
            {"weights": [np.array([[1, -2, 3], [0, 7, -8]]), np.array([[1, 2], [-9, 4]])]},
            r"layer layer1: weight\[1\]\[0\] is -9, outside \[-8, 7\] of signed\(4\)",
            id="weight_too_small",
        ),
        pytest.param({"weight_bits": 1}, "weight_bits is 1, outside 2..16", id="weight_bits"),
        pytest.param({"weights": [np.ones((2, 3)), np.ones((2, 2), int)]}, "type float64, not an integer", id="floats"),
        pytest.param({"biases": [np.ones(3, int), np.ones(2, int)]}, r"bias \(3,\)", id="bias_shape"),
        pytest.param({"biases": [np.full(2, 1 << 62), np.ones(2, int)]}, "does not fit 63 bits", id="bias_size"),
        pytest.param(
            {"weights": [np.ones((2, 3), int), np.ones((2, 5), int)]},
            r"layer1: weight.*\(2, 5\).*before it \(2,\)",
            id="chain",
        ),
        pytest.param({"scales": [1.0, float("nan")]}, "layer layer1: scale is nan", id="scale"),
        pytest.param({"steps": 0, "fire_start": 0}, "steps is 0, outside 1..1024", id="no_steps"),
        pytest.param({"steps": 2000}, "steps is 2000, outside 1..1024", id="many_steps"),
        pytest.param({"fire_start": 5}, "fire_start is 5, outside 0..4", id="fire_start"),
        pytest.param({"fire_start": -1}, "fire_start is -1, outside 0..4", id="negative_fire_start"),
        pytest.param({"kernels": [(8, 4, 2), (8, 4, 2, 1)]}, "input's kernel has 3 entries", id="input_kernel"),
        pytest.param({"kernels": [(8, 4, 2, 1), (8, 4)]}, "hidden1: kernel has 2", id="hidden_kernel"),
        pytest.param({"kernels": [(), (8, 4, 2, 1)]}, "input population has a kernel", id="no_kernel"),
        pytest.param({"kernels": [(8, 4, 5, 1), (8, 4, 2, 1)]}, r"kernel\[2\] is 5, above kernel\[1\] = 4", id="rises"),
        pytest.param({"kernels": [(8, 4, 2, -1), (8, 4, 2, 1)]}, r"kernel\[3\] is -1, not >= 0", id="negative"),
        pytest.param({"kernels": [(8, 4, 2, 0.5), (8, 4, 2, 1)]}, "not made of integers", id="float_kernel"),
        pytest.param({"thresholds": [(40, 20, 10, 0)]}, r"hidden1: threshold\[3\] is 0, not >= 1", id="zero_threshold"),
        pytest.param({"thresholds": [(40, 20, 10, 11)]}, r"threshold\[3\] is 11, above", id="threshold_rises"),
        pytest.param({"thresholds": []}, "hidden1: kernel has 4 and threshold 0", id="no_threshold"),
        pytest.param({"thresholds": [(4, 3, 2, 1), (4, 3)]}, "threshold for none or all", id="output_threshold"),
        pytest.param({"encoder": ENCODER[:-1]}, r"encoder table needs 256 codes in 0..4", id="encoder_length"),
        pytest.param({"encoder": (5, *ENCODER[1:])}, r"encoder table needs 256 codes in 0..4", id="encoder_code"),
        pytest.param({"thresholds": [(4, 3, 2, 1)] * 3}, "thresholds are given for 3 populations", id="thresholds"),
        pytest.param({"kernels": [(8, 4, 2, 1)]}, "kernels are given for 1 populations", id="kernels"),
        pytest.param({"dynamics": [None] * 3}, "dynamics are given for 3 populations", id="dynamics"),
        pytest.param({"dynamics": [None, {"mode": "soft"}]}, "dynamics are no list of Dynamics", id="no_dynamics"),
        pytest.param({"biases": [np.ones(2, int)]}, "weights are given for 2 layers, biases for 1", id="biases"),
        pytest.param({"fire_start": 2.5}, "fire_start is not made of integers", id="half_a_step"),
        pytest.param({"steps": True}, "steps is not made of integers: True and False are none", id="bool"),
        pytest.param({"encoder": ()}, "encoder table needs 256 codes in 0..4", id="no_encoder"),
        pytest.param({"encoder": ("a",) * 256}, "encoder table is not made of integers", id="encoder_type"),
    ],
)
def test_what_a_network_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FirstspikeError, match=message) as error:
        network(**changes)
    assert "\n" not in error.value.one_line()


@pytest.mark.smoke
def test_other_refusals_of_the_parts() -> None:
    good = network()
    for shape in ((0,), (2, 2), (1, 0, 3)):
        with pytest.raises(FirstspikeError, match=re.escape(f"shape is {shape}, not (N,) or (channels, rows")):
            Population(name="p", shape=shape)
    with pytest.raises(FirstspikeError, match="3 populations cannot be joined by 1 layers"):
        replace(good, layers=good.layers[:1])
    first, hidden, last = good.populations
    with pytest.raises(FirstspikeError, match="only the input can be simultaneous"):
        replace(good, populations=(first, replace(hidden, simultaneous=True), last))
    with pytest.raises(FirstspikeError, match="the output has no kernel"):
        replace(good, populations=(first, hidden, replace(last, kernel=(1, 1, 1, 1))))
    with pytest.raises(FirstspikeError, match=r"not \(outputs, inputs\)"):
        Dense(name="x", weight=np.ones(3, int), bias=np.ones(3, int), weight_bits=4)


def convolution(**changes: Any) -> Conv2d:
    arguments: dict[str, Any] = {"weight": np.ones((4, 2, 3, 2), int), "bias": np.zeros(4, int), "weight_bits": 4}
    return Conv2d(name="conv", **(arguments | changes))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.ones((4, 2), int)}, "not (channels_out, channels_in, kernel_rows, kernel_columns)"),
        ({"weight": np.full((4, 2, 3, 2), 8)}, "weight[0][0][0][0] is 8, outside [-8, 7]"),
        ({"bias": np.zeros(3, int)}, "bias (3,)"),
        ({"stride": 0}, "stride is 0, outside 1..65536"),
        ({"padding": 2}, "padding is 2, outside 0..1"),
        ({"pool": 0}, "pool is 0, outside 1..65536"),
        ({"pool": 1.5}, "pool is not made of integers"),
    ],
)
def test_what_a_convolution_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FirstspikeError, match=re.escape(message)):
        convolution(**changes)


@pytest.mark.smoke
def test_shapes_of_a_convolution() -> None:
    layer = convolution(stride=2, padding=1, pool=2)
    assert layer.label == "4C3x2s2p1-P2"
    assert (layer.grid((2, 7, 9)), layer.output_shape((2, 7, 9))) == ((4, 5), (4, 2, 2))
    for shape in ((3, 7, 9), (126,), (2, 1, 3)):
        with pytest.raises(FirstspikeError, match=re.escape("layer conv: weight has shape (4, 2, 3, 2), but the popu")):
            layer.output_shape(shape)
    # Of 4 x 5 places 4 x 4 are pooled: rows 0..7 and columns 0..8 of the padded input; a middle row is covered by two.
    fan_out = layer.fan_out((2, 7, 9)).reshape(2, 7, 9)
    assert fan_out[1, :, 0].tolist() == [4, 8, 4, 8, 4, 8, 4]
    assert fan_out[0, 0].tolist() == [4, 4, 4, 4, 4, 4, 4, 0, 0]


@pytest.mark.smoke
def test_a_network_of_convolutions() -> None:
    tables = {"kernels": [(8, 4, 2, 1)] * 2, "thresholds": [(40, 20, 10, 5)], "encoder": ENCODER}
    last = Dense(name="last", weight=np.ones((10, 4 * 2 * 2), int), bias=np.zeros(10, int), weight_bits=4)
    layers = [convolution(stride=2, padding=1, pool=2), last]
    rest: dict[str, Any] = {"input_shape": (2, 7, 9), "steps": 4, "fire_start": 4, **tables}
    good = chain(layers, **rest)
    assert (good.shape_name, good.sizes) == ("2x7x9-4C3x2s2p1-P2-10", (126, 16, 10))
    digests = {
        chain([convolution(**{"stride": 2, "padding": 1, "pool": 2} | x), last], **rest).digest
        for x in ({}, {"weight": np.full((4, 2, 3, 2), 2)})
    }
    shapes = [{"stride": 2, "padding": 1, "pool": 1}, {"stride": 2, "padding": 0, "pool": 1}]
    for changes in shapes:
        layer = convolution(**changes)
        outputs = int(np.prod(layer.output_shape((2, 7, 9))))
        digests.add(chain([layer, replace(last, weight=np.ones((10, outputs), int))], **rest).digest)
    assert len(digests) == 4
    with pytest.raises(FirstspikeError, match="the last layer, conv, is not dense"):
        chain([convolution()], **(rest | {"kernels": tables["kernels"][:1], "thresholds": []}))
    with pytest.raises(FirstspikeError, match="layer last makes"):
        replace(good, populations=(*good.populations[:2], replace(good.populations[2], shape=(9,))))


@pytest.mark.smoke
def test_a_network_cannot_be_changed() -> None:
    good, mine = network(), np.array([[1, -2, 3], [0, 7, -8]])
    same = network(weights=[mine, np.array([[1, 2], [3, 4]])])
    mine[0, 0] = 5
    assert same.digest == good.digest == network().digest
    with pytest.raises(ValueError, match="read-only"):
        good.layers[0].weight[0, 0] = 2


@pytest.mark.smoke
def test_facts_of_a_network() -> None:
    good = network()
    assert (good.sizes, good.shape_name, good.readout, good.latency_steps) == ((3, 2, 2), "3-2-2", "membrane", 6)
    outputs = replace(good.populations[-1], threshold=good.populations[1].threshold)
    early = replace(good, populations=(*good.populations[:-1], outputs), fire_start=1)
    assert (early.readout, early.latency_steps) == ("first_spike", 2 * 1 + good.steps)
    # neuron 0: 5 + 8 * -2 .. 5 + 8 * 4; neuron 1: -6 + 8 * -8 .. -6 + 8 * 7
    assert good.membrane_range(0) == (-70, 50)
    assert good.membrane_bits(0) == 8
    assert good.membrane_bits(1) == signed_bits(0, 57)
    high = network(thresholds=[(1000, 20, 10, 5), (4, 3, 2, 1)])
    assert (high.readout, high.membrane_bits(0)) == ("first_spike", 11)


DIGEST_CHANGES: dict[str, dict[str, Any]] = {
    "weight": {"weights": [np.array([[1, -2, 3], [0, 7, -7]]), np.array([[1, 2], [3, 4]])]},
    "bias": {"biases": [np.array([5, -6]), np.array([0, 2])]},
    "input_kernel": {"kernels": [(8, 4, 2, 0), (8, 4, 2, 1)]},
    "hidden_kernel": {"kernels": [(8, 4, 2, 1), (8, 4, 1, 1)]},
    "threshold": {"thresholds": [(41, 20, 10, 5)]},
    "readout": {"thresholds": [(40, 20, 10, 5), (4, 3, 2, 1)]},
    "encoder": {"encoder": (3, *ENCODER[1:])},
    "fire_start": {"fire_start": 3},
    "simultaneous": {"simultaneous": True},
}


@pytest.mark.smoke
def test_the_digest_changes_with_everything_that_the_result_depends_on() -> None:
    digests = {network().digest, *(network(**changes).digest for changes in DIGEST_CHANGES.values())}
    assert len(digests) == len(DIGEST_CHANGES) + 1


@pytest.mark.smoke
def test_the_digest_ignores_names_scales_and_provenance() -> None:
    good = network()
    other = replace(
        network(scales=[0.5, 2.0], provenance={"seed": 3}, weight_bits=8),
        populations=tuple(replace(p, name=f"{p.name}!") for p in good.populations),
    )
    assert other.digest == good.digest
    assert len(good.digest) == 64


@pytest.mark.smoke
def test_the_digest_is_stable() -> None:
    """It stands in reports and in generated cores, so that it must not change with a version by accident."""
    assert network().digest == "32c69e51e608eb741690f175041146d6614d333434fbff7e1a08d7381a7a439b"


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_save_and_load_are_the_identity(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    original = data.draw(networks(convolutional=data.draw(st.booleans())))
    original = replace(original, provenance={"seed": 1, "accuracy": 0.1 + 0.2, "names": ["a", "ä"]})
    path = original.save(tmp_path_factory.mktemp("network") / "n")
    loaded = Network.load(path)
    assert loaded.digest == original.digest
    assert loaded.populations == original.populations
    assert loaded.provenance == original.provenance
    assert [(x.name, x.weight_bits, x.scale, x.geometry) for x in loaded.layers] == [
        (x.name, x.weight_bits, x.scale, x.geometry) for x in original.layers
    ]
    again = loaded.save(path.with_name("again"))
    for name in ("network.json", "tensors.safetensors"):
        assert (again / name).read_bytes() == (path / name).read_bytes()
    images = data.draw(images_for(original))
    assert golden.run(loaded, images) == golden.run(original, images)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return network(provenance={"data": "none"}).save(tmp_path / "net")


@pytest.mark.parametrize("name", ["network.json", "tensors.safetensors"])
def test_every_changed_byte_is_refused(name: str, saved: Path) -> None:
    data = (saved / name).read_bytes()
    for position in range(0, len(data), 3 if name == "network.json" else 1):
        for change in (0x01, 0x07, 0x80):  # 0x07 makes a carriage return of a line feed
            (saved / name).write_bytes(data[:position] + bytes([data[position] ^ change]) + data[position + 1 :])
            with pytest.raises(FirstspikeError) as error:
                Network.load(saved)
            assert str(saved) in str(error.value)
            assert "\n" not in error.value.one_line()
    (saved / name).write_bytes(data)
    assert Network.load(saved).digest == network().digest


@pytest.mark.parametrize("name", ["network.json", "tensors.safetensors"])
def test_a_truncated_or_missing_file_is_refused(name: str, saved: Path) -> None:
    data = (saved / name).read_bytes()
    for size in range(0, len(data), 7):
        (saved / name).write_bytes(data[:size])
        with pytest.raises(FirstspikeError):
            Network.load(saved)
    (saved / name).unlink()
    with pytest.raises(FirstspikeError, match="is not a network folder") as error:
        Network.load(saved)
    assert error.value.hint == "train or export the network again"


@pytest.mark.smoke
def test_another_format_version_is_refused(saved: Path) -> None:
    document = json.loads((saved / "network.json").read_text())
    document["format"] = 1
    (saved / "network.json").write_text(json.dumps(document))
    with pytest.raises(FirstspikeError, match="network format 1; this version reads formats 2, 3") as error:
        Network.load(saved)
    assert error.value.hint is not None
    assert "version of firstspike" in error.value.hint


@pytest.mark.smoke
@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "[" * 100_000, "\xff"])
def test_json_that_is_no_network(text: str, saved: Path) -> None:
    (saved / "network.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FirstspikeError, match="damaged"):
        Network.load(saved)


@pytest.mark.smoke
def test_an_edit_with_its_hash_made_right_still_meets_the_digest(saved: Path) -> None:
    body, arrays = network_files.read(saved)
    body["steps"], body["fire_start"] = 4, 1
    network_files.write(saved, {k: v for k, v in body.items() if k != "tensors_sha256"}, arrays)
    with pytest.raises(FirstspikeError, match="digest differs"):
        Network.load(saved)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"layers": None}, "TypeError"),
        ({"steps": "3"}, "steps is not made of integers"),
        ({"populations": [{"colour": 1}]}, "TypeError"),
        ({"layers": [{"kind": "rnn"}]}, "KeyError: 'rnn'"),
    ],
    ids=str,
)
def test_whole_files_with_no_network_in_them(change: dict[str, Any], problem: str, saved: Path) -> None:
    body, arrays = network_files.read(saved)
    network_files.write(saved, {k: v for k, v in (body | change).items() if k != "tensors_sha256"}, arrays)
    with pytest.raises(FirstspikeError, match=problem) as error:
        Network.load(saved)
    assert "\n" not in error.value.one_line()
    network_files.write(saved, {k: v for k, v in body.items() if k != "tensors_sha256"}, {})
    with pytest.raises(FirstspikeError, match=r"KeyError: 'layers\.0\.weight'"):
        Network.load(saved)


@pytest.mark.smoke
def test_saving_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FirstspikeError, match=r"cannot write .*file/net") as error:
        network().save(tmp_path / "file" / "net")
    assert error.value.hint == "choose a folder you may write to, with --out"

    network().save(tmp_path / "net")
    full = OSError(28, "No space left on device")
    write_bytes = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if path.name == "tensors.safetensors":
            raise full
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    for name in ("new", "net"):
        with pytest.raises(FirstspikeError, match="No space left on device"):
            network(fire_start=3).save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "net"]
    assert Network.load(tmp_path / "net").digest == network().digest
