# SPDX-License-Identifier: Apache-2.0
"""Maps MoveIt's error numbers to statuses, and checks by its parameters whether it can plan this package's requests.

Source of the numbers: moveit_msgs/msg/MoveItErrorCodes, github.com/moveit/moveit_msgs, branch ros2, commit ec3ba4b.

From Jazzy on, move_group replaces any error number of a pipeline by FAILURE: moveit2, jazzy 4d841063 and main
8fcb5d2, move_action_capability.cpp:218-222. Humble passes the pipeline's number on.

For a pipeline that is not loaded, MoveIt answers FAILURE without a reason, and for an unknown planner OMPL uses its
default: jazzy 4d841063, move_action_capability.cpp:206-212, planning_context_manager.cpp:505-526. So names are checked
before the first request. See docs/motion.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from spatial_vlm_ros.errors import InputError, JointLimitError, SpatialVlmError, StandsWrongError
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.types import Status


class MoveItCode(NamedTuple):
    """One error number."""

    name: str
    status: Status
    sentence: str


OWN = "spatial_vlm_ros/"
"""Begins the ids of all objects of this package in a planner's scene. Only ids tell what is ours: MoveIt loses the type
of an object that is attached (moveit2, jazzy 4d841063, planning_scene.cpp:349-376).
"""
SUCCESS, FAILURE, NO_IK = 1, 99999, -31
_IN_COLLISION = -10  # START_STATE_IN_COLLISION
_BEYOND_LIMITS = -26  # START_STATE_INVALID, from MoveIt's CheckStartStateBounds
_START = "move the arm away by hand or in free-drive mode, then ask again"
_REQUEST = "compare the planner's configuration with the robot's description (SRDF)"

_ROWS = (
    (1, "SUCCESS", Status.OK, "a plan was found"),
    (0, "UNDEFINED", Status.PLANNING_FAILED, "the planner reported no result; see its log"),
    (
        FAILURE,
        "FAILURE",
        Status.PLANNING_FAILED,
        "the planner failed without a reason; see move_group's log: since Jazzy it reports this for every failure",
    ),
    (-1, "PLANNING_FAILED", Status.PLANNING_FAILED, "no path was found; ask again, or clear the scene"),
    (-2, "INVALID_MOTION_PLAN", Status.PLANNING_FAILED, "the plan broke a constraint; ask again"),
    (
        -3,
        "MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE",
        Status.SCENE_CHANGED,
        "an obstacle appeared; resolve the instruction again",
    ),
    (-4, "CONTROL_FAILED", Status.EXECUTION_FAILED, "a controller failed; see its log"),
    (-5, "UNABLE_TO_AQUIRE_SENSOR_DATA", Status.STALE_INPUT, "a sensor the planner needs is silent; start it"),
    (-6, "TIMED_OUT", Status.PLANNING_FAILED, "the planner ran out of time; allow more time, or clear the scene"),
    (-7, "PREEMPTED", Status.CANCELLED, "the request was cancelled or replaced by another; ask again"),
    (-10, "START_STATE_IN_COLLISION", Status.PLANNING_FAILED, f"the arm is in collision; {_START}"),
    (-11, "START_STATE_VIOLATES_PATH_CONSTRAINTS", Status.PLANNING_FAILED, f"the arm is outside a limit; {_START}"),
    (-26, "START_STATE_INVALID", Status.PLANNING_FAILED, f"the arm's state is invalid; {_START}"),
    (-12, "GOAL_IN_COLLISION", Status.UNREACHABLE, "at the goal the arm would touch something; clear the scene"),
    (
        -13,
        "GOAL_VIOLATES_PATH_CONSTRAINTS",
        Status.UNREACHABLE,
        "the goal violates a limit of the path; choose another one",
    ),
    (
        -14,
        "GOAL_CONSTRAINTS_VIOLATED",
        Status.UNREACHABLE,
        "the goal cannot be met as exactly as asked; raise motion.position_tolerance and angle_tolerance_deg",
    ),
    (-27, "GOAL_STATE_INVALID", Status.UNREACHABLE, "the arm cannot take this goal state; choose another one"),
    (-28, "UNRECOGNIZED_GOAL_TYPE", Status.INVALID_INPUT, f"the planner does not accept this type of goal; {_REQUEST}"),
    (-15, "INVALID_GROUP_NAME", Status.INVALID_INPUT, f"there is no such planning group; {_REQUEST}"),
    (-16, "INVALID_GOAL_CONSTRAINTS", Status.INVALID_INPUT, f"the goal was not understood; {_REQUEST}"),
    (-17, "INVALID_ROBOT_STATE", Status.INVALID_INPUT, f"the start state was not understood; {_REQUEST}"),
    (-18, "INVALID_LINK_NAME", Status.INVALID_INPUT, f"there is no such link; {_REQUEST}"),
    (
        -19,
        "INVALID_OBJECT_NAME",
        Status.INVALID_INPUT,
        "there is no such object in the planner's scene; ask again to add it again",
    ),
    (
        -21,
        "FRAME_TRANSFORM_FAILURE",
        Status.TF_UNAVAILABLE,
        "the planner knows no transform to the goal's frame; set motion.planning_frame to the frame of its model",
    ),
    (-22, "COLLISION_CHECKING_UNAVAILABLE", Status.PLANNER_UNAVAILABLE, "collisions cannot be checked; see its log"),
    (-23, "ROBOT_STATE_STALE", Status.STALE_INPUT, "the joint states are too old; start their publisher"),
    (
        -24,
        "SENSOR_INFO_STALE",
        Status.STALE_INPUT,
        "the planner's sensor data are too old; start the sensors that it reads",
    ),
    (-25, "COMMUNICATION_FAILURE", Status.PLANNER_UNAVAILABLE, "the planner cannot be reached; start it"),
    (-29, "CRASH", Status.PLANNER_UNAVAILABLE, "the planner crashed; start it again and see its log"),
    (-30, "ABORT", Status.PLANNING_FAILED, "the planner gave up; see its log"),
    (-31, "NO_IK_SOLUTION", Status.UNREACHABLE, "the arm cannot reach the goal; bring the object nearer"),
)
CODES: Mapping[int, MoveItCode] = MappingProxyType({row[0]: MoveItCode(*row[1:]) for row in _ROWS})
"""MoveIt's number → its meaning in this package."""

