# SPDX-License-Identifier: Apache-2.0
"""Trained tensors of remedies, in a file beside the checkpoint, which does not contain them.

    mark(model, norms.NAME, norms.PUBLISHED)
    model.save_pretrained(folder)
    save_learned(folder, {norms.NAME: norm_tensors(norm)})

The table of learned positions has a file of its own (`absolute.FILE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.writing import written_by_name

FILE = "spatial_vlm_remedies.safetensors"
"""File in the checkpoint's folder; its keys are "<mark>.<tensor>"."""


def save_learned(folder: str | Path, learned: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the tensors of all remedies of a checkpoint; earlier content of the file is replaced."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(folder) / FILE
    tensors = {f"{mark}.{name}": value for mark, parts in learned.items() for name, value in parts.items()}
    if not path.parent.is_dir():
        raise FileError(path, "no such folder", "save the checkpoint there first, in a writable place")
    try:
        with written_by_name(path, force=True) as unfinished:
            save_file(tensors, str(unfinished))
    except (OSError, SafetensorError) as error:
        raise FileError(path, str(error), "save the checkpoint there first, in a writable place") from error


def load_learned(folder: str | Path, mark: str) -> dict[str, Tensor]:
    """Read the tensors of one remedy, on the CPU, by the names given to `save_learned`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, start = Path(folder) / FILE, f"{mark}."
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise FileError(path, str(error), "save the tensors there with save_learned") from error
    found = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    if not found:
        raise FileError(path, f"has no tensors of {mark}", "save them there with save_learned")
    return found
