# SPDX-License-Identifier: Apache-2.0
"""Sends the scene to a planner, reads it back, and removes it. docs/moveit.md says why it reads it back.

The planner's own scene never allows contacts: they are sent with the one request that needs them, so nothing has to be
undone after a failure.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from spatial_vlm_ros.errors import (
    CancelledError,
    PlannerUnavailableError,
    PlanningFailedError,
    SceneChangedError,
)
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.nodes.arm import motion_messages as messages
from spatial_vlm_ros.nodes.arm.scene_look import OWNER, SceneLook, changes, check_links, look_of, not_taken, shortly
from spatial_vlm_ros.nodes.calls import Asked, Service
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.printable import printable


class ShownScene:
    """The objects that one planner was sent."""

    def __init__(
        self, node: Node, motion: MotionConfig, apply: Service, get: Service, apply_form: Any, get_form: Any
    ) -> None:
        self._node, self._motion, self._apply, self._get = node, motion, apply, get
        self._apply_form, self._get_form = apply_form, get_form
        self._shown: set[str] = set()
        self._held: str | None = None
        self._planned_in: SceneLook | None = None

    def show(self, scene: PlanningScene, told: Asked) -> SceneLook:
        """Send a scene, after removing everything that this package has left there before.

        Returns:
            The planner's scene afterwards.
        """
        left = self._look(told)
        check_links(self._motion, left)
        released = left.held
        for name in sorted(released):
            link = left.attached[name]
            self._tell(messages.scene_diff(attached=[messages.attached_by_name(name, link, (), attach=False)]), "free")
        frame, sent = scene.frame_id, _bodies(scene)
        names = {each.id for each in sent}
        strange = sorted(names & (left.objects.keys() | left.attached.keys()) - left.ours - released - self._shown)
        if strange:
            reason = f"its scene already has {', '.join(map(repr, strange))} from another program"
            repair = "remove it there or rename it, because this package would replace and then remove it"
            raise PlanningFailedError(self._apply.name, reason, repair)
        sent += [messages.removed_object(name, frame) for name in sorted((left.ours | released) - names)]
        for each in sent:
            each.type.key = OWNER
        self._shown |= names
        request = self._apply_form.Request(scene=messages.scene_diff(sent))
        self._apply.call(request, self._motion.answer_timeout, told)  # the answer does not cover attached objects
        now = self._look(told)
        wrong = not_taken(sent, now)
        wrong += [f"{name!r} is still attached to {link}" for name, link in now.attached.items() if name in now.held]
        if wrong:
            repair = "check its log; motion.planning_frame must be a frame that it knows"
            reason = f"the planner does not apply the scene: {shortly(wrong)}"
            raise PlanningFailedError(self._apply.name, reason, repair)
        self._shown, self._planned_in = names, now
        return now

    def check(self, told: Asked) -> None:
        """Check, directly before motion, that the planner's scene is the one that was planned in."""
        if self._planned_in is None:
            return
        said = changes(self._planned_in, self._look(told))
        if said:
            repair = "send the instruction again to plan in the new scene"
            words = f"has changed: {shortly(said)}"
            raise SceneChangedError("the planner's scene", 0.0, 0.0, 0.0, 0.0, repair, words)

    def hold(self, name: str) -> None:
        """Attach the object in the planner's scene; a failure is only logged."""
        if name not in self._shown:
            return
        link = self._motion.tip_link
        held = messages.attached_by_name(name, link, self._motion.finger_links.split())
        self._held = name
        self._tell(messages.scene_diff(attached=[held]), "hold")
        try:
            taken = name in self._look(lambda: False, self._form().ROBOT_STATE_ATTACHED_OBJECTS).attached
        except (PlannerUnavailableError, CancelledError):
            return  # already logged
        if not taken:
            self._warn(f"the planner reports that it attached {name!r} to {link}, but its scene does not show it")

    def let_go(self) -> None:
        """Detach the held object at its current pose."""
        if self._held is not None:
            body = messages.attached_by_name(self._held, self._motion.tip_link, (), attach=False)
            self._held = None
            self._tell(messages.scene_diff(attached=[body]), "let go of")

    def claim(self, scene: PlanningScene) -> None:
        """Count the objects of a scene as shown, so that `clear` takes them away."""
        self._shown |= {each.id for each in _bodies(scene)}

    def clear(self) -> None:
        """Remove the sent objects, and detach the held object."""
        self._planned_in = None
        self.let_go()
        frame, names = self._motion.planning_frame, sorted(self._shown)
        self._shown = set()
        if names and self._node.context.ok() and self._apply.ready():
            self._tell(messages.scene_diff([messages.removed_object(n, frame) for n in names]), "remove")

    def _form(self) -> Any:
        return self._get_form.Request().components

    def _look(self, told: Asked, wanted: int = 0) -> SceneLook:
        """The planner's scene without its octomap, which changes with every image."""
        request, part = self._get_form.Request(), self._form()
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
            if not self._apply.call(self._apply_form.Request(scene=diff), self._motion.answer_timeout).success:
                self._warn(f"the planner could not {what} the objects that this node added to its scene")
        except (PlannerUnavailableError, CancelledError) as error:
            self._warn(f"the planner could not be asked to {what} the objects in its scene: {error}")

    def _warn(self, words: str) -> None:
        self._node.get_logger().warning(printable(words))


def _bodies(scene: PlanningScene) -> list[Any]:
    """Messages that add a scene: the target as measured, everything else padded."""
    named = [
        messages.box_object(obj.id, scene.frame_id, messages.solid_matrix(solid), solid.size)
        for obj in (*scene.support, *scene.neighbours, *scene.keep_outs, scene.target)
        for solid in (obj.solid if obj is scene.target else obj.padded,)
    ]
    return named + [messages.boxes_object(space.id, scene.frame_id, space.boxes) for space in scene.occupied]
