# SPDX-License-Identifier: Apache-2.0
"""Follow a trajectory in simulated time: the desired state, the tolerance checks, and the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm.trajectory import Desired, JointTrajectory
from spatial_vlm_ros.sim.meshes import Array

SUCCESSFUL, PATH_VIOLATED, GOAL_VIOLATED = 0, -4, -5
"""Codes of control_msgs/FollowJointTrajectory."""
START, PATH, GOAL = 0.05, 0.1, 0.005  # rad
GOAL_TIME = 2.0  # s
STOPPED = 0.02  # rad/s: no joint may be faster than this at the end


@dataclass(frozen=True)
class Tolerances:
    """Position tolerances of joints, radians, by name; a joint that is not listed has the default.

    Args:
        path: tolerance at any time, `PATH` by default; infinite = not checked.
        goal: tolerance at the end, `GOAL` by default; infinite = not checked.
        goal_time: seconds after the end by which the goal must be reached.
    """

    path: Mapping[str, float] = field(default_factory=dict)
    goal: Mapping[str, float] = field(default_factory=dict)
    goal_time: float = GOAL_TIME


@dataclass(frozen=True)
class TrajectoryOutcome:
    """Outcome of a trajectory: a code of control_msgs, and a text."""

    code: int
    words: str


class Follower:
    """Computes the desired joint state, from rest to rest. Times are simulated seconds.

    Args:
        lower, upper: (J,) limits, radians.
        position: (J,) current positions, radians.
        brakes: (J,) deceleration for stopping, rad/s².
    """

    def __init__(self, names: Sequence[str], lower: Array, upper: Array, position: Array, brakes: Array) -> None:
        self._brakes = brakes
        self.names, self._lower, self._upper = tuple(names), lower, upper
        self._held = Desired.still(position)
        self._trajectory: JointTrajectory | None = None
        self._braking: tuple[float, Desired, float] | None = None  # start time, initial state and duration
        self._began, self._path, self._goal, self._goal_time = 0.0, np.zeros(0), np.zeros(0), 0.0

    @property
    def busy(self) -> bool:
        """Whether a trajectory is followed."""
        return self._trajectory is not None

    @property
    def moving(self) -> bool:
        """Whether the joints are commanded to move."""
        return self._trajectory is not None or self._braking is not None

    def check(self, trajectory: JointTrajectory, position: Array) -> None:
        """Check that a trajectory may start from the current positions, (J,) radians."""
        if self.moving:
            raise InputError(
                "trajectory",
                "a second one while the arm moves",
                "one at a time",
                "cancel the first, or wait until it ends",
            )
        beyond = np.maximum(self._lower - trajectory.positions, trajectory.positions - self._upper).max(axis=0)
        worst = int(beyond.argmax())
        if beyond[worst] > 0:
            got = f"{self.names[worst]} {beyond[worst]:.4f} rad beyond its limit"
            raise InputError("trajectory", got, "positions within limits", "plan it again")
        if trajectory.times[0] <= 0:
            off = np.abs(trajectory.positions[0] - position)
            worst = int(off.argmax())
            if off[worst] > START:
                got = f"begins {off[worst]:.3f} rad from where {self.names[worst]} is"
                raise InputError("trajectory", got, f"at most {START:g} rad", "plan from the newest joint states")

    def begin(self, trajectory: JointTrajectory, now: float, position: Array, tolerances: Tolerances) -> None:
        """Start a trajectory; raises as `check`."""
        self.check(trajectory, position)
        self._trajectory, self._began = trajectory.starting_at(self._held.position), now
        self._path = np.array([tolerances.path.get(name, PATH) for name in self.names])
        self._goal = np.array([tolerances.goal.get(name, GOAL) for name in self.names])
        self._goal_time = tolerances.goal_time

    def stop(self, now: float) -> None:
        """Brake as hard as the arm allows, and stay at the final position."""
        if self._trajectory is None:
            return
        desired = self.desired(now)
        self._trajectory = None
        self._braking = (now, desired, float((np.abs(desired.velocity) / self._brakes).max()))

    def stay(self, position: Array) -> None:
        """Drop the trajectory and stay at (J,) positions, radians."""
        self._trajectory = self._braking = None
        self._held = Desired.still(position)

    def desired(self, now: float) -> Desired:
        """Return the desired state."""
        if self._trajectory is not None:
            return self._trajectory.at(now - self._began)
        if self._braking is not None:
            since, start, lasts = self._braking
            t = min(now - since, lasts)
            slower = -start.velocity / lasts if lasts > 0 else np.zeros(len(self.names))
            at = start.position + start.velocity * t + slower * t * t / 2
            at = np.clip(at, self._lower, self._upper)
            if now - since < lasts:
                return Desired(at, start.velocity + slower * t, slower)
            self._braking, self._held = None, Desired.still(at)
        return self._held

    def ended(self, now: float, position: Array, velocity: Array) -> TrajectoryOutcome | None:
        """Return once how the trajectory ended; the joints then stay. None while it runs, or if there is none.

        Args:
            now: simulated time, seconds.
            position: (J,) joint positions, radians.
            velocity: (J,) joint velocities, rad/s.
        """
        if self._trajectory is None:
            return None
        late = now - self._began - self._trajectory.duration
        if late < 0:
            off = np.abs(position - self.desired(now).position) - self._path
            if (off > 0).any():
                self.stay(position)
                return TrajectoryOutcome(PATH_VIOLATED, self._worst(off, self._path))
            return None
        off = np.abs(position - self._trajectory.end) - self._goal
        if (off <= 0).all() and np.abs(velocity).max() <= STOPPED:
            self.stay(self._trajectory.end)
            return TrajectoryOutcome(SUCCESSFUL, "")
        if late > self._goal_time:
            self.stay(position)
            if (off <= 0).all():
                return TrajectoryOutcome(GOAL_VIOLATED, f"a joint still moves at {np.abs(velocity).max():.3f} rad/s")
            return TrajectoryOutcome(GOAL_VIOLATED, self._worst(off, self._goal))
        return None

    def _worst(self, off: Array, tolerance: Array) -> str:
        worst = int(off.argmax())
        return f"{self.names[worst]} is {off[worst] + tolerance[worst]:.4f} rad off; {tolerance[worst]:g} are allowed"
