# SPDX-License-Identifier: Apache-2.0
"""Finds problems of an arm's frames, descriptions and planning scene, with fixes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import FileError, SpatialVlmError, without_repair
from spatial_vlm_ros.evaluation.arm_doctor import STATE_AGE, ArmHeard
from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity
from spatial_vlm_ros.files.documents import parse_xml
from spatial_vlm_ros.manipulation.planning.scene import SUPPORT
from spatial_vlm_ros.parameters import MotionConfig, PlanningConfig, RobotPreset
from spatial_vlm_ros.streams.transforms import SECOND

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SAME = 1e-3  # m and rad: frames that differ by less count as equal
_AT_BASE = 0.01  # m from the planning frame: no camera is this near to it
_OFF = 0.05  # rad between joint states and the planner's scene; for a moving arm the scene is slightly older
_LISTED = 5
_PACKAGE = "package://"
_SOURCE = "robot_description"


def frame_findings(config: PlanningConfig, heard: ArmHeard, table_frame: str = "") -> Iterator[Finding]:
    """Check that the current poses of tip, camera and table are known in the planning frame.

    Args:
        table_frame: a frame on the table top, z up; "" = no such frame is required in TF.
    """
    motion = config.motion
    yield from _between(motion.planning_frame, motion.tip_link, "tip", heard)
    if heard.camera_frame:
        yield from _between(motion.planning_frame, heard.camera_frame, "camera", heard)
    else:
        repair = "start the camera's driver, and pass --camera PRESET, or its topics after --ros-args"
        yield Finding("tf", Severity.WARNING, "no camera was received, so its frame was not checked", repair)
    if table_frame:
        yield from _table(config, table_frame, heard)


def _between(base: str, frame: str, what: str, heard: ArmHeard) -> Iterator[Finding]:
    text = f"{base} <- {frame} ({what})"
    try:
        pose = heard.transforms.lookup(base, frame)
        stamp = heard.transforms.latest_stamp(base, frame)
    except SpatialVlmError as error:
        yield Finding("tf", Severity.ERROR, f"{text}: {_reason(error)}", _mend(base, what, heard))
        return
    age = 0.0 if stamp is None else (heard.now_ns - stamp) / SECOND
    if age > STATE_AGE:
        repair = "restart its publisher (robot_state_publisher, the driver): TF keeps the last transform for ever"
        yield Finding("tf", Severity.ERROR, f"{text}: the newest is {age:.1f} s old", repair)
    elif what == "camera" and float(np.linalg.norm(pose.translation)) < _AT_BASE:
        repair = "publish the result of the hand-eye calibration: docs/your_arm.md"
        yield Finding("tf", Severity.ERROR, f"{text}: the camera is at the planning frame's origin", repair)
    else:
        x, y, z = pose.translation
        yield Finding("tf", Severity.OK, f"{text} at {x:.3f} {y:.3f} {z:.3f} m")


def _mend(base: str, what: str, heard: ArmHeard) -> str:
    known = set(heard.transforms.frames()) | set(heard.transforms.frames().values())
    if base not in known:
        return f"TF does not know {base}: start robot_state_publisher, or set planning_frame to a frame of TF"
    if what == "camera":
        return "publish the camera's mount, from the hand-eye calibration, as a static transform: docs/your_arm.md"
    if what == "table":
        return "publish the table's frame as a static transform, or leave --table-frame out"
    return "start robot_state_publisher with the URDF that has this link, or fix tip_link in the preset"


def _table(config: PlanningConfig, frame: str, heard: ArmHeard) -> Iterator[Finding]:
    findings = list(_between(config.motion.planning_frame, frame, "table", heard))
    yield from findings
    if findings[-1].level is Severity.ERROR:
        return
    up = heard.transforms.lookup(config.motion.planning_frame, frame).matrix[2, 2]
    tilt, most = float(np.degrees(np.arccos(np.clip(up, -1.0, 1.0)))), config.observation.support_tilt_deg
    if tilt > most:
        repair = "fix the table's frame (z up) or the mount of the robot, and check that planning_frame is level"
        yield Finding("tf", Severity.ERROR, f"{frame} is tilted by {tilt:.1f} degrees, more than {most:g}", repair)


# ------------------------------------------------------------------------------------------------ descriptions


def description_findings(preset: RobotPreset, motion: MotionConfig, heard: ArmHeard, moveit: bool) -> Iterator[Finding]:
    """Check that URDF, SRDF and preset describe the same robot.

    Args:
        moveit: whether MoveIt plans, which needs the SRDF.
    """
    check, own_model = "URDF", not moveit and "arm" in preset.arm_planner()
    if not heard.urdf:
        repair = "start robot_state_publisher, which publishes the topic robot_description"
        yield Finding(check, Severity.ERROR, "no node publishes robot_description", repair)
        return
    try:
        urdf = _robot(heard.urdf, _SOURCE)
    except FileError as error:
        yield Finding(check, Severity.ERROR, _reason(error), error.repair)
        return
    named = replace(motion, finger_links="") if own_model else motion  # they belong to the planner's model
    found = [*_names(preset, named, urdf), *_limits(preset, urdf), *_geometry(urdf)]
    yield from found
    if not found:
        yield Finding(check, Severity.OK, f"robot {urdf.get('name')!r} has every link and joint of the preset")
    if moveit or (heard.srdf and not own_model):
        yield from _semantic(motion, urdf, heard.srdf)


def _robot(text: str, source: str) -> Element:
    root = parse_xml(text.encode(), source, "publish a URDF or SRDF; expand xacro")
    if any("xacro" in str(each.tag) for each in root.iter()) or "${" in text:
        raise FileError(source, "it is unexpanded xacro", "publish the output of the program xacro")
    if root.tag != "robot":
        raise FileError(source, f"its root is <{root.tag}>, not <robot>", "publish a URDF or SRDF; expand xacro")
    return root


def _named(root: Element, tag: str) -> set[str]:
    return {str(each.get("name")) for each in root.findall(tag)}


def _names(preset: RobotPreset, motion: MotionConfig, urdf: Element) -> Iterator[Finding]:
    links, joints = _named(urdf, "link"), _named(urdf, "joint")
    wanted = {motion.planning_frame, motion.base_link, motion.tip_link, *motion.finger_links.split()} - {""}
    repair = "check that the preset is of this robot; write the names of this URDF into a copy of it"
    for kind, absent in (
        ("links", wanted - links),
        ("joints", {*preset.joint_limits, *motion.finger_joints.split()} - joints),
    ):
        if absent:
            text = f"robot {urdf.get('name')!r} has no {kind} {', '.join(sorted(absent))}"
            yield Finding("URDF", Severity.ERROR, text, repair)


def _limits(preset: RobotPreset, urdf: Element) -> Iterator[Finding]:
    """Limits of the preset that are wider than the robot's."""
    for joint in urdf.findall("joint"):
        own, limit = preset.joint_limits.get(str(joint.get("name"))), joint.find("limit")
        if own is None or (limit is None and joint.get("type") == "continuous"):
            continue
        if limit is None:
            text = f"{joint.get('name')} has no limits"
            yield Finding("URDF", Severity.ERROR, text, "add a <limit> in the URDF, or make it continuous")
            continue
        try:
            low, high, speed = (float(limit.get(name, "nan")) for name in ("lower", "upper", "velocity"))
        except ValueError:
            text = f"the limits of {joint.get('name')} are not numbers"
            yield Finding("URDF", Severity.ERROR, text, "fix the URDF")
            continue
        lacking = [name for name in ("lower", "upper", "velocity") if limit.get(name) is None]
        if lacking and (joint.get("type") != "continuous" or "velocity" in lacking):
            text = f"the limits of {joint.get('name')} lack {', '.join(lacking)}"
            yield Finding("URDF", Severity.ERROR, text, "fix the URDF: strict parsers refuse it")
            continue
        wider = own.min_position < low - _SAME or own.max_position > high + _SAME or own.max_velocity > speed + _SAME
        if wider:
            text = (
                f"{joint.get('name')} has a range of {low:g} to {high:g} rad with {speed:g} rad/s, but the preset says "
                f"{own.min_position:g} to {own.max_position:g} with {own.max_velocity:g}"
            )
            yield Finding("URDF", Severity.WARNING, text, "write the robot's own limits into a copy of the preset")


