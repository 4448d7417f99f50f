"""From the input stream to the events of the input population."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.layouts import EVENT_WORD, WORD, Component, LoadSignature, event_layout, number
from firstspike_rtl.core.serialiser import Serialiser
from firstspike_rtl.core.tables import Contents, Table, add_table, copies


def advanced(m: Module, hardware: Hardware, index: Value, count: int, multiple: int = 1) -> Value:
    """Index in an event of the input neuron ``count`` after that of ``index``, whose number is a ``multiple``."""
    _, rows, columns = hardware.layers[0].map
    strides = hardware.strides(0)
    plain = strides == (rows * columns, columns, 1)  # fields of full range count like numbers
    if (plain or columns % multiple == 0) and count < multiple:
        low = (multiple - 1).bit_length()
        return Cat(Const(count, low), index[low:])  # a multiple ends in zeros, and is no end of a row
    if plain:
        return index + count
    row_bits, column_bits = (rows - 1).bit_length(), (columns - 1).bit_length()
    column, carry = _digit(m, index[:column_bits], count % columns, columns)
    row, row_carry = _digit(m, index[column_bits : column_bits + row_bits], count // columns % rows + carry, rows)
    channel = index[column_bits + row_bits :] + count // (columns * rows) + row_carry
    return Cat(column, row, channel)


def _digit(m: Module, digit: Value, more: ValueLike, base: int) -> tuple[Value, ValueLike]:
    """A digit of a number plus something of at most ``base``, and the carry."""
    if base == 1:
        return digit, more
    total = Signal(range(2 * base))
    carry = Signal()
    kept = Signal(len(digit))
    m.d.comb += [total.eq(digit + more), carry.eq(total >= base), kept.eq(Mux(carry, total - base, total))]
    return kept, carry


class PixelEncoder(Component):
    """Spikes from pixels, four pixels a clock: each byte of a word is looked up; words with a spike wait in a queue.

    A frame is one image: ``ceil(N/4)`` words, pixel 0 in the lowest byte, ``last`` in the last word. The final
    watermark follows the last spike. A frame that ends early counts the missing pixels as silent; one that goes on
    is cut, and its further words are dropped up to ``last``. Both set ``fault`` in the watermark.

    ===== ==============================================================
    stage holds
    ===== ==============================================================
    1     a word; the table is read
    2     its codes; without a spike it goes no further
    queue words with spikes, and the last word of an image
    3, 4  spikes of a word; an event, in the :class:`Serialiser`
    ===== ==============================================================

    A word is taken while the queue has room for it and for those in stages 1 and 2, which never wait.

    Latency: :attr:`LATENCY` clocks from a word to its first spike.
    Throughput: 1 clock a word; 1 clock a spike, and 1 for the watermark; the slower counts over ``QUEUE`` words.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    load : In(LoadSignature)
    """

    #: Words in the queue.
    QUEUE = 32
    #: Stages before the queue.
    STAGES = 2
    LATENCY = STAGES + Queue.LATENCY + Serialiser.LATENCY

    def __init__(self, hardware: Hardware, contents: Contents) -> None:
        self._hardware, self._contents = hardware, contents
        event = event_layout(hardware, 0)
        self._queued = data.StructLayout(
            {
                "hits": PIXELS_PER_WORD,
                "steps": data.ArrayLayout(event["step"].shape, PIXELS_PER_WORD),
                "index": event["index"].shape,
                "mark": 1,
                "fault": 1,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(event)),
                "load": In(LoadSignature(hardware)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = self._look_up(m)
        self._serialise(m, queue)
        return m

    def _look_up(self, m: Module) -> Queue:
        """Stages 1 and 2, and the queue: from words of pixels to words with spikes."""
        hardware = self._hardware
        words = hardware.frame_words
        word = Signal(number(words))  # of the next word
        place = Signal(self._queued["index"].shape)  # index of its first pixel
        dropping = Signal()
        accept = Signal()
        end = Signal(init=words == 1)  # it is the last one
        m.submodules.queue = queue = Queue(self._queued, self.STAGES, self.QUEUE)
        m.d.comb += accept.eq(queue.room & ~dropping & self.i.valid)
        lookups = []
        spec = hardware.memory("encoder")
        names = copies(spec)
        pixels = [self.i.payload.data.word_select(lane, 8) for lane in range(PIXELS_PER_WORD)]
        for name, first in zip(names, range(0, PIXELS_PER_WORD, PIXELS_PER_WORD // len(names)), strict=True):
            # A block memory has two ports: one of them reads, and writes while the core is being loaded.
            shared = Signal(8, name=f"row_of_{name}")
            m.d.comb += shared.eq(Mux(self.load.valid, self.load.row, pixels[first]))
            table = add_table(m, spec, self._contents, self.load, name=name, place=shared)
            for address in (shared, *pixels[first + 1 : first + PIXELS_PER_WORD // len(names)]):
                read = table.read_port()
                m.d.comb += read.addr.eq(address)
                lookups.append(read.data)

        valid_s1 = Signal()
        valid_s2 = Signal()
        whole_s1 = Signal()
        whole_s2 = Signal()
        word_s1: Any = Signal(self._queued)
        word_s2: Any = Signal(self._queued)
        entry: Any = Signal(self._queued)
        # Without a reset, so that they can be the output registers of block memories.
        rows = [Signal.like(row, name=f"row{lane}", reset_less=True) for lane, row in enumerate(lookups)]
        surplus = words * PIXELS_PER_WORD - hardware.sizes[0]
        exists = Mux(whole_s2, (1 << PIXELS_PER_WORD - surplus) - 1, (1 << PIXELS_PER_WORD) - 1)
        m.d.comb += [
            entry.eq(word_s2),
            entry.hits.eq(Cat(row[-1] for row in rows) & exists),
            *(part.eq(row[:-1]) for part, row in zip(entry.steps, rows, strict=True)),
            queue.item.eq(entry),
            queue.valid.eq(valid_s2 & (entry.hits.any() | entry.mark)),
            self.i.ready.eq(queue.room | dropping),
        ]
        m.d.sync += [
            *(held.eq(row) for held, row in zip(rows, lookups, strict=True)),
            word_s2.eq(word_s1),
            whole_s2.eq(whole_s1),
            valid_s2.eq(valid_s1),
            valid_s1.eq(accept),
            whole_s1.eq(end),
            word_s1.index.eq(place),
            word_s1.mark.eq(self.i.payload.last | end),
            word_s1.fault.eq(~(self.i.payload.last & end)),
        ]
        with m.If(accept):
            m.d.sync += [word.eq(word + 1), end.eq(word == words - 2)]
            m.d.sync += place.eq(advanced(m, hardware, place, PIXELS_PER_WORD))
            with m.If(self.i.payload.last | end):
                m.d.sync += [word.eq(0), end.eq(words == 1), place.eq(0), dropping.eq(~self.i.payload.last)]
        with m.If(dropping & self.i.valid & self.i.payload.last):
            m.d.sync += dropping.eq(0)
        return queue

    def _serialise(self, m: Module, queue: Queue) -> None:
        """Stages 3 and 4: from words in the queue to events."""
        hardware = self._hardware
        m.submodules.serialiser = serialiser = Serialiser(
            event_layout(hardware, 0),
            PIXELS_PER_WORD,
            lambda m, index, lane: advanced(m, hardware, index, lane, PIXELS_PER_WORD),
        )
        held = queue.o.payload
        m.d.comb += [
            serialiser.hits.eq(held.hits & queue.o.valid.replicate(PIXELS_PER_WORD)),
            serialiser.mark.eq(held.mark & queue.o.valid),
            serialiser.index.eq(held.index),
            serialiser.steps.eq(held.steps),
            serialiser.mark_step.eq(hardware.layers[0].input_codes - 1),
            serialiser.fault.eq(held.fault),
            queue.o.ready.eq(serialiser.ready),
        ]
        connect(m, serialiser.o, flipped(self.o))


class EventInput(Component):
    """Spikes from words: one event a word (``EVENT_WORD``, fields ``index``, ``step`` and ``mark``).

    A frame is one image, ``last`` in its last word; a word with ``mark`` carries no spike (an image without spikes is
    one such word). Spikes may come in any order; no neuron may come more often than it may fire (the result of such an
    image is undefined). A spike outside the population or the window is dropped and sets ``fault`` in the final
    watermark.

    Latency: 1 clock. Throughput: 1 clock a word, and 1 for the watermark.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    """

    LATENCY = 1

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(event_layout(hardware, 0)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        codes = self._hardware.layers[0].input_codes
        event = data.View(EVENT_WORD, self.i.payload.data)
        inside = Signal()
        m.d.comb += inside.eq(_exists(self._hardware, event.index) & (event.step < codes))

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


class TrainInput(Component):
    """Spikes of neurons that may fire again, from words as of :class:`EventInput`, in order of their steps.

    A watermark follows each step, before the first word of a later one or after the last word of the frame. A word with
    ``mark`` carries no spike: it says that time has come to its step. A word whose step is before that of another, or
    that names a neuron or a step which does not exist, is dropped and sets ``fault`` in the final watermark.

    Latency: :attr:`LATENCY` clocks from a word to its spike. Throughput: 1 clock a word, and 1 a step.

    Members
    -------
    i : In(stream of WORD)
    o : Out(stream of events)
    """

    LATENCY = 2

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(event_layout(hardware, 0)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        final = self._hardware.steps - 1
        given, o = data.View(EVENT_WORD, self.i.payload.data), self.o.payload
        # A word that waits for the watermarks of the steps before its own.
        held = Signal()
        step, index = Signal.like(o.step), Signal.like(o.index)
        spike, exists, last = Signal(), Signal(), Signal()
        k = Signal.like(o.step)  # time has come so far
        ending = Signal()
        fault = Signal()

        moves, takes = Signal(), Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            takes.eq(moves & held & ~ending & (~exists | (step <= k))),
            self.i.ready.eq(~held | takes),
        ]
        with m.If(moves):
            m.d.sync += [o.step.eq(k), o.index.eq(index), o.fault.eq(0)]
            with m.If(takes):
                m.d.sync += [
                    self.o.valid.eq(spike & exists & (step == k)),
                    o.mark.eq(0),
                    ending.eq(last),
                    fault.eq(fault | ~exists | (step != k)),
                ]
            with m.Elif(held | ending):
                m.d.sync += [self.o.valid.eq(1), o.mark.eq(1), k.eq(k + 1)]
                with m.If(k == final):
                    m.d.sync += [k.eq(0), ending.eq(0), o.fault.eq(fault), fault.eq(0)]
            with m.Else():
                m.d.sync += self.o.valid.eq(0)
        with m.If(takes):
            m.d.sync += held.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                held.eq(1),
                step.eq(given.step),
                index.eq(given.index),
                spike.eq(~given.mark),
                exists.eq((given.mark | _exists(self._hardware, given.index)) & (given.step <= final)),
                last.eq(self.i.payload.last),
            ]
        return m


def event_input(hardware: Hardware) -> type[EventInput | TrainInput]:
    """The input stage of a core that takes events."""
    return TrainInput if hardware.ordered[0] and hardware.repeat else EventInput


def _exists(hardware: Hardware, index: Value) -> Value:
    """Whether there is an input neuron of this index."""
    exists: Value = Const(1)
    rest = index
    for size, stride in zip(hardware.layers[0].map, hardware.strides(0), strict=True):
        bits = stride.bit_length() - 1
        exists &= rest[bits:] < size
        rest = rest[:bits]
    return exists


class Sorter(Component):
    """Events of an image in order of time, with a watermark after every step.

    A bucket sort: each step has a linked list of neurons, threaded through one memory of N entries. It stores a whole
    image, then sends it; events of the same step keep their order. If a neuron comes twice in an image, the lists are
    damaged: no more events are sent than came, and ``fault`` is set in the final watermark if their number is wrong.

    Latency: 2 clocks from the final watermark in to the first event out.
    Throughput: 1 clock an event while storing, then ``spikes + T`` clocks while sending.

    Parameters
    ----------
    hardware
        The core; its input population is sorted.

    Members
    -------
    i : In(stream of events), in any order, ended by the final watermark
    o : Out(stream of events)
    """

    LATENCY = 2

    def __init__(self, hardware: Hardware) -> None:
        self._neurons, self._steps = hardware.sizes[0], hardware.steps
        self._index_bits = hardware.index_bits(0)
        signature = stream.Signature(event_layout(hardware, 0))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        index_bits, steps = self._index_bits, self._steps
        head: Table = Memory(shape=index_bits, depth=max(2, steps), init=[])
        tail: Table = Memory(shape=index_bits, depth=max(2, steps), init=[])
        following: Table = Memory(shape=index_bits, depth=1 << index_bits, init=[])
        m.submodules.head, m.submodules.tail, m.submodules.next = head, tail, following
        head_read = head.read_port(domain="comb")
        tail_read = tail.read_port(domain="comb")
        next_read = following.read_port()
        head_write = head.write_port()
        tail_write = tail.write_port()
        next_write = following.write_port()

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
