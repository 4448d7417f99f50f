"""Watching loses nothing and changes nothing: Fork, Monitor, and a core with and without them."""

from __future__ import annotations

import random

import numpy as np
import parts
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from networks import images_for, networks
from simulation import exchange

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.network import golden
from firstspike_rtl.clocks.cycles import refill_clocks
from firstspike_rtl.core.datapath import Core
from firstspike_rtl.core.layouts import event_layout
from firstspike_rtl.core.monitor import Fork, Monitor
from firstspike_verify.models import frames

GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)
LAYOUT = event_layout(parts.hardware(parts.layer(inputs=7, input_codes=5), steps=5), 0)


def values(transfers) -> list[int]:
    return [item.as_bits() for item in transfers.items]


def some_events(rng: random.Random, count: int) -> list[dict[str, int]]:
    return [{"mark": rng.randrange(2), "step": rng.randrange(5), "index": rng.randrange(7)} for _ in range(count)]


@pytest.mark.smoke
@pytest.mark.parametrize("slow_input", [0.0, 0.5])
@pytest.mark.parametrize(
    ("main", "tap"),
    [
        pytest.param(0.0, 0.0, id="both_ready"),
        pytest.param(0.0, 0.7, id="slow_tap"),
        pytest.param(0.7, 0.0, id="slow_main"),
        pytest.param(0.5, 0.5, id="both_slow"),
    ],
)
def test_fork_gives_both_everything_once(main, tap, slow_input, seed, waves) -> None:
    items = some_events(random.Random(seed), 60)
    stalls = {"i": slow_input, "o": main, "tap": tap}
    seen = exchange(Fork(LAYOUT), {"i": items}, {"o": len(items), "tap": len(items)}, stall=stalls, seed=seed,
                    waves=waves)  # fmt: skip
    expected = [LAYOUT.const(item).as_bits() for item in items]
    assert values(seen["o"]) == values(seen["tap"]) == expected
    # An item moves on when both have it.
    assert seen["i"].taken == [max(pair) for pair in zip(seen["o"].taken, seen["tap"].taken, strict=True)]
    if not tap:
        assert seen["i"].taken == seen["o"].taken, "a tap that is always ready delays the main path"
    if not main and not tap and not slow_input:
        assert np.diff(seen["i"].taken).tolist() == [1] * (len(items) - 1)
        assert seen["o"].offered == seen["tap"].offered == seen["i"].taken


def three_populations() -> Hardware:
    """Of different sizes and numbers of codes; indices of the second are fields."""
    return parts.hardware(
        parts.layer(inputs=9, outputs=12, input_codes=20),
        parts.convolution(input_shape=(2, 2, 3), pool=1),
        parts.layer(inputs=6, outputs=2, fires=False),
        simultaneous=True,
    )


@pytest.mark.smoke
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("slow", [0.0, 0.7], ids=["ready", "slow"])
def test_monitor_shows_every_event(stall, slow, seed, waves) -> None:
    core = three_populations()
    rng = random.Random(seed)
    inputs = {}
    for p, codes in enumerate(frames.codes_of(core)):
        inputs[f"i{p}"] = [
            {"mark": rng.randrange(2), "fault": rng.randrange(2), "step": rng.randrange(codes),
             "index": rng.choice(core.indices(p).tolist())} for _ in range(30)
        ]  # fmt: skip
    events = sum(map(len, inputs.values()))
    chance = dict.fromkeys(inputs, stall) | {"o": slow}

    def complete(beats) -> bool:
        return sum(beat.keep.bit_count() for beat in beats) == events

    seen = exchange(Monitor(core), inputs, {"o": complete}, stall=chance, seed=seed, waves=waves)
    got: dict[int, list] = {p: [] for p in range(len(inputs))}
    lasts = []
    for beat in seen["o"].items:
        for p in got:
            if beat.keep >> p & 1:
                slot = beat.slots[p]
                assert slot.population == p
                got[p].append({name: getattr(slot, name) for name in ("mark", "fault", "step", "index")})
        final = beat.keep >> 2 & 1 and beat.slots[2].mark and beat.slots[2].step == core.steps - 1
        lasts.append((beat.last, int(bool(final))))
    assert got == dict(enumerate(inputs.values()))
    assert all(last == final for last, final in lasts)
    assert {last for last, _ in lasts} == {0, 1}
    if not slow:
        for name, transfers in seen.items():
            if name != "o":
                assert transfers.taken == transfers.offered, "a monitor that is ready holds an event back"
        sent = sorted({clock for name in inputs for clock in seen[name].taken})
        assert seen["o"].offered == [clock + Monitor.LATENCY for clock in sent]


@settings(max_examples=8, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_core_takes_the_same_clocks_with_and_without_monitor(data: st.DataObject) -> None:
    network = data.draw(networks(convolutional=data.draw(st.booleans())))
    pictures = data.draw(images_for(network))
    lanes = [data.draw(st.integers(1, len(layer.weight))) for layer in network.layers]
    length = frames.record_words(network, True)
    words = [
        {"data": int(word), "last": n == len(frame) - 1}
        for frame in frames.image_words(pictures)
        for n, word in enumerate(frame)
    ]
    passed = []
    for monitor in (False, True):
        hardware = Hardware.for_network(network, lanes=lanes, monitor=monitor)
        core = Core(hardware, images.contents(network, hardware))
        levels = {"send_membranes": 1} | ({"monitor.ready": 1} if monitor else {})
        seen = exchange(
            core, {"i": words}, {"o": length * len(pictures)}, levels=levels, wait=refill_clocks(hardware)
        )  # fmt: skip
        passed.append((seen["i"].taken, seen["o"].offered, [item.as_bits() for item in seen["o"].items]))
        assert len(seen["o"].items) == length * len(golden.run(network, pictures))
    assert passed[0] == passed[1]
