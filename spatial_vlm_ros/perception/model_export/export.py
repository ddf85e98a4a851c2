# SPDX-License-Identifier: Apache-2.0
"""Export a transformers folder as a folder for the backend `onnx`; it is kept only if both compute the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from spatial_vlm_ros.errors import FileError, InputError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.writing import write_text
from spatial_vlm_ros.perception.backends.grounding_dino import CLASSES as GROUNDING_DINO
from spatial_vlm_ros.perception.backends.grounding_dino import detector_of
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, read_json, short
from spatial_vlm_ros.perception.backends.onboard import LEAST_LONGEST_PX
from spatial_vlm_ros.perception.backends.owl import CLASSES as OWL
from spatial_vlm_ros.perception.model_export.dino_export import IMAGE, DinoExport
from spatial_vlm_ros.perception.model_export.graphs import FORMATS, convert
from spatial_vlm_ros.perception.model_export.owl_export import OwlExport

NAME = "models export"
FAMILIES = (*OWL, *GROUNDING_DINO)
TOLERANCE: Mapping[str, float] = MappingProxyType({"fp32": 1e-4, "fp16": 0.02, "int8": 1.0})
"""Format → largest allowed difference of scores (0 to 1) and boxes (0 to 1) from transformers. For int8 only finite
numbers are required: its loss can be measured only on real images with a trained model."""


@dataclass(frozen=True)
class ExportedModel:
    """Result of an export.

    Args:
        size: bytes of the graphs.
        score_error: greatest difference of a score from transformers, on a random image; scores are 0 to 1.
        box_error: the same for a side of a box, relative to the image.
    """

    folder: Path
    number_format: str
    size: int
    score_error: float
    box_error: float


class ModelExport(Protocol):
    """Writes a transformers model as ONNX graphs."""

    graphs: tuple[str, ...]
    """File names of its graphs."""
    model: Any
    """The model itself."""

    def write_graphs(self, folder: Path) -> None:
        """Write the graphs in float32 into a folder."""

    def described(self) -> dict[str, Any]:
        """Content of preprocessor_config.json."""

    def differences(self, folder: Path) -> tuple[float, float]:
        """Greatest difference of scores and of boxes between the folder's graphs and transformers."""


def export_model(
    path_or_id: str,
    out: Path,
    number_format: str = "fp32",
    *,
    image: tuple[int, int] | None = None,
    longest_px: int = 0,
) -> ExportedModel:
    """Export a detector as a folder that the backend `onnx` reads.

    Args:
        path_or_id: folder with config.json and safetensors weights, or the id of one in the hub's cache.
        out: output folder; it must not exist, or be empty.
        number_format: "fp32", "fp16" or "int8".
        image: Grounding DINO and its relatives: (height, width) of the camera's images in pixels, which fill the
            graph's input; None = 640x480. Others are scaled to fit and padded.
        longest_px: Grounding DINO and its relatives: most pixels of the longer side of the graph's input, 256 or more;
            0 = as in the model's processor.

    Returns:
        The folder with its graphs, tokenizer.json, config.json and preprocessor_config.json, and the differences from
        transformers. A failed export leaves nothing behind.
    """
    if number_format not in FORMATS:
        raise UnknownNameError("format", number_format, FORMATS)
    if longest_px and longest_px < LEAST_LONGEST_PX:
        raise InputError("longest_px", str(longest_px), f"{LEAST_LONGEST_PX} or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileError(out, "it already exists", "choose a folder that does not exist")
    source = model_folder(path_or_id, model=NAME)
    family = str(read_json(source / "config.json", NAME).get("model_type"))
    if family not in FAMILIES:
        reason = f"{path_or_id} holds a model of type {family!r}"
        raise ModelError(NAME, reason, f"use a model whose model_type is {' or '.join(FAMILIES)}")
    if (image or longest_px) and family in OWL:
        raise InputError("image or longest_px", f"one for {family}", "none: its input has one size", "leave it out")
    on_cpu: dict[str, Any] = {"model": NAME, "device": torch.device("cpu"), "dtype": torch.float32}
    model = pretrained(OWL[family], str(source), **on_cpu) if family in OWL else detector_of(str(source), **on_cpu)
    prepared_by = processor(str(source), model=NAME)
    try:
        with new_folder(out) as unfinished:
            export: ModelExport = (
                OwlExport(model, prepared_by)
                if family in OWL
                else DinoExport(model, prepared_by, image or IMAGE, longest_px)
            )
            written = _write(export, prepared_by, unfinished, number_format)
    except SpatialVlmError:
        raise
    except OSError as error:
        raise FileError(out, error.strerror or str(error), "choose a writable folder with enough space") from error
    except Exception as error:  # torch and onnx have no common base class of errors
        repair = "raise longest_px, install newer torch and onnx, or report it with the model's config.json"
        raise ModelError(NAME, f"{path_or_id} cannot be exported: {short(error)}", repair) from error
    return ExportedModel(out, number_format, written.size, written.score_error, written.box_error)


def _write(export: ModelExport, prepared_by: Any, folder: Path, number_format: str) -> ExportedModel:
    """Write all files of the model and check them."""
    config = {key: value for key, value in export.model.config.to_dict().items() if key != "_name_or_path"}
    for name, content in (("config.json", config), ("preprocessor_config.json", export.described())):
        write_text(folder / name, json.dumps(content, indent=1, default=str) + "\n")
    prepared_by.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    export.write_graphs(folder)
    errors = _checked(export, folder, "fp32")
    if number_format != "fp32":
        for name in export.graphs:
            convert(folder / name, number_format)
        errors = _checked(export, folder, number_format)
    size = sum((folder / name).stat().st_size for name in export.graphs)
    return ExportedModel(folder, number_format, size, *errors)


def _checked(export: ModelExport, folder: Path, number_format: str) -> tuple[float, float]:
    """Measure and check the greatest difference of scores and boxes from transformers."""
    errors = export.differences(folder)
    if not max(errors) <= TOLERANCE[number_format]:  # NaN, too
        reason = (
            f"its {number_format} graphs differ from transformers by {errors[0]:.1e} in scores and {errors[1]:.1e} in "
            f"boxes, more than {TOLERANCE[number_format]:.0e}"
        )
        raise ModelError(NAME, reason, "nothing was saved; try another format, or another version of torch and onnx")
    return errors
