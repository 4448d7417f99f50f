"""Section ``[dynamics]``: neurons that step, in place of the tables of a time-to-first-spike network."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import FirstspikeError, as_written
from firstspike.experiment.settings import Section, allow, choice, real, whole
from firstspike.network.dynamics import MAX_CAP, MAX_SHIFT, Dynamics, Factor, Mode, Read
from firstspike.network.kernels import Kernel, integer
from firstspike.network.model import Readout

#: A threshold is not below it; batch norm gives currents a spread of about 1.
LEAST_THRESHOLD = 2.0**-20
Input = Literal["codes", "direct", "constant"]
Trained = Literal["retain", "leak", "threshold"]
#: What of a population may be trained beside weights and biases.
TRAINED: tuple[Trained, ...] = get_args(Trained)


def input_table(kernel: Kernel) -> tuple[tuple[int, ...], float]:
    """What the input's spikes are worth to neurons with dynamics, and the real value of a unit of it.

    The values of a direct input; else 1, whatever the code.
    """
    if kernel.simultaneous:
        return kernel.table(), kernel.unit
    return (1,) * kernel.steps, 1.0


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """What the neurons of one population do, in real numbers: :class:`~firstspike.network.dynamics.Dynamics` to be.

    Parameters
    ----------
    mode, cap, guard, start, read
        As for these.
    retain, leak
        What is left of current and membrane from one step to the next, 0..1.
    threshold
        In units of the real membrane; None for an output that is read by its membranes.
    factor_bits
        Bits after the point of the integer ``retain`` and ``leak``, at most.

    """

    mode: Mode = "soft"
    retain: float = 0.0
    leak: float = 1.0
    threshold: float | None = 1.0
    cap: int = 1
    guard: int = 4
    start: int = 0
    read: Read = "final"
    factor_bits: int = 8

    def factor(self, value: float) -> Factor:
        """The nearest integer factor, with as few bits as it needs."""
        return Factor.nearest(value, self.factor_bits).least()

    def integers(
        self,
        *,
        scale: float,
        drive: NDArray[np.float64],
        retain: float | None = None,
        leak: float | None = None,
        threshold: float | None = None,
    ) -> Dynamics:
        """The dynamics of integers.

        Parameters
        ----------
        scale
            Real value of a unit of the layer's sums; one of the membrane is ``2**-guard`` of it.
        drive
            Real bias of each channel, added in each step; shape (C,).
        retain, leak, threshold
            In place of those above, where these were trained.

        Raises
        ------
        FirstspikeError
            if a value does not fit.

        """
        unit = scale * 2.0**-self.guard
        firing: dict[str, Any] = {}
        if self.threshold is not None:
            real_threshold = self.threshold if threshold is None else threshold
            firing = {"threshold": np.array(integer(real_threshold, unit)), "cap": self.cap, "start": self.start}
        return Dynamics(
            mode=self.mode,
            retain=self.factor(self.retain if retain is None else retain),
            leak=self.factor(self.leak if leak is None else leak),
            drive=np.rint(drive / unit).astype(np.int64),
            guard=self.guard,
            read=self.read,
            **firing,
        )


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(Section):
    """Section ``[dynamics]``: what the neurons do from step to step; ``docs/numerics.md`` has the recurrence.

    Parameters
    ----------
    mode
        Of the hidden populations. None: no dynamics, but the tables of ``[network]``.
    retain, leak, guard
        Of every population after the input.
    threshold, start
        Of every population that fires: the hidden ones, and an output that is read by its first spike.
    cap
        Of the hidden populations.
    factor_bits
        Of all populations.
    input
        ``codes``: the input's neurons spike once, as ``[network] input_kernel`` encodes, and each spike is worth 1.
        ``direct``: a pixel counts with its value in step 0. ``constant``: and the first population retains it.
    trained
        What is trained of each population beside weights and biases.
    slope
        Of the surrogate gradient (an arc tangent) at the threshold, for a threshold of 1.
    batch_norm
        Whether training normalises the current of each layer.

    """

    section: ClassVar[str] = "dynamics"

    #: A network without dynamics has its tables.
    mode: Mode | tuple[Mode, ...] | None = field(
        default=None, metadata=choice(*get_args(Mode), items=True, optional=True)
    )
    #: Most published neurons have one register.
    retain: float | tuple[float, ...] = field(default=0.0, metadata=real(0.0, 1.0, items=True))
    #: Integrate and fire.
    leak: float | tuple[float, ...] = field(default=1.0, metadata=real(0.0, 1.0, items=True))
    #: Batch norm gives the current a spread of about 1.
    threshold: float | tuple[float, ...] = field(default=1.0, metadata=real(LEAST_THRESHOLD, 2.0**20, items=True))
    #: Bursts are the exception.
    cap: int | tuple[int, ...] = field(default=1, metadata=whole(1, MAX_CAP, items=True))
    #: With fewer bits, thresholds and biases of a network that was trained in real numbers are rounded too far.
    guard: int | tuple[int, ...] = field(default=4, metadata=whole(0, MAX_SHIFT, items=True))
    #: The layers run in step.
    start: int | tuple[int, ...] = field(default=0, metadata=whole(0, 1024, items=True))
    #: What ``input_kernel`` stands for without dynamics, too.
    input: Input = field(default="codes", metadata=choice(*get_args(Input)))
    #: Fixed dynamics train as well on small networks.
    trained: tuple[Trained, ...] = field(
        default=(), metadata=allow('a list of "retain", "leak", "threshold"', str, choices=TRAINED, items=True)
    )
    #: That of most published spiking networks.
    slope: float = field(default=2.0, metadata=real(1e-3, 1e3))
    batch_norm: bool = field(default=True, metadata=allow("true or false", bool))
    #: A leak then differs by 0.2 % at most from the one that was asked for.
    factor_bits: int = field(default=8, metadata=whole(1, MAX_SHIFT))

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.trained, str):
            raise self.wrong("trained", f"is {as_written(self.trained)}", 'a list, such as ["leak"]')
        if len(set(self.trained)) < len(self.trained):
            raise self.wrong("trained", f"is {as_written(list(self.trained))}", "each of them once")
        if self.mode is None:
            for item in fields(self):
                if getattr(self, item.name) != item.default:
                    raise FirstspikeError(f"[{self.section}] has {item.name}, but no mode", 'add mode = "soft"')
        modes = self.mode if isinstance(self.mode, tuple) else (self.mode,)
        caps = self.cap if isinstance(self.cap, tuple) else (self.cap,)
        pairs = zip(modes, caps * len(modes) if len(caps) == 1 else caps, strict=False)
        if any(mode == "once" and cap > 1 for mode, cap in pairs) or (modes == ("once",) and max(caps) > 1):
            raise self.wrong("cap", f"is {as_written(self.cap)} for neurons that fire once", "1 for these")

    def neurons(self, hidden: int, readout: Readout) -> list[Neurons]:
        """Of each population after the input, the output last.

        Parameters
        ----------
        hidden
            Hidden populations.
        readout
            Of the network.

        Raises
        ------
        FirstspikeError
            if a list is not of so many populations.

        """
        first = readout == "first_spike"
        every, firing = hidden + 1, hidden + first
        retain = self._each("retain", every, "population after the input")
        if self.input == "constant":
            if isinstance(self.retain, tuple) and retain[0] != 1:
                raise self.wrong(
                    "retain", f"begins with {retain[0]} for a constant input", "1 for the first population, or no list"
                )
            retain = (1.0, *retain[1:])
        leak = self._each("leak", every, "population after the input")
        threshold = self._each("threshold", firing, "population that fires")
        start = self._each("start", firing, "population that fires")
        mode, cap = self._each("mode", hidden, "hidden population"), self._each("cap", hidden, "hidden population")
        guard = self._each("guard", every, "population after the input")
        found = [
            Neurons(
                mode=mode[i], retain=retain[i], leak=leak[i], threshold=threshold[i], cap=cap[i], start=start[i],
                guard=guard[i], factor_bits=self.factor_bits,
            )
            for i in range(hidden)
        ]  # fmt: skip
        output = Neurons(
            mode="once" if first else "soft",
            retain=retain[-1],
            leak=leak[-1],
            threshold=threshold[-1] if first else None,
            start=start[-1] if first else 0,
            read="largest" if readout == "largest_membrane" else "final",
            guard=guard[-1],
            factor_bits=self.factor_bits,
        )
        return [*found, output]

    def _each(self, key: str, count: int, what: str) -> tuple[Any, ...]:
        value = getattr(self, key)
        if not isinstance(value, tuple):
            return (value,) * count
        if len(value) != count:
            lists = f", or a list of {count}: one a {what}" if count > 1 else ""
            raise self.wrong(key, f"is {as_written(list(value))}", f"one value{lists}")
        return value
