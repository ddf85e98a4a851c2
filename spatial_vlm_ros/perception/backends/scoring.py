# SPDX-License-Identifier: Apache-2.0
"""The model of a folder, to be asked and looked into; no grounder: what it says of places is not read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.perception.backends import devices, loading
from spatial_vlm_ros.perception.backends.qwen_vl import without_videos
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.parts import ARCHITECTURES

_QWEN: Mapping[str, str] = MappingProxyType(
    {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
)
"""`model_type` → class whose half for videos is left out; others load by AutoProcessor."""


def load(
    *, model: str, device: str = "auto", dtype: str = "auto", template: str = "", lead: str = ""
) -> CandidateScorer:
    """Load a model of a class that vlm/parts.py knows, with the remedies that it was trained with.

    Args:
        model: folder with config, safetensors weights and processor, or a hub id.
        device: see devices.best_device.
        dtype: see devices.best_dtype.
        template: prompt with "{question}" and the mark of the image; empty = the chat template of the processor.
        lead: put before each candidate.

    Raises:
        UnknownNameError: no such model, device or number format, or a model of another class.
        InputError: a template without its field, or none where the processor has no chat template.
        DependencyError: torch or transformers is missing.
        ModelError: the files are incomplete or damaged, the model does not run here, or a remedy that it was trained
            with is not known here or cannot be put on.
    """
    loading.transformers_class("AttentionMaskInterface", model=model)  # what remedies need, or how to get it
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

    folder = loading.model_folder(model, model=model)
    kind = str(loading.read_json(folder / "config.json", model).get("model_type"))
    if kind not in ARCHITECTURES:
        raise UnknownNameError("model_type", kind, ARCHITECTURES)
    place = devices.best_device(device)
    number_format = devices.best_dtype(place, dtype, language=True)
    weights = loading.pretrained("AutoModelForImageTextToText", model, model=model, device=place, dtype=number_format)
    processor = loading.processor(model, model=model, cls=processor_class(kind, model))
    treat(weights, RequestedRemedies(), folder, processor.tokenizer)
    return CandidateScorer(weights, processor, template, lead)


def processor_class(kind: str, model: str) -> str | type[Any]:
    """What loads the processor of a class of models.

    Args:
        kind: `model_type`, a key of ARCHITECTURES.
        model: its name, for messages.

    Raises:
        DependencyError, ModelError: as `loading.transformers_class`.
    """
    return without_videos(loading.transformers_class(_QWEN[kind], model=model)) if kind in _QWEN else "AutoProcessor"
