"""A whole core in Amaranth's simulator: its result in the form of the golden model."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase
from hypothesis import strategies as st
from networks import images_for, networks
from simulation import Frames, Stalls, protocol_checker, receive, send, simulate
from stepping import inputs_for, stepped_networks

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.network.model import check_images
from firstspike_rtl.clocks.cycles import refill_clocks
from firstspike_rtl.core.datapath import Core
from firstspike_verify.models import frames

#: Without shrinking: a smaller example would take minutes of simulation to find.
GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


def run_core(network, hardware, pictures, *, seed=0, stall=0.0, waves=None, processes=()):
    """The core's result in the form of the golden model, and the clocks of its frames in and records out.

    With stalls events come in any order. Further ``processes`` may watch parts of the core.
    """
    core = Core(hardware, images.contents(network, hardware))
    rng = np.random.default_rng(seed) if stall else None
    given = frames.input_frames(hardware, network.encoder, check_images(network, pictures), rng)
    words = [{"data": int(w), "last": i == len(frame) - 1} for frame in given for i, w in enumerate(frame)]
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
    seen = frames.seen(hardware, np.array(slots, np.int64))
    parsed = frames.parse_records(np.array(records), length)
    assert not parsed.faults.any()
    assert not any(fault.any() for fault in seen.faults)
    return frames.result(parsed, seen), sent.first, received.last


def draw_stepped(data, *, convolutional):
    """As :func:`draw_case`, with dynamics in some of the layers."""
    network = data.draw(stepped_networks(convolutional=convolutional))
    pictures = data.draw(inputs_for(network))
    hardware = Hardware.for_network(
        network,
        lanes=[data.draw(st.integers(1, len(layer.weight))) for layer in network.layers],
        test_clocks=data.draw(st.integers(1, 20)),
        spare_membrane_bits=data.draw(st.sampled_from([0, 0, 2])),
        input="events" if network.populations[0].repeat else data.draw(st.sampled_from(["pixels", "events"])),
    )
    return network, hardware, pictures


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
