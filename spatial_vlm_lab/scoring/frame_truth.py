# SPDX-License-Identifier: Apache-2.0
"""The truth of a frame, read from files, and the check of a given place against it.

    truth.json           optional, in the frame's folder: {"base_T_camera": {"parent", "child", "matrix"}, "objects"?:
                         {id: {"center": [x, y, z], "label"?}}}, metres in base; other fields are left alone
    base_T_camera.json   serves for the pose where truth.json is not there

The resolver never reads truth.json.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import member, read_bytes
from spatial_vlm_ros.recording.cases import Case, ExpectedPlace, Point
from spatial_vlm_ros.recording.frame_folder import BASE_FILE, LARGEST_TYPED, TransformInfo, decode_json, read_transform
from spatial_vlm_ros.types import Pose, Transform

TRUTH_FILE = "truth.json"
_REPAIR = "a case that expects a place needs truth.json or base_T_camera.json; docs/evaluation.md describes them"
_SPARE_M = 0.02  # that a place may lie beside the region: one at its border is just as good
_BELOW_M, _ABOVE_M = 0.05, 0.12  # below, above it: a bowl's floor is lower than its middle, a stack's top higher
_SIDES = frozenset({"left of", "right of", "in front of", "behind"})  # the direction from the anchor counts, too
_SIDE_CONE = math.cos(math.radians(45.0))  # within which it does: the next side begins there


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """Truth of a frame, known only to the judge.

    Args:
        base_T_camera: the true pose of the camera, whether or not the resolver has it.
        centers: id of a detection → centre of the object in the base frame, metres.
    """

    base_T_camera: Transform
    centers: Mapping[str, Point] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class PlaceOutcome(str, enum.Enum):
    """Result for an expected place."""

    RIGHT = "right"
    ELSEWHERE = "elsewhere"
    NOT_GIVEN = "not given"


def place_outcome(expected: ExpectedPlace, given: Pose | None, truth: FrameTruth) -> PlaceOutcome:
    """Check a place: inside the region, or for the four sides in its direction from the anchor, at its height.

    Args:
        given: pose of the given place in the base or camera frame, or None.
    """
    if given is None:
        return PlaceOutcome.NOT_GIVEN
    frames = truth.base_T_camera
    point = np.asarray(given.position)
    if given.frame_id == frames.child:
        point = frames.matrix[:3, :3] @ point + frames.matrix[:3, 3]
    elif given.frame_id != frames.parent:
        return PlaceOutcome.ELSEWHERE
    center, half = np.asarray(expected.region_center), np.asarray(expected.region_half)
    off = point - center
    if not -_BELOW_M - half[2] <= off[2] <= _ABOVE_M + half[2]:
        return PlaceOutcome.ELSEWHERE
    right = bool((np.abs(off[:2]) <= half[:2] + _SPARE_M).all())
    anchor = truth.centers.get(expected.anchor_id)
    if not right and expected.relation in _SIDES and anchor is not None:
        wanted, found = center[:2] - anchor[:2], point[:2] - np.asarray(anchor)[:2]
        right = bool(found.any() and wanted @ found >= _SIDE_CONE * np.linalg.norm(wanted) * np.linalg.norm(found))
    return PlaceOutcome.RIGHT if right else PlaceOutcome.ELSEWHERE


class _Object(msgspec.Struct):
    center: Point
    label: str = ""


class _Truth(msgspec.Struct):
    base_T_camera: TransformInfo
    objects: dict[str, _Object] = {}


def read_frame_truth(folder: str | Path, case: Case) -> FrameTruth | None:
    """Read the truth of a case's frame from a folder of frames; None if there is none.

    Raises:
        FileError: it cannot be read, or there is none though the case expects a place.
    """
    place = Path(folder) / case.frame
    path = place / TRUTH_FILE
    if path.exists() or path.is_symlink():
        info = decode_json(read_bytes(member(place, TRUTH_FILE), _REPAIR, LARGEST_TYPED), _Truth, path)
        told, objects = info.base_T_camera, info.objects
        pose = Transform(told.parent, told.child, np.array(told.matrix, np.float64))
        labels = {name: one.label for name, one in objects.items() if one.label}
        return FrameTruth(pose, {name: one.center for name, one in objects.items()}, labels)
    if (place / BASE_FILE).exists():
        return FrameTruth(read_transform(member(place, BASE_FILE)))
    if case.expect is not None and case.expect.place is not None:
        raise FileError(path, "no such file, nor base_T_camera.json", _REPAIR)
    return None
