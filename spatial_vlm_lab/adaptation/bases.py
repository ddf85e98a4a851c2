# SPDX-License-Identifier: Apache-2.0
"""Load models and vision encoders from folders for further training with `spatial-vlm adapt`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import FileError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import devices, loading
from spatial_vlm_ros.perception.backends.qwen_vl import processor_class
from spatial_vlm_ros.vlm.parts import ARCHITECTURES

if TYPE_CHECKING:
    import torch

_ENCODERS: Mapping[str, tuple[str, Mapping[str, bool]]] = MappingProxyType(
    {
        "clip": ("CLIPVisionModel", {}),
        "clip_vision_model": ("CLIPVisionModel", {}),
        "siglip": ("SiglipVisionModel", {"vision_use_head": False}),
        "siglip_vision_model": ("SiglipVisionModel", {"vision_use_head": False}),
        "aimv2": ("Aimv2VisionModel", {"use_head": False}),
        "aimv2_vision_model": ("Aimv2VisionModel", {"use_head": False}),
    }
)
"""`model_type` → class, and the arguments that leave out the pooling head, which LLaVA never uses. `siglip` includes
SigLIP 2 of fixed size."""
_REPAIR = "pass the folder of a CLIP, SigLIP, SigLIP 2 (fixed size) or AIMv2 encoder, or one of --method cloc"


def base_kind(folder: Path) -> str:
    """Return the `model_type` of a model folder, a key of `parts.ARCHITECTURES`."""
    if not folder.is_dir():
        raise FileError(folder, "no such folder", "pass the folder of a model: config.json, safetensors and processor")
    kind = str(loading.read_json(folder / "config.json", str(folder)).get("model_type"))
    if kind not in ARCHITECTURES:
        raise UnknownNameError("model_type of BASE", kind, ARCHITECTURES)
    return kind


def training_dtype(device: torch.device) -> torch.dtype:
    """Choose the number format of frozen weights: bfloat16 on a GPU that has it, else float32.

    Gradients overflow in float16.
    """
    torch = devices.needed_torch()
    found = devices.best_dtype(device, "auto", language=True)
    return torch.float32 if found is torch.float16 else found


def load_base(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the model and the processor of a folder."""
    kind, name = base_kind(folder), str(folder)
    model = loading.pretrained("AutoModelForImageTextToText", name, model=name, device=device, dtype=dtype)
    return model, loading.processor(name, model=name, cls=processor_class(kind, name))


def load_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load a vision encoder, without its text half and pooling head, and its image processor.

    Args:
        folder: folder of an encoder, or of a whole CLIP, SigLIP or AIMv2 model.
    """
    if not folder.is_dir():
        raise FileError(folder, "no such folder", _REPAIR)
    name = str(folder)
    kind = str(loading.read_json(folder / "config.json", name).get("model_type"))
    if kind.startswith("siglip2"):
        raise ModelError(kind, "takes patches of images of any size (NaFlex), which LLaVA does not pass on", _REPAIR)
    if kind not in _ENCODERS:
        raise ModelError(kind, f"{folder} is not a vision encoder that LLaVA supports", _REPAIR)
    cls, without = _ENCODERS[kind]
    found = loading.transformers_class(cls, model=name)
    config = found.config_class.from_pretrained(folder, local_files_only=True)
    for field, value in without.items():
        setattr(config, field, value)
    vision = loading.pretrained(found, name, model=name, device=device, dtype=dtype, arguments={"config": config})
    try:
        images = loading.transformers_class("AutoImageProcessor", model=name).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = f"{folder} has no readable image processor: {loading.short(error)}"
        raise ModelError(name, reason, "add the encoder's preprocessor_config.json") from error
    return vision, images


def fingerprint(folder: Path) -> str:
    """Identify a checkpoint without reading its weights: a hash of config.json and of the file sizes."""
    files = sorted((file.name, file.stat().st_size) for file in loading.weight_files(folder) if file.is_file())
    told = json.dumps([loading.read_json(folder / "config.json", str(folder)), files], sort_keys=True)
    return f"{folder.name} {hashlib.sha256(told.encode()).hexdigest()[:16]}"


def load_encoder_of(base: Path, encoder: Path | None, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the encoder for training it alone: from its own folder, else from a LLaVA model.

    Args:
        encoder: folder of an encoder, in place of the base's; None = the base's.
    """
    chosen = encoder or base
    config = chosen / "config.json"
    if encoder is None and config.is_file():
        kind = str(loading.read_json(config, str(base)).get("model_type"))
        if kind == "llava":
            model, processor = load_base(base, device, dtype)
            vision = model.model.vision_tower
            return vision, processor.image_processor
    return load_encoder(chosen, device, dtype)
