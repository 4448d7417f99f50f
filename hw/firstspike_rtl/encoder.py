"""From the input stream to the events of the input population."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firstspike.hardware import Hardware
from firstspike_rtl.layouts import EVENT_WORD, PIXELS_PER_WORD, WORD, LoadSignature, event_layout, number
from firstspike_rtl.tables import Contents, add_table


def input_events(hardware: Hardware) -> data.StructLayout:
    """Layout of the input population's events."""
    return event_layout(hardware.sizes[0], hardware.layers[0].input_codes)


class PixelEncoder(wiring.Component):
    """Spikes from pixels: each byte of a word is looked up; those that have a code are sent, in order of index.

    A frame is one image: ``ceil(N/4)`` words, pixel 0 in the lowest byte, ``last`` in the last word. The final
    watermark follows the last spike. A frame that ends early counts the missing pixels as silent; one that goes on
    is cut, and its further words are dropped up to ``last``. Both set ``fault`` in the watermark.

    Latency: 1 clock from a word to its first spike.
    Throughput: max(1, spikes) clocks a word, and 1 for the watermark.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    load : In(LoadSignature)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware, contents: Contents) -> None:
        self._hardware, self._contents = hardware, contents
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(input_events(hardware))),
                "load": In(LoadSignature(hardware)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size = self._hardware.sizes[0]
        words = -(-size // PIXELS_PER_WORD)
        final = self._hardware.layers[0].input_codes - 1
        table = add_table(m, self._hardware.memory("encoder"), self._contents, self.load)

        position = Signal(number(words))  # of the next word
        dropping = Signal()
        # What the stage holds: a word, or the watermark that follows the last word.
        word_s1 = Signal(number(words))
        busy_s1 = Signal()
        token_s1 = Signal()
        ending_s1 = Signal()
        fault_s1 = Signal()
        done_s1 = Signal(PIXELS_PER_WORD)

        step = Signal()
        accept = Signal()
        lookups = []
        for lane in range(PIXELS_PER_WORD):
            read = table.read_port()
            m.d.comb += [read.addr.eq(self.i.payload.data.word_select(lane, 8)), read.en.eq(accept)]
            lookups.append(read.data)

        exists = [
            (word_s1 != words - 1) | (lane < size - (words - 1) * PIXELS_PER_WORD) for lane in range(PIXELS_PER_WORD)
        ]
        pending = Signal(PIXELS_PER_WORD)
        lowest = Signal(PIXELS_PER_WORD)
        m.d.comb += [
            pending.eq(Cat(row[-1] & there for row, there in zip(lookups, exists, strict=True)) & ~done_s1),
            lowest.eq(pending & -pending),
        ]

        # The stage moves on when its last spike, or its watermark, is taken; a silent word takes one clock.
        m.d.comb += [
            self.o.valid.eq((busy_s1 & pending.any()) | token_s1),
            step.eq(Mux(token_s1, self.o.ready, ~busy_s1 | ~pending.any() | (self.o.ready & (pending == lowest)))),
            accept.eq(step & ~ending_s1 & ~dropping & self.i.valid),
            self.i.ready.eq((step & ~ending_s1) | dropping),
            self.o.payload.mark.eq(token_s1),
            self.o.payload.fault.eq(token_s1 & fault_s1),
        ]
        for lane in reversed(range(PIXELS_PER_WORD)):
            with m.If(pending[lane]):
                m.d.comb += [
                    self.o.payload.step.eq(lookups[lane][:-1]),
                    self.o.payload.index.eq(word_s1 * PIXELS_PER_WORD + lane),
                ]
        with m.If(token_s1):
            m.d.comb += self.o.payload.step.eq(final)

        with m.If(self.o.ready & self.o.valid):
            m.d.sync += done_s1.eq(done_s1 | lowest)
        with m.If(step):
            m.d.sync += [busy_s1.eq(accept), token_s1.eq(ending_s1), ending_s1.eq(0)]
        with m.If(accept):
            last = self.i.payload.last
            m.d.sync += [word_s1.eq(position), done_s1.eq(0), position.eq(position + 1)]
            with m.If(last | (position == words - 1)):
                m.d.sync += [
                    ending_s1.eq(1),
                    position.eq(0),
                    fault_s1.eq(~(last & (position == words - 1))),
                    dropping.eq(~last),
                ]
        with m.If(dropping & self.i.valid & self.i.payload.last):
            m.d.sync += dropping.eq(0)
        return m


class EventInput(wiring.Component):
    """Spikes from words: one event a word (``EVENT_WORD``, fields ``index``, ``step`` and ``mark``).

    A frame is one image, ``last`` in its last word; a word with ``mark`` carries no spike (an image without spikes is
    one such word). Spikes may come in any order; no neuron may come twice (the result of such an image is undefined). A
    spike outside the population or the window is dropped and sets ``fault`` in the final watermark.

    Latency: 1 clock. Throughput: 1 clock a word, and 1 for the watermark.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(input_events(hardware)))})

    def elaborate(self, platform):
        m = Module()
        size, codes = self._hardware.sizes[0], self._hardware.layers[0].input_codes
        event = data.View(EVENT_WORD, self.i.payload.data)
        inside = Signal()
        m.d.comb += inside.eq((event.index < size) & (event.step < codes))

        ending = Signal()
        fault = Signal()
        step = Signal()
        m.d.comb += [step.eq(~self.o.valid | self.o.ready), self.i.ready.eq(step & ~ending)]
        with m.If(step):
            m.d.sync += self.o.valid.eq(0)
            with m.If(ending):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.payload.mark.eq(1),
                    self.o.payload.fault.eq(fault),
                    self.o.payload.step.eq(codes - 1),
                    ending.eq(0),
                    fault.eq(0),
                ]
            with m.Elif(self.i.valid):
                m.d.sync += [
                    self.o.valid.eq(inside & ~event.mark),
                    self.o.payload.mark.eq(0),
                    self.o.payload.fault.eq(0),
                    self.o.payload.step.eq(event.step),
                    self.o.payload.index.eq(event.index),
                    ending.eq(self.i.payload.last),
                    fault.eq(fault | (~inside & ~event.mark)),
                ]
        return m


