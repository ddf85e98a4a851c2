# SPDX-License-Identifier: Apache-2.0
"""Expected places, the truth of a frame, and the check of a given place.

Works on poses and boxes; independent of files, statuses and instructions.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spatial_vlm_ros.types import Pose, Transform

SPARE_M = 0.02
"""Metres that a place may lie beside the region: a place at its border is just as good."""
BELOW_M, ABOVE_M = 0.05, 0.12
"""... and this far below and above it: the floor of a bowl is lower than its middle, the top of a stack higher."""
SIDES = frozenset({"left of", "right of", "in front of", "behind"})
"""Relations of which the region is one good spot of several: the direction from the anchor counts, too."""
SIDE_CONE = math.cos(math.radians(45.0))
"""... within 45 degrees, where the next side begins."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class ExpectedPlace:
    """A box in which a place should lie.

    Args:
        anchor_id: id of the anchor's detection.
        region_center: centre of the box in the base frame, metres.
        region_half: half extents of the box along the axes of the base frame, metres.
        anchor_also: other detections that may be named as the anchor: the cabinet of a drawer, the second of two.
    """

    relation: str
    anchor_id: str
    region_center: Point
    region_half: Point
    anchor_also: tuple[str, ...] = ()


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
        expected: the expected place.
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
    if not -BELOW_M - half[2] <= off[2] <= ABOVE_M + half[2]:
        return PlaceOutcome.ELSEWHERE
    inside = bool((np.abs(off[:2]) <= half[:2] + SPARE_M).all())
    return PlaceOutcome.RIGHT if inside or _on_side(expected, point, truth) else PlaceOutcome.ELSEWHERE


def _on_side(expected: ExpectedPlace, point: np.ndarray, truth: FrameTruth) -> bool:
    anchor = truth.centers.get(expected.anchor_id)
    if expected.relation not in SIDES or anchor is None:
        return False
    wanted, found = np.asarray(expected.region_center)[:2] - anchor[:2], point[:2] - np.asarray(anchor)[:2]
    return bool(found.any() and wanted @ found >= SIDE_CONE * np.linalg.norm(wanted) * np.linalg.norm(found))
