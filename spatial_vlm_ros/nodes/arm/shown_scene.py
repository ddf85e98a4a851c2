# SPDX-License-Identifier: Apache-2.0
"""Sends the scene to a planner, reads it back, and removes it (docs/motion.md#read-back)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from rclpy.node import Node

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    PlannerUnavailableError,
    PlanningFailedError,
    SceneChangedError,
    SourceChangedError,
)
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.nodes.arm import motion_messages as messages
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of
from spatial_vlm_ros.nodes.calls import Asked, Service
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.printable import printable

_SAME = 1e-4  # metres, and parts of an axis: MoveIt turns poses into matrices and back
_SAME_ELSEWHERE = 1e-3  # metres, and parts of an axis: for objects compared by relative poses, in another frame
_TOLD = 3  # differences that a message lists


@dataclass(frozen=True, eq=False)
class BodyShape:
    """One shape of an object.

    Args:
        form: "box", "mesh" etc.
        size: dimensions, metres.
        pose: (4, 4) matrix, metres.
    """

    form: str
    size: tuple[float, ...]
    frame: str
    pose: Array

    def beside(self, other: BodyShape) -> float:
        """Largest difference of two poses, metres or parts of an axis; infinite for other shapes or frames."""
        away = float(np.abs(self.pose - other.pose).max())
        return away if self.is_like(other) and self.frame == other.frame and np.isfinite(away) else float("inf")

    def is_like(self, other: BodyShape) -> bool:
        """Whether two shapes have the same form and size, at any pose."""
        if self.form != other.form or len(self.size) != len(other.size):
            return False
        return all(abs(a - b) <= _SAME for a, b in zip(self.size, other.size, strict=True))


@dataclass(frozen=True, eq=False)
class SceneLook:
    """A planner's scene as it reports it; it may leave out links and joints.

    `carried` is what others have attached, `mine` what this package has, as messages.
    """

    objects: Mapping[str, tuple[BodyShape, ...]]
    attached: Mapping[str, str]
    carried: Sequence[Any]
    mine: Sequence[Any]
    shapes: Mapping[str, tuple[BodyShape, ...]]
    links: frozenset[str]
    joints: frozenset[str]
    matrix: Any

    @property
    def ours(self) -> set[str]:
        """Ids of world objects that this package has added."""
        return {name for name in self.objects if name.startswith(OWN)}

    @property
    def held(self) -> set[str]:
        """Ids of objects that this package has attached."""
        return {name for name in self.attached if name.startswith(OWN)}


def look_of(scene: Any) -> SceneLook:
    """Read a scene message."""
    attached = scene.robot_state.attached_collision_objects
    return SceneLook(
        objects={each.id: shapes_of(each) for each in scene.world.collision_objects},
        attached={each.object.id: each.link_name for each in attached},
        carried=[each for each in attached if not each.object.id.startswith(OWN)],
        mine=[each for each in attached if each.object.id.startswith(OWN)],
        shapes={each.object.id: shapes_of(each.object) for each in attached},
        links=frozenset(each.link_name for each in scene.link_padding),
        joints=frozenset(scene.robot_state.joint_state.name),
        matrix=scene.allowed_collision_matrix,
    )


def shapes_of(body: Any) -> tuple[BodyShape, ...]:
    """The shapes of an object message; a shape without its own pose has the object's pose."""
    found = []
    frame, whole = body.header.frame_id, matrix_of(body.pose)
    told: list[tuple[list[tuple[str, tuple[float, ...]]], Any]] = [
        ([(f"primitive {s.type}", tuple(map(float, s.dimensions))) for s in body.primitives], body.primitive_poses),
        ([("mesh", (float(len(s.vertices)), float(len(s.triangles)))) for s in body.meshes], body.mesh_poses),
        ([("plane", tuple(map(float, s.coef))) for s in body.planes], body.plane_poses),
    ]
    for shapes, poses in told:
        for number, (form, size) in enumerate(shapes):
            own = matrix_of(poses[number]) if number < len(poses) else np.eye(4)
            found.append(BodyShape(form, size, frame, np.asarray(whole @ own)))
    return tuple(found)


def apart(one: Iterable[BodyShape], other: Iterable[BodyShape]) -> float:
    """Largest difference of two objects, metres or parts of an axis; infinite for other shapes."""
    a, b = tuple(one), tuple(other)
    return max((x.beside(y) for x, y in zip(a, b, strict=True)), default=0.0) if len(a) == len(b) else float("inf")


