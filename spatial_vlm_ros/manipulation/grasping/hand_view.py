# SPDX-License-Identifier: Apache-2.0
"""An object seen from an approaching hand: how far the hand can go before it meets the object.

Hand axes: x across the fingers, y along which they close, z the approach. A hand that moves straight along z with open
fingers passes every location where the object lies beyond the fingertips. So one map shows where fingers and palm fit:
the least z of the object in each cell of the x-y plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

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
    """Compute the view of an object from a hand in one orientation.

    Args:
        rotation: (3, 3) columns x, y, z of the hand.
    """
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
        config: gripper and clearances.
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


def _cells(metres: float) -> int:
    """Smallest odd number of cells, at least one, that covers a length."""
    return 2 * int(np.ceil((metres / CELL - 1) / 2 - 1e-6)) + 1 if metres > CELL else 1


def _least(values: Map, rows: int, columns: int) -> Map:
    kernel = np.ones((rows, columns), np.uint8)
    return np.asarray(cv2.erode(values, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=float(FREE)), np.float32)
