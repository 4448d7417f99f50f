"""Checkers of AXI4-Stream and AXI4-Lite: the rules as plain objects, and cocotb tasks that apply them to signals.

The rules are those of AMBA 4 (IHI 0051A section 2.2, IHI 0022E sections A3.2 and A3.3): ``valid`` is low in reset; once
high it stays until ``ready``; what goes with it does not change until then; a response follows its request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from cocotb.triggers import RisingEdge


class ProtocolError(AssertionError):
    """A stream or bus broke a rule of its protocol."""


class ChannelRule:
    """Rule of one valid/ready channel, clock by clock.

    Parameters
    ----------
    name
        For messages.
    """

    def __init__(self, name: str) -> None:
        self.name, self.clock, self.transfers = name, 0, 0
        self._waiting: object | None = None
        self._in_reset = False

    def step(self, reset: bool, valid: bool, ready: Callable[[], bool], payload: Callable[[], object]) -> bool:
        """Look at the values before a clock edge; ``ready`` and ``payload`` are read only while ``valid``.

        Returns
        -------
        Whether a transfer takes place at this edge.

        Raises
        ------
        ProtocolError
            if ``valid`` is high in reset, drops before ``ready``, or the payload changes before ``ready``.
        """
        self.clock += 1
        if reset:
            # Reset is synchronous: its first edge only takes the channel into reset.
            if self._in_reset and valid:
                raise ProtocolError(f"{self.name}, clock {self.clock}: valid in reset")
            self._in_reset, self._waiting = True, None
            return False
        self._in_reset = False
        if not valid:
            if self._waiting is not None:
                raise ProtocolError(f"{self.name}, clock {self.clock}: valid dropped before ready")
            return False
        now = payload()
        if self._waiting is not None and now != self._waiting:
            raise ProtocolError(
                f"{self.name}, clock {self.clock}: payload changed before ready, from {self._waiting} to {now}"
            )
        moves = ready()
        self._waiting = None if moves else now
        self.transfers += moves
        return moves

    def restart(self) -> None:
        """Forget a transfer that waits: the channel was reset by other means."""
        self._waiting = None


class LiteRule:
    """Rule of one direction of AXI4-Lite: responses come after requests, one for each.

    Parameters
    ----------
    name
        For messages.
    requests
        How many channels make up a request: 2 for a write (address, data), 1 for a read.
    """

    def __init__(self, name: str, requests: int) -> None:
        self.name, self.clock = name, 0
        self._accepted = [0] * requests
        self._answered = 0

    def step(self, reset: bool, accepted: Sequence[bool], response_valid: bool, answered: bool) -> None:
        """Look at the transfers of one clock edge.

        Raises
        ------
        ProtocolError
            if a response is offered whose request was not accepted at an earlier edge.
        """
        self.clock += 1
        if reset:
            self._accepted, self._answered = [0] * len(self._accepted), 0
            return
        if response_valid and min(self._accepted) <= self._answered:
            raise ProtocolError(f"{self.name}, clock {self.clock}: response without a request")
        self._accepted = [count + new for count, new in zip(self._accepted, accepted, strict=True)]
        self._answered += answered

    @property
    def outstanding(self) -> int:
        """Requests accepted in part or whole and not yet answered."""
        return max(self._accepted) - self._answered


class Checker:
    """What checkers of signals have in common: a look at every rising edge (:func:`watch`), and a pause."""

    def __init__(self) -> None:
        self.paused = False

    def step(self, reset: bool) -> None:
        """Look at one clock edge."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what is under way."""
        raise NotImplementedError

    def finish(self) -> None:
        """Fail unless there was something to check.

        Raises
        ------
        ProtocolError
            if there was no transfer.
        """
        raise NotImplementedError


async def watch(clock: Any, reset_n: Any, checkers: Sequence[Checker]) -> None:
    """Task in which checkers look at every rising edge; a rule that fails, fails the running cocotb test at once.

    Parameters
    ----------
    clock, reset_n
        Clock, and reset that is active while low.
    checkers
        Of signals in this clock domain.
    """
    edge = RisingEdge(clock)
    while True:
        await edge
        reset = not reset_n.value
        for checker in checkers:
            if checker.paused:
                checker.restart()
            else:
                checker.step(reset)