def not_taken(sent: Iterable[Any], there: SceneLook) -> list[str]:
    """List, as text, the sent objects that the planner's scene lacks or has changed.

    If the planner reports poses in another frame than they were sent in, such as the root of its model, the transform
    between the two is not known here. The objects must then have the same poses relative to each other as when sent.
    """
    said = []
    frames: dict[tuple[str, str], Array] = {}  # (reported, sent) frame → transform from one to the other
    for body in sent:
        found, wanted = there.objects.get(body.id), shapes_of(body)
        if body.operation == body.REMOVE:
            said += [f"{body.id!r} is still there"] if found is not None else []
        elif found is None:
            said.append(f"{body.id!r} is missing")
        elif not _is_as(found, wanted, frames):
            said.append(f"{body.id!r} differs from what was sent")
    return said


def _is_as(found: tuple[BodyShape, ...], wanted: tuple[BodyShape, ...], frames: dict[tuple[str, str], Array]) -> bool:
    """Whether shapes have the sent form and pose; in another frame, relative to the objects compared before."""
    if len(found) != len(wanted) or not all(a.is_like(b) for a, b in zip(found, wanted, strict=True)):
        return False
    for one, other in zip(found, wanted, strict=True):
        if not np.isfinite(one.pose).all():
            return False
        if one.frame == other.frame:
            told_T_sent, limit = np.eye(4), _SAME
        else:
            own = np.asarray(one.pose @ np.linalg.inv(other.pose))
            told_T_sent, limit = frames.setdefault((one.frame, other.frame), own), _SAME_ELSEWHERE
        if not float(np.abs(one.pose - told_T_sent @ other.pose).max()) <= limit:
            return False
    return True


def changes(before: SceneLook, now: SceneLook) -> list[str]:
    """List, as text, the changes that may invalidate a plan made before.

    Removed objects of other owners do not count: they only leave more space.
    """
    said = [f"{name!r} was added" for name in sorted(now.objects.keys() - before.objects.keys())]
    for name, shapes in before.objects.items():
        if name not in now.objects:
            said += [f"{name!r} is no longer there"] if name in before.ours else []
        elif (far := apart(shapes, now.objects[name])) > _SAME:
            said.append(f"{name!r} moved by {far:.3f} m" if far < float("inf") else f"{name!r} has another shape")
    return said + [
        f"{name!r} is attached to {now.attached[name]}" for name in sorted(now.attached.keys() - before.attached.keys())
    ]


def shortly(said: list[str]) -> str:
    """Join the first few texts, with our names of objects."""
    more = f" and {len(said) - _TOLD} more" if len(said) > _TOLD else ""
    return ", ".join(said[:_TOLD]).replace(OWN, "") + more


def check_links(motion: MotionConfig, look: SceneLook) -> None:
    """Check that the planner's model has the links that may touch, if it reports its links.

    MoveIt silently accepts a matrix with an unknown link, and such an entry allows nothing.
    """
    unknown = sorted(set(motion.finger_links.split()) - look.links)
    if look.links and unknown:
        expected = f"links with collision geometry: {', '.join(sorted(look.links))}"
        raise InputError(
            "parameter motion.finger_links", ", ".join(unknown), expected, "set it to the links of the fingers"
        )


