# SPDX-License-Identifier: Apache-2.0
"""Find places for an object: free, stable spots with a stated relation, best first, or the reason why there is none.

Every cell of a surface is tried: the object is added to the scene there, and the functions that judge visible objects
judge it. docs/placement.md describes the whole search.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.language.part_words import IN, ON_TOP_OF
from spatial_vlm_ros.spatial.belief import SUPPORT_ID, clause_likelihood
from spatial_vlm_ros.spatial.containers import inside_of, is_open, stacked_on, surface_in
from spatial_vlm_ros.spatial.free_space import (
    Cells,
    Moved,
    Relief,
    Stamp,
    depth_inside,
    lies_in,
    measured_widths,
    support_level,
)
from spatial_vlm_ros.spatial.layout import Array, Layout, name_of, names_of
from spatial_vlm_ros.spatial.spot_judging import (
    ON,
    PARTS,
    RIMS,
    UNDER,
    PlaceRequest,
    allowed,
    carrier_of,
    judged,
    nearness,
    no_such_place,
    reason_of,
    room_of,
    thinned,
    why_none,
)
from spatial_vlm_ros.spatial.surfaces import (
    FLUSH,
    SUPPORT,
    NoSurface,
    SupportContext,
    SupportingSurface,
    boards_of,
    is_top,
    may_have_a_lid,
    means_inside,
    open_ground,
    roof_of,
    topmost_of,
)
from spatial_vlm_ros.spatial.tops import tops_of, under_of
from spatial_vlm_ros.types import Place, Pose
from spatial_vlm_ros.types.held import HELD_ID
from spatial_vlm_ros.types.place_reasons import NoPlace

__all__ = ["PlaceRequest", "Placing", "find_places"]

_ASSUMED = 0.06  # metres: size of an object that was not measured
_AROUND = 0.6  # metres around the anchors that are searched, plus what the relation needs
_BEYOND = 5.0  # metres over which a spot is out of reach
_BELOW = 0.15  # metres from below the hand over which a spot to put something down is no longer near
_AMPLE = 3.0  # clearances from which more space is no better
_ELONGATED = 1.2  # length over width from which a rotation may help
_TURNS = (90.0, 45.0, -45.0, 22.5, -22.5, 67.5, -67.5)  # degrees, in the order tried
_SHALLOW = 0.3  # depth over width up to which a vessel is a plate
_SLENDER = 2.0  # length over its other sides from which an object may stand upright in a container
_AT_THE_EDGE = 0.08  # metres from the visible end of a support plane up to which an object is at its edge


# ------------------------------------------------------------------------------------------------ request and answer


@dataclass(frozen=True, eq=False)
class Placing:
    """The places, best first; without any, the reason ("the tray (d3) is full").

    Args:
        spots: contact poses in base_T_camera's parent or else in the camera frame, lengths rounded to 1e-6; at most
            `config.most`, no two at the same place.
        failure: why there is none, else None.
        assumed: assumed size of the object, metres; None if it was measured.
        doubt: assumptions about unseen parts of the surface, in words; None if there are none.
        change: the failure with what would have to change; only if it becomes an answer.
    """

    spots: tuple[Place, ...]
    failure: NoSurface | None = None
    assumed: float | None = None
    doubt: str | None = None
    change: NoPlace | None = None

    @property
    def reason(self) -> str | None:
        """Reason why there is no spot, in words."""
        return None if self.failure is None else self.failure.text


# ------------------------------------------------------------------------------------------------ search


def find_places(layout: Layout, request: PlaceRequest) -> Placing:
    """Find spots for an object, best first, or the reason why there is none."""
    layout = _for_one(layout, request)
    assumed = _ASSUMED if request.moved is None or not layout.measured[request.moved] else None
    unclear = no_such_place(layout, request)
    if unclear is not None:
        return Placing((), unclear, assumed)
    obj, failed = _moved(layout, request), []
    for supporting, spots in _searched_surfaces(layout, request, obj, ()):
        if spots and not isinstance(supporting, NoSurface):
            return Placing(spots, None, assumed, supporting.doubt)
        failed.append(supporting)
    if request.further and has_place(layout, dataclasses.replace(request, further=()), ()):
        each = (
            f"{'' if e.negated else 'not '}{e.name} {names_of(layout, e.anchors) or 'the surface'}"
            for e in request.further
        )
        words = f"every free place there for {obj.name} is {' or '.join(each)}"
        return Placing((), NoSurface("relation", words), assumed)
    reason = failed[0]
    return Placing((), reason if isinstance(reason, NoSurface) else why_none(layout, request, reason, obj), assumed)


def has_place(layout: Layout, request: PlaceRequest, without: tuple[int, ...]) -> bool:
    """True if there would be a spot without these rows of measured objects and everything on them."""
    layout = _for_one(layout, request)
    if no_such_place(layout, request) is not None:
        return False
    return any(spots for _, spots in _searched_surfaces(layout, request, _moved(layout, request), without))


def _for_one(layout: Layout, request: PlaceRequest) -> Layout:
    """The scene for a single object: then "far" is an absolute distance, not the farthest of several objects."""
    if request.relation != "far from":
        return layout
    relation = dataclasses.replace(layout.relation, far_sizes=request.config.far_sizes)
    return dataclasses.replace(layout, relation=relation)


def _searched_surfaces(
    layout: Layout, request: PlaceRequest, obj: Moved, without: tuple[int, ...]
) -> Iterator[tuple[SupportingSurface | NoSurface, tuple[Place, ...]]]:
    """Possible supporting surfaces in the order tried, with the spots on them."""
    away = dict.fromkeys(other for row in without for other in _lifted(layout, row))
    own = () if request.moved is None or not layout.measured[request.moved] else (request.moved,)
    relief = Relief.of(layout, request.depth, *own, *away)
    for row in away:
        relief = relief.seen_past(layout, row, math.inf if request.region is None else request.region.low)
    around = SupportContext(
        layout=layout,
        relief=relief,
        config=request.config,
        lifted=(*_lifted(layout, request.moved), *away),
        reach=obj.reach,
        ceiling=float(obj.size[2]) + request.config.clearance if request.relation in UNDER else math.inf,
    )
    for supporting in _supporting_objects(around, request, obj):
        spots: tuple[Place, ...] = ()
        if not isinstance(supporting, NoSurface):
            tried = (_spots(layout, request, supporting, way) for way in _ways(layout, obj, supporting))
            spots = next(filter(None, tried), ())
        yield supporting, spots


def _ways(layout: Layout, obj: Moved, supporting: SupportingSurface) -> Iterator[Moved]:
    """The object as it stands, turned if it is long, and upright in a container that holds it so.

    Of a long object in a narrow container the foot is at one side and the rim supports the other. It stays in if the
    rim is over the middle of its length.
    """
    yield obj
    long, wide = float(obj.size[0]), float(obj.size[1])
    if long <= _ELONGATED * wide:
        return
    yield from map(obj.turned, _TURNS)
    if supporting.seat is not None and supporting.outline is not None and supporting.middles is None:
        across = 2 * float(depth_inside(supporting.outline, supporting.outline.mean(axis=0)[None])[0])
        deep = supporting.rim_height
        if deep > across and math.hypot(deep, across) > long / 2 and long > _SLENDER * max(wide, float(obj.size[2])):
            yield obj.upright(layout)


def _pose(layout: Layout, place: Array, height: float, axes: Array) -> Pose:
    """The contact pose at a place (2,), in base_T_camera's parent or else in the camera frame."""
    frame, position = layout.scene.frame, layout.axes @ np.array([*place, height - layout.floor])
    if frame.base_T_camera is not None:
        position, axes = frame.base_T_camera.apply(position), frame.base_T_camera.rotation @ axes
    g1, g2, g3 = (round(float(v), 6) + 0.0 for v in position)
    x, y, z, w = (round(float(q), 6) + 0.0 for q in quaternion_xyzw_from_matrix(axes))
    frame_id = frame.frame_id if frame.base_T_camera is None else frame.base_T_camera.parent
    return Pose(frame_id, (g1, g2, g3), (x, y, z, w))


