# SPDX-License-Identifier: Apache-2.0
"""A test double of MoveIt's PlanningScene and AllowedCollisionMatrix, written from their source. Not a test.

moveit2, branch jazzy, commit 4d841063; main, commit 8fcb5d23, does not differ in what is cited. Lines are of
moveit_core/planning_scene/src/planning_scene.cpp ("scene" below), moveit_core/collision_detection/src/
collision_matrix.cpp ("matrix") and collision_env.cpp ("env").

What is left out: APPEND and MOVE, subframes, colours, meshes and planes, padding and scaling that are set, and
transforms that are sent.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from moveit_msgs import msg as moveit
from moveit_msgs.msg import PlanningScene as SceneMessage
from object_recognition_msgs.msg import ObjectType
from octomap_msgs.msg import OctomapWithPose
from std_msgs.msg import Header

from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of, pose_message

OCTOMAP = "<octomap>"
PANDA_LINKS = (*(f"panda_link{k}" for k in range(8)), "panda_hand", "panda_leftfinger", "panda_rightfinger")
ADD, REMOVE = moveit.CollisionObject.ADD, moveit.CollisionObject.REMOVE
Body = tuple[Any, list[tuple[Any, Any]]]  # (4, 4) pose of the object; shapes with their (4, 4) poses in it


class Matrix:
    """The allowed collision matrix: entries of pairs, and defaults of names."""

    def __init__(self, message: moveit.AllowedCollisionMatrix | None = None) -> None:
        """matrix:80-113. A message that is not square leaves what was read until then: at worst, nothing at all.

        Of each pair only the upper triangle is read, and an entry that says the same as the defaults is not kept.
        """
        self.entries: dict[str, dict[str, bool]] = {}
        self.defaults: dict[str, bool] = {}
        if message is None:
            return
        names, rows = list(message.entry_names), message.entry_values
        if len(names) != len(rows) or len(message.default_entry_names) != len(message.default_entry_values):
            return
        self.defaults = dict(zip(message.default_entry_names, map(bool, message.default_entry_values), strict=True))
        for i, row in enumerate(rows):
            if len(row.enabled) != len(names):
                return
            for j in range(i + 1, len(names)):
                default = self._default(names[i], names[j])
                if bool(row.enabled[j]) != bool(default):
                    self.set(names[i], names[j], bool(row.enabled[j]))

    def set(self, one: str, other: str, allowed: bool) -> None:
        """matrix:154-158. Names are not looked up anywhere: a link that does not exist is as good as any."""
        self.entries.setdefault(one, {})[other] = allowed
        self.entries.setdefault(other, {})[one] = allowed

    def remove(self, name: str) -> None:
        """matrix:182-190. The defaults stay."""
        self.entries.pop(name, None)
        for row in self.entries.values():
            row.pop(name, None)

    def allowed(self, one: str, other: str) -> bool:
        """matrix:366-370."""
        told = self.entries.get(one, {}).get(other)
        return bool(self._default(one, other) if told is None else told)

    def _default(self, one: str, other: str) -> bool | None:
        """matrix:330-364: both have to allow it where both have a default."""
        told = [self.defaults[name] for name in (one, other) if name in self.defaults]
        return all(told) if told else None

    def message(self) -> moveit.AllowedCollisionMatrix:
        """matrix:380-426. A default whose name sorts behind all entries is not told (matrix:386-391)."""
        names = sorted(self.entries)
        for name in sorted(self.defaults):
            if any(other > name for other in names) and name not in names:
                names = sorted([*names, name])
        known = [name for name in names if name in self.defaults]
        return moveit.AllowedCollisionMatrix(
            entry_names=names,
            entry_values=[moveit.AllowedCollisionEntry(enabled=[self.allowed(a, b) for b in names]) for a in names],
            default_entry_names=known,
            default_entry_values=[self.defaults[name] for name in known],
        )


@dataclass
class Attached:
    """A body that is attached: its link, its pose there and shapes, and links that may touch it."""

    link: str
    body: Body
    touch: list[str]


@dataclass
class PlanningSceneDouble:
    """A scene; `poses` are (4, 4) frame_T_link of the links that something can be attached to, as the joints are."""

    frame: str = "panda_link0"
    links: Sequence[str] = PANDA_LINKS
    poses: Mapping[str, Any] = field(default_factory=dict)
    joints: Mapping[str, float] = field(default_factory=dict)
    world: dict[str, Body] = field(default_factory=dict)
    attached: dict[str, Attached] = field(default_factory=dict)
    types: dict[str, ObjectType] = field(default_factory=dict)
    matrix: Matrix = field(default_factory=Matrix)
    octomap: OctomapWithPose = field(default_factory=OctomapWithPose)
    said: list[str] = field(default_factory=list)

    def apply(self, message: SceneMessage) -> bool:
        """scene:1314-1394. What can be applied is; whether an attached body was taken is not told (scene:1340, 1246).

        State, matrix and objects come in this order. A matrix replaces the whole one, where it has entries.
        """
        if not message.is_diff:
            self.world.clear()
            self.types.clear()
            self.attached.clear()
            self.matrix, self.octomap = Matrix(message.allowed_collision_matrix), OctomapWithPose()
        for each in message.robot_state.attached_collision_objects:
            if not message.robot_state.is_diff and each.object.operation != ADD:  # scene:1238-1245
                self.said.append(f"{each.object.id}: the state is no difference; ignored")
            else:
                self.attach(each)
        if message.is_diff and message.allowed_collision_matrix.entry_names:
            self.matrix = Matrix(message.allowed_collision_matrix)
        done = [self.change(each) for each in message.world.collision_objects]
        if message.world.octomap.octomap.id:
            self.octomap = message.world.octomap
        return all(done)

    def copy(self) -> PlanningSceneDouble:
        """planning_scene_monitor.cpp:157-168: what a request is planned in; what its difference does is not told."""
        return copy.deepcopy(self)

    def attach(self, message: moveit.AttachedCollisionObject) -> bool:
        """scene:1536-1772."""
        each, link = message.object, message.link_name
        if each.operation == ADD and link not in self.links and link not in self.poses:
            return self._no(f"Unable to attach a body to link '{link}' (link not found)")
        if each.id == OCTOMAP:
            return self._no(f"The ID '{OCTOMAP}' cannot be used")
        if each.operation == ADD:
            return self._take(each, link, list(message.touch_links))
        return self._detach(each.id, link)

    def _take(self, each: Any, link: str, touch: list[str]) -> bool:
        """scene:1575-1687. Without shapes it is the object of the world; a shape wins over the world's.

        What was in the world loses its type: its removal there takes it off after it was handed on (scene:349-376).
        """
        there = np.linalg.inv(self._pose(link))
        if not (each.primitives or each.meshes or each.planes):
            if each.id not in self.world:
                return self._no(f"Attempting to attach object '{each.id}', but no such object exists")
            pose, shapes = self.world[each.id]
        else:
            made = self._shapes(each)
            if made is None:
                return False
            pose, shapes = self._frame(each.header.frame_id) @ made[0], made[1]
        if not shapes:
            return self._no(f"There is no geometry to attach as '{each.id}'")
        if self.world.pop(each.id, None) is not None:
            self.types.pop(each.id, None)
        elif each.type.key or each.type.db:
            self.types[each.id] = each.type
        self.attached[each.id] = Attached(link, (there @ pose, shapes), touch)
        return True

    def _detach(self, name: str, link: str) -> bool:
        """scene:1694-1760. An empty name is all, of a link where one is named."""
        if name:
            body = self.attached.get(name)
            if body is not None and link and body.link != link:
                return self._no(f"'{name}' is attached to {body.link}, not to {link}")
            names = [name] if body is not None else []
        else:
            names = [n for n, body in self.attached.items() if not link or body.link == link]
        for each in names:
            body = self.attached.pop(each)
            if each in self.world:
                self.said.append(f"NOT adding the detached body '{each}' to the collision world")
            else:
                self.world[each] = (self._pose(body.link) @ body.body[0], body.body[1])
        return bool(names) or not name

    def change(self, each: Any) -> bool:
        """scene:1774-1798."""
        if each.id == OCTOMAP:
            return self._no(f"The ID '{OCTOMAP}' cannot be used for collision objects (name reserved)")
        return self._add(each) if each.operation == ADD else self._remove(each.id)

    def _add(self, each: Any) -> bool:
        """scene:1887-1929. An object that is replaced goes before its new shapes are looked at (scene:1902)."""
        if each.header.frame_id not in ("", self.frame, *self.poses):
            return self._no(f"Unknown frame: {each.header.frame_id}")
        if not (each.primitives or each.meshes or each.planes):
            return self._no("There are no shapes specified in the collision object message")
        self.world.pop(each.id, None)
        made = self._shapes(each)
        if made is None:
            return False
        self.world[each.id] = self._frame(each.header.frame_id) @ made[0], made[1]
        if each.type.key or each.type.db:
            self.types[each.id] = each.type
        return True

    def _remove(self, name: str) -> bool:
        """scene:1931-1951, 1463-1476. Type and row of the matrix go with it; the octomap stays."""
        if name and name not in self.world:
            return self._no(f"Tried to remove world object '{name}', but it does not exist in this scene.")
        for each in [name] if name else list(self.world):
            del self.world[each]
            self.types.pop(each, None)
            self.matrix.remove(each)
        return True

    def _shapes(self, each: Any) -> Body | None:
        """scene:1800-1885. More poses than shapes are refused, fewer are none; a single shape's pose moves up."""
        if len(each.primitives) < len(each.primitive_poses):
            self._no("More primitive shape poses than shapes in collision object message.")
            return None
        pose = matrix_of(each.pose)
        poses = [matrix_of(each.primitive_poses[k]) if k < len(each.primitive_poses) else np.eye(4)
                 for k in range(len(each.primitives))]  # fmt: skip
        if len(poses) == 1 and np.array_equal(pose, np.eye(4)):
            pose, poses = poses[0], [np.eye(4)]
        return pose, list(zip(each.primitives, poses, strict=True))

    def _frame(self, name: str) -> Any:
        """Of a header; an unknown one is taken for the model's, with an error in the log: moveit_core/transforms/src/
        transforms.cpp:110-123."""
        return self._pose(name) if name in self.poses else np.eye(4)

    def _pose(self, link: str) -> Any:
        return self.poses.get(link, np.eye(4))

    def _no(self, words: str) -> bool:
        self.said.append(words)
        return False

    def tell(self, wanted: int = 0) -> SceneMessage:
        """scene:972-1041; 0 is everything (planning_scene_monitor.cpp:675-679)."""
        part, scene = moveit.PlanningSceneComponents, SceneMessage()
        wanted = wanted or 2**32 - 1
        if wanted & (part.ROBOT_STATE_ATTACHED_OBJECTS | part.ROBOT_STATE):
            scene.robot_state.joint_state.header.frame_id = self.frame  # robotStateToRobotStateMsg: the model's frame
            scene.robot_state.joint_state.name = list(self.joints)
            scene.robot_state.joint_state.position = [float(at) for at in self.joints.values()]
        if wanted & part.ROBOT_STATE_ATTACHED_OBJECTS:
            for name, held in self.attached.items():
                body = self._told(name, held.link, held.body)
                scene.robot_state.attached_collision_objects.append(
                    moveit.AttachedCollisionObject(link_name=held.link, object=body, touch_links=held.touch)
                )
        if wanted & part.ALLOWED_COLLISION_MATRIX:
            scene.allowed_collision_matrix = self.matrix.message()
        if wanted & part.LINK_PADDING_AND_SCALING:  # env:91-96, 273-293
            scene.link_padding = [moveit.LinkPadding(link_name=name) for name in sorted(self.links)]
            scene.link_scale = [moveit.LinkScale(link_name=name, scale=1.0) for name in sorted(self.links)]
        if wanted & part.WORLD_OBJECT_GEOMETRY:
            scene.world.collision_objects = [self._told(n, self.frame, body) for n, body in self.world.items()]
        elif wanted & part.WORLD_OBJECT_NAMES:
            named = [moveit.CollisionObject(id=name) for name in self.world]
            for each in named:
                each.type = self.types.get(each.id, ObjectType())
            scene.world.collision_objects = named
        if wanted & part.OCTOMAP:
            scene.world.octomap = self.octomap
        return scene

    def _told(self, name: str, frame: str, body: Body) -> moveit.CollisionObject:
        told = moveit.CollisionObject(header=Header(frame_id=frame), id=name, pose=pose_message(body[0]), operation=ADD)
        told.primitives = [shape for shape, _ in body[1]]
        told.primitive_poses = [pose_message(pose) for _, pose in body[1]]
        told.type = self.types.get(name, ObjectType())
        return told
