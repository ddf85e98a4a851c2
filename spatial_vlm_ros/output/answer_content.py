# SPDX-License-Identifier: Apache-2.0
"""Content of an answer's image, before anything is drawn: roles of objects, outlines, spots, the region.

Everything is in the ground coordinates of `spatial/layout.py`. To show more outlines, add them in `outlines_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.output.answer_roles import DecidingClause, Role, deciding_clause, places_of, roles_of
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial.belief import normal_cdf
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relation_region import measured_over
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.spot_judging import AskedRelation
from spatial_vlm_ros.types import AnswerObject, FrameOfReference, HiddenRegion, Resolution, Target

_UNMEASURED_LOAD = 0.03  # metres: half a side of a spot if the load was not measured
_SAME = 1e-4  # metres by which a re-measured margin may differ from that in the answer
_SUREST = 6.0  # standard deviations above which certainty is not distinguished
_EVERYWHERE = 0.95  # share of the shown area: a larger region is not informative
_CELLS = 52  # cells of a region along each side
_BEYOND = 0.5  # share of the shown area by which a region extends beyond it, because the camera may see more
_ASPECT = 0.95  # width over height of the shown area: nearly that of the top view
_BORDER = 0.06  # metres around the shown area
_NEAR = 0.5  # metres around the answer's objects within which other objects are shown whole
_STRETCH = 0.35  # share by which the shown area may grow to include the viewer
_LEAST = 0.4  # metres: least side of the shown area


@dataclass(frozen=True, eq=False)
class ShownOutline:
    """An outline on the ground."""

    corners: Array  # (K, 2) ground coordinates, in order
    bottom: float  # height, metres
    top: float  # height, metres
    role: Role
    row: int | None  # of the object in the scene; None if it does not belong to one
    label: str
    estimated: bool = False


@dataclass(frozen=True, eq=False)
class ShownSpot:
    """A free spot: (K, 2) outline of the object to put there, its height, and its number, 1 for the best."""

    corners: Array
    middle: Array
    height: float
    number: int


@dataclass(frozen=True, eq=False)
class ShownRegion:
    """Certainty of the deciding relation over the ground.

    Unlike a likelihood, a score is nearly linear over the ground, so it can be interpolated.
    """

    low: Array  # (2,) first point of the raster, ground coordinates
    high: Array  # (2,) last point
    score: npt.NDArray[np.float64]  # (R, C) along g1, g2: margin over sigma, within 6; 0 = unknown
    limit: float
    height: float  # at which it is drawn, metres
    words: str


@dataclass(frozen=True, eq=False)
class ShownLength:
    """The line along which a distance was measured: (2, 3) ends in ground coordinates, and its text."""

    ends: Array
    words: str


@dataclass(frozen=True, eq=False)
class AnswerContent:
    """Everything that is shown of an answer."""

    layout: Layout
    resolution: Resolution
    roles: tuple[Role, ...]  # of each object, by row
    marks: dict[int, str]  # row → letter of a rival
    outlines: tuple[ShownOutline, ...]
    spots: tuple[ShownSpot, ...]
    region: ShownRegion | None
    deciding: DecidingClause | None
    view: Viewpoint
    low: Array  # (2,) lower corner of the shown area, ground coordinates
    high: Array  # (2,) upper corner
    length: ShownLength | None = None  # for a question about distance

    def rows(self, *roles: Role) -> list[int]:
        """Rows of the objects with one of these roles."""
        return [row for row, role in enumerate(self.roles) if role in roles]

    def label(self, row: int) -> str:
        """Text beside an object: its letter, its label and its id."""
        obj = self.layout.scene.objects[row]
        name = f"{obj.detection.label} {obj.id}" if obj.detection.label != obj.id else obj.id
        missing = " (no depth)" if obj.depth_problem is not None else ""
        return f"{self.marks[row]}: {name}{missing}" if row in self.marks else name + missing


def content_of(layout: Layout, resolution: Resolution, config: ResolverConfig) -> AnswerContent:
    """Make the content to show for an answer on its scene."""
    deciding = deciding_clause(layout, resolution)
    spots = tuple(_spots(layout, resolution))
    asked_place = _asked_place(layout, resolution, spots)
    roles, marks = roles_of(layout, resolution, deciding, asked_place[1].anchors if asked_place else (), config)
    if asked_place is not None:
        view = asked_place[1].view
    elif deciding is not None and deciding.asked is not None:
        view = deciding.asked.view
    else:
        try:
            view = layout.viewpoint(resolution.frame_of_reference or FrameOfReference.VIEWER)
        except SpatialVlmError:  # a refusal may name a frame that is not defined here
            view = layout.viewpoint(FrameOfReference.VIEWER)
    answer, length = resolution.answer, None  # the line of a distance, and its value with its interval
    if answer is not None and answer.segment is not None and answer.lengths:
        ends = ground_points(layout, answer.frame_id, np.array(answer.segment))
        from_cm, to_cm = (100 * edge for edge in answer.lengths[0].interval)
        words = f"{100 * answer.lengths[0].value:.1f} cm ({from_cm:.1f} to {to_cm:.1f})"
        length = None if ends is None else ShownLength(ends, words)
    nowhere = np.zeros(2)
    content = AnswerContent(layout, resolution, roles, marks, (), spots, None, deciding, view, nowhere, nowhere, length)
    outlines = tuple(outlines_of(content))
    low, high = _shown(content, outlines)
    region = _region(content, asked_place, low, high, config)
    return replace(content, outlines=outlines, region=region, low=low, high=high)


def outlines_of(content: AnswerContent) -> Iterator[ShownOutline]:
    """Iterate over all shown outlines, the lowest first. Add completed shapes and parts here."""
    layout = content.layout
    rows = np.flatnonzero(layout.measured)
    for row in rows[np.argsort(layout.bottom[rows], kind="stable")].tolist():
        low, high = float(layout.bottom[row]), float(layout.top[row])
        yield ShownOutline(layout.footprint[row], low, high, content.roles[row], row, content.label(row))
    for part in content.resolution.parts:
        points = ground_points(layout, part.frame_id, np.array(part.outline).reshape(-1, 3))
        if points is not None and len(points) > 2:
            height = float(points[:, 2].mean())
            yield ShownOutline(points[:, :2], height, height, Role.ANCHOR, None, part.phrase, estimated=True)


# ------------------------------------------------------------------------------------------------ view, spots


def on_ground(layout: Layout, points: Array) -> Array:
    """Convert (N, 3) points from the camera frame to ground coordinates, heights last."""
    return np.asarray(points @ layout.axes + np.array([0.0, 0.0, layout.floor]))


def in_camera(layout: Layout, places: Array, height: float | Array) -> Array:
    """Convert ground positions (N, 2) and heights to (N, 3) points in the camera frame."""
    heights = np.broadcast_to(np.asarray(height, np.float64), len(places)) - layout.floor
    return np.asarray(np.column_stack((places, heights)) @ layout.axes.T)


def _spots(layout: Layout, resolution: Resolution) -> Iterator[ShownSpot]:
    row_of = {obj.id: row for row, obj in enumerate(layout.scene.objects)}
    load: Target | AnswerObject | None = resolution.target
    if load is None and resolution.answer is not None:
        load = next((obj for obj in resolution.answer.objects if obj.role == "subject"), None)
    row = row_of.get(load.id) if load is not None else None
    size = np.full(2, 2 * _UNMEASURED_LOAD)
    own = None
    if load is not None and load.size is not None and row is not None and layout.measured[row]:
        size = np.array(load.size[:2])
        box = layout.scene.objects[row].box
        own = (layout.scene.objects[row].footprint - box.centre) @ box.axes  # along the box's axes, like a spot's
        own[:, 2] = 0.0
    square = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]) * (*size / 2, 0.0)
    for number, place in enumerate(places_of(resolution), 1):
        points = np.vstack((np.zeros((1, 3)), square if own is None else own))
        there = points @ matrix_from_quaternion_xyzw(place.pose.orientation).T + np.array(place.pose.position)
        ground = ground_points(layout, place.pose.frame_id, there)
        if ground is None:
            ground = on_ground(layout, there)
        yield ShownSpot(ground[1:, :2], ground[0, :2], float(ground[0, 2]), number)


def ground_points(layout: Layout, frame_id: str, points: Array) -> Array | None:
    """Convert (N, 3) points from the camera or base frame to ground coordinates; None for another frame."""
    frame = layout.scene.frame
    base = frame.base_T_camera
    if base is not None and frame_id == base.parent:
        return on_ground(layout, base.inverse().apply(points))
    return on_ground(layout, points) if frame_id == frame.frame_id else None


def hidden_outline(layout: Layout, region: HiddenRegion) -> Array | None:
    """Return the (4, 2) outline of a hidden region; None if its frame is not one of the scene's."""
    points = ground_points(layout, region.frame_id, np.array([region.position]))
    if points is None:
        return None
    place = points[0, :2]
    ahead = place / max(float(np.linalg.norm(place)), 1e-9)
    right = np.array([-ahead[1], ahead[0]])
    along, across = region.size[0] / 2 * ahead, region.size[1] / 2 * right
    return np.array([place - along - across, place - along + across, place + along + across, place + along - across])


