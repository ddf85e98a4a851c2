# SPDX-License-Identifier: Apache-2.0
"""Estimate the extents of a whole object from its visible surface: outline, bottom and top, box, covariance.

Works along "ground axes" through the object: e1 points away from the camera along the ground, e2 to its right, and up
points against gravity. The far side of an object is never seen. It is completed by symmetry where the visible surface
supports that (`axis_of`), and else by the assumptions stated here. Both count in the covariance.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.surface import Cut, Surface
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import ObjectShape, OrientedBox, PinholeCamera, RgbdFrame, ShapeKind

Array = npt.NDArray[np.float64]

FOOTPRINT_CORNERS = 16
_ANGLES = 2 * np.pi * np.arange(FOOTPRINT_CORNERS) / FOOTPRINT_CORNERS
_DIRECTIONS = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)))  # (2, 16)

_IDENTITY = np.eye(3)
_TILT = math.radians(1.0)  # standard deviation of the direction "up"
_MANY = 1000  # points from which thinning out before computing a hull is faster
_TURN = np.array([1, -1], np.float32)
_THINNING = tuple(_DIRECTIONS[:, : FOOTPRINT_CORNERS // 2 : step].T.astype(np.float32) for step in (2, 1))
_ROUNDING = np.float32(1e-5)  # metres; of float32 coordinates some metres from the camera

_RECEDING = 0.12  # how much farther the flanks lie than the middle, in widths, if an outline recedes: a disc has 0.28
_TAILED = 0.001  # metres of noise from which a surface has outliers
_TRIMMED = np.array((1.0, 0.2, 1.0))  # fraction of the trim along e1, e2, up: noise is mostly along the ray
_NOISE_PUSH = 1.8  # standard deviations by which the trimmed extremes of a noisy surface lie outside it
_ABOUT_ROUND = 1.3  # visible depth over width up to which a receding outline is assumed to be round or a corner
_OUTMOST = 0.03  # fraction of the points used for the upper, and for the lower, line of the visible surface
_NOT_ROUND = 0.15  # length difference, in widths, from which a lying round object counts as longer or shorter than wide
_FLAT = 0.12  # visible height over width up to which an object is flat
_WHOLE_LINES = 0.1  # covered fraction of the upper or lower side up to which an object still shows that line
_TOP_BAND = 0.15  # fraction of the height, from the top, that is searched for a top face
_FLAT_TOP = 0.04  # the same, for a flat one
_TOP_SPAN = 0.6  # fraction of the depth range, and of the width, that a visible top face spans
_FRONT_ONLY_DEPTH = 0.6  # assumed depth, in widths, if only a flat front is visible
_MIRRORED = 0.05  # fraction of its depth out of sight from which an object is assumed to be symmetric
_HARDLY_CUT = 0.1  # fraction of a side that may be covered if an object is completed by symmetry
_TOLD = 0.1  # standard deviation of an axis, in lengths, up to which it counts as known
_CUT_SHARE = 0.75  # fraction of its visible size by which an object may continue where it is cut
_UNMEASURED_SIDE = 0.25  # fraction of the width without depth from which a heading means nothing
_SHAPE_DOUBT = 0.03  # standard deviation of the centre's position along the view, in lengths
_RECTANGLE_FILL = 0.93  # fraction of its bounding rectangle from which an outline counts as complete
_ROUND_FILL = 0.86  # a disc fills 0.785 of its bounding rectangle, a box all of it
_ELONGATED = 1.25  # length over width from which a heading can be told
_LONG = 1.5  # the same for outlines without corners: a completed disc may come out as an oval


@dataclass(frozen=True, eq=False)
class Extent:
    """Extents of one object."""

    basis: Array  # (3, 3) columns e1, e2, up, camera frame
    median: Array  # (3,) median of the visible surface along the basis, metres
    # (M, 2) float32: estimated convex outline seen from above, along e1 and e2, metres
    outline: npt.NDArray[np.float32]
    bottom: float  # height of the bottom along up, metres
    top: float  # height of the top along up, metres
    unseen: float  # depth along e1 that was assumed, not measured, metres
    unseen_width: float  # width that the mask shows but depth does not, metres
    # (3,) length by which the object may continue along e1, e2 and up, where something nearer or the image border cuts
    # it, metres
    cut: Array
    near_z: float  # optical depth of the nearest point, metres
    middle_z: float  # mean optical depth, metres
    completed: float = 0.0  # length of `unseen` beyond what was lost with the rim of the far edge, metres
    axis: SymmetryAxis | None = None  # symmetry axis used to complete the object, or None

    def span(self) -> npt.NDArray[np.float32]:
        """(2,) float32: lengths of the outline along e1 and e2, metres."""
        return self.outline.max(axis=0) - self.outline.min(axis=0)

    def footprint(self) -> Array:
        """(16, 2) corners of the outline along e1 and e2, metres: its farthest points in 16 directions."""
        outline = self.outline.astype(np.float64)
        return outline[np.argmax(outline @ _DIRECTIONS, axis=0)]


def ground_axes(direction: Array, up: Array) -> Array:
    """(3, 3) columns e1, e2, up. e1 is `direction` projected to the ground; the image's up if that is vertical."""
    for candidate in (direction, np.array([0.0, -1.0, 0.0]), np.array([1.0, 0.0, 0.0])):
        flat = candidate - (candidate @ up) * up
        length = math.sqrt(flat @ flat)
        if length > 0.1 * math.sqrt(candidate @ candidate):
            break
    e1 = flat / length
    return _columns(e1, _cross(e1, up), up)


