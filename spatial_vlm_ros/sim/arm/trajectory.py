# SPDX-License-Identifier: Apache-2.0
"""Joint trajectories, whether joints follow them in simulated time, and the motor control that drives them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS, HOME
from spatial_vlm_ros.sim.meshes import Array


@dataclass(frozen=True, eq=False)
class SimulatedArm:
    """A simulated arm with its gripper."""

    name: str
    urdf: Callable[[], Path]
    srdf: Callable[[], Path]
    arm_joints: tuple[str, ...]
    finger_joints: tuple[str, str]  # the driven one and the one coupled to it; prismatic, 0 = closed
    fingers: tuple[str, str]
    base_link: str  # at the world's origin
    hand_link: str
    links: tuple[str, ...]  # whose transforms are published, each in the base frame
    home: Array  # (J,) radians, initial posture, above or behind the camera's view
    most_open: float  # travel of each finger, metres
    most_force: float  # of each finger, N
    brakes: Array  # (J,) deceleration for stopping, rad/s²
    gate: Mapping[str, Any]

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of all joints: the arm's, then the fingers'."""
        return (*self.arm_joints, *self.finger_joints)


PANDA = SimulatedArm(
    name="panda",
    urdf=ARMS["panda"].urdf,
    srdf=ARMS["panda"].srdf,
    arm_joints=ARMS["panda"].joints,
    finger_joints=("panda_finger_joint1", "panda_finger_joint2"),
    fingers=("panda_leftfinger", "panda_rightfinger"),
    base_link=ARMS["panda"].base_link,
    hand_link="panda_hand",
    links=(
        *(f"panda_link{k}" for k in range(1, 9)),
        "panda_hand",
        "panda_hand_tcp",
        "panda_leftfinger",
        "panda_rightfinger",
    ),
    home=HOME,
    most_open=0.04,
    most_force=70.0,  # continuous holding force stated by the manufacturer
    brakes=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]),  # greatest accelerations stated by the manufacturer
    gate=MappingProxyType({"motion.planning_frame": "panda_link0"}),  # the others are the gate's defaults
)
UR5E = SimulatedArm(
    name="ur5e",
    urdf=ARMS["ur5e"].urdf,
    srdf=ARMS["ur5e"].srdf,
    arm_joints=ARMS["ur5e"].joints,
    finger_joints=("gripper_left_finger_joint", "gripper_right_finger_joint"),
    fingers=("gripper_left_finger", "gripper_right_finger"),
    base_link=ARMS["ur5e"].base_link,
    hand_link="gripper_base",
    links=(
        *("shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link"),
        *("tool0", "gripper_base", "gripper_tcp", "gripper_left_finger", "gripper_right_finger"),
    ),
    home=np.array([0.0, -2.2, 2.0, -1.3708, -np.pi / 2, 0.0]),  # drawn back, fingers down
    most_open=0.0425,
    most_force=235.0,  # largest force of a Robotiq 2F-85
    brakes=np.full(6, 10.0),  # an assumption: the manufacturer publishes none
    gate=MappingProxyType(
        {
            "motion.planning_frame": "base_link",
            "motion.base_link": "base_link",
            "motion.group": "ur_manipulator",
            "motion.tip_link": "gripper_tcp",
            "motion.finger_links": "gripper_left_finger gripper_right_finger",
            "motion.finger_joints": "gripper_left_finger_joint gripper_right_finger_joint",
            "gripper.opening_max": 0.085,
            "gripper.finger_length": 0.052,
            "gripper.finger_thickness": 0.022,
            "gripper.finger_width": 0.022,
            "gripper.finger_beyond": 0.01,
            "gripper.palm_width": 0.149,
            "gripper.palm_thickness": 0.075,
            "gripper.palm_depth": 0.108,
            "gripper.tip_z": 0.15,
            "gripper.tip_yaw_deg": 0.0,
        }
    ),
)
SIMULATED_ARMS: Mapping[str, SimulatedArm] = MappingProxyType({arm.name: arm for arm in (PANDA, UR5E)})
"""By name."""


def simulated_arm(name: str) -> SimulatedArm:
    """Return an arm by its name."""
    if name not in SIMULATED_ARMS:
        raise UnknownNameError("arm", name, tuple(SIMULATED_ARMS))
    return SIMULATED_ARMS[name]


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


