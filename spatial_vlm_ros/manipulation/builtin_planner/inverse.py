# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics: configurations whose tip is at a pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats
from spatial_vlm_ros.manipulation.planning.robot_model import load

STEPS = 60
PATIENCE = 8  # steps in which the error must shrink by a tenth, or the search stops
LONGEST_STEP = 0.5  # radians a joint may move in one step
DAMPING = 1e-6
POSITION = 1e-5  # metres; far below the tolerance at the end of a trajectory
ROTATION = 1e-5  # radians


@dataclass(frozen=True)
class Reached:
    """Result of a search: final configuration, and its distance from the pose in metres and radians."""

    joints: Floats
    position_error: float
    rotation_error: float

    @property
    def there(self) -> bool:
        """Whether the search reached the pose."""
        return self.position_error <= POSITION and self.rotation_error <= ROTATION


class Inverse:
    """Inverse kinematics within the joint limits.

    Each step is a small quadratic program, as in differential inverse kinematics: the change dq of least
    |J dq - e|^2 + damping |dq|^2, where e is the twist to the pose in the frame of the tip, with limits of joints
    and of steps as bounds. Source: Levenberg-Marquardt with bounds, Sugihara 2011.
    """

    def __init__(self, robot: ArmModel) -> None:
        self._pin, self._solve = load("pinocchio"), load("daqp").solve
        self.robot, self._data = robot, robot.model.createData()
        self._q: Floats = robot.configuration()
        count = len(robot.joints)
        self._at, self._columns = _all_of(robot.arm_q), _all_of(robot.arm_v)
        self._no_rows = np.zeros((0, count))
        self._sense = np.zeros(count, np.intc)

    def tip(self, joints: Floats) -> Floats:
        """(4, 4) base_T_tip at (J,) joint positions, metres."""
        self._q[self._at] = joints
        self._pin.forwardKinematics(self.robot.model, self._data, self._q)
        return np.array(self._pin.updateFramePlacement(self.robot.model, self._data, self.robot.tip).homogeneous)

    def miss(self, joints: Floats, goal: Floats) -> tuple[float, float]:
        """Distance of the tip at `joints`, (J,) radians, from `goal`, (4, 4): metres, radians."""
        tip = self.tip(joints)
        turn = self._pin.log3(tip[:3, :3].T @ goal[:3, :3])
        return float(np.linalg.norm(goal[:3, 3] - tip[:3, 3])), float(np.linalg.norm(turn))

    def reach(self, goal: Floats, near: Floats, steps: int = STEPS) -> Reached:
        """Search from `near`, (J,) radians, for a configuration whose tip is at `goal`, (4, 4) base_T_tip, metres."""
        pin, robot = self._pin, self.robot
        wanted, marked = pin.SE3(goal), math.inf
        q = np.clip(near, robot.lower, robot.upper)
        for step in range(steps + 1):
            self._q[self._at] = q
            pin.computeJointJacobians(robot.model, self._data, self._q)
            placement = pin.updateFramePlacement(robot.model, self._data, robot.tip)
            error = pin.log6(placement.actInv(wanted)).vector
            square = float(error @ error)
            away, turned = math.sqrt(error[:3] @ error[:3]), math.sqrt(error[3:] @ error[3:])
            reached = Reached(q, away, turned)
            if reached.there or step == steps:
                return reached
            if step % PATIENCE == 0:
                if square > 0.81 * marked:
                    return reached
                marked = square
            J = pin.getFrameJacobian(robot.model, self._data, robot.tip, pin.LOCAL)[:, self._columns]
            H = J.T @ J
            H.flat[:: len(H) + 1] += DAMPING + 1e-3 * square
            least = np.maximum(robot.lower - q, -LONGEST_STEP)
            most = np.minimum(robot.upper - q, LONGEST_STEP)
            change, _, done, _ = self._solve(H, -J.T @ error, self._no_rows, most, least, self._sense)
            if done < 1:
                return reached
            q = np.clip(q + change, robot.lower, robot.upper)
        return reached


def _all_of(indices: tuple[int, ...]) -> slice | list[int]:
    """A slice if the indices are consecutive, which gives a view instead of a copy."""
    consecutive = indices == tuple(range(indices[0], indices[0] + len(indices)))
    return slice(indices[0], indices[-1] + 1) if consecutive else list(indices)
