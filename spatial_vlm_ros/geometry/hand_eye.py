# SPDX-License-Identifier: Apache-2.0
"""Where a camera is mounted, from poses of the arm and of a ChArUco board that it saw at each (hand-eye calibration).

The equation is A X C = B at each pose. With the camera on the hand, A is the effector in the base, X the camera in the
effector, C the board in the camera and B the board in the base. With a camera that stands, A is the base in the
effector, X the camera in the base, and B the board in the effector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import CalibrationError, InputError
from spatial_vlm_ros.geometry.camera import normalise, project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.types import PinholeCamera, Rgb

Array = npt.NDArray[np.float64]

FEWEST, ENOUGH = 4, 15
"""Poses without which nothing can be left out (OpenCV's calibrateHandEye solves from three), and that are advised."""
_FEWEST_CORNERS, _MOST_OFF = 8, 1.5  # pixels rms between the corners and those of the fitted pose
_LEAST_TURN = 5.0  # degrees: spread of the rotations about the second axis, below which they count as parallel
_MOST_LEFT_OUT = (0.005, 1.0)  # metres, degrees: errors at poses left out; above, the poses contradict each other
_MOST_UNSURE = (0.01, 1.0)  # metres, degrees: standard deviation of a result that is of use
_SQUARE = 0.15 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])  # metres: points of a usual board
_AHEAD = 0.2  # weight of their errors along the view, of which an image tells five times less than across
_ROUNDS, _NUDGE = 8, 1e-6
_VIEWS = {
    (25.0, 0.0, 0.0): "tilted, its top edge nearer", (-25.0, 0.0, 0.0): "tilted, its bottom edge nearer",
    (0.0, 25.0, 0.0): "tilted, its right edge nearer", (0.0, -25.0, 0.0): "tilted, its left edge nearer",
    (0.0, 0.0, 30.0): "turned clockwise in the image", (0.0, 0.0, -30.0): "turned anticlockwise in the image",
}  # fmt: skip
"""Rotations of the board about the camera's right, down and forward, degrees → how it then looks."""


