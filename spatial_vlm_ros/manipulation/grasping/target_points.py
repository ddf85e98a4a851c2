# SPDX-License-Identifier: Apache-2.0
"""Measured data of the target for grasps: surface points with normals, and the hidden space behind them.

Planning frame, z up, metres. Arrays are sent as base64 so that an answer stays small: points in steps of 0.1 mm,
normals in steps of 1/127, hidden space as one bit for each voxel.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Vector3

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
    def hidden(self) -> Points:
        """(M, 3) float32 centres of hidden voxels at the boundary of the hidden space, metres."""
        bits = np.unpackbits(np.frombuffer(_bytes(self.packed_hidden), np.uint8), count=math.prod(self.grid))
        filled = bits.reshape(self.grid).astype(np.bool_)
        around = np.pad(filled, 1)
        inner = np.ones_like(filled)
        for axis in range(3):
            for shift in (0, 2):
                cut = tuple(slice(shift, shift + n) if k == axis else slice(1, n + 1) for k, n in enumerate(self.grid))
                inner &= around[cut]
        where = np.argwhere(filled & ~inner)
        return ((where + 0.5) * self.edge + np.array(self.origin)).astype(np.float32)

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
