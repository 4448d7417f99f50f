"""Deliberately wrong hardware: each a context in which the RTL is built with one mistake."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from firstspike_rtl import core, membranes, readout, synapse, top
from firstspike_rtl.core import Core
from firstspike_rtl.membranes import FiringClock, Membranes
from firstspike_rtl.monitor import Fork

Mutant = Callable[[], contextlib.AbstractContextManager[object]]


def greater() -> contextlib.AbstractContextManager[object]:
    """``>`` for ``>=`` in the firing rule."""
    return mock.patch.object(membranes, "reaches", lambda membrane, threshold: membrane > threshold)


@contextlib.contextmanager
def wrong_last_step() -> Iterator[None]:
    """The window ends one step early: nothing fires at step T - 1."""
    clocks: list[FiringClock] = []
    make, reaches = FiringClock.__init__, membranes.reaches

    def remember(self: FiringClock, *arguments: object) -> None:
        make(self, *arguments)
        clocks.append(self)

    with (
        mock.patch.object(FiringClock, "__init__", remember),
        mock.patch.object(membranes, "reaches", lambda v, threshold: reaches(v, threshold) & ~clocks[-1].last),
    ):
        yield


def lost_end() -> contextlib.AbstractContextManager[object]:
    """The last step is taken to be T - 2, so that the watermark that ends the image never comes."""
    return mock.patch.object(FiringClock, "last", property(lambda self: self.k == self._steps - 2))


def stale_membrane() -> contextlib.AbstractContextManager[object]:
    """The refill leaves the membrane of one lane as it was."""
    return mock.patch.object(Membranes, "refill", _refill(lambda cell, bias, lane: (bias if lane else cell.v, 0)))


def stale_flag() -> contextlib.AbstractContextManager[object]:
    """The refill leaves the fired flag of one lane as it was."""
    return mock.patch.object(Membranes, "refill", _refill(lambda cell, bias, lane: (bias, 0 if lane else cell.fired)))


def no_bias() -> contextlib.AbstractContextManager[object]:
    """The refill puts in zeros."""
    return mock.patch.object(Membranes, "refill", _refill(lambda cell, bias, lane: (0, 0)))


def _refill(choose: Callable) -> Callable[[Membranes], None]:
    def refill(self: Membranes) -> None:
        self._m.d.comb += self._enable.eq(1)
        for lane, (cell, bias) in enumerate(zip(self.row, self._bias, strict=True)):
            v, fired = choose(cell, bias, lane)
            self._m.d.comb += [self._new[lane].v.eq(v), self._new[lane].fired.eq(fired)]

    return refill


def fires_again() -> contextlib.AbstractContextManager[object]:
    """A neuron that has fired fires again at the next step."""

    def mark_fired(self: Membranes, hits: object) -> None:
        self._m.d.comb += self._enable.eq(0)

    return mock.patch.object(Membranes, "mark_fired", mark_fired)


class DroppingFork(Fork):
    """Every fifth spike does not go on."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Fork(self.i.payload.shape())
        count, drop = Signal(3), Signal()
        connect(m, flipped(self.i), inner.i)
        connect(m, flipped(self.tap), inner.tap)
        m.d.comb += [
            drop.eq((count == 4) & ~inner.o.payload.mark),
            self.o.payload.eq(inner.o.payload),
            self.o.valid.eq(inner.o.valid & ~drop),
            inner.o.ready.eq(self.o.ready | drop),
        ]
        with m.If(inner.o.valid & inner.o.ready & ~inner.o.payload.mark):
            m.d.sync += count.eq(Mux(count == 4, 0, count + 1))
        return m


def dropped_event() -> contextlib.AbstractContextManager[object]:
    """A layer loses every fifth spike that the monitor still shows."""
    return mock.patch.object(core, "Fork", DroppingFork)


class HidingFork(Fork):
    """The tap misses what it is not ready for."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload), self.i.ready.eq(self.o.ready),
            self.tap.valid.eq(self.i.valid & self.o.ready & ~self.i.payload.step[0]),
            self.tap.payload.eq(self.i.payload),
        ]  # fmt: skip
        return m


def hidden_event() -> contextlib.AbstractContextManager[object]:
    """The monitor does not see the events of odd steps."""
    return mock.patch.object(core, "Fork", HidingFork)


def swapped_lanes() -> contextlib.AbstractContextManager[object]:
    """The weights of a row in reverse order."""
    fields = synapse.fields
    return mock.patch.object(synapse, "fields", lambda spec, row: fields(spec, row)[::-1])


def last_of_equals() -> contextlib.AbstractContextManager[object]:
    """A tie of the readout goes to the highest index."""
    return mock.patch.object(readout, "beats", lambda membrane, best: membrane >= best)


@contextlib.contextmanager
def _fire_start(change: int) -> Iterator[None]:
    make = FiringClock.__init__

    def changed(self: FiringClock, *arguments: object) -> None:
        make(self, *arguments)
        self._start += change

    with mock.patch.object(FiringClock, "__init__", changed):
        yield


def late_fire_start() -> contextlib.AbstractContextManager[object]:
    """Early firing with S + 1."""
    return _fire_start(1)


def early_fire_start() -> contextlib.AbstractContextManager[object]:
    """Early firing with S - 1."""
    return _fire_start(-1)


class HastyCore(wiring.Component):
    """The core, but its results go out whether or not anybody is ready."""

    def __init__(self, *arguments: object) -> None:
        self._inner = Core(*arguments)
        super().__init__(self._inner.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = self._inner
        for name, member in self.signature.members.items():
            if name == "o":
                m.d.comb += [self.o.valid.eq(inner.o.valid), self.o.payload.eq(inner.o.payload), inner.o.ready.eq(1)]
            elif member.is_port:
                mine, its = getattr(self, name), getattr(inner, name)
                m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
            else:
                connect(m, flipped(getattr(self, name)), getattr(inner, name))
        return m


def no_backpressure() -> contextlib.AbstractContextManager[object]:
    """The output ignores ``ready``. Only visible at the pins."""
    return mock.patch.object(top, "Core", HastyCore)


#: Those that any comparison of the core must find, with or without stalls.
CORE: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        greater, wrong_last_step, lost_end, stale_membrane, stale_flag, no_bias, fires_again, dropped_event,
        hidden_event, swapped_lanes, last_of_equals, late_fire_start, early_fire_start,
    )
}  # fmt: skip
#: Those that the cocotb benches must find, too.
BENCH: dict[str, Mutant] = {
    mutant.__name__: mutant for mutant in (greater, dropped_event, wrong_last_step, stale_membrane, no_backpressure)
}
