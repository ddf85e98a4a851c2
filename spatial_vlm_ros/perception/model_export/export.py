# SPDX-License-Identifier: Apache-2.0
"""A folder of transformers as one that the backend `onnx` reads; kept only where both compute the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from spatial_vlm_ros.errors import FileError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.perception.backends.clip_tokens import tokens_of
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, read_json
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice, short
from spatial_vlm_ros.perception.backends.owl import CLASSES
from spatial_vlm_ros.perception.backends.owl_graphs import IMAGE_FILE, TEXT_FILE, TwoGraphs
from spatial_vlm_ros.perception.backends.owl_inputs import OwlPreparation, preparation
from spatial_vlm_ros.perception.model_export.graphs import FORMATS, convert, write_graphs

NAME = "models export"
TOLERANCE: Mapping[str, float] = MappingProxyType({"fp32": 1e-4, "fp16": 0.02, "int8": 1.0})
"""Format → how far scores (0 to 1) and boxes (0 to 1) may be off those of transformers. Of int8 only that it gives
numbers: what it costs can be measured only on images with a trained model."""
_TEXTS = ("a cup", "a soup can", "box")
_IMAGE = (120, 160)  # height and width of the random image, pixels


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Args:
        folder: of the model.
        number_format: of its graphs.
        size: bytes of the graphs.
        score_error: greatest difference of a score to transformers, on a random image; scores are 0 to 1.
        box_error: the same of a side of a box, relative to the image.
    """

    folder: Path
    number_format: str
    size: int
    score_error: float
    box_error: float


def export_model(path_or_id: str, out: Path, number_format: str = "fp32") -> ExportedModel:
    """Export OWL-ViT or OWLv2 as a folder that the backend `onnx` reads.

    Args:
        path_or_id: folder with config.json and safetensors weights, or the id of one in the hub's cache.
        out: folder that is made; it must not be there, or be empty.
        number_format: "fp32", "fp16" or "int8".

    Returns:
        The folder with text.onnx, image.onnx, tokenizer.json, config.json and preprocessor_config.json, and how far
        its graphs are off transformers. Nothing stays of an export that fails.

    Raises:
        UnknownNameError: no such format or model.
        FileError: the folder is there and holds files, or cannot be written.
        DependencyError: torch, transformers, onnx, onnxscript, onnxruntime or tokenizers is not installed.
        ModelError: the model cannot be loaded or exported, is of another architecture, or its graphs compute something
            else than transformers.
    """
    if number_format not in FORMATS:
        raise UnknownNameError("format", number_format, FORMATS)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileError(out, "it is there already", "name a folder that does not exist")
    source = model_folder(path_or_id, model=NAME)
    family = str(read_json(source / "config.json", NAME).get("model_type"))
    if family not in CLASSES:
        reason = f"{path_or_id} holds a model of type {family!r}"
        raise ModelError(NAME, reason, f"give a model whose model_type is {' or '.join(CLASSES)}")
    cpu = torch.device("cpu")
    model = pretrained(CLASSES[family], str(source), model=NAME, device=cpu, dtype=torch.float32)
    prepared_by = processor(str(source), model=NAME)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as half:
            written = _write(model, prepared_by, family, Path(half) / out.name, number_format)
            if out.exists():
                out.rmdir()
            shutil.move(written.folder, out)
    except SpatialVlmError:
        raise
    except OSError as error:
        raise FileError(out, error.strerror or str(error), "name a folder that can be written, with room") from error
    except Exception as error:  # torch and onnx have no common base of theirs
        repair = "install newer torch, onnx and onnxscript, or report it with the model's config.json"
        raise ModelError(NAME, f"{path_or_id} cannot be exported: {short(error)}", repair) from error
    return ExportedModel(out, number_format, written.size, written.score_error, written.box_error)


def _write(model: Any, prepared_by: Any, family: str, folder: Path, number_format: str) -> ExportedModel:
    """All files of the model, checked."""
    folder.mkdir()
    told = json.loads(prepared_by.image_processor.to_json_string())
    prepare = preparation(family, told, model.config.vision_config.image_size)
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str) + "\n", encoding="utf-8")
    content = json.dumps(_described(prepare), indent=1) + "\n"
    (folder / "preprocessor_config.json").write_text(content, encoding="utf-8")
    prepared_by.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_graphs(model, folder)
    errors = _checked(model, prepared_by, prepare, folder, "fp32")
    if number_format != "fp32":
        for name in (TEXT_FILE, IMAGE_FILE):
            convert(folder / name, number_format)
        errors = _checked(model, prepared_by, prepare, folder, number_format)
    size = sum((folder / name).stat().st_size for name in (TEXT_FILE, IMAGE_FILE))
    return ExportedModel(folder, number_format, size, *errors)


def _described(prepare: OwlPreparation) -> dict[str, Any]:
    """What the backend needs to know of the image, in the words of preprocessor_config.json."""
    owlvit = prepare.family == "owlvit"
    return {
        "image_processor_type": f"{'OwlViT' if owlvit else 'Owlv2'}ImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": prepare.height, "width": prepare.width},
        "rescale_factor": prepare.factor,
        "image_mean": list(prepare.mean),
        "image_std": list(prepare.std),
        **({"resample": 3, "do_center_crop": False} if owlvit else {"resample": 2, "do_pad": True}),
    }


def _checked(
    model: Any, prepared_by: Any, prepare: OwlPreparation, folder: Path, number_format: str
) -> tuple[float, float]:
    """Greatest difference of scores and of boxes to transformers, on a random image.

    Raises:
        ModelError: more than TOLERANCE, or the graphs do not run.
    """
    length = model.config.text_config.max_position_embeddings
    pixels = prepare(np.random.default_rng(0).integers(0, 256, (*_IMAGE, 3), dtype=np.uint8))
    graphs = TwoGraphs(folder, tokens_of(folder, length, model=NAME), OnnxDevice("cpu"))
    got = graphs(pixels, _TEXTS)
    texts = prepared_by.tokenizer(list(_TEXTS), padding="max_length", max_length=length, return_tensors="pt")
    with torch.inference_mode():
        output = model(**texts, pixel_values=torch.from_numpy(pixels))
    scores = torch.sigmoid(torch.from_numpy(got["logits"]).float()) - output.logits.sigmoid()
    boxes = torch.from_numpy(got["pred_boxes"]).float() - output.pred_boxes
    errors = float(scores.abs().max()), float(boxes.abs().max())
    if not max(errors) <= TOLERANCE[number_format]:  # NaN, too
        reason = (
            f"its {number_format} graphs differ from transformers by {errors[0]:.1e} in scores and {errors[1]:.1e} in "
            f"boxes, more than {TOLERANCE[number_format]:.0e}"
        )
        raise ModelError(NAME, reason, "nothing was kept; try another format, or another version of torch and onnx")
    return errors
