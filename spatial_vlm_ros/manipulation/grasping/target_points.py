# SPDX-License-Identifier: Apache-2.0
"""Measured data of the target for grasps: surface points with normals, and the hidden space behind them.

Planning frame, z up, metres. Arrays are sent as base64 so that an answer stays small: points in steps of 0.1 mm,
normals in steps of 1/127, hidden space as one bit for each voxel.

The completed outline of an object (geometry/extent.py, by symmetry if the visible part supports it) bounds the hidden
space. A voxel inside it is hidden unless the depth image shows something farther away there, or the object is symmetric
and the voxel's counterpart across the vertical axis was seen to be free. The upper edge of vessels and cans is a circle
that is visible all around, with or without a handle: there the circle bounds the hidden space, and space that was seen
to be free at one angle is free at all angles. So the inside of a mug becomes free although its near wall hides most of
it.
"""

from __future__ import annotations

import base64
import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.occupancy.measuring import points_of
from spatial_vlm_ros.types import Scene, SceneObject, Transform, Vector3

Array = npt.NDArray[np.float64]
Points = npt.NDArray[np.float32]

MOST_POINTS = 4000
MOST_VOXELS = 200_000
STEP = 1e-4  # metres: points are rounded to this
REACH = 32767 * STEP  # largest distance of points from their origin along each axis, metres
_GRID = 2 * REACH  # largest extent of the hidden space along each axis, metres
_FAR = 1000.0  # metres from the planning frame beyond which nothing is accepted
_UNIT = 1e-3  # tolerance of the viewing direction's length
_REPAIR = "compare the versions of the nodes"


