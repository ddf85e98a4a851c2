# SPDX-License-Identifier: Apache-2.0
"""Explain in words why a spot was chosen, with the limit that it is closest to."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.moved import Moved
from spatial_vlm_ros.spatial.placement_reasons import name_of, names_of
from spatial_vlm_ros.spatial.spot_judging import AHEAD_RIGHT, BESIDE, ON, PARTS, UNDER, PlaceRequest
from spatial_vlm_ros.spatial.surfaces import SUPPORT, SupportingSurface
from spatial_vlm_ros.types.place_reasons import PlaceLimit, PlaceReason

_FAR = 1.0  # metres of clearance beyond which nothing was searched for
_CELLS = 2.0  # cells by which an outline may differ from its cells
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
        request: the requested place.
        place: (2,) position of its middle, metres.
        measured: metres: margin of the relation, clearance, and depth of the middle inside the supporting object, or
            None.
    """
    margin, clearance, stability = measured
    config = request.config
    limits: list[tuple[PlaceLimit, float, float]] = [("clearance", clearance, config.clearance)]
    if stability is not None:
        limits.append(("stability", stability, config.inside_edge))
    if request.anchors and request.relation != "on":
        limits.append(("margin", margin, 0.0))
    headroom = _headroom(supporting, request, obj, place)
    if headroom is not None:
        limits.append(("headroom", headroom, config.clearance))
    limit, value, least = min(limits, key=lambda each: each[1] - each[2])
    text = _where(layout, request, supporting, obj, place)
    if stability is not None:
        walled = supporting.within and (request.region is None or request.region.walled or supporting.seat is not None)
        end = "wall" if walled else "edge"
        text += f", its middle {_length(stability)} inside the {end}"
    if headroom is not None:
        text += f", {_length(headroom)} clear above it"
    near = _nearest(layout, supporting, place + obj.outline, clearance)
    if clearance >= _FAR:
        return PlaceReason(f"{text}; nothing else within 1 m", limit, round(value, 6), least)
    free = f"free for {_length(clearance)} around"
    if near is not None:
        free = f"nearest is {name_of(layout, near)}, {_length(clearance)} away"
    return PlaceReason(
        f"{text}; {free}", limit, round(value, 6), least,
        None if near is None else layout.scene.objects[near].id, round(clearance, 6),
    )  # fmt: skip


def _where(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, place: Array) -> str:
    """Describe the place by the requested relation."""
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
        gap = min(outline_gap(layout.footprint[row], place + obj.outline) for row in request.anchors)
        return f"{text}, {_length(gap)} from it"
    return text


def _headroom(supporting: SupportingSurface, request: PlaceRequest, obj: Moved, place: Array) -> float | None:
    """Clear height over the object, under a board, metres; None if nothing is over it."""
    if supporting.underside is not None:
        roof = supporting.underside
    elif request.region is not None and not request.region.walled and np.isfinite(request.region.high):
        roof = request.region.high
    else:
        return None
    return float(roof - supporting.level.at(place[None])[0] - obj.size[2])


def _nearest(layout: Layout, supporting: SupportingSurface, outline: Array, clearance: float) -> int | None:
    """The object whose outline is nearest to the placed object; None if something undetected is nearer."""
    rows, middle = np.array(supporting.others, np.intp), outline.mean(axis=0)
    reach = clearance + _CELLS * supporting.grid.step
    around = np.hypot(*(outline - middle).T).max() + layout.radius[rows] + reach
    rows = rows[np.hypot(*(layout.centre[rows, :2] - middle).T) < around]  # farther ones need no check
    gaps = [outline_gap(layout.footprint[row], outline) for row in rows]
    if not gaps or min(gaps) > reach:
        return None
    return int(rows[int(np.argmin(gaps))])


def outline_gap(one: Array, other: Array) -> float:
    """Gap between two convex outlines (K, 2), corners in order, metres; 0 if they overlap."""
    if (depth_inside(one, other) > 0).any() or (depth_inside(other, one) > 0).any():
        return 0.0
    return min(_to_sides(one, other), _to_sides(other, one))


def _to_sides(corners: Array, outline: Array) -> float:
    """Least distance of corners (K, 2) from the sides of an outline (M, 2), metres."""
    start, side = outline, np.roll(outline, -1, axis=0) - outline
    away = corners[:, None] - start
    part = np.clip((away * side).sum(axis=2) / np.maximum((side * side).sum(axis=1), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(away - part[..., None] * side, axis=2).min())


def _length(metres: float) -> str:
    """A length in words, such as "31 mm", or "12 cm"."""
    return f"{metres * 1000:.0f} mm" if abs(metres) < 0.1 else f"{metres * 100:.0f} cm"
