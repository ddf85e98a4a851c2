# SPDX-License-Identifier: Apache-2.0
"""Detections to a scene of objects in metres: surface, extent, carriers, and what hides what.

Works in the optical frame of the camera. Nothing here knows a relation or a word of the instruction.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, LiftConfig
from spatial_vlm_ros.geometry.camera import rectified
from spatial_vlm_ros.geometry.carriers import standing
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS, Extent, box_of, covariance_of, extent_of
from spatial_vlm_ros.geometry.segmentation import depth_gap, masks_from_boxes
from spatial_vlm_ros.geometry.support import check_up, find_support, find_up, known_up
from spatial_vlm_ros.geometry.surface import Surface, visible_surface
from spatial_vlm_ros.types import Detection, OrientedBox, RgbdFrame, Scene, SceneObject

Array = npt.NDArray[np.float64]
_Owners = npt.NDArray[np.signedinteger]


def build_scene(
    frame: RgbdFrame, detections: Sequence[Detection], depth_config: DepthConfig, lift_config: LiftConfig
) -> Scene:
    """Lift all detections of a frame.

    Args:
        frame: colour and registered depth; distorted images are rectified first.
        detections: checked detections (see perception.validation), masks or boxes.
        depth_config: noise and range of depth.
        lift_config: how pixels become objects.

    Returns:
        The scene, in the camera frame. An object whose depth cannot be trusted is there with `depth_problem` set.

    Raises:
        DepthError: the depth image as a whole cannot be a measurement.
        InputError: the support is seen from below, so that "up" must be wrong; or a detection lies outside what is left
            of a distorted picture once it is rectified.
    """
    check_depth(frame.depth, depth_config)
    frame, checked = rectified(frame, tuple(detections))
    frame = dataclasses.replace(frame, depth=clip_depth(frame.depth, depth_config))
    known = known_up(frame)
    support = find_support(frame, checked, depth_config, known[0] if known else None)
    if known is not None and support is None:
        check_up(frame, checked, depth_config, *known)
    up, up_from = find_up(frame, support)
    patches = masks_from_boxes(frame, checked, support, depth_config, lift_config)
    surfaces = [
        visible_surface(frame, d, p, support, depth_config, lift_config) for d, p in zip(checked, patches, strict=True)
    ]
    extents = [extent_of(s, up, frame.camera, lift_config) if s.problem is None else None for s in surfaces]
    extents = standing(surfaces, extents, support, up, frame, depth_config, lift_config)
    owners = _owner_image(frame.depth.shape, surfaces, extents)
    objects = tuple(
        _unmeasured(surface, frame)
        if extent is None
        else _measured(index, surface, extent, owners, checked, frame, depth_config, lift_config)
        for index, (surface, extent) in enumerate(zip(surfaces, extents, strict=True))
    )
    return Scene(objects, up, up_from, support, frame)


# ------------------------------------------------------------------------------------------------ what hides what


def _owner_image(shape: tuple[int, ...], surfaces: Sequence[Surface], extents: Sequence[Extent | None]) -> _Owners:
    """(H, W): index of the object that a pixel belongs to (the nearest one), -1 for none."""
    owners = np.full(shape, -1, np.min_scalar_type(-1 - len(surfaces)))  # small: to claim and fill memory takes time
    depths = [(-extent.near_z, index) for index, extent in enumerate(extents) if extent is not None]
    for _, index in sorted(depths):
        owners[surfaces[index].window][surfaces[index].mask] = index
    return owners


def _visibility(
    index: int,
    extent: Extent,
    corners: Array,
    owners: _Owners,
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[float, int]:
    """Part of the estimated silhouette that nothing covers, and the index of what covers most of the rest (-1: none).

    A pixel of the silhouette is covered when it is clearly nearer than the object's nearest part, or belongs to
    another object and is nearer than the object's middle.
    """
    prism = np.concatenate((_raised(corners, extent.bottom), _raised(corners, extent.top)))
    rays = prism @ (frame.camera.K @ extent.basis).T  # the camera is rectified: K alone makes pixels
    if not rays[:, 2].min() > 0:
        return 1.0, -1
    pixels = rays[:, :2] / rays[:, 2:]
    left, top, right, bottom = _window_of(pixels, frame.depth.shape)
    silhouette = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillConvexPoly(silhouette, cv2.convexHull((pixels - (left, top)).round().astype(np.int32)), 1)
    there, z = (image[top : bottom + 1, left : right + 1] for image in (owners, frame.depth))
    limit = extent.near_z - float(depth_gap(extent.near_z, depth_config, config))
    others = there >= 0
    hidden = (z < limit) | (others & (z < extent.middle_z))
    hidden &= silhouette.view(np.bool_) & (there != index)
    covered = int(np.count_nonzero(hidden))
    if not covered:
        return 1.0, -1
    by = there[hidden & others]
    visible = 1.0 - covered / max(1, int(np.count_nonzero(silhouette)))
    return visible, int(np.bincount(by).argmax()) if len(by) else -1


def _window_of(pixels: Array, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels around pixels (N, 2), within the picture: left, top, right, bottom."""
    (u0, v0), (u1, v1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
    last_v, last_u = shape[0] - 1, shape[1] - 1
    left, top = min(max(0, math.floor(u0)), last_u), min(max(0, math.floor(v0)), last_v)
    right, bottom = min(max(0, math.ceil(u1)), last_u), min(max(0, math.ceil(v1)), last_v)
    return left, top, right, bottom


def _raised(corners: Array, level: float) -> Array:
    """Corners (N, 2) along e1 and e2 as (N, 3) with their height along up."""
    raised = np.empty((len(corners), 3))
    raised[:, :2] = corners
    raised[:, 2] = level
    return raised


# ------------------------------------------------------------------------------------------------ finished objects


def _measured(
    index: int,
    surface: Surface,
    extent: Extent,
    owners: _Owners,
    detections: Sequence[Detection],
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> SceneObject:
    """The finished object in the camera frame."""
    box, yaw_known = box_of(extent)
    corners = extent.footprint()
    visible, occluder = _visibility(index, extent, corners, owners, frame, depth_config, config)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=extent.basis @ extent.median,
        box=box,
        footprint=_raised(corners, (extent.top + extent.bottom) / 2) @ extent.basis.T,
        covariance=covariance_of(extent, box, yaw_known, surface, frame.camera, depth_config),
        yaw_known=yaw_known,
        visible_fraction=visible,
        occluder=None if occluder < 0 else detections[occluder].id,
        truncated=_touches_border(surface, frame),
        valid_fraction=surface.valid_fraction,
    )


def _unmeasured(surface: Surface, frame: RgbdFrame) -> SceneObject:
    """An object without a place: everything about it is NaN, and why is said."""
    nothing = np.full(3, np.nan)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=nothing,
        box=OrientedBox(nothing, np.full((3, 3), np.nan), nothing),
        footprint=np.full((FOOTPRINT_CORNERS, 3), np.nan),
        covariance=np.full((6, 6), np.nan),
        yaw_known=False,
        truncated=_touches_border(surface, frame),
        valid_fraction=surface.valid_fraction,
        depth_problem=surface.problem,
    )


def _touches_border(surface: Surface, frame: RgbdFrame) -> bool:
    """Whether the picture's border cuts the object."""
    rows, columns = surface.window
    height, width = frame.depth.shape
    return bool(rows.start <= 1 or columns.start <= 1 or rows.stop >= height - 1 or columns.stop >= width - 1)
