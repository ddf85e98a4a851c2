# SPDX-License-Identifier: Apache-2.0
"""Robot presets of config/robots, checked, and parameters of the arm nodes: gate, built-in planner, simulated arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.parameters.bounds import ARM_ACTS, CARRIED_OUT, Bounded, check_names, filled, option, parameter
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


@dataclass(frozen=True)
class GateConfig(Bounded, fixed=True):
    """How the node `planner_gate` gets a person's approval."""

    plan_only: bool = option(True, "plan only and never execute, whatever a request says")
    acts: str = option(
        ARM_ACTS,
        "acts that the arm carries out, separated by commas; every other request ends NOT_EXECUTABLE before planning. "
        "place includes move and put into",
        CARRIED_OUT, several=True,
    )  # fmt: skip
    accept_unseen_obstacles: bool = option(
        False,
        "execute plans even if the resolver uses a grounder. A grounder detects only objects named in the instruction;"
        " all others are known from depth alone",
    )
    approval_timeout: float = parameter(60.0, "1 to 3600 s", "how long a plan can be approved and started")
    operators_file: str = option(
        "",
        "file with names and public keys of those whose signed answers the service approve takes, read for each plan; "
        "empty = operators beside audit_log",
    )
    audit_log: str = option("", "file of the audit log; empty = ~/.local/state/spatial_vlm_ros/audit.jsonl")
    page: bool = option(True, "serve the approval page on the loopback interface; needs the extra web")
    page_port: int = parameter(0, "0 to 65535", "port of the page; 0 = a free port, which is logged")
    questions: str = option(
        "client",
        "who answers the resolver's questions: the client that sent the goal, or a person on the approval page",
        choices=("client", "page"),
    )
    robot_description: str = option(
        "",
        "URDF file of the arm, used to draw its motion for approval; empty = from the topic robot_description; / = "
        "none",
    )
    resolve_timeout: float = parameter(60.0, "1 to 3600 s", "maximum time for the resolver's answer")
    watch_depth: str = option(
        "",
        "topic sensor_msgs/Image of depth, aligned to the resolver's colour, that is watched while the arm moves. The "
        "arm is stopped if something enters its path or no image arrives. Needs robot_description, and TF of the "
        "camera at the time of each image; empty = nothing is watched",
    )
    watch_camera_info: str = option(
        "", "topic sensor_msgs/CameraInfo of watch_depth; empty = camera_info beside watch_depth"
    )
    watch_depth_scale: float = parameter(
        0.0, "0 to 1 m", "metres per unit of watch_depth; 0 = 0.001 for integers and 1 for floats"
    )
    watch_rectified: bool = option(
        False, "watch_depth is rectified and its pixels follow P of camera info; false = they follow K and D"
    )
    watch_silence: float = parameter(
        0.5, "0.05 to 10 s", "a moving arm is stopped if nothing could be watched for this long"
    )


@dataclass(frozen=True)
class ArmPlannerConfig(Bounded, fixed=True):
    """Planning and execution in the node `arm_planner`; docs/motion.md."""

    arm: str = option("panda", "arm to plan for, by the name of a built-in model", choices=("panda", "ur5e"))
    gripper_yaw_deg: float = parameter(
        0.0,
        "-180 to 180 deg",
        "rotation of the gripper about z of the flange; at 0 the fingers of the ur5e close along y of tool0, at 90 "
        "along x",
    )
    robot_description: str = option(
        "",
        "URDF of another arm, as path or text; also set robot_description_semantic, group and end_effector; empty = "
        "the URDF of arm",
    )
    robot_description_semantic: str = option("", "SRDF of the arm in robot_description, as path or text")
    group: str = option("", "group of that SRDF with the joints of the arm; must be a serial chain")
    end_effector: str = option("", "end effector of that SRDF, or a group with the joints of the gripper")
    tip_link: str = option(
        "", "link between the fingertips whose pose is planned; empty = parent_link of the end effector"
    )
    joint_limits: str = option(
        "", "file in the form of MoveIt's joint_limits.yaml; it must contain the acceleration limits of that arm"
    )
    openings: str = option(
        "",
        'pairs of the distance between the fingers in metres and the finger joint position, such as "0:0.79 0.085:0"; '
        "empty = sliding fingers, closed at their lower limit",
    )
    controller: str = option(
        "/arm_controller/follow_joint_trajectory", "action control_msgs/FollowJointTrajectory that moves the arm"
    )
    padding: float = parameter(
        0.002, "0 to 0.1 m", "minimum distance of the arm from every box; grasps keep 5 mm from what is below"
    )
    seed: int = parameter(0, "0 to 1000000", "first random seed of the search; each request uses the next one")
    joint_state_age: float = parameter(1.0, "0.05 to 60 s", "maximum age of joint states that are used")
    start_tolerance: float = parameter(
        0.01,
        "1e-4 to 0.5 rad",
        "a trajectory that starts farther than this from the current joint positions is not executed",
    )
    controller_timeout: float = parameter(
        5.0, "0.1 to 600 s", "how long to wait for the controller to appear, and to stop"
    )
    duration_scaling: float = parameter(
        2.0,
        "1 to 20",
        "maximum execution time as a multiple of the trajectory's duration in wall-clock time, plus 10 s; raise it if "
        "simulated time is slower",
    )


@dataclass(frozen=True)
class SimArmConfig(Bounded, fixed=True):
    """The simulation in the node `sim_arm`: an arm in front of a table, its camera and its controllers."""

    robot: str = option("panda", "robot arm to simulate", choices=("panda", "ur5e"))
    world: str = option("behind", "objects on the table: behind, swapped, bowl, or the seed of a random world")
    width: int = parameter(
        640, "320 to 1920 px", "width of the images; 1280 is 16:9, others are 4:3; rendering takes most of the time"
    )
    rate: float = parameter(5.0, "0.1 to 60 Hz", "frames published per second, if the machine is fast enough")
    detector: str = option("", 'errors of the simulated detector: "name=value name=value"; empty = a perfect detector')
    detections: bool = option(True, "publish detections for the frames")
    wrist_camera: bool = option(False, "add a second camera on the hand; rendering then takes twice as long")
    noise: bool = option(True, "simulate depth sensor noise; false = exact depth")
    seed: int = parameter(0, "0 to 2147483647", "random seed of noise and detector errors")
    state_rate: float = parameter(100.0, "1 to 500 Hz", "joint states and transforms published per second")
    speed: float = parameter(1.0, "0.01 to 100", "maximum simulated seconds per second; above 1 only with clock")
    clock: bool = option(False, "publish /clock and use it for stamps, for nodes with use_sim_time")
    arm_action: str = option("/arm_controller/follow_joint_trajectory", "name of the arm controller's action")
    gripper_action: str = option("/gripper_controller/gripper_cmd", "name of the gripper's action")
    faults: str = option(
        "", 'faults to inject, "stream=kind:amount …"; can be changed at any time; empty = none', fixed=False
    )
    fault_seed: int = parameter(0, "0 to 2147483647", "random seed of the faults")
