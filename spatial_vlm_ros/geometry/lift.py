# SPDX-License-Identifier: Apache-2.0
"""Lift detections to a scene of objects in metres: surface, extent, support, and occlusion.

Works in the optical frame of the camera. Does not use relations or words of the instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.geometry.camera import rectified
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS, Extent, box_of, covariance_of, extent_of, shape_of
from spatial_vlm_ros.geometry.furniture import top_of, with_insides, with_tops
from spatial_vlm_ros.geometry.pointed import with_surfaces, with_surroundings
from spatial_vlm_ros.geometry.segmentation import masks_from_boxes
from spatial_vlm_ros.geometry.self_filter import robot_shares, unplaced_by_robot
from spatial_vlm_ros.geometry.support import check_up, find_support, find_up, known_up
from spatial_vlm_ros.geometry.support_points import tables
from spatial_vlm_ros.geometry.supporting_objects import standing
from spatial_vlm_ros.geometry.surface import Surface, visible_surface
from spatial_vlm_ros.geometry.visibility import (
    Instances,
    expected_widths,
    owner_image,
    raised,
    touches_border,
    visibility,
)
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, OrientedBox, RgbdFrame, Scene, SceneObject


def build_scene(
    frame: RgbdFrame, detections: Sequence[Detection], depth_config: DepthConfig, lift_config: LiftConfig
) -> Scene:
    """Lift all detections of a frame.

    Args:
        frame: colour and registered depth; distorted images are rectified first.
        detections: checked detections (see perception.validation), masks or boxes.

    Returns:
        The scene, in the camera frame. An object whose depth cannot be trusted has `depth_problem` set. Detections that
        show the robot itself are discarded.
    """
    check_depth(frame.depth, depth_config)
    frame, checked = rectified(frame, tuple(detections))
    frame = dataclasses.replace(frame, depth=clip_depth(frame.depth, depth_config))
    known = known_up(frame)
    around = with_surroundings(frame, checked)
    support = find_support(frame, around, depth_config, known[0] if known else None)
    if support is None and any(one.score == 0.0 for one in checked):  # a model's point: it may show no support
        support = find_support(frame, (), depth_config, known[0] if known else None)
    if known is not None and support is None:
        check_up(frame, around, depth_config, *known)
    up, up_from = find_up(frame, support)
    checked = with_surfaces(frame, checked, support, depth_config, lift_config)
    shares = robot_shares(frame, checked, support, lift_config)
    robot = tuple(d for d, share in zip(checked, shares, strict=True) if share >= lift_config.robot_share)
    checked = tuple(d for d in checked if d not in robot)
    shares = [share for share in shares if share < lift_config.robot_share]
    patches = masks_from_boxes(frame, checked, support, depth_config, lift_config)
    table = tables(checked) if support is not None else np.zeros(len(checked), np.bool_)
    patches = patches if support is None else with_tops(patches, checked, table, frame, support, lift_config)
    patches = with_insides(patches, checked, frame, up)
    surfaces = [
        unplaced_by_robot(visible_surface(frame, d, p, support, depth_config, lift_config), share)
        for d, p, share in zip(checked, patches, shares, strict=True)
    ]
    if support is not None:
        surfaces = [top_of(s, support) if flat else s for s, flat in zip(surfaces, table, strict=True)]
    extents = [extent_of(s, up, frame, lift_config) if s.problem is None else None for s in surfaces]
    owners = owner_image(frame.depth.shape, surfaces, extents)
    extents = standing(surfaces, extents, support, up, frame, owners, depth_config, lift_config)
    widths = expected_widths(surfaces, extents)
    objects = tuple(
        _unmeasured(surface, frame)
        if extent is None
        else _measured(index, surface, extent, widths[index], owners, checked, frame, depth_config, lift_config)
        for index, (surface, extent) in enumerate(zip(surfaces, extents, strict=True))
    )
    return Scene(objects, up, up_from, support, frame, robot)


# ------------------------------------------------------------------------------------------------ finished objects


def _measured(
    index: int,
    surface: Surface,
    extent: Extent,
    width: float,
    owners: Instances,
    detections: Sequence[Detection],
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> SceneObject:
    """Build the finished object in the camera frame."""
    box, yaw_known = box_of(extent)
    corners = extent.footprint()
    visible, occluder = visibility(index, surface, extent, width, owners, frame, depth_config, config)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=extent.basis @ extent.median,
        box=box,
        footprint=raised(corners, (extent.top + extent.bottom) / 2) @ extent.basis.T,
        covariance=covariance_of(extent, box, yaw_known, surface, frame.camera, depth_config),
        yaw_known=yaw_known,
        visible_fraction=visible,
        occluder=None if occluder < 0 else detections[occluder].id,
        truncated=touches_border(surface, frame),
        valid_fraction=surface.valid_fraction,
        cut=float(extent.cut[1]),
        cut_above=float(extent.cut[2]),
        shape=shape_of(extent, box),
    )


def _unmeasured(surface: Surface, frame: RgbdFrame) -> SceneObject:
    """Build an object without a position: every measure is NaN, and `depth_problem` says why."""
    nothing = np.full(3, np.nan)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=nothing,
        box=OrientedBox(nothing, np.full((3, 3), np.nan), nothing),
        footprint=np.full((FOOTPRINT_CORNERS, 3), np.nan),
        covariance=np.full((6, 6), np.nan),
        yaw_known=False,
        truncated=touches_border(surface, frame),
        valid_fraction=surface.valid_fraction,
        depth_problem=surface.problem,
    )
