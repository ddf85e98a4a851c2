# SPDX-License-Identifier: Apache-2.0
"""Rotation matrices and quaternions.

Uses the order x, y, z, w and one sign for each rotation; does not know frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.types import Floats, Quaternion

NORM_TOLERANCE = 1e-2  # the deviation tf2 accepts in a quaternion
ORTHOGONALITY_TOLERANCE = 1e-3  # as in types.Transform
ZERO = 1e-12  # components below this are rounding errors and have no sign


def quaternion_xyzw_from_matrix(rotation: Floats) -> Quaternion:
    """Unit quaternion of a rotation matrix, (3, 3) to within 1e-3.

    w >= 0; for half turns, where w is 0, the first component that is not 0 is positive.
    """
    R = np.asarray(rotation, np.float64)
    if R.shape != (3, 3):
        raise ShapeError("rotation matrix", expected="(3, 3)", received=str(R.shape))
    if (
        not np.isfinite(R).all()
        or not np.allclose(R @ R.T, np.eye(3), atol=ORTHOGONALITY_TOLERANCE)
        or np.linalg.det(R) < 0
    ):
        got = np.array2string(R.reshape(-1), precision=4)
        repair = "take the rotation part of a rigid transform"
        raise InputError("rotation matrix", got, "an orthogonal matrix with determinant 1", repair)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R
    symmetric = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric)
    q = vectors[:, -1]
    q = np.where(np.abs(q) < ZERO, 0.0, q)
    leading = next(component for component in (q[3], *q[:3]) if component != 0)
    x, y, z, w = (q if leading > 0 else -q).tolist()  # of the two that are the same rotation, that with w >= 0
    return x, y, z, w


def matrix_from_quaternion_xyzw(quaternion: Quaternion | Floats) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of a quaternion (4,) x, y, z, w of norm 1 to within 1 %; it is normalised."""
    q = np.asarray(quaternion, np.float64)
    if q.shape != (4,):
        raise ShapeError("quaternion", expected="(4,) x, y, z, w", received=str(q.shape))
    norm = float(np.linalg.norm(q))
    if not abs(norm - 1.0) <= NORM_TOLERANCE:
        repair = "set the orientation; the identity is 0, 0, 0, 1"
        raise InputError("quaternion", f"{q} of norm {norm:.4g}", "norm 1", repair)
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rigid_matrix(rotation: npt.ArrayLike, translation: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(4, 4) matrix of a rotation (3, 3) and a translation (3,)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def matrix_from_pose(pose: Sequence[float]) -> npt.NDArray[np.float64]:
    """(4, 4) matrix of a position and a quaternion x, y, z, w."""
    return rigid_matrix(matrix_from_quaternion_xyzw(np.asarray(pose[3:])), pose[:3])