def _columns(a: Array, b: Array, c: Array) -> Array:
    """(3, 3) from three column vectors; np.stack takes three times as long for so few numbers."""
    return np.array((a, b, c)).T.copy()


def _cross(a: Array, b: Array) -> Array:
    """Cross product of two vectors (3,); np.cross takes ten times as long for so few numbers."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def extent_of(surface: Surface, up: Array, frame: RgbdFrame, config: LiftConfig) -> Extent:
    """Measure a surface without a problem along its ground axes, "up" (3,) and across, and complete its far side."""
    points, camera = surface.points, frame.camera
    middle = points.sum(axis=0, dtype=np.float64) / len(points)
    basis = ground_axes(middle, up)
    local = basis.T.astype(np.float32) @ points.T  # (3, N) along e1, e2, up
    # Only the tail of the noise is trimmed: on a surface without noise that would be corners and round sides.
    cut = (config.trim * min(1.0, surface.noise / _TAILED) * len(points) * _TRIMMED).astype(np.intp)
    ranks = np.stack((cut, np.full(3, len(points) // 2), len(points) - 1 - cut), axis=1)
    low, median, high = np.array([np.partition(row, rank)[rank] for row, rank in zip(local, ranks, strict=True)]).T
    inside = ((local >= low[:, None]) & (local <= high[:, None])).all(axis=0)
    steepness = min(max(-float(middle @ up) / math.sqrt(middle @ middle), 0.02), 0.999)
    # Noise along the ray pushes the extremes of a surface outwards.
    push = _NOISE_PUSH * surface.noise * np.array([math.sqrt(1 - steepness**2), 0.0, steepness], np.float32)
    push = np.minimum(push, 0.25 * (high - low))
    kept = local.take(np.flatnonzero(inside), axis=1)
    low, high = low + push, high - push

    pixel = float(middle[2]) / camera.K[0, 0]
    rim = (surface.rim + 0.5) * pixel  # what erosion removed from every side, metres, plus half of the outermost pixel
    seen, width = float(high[0] - low[0]), float(high[1] - low[1]) + 2 * rim
    # A top seen from above loses no height with its rim, except at its far edge: a pixel there is 1 / sin φ long.
    far_edge = (surface.rim + 0.5) * pixel / max(steepness, 0.3)
    hull = _hull(kept[:2])
    length, told = _whole_length(kept, hull, seen, width, steepness, far_edge, surface.noise, surface.cut, rim)
    height = float(high[2] - low[2])
    across = min(_CUT_SHARE * max(surface.cut.left, surface.cut.right) * width, surface.cut.across * pixel)
    upwards = min(_CUT_SHARE * surface.cut.above * height, surface.cut.upwards * pixel)
    aside = float(low[1] + high[1]) / 2
    hull[:, 1] += np.float32(rim) * np.sign(hull[:, 1] - np.float32(aside))
    axis = None
    if surface.cut.most <= _HARDLY_CUT and height > _FLAT * width and length - seen > _MIRRORED * length:
        behind = height * math.sqrt(1.0 - steepness**2) / steepness
        doubt = math.hypot((length - seen) / math.sqrt(12), _SHAPE_DOUBT * length) if told else math.inf
        span = DepthSpan(float(low[0]), seen, min(behind, max(width, seen)), length, doubt, aside, far_edge, rim)
        axis = axis_of(kept, span, basis, surface, frame)
        if axis is not None:
            length = max(seen, 2 * (axis.ahead - float(low[0])))
    centre = np.array([low[0] + length / 2, aside], np.float32)
    if axis is not None and axis.radius:
        hull = _hull(np.concatenate((hull, circle(axis))).T)  # points off the circle belong to the handle
        length = float(np.ptp(hull[:, 0]))
    elif length - seen <= _MIRRORED * length:
        hull[:, 0] = low[0] + (hull[:, 0] - low[0]) * np.float32(length / max(seen, 1e-6))  # its far edge is a rim
    else:
        hull = _hull(np.concatenate((hull, 2 * centre - hull)).T)  # assumed to be the same from both sides
    x0, _, x1, _ = surface.detection.box_xyxy
    masked = surface.detection.mask is not None  # else the mask was cut out of depth, and the box shows the width
    pixels_wide = float(surface.mask.shape[1]) if masked else x1 - x0
    return Extent(
        basis=basis,
        median=median.astype(np.float64),
        outline=hull,
        bottom=float(low[2]) - rim,
        top=float(high[2]) + rim * max(0.0, 1.0 - 3.0 * steepness),
        unseen=length - seen,
        unseen_width=max(0.0, pixels_wide * pixel - width),
        cut=np.array((across, across, upwards)),
        near_z=float(points[:, 2].min()),
        middle_z=float(middle[2]),
        completed=max(length - seen - far_edge, 0.0),
        axis=axis,
    )


def _hull(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convex hull (M, 2) of points (2, N); of many, those inside the polygon of a few farthest are removed first."""
    for directions in _THINNING:
        if points.shape[1] > _MANY:
            along = directions @ points
            corners = points[:, np.concatenate((along.argmax(axis=1), along.argmin(axis=1)))].T  # counter-clockwise
            sides = np.concatenate((corners[1:], corners[:1])) - corners
            outwards = sides[:, ::-1] * _TURN
            limit = (outwards * corners).sum(axis=1) - _ROUNDING * np.hypot(sides[:, 0], sides[:, 1])
            points = points.take(np.flatnonzero((outwards @ points > limit[:, None]).any(axis=0)), axis=1)
    return np.asarray(cv2.convexHull(np.ascontiguousarray(points.T))[:, 0], np.float32)


