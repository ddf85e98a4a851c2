# SPDX-License-Identifier: Apache-2.0
"""Check that the surface cut out by a box or mask is one whole object, measured on its own: see `CutOut`.

A detector draws its box around an object. A pointing model may draw its box around a part of an object, around two
objects, or around a piece of wall; whatever the box holds is measured as if it ended at the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.segmentation import (
    connected_pieces,
    depth_gap,
    measured_pixels,
    object_pixels,
    raised_pixels,
)
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Mask, Points, RgbdFrame, Scene, SceneObject

_OWN_PIECE = 0.2  # fraction of an object's measured pixels from which a piece of the surface counts as its own
_LEAST_PX, _SIDE, _FARTHEST = 3, 0.1, 0.02  # pixels, side fraction, metres: how far a box may fall short
_GOES_ON = 0.05  # fraction of an object's measured pixels: more of its surface farther outside is more than a handle
_RIVAL = 0.15  # fraction of an object's pixels in its box: another piece of that size is an object as well
_MOSTLY_INSIDE = 0.5  # fraction of a piece in the box: with more of it outside, it is not the box's object
_RIM_PX = 7  # pixels across in which two surfaces are neighbours: each loses a rim of up to 3 pixels
_SAMPLE = 1500  # points of a piece that distances are measured from
_RING_PX = (5, 9)  # pixels around a surface in which depth starts again after its edge: a step leaves a rim of 4


@dataclass(frozen=True, eq=False)
class CutOut:
    """How well a box or mask fits its object, judged by the measured surface around it."""

    # pixels of the object's surface that lie well outside its box or mask, as a fraction of its measured pixels
    goes_on: float
    # pixels of the largest other raised piece in the box that is separate in space, as a fraction of the object's
    # pixels in the box; 0 if there is none
    rival: float
    apart: float  # distance between the two, metres; NaN if there is no such piece
    # fraction of the box that is covered by the box around the object's surface and what hides it; 1 with a mask
    filled: float
    holes: float  # fraction of the box or mask without depth, not counting pixels known to be something else
    # fraction of the pixels around a mask's surface without depth; 0 with a box, which shows where the object ends
    beside: float

    @property
    def is_part(self) -> bool:
        """True if the box or mask cuts off a part of the object."""
        return self.goes_on >= _GOES_ON


def cut_out_in_image(obj: SceneObject, scene: Scene, depth_config: DepthConfig, lift_config: LiftConfig) -> CutOut:
    """Compare a measured object with the connected surface around it that is raised above the support plane.

    A surface is connected where no depth edge crosses it. The box may fall short of it by 10 % of the side, at most by
    2 cm and at least by 3 pixels, because boxes of models are off by some pixels. Objects that touch count as one
    surface.
    """
    frame = scene.frame
    measured = measured_pixels(obj.points, frame)
    others = np.zeros_like(measured)
    for other in scene.objects:
        if other is not obj:
            others |= object_pixels(other, frame)
    labels = connected_pieces(frame, raised_pixels(frame, scene.support, lift_config) & ~others, depth_config)
    mine = np.bincount(labels[measured], minlength=int(labels.max()) + 1)
    mine[0] = 0
    own = mine >= max(1.0, _OWN_PIECE * np.count_nonzero(measured))
    surface = own[labels] | measured
    x0, y0, x1, y1 = obj.detection.box_xyxy
    height, width = frame.depth.shape
    left, top = min(max(0, round(x0)), width - 1), min(max(0, round(y0)), height - 1)
    right, bottom = max(left + 1, min(width, round(x1))), max(top + 1, min(height, round(y1)))
    inside = np.zeros_like(measured)
    inside[top:bottom, left:right] = True
    cut = inside if obj.detection.mask is None else obj.detection.mask
    z, K = float(obj.points[:, 2].mean()), frame.camera.K
    across, down = (  # by which the box may fall short
        max(_LEAST_PX, round(min(_SIDE * side, _FARTHEST * float(K[i, i]) / z)))
        for i, side in enumerate((x1 - x0, y1 - y0))
    )
    around = cv2.dilate(cut.view(np.uint8), np.ones((2 * down + 1, 2 * across + 1), np.uint8)).view(np.bool_)
    goes_on = int(np.count_nonzero(surface & ~around)) / max(1, int(np.count_nonzero(measured)))
    rival, apart = 0.0, math.nan
    if own.any():
        gap = float(depth_gap(z, depth_config, lift_config))
        rival, apart = _rival(labels, own, cut, others, scene, gap, frame)
    missing = ~np.isfinite(frame.depth)
    missing = missing if frame.robot is None else missing & ~frame.robot.own
    empty = int(np.count_nonzero(missing & cut & ~others))
    near, far = (
        cv2.dilate((surface & cut).view(np.uint8), np.ones((2 * px + 1,) * 2, np.uint8)).view(np.bool_)
        for px in _RING_PX
    )
    ring = far & ~near & ~others
    beside = int(np.count_nonzero(ring & missing)) / max(1, int(np.count_nonzero(ring)))
    filled, known = 1.0, (surface | others) & inside
    if obj.detection.mask is None:
        first_x, first_y, last_x, last_y = box_around(known) if known.any() else (0.0, 0.0, 0.0, 0.0)
        filled = (last_x - first_x) * (last_y - first_y) / ((right - left) * (bottom - top))
    return CutOut(
        goes_on=goes_on,
        rival=rival,
        apart=apart,
        filled=filled,
        holes=empty / max(1, empty + int(np.count_nonzero(surface & cut))),
        beside=0.0 if obj.detection.mask is None else beside,
    )


def _rival(
    labels: npt.NDArray[np.int32], own: npt.NDArray[np.bool_], inside: Mask, others: Mask, scene: Scene, gap: float,
    frame: RgbdFrame,
) -> tuple[float, float]:  # fmt: skip
    """Size and distance of the largest piece of the cut-out surface that is separate from the main piece.

    The far wall of a cup is a piece as well, and meets the near one at its rim. Two pieces on either side of another
    object may be connected behind it.
    """
    counts = np.bincount(labels[inside], minlength=len(own))
    areas = np.bincount(labels.reshape(-1), minlength=len(own))
    counts[0] = 0
    main = int(np.argmax(np.where(own, counts, 0)))
    first = labels == main
    large = (counts >= _RIVAL * counts[main]) & (counts >= _MOSTLY_INSIDE * areas) & (counts > 0)
    large[main] = False
    for piece in sorted(np.flatnonzero(large).tolist(), key=lambda n: -int(counts[n])):
        second = labels == piece
        behind = any(
            (_grown(first) & pixels).any() and (_grown(second) & pixels).any()
            for pixels in (object_pixels(other, frame) & others for other in scene.objects)
        )
        a = _points(first & inside, frame)
        b = _points(second & inside, frame)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
        apart = float(np.sqrt(max(0.0, float(squares.min()))))
        if apart > gap and not behind:
            return float(counts[piece] / counts[main]), apart
    return 0.0, math.nan


def _grown(mask: Mask) -> Mask:
    return cv2.dilate(mask.view(np.uint8), np.ones((_RIM_PX, _RIM_PX), np.uint8)).view(np.bool_)


def _points(pixels: Mask, frame: RgbdFrame) -> Points:
    """(N, 3) metres: at most _SAMPLE of the measured points of some pixels."""
    rows, columns = np.nonzero(pixels & np.isfinite(frame.depth))
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.intp))
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[rows[kept], columns[kept]]
    return np.stack([xs[columns[kept]] * z, ys[rows[kept]] * z, z], axis=1).astype(np.float32)