def _id(layout: Layout, row: int) -> str:
    return SUPPORT_ID if row == SUPPORT else layout.scene.objects[row].id


def _moved(layout: Layout, request: PlaceRequest) -> Moved:
    """The object to put down, or a round one of the assumed size."""
    row = request.moved
    if row is not None and layout.measured[row]:
        box = layout.scene.objects[row].box
        outline = layout.footprint[row] - layout.centre[row, :2]
        return Moved(outline, layout.size[row], box.axes, name_of(layout, row), measured_widths(layout, row))
    angles = 2 * np.pi * np.arange(FOOTPRINT_CORNERS) / FOOTPRINT_CORNERS
    g1, _, up = layout.axes.T
    axes = np.stack((g1, np.cross(up, g1), up), axis=1)
    outline = _ASSUMED / 2 * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    name = "an object of 6 cm" if row is None else name_of(layout, row)
    return Moved(outline, np.full(3, _ASSUMED), axes, name)


def _lifted(layout: Layout, moved: int | None) -> tuple[int, ...]:
    if moved is None or not layout.measured[moved]:
        return () if moved is None else (moved,)
    carried = lies_in(layout.footprint[moved], layout.centre[:, :2])
    carried &= (layout.bottom > layout.bottom[moved] + 0.003) & (layout.centre[:, 2] > layout.bottom[moved])
    return (moved, *(row for row in np.flatnonzero(carried).tolist() if row != moved))


