# SPDX-License-Identifier: Apache-2.0
"""Finds problems of an arm before anything moves, with fixes; `nodes.arm.doctor` gives the data, without ROS here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.doctor.findings import Finding, fail, first, ok, warn
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError, without_repair
from spatial_vlm_ros.files.documents import parse_xml
from spatial_vlm_ros.manipulation.grippers import FingerWatch, finger_stroke
from spatial_vlm_ros.manipulation.planning.moveit import OWN, check_pipelines, loaded_pipelines
from spatial_vlm_ros.parameters import MotionConfig, PlanningConfig, RobotPreset
from spatial_vlm_ros.streams.transforms import SECOND, TransformBuffer

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

STATE_AGE = 1.0
"""s: joint states and transforms older than this are outdated; as `joint_state_age` of arm_planner."""
_AHEAD = 0.1  # s that a stamp may be ahead of now, as observation.max_ahead
_SLOW = 10.0  # Hz of joint states below which a standstill is detected late
_NEAR = 0.05  # rad from a limit
_ROUNDING = 1e-3  # rad beyond a limit that a mechanical stop may cause
_WIDTH = 0.005  # m that a gripper may report beyond its opening
_SLOW_ANSWER = 0.3  # s: motion.planner_silence is 0.35
_NOBODY = "no node serves "
_SEND_GOAL = "/_action/send_goal"
_DRIVERS: Mapping[str, Mapping[str, str]] = {
    "gripper_command": {_SEND_GOAL: "control_msgs/action/GripperCommand_SendGoal"},
    "parallel_gripper_command": {_SEND_GOAL: "control_msgs/action/ParallelGripperCommand_SendGoal"},
    "franka": {f"/{name.lower()}{_SEND_GOAL}": f"franka_msgs/action/{name}_SendGoal" for name in ("Grasp", "Move")},
    "set_bool": {"": "std_srvs/srv/SetBool"},
    "ur_output": {"": "ur_msgs/srv/SetIO"},
}  # motion.gripper_interface → end of the service's name → type
_SWITCHED = ("set_bool", "ur_output")  # interfaces that read gripper_flag


@dataclass
class JointStream:
    """Data from a topic of joint states; arrival times are seconds of a monotonic clock.

    Args:
        positions: newest position of each joint, radians or metres.
        stamps: stamps of these positions, nanoseconds.
    """

    positions: dict[str, float] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages per second; 0 with fewer than two messages."""
        if len(self.arrivals) < 2 or self.arrivals[-1] <= self.arrivals[0]:
            return 0.0
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])


@dataclass
class ArmHeard:
    """Data about an arm from the live graph.

    Args:
        now_ns: time of the listening node at the end, nanoseconds.
        services: name of every service → its types; an action NAME has the service NAME/_action/send_goal.
        answer: seconds until the planner sent its scene; None = it did not.
        parameters: move_group's parameters about its pipelines, those that are set; {} = not reported.
        controllers: name of each loaded controller → its state; None = not reported.
        camera_frame: frame of the images; "" = no message came.
        urdf, srdf: texts of the descriptions; "" = not published.
    """

    now_ns: int = 0
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)
    planners: Sequence[str] = ()
    answer: float | None = None
    scene: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    controllers: Mapping[str, str] | None = None
    untold: str = ""
    joints: JointStream = field(default_factory=JointStream)
    fingers: JointStream = field(default_factory=JointStream)
    flag: bool = False
    transforms: TransformBuffer = field(default_factory=TransformBuffer)
    camera_frame: str = ""
    urdf: str = ""
    srdf: str = ""


def planner_servers(motion: MotionConfig) -> dict[str, str]:
    """Name of every required service of the planner → its type."""
    return {
        motion.move_action + _SEND_GOAL: "moveit_msgs/action/MoveGroup_SendGoal",
        motion.execute_action + _SEND_GOAL: "moveit_msgs/action/ExecuteTrajectory_SendGoal",
        motion.apply_scene: "moveit_msgs/srv/ApplyPlanningScene",
        motion.get_scene: "moveit_msgs/srv/GetPlanningScene",
    }


def controller_servers(motion: MotionConfig) -> dict[str, str]:
    """Like `planner_servers`, for the arm's controllers."""
    form = "control_msgs/action/FollowJointTrajectory_SendGoal"
    return {action + _SEND_GOAL: form for action in motion.controller_actions.split()}


