# SPDX-License-Identifier: Apache-2.0
"""Truth proposed from an answer, in the form of `expect` of a case (docs/evaluation.md), and the scene from above.

A proposal is what the program says, and as biased: docs/label.md says what follows from that.

In the drawing from above a person points: outlines and heights are in base, metres. If the camera's pose in base is not
known, the axes are the camera's: x right, y ahead, z against gravity. Places cannot be written then, because their
region is in base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, Pose, Resolution, Scene, Status, Transform

_Floats = npt.NDArray[np.float64]
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


@dataclass(frozen=True, eq=False)
class GroundObject:
    """One object from above.

    Args:
        outline: (K, 2) corners, metres.
        bottom: height of the bottom, metres.
        top: height of the top, metres.
    """

    outline: _Floats
    bottom: float
    top: float


@dataclass(frozen=True, eq=False)
class Ground:
    """All objects of a scene from above.

    Args:
        objects: by the ids of their detections.
        camera: (2,) position of the camera, metres.
        ahead: (2,) unit viewing direction.
        frame_id: frame of the coordinates; None for the camera's own axes.
        pose: (4, 4) transform from the camera's frame to these coordinates, metres.
        camera_frame: name of the camera's frame.
    """

    objects: Mapping[str, GroundObject]
    camera: _Floats
    ahead: _Floats
    frame_id: str | None
    pose: _Floats
    camera_frame: str

    def in_base(self, pose: Pose) -> _Floats | None:
        """Position of a pose in base, (3,) metres; None if not known or in another frame."""
        point = np.asarray(pose.position, np.float64)
        if self.frame_id is None or pose.frame_id not in (self.frame_id, self.camera_frame):
            return None
        return point if pose.frame_id == self.frame_id else self.pose[:3, :3] @ point + self.pose[:3, 3]

    def json(self) -> dict[str, Any]:
        """JSON for the page."""
        objects = [
            {"id": id_, "outline": np.round(one.outline, 4).tolist(), "bottom": one.bottom, "top": one.top}
            for id_, one in self.objects.items()
        ]
        return {
            "frame_id": self.frame_id,
            "camera": np.round(self.camera, 4).tolist(),
            "ahead": np.round(self.ahead, 4).tolist(),
            "objects": objects,
        }


def ground_of(scene: Scene, base_T_camera: Transform | None) -> Ground:
    """A scene from above.

    Args:
        scene: in the camera frame.
        base_T_camera: the camera's pose; its parent has z up. None = it is not known.
    """
    if base_T_camera is not None:
        pose = np.asarray(base_T_camera.matrix, np.float64)
    else:  # axes of the camera made level: x right, y ahead, z up, its origin the camera's
        up = np.asarray(scene.up, np.float64)
        forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
        if np.linalg.norm(forward) < 1e-6:  # it looks straight down: ahead is up in the image
            forward = np.array([0.0, -1.0, 0.0]) + up[1] * up
        forward /= np.linalg.norm(forward)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(forward, up), forward, up])
    objects = {}
    for one in scene.objects:
        if one.depth_problem is None and len(one.footprint):
            outline = one.footprint @ pose[:3, :3].T + pose[:3, 3]
            middle = float(pose[2, :3] @ one.box.centre + pose[2, 3])
            half = float(one.box.size[2]) / 2
            objects[one.id] = GroundObject(outline[:, :2], round(middle - half, 4), round(middle + half, 4))
    ahead = pose[:2, 2] if np.hypot(*pose[:2, 2]) > 1e-6 else -pose[:2, 1]
    frame_id = None if base_T_camera is None else base_T_camera.parent
    return Ground(objects, pose[:2, 3], ahead / np.hypot(*ahead), frame_id, pose, scene.frame.frame_id)


# ------------------------------------------------------------------------------------------------ proposals


def proposed(
    resolution: Resolution, detections: Sequence[Detection], ground: Ground | None, *, by_id: bool
) -> dict[str, Any]:
    """Propose the truth under the assumption that the answer is right.

    Args:
        ground: the scene seen from above; None if there is none. Without a pose of the camera no place is proposed.
    """
    truth: dict[str, Any] = {"status": resolution.status.value}
    if resolution.status is Status.OK and resolution.target is not None:
        id_ = resolution.target.id
        found = None if by_id else next((one for one in detections if one.id == id_), None)
        truth |= {"id": id_} if found is None else {"label": found.label, "box": rounded_box(found.box_xyxy)}
        also = [target.id for target in resolution.targets[1:]]
        if also and by_id:
            truth["id_also"] = also
        place, destination = resolution.place, None if resolution.query is None else resolution.query.destination
        middle = None if place is None or ground is None else ground.in_base(place.pose)
        if place is not None and ground is not None and middle is not None and destination is not None:
            relation, half = destination.relation, np.array([_SPOT, _SPOT, 0.0])
            anchor = ground.objects.get(place.anchor_id)
            if anchor is not None and relation in (*_WHOLE, "next to"):
                around = 0.0 if relation in _WHOLE else _AROUND
                low, high = anchor.outline.min(axis=0) - around, anchor.outline.max(axis=0) + around
                middle, half = np.array([*(low + high) / 2, middle[2]]), np.array([*(high - low) / 2, 0.0])
            region = {"region_center": np.round(middle, 4).tolist(), "region_half": np.round(half, 4).tolist()}
            truth["place"] = {"relation": relation, "anchor_id": place.anchor_id, **region}
    answer = resolution.answer
    if answer is not None:
        told: dict[str, Any] = {}
        if answer.value is not None:
            told["value"] = round(answer.value, 3) if isinstance(answer.value, float) else answer.value
        if answer.unit == "m" and answer.interval is not None:
            told["tolerance"] = round((answer.interval[1] - answer.interval[0]) / 2, 3)
        ids = [one.id for one in answer.objects if one.role in ("subject", "fits")]
        if ids and by_id:
            told["ids"] = ids
        truth["answer"] = told
    return truth


def rounded_box(box: Sequence[float]) -> list[float]:
    """A box to a tenth of a pixel."""
    return [round(float(value), 1) for value in box]


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
