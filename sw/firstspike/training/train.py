"""Train a surrogate and freeze it: one :class:`Experiment` and its data set in, one integer network out."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from firstspike import __version__, processes
from firstspike.console import console
from firstspike.conversion.t2fsnn import check_convertible, convert_as
from firstspike.errors import FirstspikeError
from firstspike.experiment import origin
from firstspike.experiment.config import Experiment, TrainConfig
from firstspike.experiment.data import Dataset
from firstspike.experiment.outline import populations
from firstspike.network.kernels import Constant
from firstspike.network.model import Network
from firstspike.training import threads
from firstspike.training.batches import ImageBatches, loader
from firstspike.training.dynamics.surrogate import SteppedSurrogate
from firstspike.training.inference import IntegerNetwork
from firstspike.training.lightning_parts import KeepSignals, WholeCheckpoints
from firstspike.training.loop import Training
from firstspike.training.surrogate import Model, Surrogate

CHECKPOINT = "last.ckpt"
EVALUATION_BATCH = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult:
    """What training gives.

    Parameters
    ----------
    network
        The frozen integer network.
    model
        The surrogate or ReLU network it comes from, on the CPU and in evaluation mode.
    classes
        Class of each test image by the integer arithmetic in torch, int64, shape (N,).
    accuracy
        Part of the test images whose class is right, of the surrogate.
    history
        For each epoch: ``epoch``, mean ``loss``, ``learning_rate`` at its end, ``statistics_frozen``, ``seconds``.

    """

    network: Network
    model: Model
    classes: NDArray[np.int64]
    accuracy: float
    history: list[dict[str, Any]]


def surrogate(experiment: Experiment, dataset: Dataset) -> Model:
    """An untrained surrogate as the experiment describes it; initial weights come from torch's random state.

    Raises
    ------
    FirstspikeError
        if the architecture does not fit the images.

    """
    shape, recipe = experiment.network, experiment.train
    _, sizes = populations(experiment, dataset)
    dynamics = experiment.dynamics
    if dynamics.mode is not None:
        return SteppedSurrogate(
            sizes[0],
            shape.architecture(dataset.classes),
            experiment.neurons(),
            input_kernel=experiment.input_kernel,
            steps=shape.steps,
            repeat=dataset.repeat,
            trained=dynamics.trained,
            slope=dynamics.slope,
            batch_norm=dynamics.batch_norm,
            weight_bits=recipe.weight_bits,
            weight_clip=recipe.weight_clip,
            momentum=recipe.statistics_momentum,
        )
    return Surrogate(
        sizes[0],
        shape.architecture(dataset.classes),
        input_kernel=shape.spiking_input,
        kernel=shape.spiking_hidden,
        fire_start=shape.start,
        readout=shape.readout,
        weight_bits=recipe.weight_bits if recipe.method == "surrogate" else None,
        weight_clip=recipe.weight_clip,
        momentum=recipe.statistics_momentum,
        trainable_kernels=recipe.kernel_start is not None,
    )


class _ProgressBar(Callback):
    """One line for the whole training; Lightning's own bar starts anew each epoch and costs time each step."""

    #: Steps between two updates.
    STRIDE = 20

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[epoch]}", markup=False),
            TimeRemainingColumn(),
            console=console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("train", total=None, epoch="")

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._progress.update(self._task, total=float(trainer.estimated_stepping_batches))
        self._progress.start()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        history = pl_module.history if isinstance(pl_module, Training) else []
        loss = f", loss {history[-1]['loss']:.3f}" if history else ""
        epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{loss}"
        self._progress.update(self._task, completed=trainer.global_step, epoch=epoch)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step % self.STRIDE == 0:
            self._progress.update(self._task, completed=trainer.global_step)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._progress.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._progress.stop()


