# SPDX-License-Identifier: Apache-2.0
"""Turn detections that are points of a model into objects with masks and boxes cut out of depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.point_surface import NEAREST, surface_at
from spatial_vlm_ros.geometry.segmentation import depth_gap, raised_pixels
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame

BEYOND = 1.25
"""Times its reach within which a surface must end: a larger surface is not one object."""
SURROUNDINGS = 0.1
"""Metres around a point in which the support is searched for, before the object's size is known."""


def with_surroundings(frame: RgbdFrame, detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Detections for finding the support: pointed ones get boxes of size SURROUNDINGS around their points.

    Args:
        frame: rectified frame; depth in metres.
    """
    return tuple(_widened(frame, one) if one.pointed else one for one in detections)


def with_surfaces(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    support: Plane | None,
    depth_config: DepthConfig,
    lift_config: LiftConfig,
) -> tuple[Detection, ...]:
    """Give each pointed detection the connected surface at its point as a mask, and the box around it.

    A pointed detection stays unchanged, too small to be measured, if nothing shows how far its object reaches: no
    support is known, its point lies on the support or where nothing is measured, the surface reaches beyond
    `lift.point_reach`, or it overlaps the surface of another pointed detection. Objects that touch and differ in depth
    by less than a step are one surface; one point cannot separate them.

    Args:
        frame: rectified frame; depth in metres.
        support: plane under the objects, or None.
    """
    pointed = [row for row, one in enumerate(detections) if one.pointed]
    if not pointed or support is None:
        return tuple(detections)
    raised = raised_pixels(frame, support, lift_config)
    for one in detections:
        if one.mask is not None:
            raised &= ~one.mask
    surfaces = {row: _surface(frame, detections[row], raised, depth_config, lift_config) for row in pointed}
    alone = {
        row: mask
        for row, mask in surfaces.items()
        if mask.any() and not any((mask & other).any() for n, other in surfaces.items() if n != row)
    }
    return tuple(
        replace(one, mask=alone[row], box_xyxy=box_around(alone[row])) if row in alone else one
        for row, one in enumerate(detections)
    )


def _middle(detection: Detection) -> tuple[float, float]:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x0 + x1) / 2.0, (y0 + y1) / 2.0


def _widened(frame: RgbdFrame, detection: Detection) -> Detection:
    x, y = _middle(detection)
    height, width = frame.depth.shape
    depth = _depth_near(frame, x, y)
    if depth is None:
        return detection
    half_x, half_y = (SURROUNDINGS * float(frame.camera.K[i, i]) / depth for i in (0, 1))
    box = max(0.0, x - half_x), max(0.0, y - half_y), min(float(width), x + half_x), min(float(height), y + half_y)
    return replace(detection, box_xyxy=box)


def _surface(
    frame: RgbdFrame, detection: Detection, raised: Mask, depth_config: DepthConfig, lift_config: LiftConfig
) -> Mask:
    x, y = _middle(detection)
    depth = _depth_near(frame, x, y)
    if depth is None:
        return np.zeros(frame.depth.shape, np.bool_)
    step, reach = float(depth_gap(depth, depth_config, lift_config)), lift_config.point_reach
    within, wider = (
        surface_at(frame.depth, frame.camera.K, (x, y), step=step, reach=metres, of=raised)
        for metres in (reach, BEYOND * reach)
    )
    return within if np.array_equal(within, wider) else np.zeros_like(within)


def _depth_near(frame: RgbdFrame, x: float, y: float) -> float | None:
    """Median depth, metres, of the measured pixels within NEAREST pixels of a point."""
    near = frame.depth[max(0, int(y) - NEAREST) : int(y) + NEAREST + 1, max(0, int(x) - NEAREST) : int(x) + NEAREST + 1]
    measured = near[np.isfinite(near)]
    return float(np.median(measured)) if len(measured) else None
