# SPDX-License-Identifier: Apache-2.0
"""Describe why there is no place to put an object, or why a spot was chosen and which limit it is closest to."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.printable import joined, printable
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.free_space import Cells, Stamp, depth_inside, hull, nearest_points
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.moved import Moved
from spatial_vlm_ros.spatial.parts.region import rectangle_of
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.spot_judging import (
    AHEAD_RIGHT,
    BESIDE,
    CLOSE,
    ON,
    PARTS,
    RIMS,
    UNDER,
    PlaceRequest,
    judged,
    nearness,
    placeable,
    room_of,
    thinned,
)
from spatial_vlm_ros.spatial.surfaces import SUPPORT, NoSurface, Room, SupportingSurface, whole_outline
from spatial_vlm_ros.types.place_reasons import NoPlaceCause, PlaceLimit, PlaceReason

_LISTED = 3  # objects named in a reason
_CELLS = 2.0  # cells across a free circle from which its size is reported; also how far an outline may be off its cells


def no_such_place(layout: Layout, request: PlaceRequest) -> NoSurface | None:
    """Reason why such a place is not searched for at all, or None."""
    if request.relation not in placeable() or request.relation not in RELATIONS:
        return NoSurface("unclear", f"an object cannot be placed '{request.relation}' another")
    relation = RELATIONS[request.relation]
    if request.distance is not None and not relation.metric:
        return NoSurface("unclear", f"'{request.relation}' does not take a distance")
    count = len(set(request.anchors))
    if count == 0 and request.relation not in ON:
        return NoSurface("unclear", f"'{request.relation}' needs a reference object")
    if request.moved is not None and request.moved in request.anchors:
        return NoSurface("unclear", f"{name_of(layout, request.moved)} cannot be placed relative to itself")
    if relation.several == "two" and count != 2:
        return NoSurface("unclear", f"'{request.relation}' needs two reference objects")
    if relation.several == "one" and count > relation.most_anchors:
        return NoSurface("unclear", f"'{request.relation}' takes one reference object only")
    for row in request.anchors:
        if not layout.measured[row]:
            return NoSurface("unseen", f"the position of {name_of(layout, row)} cannot be measured", row)
    return None


def why_none(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved) -> NoSurface:
    """The cause that excludes most of the places where the object was meant to go."""
    room = room_of(layout, request, supporting, obj)
    row = None if supporting.row == SUPPORT else supporting.row
    name = request.part or ("the surface" if row is None else name_of(layout, row))
    if not (room.steady & (room.off_rim if supporting.within else room.steady)).any():
        cells = supporting.sound if row is None else supporting.grid.filled([whole_outline(supporting)])
        _, width = _free_circle(supporting, cells)
        foot = obj.below(supporting.rim_height) if supporting.within else obj.foot
        long, narrow = (2 * rectangle_of(foot).half).tolist()
        needed = narrow + 2 * request.config.inside_edge
        if width >= needed:  # wide enough, so it is too long
            corners = hull(supporting.grid.places(np.flatnonzero(cells)))
            width = float(np.linalg.norm(corners[:, None] - corners, axis=2).max())
            needed = long + 2 * request.config.inside_edge
        return NoSurface("too small", f"{name} is smaller than {obj.name}", row, *_of(needed, width, supporting))
    anchors = names_of(layout, request.anchors)
    where = f"{request.relation} {anchors}" if anchors else "that is large enough"
    weight = _meant(layout, request, supporting, obj, room.steady)
    if row is None and request.relation in RIMS and not supporting.rim.any():
        return NoSurface("edge", "no edge of the surface is visible")
    if not weight.any():
        if request.relation == "between":
            return NoSurface("relation", f"there is no room between {anchors}")
        far = "" if request.distance is None else " at that distance"
        return NoSurface("relation", f"there is no place for {obj.name} {where}{far}", row)
    if supporting.row not in request.anchors and request.relation not in CLOSE:  # keep clear of the anchors themselves
        stamp = Stamp.of(obj.outline, supporting.grid.step)
        own = stamp.distance(supporting.grid.filled(layout.footprint[list(request.anchors)])) < request.config.clearance
        weight = np.where(own, 0.0, weight)
        if not weight.any():
            return NoSurface("relation", f"there is no room for {obj.name} {where}", row)
    stamp, taken = Stamp.of(obj.outline, supporting.grid.step), []
    for other in supporting.others:  # by the weight of the places that each blocks, largest first
        met = stamp.touching(supporting.grid.filled([layout.footprint[other]]))
        taken.append((round(float(weight[met].sum()), 9), -other))
    blocking = tuple(-other for part, other in sorted(taken, reverse=True) if part > 0)
    listed = f"{names_of(layout, blocking[:_LISTED])} {'are' if len(blocking) > 1 else 'is'}" if blocking else ""
    cause, text = _main_cause(room, weight, supporting, where, name, listed)
    unseen = bool((~room.seen & room.clear & room.off_rim & room.steady & (weight > 0)).any())
    if supporting.outline is None:
        return NoSurface(cause, text, row, blocking=blocking, unseen=unseen)
    place, width = _free_circle(supporting, supporting.sound & ~supporting.taken & ~supporting.rim)
    narrow = float(2 * rectangle_of(obj.outline).half[1])
    needed, available = _of(narrow + 2 * supporting.apart(request.config), width, supporting)
    if cause == "occupied" and available is not None:
        rows = supporting.others
        away = [-float(depth_inside(layout.footprint[other], place[None])[0]) for other in rows]
        beside = f", beside {name_of(layout, rows[int(np.argmin(away))])}" if rows else ""
        circle = f"{name} has no free place {needed * 100:.1f} cm wide"
        text = f"{text}; {circle}, and the largest is {available * 100:.1f} cm{beside}"
    return NoSurface(cause, text, row, needed, available, blocking, unseen)


def _of(needed: float, available: float, supporting: SupportingSurface) -> tuple[float, float | None]:
    return needed, available if _CELLS * supporting.grid.step < available < needed else None


def _free_circle(supporting: SupportingSurface, free: Cells) -> tuple[Array, float]:
    """Middle (2,) and diameter of the largest free circle of cells, metres."""
    grid = supporting.grid
    padded = np.pad(free.view(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    best = int(np.argmax(inside))
    width = max(2.0 * float(inside.reshape(-1)[best]) - 1.0, 0.0) * grid.step  # between centres of cells
    return grid.places(np.array([best]))[0], width


def _main_cause(
    room: Room, weight: Array, supporting: SupportingSurface, where: str, name: str, blocking: str
) -> tuple[NoPlaceCause, str]:
    """The cause that excludes most of the cells, by their weight (R, C)."""
    against = {
        "taken": float(weight[~room.clear].sum()),
        "edge": float(weight[~room.off_rim & room.clear].sum()),
        "unseen": float(weight[~room.seen & room.clear & room.off_rim].sum()),
    }
    worst = max(against, key=lambda cause: against[cause])
    on_support = supporting.row == SUPPORT
    if worst == "unseen":
        return "unseen", f"no free surface is visible {where}" if on_support else f"too little of {name} is visible"
    if worst == "edge":
        return "edge", f"the surface ends {where}" if on_support else f"the rim of {name} leaves no room"
    if not on_support and blocking:
        return "occupied", f"{name} is full: {blocking} there"
    return "occupied", f"there is no free place {where}" + (f": {blocking} in the way" if blocking else "")


def _meant(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, cells: Cells) -> Array:
    """(R, C) nearness of the given cells in which the relation would hold if they were free; 0 elsewhere."""
    index = thinned(np.flatnonzero(cells), supporting)
    weight = np.zeros(cells.size)
    if len(index):
        places = supporting.grid.places(index)
        margin, sigma, _ = judged(layout, request, supporting, obj, places)
        holds = np.isfinite(margin) & (clause_likelihood(margin, sigma) >= request.config.holds)
        weight[index] = holds * nearness(layout, request, supporting, obj, places)
    return weight.reshape(cells.shape)


def names_of(layout: Layout, rows: tuple[int, ...]) -> str:
    """Names of several objects: "the cup (d1) and the box (d2)"."""
    return joined([name_of(layout, row) for row in rows])


def name_of(layout: Layout, row: int) -> str:
    """Label and id, for people: "the soup can (d1)"."""
    obj = layout.scene.objects[row]
    return printable(f"the {obj.detection.label} ({obj.id})")


# ------------------------------------------------------------------------------------------------ why a spot was chosen

_LEVEL = 0.5  # cosine of the tilt from which an object is put down on another side than it stands on
_FAR = 1.0  # metres of clearance beyond which nothing was searched for
_ALONG = {
    (1.0, 0.0): "farther along the viewing direction", (-1.0, 0.0): "nearer to the viewer",
    (0.0, 1.0): "to the right", (0.0, -1.0): "to the left",
}  # fmt: skip


def reason_of(
    layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, place: Array,
    measured: tuple[float, float, float | None],
) -> PlaceReason:  # fmt: skip
    """Reason why an object may be put at a place.

    Args:
        place: (2,) position of its middle, metres.
        measured: metres: margin of the relation, clearance, and depth of the middle inside the supporting object, or
            None.
    """
    margin, clearance, stability = measured
    config = request.config
    limits: list[tuple[PlaceLimit, float, float]] = [("clearance", clearance, supporting.apart(config))]
    if stability is not None:
        limits.append(("stability", stability, config.inside_edge))
    if request.anchors and request.relation != "on":
        limits.append(("margin", margin, 0.0))
    roof, region = supporting.underside, request.region
    if roof is None and region is not None and not region.walled and np.isfinite(region.high):
        roof = region.high
    headroom = None if roof is None else float(roof - supporting.level.at(place[None])[0] - obj.size[2])
    if headroom is not None:
        limits.append(("headroom", headroom, config.clearance))
    limit, value, least = min(limits, key=lambda each: each[1] - each[2])
    text = _where(layout, request, supporting, obj, place)
    text += "" if obj.axes[:, 2] @ layout.axes[:, 2] > _LEVEL else ", upright"
    if stability is not None:
        walled = supporting.within and (request.region is None or request.region.walled or supporting.seat is not None)
        end = "wall" if walled else "edge"
        text += f", its middle {_length(stability)} inside the {end}"
    if headroom is not None:
        text += f", {_length(headroom)} clear above it"
    # The object whose outline is nearest; None if something undetected is nearer.
    outline = place + obj.outline
    rows, middle = np.array(supporting.others, np.intp), outline.mean(axis=0)
    reach = clearance + _CELLS * supporting.grid.step
    around = np.hypot(*(outline - middle).T).max() + layout.radius[rows] + reach
    rows = rows[np.hypot(*(layout.centre[rows, :2] - middle).T) < around]  # farther ones need no check
    gaps = [nearest_points(layout.footprint[row], outline)[0] for row in rows]
    near = int(rows[int(np.argmin(gaps))]) if gaps and min(gaps) <= reach else None
    if clearance >= _FAR:
        alone = "in it" if supporting.beside is not None else "within 1 m"
        return PlaceReason(f"{text}; nothing else {alone}", limit, round(value, 6), least)
    free = f"free for {_length(clearance)} around"
    if near is not None:
        free = f"nearest is {name_of(layout, near)}, {_length(clearance)} away"
    return PlaceReason(
        f"{text}; {free}", limit, round(value, 6), least,
        None if near is None else layout.scene.objects[near].id, round(clearance, 6),
    )  # fmt: skip


def _where(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, place: Array) -> str:
    if request.part:
        return f"{'in' if supporting.within and request.region and request.region.walled else 'on'} {request.part}"
    carrier = "the surface" if supporting.row == SUPPORT else name_of(layout, supporting.row)
    anchors = names_of(layout, request.anchors) or carrier
    if request.relation in PARTS:
        return f"{request.relation} {anchors}"
    if request.relation in ON:
        return f"on {carrier}"
    if request.relation == "inside":
        return f"in {carrier}"
    if request.relation in UNDER:
        return f"{request.relation} {carrier}"
    text = f"{request.relation} {anchors}"
    rows = np.array(request.anchors, np.intp)
    if request.relation in AHEAD_RIGHT and len(rows) == 1:
        ahead, right = layout.rays(request.view, rows)
        along, across = AHEAD_RIGHT[request.relation]
        far = float((place - layout.centre[rows[0], :2]) @ (along * ahead[0] + across * right[0]))
        return f"{text}, {_length(far)} {_ALONG[along, across]}"
    if request.relation in BESIDE:
        gap = min(nearest_points(layout.footprint[row], place + obj.outline)[0] for row in request.anchors)
        return f"{text}, {_length(gap)} from it"
    return text


def _length(metres: float) -> str:
    """A length in words, such as "31 mm", or "12 cm"."""
    return f"{metres * 1000:.0f} mm" if abs(metres) < 0.1 else f"{metres * 100:.0f} cm"
