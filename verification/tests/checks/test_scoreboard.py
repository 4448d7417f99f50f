"""The scoreboard sees every kind of difference, and says where it is."""

from __future__ import annotations

import numpy as np
import pytest

from firstspike.network.golden import Result
from firstspike_verify.checks.scoreboard import Mismatches, Scoreboard, ScoreboardError, compare, repeat_command

SIZES = (3, 4, 2)


def result(images: int = 3, seed: int = 0) -> Result:
    rng = np.random.default_rng(seed)
    return Result(
        tuple(rng.integers(0, 9, (images, n)).astype(np.int16) for n in SIZES[:-1]),
        rng.integers(-100, 100, (images, SIZES[-1])),
        rng.integers(0, 2, images),
        np.full(images, 8),
    )


def altered(part: str, place: tuple[int, ...], change: int = 1) -> Result:
    copy = result()
    target = copy.spike_times[1] if part == "spike_times" else getattr(copy, part)
    target[place] += change
    return copy


def values(images: int) -> int:
    return images * (sum(SIZES) + 2)


def scoreboard(expected: Result | None, actual: Result, faults: list[bool] | None = None) -> Scoreboard:
    board = Scoreboard(SIZES, seed=17, repeat=repeat_command("tests/test_x.py::test_y", 17))
    if expected is not None:
        board.expect(expected)
    for image in range(len(actual)):
        board.note(f"image {image}")
        for population, times in enumerate(actual.spike_times):
            board.spikes(population, times[image])
        fault = faults is not None and faults[image]
        board.record(
            actual.membranes[image].tolist(), int(actual.classes[image]), int(actual.decision_steps[image]), fault
        )
    return board


def test_equal_results() -> None:
    outcome = compare(result(), result(), 5)
    assert outcome.ok
    assert (outcome.total, outcome.compared, outcome.images) == (0, values(3), 0)
    assert outcome.describe() == f"{values(3)} values compared, all equal"


@pytest.mark.parametrize(
    ("part", "place", "text"),
    [
        ("spike_times", (1, 2), "image 1, hidden1 neuron 2: spike time"),
        ("membranes", (2, 0), "image 2, output neuron 0: membrane"),
        ("classes", (0,), "image 0, output: class"),
        ("decision_steps", (1,), "image 1, output: decision step"),
    ],
)
def test_one_difference(part: str, place: tuple[int, ...], text: str) -> None:
    outcome = compare(result(), altered(part, place), 5, repeat="again", events=lambda i: [f"events of {i}"])
    assert not outcome.ok
    assert getattr(outcome, part) == outcome.total == outcome.images == 1
    message = outcome.describe()
    for piece in (text, "seed 5", "repeat with: again", f"events of {place[0]}"):
        assert piece in message
    assert message.startswith("1 ")


def test_message_has_both_values() -> None:
    expected = int(result().membranes[2, 0])
    assert (
        f"membrane {expected + 7}, expected {expected}" in compare(result(), altered("membranes", (2, 0), 7)).describe()
    )


def test_counts_are_sums_over_all_images() -> None:
    other = result()
    other.spike_times[0][:] += 1
    other.classes[:] += 1
    outcome = compare(result(), other)
    assert (outcome.spike_times, outcome.classes, outcome.membranes, outcome.images) == (9, 3, 0, 3)
    assert "9 spike times and 3 classes" in outcome.describe()


@pytest.mark.parametrize(("wanted", "got"), [(3, 2), (2, 3), (0, 3), (3, 0)])
def test_missing_and_extra_images(wanted: int, got: int) -> None:
    outcome = compare(result()[:wanted], result()[:got])
    assert not outcome.ok
    assert outcome.missing == values(max(0, wanted - got))
    assert outcome.extra == values(max(0, got - wanted))
    assert ("missing" in outcome.describe()) == (wanted > got)
    assert ("too many" in outcome.describe()) == (got > wanted)


def test_nothing_compared_is_a_failure() -> None:
    outcome = compare(result()[:0], result()[:0])
    assert outcome.total == 0
    assert not outcome.ok
    assert "nothing was compared" in outcome.describe()
    with pytest.raises(ScoreboardError, match="nothing was compared"):
        outcome.check()


def test_absent_parts_are_missing_unless_left_out() -> None:
    full = result()
    bare = Result((), np.zeros((3, 0), np.int64), full.classes, full.decision_steps)
    assert compare(full, bare).missing == 3 * sum(SIZES)
    assert compare(full, bare, parts=("classes", "decision_steps")).ok


def test_mismatches_is_ok_only_when_something_was_compared() -> None:
    assert not Mismatches().ok
    assert Mismatches(compared=1).ok
    assert not Mismatches(compared=1, extra=1).ok


def test_scoreboard_passes() -> None:
    board = scoreboard(result(), result())
    assert not board.missing
    assert board.finish().compared == values(3)


def test_scoreboard_takes_results_in_parts() -> None:
    board = scoreboard(None, result())
    board.expect(result()[:1])
    board.expect(result()[1:])
    assert board.finish().compared == values(3)


def test_scoreboard_message() -> None:
    with pytest.raises(ScoreboardError) as caught:
        scoreboard(result(), altered("spike_times", (1, 2))).finish()
    for piece in ("hidden1 neuron 2", "seed 17", "repeat with: pytest tests/test_x.py::test_y --seed 17 --waves", "ev"):
        assert piece in str(caught.value)
    assert "last 3 events" in str(caught.value)


def test_scoreboard_misses_an_image() -> None:
    board = scoreboard(result(), result()[:2])
    assert board.missing
    with pytest.raises(ScoreboardError, match="values missing"):
        board.finish()


def test_scoreboard_misses_a_population() -> None:
    board = Scoreboard(SIZES)
    board.expect(result()[:1])
    board.record(result().membranes[0].tolist(), int(result().classes[0]), 8)
    assert board.missing
    with pytest.raises(ScoreboardError, match="7 values missing"):
        board.finish()


def test_scoreboard_sees_an_extra_image() -> None:
    with pytest.raises(ScoreboardError, match="too many"):
        scoreboard(result()[:2], result()).finish()


def test_scoreboard_without_comparisons() -> None:
    with pytest.raises(ScoreboardError, match="nothing was compared"):
        Scoreboard(SIZES).finish()


def test_scoreboard_compares_fault_bits() -> None:
    with pytest.raises(ScoreboardError, match="image 1: fault bit 1, expected 0"):
        scoreboard(result(), result(), [False, True, False]).finish()


def test_records_of_different_lengths() -> None:
    board = scoreboard(result(), result())
    board.record([], 0, 8)
    with pytest.raises(ScoreboardError, match=r"\[0, 2\] membranes"):
        board.finish()
