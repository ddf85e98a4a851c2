# SPDX-License-Identifier: Apache-2.0
"""How much of a detection is the robot itself: a gripper that a detector calls a cup is no cup, and stands nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spatial_vlm_ros.geometry.segmentation import raised_pixels
from spatial_vlm_ros.geometry.surface import Surface
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Detection, Plane, RgbdFrame

_MOST = 0.5  # part of what stands in a box from which more of it is the robot than is anything else


def robot_shares(
    frame: RgbdFrame, detections: Sequence[Detection], support: Plane | None, lift_config: LiftConfig
) -> list[float]:
    """What part of each detection's measured pixels is the robot's own, 0 to 1.

    Counted are the pixels of its mask; of a box those above the support, so that the table around a gripper counts for
    nothing. Pixels that the robot's padding took out of an object count as the thing's: being near makes no robot of
    it.

    Args:
        frame: rectified frame.
        detections: with masks or boxes.
        support: plane under the objects, or None.
        lift_config: height above the support.
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
    """The surface; without points where a box alone says what it is, and shows more of the robot than of anything else.

    What would be left in the box may be the object, or another one behind the gripper that was detected.
    """
    if surface.detection.mask is not None or share < _MOST:
        return surface
    problem = f"{share:.0%} of the measured points in its box belong to the robot"
    return replace(surface, points=np.empty((0, 3), np.float32), problem=problem)
