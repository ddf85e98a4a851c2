# SPDX-License-Identifier: Apache-2.0
"""Whether measured points of the target stand where the fingers or the palm come on a straight approach."""

from __future__ import annotations

from typing import Literal

import numpy as np

from spatial_vlm_ros.manipulation.grasping.target_points import Array
from spatial_vlm_ros.parameters import PlanningConfig

STRAY = 3
"""Points where a finger or the palm comes that may be noise."""


def in_the_way(local: Array, opening: float, config: PlanningConfig) -> Literal["no_room", "palm"] | None:
    """What a hand that comes straight along its approach would press on the target: a finger, its palm, or nothing.

    Args:
        local: (N, 3) points in the tip frame, metres.
        opening: between the fingers on the way, metres.
        config: gripper and clearances.
    """
    if np.count_nonzero(beside(local, opening, config)) > STRAY:
        return "no_room"
    face = config.gripper.finger_beyond - config.gripper.finger_length
    pressed = under_palm(local, config) & (local[:, 2] < face + config.goal.palm_clearance)
    return "palm" if np.count_nonzero(pressed) > STRAY else None


def beside(local: Array, opening: float, config: PlanningConfig, further: float = 0.0) -> np.ndarray:
    """Where a finger comes on its way.

    Args:
        local: (N, 3) points in the tip frame, metres.
        opening: between the fingers, metres.
        further: metres that each finger comes from further out.

    Returns:
        (N,) bool of each point.
    """
    gripper, (x, y, z) = config.gripper, local.T
    out = np.abs(y) - opening / 2
    strip = (np.abs(x) < gripper.finger_width / 2) & (z < gripper.finger_beyond)
    return np.asarray(strip & (out > 0) & (out < gripper.finger_thickness + further))


def under_palm(local: Array, config: PlanningConfig) -> np.ndarray:
    """(N,) whether each of (N, 3) points in the tip frame, metres, is where the palm comes, at whatever depth."""
    gripper, (x, y, _) = config.gripper, local.T
    return np.asarray((np.abs(x) < gripper.palm_thickness / 2) & (np.abs(y) < gripper.palm_width / 2))
