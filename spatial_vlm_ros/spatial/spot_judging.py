# SPDX-License-Identifier: Apache-2.0
"""Judge imagined objects with the functions that judge visible ones, and say why a place was chosen or there is none.

The only module of the search that calls the relations.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.parameters import DepthConfig, PlaceConfig
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.free_space import Cells, Moved, Stamp, depth_inside, hull, nearest_points, widened
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint, name_of, names_of
from spatial_vlm_ros.spatial.parts.region import Region, rectangle_of
from spatial_vlm_ros.spatial.relations import RELATIONS, Indices, Pairs, measure_set, measure_two
from spatial_vlm_ros.spatial.surfaces import SUPPORT, NoSurface, Room, SupportingSurface, room_for, whole_outline
from spatial_vlm_ros.types import Detection, Distance, OrientedBox, SceneObject
from spatial_vlm_ros.types.place_reasons import NoPlaceCause, PlaceLimit, PlaceReason
from spatial_vlm_ros.types.query import Preposition

AHEAD_RIGHT = {
    "left of": (0.0, -1.0),
    "right of": (0.0, 1.0),
    "behind": (1.0, 0.0),
    "on the other side of": (1.0, 0.0),
    "in front of": (-1.0, 0.0),
}
"""Relations with a direction: along the ray viewer → anchor, and to its right."""
BESIDE = frozenset({"next to", "near", "around", "against", "touching", "at a distance from"})
PARTS = frozenset(
    f"at the {part} of"
    for part in ("edge", "corner", "centre", "end", "left side", "right side", "front", "back", "top", "bottom")
)
ON = PARTS | {"on"}
UNDER = frozenset({"under", "below"})
CLOSE = frozenset({"touching", "against"})
PLACEABLE = frozenset(AHEAD_RIGHT) | BESIDE | ON | UNDER | {"inside", "between", "among", "far from", "opposite"}
"""Own relations that can be a destination."""
RIMS = frozenset(("at the edge of", "at the corner of", "at the end of"))
"""Parts that exist only where the object ends."""

_TRIED = 6000  # spots judged at once; if there are more, every second cell, or every third
_LEAST_SCALE = 0.1  # metres over which a spot loses its nearness
_OF_PART = 0.003  # metres: uncertainty of the outline of a part
_THICK = 0.02  # metres: thickness of a support plane treated as an object


@dataclass(frozen=True, eq=False)
class AskedRelation:
    """A relation that an object, or a place for it, must have or must not have ("not near the plate")."""

    name: str
    view: Viewpoint
    anchors: tuple[int, ...]  # rows of the objects it is measured against; empty = the support plane
    distance: Distance | None = None  # stated with it, or None
    negated: bool = False  # True if it must not hold


@dataclass(frozen=True, eq=False)
class PlaceRequest:
    """A request for a place to put an object."""

    relation: str
    # rows of the objects it relates to; empty = the support plane ("on the table", "at the edge of the table")
    anchors: tuple[int, ...]
    view: Viewpoint
    moved: int | None = None  # row of the object to put there; None for an unseen one, whose size is assumed as 6 cm
    distance: Distance | None = None  # stated with it, or None
    config: PlaceConfig = field(default_factory=PlaceConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    # part of the anchor that its middle must lie in; None = the relation determines the place
    region: Region | None = None
    preposition: Preposition | None = None  # the word that was said, if it tells more than the relation's name
    part: str = ""  # the part that `region` is, in words, or ""
    further: tuple[AskedRelation, ...] = ()  # relations that the place must have, too, or must not have


@dataclass(frozen=True, eq=False)
class _Imagined(Layout):
    """A scene with imagined objects, which have no `scene.objects` of their own."""

    sizes: Array  # (N, 3) box sizes of all objects, metres
    real: Layout

    @cached_property
    def size(self) -> Array:
        """(N, 3) box sizes."""
        return self.sizes

    @cached_property
    def middle(self) -> Array:
        """(2,) middle of the real objects, metres."""
        return self.real.middle


def placeable() -> frozenset[str]:
    """Names of the relations that can be a destination, including those of installed packages."""
    return PLACEABLE | {name for name, relation in RELATIONS.items() if relation.placeable}


# ------------------------------------------------------------------------------------------------ judging


def judged(
    layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, places: Array
) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """(T,) margins and deviations, metres, with the middle at places (T, 2), and the anchors' rows, or SUPPORT."""
    count = len(places)
    if request.region is not None:
        row = np.full(count, request.region.row, np.intp)
        return depth_inside(request.region.outline, places), np.full(count, _OF_PART), row
    if request.relation == "inside" and supporting.middles is not None:  # nested: there it wedges, partly inside
        depth = depth_inside(layout.footprint[supporting.row], places)
        return depth, np.full(count, _OF_PART), np.full(count, supporting.row, np.intp)
    nobody = np.full(count, SUPPORT, np.intp)
    if not request.anchors and request.relation == "on":  # only such places were searched
        return np.full(count, supporting.grid.step), np.full(count, 1e-6), nobody
    scene, anchors = _imagined(layout, request, supporting, obj, places)
    targets = np.arange(len(scene) - count, len(scene), dtype=np.intp)
    margin, sigma = measured(
        scene, AskedRelation(request.relation, request.view, (), request.distance), targets, anchors
    )
    certain = margin / np.maximum(sigma, 1e-6)
    # A relation to several objects holds for one of them, or for every one.
    pick = (np.argmax if RELATIONS[request.relation].several == "any" else np.argmin)(certain, axis=1)
    rows = np.arange(count)
    return margin[rows, pick], sigma[rows, pick], anchors[pick] if request.anchors else nobody


