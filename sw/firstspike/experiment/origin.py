"""Whether what was made before is of the settings and the images that there are now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from firstspike.errors import FirstspikeError
from firstspike.experiment.config import Experiment
from firstspike.experiment.data import Dataset

#: Sections that the trained weights follow from.
TRAINING = ("data", "network", "dynamics", "train")
#: Sections that the integer network follows from. Hardware and name may change.
NETWORK = (*TRAINING, "conversion")


def plain(experiment: Experiment) -> dict[str, Any]:
    """The experiment as it reads in JSON."""
    return dict(json.loads(json.dumps(experiment.to_json())))


def check_settings(
    what: object, before: Mapping[str, Any], experiment: Experiment, sections: Iterable[str], remedy: str
) -> None:
    """Refuse ``what`` if it was made with other settings.

    Parameters
    ----------
    what
        Begins the message.
    before
        :meth:`Experiment.to_json` of the experiment that it was made for; what it lacks had its default.
    experiment
        As it is now.
    sections
        Those that count.
    remedy
        How to make it anew.

    Raises
    ------
    FirstspikeError
        naming every key that differs, with both values.

    """
    now, default = plain(experiment), plain(Experiment(name="default"))
    changed = []
    for section in sections:
        new, old = now[section], default[section] | dict(before.get(section, {}))
        changed += [
            f"[{section}] {key} was {_value(old.get(key))} and is {_value(new.get(key))}"
            for key in [*new, *(old.keys() - new.keys())]
            if old.get(key) != new.get(key)
        ]
    if changed:
        raise FirstspikeError(f"{what} is of another experiment: {', '.join(changed)}", f"{remedy}, or set it back")


def _value(value: object) -> str:
    return "not set" if value is None else json.dumps(value)


def check_data(what: object, before: Mapping[str, Any], experiment: Experiment, dataset: Dataset, remedy: str) -> None:
    """Refuse ``what`` if it was made of other images than those of the data set.

    Parameters
    ----------
    what
        Begins the message.
    before
        :attr:`Dataset.summary` of the images that it was made of; empty if that is not known.
    experiment, dataset
        As they are now.
    remedy
        How to make it anew.

    Raises
    ------
    FirstspikeError
        naming the file that has changed.

    """
    now = json.loads(json.dumps(dataset.summary))
    if not before.get("sha256") or all(before.get(key) == value for key, value in now.items()):
        return
    files = experiment.data.path or f"a file of data set {dataset.name}"
    raise FirstspikeError(
        f"{files} has changed: {what} was made of other images or labels", f"{remedy}, or put the former file back"
    )
