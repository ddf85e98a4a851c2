# SPDX-License-Identifier: Apache-2.0
"""Truth proposed from an answer, in the form of `expect` of a case (docs/evaluation.md).

A proposal is what the program says, and as biased: docs/label.md says what follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spatial_vlm_lab.labelling.ground import Ground
from spatial_vlm_ros.types import Detection, Place, Resolution, SpaceAnswer, Status

OWN_FIELDS = ("status", "id", "id_also", "label", "box", "place", "answer")
"""Fields of `expect` that the page writes; others are left as they are."""
OWN_PARTS = {
    "place": ("relation", "anchor_id", "region_center", "region_half"),
    "answer": ("value", "tolerance", "ids"),
}
"""... and those within a place and an answer."""
_SPOT = 0.06  # metres: half a side of a spot, as in the frames of docs/evaluation.md
_AROUND = 0.15  # metres around an anchor that "next to" reaches
_WHOLE = frozenset({"on", "inside", "in"})  # relations of which the region is all of the anchor


def proposed(
    resolution: Resolution, detections: Sequence[Detection], ground: Ground | None, *, by_id: bool
) -> dict[str, Any]:
    """Propose the truth under the assumption that the answer is right.

    Args:
        ground: the scene seen from above; None if there is none. Without a pose of the camera no place is proposed.
    """
    truth: dict[str, Any] = {"status": resolution.status.value}
    if resolution.status is Status.OK and resolution.target is not None:
        truth |= object_fields(resolution.target.id, detections, by_id=by_id)
        also = [target.id for target in resolution.targets[1:]]
        if also and by_id:
            truth["id_also"] = also
        if resolution.place is not None and ground is not None:
            place = _place(resolution, resolution.place, ground)
            truth |= {} if place is None else {"place": place}
    if resolution.answer is not None:
        truth["answer"] = _answer(resolution.answer, by_id=by_id)
    return truth


def object_fields(id_: str, detections: Sequence[Detection], *, by_id: bool) -> dict[str, Any]:
    """How an object is named: by its id, or by label and box."""
    found = next((one for one in detections if one.id == id_), None)
    if by_id or found is None:
        return {"id": id_}
    return {"label": found.label, "box": rounded_box(found.box_xyxy)}


def rounded_box(box: Sequence[float]) -> list[float]:
    """A box to a tenth of a pixel."""
    return [round(float(value), 1) for value in box]


def _place(resolution: Resolution, place: Place, ground: Ground) -> dict[str, Any] | None:
    """The region of a place, in base; None if the camera's pose in base is not known."""
    middle = ground.in_base(place.pose)
    destination = resolution.query.destination if resolution.query is not None else None
    if middle is None or destination is None:
        return None
    relation, half = destination.relation, np.array([_SPOT, _SPOT, 0.0])
    anchor = ground.object(place.anchor_id)
    if anchor is not None and relation in _WHOLE:
        low, high = anchor.outline.min(axis=0), anchor.outline.max(axis=0)
        middle, half = np.array([*(low + high) / 2, middle[2]]), np.array([*(high - low) / 2, 0.0])
    elif anchor is not None and relation == "next to":
        low, high = anchor.outline.min(axis=0) - _AROUND, anchor.outline.max(axis=0) + _AROUND
        middle, half = np.array([*(low + high) / 2, middle[2]]), np.array([*(high - low) / 2, 0.0])
    return {
        "relation": relation,
        "anchor_id": place.anchor_id,
        "region_center": [round(float(v), 4) for v in middle],
        "region_half": [round(float(v), 4) for v in half],
    }


def _answer(answer: SpaceAnswer, *, by_id: bool) -> dict[str, Any]:
    value: dict[str, Any] = {}
    if answer.value is not None:
        value["value"] = round(answer.value, 3) if isinstance(answer.value, float) else answer.value
    if answer.unit == "m" and answer.interval is not None:
        value["tolerance"] = round((answer.interval[1] - answer.interval[0]) / 2, 3)
    ids = [one.id for one in answer.objects if one.role in ("subject", "fits")]
    if ids and by_id:
        value["ids"] = ids
    return value


def same_truth(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two expectations say the same in the fields that the page writes; an empty field says nothing."""
    return _said(one) == _said(other)


def _said(truth: Mapping[str, Any]) -> dict[str, Any]:
    said = {}
    for name in OWN_FIELDS:
        value = truth.get(name)
        if name in OWN_PARTS and isinstance(value, Mapping):
            value = {part: value[part] for part in OWN_PARTS[name] if value.get(part) not in (None, [])}
        if value not in (None, [], {}):
            said[name] = value
    return said