def allowed(
    layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, places: Array
) -> npt.NDArray[np.bool_]:
    """(T,) bool: True if the object at places (T, 2) clearly has all required and no excluded further relations."""
    clear = np.ones(len(places), np.bool_)
    for each in request.further:
        if not each.anchors:
            clear &= (supporting.row == SUPPORT) != each.negated
            continue
        asked = dataclasses.replace(
            request, relation=each.name, anchors=each.anchors, view=each.view, distance=each.distance, region=None,
            preposition=None, part="", further=(),
        )  # fmt: skip
        margin, sigma, _ = judged(layout, asked, supporting, obj, places)
        likelihood, holds = clause_likelihood(margin, sigma), request.config.holds
        clear &= np.isfinite(margin) & (likelihood <= 1.0 - holds if each.negated else likelihood >= holds)
    return clear


def measured(scene: Layout, asked: AskedRelation, targets: Indices, anchors: Indices) -> tuple[Array, Array]:
    """(T, A) margins and standard deviations, metres, as for visible objects; (T, 1) if anchors count together."""
    relation = RELATIONS[asked.name]
    if relation.group is not None:
        margin, sigma = measure_set(relation.name, scene, targets, anchors)
        return margin[:, None], sigma[:, None]
    if relation.two is not None and len(anchors) == 2:
        margin, sigma = measure_two(relation.name, scene, asked.view, targets, anchors[:1], anchors[1:])
        return margin[:, :, 0], sigma[:, :, 0]
    return relation(Pairs(scene, asked.view, targets, anchors), asked.distance)