def _supporting_objects(
    around: SupportContext, request: PlaceRequest, obj: Moved
) -> Iterator[SupportingSurface | NoSurface]:
    layout = around.layout
    if request.region is not None and math.isfinite(request.region.low):
        yield surface_in(around, request.region, float(obj.size[2]), name_of(layout, request.region.row))
    elif not request.anchors:
        yield open_ground(around, (), 0.0)
    elif request.relation in ON:
        for row in request.anchors:
            name = name_of(layout, row)
            if request.relation in PARTS or request.region is not None:
                yield from _carrying_parts(around, request, obj, row)
                continue
            level = _level_for(around, request, obj, row)
            if isinstance(level, NoSurface) or not _stands(around, request, level, obj).any():
                dish = inside_of(around, row, name)
                if isinstance(dish, SupportingSurface) and dish.outline is not None:
                    width = float(np.ptp(dish.outline, axis=0).min())
                    if dish.rim_height < min(float(obj.size[2]), _SHALLOW * width):
                        yield dish  # a deep plate, over whose rim the object rises, is said to carry it
                        continue
                stacked = stacked_on(around, row, name, obj, _is_open(around, request))
                if not isinstance(stacked, NoSurface) or stacked.cause == "no surface":
                    yield stacked
            yield level
    elif request.relation == "inside":
        for row in request.anchors:
            yield inside_of(around, row, name_of(layout, row))
            nested = stacked_on(around, row, name_of(layout, row), obj, True) if _is_open(around, request) else None
            if isinstance(nested, SupportingSurface) and nested.level.height < layout.top[row] - FLUSH:
                yield nested
    elif request.relation in UNDER:
        for row in request.anchors:
            under = carrier_of(layout, request.view, (row,), request.moved)
            levels = [] if under is None else tops_of(around, under, name_of(layout, under))
            stood_on = [] if isinstance(levels, NoSurface) else [s.level for s in levels]
            away = [abs(each.height - float(layout.bottom[row])) for each in stood_on]
            ground = stood_on[int(np.argmin(away))] if stood_on else support_level(layout)
            yield under_of(around, row, name_of(layout, row), float(obj.size[2]), ground, roof_of(layout, row))
    else:
        under = carrier_of(layout, request.view, request.anchors, request.moved)
        if under is not None:
            supporting = _level_for(around, request, obj, under)
            if not isinstance(supporting, NoSurface):
                yield supporting
        reach = _AROUND + (0.0 if request.distance is None else request.distance.metres)
        if request.relation == "far from":
            reach += layout.relation.far_sizes * float(layout.reach[list(request.anchors)].max())
        yield open_ground(around, request.anchors, reach)


def _is_open(around: SupportContext, request: PlaceRequest) -> bool:
    moved, layout = request.moved, around.layout
    now = dataclasses.replace(around, relief=Relief.of(layout, request.depth), lifted=())
    return moved is not None and bool(layout.measured[moved]) and is_open(now, moved)


def _carrying_parts(
    around: SupportContext, request: PlaceRequest, obj: Moved, row: int
) -> Iterator[SupportingSurface | NoSurface]:
    """Supporting surfaces in a part of an object: its top, or its inside if the words mean that."""
    name = name_of(around.layout, row)
    if request.preposition == IN and boards_of(around.layout, row) > 1:
        yield NoSurface("unclear", f"the instruction does not say which shelf of {name} is meant", row)
        return
    inside = means_inside(around.layout, row, request.relation, request.preposition)
    if not inside:
        level = _level_for(around, request, obj, row)
        lid = request.preposition == IN and may_have_a_lid(around.layout, row)
        if isinstance(level, NoSurface) or not (lid and is_top(around.layout, row, level.level)):
            yield level
    yield inside_of(around, row, name)