def _whole_length(
    local: npt.NDArray[np.float32],
    hull: npt.NDArray[np.float32],
    seen: float,
    width: float,
    steepness: float,
    far_edge: float,
    noise: float,
    cut: Cut,
    lost: float,
) -> tuple[float, bool]:
    """Depth of the whole object along e1, metres, and True if that depth is measured, not guessed.

    The depth is at least the visible one, and more if the far side is out of sight. A view at elevation φ (`steepness`
    = sin φ) hides at most height / tan φ behind the visible part, and (1 - sin φ) / 2 of a ball's width; `far_edge` was
    lost with the rim.

    A lying round object whose upper and lower line are both visible is measured by them if depth is calm enough
    (`_round_length`): fruit may be longer or shorter than it is wide.
    Outlines that recede to both sides (round ones, corners) are assumed as deep as wide, if the visible depth is about
    that and as much can be out of sight: half of an object that is narrow above, such as bottles and fruit, and nothing
    if the top is flat and its outline (`hull`, (M, 2)) a rectangle. A box shows all of its depth if its top is visible.
    For a bare front the depth is a guess.
    """
    height = float(local[2].max() - local[2].min())
    behind = height * math.sqrt(1.0 - steepness**2) / steepness
    hidden = min((1.0 - steepness) / 2 * width, behind)
    whole = seen + far_edge
    calm = 2 * noise <= _FLAT_TOP * height
    flat = _shows_its_top(local, whole, width, max(_FLAT_TOP * height, 2 * noise))
    receding = False
    if whole < _ABOUT_ROUND * width:  # do the flanks lie farther than the middle?
        ahead, across, _ = local
        aside = np.abs(across - (across.min() + across.max()) / 2)
        middle, flanks = ahead[aside < 0.1 * width], ahead[aside > 0.4 * width]
        receding = bool(len(middle) and len(flanks)) and _near(flanks) - _near(middle) > _RECEDING * width
    if calm and not flat and _FLAT < height / width <= 1.0 and max(cut.above, cut.below) < _WHOLE_LINES:
        length = _round_length(local, steepness, lost)
        if not receding or abs(length - width) > _NOT_ROUND * width:
            return min(max(length, whole), whole + behind), True
    if receding:
        if not flat:
            hidden = min(width / 2, behind)
        elif calm:
            _, (long, short), _ = cv2.minAreaRect(hull)  # an outline that has lost a side does not fill it
            hidden = 0.0 if cv2.contourArea(hull) > _RECTANGLE_FILL * long * short else hidden
        return max(seen, min(width, whole + hidden)), True
    if _shows_its_top(local, whole, width, _TOP_BAND * height):
        return whole, True
    return min(max(whole, _FRONT_ONLY_DEPTH * width), whole + hidden), False


