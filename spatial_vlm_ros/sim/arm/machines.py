# SPDX-License-Identifier: Apache-2.0
"""Simulated arms with their grippers, and the motor control that drives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS, HOME
from spatial_vlm_ros.sim.arm.trajectory import Desired
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
        self._force, self._quiet, self._speed = DEFAULT_FORCE, 0.0, math.inf
        self._rest = np.full(len(self.qpos), math.inf)  # position of each finger from which `_quiet` counts, metres
        self._awaited = False

    def grip(self, position: float, force: float) -> None:
        """Command a position of each finger, 0 to `most_open` metres, and its largest force, N; 0 = DEFAULT_FORCE."""
        self._goal = min(max(position, 0.0), self.most_open)
        self._force = min(force, self._most_force) if force > 0 else DEFAULT_FORCE
        self._quiet, self._speed, self._awaited = 0.0, math.inf, True

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
        self._speed = float(np.abs(speed).max())
        if float(np.abs(place - self._rest).max()) > _STANDS * _STALL:  # contacts may tremble without end
            self._rest, self._quiet = place, 0.0
        self._quiet += self._step

    def ended(self, data: Any) -> Gripped | None:
        """Return once how the last command ended; None while it runs."""
        if not self._awaited:
            return None
        off = abs(self.position(data) - self._goal)
        if self._at != self._goal or (self._quiet < _STALL if off > REACHED else self._speed >= _STANDS):
            return None
        self._awaited = False
        return self.state(data, off > REACHED)

    def state(self, data: Any, stalled: bool = False) -> Gripped:
        """Return the current state of the fingers."""
        effort = float(np.abs(data.ctrl[self._motors]).mean())
        position = self.position(data)
        return Gripped(position, effort, stalled, abs(position - self._goal) <= REACHED)
