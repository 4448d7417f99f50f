"""The datapath of a whole network: words in, result records out."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import Hardware
from firstspike_rtl.core.buffers import SkidBuffer
from firstspike_rtl.core.inputs.events import EventInput, TrainInput, event_input
from firstspike_rtl.core.inputs.pixels import PixelEncoder
from firstspike_rtl.core.inputs.sorter import Sorter
from firstspike_rtl.core.integrator import Integrator
from firstspike_rtl.core.layouts import WORD, Component, LoadSignature, event_layout
from firstspike_rtl.core.membranes import Membranes
from firstspike_rtl.core.monitor import Fork, Monitor, monitor_layout
from firstspike_rtl.core.neurons import Neurons
from firstspike_rtl.core.readout import Readout
from firstspike_rtl.core.tables import Contents


class Core(Component):
    """Input stage, layers and readout joined by streams; all layers work at once, on images in a row.

    Latency and throughput follow from the parts; :mod:`firstspike_rtl.clocks.cycles` computes them.

    Parameters
    ----------
    hardware
        What to build.
    contents
        Initial rows of every memory, by name (:func:`firstspike.contract.images.contents`).

    Members
    -------
    i : In(stream of WORD), pixels or events
    o : Out(stream of WORD), result records
    monitor : Out(stream of monitor beats), if ``hardware.monitor``
    load : In(LoadSignature); to be used while the core is held in reset
    send_membranes : In(1)
    started, finished, faulty : Out(1), high for one clock when an image has been read, is done, was malformed
    spikes : Out(populations), high for one clock for each spike
    active : Out(layers), high for each row of membranes that a layer adds to
    """

    def __init__(self, hardware: Hardware, contents: Contents) -> None:
        self._hardware, self._contents = hardware, contents
        spiking = len(hardware.layers)
        members = {
            "i": In(stream.Signature(WORD)),
            "o": Out(stream.Signature(WORD)),
            "load": In(LoadSignature(hardware)),
            "send_membranes": In(1),
            "started": Out(1),
            "finished": Out(1),
            "faulty": Out(1),
            "spikes": Out(spiking),
            "active": Out(len(hardware.layers)),
        }
        if hardware.monitor:
            members["monitor"] = Out(stream.Signature(monitor_layout(spiking)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hardware, contents = self._hardware, self._contents
        source: PixelEncoder | EventInput | TrainInput
        if hardware.input == "pixels":
            m.submodules.pixel_encoder = source = PixelEncoder(hardware, contents)
            connect(m, flipped(self.load), source.load)
        else:
            m.submodules.event_input = source = event_input(hardware)(hardware)
        connect(m, flipped(self.i), source.i)
        events = source.o
        if hardware.sorts:
            m.submodules.sorter = sorter = Sorter(hardware)
            connect(m, events, sorter.i)
            events = sorter.o
        inputs = events
        if hardware.monitor:
            m.submodules.monitor = monitor = Monitor(hardware)
            connect(m, flipped(self.monitor), monitor.o)

        spikes, adding = [], []
        for index, shape in enumerate(hardware.layers):
            if hardware.monitor:
                m.submodules[f"fork{index}"] = fork = Fork(event_layout(hardware, index))
                connect(m, events, fork.i)
                connect(m, fork.tap, getattr(monitor, f"i{index}"))
                events = fork.o
            # Here ends the path of ready: what is before it waits for a register.
            m.submodules[f"skid{index}"] = skid = SkidBuffer(event_layout(hardware, index))
            connect(m, events, skid.i)
            events = skid.o
            m.submodules[f"integrator{index}"] = integrator = Integrator(hardware, index, contents)
            m.submodules[f"membranes{index}"] = membranes = Membranes(shape)
            last = index == len(hardware.layers) - 1
            end = Readout(hardware, index, contents) if last else Neurons(hardware, index, contents)
            m.submodules["readout" if last else f"neurons{index}"] = end
            connect(m, events, integrator.i)
            connect(m, integrator.add, membranes.add)
            connect(m, integrator.test, end.test)
            connect(m, end.scan, membranes.scan)
            m.d.comb += integrator.release.eq(end.release)
            for part in (integrator, end):
                connect(m, flipped(self.load), part.load)
            spikes.append(events.valid & events.ready & ~events.payload.mark)
            adding.append(integrator.adding)
            events = end.o
        connect(m, end.o, flipped(self.o))

        def ends(population: Any) -> Any:
            event, final = population.payload, hardware.layers[0].input_codes - 1
            return population.valid & population.ready & event.mark & (event.step == final)

        m.d.comb += [
            end.send_membranes.eq(self.send_membranes),
            self.spikes.eq(Cat(spikes)),
            self.active.eq(Cat(adding)),
            self.started.eq(ends(source.o)),
            self.faulty.eq(ends(inputs) & inputs.payload.fault),
            self.finished.eq(self.o.valid & self.o.ready & self.o.payload.last),
        ]
        return m
