# SPDX-License-Identifier: Apache-2.0
"""Limits of an arm's joints from the URDF, overridden and extended by MoveIt's joint_limits.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import RobotDescriptionError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.manipulation.builtin_planner.joint_tree import TreeJoint
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats

FULL_TURNS = 2 * math.pi  # planning range of a continuous joint to each side, radians
_FORM = (
    "joint_limits: {JOINT: {has_acceleration_limits: true, max_acceleration: 5.0, min_position: -1.5}}, in radians and "
    "seconds"
)
_KEYS = ("min_position", "max_position", "max_velocity", "max_acceleration")


@dataclass(frozen=True)
class JointLimit:
    """Limits of one joint, in radians and seconds; None = the URDF's, which has no acceleration limit."""

    min_position: float | None = None
    max_position: float | None = None
    max_velocity: float | None = None
    max_acceleration: float | None = None


@dataclass(frozen=True, eq=False)
class ArmLimits:
    """Limits of an arm, (J,) each, in radians and seconds."""

    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats


def limits_of(chain: Sequence[TreeJoint], given: str | Path | Mapping[str, JointLimit]) -> ArmLimits:
    """Read the limits of an arm's joints.

    Args:
        chain: its joints, as in the URDF.
        given: path of a MoveIt joint_limits.yaml, limits by joint, or empty.
    """
    said = given if isinstance(given, Mapping) else read_joint_limits(given) if str(given) else {}
    rows = []
    for joint in chain:
        own = said.get(joint.name, JointLimit())
        endless = joint.kind == "continuous"
        lower, upper = (-FULL_TURNS, FULL_TURNS) if endless else (joint.lower, joint.upper)
        row = {
            "min_position": _narrower(own.min_position, lower, max),
            "max_position": _narrower(own.max_position, upper, min),
            "max_velocity": joint.velocity if own.max_velocity is None else own.max_velocity,
            "max_acceleration": own.max_acceleration,
        }
        for key, value in row.items():
            if value is None or not math.isfinite(value) or ((key.startswith("max_v") or "acc" in key) and value <= 0):
                what, position = f"{key} of joint {joint.name!r}", key.endswith("position")
                own_place = (
                    "in the URDF (<limit lower upper velocity>), or " if not key.endswith("acceleration") else ""
                )
                repair = f"set it {own_place}in joint_limits, in the form of MoveIt's joint_limits.yaml: {_FORM}"
                expected = "a limit" if position else "a limit above 0"
                raise RobotDescriptionError(what, "none" if value is None else f"{value:g}", expected, repair)
        if float(row["min_position"] or 0) >= float(row["max_position"] or 0):
            got = f"{row['min_position']:g} to {row['max_position']:g}"
            repair = "correct the URDF or joint_limits"
            raise RobotDescriptionError(f"limits of joint {joint.name!r}", got, "a range of radians", repair)
        rows.append([row[key] for key in _KEYS])
    table = np.array(rows, np.float64)
    return ArmLimits(*(table[:, k].copy() for k in range(4)))


def read_joint_limits(path: str | Path) -> dict[str, JointLimit]:
    """Read limits by joint from a MoveIt joint_limits.yaml; limits with `has_…_limits: false` are left out."""
    data = read_yaml(Path(path).expanduser(), f"pass a file of the form {_FORM}")
    table = data.get("joint_limits") if isinstance(data, dict) else None
    if not isinstance(table, dict) or not all(isinstance(each, dict) for each in table.values()):
        raise RobotDescriptionError(f"joint limits {path}", "no table joint_limits", _FORM)
    limits: dict[str, JointLimit] = {}
    for name, said in table.items():
        found: dict[str, float] = {}
        for key in _KEYS:
            kind = key.partition("_")[2]
            if key not in said or not said.get(f"has_{kind}_limits", kind == "position"):
                continue
            value = said[key]
            if isinstance(value, bool) or not isinstance(value, int | float):
                what = f"{key} of joint {str(name)!r} in joint_limits"
                raise RobotDescriptionError(what, repr(value), "a number")
            found[key] = float(value)
        limits[str(name)] = JointLimit(**found)
    return limits


def _narrower(given: float | None, own: float | None, choose: Any) -> float | None:
    """The narrower of two limits: a file may not widen what the URDF allows."""
    return own if given is None else given if own is None else float(choose(given, own))
