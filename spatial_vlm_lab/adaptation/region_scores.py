# SPDX-License-Identifier: Apache-2.0
"""How often an encoder trained on regions finds the caption of a region, and the box of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spatial_vlm_lab.adaptation.frame_store import StoredView
from spatial_vlm_lab.adaptation.region_lessons import caption_of, pixels_of, scaled
from spatial_vlm_lab.adaptation.region_text import RegionTextModel
from spatial_vlm_lab.adaptation.relation_lessons import unique_objects
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types.proportions import wilson

_RIGHT = 0.5


def region_scores(model: RegionTextModel, images: Any, views: Sequence[StoredView]) -> dict[str, Any]:
    """Score an encoder on held-out views. Objects that share a name with another object are left out.

    Returns:
        Number of views; shares of right captions and of right boxes, with intervals; the share of captions that chance
        gives; the mean overlap of boxes, or None.
    """
    right, chance, found = list[bool](), list[float](), list[float]()
    device = next(model.parameters()).device
    for stored in views:
        view = stored.load()
        named = unique_objects(view.objects)
        if not named:
            continue
        boxes = [scaled(obj.box_xyxy, view.rgb) for obj in named]
        fits, places = model.asked(pixels_of(images, [view.rgb], device), boxes, [caption_of(obj) for obj in named])
        right += [int(best) == row for row, best in enumerate(fits.argmax(dim=1).tolist())]
        chance += [1.0 / len(named)] * len(named)
        found += [float(overlaps(place, box)[0, 0]) for place, box in zip(places.tolist(), boxes, strict=True)]
    return {
        "views": len(views),
        "captions": asdict(wilson(sum(right), len(right))),
        "chance": sum(chance) / len(chance) if chance else 0.0,
        "boxes": asdict(wilson(sum(value >= _RIGHT for value in found), len(found))),
        "overlap": sum(found) / len(found) if found else 0.0,
    }
