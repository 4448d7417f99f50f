"""Experiment files: what they may hold, and the one line for each thing they may not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from firstspike.contract.hardware import MAX_LAYERS, Hardware
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import DataConfig, Experiment, HardwareConfig, NetworkConfig, TrainConfig
from firstspike.experiment.dynamics import DynamicsConfig, Neurons
from firstspike.network import kernels
from firstspike.network.architecture import needs_map
from firstspike.training.dynamics.surrogate import SteppedSurrogate
from firstspike.training.surrogate import Surrogate

pytestmark = pytest.mark.smoke
EVENTS = '[data]\nset = "npz"\npath = "own.npz"\nevents = true\n'
SOFT = '[dynamics]\nmode = "soft"\n'
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert Experiment.load(write(tmp_path, "")) == Experiment(name="mine")


def test_every_setting_is_read(tmp_path: Path) -> None:
    text = """
    name = "own-name"
    [data]
    set = "npz"
    path = "folder/data.npz"
    [network]
    hidden = [30, 20]
    steps = 6
    fire_start = 2
    readout = "first_spike"
    input_kernel = { kind = "direct" }
    kernel = { kind = "exponential", tau = 2, rounding = "ceil" }
    [train]
    weight_bits = 4
    epochs = 3
    learning_rate = 1
    [hardware]
    lanes = [4, 5, 6]
    fire = "stepped"
    product = ["shift", "multiply", "multiply"]
    input = "events"
    monitor = false
    spare_membrane_bits = 2
    """
    experiment = Experiment.load(write(tmp_path, text))
    assert experiment.name == "own-name"
    assert experiment.data == DataConfig(set="npz", path=tmp_path / "folder/data.npz")
    assert experiment.network.hidden == (30, 20)
    assert experiment.network.start == 2
    assert experiment.network.spiking_input == kernels.Direct()
    assert experiment.network.spiking_hidden == kernels.Exponential(steps=6, tau=2, rounding="ceil")
    assert experiment.train == TrainConfig(weight_bits=4, epochs=3, learning_rate=1)
    assert experiment.hardware == HardwareConfig(
        lanes=(4, 5, 6), fire="stepped", product=("shift", "multiply", "multiply"), input="events", monitor=False,
        spare_membrane_bits=2,
    )  # fmt: skip
    provenance = json.loads(json.dumps(experiment.to_json()))
    assert provenance["data"] == {"set": "npz", "path": "data.npz", "events": False}
    assert provenance["network"]["kernel"] == {"kind": "exponential", "tau": 2, "rounding": "ceil"}


def test_dynamics_of_each_population(tmp_path: Path) -> None:
    text = """
    [network]
    hidden = [30, 20]
    readout = "first_spike"
    [dynamics]
    mode = ["hard", "once"]
    retain = 0.5
    leak = [0.9, 1, 0.25]
    threshold = [1, 2, 3.5]
    cap = [3, 1]
    guard = [0, 2, 3]
    start = [0, 1, 2]
    input = "constant"
    """
    experiment = Experiment.load(write(tmp_path, text))
    assert experiment.neurons() == [
        Neurons(mode="hard", retain=1.0, leak=0.9, threshold=1, cap=3, start=0, guard=0),
        Neurons(mode="once", retain=0.5, leak=1, threshold=2, cap=1, start=1, guard=2),
        Neurons(mode="once", retain=0.5, leak=0.25, threshold=3.5, cap=1, start=2, guard=3),
    ]
    assert experiment.input_kernel == kernels.Direct()
    assert Experiment.from_json(json.loads(json.dumps(experiment.to_json()))) == experiment
    (output,) = Experiment(
        name="x", network=NetworkConfig(hidden=(), readout="largest_membrane"), dynamics=DynamicsConfig(mode="hard")
    ).neurons()
    assert (output.threshold, output.read, output.mode) == (None, "largest", "soft")
    assert Experiment(name="x").neurons() == []


@pytest.mark.parametrize("image", ["direct", "constant"])
def test_steps_with_dynamics_are_not_those_of_a_kernel(tmp_path: Path, image: str) -> None:
    """More than a kernel of powers of two holds, where no population has one."""
    text = f'[network]\nsteps = 1024\n{SOFT}input = "{image}"'
    experiment = Experiment.load(write(tmp_path, text))
    assert experiment.kernel == kernels.Constant(steps=1024)
    events = Experiment.load(write(tmp_path, f"[network]\nsteps = 1024\n{SOFT}{EVENTS}"))
    assert events.kernel == events.input_kernel == experiment.kernel
    explicit = '[network]\nkernel = { kind = "constant" }\n'
    assert Experiment.load(write(tmp_path, text.replace("[network]\n", explicit))).kernel == experiment.kernel


def test_neurons_as_integers() -> None:
    """Factors are the nearest ones, in as few bits as they need; thresholds are rounded up, biases to the nearest."""
    neurons = Neurons(leak=0.9, retain=0.5, threshold=0.3, guard=2, cap=3, start=1)
    made = neurons.integers(scale=0.25, drive=np.array([0.1, -0.1, 0.0]))
    assert (made.leak.numerator, made.leak.shift) == (115, 7)  # 230/256
    assert (made.retain.numerator, made.retain.shift) == (1, 1)
    assert made.threshold is not None
    assert made.threshold.item() == 5  # 0.3 / (0.25 / 4) = 4.8
    assert made.drive.tolist() == [[2, -2, 0]]  # 1.6
    assert (made.mode, made.guard, made.cap, made.start) == ("soft", 2, 3, 1)
    trained = neurons.integers(scale=0.25, drive=np.zeros(1), leak=1.0, threshold=1e-9)
    assert (trained.leak.numerator, trained.leak.shift) == (1, 0)
    assert trained.threshold is not None
    assert trained.threshold.item() == 1


def test_fire_start_defaults_to_the_steps() -> None:
    assert NetworkConfig(steps=5).start == 5
    assert NetworkConfig(steps=5, fire_start=0).start == 0


#: Shapes of the images of each data set, as an experiment's network takes them.
INPUTS = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_describe_networks_and_their_hardware(path: Path) -> None:
    experiment = Experiment.load(path)
    shape, image = experiment.network, INPUTS[experiment.data.set]
    architecture = shape.architecture(10)
    convolutional = needs_map(architecture)
    size = image if convolutional else (math.prod(image),)
    neurons = experiment.neurons()
    if neurons:
        stepped = SteppedSurrogate(size, architecture, neurons, input_kernel=experiment.input_kernel, steps=shape.steps)
        network = stepped.freeze(experiment.to_json())
        assert network.sizes[-1] == 10
        assert all(layer.fire == "dynamics" for layer in Hardware.for_network(network).layers)
        return
    model = Surrogate(size, architecture, input_kernel=shape.spiking_input, kernel=shape.spiking_hidden)
    network = model.freeze(experiment.to_json())
    assert network.sizes[-1] == 10
    hardware = experiment.hardware
    settings = {
        "lanes": hardware.lanes,
        "input": hardware.input,
        "monitor": hardware.monitor,
        "spare_membrane_bits": hardware.spare_membrane_bits,
    }
    if len(network.layers) > MAX_LAYERS:
        with pytest.raises(FirstspikeError, match=f"{len(network.layers)} layers; the core has at most {MAX_LAYERS}"):
            Hardware.for_network(network, **settings)
        return
    core = Hardware.for_network(network, **settings)
    assert [layer.kind for layer in core.layers] == [layer.kind for layer in network.layers]
    assert ("conv2d" in {layer.kind for layer in core.layers}) == convolutional
    assert core.shapes[1:-1] == tuple(population.shape for population in network.populations[1:-1])


def test_the_examples_are_there() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "digits",
        "mnist",
        "mnist-cnn",
        "cifar10",
        "digits-if",
        "mnist-lif",
        "digits-ramp",
    }


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[trian]\nepochs = 3", "unknown section or key 'trian'", "[train], [conversion], [hardware]"),
        ("epochs = 3", "unknown section or key 'epochs'", "[train]"),
        ("train = 3", "train is 3", "[train]"),
        ("[train]\nepoch = 3", "[train] has no key 'epoch'", "epochs"),
        ("[train]\nepochs = 0", "[train] epochs is 0", "1..100000"),
        ("[train]\nepochs = 2.5", "[train] epochs is 2.5", "an integer"),
        ("[train]\nepochs = true", "[train] epochs is true", "an integer"),
        ('[train]\nlearning_rate = "fast"', "[train] learning_rate is 'fast'", "a number in"),
        ("[train]\nlearning_rate = nan", "[train] learning_rate is nan", "a number in"),
        ("[train]\nlearning_rate = -1", "[train] learning_rate is -1", "a number in"),
        ("[train]\nweight_bits = 9", "[train] weight_bits is 9", "2..8"),
        ("[train]\nweight_clip = 0.0", "[train] weight_clip is 0.0", "0.01..1"),
        ("[network]\nhidden = 128", "[network] hidden is 128", "a list"),
        ('[network]\nhidden = ["16", "8"]', "[network] hidden is ['16', '8']", 'a text, such as "16-8"'),
        ("[network]\nhidden = [0]", "[network] hidden is [0]", "1..65536"),
        ('[network]\nhidden = "P2-8C3"', "[network] hidden: 'P2' in 'P2-8C3' (max pooling) does not", "P2 (max)"),
        ('[network]\nhidden = "8C3--16"', "[network] hidden: '' in '8C3--16' is no layer", "joined by -"),
        ('[network]\nhidden = "8c3"', "[network] hidden: '8c3' in '8c3' is no layer", "12C5"),
        ('[network]\nhidden = "16-8C3"', "[network] hidden: '8C3' in '16-8C3' comes after a fully", "parts"),
        ('[network]\nhidden = "D0.5-8C3"', "[network] hidden: 'D0.5' in 'D0.5-8C3' (dropout)", "parts"),
        ("[network]\nsteps = 0", "[network] steps is 0", "1..1024"),
        ("[network]\nsteps = 4\nfire_start = 5", "[network] fire_start is 5", "0..4"),
        ('[network]\nreadout = "vote"', "[network] readout is 'vote'", "membrane, first_spike"),
        ('[network]\nkernel = "linear"', "[network] kernel is 'linear'", "a table"),
        ('[network]\nkernel = { kind = "cubic" }', "[network] kernel: unknown kernel 'cubic'", "exponential"),
        (
            '[network]\nkernel = { kind = "exponential" }',
            "[network] kernel: kernel 'exponential' lacks 'tau'",
            "give it;",
        ),
        ('[network]\nkernel = { kind = "linear", tau = 2 }', "has no parameter 'tau'", "it takes rounding, theta0"),
        ('[network]\nkernel = { kind = "linear", steps = 4 }', "[network] kernel has 4 steps", "use 8"),
        ('[network]\nkernel = { kind = "direct" }', "[network] kernel is 'direct'", "input_kernel"),
        ('[data]\nset = "cifar"', "[data] set is 'cifar'", "digits, mnist, cifar10, npz"),
        ('[data]\nset = "npz"', "[data] set is 'npz', but path is not given", 'path = "own.npz"'),
        ('[data]\nset = "npz"\npath = ""', "[data] path is empty", "npz file"),
        ("[train]\nepochs = 2026-11-26", "[train] epochs is 2026-11-26", "an integer"),
        ("[network]\nkernel = [{ kind = 'linear' }]", "kernel is [{ kind = 'linear' }]", "a table"),
        ("name = true", "name is true", "letters"),
        ("[[train]]\nepochs = 3", "train is [{ epochs = 3 }]", "[train]"),
        ("[network]\nsteps = 1000", "kernel steps is 1000, not at most 25 with steps_per_octave = 1", ""),
        (f"[network]\nsteps = 1000\n{SOFT}", "[network] input_kernel: kernel steps is 1000, not at most 25", ""),
        ("[network]\nsteps = 1025", "[network] steps is 1025", "1..1024, at most 25 for a power_of_two kernel with"),
        ("[train]\nseed = 1\nseed = 2\nshift = 1", "is not TOML: seed in line 3 is there already", "examples"),
        ("[train]\nseed = 1\nseed = 2", "is not TOML: seed in line 3 is there already", "examples"),
        ("[train]\nseed = 1\n[train]", "is not TOML: [train] in line 3 is there already", "examples"),
        ("[data]\n[network.kernel]\n[network.kernel]", "[network.kernel] in line 3 is there already", "examples"),
        ('[data]\npath = "x.npz"', "[data] path is", "npz"),
        ("[hardware]\nlanes = 0", "[hardware] lanes is 0", "or a list"),
        ("[hardware]\nlanes = [4, 0]", "[hardware] lanes is [4, 0]", "or a list"),
        ("[hardware]\nlanes = 4\nclocks = 100", "[hardware] has lanes and clocks", "use one of lanes, clocks, blocks"),
        ("[hardware]\nclocks = 100\nblocks = 9", "[hardware] has clocks and blocks", "one of"),
        ("[hardware]\nclocks = 0", "[hardware] clocks is 0", "an integer in 1.."),
        ("[hardware]\nblocks = -1", "[hardware] blocks is -1", "an integer in 0.."),
        ('[hardware]\nfire = "fast"', "[hardware] fire is 'fast'", "search, stepped, or a list"),
        (
            '[hardware]\nproduct = ["shift", "add"]',
            "[hardware] product is ['shift', 'add']",
            "multiply, shift, or a list",
        ),
        ("[hardware]\nmonitor = 1", "[hardware] monitor is 1", "true or false"),
        ('[hardware]\ninput = "frames"', "[hardware] input is 'frames'", "pixels, events"),
        ('name = "a/b"', "name is 'a/b'", "letters"),
        ("name = 3", "name is 3", "letters"),
        ("[train", "is not TOML", "examples/digits.toml"),
        ("[dynamics]\nleak = 0.9", "[dynamics] has no mode", 'add mode = "soft", "hard" or "once"'),
        ("[dynamics]", "[dynamics] has no mode", "leave the section out"),
        (f'{SOFT}trained = ["leak", "leak"]', "[dynamics] trained is ['leak', 'leak']", "each of them once"),
        (f"{SOFT}[train]\npenalty_start = 0.5", "[train] penalty_start is of neurons with tables", "leave it out"),
        ('[dynamics]\nmode = "slow"', "[dynamics] mode is 'slow'", "once, soft, hard"),
        (f"{SOFT}decay = 0.9", "[dynamics] has no key 'decay'", "leak"),
        (f"{SOFT}leak = 1.1", "[dynamics] leak is 1.1", "a number in 0..1"),
        (f"{SOFT}retain = [0.5, -0.1]", "[dynamics] retain is [0.5, -0.1]", "a number in 0..1"),
        (f"{SOFT}threshold = 0", "[dynamics] threshold is 0", "a number in 9.53674e-07.."),
        (f"{SOFT}cap = 16", "[dynamics] cap is 16", "1..15"),
        ('[dynamics]\nmode = "once"\ncap = 2', "[dynamics] cap is 2 for neurons that fire once", "use 1"),
        (f"{SOFT}guard = 25", "[dynamics] guard is 25", "0..24"),
        (f"{SOFT}start = 9", "[dynamics] start is 9", "0..8, at most the steps"),
        (f'{SOFT}input = "events"', "[dynamics] input is 'events'", "codes, direct, constant"),
        (f'{SOFT}trained = ["beta"]', "[dynamics] trained is ['beta']", 'a list of "retain", "leak", "threshold"'),
        ("[data]\nevents = true", "[data] events is true for set 'digits'", 'use it with set = "npz"'),
        (EVENTS, "[data] events are trained with [dynamics] alone", 'add [dynamics] mode = "soft"'),
        (
            f'{EVENTS}{SOFT}input = "constant"',
            "[dynamics] input is 'constant' for [data] events",
            "use it for pixels only",
        ),
        (
            f'{EVENTS}{SOFT}[network]\ninput_kernel = {{ kind = "linear" }}',
            "[network] input_kernel plays no part with [data] events",
            "leave it out",
        ),
        (f'{EVENTS}{SOFT}[hardware]\ninput = "pixels"', "[hardware] input is 'pixels' for [data] events", "use events"),
        (f'{SOFT}trained = "leak"', "[dynamics] trained is 'leak'", 'a list, such as ["leak"]'),
        (f"{SOFT}leak = [0.9, 0.8, 1.0]", "[dynamics] leak is [0.9, 0.8, 1.0]", "a list of 2: one a population after"),
        (f"{SOFT}threshold = [1.0, 2.0]", "[dynamics] threshold is [1.0, 2.0]", "use one value"),
        (f'{SOFT}input = "constant"\nretain = [0.5, 0.0]', "[dynamics] retain begins with 0.5", "use 1 for the first"),
        (f"[network]\nfire_start = 2\n{SOFT}", "[network] fire_start is of neurons with tables", "[dynamics] start"),
        (f'[network]\nkernel = {{ kind = "linear" }}\n{SOFT}', "[network] kernel is of neurons with tables", "worth 1"),
        (
            f'[network]\ninput_kernel = {{ kind = "direct" }}\n{SOFT}',
            "input_kernel is 'direct'",
            '[dynamics] input = "direct"',
        ),
        (
            f'[network]\ninput_kernel = {{ kind = "linear" }}\n{SOFT}input = "direct"',
            "[network] input_kernel plays no part with [dynamics] input = 'direct'",
            "leave it out",
        ),
        (f"{SOFT}[train]\nspike_budget = 40", "[train] spike_budget is of neurons with tables", "leave it out"),
        (f'{SOFT}[train]\nmethod = "relu"', "[train] method is of neurons with tables", "leave it out"),
        (f'[network]\nhidden = "8C3-P2"\n{SOFT}', "[network] hidden: max pooling, P2, is not trained", "A2"),
        ('[network]\nreadout = "largest_membrane"', "[network] readout is 'largest_membrane' without", "membrane or"),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FirstspikeError) as error:
        Experiment.load(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert hint in error.value.one_line()
    assert "\n" not in error.value.one_line()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
def test_editors_of_all_kinds(tmp_path: Path, mark: str, end: str) -> None:
    (tmp_path / "mine.toml").write_bytes(f"{mark}name = 'x'{end}[train] # größer{end}epochs = 3{end}".encode())
    assert Experiment.load(tmp_path / "mine.toml") == Experiment(name="x", train=TrainConfig(epochs=3))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_text_that_is_not_utf8(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine.toml").write_bytes("name = 'x' # größer\n".encode(encoding))
    with pytest.raises(FirstspikeError, match=r"mine\.toml is not text in UTF-8") as error:
        Experiment.load(tmp_path / "mine.toml")
    assert error.value.hint == "save it as UTF-8"
    assert ("UTF-16" in str(error.value)) == (encoding != "latin-1")


def test_a_zero_byte(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = 'x'\n[train]\nepochs = 3\0\n")
    with pytest.raises(FirstspikeError, match=r"mine\.toml is not text: it holds a zero byte$"):
        Experiment.load(tmp_path / "mine.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FirstspikeError, match=r"cannot read .*none\.toml: No such file"):
        Experiment.load(tmp_path / "none.toml")


def test_a_section_checks_itself() -> None:
    with pytest.raises(FirstspikeError, match=r"\[train\] seed is -1"):
        TrainConfig(seed=-1)
