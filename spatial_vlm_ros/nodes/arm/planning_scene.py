# SPDX-License-Identifier: Apache-2.0
"""The planning scene of `arm_planner`: converts MoveIt's messages to boxes for the built-in planner."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from moveit_msgs.msg import AllowedCollisionMatrix, AttachedCollisionObject, CollisionObject
from moveit_msgs.msg import PlanningScene as SceneMessage
from shape_msgs.msg import SolidPrimitive

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import BASE_LINK, HAND_LINKS
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, Floats, HeldBox, Segment
from spatial_vlm_ros.nodes.arm.motion_messages import box_object, matrix_of


@dataclass(frozen=True, eq=False)
class BoxedObject:
    """An object as boxes: (4, 4) pose of each, metres, and its edge lengths (3,)."""

    parts: tuple[tuple[Floats, Floats], ...]

    def moved(self, by: Floats) -> BoxedObject:
        """The same object in another frame; `by` is (4, 4) new_T_old, metres."""
        return BoxedObject(tuple((by @ pose, size) for pose, size in self.parts))


@dataclass(frozen=True, eq=False)
class ArmScene:
    """Objects, the held object, and what may touch. Immutable: a change makes a new scene.

    Args:
        links: link → (4, 4) link_T_tip, metres, for every link that objects can be attached to.
        bodies: objects by id, in the base frame.
        base_link: base link of the arm; objects are given in its frame.
    """

    links: Mapping[str, Floats]
    bodies: Mapping[str, BoxedObject] = field(default_factory=dict)
    held: Mapping[str, BoxedObject] = field(default_factory=dict)
    matrix: Any = field(default_factory=AllowedCollisionMatrix)
    robot: str = "panda"
    base_link: str = BASE_LINK
    hand_links: tuple[str, ...] = HAND_LINKS

    def changed(self, message: SceneMessage, base_T_tip: Floats | None) -> ArmScene:
        """The scene after a message.

        Args:
            base_T_tip: (4, 4) current pose of the tip, metres; None if not known.
        """
        empty = {"bodies": {}, "held": {}, "matrix": AllowedCollisionMatrix()}
        scene = self if message.is_diff else dataclasses.replace(self, **empty)
        bodies, held = dict(scene.bodies), dict(scene.held)
        if len(message.world.octomap.octomap.data):
            raise InputError("planning scene", "it has an octomap", "objects only", "send boxes")
        for attached in message.robot_state.attached_collision_objects:  # attached to the hand, or detached from it
            each = attached.object
            if each.operation == CollisionObject.REMOVE:
                for name in [each.id] if each.id else list(held):
                    if name not in held:
                        raise InputError("attached object", repr(name), f"one of {sorted(held)}", "attach it first")
                    if base_T_tip is None:
                        raise InputError(
                            "attached object",
                            "the pose of the tip is not known",
                            "joint states",
                            "publish joint_states",
                        )
                    bodies[name] = held.pop(name).moved(base_T_tip)
                continue
            if attached.link_name not in self.links:
                raise InputError("link of an attached object", repr(attached.link_name), f"one of {sorted(self.links)}",
                                 "attach the object to the hand")  # fmt: skip
            if not (each.primitives or each.meshes or each.planes) and each.id in bodies:
                body, frame = bodies[each.id], self.base_link
            else:
                body, frame = _body(each), each.header.frame_id or self.base_link
            if frame in self.links:
                held[each.id] = body.moved(_inverse(self.links[frame]))
            elif frame != self.base_link or base_T_tip is None:
                got = repr(frame) if frame != self.base_link else "the pose of the tip is not known"
                expected = f"{self.base_link} or one of {sorted(self.links)}"
                raise InputError("frame of an attached object", got, expected, "give the pose in the frame of its link")
            else:
                held[each.id] = body.moved(_inverse(base_T_tip))
            bodies.pop(each.id, None)
        for each in message.world.collision_objects:
            _change(each, bodies, self.base_link)
        matrix = message.allowed_collision_matrix
        chosen = matrix if matrix.entry_names or matrix.default_entry_names else scene.matrix
        n = len(chosen.entry_names)
        square = len(chosen.entry_values) == n and all(len(entry.enabled) == n for entry in chosen.entry_values)
        if not square or len(chosen.default_entry_names) != len(chosen.default_entry_values):
            raise InputError(
                "allowed collision matrix", f"{n} names", "as many rows and columns", "send the complete matrix"
            )
        return dataclasses.replace(scene, bodies=bodies, held=held, matrix=chosen)

    def message(self) -> SceneMessage:
        """The complete scene as a message."""
        scene = SceneMessage(name="arm_planner", robot_model_name=self.robot, allowed_collision_matrix=self.matrix)
        for name, body in self.bodies.items():
            pose, size = body.parts[0]
            each = box_object(name, self.base_link, pose, tuple(size))
            for further, edges in body.parts[1:]:
                other = box_object(name, self.base_link, np.linalg.inv(pose) @ further, tuple(edges))
                each.primitives.extend(other.primitives)
                each.primitive_poses.append(other.pose)
            scene.world.collision_objects.append(each)
        for name, body in self.held.items():
            link = min(self.links, key=lambda each: float(np.abs(self.links[each] - np.eye(4)).max()))  # at the tip
            pose, size = body.parts[0]
            shown = box_object(name, link, self.links[link] @ pose, tuple(size))
            attached = AttachedCollisionObject(link_name=link, object=shown)
            scene.robot_state.attached_collision_objects.append(attached)
        return scene

    def allows(self, one: str, other: str) -> bool:
        """Whether two links or objects may touch."""
        names = list(self.matrix.entry_names)
        if one in names and other in names:
            return bool(self.matrix.entry_values[names.index(one)].enabled[names.index(other)])
        defaults = dict(zip(self.matrix.default_entry_names, self.matrix.default_entry_values, strict=True))
        told = [defaults[name] for name in (one, other) if name in defaults]
        return bool(told) and all(told)

    def boxes(self, padding: float) -> list[BoxObstacle]:
        """All obstacles, grown by `padding` metres."""
        return [
            BoxObstacle(_part(name, number), pose, size, padding)
            for name, body in self.bodies.items()
            for number, (pose, size) in enumerate(body.parts)
        ]

    def stands_on(self) -> frozenset[str]:
        """Ids of objects that the base of the arm may touch."""
        return self._parts(n for n in self.bodies if self.allows(self.base_link, n))

    def segment(self, goal: Floats, straight: bool, opening: float) -> Segment:
        """A motion request for the built-in planner in this scene.

        Hand and fingers may touch whatever any link of the hand may touch; links of the arm may touch nothing.
        """
        held = None
        if self.held:
            (name, body), *more = self.held.items()
            if more or len(body.parts) != 1:
                raise InputError(
                    "attached objects",
                    ", ".join(self.held),
                    "one object made of one box",
                    "attach one box around the object",
                )
            held = HeldBox(name, *body.parts[0])
        return Segment(
            goal,
            straight,
            touch=self._parts(n for n in self.bodies if any(self.allows(link, n) for link in self.hand_links)),
            held=held,
            held_touch=self._parts(n for n in self.bodies if held is not None and self.allows(held.id, n)),
            opening=opening,
        )

    def _parts(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(_part(n, k) for n in names for k in range(len(self.bodies[n].parts)))


def _change(message: CollisionObject, bodies: dict[str, BoxedObject], base: str) -> None:
    if message.operation == CollisionObject.REMOVE:
        if message.id and message.id not in bodies:
            raise InputError("collision object", repr(message.id), f"one of {sorted(bodies)}", "add it first")
        for name in [message.id] if message.id else list(bodies):
            del bodies[name]
        return
    if message.header.frame_id not in ("", base):
        got = repr(message.header.frame_id)
        raise InputError("frame of a collision object", got, base, "give the pose in the base frame of the arm")
    if message.operation == CollisionObject.MOVE:
        raise InputError("operation of a collision object", "MOVE", "ADD, APPEND or REMOVE", "add the object again")
    body = _body(message)
    if message.operation == CollisionObject.APPEND and message.id in bodies:
        body = BoxedObject((*bodies[message.id].parts, *body.parts))
    bodies[message.id] = body


def _body(message: CollisionObject) -> BoxedObject:
    """Convert an object to boxes in the frame of its header."""
    shapes, poses = message.primitives, message.primitive_poses
    if message.meshes or message.planes or not shapes or len(poses) not in (0, len(shapes)) or not message.id:
        got = f"it has {len(message.meshes)} meshes, {len(message.planes)} planes and {len(shapes)} primitives"
        raise InputError(f"collision object {message.id!r}", got, "an id and posed primitives", "send only primitives")
    frame = matrix_of(message.pose)
    counts = {SolidPrimitive.BOX: 3, SolidPrimitive.SPHERE: 1, SolidPrimitive.CYLINDER: 2, SolidPrimitive.CONE: 2}
    parts = []
    for number, shape in enumerate(shapes):
        pose, d = frame @ matrix_of(poses[number]) if len(poses) else frame, [float(v) for v in shape.dimensions]
        if len(d) != counts.get(shape.type):
            got = f"shape {shape.type} of {d}"
            raise InputError(f"collision object {message.id!r}", got, "box, sphere, cylinder or cone", "send boxes")
        size = np.array(d if len(d) == 3 else [2 * d[0]] * 3 if len(d) == 1 else [2 * d[1], 2 * d[1], d[0]])
        if not (np.isfinite(size).all() and (size > 0).all() and np.isfinite(pose).all()):
            got = f"edges {size.tolist()} at {pose[:3, 3].tolist()}"
            raise InputError(f"collision object {message.id!r}", got, "edges above 0 and a finite pose, in metres")
        parts.append((pose, size))
    return BoxedObject(tuple(parts))


def _inverse(pose: Floats) -> Floats:
    return np.asarray(np.linalg.inv(pose), np.float64)


def _part(name: str, number: int) -> str:
    return name if number == 0 else f"{name}#{number}"
