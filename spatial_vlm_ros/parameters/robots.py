# SPDX-License-Identifier: Apache-2.0
"""Robot presets of config/robots, checked: what is known of a robot before it is connected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.parameters.arm import ArmPlannerConfig
from spatial_vlm_ros.parameters.bounds import check_names, filled
from spatial_vlm_ros.parameters.manipulation import PlanningConfig

PLANNERS = ("moveit", "built-in")
"""The planner: MoveIt's move_group, or this package's node `arm_planner`."""

_KEYS = ("title", "controller_manager", "controllers", "joint_limits", "parameters", "planners")
_LIMITS = ("min_position", "max_position", "max_velocity", "max_acceleration")
_SWITCHES = ("has_position_limits", "has_velocity_limits", "has_acceleration_limits")
_TURNED = 8 * math.pi  # rad: four turns to each side, more than any joint with limits has
_FORM = "write it in the form of the files in config/robots"


@dataclass(frozen=True)
class JointBounds:
    """Limits of a joint, radians and seconds."""

    min_position: float
    max_position: float
    max_velocity: float
    max_acceleration: float


@dataclass(frozen=True)
class RobotPreset:
    """A robot with the defaults of its upstream drivers."""

    name: str
    title: str
    controller_manager: str
    controllers: tuple[str, ...]
    joint_limits: Mapping[str, JointBounds]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def values(self, planner: str) -> dict[str, Any]:
        """Parameters of `planner_gate` by their ROS names, with the declared types."""
        config = self.planning(planner)
        return {
            f"{group}.{name}": getattr(getattr(config, group), name)
            for group, given in self._groups(planner).items()
            for name in given
        }

    def planning(self, planner: str) -> PlanningConfig:
        """Planning configuration for the planner; values that the preset does not set keep their default."""
        return filled(PlanningConfig(), self._groups(planner), f"group of parameters of robot {self.name}")

    def arm_planner(self) -> dict[str, Any]:
        """Parameters of the node `arm_planner` for this robot."""
        given = self._planner("built-in").get("arm_planner", {})
        config = filled(ArmPlannerConfig(), given, f"parameter of arm_planner of robot {self.name}")
        return {name: getattr(config, name) for name in given}

    def _planner(self, planner: str) -> Mapping[str, Any]:
        if planner not in self.planners:
            raise UnknownNameError(f"planner of robot {self.name}", planner, tuple(self.planners))
        return self.planners[planner]

    def _groups(self, planner: str) -> dict[str, dict[str, Any]]:
        own = self._planner(planner).get("parameters", {})
        return {
            group: {**self.parameters.get(group, {}), **own.get(group, {})}
            for group in dict.fromkeys((*self.parameters, *own))
        }


def robot_from(name: str, values: Any) -> RobotPreset:
    """Make a preset from the values of its file."""
    what = f"robot {name}"
    table = _mapping(what, values)
    check_names(f"key of {what}", table, _KEYS)
    for key in _KEYS[:-2]:
        if key not in table:
            raise InputError(what, f"{key} is missing", "all of " + ", ".join(_KEYS), _FORM)
    for key in ("title", "controller_manager"):
        if not isinstance(table[key], str):
            raise InputError(f"{key} of {what}", repr(table[key]), "a text", _FORM)
    controllers = table["controllers"]
    if not isinstance(controllers, list) or not all(isinstance(each, str) for each in controllers):
        raise InputError(f"controllers of {what}", repr(controllers), "a list of names", _FORM)
    limits = _mapping(f"joint_limits of {what}", table["joint_limits"])
    groups = _groups_of(what, table.get("parameters", {}))
    planners = {}
    for planner, given in _mapping(f"planners of {what}", table.get("planners", {"moveit": {}})).items():
        own = f"{what} with {planner}"
        keys = _mapping(own, given)
        check_names(f"key of {own}", keys, ("parameters", "arm_planner"))
        planners[str(planner)] = {
            "parameters": _groups_of(own, keys.get("parameters", {})),
            "arm_planner": dict(_mapping(f"arm_planner of {own}", keys.get("arm_planner", {}))),
        }
    check_names(f"planner of {what}", planners, PLANNERS)
    bounds = {str(joint): _bounds(f"joint {joint} of {what}", given) for joint, given in limits.items()}
    preset = RobotPreset(
        name, table["title"], table["controller_manager"], tuple(controllers), bounds, groups, planners
    )
    if not bounds or not planners:
        raise InputError(what, "no joints" if not bounds else "no planner", "one or more", _FORM)
    for planner in planners:
        preset.planning(planner)
    if "built-in" in planners:
        preset.arm_planner()
    return preset


def _groups_of(what: str, given: Any) -> dict[str, dict[str, Any]]:
    table = _mapping(f"parameters of {what}", given)
    return {str(group): dict(_mapping(f"parameters {group} of {what}", names)) for group, names in table.items()}


def _mapping(what: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(what, repr(given), "names with values", _FORM)
    return given


def _bounds(what: str, given: Any) -> JointBounds:
    table = _mapping(what, given)
    check_names(f"key of {what}", table, (*_LIMITS, *_SWITCHES))
    for name in _LIMITS:
        value = table.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"{name} of {what}", repr(value), "a number, in radians and seconds", _FORM)
    bounds = JointBounds(*(float(table[name]) for name in _LIMITS))
    if bounds.min_position >= bounds.max_position or bounds.max_velocity <= 0 or bounds.max_acceleration <= 0:
        got = f"{bounds.min_position} to {bounds.max_position}, {bounds.max_velocity}, {bounds.max_acceleration}"
        raise InputError(what, got, "a range, with velocity and acceleration above 0")
    if max(-bounds.min_position, bounds.max_position) > _TURNED:
        got, expected = f"{bounds.min_position} to {bounds.max_position}", f"within {_TURNED:.1f} radians of zero"
        raise InputError(f"positions of {what}", got, expected, "use radians, not degrees")
    return bounds
