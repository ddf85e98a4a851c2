# SPDX-License-Identifier: Apache-2.0
"""Configurations along a straight line of the tip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.inverse import Inverse
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats
from spatial_vlm_ros.manipulation.planning.robot_model import load

STEP = 0.005  # metres
TURN = 0.04  # radians
LONGEST_JUMP = 0.12  # radians a joint may move in one step: more means another posture or a singularity


@dataclass(frozen=True)
class Line:
    """How far a line was followed.

    Args:
        joints: (N, J) configurations so far.
        fraction: 1 at the goal.
        touched: obstacles that stopped it; empty if the arm cannot reach further.
    """

    joints: Floats
    fraction: float
    touched: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it reached the goal."""
        return self.fraction == 1.0


def follow(
    inverse: Inverse, checker: Checker, start: Floats, goal: Floats, stop: Callable[[], None] = lambda: None
) -> Line:
    """Follow the straight line of the tip from the configuration `start` to `goal`, (4, 4) base_T_tip.

    The origin of the tip frame moves straight while the frame turns about one axis at a constant rate.

    Args:
        start: (J,) radians.
        goal: (4, 4) metres.
    """
    pin = load("pinocchio")
    begin = inverse.tip(start)
    axis = pin.log3(begin[:3, :3].T @ goal[:3, :3])
    way = goal[:3, 3] - begin[:3, 3]
    n = max(2, int(np.ceil(max(np.linalg.norm(way) / STEP, np.linalg.norm(axis) / TURN))))
    joints = [np.asarray(start, np.float64)]
    if not checker.free(start):
        return Line(np.array(joints), 0.0, checker.touched(start))
    for k in range(1, n + 1):
        stop()
        pose = np.eye(4)
        pose[:3, :3] = begin[:3, :3] @ pin.exp3(axis * (k / n))
        pose[:3, 3] = begin[:3, 3] + way * (k / n)
        reached = inverse.reach(goal if k == n else pose, joints[-1], steps=10)
        jumped = np.abs(reached.joints - joints[-1]).max() > LONGEST_JUMP
        if not reached.there or jumped:
            return Line(np.array(joints), (k - 1) / n)
        if not checker.free(reached.joints):
            return Line(np.array(joints), (k - 1) / n, checker.touched(reached.joints))
        joints.append(reached.joints)
    return Line(np.array(joints), 1.0)
