# SPDX-License-Identifier: Apache-2.0
"""Finds walls and handles: which part of an object a grasp closes on, seen from above."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.manipulation.grasping.hand_view import CELL, FREE, GraspBody, hand_view
from spatial_vlm_ros.manipulation.planning.goal import Side
from spatial_vlm_ros.parameters import PlanningConfig

Array = npt.NDArray[np.float64]

_WALL = 0.02  # metres: with one finger above the object and one beside it, a thicker part is not the wall of a vessel
_THICK_WALL = 0.03  # metres: the same for objects that are seen to be open deep down, such as a ring
_DEEP = 0.6  # share of the height
_THIN = 0.018  # metres: half the largest thickness of a handle that sticks out of a thicker part
_BODY_SHARE = 0.4  # share of the outline that the thick part must fill for the rest to be its handle
_HOLLOW_DEPTH = 0.01  # metres below the highest point from which enclosed cells are inside a hollow object
_HIGHER = 0.005  # metres by which a cell on a side is higher; depth cameras fill the inside of a cup
_ENCLOSED = 3  # of the four sides must have a higher cell; the fourth may be a gap in what was measured
_HOLLOW_SHARE = 0.1  # share of the outline that lies this deep in a hollow object
_HOLLOW = 0.035  # metres: lower objects have no rim
_STEM = 0.015  # metres: a thinner part on top of a much wider object does not carry it: the stem of an apple
_MUCH_WIDER = 4.0  # times as wide as the part


class ThinParts:
    """Map of thin parts of an object, such as its handle, seen from above."""

    def __init__(self, body: GraspBody, config: PlanningConfig) -> None:
        view = hand_view(body, np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]), config.gripper)
        heights = body.points[:, 2]
        self.tall = float(heights.max() - heights.min()) > _HOLLOW
        taken = (view.nearest < FREE).astype(np.uint8)
        filled = np.zeros_like(taken)
        outlines, _ = cv2.findContours(taken, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
        size = 2 * int(_THIN / CELL) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        padded = cv2.copyMakeBorder(filled, size, size, size, size, cv2.BORDER_CONSTANT, value=0)
        thick = np.asarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel), np.uint8)
        grown = cv2.dilate(thick, np.ones((3, 3), np.uint8))[size:-size, size:-size]
        is_thick, is_there = np.asarray(grown, np.uint8).astype(np.bool_), filled.astype(np.bool_)
        share = float((is_thick & is_there).sum()) / max(float(is_there.sum()), 1.0)
        self._mask = is_there & ~is_thick if share > _BODY_SHARE else np.zeros_like(is_there)
        below = view.nearest - float(view.nearest.min())
        deepest, sides = np.where(is_there, below, np.float32(np.inf)), np.zeros(is_there.shape, np.int8)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            way = (slice(None),) * axis + (slice(None, None, step),)
            sides += np.minimum.accumulate(deepest[way], axis=axis)[way] < below - _HIGHER
        enclosed = (below > _HOLLOW_DEPTH) & (sides >= _ENCLOSED)  # in a vessel, but not on a dome
        inside = enclosed[is_there & is_thick]
        self.hollow = len(inside) > 0 and float(inside.mean()) > _HOLLOW_SHARE
        deep = inside & (below[is_there & is_thick] > _DEEP * np.ptp(heights))
        seen_through = self.hollow and float(deep.mean()) > _HOLLOW_SHARE
        self._wall = _THICK_WALL if seen_through else _WALL
        self._there, self._low, self._middle, self._points = is_there, view.low, body.middle, body.points

    def way(self, name: Side, position: Array, closing: Array, width: float, thickness: float) -> Side | None:
        """Classify a grasp as "handle", "rim" or `name`; None on a stem, or if a finger would be inside the object.

        Args:
            position: (3,) position of the tip frame, metres.
            closing: (3,) unit closing direction.
            width: width of the part between the fingers, metres.
            thickness: thickness of a finger along `closing`, metres.
        """
        if self.holds(position, width):
            return "handle"
        if not self.tall:
            return name
        if self.hollow and width <= self._wall:
            return "rim"
        if name != "side" and width < _STEM and float(np.ptp(self._points @ closing)) > _MUCH_WIDER * width:
            return None
        return None if self.one_inside(position, closing, (width + thickness) / 2) else name

    def one_inside(self, position: Array, closing: Array, aside: float) -> bool:
        """Whether of two fingers at `aside` metres from the grasp, one is above the object and one beside it."""
        return self._at(position + aside * closing, self._there) != self._at(position - aside * closing, self._there)

    def holds(self, position: Array, width: float) -> bool:
        """Whether a grasp at `position`, (3,) metres, closes on a thin part."""
        if width > 2 * _THIN:
            return False
        return self._at(position, self._mask)

    def _at(self, position: Array, mask: npt.NDArray[np.bool_]) -> bool:
        local = np.array([position[1] - self._middle[1], position[0] - self._middle[0]])
        row, column = (int(v) for v in np.floor((local - self._low) / CELL))
        rows, columns = mask.shape
        return bool(0 <= row < rows and 0 <= column < columns and mask[row, column])
