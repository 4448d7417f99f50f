"""Ports: payloads of the streams inside the core, each defined once from the generated shape; the base of components.

RTL, simulations and benches pack and unpack with these layouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from firstspike.contract import words
from firstspike.contract.hardware import Hardware
from firstspike.contract.memory import WORD_BITS

if TYPE_CHECKING:

    class Component(wiring.Component[Any]):
        """Ports are made at run time from the signature: each is an attribute that may be of any type."""

        def __getattr__(self, name: str) -> Any: ...
else:
    Component = wiring.Component


def number(count: int) -> int:
    """Bits of a number 0..count-1, at least one."""
    return max(1, bits_for(count - 1))


def ordered(value: Value) -> Value:
    """A signed number as an unsigned one of the same order: synthesis compares these by one carry chain."""
    return Cat(value[:-1], ~value[-1])


def event_layout(hardware: Hardware, population: int) -> data.StructLayout:
    """A spike or a watermark of a population.

    ===== ==========================================================================================
    field meaning
    ===== ==========================================================================================
    mark  0: a spike. 1: a watermark: no further spike with a code <= ``step`` follows in this image;
          the one with the last code ends the image.
    fault In the watermark that ends the image: its input frame was malformed.
    step  Code of the spike, 0..codes-1: for all but direct input, the time step.
    index Which neuron (:meth:`Hardware.indices`); of no meaning in a watermark.
    ===== ==========================================================================================
    """
    codes = hardware.layers[population].input_codes
    return data.StructLayout(
        {"mark": 1, "fault": 1, "step": unsigned(number(codes)), "index": unsigned(hardware.index_bits(population))}
    )


#: What the membranes are to be tested for: the steps that are left of the window (``final``) or the next one.
TEST = data.StructLayout({"final": 1, "fault": 1})


def slice_layout(hardware: Hardware, layer: int) -> data.StructLayout:
    """``fire_lanes`` neurons of a layer, after pooling, that are tested at once.

    ======== =====================================================================================
    field    meaning
    ======== =====================================================================================
    values   membranes of channels in a row; those of channels that do not exist are not positive
    index    of the first neuron (:meth:`Hardware.indices`)
    step     k to test; of no meaning to a search
    end      the last slice of this step
    fault    as in the test
    ======== =====================================================================================
    """
    shape = hardware.layers[layer]
    return data.StructLayout(
        {
            "values": data.ArrayLayout(signed(shape.membrane_bits), shape.fire_lanes),
            "index": unsigned(output_index_bits(hardware, layer)),
            "step": unsigned(number(hardware.steps)),
            "end": 1,
            "fault": 1,
        }
    )


def sums_layout(hardware: Hardware, layer: int) -> data.StructLayout:
    """As :func:`slice_layout`, of the sums of a step, for neurons with dynamics; each membrane of a window apart.

    ====== =====================================================================================
    field  meaning
    ====== =====================================================================================
    values sums of channels in a row
    step   of the population's life
    row    of the slice's channels in a table that has them
    first  the first of its window
    emit   the last of its window
    ====== =====================================================================================
    """
    shape = hardware.layers[layer]
    plain = {name: field.shape for name, field in slice_layout(hardware, layer)}
    return data.StructLayout(
        plain
        | {
            "values": data.ArrayLayout(signed(shape.bank_bits), shape.fire_lanes),
            "step": unsigned(number(hardware.passes(layer))),
            "row": unsigned(number(hardware.memory("bias", layer).depth)),
            "first": 1,
            "emit": 1,
        }
    )


def output_index_bits(hardware: Hardware, layer: int) -> int:
    """Bits of the index of a neuron of the population after a layer."""
    if layer == len(hardware.layers) - 1:
        return number(hardware.layers[layer].outputs)
    return hardware.index_bits(layer + 1)


#: A word of a framed 32-bit stream: pixels or events in, result records out.
WORD = data.StructLayout({"data": WORD_BITS, "last": 1})

#: An event as the outside sees it (event input, monitor): fields of a 32-bit word.
EVENT_WORD: Any = data.StructLayout(words.EVENT_WORD)

#: The last word of a result record. ``step`` is that of the earliest output spike, T if there is none.
RESULT_WORD = data.StructLayout(words.RESULT_WORD)


class LoadSignature(wiring.Signature):
    """Write access to every memory: row ``row`` of memory number ``memory``, in the lowest bits of ``data``."""

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "memory": Out(unsigned(number(len(hardware.memories)))),
                "row": Out(unsigned(number(max(x.depth for x in hardware.memories)))),
                "data": Out(max(x.words for x in hardware.memories) * WORD_BITS),
            }
        )