def gripper_servers(motion: MotionConfig) -> dict[str, str]:
    """Like `planner_servers`, for the gripper's driver."""
    name = motion.gripper_action.rstrip("/")
    return {name + end: form for end, form in _DRIVERS[motion.gripper_interface].items()}


def arm_findings(preset: RobotPreset, planner: str, heard: ArmHeard) -> Iterator[Finding]:
    """Yield problems of planner, controllers, gripper and joints, in the order in which to fix them."""
    config = preset.planning(planner)
    yield from _planner(planner, config.motion, heard)
    yield from _controllers(preset, config.motion, heard)
    yield from _gripper(config, heard)
    yield from _joints(preset, config.motion, heard)


# ------------------------------------------------------------------------------------------------ servers


def _missing(heard: ArmHeard, wanted: Mapping[str, str], check: str, repair: str) -> list[Finding]:
    found = []
    for name, form in wanted.items():
        kind, shown = ("action", name.removesuffix(_SEND_GOAL)) if name.endswith(_SEND_GOAL) else ("service", name)
        types = heard.services.get(name, ())
        if not types:
            found.append(fail(check, f"{_NOBODY}the {kind} {shown}", repair))
        elif form not in types:
            other, told = form.removesuffix("_SendGoal"), ", ".join(each.removesuffix("_SendGoal") for each in types)
            same = "fix the preset: give the name and type that the driver offers"
            found.append(fail(check, f"the {kind} {shown} has the type {told}, not {other}", same))
    return found


def _planner(planner: str, motion: MotionConfig, heard: ArmHeard) -> Iterator[Finding]:
    check, moveit, wanted = "planner", planner == "moveit", planner_servers(motion)
    start = "start MoveIt's move_group for this robot" if moveit else "start pick.launch.py with planner:=built-in"
    missing = _missing(heard, wanted, check, f"{start}, and check ROS_DOMAIN_ID and the preset's names")
    if len(missing) == len(wanted) and len({each.repair for each in missing}) == 1:
        names = ", ".join(each.found.removeprefix(_NOBODY) for each in missing)
        missing = [fail(check, f"{_NOBODY}{names}", missing[0].repair)]
    yield from missing
    if missing:
        return
    who = ", ".join(heard.planners) or "somebody"
    if heard.answer is None:
        yield fail(check, f"{who} does not answer {motion.get_scene}", "see its log, and restart it")
        return
    text = f"{who} answers after {heard.answer * 1e3:.0f} ms"
    repair = "free processor time for it: during execution, a silence of motion.planner_silence stops the arm"
    yield warn(check, text, repair) if heard.answer > _SLOW_ANSWER else ok(check, text)
    if len(heard.planners) > 1:
        yield fail(check, f"{len(heard.planners)} nodes serve {motion.move_action}: {who}", "end one")
    elif moveit and any(name.rpartition("/")[2] == "arm_planner" for name in heard.planners):
        repair = "pass --planner built-in, or stop it and start move_group"
        yield warn(check, "arm_planner plans, not MoveIt", repair)
    if not moveit:
        return
    check, loaded = "planning pipelines", loaded_pipelines(heard.parameters)
    if not loaded:
        required = ", ".join(name for name in (motion.straight_pipeline, motion.free_pipeline) if name)
        text = f"move_group does not report planning_pipelines: whether it has {required} is not known"
        repair = "load pilz_industrial_motion_planner beside OMPL (planning_pipelines), for straight motions"
        yield warn(check, text, repair)
        return
    try:
        check_pipelines(heard.parameters, motion)
    except InputError as error:
        yield fail(check, f"{error.what}: {error.got}; expected {error.expected}", error.repair)
    else:
        yield ok(check, ", ".join(loaded))


def _controllers(preset: RobotPreset, motion: MotionConfig, heard: ArmHeard) -> Iterator[Finding]:
    check, manager = "controllers", preset.controller_manager
    repair = "start the robot's driver, and check that it has loaded its trajectory controller"
    yield from _missing(heard, controller_servers(motion), check, repair)
    if heard.controllers is None:
        repair = "start the robot's driver; set controller_manager in the preset if it has another name"
        silent = f"{manager}/list_controllers does not answer"
        yield warn(check, heard.untold, repair) if heard.untold else fail(check, silent, repair)
        return
    states = {name: heard.controllers.get(name) for name in preset.controllers}
    for name, state in states.items():
        if state is None:
            loaded = ", ".join(heard.controllers) or "none"
            repair = f"ros2 run controller_manager spawner {name} -c {manager}, or fix controllers in the preset"
            yield fail(check, f"{name} is not loaded; loaded are {loaded}", repair)
        elif state != "active":
            repair = f"ros2 control set_controller_state -c {manager} {name} active"
            yield fail(check, f"{name} is {state}, not active", repair)
    if set(states.values()) <= {"active"}:
        yield ok(check, f"{', '.join(preset.controllers)} are active")


