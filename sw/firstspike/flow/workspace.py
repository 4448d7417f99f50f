"""The folder of one experiment: where each stage of the chain leaves its artefact for the next."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from firstspike import processes
from firstspike.artefact import MARKER, check_place, write_file
from firstspike.contract.hardware import Hardware
from firstspike.documents import read_json
from firstspike.errors import FirstspikeError
from firstspike.experiment import origin
from firstspike.experiment.config import LANES_FROM, Experiment
from firstspike.experiment.data import Dataset, load
from firstspike.network import golden
from firstspike.network.model import Network

BUILD = Path("build")
#: Training images whose spikes are counted to choose lanes.
SAMPLE = 1000
AGAIN = "run 'firstspike train' and 'firstspike quantize' again"


@dataclass(frozen=True)
class Workspace:
    """Experiment and folder; every path below it is named here, and nowhere else."""

    experiment: Experiment
    folder: Path
    #: Of the experiment, for messages.
    file: Path | None = None
    #: What asks for the hardware, for messages: a section of the experiment, or an option.
    asked: str = "[hardware]"

    @classmethod
    def open(cls, experiment_file: Path, out: Path | None = None) -> Workspace:
        """The workspace of an experiment file: ``out``, or ``build/<name>``. Or a workspace's folder with a network.

        Raises
        ------
        FirstspikeError
            if the file is wrong, or the folder has no network, or one of another origin.

        """
        if experiment_file.is_dir():
            if out is not None:
                raise FirstspikeError(f"--out is given with the folder {experiment_file}", "leave out one of them")
            return cls._of_folder(experiment_file)
        experiment = Experiment.load(experiment_file)
        return cls(experiment, out if out is not None else BUILD / experiment.name, experiment_file)

    @classmethod
    def _of_folder(cls, folder: Path) -> Workspace:
        """The experiment is the one that the network comes from."""
        workspace = cls(Experiment(name="network"), folder)
        made_by = workspace._load_network().provenance.get("experiment")
        if made_by is None:
            raise FirstspikeError(f"{workspace.network} does not say what it was made by", "give an experiment file")
        return cls(Experiment.from_json(made_by), folder)

    def check_place(self) -> None:
        """Refuse a folder that holds files, but no artefact of a workspace.

        Raises
        ------
        FirstspikeError
            if it is such a one.

        """
        made = (
            self.network, self.images, self.rtl, self.verilated, self.netlist, self.verilated_netlist, self.bitstream,
            self.vivado, self.board("*") / "*",
        )  # fmt: skip
        signs = [path / MARKER for path in made]
        signs += [self.network / "tensors.safetensors", self.training / "last.ckpt"]
        check_place(self.folder, [str(path.relative_to(self.folder)) for path in signs])

    def folded(self, **target: int | list[int] | None) -> Workspace:
        """The same, with ``lanes``, ``clocks`` or ``blocks`` in place of what the experiment says of these.

        Raises
        ------
        FirstspikeError
            if more than one is given, or a number is out of range.

        """
        given = [f"--{name}" for name, value in target.items() if value is not None]
        if not given:
            return self
        if len(given) > 1:
            raise FirstspikeError(f"{' and '.join(given)} are given together", "give one of them")
        settings: dict[str, Any] = dict.fromkeys(LANES_FROM) | target
        try:
            hardware = replace(self.experiment.hardware, **settings)
        except FirstspikeError as error:
            raise FirstspikeError(str(error).replace("[hardware] ", "--"), error.hint) from error
        return replace(self, experiment=replace(self.experiment, hardware=hardware), asked=given[0])

    @property
    def training(self) -> Path:
        """Checkpoint and history."""
        return self.folder / "train"

    @property
    def surrogate(self) -> Path:
        """What the surrogate makes of the test images."""
        return self.folder / "surrogate.json"

    @property
    def network(self) -> Path:
        """The frozen integer network."""
        return self.folder / "network"

    @property
    def images(self) -> Path:
        """Memory images in every format."""
        return self.folder / "images"

    @property
    def rtl(self) -> Path:
        """Verilog, manifest, and the memory images that it reads."""
        return self.folder / "rtl"

    @property
    def verilated(self) -> Path:
        """The Verilated model, compiled."""
        return self.folder / "verilated"

    @property
    def simulation(self) -> Path:
        """What the Verilated RTL made of the test images."""
        return self.folder / "simulation.json"

    @property
    def reloaded(self) -> Path:
        """What the Verilated RTL made of the test images with another network loaded at run time."""
        return self.folder / "reloaded.json"

    @property
    def netlist(self) -> Path:
        """The synthesised netlist as Verilog, in a folder of the form of :attr:`rtl`."""
        return self.folder / "netlist"

    @property
    def verilated_netlist(self) -> Path:
        """The Verilated model of the netlist, compiled."""
        return self.folder / "verilated_netlist"

    @property
    def netlist_simulation(self) -> Path:
        """What the netlist made of the test images."""
        return self.folder / "netlist_simulation.json"

    @property
    def netlist_reloaded(self) -> Path:
        """What the netlist made of the test images with another network loaded at run time."""
        return self.folder / "netlist_reloaded.json"

    @property
    def inference(self) -> Path:
        """Classes of the user's own pictures."""
        return self.folder / "inference.json"

    @property
    def waves(self) -> Path:
        """VCD of a simulation."""
        return self.folder / "simulation.vcd"

    @property
    def bitstream(self) -> Path:
        """Bitstream, and the figures of place and route."""
        return self.folder / "bitstream"

    @property
    def boards(self) -> Path:
        """A folder for each board that there is a bitstream for."""
        return self.folder / "boards"

    def board(self, name: str) -> Path:
        """Bitstream for a board, its figures, and the routed design."""
        return self.boards / name

    @property
    def vivado(self) -> Path:
        """Sources, constraints and script for Vivado."""
        return self.folder / "vivado"

    @property
    def report(self) -> Path:
        """The result, for machines."""
        return self.folder / "report.json"

    @property
    def raster(self) -> Path:
        """Picture: spikes of one image."""
        return self.folder / "raster.png"

    @property
    def kernels(self) -> Path:
        """Picture: kernel and threshold of each population."""
        return self.folder / "kernels.png"

    @property
    def energy(self) -> Path:
        """Picture: estimated energy of an image, by part."""
        return self.folder / "energy.png"

    @cached_property
    def loaded(self) -> Dataset:
        """The experiment's images, whatever was made of others before."""
        with self.naming_file():
            return load(self.experiment.data)

    @cached_property
    def dataset(self) -> Dataset:
        """The experiment's images, which are still those that the network, if there is one, was made of."""
        if self.network.exists():
            made_of = self.frozen.provenance.get("dataset", {})
            origin.check_data(self.network, made_of, self.experiment, self.loaded, AGAIN)
        return self.loaded

    @cached_property
    def frozen(self) -> Network:
        """The network of :attr:`network`, checked: its settings are still those of the experiment."""
        network = self._load_network()
        made_by = network.provenance.get("experiment")
        if made_by is not None:
            origin.check_settings(self.network, made_by, self.experiment, origin.NETWORK, AGAIN)
        return network

    def _load_network(self) -> Network:
        if not self.network.exists():
            raise FirstspikeError(f"{self.network} does not exist", "run 'firstspike quantize' first")
        return Network.load(self.network)

    def generated(self) -> tuple[dict[str, Any], Hardware]:
        """Manifest and hardware of :attr:`rtl`.

        Raises
        ------
        FirstspikeError
            if it is missing, was changed, or was generated for another network than :attr:`frozen`.

        """
        from firstspike_rtl.top.verilog import load_manifest

        if not self.rtl.exists():
            raise FirstspikeError(f"{self.rtl} does not exist", "run 'firstspike generate' first")
        manifest, hardware = load_manifest(self.rtl)
        if manifest["network"]["digest"] != self.frozen.digest:
            raise FirstspikeError(f"{self.rtl} was generated for another network", "run 'firstspike generate' again")
        return manifest, hardware

    @cached_property
    def sample(self) -> golden.Result:
        """What the golden model makes of the first 1,000 training images: their spikes are the work of the layers."""
        return golden.run(self.frozen, self.dataset.train_images[:SAMPLE])

    @cached_property
    def hardware(self) -> Hardware:
        """The hardware that the experiment asks for; for a target, folded for the spikes of :attr:`sample`."""
        return self.hardware_for(self.frozen, lambda: self.sample)

    def hardware_for(self, network: Network, sample: Callable[[], golden.Result]) -> Hardware:
        """The hardware that the experiment asks for, for a network and, if there is a target, its spikes.

        Raises
        ------
        FirstspikeError
            if the network does not fit it, or no folding reaches the target.

        """
        wanted = self.experiment.hardware
        settings: dict[str, Any] = {
            "fire": wanted.fire,
            "product": wanted.product,
            "input": wanted.input,
            "monitor": wanted.monitor,
            "counters": wanted.counters,
            "spare_membrane_bits": wanted.spare_membrane_bits,
        }
        try:
            if wanted.clocks is None and wanted.blocks is None:
                return Hardware.for_network(network, lanes=wanted.lanes, **settings)
            from firstspike_rtl.clocks import folding

            return folding.fold(network, sample(), clocks=wanted.clocks, blocks=wanted.blocks, **settings)
        except FirstspikeError as error:
            file = "" if self.file is None or not self.asked.startswith("[") else f"{self.file}: "
            raise FirstspikeError(f"{file}{self.asked}: {error}", error.hint) from error

    @contextlib.contextmanager
    def naming_file(self) -> Iterator[None]:
        """Errors about settings, which begin with their ``[section]``, name the experiment's file, too."""
        try:
            yield
        except FirstspikeError as error:
            if self.file is None or not str(error).startswith("["):
                raise
            raise FirstspikeError(f"{self.file}: {error}", error.hint) from error

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note the wall time of a stage that succeeds, in ``seconds.json``; of several processes the first does."""
        begin = time.perf_counter()
        yield
        if not processes.is_first():
            return
        seconds = self.seconds | {stage: round(time.perf_counter() - begin, 3)}
        write_json(self.folder / "seconds.json", seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each stage that has run."""
        path = self.folder / "seconds.json"
        return dict(read_json(path, "remove it", {str: float})) if path.exists() else {}


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all.

    Raises
    ------
    FirstspikeError
        if the file cannot be written.

    """
    write_file(path, json.dumps(value, indent=1) + "\n")