def _geometry(urdf: Element) -> Iterator[Finding]:
    """Links without collision geometry, and missing meshes."""
    with_geometry = [link for link in urdf.findall("link") if link.find("collision/geometry") is not None]
    if not with_geometry:
        repair = "add the <collision> elements to the URDF: without them a planner ignores the arm"
        yield Finding("URDF", Severity.ERROR, "no link has collision geometry", repair)
    meshes = {mesh.get("filename", "") for mesh in urdf.findall("link/collision/geometry/mesh")}
    lost = sorted(name for name in meshes if _is_lost(name))
    if lost:
        more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        text = f"meshes were not found on this computer: {', '.join(lost[:_LISTED])}{more}"
        repair = (
            "source the workspace with their package where the nodes run, otherwise they are neither drawn nor filtered"
        )
        yield Finding("URDF", Severity.WARNING, text, repair)


def _is_lost(name: str) -> bool:
    """Whether a mesh is missing on this computer."""
    if name.startswith(_PACKAGE):
        prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
        places = [Path(prefix) / "share" / name.removeprefix(_PACKAGE) for prefix in prefixes]
    else:
        places = [Path(name.removeprefix("file://"))]
    return not any(os.path.isfile(place) for place in places)  # noqa: PTH113 (Path raises where a name is too long)