class Channel:
    """The signals of a valid/ready channel under a rule.

    Parameters
    ----------
    valid, ready
        Signals.
    payload
        Every signal that must hold while waiting.
    """

    def __init__(self, name: str, valid: Any, ready: Any, payload: Sequence[Any]) -> None:
        self.rule = ChannelRule(name)
        self._valid, self._ready, self._payload = valid, ready, tuple(payload)
        self.valid = False

    def step(self, reset: bool) -> bool:
        """Whether a transfer takes place at this edge."""
        self.valid = bool(self._valid.value)
        return self.rule.step(
            reset,
            self.valid,
            lambda: bool(self._ready.value),
            lambda: tuple(int(signal.value) for signal in self._payload),
        )


class StreamChecker(Checker):
    """AXI4-Stream: all of ``<prefix>_t*`` that exist.

    Parameters
    ----------
    entity
        The cocotb handle that has the signals.
    prefix
        For example ``m_axis``.
    """

    def __init__(self, entity: Any, prefix: str) -> None:
        super().__init__()
        payload = [
            getattr(entity, f"{prefix}_{name}")
            for name in ("tdata", "tkeep", "tlast", "tid", "tdest", "tuser")
            if hasattr(entity, f"{prefix}_{name}")
        ]
        self.channel = Channel(
            prefix, getattr(entity, f"{prefix}_tvalid"), getattr(entity, f"{prefix}_tready"), payload
        )

    def step(self, reset: bool) -> None:
        """Look at one clock edge."""
        self.channel.step(reset)

    def restart(self) -> None:
        """Forget what is under way."""
        self.channel.rule.restart()

    def finish(self) -> None:
        """As for :class:`Checker`."""
        if not self.channel.rule.transfers:
            raise ProtocolError(f"{self.channel.rule.name}: no transfer at all")


class LiteChecker(Checker):
    """AXI4-Lite: its five channels, and that responses follow requests.

    Members
    -------
    writes
        (clock edge, address) of each write accepted, the edges counted from the start.
    """

    CHANNELS: ClassVar = {
        "aw": ("awaddr", "awprot"),
        "w": ("wdata", "wstrb"),
        "b": ("bresp",),
        "ar": ("araddr", "arprot"),
        "r": ("rdata", "rresp"),
    }

    def __init__(self, entity: Any, prefix: str) -> None:
        super().__init__()

        def signal(name: str) -> Any:
            return getattr(entity, f"{prefix}_{name}")

        self.channels = {
            name: Channel(f"{prefix}_{name}", signal(f"{name}valid"), signal(f"{name}ready"), [*map(signal, payload)])
            for name, payload in self.CHANNELS.items()
        }
        self._write, self._read = LiteRule(f"{prefix} write", 2), LiteRule(f"{prefix} read", 1)
        self._address = signal("awaddr")
        self.edges = 0
        self.writes: list[tuple[int, int]] = []

    def step(self, reset: bool) -> None:
        """Look at one clock edge."""
        self.edges += 1
        moved = {name: channel.step(reset) for name, channel in self.channels.items()}
        if moved["aw"]:
            self.writes.append((self.edges, int(self._address.value)))
        self._write.step(reset, (moved["aw"], moved["w"]), self.channels["b"].valid, moved["b"])
        self._read.step(reset, (moved["ar"],), self.channels["r"].valid, moved["r"])

    def restart(self) -> None:
        """Forget what is under way."""
        for channel in self.channels.values():
            channel.rule.restart()

    def finish(self) -> None:
        """As for :class:`Checker`; every request was answered, too."""
        if not self.channels["b"].rule.transfers + self.channels["r"].rule.transfers:
            raise ProtocolError("AXI4-Lite: no transfer at all")
        for rule in (self._write, self._read):
            if rule.outstanding:
                raise ProtocolError(f"{rule.name}: {rule.outstanding} requests without a response")