class ShownScene:
    """The objects that one planner was sent."""

    def __init__(self, node: Node, motion: MotionConfig, apply: Service, get: Service) -> None:
        self._node, self._motion, self._apply, self._get = node, motion, apply, get
        self._planned_in: SceneLook | None = None
        self._off: Sequence[Any] = ()  # what the hand holds, while it is attached with each request instead

    def show(self, scene: PlanningScene, told: Asked, held: bool = False) -> SceneLook:
        """Send a scene, after removing everything that this package has left there before.

        Args:
            held: whether the target is in the hand: it is attached with each request, and no obstacle.

        Returns:
            The planner's scene afterwards.
        """
        left = self._look(told)
        check_links(self._motion, left)
        self._off = (held and left.mine) or self._off
        self._detach(left)
        frame = scene.frame_id
        bodies = [(obj.id, obj.padded) for obj in (*scene.support, *scene.neighbours, *scene.keep_outs)]
        bodies += [] if held else [(scene.target.id, scene.target.solid)]  # as measured; everything else is padded
        sent = [messages.box_object(OWN + name, frame, box_pose(solid), solid.size) for name, solid in bodies]
        sent += [messages.boxes_object(OWN + space.id, frame, space.boxes) for space in scene.occupied]
        names = {each.id for each in sent}
        sent += [messages.removed_object(name, frame) for name in sorted((left.ours | left.held) - names)]
        request = ApplyPlanningScene.Request(scene=messages.scene_diff(sent))
        self._apply.call(request, self._motion.answer_timeout, told)  # the answer does not cover attached objects
        now = self._look(told)
        wrong = not_taken(sent, now)
        wrong += [f"{name!r} is still attached to {now.attached[name]}" for name in sorted(now.held)]
        if wrong:
            repair = "check its log; motion.planning_frame must be a frame that it knows"
            reason = f"the planner does not apply the scene: {shortly(wrong)}"
            raise PlanningFailedError(self._apply.name, reason, repair)
        self._planned_in = now
        return now

    def check(self, scene: PlanningScene, held: bool, planned_in: SceneLook, told: Asked) -> None:
        """Check, directly before motion, that the planner's scene is the one that was planned in.

        The scene of a later step is sent again: since it was planned in, another one was.
        """
        now = self._look(told) if self._planned_in is planned_in else self.show(scene, told, held)
        said = changes(planned_in, now)
        if said:
            repair = "send the instruction again to plan in the new scene"
            words = f"has changed: {shortly(said)}"
            raise SceneChangedError("the planner's scene", 0.0, 0.0, 0.0, 0.0, repair, words)

    def hold(self, name: str) -> None:
        """Attach the object in the planner's scene; a failure is only logged."""
        link, name = self._motion.tip_link, OWN + name
        held = messages.attached_by_name(name, link, self._motion.finger_links.split())
        self._tell(messages.scene_diff(attached=[held]), "hold")
        try:
            taken = name in self._look(lambda: False, PlanningSceneComponents.ROBOT_STATE_ATTACHED_OBJECTS).attached
        except (PlannerUnavailableError, SourceChangedError, CancelledError):
            return  # already logged
        if not taken:
            words = shortly(
                [f"the planner reports that it attached {name!r} to {link}, but its scene does not show it"]
            )
            self._warn(words)

    def hold_again(self) -> None:
        """Attach again what the hand held before it was planned for, for whoever comes after this process."""
        if self._off:
            self._tell(messages.scene_diff(attached=self._off), "hold")

    def let_go(self, name: str) -> None:
        """Detach an object, or what was held before, at its current pose."""
        for each in [body.object.id for body in self._off] or [OWN + name]:
            body = messages.attached_by_name(each, self._motion.tip_link, (), attach=False)
            self._tell(messages.scene_diff(attached=[body]), "let go of")
        self._off = ()

    def clear(self, holds: bool = False) -> None:
        """Remove every object of this package, whoever left it; what is attached stays if the hand `holds` it.

        A failure is logged, and not raised. What is attached has to be detached first: removing it from the robot alone
        puts it back into the world (planning_scene.cpp:1694-1760).
        """
        self._planned_in = None
        if not (self._node.context.ok() and self._apply.ready()):
            return
        try:
            left = self._look(lambda: False)
        except (PlannerUnavailableError, SourceChangedError, CancelledError) as error:
            self._warn(f"the planner could not be asked which objects are in its scene: {error}")
            return
        if not holds:
            self._detach(left)
            self._off = ()
        names = left.ours if holds else left.ours | left.held
        removed = [messages.removed_object(n, self._motion.planning_frame) for n in sorted(names)]
        if removed:
            self._tell(messages.scene_diff(removed), "remove")
        if holds and not left.held:
            self.hold_again()

    def _detach(self, left: SceneLook) -> None:
        for name in sorted(left.held):
            body = messages.attached_by_name(name, left.attached[name], (), attach=False)
            self._tell(messages.scene_diff(attached=[body]), "let go of")

    def attached(self, told: Asked) -> dict[str, tuple[BodyShape, ...]]:
        """What this package has left attached to the tip link: its shapes by id."""
        look = self._look(told, PlanningSceneComponents.ROBOT_STATE_ATTACHED_OBJECTS)
        tip = self._motion.tip_link
        return {name.removeprefix(OWN): look.shapes[name] for name in look.held if look.attached[name] == tip}

    def _look(self, told: Asked, wanted: int = 0) -> SceneLook:
        """The planner's scene without its octomap, which changes with every image."""
        request, part = GetPlanningScene.Request(), PlanningSceneComponents
        request.components.components = wanted or (
            part.WORLD_OBJECT_GEOMETRY
            | part.ROBOT_STATE_ATTACHED_OBJECTS
            | part.ALLOWED_COLLISION_MATRIX
            | part.LINK_PADDING_AND_SCALING
        )
        return look_of(self._get.call(request, self._motion.answer_timeout, told).scene)

    def _tell(self, diff: Any, what: str) -> None:
        """Change the planner's scene; a failure is logged and not raised."""
        try:
            if not self._apply.call(ApplyPlanningScene.Request(scene=diff), self._motion.answer_timeout).success:
                self._warn(f"the planner could not {what} the objects that this node added to its scene")
        except (PlannerUnavailableError, SourceChangedError, CancelledError) as error:
            self._warn(f"the planner could not be asked to {what} the objects in its scene: {error}")

    def _warn(self, words: str) -> None:
        self._node.get_logger().warning(printable(words))