@dataclass(frozen=True)
class TargetPoints:
    """The measured surface of one object, and the space in its estimated outline that was not seen to be free.

    Args:
        origin: corner of the voxel grid, and origin of the points, metres.
        packed_points: (N, 3) int16 in steps of 0.1 mm from `origin`, little-endian, base64; N at most 4000.
        packed_normals: (N, 3) int8 unit normals towards the camera, in steps of 1/127, base64.
        packed_hidden: bits of (nx, ny, nz) voxels, the last axis fastest, base64: set if the object may be there.
        edge: edge of a voxel, metres; the grid is at most 6.55 m long along each axis.
        along: horizontal unit viewing direction, along which the object's extent is estimated and not seen.
        sigma: standard deviation of that extent, metres.
    """

    origin: Vector3
    packed_points: str
    packed_normals: str
    packed_hidden: str
    grid: tuple[int, int, int]
    edge: float
    along: tuple[float, float]
    sigma: float

    def __post_init__(self) -> None:
        count = len(_bytes(self.packed_points)) // 6
        fits = (
            len(_bytes(self.packed_points)) == 6 * count
            and len(_bytes(self.packed_normals)) == 3 * count
            and 0 < count <= MOST_POINTS
            and min(self.grid) > 0
            and math.prod(self.grid) <= MOST_VOXELS
            and len(_bytes(self.packed_hidden)) == (math.prod(self.grid) + 7) // 8
        )
        if not fits:
            got = f"{count} points, a grid of {self.grid}"
            expected = f"1 to {MOST_POINTS} points with as many normals, and one bit for each voxel"
            raise InputError("points of the target", got, expected, _REPAIR)
        near = (
            0 < self.edge * max(self.grid) <= _GRID
            and all(abs(value) <= _FAR for value in self.origin)
            and abs(math.hypot(*self.along) - 1) <= _UNIT
            and 0 <= self.sigma <= _FAR
        )
        if not near:  # also refuses NaN and infinity
            got = (
                f"an origin at {self.origin} m, an edge of {self.edge:g} m, a view along {self.along}, {self.sigma:g} m"
            )
            expected = f"metres near the planning frame, a grid of {_GRID:.2f} m at most, and a unit direction"
            raise InputError("points of the target", got, expected, _REPAIR)

    @property
    def points(self) -> Points:
        """(N, 3) float32, metres, planning frame: the visible surface."""
        steps = np.frombuffer(_bytes(self.packed_points), "<i2").reshape(-1, 3)
        return (steps * STEP + np.array(self.origin)).astype(np.float32)

    @property
    def normals(self) -> Points:
        """(N, 3) float32 unit normals of `points`, towards the camera."""
        rows = np.frombuffer(_bytes(self.packed_normals), np.int8).reshape(-1, 3).astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)

    @property
    def known(self) -> Array:
        """(N + M, 3) where the object is or may be, metres: `points`, then `hidden`."""
        return np.concatenate((self.points, self.hidden)).astype(np.float64)

    @property
    def hidden(self) -> Points:
        """(M, 3) float32 centres of hidden voxels at the boundary of the hidden space, metres."""
        bits = np.unpackbits(np.frombuffer(_bytes(self.packed_hidden), np.uint8), count=math.prod(self.grid))
        filled = bits.reshape(self.grid).astype(np.bool_)
        around = np.pad(filled, 1)
        inner = np.ones_like(filled)
        for axis, shift in itertools.product(range(3), (0, 2)):
            cut = tuple(slice(shift, shift + n) if k == axis else slice(1, n + 1) for k, n in enumerate(self.grid))
            inner &= around[cut]
        return ((np.argwhere(filled & ~inner) + 0.5) * self.edge + np.array(self.origin)).astype(np.float32)

    @staticmethod
    def packed(
        points: Array, normals: Array, hidden: npt.NDArray[np.bool_], origin: Vector3, edge: float,
        along: tuple[float, float] = (1.0, 0.0), sigma: float = 0.0,
    ) -> TargetPoints:  # fmt: skip
        """Pack arrays: (N, 3) points in metres, (N, 3) unit normals, and (nx, ny, nz) hidden voxels from `origin`."""
        away = np.asarray(points, np.float64) - np.asarray(origin, np.float64)
        directions = np.asarray(normals, np.float64)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        if not ((np.abs(away) <= REACH).all() and np.isfinite(lengths).all()):
            got = f"points as far as {np.abs(away).max():.3g} m along an axis, normals as long as {lengths.max():.3g}"
            expected = f"finite points within {REACH:.2f} m of the origin, and finite normals"
            raise InputError("points of the target", got, expected, "pass metres, not millimetres")
        steps = np.round(away / STEP).astype("<i2")
        rows = np.round(directions / np.maximum(lengths, 1.0) * 127).astype(np.int8)
        nx, ny, nz = hidden.shape
        bits = np.packbits(hidden.reshape(-1))
        return TargetPoints(
            origin, _text(steps.tobytes()), _text(rows.tobytes()), _text(bits.tobytes()), (nx, ny, nz), edge, along,
            sigma,
        )  # fmt: skip


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError("points of the target", str(error), "arrays in base64", _REPAIR) from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


Flags = npt.NDArray[np.bool_]

_CELL = 0.004  # metres: size of the cells in which surface points are averaged
_FINEST, _COARSEST = 0.004, 0.02  # metres: edge of voxels
_COARSER = 1.1  # factor by which voxels of very large objects grow until there are few enough
_VOXELS = 24_000  # approximate number of voxels in the box around an object
_POINTS = 5000  # approximate number of surface points to average
_FEW = 20  # fewest surface cells for a result
_NEAR = 0.003  # metres: depth that is farther by less than this plus noise is the surface itself
_NOISE = 0.003  # 1/m: noise of stereo and projected-light cameras, grows with the square of depth
_ALIKE = ("rotation", "mirror", "box")
_DIRECTIONS = 24
_TOP = 0.008  # metres below the highest points that still are the upper edge
_OFF_CIRCLE = (0.002, 0.06)  # metres, and part of the radius: the upper edge may be off its circle by their sum
_ROUND = 0.7  # of the directions around the circle, in which the upper edge is seen on it
_WALL = 0.025  # metres below the highest points, in which the near half of a wall is looked at
_SIDE = 0.2  # cosine: directions that look farther away from the camera are not of the near half
_AS_WIDE = 0.2  # by this part the diameter may differ from the width across the view
_ROUNDS = 6  # of the fit, each without the directions that fit worst
_BEYOND = 0.25  # of the points that may lie outside the circle: a handle, a spout
_BULGING = 0.75  # quantile over directions of how far out anything is seen; a handle is in fewer than a quarter
_TURNS = 8  # angles at which what is hidden of a round object is looked up
_ROUND_SIGMA = 0.005  # metres: of the diameter of a circle, of which the far side is a guess