def _round_length(local: npt.NDArray[np.float32], steepness: float, lost: float) -> float:
    """Length along e1 of a lying round object whose upper and lower line are both visible.

    Opposite points of an ellipsoid's visible contour are each other's reflections, so its middle lies midway between
    the highest and the lowest point. Both lose `lost` metres, across the ray, with the rim; there the surface runs
    nearly along the ray, and a circle of radius r continues by sqrt(lost (2 r - lost)). `steepness` is the sine of the
    view's elevation. Exact for ellipsoids seen from afar; too long for bent objects and objects with corners.
    """
    ahead, _, heights = local
    raised = steepness * ahead + math.sqrt(1.0 - steepness**2) * heights
    count = max(1, int(_OUTMOST * len(raised)))
    order = np.argsort(raised)
    (below, low), (above, high) = (
        (float(ahead[line].mean()), float(raised[line].mean())) for line in (order[:count], order[-count:])
    )
    radius = float(raised[order[-1]] - raised[order[0]]) / 2 + lost
    lost = radius - (high - low) / 2  # this includes what averaging over some points takes off
    radius = min(radius, max(float(np.ptp(heights)), lost))  # a long and bent object is rounder than its image
    hidden = math.sqrt(lost * (2 * radius - lost) * (1.0 - steepness**2))
    return 2 * ((below + above) / 2 + hidden - float(ahead.min()))


def _shows_its_top(local: npt.NDArray[np.float32], seen: float, width: float, band: float) -> bool:
    """True if the uppermost points, `band` metres of them, reach over most of the visible depth and width.

    The cap of a bottle may reach over the visible depth, but it is narrower than the bottle and does not show how deep
    the bottle is.
    """
    ahead, across, heights = local
    high = heights > float(heights.max()) - band
    top, wide = ahead[high], across[high]
    if not len(top) or float(wide.max() - wide.min()) < _TOP_SPAN * width:
        return False
    return float(top.max() - top.min()) >= _TOP_SPAN * seen and seen > 0.2 * width


def _near(values: npt.NDArray[np.float32]) -> float:
    rank = len(values) // 5
    return float(np.partition(values, rank)[rank])


