"""The golden model against the definition, with ``==``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images_for, networks
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels, naive, sums
from firstspike.network.model import Conv2d, Network, dense
from firstspike.network.trains import Train

KERNELS = {
    "exponential_ceil": kernels.Exponential(steps=8, tau=2.5, delay=0.7, rounding="ceil", kernel_fraction_bits=6),
    "exponential_round": kernels.Exponential(steps=8, tau=2.0, rounding="round", kernel_fraction_bits=6),
    "power_of_two": kernels.PowerOfTwo(steps=8),
    "power_of_two_3_an_octave": kernels.PowerOfTwo(steps=8, steps_per_octave=3),
    "linear": kernels.Linear(steps=8),
    "constant": kernels.Constant(steps=8),
    "direct": kernels.Direct(),
}


def three_layers(first: kernels.Kernel, *, fire_start: int, first_spike: bool, seed: int = 0) -> Network:
    """12-16-9-5: the kernel under test at the input and, unless it is direct, in the hidden layers."""
    rng = np.random.default_rng(seed)
    hidden = KERNELS["linear"] if first.simultaneous else first
    tables = [first.table(), hidden.table(), hidden.table()]
    sizes = [12, 16, 9, 5]
    weights = [rng.integers(-32, 32, (n, m)) for m, n in pairwise(sizes)]
    # thresholds at about the spread of a membrane, so that early, late and missing spikes all occur
    spread = [table[0] * 32 * np.sqrt(m) / 3 for table, m in zip(tables, sizes, strict=False)]
    return dense(
        weights,
        [rng.integers(-int(s), int(s) + 1, n) for s, n in zip(spread, sizes[1:], strict=True)],
        weight_bits=6,
        kernels=tables,
        thresholds=[hidden.integer_threshold(1 / s) for s in spread[: 3 if first_spike else 2]],
        encoder=first.encoder(),
        steps=8,
        fire_start=fire_start,
        simultaneous=first.simultaneous,
    )


def pixels(count: int, size: int, *, lit: float = 0.5, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 256, (count, size)) * (rng.random((count, size)) < lit)).astype(np.uint8)


def one_layer(
    weight: list[list[int]], bias: list[int], threshold: list[int], *, fire_start: int, readout: bool = False
) -> Network:
    """A layer under test whose inputs are codes by pixel value (pixel k spikes at step k, 255 never).

    As a hidden layer it is followed by an output that adds nothing; with ``readout`` it is the output itself.
    """
    steps, inputs, outputs = len(threshold), len(weight[0]), len(weight)
    kernel = tuple(range(steps, 0, -1))
    weights, biases = [np.array(weight)], [np.array(bias)]
    if not readout:
        weights.append(np.zeros((1, outputs), np.int64))
        biases.append(np.zeros(1, np.int64))
    assert inputs
    return dense(
        weights,
        biases,
        weight_bits=8,
        kernels=[kernel] * len(weights),
        thresholds=[tuple(threshold)],
        encoder=tuple(min(p, steps) for p in range(256)),
        steps=steps,
        fire_start=fire_start,
    )


def check(network: Network, images: NDArray[np.uint8]) -> golden.Result:
    """The golden result, equal to the definition's."""
    result = golden.run(network, images)
    assert result == naive.run(network, images)
    return result


def compare(data: st.DataObject) -> None:
    network = data.draw(networks())
    check(network, data.draw(images_for(network)))


def compare_convolutions(data: st.DataObject) -> None:
    network = data.draw(networks(convolutional=True))
    result = check(network, data.draw(images_for(network, max_images=2)))
    assert result.synaptic_operations(network).tolist() == [count_operations(network, times) for times in rows(result)]


def rows(result: golden.Result) -> list[list[NDArray[np.int16]]]:
    """Spike times of each image."""
    return [[times[i] for times in result.spike_times] for i in range(len(result))]


def count_operations(network: Network, times: list[NDArray[np.int16]]) -> int:
    """Synapses that a spike uses, one by one, from the definition's list of synapses."""
    count = 0
    for index, codes in enumerate(times):
        places = [p for n in range(network.populations[index + 1].size) for p in naive._window(network, index, n)]
        for place in places:
            count += sum(codes[i] < network.populations[index].codes for i, _ in naive._synapses(network, index, place))
    return count


