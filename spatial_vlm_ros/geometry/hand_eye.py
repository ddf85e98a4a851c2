# SPDX-License-Identifier: Apache-2.0
"""Where a camera is mounted, from poses of the arm and of a board that the camera saw at each (hand-eye calibration).

The equation is A X C = B at each pose. With the camera on the hand, A is the effector in the base, X the camera in the
effector, C the board in the camera and B the board in the base. With a camera that stands, A is the base in the
effector, X the camera in the base, and B the board in the effector.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import CalibrationError
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix, rigid_matrix

Array = npt.NDArray[np.float64]

FEWEST, ENOUGH = 3, 15
"""Poses without which there is no solution (OpenCV's documentation of calibrateHandEye), and that are advised."""
_LEAST_TURN = 5.0  # degrees: spread of the rotations about the second axis, below which they count as parallel
_SAME = (0.01, 3.0)  # metres, degrees: poses that are nearer to each other tell nothing new
_MOST_LEFT_OUT = (0.005, 1.0)  # metres, degrees: errors at poses left out; above, the poses contradict each other
_MOST_UNSURE = (0.01, 1.0)  # metres, degrees: standard deviation of a result that is of use
_SQUARE = 0.15 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])  # metres: points of a usual board
_AHEAD = 0.2  # weight of their errors along the view, of which an image tells five times less than across
_ROUNDS, _NUDGE = 8, 1e-6
_TILTS, _ROLLS = (15.0, 30.0), (-45.0, 0.0, 45.0)  # degrees of proposed views


@dataclass(frozen=True, eq=False)
class PoseSample:
    """What one pose of the arm tells: (4, 4) matrices, metres."""

    base_T_effector: Array
    camera_T_board: Array


@dataclass(frozen=True, eq=False)
class HandEyeResult:
    """A calibration.

    Args:
        pose: (4, 4) pose of the camera's optical frame in the effector (camera on the hand), or in the base.
        board: (4, 4) pose of the board in the base (camera on the hand), or in the effector.
        left_out: (N, 2) metres and degrees between the board as seen at each pose, and as all others predict it.
        sigma: standard deviation of `pose`, metres and degrees, by the jackknife.
        turns: (3,) degrees: spread of the arm's rotations about the axes of the effector, or of the base.
    """

    in_hand: bool
    pose: Array
    board: Array
    left_out: Array
    sigma: tuple[float, float]
    turns: Array


@dataclass(frozen=True)
class ProposedView:
    """A view of the board that adds most: degrees from its front to the camera's right and down, roll, metres."""

    right: float
    down: float
    roll: float
    distance: float
    effector: tuple[float, ...] | None
    """x, y, z of the effector in the base, metres, and its quaternion x, y, z, w; None = not known yet."""

    def __str__(self) -> str:
        across = f"{abs(self.right):.0f} degrees {'right' if self.right > 0 else 'left'}"
        along = f"{abs(self.down):.0f} {'below' if self.down > 0 else 'above'}"
        words = (
            f"see the board from {across} and {along}, turned by {self.roll:.0f} degrees, {self.distance:.2f} m away"
        )
        if self.effector is None:
            return words
        return f"{words} (effector at {' '.join(f'{number:.3f}' for number in self.effector)})"


def between(a: Array, b: Array) -> tuple[float, float]:
    """Metres and degrees between two poses (4, 4)."""
    turn = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0]
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), math.degrees(float(np.linalg.norm(turn)))


def calibrate(samples: Sequence[PoseSample], in_hand: bool) -> HandEyeResult:
    """Calibrate a camera on the hand, or one that stands.

    Raises:
        CalibrationError: the poses are too few or too alike, turn about one axis only, or contradict each other.
    """
    effectors, views = _matrices(samples, in_hand)
    distinct = [n for n, one in enumerate(effectors) if not any(_alike(one, earlier) for earlier in effectors[:n])]
    if len(distinct) < FEWEST:
        got = f"{len(samples)} poses, {len(distinct)} of them different"
        raise CalibrationError(got, f"{FEWEST} different poses, better {ENOUGH}", "move the arm between two samples")
    turns = _turns(effectors)
    _, second, first = np.sqrt(np.maximum(np.linalg.eigvalsh(turns), 0.0))
    if second < _LEAST_TURN:
        about = (
            f"{first:.0f} degrees about one axis, {second:.1f} about any other"
            if first >= _LEAST_TURN
            else f"{first:.1f}"
        )
        repair = "tilt the camera or the board by 20 to 40 degrees to the left, to the right, up and down, too"
        raise CalibrationError(f"the poses turn by {about}", "turns about axes that are not parallel", repair)
    pose, board = _solved(effectors, views)
    others = [np.delete(np.arange(len(samples)), n) for n in range(len(samples))]
    partial = [_solved(effectors[some], views[some]) for some in others] if len(samples) > FEWEST else []
    left_out = np.array(
        [
            between(np.linalg.inv(effectors[n] @ own) @ fixed, views[n])
            for n, (own, fixed) in enumerate(partial or [(pose, board)] * len(samples))
        ]
    )
    rms, worst = np.sqrt((left_out**2).mean(axis=0)), int((left_out / _MOST_LEFT_OUT).max(axis=1).argmax())
    spread = np.array([between(pose, own) for own, _ in partial] or [left_out.max(axis=0)])
    sigma = np.sqrt((spread**2).sum(axis=0) * (len(samples) - 1) / len(samples))
    if (rms > _MOST_LEFT_OUT).any():
        got = f"poses left out are missed by {rms[0] * 1000:.1f} mm and {rms[1]:.2f} degrees, most by pose {worst + 1}"
        repair = (
            "check the size of the board's squares, in-hand or to-hand, the frames of base and effector, and that arm "
            f"and board stood still; if it is only pose {worst + 1}, leave it out"
        )
        raise CalibrationError(got, "poses that agree within 5 mm and 1 degree", repair)
    if (sigma > _MOST_UNSURE).any():
        got = f"the result is unsure by {sigma[0] * 1000:.1f} mm and {sigma[1]:.2f} degrees"
        raise CalibrationError(got, "at most 10 mm and 1 degree", f"take {ENOUGH} poses, turned by up to 40 degrees")
    return HandEyeResult(in_hand, pose, board, left_out, (float(sigma[0]), float(sigma[1])), np.sqrt(np.diag(turns)))


