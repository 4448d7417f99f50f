"""What tells cores apart, and the order in which a network is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from firstspike.contract import images, registers, words
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.network import kernels
from firstspike.network.model import Network, dense

KERNEL = kernels.PowerOfTwo(steps=4)


def network(seed: int = 1, sizes: tuple[int, ...] = (9, 6, 5)) -> Network:
    rng = np.random.default_rng(seed)
    return dense(
        [rng.integers(-8, 8, (n, m)) for m, n in pairwise(sizes)],
        [rng.integers(-50, 50, n) for n in sizes[1:]],
        weight_bits=4,
        kernels=[KERNEL.table()] * (len(sizes) - 1),
        thresholds=[KERNEL.integer_threshold(0.05 * seed)] * (len(sizes) - 2),
        encoder=KERNEL.encoder(),
        steps=4,
        fire_start=4,
    )


def hardware(**changes: Any) -> Hardware:
    return Hardware.for_network(network(), **({"lanes": [3, 2], "spare_membrane_bits": 2} | changes))


@pytest.mark.smoke
def test_fingerprint_is_that_of_the_canonical_text() -> None:
    core = hardware()
    text = json.dumps(core.to_json(), sort_keys=True, separators=(",", ":"))
    assert " " not in text
    assert core.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert Hardware.from_json(json.loads(text)).fingerprint == core.fingerprint
    assert replace(core).fingerprint == core.fingerprint


@pytest.mark.smoke
def test_every_field_matters_to_the_fingerprint() -> None:
    """A new field that would not is found here."""
    core = hardware()
    changed: dict[str, Any] = {
        "steps": 5, "fire_start": 3, "readout": "first_spike", "simultaneous": True, "input": "events",
        "repeat": 2, "monitor": False, "counters": False, "layers": (core.layers[0], replace(core.layers[-1], lanes=1)),
    }  # fmt: skip
    assert set(changed) == {field.name for field in fields(core)}
    # S < T allows no search.
    base = replace(core, layers=tuple(replace(layer, fire="stepped") for layer in core.layers))
    events = replace(base, input="events")  # of which some repeat
    found = {core.fingerprint, base.fingerprint} | {
        replace(events if name == "repeat" else base, **{name: value}).fingerprint for name, value in changed.items()
    }
    assert len(found) == 2 + len(changed)


@pytest.mark.smoke
def test_a_core_is_refused_at_the_first_register_that_differs() -> None:
    core = hardware()
    expected = registers.constants(core)
    read: list[str] = []

    def answer(name: str) -> Sequence[int]:
        read.append(name)
        return found[name]

    found: Mapping[str, Sequence[int]] = expected
    registers.check_core(core, answer)
    assert read == list(expected) == ["identity", "version", "shape", "sizes", "hardware"]
    for count, (name, values) in enumerate(expected.items(), 1):
        found = expected | {name: [*values[:-1], values[-1] ^ 1]}
        read.clear()
        with pytest.raises(FirstspikeError) as caught:
            registers.check_core(core, answer)
        assert read == list(expected)[:count]
        line = caught.value.one_line()
        if name == "hardware":
            assert "generated otherwise" in line
        else:
            place = name if len(values) == 1 else f"{name}[{len(values) - 1}]"
            assert f"register {place} reads {values[-1] ^ 1:#x}, not {values[-1]:#x}" in line
        assert "top.json" in line


@pytest.mark.smoke
def test_counters_are_a_choice() -> None:
    counted, uncounted = (registers.register_map(hardware(counters=counters)) for counters in (True, False))
    assert uncounted == {name: r for name, r in counted.items() if name not in registers.COUNTERS}
    assert set(registers.COUNTERS) < set(counted)
    with pytest.raises(FirstspikeError, match="generated without counters"):
        registers.read_counters(hardware(counters=False), lambda name: [0])
    values = {name: list(range(1, 1 + counted[name].count)) for name in registers.COUNTERS}
    assert registers.read_counters(hardware(), values.__getitem__) == values | {"clocks": [1 | 2 << 32]}


class Core:
    """Memories, as the load registers fill them."""

    def __init__(self, hardware: Hardware, held: Mapping[str, Sequence[int]]) -> None:
        self.hardware = hardware
        self.held = {name: list(values) for name, values in held.items()}
        self.enabled, self.memory, self.place = True, hardware.memories[0], 0

    def write(self, name: str, value: int) -> None:
        match name:
            case "control":
                self.enabled = bool(value & registers.ENABLE)
            case "load_memory":
                self.memory, self.place = self.hardware.memories[value], 0
            case "load_data":
                assert not self.enabled
                self.held[self.memory.name][self.place] = value
                self.place += 1


@pytest.mark.smoke
@pytest.mark.parametrize("input", ["pixels", "events"])
def test_a_load_that_is_cut_short_leaves_the_digest_of_no_network(input: str) -> None:
    """After each of its writes: the digest is that of a network only if all memories are."""
    core = hardware(input=input)
    old, new = (images.load_words(images.contents(network(seed), core), core) for seed in (1, 2))
    whole = {words.hash_digits(held["digest"]): held for held in (old, new)}
    assert set(whole) == {network(1).digest, network(2).digest}
    table = registers.register_map(core)
    names = {table[name].address(): name for name in ("control", "load_memory", "load_data")}
    model = Core(core, old)
    found = []
    for address, value in registers.load_writes(core, new):
        model.write(names[address], value)
        found.append(words.hash_digits(model.held["digest"]))
        assert found[-1] not in whole or model.held == whole[found[-1]], f"after {len(found)} writes"
    assert model.held == new
    assert model.enabled
    # The core is stopped, and the digest chosen; from then on it is of no network but at the end.
    assert [digest in whole for digest in found] == [True] * 2 + [False] * (len(found) - 4) + [True] * 2


@pytest.mark.smoke
def test_every_driver_loads_in_one_order() -> None:
    core = hardware()
    assert [memory.role for memory in registers.load_order(core)][-1] == "digest"
    assert sorted(memory.index for memory in registers.load_order(core)) == list(range(len(core.memories)))
    held = images.load_words(images.contents(network(), core), core)
    table = registers.register_map(core)
    flat = [(table[name].address(), v) for name, values in registers.load_steps(core, held) for v in values]
    last = (table["control"].address(), registers.ENABLE | registers.CLEAR_COUNTERS)
    assert list(registers.load_writes(core, held)) == [*flat, last]