# ------------------------------------------------------------------------------------------------ gripper


def _gripper(config: PlanningConfig, heard: ArmHeard) -> Iterator[Finding]:
    check, motion = "gripper", config.motion
    repair = "start the gripper's driver, and check gripper_interface and gripper_action of the preset"
    yield from _missing(heard, gripper_servers(motion), check, repair)
    topic = motion.gripper_states or motion.joint_states
    width = width_of(motion, heard)
    if width is None and motion.gripper_flag and heard.flag:
        yield ok(check, f"{motion.gripper_flag} reports whether something is held")
        return
    if width is None:
        absent = [name for name in motion.finger_joints.split() if name not in heard.fingers.positions]
        lacks = f"{topic} has no {', '.join(absent)}" if absent else "finger_joints is not set"
        flag = f", and {motion.gripper_flag} is silent" if motion.gripper_flag else ""
        text = f"it reports no state: {lacks}{flag}"
        repair = "fix finger_joints and gripper_states in the preset"
        if motion.gripper_interface in _SWITCHED:
            repair += ", or set gripper_flag to a switch"
        if motion.gripper_unjudged:
            yield warn(check, f"{text}; gripper_unjudged accepts that", repair)
        else:
            yield fail(check, f"{text}; every grasp would fail", repair)
        return
    least, most = config.gripper.opening_min, config.gripper.opening_max
    text = f"open by {width:.4f} m, according to {topic}"
    if least - _WIDTH <= width <= most + _WIDTH:
        yield _fresh(check, text, [heard.fingers.stamps[name] for name in motion.finger_joints.split()], heard)
    else:
        repair = "fix finger_table (or gripper_table, gripper_scale) in the preset: measure the gripper at two widths"
        yield fail(check, f"{text}, and it opens by {least:g} to {most:g} m", repair)


def width_of(motion: MotionConfig, heard: ArmHeard) -> float | None:
    """Distance between the fingers by the newest joint states, metres; None if not known."""
    watch = FingerWatch(motion.finger_joints.split(), finger_stroke(motion))
    watch.add(0.0, list(heard.fingers.positions), list(heard.fingers.positions.values()))
    return watch.width(-math.inf)


# ------------------------------------------------------------------------------------------------ joints


def _joints(preset: RobotPreset, motion: MotionConfig, heard: ArmHeard) -> Iterator[Finding]:
    check, topic, stream = "joint states", motion.joint_states, heard.joints
    if not stream.positions:
        repair = "start the robot's driver with its joint_state_broadcaster, or fix joint_states in the preset"
        yield fail(check, f"no message on {topic}", repair)
        return
    absent = [name for name in preset.joint_limits if name not in stream.positions]
    if absent:
        told = ", ".join(sorted(stream.positions))
        repair = "check that the preset is of this robot; put a prefix of the joints into a copy of the preset"
        yield fail(check, f"{topic} has no {', '.join(absent)}; it has {told}", repair)
        return
    text = f"{len(preset.joint_limits)} joints at {stream.rate:.0f} Hz"
    yield _fresh(check, text, [stream.stamps[name] for name in preset.joint_limits], heard)
    if stream.rate < _SLOW:
        repair = "raise the rate of the joint states: only they show that a stop has worked"
        yield warn(check, f"{topic} has {stream.rate:.1f} Hz", repair)
    check, least = "joint limits", math.inf
    for name, limits in preset.joint_limits.items():
        at = stream.positions[name]
        low, high = at - limits.min_position, limits.max_position - at
        room = min(low, high)
        least = min(least, room)
        side, limit = ("below", limits.min_position) if low < high else ("above", limits.max_position)
        if not math.isfinite(at):
            yield fail(check, f"{name} is at {at}", "see the log of the robot's driver")
        elif room < -_ROUNDING:
            text = f"{name} is at {at:.3f} rad, {-room:.3f} rad {side} its limit of {limit:.3f}"
            repair = "move it back by hand guiding or with the robot's own panel: no plan can start from there"
            yield fail(check, text, repair)
        elif room < _NEAR:
            text = f"{name} is at {at:.3f} rad, {room:.3f} rad from its limit of {limit:.3f}"
            yield warn(check, text, "move it away from the limit: few paths lead from there")
    if least >= _NEAR:
        yield ok(check, f"every joint is {least:.2f} rad or more inside its limits")


