# SPDX-License-Identifier: Apache-2.0
"""Load the model of a folder for questions and inspection; not a grounder, because it reads no locations."""

from __future__ import annotations

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.perception.backends import loading, onboard
from spatial_vlm_ros.perception.backends.vlm import processor_class
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.parts import ARCHITECTURES


def load(
    *, model: str, device: str = "auto", dtype: str = "auto", template: str = "", lead: str = ""
) -> CandidateScorer:
    """Load a model of a class that vlm/parts.py knows, with the remedies that it was trained with.

    `template` is a prompt with "{question}" and the image token; empty = the chat template of the processor.
    """
    loading.transformers_class("AttentionMaskInterface", model=model)  # remedies need it; the error says how to get it
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

    folder = loading.model_folder(model, model=model)
    kind = str(loading.read_json(folder / "config.json", model).get("model_type"))
    if kind not in ARCHITECTURES:
        raise UnknownNameError("model_type", kind, ARCHITECTURES)
    place = onboard.best_device(device)
    number_format = onboard.best_dtype(place, dtype, language=True)
    weights = loading.pretrained("AutoModelForImageTextToText", model, model=model, device=place, dtype=number_format)
    processor = loading.processor(model, model=model, cls=processor_class(kind, model))
    treat(weights, RequestedRemedies(), folder, processor.tokenizer)
    return CandidateScorer(weights, processor, template, lead)
