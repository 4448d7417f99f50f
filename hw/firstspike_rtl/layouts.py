"""Payloads of the streams inside the core, each defined once from the generated shape.

RTL, simulations and benches pack and unpack with these layouts.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from firstspike.hardware import WORD_BITS, Hardware, LayerShape


def number(count: int) -> int:
    """Bits of a number 0..count-1, at least one."""
    return max(1, bits_for(count - 1))


def event_layout(neurons: int, codes: int) -> data.StructLayout:
    """A spike or a watermark of a population.

    ===== ==========================================================================================
    field meaning
    ===== ==========================================================================================
    mark  0: a spike. 1: a watermark: no further spike with a code <= ``step`` follows in this image;
          the one with the last code ends the image.
    fault In the watermark that ends the image: its input frame was malformed.
    step  Code of the spike, 0..codes-1: for all but direct input, the time step.
    index Neuron, 0..neurons-1; ignored in a watermark.
    ===== ==========================================================================================
    """
    return data.StructLayout(
        {"mark": 1, "fault": 1, "step": unsigned(number(codes)), "index": unsigned(number(neurons))}
    )


def update_layout(shape: LayerShape) -> data.StructLayout:
    """One group of membranes to add to, or a watermark.

    ======== ================================================================
    field    meaning
    ======== ================================================================
    mark     as in the event
    fault    as in the event
    step     of the watermark; of no meaning in an update
    group    which membranes: neurons ``group * lanes + lane``
    products W * K for each lane, of no meaning in a watermark
    ======== ================================================================
    """
    return data.StructLayout(
        {
            "mark": 1,
            "fault": 1,
            "step": unsigned(number(shape.input_codes)),
            "group": unsigned(number(shape.groups)),
            "products": data.ArrayLayout(signed(shape.weight_bits + shape.kernel_bits), shape.lanes),
        }
    )


#: A word of a framed 32-bit stream: pixels or events in, result records out.
WORD = data.StructLayout({"data": WORD_BITS, "last": 1})

#: An event as the outside sees it (event input, monitor): fields of a 32-bit word.
EVENT_WORD = data.StructLayout({"index": 16, "step": 10, "population": 4, "fault": 1, "mark": 1})

#: The last word of a result record. ``step`` is that of the earliest output spike, T if there is none.
RESULT_WORD = data.StructLayout({"index": 16, "step": 15, "fault": 1})

PIXELS_PER_WORD = WORD_BITS // 8


class LoadSignature(wiring.Signature):
    """Write access to every memory: one 32-bit word ``word`` of row ``row`` of memory number ``memory``."""

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "memory": Out(unsigned(number(len(hardware.memories)))),
                "row": Out(unsigned(number(max(x.depth for x in hardware.memories)))),
                "word": Out(unsigned(number(max(x.words for x in hardware.memories)))),
                "data": Out(WORD_BITS),
            }
        )


def event_stream(neurons: int, codes: int) -> stream.Signature:
    """Stream of events of one population."""
    return stream.Signature(event_layout(neurons, codes))