def _level_for(around: SupportContext, request: PlaceRequest, obj: Moved, row: int) -> SupportingSurface | NoSurface:
    """The level of an object that is meant: the one under the anchors, else the topmost on which it would stand."""
    name = name_of(around.layout, row)
    levels = tops_of(around, row, name)
    if isinstance(levels, NoSurface):
        return levels
    if request.preposition == ON_TOP_OF and row in request.anchors:
        levels = topmost_of(around, levels)
        if not levels:
            return NoSurface("unseen", f"the top surface of {name} is not visible", row)
    stood = [anchor for anchor in request.anchors if anchor != row]
    if stood:
        foot = float(around.layout.bottom[stood].mean())
        return min(levels, key=lambda level: abs(level.level.height - foot))
    return next((level for level in levels if _stands(around, request, level, obj).any()), levels[0])


def _stands(around: SupportContext, request: PlaceRequest, supporting: SupportingSurface, obj: Moved) -> Cells:
    """(R, C) bool: cells where the object would stand if there were no obstacles."""
    room = room_of(around.layout, request, supporting, obj)
    return room.seen & room.off_rim & room.steady


def _spots(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved) -> tuple[Place, ...]:
    room = room_of(layout, request, supporting, obj)
    free = room.free
    if supporting.row == SUPPORT and request.relation in RIMS:  # the end of the visible part is not an edge
        free &= Stamp.of(obj.outline, supporting.grid.step).distance(supporting.rim) <= _AT_THE_EDGE
    index = thinned(np.flatnonzero(free), supporting)
    if not len(index):
        return ()
    places = supporting.grid.places(index)
    margin, sigma, anchor = judged(layout, request, supporting, obj, places)
    probability = clause_likelihood(margin, sigma)
    keep = np.isfinite(margin) & (probability >= request.config.holds)
    if request.further:
        keep &= allowed(layout, request, supporting, obj, places)
    if not keep.any():
        return ()
    index, places, margin, anchor = index[keep], places[keep], margin[keep], anchor[keep]
    probability = probability[keep]
    clearance = room.clearance.reshape(-1)[index].astype(np.float64)
    ample_from = 1.0 if request.relation == "between" else _AMPLE  # free on both sides, the middle is wide enough
    ample = np.minimum(1.0, clearance / max(ample_from * request.config.clearance, 1e-3))
    origin, beyond = request.view.origin[:2], _BEYOND
    if request.moved is not None and not request.anchors and _id(layout, request.moved) == HELD_ID:
        origin, beyond = layout.centre[request.moved, :2], _BELOW  # put down where the hand is
    away = np.hypot(*(places - origin).T)
    score = probability * ample * nearness(layout, request, supporting, obj, places) * np.exp(-away / beyond)
    score = score * room.carried.reshape(-1)[index]
    score = np.round(score, 9)
    height = supporting.level.at if supporting.seat is None else lambda at: supporting.seat(obj, at)
    inside = None if supporting.outline is None else depth_inside(supporting.outline, places)
    walled = supporting.within and supporting.rim_height < math.inf
    rim = (lambda at: supporting.level.at(at) + supporting.rim_height) if walled else None
    apart = max(float(obj.size[:2].mean()) / 2, 2 * supporting.grid.step)  # between different spots: half the size
    spots: list[Place] = []  # the best places that are apart from all better ones; the first of equal ones
    left = np.ones(len(score), np.bool_)
    while left.any() and len(spots) < request.config.most:
        best = int(np.argmax(np.where(left, score, -1.0)))
        left &= np.hypot(*(places - places[best]).T) >= apart
        stability = None if inside is None else float(inside[best])
        measures = float(margin[best]), float(clearance[best]), stability
        level = float(height(places[best : best + 1])[0])
        spots.append(Place(
            pose=_pose(layout, places[best], level, obj.axes),
            anchor_id=_id(layout, int(anchor[best])),
            carrier_id=_id(layout, supporting.row),
            margin_m=round(measures[0], 6),
            clearance_m=round(measures[1], 6),
            stability_m=None if stability is None else round(stability, 6),
            probability=round(float(probability[best]), 6),
            reason=reason_of(layout, request, supporting, obj, places[best], measures),
            rim_m=None if rim is None else round(float(rim(places[best : best + 1])[0]) - level, 6),
        ))  # fmt: skip
    return tuple(spots)