def box_of(extent: Extent) -> tuple[OrientedBox, bool]:
    """Gravity-aligned box around the outline, and True if its heading is known.

    The smallest rectangle if the outline has corners or is long; aligned with the view if it is round.
    """
    (cx, cy), (length, width), angle = cv2.minAreaRect(extent.outline)
    fill = cv2.contourArea(extent.outline) / max(length * width, 1e-9)
    elongated = max(length, width) > _ELONGATED * max(min(length, width), 1e-6)
    yaw = math.radians(angle)
    if fill < _ROUND_FILL and not elongated:
        low, high = extent.outline.min(axis=0), extent.outline.max(axis=0)
        yaw = 0.0
        cx, cy = (float(c) for c in (low + high) / 2)
        length, width = (float(s) for s in high - low)
    if width > length:
        length, width, yaw = width, length, yaw + math.pi / 2
    if math.cos(yaw) < 0:
        yaw += math.pi
    e1, e2, up = extent.basis.T
    x_axis = math.cos(yaw) * e1 + math.sin(yaw) * e2
    axes = _columns(x_axis, _cross(up, x_axis), up)
    centre = extent.basis @ np.array([cx, cy, (extent.top + extent.bottom) / 2])
    size = np.array([max(float(s), 1e-3) for s in (length, width, extent.top - extent.bottom)])
    heading = length > (_ELONGATED if fill >= _ROUND_FILL else _LONG) * max(width, 1e-6)
    whole = extent.unseen_width < _UNMEASURED_SIDE * (extent.unseen_width + float(extent.span()[1]))
    return OrientedBox(centre, axes, size), bool(heading and whole)


def _assumed_sigma(extent: Extent) -> float:
    """Standard deviation of the middle along e1 due to the unseen depth, metres."""
    return extent.unseen / 2 / math.sqrt(3) if extent.axis is None else extent.axis.sigma


def shape_of(extent: Extent, box: OrientedBox) -> ObjectShape:
    """Describe how the extent of an object was found."""
    length, axis, sigma = float(extent.span()[0]), extent.axis, _assumed_sigma(extent)
    kind: ShapeKind = "assumed"
    if axis is not None and sigma <= _TOLD * length:
        kind = axis.kind
    elif extent.completed <= _MIRRORED * length:
        kind = "measured"
    if kind in ("measured", "mirror") and cv2.contourArea(extent.outline) > _RECTANGLE_FILL * box.size[0] * box.size[1]:
        kind = "box"
    return ObjectShape(kind, float(extent.completed), float(sigma))


def covariance_of(
    extent: Extent, box: OrientedBox, yaw_known: bool, surface: Surface, camera: PinholeCamera, config: DepthConfig
) -> Array:
    """(6, 6) covariance of volume centre (m²) and rotation (rad²), camera frame.

    Along the ray: the part of the depth noise that a whole object shares, and what remains of the rest after averaging.
    Along e1: the uncertainty of the symmetry axis, or, without one, half of the assumed depth, as a uniform error; plus
    a fraction of the length, because outlines are guesses. Across: at each edge of the mask the rim that was
    removed, one pixel at least; plus half of the width that the mask shows but depth does not. Where something nearer
    or the border cuts the object: half of what may be missing, as uniform.
    Rotation: about a degree for the tilt of "up"; yaw from the length of the footprint, unknown (uniform) without one.
    """
    ray = box.centre / math.sqrt(box.centre @ box.centre)
    sigma = float(depth_noise(box.centre[2], config))
    shared = (config.correlated_fraction * sigma) ** 2
    rest = (1 - config.correlated_fraction**2) * sigma**2 / (1 + 0.01 * len(surface.points))
    pixel = float(box.centre[2]) / camera.K[0, 0]
    edge = (max(surface.rim, 1) * pixel) ** 2 / 4
    across = (extent.unseen_width / 2) ** 2 / 3
    along = across + _assumed_sigma(extent) ** 2 + (_SHAPE_DOUBT * box.size[0]) ** 2
    # Variances along the ray, e1, e2 and up.
    directions = np.concatenate((ray[:, None], extent.basis), axis=1)
    variances = np.array((shared + rest, along, across, 0.0))
    variances[1:] += (extent.cut / 2) ** 2 / 3
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = (directions * variances) @ directions.T + edge * _IDENTITY
    tilt, up = _TILT**2, extent.basis[:, 2]
    yaw = max(tilt, (2 * (sigma + pixel) / max(box.size[0], 1e-3)) ** 2) if yaw_known else np.pi**2 / 3
    covariance[3:, 3:] = tilt * _IDENTITY + (min(yaw, np.pi**2 / 3) - tilt) * up[:, None] * up
    return covariance


# ------------------------------------------------------------------------------------------------ usual sizes
# usual_sizes.txt is our own estimate of common household objects, to a centimetre or so: mean horizontal size and
# height as an object usually stands or lies, in centimetres. A general word ("fruit") has the size of a medium one.