def proposed_views(samples: Sequence[PoseSample], in_hand: bool, result: HandEyeResult | None) -> list[ProposedView]:
    """Three views of the board, each with a rotation as far as possible from all samples and from the others."""
    views = [sample.camera_T_board for sample in samples]
    middle = _SQUARE.mean(axis=0)
    away = float(np.median([(view[:3, :3] @ middle + view[:3, 3])[2] for view in views]))
    facing = np.diag([1.0, *([1.0, 1.0] if np.median([view[2, 2] for view in views]) > 0 else [-1.0, -1.0])])
    candidates: list[tuple[Array, float, float, float]] = []
    for tilt, around, roll in itertools.product(_TILTS, np.radians(np.arange(0.0, 360.0, 45.0)), _ROLLS):
        right, down = tilt * math.cos(around), tilt * math.sin(around)
        # seen from the right, the board's right edge is nearer: it turns about the camera's y
        tilted, rolled = (cv2.Rodrigues(np.radians(v))[0] for v in ([-down, right, 0.0], [0.0, 0.0, roll]))
        turn = tilted @ rolled @ facing
        candidates.append((rigid_matrix(turn, np.array([0.0, 0.0, away]) - turn @ middle), right, down, roll))
    chosen: list[ProposedView] = []
    for _ in range(3):
        pose, right, down, roll = max(candidates, key=lambda one: min(between(one[0], view)[1] for view in views))
        views.append(pose)
        effector: tuple[float, ...] | None = None
        if result is not None:
            arm = result.board @ np.linalg.inv(result.pose @ pose)
            arm = arm if in_hand else np.linalg.inv(arm)
            effector = (*arm[:3, 3].tolist(), *quaternion_xyzw_from_matrix(arm[:3, :3]))
        chosen.append(ProposedView(right, down, roll, away, effector))
    return chosen


def _alike(a: Array, b: Array) -> bool:
    metres, degrees = between(a, b)
    return metres < _SAME[0] and degrees < _SAME[1]


def _matrices(samples: Sequence[PoseSample], in_hand: bool) -> tuple[Array, Array]:
    """A and C of each sample, (N, 4, 4)."""
    arm = np.array([sample.base_T_effector for sample in samples]).reshape(-1, 4, 4)
    views = np.array([sample.camera_T_board for sample in samples]).reshape(-1, 4, 4)
    return (arm if in_hand else np.linalg.inv(arm)), views


def _pairs(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.triu_indices(count, 1)


def _rotation_vectors(motions: Array) -> Array:
    return np.array([cv2.Rodrigues(motion[:3, :3])[0][:, 0] for motion in motions])


def _turns(effectors: Array) -> Array:
    """Second moments (3, 3) of the rotations between all pairs of poses, degrees²."""
    i, j = _pairs(len(effectors))
    vectors = np.degrees(_rotation_vectors(np.linalg.inv(effectors[i]) @ effectors[j]))
    return vectors.T @ vectors / len(vectors)


def _solved(effectors: Array, views: Array) -> tuple[Array, Array]:
    """X and B with the smallest distances between the points of a board as seen and as predicted at each pose.

    Begins with the closed form of Park and Martin 1994, that of OpenCV's CALIB_HAND_EYE_PARK (the Python wheel of
    OpenCV 5.0 has no calibrateHandEye), and refines it by Gauss-Newton steps. Closed forms trust tilt and distance of a
    board as much as its place in the image, which is measured 5 to 10 times as well.
    """
    i, j = _pairs(len(effectors))
    moved, seen = np.linalg.inv(effectors[i]) @ effectors[j], views[i] @ np.linalg.inv(views[j])
    u, _, vt = np.linalg.svd(_rotation_vectors(moved).T @ _rotation_vectors(seen))
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    system = (moved[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    shift = np.linalg.lstsq(system, (seen[:, :3, 3] @ turn.T - moved[:, :3, 3]).reshape(-1), rcond=None)[0]
    pose = rigid_matrix(turn, shift)
    board = effectors[0] @ pose @ views[0]
    back = np.linalg.inv(effectors)
    measured = views[:, :3, :3] @ _SQUARE.T + views[:, :3, 3:]

    def errors(pose: Array, board: Array) -> Array:
        predicted = np.linalg.inv(pose) @ back @ board
        away = predicted[:, :3, :3] @ _SQUARE.T + predicted[:, :3, 3:] - measured
        return (away * np.array([[1.0], [1.0], [_AHEAD]])).reshape(-1)

    def changed(by: Array) -> tuple[Array, Array]:
        turns = (cv2.Rodrigues(by[k : k + 3])[0] for k in (0, 6))
        first, second = (rigid_matrix(turn, by[k : k + 3]) for turn, k in zip(turns, (3, 9), strict=True))
        return pose @ first, board @ second

    for _ in range(_ROUNDS):
        now = errors(pose, board)
        jacobian = np.stack([(errors(*changed(_NUDGE * unit)) - now) / _NUDGE for unit in np.eye(12)], axis=1)
        pose, board = changed(np.asarray(-np.linalg.lstsq(jacobian, now, rcond=None)[0], np.float64))
    return pose, board