DEFAULT_FORCE = 40.0  # N: used if no effort is given
REACHED = 0.001  # metres
_BAND = 40.0  # rad/s: bandwidth of the arm's position loop, critically damped
_CLOSES = 0.05  # m/s per finger
_STIFF, _DAMPED = 20000.0, 200.0  # N/m, N s/m per finger
_STANDS, _STALL = 0.001, 0.25  # m/s, s: fingers slower than this for this long before their goal are stalled


class ArmControl:
    """Computed torque: M (q̈ + 2ω ė + ω² e) + bias, clipped to the motor limits. Source: Luh, Walker, Paul 1980.

    The bias contains gravity and Coriolis forces of the arm itself, not of its load.
    """

    def __init__(self, mj: Any, model: Any, joints: Sequence[str]) -> None:
        self._mj, self._model = mj, model
        self.qpos = np.array([model.joint(name).qposadr[0] for name in joints])
        self.dofs = np.array([model.joint(name).dofadr[0] for name in joints])
        self._motors = np.array([model.actuator(name).id for name in joints])
        self._most = model.actuator_ctrlrange[self._motors, 1].copy()
        self._wanted, self._torque = np.zeros(model.nv), np.zeros(model.nv)

    def drive(self, data: Any, desired: Desired) -> None:
        """Set the arm's motors; call it between mj_step1 and mj_step2."""
        off, slow = desired.position - data.qpos[self.qpos], desired.velocity - data.qvel[self.dofs]
        self._wanted[self.dofs] = desired.acceleration + 2 * _BAND * slow + _BAND**2 * off
        self._mj.mj_mulM(self._model, data, self._torque, self._wanted)
        torque = self._torque[self.dofs] + data.qfrc_bias[self.dofs]
        data.ctrl[self._motors] = np.clip(torque, -self._most, self._most)


@dataclass(frozen=True)
class Gripped:
    """Result of a gripper command."""

    position: float  # of each finger, metres: half the opening
    effort: float  # force of each finger, N
    stalled: bool
    reached: bool


class HandControl:
    """Moves two fingers to a position; if an object is in the way, they press with the allowed force."""

    def __init__(self, model: Any, arm: SimulatedArm) -> None:
        self.most_open, self._most_force = arm.most_open, arm.most_force
        self.qpos = np.array([model.joint(name).qposadr[0] for name in arm.finger_joints])
        self.dofs = np.array([model.joint(name).dofadr[0] for name in arm.finger_joints])
        self._motors = np.array([model.actuator(name).id for name in arm.finger_joints])
        self._step = float(model.opt.timestep)
        self._goal = self._at = arm.most_open
        self._force, self._quiet = DEFAULT_FORCE, 0.0
        self._awaited = False

    def grip(self, position: float, force: float) -> None:
        """Command a position of each finger, 0 to `most_open` metres, and its largest force, N; 0 = DEFAULT_FORCE."""
        self._goal = min(max(position, 0.0), self.most_open)
        self._force = min(force, self._most_force) if force > 0 else DEFAULT_FORCE
        self._quiet, self._awaited = 0.0, True

    def stop(self, data: Any) -> None:
        """Stop: keep holding a held object, else stay at the current position."""
        if not self._awaited:
            return
        self._awaited = False
        self._goal = self._at = max(min(self._at, float(self.position(data))), 0.0)

    def position(self, data: Any) -> float:
        """Position of the fingers, metres: half the opening."""
        return float(data.qpos[self.qpos].mean())

    def drive(self, data: Any) -> None:
        """Set the finger motors; call it between mj_step1 and mj_step2."""
        way = self._goal - self._at
        self._at += math.copysign(min(abs(way), _CLOSES * self._step), way)
        place, speed = data.qpos[self.qpos], data.qvel[self.dofs]
        force = _STIFF * (self._at - place) - _DAMPED * speed
        data.ctrl[self._motors] = np.clip(force, -self._force, self._force)
        self._quiet = self._quiet + self._step if float(np.abs(speed).max()) < _STANDS else 0.0

    def ended(self, data: Any) -> Gripped | None:
        """Return once how the last command ended; None while it runs."""
        if not self._awaited:
            return None
        off = abs(self.position(data) - self._goal)
        if self._at != self._goal or self._quiet < (_STALL if off > REACHED else self._step):
            return None
        self._awaited = False
        return self.state(data, off > REACHED)

    def state(self, data: Any, stalled: bool = False) -> Gripped:
        """Return the current state of the fingers."""
        effort = float(np.abs(data.ctrl[self._motors]).mean())
        position = self.position(data)
        return Gripped(position, effort, stalled, abs(position - self._goal) <= REACHED)