def _semantic(motion: MotionConfig, urdf: Element, text: str) -> Iterator[Finding]:
    check = "SRDF"
    if not text:
        repair = "let move_group publish it (publish_robot_description_semantic), or check it by hand"
        yield Finding(check, Severity.WARNING, "no node publishes robot_description_semantic", repair)
        return
    try:
        srdf = _robot(text, "robot_description_semantic")
    except FileError as error:
        yield Finding(check, Severity.ERROR, _reason(error), error.repair)
        return
    found = list(_strangers(srdf, urdf))
    if motion.group not in _named(srdf, "group"):
        groups = ", ".join(sorted(_named(srdf, "group"))) or "none"
        repair = "fix group in a copy of the preset"
        found.append(Finding(check, Severity.ERROR, f"there is no group {motion.group!r}; it has {groups}", repair))
    yield from found
    if not found:
        yield Finding(check, Severity.OK, f"group {motion.group!r} of robot {srdf.get('name')!r} fits the URDF")


def _strangers(srdf: Element, urdf: Element) -> Iterator[Finding]:
    """Names in the SRDF that the URDF lacks: the SRDF belongs to another robot."""
    repair = "start move_group with the SRDF of this robot, gripper included"
    if srdf.get("name") != urdf.get("name"):
        text = f"it is of robot {srdf.get('name')!r}, but the URDF is of {urdf.get('name')!r}"
        yield Finding("SRDF", Severity.ERROR, text, repair)
    links, joints = _named(urdf, "link"), _named(urdf, "joint")
    named_links = {str(each.get(key)) for each in srdf.findall("disable_collisions") for key in ("link1", "link2")}
    named_links |= {str(each.get(key)) for each in srdf.findall("group/chain") for key in ("base_link", "tip_link")}
    named_links |= {str(each.get("name")) for each in srdf.findall("group/link")}
    named_joints = {str(each.get("name")) for each in srdf.findall("group/joint")}
    virtual = _named(srdf, "virtual_joint")
    for kind, absent in (("links", named_links - links), ("joints", named_joints - joints - virtual)):
        if absent:
            some = ", ".join(sorted(absent)[:_LISTED])
            text = f"{len(absent)} of its {kind} are not in the URDF: {some}"
            yield Finding("SRDF", Severity.ERROR, text, repair)