def train(experiment: Experiment, dataset: Dataset, out: Path | str, resume: bool = False) -> TrainResult:
    """Train the experiment's network on ``dataset``, and freeze it.

    The result follows from experiment, data, and the machine with its number of threads alone; the caller's random
    state stays as it is. Under ``torchrun`` each process takes its share of every batch; batch norm has the statistics
    of the whole batch, and each process returns the same network.

    Parameters
    ----------
    experiment
        Network and recipe.
    dataset
        What :func:`firstspike.experiment.data.load` gives.
    out
        Folder for the checkpoint ``last.ckpt``, written after each epoch; nothing is written elsewhere.
    resume
        Go on from that checkpoint. The result is that of a run without interruption.

    Raises
    ------
    FirstspikeError
        if the loss is not finite, the folder cannot be written, the data does not fit the experiment, or there is
        no checkpoint of this experiment to go on from.

    """
    return _result(*fit(experiment, dataset, out, resume), experiment, dataset)


def finished(experiment: Experiment, dataset: Dataset, out: Path | str) -> TrainResult:
    """Freeze what a training of ``experiment`` has left in ``out``, without a step of training.

    Raises
    ------
    FirstspikeError
        if there is no such training, or it was not finished.

    """
    processes.check()
    path = Path(out) / CHECKPOINT
    if not path.is_file():
        raise FirstspikeError(f"{path} does not exist", "run 'firstspike train' first")
    content = _content(path, experiment, dataset, "run 'firstspike train' again")
    done, epochs = len(content["history"]), experiment.train.epochs
    if done < epochs:
        raise FirstspikeError(
            f"{path} is of epoch {done} of {epochs}: training was not finished",
            "go on with 'firstspike train --resume'",
        )
    with isolate_rng():
        model = surrogate(experiment, dataset)
    own = "model."
    model.load_state_dict({k.removeprefix(own): v for k, v in content["state_dict"].items() if k.startswith(own)})
    return _result(model.eval(), content["history"], experiment, dataset)


def _result(model: Model, history: list[dict[str, Any]], experiment: Experiment, dataset: Dataset) -> TrainResult:
    network = _network(model, experiment, dataset)
    classes = classify(network, dataset.test_images)
    return TrainResult(
        network=network,
        model=model,
        classes=classes,
        accuracy=float((classes == dataset.test_labels).mean()),
        history=history,
    )


def fit(
    experiment: Experiment,
    dataset: Dataset,
    out: Path | str,
    resume: bool = False,
    *,
    begin: Callable[[], None] = lambda: None,
) -> tuple[Model, list[dict[str, Any]]]:
    """The training of :func:`train` without what follows: the model, on the CPU and in evaluation mode, and history.

    ``begin`` is called when nothing is left that could be refused.

    Raises
    ------
    FirstspikeError
        as :func:`train`.

    """
    out = Path(out)
    recipe = experiment.train
    stages, _ = populations(experiment, dataset)
    kernel = experiment.kernel
    tables = experiment.dynamics.mode is None
    if tables and len(stages) > 1 and (isinstance(kernel, Constant) or len(set(kernel.table())) == 1 < kernel.steps):
        raise FirstspikeError(
            f"[network] kernel {kernel.kind!r} cannot be trained: its spikes carry one value, which has no gradient",
            "use another kind or a smaller tau for kernel; one value is possible as input_kernel",
        )
    if recipe.method == "relu":
        check_convertible(experiment)
    processes.check()
    checkpoint = out / CHECKPOINT if resume else None
    if checkpoint is not None:
        again = "train without resuming"
        if not checkpoint.is_file():
            raise FirstspikeError(f"there is no checkpoint {checkpoint} to resume from", again)
        _content(checkpoint, experiment, dataset, again)
    images = ImageBatches(
        dataset.train_images, dataset.train_labels, events=dataset.events, shift=recipe.shift, flip=recipe.flip,
        seed=recipe.seed,
    )  # fmt: skip
    with isolate_rng(), _quiet_lightning():
        lightning.seed_everything(recipe.seed, workers=True, verbose=False)
        training = Training(surrogate(experiment, dataset), experiment.train, images, stamp=_stamp(experiment, dataset))
        _make_writable(out)
        trainer = _trainer(recipe, out)
        share = _share(min(recipe.batch_size, len(images)))
        batches = loader(images, batch_size=share, seed=recipe.seed)
        begin()
        with threads.as_many_as_pay(training.model, share):
            trainer.fit(training, batches, ckpt_path=checkpoint, weights_only=True)
    return training.model.cpu().eval(), training.history