class CharucoTarget:
    """A printed board.

    Args:
        words: squares in x and y, edges of square and marker in metres as measured, dictionary in cv2.aruco.

    Attributes:
        points: (N, 3) corners in the board's frame, metres: x along the columns, z into the print.
    """

    EXAMPLE = "7x5 0.03 0.022 DICT_5X5_100"

    def __init__(self, words: str) -> None:
        try:
            size, square, marker, dictionary = words.split()
            columns, rows = map(int, size.split("x"))
            markers, self._size = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary)), (columns, rows)
            self._board = cv2.aruco.CharucoBoard(self._size, float(square), float(marker), markers)
            self._detector = cv2.aruco.CharucoDetector(self._board)
        except (ValueError, AttributeError, SystemError, cv2.error) as error:
            expected = f"for example {self.EXAMPLE!r}, and OpenCV 4.7 or newer"
            raise InputError("ChArUco board", repr(words), expected, "measure the printed board") from error
        self.points: Array = np.asarray(self._board.getChessboardCorners(), np.float64)

    def image(self, pixels_per_square: int) -> Rgb:
        """The board as it is printed."""
        size = [count * pixels_per_square for count in self._size]
        return np.repeat(self._board.generateImage(size)[..., None], 3, axis=2)

    @staticmethod
    def pose(points: Array, pixels: Array, camera: PinholeCamera) -> Array:
        """(4, 4) pose of a plane in the optical frame, from its points (N, 3) with z = 0 and their pixels (N, 2)."""
        rays = normalise(camera, pixels)
        _, turn, shift = cv2.solvePnP(points, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
        turn, shift = cv2.solvePnPRefineLM(points, rays, np.eye(3), None, turn, shift)
        return rigid_matrix(cv2.Rodrigues(turn)[0], shift[:, 0])

    def find(self, rgb: Rgb, camera: PinholeCamera) -> tuple[Array, Array] | None:
        """Pose (4, 4) of the board in the optical frame and pixels (N, 2) of its corners; None if too few are seen."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        corners, ids, _, _ = self._detector.detectBoard(grey)
        if ids is None or len(ids) < max(_FEWEST_CORNERS, *self._size):  # so many are not on one line
            return None
        corners, points = np.asarray(corners, np.float64).reshape(-1, 2), self.points[np.ravel(ids)]
        pose = self.pose(points, corners, camera)
        off = project(camera, points @ pose[:3, :3].T + pose[:3, 3]) - corners
        return (pose, corners) if np.sqrt((off**2).sum(axis=1).mean()) <= _MOST_OFF else None


class PoseSample(NamedTuple):
    """What one pose of the arm tells: (4, 4) matrices, metres."""

    base_T_effector: Array
    camera_T_board: Array


class HandEyeResult(NamedTuple):
    """A calibration.

    Args:
        pose: (4, 4) pose of the camera's optical frame in the effector (camera on the hand), or in the base.
        left_out: (N, 2) metres and degrees between the board as seen at each pose, and as all others predict it.
        sigma: (2,) standard deviation of `pose`, metres and degrees, by the jackknife.
    """

    pose: Array
    left_out: Array
    sigma: Array


def between(a: Array, b: Array) -> tuple[float, float]:
    """Metres and degrees between two poses (4, 4)."""
    turn = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0]
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), math.degrees(float(np.linalg.norm(turn)))


def calibrate(samples: Sequence[PoseSample], in_hand: bool) -> HandEyeResult:
    """Calibrate a camera on the hand, or one that stands.

    Raises:
        CalibrationError: the poses are too few, turn about one axis only, or contradict each other.
    """
    more = f"take {ENOUGH} poses, and turn the view of the board by 20 to 40 degrees about several axes"
    if len(samples) < FEWEST:
        raise CalibrationError(f"poses: {len(samples)}", f"{FEWEST} or more", more)
    arm, views = (np.array(matrices) for matrices in zip(*samples, strict=True))
    effectors = arm if in_hand else np.linalg.inv(arm)
    i, j = np.triu_indices(len(samples), 1)
    turns = np.degrees(_rotation_vectors(np.linalg.inv(effectors[i]) @ effectors[j]))
    _, second, first = np.linalg.svd(turns / math.sqrt(len(turns)), compute_uv=False)[::-1]
    if second < _LEAST_TURN:
        got = f"the poses turn by {first:.1f} degrees about one axis, by {second:.1f} about any other"
        raise CalibrationError(got, f"{_LEAST_TURN:.0f} or more about two axes", more)
    pose, _ = _solved(effectors, views)
    others = [np.delete(np.arange(len(samples)), n) for n in range(len(samples))]
    partial = [_solved(effectors[some], views[some]) for some in others]
    predicted = [np.linalg.inv(at @ own) @ fixed for at, (own, fixed) in zip(effectors, partial, strict=True)]
    left_out = np.array([between(*pair) for pair in zip(predicted, views, strict=True)])
    spread = np.array([between(pose, own) for own, _ in partial])
    sigma = np.sqrt((spread**2).sum(axis=0) * (len(samples) - 1) / len(samples))
    rms, worst = np.sqrt((left_out**2).mean(axis=0)), int((left_out / _MOST_LEFT_OUT).max(axis=1).argmax()) + 1
    if (rms > _MOST_LEFT_OUT).any():
        got = f"poses left out are missed by {rms[0] * 1000:.1f} mm and {rms[1]:.2f} degrees, most by pose {worst}"
        check = "check the size of the squares, --eye, --base and --effector, and that arm and board stood still"
        repair = f"{check}; if it is only pose {worst}, leave it out (--without {worst})"
        raise CalibrationError(got, "poses that agree within 5 mm and 1 degree", repair)
    if (sigma > _MOST_UNSURE).any():
        got = f"the result is unsure by {sigma[0] * 1000:.1f} mm and {sigma[1]:.2f} degrees"
        raise CalibrationError(got, "at most 10 mm and 1 degree", more)
    return HandEyeResult(pose, left_out, sigma)


def missing_view(samples: Sequence[PoseSample]) -> str:
    """The rotation of the board in the camera that the samples miss most, in words."""
    views = np.array([sample.camera_T_board[:3, :3] for sample in samples])
    u, _, vt = np.linalg.svd(views.mean(axis=0))
    usual = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    away = np.linalg.norm(np.array([*_VIEWS])[:, None] - np.degrees(_rotation_vectors(views @ usual.T)), axis=2)
    return [*_VIEWS.values()][int(away.min(axis=1).argmax())]


def _rotation_vectors(motions: Array) -> Array:
    return np.array([cv2.Rodrigues(motion[:3, :3])[0][:, 0] for motion in motions])


def _solved(effectors: Array, views: Array) -> tuple[Array, Array]:
    """X and B with the smallest distances between the points of a board as seen and as predicted at each pose.

    Begins with the closed form of Park and Martin 1994, that of OpenCV's CALIB_HAND_EYE_PARK (the Python wheel of
    OpenCV 5.0 has no calibrateHandEye), and refines it by Gauss-Newton steps. Closed forms trust tilt and distance of a
    board as much as its place in the image, which is measured 5 to 10 times as well.
    """
    i, j = np.triu_indices(len(effectors), 1)
    moved, seen = np.linalg.inv(effectors[i]) @ effectors[j], views[i] @ np.linalg.inv(views[j])
    u, _, vt = np.linalg.svd(_rotation_vectors(moved).T @ _rotation_vectors(seen))
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    system = (moved[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    shift = np.linalg.lstsq(system, (seen[:, :3, 3] @ turn.T - moved[:, :3, 3]).reshape(-1), rcond=None)[0]
    pose = rigid_matrix(turn, shift)
    board, back = effectors[0] @ pose @ views[0], np.linalg.inv(effectors)
    measured = views[:, :3, :3] @ _SQUARE.T + views[:, :3, 3:]

    def errors(pose: Array, board: Array) -> Array:
        predicted = np.linalg.inv(pose) @ back @ board
        away = predicted[:, :3, :3] @ _SQUARE.T + predicted[:, :3, 3:] - measured
        return (away * np.array([[1.0], [1.0], [_AHEAD]])).reshape(-1)

    def changed(by: Array) -> tuple[Array, Array]:
        return pose @ twist(by[:6]), board @ twist(by[6:])

    for _ in range(_ROUNDS):
        now = errors(pose, board)
        jacobian = np.stack([(errors(*changed(_NUDGE * unit)) - now) / _NUDGE for unit in np.eye(12)], axis=1)
        pose, board = changed(np.asarray(-np.linalg.lstsq(jacobian, now, rcond=None)[0], np.float64))
    return pose, board


def twist(by: Array) -> Array:
    """(4, 4) matrix of a shift, metres, and a rotation vector, radians."""
    return rigid_matrix(cv2.Rodrigues(by[3:])[0], by[:3])
