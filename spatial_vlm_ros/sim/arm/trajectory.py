# SPDX-License-Identifier: Apache-2.0
"""Joint trajectories, and whether joints follow them in simulated time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Array

SUCCESSFUL, PATH_VIOLATED, GOAL_VIOLATED = 0, -4, -5
"""Codes of control_msgs/FollowJointTrajectory."""
START, PATH, GOAL = 0.05, 0.1, 0.005  # rad
GOAL_TIME = 2.0  # s
STOPPED = 0.02  # rad/s: no joint may be faster than this at the end
STANDS = 1e-3  # rad/s: a last point slower than this is at rest


@dataclass(frozen=True, eq=False)
class Desired:
    """(J,) positions, velocities and accelerations at one moment: radians and seconds."""

    position: Array
    velocity: Array
    acceleration: Array

    @staticmethod
    def still(position: Array) -> Desired:
        """Return the state at rest at a position."""
        nothing = np.zeros(len(position))
        return Desired(np.array(position, np.float64), nothing, nothing)


@dataclass(frozen=True, eq=False)
class JointTrajectory:
    """A joint trajectory, as sent to a controller; without velocities the joints move linearly from point to point."""

    times: Array  # (N,) seconds since its start, rising, 0 or more
    positions: Array  # (N, J) radians
    velocities: Array | None = None  # (N, J) rad/s
    accelerations: Array | None = None  # (N, J) rad/s²
    _starts: list[float] = field(init=False)

    def __post_init__(self) -> None:
        times, positions = np.array(self.times, np.float64), np.array(self.positions, np.float64)
        n = len(times)
        given = [positions, *(a for a in (self.velocities, self.accelerations) if a is not None)]
        if (
            times.ndim != 1
            or not n
            or positions.ndim != 2
            or any(np.shape(a) != (n, positions.shape[1]) for a in given)
        ):
            raise _bad(f"{n} times, arrays of {[np.shape(a) for a in given]}", "one or more of each, in equal number")
        if not np.isfinite(times).all() or not all(np.isfinite(a).all() for a in given):
            raise _bad("numbers that are not finite", "finite ones")
        if self.velocities is None and self.accelerations is not None:
            raise _bad("accelerations without velocities", "both, or only velocities")
        if times[0] < 0 or not (np.diff(times) > 0).all():
            raise _bad(f"times {times[0]:g} to {times[-1]:g} s", "0 or more, each later than the one before")
        if self.velocities is not None and np.abs(self.velocities[-1]).max() > STANDS:
            raise _bad(f"{np.abs(self.velocities[-1]).max():.3f} rad/s at its end", "an end at rest")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "_starts", times.tolist())

    @property
    def duration(self) -> float:
        """Duration, seconds."""
        return self._starts[-1]

    @property
    def end(self) -> Array:
        """(J,) last positions, radians."""
        return np.asarray(self.positions[-1])

    def starting_at(self, position: Array) -> JointTrajectory:
        """Add a point at rest at time 0 if the first point is later."""
        if self._starts[0] <= 0:
            return self
        first = np.zeros((1, len(position)))
        return JointTrajectory(
            np.concatenate([[0.0], self.times]),
            np.concatenate([[position], self.positions]),
            None if self.velocities is None else np.concatenate([first, self.velocities]),
            None if self.accelerations is None else np.concatenate([first, self.accelerations]),
        )

    def at(self, time: float) -> Desired:
        """Return the state `time` seconds after the start; before and after the trajectory the state at its end.

        A polynomial of degree 1, 3 or 5 between two points matches everything that both points define.
        """
        if time >= self.duration or len(self._starts) == 1:
            return Desired.still(self.end)
        k = max(bisect_right(self._starts, time) - 1, 0)
        span = self._starts[k + 1] - self._starts[k]
        s = min(max(time - self._starts[k], 0.0), span)
        p0, p1 = self.positions[k], self.positions[k + 1]
        if self.velocities is None:
            slope = (p1 - p0) / span
            return Desired(p0 + slope * s, slope, np.zeros(len(p0)))
        v0, v1 = self.velocities[k], self.velocities[k + 1]
        if self.accelerations is None:
            c2 = (3 * (p1 - p0) - (2 * v0 + v1) * span) / span**2
            c3 = (2 * (p0 - p1) + (v0 + v1) * span) / span**3
            return Desired(p0 + s * (v0 + s * (c2 + s * c3)), v0 + s * (2 * c2 + 3 * s * c3), 2 * c2 + 6 * s * c3)
        a0, a1 = self.accelerations[k], self.accelerations[k + 1]
        c3 = (20 * (p1 - p0) - (8 * v1 + 12 * v0) * span - (3 * a0 - a1) * span**2) / (2 * span**3)
        c4 = (30 * (p0 - p1) + (14 * v1 + 16 * v0) * span + (3 * a0 - 2 * a1) * span**2) / (2 * span**4)
        c5 = (12 * (p1 - p0) - 6 * (v1 + v0) * span - (a0 - a1) * span**2) / (2 * span**5)
        return Desired(
            p0 + s * (v0 + s * (a0 / 2 + s * (c3 + s * (c4 + s * c5)))),
            v0 + s * (a0 + s * (3 * c3 + s * (4 * c4 + s * 5 * c5))),
            a0 + s * (6 * c3 + s * (12 * c4 + s * 20 * c5)),
        )


def in_order(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return the index of each wanted name among the given names."""
    if sorted(wanted) != sorted(given):
        raise InputError("joints", ", ".join(given) or "none", ", ".join(wanted), "name each joint of the arm once")
    return [list(given).index(name) for name in wanted]


def _bad(got: str, wanted: str) -> InputError:
    return InputError("trajectory", got, wanted, "plan it again")


@dataclass(frozen=True)
class Tolerances:
    """Position tolerances of joints, radians, by name; a joint that is not listed has the default."""

    path: Mapping[str, float] = field(default_factory=dict)  # at any time, `PATH` by default; infinite = not checked
    goal: Mapping[str, float] = field(default_factory=dict)  # at the end, `GOAL` by default
    goal_time: float = GOAL_TIME  # seconds after the end by which the goal must be reached


@dataclass(frozen=True)
class TrajectoryOutcome:
    """Outcome of a trajectory: a code of control_msgs, and a text."""

    code: int
    words: str


class Follower:
    """Computes the desired joint state, from rest to rest, within (J,) limits, radians. Times are simulated seconds."""

    def __init__(self, names: Sequence[str], lower: Array, upper: Array, position: Array, brakes: Array) -> None:
        self._brakes = brakes
        self.names, self._lower, self._upper = tuple(names), lower, upper
        self._held = Desired.still(position)
        self._trajectory: JointTrajectory | None = None
        self._braking: tuple[float, Desired, float] | None = None  # start time, initial state and duration
        self._began, self._path, self._goal, self._goal_time = 0.0, np.zeros(0), np.zeros(0), 0.0

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
            raise _bad(f"{self.names[worst]} {beyond[worst]:.4f} rad beyond its limit", "positions within limits")
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

        Of (J,) joint positions, radians, and velocities, rad/s.
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