@pytest.mark.smoke
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_golden_is_the_definition(data: st.DataObject) -> None:
    compare(data)


@pytest.mark.smoke
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_golden_is_the_definition_for_convolutions(data: st.DataObject) -> None:
    compare_convolutions(data)


@pytest.mark.smoke
@pytest.mark.parametrize("first_spike", [False, True], ids=["membrane", "first_spike"])
@pytest.mark.parametrize("fire_start", [0, 1, 5, 8])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_every_kernel(kernel: kernels.Kernel, fire_start: int, first_spike: bool) -> None:
    network = three_layers(kernel, fire_start=fire_start, first_spike=first_spike)
    result = check(network, pixels(12, 12))
    hidden = np.concatenate([times.ravel() for times in result.spike_times[1:]])
    assert set(hidden.tolist()) & {0, 1, 2, 3, 4, 5, 6, 7}  # some fire
    assert 8 in hidden  # some do not


@pytest.mark.parametrize("fire_start", [0, 3, 8])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_output_spikes_are_those_of_the_definition(kernel: kernels.Kernel, fire_start: int) -> None:
    network = three_layers(kernel, fire_start=fire_start, first_spike=True)
    images = pixels(12, 12)
    result = golden.run(network, images)
    found = golden.output_spikes(network, result)
    for row, image in zip(found.tolist(), images, strict=True):
        assert row == [min(history.codes, default=8) for history in naive.histories(network, image, 2)]
    assert (found.min(axis=1) == result.decision_steps).all()
    assert len(np.unique(found)) > 1
    with pytest.raises(FirstspikeError, match="no thresholds"):
        golden.output_spikes(three_layers(kernel, fire_start=fire_start, first_spike=False), result)


@pytest.mark.parametrize("value", [0, 255], ids=["all_dark", "all_lit"])
@pytest.mark.parametrize("fire_start", [0, 3, 8])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_spikes_and_all_at_once(kernel: kernels.Kernel, fire_start: int, value: int) -> None:
    network = three_layers(kernel, fire_start=fire_start, first_spike=True)
    result = check(network, np.full((2, 12), value, np.uint8))
    assert (result.spike_times[0] == (network.encoder[value])).all()
    assert result.spikes(network)[0, 0] == (0 if value == 0 else 12)


@pytest.mark.smoke
@pytest.mark.parametrize("fire_start", [0, 1, 4])
def test_threshold_exactly_met_fires_and_one_below_does_not(fire_start: int) -> None:
    """One input at step 0, worth 4: V = 4w + b against a threshold that stands still."""
    network = one_layer([[5], [5], [5]], [1, 0, -1], [20, 20, 20, 20], fire_start=fire_start)
    result = check(network, np.array([[0]], np.uint8))
    assert result.spike_times[1].tolist() == [[0, 0, 4]]


@pytest.mark.smoke
def test_threshold_met_at_the_last_step_and_one_below() -> None:
    network = one_layer([[1], [1]], [3, 2], [100, 50, 20, 7], fire_start=4)
    assert check(network, np.array([[0]], np.uint8)).spike_times[1].tolist() == [[3, 4]]


@pytest.mark.smoke
def test_a_spike_counts_from_its_arrival_s_steps_early() -> None:
    """Spikes at steps 0 and 3 (worth 4 and 1): the second raises V from 4 to 5 at step 3 - S."""
    expected = {0: 3, 1: 2, 2: 1, 3: 0, 4: 0}
    for fire_start, step in expected.items():
        network = one_layer([[1, 1]], [0], [5, 5, 5, 5], fire_start=fire_start)
        assert check(network, np.array([[0, 3]], np.uint8)).spike_times[1].tolist() == [[step]]


