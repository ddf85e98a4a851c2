# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint was trained with: a mark in its configuration, and trained tensors in files beside it.

    mark(model, norms.NAME, norms.PUBLISHED)
    model.save_pretrained(folder)
    save_learned(folder, {norms.NAME: norm.state_dict()})

A remedy that changes a model's computation (its positions, its norms) helps a model that was trained with it and harms
one that was not. Training writes the mark with `mark`; a remedy reads it with `check_trained` before it is applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.writing import written_by_name

FIELD = "spatial_vlm_remedies"
"""Field of the configuration: name of a remedy → its settings, as JSON values."""


def trained_with(model: nn.Module) -> Mapping[str, object]:
    """Return the remedies that a model was trained with and their settings; empty for a model without the mark."""
    noted = getattr(_config(model), FIELD, None)
    if noted is None:
        return MappingProxyType({})
    if not isinstance(noted, Mapping) or not all(isinstance(name, str) for name in noted):
        got = f"config.{FIELD} is a {type(noted).__name__}, not a mapping of names"
        raise ModelError(type(model).__name__, got, "load the checkpoint as the training saved it")
    return MappingProxyType(dict(noted))


def mark(model: nn.Module, name: str, value: object) -> None:
    """Mark a model as trained with a remedy and settings (JSON values, tuples); `save_pretrained` saves the mark."""
    setattr(_config(model), FIELD, {**trained_with(model), name: _as_json(name, value)})


def check_trained(
    model: nn.Module, name: str, value: object, allow_untrained: bool = False, unmarked: object = None
) -> None:
    """Refuse settings of a remedy that a model was not trained with, unless this is allowed, as before training."""
    wanted, noted = _as_json(name, value), trained_with(model).get(name, _as_json(name, unmarked))
    if wanted != noted and not allow_untrained:
        told = "without it" if noted is None else f"with {json.dumps(noted)}"
        repair = "load a checkpoint trained with it, or pass allow_untrained=True to train or study it"
        raise ModelError(type(model).__name__, f"was trained {told}, not with {name} {json.dumps(wanted)}", repair)


def _config(model: nn.Module) -> object:
    config = getattr(model, "config", None)
    if config is None:
        raise ModelError(type(model).__name__, "has no configuration", "use a model of transformers")
    return config


def _as_json(name: str, value: object) -> object:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"settings of {name}", str(error), "JSON values", "use texts, numbers and lists") from error


FILE = "spatial_vlm_remedies.safetensors"
"""File in the checkpoint's folder; its keys are "<mark>.<tensor>"."""


def save_learned(folder: str | Path, learned: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the tensors of all remedies of a checkpoint; earlier content of the file is replaced."""
    _save(
        Path(folder) / FILE, {f"{mark}.{name}": one for mark, parts in learned.items() for name, one in parts.items()}
    )


def load_learned(folder: str | Path, mark: str) -> dict[str, Tensor]:
    """Read the tensors of one remedy, on the CPU, by the names given to `save_learned`."""
    path, start = Path(folder) / FILE, f"{mark}."
    tensors = _load(path, "save the tensors there with save_learned")
    found = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    if not found:
        raise FileError(path, f"has no tensors of {mark}", "save them there with save_learned")
    return found


TABLE_FILE = "spatial_vlm_positions.safetensors"
"""File beside the checkpoint, which does not contain the table."""


class LearnedPositions(nn.Module):
    """One vector per cell of a grid, as in vision transformers (Dosovitskiy et al. 2021).

    It starts with zeros, which do not change a model; it gets a gradient from the first step. For another grid the
    table is interpolated: bilinear, aligned at cell centres (`align_corners=False`).
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        super().__init__()
        if min(height, width, size) < 1:
            raise InputError(
                "learned positions", f"{height} x {width} of {size}", "at least 1", "pass the size of the grid"
            )
        self.table = nn.Parameter(torch.zeros(height, width, size))

    def forward(self, height: int, width: int) -> Tensor:
        """Return (height * width, D), the vectors to add to the tokens of a grid, row by row."""
        if (height, width) == tuple(self.table.shape[:2]):
            return self.table.flatten(0, 1)
        fitted = F.interpolate(self.table.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False)
        return fitted[0].permute(1, 2, 0).flatten(0, 1)

    def save(self, folder: str | Path) -> None:
        """Write the table into the folder of the checkpoint."""
        _save(Path(folder) / TABLE_FILE, self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> LearnedPositions:
        """Read a table that `save` wrote."""
        path = Path(folder) / TABLE_FILE
        table = _load(path, "save the table beside the checkpoint").get("table")
        if table is None or table.ndim != 3:
            raise FileError(path, "has no table of rows, columns, numbers", "save it with LearnedPositions.save")
        made = cls(*table.shape)
        made.table = nn.Parameter(table)
        return made


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    repair = "save the checkpoint there first, in a writable place"
    if not path.parent.is_dir():
        raise FileError(path, "no such folder", repair)
    try:
        with written_by_name(path, force=True) as unfinished:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(unfinished))
    except (OSError, SafetensorError) as error:
        raise FileError(path, str(error), repair) from error


def _load(path: Path, repair: str) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise FileError(path, str(error), repair) from error
