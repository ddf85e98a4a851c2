# SPDX-License-Identifier: Apache-2.0
"""The planning scene as data: what a planner must not run into, and which contacts it may allow.

All in the planning frame, the parent of `base_T_camera`, which has z up; metres. Ids are those of the detections, so
they hold for one observation. Nothing here knows a message.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.config import GoalConfig, PlanningConfig
from spatial_vlm_ros.errors import DepthError, InputError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalise
from spatial_vlm_ros.planning.gripper import FINGERS
from spatial_vlm_ros.planning.solids import Array, Solid, gaps
from spatial_vlm_ros.planning.workspace import keep_outs
from spatial_vlm_ros.types import Resolution, Scene, SceneObject, Transform, Vector3

SUPPORT = "support"
KEEP_OUT = "keep_out/"  # before the name of a volume, so that no detection has its id

_LEVEL = 0.5  # cosine of 60 degrees: a view steeper than this shows little of a thing's height
_SHARED = -0.002  # metres: what overlaps seen from above by this much may stand on one another
_HIGHER = 0.003  # metres by which the foot of what stands on something is higher than that one's own


@dataclass(frozen=True)
class Thing:
    """One collision object.

    Args:
        id: of its detection; "support"; or "keep_out/" and its name.
        label: what it is called.
        solid: its box as measured.
        padding: metres to add on both sides along the box's x, y and z, for what is not known of its place (the
            standard deviation of its centre, times `goal.sigmas`), and for neighbours `goal.padding`.
        outline: (K, 2) corners of its estimated outline seen from above; of the target only.
    """

    id: str
    label: str
    solid: Solid
    padding: Vector3 = (0.0, 0.0, 0.0)
    outline: tuple[tuple[float, float], ...] = ()

    @property
    def padded(self) -> Solid:
        """The box with its padding: what to stay clear of."""
        return self.solid.grown(self.padding)


@dataclass(frozen=True)
class AllowedContact:
    """Two bodies that may touch in one phase; all others may not, in none.

    Args:
        one: a gripper link (see gripper.LINKS) or the id of a thing.
        other: id of a thing.
        phase: "grasp" while the fingers close and until they open again, "lift" while the thing leaves what it stood
            on, "lower" while it comes down on what will carry it.
    """

    one: str
    other: str
    phase: Literal["grasp", "lift", "lower"]


@dataclass(frozen=True)
class PlanningScene:
    """Everything a planner has to know of the surroundings.

    Args:
        frame_id: the planning frame.
        stamp_ns: of the observation that it was made from.
        target: the thing to take; its padding is what is not known of its place, for which the fingers open wider.
        yaw_known: whether the target's box has a heading.
        truncated: whether the picture's border cuts the target, so that it is larger than its box.
        support: surface(s) that things stand on.
        neighbours: all other things seen.
        keep_outs: volumes to keep out of.
        carrier_ids: what the target stands on or in: neighbours, or the support.
        allowed: contacts that are no collisions.
    """

    frame_id: str
    stamp_ns: int
    target: Thing
    yaw_known: bool
    truncated: bool
    support: tuple[Thing, ...]
    neighbours: tuple[Thing, ...]
    keep_outs: tuple[Thing, ...]
    carrier_ids: tuple[str, ...]
    allowed: tuple[AllowedContact, ...]


def planning_scene(scene: Scene, resolution: Resolution, config: PlanningConfig) -> PlanningScene:
    """Export a scene about a resolved target.

    Args:
        scene: all objects of the frame that was resolved (geometry.lift.build_scene).
        resolution: OK, of that frame.
        config: padding, the support's extent, keep-outs.

    Raises:
        InputError: a refusal has no target; the resolution is of another frame or scene.
        TransformUnavailableError: the frame came without `base_T_camera`: nothing can be planned in the camera's frame.
        DepthError: something is there that could not be measured, and not even seen to stand anywhere.
    """
    target = resolution.target
    if target is None:
        got = f"a refusal ({resolution.status.value})"
        raise InputError("resolution", got, "one with a target", "ask again; refusals have no goal")
    base_T_camera = scene.frame.base_T_camera
    if base_T_camera is None:
        raise TransformUnavailableError(
            "base_link", scene.frame.frame_id, "the frame came without base_T_camera", "set base_frame, and publish TF"
        )
    chosen = next((thing for thing in scene.objects if thing.id == target.id), None)
    same = resolution.stamp_ns == scene.frame.stamp_ns and target.pose.frame_id == base_T_camera.parent
    if chosen is None or not same or chosen.depth_problem is not None:
        got = f"target {target.id!r} in {target.pose.frame_id!r} at {resolution.stamp_ns} ns"
        raise InputError("resolution", got, "of the frame that the scene was made from", "resolve and lift one frame")
    outline = tuple((float(x), float(y)) for x, y, _ in base_T_camera.apply(chosen.footprint))
    own = dataclasses.replace(_measured(chosen, base_T_camera, 0.0, config.goal), outline=outline)
    others = tuple(
        _measured(thing, base_T_camera, config.goal.padding, config.goal)
        if thing.depth_problem is None
        else _unmeasured(thing, scene, base_T_camera, config.goal)
        for thing in scene.objects
        if thing is not chosen
    )
    support = _support(scene, base_T_camera, own, others, config.goal)
    carriers = _carriers(own, others)
    return PlanningScene(
        frame_id=base_T_camera.parent,
        stamp_ns=resolution.stamp_ns,
        target=own,
        yaw_known=chosen.yaw_known,
        truncated=chosen.truncated,
        support=(support,),
        neighbours=others,
        keep_outs=tuple(Thing(KEEP_OUT + name, name, box) for name, box in keep_outs(config.workspace).items()),
        carrier_ids=carriers,
        allowed=_allowed(target.id, carriers, resolution),
    )


def _carriers(own: Thing, others: tuple[Thing, ...]) -> tuple[str, ...]:
    """What the target stands on or in: things that lie lower and overlap it seen from above; else the support."""
    upper = own.solid
    lower = [
        thing
        for thing in others
        if upper.bottom - thing.solid.bottom > _HIGHER and upper.centre[2] > thing.solid.centre[2]
    ]
    flat = [Solid((*s.centre[:2], 0.0), s.yaw, (*s.size[:2], 1.0)) for s in (upper, *(t.solid for t in lower))]
    overlap = gaps(flat[:1], flat[1:])[0]
    return tuple(thing.id for thing, gap in zip(lower, overlap, strict=True) if gap < _SHARED) or (SUPPORT,)


def _allowed(target_id: str, carriers: tuple[str, ...], resolution: Resolution) -> tuple[AllowedContact, ...]:
    lowered = (resolution.place.carrier_id,) if resolution.place is not None else ()
    return (
        *(AllowedContact(finger, target_id, "grasp") for finger in FINGERS),
        *(AllowedContact(target_id, carrier, "lift") for carrier in carriers),
        *(AllowedContact(target_id, carrier, "lower") for carrier in lowered),
    )


def _measured(thing: SceneObject, base_T_camera: Transform, least: float, config: GoalConfig) -> Thing:
    """A measured object, padded by `least` metres and what is not known of its place."""
    axes = base_T_camera.rotation @ thing.box.axes
    x, y, z = base_T_camera.apply(thing.box.centre).tolist()
    sx, sy, sz = thing.box.size.tolist()
    sigma = np.sqrt(np.diag(thing.box.axes.T @ thing.covariance[:3, :3] @ thing.box.axes))
    px, py, pz = np.minimum(least + config.sigmas * sigma, config.most_padding).tolist()
    return Thing(
        id=thing.id,
        label=thing.detection.label,
        solid=Solid((x, y, z), math.atan2(axes[1, 0], axes[0, 0]), (sx, sy, sz)),
        padding=(px, py, pz),
    )


def _unmeasured(thing: SceneObject, scene: Scene, base_T_camera: Transform, config: GoalConfig) -> Thing:
    """What was seen but not measured (glass, shine): a box where the lower edge of its picture meets the support.

    It is as deep as wide, and as high as it looks, or higher: the picture alone does not tell.

    Raises:
        DepthError: no support plane is seen there.
    """
    x0, y0, x1, y1 = thing.detection.box_xyxy
    camera, plane = scene.frame.camera, scene.support
    ray = np.append(normalise(camera, np.array([[(x0 + x1) / 2, y1]]))[0], 1.0)
    depth = -plane.offset / float(plane.normal @ ray) if plane is not None else math.nan
    if not 0.0 < depth < math.inf:
        raise DepthError(
            f"the {thing.detection.label} ({thing.id}) could not be measured, and where it stands is not seen",
            "move the camera, or take the thing away",
        )
    width, tall = (x1 - x0) * depth / camera.K[0, 0], (y1 - y0) * depth / camera.K[1, 1]
    level = math.sqrt(max(0.0, 1.0 - float(scene.up @ ray) ** 2 / float(ray @ ray)))
    height = tall / max(level, _LEVEL)
    away = base_T_camera.rotation @ ray
    yaw = math.atan2(away[1], away[0])
    x, y, z = base_T_camera.apply(ray * depth).tolist()
    centre = (x + math.cos(yaw) * width / 2, y + math.sin(yaw) * width / 2, z + height / 2)
    more = config.most_padding
    return Thing(thing.id, thing.detection.label, Solid(centre, yaw, (width, width, height)), (more, more, more))


def _support(
    scene: Scene, base_T_camera: Transform, own: Thing, others: tuple[Thing, ...], config: GoalConfig
) -> Thing:
    """A level slab at the height that the support plane has below the target; without a plane, at the target's foot."""
    top = own.solid.bottom
    if scene.support is not None:
        normal = base_T_camera.rotation @ scene.support.normal
        offset = scene.support.offset - float(normal @ base_T_camera.translation)
        top = -(offset + float(normal[:2] @ own.solid.centre[:2])) / float(normal[2])
    corners: Array = np.concatenate([thing.solid.outline() for thing in (own, *others)])
    low, high = corners.min(axis=0) - config.support_reach, corners.max(axis=0) + config.support_reach
    (x, y), (sx, sy) = ((low + high) / 2).tolist(), (high - low).tolist()
    deep = config.support_thickness
    return Thing(SUPPORT, SUPPORT, Solid((x, y, top - deep / 2), 0.0, (sx, sy, deep)))
