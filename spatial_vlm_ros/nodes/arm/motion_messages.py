# SPDX-License-Identifier: Apache-2.0
"""Converts goals, scenes and trajectories to MoveIt's messages and back. Imported only with a planner or its client."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Quaternion
from geometry_msgs.msg import Pose as PoseMessage
from moveit_msgs.action import MoveGroup
from moveit_msgs.msg import (
    AllowedCollisionEntry,
    AllowedCollisionMatrix,
    AttachedCollisionObject,
    CollisionObject,
    Constraints,
    MotionPlanRequest,
    OrientationConstraint,
    PositionConstraint,
    RobotState,
    RobotTrajectory,
)
from moveit_msgs.msg import PlanningScene as SceneMessage
from sensor_msgs.msg import JointState
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from spatial_vlm_ros.geometry.rotation import matrix_from_pose, quaternion_xyzw_from_matrix
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.types import Pose, Vector3

SECOND = 1_000_000_000


def matrix_of(pose: PoseMessage) -> Array:
    """Convert a pose message to a (4, 4) matrix, metres."""
    p, q = pose.position, pose.orientation
    return matrix_from_pose((p.x, p.y, p.z, q.x, q.y, q.z, q.w))


def pose_message(matrix: Array) -> PoseMessage:
    """Convert a (4, 4) matrix, metres, to a pose message."""
    x, y, z = (float(v) for v in matrix[:3, 3])
    qx, qy, qz, qw = (float(v) for v in quaternion_xyzw_from_matrix(matrix[:3, :3]))
    return PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def box_object(name: str, frame_id: str, frame_T_box: Array, size: Vector3) -> CollisionObject:
    """Message that adds a box."""
    shape = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[float(edge) for edge in size])
    return CollisionObject(
        header=Header(frame_id=frame_id),
        id=name,
        pose=pose_message(frame_T_box),
        primitives=[shape],
        primitive_poses=[PoseMessage()],
        operation=CollisionObject.ADD,
    )


def boxes_object(name: str, frame_id: str, boxes: Sequence[Solid]) -> CollisionObject:
    """Message that adds one object made of one or more boxes."""
    body = CollisionObject(header=Header(frame_id=frame_id), id=name, operation=CollisionObject.ADD)
    body.pose.orientation.w = 1.0
    for solid in boxes:
        edges = [float(edge) for edge in solid.size]
        body.primitives.append(SolidPrimitive(type=SolidPrimitive.BOX, dimensions=edges))
        body.primitive_poses.append(pose_message(box_pose(solid)))
    return body


def removed_object(name: str, frame_id: str) -> CollisionObject:
    """Message that removes an object."""
    return CollisionObject(header=Header(frame_id=frame_id), id=name, operation=CollisionObject.REMOVE)


def scene_diff(
    objects: Iterable[CollisionObject] = (),
    attached: Iterable[AttachedCollisionObject] = (),
    allowed: AllowedCollisionMatrix | None = None,
) -> SceneMessage:
    """Message that changes the planning scene. `allowed` replaces MoveIt's whole collision matrix."""
    message = SceneMessage(is_diff=True)
    message.robot_state.is_diff = True
    message.world.collision_objects = list(objects)
    message.robot_state.attached_collision_objects = list(attached)
    if allowed is not None:
        message.allowed_collision_matrix = allowed
    return message


def attached_box(
    name: str, link: str, link_T_box: Array, size: Vector3, touch_links: Sequence[str]
) -> AttachedCollisionObject:
    """Message that attaches a box to a link."""
    return AttachedCollisionObject(
        link_name=link, object=box_object(name, link, link_T_box, size), touch_links=list(touch_links)
    )


def attached_by_name(name: str, link: str, touch_links: Sequence[str], attach: bool = True) -> AttachedCollisionObject:
    """Message that attaches an object of the planner's scene to a link, or detaches it at its current pose."""
    operation = CollisionObject.ADD if attach else CollisionObject.REMOVE
    body = CollisionObject(header=Header(frame_id=link), id=name, operation=operation)
    return AttachedCollisionObject(link_name=link, object=body, touch_links=list(touch_links))


def without_allowed(matrix: AllowedCollisionMatrix, names: Collection[str]) -> AllowedCollisionMatrix:
    """Copy an allowed collision matrix without any permission, by entry or by default, for these names."""
    known = list(matrix.entry_names)
    rows = [
        AllowedCollisionEntry(
            enabled=[
                allowed and one not in names and other not in names
                for other, allowed in zip(known, entry.enabled, strict=True)
            ]
        )
        for one, entry in zip(known, matrix.entry_values, strict=True)
    ]
    kept = [
        (name, allowed)
        for name, allowed in zip(matrix.default_entry_names, matrix.default_entry_values, strict=True)
        if name not in names
    ]
    return AllowedCollisionMatrix(
        entry_names=known,
        entry_values=rows,
        default_entry_names=[name for name, _ in kept],
        default_entry_values=[allowed for _, allowed in kept],
    )


