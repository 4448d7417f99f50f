"""The whole datapath against the golden model, spike by spike, with random networks, lanes and stalls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from firstspike import golden, images
from firstspike.hardware import Hardware
from firstspike.model import Network
from firstspike_rtl.core import Core
from firstspike_verify import frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import images_for, networks
from simulation import Stalls, protocol_checker, receive, send, simulate


def run_core(
    network: Network, hardware: Hardware, pictures: np.ndarray, *, seed: int, stall: float, waves: Path | None = None
) -> golden.Result:
    core = Core(hardware, images.contents(network, hardware))
    if hardware.input == "pixels":
        frame_words = [list(map(int, frame)) for frame in frames.image_words(pictures)]
    else:
        codes = np.array(network.encoder)[pictures.reshape(len(pictures), -1)]
        frame_words = frames.event_words(codes, network.populations[0].codes, np.random.default_rng(seed))
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

    simulate(
        core,
        configure,
        send(core.i, words, Stalls(seed, stall)),
        receive(core.o, records, length * len(pictures), Stalls(seed + 1, stall), read=lambda p: int(p.data)),
        watch,
        processes=[protocol_checker(core.o, "o"), protocol_checker(core.monitor, "monitor")],
        waves=waves,
    )
    times, faults = frames.spike_times(hardware, np.array(slots, np.int64))
    parsed = frames.parse_records(np.array(records), length)
    assert not parsed.faults.any()
    assert not any(f.any() for f in faults)
    return frames.result(hardware, parsed, times)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_core_is_golden(data: st.DataObject) -> None:
    network = data.draw(networks())
    pictures = data.draw(images_for(network))
    lanes = [data.draw(st.integers(1, layer.outputs)) for layer in network.layers]
    kind = data.draw(st.sampled_from(["pixels", "events"]))
    hardware = Hardware.for_network(network, lanes=lanes, input=kind)
    stall = data.draw(st.sampled_from([0.0, 0.3]))
    seed = data.draw(st.integers(0, 1000))
    assert run_core(network, hardware, pictures, seed=seed, stall=stall) == golden.run(network, pictures)