_SIZES = (pkgutil.get_data(__package__, "usual_sizes.txt") or b"").decode().splitlines()
_USUAL = {
    word: (float(width) / 100, float(height) / 100)
    for width, height, *words in map(str.split, _SIZES)
    for word in words
}


VARIED = frozenset(
    (
        *("box", "carton", "package", "packet", "container", "bag", "basket", "bin", "bucket", "tray", "book"),
        *("toy", "figurine", "plant", "robot", "tool", "cloth"),
    )
)
"""Names of things of any size: one of them says nothing, several different names together do."""


def usual_size(name: str) -> tuple[float, float] | None:
    """Usual mean horizontal size and height of what has a name, metres; None if unknown. Its last word may suffice."""
    return _USUAL.get(name.lower()) or _USUAL.get(kind_of(name))


def kind_of(name: str) -> str:
    """The word of a name that says what kind of thing it is: the last one, in lower case."""
    return name.lower().rsplit(" ", 1)[-1]


_SPREAD = 0.4  # of the logarithm of an object's size over the usual one
_EVEN = 1.35  # so that the factors of wrong names are 1 on average
_SHEET = 0.12  # of the least usual side of what has this name, below which it is none
_TALL = 0.05  # metres: things that are usually lower, such as keys and coins, may be as flat as the table


def size_odds(name: str, size: npt.NDArray[np.float64], whole: bool) -> float:
    """What an object's size (3,), height last, does to the odds that its name is right, if it is seen `whole`.

    Form and numbers are an estimate: heavy tails, because the usual sizes are estimates too.
    """
    usual = usual_size(name)
    if usual is None or usual[1] < _TALL or kind_of(name) in VARIED or not np.isfinite(size).all():
        return 1.0
    if size.min() < _SHEET * min(usual):
        return 0.05
    if not whole:
        return 1.0
    log_ratio = math.log(max(float(size.prod()), 1e-9) / (usual[0] ** 2 * usual[1])) / 3
    return _EVEN / (1.0 + (log_ratio / _SPREAD) ** 2)


Array32 = npt.NDArray[np.float32]

# ----------------------------------------------------------------------------------------------------
# The hidden side of an object from its symmetry: most look the same when they are turned about their vertical axis,
# vessels by any angle, boxes and bottles by half a turn.
# - rotation: the level slices of a vessel lie on circles about one axis. It is accepted if the slices are seen on both
#   sides of the axis, from outside in front and from inside behind.
# - half a turn: every seen point has a counterpart at the same height across the axis. If the assumed axis is too near,
#   counterparts lie in space that the camera saw to be free; if too far, they would be seen behind the object. Both
#   bound its position. An object has no such axis if every position contradicts what was seen.
# Sources: Thrun and Wegbreit, "Shape from symmetry" (ICCV 2005), for the test of counterparts against measured depth;
# Bohg et al., "Mind the gap: robotic grasping under incomplete observation" (ICRA 2011), for mirrored points; Kåsa, "A
# circle fitting procedure and its error analysis" (IEEE T-IM 1976), for the linear fit of circles.

_POINTS = 160  # points of a surface that are used; more move the axis by less than the noise
_EVENLY = np.sort(np.arange(_POINTS) * 0.6180339887 % 1)  # even, but not in step with the rows of pixels
_PLACES = 14  # positions of the axis that are tried
_SLICES = 8  # level slices that circles are fitted to
_ROUNDS = 5  # rounds of the fit, each with less weight on points off the circle: handles, floors and lids
_NEAR_CIRCLE = 0.25  # fraction of the radius by which walls may lie off the first circle
_ON_CIRCLE = 0.02  # fraction of the radius, beyond noise, by which a point on its circle may be off it
_ROUND_SHARE = 0.8  # fraction of the points on the circles of a round object; its handle and its floor are not on them
_LOPSIDED = 0.2  # fraction of the radius by which its visible ends to the left and right may lie off the circle
_BEHIND = 0.5  # radii behind the axis, from which a slice is seen from inside
_WALL = 0.15  # least fraction of the height that is seen from inside: a lid is seen in one slice, an eighth
_NEAR = 0.004  # metres, beyond noise, by which a counterpart may be in front of what is seen there
_NOISES = 3.0  # standard deviations that count as noise
_CONTRADICTED = 0.08  # fraction of counterparts in free space from which an object is not the same from both sides
_SAME = 0.02  # how many more than at the best position are still as good: two of a hundred points are strays
# To whole pixels; one lower, for edges of masks are off by half of one.
_ROUNDED = np.array([[[0.5]], [[1.5]]], np.float32)
_BEFORE_CAMERA = np.float32(1e-3)  # metres
_STRAIGHT = 1e-6  # fraction of the scatter below which slices are straight lines
_EACH_SLICE = np.arange(_SLICES)[:, None]
_TURNED = np.array([[-1], [-1], [1]], np.float32)  # half a turn about up


