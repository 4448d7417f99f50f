"""Expected against actual, value by value: what differs, what is missing, what is too much."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstspike.network.golden import Result

#: What can be compared, and what one value of it is called.
PARTS = {
    "spike_times": "spike time",
    "spike_counts": "spike count",
    "membranes": "membrane",
    "classes": "class",
    "decision_steps": "decision step",
}
#: Those of them that the monitor shows.
SPIKES = ("spike_times", "spike_counts")
SHOWN_EVENTS = 10
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value that is not what it should be.

    Parameters
    ----------
    part
        A key of :data:`PARTS`.
    population
        Whose neuron it is, 0 for the input; of the output for all but spike times.
    neuron
        None for a value of the whole image.
    """

    part: str
    image: int
    population: int
    populations: int
    neuron: int | None
    expected: int
    actual: int

    def describe(self) -> str:
        """For example ``image 3, hidden1 neuron 7: spike time 4, expected 5``."""
        last = self.populations - 1
        name = "input" if self.population == 0 else "output" if self.population == last else f"hidden{self.population}"
        place = name if self.neuron is None else f"{name} neuron {self.neuron}"
        return f"image {self.image}, {place}: {PARTS[self.part]} {self.actual}, expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Mismatches:
    """The outcome of a comparison.

    Parameters
    ----------
    spike_times, spike_counts, membranes, classes, decision_steps
        How many values differ, over all images.
    images
        In how many images something differs.
    missing, extra
        Values that were expected and never came; that came and were not expected.
    compared
        Values held against each other.
    first
        The first differences, earliest image and population first.
    seed, repeat, events
        For the message: seed of the run, the command that repeats it, and the last events before the first difference.
    """

    spike_times: int = 0
    spike_counts: int = 0
    membranes: int = 0
    classes: int = 0
    decision_steps: int = 0
    images: int = 0
    missing: int = 0
    extra: int = 0
    compared: int = 0
    first: tuple[Difference, ...] = ()
    seed: int | None = None
    repeat: str = ""
    events: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Values that differ, are missing, or are too many."""
        differing: int = sum(getattr(self, part) for part in PARTS)
        return differing + self.missing + self.extra

    @property
    def ok(self) -> bool:
        """Whether everything came, nothing differs, and anything was compared at all."""
        return self.total == 0 and self.compared > 0

    def describe(self) -> str:
        """What a person needs to find the first difference and to see it again; one line if all is equal."""
        if self.ok:
            return f"{self.compared} values compared, all equal"
        counts = [f"{getattr(self, part)} {name}s" for part, name in PARTS.items() if getattr(self, part)]
        counts += [f"{n} values {what}" for what, n in (("missing", self.missing), ("too many", self.extra)) if n]
        if not self.compared:
            counts.append("nothing was compared")
        lines = [f"{' and '.join(counts).replace('classs', 'classes')}: {self.compared} values compared"]
        if self.images:
            lines[0] += f", {self.images} images differ"
        lines += [f"  {difference.describe()}" for difference in self.first]
        if self.events:
            lines += [f"  last {len(self.events)} events:", *(f"    {event}" for event in self.events)]
        if self.seed is not None:
            lines.append(f"  seed {self.seed}")
        if self.repeat:
            lines.append(f"  repeat with: {self.repeat}")
        return "\n".join(lines)

    def check(self) -> None:
        """Fail unless :attr:`ok`.

        Raises
        ------
        ScoreboardError
            with :meth:`describe` as its message.
        """
        if not self.ok:
            raise ScoreboardError(self.describe())


class ScoreboardError(AssertionError):
    """Hardware and golden model disagree, or were not compared in full."""


def compare(
    expected: Result,
    actual: Result,
    seed: int | None = None,
    *,
    parts: Iterable[str] = tuple(PARTS),
    repeat: str = "",
    events: Callable[[int], Iterable[str]] | None = None,
) -> Mismatches:
    """Hold two results against each other; it never raises for a difference.

    Parameters
    ----------
    expected, actual
        Of the golden model and of the hardware.
    seed, repeat
        Shown in the message.
    parts
        Keys of :data:`PARTS`; leave out what the hardware was not asked to send.
    events
        Gives the last events of an image, as text; called for the first image that differs.
    """
    parts = tuple(parts)
    populations = len(expected.spike_times) + 1
    counts = dict.fromkeys(PARTS, 0)
    missing = extra = compared = 0
    wrong_images: set[int] = set()
    first: list[Difference] = []
    for part, population, wanted, got in _pairs(expected, actual, parts, populations):
        same_shape = wanted is not None and got is not None and wanted.shape[1:] == got.shape[1:]
        common = min(len(wanted), len(got)) if same_shape and wanted is not None and got is not None else 0
        missing += 0 if wanted is None else wanted[common:].size
        extra += 0 if got is None else got[common:].size
        if wanted is None or got is None or not common:
            continue
        differs = wanted[:common] != got[:common]
        compared += differs.size
        counts[part] += int(differs.sum())
        places = np.argwhere(differs)
        wrong_images |= set(places[:, 0].tolist())
        first += [
            Difference(
                part=part,
                image=int(place[0]),
                population=population,
                populations=populations,
                neuron=int(place[1]) if len(place) > 1 else None,
                expected=int(wanted[tuple(place)]),
                actual=int(got[tuple(place)]),
            )
            for place in places[:SHOWN_DIFFERENCES]
        ]
    first.sort(key=lambda d: d.image)
    return Mismatches(
        **counts,
        images=len(wrong_images),
        missing=missing,
        extra=extra,
        compared=compared,
        first=tuple(first[:SHOWN_DIFFERENCES]),
        seed=seed,
        repeat=repeat,
        events=tuple(events(min(wrong_images)))[-SHOWN_EVENTS:] if events and wrong_images else (),
    )


Values = NDArray[np.integer[Any]]


def _pairs(
    expected: Result, actual: Result, parts: Sequence[str], populations: int
) -> Iterable[tuple[str, int, Values | None, Values | None]]:
    """(part, population, expected, actual) of everything that is to be compared, None where one side has nothing."""
    if "spike_times" in parts:
        for p in range(max(len(expected.spike_times), len(actual.spike_times))):
            sides = [x.spike_times[p] if p < len(x.spike_times) else None for x in (expected, actual)]
            yield "spike_times", p, sides[0], sides[1]
    if "spike_counts" in parts:
        for p in sorted(expected.spike_counts.keys() | actual.spike_counts.keys()):
            counts = [x.spike_counts.get(p) for x in (expected, actual)]
            # Neuron by neuron, and for each its steps.
            flat = [None if x is None else x.transpose(0, 2, 1).reshape(len(x), -1, x.shape[1]) for x in counts]
            yield "spike_counts", p, flat[0], flat[1]
    for part in (name for name in PARTS if name not in SPIKES):
        if part in parts:
            yield part, populations - 1, getattr(expected, part), getattr(actual, part)


class Scoreboard:
    """Collects what monitors see, image by image, and compares it at the end.

    Parameters
    ----------
    sizes
        Neurons of each population, input first, output last.
    seed, repeat
        Shown in the message of a failure.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int | None = None, repeat: str = "") -> None:
        self._sizes, self._seed, self._repeat = tuple(sizes), seed, repeat
        self._expected: list[Result] = []
        self._faults: list[bool] = []
        self._times: list[list[Values]] = [[] for _ in sizes[:-1]]
        self._counts: dict[int, list[NDArray[np.uint8]]] = {}
        self._records: list[tuple[Sequence[int], int, int, bool]] = []
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)

    def expect(self, result: Result, faults: Sequence[bool] | None = None) -> None:
        """Further images must give this; ``faults`` tells of each whether its frame is malformed (default: none)."""
        self._expected.append(result)
        self._faults += [False] * len(result) if faults is None else list(faults)

    def note(self, event: str) -> None:
        """Remember an event for the message of a failure."""
        self._events.append(event)

    def spikes(self, population: int, times: Values, counts: NDArray[np.uint8] | None = None) -> None:
        """The next image of a population is complete; shape (N,), and if it fires again its counts, shape (T, N)."""
        self._times[population].append(np.asarray(times))
        if counts is not None:
            self._counts.setdefault(population, []).append(counts)

    def record(self, membranes: Sequence[int], chosen: int, step: int, fault: bool = False) -> None:
        """The next result record; ``membranes`` is empty if they are not sent."""
        self._records.append((tuple(membranes), chosen, step, fault))

    @property
    def missing(self) -> int:
        """Expected images that have not yet come, from each population and as records."""
        wanted = sum(len(result) for result in self._expected)
        return sum(max(0, wanted - came) for came in (len(self._records), *map(len, self._times)))

    def finish(self, parts: Iterable[str] = tuple(PARTS)) -> Mismatches:
        """Compare everything.

        Raises
        ------
        ScoreboardError
            if something differs, is missing, is too much, or nothing was compared.
        """
        wanted_bits, got_bits = self._faults, [record[3] for record in self._records]
        actual = Result(
            tuple(
                np.array(times, np.int16).reshape(len(times), size)
                for times, size in zip(self._times, self._sizes, strict=False)
            ),
            self._membranes(),
            np.array([record[1] for record in self._records], np.int64),
            np.array([record[2] for record in self._records], np.int64),
            {population: np.array(counts) for population, counts in self._counts.items()},
        )
        expected = Result.concatenate(self._expected) if self._expected else _nothing(self._sizes)
        outcome = compare(
            expected, actual, self._seed, parts=parts, repeat=self._repeat, events=lambda image: self._events
        )
        outcome.check()
        if wanted_bits != got_bits:
            image = next(i for i, pair in enumerate(zip(wanted_bits, got_bits, strict=True)) if pair[0] != pair[1])
            raise ScoreboardError(
                f"image {image}: fault bit {int(got_bits[image])}, expected {int(wanted_bits[image])}\n"
                f"  seed {self._seed}\n  repeat with: {self._repeat}"
            )
        return outcome

    def _membranes(self) -> NDArray[np.int64]:
        lengths = {len(record[0]) for record in self._records}
        if len(lengths) > 1:
            raise ScoreboardError(f"result records of {sorted(lengths)} membranes in one run; seed {self._seed}")
        return np.array([record[0] for record in self._records], np.int64).reshape(
            len(self._records), lengths.pop() if lengths else self._sizes[-1]
        )


def _nothing(sizes: Sequence[int]) -> Result:
    none = np.zeros(0, np.int64)
    return Result(tuple(np.zeros((0, n), np.int16) for n in sizes[:-1]), np.zeros((0, sizes[-1]), np.int64), none, none)


def repeat_command(test: str, seed: int) -> str:
    """The shell command that runs one test again with the same seed, and writes waves."""
    return f"pytest {shlex.quote(test)} --seed {seed} --waves"
