# SPDX-License-Identifier: Apache-2.0
"""Why there is no place to put an object, in words: what stands against most of the places that were meant."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.free_space import Cells, Stamp
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.likelihood import clause_likelihood
from spatial_vlm_ros.spatial.moved import Moved
from spatial_vlm_ros.spatial.spot_judging import CLOSE, RIMS, PlaceRequest, judged, nearness, room_of, thinned
from spatial_vlm_ros.spatial.surfaces import SUPPORT, Room, SupportingSurface

_LISTED = 3  # objects named in a reason


def why_none(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved) -> str:
    """What stands against most of the places where it was meant to go."""
    room = room_of(layout, request, supporting, obj)
    name = "the surface" if supporting.row == SUPPORT else name_of(layout, supporting.row)
    if not (room.steady & (room.off_rim if supporting.within else room.steady)).any():
        return f"{name} is smaller than {obj.name}"
    anchors = names_of(layout, request.anchors)
    where = f"{request.relation} {anchors}" if anchors else "that is large enough"
    weight = _meant(layout, request, supporting, obj, room.steady)
    if supporting.row == SUPPORT and request.relation in RIMS and not supporting.rim.any():
        return "the surface is not seen to end anywhere"
    if not weight.any():
        if request.relation == "between":
            return f"there is no room between {anchors}"
        return f"no place for {obj.name} is {where}" + ("" if request.distance is None else " at that distance")
    if supporting.row not in request.anchors and request.relation not in CLOSE:  # clear of the anchors themselves
        stamp = Stamp.of(obj.outline, supporting.grid.step)
        own = stamp.distance(supporting.grid.filled(layout.footprint[list(request.anchors)])) < request.config.clearance
        weight = np.where(own, 0.0, weight)
        if not weight.any():
            return f"there is no room for {obj.name} {where}"
    return _main_cause(room, weight, supporting, where, name, _blocking(layout, supporting, obj, weight))


def _main_cause(room: Room, weight: Array, supporting: SupportingSurface, where: str, name: str, blocking: str) -> str:
    """What stands against most of the cells, by their weight (R, C)."""
    against = {
        "taken": float(weight[~room.clear].sum()),
        "edge": float(weight[~room.off_rim & room.clear].sum()),
        "unseen": float(weight[~room.seen & room.clear & room.off_rim].sum()),
    }
    worst = max(against, key=lambda cause: against[cause])
    if worst == "unseen":
        return f"no free surface is seen {where}" if supporting.row == SUPPORT else f"too little of {name} can be seen"
    if worst == "edge":
        return f"the surface ends {where}" if supporting.row == SUPPORT else f"the rim of {name} leaves no room"
    if supporting.row != SUPPORT and blocking:
        return f"{name} is full: {blocking} there"
    return f"there is no free place {where}" + (f": {blocking} in the way" if blocking else "")


def _meant(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, cells: Cells) -> Array:
    """(R, C) nearness of the cells, some of those given, where the relation would hold were they free; else 0."""
    index = thinned(np.flatnonzero(cells), supporting)
    weight = np.zeros(cells.size)
    if len(index):
        places = supporting.grid.places(index)
        margin, sigma, _ = judged(layout, request, supporting, obj, places)
        holds = np.isfinite(margin) & (clause_likelihood(margin, sigma) >= request.config.holds)
        weight[index] = holds * nearness(layout, request, supporting, obj, places)
    return weight.reshape(cells.shape)


def _blocking(layout: Layout, supporting: SupportingSurface, obj: Moved, weight: Array) -> str:
    """The objects that take most of the places by their weight: "the cup (d1) and the box (d2) are"."""
    stamp = Stamp.of(obj.outline, supporting.grid.step)
    taken = []
    for row in supporting.others:
        met = stamp.distance(supporting.grid.filled([layout.footprint[row]])) <= 0
        taken.append((round(float(weight[met].sum()), 9), -row))
    worst = [-row for part, row in sorted(taken, reverse=True) if part > 0][:_LISTED]
    return f"{names_of(layout, tuple(worst))} {'are' if len(worst) > 1 else 'is'}" if worst else ""


def names_of(layout: Layout, rows: tuple[int, ...]) -> str:
    """Several of them: "the cup (d1) and the box (d2)"."""
    names = [name_of(layout, row) for row in rows]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def name_of(layout: Layout, row: int) -> str:
    """Label and id, for people: "the soup can (d1)"."""
    obj = layout.scene.objects[row]
    text = f"the {obj.detection.label} ({obj.id})"
    return "".join(sign if sign.isprintable() else "?" for sign in text)
