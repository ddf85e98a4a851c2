# SPDX-License-Identifier: Apache-2.0
"""A parallel gripper as boxes, and its frames.

The **tip frame** lies between the fingertips: z is the approach, from the hand towards the object; y is the closing
direction of the fingers; x = y × z. A grasp is a pose of the tip frame. Rotated by half a turn about z it is the same
grasp with the fingers swapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.rotation import (
    matrix_from_pose,
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
    rigid_matrix,
)
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, Solid, TurnedBox
from spatial_vlm_ros.parameters import GripperConfig
from spatial_vlm_ros.types import Pose, Transform, Vector3

FINGERS = ("left_finger", "right_finger")
PALM = "palm"
LINKS = (PALM, *FINGERS)

_UPRIGHT = 1e-3  # tolerance of an axis to vertical or level for upright boxes
_UNIT = 1e-3  # tolerance of axes to unit length and right angles


@dataclass(frozen=True)
class Tip:
    """Pose of the tip frame: straight down, level or slanted.

    Args:
        position: metres, in a frame with z up.
        approach: unit, its z axis.
        closing: unit, its y axis, at right angles to `approach`.
    """

    position: Vector3
    approach: Vector3
    closing: Vector3

    def __post_init__(self) -> None:
        lengths = (math.hypot(*self.approach), math.hypot(*self.closing))
        across = sum(a * c for a, c in zip(self.approach, self.closing, strict=True))
        if not (max(abs(length - 1) for length in lengths) < _UNIT and abs(across) < _UNIT):
            got = f"approach {self.approach}, closing {self.closing}"
            raise InputError("gripper", got, "unit vectors at right angles", "use the grasp as it was returned")

    @property
    def upright(self) -> bool:
        """Whether it approaches straight down or level and closes level, so that its boxes are upright."""
        slant = min(abs(self.approach[2]), abs(1 + self.approach[2]))
        return slant <= _UPRIGHT and abs(self.closing[2]) <= _UPRIGHT

    def rotation(self) -> Array:
        """(3, 3) rotation with columns x, y, z of the tip frame."""
        y, z = np.array(self.closing), np.array(self.approach)
        return np.stack((np.cross(y, z), y, z), axis=1)

    def moved(self, way: Vector3) -> Tip:
        """The tip moved by the vector `way`, metres, with the same orientation."""
        x, y, z = (at + step for at, step in zip(self.position, way, strict=True))
        return Tip((x, y, z), self.approach, self.closing)

    def back(self, distance: float) -> Vector3:
        """Vector of length `distance` against the approach, metres."""
        x, y, z = (-distance * a for a in self.approach)
        return x, y, z

    def poses(self, frame_id: str, *ways: Vector3) -> tuple[Pose, ...]:
        """The pose, and the pose moved by each of `ways` (vectors, metres); rounded to 1e-6."""
        x, y, z, w = (round(float(q), 6) + 0.0 for q in quaternion_xyzw_from_matrix(self.rotation()))
        places = (self.position, *(self.moved(way).position for way in ways))
        return tuple(Pose(frame_id, rounded(place), (x, y, z, w)) for place in places)

    @staticmethod
    def of(pose: Pose) -> Tip:
        """Make it from a pose of the tip frame."""
        axes = matrix_from_quaternion_xyzw(pose.orientation)
        return Tip(pose.position, vector(axes[:, 2]), vector(axes[:, 1]))


def links(gripper: GripperConfig, tip: Tip, opening: float, way: Vector3 = (0.0, 0.0, 0.0)) -> tuple[Body, ...]:
    """The gripper's palm and two fingers as boxes, or the space that they sweep.

    Args:
        opening: distance between its fingers, metres.
        way: vector of its motion from there, metres.

    Returns:
        Boxes in the order of LINKS, upright if the tip is upright. Each covers the whole motion.
    """
    palm_face = gripper.finger_beyond - gripper.finger_length
    aside = (opening + gripper.finger_thickness) / 2
    finger = (gripper.finger_width, gripper.finger_thickness, gripper.finger_length)
    palm = (gripper.palm_thickness, gripper.palm_width, gripper.palm_depth)
    boxes = (  # position along closing and approach, size along the tip frame's axes
        (0.0, palm_face - gripper.palm_depth / 2, palm),
        (aside, palm_face + gripper.finger_length / 2, finger),
        (-aside, palm_face + gripper.finger_length / 2, finger),
    )
    if not tip.upright:
        turned = []
        for across, along, size in boxes:
            turn = tip.rotation()
            turned.append(TurnedBox(rigid_matrix(turn, tip.position + turn @ (0.0, across, along)), size, way))
        return tuple(turned)
    (px, py, pz), (ax, ay, az), (cx, cy, cz) = tip.position, tip.approach, tip.closing
    down = abs(tip.approach[2]) > 0.5
    ahead = tip.closing if down else tip.approach  # the level axis for the boxes' x
    yaw = math.atan2(ahead[1], ahead[0])
    solids = []
    for across, along, (x, y, z) in boxes:
        centre = (px + across * cx + along * ax, py + across * cy + along * ay, pz + across * cz + along * az)
        solids.append(Solid(centre, yaw, (y, x, z) if down else (z, y, x)).swept(way))
    return tuple(solids)


def closing_links(gripper: GripperConfig, tip: Tip, opening: float, closed: float) -> tuple[Body, ...]:
    """The gripper as `links`, at openings from one to another, metres, that are at most a finger's thickness apart."""
    steps = max(1, math.ceil((opening - closed) / 2 / gripper.finger_thickness))
    widths = (opening + (closed - opening) * k / steps for k in range(1, steps + 1))
    return tuple(box for width in widths for box in links(gripper, tip, width))


def flange_T_tip(gripper: GripperConfig, flange: str = "flange", tip: str = "tip") -> Transform:
    """Pose of the tip frame in the flange frame: rotations about fixed x, then y, then z, as in URDF."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (math.cos(math.radians(a)), math.sin(math.radians(a)))
        for a in (gripper.tip_roll_deg, gripper.tip_pitch_deg, gripper.tip_yaw_deg)
    )
    turn = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    )
    return Transform(flange, tip, rigid_matrix(turn, (gripper.tip_x, gripper.tip_y, gripper.tip_z)))


def pose_matrix(pose: Pose) -> Array:
    """(4, 4) matrix of a pose, metres."""
    return matrix_from_pose((*pose.position, *pose.orientation))


def pose_of(frame_id: str, matrix: Array) -> Pose:
    """The pose of a (4, 4) matrix, metres; rounded to 1e-6."""
    x, y, z, w = (round(float(q), 6) + 0.0 for q in quaternion_xyzw_from_matrix(matrix[:3, :3]))
    return Pose(frame_id, rounded(matrix[:3, 3]), (x, y, z, w))


def flange_pose(gripper: GripperConfig, tip: Pose) -> Pose:
    """Pose of the arm's flange for a pose of the tip frame, for planners of an arm without gripper."""
    return pose_of(tip.frame_id, pose_matrix(tip) @ flange_T_tip(gripper).inverse().matrix)


def vector(values: Iterable[float]) -> Vector3:
    """Three numbers as a tuple of floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def rounded(values: Iterable[float], digits: int = 6) -> Vector3:
    """Three numbers, rounded, without negative zeros."""
    return vector(round(float(v), digits) + 0.0 for v in values)
