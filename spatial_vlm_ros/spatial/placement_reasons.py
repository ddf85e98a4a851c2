# SPDX-License-Identifier: Apache-2.0
"""Describe why there is no place to put an object: the cause that excludes most of the places meant."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.free_space import Cells, Stamp, depth_inside
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.moved import Moved
from spatial_vlm_ros.spatial.no_surface import NoSurface
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.spot_judging import (
    CLOSE,
    ON,
    RIMS,
    PlaceRequest,
    judged,
    nearness,
    placeable,
    room_of,
    thinned,
)
from spatial_vlm_ros.spatial.surfaces import SUPPORT, Room, SupportingSurface, whole_outline
from spatial_vlm_ros.types.place_reasons import NoPlaceCause

_LISTED = 3  # objects named in a reason
_CELLS = 2.0  # cells across a free circle from which its size is reported


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
        whole = dataclasses.replace(supporting, taken=np.zeros_like(supporting.taken))
        _, width = _free_circle(whole, whole.sound if row is None else whole.grid.filled([whole_outline(whole)]))
        needed = 2 * (obj.reach + request.config.inside_edge)
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
    blocking = _blocking(layout, supporting, obj, weight)
    cause, text = _main_cause(room, weight, supporting, where, name, _listed(layout, blocking))
    unseen = bool((~room.seen & room.clear & room.off_rim & room.steady & (weight > 0)).any())
    if supporting.outline is None:
        return NoSurface(cause, text, row, blocking=blocking, unseen=unseen)
    place, width = _free_circle(supporting, supporting.sound & ~supporting.taken & ~supporting.rim)
    needed, available = _of(2 * (obj.reach + request.config.clearance), width, supporting)
    if cause == "occupied" and available is not None:
        near = _nearest(layout, supporting.others, place)
        beside = "" if near is None else f", beside {name_of(layout, near)}"
        circle = f"{name} has no free circle of {needed * 100:.1f} cm"
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


def _nearest(layout: Layout, rows: tuple[int, ...], place: Array) -> int | None:
    """Row of the object whose outline is nearest to a place; None if there is none."""
    away = [-float(depth_inside(layout.footprint[row], place[None])[0]) for row in rows]
    return rows[int(np.argmin(away))] if rows else None


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


def _blocking(layout: Layout, supporting: SupportingSurface, obj: Moved, weight: Array) -> tuple[int, ...]:
    """The objects that block places, by the weight of these places, largest first."""
    stamp = Stamp.of(obj.outline, supporting.grid.step)
    taken = []
    for row in supporting.others:
        met = stamp.touching(supporting.grid.filled([layout.footprint[row]]))
        taken.append((round(float(weight[met].sum()), 9), -row))
    return tuple(-row for part, row in sorted(taken, reverse=True) if part > 0)


def _listed(layout: Layout, rows: tuple[int, ...]) -> str:
    """The first of some objects with a verb: "the cup (d1) and the box (d2) are"."""
    return f"{names_of(layout, rows[:_LISTED])} {'are' if len(rows) > 1 else 'is'}" if rows else ""


def names_of(layout: Layout, rows: tuple[int, ...]) -> str:
    """Names of several objects: "the cup (d1) and the box (d2)"."""
    names = [name_of(layout, row) for row in rows]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def name_of(layout: Layout, row: int) -> str:
    """Label and id, for people: "the soup can (d1)"."""
    obj = layout.scene.objects[row]
    text = f"the {obj.detection.label} ({obj.id})"
    return printable(text)
