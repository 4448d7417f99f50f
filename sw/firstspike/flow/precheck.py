"""What can be known of an experiment before hours of training: it is refused, or doubted, then and not after them."""

from __future__ import annotations

from dataclasses import replace

from firstspike.artefact import check_replaceable
from firstspike.errors import FirstspikeError
from firstspike.experiment.config import HardwareConfig
from firstspike.experiment.data import Dataset
from firstspike.experiment.outline import doubts, least_network
from firstspike.flow.workspace import Workspace
from firstspike.network import golden

#: Images whose spikes the clocks of an untrained network are counted for.
SAMPLE = 100


def check(workspace: Workspace, *, hardware: bool = False) -> list[str]:
    """Refuse what no training could mend.

    Parameters
    ----------
    workspace
        Of the experiment, with the lanes or the target that the command line asks for.
    hardware
        Whether hardware is to be generated; it is looked at, too, if the experiment or the command line asks for any.

    Returns
    -------
    What is probably not meant, a sentence each.

    Raises
    ------
    FirstspikeError
        if the layers do not fit the images, no network of this shape fits the hardware asked for, or a folder that is
        to be written anew holds files of the user's.

    """
    for folder in (workspace.network, workspace.images, workspace.rtl) if hardware else ():
        check_replaceable(folder)
    found = doubts(workspace.experiment, workspace.loaded)
    if hardware or workspace.experiment.hardware != HardwareConfig():
        _check_hardware(workspace, workspace.loaded)
    return found


def _check_hardware(workspace: Workspace, dataset: Dataset) -> None:
    experiment = workspace.experiment
    least = least_network(experiment, dataset)
    others = experiment.train.kernel_start is not None or experiment.conversion.optimise_kernels
    if others and experiment.hardware.clocks is not None:
        # Kernels will be others, and with them the spikes of the input: no target in clocks is out of reach yet.
        workspace = replace(workspace.folded(lanes=1), asked=workspace.asked)
    try:
        golden.Golden(least)  # refuses what it would not compute exactly
        workspace.hardware_for(least, lambda: golden.run(least, dataset.train_images[:SAMPLE]))
    except FirstspikeError as error:
        if workspace.experiment.hardware.clocks is None:
            raise
        raise FirstspikeError(
            str(error), f"{error.hint}; what a trained network needs above that is not known yet"
        ) from error
