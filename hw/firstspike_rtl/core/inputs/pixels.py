"""From words of pixels to the events of the input population."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from firstspike.contract.hardware import PIXELS_PER_WORD, Hardware
from firstspike_rtl.core.buffers import Queue
from firstspike_rtl.core.layouts import WORD, Component, LoadSignature, event_layout, number
from firstspike_rtl.core.serialiser import Serialiser
from firstspike_rtl.core.tables import Contents, add_table, copies


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
