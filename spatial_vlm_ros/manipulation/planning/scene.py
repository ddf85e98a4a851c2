# SPDX-License-Identifier: Apache-2.0
"""The planning scene as data: obstacles, allowed contacts, workspace; and what is in the way of a swept gripper.

Everything is in the planning frame, the parent of `base_T_camera`, z up; metres. Ids are those of the detections, so
they are valid for one observation. No ROS messages.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DepthError, InputError
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.occupancy.measuring import BESIDE, INSIDE, UNSEEN, Occupancy, OccupiedSpace, spaces_of
from spatial_vlm_ros.manipulation.occupancy.unseen import SOLID
from spatial_vlm_ros.manipulation.planning.goal import Rejection, Side
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, Solid, TurnedBox, distances, gaps
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface, SurroundingObject, Surroundings
from spatial_vlm_ros.parameters import GoalConfig, PlanningConfig, WorkspaceConfig
from spatial_vlm_ros.types import Vector3

SUPPORT = "support"
KEEP_OUT = "keep_out/"  # prefix of a volume's name, so that no detection has its id

_SHARED = -0.002  # metres: objects that overlap this much seen from above may stand on each other
TOUCHES = 0.005  # metres between boxes that planners may treat as contact
_HIGHER = 0.003  # metres by which the foot of a supported object is higher than its support's foot


@dataclass(frozen=True)
class PlanningObject:
    """One collision object.

    Args:
        id: id of its detection, "support", or "keep_out/" and its name.
        padding: metres added on both sides along the box's x, y and z: position uncertainty (the standard deviation of
            its centre, times `goal.sigmas`), for neighbours also `goal.padding`, and for objects to avoid by the words
            also `goal.avoid`.
        outline: (K, 2) corners of its estimated outline seen from above, metres; only for the target.
        surface: its visible surface; only for the target.
        seen: its measured surface and hidden space, for grasps; only for the target.
    """

    id: str
    label: str
    solid: Solid
    padding: Vector3 = (0.0, 0.0, 0.0)
    outline: tuple[tuple[float, float], ...] = ()
    surface: SeenSurface | None = None
    seen: TargetPoints | None = None

    @property
    def padded(self) -> Solid:
        """The box with its padding, to stay clear of."""
        return self.solid.grown(self.padding)


@dataclass(frozen=True)
class AllowedContact:
    """Two bodies that may touch in one phase; all other contacts are forbidden.

    Args:
        one: a gripper link (see gripper.LINKS) or the id of an object.
        phase: "grasp" while the fingers close and until they open again, "lift" while the object leaves its support,
            "lower" while it moves down to its new support, "leave" while an empty hand leaves where it stands.
    """

    one: str
    other: str
    phase: Literal["grasp", "lift", "lower", "leave"]


@dataclass(frozen=True)
class PlanningScene:
    """Everything that a planner needs to know about the surroundings.

    Args:
        frame_id: the planning frame.
        stamp_ns: stamp of the observation, nanoseconds.
        truncated: whether the image border cuts the target, so that it is larger than its box.
        support: surface(s) that objects stand on.
        occupancy: unnamed obstacles from depth; None without depth of the way.
        entered: space in the destination that the target may fill once it is there; it may touch what is measured
            there, such as the wall of a bowl. None without such a space.
    """

    frame_id: str
    stamp_ns: int
    target: PlanningObject
    yaw_known: bool
    truncated: bool
    support: tuple[PlanningObject, ...]
    neighbours: tuple[PlanningObject, ...]
    keep_outs: tuple[PlanningObject, ...]
    carrier_ids: tuple[str, ...]
    allowed: tuple[AllowedContact, ...]
    occupancy: Occupancy | None = None
    entered: Solid | None = None

    @cached_property
    def occupied(self) -> tuple[OccupiedSpace, ...]:
        """Unnamed obstacles as boxes."""
        return spaces_of(self.occupancy, self.target.solid, self.entered)

    @cached_property
    def doubtful(self) -> tuple[tuple[float, tuple[Solid, ...]], ...]:
        """Hidden space that is rather free: its probability to be occupied, and boxes; the most probable first."""
        spaces = () if self.occupancy is None else self.occupancy.hidden
        return tuple((space.chance, space.voxels.as_boxes()) for space in spaces if space.chance < SOLID)


def planning_scene(surroundings: Surroundings, config: PlanningConfig) -> PlanningScene:
    """Build the planning scene of a resolved target.

    Args:
        surroundings: surroundings in the resolved frame (surroundings.surroundings_of).

    Raises:
        DepthError: an object could neither be measured nor located on the support.
    """
    seen = surroundings
    if seen.unplaced:
        reason = f"{', '.join(seen.unplaced)} could not be measured, and where it stands is not visible"
        raise DepthError(reason, "move the camera, or remove the object")
    own = dataclasses.replace(
        _padded(seen.target, config.goal), outline=seen.outline, surface=seen.surface, seen=seen.target_points
    )
    avoid = config.goal.avoid
    others = tuple(
        _padded(body, config.goal, config.goal.padding, avoid if body.id in seen.avoid else 0.0) for body in seen.others
    )
    upper = own.solid
    lower = [
        obj for obj in others if upper.bottom - obj.solid.bottom > _HIGHER and upper.centre[2] > obj.solid.centre[2]
    ]
    flat = [Solid((*s.centre[:2], 0.0), s.yaw, (*s.size[:2], 1.0)) for s in (upper, *(t.solid for t in lower))]
    overlap = gaps(flat[:1], flat[1:])[0]
    supporting_objects = tuple(obj.id for obj, gap in zip(lower, overlap, strict=True) if gap < _SHARED) or (SUPPORT,)
    # Boxes of curved objects beside the target may reach it, padded. Since both objects exist there, the boxes are too
    # large; moving straight up, the target leaves them, as in `pick_goal`.
    level = [obj for obj in others if obj.solid.bottom <= upper.centre[2] and obj.id not in supporting_objects]
    apart = gaps([upper], [obj.padded for obj in level])[0] if level else ()
    beside = tuple(obj.id for obj, gap in zip(level, apart, strict=True) if gap < TOUCHES)

    into = next((obj.padded for obj in others if obj.id == seen.destination_id), None)
    height, entered = seen.place_height, None  # the destination's box from the lowest place up to the target's height
    if into is not None and height is not None and into.top > height:
        entered = into.between(height, min(into.top, height + upper.size[2]))
    unnamed = (BESIDE, UNSEEN, INSIDE) if seen.occupancy is not None else ()
    lowered = () if seen.destination_id is None else (seen.destination_id, *unnamed[2:])
    return PlanningScene(
        frame_id=seen.frame_id,
        stamp_ns=seen.stamp_ns,
        target=own,
        yaw_known=seen.yaw_known,
        truncated=seen.truncated,
        support=(_support(seen.support_height, own, others, config.goal),),
        neighbours=others,
        keep_outs=tuple(
            PlanningObject(KEEP_OUT + name, name, box) for name, box in keep_outs(config.workspace).items()
        ),
        carrier_ids=supporting_objects,
        allowed=(
            *(AllowedContact(finger, own.id, "grasp") for finger in FINGERS),
            *(AllowedContact(own.id, other, "lift") for other in (*supporting_objects, *beside, *unnamed[:2])),
            *(AllowedContact(own.id, other, "lower") for other in lowered),
        ),
        occupancy=seen.occupancy,
        entered=entered,
    )


def _padded(body: SurroundingObject, config: GoalConfig, least: float = 0.0, more: float = 0.0) -> PlanningObject:
    """Pad an object by its position uncertainty, the largest one if it is unmeasured, and `least` and `more` metres.

    Uncertainty and `least` together are limited by `most_padding`.
    """
    if body.sigma is None:
        sides: tuple[float, ...] = (config.most_padding,) * 3
    else:
        sides = tuple(min(least + config.sigmas * value, config.most_padding) for value in body.sigma)
    x, y, z = (side + more for side in sides)
    return PlanningObject(body.id, body.label, body.solid, (x, y, z))


def _support(top: float, own: PlanningObject, others: tuple[PlanningObject, ...], config: GoalConfig) -> PlanningObject:
    corners: Array = np.concatenate([obj.solid.outline() for obj in (own, *others)])
    low, high = corners.min(axis=0) - config.support_reach, corners.max(axis=0) + config.support_reach
    (x, y), (sx, sy) = ((low + high) / 2).tolist(), (high - low).tolist()
    deep = config.support_thickness
    return PlanningObject(SUPPORT, SUPPORT, Solid((x, y, top - deep / 2), 0.0, (sx, sy, deep)))


_REPAIR = 'write "name x0 y0 z0 x1 y1 z1", metres, least corner first, volumes separated by ";"'


def words_outside(workspace: WorkspaceConfig, places: Iterable[tuple[str, Vector3]]) -> str:
    """Says which of some named points is outside the workspace or not finite; "" if none is."""
    low = (workspace.x_min, workspace.y_min, workspace.z_min)
    high = (workspace.x_max, workspace.y_max, workspace.z_max)
    for name, point in places:
        beyond = max(max(a - p, p - b) for a, p, b in zip(low, point, high, strict=True))
        beyond = beyond if all(math.isfinite(value) for value in point) else math.inf
        if beyond > 0:
            return f"its {name} is {beyond:.3f} m outside the workspace"
    return ""


def keep_outs(workspace: WorkspaceConfig) -> Mapping[str, Solid]:
    """Keep-out volumes by name."""
    volumes: dict[str, Solid] = {}
    for entry in filter(None, (part.strip() for part in workspace.keep_out.split(";"))):
        name, *words = entry.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"keep-out {name!r}", entry, "a name and six numbers", _REPAIR) from error
        if len(numbers) != 6 or not all(math.isfinite(n) for n in numbers):
            raise InputError(f"keep-out {name!r}", entry, "a name and six finite numbers", _REPAIR)
        low, high = numbers[:3], numbers[3:]
        if not all(a < b for a, b in zip(low, high, strict=True)) or name in volumes:
            raise InputError(
                f"keep-out {name!r}", entry, "the least corner, then the greatest, and each name once", _REPAIR
            )
        cx, cy, cz = ((a + b) / 2 for a, b in zip(low, high, strict=True))
        x, y, z = (b - a for a, b in zip(low, high, strict=True))
        volumes[name] = Solid((cx, cy, cz), 0.0, (x, y, z))
    return volumes


_NEAR_BY = 0.1  # metres: farther unnamed obstacles do not count as clearance
_ROUNDING = 1e-9  # metres: an object exactly at its clearance is clear


@dataclass(frozen=True)
class Way:
    """One candidate motion of the gripper.

    Args:
        gripper: boxes that the gripper sweeps; at least one.
        lowered: whether it is lowered into its place, where rim and contents may touch it.
    """

    side: Side
    gripper: tuple[Body, ...]
    obj: tuple[Solid, ...] = ()
    lifted: bool = False
    lowered: bool = False


def judged(
    scene: PlanningScene, ways: Sequence[Way], neighbours: Sequence[PlanningObject], config: GoalConfig
) -> list[Rejection | float]:
    """Judge candidate motions: a rejection, or the clearance from `neighbours`, metres (infinite without obstacles)."""
    if not ways:
        return []
    around = [*neighbours, *scene.keep_outs]
    boxes = [box for way in ways for box in (*way.gripper, *way.obj)]
    starts = np.cumsum([0, *(len(way.gripper) + len(way.obj) for way in ways)])[:-1]
    to_objects = np.minimum.reduceat(distances(boxes, [obj.padded for obj in around]), starts, axis=0)
    grippers = [box for way in ways for box in way.gripper]
    starts = np.cumsum([0, *(len(way.gripper) for way in ways)])[:-1]
    to_support = np.minimum.reduceat(distances(grippers, [s.solid for s in scene.support]).min(axis=1), starts)
    unnamed = _unnamed(scene, ways, config.clearance)
    results: list[Rejection | float] = []
    for way, support, row, (away, left, space) in zip(ways, to_support, to_objects, unnamed, strict=True):
        objects, volumes = row[: len(neighbours)], row[len(neighbours) :]
        if support < config.support_clearance - _ROUNDING:
            near = f"within {support:.3f} m of" if support > 0 else f"{-support:.3f} m into"
            results.append(Rejection(way.side, "below_support", f"the gripper would come {near} the support", SUPPORT))
        elif volumes.min(initial=math.inf) < 0:
            volume = scene.keep_outs[int(volumes.argmin())]
            words = f"it enters the keep-out volume {volume.label!r}"
            results.append(Rejection(way.side, "keep_out", words, volume.id))
        elif objects.min(initial=math.inf) < config.clearance - _ROUNDING:
            obj = neighbours[int(objects.argmin())]
            results.append(Rejection(way.side, "blocked", f"the {obj.label} ({obj.id}) is in the way", obj.id))
        elif space is not None and left < -_ROUNDING:
            results.append(Rejection(way.side, "blocked", f"{space.label} is in the way", space.id))
        else:
            results.append(min(away, float(row.min(initial=math.inf))))
    return results


def _unnamed(
    scene: PlanningScene, ways: Sequence[Way], clearance: float
) -> list[tuple[float, float, OccupiedSpace | None]]:
    """The nearest unnamed obstacle of each candidate.

    Returns:
        Distance, distance beyond the required one (metres, infinite if nothing is near) and the obstacle with the least
        of the latter: unseen space is padded already and needs no clearance.
    """
    found: list[tuple[float, float, OccupiedSpace | None]] = [(math.inf, math.inf, None)] * len(ways)
    for space in scene.occupied:
        corners = _corners(space.boxes)
        for number, way in enumerate(ways):
            with_object = not ((way.lifted and space.id in (BESIDE, UNSEEN)) or (way.lowered and space.id == INSIDE))
            swept = (*way.gripper, *way.obj) if with_object else way.gripper
            near = _near(swept, corners, _NEAR_BY)
            if not len(near):
                continue
            away, left, nearest = found[number]
            least = float(distances(swept, [space.boxes[k] for k in near]).min())
            beyond = least - (0.0 if space.id == UNSEEN else clearance)
            found[number] = (min(away, least), min(left, beyond), space if beyond < left else nearest)
    return found


def contact_chances(scene: PlanningScene, ways: Sequence[Way]) -> list[float]:
    """Probability of each candidate motion that the gripper touches something hidden.

    An obstacle reaches as far back as the space that is entered, or not: the greatest probability counts, no sum.
    """
    chances = [0.0] * len(ways)
    for chance, boxes in scene.doubtful:
        corners = _corners(boxes)
        for number, way in enumerate(ways):
            near = () if chances[number] >= chance else _near(way.gripper, corners, 0.0)
            if len(near) and distances(way.gripper, [boxes[k] for k in near]).min() < 0:
                chances[number] = chance
    return chances


def _near(swept: Sequence[Body], corners: Array, aside: float) -> npt.NDArray[np.intp]:
    """Which of the boxes with these corners, (N, 2, 3), come within `aside` metres of bodies, along every axis."""
    own = _corners(swept)
    low, high = own[:, 0].min(axis=0) - aside, own[:, 1].max(axis=0) + aside
    return np.flatnonzero(((corners[:, 0] <= high) & (corners[:, 1] >= low)).all(axis=1))


def _corners(bodies: Sequence[Body]) -> Array:
    """(N, 2, 3) least and greatest x, y and z of boxes, including their sweep."""
    spans = []
    for body in bodies:
        if isinstance(body, TurnedBox):
            corners = body.corners()
            spans.append((corners.min(axis=0), corners.max(axis=0)))
        else:
            low, high = body.outline().min(axis=0), body.outline().max(axis=0)
            spans.append((np.append(low, body.bottom), np.append(high, body.top)))
    return np.array(spans)
