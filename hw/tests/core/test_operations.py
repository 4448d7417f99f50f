"""Operations computed from counters are those that the ports of the memories in the core show, clock by clock."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from cores import draw_case, run_core
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from firstspike.contract.hardware import Hardware
from firstspike.energy.operations import Counters, Operations, count
from firstspike.network import golden
from firstspike_rtl.clocks.cycles import floor
from firstspike_rtl.core import datapath as core
from firstspike_rtl.core import neurons, readout
from firstspike_rtl.core.membranes import Membranes
from firstspike_rtl.core.scanner import Scanner

#: Without shrinking: a smaller example would take minutes of simulation to find.
GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)


class Ports:
    """Process that counts the clocks in which each layer's membranes are added to, scanned, and cleared."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts  # of the core, layer by layer, once it was elaborated
        self.added: Counter[int] = Counter()
        self.scanned: Counter[int] = Counter()
        self.cleared: Counter[int] = Counter()

    async def watch(self, ctx) -> None:
        parts = [part for part in self._parts if isinstance(part, Membranes)]
        scanners = {part.index: part for part in self._parts if isinstance(part, Scanner)}
        signals = [(m.add.valid, m.scan.active, scanners[n].room, m.scan.clear) for n, m in enumerate(parts)]
        before = [0] * len(signals)
        async for _, _, *values in ctx.tick().sample(*(signal for group in signals for signal in group)):
            for n in range(len(signals)):
                added, active, room, clear = values[4 * n : 4 * n + 4]
                self.added[n] += added
                # An address waits until there is room for what follows from it. In the last clock there is none.
                self.scanned[n] += active & room
                self.scanned[n] -= before[n] & ~active & 1
                # Not both banks, as after a reset; and registers are not counted.
                self.cleared[n] += clear in (1, 2) and not parts[n].shape.shallow
                before[n] = active & room


def of(operations: Operations, part: str) -> tuple[Counter[int], Counter[int]]:
    """Reads and writes of each layer's membranes."""
    reads, writes = Counter(), Counter()
    for access in operations.accesses:
        if (access.part, access.memory) == (part, "membranes"):
            reads[access.layer] += access.reads
            writes[access.layer] += access.writes
    return reads, writes


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
@settings(max_examples=25, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_ports_of_the_membranes(convolutional: bool, data: st.DataObject) -> None:
    network, hardware, pictures = draw_case(data, convolutional=convolutional)
    stall, seed = data.draw(st.sampled_from([0.0, 0.3])), data.draw(st.integers(0, 1000))
    check(network, hardware, pictures, stall=stall, seed=seed)


def check(network, hardware: Hardware, pictures, **how: Any) -> None:
    made: list[Any] = []

    class Watched(Membranes):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    class WatchedScanner(Scanner):
        def __init__(self, hardware: Hardware, index: int, *arguments: Any, **options: Any) -> None:
            super().__init__(hardware, index, *arguments, **options)
            self.index = index
            made.append(self)

    ports = Ports(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "Membranes", Watched)
        patch.setattr(neurons, "Scanner", WatchedScanner)
        patch.setattr(readout, "Scanner", WatchedScanner)
        result, _, _ = run_core(network, hardware, pictures, processes=[ports.watch], **how)
    assert result == golden.run(network, pictures)
    spikes = result.spikes(network).sum(axis=0).tolist()
    active = floor(hardware, result).sum(axis=0).tolist()
    operations = count(
        hardware,
        Counters(images=len(result), faults=0, clocks=0, spikes=tuple(spikes), active=tuple(active)),
    )
    reads, writes = of(operations, "membranes")
    assert +ports.added == +reads == +writes
    reads, writes = of(operations, "scan")
    assert (+ports.scanned, +ports.cleared) == (+reads, +writes)
