# SPDX-License-Identifier: Apache-2.0
"""Export a trained model to ONNX, with fixed image size and any number of phrases."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_bytes, written_by_name
from spatial_vlm_ros.vlm.compact.model import CompactModel
from spatial_vlm_ros.vlm.compact.spec import ONNX_FILE, CompactSpec

OUTPUTS = ("heat", "box", "kernel", "prototypes", "features")
OPSET = 18

_LARGEST = 1 << 31  # bytes: the largest message of protobuf
_REPAIR = "pass a writable path for the ONNX file"


class _OneImage(nn.Module):
    """The model applied to one image, with its output as a plain tuple."""

    def __init__(self, model: CompactModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        (heat, box, kernel, prototypes), features = self.model.with_features(pixels, words)
        return heat, box, kernel, prototypes, features


def export(model: CompactModel, folder: Path, spec: CompactSpec | None = None) -> Path:
    """Write a model as config.json, model.safetensors and model.onnx.

    Args:
        spec: input size, names and calibration of the scores; all else as in the model. None = as in its configuration.

    Returns:
        The ONNX file: pixels (1, 3, H, W) float32 and words (P, L) int64 → OUTPUTS.
    """
    if spec is not None:
        model.config.names = {name: list(labels) for name, labels in spec.names.items()}
        model.config.width, model.config.height = spec.width, spec.height
        model.config.score_scale, model.config.score_rival = spec.score_scale, spec.score_rival
        model.config.score_shift, model.config.domain = spec.score_shift, spec.domain
    model.train(False)
    model.save_pretrained(folder)
    spec = model.config.spec
    pixels, words = torch.zeros(1, 3, spec.height, spec.width), torch.ones(3, spec.length, dtype=torch.int64)
    path = folder / ONNX_FILE
    try:
        with written_by_name(path, force=True) as written, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the exporter about itself
            torch.onnx.export(
                _OneImage(model.cpu()),
                (pixels, words),
                written,
                input_names=["pixels", "words"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"pixels": {}, "words": {0: torch.export.Dim("phrases", min=1, max=256)}},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            strip_traces(written)
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error
    return path


def strip_traces(path: Path) -> None:
    """Remove documentation and metadata from an ONNX file, in place; its results stay bit-identical.

    The exporter writes the Python stack of each operation there, with paths of the exporting machine.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error
    try:
        model = onnx.load_model_from_string(read_bytes(path, _REPAIR, _LARGEST))
        _strip(model)
        write_bytes(path, model.SerializeToString(deterministic=True), force=True)
    except DecodeError as error:
        raise FileError(path, str(error).splitlines()[0], _REPAIR) from error


def _strip(message: Any) -> None:
    """Clear those fields of a protobuf message and of all nested messages."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)