class Sorter(wiring.Component):
    """Events of an image in order of time, with a watermark after every step.

    A bucket sort: each step has a linked list of neurons, threaded through one memory of N entries. It stores a whole
    image, then sends it; events of the same step keep their order. If a neuron comes twice in an image, the lists are
    damaged: no more events are sent than came, and ``fault`` is set in the final watermark if their number is wrong.

    Latency: 2 clocks from the final watermark in to the first event out.
    Throughput: 1 clock an event while storing, then ``spikes + T`` clocks while sending.

    Parameters
    ----------
    neurons, steps
        N and T of the population.

    Members
    -------
    i : In(stream of events), in any order, ended by the final watermark
    o : Out(stream of events)
    """

    LATENCY = 2

    def __init__(self, neurons: int, steps: int) -> None:
        self._neurons, self._steps = neurons, steps
        signature = stream.Signature(event_layout(neurons, steps))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform):
        from amaranth.lib.memory import Memory

        m = Module()
        index_bits, steps = number(self._neurons), self._steps
        m.submodules.head = head = Memory(shape=index_bits, depth=max(2, steps), init=[])
        m.submodules.tail = tail = Memory(shape=index_bits, depth=max(2, steps), init=[])
        m.submodules.next = following = Memory(shape=index_bits, depth=max(2, self._neurons), init=[])
        head_read, tail_read, next_read = (
            head.read_port(domain="comb"),
            tail.read_port(domain="comb"),
            following.read_port(),
        )
        head_write, tail_write, next_write = head.write_port(), tail.write_port(), following.write_port()

        sending = Signal()
        used = Signal(steps)  # steps that have an event
        flags = Array(used)
        fault = Signal()
        left = Signal(range(self._neurons + 1))  # events stored and not yet sent
        too_many = Signal()
        k = Signal(number(steps))
        first = Signal(init=1)
        ended = Signal()
        i, o = self.i.payload, self.o.payload
        step = Signal()
        m.d.comb += step.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        current = Signal(index_bits)
        m.d.comb += [
            self.i.ready.eq(~sending),
            head_read.addr.eq(k),
            tail_read.addr.eq(Mux(sending, k, i.step)),
            current.eq(Mux(first, head_read.data, next_read.data)),
            next_read.addr.eq(current),
            next_read.en.eq(step),
            head_write.addr.eq(i.step),
            head_write.data.eq(i.index),
            tail_write.addr.eq(i.step),
            tail_write.data.eq(i.index),
            next_write.addr.eq(tail_read.data),
            next_write.data.eq(i.index),
        ]

        with m.If(~sending & self.i.valid):
            with m.If(~i.mark):
                occupied = flags[i.step]
                m.d.comb += [head_write.en.eq(~occupied), next_write.en.eq(occupied), tail_write.en.eq(1)]
                m.d.sync += flags[i.step].eq(1)
                with m.If(left == self._neurons):
                    m.d.sync += too_many.eq(1)
                with m.Else():
                    m.d.sync += left.eq(left + 1)
            with m.Elif(i.step == steps - 1):
                m.d.sync += [sending.eq(1), fault.eq(i.fault | too_many), too_many.eq(0)]

        with m.If(sending & step):
            m.d.sync += [self.o.valid.eq(1), o.step.eq(k)]
            pending = flags[k] & ~ended
            with m.If(pending & (left != 0)):
                m.d.sync += [
                    o.mark.eq(0),
                    o.fault.eq(0),
                    o.index.eq(current),
                    first.eq(0),
                    ended.eq(current == tail_read.data),
                    left.eq(left - 1),
                ]
            with m.Else():
                wrong = fault | pending | (left != 0)
                m.d.sync += [o.mark.eq(1), first.eq(1), ended.eq(0), o.fault.eq(wrong & (k == steps - 1))]
                with m.If(k == steps - 1):
                    m.d.sync += [k.eq(0), used.eq(0), left.eq(0), sending.eq(0)]
                with m.Else():
                    m.d.sync += [k.eq(k + 1), fault.eq(fault | pending)]
        return m
