# SPDX-License-Identifier: Apache-2.0
"""State of a training run in a folder, as safetensors and JSON: weights, optimiser, step, random state.

A checkpoint is written beside the previous one and then replaces it, so an interruption leaves a complete one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.reading import open_regular
from spatial_vlm_ros.files.writing import write_text
from spatial_vlm_ros.vlm.compact.model import CompactModel

FOLDER = "checkpoint"
WEIGHTS = "model.safetensors"
_REPAIR = "remove the checkpoint folder and train again"


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Args:
        settings: settings of the run; a run continues only with the same settings.
    """

    step: int
    settings: dict[str, Any]
    best: float = -1.0


def save(folder: Path, model: CompactModel, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the checkpoint of a run's folder."""
    try:
        with new_folder(folder / FOLDER, force=True) as new:
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, new / WEIGHTS)
            save_file(_flat(optimizer), new / "optimizer.safetensors")
            state = {"step": progress.step, "settings": progress.settings, "best": progress.best}
            save_file({"torch": torch.get_rng_state()}, new / "random.safetensors")
            write_text(new / "progress.json", json.dumps(state))
    except OSError as error:
        raise FileError(folder / FOLDER, str(error), "choose a writable folder with enough space") from error


def load(folder: Path, model: CompactModel, optimizer: torch.optim.Optimizer,
         settings: dict[str, Any]) -> Progress | None:  # fmt: skip
    """Load the checkpoint of a run's folder into model and optimiser.

    Returns:
        Progress of the run; None if there is no checkpoint.
    """
    place = folder / FOLDER
    if (
        not place.exists() and (folder / f"{FOLDER}.old").exists()
    ):  # left by an earlier version that was interrupted between two renames
        (folder / f"{FOLDER}.old").rename(place)
    if not place.exists():
        return None
    try:
        state = read_json(place / "progress.json", _REPAIR)
        progress = Progress(int(state["step"]), dict(state["settings"]), float(state["best"]))
        weights = load_file(place / WEIGHTS)
        moments = load_file(place / "optimizer.safetensors")
        chance = load_file(place / "random.safetensors")["torch"]
    except FileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise FileError(place, f"{type(error).__name__}: {error}", _REPAIR) from error
    if progress.settings != settings:
        changed = [name for name in settings if progress.settings.get(name) != settings[name]]
        raise InputError("settings of the run", f"other {', '.join(changed)}", "those of its checkpoint",
                         "repeat them, or train in another folder")  # fmt: skip
    try:
        model.load_state_dict(weights)
        _unflatten(optimizer, moments)
    except (RuntimeError, KeyError, ValueError) as error:
        raise FileError(place, str(error).splitlines()[0], _REPAIR) from error
    torch.set_rng_state(chance)
    return progress


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path, _REPAIR) as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def start_from(folder: Path, model: CompactModel) -> str:
    """Load the weights of a saved model, such as FOLDER/best of another run, into a model.

    Returns:
        SHA-256 of the file, which identifies the start of the run.
    """
    path = folder / WEIGHTS
    try:
        model.load_state_dict(load_file(path))
        return _hash(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise FileError(path, reason, "pass a folder with a model of the same words and sizes") from error


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the optimiser's tensors: "number of the parameter/name" → tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value.contiguous() for number, values in state.items() for name, value in values.items()
    }


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