# ------------------------------------------------------------------------------------------------ the planner's scene


def scene_findings(motion: MotionConfig, heard: ArmHeard, moveit: bool) -> Iterator[Finding]:
    """Check that the planner's scene matches the arm's current state."""
    scene = heard.scene
    if scene is None:
        return  # reported as the planner's problem
    found = [*_state(heard, scene, moveit), *_frame(motion, heard, scene), *_left(scene)]
    yield from found
    if not found:
        compared = set(_positions(scene)) & set(heard.joints.positions)
        text = "the planner's arm agrees with the joint states" if compared else "it is empty"
        yield Finding("planning scene", Severity.OK, text)


def _state(heard: ArmHeard, scene: Any, moveit: bool) -> Iterator[Finding]:
    check, told = "planning scene", _positions(scene)
    both = {name: abs(told[name] - at) for name, at in heard.joints.positions.items() if name in told}
    repair = "check that move_group receives the joint states (its topic joint_states), and restart it"
    if not both and moveit:
        yield Finding(check, Severity.ERROR, "the planner's scene has no joint of the arm", repair)
    elif both:
        name, off = max(both.items(), key=lambda pair: pair[1])
        if not off <= _OFF:
            text = f"the planner has {name} {off:.3f} rad away from the joint states"
            yield Finding(check, Severity.ERROR, text, repair)


def _positions(scene: Any) -> dict[str, float]:
    state = scene.robot_state.joint_state
    return dict(zip(state.name, map(float, state.position), strict=False))


def _frame(motion: MotionConfig, heard: ArmHeard, scene: Any) -> Iterator[Finding]:
    """Check that the frame of the planner's model is planning_frame or coincides with it."""
    check, frame, base = "planning scene", scene.robot_state.joint_state.header.frame_id, motion.planning_frame
    if not frame or frame == base:
        return
    repair = f"set planning_frame of the preset, and base_frame, to {frame}"
    try:
        pose = heard.transforms.lookup(frame, base).matrix
    except SpatialVlmError:
        if not _is_virtual(heard.srdf, frame, base):
            text = f"the planner's model is in {frame!r}, which TF does not connect to {base!r}"
            yield Finding(check, Severity.ERROR, text, repair)
        return
    if not np.allclose(pose, np.eye(4), atol=_SAME):
        away = float(np.linalg.norm(pose[:3, 3]))
        text = f"the planner's model is in {frame!r}, which is not {base!r}: {away:.3f} m away, or turned"
        yield Finding(check, Severity.ERROR, text, repair)


def _is_virtual(srdf: str, frame: str, base: str) -> bool:
    """Whether a virtual joint of the SRDF connects the two frames without offset."""
    try:
        joints = _robot(srdf, "robot_description_semantic").findall("virtual_joint") if srdf else []
    except FileError:
        return False
    wanted: Mapping[str, str] = {"parent_frame": frame, "child_link": base, "type": "fixed"}
    return any(all(joint.get(key) == value for key, value in wanted.items()) for joint in joints)


def _left(scene: Any) -> Iterator[Finding]:
    """Objects that an earlier motion has left behind."""
    check = "planning scene"
    held = [each.object.id for each in scene.robot_state.attached_collision_objects]
    if held:
        repair = "if the gripper holds nothing, detach it in RViz, or restart the planner"
        yield Finding(check, Severity.ERROR, f"the planner has {', '.join(held)} in the gripper", repair)
    objects = [each.id for each in scene.world.collision_objects]
    if SUPPORT in objects:
        text = f"an earlier motion has left {len(objects)} objects in it"
        yield Finding(check, Severity.WARNING, text, "harmless while a gate plans; otherwise restart the planner")


def _reason(error: Exception) -> str:
    return without_repair(error) if isinstance(error, SpatialVlmError) else str(error)
