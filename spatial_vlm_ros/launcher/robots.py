# SPDX-License-Identifier: Apache-2.0
"""Robot presets for launch files and commands, and the node parameters of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.launcher.wiring import NOTHING, is_file
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, RobotPreset, robot_from

_REPAIR = "write it in the form of the files in config/robots"
_DESCRIBED = ("robot_description", "robot_description_semantic")


def robot_names(share: Path) -> list[str]:
    """List the names of the robot presets."""
    return sorted(path.stem for path in (share / "config" / "robots").glob("*.yaml"))


def robot_file(share: Path, robot: str) -> Path:
    """Find the file of a preset: one of config/robots, or the user's own.

    Args:
        robot: a name, or the path of a YAML file.
    """
    if robot in robot_names(share):
        return share / "config" / "robots" / f"{robot}.yaml"
    if not is_file(robot):
        raise UnknownNameError("robot", robot, [*robot_names(share), "FILE.yaml (a preset of your own)"])
    path = Path(robot).expanduser()
    if not path.is_file():
        known = ", ".join(robot_names(share))
        raise FileError(path, "no such file", f"pass the path of your own preset, or one of: {known}")
    return path


def robot_preset(share: Path, robot: str) -> RobotPreset:
    """Load the preset of a robot."""
    path = robot_file(share, robot)
    return robot_from(path.stem, read_yaml(path, _REPAIR))


def gate_parameters(preset: RobotPreset, said: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of `planner_gate` for a robot: those of the preset, changed by launch arguments.

    Args:
        said: `planner`; `base_frame`, `velocity_scaling` and `acceleration_scaling`, of which empty ones change
            nothing; `robot_description`, to which the gate subscribes itself if the topic is used.
    """
    values = preset.values(said["planner"])
    if said["base_frame"] == NOTHING:
        repair = f"omit base_frame to use {values['motion.planning_frame']!r}"
        raise InputError("argument base_frame", "it is '/' (no frame)", "the planning frame", repair)
    values["motion.planning_frame"] = said["base_frame"] or values["motion.planning_frame"]
    for name in ("velocity_scaling", "acceleration_scaling"):
        if not said[name]:
            continue
        try:
            share = float(said[name])
        except ValueError:
            share = -1.0
        if not 0.01 <= share <= 1.0:
            expected = "a fraction of the robot's limits, 0.01 to 1"
            raise InputError(f"argument {name}", repr(said[name]), expected)
        values[f"motion.{name}"] = share
    described = said["robot_description"]
    return {**values, "robot_description": "" if described == DESCRIPTION_TOPIC else described}


def arm_planner_parameters(preset: RobotPreset, file: Path, said: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of the node `arm_planner` for a robot.

    Args:
        file: preset file, whose joint_limits have MoveIt's form.
    """
    given = preset.arm_planner()
    actions = preset.planning("built-in").motion.controller_actions.split()
    if not actions:
        repair = "set it to the FollowJointTrajectory action of the arm's controller"
        raise InputError(f"controller_actions of robot {preset.name}", "not set", "an action", repair)
    if "arm" in given:
        unread = said["robot_description_semantic"]
        if unread not in ("", NOTHING):
            own = "copy the preset and replace arm in arm_planner with group, end_effector, tip_link and openings"
            got = f"{unread!r}, but the preset sets arm: {given['arm']} and uses the files of that arm"
            repair = f"omit it, or {own} of your files"
            raise InputError("argument robot_description_semantic", got, "no value", repair)
    else:
        for name in _DESCRIBED:
            if said[name] in ("", NOTHING, DESCRIPTION_TOPIC):
                example = f"{name}:=FILE, or planner:=moveit"
                raise InputError(f"argument {name}", "no value", f"a file of the {preset.title}", f"pass {example}")
            given[name] = said[name]
        given.setdefault("joint_limits", str(file.resolve()))
    return {**given, "controller": actions[0]}