def _imagined(
    layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, places: Array
) -> tuple[Layout, Indices]:
    """The scene with the object at all places as its last rows, and the rows of the anchors.

    If the support plane is an anchor, it gets a row before them. A supporting object has the height of its supporting
    surface: the rim of a tray is not its top.
    """
    count, n = len(places), len(layout)
    objects = (*layout.scene.objects, _as_object(layout, supporting)) if not request.anchors else layout.scene.objects
    anchors = np.array(request.anchors or (n,), np.intp)
    ground = supporting.level.at(places)
    height = float(obj.size[2])
    top, bottom = layout.top, layout.bottom
    if supporting.underside is not None:
        bottom = bottom.copy()
        bottom[supporting.row] = supporting.underside
    elif supporting.row != SUPPORT and not supporting.within:
        top = top.copy()
        top[supporting.row] = supporting.level.at(layout.centre[supporting.row : supporting.row + 1, :2])[0]
    boxes = [o.box for o in objects[n:]]
    own_centre = np.array([b.centre for b in boxes]).reshape(-1, 3) @ layout.axes + (0.0, 0.0, layout.floor)
    own_half = np.array([b.size[2] / 2 for b in boxes])
    footprints = (np.array([o.footprint for o in objects[n:]]).reshape(-1, FOOTPRINT_CORNERS, 3) @ layout.axes)[..., :2]
    centre = np.column_stack((places, ground + height / 2))
    # A pen that sticks out of a cup is in the cup: the height at which it rests counts.
    surface = np.column_stack((places, ground)) if supporting.within else centre
    doubt = layout.sigma
    if supporting.row != SUPPORT:  # the surface is visible at the supporting part; its extent elsewhere does not matter
        doubt = doubt.copy()
        doubt[supporting.row] = layout.noise[supporting.row]
    known = doubt[[row for row in request.anchors if layout.measured[row]]]
    sigma = float(known.max(initial=0.0)) or float(np.nanmax(np.append(layout.sigma, 0.005)))
    return _Imagined(
        scene=dataclasses.replace(layout.scene, objects=objects),
        axes=layout.axes,
        floor=layout.floor,
        centre=np.concatenate((layout.centre, own_centre, centre)),
        surface=np.concatenate((layout.surface, own_centre, surface)),
        footprint=np.concatenate((layout.footprint, footprints, places[:, None] + obj.outline)),
        bottom=np.concatenate((bottom, own_centre[:, 2] - own_half, ground)),
        top=np.concatenate((top, own_centre[:, 2] + own_half, ground + height)),
        sigma=np.concatenate((doubt, np.full(len(boxes) + count, sigma))),
        sigma_up=np.concatenate((layout.sigma_up, np.full(len(boxes) + count, sigma))),
        noise=np.concatenate((layout.noise, np.full(len(boxes) + count, sigma))),
        tilt=layout.tilt,
        down_deg=layout.down_deg,
        relation=layout.relation,
        depth=layout.depth,
        sizes=np.concatenate((layout.size, *(b.size[None] for b in boxes), np.tile(obj.size, (count, 1)))),
        real=layout,
    ), anchors


def _as_object(layout: Layout, supporting: SupportingSurface) -> SceneObject:
    """The visible part of the support plane as an object, so that it has an edge, corners and sides."""
    outline = whole_outline(supporting)
    angles = 2 * np.pi * np.arange(FOOTPRINT_CORNERS) / FOOTPRINT_CORNERS
    corners = outline[np.argmax(outline @ np.stack((np.cos(angles), np.sin(angles))), axis=0)]
    about = rectangle_of(outline)
    level = float(supporting.level.at(about.centre[None])[0]) - _THICK / 2 - layout.floor
    up = layout.axes[:, 2]
    x = layout.axes[:, :2] @ about.axes[0]
    centre = layout.axes @ (*about.centre, level)
    return SceneObject(
        detection=Detection("support", "surface", 1.0, (0.0, 0.0, 1.0, 1.0)),
        points=np.empty((0, 3), np.float32),
        surface_centre=centre,
        box=OrientedBox(centre, np.stack((x, np.cross(up, x), up), axis=1),
                        np.array([*(2 * about.half), _THICK])),
        footprint=np.column_stack((corners, np.full(len(corners), level))) @ layout.axes.T,
        covariance=np.zeros((6, 6)),
    )  # fmt: skip


def carrier_of(layout: Layout, view: Viewpoint, carried: tuple[int, ...], moved: int | None = None) -> int | None:
    """Row of the object, other than `moved`, that all objects in some rows stand on or in; None if there is none."""
    rows = np.flatnonzero(layout.measured)
    rows = rows[~np.isin(rows, [*carried, -1 if moved is None else moved])]
    if not len(rows):
        return None
    pairs = Pairs(layout, view, np.array(carried, np.intp), rows)
    held = np.maximum(RELATIONS["on"](pairs)[0], RELATIONS["inside"](pairs)[0])
    certain = np.minimum(held, pairs.inside_anchor).min(axis=0)  # a leg at one side of a board is not under it
    best = int(np.argmax(certain))
    return int(rows[best]) if certain[best] > 0 else None


# ------------------------------------------------------------------------------------------------ room


def room_of(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved) -> Room:
    """Where the object fits; an object to touch is an obstacle only by its own outline."""
    if request.relation not in CLOSE:
        return room_for(supporting, obj, request.config)
    touched = supporting.grid.filled(layout.footprint[list(request.anchors)])
    stamp = Stamp.of(obj.outline, supporting.grid.step)
    taken = supporting.taken & ~widened(touched, 2)
    room = room_for(dataclasses.replace(supporting, taken=taken), obj, request.config)
    gap = stamp.distance(touched)
    return dataclasses.replace(room, clear=room.clear & (gap > 0), clearance=np.minimum(room.clearance, gap))