@pytest.mark.smoke
def test_what_arrives_after_the_spike_does_not_change_it() -> None:
    network = one_layer([[2, -100]], [0], [8, 8, 8, 8], fire_start=0)
    assert check(network, np.array([[0, 1]], np.uint8)).spike_times[1].tolist() == [[0]]
    patient = one_layer([[2, -100]], [0], [8, 8, 8, 8], fire_start=1)
    assert check(patient, np.array([[0, 1]], np.uint8)).spike_times[1].tolist() == [[4]]


@pytest.mark.smoke
def test_ties_of_membranes_go_to_the_lowest_class() -> None:
    network = dense(
        [np.array([[1], [3], [3]])],
        [np.zeros(3, np.int64)],
        weight_bits=4,
        kernels=[(1,)],
        thresholds=[],
        encoder=(1, *[0] * 255),
        steps=1,
        fire_start=1,
    )
    assert check(network, np.array([[0], [9]], np.uint8)).classes.tolist() == [0, 1]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("weight", "image", "decision", "step"),
    [
        pytest.param([[1], [2], [0]], [0], 1, 0, id="larger_membrane_of_the_same_step"),
        pytest.param([[2], [2], [0]], [0], 0, 0, id="lowest_index_of_equal_membranes"),
        pytest.param([[1, 9], [2, -9], [0, 0]], [0, 3], 1, 0, id="membrane_at_that_step_not_at_the_end"),
        pytest.param([[0], [-1], [-1]], [0], 0, 4, id="no_output_spike_argmax_of_membranes"),
        pytest.param([[-1, 0], [0, 4], [-1, 0]], [0, 3], 1, 3, id="the_last_step_still_counts"),
    ],
)
def test_first_spike_readout(weight: list[list[int]], image: list[int], decision: int, step: int) -> None:
    bias = [0, 0, 0]
    network = one_layer(weight, bias, [4, 4, 4, 4], fire_start=0, readout=True)
    result = check(network, np.array([image], np.uint8))
    assert (result.classes.tolist(), result.decision_steps.tolist()) == ([decision], [step])


@pytest.mark.parametrize("fire_start", [0, 1])
@pytest.mark.parametrize("kernel", [kernels.PowerOfTwo(steps=1), kernels.Constant(steps=1), kernels.Direct()])
def test_a_window_of_one_step(kernel: kernels.Kernel, fire_start: int) -> None:
    rng = np.random.default_rng(3)
    hidden = kernels.Constant(steps=1)
    network = dense(
        [rng.integers(-8, 8, (6, 4)), rng.integers(-8, 8, (3, 6))],
        [rng.integers(-8, 8, 6), rng.integers(-8, 8, 3)],
        weight_bits=4,
        kernels=[kernel.table(), hidden.table()],
        thresholds=[(1,), (2,)],
        encoder=kernel.encoder(),
        steps=1,
        fire_start=fire_start,
        simultaneous=kernel.simultaneous,
    )
    check(network, pixels(20, 4))


@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("extreme", [0, -1], ids=["lowest", "highest"])
def test_extreme_weights(bits: int, extreme: int) -> None:
    value = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)[extreme]
    kernel = kernels.PowerOfTwo(steps=8)
    network = dense(
        [np.full((3, 9), value), np.full((2, 3), value)],
        [np.zeros(3, np.int64), np.zeros(2, np.int64)],
        weight_bits=bits,
        kernels=[kernel.table()] * 2,
        thresholds=[kernel.integer_threshold(2.0**-bits)],
        encoder=kernel.encoder(),
        steps=8,
        fire_start=4,
    )
    check(network, pixels(9, 9))


def edge_network(bound: int) -> Network:
    """A hidden neuron whose membrane reaches ``bound`` exactly, beside one that reaches one less."""
    return one_layer([[1], [1]], [bound - 1, bound - 2], [bound], fire_start=1)


@pytest.mark.smoke
@pytest.mark.parametrize("bound", [2**24 - 1, 2**24, 2**24 + 1, 2**53 - 1], ids=lambda b: f"2**{b.bit_length()}~{b}")
def test_the_edges_of_the_exact_range(bound: int) -> None:
    """float32 cannot tell 2**24 + 1 from 2**24, nor float64 2**53 + 1 from 2**53; the golden model never has to."""
    result = check(edge_network(bound), np.array([[0]], np.uint8))
    assert result.spike_times[1].tolist() == [[0, 1]]