def _fresh(check: str, text: str, stamps: Sequence[int], heard: ArmHeard) -> Finding:
    age, ahead = (heard.now_ns - min(stamps)) / SECOND, (max(stamps) - heard.now_ns) / SECOND
    old = "restart its driver; if clocks of two computers differ, synchronise them (chrony, PTP)"
    early = f"{text}, stamped {ahead:.2f} s ahead of this computer's time"
    return first(
        (min(stamps) <= 0, fail(check, f"{text}, not stamped", "the driver must set header.stamp")),
        (age > STATE_AGE, fail(check, f"{text}, and the newest is {age:.1f} s old", old)),
        (ahead > _AHEAD, fail(check, early, "synchronise the clocks of both computers (chrony, PTP)")),
        otherwise=ok(check, text),
    )


# ------------------------------------------------------------------------------------------------ frames and scene


_SAME = 1e-3  # m and rad: frames that differ by less count as equal
_AT_BASE = 0.01  # m from the planning frame: no camera is this near to it
_OFF = 0.05  # rad between joint states and the planner's scene; for a moving arm the scene is slightly older
_LISTED = 5
_PACKAGE = "package://"
_SEMANTIC = "robot_description_semantic"


def frame_findings(config: PlanningConfig, heard: ArmHeard, table_frame: str = "") -> Iterator[Finding]:
    """Check that the current poses of tip, camera and table are known in the planning frame.

    Args:
        table_frame: a frame on the table top, z up; "" = no such frame is required in TF.
    """
    base = config.motion.planning_frame
    yield _between(base, config.motion.tip_link, "tip", heard)
    if heard.camera_frame:
        yield _between(base, heard.camera_frame, "camera", heard)
    else:
        repair = "start the camera's driver, and pass --camera PRESET, or its topics after --ros-args"
        yield warn("tf", "no camera was received, so its frame was not checked", repair)
    if not table_frame:
        return
    found = _between(base, table_frame, "table", heard)
    yield found
    if not found.is_error:
        up = heard.transforms.lookup(base, table_frame).matrix[2, 2]
        tilt, most = float(np.degrees(np.arccos(np.clip(up, -1.0, 1.0)))), config.observation.support_tilt_deg
        if tilt > most:
            repair = "fix the table's frame (z up) or the mount of the robot, and check that planning_frame is level"
            yield fail("tf", f"{table_frame} is tilted by {tilt:.1f} degrees, more than {most:g}", repair)


def _between(base: str, frame: str, what: str, heard: ArmHeard) -> Finding:
    text = f"{base} <- {frame} ({what})"
    try:
        pose = heard.transforms.lookup(base, frame)
        stamp = heard.transforms.latest_stamp(base, frame)
    except SpatialVlmError as error:
        known = set(heard.transforms.frames()) | set(heard.transforms.frames().values())
        repair = _MISSING[what] if base in known else \
            f"TF does not know {base}: start robot_state_publisher, or set planning_frame to a frame of TF"  # fmt: skip
        return fail("tf", f"{text}: {without_repair(error)}", repair)
    age = 0.0 if stamp is None else (heard.now_ns - stamp) / SECOND
    x, y, z = pose.translation
    in_base = what == "camera" and math.hypot(x, y, z) < _AT_BASE
    silent = "restart its publisher (robot_state_publisher, the driver): TF keeps the last transform for ever"
    here = "publish the result of the hand-eye calibration: docs/your_arm.md"
    return first(
        (age > STATE_AGE, fail("tf", f"{text}: the newest is {age:.1f} s old", silent)),
        (in_base, fail("tf", f"{text}: the camera is at the planning frame's origin", here)),
        otherwise=ok("tf", f"{text} at {x:.3f} {y:.3f} {z:.3f} m"),
    )


_MISSING = {
    "camera": "publish the camera's mount, from the hand-eye calibration, as a static transform: docs/your_arm.md",
    "table": "publish the table's frame as a static transform, or leave --table-frame out",
    "tip": "start robot_state_publisher with the URDF that has this link, or fix tip_link in the preset",
}


# ------------------------------------------------------------------------------------------------ descriptions


