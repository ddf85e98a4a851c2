# SPDX-License-Identifier: Apache-2.0
"""Methods and remedies to adapt small models with, and lessons for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_bases import drawn_views

from spatial_vlm_ros.perception.adapting.bases import load_base, load_encoder
from spatial_vlm_ros.perception.adapting.relation_lessons import location_lesson, relation_lesson
from spatial_vlm_ros.vlm.adaptation.lessons import LocationWords
from spatial_vlm_ros.vlm.adaptation.preparing import NewEncoder, PreparedModel, prepare
from spatial_vlm_ros.vlm.adaptation.settings import AdaptSettings
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

CPU, VIEWS = torch.device("cpu"), list(drawn_views(3))
LESSONS = [
    *(relation_lesson(VIEWS[n], VIEWS[n].relations[n], swapped=n == 1, mirrored=n == 2) for n in (0, 2)),
    location_lesson(VIEWS[1], VIEWS[1].objects[0], LocationWords(32, 8)),
]
CASES: dict[str, dict[str, Any]] = {
    **{
        f"encoder {kind}": {"method": "projector", "new_encoder": True}
        for kind in ("clip", "siglip", "siglip2", "aimv2")
    },
    **{
        f"positions {name}": {"method": "projector", "positions": name}
        for name in ("1d", "axial", "mrope-chunked", "mrope-interleaved", "learned-absolute")
    },
    "norm": {"method": "projector", "norm": "published"},
    "features": {"method": "projector", "features": (1, 3)},
    "all": {"method": "lora", "new_encoder": True, "positions": "axial", "norm": "published", "features": (1, 3)},
    "lora": {"method": "lora"},
    "pin": {"method": "pin"},
}


def prepared(bases: Path, name: str, **more: Any) -> tuple[PreparedModel, AdaptSettings]:
    fields = {**CASES[name], "steps": 12, "rate": 0.02, **more}
    settings = AdaptSettings(**fields)
    encoder = None
    if settings.new_encoder:
        kind = name.split()[-1] if "encoder" in name else "siglip"
        encoder = NewEncoder(*load_encoder(bases / kind, CPU, torch.float32))
    base = bases / "llava"
    return prepare(*load_base(base, CPU, torch.float32), base, settings, encoder), settings


def scorer_of(made: PreparedModel) -> CandidateScorer:
    return CandidateScorer(made.model, made.processor)
