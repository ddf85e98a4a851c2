# SPDX-License-Identifier: Apache-2.0
"""Helpers of the launch files beside launch itself: presets of cameras and robots, parameters from text.

It uses plain data and imports neither launch nor rclpy, so that both `ros2 launch` and the launcher can use it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, NodeConfig, RobotPreset, StreamConfig, robot_from

NO_CAMERA = "none"
NOTHING = "/"  # stands for an empty text, because an empty argument means "not given"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"  # its name up to Iron; newer versions warn about it

_OLD_DISTRIBUTIONS = ("humble", "iron")
_FASTDDS = ("", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")  # values of RMW_IMPLEMENTATION that read the profile
_KEYS = ("camera_namespace", "camera_name", "topics", "parameters")
_TRANSPORTS = {"rgb/image": "rgb_transport", "depth/image": "depth_transport"}  # topic → the parameter of its transport


@dataclass(frozen=True)
class Camera:
    """Topics and parameters of a camera's driver."""

    topics: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def remappings(self) -> list[tuple[str, str]]:
        """All topics that the resolver may use, including compressed ones: ROS 2 does not remap them with the image."""
        forms = {f.name: f.metadata for f in dataclasses.fields(NodeConfig)}
        pairs = []
        for ours, theirs in self.topics.items():
            ways = forms[_TRANSPORTS[ours]]["choices"] if ours in _TRANSPORTS else ()
            pairs += [(ours, theirs), *((f"{ours}/{way}", f"{theirs}/{way}") for way in ways if way != "raw")]
        return pairs


def camera_names(share: Path) -> list[str]:
    """Names of the camera presets, `none` first."""
    return [NO_CAMERA, *sorted(path.stem for path in (share / "config" / "cameras").glob("*.yaml"))]


def is_file(preset: str) -> bool:
    """Whether this is the path of a user's own preset file, not the name of a preset."""
    return "/" in preset or preset.endswith((".yaml", ".yml"))


def camera(share: Path, said: Mapping[str, str]) -> Camera:
    """Return the camera of the arguments `camera` (or `camera_file` instead), `camera_namespace` and `camera_name`.

    Empty ones keep the preset's value, "/" stands for no name.
    """
    name, path = said["camera"], Path(said["camera_file"])
    if not said["camera_file"]:
        if name not in camera_names(share):
            raise UnknownNameError("camera", name, camera_names(share))
        if name == NO_CAMERA:
            return Camera()
        path = share / "config" / "cameras" / f"{name}.yaml"
    repair = "write it in the form of the files in config/cameras"
    preset = read_yaml(path, repair)
    if not isinstance(preset, dict) or not isinstance(preset.get("topics"), dict):
        raise FileError(path, "it has no topics", repair, "topics")
    if not isinstance(preset.get("parameters", {}), dict):
        raise FileError(path, "it must contain names with values", repair, "parameters")
    for key in preset:
        if key not in _KEYS:
            raise UnknownNameError(f"key of {path}", str(key), _KEYS)
    levels = {key: said[key] or preset.get(key, "") for key in ("camera_namespace", "camera_name")}
    topics = {}
    for ours, theirs in preset["topics"].items():
        try:
            topics[ours] = re.sub("/+", "/", theirs.format_map(levels))  # empty levels leave no slash behind
        except (KeyError, ValueError, AttributeError) as error:
            repair = f"use only the placeholders {' and '.join(f'{{{level}}}' for level in levels)}"
            raise FileError(path, f"{theirs!r}: {error!r}", repair, "topics") from error
    return Camera(topics, preset.get("parameters", {}))


# ------------------------------------------------------------------------------------------------ parameters


def given(said: Mapping[str, str], *names: str) -> dict[str, Any]:
    """The resolver's parameters from launch arguments; empty ones keep the file's, "/" stands for an empty text."""
    defaults = {"use_sim_time": False, **_values(StreamConfig()), **_values(NodeConfig())}
    return {
        name: _value(name, "" if said[name] == NOTHING else said[name], defaults[name]) for name in names if said[name]
    }


def renamed(said: Mapping[str, str]) -> dict[str, str]:
    """The parameters for arguments of other names; an empty argument keeps the value of the parameter file."""
    names = {"image_domain": "domain_gate.images", "keep": "evidence.keep"}
    return {parameter: said[name] for name, parameter in names.items() if said[name]}


def parameter_file(said: Mapping[str, str]) -> str:
    """Return the parameter file of the argument `params_file`; launch itself only warns of a missing file."""
    path = Path(said["params_file"])
    if not path.is_file():
        reason = "not a regular file" if path.exists() else "no such file"
        raise FileError(path, reason, "pass params_file:=FILE with an absolute path, or omit the argument")
    return str(path)


def use_sim_time(share: Path, said: Mapping[str, str]) -> bool:
    """Whether time comes from /clock: by the argument, else by the camera preset."""
    both = {**camera(share, said).parameters, **given(said, "use_sim_time")}
    return bool(both.get("use_sim_time", False))


def all_given(said: Mapping[str, str], config: Any) -> dict[str, Any]:
    """Return every parameter of a configuration that is a launch argument."""
    return {name: _value(name, said[name], default) for name, default in _values(config).items() if name in said}


def argument(config: Any, name: str) -> dict[str, Any]:
    """Default, description and choices of a parameter's launch argument."""
    form = next(f for f in dataclasses.fields(config) if f.name == name)
    value = getattr(config, name)
    unit = f" [{form.metadata['unit']}]" if form.metadata["unit"] else ""
    choices = ("true", "false") if isinstance(value, bool) else form.metadata.get("choices", ())
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return {
        "default_value": text,
        "description": form.metadata["doc"] + unit,
        **({"choices": list(choices)} if choices else {}),
    }


def _values(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise InputError(f"argument {name}", repr(text), "true or false", "correct it")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError as error:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        raise InputError(f"argument {name}", repr(text), wanted, "correct it") from error


# ------------------------------------------------------------------------------------------------ transport


def transport_environment(share: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return variables that give Fast DDS room for images, if it is used and the user has chosen no profile."""
    environ = os.environ if environ is None else environ
    chosen = environ.get(PROFILE_VARIABLE) or environ.get(OLD_PROFILE_VARIABLE)
    if chosen or environ.get("RMW_IMPLEMENTATION", "") not in _FASTDDS:
        return {}
    name = OLD_PROFILE_VARIABLE if environ.get("ROS_DISTRO") in _OLD_DISTRIBUTIONS else PROFILE_VARIABLE
    return {name: str((share / "config" / "fastdds_images.xml").resolve())}


# ------------------------------------------------------------------------------------------------ robots


_REPAIR = "write it in the form of the files in config/robots"
_DESCRIBED = ("robot_description", "robot_description_semantic")


def robot_names(share: Path) -> list[str]:
    """List the names of the robot presets."""
    return sorted(path.stem for path in (share / "config" / "robots").glob("*.yaml"))


def robot_file(share: Path, robot: str) -> Path:
    """Find the file of a preset: one of config/robots by its name, or the user's own by its path."""
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

    Empty ones change nothing. The gate itself subscribes to `robot_description` if the topic is used.
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
    """Return the parameters of the node `arm_planner` for a robot, whose file has joint_limits in MoveIt's form."""
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
