# SPDX-License-Identifier: Apache-2.0
"""Measure how much of a detection is the robot itself: a gripper detected as a cup is not a cup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spatial_vlm_ros.geometry.segmentation import raised_pixels
from spatial_vlm_ros.geometry.surface import Surface
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Detection, Plane, RgbdFrame

_MOST = 0.5  # fraction of the raised pixels in a box from which more of it is the robot than anything else


def robot_shares(
    frame: RgbdFrame, detections: Sequence[Detection], support: Plane | None, lift_config: LiftConfig
) -> list[float]:
    """Fraction of each detection's measured pixels that belongs to the robot, 0 to 1.

    All pixels of a mask are counted. In a box only those above the support are, so that the table around a gripper does
    not count. Pixels that the robot's padding removed from an object count as the object's: being near the robot does
    not make it a part of the robot.

    Args:
        frame: rectified frame.
        support: plane under the objects, or None.
    """
    robot = frame.robot
    if robot is None or not robot.own.any():
        return [0.0] * len(detections)
    whole = replace(frame, depth=np.where(np.isfinite(robot.depth), robot.depth, frame.depth), robot=None)
    measured, raised = np.isfinite(whole.depth), raised_pixels(whole, support, lift_config)
    shares = []
    for detection in detections:
        x0, y0, x1, y1 = detection.box_xyxy
        box = np.s_[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)]
        counted = raised[box] if detection.mask is None else measured & detection.mask
        own = counted & (robot.own[box] if detection.mask is None else robot.own)
        shares.append(float(np.count_nonzero(own)) / max(1, int(np.count_nonzero(counted))))
    return shares


def unplaced_by_robot(surface: Surface, share: float) -> Surface:
    """Remove the surface's points if only a box defines it and the box shows more robot than anything else.

    The remaining points could be the object, or another one behind the gripper that was detected.
    """
    if surface.detection.mask is not None or share < _MOST:
        return surface
    problem = f"{share:.0%} of the measured points in its box belong to the robot"
    return replace(surface, points=np.empty((0, 3), np.float32), problem=problem)