# ------------------------------------------------------------------------------------------------ extent, region


def _shown(content: AnswerContent, outlines: tuple[ShownOutline, ...]) -> tuple[Array, Array]:
    """Corners of the shown area: everything that the answer is about, other objects near it, and some margin."""
    about = [o.corners for o in outlines if o.role not in (Role.OTHER, Role.GROUND)]
    about += [spot.corners for spot in content.spots]
    if content.length is not None:
        about.append(content.length.ends[:, :2])
    others = [o.corners for o in outlines if o.role is Role.OTHER] or [o.corners for o in outlines]
    hidden = [hidden_outline(content.layout, region) for region in content.resolution.hidden_regions]
    others += [corners for corners in hidden if corners is not None]
    if not about:
        about = others
    if not about:
        reach = np.array([1.0, 0.5])
        return np.array([0.2, -0.5]), np.array([0.2, -0.5]) + reach
    points = np.vstack(about)
    low, high = points.min(axis=0), points.max(axis=0)
    near = [c for c in others if (c.min(axis=0) > low - _NEAR).all() and (c.max(axis=0) < high + _NEAR).all()]
    points = np.vstack((points, *near))
    low, high = points.min(axis=0) - _BORDER, points.max(axis=0) + _BORDER
    missing = np.maximum(_LEAST - (high - low), 0.0) / 2
    low, high = low - missing, high + missing
    viewer = content.view.origin[:2]
    if low[1] < viewer[1] < high[1] and low[0] - _STRETCH * (high - low)[0] < viewer[0] - _BORDER < low[0]:
        low = np.array([viewer[0] - _BORDER, low[1]])
    span = high - low
    missing = np.maximum(np.array([span[1] / _ASPECT, span[0] * _ASPECT]) - span, 0.0) / 2
    return low - missing, high + missing


