# SPDX-License-Identifier: Apache-2.0
"""Occupied voxels: grid indices, a small bounded text encoding, and their union as few boxes."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.types import Vector3

Indices = npt.NDArray[np.int32]
Grid = npt.NDArray[np.bool_]

MOST_CELLS = 1 << 26
"""Most cells of the box around all occupied voxels: 8 MiB as bits."""
MOST_BOXES = 600
"""Most boxes from `as_boxes`; above it, voxels are merged to twice the edge until they fit."""
_AXES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # orders of merging voxels into boxes: the one with the fewest is used
_COMPARE = "compare the versions of the nodes"


@dataclass(frozen=True)
class VoxelBlocks:
    """Occupied voxels of one grid, in the planning frame. Made by `voxels_at`.

    Args:
        origin: corner at index 0, metres.
        edge: length of a voxel's edge, metres.
        low: least index along each axis; 0, 0, 0 if no voxel is occupied.
        shape: number of cells along each axis of the box around all occupied voxels.
        bits: that box in C order, one bit per cell, compressed by zlib, in base64.
    """

    origin: Vector3
    edge: float
    low: tuple[int, int, int]
    shape: tuple[int, int, int]
    bits: str

    def __post_init__(self) -> None:
        if not 0 < self.edge < math.inf or not all(math.isfinite(value) for value in self.origin):
            raise InputError("voxels", f"edge {self.edge}, origin {self.origin}", "an edge above 0, metres", _COMPARE)
        if min(self.shape) < 0 or math.prod(self.shape) > MOST_CELLS or max(map(abs, self.low)) > MOST_CELLS:
            expected = f"at most {MOST_CELLS} cells"
            raise InputError("voxels", f"{self.shape} cells from {self.low}", expected, "use a larger occupancy.edge")

    @cached_property
    def grid(self) -> Grid:
        """Bool array of size `shape`: which cells are occupied."""
        cells = math.prod(self.shape)
        size = (cells + 7) // 8
        try:
            packed = zlib.decompressobj().decompress(base64.b64decode(self.bits, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise InputError("voxels", str(error), "compressed bits in base64", _COMPARE) from error
        if len(packed) != size:
            raise InputError("voxels", f"{len(packed)} bytes or more", f"{size} bytes of bits", _COMPARE)
        grid = np.unpackbits(np.frombuffer(packed, np.uint8), count=cells).view(np.bool_).reshape(self.shape)
        grid.setflags(write=False)
        return grid

    @cached_property
    def indices(self) -> Indices:
        """(N, 3) int32 indices of the occupied voxels, sorted, without duplicates."""
        return np.argwhere(self.grid).astype(np.int32) + np.array(self.low, np.int32)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.grid))

    @property
    def volume(self) -> float:
        """Volume of all occupied voxels, cubic metres."""
        return len(self) * self.edge**3

    def centres(self) -> Array:
        """(N, 3) centres of the occupied voxels, metres, planning frame, in the order of `indices`."""
        return (self.indices + 0.5) * self.edge + np.array(self.origin)

    def holds(self, points: Array) -> Grid:
        """(N,) whether points (N, 3), metres, planning frame, lie in an occupied voxel."""
        cells = np.floor((points - np.array(self.origin)) / self.edge).astype(np.int64) - np.array(self.low)
        inside = ((cells >= 0) & (cells < np.array(self.shape))).all(axis=1)
        found = np.zeros(len(points), np.bool_)
        found[inside] = self.grid[tuple(cells[inside].T)]
        return found

    def kept(self, which: Grid) -> VoxelBlocks:
        """Keep the voxels selected by `which`, (N,) bool in the order of `indices`."""
        return voxels_at(self.indices[which], self.edge, self.origin)

    def coarser(self) -> VoxelBlocks:
        """Voxels of twice the edge that contain an occupied voxel."""
        return voxels_at(np.floor_divide(self.indices, 2), 2 * self.edge, self.origin)

    def as_boxes(self, most: int = MOST_BOXES) -> tuple[Solid, ...]:
        """Cover the voxels, coarsened to twice the edge until `most` boxes along the planning frame's axes do."""
        blocks = self
        while True:
            found = min((_merged(blocks.indices, axes) for axes in _AXES), key=len)
            if len(found) <= most:
                break
            blocks = blocks.coarser()
        low, high = found[:, :3] * blocks.edge, found[:, 3:] * blocks.edge
        middles, sizes = (low + high) / 2 + np.array(blocks.origin), high - low
        return tuple(
            Solid((x, y, z), 0.0, (sx, sy, sz))
            for (x, y, z), (sx, sy, sz) in zip(middles.tolist(), sizes.tolist(), strict=True)
        )


def voxels_at(indices: Indices, edge: float, origin: Vector3 = (0.0, 0.0, 0.0)) -> VoxelBlocks:
    """Make occupied voxels from their indices.

    Args:
        indices: (N, 3) integers in any order; duplicates are allowed.
        edge: edge of a voxel, metres.
        origin: corner at index 0, metres.
    """
    indices = np.asarray(indices)
    if indices.ndim != 2 or indices.shape[1] != 3:
        raise ShapeError("indices of voxels", "(N, 3)", str(indices.shape))
    low = indices.min(axis=0) if len(indices) else np.zeros(3, np.int64)
    spans = indices.max(axis=0).astype(np.int64) - low + 1 if len(indices) else np.zeros(3, np.int64)
    shape = (int(spans[0]), int(spans[1]), int(spans[2]))
    if math.prod(shape) > MOST_CELLS:
        raise InputError("voxels", f"{shape} cells", f"at most {MOST_CELLS} cells", "use a larger occupancy.edge")
    grid = np.zeros(shape, np.bool_)
    grid[tuple((indices - low).T)] = True
    bits = base64.b64encode(zlib.compress(np.packbits(grid).tobytes(), 1)).decode("ascii")
    return VoxelBlocks(origin, edge, (int(low[0]), int(low[1]), int(low[2])), shape, bits)


def joined(blocks: Iterable[VoxelBlocks]) -> tuple[Solid, ...]:
    """Boxes that cover several sets of voxels."""
    return tuple(box for each in blocks for box in each.as_boxes())


def _merged(indices: Indices, axes: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """(M, 6) least and greatest corners, in cells, of disjoint boxes whose union is the voxels.

    Voxels become runs along the first axis, equal runs side by side along the second become rectangles, and equal
    rectangles side by side along the third become boxes.
    """
    boxes = np.concatenate([indices, indices + 1], axis=1).astype(np.int64)
    for axis in axes:
        others = [k for k in range(6) if k % 3 != axis]
        boxes = boxes[np.lexsort((boxes[:, axis], *(boxes[:, k] for k in others)))]
        follows = (boxes[1:, others] == boxes[:-1, others]).all(axis=1) & (boxes[1:, axis] == boxes[:-1, axis + 3])
        first = np.concatenate(([True], ~follows))[: len(boxes)]
        last = np.concatenate((~follows, [True]))[: len(boxes)]
        ends = boxes[last, axis + 3]
        boxes = boxes[first]
        boxes[:, axis + 3] = ends
    return boxes