@pytest.mark.smoke
def test_a_membrane_beyond_the_exact_range_is_refused() -> None:
    with pytest.raises(FirstspikeError, match=r"beyond the exact range of 2\*\*53"):
        golden.run(edge_network(2**53), np.array([[0]], np.uint8))


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    network = three_layers(KERNELS["exponential_round"], fire_start=3, first_spike=True)
    images = pixels(2 * golden.BATCH + 3, 12)
    whole = golden.run(network, images)
    assert len(whole) == len(images)
    monkeypatch.setattr(golden, "BATCH", 100)
    assert golden.run(network, images) == whole
    assert check(network, images[-5:]) == whole[-5:]


@pytest.mark.smoke
@pytest.mark.parametrize("fire_start", [2, 8])
@pytest.mark.parametrize("first_spike", [False, True])
def test_an_empty_batch_has_empty_results(fire_start: int, first_spike: bool) -> None:
    network = three_layers(KERNELS["linear"], fire_start=fire_start, first_spike=first_spike)
    result = golden.run(network, np.zeros((0, 3, 4), np.uint8))
    assert len(result) == 0
    assert [times.shape for times in result.spike_times] == [(0, 12), (0, 16), (0, 9)]
    assert result.membranes.shape == (0, 5)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_an_empty_batch_of_convolutions(data: st.DataObject) -> None:
    network = data.draw(networks(convolutional=True))
    images = data.draw(images_for(network))
    assert golden.run(network, images[:0]) == golden.run(network, images)[:0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_order_of_inputs_does_not_matter(data: st.DataObject) -> None:
    network = data.draw(networks())
    images = data.draw(images_for(network))
    order = np.array(data.draw(st.permutations(range(network.populations[0].size))))
    first = network.layers[0]
    shuffled = dense(
        [first.weight[:, order], *(layer.weight for layer in network.layers[1:])],
        [layer.bias for layer in network.layers],
        weight_bits=first.weight_bits,
        kernels=[p.kernel for p in network.populations[:-1]],
        thresholds=[p.threshold for p in network.populations[1:] if p.threshold],
        encoder=network.encoder,
        steps=network.steps,
        fire_start=network.fire_start,
        simultaneous=network.populations[0].simultaneous,
    )
    a, b = golden.run(network, images), golden.run(shuffled, images[:, order])
    assert np.array_equal(a.membranes, b.membranes)
    assert np.array_equal(a.classes, b.classes)
    assert all(np.array_equal(x, y) for x, y in zip(a.spike_times[1:], b.spike_times[1:], strict=True))


@pytest.mark.smoke
def test_images_of_two_axes_and_counts_of_spikes() -> None:
    network = three_layers(KERNELS["power_of_two"], fire_start=8, first_spike=False)
    images = pixels(5, 12)
    result = golden.run(network, images.reshape(5, 3, 4))
    assert result == golden.run(network, images)
    assert result != golden.run(network, images[::-1])
    spikes = result.spikes(network)
    assert spikes.tolist() == [[(t[b] < 8).sum() for t in result.spike_times] for b in range(5)]
    assert result.synaptic_operations(network).tolist() == [16 * a + 9 * b + 5 * c for a, b, c in spikes.tolist()]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 11), np.uint8), "11 pixels; the network takes 12"),
        (np.zeros((2, 12), np.float32), "float32, not uint8"),
    ],
)
def test_images_that_do_not_fit(images: NDArray[np.uint8], message: str) -> None:
    network = three_layers(KERNELS["linear"], fire_start=8, first_spike=False)
    for run in (golden.run, naive.run):
        with pytest.raises(FirstspikeError, match=message):
            run(network, images)


# Deliberately wrong variants: the checks above must be able to fail.

Fire = Callable[[golden._Layer, Train], NDArray[np.int16]]


