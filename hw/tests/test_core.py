"""The whole datapath against the golden model, spike by spike, with random networks, lanes and stalls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from networks import images_for, networks
from simulation import Frames, Stalls, protocol_checker, receive, send, simulate

from firstspike import golden, images
from firstspike.hardware import Hardware
from firstspike.model import dense
from firstspike_rtl.core import Core
from firstspike_rtl.cycles import predict, refill_clocks
from firstspike_verify import frames

#: Without shrinking: a smaller example would take minutes of simulation to find.
GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def run_core(network, hardware, pictures, *, seed=0, stall=0.0, waves=None, processes=()):
    """The core's result in the form of the golden model, and the clocks of its frames in and records out.

    With stalls events come in any order. Further ``processes`` may watch parts of the core.
    """
    core = Core(hardware, images.contents(network, hardware))
    if hardware.input == "pixels":
        frame_words = [list(map(int, frame)) for frame in frames.image_words(pictures)]
    else:
        codes = np.array(network.encoder)[pictures.reshape(len(pictures), -1)]
        frame_words = frames.event_words(hardware, codes, np.random.default_rng(seed) if stall else None)
    words = [{"data": w, "last": i == len(frame) - 1} for frame in frame_words for i, w in enumerate(frame)]
    length = frames.record_words(network, True)
    records, slots = [], []

    async def watch(ctx) -> None:
        stalls = Stalls(seed + 3, stall)
        missing = len(hardware.layers) * len(pictures)
        while missing:
            for _ in range(stalls.clocks()):
                await ctx.tick()
            ctx.set(core.monitor.ready, 1)
            (payload,) = await ctx.tick().sample(core.monitor.payload).until(core.monitor.valid)
            ctx.set(core.monitor.ready, 0)
            for p, codes in enumerate(frames.codes_of(hardware)):
                if payload.keep >> p & 1:
                    slots.append(payload.slots[p].as_bits())
                    missing -= payload.slots[p].mark and payload.slots[p].step == codes - 1

    async def configure(ctx) -> None:
        ctx.set(core.send_membranes, 1)

    sent, received = Frames(core.i), Frames(core.o)
    simulate(
        core,
        configure,
        send(core.i, words, Stalls(seed, stall), wait=refill_clocks(hardware)),
        receive(core.o, records, length * len(pictures), Stalls(seed + 1, stall), read=lambda p: int(p.data)),
        watch,
        processes=[
            sent.watch,
            received.watch,
            protocol_checker(core.o, "o"),
            protocol_checker(core.monitor, "monitor"),
            *processes,
        ],
        waves=waves,
    )
    times, faults = frames.spike_times(hardware, np.array(slots, np.int64))
    parsed = frames.parse_records(np.array(records), length)
    assert not parsed.faults.any()
    assert not any(f.any() for f in faults)
    return frames.result(hardware, parsed, times), sent.first, received.last


def draw_case(data, *, convolutional):
    network = data.draw(networks(convolutional=convolutional))
    pictures = data.draw(images_for(network))
    early = network.fire_start < network.steps
    hardware = Hardware.for_network(
        network,
        lanes=[data.draw(st.integers(1, len(layer.weight))) for layer in network.layers],
        fire=["stepped" if early else data.draw(st.sampled_from(["search", "stepped"])) for _ in network.layers],
        test_clocks=data.draw(st.integers(1, 20)),
        input=data.draw(st.sampled_from(["pixels", "events"])),
    )
    return network, hardware, pictures


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_core_with_stalls_is_golden(convolutional: bool, data: st.DataObject) -> None:
    network, hardware, pictures = draw_case(data, convolutional=convolutional)
    stall, seed = data.draw(st.sampled_from([0.1, 0.5])), data.draw(st.integers(0, 1000))
    result, _, _ = run_core(network, hardware, pictures, seed=seed, stall=stall)
    assert result == golden.run(network, pictures)


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=40, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_core_takes_the_predicted_clocks(convolutional: bool, data: st.DataObject) -> None:
    network, hardware, pictures = draw_case(data, convolutional=convolutional)
    expected = golden.run(network, pictures)
    result, started, finished = run_core(network, hardware, pictures)
    assert result == expected
    prediction = predict(hardware, expected)
    assert (prediction.started + started[0]).tolist() == started
    assert (prediction.finished + started[0]).tolist() == finished


@pytest.mark.smoke
def test_one_image(waves) -> None:
    """A small network by hand: one spike a step, a tie with the threshold, one lane for three neurons."""
    table = (8, 4, 2, 1)
    network = dense(
        [np.array([[1, 1, 0, 0], [0, 0, 1, 1], [-1, 0, 0, -1]]), np.array([[1, -1, 2], [0, 1, 0]])],
        [np.array([0, 5, 0]), np.array([1, 1])],
        weight_bits=3, kernels=[table, table], thresholds=[(12, 8, 4, 2)],
        encoder=tuple(4 if p == 0 else 3 - p // 64 for p in range(256)), steps=4, fire_start=4,
    )  # fmt: skip
    pictures = np.array([[255, 130, 70, 5], [0, 0, 0, 0]], np.uint8)
    hardware = Hardware.for_network(network, lanes=[1, 2])
    result, _, _ = run_core(network, hardware, pictures, waves=waves)
    assert result.spike_times[1].tolist() == [[0, 1, 4], [4, 2, 4]]
    assert result.membranes.tolist() == [[5, 5], [-1, 3]]
    assert result.classes.tolist() == [0, 1]
    assert result == golden.run(network, pictures)
