# SPDX-License-Identifier: Apache-2.0
"""Save an adapted model: a plain transformers checkpoint with the marks and trained tensors of its remedies."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from spatial_vlm_lab.adaptation.preparing import PreparedModel
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.vlm.remedies.learned import save_learned
from spatial_vlm_ros.vlm.remedies.marking import FIELD, trained_with

_LEFT = ("README.md", "adaptation.json", "calibration.json", "config.json")
"""Files of a base that are not its weights, tokenizer or processor, or that are written again."""


def save_adapted(made: PreparedModel, folder: Path, dtype: torch.dtype) -> None:
    """Write model, processor and remedies; LoRA is merged first.

    Args:
        folder: new, or empty.
        dtype: number format of the weights, the same as the base's.
    """
    made.finish()
    made.model.to(dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made.model.save_pretrained(folder)
        made.processor.save_pretrained(folder)
    except OSError as error:
        raise FileError(folder, str(error), "choose a writable place with enough space") from error
    _save_remedies(made, folder)


def save_beside(made: PreparedModel, base: Path, folder: Path) -> None:
    """Copy the base byte for byte and write the remedies beside it: only the marks in config.json are added.

    Args:
        made: the trained model; its base must be unchanged.
        folder: new, or empty.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in base.iterdir():
            if file.is_file() and file.name not in _LEFT:
                shutil.copyfile(file, folder / file.name)
        config = read_json(base / "config.json", "pass the base's whole folder")
        config[FIELD] = dict(trained_with(made.model))
        write_json(folder / "config.json", config, force=True, indent=2)
        made.processor.save_pretrained(folder)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(folder, str(error), "choose a writable place with enough space") from error
    _save_remedies(made, folder)


def _save_remedies(made: PreparedModel, folder: Path) -> None:
    tensors = made.tensors()
    if tensors:
        save_learned(folder, tensors)
    if made.table is not None:
        made.table.save(folder)
