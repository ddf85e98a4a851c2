# SPDX-License-Identifier: Apache-2.0
"""Finds problems of an arm's frames, descriptions and planning scene, with fixes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatial_vlm_ros.doctor.arm import STATE_AGE, ArmHeard
from spatial_vlm_ros.doctor.findings import Finding, fail, first, ok, warn
from spatial_vlm_ros.errors import FileError, SpatialVlmError, without_repair
from spatial_vlm_ros.files.documents import parse_xml
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.parameters import MotionConfig, PlanningConfig, RobotPreset
from spatial_vlm_ros.streams.transforms import SECOND

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

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
