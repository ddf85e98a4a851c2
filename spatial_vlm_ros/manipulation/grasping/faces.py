# SPDX-License-Identifier: Apache-2.0
"""One side of the part between the fingers: its position, and its angle to the finger."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

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