def target_points(obj: SceneObject, scene: Scene, base_T_camera: Transform) -> TargetPoints | None:
    """Measured surface and hidden space of one object, in the planning frame, the parent of `base_T_camera`, z up.

    None if too little is visible, or the object is too large to encode (REACH) and so too large for any hand.
    """
    camera_at = base_T_camera.translation
    away = base_T_camera.apply(obj.box.centre) - camera_at
    outline = base_T_camera.apply(obj.footprint)[:, :2]
    height = float(base_T_camera.apply(obj.box.centre)[2])
    half = float(obj.box.size[2]) / 2
    low = np.array([*outline.min(axis=0), height - half])
    high = np.array([*outline.max(axis=0), height + half])
    shown = base_T_camera.apply(obj.points[:: max(1, len(obj.points) // _POINTS)])
    if obj.detection.mask is not None:  # what is thin and higher than its box was lost with the rim of the mask
        rim = points_of(scene.frame, obj.detection.mask)
        at = base_T_camera.apply(rim)
        inside = ((at >= low) & (at <= high))[:, :2].all(axis=1)
        shown = np.concatenate((shown, at[inside & (at[:, 2] > high[2] + _NEAR + _NOISE * rim[:, 2] ** 2)]))
    points, normals = surface_cells(shown, camera_at)
    if len(points) < _FEW:
        return None
    if max(np.abs(points - low).max(), (high - low).max()) > REACH:
        return None
    edge = float(np.clip(np.cbrt(np.prod(np.maximum(high - low, 0.01)) / _VOXELS), _FINEST, _COARSEST))
    while np.prod(counts := np.maximum(np.ceil((high - low) / edge).astype(int), 1)) > MOST_VOXELS:
        edge *= _COARSER
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    centres = low + (grid + 0.5) * edge
    smeared = obj.shape is None or obj.shape.kind not in ("measured", "box")
    circle = upper_circle(points, away[:2] if smeared else None)
    if circle is None:
        angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
        ways = np.stack([np.cos(angles), np.sin(angles)])
        reach, at = outline @ ways, centres[:, :2] @ ways  # within the outline's hull, by tangents
        inside = ((at >= reach.min(axis=0)) & (at <= reach.max(axis=0))).all(axis=1)
    else:
        inside = np.hypot(*(centres[:, :2] - circle[:2]).T) < circle[2]
    hidden = np.zeros(len(centres), np.bool_)
    hidden[inside] = _not_seen_free(centres[inside], obj, scene, base_T_camera, edge, outline.mean(axis=0), circle)
    level = float(np.hypot(away[0], away[1]))
    along = (float(away[0]) / level, float(away[1]) / level) if level > 1e-6 else (1.0, 0.0)
    x, y, z = low.tolist()
    sigma = _ROUND_SIGMA if circle is not None else 0.0 if obj.shape is None else obj.shape.sigma
    return TargetPoints.packed(points, normals, hidden.reshape(counts), (x, y, z), edge, along, float(sigma))


def _not_seen_free(
    centres: Array, obj: SceneObject, scene: Scene, base_T_camera: Transform, edge: float, axis: Array,
    circle: tuple[float, float, float] | None,
) -> Flags:  # fmt: skip
    """Whether (N, 3) voxel centres may be part of the object: behind the visible surface, or not seen at all."""
    free, behind = _seen(centres, scene, base_T_camera, edge)
    if circle is not None:
        away = centres[:, :2] - circle[:2]
        for number in range(1, _TURNS):
            c, s = np.cos(2 * np.pi * number / _TURNS), np.sin(2 * np.pi * number / _TURNS)
            turned = np.column_stack((away @ np.array([[c, s], [-s, c]]) + circle[:2], centres[:, 2]))
            behind &= ~_seen(turned, scene, base_T_camera, edge)[0]
    elif obj.shape is not None and obj.shape.kind in _ALIKE:
        opposite = centres.copy()
        opposite[:, :2] = 2 * axis - opposite[:, :2]
        behind &= ~_seen(opposite, scene, base_T_camera, edge)[0]
    return behind & ~free


def _seen(centres: Array, scene: Scene, base_T_camera: Transform, edge: float) -> tuple[Flags, Flags]:
    """Whether depth is farther than each point, and whether each point is behind the measured depth."""
    frame = scene.frame
    local = base_T_camera.inverse().apply(centres)
    z = np.maximum(local[:, 2], 1e-6)
    pixels = np.round((local / z[:, None]) @ frame.camera.K.T).astype(int)
    height, width = frame.depth.shape
    u, v = pixels[:, 0], pixels[:, 1]
    within = (local[:, 2] > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    depth = frame.depth[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)].astype(np.float64)
    known = within & np.isfinite(depth) & (depth > 0)
    tolerance = _NEAR + _NOISE * z * z
    free = known & (depth > z + tolerance)
    behind = ~known | (depth < z - edge / 2)
    return free, behind


def upper_circle(points: Array, along: Array | None) -> tuple[float, float, float] | None:
    """Fit a circle to the upper edge of an object: centre x, y and radius, metres; None if it is not a circle.

    None, too, where the object bulges below, as an apple does: a handle is in fewer directions.

    Args:
        points: (N, 3) points of the visible surface, metres, z up.
        along: (2,) horizontal viewing direction, if the far edge may be smeared along it; None if it is well measured.
    The circle is fitted to the outermost points in each direction (Kåsa 1976); it counts if most directions agree with
    it and hardly any part of the object lies outside. A far edge is often smeared along the view; then the near half is
    used, if the circle is as wide as the edge appears across the view.
    """
    top = points[points[:, 2] > np.percentile(points[:, 2], 98) - _TOP][:, :2]
    if len(top) < _FEW:
        return None
    begin = (top.min(axis=0) + top.max(axis=0)) / 2
    whole = _circle(top, begin, np.zeros(2))
    if whole is None and along is not None:
        top = points[points[:, 2] > np.percentile(points[:, 2], 98) - _WALL][:, :2]
        ahead = along / max(float(np.hypot(*along)), 1e-9)
        aside = np.array([-ahead[1], ahead[0]])
        low, high = np.quantile(top @ aside, [0.02, 0.98])
        near = float(np.quantile(top @ ahead, 0.1))
        begin = (near + (high - low) / 2) * ahead + (low + high) / 2 * aside
        whole = _circle(top, begin, ahead)
        if whole is None or abs(2 * whole[2] / (high - low) - 1) > _AS_WIDE:
            return None
    if whole is None:
        return None
    x, y, radius = whole
    slack = _OFF_CIRCLE[0] + _OFF_CIRCLE[1] * radius
    beyond = np.hypot(*(points[:, :2] - (x, y)).T) > radius + 2 * slack
    if float(beyond.mean()) > _BEYOND:
        return None
    bulge = float(np.quantile(np.hypot(*(_outermost(points[:, :2], x, y) - (x, y)).T), _BULGING))
    return None if bulge > radius + slack else whole


def _circle(points: Array, begin: Array, away: Array) -> tuple[float, float, float] | None:
    """Circle through the outermost of (N, 2) points; only those on the side against `away` if that is not zero."""
    x, y = begin.tolist()
    for _ in range(2):
        edge = _outermost(points, x, y)
        edge = edge[(edge - (x, y)) @ away <= _SIDE * np.hypot(*(edge - (x, y)).T) + 1e-9]
        directions = _DIRECTIONS * (0.5 if away.any() else 1.0)
        if len(edge) < _ROUND * directions:
            return None
        on = np.ones(len(edge), np.bool_)
        for _ in range(_ROUNDS):
            terms = np.column_stack((2 * edge[on], np.ones(np.count_nonzero(on))))
            x, y, d = np.linalg.lstsq(terms, (edge[on] ** 2).sum(axis=1), rcond=None)[0]
            radius = float(np.sqrt(max(d + x * x + y * y, 0.0)))
            off = np.abs(np.hypot(*(edge - (x, y)).T) - radius)
            on = off <= max(_OFF_CIRCLE[0] + _OFF_CIRCLE[1] * radius, float(np.quantile(off, _ROUND)))
    good = np.count_nonzero(off < _OFF_CIRCLE[0] + _OFF_CIRCLE[1] * radius)
    return (float(x), float(y), radius) if good >= _ROUND * directions else None


def _outermost(points: Array, x: float, y: float) -> Array:
    """(K, 2): for each direction, the one of (N, 2) points that lies farther out than most others."""
    away = points - (x, y)
    far = np.hypot(*away.T)
    bins = ((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * _DIRECTIONS).astype(int) % _DIRECTIONS
    order = np.lexsort((far, bins))
    starts = np.concatenate(([0], np.flatnonzero(np.diff(bins[order])) + 1, [len(order)]))
    return points[order[[b - 1 - (b - a) // 8 for a, b in itertools.pairwise(starts.tolist())]]]


def surface_cells(points: Array, viewpoint: Array) -> tuple[Array, Array]:
    """Average points in cells, with normals from the scatter of each cell and its 26 neighbours.

    Args:
        points: (N, 3) metres.
        viewpoint: (3,) position that normals point to, metres.

    Returns:
        (M, 3) points and (M, 3) unit normals; M at most 4000.
    """
    points = np.asarray(points, np.float64)
    cell = _CELL
    while True:
        if not len(points):
            return points.reshape(0, 3), points.reshape(0, 3)
        low = points.min(axis=0)
        index = np.floor((points - low) / cell).astype(np.int64) + 1
        size = index.max(axis=0) + 2
        keys, of = np.unique((index[:, 0] * size[1] + index[:, 1]) * size[2] + index[:, 2], return_inverse=True)
        if len(keys) <= MOST_POINTS:
            break
        cell *= max(1.15, (len(keys) / MOST_POINTS) ** 0.5)
    of = of.reshape(-1)
    local = points - low
    x, y, z = local.T
    terms = (np.ones(len(x)), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)
    moments = np.stack([np.bincount(of, t, len(keys)) for t in terms], axis=1)
    means = moments[:, 1:4] / moments[:, :1]
    total = np.zeros_like(moments)
    for dx, dy, dz in itertools.product((-1, 0, 1), repeat=3):
        other = keys + (dx * size[1] + dy) * size[2] + dz
        at = np.minimum(np.searchsorted(keys, other), len(keys) - 1)
        total += moments[at] * (keys[at] == other)[:, None]
    middle = total[:, 1:4] / total[:, :1]
    xx, yy, zz, xy, xz, yz = (total[:, 4:] / total[:, :1]).T
    second = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3)
    scatter = second - middle[:, :, None] * middle[:, None, :]
    normals = np.linalg.eigh(scatter)[1][:, :, 0]
    towards = np.einsum("ij,ij->i", normals, viewpoint - (means + low))
    normals[towards < 0] *= -1
    return means + low, normals
