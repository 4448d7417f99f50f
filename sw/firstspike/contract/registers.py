"""The register map of the core, and how a network is loaded through it.

The RTL decodes from this map, the manifest lists it, drivers and benches write by it. Every register is 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from firstspike.contract.hardware import DIGEST_WORDS, Hardware
from firstspike.contract.memory import WORD_BITS, Memory
from firstspike.contract.words import hash_digits, hash_words
from firstspike.errors import FirstspikeError

#: "TTFS" in ASCII.
IDENTITY = 0x54544653
#: Of the register map, event words and result records; a driver refuses another one.
INTERFACE_VERSION = 3

ENABLE, SEND_MEMBRANES, CLEAR_COUNTERS = 1, 2, 4
BUSY = 1

#: Registers that count since they were cleared, in a core that has them: modulo 2**32, but clocks are two words.
COUNTERS = ("images", "faults", "clocks", "spikes", "active")

Access = Literal["ro", "rw", "wo"]


@dataclass(frozen=True, kw_only=True)
class Register:
    """``count`` registers side by side from byte ``offset``."""

    name: str
    offset: int
    access: Access
    description: str
    count: int = 1

    def address(self, index: int = 0) -> int:
        """Byte address of register ``index``.

        Raises
        ------
        IndexError
            if there is no such register.

        """
        if not 0 <= index < self.count:
            raise IndexError(f"register {self.name} has no index {index}")
        return self.offset + index * WORD_BITS // 8


def register_map(hardware: Hardware) -> dict[str, Register]:
    """Every register of the core, by name; without counters, those of :data:`COUNTERS` are not there."""
    spiking, layers = len(hardware.layers), len(hardware.layers)
    registers = [
        Register(name="identity", offset=0x00, access="ro", description=f"{IDENTITY:#x}, 'TTFS'"),
        Register(name="version", offset=0x04, access="ro", description="interface version"),
        Register(
            name="shape",
            offset=0x08,
            access="ro",
            description="layers (bits 3:0), steps T (14:4), fire start S (25:15), first-spike readout (29), "
            "event input (30), direct input (31)",
        ),
        Register(
            name="control",
            offset=0x0C,
            access="rw",
            description="bit 0: enable; while 0 the datapath is held in reset and memories may be loaded. "
            "bit 1: send output membranes before each class. bit 2: clear the counters (reads 0)",
        ),
        Register(
            name="status",
            offset=0x10,
            access="ro",
            description="bit 0: an image was read whole and its result was not yet sent",
        ),
        Register(
            name="load_memory",
            offset=0x14,
            access="rw",
            description="number of the memory to load; a write sets row and word to 0",
        ),
        Register(
            name="load_data",
            offset=0x18,
            access="wo",
            description="next word of that memory, lowest word of row 0 first; an error while enabled, or when it "
            "is full",
        ),
        Register(name="images", offset=0x20, access="ro", description="results sent"),
        Register(name="faults", offset=0x24, access="ro", description="malformed input frames"),
        Register(
            name="clocks",
            offset=0x28,
            access="ro",
            count=2,
            description="clocks while enabled, 64 bits: low word, high word; reading the low one holds the high one",
        ),
        Register(
            name="digest", offset=0x40, access="ro", count=DIGEST_WORDS, description="SHA-256 of the loaded network"
        ),
        Register(
            name="hardware",
            offset=0x60,
            access="ro",
            count=DIGEST_WORDS,
            description="SHA-256 of what was generated: its fingerprint",
        ),
        Register(name="spikes", offset=0x80, access="ro", count=spiking, description="spikes of each population"),
        Register(
            name="active",
            offset=0xC0,
            access="ro",
            count=layers,
            description="clocks in which each layer added to membranes",
        ),
        Register(name="sizes", offset=0x100, access="ro", count=layers + 1, description="neurons of each population"),
    ]
    return {r.name: r for r in registers if hardware.counters or r.name not in COUNTERS}


ADDRESS_BITS = 9


def shape_word(hardware: Hardware) -> int:
    """The value of the ``shape`` register."""
    return (
        len(hardware.layers)
        | hardware.steps << 4
        | hardware.fire_start << 15
        | (hardware.readout == "first_spike") << 29
        | (hardware.input == "events") << 30
        | hardware.simultaneous << 31
    )


def constants(hardware: Hardware) -> dict[str, list[int]]:
    """What the registers that tell cores apart read, by name, in the order in which they are compared."""
    return {
        "identity": [IDENTITY],
        "version": [INTERFACE_VERSION],
        "shape": [shape_word(hardware)],
        "sizes": list(hardware.sizes),
        "hardware": hash_words(hardware.fingerprint),
    }


def check_core(hardware: Hardware, read: Callable[[str], Sequence[int]]) -> None:
    """Refuse a core that is not exactly ``hardware``.

    Parameters
    ----------
    hardware
        What the driver was told that the core is.
    read
        Reads all words of a register, by name. After the first that differs no other is read: a core of another
        interface may not have it.

    Raises
    ------
    FirstspikeError
        at the first that differs.

    """
    remedy = "give the top.json that was generated with its bitstream"
    for name, expected in constants(hardware).items():
        found = list(read(name))
        if found == expected:
            continue
        if name == "hardware":
            raise FirstspikeError(
                f"the core was generated otherwise, with other lanes, widths or options: its fingerprint is "
                f"{hash_digits(found)[:8]}, not {hardware.fingerprint[:8]}",
                remedy,
            )
        index = next(i for i, value in enumerate(expected) if found[i] != value)
        register = name if len(expected) == 1 else f"{name}[{index}]"
        raise FirstspikeError(f"register {register} reads {found[index]:#x}, not {expected[index]:#x}", remedy)


def check_counters(hardware: Hardware) -> None:
    """Refuse hardware without counters.

    Raises
    ------
    FirstspikeError
        if it has none.

    """
    if not hardware.counters:
        raise FirstspikeError(
            "the core was generated without counters", "set counters = true in [hardware], and generate it again"
        )


def read_counters(hardware: Hardware, read: Callable[[str], Sequence[int]]) -> dict[str, list[int]]:
    """The counters of a core by name, one value for each population or layer; the clocks as one number.

    Parameters
    ----------
    hardware
        The core.
    read
        Reads all words of a register, by name, the lowest first.

    Raises
    ------
    FirstspikeError
        if it has none.

    """
    check_counters(hardware)
    values = {name: list(read(name)) for name in COUNTERS}
    low, high = values["clocks"]
    return values | {"clocks": [low | high << WORD_BITS]}


def load_order(hardware: Hardware) -> list[Memory]:
    """The memories in the order in which they are loaded: the digest last, since it says that all others are whole."""
    return sorted(hardware.memories, key=lambda memory: memory.role == "digest")


def load_steps(hardware: Hardware, words: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, Sequence[int]]]:
    """What is written to load a network: names of registers, with the words for each, one after another.

    The core is stopped and its digest cleared first. So wherever a load is cut short, the digest is that of no network.

    Parameters
    ----------
    hardware
        The core that is loaded.
    words
        For each memory, by name, its words, row by row, lowest first (:func:`~firstspike.contract.images.load_words`).

    """
    yield "control", [0]
    yield "load_memory", [hardware.memory("digest").index]
    yield "load_data", [0] * DIGEST_WORDS
    for memory in load_order(hardware):
        yield "load_memory", [memory.index]
        yield "load_data", words[memory.name]


def load_writes(
    hardware: Hardware, words: Mapping[str, Sequence[int]], control: int = ENABLE
) -> Iterator[tuple[int, int]]:
    """Register writes (address, value) of :func:`load_steps`, and one that clears the counters and starts the core.

    Parameters
    ----------
    hardware, words
        As of :func:`load_steps`.
    control
        Value left in the control register.

    """
    registers = register_map(hardware)
    for name, values in load_steps(hardware, words):
        for value in values:
            yield registers[name].address(), value
    yield registers["control"].address(), control | CLEAR_COUNTERS
