# SPDX-License-Identifier: Apache-2.0
"""Finds and hashes the weight files of a grounder, so that a decision records its model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from spatial_vlm_ros.errors import FileError, SpatialVlmError
from spatial_vlm_ros.evaluation.evidence.bundle import KeptModel
from spatial_vlm_ros.evaluation.evidence.store import hash_of
from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.model_store.manifest import known_models
from spatial_vlm_ros.perception.model_store.store import folder_of
from spatial_vlm_ros.types import ModelDomain

_OF_MODELS = (".onnx", ".safetensors", ".json")
_MOST = 500  # files of a model that are hashed


def model_of(name: str, options: Mapping[str, str], domain: ModelDomain) -> KeptModel:
    """Identify a grounder by the hashes of its files; takes as long as reading them."""
    hashes: dict[str, str] = {}
    for option, value in options.items():
        for path, file in _files(value).items():
            hashes[f"{option}/{path}" if path else option] = _hash(file)
    if "model" not in options and not hashes:
        hashes = {f"model/{path}": _hash(file) for path, file in _shipped(name).items()}
    both = "".join(f"{path}\0{value}\n" for path, value in sorted(hashes.items()))
    return KeptModel(name, dict(options), domain, hashes, hashlib.sha256(both.encode()).hexdigest() if hashes else "")


def _files(value: str) -> dict[str, Path]:
    """Files that an option names, by their paths in its folder; "" for a single file."""
    entry = known_models().get(value)
    try:
        place = Path(value).expanduser() if entry is None else folder_of(entry)
        return {"": place} if place.is_file() else _below(place) if value and place.is_dir() else {}
    except (OSError, ValueError, RuntimeError, SpatialVlmError):  # an option may be anything
        return {}


def _shipped(name: str) -> dict[str, Path]:
    try:
        return _below(shipped_model(name))
    except SpatialVlmError:
        return {}


def _below(folder: Path) -> dict[str, Path]:
    if not {path.suffix for path in folder.iterdir()} & {*_OF_MODELS}:  # an option may name any folder
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files[:_MOST]}


def _hash(path: Path) -> str:
    try:
        return hash_of(path)
    except FileError as error:
        return f"not readable: {error.got}"