def _fire(self: golden._Layer, train: Train, *, strict: bool = False, last: int = 0) -> NDArray[np.int16]:
    fired = np.full((len(train.times), len(self._sums.bias)), self._steps, np.int16)
    for k, v in self._membranes(train):
        if k < self._steps - last:
            reached = v > self._threshold[k] if strict else v >= self._threshold[k]
            fired[reached & (fired == self._steps)] = k
    return self._sums.pool(fired, np.min)


def _greater(self: golden._Layer, train: Train) -> NDArray[np.int16]:
    return _fire(self, train, strict=True)


def _last_step_missing(self: golden._Layer, train: Train) -> NDArray[np.int16]:
    return _fire(self, train, last=1)


def _window_too_long(self: golden._Layer, train: Train) -> NDArray[np.int16]:
    """One more step, T, at the last threshold: a spike where V has been too small until the end, by one."""
    fired = _fire(self, train)
    *_, (_, v) = self._membranes(train)
    fired[(fired == self._steps) & (v >= self._threshold[-1] - 1)] = self._steps - 1
    return fired


def _refires(self: golden._Layer, train: Train) -> NDArray[np.int16]:
    fired = np.full((len(train.times), len(self._sums.bias)), self._steps, np.int16)
    for k, v in self._membranes(train):
        fired[v >= self._threshold[k]] = k
    return fired


def _ignores_fire_start(self: golden._Layer, train: Train) -> NDArray[np.int16]:
    v = self._complete(train)
    return np.int16(self._steps) - np.stack([v >= t for t in self._threshold]).sum(axis=0).astype(np.int16)


@pytest.mark.parametrize("wrong", [_greater, _last_step_missing, _window_too_long, _refires, _ignores_fire_start])
def test_a_wrong_golden_model_is_caught(wrong: Fire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random search of the first test, run on a model with one mistake, must find it."""
    search = settings(max_examples=300, deadline=None, database=None, derandomize=True)(given(st.data())(compare))

    def fire(layer: golden._Layer, train: Train) -> Train:
        return Train(layer._population, wrong(layer, train))

    monkeypatch.setattr(golden._Layer, "fire", fire)
    with pytest.raises(AssertionError):
        search()


Pool = Callable[..., NDArray[Any]]
Add = Callable[[Any, Any], Any]


def _latest_spike(self: sums.Convolution, array: NDArray[Any], reduce: Pool) -> NDArray[Any]:
    return RIGHT_POOL(self, array, np.min if reduce is np.max else np.max)


def _first_neuron(self: sums.Convolution, array: NDArray[Any], reduce: Pool) -> NDArray[Any]:
    return RIGHT_POOL(self, array, lambda grid, axis: grid[:, :, 0, :, 0])


def _mirrored(self: sums.Convolution, values: Any) -> Any:
    return RIGHT_ADD(self, values[:, ::-1])


def _pixels_wrap(self: sums.Convolution, values: Any) -> Any:
    return RIGHT_ADD(self, np.roll(values, 1, axis=1))


RIGHT_POOL, RIGHT_ADD = sums.Convolution.pool, sums.Convolution.add


@pytest.mark.parametrize(
    ("method", "wrong"),
    [("pool", _latest_spike), ("pool", _first_neuron), ("add", _mirrored), ("add", _pixels_wrap)],
)
def test_a_wrong_convolution_is_caught(method: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    random = settings(max_examples=150, deadline=None, database=None, derandomize=True)
    search = random(given(st.data())(compare_convolutions))
    monkeypatch.setattr(sums.Convolution, method, wrong)
    with pytest.raises(AssertionError):
        search()


def test_large_batches_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    layer = Conv2d(name="c", weight=rng.integers(-8, 8, (3, 2, 3, 3)), bias=np.zeros(3, int), weight_bits=4)
    values = rng.integers(0, 9, (7, 2 * 6 * 5)).astype(np.float32)
    whole = sums.Convolution(layer, (2, 6, 5), np.float32).add(values)
    monkeypatch.setattr(sums, "PATCH_ENTRIES", 2 * 4 * 3 * 18)
    assert np.array_equal(sums.Convolution(layer, (2, 6, 5), np.float32).add(values), whole)
