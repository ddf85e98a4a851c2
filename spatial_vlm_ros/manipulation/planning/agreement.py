# SPDX-License-Identifier: Apache-2.0
"""Checks that camera and TF agree, by the support plane and by a point of known position."""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.errors import DepthError, InputError, TransformError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import RgbdFrame, Scene, Transform, Vector3


def check_support_agrees(scene: Scene, config: ObservationConfig, known_height: float | None = None) -> None:
    """Refuse a camera pose that makes the visible support tilted, or puts it at a wrong height.

    Args:
        scene: scene of a frame with base_T_camera.
        known_height: height of the support in the base frame (parent of base_T_camera), metres; None = only check the
            tilt.
    """
    transform = _transform(scene.frame)
    if scene.support is None:
        raise DepthError(
            "no support plane is visible, so the camera's pose cannot be checked", "point the camera at the table"
        )
    normal = transform.rotation @ scene.support.normal
    tilt = math.degrees(math.acos(min(1.0, max(-1.0, float(normal[2])))))
    if not tilt <= config.support_tilt_deg:
        raise _disagreement(
            transform, f"the visible support plane is tilted by {tilt:.1f}°; {config.support_tilt_deg:g}° are allowed"
        )
    if known_height is None:
        return
    middle = _middle(scene)
    x, y, _ = transform.apply(middle)
    offset = scene.support.offset - float(normal @ transform.translation)
    height = -(offset + float(normal[0] * x + normal[1] * y)) / float(normal[2])
    if not abs(height - known_height) <= config.support_error:
        raise _disagreement(
            transform,
            f"the support plane was measured at {height:.3f} m, but its known height is {known_height:.3f} m; "
            f"a difference of {config.support_error:g} m is allowed",
        )


def check_tilt(seen: Surroundings, config: ObservationConfig) -> None:
    """Refuse a camera pose that makes the visible support tilted; does nothing without a support."""
    if seen.support_tilt is None:
        return
    tilt = math.degrees(seen.support_tilt)
    if not tilt <= config.support_tilt_deg:
        reason = f"the visible support plane is tilted by {tilt:.1f}°; {config.support_tilt_deg:g}° are allowed"
        raise TransformError(seen.frame_id, seen.camera_frame, f"it disagrees with the image: {reason}")


def check_way_seen(seen: Surroundings, config: ObservationConfig) -> None:
    """Refuse a motion through space without depth."""
    if seen.occupancy is None:
        reason = "there is no depth of the way to the target, so unnamed obstacles are not known"
        raise DepthError(reason, "use a resolver of this version, and check its depth image")
    share = seen.occupancy.seen_share
    if not share >= config.least_seen:
        reason = f"depth covers {share:.0%} of the way to the target or its place; {config.least_seen:.0%} are needed"
        raise DepthError(reason, "move the camera, or what blocks it, until it sees the space around target and place")


def check_point_agrees(
    frame: RgbdFrame, known: Vector3, pixel: tuple[float, float], config: ObservationConfig, name: str = "the gripper"
) -> None:
    """Refuse a camera pose that contradicts a point of known position, such as the gripper's tip or a marker.

    Args:
        frame: frame with base_T_camera; may be distorted.
        known: the point in the parent frame of base_T_camera, metres, from joint angles or a survey.
        pixel: pixel of the point, (u, v).
    """
    transform = _transform(frame)
    if not np.isfinite(pixel).all():
        raise InputError(f"pixel of {name}", str(pixel), "two finite numbers", "leave it out where it is not visible")
    point = transform.inverse().apply(np.array([known]))
    expected = project(frame.camera, point)[0]
    if not np.isfinite(expected).all():
        raise _disagreement(transform, f"{name} should not be in front of the camera, but is seen at pixel {pixel}")
    error = float(np.linalg.norm((expected - pixel) * point[0, 2] / frame.camera.K[[0, 1], [0, 1]]))
    if not error <= config.point_error:
        raise _disagreement(
            transform, f"{name} is seen {error:.3f} m from its known position; {config.point_error:g} m are allowed"
        )


def _transform(frame: RgbdFrame) -> Transform:
    if frame.base_T_camera is None:
        reason = "the frame came without base_T_camera"
        raise TransformUnavailableError("base_link", frame.frame_id, reason, "set base_frame, and publish TF")
    return frame.base_T_camera


def _middle(scene: Scene) -> np.ndarray:
    """Mean position of the objects on the support, camera frame: the height is compared there."""
    centres = [obj.box.centre for obj in scene.objects if obj.depth_problem is None]
    if centres:
        return np.asarray(np.mean(centres, axis=0), np.float64)
    assert scene.support is not None  # noqa: S101 - the caller has looked
    return -scene.support.offset * scene.support.normal


def _disagreement(transform: Transform, reason: str) -> TransformError:
    return TransformError(transform.parent, transform.child, f"it disagrees with the image: {reason}")
