# SPDX-License-Identifier: Apache-2.0
"""Disturbances of the cell from outside, written as text, for runs in which something goes wrong."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim.meshes import turn
from spatial_vlm_ros.types import Transform, Vector3

_KEYS = {"move": {"id", "to", "yaw_deg"}, "remove": {"id"}, "camera": {"by", "turn_deg", "told"}, "world": {"name"}}


@dataclass(frozen=True)
class Move:
    """Teleport an object: its foot to `to`, metres in the base frame, rotated by `yaw` radians."""

    id: str
    to: Vector3
    yaw: float = 0.0


@dataclass(frozen=True)
class Remove:
    """Remove an object."""

    id: str


@dataclass(frozen=True)
class NudgeCamera:
    """Shift the camera by metres in the base frame and rotate it about the vertical.

    `told` says whether its published pose is updated, as after a new calibration.
    """

    by: Vector3
    turn_deg: float = 0.0
    told: bool = False

    def applied(self, base_T_camera: Transform) -> Transform:
        """The new pose."""
        matrix = base_T_camera.matrix.copy()
        matrix[:3, :3] = turn("z", math.radians(self.turn_deg)) @ matrix[:3, :3]
        matrix[:3, 3] += self.by
        return Transform(base_T_camera.parent, base_T_camera.child, matrix)


@dataclass(frozen=True)
class ChangeWorld:
    """Switch to another world, named like the parameter `world`."""

    name: str


Disturbance = Move | Remove | NudgeCamera | ChangeWorld


def disturbance(words: str) -> Disturbance:
    """Parse a disturbance.

    Args:
        words: JSON: `{"move": {"id": "cup", "to": [0.5, 0.1, 0.0], "yaw_deg": 90}}`, `{"remove": {"id": "cup"}}`,
            `{"camera": {"by": [0.01, 0, 0], "turn_deg": 2, "told": false}}` or `{"world": {"name": "7"}}`.
    """
    try:
        (kind, said), *others = json.loads(words).items()
        if others or kind not in _KEYS:
            raise UnknownNameError("disturbance", kind if kind not in _KEYS else "several at once", _KEYS)
        for key in set(said) - _KEYS[kind]:
            raise UnknownNameError(f"key of {kind}", key, sorted(_KEYS[kind]))
        if kind == "move":
            return Move(str(said["id"]), _vector(said["to"]), math.radians(float(said.get("yaw_deg", 0.0))))
        if kind == "remove":
            return Remove(str(said["id"]))
        if kind == "world":
            return ChangeWorld(str(said["name"]))
        told = said.get("told", False)
        if not isinstance(told, bool):
            raise TypeError("told must be true or false")
        return NudgeCamera(_vector(said.get("by", (0, 0, 0))), _finite(said.get("turn_deg", 0.0)), told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        got = f"{type(error).__name__}: {error}"
        raise InputError("disturbance", got, "JSON as docs/sim_arm.md describes it") from error


def _vector(values: object) -> Vector3:
    x, y, z = (_finite(value) for value in values)  # type: ignore[attr-defined]
    return x, y, z


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not np.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number
