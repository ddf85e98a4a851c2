# SPDX-License-Identifier: Apache-2.0
"""An object seen from an approaching hand: where the hand fits, the faces between its fingers, walls and handles.

Hand axes: x across the fingers, y along which they close, z the approach. A hand that moves straight along z with open
fingers passes every location where the object lies beyond the fingertips. So one map shows where fingers and palm fit:
the least z of the object in each cell of the x-y plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.manipulation.planning.goal import Side
from spatial_vlm_ros.parameters import GripperConfig, PlanningConfig

Array = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

CELL = 0.004  # cell size of the map, metres
FREE = np.float32(1e3)  # metres: nothing is there
_RIM = 3  # cells around the object
STRAY = 3
"""Points where a finger or the palm comes that may be noise."""


@dataclass(frozen=True, eq=False)
class GraspBody:
    """An object as points in the planning frame, metres.

    Args:
        points: (N, 3): measured surface, then the boundary of the hidden space.
        normals: (N, 3) unit normals; zero for hidden points.
        reach: (N,) half the size of the region that a point represents; 0 for measured points.
        seen: (N,) whether a point was measured.
        middle: (3,) centre of the object's box.
    """

    points: Array
    normals: Array
    reach: Array
    seen: npt.NDArray[np.bool_]
    middle: Array


@dataclass(frozen=True, eq=False)
class HandView:
    """An object in hand axes.

    Args:
        rotation: (3, 3) columns x, y, z of the hand in the planning frame.
        local: (N, 3) points in hand axes, metres from the object's middle.
        normals: (N, 3) in hand axes.
        low: (2,) least x and y of the maps, metres.
        nearest: (X, Y) least z of the object in each cell, metres; FREE in cells without the object.
        fingers: (X, Y) least z within a finger's width along x.
        palm: (X, Y) least z within the palm's area.
    """

    rotation: Array
    local: Array
    normals: Array
    low: Array
    nearest: Map
    fingers: Map
    palm: Map

    def x_of(self, row: int) -> float:
        """Return x at the middle of a row of cells, metres."""
        return float(self.low[0] + (row + 0.5) * CELL)


def hand_view(body: GraspBody, rotation: Array, gripper: GripperConfig) -> HandView:
    """Compute the view of an object from a hand whose x, y and z are the columns of `rotation`, (3, 3)."""
    local = (body.points - body.middle) @ rotation
    low = local[:, :2].min(axis=0) - (_RIM + 0.5) * CELL
    cells = np.floor((local[:, :2] - low) / CELL).astype(np.int64)
    shape = cells.max(axis=0) + _RIM + 1
    nearest = np.full(int(np.prod(shape)), FREE, np.float32)
    order = np.argsort(-local[:, 2], kind="stable")  # the nearest point of a cell is written last
    flat = cells[:, 0] * shape[1] + cells[:, 1]
    nearest[flat[order]] = local[order, 2]
    nearest = nearest.reshape(shape)
    # Closes holes of one cell without moving edges.
    least, kernel = _least(nearest, 3, 3), np.ones((3, 3), np.uint8)
    most = cv2.dilate(least, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=-float(FREE))
    nearest = np.asarray(most, np.float32)
    return HandView(
        rotation,
        local,
        body.normals @ rotation,
        low,
        nearest,
        _least(nearest, _cells(gripper.finger_width), 1),
        _least(nearest, _cells(gripper.palm_thickness), _cells(gripper.palm_width)),
    )


def in_the_way(local: Array, opening: float, config: PlanningConfig) -> Literal["no_room", "palm"] | None:
    """What a hand that comes straight along its approach would press on the target: a finger, its palm, or nothing.

    Args:
        local: (N, 3) points in the tip frame, metres.
        opening: between the fingers on the way, metres.
    """
    if np.count_nonzero(beside(local, opening, config)) > STRAY:
        return "no_room"
    face = config.gripper.finger_beyond - config.gripper.finger_length
    pressed = under_palm(local, config) & (local[:, 2] < face + config.goal.palm_clearance)
    return "palm" if np.count_nonzero(pressed) > STRAY else None


def beside(local: Array, opening: float, config: PlanningConfig, further: float = 0.0) -> np.ndarray:
    """Where a finger comes on its way.

    Args:
        local: (N, 3) points in the tip frame, metres.
        opening: between the fingers, metres.
        further: metres that each finger comes from further out.

    Returns:
        (N,) bool of each point.
    """
    gripper, (x, y, z) = config.gripper, local.T
    out = np.abs(y) - opening / 2
    strip = (np.abs(x) < gripper.finger_width / 2) & (z < gripper.finger_beyond)
    return np.asarray(strip & (out > 0) & (out < gripper.finger_thickness + further))


def under_palm(local: Array, config: PlanningConfig) -> np.ndarray:
    """(N,) whether each of (N, 3) points in the tip frame, metres, is where the palm comes, at whatever depth."""
    gripper, (x, y, _) = config.gripper, local.T
    return np.asarray((np.abs(x) < gripper.palm_thickness / 2) & (np.abs(y) < gripper.palm_width / 2))


def hidden_risk(local: Array, along: Array, opening: float, config: PlanningConfig) -> float:
    """How much a finger or the palm comes where the target hides itself, and may reach farther than estimated, 0 to 1.

    It falls by e for each half of the known extent that is left free there; a side that faces the camera has none.

    Args:
        local: (N, 3) points of the target, measured or hidden, in the tip frame, metres.
        along: (3,) unit viewing direction in the tip frame.
        opening: between the fingers on the way, metres.
    """
    gripper, (x, y, z) = config.gripper, local.T
    face = gripper.finger_beyond - gripper.finger_length
    between = (np.abs(x) < gripper.finger_width / 2) & (z < gripper.finger_beyond) & (np.abs(y) < opening / 2)
    sides = (
        (abs(float(along[1])), opening / 2 - y[between] * np.sign(along[1]), y[between]),
        (max(0.0, -float(along[2])), z[under_palm(local, config)] - face, z),
    )
    clear = 1.0
    for away, free, extent in sides:
        if len(free):
            half = max(float(np.ptp(extent)) / 2, CELL)
            clear *= 1 - away * math.exp(-max(float(free.min()), 0.0) / half)
    return 1 - clear


def _cells(metres: float) -> int:
    return 2 * int(np.ceil((metres / CELL - 1) / 2 - 1e-6)) + 1 if metres > CELL else 1


def _least(values: Map, rows: int, columns: int) -> Map:
    kernel = np.ones((rows, columns), np.uint8)
    return np.asarray(cv2.erode(values, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=float(FREE)), np.float32)


_WALL = 0.02  # metres: with one finger above the object and one beside it, a thicker part is not the wall of a vessel
_THICK_WALL = 0.03  # metres: the same for objects that are seen to be open deep down, such as a ring
_DEEP = 0.6  # share of the height
_THIN = 0.018  # metres: half the largest thickness of a handle that sticks out of a thicker part
_BODY_SHARE = 0.4  # share of the outline that the thick part must fill for the rest to be its handle
_HOLLOW_DEPTH = 0.01  # metres below the highest point from which enclosed cells are inside a hollow object
_HIGHER = 0.005  # metres by which a cell on a side is higher; depth cameras fill the inside of a cup
_ENCLOSED = 3  # of the four sides must have a higher cell; the fourth may be a gap in what was measured
_HOLLOW_SHARE = 0.1  # share of the outline that lies this deep in a hollow object
_HOLLOW = 0.035  # metres: lower objects have no rim
_STEM = 0.015  # metres: a thinner part on top of a much wider object does not carry it: the stem of an apple
_MUCH_WIDER = 4.0  # times as wide as the part


class ThinParts:
    """Map of thin parts of an object, such as its handle, seen from above."""

    def __init__(self, body: GraspBody, config: PlanningConfig) -> None:
        view = hand_view(body, np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]), config.gripper)
        heights = body.points[:, 2]
        self.tall = float(heights.max() - heights.min()) > _HOLLOW
        taken = (view.nearest < FREE).astype(np.uint8)
        filled = np.zeros_like(taken)
        outlines, _ = cv2.findContours(taken, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
        size = 2 * int(_THIN / CELL) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        padded = cv2.copyMakeBorder(filled, size, size, size, size, cv2.BORDER_CONSTANT, value=0)
        thick = np.asarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel), np.uint8)
        grown = cv2.dilate(thick, np.ones((3, 3), np.uint8))[size:-size, size:-size]
        is_thick, is_there = np.asarray(grown, np.uint8).astype(np.bool_), filled.astype(np.bool_)
        share = float((is_thick & is_there).sum()) / max(float(is_there.sum()), 1.0)
        self._mask = is_there & ~is_thick if share > _BODY_SHARE else np.zeros_like(is_there)
        below = view.nearest - float(view.nearest.min())
        deepest, sides = np.where(is_there, below, np.float32(np.inf)), np.zeros(is_there.shape, np.int8)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            way = (slice(None),) * axis + (slice(None, None, step),)
            sides += np.minimum.accumulate(deepest[way], axis=axis)[way] < below - _HIGHER
        enclosed = (below > _HOLLOW_DEPTH) & (sides >= _ENCLOSED)  # in a vessel, but not on a dome
        inside = enclosed[is_there & is_thick]
        self.hollow = len(inside) > 0 and float(inside.mean()) > _HOLLOW_SHARE
        deep = inside & (below[is_there & is_thick] > _DEEP * np.ptp(heights))
        seen_through = self.hollow and float(deep.mean()) > _HOLLOW_SHARE
        self._wall = _THICK_WALL if seen_through else _WALL
        self._there, self._low, self._middle, self._points = is_there, view.low, body.middle, body.points

    def way(self, name: Side, position: Array, closing: Array, width: float, thickness: float) -> Side | None:
        """Classify a grasp as "handle", "rim" or `name`; None on a stem, or if a finger would be inside the object.

        Args:
            position: (3,) position of the tip frame, metres.
            closing: (3,) unit closing direction.
            width: width of the part between the fingers, metres.
            thickness: thickness of a finger along `closing`, metres.
        """
        if self.holds(position, width):
            return "handle"
        if not self.tall:
            return name
        if self.hollow and width <= self._wall:
            return "rim"
        if name != "side" and width < _STEM and float(np.ptp(self._points @ closing)) > _MUCH_WIDER * width:
            return None
        return None if self.one_inside(position, closing, (width + thickness) / 2) else name

    def one_inside(self, position: Array, closing: Array, aside: float) -> bool:
        """Whether of two fingers at `aside` metres from the grasp, one is above the object and one beside it."""
        return self._at(position + aside * closing, self._there) != self._at(position - aside * closing, self._there)

    def holds(self, position: Array, width: float) -> bool:
        """Whether a grasp at `position`, (3,) metres, closes on a thin part."""
        return width <= 2 * _THIN and self._at(position, self._mask)

    def _at(self, position: Array, mask: npt.NDArray[np.bool_]) -> bool:
        local = np.array([position[1] - self._middle[1], position[0] - self._middle[0]])
        row, column = (int(v) for v in np.floor((local - self._low) / CELL))
        rows, columns = mask.shape
        return bool(0 <= row < rows and 0 <= column < columns and mask[row, column])


_FACE = 0.005  # metres behind the outermost point that still belong to a face
_FEW_NORMALS = 6  # fewest normals for a statement about a face
_FEW_ON_FACE = 3  # fewest measured points of a seen face
_BINS = 4  # across a finger, to search for the edge of a face
_BAND = 0.008  # metres behind the outermost point in which normals are used
_LOOKS = 0.2  # cosine: normals that point farther away from the finger belong to the other face
_WEDGE = 0.018  # metres above the fingertips in which a face must not slope away from its finger
_TOP_SHARE = 0.1  # share of the points between the fingers that noise may put above the upper edge
_LEVEL_FACE = 0.8  # cosine: normals that point against the approach at least this much may belong to an upper face
_MOST_LEAN = 0.3  # cosine of their median towards the finger above which they belong to a slanted side
_TOP_NOISE = 0.004  # metres by which points of one level upper face lie above or below its median


@dataclass(frozen=True)
class Face:
    """One side of a run of cells between the fingers.

    Args:
        at: position along the direction towards its finger, metres.
        begin, end: its range along the approach, metres, within _FACE of `at`.
        angle: angle by which it is turned away from its finger, radians.
    """

    at: float
    begin: float
    end: float
    angle: float
    looks: bool
    measured: bool


def face_of(
    side: float,
    points: Array,
    reach: Array,
    normals: Array,
    measured: npt.NDArray[np.bool_],
    x: float,
    deep: float,
    width: float,
    edge: float,
) -> Face:
    """Find the face of a run towards one finger; `side` is -1 or 1 along the closing direction.

    Normals count only if they are at least `edge` metres below its upper edge: those above belong to another face.
    """
    out = side * points[:, 1] + reach
    at = float(out.max())
    face = out > at - _FACE
    z = points[:, 2]
    first = float(z[face].min())
    looking = (out > at - _BAND) & measured & (z >= first + edge) & (side * normals[:, 1] > -_LOOKS)
    if edge > 0:  # a level upper face that ends at the edge faces the approach and says nothing about the side
        level = looking & (normals[:, 2] < -_LEVEL_FACE)
        if level.any() and abs(float(np.median(normals[level, 1]))) <= _MOST_LEAN:
            # Noise of depth spreads its points over several millimetres, more than `edge`, so its height is a median.
            looking &= ~(level & (np.abs(z - np.median(z[level])) <= _TOP_NOISE))
    facing = side * normals[looking, 1]
    looks = len(facing) >= _FEW_NORMALS
    turned = math.acos(min(1.0, max(-1.0, float(np.median(facing))))) if looks else 0.0
    begin, end = float((z - reach)[face].min()), float((z + reach)[face].max())
    bins = np.clip((((points[:, 0] - x) / width + 0.5) * _BINS).astype(int), 0, _BINS - 1)
    along_edge = _slope(bins, out, width)  # as seen by the hand
    if along_edge is None:  # it does not exist along three quarters of the finger: past the end of the object
        along_edge = math.pi / 2
    angle = max(turned, along_edge, _wedge_angle(z, out, deep))
    return Face(at, begin, end, angle, looks, int(np.count_nonzero(face & measured)) >= _FEW_ON_FACE)


def _slope(bins: npt.NDArray[np.intp], out: Array, length: float, count: int = _BINS) -> float | None:
    """Slope angle of the outermost points over `length` metres in `count` bins, radians, outwards or inwards.

    None if fewer than three bins have a point.
    """
    reach = np.full(count, -np.inf)
    np.maximum.at(reach, bins, out)
    known = np.flatnonzero(reach > -np.inf)
    if len(known) < _BINS - 1:
        return None
    at, heights = known - known.mean(), reach[known]
    return math.atan(abs(float(at @ heights) / float(at @ at) * count / length))


def _wedge_angle(z: Array, out: Array, deep: float) -> float:
    """Slope angle of a face along the approach over the last stretch before the fingertips, radians.

    The stretch ends at the object's upper edge, corrected for noise, because nothing above it is a face. A face whose
    stretch is not seen or too short for three bins gives no result.
    """
    at = _TOP_SHARE * (len(z) - 1)  # a quantile; np.quantile takes ten times as long on so few numbers
    below, above = int(at), min(int(at) + 1, len(z) - 1)
    ordered = np.partition(z, [below, above])
    length = min(_WEDGE, deep - float(ordered[below] + (at - below) * (ordered[above] - ordered[below])))
    count = round(_BINS * length / _WEDGE)
    if count < _BINS - 1:
        return 0.0
    from_tips = deep - z
    inside = (from_tips >= 0) & (from_tips < length)
    return _slope((from_tips[inside] / length * count).astype(int), out[inside], length, count) or 0.0
