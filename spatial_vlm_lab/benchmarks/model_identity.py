# SPDX-License-Identifier: Apache-2.0
"""Identifies a model with stored answers by its options and the hash of their files."""

from __future__ import annotations

from pathlib import Path

from spatial_vlm_lab.benchmarks.answers import AnsweringModel
from spatial_vlm_lab.comparison.compared_models import ComparedModel
from spatial_vlm_ros.evaluation.evidence.model_files import model_of

_OF_MODELS = (".onnx", ".safetensors", ".json", ".bin", ".pt", ".pth", ".npz", ".gguf")


def asked_model(model: ComparedModel) -> AnsweringModel:
    """Identify a model by the hash of its files; takes as long as reading them.

    The files are those below a model folder that the backend or an option names, and single files with a suffix of
    weights or settings. A server's weights are not known.
    """
    backend = " ".join([model.backend, *(f"{name}={value}" for name, value in sorted(model.options.items()))])
    named = {name: value for name, value in model.options.items() if not _something_else(value)}
    folder = {"folder": model.backend} if _is_folder(model.backend) else {}
    return AnsweringModel(model.name, backend, model_of(model.backend, {**folder, **named}, "unknown").sha256_all)


def _something_else(value: str) -> bool:
    try:
        place = Path(value).expanduser()
        return place.is_file() and place.suffix not in _OF_MODELS
    except (OSError, ValueError, RuntimeError):  # an option may be anything
        return False


def _is_folder(name: str) -> bool:
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False
