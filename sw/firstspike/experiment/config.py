"""An experiment: everything that a run depends on, read from one TOML file and checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from firstspike.contract.hardware import InputKind
from firstspike.contract.layer_shape import FireChoice, Product
from firstspike.errors import FirstspikeError, as_written
from firstspike.experiment.dynamics import DynamicsConfig, Neurons
from firstspike.experiment.settings import TABLE, Section, allow, choice, read_toml, real, whole
from firstspike.network import kernels
from firstspike.network.architecture import NAMED, parse
from firstspike.network.model import Readout

Method = Literal["surrogate", "relu"]
SpikeLossForm = Literal["taylor", "gaussian"]
DataSet = Literal["digits", "mnist", "cifar10", "npz"]
DEFAULT_KERNEL = {"kind": kernels.PowerOfTwo.kind}


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Section ``[data]``: which images.

    Parameters
    ----------
    set
        ``digits`` (embedded), ``mnist``, ``cifar10``, or ``npz``: one's own arrays (:mod:`firstspike.experiment.data`).
    path
        The npz file, relative to the experiment's file.
    events
        Its images are counts of events, a frame for each time step: shape (N, T, ...).

    """

    section: ClassVar[str] = "data"

    #: Embedded in scikit-learn, so that a first run needs no download.
    set: DataSet = field(default="digits", metadata=choice(*get_args(DataSet)))
    path: Path | None = field(default=None, metadata=allow("the path of an npz file", str, Path, optional=True))

    #: Most data are pictures.
    events: bool = field(default=False, metadata=allow("true or false", bool))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.events and self.set != "npz":
            raise self.wrong("events", f"is true for set {self.set!r}", 'it with set = "npz", and only there')
        if self.set == "npz" and self.path is None:
            raise FirstspikeError("[data] set is 'npz', but path is not given", 'add path = "own.npz"')
        if self.set != "npz" and self.path is not None:
            raise self.wrong("path", f"is '{self.path}' for set {self.set!r}", 'it with set = "npz", and only there')
        if self.path is not None and not str(self.path):
            raise self.wrong("path", "is empty", "the path of an npz file")
        if self.path is not None:
            object.__setattr__(self, "path", Path(self.path))


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Section):
    """Section ``[network]``: shape and time.

    Parameters
    ----------
    hidden
        Neurons of each hidden population; may be empty. Or an architecture without its output, in the notation of
        :mod:`firstspike.network.architecture`, such as ``12C5-P2-64C5-P2``, or the name of one.
    steps
        T.
    fire_start
        S, in steps, 0..T; default T.
    readout
        Rule for the class.
    input_kernel, kernel
        Tables as :func:`firstspike.network.kernels.from_spec` takes them, for the input and every population after it;
        ``steps`` is filled in.

    """

    section: ClassVar[str] = "network"

    #: 64-48-10 reaches 98 % of the digits and takes few blocks of memory.
    hidden: tuple[int, ...] | str = field(
        default=(48,),
        metadata=allow(
            f"a list of integers in 1..65536, {', '.join(NAMED)}, or an architecture such as 12C5-P2-64C5-P2",
            int,
            str,
            low=1,
            high=1 << 16,
            items=True,
        ),
    )
    #: Eight steps hold seven octaves of a pixel: as good as sixteen on MNIST to 0.1 %, in half the time.
    steps: int = field(
        default=8,
        metadata=allow(
            f"an integer in 1..1024, at most {kernels.PowerOfTwo.most_steps(1)} for a power_of_two kernel with "
            "steps_per_octave = 1",
            int,
            low=1,
            high=1024,
        ),
    )
    fire_start: int | None = field(default=None, metadata=whole(0, 1024, optional=True))
    #: All spikes count, whatever S is; with S < T a first spike decides before all have come.
    readout: Readout = field(default="membrane", metadata=choice(*get_args(Readout)))
    #: Powers of two need no multiplier: a weight is shifted.
    input_kernel: Mapping[str, Any] = field(default_factory=DEFAULT_KERNEL.copy, metadata=TABLE)
    kernel: Mapping[str, Any] = field(default_factory=DEFAULT_KERNEL.copy, metadata=TABLE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.hidden, int):
            raise self.wrong("hidden", f"is {as_written(self.hidden)}", "a list, such as [128]")
        if not isinstance(self.hidden, str) and any(isinstance(part, str) for part in self.hidden):
            raise self.wrong(
                "hidden",
                f"is {as_written(self.hidden)}",
                'a list of numbers, such as [16, 8], or a text, such as "16-8"',
            )
        if self._layers:
            try:
                parse(self._layers, output=False)
            except FirstspikeError as error:
                raise FirstspikeError(f"[{self.section}] hidden: {error}", error.hint) from error
        if self.fire_start is not None and self.fire_start > self.steps:
            raise self.wrong("fire_start", f"is {self.fire_start}", f"0..{self.steps}, at most the steps")
        for key in ("input_kernel", "kernel"):
            if getattr(self, key) == DEFAULT_KERNEL:
                continue  # it may play no part, with dynamics; the experiment checks whether it has too many steps
            made = self._make(key)
            if made.simultaneous and key == "kernel":
                raise self.wrong(key, "is 'direct'", "it only as input_kernel")
            if not made.simultaneous and made.steps != self.steps:
                raise self.wrong(key, f"has {made.steps} steps", f"{self.steps}, as [network] steps, or leave it out")

    def architecture(self, classes: int) -> str:
        """All layers in the notation of :mod:`~firstspike.network.architecture`, with ``classes`` outputs."""
        return f"{self._layers}-{classes}" if self._layers else str(classes)

    @property
    def _layers(self) -> str:
        """The hidden layers in that notation."""
        if isinstance(self.hidden, str):
            return NAMED.get(self.hidden, self.hidden)
        return "-".join(map(str, self.hidden))

    @property
    def spiking_input(self) -> kernels.Kernel:
        """The input's kernel."""
        return self._make("input_kernel")

    @property
    def spiking_hidden(self) -> kernels.Kernel:
        """The kernel of every population after the input."""
        return self._make("kernel")

    @property
    def start(self) -> int:
        """S in steps, with the default filled in."""
        return self.steps if self.fire_start is None else self.fire_start

    def _make(self, key: str) -> kernels.Kernel:
        spec = dict(getattr(self, key))
        if spec.get("kind") != kernels.Direct.kind:
            spec.setdefault("steps", self.steps)
        try:
            return kernels.from_spec(spec)
        except FirstspikeError as error:
            raise FirstspikeError(f"[{self.section}] {key}: {error}", error.hint) from error


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """Section ``[train]``: the recipe."""

    section: ClassVar[str] = "train"

    #: The surrogate of Park & Yoon; or a ReLU network of real numbers, to be converted (T2FSNN).
    method: Method = field(default="surrogate", metadata=choice(*get_args(Method)))
    #: Width of a signed weight. Six bits lose less than 0.1 % against float on MNIST, four about 0.3 %.
    weight_bits: int = field(default=6, metadata=whole(2, 8))
    #: Passes over the images. Half as many again gain another 0.05 to 0.1 % on MNIST.
    epochs: int = field(default=60, metadata=whole(1, 100_000))
    #: Enough images for steady batch statistics; larger ones only take more epochs.
    batch_size: int = field(default=256, metadata=whole(2, 1 << 20))
    #: The peak of the one-cycle schedule.
    learning_rate: float = field(default=0.004, metadata=real(0.0, 1e6))
    #: Part of the steps in which the learning rate rises.
    warmup: float = field(default=0.2, metadata=real(0.0, 1.0))
    #: Batch norm makes the size of a weight irrelevant, so decay only turns the learning rate; off.
    weight_decay: float = field(default=0.0, metadata=real(0.0, 10.0))
    #: Keeps output membranes apart without growing them, which also saves hidden spikes (a tenth on MNIST).
    label_smoothing: float = field(default=0.05, metadata=real(0.0, 0.99))
    #: Seeds weights, order, shifts and flips.
    seed: int = field(default=0, metadata=whole(0, 2**32 - 1))
    #: Random shifts of training images, in pixels along both axes; 0 for none, as not every input is a picture.
    shift: int = field(default=0, metadata=whole(0, 64))
    #: Every second training image, at random, left-right mirrored; off, as a mirrored digit is another sign.
    flip: bool = field(default=False, metadata=allow("true or false", bool))
    #: Range of the weight quantiser as part of the largest weight: few are that large, and all gain from finer steps.
    weight_clip: float = field(default=0.7, metadata=real(0.01, 1.0))
    #: Weight of the newest batch in the running statistics of batch norm (torch's default).
    statistics_momentum: float = field(default=0.1, metadata=real(1e-6, 1.0))
    #: Part of the epochs after which batch-norm statistics stand still, so that the rest trains the final integers.
    freeze_statistics: float = field(default=0.6, metadata=real(0.0, 1.0))
    #: Stochastically relaxed activation (SR): part of the epochs over which the chance of TTFS, not ReLU, rises to 1.
    relaxation: float = field(default=0.0, metadata=real(0.0, 1.0))
    #: Part of the epochs after which tau and t_d of every exponential kernel train too; without it they stay.
    kernel_start: float | None = field(default=None, metadata=real(0.0, 1.0, optional=True))
    #: Their learning rate, as part of that of the weights: a tau drifts with every batch's rounding residue.
    kernel_rate: float = field(default=0.25, metadata=real(0.0, 100.0))
    #: Weight of the initial-value-based regularisation of tau and t_d (TR); Park & Yoon use 1e-5.
    kernel_regularisation: float = field(default=0.0, metadata=real(0.0, 1e6))
    #: Weight of the spike-count loss on batch norm (TB); Park & Yoon use 1e-5 over thousands of epochs.
    spike_loss: float = field(default=0.0, metadata=real(0.0, 1e6))
    #: The published polynomial, or the Gaussian mass that it stands for.
    spike_loss_form: SpikeLossForm = field(default="taylor", metadata=choice(*get_args(SpikeLossForm)))
    #: Hidden spikes an image to train to.
    spike_budget: float | None = field(default=None, metadata=real(1e-3, 1e12, optional=True))
    #: Synaptic operations an image to train to, the input's included.
    operation_budget: float | None = field(default=None, metadata=real(1e-3, 1e12, optional=True))
    #: Part of the epochs after which spike loss, budgets and kernel regularisation count.
    penalty_start: float = field(default=0.0, metadata=real(0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class ConversionConfig(Section):
    """Section ``[conversion]``: from a ReLU network (``[train] method = "relu"``) to TTFS, as T2FSNN does it."""

    section: ClassVar[str] = "conversion"

    #: Of each neuron's values over the training set; the largest of a layer becomes 1. The published statistic.
    percentile: float = field(default=99.9, metadata=real(0.0, 100.0))
    #: Gradient-based optimisation of tau and t_d, layer by layer.
    optimise_kernels: bool = field(default=False, metadata=allow("true or false", bool))
    #: Samples that the optimisation sees: six passes over 10,000 images, as published.
    samples: int = field(default=60_000, metadata=whole(1, 1 << 40))
    #: Training images that it sees them of.
    images: int = field(default=10_000, metadata=whole(1, 1 << 40))
    #: Range of the weight quantiser as part of the largest weight. No training follows that would mend a clipped one.
    weight_clip: float = field(default=1.0, metadata=real(0.01, 1.0))


#: Settings that say how many lanes there are; one at most is given.
LANES_FROM = ("lanes", "clocks", "blocks")


@dataclass(frozen=True, kw_only=True)
class HardwareConfig(Section):
    """Section ``[hardware]``: keywords of :meth:`~firstspike.contract.hardware.Hardware.for_network`, or a target.

    Parameters
    ----------
    lanes
        Membranes updated in one clock: one number for all layers, or one for each.
    clocks, blocks
        Instead of lanes what they are chosen for (:func:`firstspike_rtl.clocks.folding.fold`): clocks an image, or
        blocks of memory in the core.
    fire, product
        Fire unit and product of weights: one for all layers, or one for each.
    input
        ``pixels`` or ``events`` on the input stream; default: what the data are.
    monitor
        Whether the core has the event-monitor stream.
    counters
        Whether the core counts images, clocks, spikes and additions.
    spare_membrane_bits
        Added to every membrane, so that other networks of the shape fit later.

    """

    section: ClassVar[str] = "hardware"

    #: That of for_network: 64 lanes of six bits fill twelve 32-bit words a row, and place on the smallest ECP5.
    lanes: int | tuple[int, ...] | None = field(default=None, metadata=whole(1, 1 << 16, items=True, optional=True))
    #: A target comes from the user's application or device.
    clocks: int | None = field(default=None, metadata=whole(1, 1 << 40, optional=True))
    blocks: int | None = field(default=None, metadata=whole(0, 1 << 20, optional=True))
    #: The best that the network allows.
    fire: FireChoice | tuple[FireChoice, ...] | None = field(
        default=None, metadata=choice(*get_args(FireChoice), items=True, optional=True)
    )
    product: Product | tuple[Product, ...] | None = field(
        default=None, metadata=choice(*get_args(Product), items=True, optional=True)
    )
    #: What the network takes: pixels, unless the data are events.
    input: InputKind | None = field(default=None, metadata=choice(*get_args(InputKind), optional=True))
    #: The monitor is what the equality of spike times is checked with.
    monitor: bool = field(default=True, metadata=allow("true or false", bool))
    #: What a board says of its work, and an estimate of energy needs.
    counters: bool = field(default=True, metadata=allow("true or false", bool))
    #: The trained network's own widths.
    spare_membrane_bits: int = field(default=0, metadata=whole(0, 16))

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in LANES_FROM if getattr(self, name) is not None]
        if len(given) > 1:
            raise FirstspikeError(f"[{self.section}] has {' and '.join(given)}", f"use one of {', '.join(LANES_FROM)}")


_SECTIONS: tuple[type[Section], ...] = (
    DataConfig,
    NetworkConfig,
    DynamicsConfig,
    TrainConfig,
    ConversionConfig,
    HardwareConfig,
)
#: Settings of ``[train]`` that are of neurons with tables alone.
_TABLES_ONLY = (
    "method", "relaxation", "kernel_start", "kernel_regularisation", "spike_loss", "spike_loss_form", "spike_budget",
    "operation_budget", "penalty_start",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All sections, and a name that artefacts are called by.

    Raises
    ------
    FirstspikeError
        on a name that is no plain folder name, or sections that do not fit each other.

    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    conversion: ConversionConfig = field(default_factory=ConversionConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def __post_init__(self) -> None:
        plain = isinstance(self.name, str) and self.name.replace("-", "").replace("_", "").isalnum()
        if not plain or not self.name.isascii():
            raise FirstspikeError(f"name is {as_written(self.name)}", "use letters, digits, - and _")
        if self.data.events:
            self._check_events()
        if self.dynamics.mode is not None:
            self._check_dynamics()
        elif self.network.readout == "largest_membrane":
            raise self.network.wrong(
                "readout",
                "is 'largest_membrane' without [dynamics]",
                "membrane or first_spike, or [dynamics] mode",
            )
        _ = self.input_kernel, self.kernel  # they have errors of their own, if they are used

    @property
    def input_kernel(self) -> kernels.Kernel:
        """The input's kernel, which ``[dynamics] input`` may replace; of events all are worth the same."""
        if self.data.events:
            return kernels.Constant(steps=self.network.steps)
        return kernels.Direct() if self.dynamics.input != "codes" else self.network.spiking_input

    @property
    def kernel(self) -> kernels.Kernel:
        """The kernel of every population after the input; with dynamics each spike is worth 1."""
        if self.dynamics.mode is not None:
            return kernels.Constant(steps=self.network.steps)
        return self.network.spiking_hidden

    def neurons(self) -> list[Neurons]:
        """With dynamics, those of each population after the input; else none.

        Raises
        ------
        FirstspikeError
            if a list of ``[dynamics]`` is not of so many populations.

        """
        if self.dynamics.mode is None:
            return []
        return self.dynamics.neurons(len(parse(self.network.architecture(1))) - 1, self.network.readout)

    def _check_events(self) -> None:
        if self.dynamics.mode is None:
            raise FirstspikeError("[data] events are trained with [dynamics] alone", 'add [dynamics] mode = "soft"')
        if self.dynamics.input != "codes":
            raise self.dynamics.wrong("input", f"is {self.dynamics.input!r} for [data] events", "it for pixels only")
        if self.network.input_kernel != DEFAULT_KERNEL:
            raise FirstspikeError("[network] input_kernel plays no part with [data] events", "leave it out")
        if self.hardware.input == "pixels":
            raise self.hardware.wrong("input", "is 'pixels' for [data] events", "events, or leave it out")

    def _check_dynamics(self) -> None:
        network, recipe = self.network, self.train
        tables = "is of neurons with tables"
        if network.fire_start is not None:
            raise FirstspikeError(f"[network] fire_start {tables}", "use [dynamics] start, or leave out [dynamics]")
        if network.kernel != DEFAULT_KERNEL and network.kernel.get("kind") != kernels.Constant.kind:
            raise FirstspikeError(
                f"[network] kernel {tables}", "leave it out: with [dynamics] each spike of a hidden neuron is worth 1"
            )
        if self.dynamics.input == "codes" and self.input_kernel.simultaneous:
            raise self.network.wrong("input_kernel", "is 'direct'", 'another one, or [dynamics] input = "direct"')
        if self.dynamics.input != "codes" and not (
            network.input_kernel == DEFAULT_KERNEL or network.spiking_input.simultaneous
        ):
            raise FirstspikeError(
                f"[network] input_kernel plays no part with [dynamics] input = {self.dynamics.input!r}", "leave it out"
            )
        for key in _TABLES_ONLY:
            if getattr(recipe, key) != getattr(TrainConfig(), key):
                raise FirstspikeError(f"[train] {key} {tables}", "leave it out, or leave out [dynamics]")
        for stage in parse(network.architecture(1)):
            if stage.pool > 1:
                raise FirstspikeError(
                    f"[network] hidden: max pooling, P{stage.pool}, is not trained with [dynamics]",
                    f"use average pooling, A{stage.pool}, or a stride",
                )
        for neurons in self.neurons():
            if neurons.start > network.steps:
                raise self.dynamics.wrong("start", f"is {neurons.start}", f"0..{network.steps}, at most the steps")

    @classmethod
    def load(cls, path: Path | str) -> Experiment:
        """Read a TOML file; ``name`` defaults to that of the file.

        Raises
        ------
        FirstspikeError
            naming file, section, key and what is allowed.

        """
        path = Path(path)
        document = read_toml(path)
        try:
            section = document.get(DynamicsConfig.section)
            if isinstance(section, dict) and "mode" not in section:
                raise FirstspikeError(
                    "[dynamics] has no mode", 'add mode = "soft", "hard" or "once", or leave the section out'
                )
            experiment = cls._from_document({"name": path.stem, **document})
        except FirstspikeError as error:
            raise FirstspikeError(f"{path}: {error}", error.hint) from error
        if experiment.data.path is None:
            return experiment
        return replace(experiment, data=replace(experiment.data, path=path.parent / experiment.data.path))

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Experiment:
        sections = {kind.section: kind for kind in _SECTIONS}
        made: dict[str, Any] = {}
        for name, content in document.items():
            if name == "name":
                made[name] = content
                continue
            if name not in sections:
                raise FirstspikeError(f"unknown section or key {name!r}", f"use name, [{'], ['.join(sections)}]")
            if not isinstance(content, dict):
                raise FirstspikeError(f"{name} is {as_written(content)}", f"make it a section [{name}]")
            keys = [item.name for item in fields(sections[name])]
            unknown = sorted(set(content) - set(keys))
            if unknown:
                raise FirstspikeError(f"[{name}] has no key {unknown[0]!r}", f"use {', '.join(keys)}")
            made[name] = sections[name](**content)
        return cls(**made)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Experiment:
        """The experiment that :meth:`to_json` gave the values of.

        Raises
        ------
        FirstspikeError
            naming section, key and what is allowed.

        """
        document = dict(value)
        for kind in _SECTIONS:
            document[kind.section] = {k: v for k, v in document.get(kind.section, {}).items() if v is not None}
        return cls._from_document(document)

    def to_json(self) -> dict[str, Any]:
        """JSON values for a network's provenance; of a path only the last part, so that it holds no one's folders."""
        value = asdict(self)
        if self.data.path is not None:
            value["data"]["path"] = self.data.path.name
        return value
