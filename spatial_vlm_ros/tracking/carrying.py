# SPDX-License-Identifier: Apache-2.0
"""Carries points on objects from image to image by optical flow, and measures by depth how each object has moved.

A point counts only where depth agrees with the rigid motion of its object: what slides onto an edge, a hand or a
neighbour does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

Array = NDArray[np.float64]
Gray = NDArray[np.uint8]
Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]

POINTS = 24  # points of an object, at most
_APART = 5  # pixels between two of them
_QUALITY = 0.01  # of a corner, relative to the best one
_WINDOW, _LEVELS = (15, 15), 2  # of the flow: pixels, and halvings of the image
_ENDS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.05)
_FLAT = 1e-3  # least eigenvalue of a window's gradients
_ROUNDS = 4  # of reweighting
_NEAREST = 1e-3  # metres
_BESIDE = 3.0  # pixels between which a surface's normal is measured
_STEEP = 0.04  # metres between them: an edge


@dataclass(frozen=True, eq=False)
class PosedView:
    """A frame of a sequence without lens distortion, its grey image (H, W), and where its camera is in the world."""

    frame: RgbdFrame
    gray: Gray
    world_T_camera: Transform

    @classmethod
    def of(cls, frame: RgbdFrame) -> PosedView:
        """PosedView of a rectified frame; the world is its base frame, or its camera where there is none."""
        pose = frame.base_T_camera or Transform("world", frame.frame_id, np.eye(4))
        return cls(frame, np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), np.uint8), pose)

    @property
    def camera(self) -> PinholeCamera:
        """Intrinsics."""
        return self.frame.camera

    def depth_at(self, pixels: Array) -> tuple[Array, NDArray[np.intp]]:
        """Depth (N,) in metres at pixels (N, 2), NaN off the image or not measured; columns and rows (N, 2)."""
        at = np.rint(np.nan_to_num(pixels, nan=-1.0)).astype(np.intp)
        size = (self.camera.width, self.camera.height)
        inside = ((at >= 0) & (at < size)).all(1)
        at = np.clip(at, 0, np.array(size) - 1)
        return np.where(inside, self.frame.depth[at[:, 1], at[:, 0]].astype(np.float64), np.nan), at

    def measured(self, pixels: Array) -> Array:
        """(N, 3) world points at pixels (N, 2), metres; NaN where nothing is measured or off the image."""
        z, _ = self.depth_at(pixels)
        k = self.camera.K
        rays = np.column_stack(((pixels - k[:2, 2]) / k[(0, 1), (0, 1)], np.ones(len(z))))
        return self.world_T_camera.apply(rays * z[:, None])

    def surface(self, pixels: Array) -> tuple[Array, Array]:
        """Unit normals (N, 3) and points (N, 3) of the surface at pixels (N, 2), world, metres; NaN if unknown."""
        right, down = np.array((_BESIDE, 0.0)), np.array((0.0, _BESIDE))
        across = self.measured(pixels + right) - self.measured(pixels - right)
        along = self.measured(pixels + down) - self.measured(pixels - down)
        normals = np.cross(across, along)
        normals[(np.linalg.norm(across, axis=1) > _STEEP) | (np.linalg.norm(along, axis=1) > _STEEP)] = np.nan
        return normals / np.linalg.norm(normals, axis=1, keepdims=True), self.measured(pixels)

    def projected(self, points: Array) -> tuple[Array, Array]:
        """Pixels (N, 2) and depth (N,) metres of world points (N, 3)."""
        own = (points - self.world_T_camera.translation) @ self.world_T_camera.rotation
        z = np.where(own[:, 2] > _NEAREST, own[:, 2], np.nan)
        k = self.camera.K
        return own[:, :2] / z[:, None] * k[(0, 1), (0, 1)] + k[:2, 2], own[:, 2]


def chosen_points(gray: Gray, mask: Flags) -> Array:
    """Pixels (N, 2) of an object that optical flow can follow, N up to POINTS."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.empty((0, 2))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inner = cv2.erode(mask[window].astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2, borderValue=0)
    found = cv2.goodFeaturesToTrack(gray[window], POINTS, _QUALITY, _APART, mask=inner)
    return np.empty((0, 2)) if found is None else np.add(found[:, 0], (columns[0], rows[0]), dtype=np.float64)


def flowed(before: Gray, now: Gray, pixels: Array, guess: Array) -> Array:
    """Where pixels (N, 2) of one image are in the next, from a guess (N, 2); NaN where they are not found."""
    known = np.isfinite(pixels).all(1) & np.isfinite(guess).all(1)
    moved = np.full((len(pixels), 2), np.nan)
    if known.any():
        end, status, _ = cv2.calcOpticalFlowPyrLK(
            before, now, pixels[known].astype(np.float32), guess[known].astype(np.float32), winSize=_WINDOW,
            maxLevel=_LEVELS, criteria=_ENDS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW, minEigThreshold=_FLAT,
        )  # fmt: skip
        moved[known] = np.where(status == 1, end, np.nan)
    return moved


def rigid_motion(anchors: Array, points: Array, sigma: Floats, tolerance: float) -> tuple[Array, Array, Flags]:
    """Rotation (3, 3), translation (3,) of anchors (N, 3) onto points (N, 3), and which points follow it.

    Least squares by singular values (Arun, Huang, Blostein 1987), reweighted after Cauchy.

    Args:
        sigma: (N,) standard deviation of the points, metres.
        tolerance: metres beyond three `sigma` within which a point follows.
    """
    weights = 1.0 / sigma**2
    shift = np.median(points - anchors, 0)
    rotation, limit = np.eye(3), 3.0 * sigma + tolerance
    error = np.linalg.norm(points - anchors - shift, axis=1)
    for _ in range(_ROUNDS):
        w = weights / (1.0 + (error / limit) ** 2) ** 2
        a, p = w @ anchors / w.sum(), w @ points / w.sum()
        u, _, vt = np.linalg.svd((anchors - a).T @ ((points - p) * w[:, None]))
        rotation = vt.T @ np.diag((1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T)))) @ u.T
        shift = p - rotation @ a
        error = np.linalg.norm(points - anchors @ rotation.T - shift, axis=1)
    return rotation, shift, error < limit
