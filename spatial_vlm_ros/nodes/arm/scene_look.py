# SPDX-License-Identifier: Apache-2.0
"""What a planner answers about its scene, and how two such answers differ. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of
from spatial_vlm_ros.parameters import MotionConfig

OWNER = "spatial_vlm_ros"
"""`type.key` of objects that this package puts into a planner's scene. MoveIt tells it with names and keeps it while an
object is attached: moveit2, jazzy 4d841063, planning_scene.cpp:862-866, 988-996, 1031-1033."""
_SAME = 1e-4  # metres, and parts of an axis: MoveIt turns poses into matrices and back
_SAME_ELSEWHERE = 1e-3  # metres, and parts of an axis: by poses in another frame, an object beside the others
_TOLD = 3  # differences that are told


@dataclass(frozen=True, eq=False)
class BodyShape:
    """One shape of an object.

    Args:
        form: "box", "mesh" and so on.
        size: numbers of its size, metres.
        frame: that `pose` is given in.
        pose: (4, 4).
    """

    form: str
    size: tuple[float, ...]
    frame: str
    pose: Array

    def beside(self, other: BodyShape) -> float:
        """Metres, or parts of an axis, between two poses; infinite where these are other shapes or frames."""
        away = float(np.abs(self.pose - other.pose).max())
        return away if self.is_like(other) and self.frame == other.frame and np.isfinite(away) else float("inf")

    def is_like(self, other: BodyShape) -> bool:
        """Whether two shapes have one form and one size, wherever they are."""
        if self.form != other.form or len(self.size) != len(other.size):
            return False
        return all(abs(a - b) <= _SAME for a, b in zip(self.size, other.size, strict=True))


@dataclass(frozen=True, eq=False)
class SceneLook:
    """A planner's scene as it is told. A planner may leave out links and joints.

    Args:
        objects: the shapes of each object.
        owners: `type.key` of objects in the world and of those that are attached.
        attached: the link that each attached object is at.
        links: with a collision geometry.
        joints: of the planner's model.
        matrix: the allowed collision matrix, a message.
    """

    objects: Mapping[str, tuple[BodyShape, ...]]
    owners: Mapping[str, str]
    attached: Mapping[str, str]
    links: frozenset[str]
    joints: frozenset[str]
    matrix: Any

    @property
    def ours(self) -> set[str]:
        """What this package has put there: objects of the world."""
        return {name for name in self.objects if self.owners.get(name) == OWNER}

    @property
    def held(self) -> set[str]:
        """What this package has attached."""
        return {name for name in self.attached if self.owners.get(name) == OWNER}


def look_of(scene: Any) -> SceneLook:
    """A scene's message."""
    attached = scene.robot_state.attached_collision_objects
    bodies = [*scene.world.collision_objects, *(each.object for each in attached)]
    return SceneLook(
        objects={each.id: shapes_of(each) for each in scene.world.collision_objects},
        owners={each.id: each.type.key for each in bodies if each.type.key},
        attached={each.object.id: each.link_name for each in attached},
        links=frozenset(each.link_name for each in scene.link_padding),
        joints=frozenset(scene.robot_state.joint_state.name),
        matrix=scene.allowed_collision_matrix,
    )


def shapes_of(body: Any) -> tuple[BodyShape, ...]:
    """The shapes of an object's message; a shape without a pose of its own is where the object is."""
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
    """By how much two objects differ: metres or parts of an axis; infinite for other shapes."""
    a, b = tuple(one), tuple(other)
    return max((x.beside(y) for x, y in zip(a, b, strict=True)), default=0.0) if len(a) == len(b) else float("inf")


def not_taken(sent: Iterable[Any], there: SceneLook) -> list[str]:
    """What of the objects that were sent the planner's scene does not have as they were sent, in words.

    Where the planner tells poses in another frame than they were sent in, such as the root of its model, nobody says
    here how the two lie. They lie in one way: the objects have to stand to each other as they were sent.
    """
    said = []
    frames: dict[tuple[str, str], Array] = {}  # told and sent frame → what takes a pose in the one to the other
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
    """Whether shapes are as they were sent, and there; in another frame, beside those that were compared before."""
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
    """What has changed by which a plan that was made before may not hold now, in words.

    Objects of others that are gone are no such change: the way has become wider.
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
    """The first few of them."""
    more = f" and {len(said) - _TOLD} more" if len(said) > _TOLD else ""
    return ", ".join(said[:_TOLD]) + more


def check_links(motion: MotionConfig, look: SceneLook) -> None:
    """Whether the planner's model has the links that may touch, where it tells its links.

    A matrix with a link that does not exist is taken without a word, and allows nothing.

    Raises:
        InputError: it lacks one.
    """
    unknown = sorted(set(motion.finger_links.split()) - look.links)
    if look.links and unknown:
        expected = f"links with collision geometry: {', '.join(sorted(look.links))}"
        raise InputError(
            "parameter motion.finger_links", ", ".join(unknown), expected, "set it to the links of the fingers"
        )