_NUMBERS: Mapping[Status, int] = MappingProxyType(
    {
        Status.OK: SUCCESS,
        Status.INVALID_INPUT: -16,
        Status.STALE_INPUT: -24,
        Status.TF_UNAVAILABLE: -21,
        Status.TIMEOUT: -6,
        Status.CANCELLED: -7,
        Status.OUT_OF_WORKSPACE: -31,
        Status.UNREACHABLE: -31,
        Status.SCENE_CHANGED: -3,
        Status.PLANNER_UNAVAILABLE: -25,
        Status.PLANNING_FAILED: -1,
        Status.EXECUTION_FAILED: -4,
    }
)


def meaning_of(number: int) -> MoveItCode:
    """Meaning of a MoveIt error number; an unknown number is PLANNING_FAILED."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise InputError("MoveIt error", repr(number), "a whole number", "pass error_code.val")
    unknown = MoveItCode("", Status.PLANNING_FAILED, f"the planner answered with the unknown error {number}")
    return CODES.get(number, unknown)


def number_of(status: Status) -> int:
    """The error number of a status for MoveIt's clients; FAILURE for statuses that MoveIt does not have."""
    return _NUMBERS.get(status, 99999)


def number_of_error(error: SpatialVlmError) -> int:
    """The error number of an exception for MoveIt's clients."""
    if isinstance(error, JointLimitError):
        return _BEYOND_LIMITS
    return _IN_COLLISION if isinstance(error, StandsWrongError) else number_of(Status[error.status_name])


OMPL = "ompl_interface/OMPLPlanner"
PILZ = "pilz_industrial_motion_planner/CommandPlanner"
CUMOTION = "isaac_ros_cumotion_moveit/CumotionPlanner"
CUMOTION_PIPELINE = "isaac_ros_cumotion"
"""Name in NVIDIA's configurations: isaac_ros_cumotion f7cc189, isaac_ros_cumotion_moveit/config."""
VALIDATES = "default_planning_response_adapters/ValidateSolution"
_ALL = ("planning_pipelines", "planning_pipelines.pipeline_names", "default_planning_pipeline")
SRDF = "robot_description_semantic"
_GROUP = re.compile(r"<group\s+name\s*=\s*[\"']([^\"']+)[\"']")
_LONGEST_SRDF = 1_000_000  # characters
_PILZ_FREE = ("PTP", "LIN")  # CIRC and POLYLINE need points on the way


def first_names() -> tuple[str, ...]:
    """Names of the move_group parameters that list pipelines and groups."""
    return (*_ALL, SRDF)


