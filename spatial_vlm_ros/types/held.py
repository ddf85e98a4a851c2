# SPDX-License-Identifier: Apache-2.0
"""What the robot's hand holds, as the side that closed the fingers knows it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.resolution import Pose, Vector3

HELD_ID = "in_the_hand"
"""Id of the held object in answers."""


@dataclass(frozen=True)
class BoxInHand:
    """The held object as a box.

    Args:
        pose: of its middle, in the frame that answers have their poses in.
        size: along its axes, metres.
        stays: whether it is let go where it is, so that it needs no place.
    """

    label: str
    pose: Pose
    size: Vector3
    stays: bool = False

    def __post_init__(self) -> None:
        numbers = (*self.pose.position, *self.pose.orientation, *self.size)
        if not (all(map(math.isfinite, numbers)) and min(self.size) > 0 and self.label):
            got = f"{self.label!r}, a box of {self.size} m at {self.pose.position}"
            raise InputError("held object", got, "a label, finite numbers, and sizes above 0 m")