def with_allowed(matrix: AllowedCollisionMatrix, pairs: Iterable[tuple[str, str]]) -> AllowedCollisionMatrix:
    """Copy an allowed collision matrix and also allow these pairs to touch."""
    names = list(matrix.entry_names)
    rows = [list(entry.enabled) for entry in matrix.entry_values]
    defaults = dict(zip(matrix.default_entry_names, matrix.default_entry_values, strict=True))
    for pair in pairs:
        for name in pair:
            if name not in names:
                for other, row in zip(names, rows, strict=True):
                    row.append(defaults.get(name, False) and defaults.get(other, True))
                names.append(name)
                rows.append([row[-1] for row in rows] + [False])
        one, two = (names.index(name) for name in pair)
        rows[one][two] = rows[two][one] = True
    return AllowedCollisionMatrix(
        entry_names=names,
        entry_values=[AllowedCollisionEntry(enabled=row) for row in rows],
        default_entry_names=list(matrix.default_entry_names),
        default_entry_values=list(matrix.default_entry_values),
    )


def robot_state(joints: Mapping[str, float]) -> RobotState:
    """State with these joint positions; for other joints the planner uses its own."""
    state = JointState(name=list(joints), position=[float(at) for at in joints.values()])
    return RobotState(joint_state=state, is_diff=True)


def cumotion_start(
    joints: Mapping[str, float], diff: SceneMessage, carried: Sequence[AttachedCollisionObject]
) -> RobotState:
    """Start state for cuMotion, which adds the joint positions of a state difference to the arm's current ones.

    isaac_ros_cumotion f7cc189, cumotion_planner.py:767-805. A complete state removes attached objects that it does not
    name, also others' (`carried`): moveit2, jazzy 4d841063, moveit_core/robot_state/src/conversions.cpp:387-394.
    """
    if not joints:
        return RobotState(is_diff=True)
    state = robot_state(joints)
    state.is_diff = False
    state.attached_collision_objects = [*diff.robot_state.attached_collision_objects, *carried]
    return state


def motion_goal(
    config: MotionConfig, link_pose: Pose, straight: bool, joints: Mapping[str, float], diff: SceneMessage,
    slower: float = 1.0,
) -> MoveGroup.Goal:  # fmt: skip
    """MoveGroup goal that plans one motion without executing it.

    Args:
        link_pose: pose of `tip_link` at the end, in the planning frame.
    """
    header = Header(frame_id=link_pose.frame_id)
    x, y, z, w = link_pose.orientation
    (px, py, pz), angle = link_pose.position, math.radians(config.angle_tolerance_deg)
    region = PositionConstraint(header=header, link_name=config.tip_link, weight=1.0)
    sphere = SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[config.position_tolerance])
    region.constraint_region.primitives = [sphere]
    centre = PoseMessage(position=Point(x=px, y=py, z=pz))
    region.constraint_region.primitive_poses = [centre]
    turn = OrientationConstraint(
        header=header,
        orientation=Quaternion(x=x, y=y, z=z, w=w),
        link_name=config.tip_link,
        absolute_x_axis_tolerance=angle,
        absolute_y_axis_tolerance=angle,
        absolute_z_axis_tolerance=angle,
        weight=1.0,
    )
    request = MotionPlanRequest(
        group_name=config.group,
        pipeline_id=config.straight_pipeline if straight else config.free_pipeline,
        planner_id=config.straight_planner if straight else config.free_planner,
        num_planning_attempts=1,
        allowed_planning_time=config.planning_time,
        max_velocity_scaling_factor=config.velocity_scaling * slower,
        max_acceleration_scaling_factor=config.acceleration_scaling * slower,
        start_state=robot_state(joints),
        goal_constraints=[Constraints(position_constraints=[region], orientation_constraints=[turn])],
    )
    goal = MoveGroup.Goal(request=request)
    goal.planning_options.plan_only = True
    goal.planning_options.planning_scene_diff = diff
    return goal


def trajectory_of(message: RobotTrajectory) -> Trajectory:
    """Convert a message to a planned trajectory."""
    points = message.joint_trajectory.points

    def rows(name: str) -> tuple[tuple[float, ...], ...]:
        given = tuple(tuple(getattr(point, name)) for point in points)
        return given if any(given) else ()

    return Trajectory(
        joint_names=tuple(message.joint_trajectory.joint_names),
        times=tuple(p.time_from_start.sec + p.time_from_start.nanosec / SECOND for p in points),
        positions=tuple(tuple(p.positions) for p in points),
        velocities=rows("velocities"),
        accelerations=rows("accelerations"),
    )


def robot_trajectory(trajectory: Trajectory) -> RobotTrajectory:
    """Convert a trajectory to the message of ExecuteTrajectory; it starts when the controller accepts it."""
    points = []
    for number, at in enumerate(trajectory.times):
        nanoseconds = round(at * SECOND)
        point = JointTrajectoryPoint(
            positions=list(trajectory.positions[number]),
            time_from_start=Duration(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND),
        )
        if trajectory.velocities:
            point.velocities = list(trajectory.velocities[number])
        if trajectory.accelerations:
            point.accelerations = list(trajectory.accelerations[number])
        points.append(point)
    return RobotTrajectory(joint_trajectory=JointTrajectory(joint_names=list(trajectory.joint_names), points=points))


def words_of(code: Any) -> str:
    """The planner's message beside its error number, with our names of objects; "" where it has no such field."""
    return str(getattr(code, "message", "") or "").replace(OWN, "")