def loaded_pipelines(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the pipelines that are loaded; () if not known."""
    for name in _ALL[:2]:
        if found := _strings(values.get(name)):
            return found
    return ()


def further_names(values: Mapping[str, Any], motion: MotionConfig) -> tuple[str, ...]:
    """Names of the parameters of the used pipelines; () if the pipelines are not known."""
    names = []
    for pipeline in {_chosen(values, motion.free_pipeline), _chosen(values, motion.straight_pipeline)} - {""}:
        parts = ("planning_plugins", "planning_plugin", "response_adapters", f"{motion.group}.planner_configs")
        names += [f"{pipeline}.{part}" for part in parts]
    return tuple(sorted(names))


_LIMITS = "robot_description_planning.joint_limits"
_ENDS = ("has_velocity_limits", "max_velocity", "has_acceleration_limits", "max_acceleration")


def limit_names(joints: Collection[str]) -> list[str]:
    """Names of the parameters with the joint limits: where moveit_configs_utils puts joint_limits.yaml."""
    return [f"{_LIMITS}.{joint}.{end}" for joint in sorted(joints) for end in _ENDS]


def limits_of(values: Mapping[str, Any], joints: Collection[str]) -> dict[str, tuple[float, float]]:
    """Largest velocity and acceleration of each joint, per second; infinite without a limit."""
    found = {}
    for joint in joints:
        fast, speed, hard, most = (values.get(f"{_LIMITS}.{joint}.{end}") or 0.0 for end in _ENDS)
        found[joint] = float(speed if fast and speed > 0 else math.inf), float(most if hard and most > 0 else math.inf)
    return found


def check_pipelines(values: Mapping[str, Any], motion: MotionConfig) -> None:
    """Check that group, pipelines and planners exist and are suitable."""
    srdf = str(values.get(SRDF) or "")
    group = motion.group
    groups = sorted(set(_GROUP.findall(srdf[:_LONGEST_SRDF])))
    if groups and group not in groups:
        raise InputError("parameter motion.group", repr(group), f"one of {_list(groups)}", "name a group of the SRDF")
    loaded = loaded_pipelines(values)
    if not loaded:
        return
    for kind, name, planner in (
        ("free", motion.free_pipeline, motion.free_planner),
        ("straight", motion.straight_pipeline, motion.straight_planner),
    ):
        pipeline = _chosen(values, name)
        if pipeline not in loaded:
            repair = "name it in planning_pipelines of move_group, or choose another one"
            raise InputError(f"parameter motion.{kind}_pipeline", repr(pipeline), f"one of {_list(loaded)}", repair)
        plugins = _strings(values.get(f"{pipeline}.planning_plugins"))
        checks_itself = not plugins  # Humble has one plugin, and checks every path: planning_pipeline.cpp:100, 288
        plugins = plugins or _strings(values.get(f"{pipeline}.planning_plugin"))
        configured = _strings(values.get(f"{pipeline}.{motion.group}.planner_configs"))
        what = f"parameter motion.{kind}_planner"
        if PILZ in plugins and (planner not in _PILZ_FREE or (kind == "straight" and planner != "LIN")):
            expected = "LIN" if kind == "straight" else _list(_PILZ_FREE)
            raise InputError(what, repr(planner), f"{expected} with Pilz, which has no default planner", "name it")
        if kind == "straight" and (OMPL in plugins or CUMOTION in plugins):
            repair = "use Pilz and LIN for straight motions"
            raise InputError(what, f"{planner!r} of {plugins[0]}", "a planner that keeps to a straight line", repair)
        if OMPL in plugins and planner and configured and planner not in configured:
            expected = f"one that the group {group} has: {_list(configured)}"
            repair = "OMPL would silently use its default; name another one"
            raise InputError(what, repr(planner), expected, repair)
        if not checks_itself and set(plugins) != {OMPL} and VALIDATES not in _strings(
            values.get(f"{pipeline}.response_adapters")
        ):  # fmt: skip
            repair = f"add {VALIDATES} to {pipeline}.response_adapters of move_group"
            got = f"{pipeline!r}, which does not check its paths for collisions"
            raise InputError(f"parameter motion.{kind}_pipeline", got, "one that checks its paths", repair)


def _chosen(values: Mapping[str, Any], name: str) -> str:
    """The pipeline of this name; "" means the default, otherwise the first: move_group.cpp:247-287."""
    loaded = loaded_pipelines(values)
    default = str(values.get(_ALL[2]) or "")
    return name or (default if default in loaded else next(iter(loaded), ""))


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value)) if isinstance(value, Sequence) else ()


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