def thinned(index: Indices, supporting: SupportingSurface) -> Indices:
    """The cells to judge: all, or every second of each row and column, or every third."""
    every = math.ceil(math.sqrt(len(index) / _TRIED))
    if every <= 1:
        return index
    row, column = np.divmod(index, supporting.grid.shape[1])
    return index[(row % every == every // 2) & (column % every == every // 2)]


# ------------------------------------------------------------------------------------------------ nearness


def nearness(layout: Layout, request: PlaceRequest, supporting: SupportingSurface, obj: Moved, places: Array) -> Array:
    """(T,) nearness of places to where people would put it, 0 to 1: exp(-distance / size), 1 if no preference is known.

    The preferred place is beside the anchor in the stated direction, the nearest place around it, the middle between
    two, or the middle of the supporting surface; parts and distances determine the place themselves.
    """
    rows = np.array(request.anchors, np.intp)
    if request.region is not None or request.relation == "at the centre of":
        if request.region is not None:
            middle = request.region.middle
        else:
            middle = rectangle_of(layout.footprint[supporting.row] if len(rows) else whole_outline(supporting)).centre
        away = np.linalg.norm(places - middle, axis=1)
        return np.asarray(np.exp(-away / max(float(obj.size[:2].mean()), _LEAST_SCALE)))
    if not len(rows) or request.relation in PARTS | {"far from", "opposite"}:
        return np.ones(len(places))
    size = (float(layout.size[rows, :2].mean()) + float(obj.size[:2].mean())) / 2
    scale = max(size, _LEAST_SCALE)
    gap = 2 * request.config.clearance if request.distance is None else request.distance.metres
    centres = layout.centre[rows, :2]
    if request.relation in AHEAD_RIGHT:
        wanted = _beside(layout, request, obj, rows, gap)
        away = np.linalg.norm(places[:, None] - wanted, axis=2).min(axis=1)
    elif request.relation in BESIDE:
        radii = (layout.size[rows, :2].mean(axis=1) + float(obj.size[:2].mean())) / 2
        between_centres = np.linalg.norm(places[:, None] - centres, axis=2)
        away = np.abs(between_centres - radii - gap).min(axis=1)
    else:
        middle = layout.centre[supporting.row, :2] if supporting.row in rows else centres.mean(axis=0)
        away = np.linalg.norm(places - middle, axis=1)
    return np.asarray(np.exp(-away / scale))


def _beside(layout: Layout, request: PlaceRequest, obj: Moved, rows: Indices, gap: float) -> Array:
    """(A, 2) places beside each anchor in the direction of the relation, metres."""
    if len(rows) == 2 and RELATIONS[request.relation].two is not None:  # of the first one, seen from the second
        line = layout.centre[rows[0], :2] - layout.centre[rows[1], :2]
        rows, ahead = rows[:1], (line / max(float(np.linalg.norm(line)), 1e-9))[None]
        right = np.zeros_like(ahead)
    else:
        ahead, right = layout.rays(request.view, rows)
    along, across = AHEAD_RIGHT[request.relation]
    direction = along * ahead + across * right
    outline = layout.footprint[rows] - layout.centre[rows, None, :2]
    reach = np.einsum("akc,ac->ak", outline, direction).max(axis=1) - (obj.outline @ direction.T).min(axis=0)
    return np.asarray(layout.centre[rows, :2] + direction * (reach + gap)[:, None])


# ----------------------------------------------------------------------------------------------------
# Describe why there is no place to put an object, or why a spot was chosen and which limit it is closest to.


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
    index, weight = thinned(np.flatnonzero(room.steady), supporting), np.zeros(room.steady.shape)
    if len(index):  # nearness of the cells in which the relation would hold if they were free
        places = supporting.grid.places(index)
        margin, sigma, _ = judged(layout, request, supporting, obj, places)
        holds = np.isfinite(margin) & (clause_likelihood(margin, sigma) >= request.config.holds)
        weight.flat[index] = holds * nearness(layout, request, supporting, obj, places)
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

    `measured` are the relation's margin, the clearance, and the depth of the middle inside the supporting object,
    metres.
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