@dataclass(frozen=True)
class SymmetryAxis:
    """A vertical axis of symmetry."""

    kind: Literal["rotation", "mirror"]  # "mirror": looks the same after half a turn, not at any angle
    ahead: float  # metres along e1
    aside: float  # metres along e2
    radius: float  # radius of the widest circle, metres; 0 if the object is not round
    sigma: float  # standard deviation of `ahead`, metres


@dataclass(frozen=True)
class DepthSpan:
    """The visible depth of an object along e1 and what may be hidden, metres."""

    near: float
    seen: float
    hidden: float
    guess: float
    doubt: float  # standard deviation of the middle that follows from the guess; infinite if nothing supports it
    aside: float  # middle along e2
    lost: float  # length of its far edge lost with the mask's rim
    rim: float


def axis_of(local: Array32, span: DepthSpan, basis: Array, surface: Surface, frame: RgbdFrame) -> SymmetryAxis | None:
    """Find the vertical axis of symmetry of points (3, N) along e1, e2, up, the columns of `basis`, if there is one."""
    points = local.take((_EVENLY * local.shape[1]).astype(np.intp), axis=1)
    return _rotation(points, span, surface.noise) or _half_turn(points, span, basis, surface, frame)


def _rotation(local: Array32, span: DepthSpan, noise: float) -> SymmetryAxis | None:
    """The axis of the circles that level slices lie on; None if they lie on none or are seen from one side only.

    Circles about one axis: x² + y² = 2 a x + 2 b y + d, with a d for every slice. After subtracting the mean of each
    slice, this is linear in (a, b) alone. Of a vessel the outside is seen in front and the inside behind; the wall
    between them makes the fitted circle smaller than the outer one by half a wall, and so nearer by as much.
    """
    points = local.astype(np.float64)
    middle = points.mean(axis=1, keepdims=True)
    x, y, heights = points - middle
    low, high = float(heights.min()), float(heights.max())
    of = ((heights - low) * ((_SLICES - 1e-6) / max(high - low, 1e-6))).astype(np.intp)
    within = of == _EACH_SLICE  # (slices, N)
    terms = np.array((x, y, x * x + y * y))
    weight: Array | None = None
    for _ in range(_ROUNDS):
        members = within.astype(np.float64) if weight is None else within * weight
        counts = np.maximum(members.sum(axis=1), 1e-9)
        means = (members @ terms.T).T / counts
        centred = terms - means.take(of, axis=1)
        weighted = centred[:2] if weight is None else centred[:2] * weight
        (xx, xy, xq), (_, yy, yq) = (weighted @ centred.T).tolist()
        det = xx * yy - xy * xy
        if det <= _STRAIGHT * xx * yy:
            return None
        a, b = (xq * yy - yq * xy) / (2 * det), (yq * xx - xq * xy) / (2 * det)
        radii = np.sqrt(np.maximum(means[2] - 2 * a * means[0] - 2 * b * means[1] + a * a + b * b, 0.0))
        radius = float(radii[counts >= 1.0].max(initial=0.0))
        error = np.abs(np.hypot(x - a, y - b) - radii.take(of))
        inside = heights[(error < _NEAR_CIRCLE * radius) & (x > a + _BEHIND * radius)]
        if not len(inside) or float(inside.max() - inside.min()) < _WALL * (high - low):
            return None  # the far half of a lid tells less than the front
        usual = float(np.partition(error, len(error) // 2)[len(error) // 2])
        scale = max(usual, noise, _NEAR / 4)
        if float(error.max()) < 3 * scale:
            break
        weight = 1 / (1 + np.square(error / scale)) ** 2
    on = error < _ON_CIRCLE * radius + max(_NEAR / 2, 2 * noise)
    if np.count_nonzero(on) < _ROUND_SHARE * len(x):
        return None
    right, left = float(y[on].max() - b), float(b - y[on].min())
    if min(right, left) < (1 - _LOPSIDED) * radius or max(right, left) > (1 + _LOPSIDED) * radius:
        return None
    outer = (right + left) / 2 + span.rim
    wall = min(max(outer - radius, 0.0), 0.25 * radius)
    return SymmetryAxis(
        "rotation", a + wall + float(middle[0, 0]), b + float(middle[1, 0]), outer, math.hypot(wall, span.rim / 2)
    )


def _half_turn(
    local: Array32, span: DepthSpan, basis: Array, surface: Surface, frame: RgbdFrame
) -> SymmetryAxis | None:
    """The axis for which half a turn contradicts nothing that was seen, or None if there is no such axis.

    It may be anywhere in a range. A guess inside the range is kept. A guess that misses the range by less than the
    doubt in both is averaged with its middle; otherwise the middle is used.
    """
    ahead = np.linspace(0.85 * span.seen, span.seen + span.hidden, _PLACES) / 2 + span.near
    to_pixels = (frame.camera.K @ basis).astype(np.float32)
    turned = to_pixels @ (local * _TURNED)
    shift = (2 * (to_pixels[:, :1] * ahead + to_pixels[:, 1:2] * span.aside)).astype(np.float32)
    rays = turned[:, None, :] + shift[:, :, None]  # (3, places, N)
    np.maximum(rays[2], _BEFORE_CAMERA, out=rays[2])
    pixels = (rays[:2] / rays[2] + _ROUNDED).astype(np.int32)  # beyond the border: that of the border
    height, width = frame.depth.shape
    np.maximum(pixels, 0, out=pixels)
    u, v = np.minimum(pixels[0], width - 1), np.minimum(pixels[1], height - 1)
    v *= width
    v += u
    seen = frame.depth.take(v)
    tolerance = _NEAR + _NOISES * surface.noise
    share = (seen > rays[2] + np.float32(tolerance)).mean(axis=1)
    least = float(share.min())
    if least > (_CONTRADICTED if math.isinf(span.doubt) else _SAME):
        return None
    limit = least + _SAME
    guess = span.near + span.guess / 2
    fits = np.flatnonzero(share <= limit)
    first = last = int(fits[np.abs(ahead[fits] - guess).argmin()])
    while first > 0 and share[first - 1] <= limit:
        first -= 1
    while last < _PLACES - 1 and share[last + 1] <= limit:
        last += 1
    step = float(ahead[1] - ahead[0])
    low, high = float(ahead[first]), float(ahead[last])
    if first > 0:
        low -= step * (limit - float(share[first])) / float(share[first - 1] - share[first])
    if last < _PLACES - 1:
        high += step * (limit - float(share[last])) / float(share[last + 1] - share[last])
    # Counterparts of the far edge lie in front, so that bound is too near by the tolerance and by what the edge lost.
    # Noise is tolerated, too, but that tolerance moves some points beyond.
    blind = (_NEAR + span.lost) / 2
    low = min(low + blind, (low + blind + high) / 2)
    high = max(low, high)
    middle, sigma = (low + high) / 2, math.hypot((high - low) / 2 / math.sqrt(3), blind / 2)
    if low <= guess <= high:
        place = guess
    elif abs(guess - middle) <= 2 * math.hypot(sigma, span.doubt):
        share_of_guess = sigma**2 / (sigma**2 + span.doubt**2)
        place = middle + share_of_guess * (guess - middle)
    else:
        place = middle
    return SymmetryAxis("mirror", place, span.aside, 0.0, sigma)


def circle(axis: SymmetryAxis, corners: int = 24) -> Array32:
    """(corners, 2) float32: outline of a round object along e1 and e2, metres; its mean width is that of the circle."""
    angles = 2 * np.pi * np.arange(corners) / corners
    radius = axis.radius * (1 + (1 / math.cos(math.pi / corners) - 1) / 2)
    return np.stack((axis.ahead + radius * np.cos(angles), axis.aside + radius * np.sin(angles)), axis=1).astype(
        np.float32
    )
