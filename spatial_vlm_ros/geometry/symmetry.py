# SPDX-License-Identifier: Apache-2.0
"""The hidden side of an object from its symmetry, checked against what the camera saw.

An object seen from one side shows about half of its surface. Most household objects look the same when they are turned
about their vertical axis: vessels by any angle, boxes and bottles by half a turn. The axis is found in two ways:

- rotation: the level slices of a vessel lie on circles about one axis. It is accepted if the slices are seen on both
  sides of the axis, from outside in front and from inside behind.
- half a turn: every seen point has a counterpart at the same height across the axis. If the assumed axis is too near,
  counterparts lie in space that the camera saw to be free; if too far, they would be seen behind the object. Both bound
  its position. An object has no such axis if every position contradicts what was seen.

Sources: Thrun and Wegbreit, "Shape from symmetry" (ICCV 2005), for the test of counterparts against measured depth;
Bohg et al., "Mind the gap: robotic grasping under incomplete observation" (ICRA 2011), for mirrored points and their
visibility; Kåsa, "A circle fitting procedure and its error analysis" (IEEE T-IM 1976), for the linear fit of circles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.surface import Surface
from spatial_vlm_ros.types import RgbdFrame

Array = npt.NDArray[np.float64]
Array32 = npt.NDArray[np.float32]

_POINTS = 160  # points of a surface that are used; more move the axis by less than the noise
_SPREAD = np.sort(np.arange(_POINTS) * 0.6180339887 % 1)  # even, but not in step with the rows of pixels
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

    # "rotation": looks the same at any angle; "mirror": looks the same after half a turn
    kind: Literal["rotation", "mirror"]
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
    points = local.take((_SPREAD * local.shape[1]).astype(np.intp), axis=1)
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
