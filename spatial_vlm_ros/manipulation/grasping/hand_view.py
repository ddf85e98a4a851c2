# SPDX-License-Identifier: Apache-2.0
"""An object as a hand sees it that comes along one direction: how far it can go before anything is in its way.

Hand axes: x across the fingers, y along which they close, z the approach. A hand that comes straight along z with its
fingers open passes every place at which nothing lies nearer than the fingertips go. So one map tells where fingers and
palm fit: the least z of the object in each cell of the x-y plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.parameters import GripperConfig

Array = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

CELL = 0.004  # metres, of the map
FREE = np.float32(1e3)  # metres: nothing is there
_RIM = 3  # cells around the object


@dataclass(frozen=True, eq=False)
class GraspBody:
    """The object as points, planning frame, metres.

    Args:
        points: (N, 3): measured surface, then the skin of what is hidden.
        normals: (N, 3) unit; zero where hidden.
        reach: (N,) half the size of what a point stands for: 0 of measured ones.
        seen: (N,) whether measured.
        middle: (3,) of the object's box.
    """

    points: Array
    normals: Array
    reach: Array
    seen: npt.NDArray[np.bool_]
    middle: Array


@dataclass(frozen=True, eq=False)
class HandView:
    """The object in hand axes.

    Args:
        rotation: (3, 3) columns x, y, z of the hand in the planning frame.
        local: (N, 3) points in hand axes, metres from the object's middle.
        normals: (N, 3) in hand axes.
        low: (2,) least x and y of the maps, metres.
        nearest: (X, Y) least z of the object in each cell, metres; FREE where it is not.
        fingers: (X, Y) the same, within the width of a finger across x.
        palm: (X, Y) the same, within the palm.
    """

    rotation: Array
    local: Array
    normals: Array
    low: Array
    nearest: Map
    fingers: Map
    palm: Map

    def x_of(self, row: int) -> float:
        """Middle of a row of cells, metres."""
        return float(self.low[0] + (row + 0.5) * CELL)


def hand_view(body: GraspBody, rotation: Array, gripper: GripperConfig) -> HandView:
    """The object as a hand in one orientation sees it.

    Args:
        body: the object.
        rotation: (3, 3) columns x, y, z of the hand.
        gripper: its measures.
    """
    local = (body.points - body.middle) @ rotation
    low = local[:, :2].min(axis=0) - (_RIM + 0.5) * CELL
    cells = np.floor((local[:, :2] - low) / CELL).astype(np.int64)
    shape = cells.max(axis=0) + _RIM + 1
    nearest = np.full(int(np.prod(shape)), FREE, np.float32)
    order = np.argsort(-local[:, 2], kind="stable")  # the nearest of a cell is written last
    flat = cells[:, 0] * shape[1] + cells[:, 1]
    nearest[flat[order]] = local[order, 2]
    nearest = nearest.reshape(shape)
    nearest = _most(_least(nearest, 3, 3), 3, 3)  # closes holes of one cell, and moves no edge
    return HandView(
        rotation,
        local,
        body.normals @ rotation,
        low,
        nearest,
        _least(nearest, _cells(gripper.finger_width), 1),
        _least(nearest, _cells(gripper.palm_thickness), _cells(gripper.palm_width)),
    )


def _cells(metres: float) -> int:
    """An odd number of cells, at least one, that is not less than a length."""
    return 2 * int(np.ceil((metres / CELL - 1) / 2 - 1e-6)) + 1 if metres > CELL else 1


def _least(values: Map, rows: int, columns: int) -> Map:
    kernel = np.ones((rows, columns), np.uint8)
    return np.asarray(cv2.erode(values, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=float(FREE)), np.float32)


def _most(values: Map, rows: int, columns: int) -> Map:
    kernel = np.ones((rows, columns), np.uint8)
    return np.asarray(cv2.dilate(values, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=-float(FREE)), np.float32)
