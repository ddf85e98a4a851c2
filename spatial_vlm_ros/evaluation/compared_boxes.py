# SPDX-License-Identifier: Apache-2.0
"""Compares boxes in space by their overlap.

Works on boxes and coordinate frames; independent of cases and detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case import Box3d
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.types import OrientedBox, Target, Transform

_POINTS = 8192  # on which the shared volume is counted: good to about 1 % of the smaller box
_PLASTIC = 1.2207440846057596  # x⁴ = x + 1: its powers spread points evenly in space (Roberts 2018, the R sequence)
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ComparedBox:
    """A box in a frame.

    Args:
        frame_id: its frame.
        center: (3,) centre, metres.
        axes: (3, 3) directions of its edges as columns.
        size: (3,) edge lengths, metres.
    """

    frame_id: str
    center: Vector
    axes: Vector
    size: Vector

    def points(self) -> Vector:
        """(N, 3) points that fill the box evenly, metres; deterministic."""
        steps = np.arange(1, _POINTS + 1)[:, None] / _PLASTIC ** np.arange(1, 4)
        return np.asarray(self.center + ((steps % 1.0 - 0.5) * self.size) @ self.axes.T, np.float64)

    def holds(self, points: Vector) -> npt.NDArray[np.bool_]:
        """(N,) whether points lie inside it."""
        inside = np.abs((points - self.center) @ self.axes) <= self.size / 2
        return np.asarray(inside.all(axis=1), np.bool_)

    def moved(self, transform: Transform) -> ComparedBox:
        """The box in the transform's parent frame."""
        center = transform.apply(self.center)
        return ComparedBox(transform.parent, center, transform.rotation @ self.axes, self.size)


def overlap(one: ComparedBox, other: ComparedBox) -> float:
    """Intersection over union of the volumes of two boxes in one frame, 0 to 1.

    Counted on points that fill both evenly, for the boxes need not be parallel.
    """
    volumes = [float(solid.size.prod()) for solid in (one, other)]
    shares = [float(b.holds(a.points()).mean()) for a, b in ((one, other), (other, one))]
    shared = sum(volume * share for volume, share in zip(volumes, shares, strict=True)) / 2
    union = sum(volumes) - shared
    return min(1.0, shared / union) if union > 0.0 else 0.0


def apart(one: ComparedBox, other: ComparedBox) -> float:
    """Distance between the centres of two boxes in one frame, metres."""
    return float(np.linalg.norm(one.center - other.center))


def compared_truth(box: Box3d, frame_id: str) -> ComparedBox:
    """The box of a case; `frame_id` is used where it names none."""
    turned = np.eye(3)
    turned[:2, :2] = [[np.cos(box.yaw), -np.sin(box.yaw)], [np.sin(box.yaw), np.cos(box.yaw)]]
    return ComparedBox(box.frame_id or frame_id, np.array(box.center), turned, np.array(box.size))


def compared_box(box: OrientedBox, frame_id: str) -> ComparedBox:
    """The box of a measured object, in the camera's frame."""
    return ComparedBox(frame_id, box.centre, box.axes, box.size)


def compared_target(target: Target) -> ComparedBox:
    """The box of an object that was answered with, in the frame of its pose."""
    axes = matrix_from_quaternion_xyzw(target.pose.orientation)
    return ComparedBox(target.pose.frame_id, np.array(target.pose.position), axes, np.array(target.size))


def in_frame(solid: ComparedBox, frame_id: str, known: Sequence[Transform]) -> ComparedBox:
    """A box in another frame, by one of the transforms or its inverse."""
    if solid.frame_id == frame_id:
        return solid
    for transform in known:
        if (transform.parent, transform.child) == (frame_id, solid.frame_id):
            return solid.moved(transform)
        if (transform.child, transform.parent) == (frame_id, solid.frame_id):
            return solid.moved(transform.inverse())
    there = ", ".join(sorted({solid.frame_id, *(n for t in known for n in (t.parent, t.child))}))
    repair = "use one of these frames for box_3d, or add the camera's pose (base_T_camera.json, truth.json, TF)"
    raise InputError("frame_id of box_3d", repr(frame_id), f"one of the frame's: {there}", repair)
