# SPDX-License-Identifier: Apache-2.0
"""Motor control: torques that keep the arm on its trajectory, and the force of the fingers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.sim.arm.machines import SimulatedArm
from spatial_vlm_ros.sim.arm.trajectory import Desired

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
    """Result of a gripper command.

    Args:
        position: position of each finger, metres: half the opening.
        effort: force of each finger, N.
    """

    position: float
    effort: float
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
        """Command a position.

        Args:
            position: position of each finger, 0 to `most_open` metres.
            force: largest force of each finger, N; 0 = DEFAULT_FORCE. It is clipped to the hand's limit.
        """
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