def description_findings(preset: RobotPreset, motion: MotionConfig, heard: ArmHeard, moveit: bool) -> Iterator[Finding]:
    """Check that URDF, SRDF and preset describe the same robot."""
    check, own_model = "URDF", not moveit and "arm" in preset.arm_planner()
    if not heard.urdf:
        repair = "start robot_state_publisher, which publishes the topic robot_description"
        yield fail(check, "no node publishes robot_description", repair)
        return
    try:
        urdf = _robot(heard.urdf, "robot_description")
    except FileError as error:
        yield fail(check, without_repair(error), error.repair)
        return
    named = replace(motion, finger_links="") if own_model else motion  # they belong to the planner's model
    links = {named.planning_frame, named.base_link, named.tip_link, *named.finger_links.split()} - {""}
    joints = {*preset.joint_limits, *named.finger_joints.split()}
    found = []
    for tag, wanted in (("link", links), ("joint", joints)):
        if absent := wanted - _named(urdf, tag):
            repair = "check that the preset is of this robot; write the names of this URDF into a copy of it"
            found.append(fail(check, f"robot {urdf.get('name')!r} has no {tag}s {', '.join(sorted(absent))}", repair))
    found += _limits(preset, urdf)

    if urdf.find("link/collision/geometry") is None:
        repair = "add the <collision> elements to the URDF: without them a planner ignores the arm"
        found.append(fail(check, "no link has collision geometry", repair))
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    lost = []
    for name in sorted({mesh.get("filename", "") for mesh in urdf.findall("link/collision/geometry/mesh")}):
        places = [Path(name.removeprefix("file://"))]
        if name.startswith(_PACKAGE):
            places = [Path(prefix) / "share" / name.removeprefix(_PACKAGE) for prefix in prefixes]
        if not any(os.path.isfile(place) for place in places):  # noqa: PTH113 (Path raises where a name is too long)
            lost.append(name)
    if lost:
        more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        text = f"meshes were not found on this computer: {', '.join(lost[:_LISTED])}{more}"
        where = "source the workspace with their package where the nodes run"
        found.append(warn(check, text, f"{where}, otherwise they are neither drawn nor filtered"))

    yield from found
    if not found:
        yield ok(check, f"robot {urdf.get('name')!r} has every link and joint of the preset")
    if moveit or (heard.srdf and not own_model):
        yield from _semantic(motion, urdf, heard.srdf)


def _robot(text: str, source: str) -> Element:
    root = parse_xml(text.encode(), source, "publish a URDF or SRDF; expand xacro")
    if any("xacro" in str(each.tag) or "${" in str([each.text, each.attrib]) for each in root.iter()):
        raise FileError(source, "it is unexpanded xacro", "publish the output of the program xacro")
    if root.tag != "robot":
        raise FileError(source, f"its root is <{root.tag}>, not <robot>", "publish a URDF or SRDF; expand xacro")
    return root


def _named(root: Element, tag: str) -> set[str]:
    return {str(each.get("name")) for each in root.findall(tag)}


def _limits(preset: RobotPreset, urdf: Element) -> Iterator[Finding]:
    """Limits of the preset that are wider than the robot's."""
    for joint in urdf.findall("joint"):
        name, turns = str(joint.get("name")), joint.get("type") == "continuous"
        own, limit = preset.joint_limits.get(name), joint.find("limit")
        if own is None or (limit is None and turns):
            continue
        if limit is None:
            yield fail("URDF", f"{name} has no limits", "add a <limit> in the URDF, or make it continuous")
            continue
        told = {key: limit.get(key) for key in ("lower", "upper", "velocity")}
        try:
            low, high, speed = (float("nan" if value is None else value) for value in told.values())
        except ValueError:
            yield fail("URDF", f"the limits of {name} are not numbers", "fix the URDF")
            continue
        lacking = [key for key, value in told.items() if value is None]
        if lacking and (not turns or "velocity" in lacking):
            text = f"the limits of {name} lack {', '.join(lacking)}"
            yield fail("URDF", text, "fix the URDF: strict parsers refuse it")
        elif own.min_position < low - _SAME or own.max_position > high + _SAME or own.max_velocity > speed + _SAME:
            text = (
                f"{name} has a range of {low:g} to {high:g} rad with {speed:g} rad/s, but the preset says "
                f"{own.min_position:g} to {own.max_position:g} with {own.max_velocity:g}"
            )
            yield warn("URDF", text, "write the robot's own limits into a copy of the preset")


