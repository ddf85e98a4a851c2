# SPDX-License-Identifier: Apache-2.0
"""Detections to a scene of objects in metres: surface, extent, carriers, and what hides what.

Works in the optical frame of the camera. Nothing here knows a relation or a word of the instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, LiftConfig
from spatial_vlm_ros.geometry.camera import project, rectified
from spatial_vlm_ros.geometry.carriers import standing
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS, Extent, box_of, covariance_of, extent_of
from spatial_vlm_ros.geometry.segmentation import depth_gap, masks_from_boxes
from spatial_vlm_ros.geometry.support import check_up, find_support, find_up, known_up
from spatial_vlm_ros.geometry.surface import Surface, visible_surface
from spatial_vlm_ros.types import Detection, OrientedBox, RgbdFrame, Scene, SceneObject

Array = npt.NDArray[np.float64]
_Owners = npt.NDArray[np.int32]


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
    owners = np.full(shape, -1, np.int32)
    depths = [(-extent.near_z, index) for index, extent in enumerate(extents) if extent is not None]
    for _, index in sorted(depths):
        owners[surfaces[index].window][surfaces[index].mask] = index
    return owners


def _visibility(
    index: int,
    extent: Extent,
    owners: _Owners,
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[float, int]:
    """Part of the estimated silhouette that nothing covers, and the index of what covers most of the rest (-1: none).

    A pixel of the silhouette is covered when it is clearly nearer than the object's nearest part, or belongs to
    another object and is nearer than the object's middle.
    """
    corners = extent.footprint()
    prism = [np.column_stack((corners, np.full(len(corners), level))) for level in (extent.bottom, extent.top)]
    pixels = project(frame.camera, np.concatenate(prism) @ extent.basis.T)
    if not np.isfinite(pixels).all():
        return 1.0, -1
    height, width = frame.depth.shape
    last = np.array([width - 1, height - 1])
    low: npt.NDArray[np.int_] = np.clip(np.floor(pixels.min(axis=0)), 0, last).astype(int)
    high: npt.NDArray[np.int_] = np.clip(np.ceil(pixels.max(axis=0)), 0, last).astype(int)
    silhouette = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillConvexPoly(silhouette, cv2.convexHull((pixels - low).round().astype(np.int32)), 1)
    window = np.s_[low[1] : high[1] + 1, low[0] : high[0] + 1]
    there, z = owners[window], frame.depth[window]
    limit = extent.near_z - float(depth_gap(extent.near_z, depth_config, config))
    hidden = silhouette.view(np.bool_) & (there != index) & ((z < limit) | ((there >= 0) & (z < extent.middle_z)))
    by = there[hidden & (there >= 0)]
    visible = 1.0 - int(np.count_nonzero(hidden)) / max(1, int(np.count_nonzero(silhouette)))
    return visible, int(np.bincount(by).argmax()) if len(by) else -1


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
    level = np.full(FOOTPRINT_CORNERS, (extent.top + extent.bottom) / 2)
    visible, occluder = _visibility(index, extent, owners, frame, depth_config, config)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=extent.basis @ extent.median,
        box=box,
        footprint=np.column_stack((corners, level)) @ extent.basis.T,
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