def _network(model: Model, experiment: Experiment, dataset: Dataset) -> Network:
    provenance = _provenance(experiment, dataset)
    if experiment.train.method == "surrogate":
        return model.freeze(provenance)
    assert isinstance(model, Surrogate)
    layers = model.relu_layers()
    return convert_as(experiment, layers, dataset.train_images, model.shapes[0], provenance).network


def _make_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise FirstspikeError(f"cannot write {out}: {error.strerror}", "choose another folder, with --out") from error


def _share(batch_size: int) -> int:
    """The part of a batch that one process takes."""
    share = batch_size // processes.count()
    if not share:
        raise FirstspikeError(
            f"a batch of {batch_size} images has less than one for each of {processes.count()} processes",
            "start fewer processes, or raise [train] batch_size",
        )
    return share


def _trainer(recipe: TrainConfig, out: Path) -> lightning.Trainer:
    callbacks: list[Callback] = [
        ModelCheckpoint(dirpath=out, filename=Path(CHECKPOINT).stem, enable_version_counter=False),
        KeepSignals(),
    ]
    # Lightning would look for a cluster manager that has started other processes.
    environment = TorchElasticEnvironment() if processes.started_by_torchrun() else LightningEnvironment()
    return lightning.Trainer(
        **_placement(),
        plugins=[environment, WholeCheckpoints()],
        max_epochs=recipe.epochs,
        callbacks=[*callbacks, _ProgressBar()] if sys.stderr.isatty() and processes.is_first() else callbacks,
        default_root_dir=out,
        # On a GPU some sums have no fixed order unless asked for; on the CPU all have.
        deterministic=torch.cuda.is_available(),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def classify(network: Network, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The class of each image, shape (N,), by the exact integer arithmetic of torch."""
    model = IntegerNetwork(network)
    parts = [
        model.infer(torch.tensor(images[i : i + EVALUATION_BATCH])).classes.numpy()
        for i in range(0, len(images), EVALUATION_BATCH)
    ]
    return np.concatenate(parts)


def _content(path: Path, experiment: Experiment, dataset: Dataset, again: str) -> dict[str, Any]:
    """What a checkpoint holds, if it is one of this experiment; ``again`` says what to do if not."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stamp = json.loads(content["experiment"])
    except Exception as error:  # torch, pickle and zipfile raise many kinds on damaged files
        raise FirstspikeError(f"the checkpoint {path} is damaged", again) from error
    if not isinstance(stamp, dict):
        raise FirstspikeError(f"the checkpoint {path} is of an older version", again)
    origin.check_settings(f"the checkpoint {path}", stamp["experiment"], experiment, origin.TRAINING, again)
    origin.check_data(f"the checkpoint {path}", stamp["dataset"], experiment, dataset, again)
    return content


def _stamp(experiment: Experiment, dataset: Dataset) -> str:
    """What a checkpoint is made for and of."""
    return json.dumps({"experiment": experiment.to_json(), "dataset": dataset.summary})


def _placement() -> dict[str, Any]:
    """One device, a GPU if there is one; or the processes that ``torchrun`` has started."""
    if not processes.started_by_torchrun():
        return {"accelerator": "auto", "devices": 1}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return {
        "accelerator": "auto",
        "strategy": "ddp",
        "devices": here,
        "num_nodes": processes.count() // here,
    }


def _provenance(experiment: Experiment, dataset: Dataset) -> dict[str, Any]:
    """No time and no path, so that the same run writes the same bytes."""
    return {
        "experiment": experiment.to_json(),
        "dataset": dataset.summary,
        "image_border": dataset.border,
        "seed": experiment.train.seed,
        "versions": {
            "firstspike": __version__,
            "lightning": str(lightning.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's notes on devices, workers and services say nothing about this loop; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            warnings.filterwarnings("ignore", message="The dirpath has changed")  # a folder may be moved
            # Lightning 2.6 still asks for a class that torch 2.13 has renamed.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