def _semantic(motion: MotionConfig, urdf: Element, text: str) -> Iterator[Finding]:
    check = "SRDF"
    if not text:
        repair = "let move_group publish it (publish_robot_description_semantic), or check it by hand"
        yield warn(check, "no node publishes robot_description_semantic", repair)
        return
    try:
        srdf = _robot(text, _SEMANTIC)
    except FileError as error:
        yield fail(check, without_repair(error), error.repair)
        return
    found = []  # names that the URDF lacks: the SRDF belongs to another robot
    repair = "start move_group with the SRDF of this robot, gripper included"
    if srdf.get("name") != urdf.get("name"):
        other = f"it is of robot {srdf.get('name')!r}, but the URDF is of {urdf.get('name')!r}"
        found.append(fail(check, other, repair))
    pairs = (("disable_collisions", "link1"), ("disable_collisions", "link2"), ("group/chain", "base_link"),
             ("group/chain", "tip_link"), ("group/link", "name"))  # fmt: skip
    links = {str(each.get(key)) for tag, key in pairs for each in srdf.findall(tag)}
    joints = _named(srdf, "group/joint") - _named(srdf, "virtual_joint")
    for tag, names in (("link", links), ("joint", joints)):
        if absent := names - _named(urdf, tag):
            some = ", ".join(sorted(absent)[:_LISTED])
            found.append(fail(check, f"{len(absent)} of its {tag}s are not in the URDF: {some}", repair))
    if motion.group not in _named(srdf, "group"):
        groups = ", ".join(sorted(_named(srdf, "group"))) or "none"
        text = f"there is no group {motion.group!r}; it has {groups}"
        found.append(fail(check, text, "fix group in a copy of the preset"))
    yield from found or [ok(check, f"group {motion.group!r} of robot {srdf.get('name')!r} fits the URDF")]


# ------------------------------------------------------------------------------------------------ the planner's scene


def scene_findings(motion: MotionConfig, heard: ArmHeard, moveit: bool) -> Iterator[Finding]:
    """Check that the planner's scene matches the arm's current state."""
    check, scene = "planning scene", heard.scene
    if scene is None:
        return  # reported as the planner's problem
    found: list[Finding] = []
    state = scene.robot_state.joint_state
    told = dict(zip(state.name, map(float, state.position), strict=False))
    off = {name: abs(told[name] - at) for name, at in heard.joints.positions.items() if name in told}
    worst = max(off, key=lambda name: off[name], default="")
    repair = "check that move_group receives the joint states (its topic joint_states), and restart it"
    if moveit and not off:
        found.append(fail(check, "the planner's scene has no joint of the arm", repair))
    elif off and not off[worst] <= _OFF:
        text = f"the planner has {worst} {off[worst]:.3f} rad away from the joint states"
        found.append(fail(check, text, repair))
    frame, base = state.header.frame_id, motion.planning_frame  # the first must be the second, or coincide with it
    repair = f"set planning_frame of the preset, and base_frame, to {frame}"
    try:
        pose = heard.transforms.lookup(frame, base).matrix if frame and frame != base else np.eye(4)
    except SpatialVlmError:
        try:  # a virtual joint of the SRDF may connect the two frames without offset
            joints = _robot(heard.srdf, _SEMANTIC).findall("virtual_joint") if heard.srdf else []
        except FileError:
            joints = []
        wanted = {"parent_frame": frame, "child_link": base, "type": "fixed"}
        if not any(all(joint.get(key) == value for key, value in wanted.items()) for joint in joints):
            text = f"the planner's model is in {frame!r}, which TF does not connect to {base!r}"
            found.append(fail(check, text, repair))
    else:
        if not np.allclose(pose, np.eye(4), atol=_SAME):
            away = float(np.linalg.norm(pose[:3, 3]))
            text = f"the planner's model is in {frame!r}, which is not {base!r}: {away:.3f} m away, or turned"
            found.append(fail(check, text, repair))
    attached = [each.object.id for each in scene.robot_state.attached_collision_objects]
    if held := [name for name in attached if not name.startswith(OWN)]:
        repair = "if the gripper holds nothing, detach it in RViz, or restart the planner"
        found.append(fail(check, f"the planner has {', '.join(held)} in the gripper", repair))
    left = [name for name in (*attached, *(each.id for each in scene.world.collision_objects)) if name.startswith(OWN)]
    if left:
        text = f"an earlier motion has left {len(left)} objects in it"
        found.append(warn(check, text, "harmless: planner_gate removes them when it starts and before each plan"))
    agrees = "the planner's arm agrees with the joint states" if off else "it is empty"
    yield from found or [ok(check, agrees)]