def _region(
    content: AnswerContent,
    asked_place: tuple[int, AskedRelation, float] | None,
    low: Array,
    high: Array,
    config: ResolverConfig,
) -> ShownRegion | None:
    """Region where the deciding relation holds; for a requested place, where the object put down has the relation."""
    layout = content.layout
    if content.spots:
        if asked_place is None or content.resolution.parts:
            return None
        row, asked, bottom = asked_place
        holds = config.place.holds
    elif content.deciding is not None and content.deciding.asked is not None:
        row, asked = content.deciding.subject, content.deciding.asked
        bottom = float(layout.bottom[row])
        holds = config.decision.holds
    else:
        return None
    beyond = _BEYOND * (high - low)
    low, high = low - beyond, high + beyond
    g1, g2 = (np.linspace(a, b, _CELLS) for a, b in zip(low, high, strict=True))
    places = np.stack(np.meshgrid(g1, g2, indexing="ij"), axis=2).reshape(-1, 2)
    try:
        margin, sigma = measured_over(layout, row, asked, places, bottom)
    except (SpatialVlmError, ValueError):
        return None
    score = np.clip(np.nan_to_num(margin / np.maximum(sigma, 1e-6)), -_SUREST, _SUREST).reshape(_CELLS, _CELLS)
    scores = np.linspace(0.0, _SUREST, 2001)
    limit = float(np.interp(holds, normal_cdf(scores), scores))
    if score.max() < limit or (score >= limit).mean() > _EVERYWHERE:  # nowhere at this height, or everywhere
        return None
    anchors = " and ".join(f"the {layout.scene.objects[a].detection.label}" for a in asked.anchors[:3])
    words = f"{'not ' if asked.negated else ''}{asked.name} {anchors}"
    height = max(bottom, 0.0)
    return ShownRegion(low, high, score, limit, height, words)


def _asked_place(
    layout: Layout, resolution: Resolution, spots: tuple[ShownSpot, ...]
) -> tuple[int, AskedRelation, float] | None:
    """Row of the load, relation of the destination, height of the best spot; None if the spot is not in the region."""
    query, row_of = resolution.query, {obj.id: row for row, obj in enumerate(layout.scene.objects)}
    if query is None or query.destination is None or resolution.target is None or not spots:
        return None
    name = "next to" if query.destination.relation == "to" else query.destination.relation
    place, spot, row = places_of(resolution)[0], spots[0], row_of.get(resolution.target.id)
    anchor = row_of.get(place.anchor_id, row)
    if row is None or anchor is None or anchor == row or name not in RELATIONS or not layout.measured[row]:
        return None
    several: list[tuple[int, ...]] = [(anchor,)]
    if RELATIONS[name].several == "two":  # a place names one anchor; with the other it has the same margin
        several = [(anchor, int(b)) for b in np.flatnonzero(layout.measured) if b not in (row, anchor)]
    found = []
    for anchors in several:
        try:
            view = layout.viewpoint(query.destination.frame or resolution.frame_of_reference or FrameOfReference.VIEWER)
            asked = AskedRelation(name, view, anchors, query.destination.distance)
            margin = float(measured_over(layout, row, asked, spot.middle[None], spot.height)[0][0])
        except (SpatialVlmError, ValueError):
            continue
        if abs(margin - place.margin_m) < _SAME if len(several) > 1 else margin > 0:
            found.append((row, asked, spot.height))
    return found[0] if len(found) == 1 else None
