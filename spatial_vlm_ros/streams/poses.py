# SPDX-License-Identifier: Apache-2.0
"""Single poses as plain floats: three to ten times as fast as arrays in a lookup that chains a dozen of them.

Knows rigid motion, but not frames. A pose is a translation (m) and a unit quaternion x, y, z, w: p_T_a maps
coordinates in a to coordinates in p.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Quaternion, Vector3

Pose = tuple[Vector3, Quaternion]

IDENTITY: Pose = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
_SAME = 1e-9  # radians between two quaternions: if nearer, a straight line is as good as the arc


def lerp(a: Vector3, b: Vector3, share: float) -> Vector3:
    """The point between a (share 0) and b (share 1)."""
    rest = 1.0 - share
    return rest * a[0] + share * b[0], rest * a[1] + share * b[1], rest * a[2] + share * b[2]


def slerp(a: Quaternion, b: Quaternion, share: float) -> Quaternion:
    """Unit quaternion on the shorter arc from a (share 0) to b (share 1).

    Source: Shoemake 1985; the angle from chord lengths (Kahan), which is exact for small ones too.
    """
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    if ax * bx + ay * by + az * bz + aw * bw < 0:
        bx, by, bz, bw = -bx, -by, -bz, -bw
    chord = math.hypot(ax - bx, ay - by, az - bz, aw - bw)
    angle = 2 * math.atan2(chord, math.hypot(ax + bx, ay + by, az + bz, aw + bw))
    if angle < _SAME:
        p, q = 1 - share, share
    else:
        p, q = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    return unit(p * ax + q * bx, p * ay + q * by, p * az + q * bz, p * aw + q * bw)


def unit(x: float, y: float, z: float, w: float) -> Quaternion:
    """Normalise a quaternion to norm 1."""
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return x / norm, y / norm, z / norm, w / norm


def chained(a: Pose, b: Pose) -> Pose:
    """Chain the poses p_T_a and a_T_b to p_T_b."""
    (tx, ty, tz), (ax, ay, az, aw) = a
    translation, (bx, by, bz, bw) = b
    x, y, z = _turned(a[1], translation)
    rotation = (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
    return (tx + x, ty + y, tz + z), rotation


def _turned(q: Quaternion, v: Vector3) -> Vector3:
    """Rotate a vector (m) by a unit quaternion: v + 2 u × (u × v + w v)."""
    ux, uy, uz, w = q
    vx, vy, vz = v
    cx, cy, cz = uy * vz - uz * vy + w * vx, uz * vx - ux * vz + w * vy, ux * vy - uy * vx + w * vz
    return (vx + 2 * (uy * cz - uz * cy), vy + 2 * (uz * cx - ux * cz), vz + 2 * (ux * cy - uy * cx))


def inverse(pose: Pose) -> Pose:
    """Invert the pose p_T_a to a_T_p."""
    translation, (x, y, z, w) = pose
    back = (-x, -y, -z, w)
    tx, ty, tz = _turned(back, translation)
    return (-tx, -ty, -tz), back


def matrix(pose: Pose) -> npt.NDArray[np.float64]:
    """(4, 4) float64 matrix of a pose; its rotation is exact to rounding."""
    (tx, ty, tz), rotation = pose
    x, y, z, w = unit(*rotation)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), tx],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), ty],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), tz],
        [0.0, 0.0, 0.0, 1.0],
    ]
    return np.array(rows)
