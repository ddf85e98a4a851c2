# SPDX-License-Identifier: Apache-2.0
"""ChArUco boards in images, found by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.geometry.camera import normalise, project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.types import PinholeCamera, Rgb

Array = npt.NDArray[np.float64]

_FEWEST = 8  # corners
_MOST_OFF = 1.5  # pixels rms between the corners and those of the fitted pose


@dataclass(frozen=True, eq=False)
class BoardView:
    """A board in an image: its pose (4, 4) in the optical frame, and the (N, 2) pixels of its corners."""

    camera_T_board: Array
    corners: Array


@dataclass(frozen=True)
class CharucoTarget:
    """A printed board.

    Args:
        columns: squares in x.
        rows: squares in y.
        square: edge of a square, metres, as measured on the print.
        marker: edge of a marker, metres.
        dictionary: name in cv2.aruco, such as "DICT_5X5_100".
    """

    columns: int
    rows: int
    square: float
    marker: float
    dictionary: str = "DICT_5X5_100"

    def __post_init__(self) -> None:
        if not (self.columns >= 3 and self.rows >= 3 and 0 < self.marker < self.square < 1):
            got = f"{self.columns}x{self.rows} squares of {self.square:g} m with markers of {self.marker:g} m"
            raise InputError(
                "ChArUco board", got, "3x3 squares or more, larger than their markers", "measure the board"
            )

    @cached_property
    def _detectors(self) -> list[Any]:
        """Detectors of boards as OpenCV prints them now, and as it did before 4.6."""
        aruco = cv2.aruco
        if not hasattr(aruco, "CharucoDetector"):
            raise InputError("OpenCV", cv2.__version__, "4.7 or newer", "pip install -U opencv-python-headless")
        names = [name for name in dir(aruco) if name.startswith("DICT_")]
        if self.dictionary not in names:
            raise UnknownNameError("ArUco dictionary", self.dictionary, names)
        dictionary, found = aruco.getPredefinedDictionary(getattr(aruco, self.dictionary)), []
        for legacy in (False, True):
            board = aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, dictionary)
            board.setLegacyPattern(legacy)
            found.append(aruco.CharucoDetector(board))
        return found

    @property
    def points(self) -> Array:
        """(N, 3) corners in the board's frame, metres: x along the columns, z into the print."""
        return np.asarray(self._detectors[0].getBoard().getChessboardCorners(), np.float64)

    @staticmethod
    def pose(points: Array, pixels: Array, camera: PinholeCamera) -> Array:
        """(4, 4) pose of a plane in the optical frame, from its points (N, 3) with z = 0 and their pixels (N, 2)."""
        rays = normalise(camera, pixels)
        _, turn, shift = cv2.solvePnP(points, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
        turn, shift = cv2.solvePnPRefineLM(points, rays, np.eye(3), None, turn, shift)
        return rigid_matrix(cv2.Rodrigues(turn)[0], shift[:, 0])

    def image(self, pixels_per_square: int) -> npt.NDArray[np.uint8]:
        """The board as it is printed, grey."""
        size = self.columns * pixels_per_square, self.rows * pixels_per_square
        return np.asarray(self._detectors[0].getBoard().generateImage(size), np.uint8)

    def find(self, rgb: Rgb, camera: PinholeCamera) -> BoardView | None:
        """Find the board in an image, of any distortion that `camera` describes; None if too little of it is seen."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        for detector in self._detectors:
            corners, ids, _, _ = detector.detectBoard(grey)
            if ids is None or len(ids) < _FEWEST:
                continue
            corners = np.asarray(corners, np.float64).reshape(-1, 2)
            points = np.asarray(detector.getBoard().getChessboardCorners(), np.float64)[np.ravel(ids)]
            if np.linalg.matrix_rank(points - points.mean(axis=0), tol=self.square / 2) < 2:
                continue  # on one line
            pose = self.pose(points, corners, camera)
            off = project(camera, points @ pose[:3, :3].T + pose[:3, 3]) - corners
            if np.sqrt((off**2).sum(axis=1).mean()) <= _MOST_OFF:
                return BoardView(pose, corners)
        return None
