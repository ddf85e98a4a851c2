# SPDX-License-Identifier: Apache-2.0
"""Freshness, motion since the observation, and agreement of image and TF."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import (
    DepthError,
    InputError,
    SceneChangedError,
    StaleInputError,
    TransformError,
    TransformUnavailableError,
)
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.planning.agreement import check_point_agrees, check_support_agrees
from spatial_vlm_ros.manipulation.planning.freshness import check_fresh
from spatial_vlm_ros.manipulation.planning.motion import (
    check_base_still,
    check_camera_still,
    check_no_jump,
    check_target_there,
    moved_by,
)
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, ObservationConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import RgbdFrame, Scene, Target, Transform

LIMITS = ObservationConfig()
SECOND = 1_000_000_000


def transform(
    x: float = 0.0, turn_deg: float = 0.0, axis: str = "z", parent: str = "base", child: str = "camera"
) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, turn_deg, degrees=True).as_matrix()
    matrix[0, 3] = x
    return Transform(parent, child, matrix)


def test_an_observation_is_fresh_up_to_its_greatest_age_and_what_clocks_differ_by() -> None:
    check_fresh(10 * SECOND, 15 * SECOND, LIMITS)
    check_fresh(10 * SECOND + 90_000_000, 10 * SECOND, LIMITS)
    for stamp, now, words in (
        (10 * SECOND, 15 * SECOND + 10_000_000, r"5\.01 s old; 5 s are allowed"),
        (10 * SECOND + 200_000_000, 10 * SECOND, r"0\.20 s ahead.*observation.max_ahead.*Synchronise the clocks"),
        (10 * SECOND, 0, r"no message on /clock\. Start its publisher"),
    ):
        with pytest.raises(StaleInputError, match=words):
            check_fresh(stamp, now, LIMITS)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_how_far_a_frame_moved_and_turned(axis: str) -> None:
    for angle in (0.0, 0.01, 0.4, 5.0, 90.0, 179.0, 180.0):
        moved, turned = moved_by(transform(0.1), transform(0.13, angle, axis))
        assert (moved, turned) == (pytest.approx(0.03), pytest.approx(angle, abs=1e-5))


def test_camera_and_base_may_move_within_their_limits_and_not_beyond() -> None:
    check_camera_still(transform(), transform(0.004, 0.4), LIMITS)
    with pytest.raises(SceneChangedError, match=r"the camera moved by 0\.010 m") as caught:
        check_camera_still(transform(), transform(0.010), LIMITS)
    assert (caught.value.moved, caught.value.limit) == pytest.approx((0.01, 0.005))
    assert caught.value.status_name == "SCENE_CHANGED"
    with pytest.raises(SceneChangedError, match=r"0\.8°") as caught:
        check_camera_still(transform(), transform(0.0, 0.8), LIMITS)
    assert caught.value.turned_deg == pytest.approx(0.8)
    loose = ObservationConfig(base_moved=0.1, base_turned_deg=10.0)
    check_base_still(transform(), transform(0.05, 5.0), loose)
    with pytest.raises(SceneChangedError, match="the base moved"):
        check_base_still(transform(), transform(0.2), loose)
    with pytest.raises(TransformError, match="compared with"):
        check_camera_still(transform(), transform(child="other_camera"), LIMITS)


@pytest.fixture(scope="module")
def seen() -> tuple[RgbdFrame, Scene, Target]:
    frame, detections = chicks_and_cup_frame()
    target = Resolver().resolve(frame, "the chick behind the cup", detections).target
    assert target is not None
    return frame, build_scene(frame, detections, DepthConfig(), LiftConfig()), target


def shifted(target: Target, by: float, **changes: object) -> Target:
    x, y, z = target.pose.position
    pose = dataclasses.replace(target.pose, position=(x + by, y, z))
    return dataclasses.replace(target, pose=pose, **changes)


def test_the_target_is_found_again_under_another_id_and_missed_when_it_moved(seen: tuple) -> None:
    target = seen[2]
    again = shifted(target, 0.01, id="d7")
    assert check_target_there(target, [shifted(target, 0.3), again], LIMITS) is again
    with pytest.raises(SceneChangedError, match=r"the chick \(bonnet\) moved by 0\.300 m"):
        check_target_there(target, [shifted(target, 0.3)], LIMITS)
    for now in ([], [shifted(target, 0.0, label="cup")]):
        with pytest.raises(SceneChangedError, match=r"the chick \(bonnet\) is gone") as caught:
            check_target_there(target, now, LIMITS)
        assert caught.value.moved == math.inf
    other = dataclasses.replace(target, pose=dataclasses.replace(target.pose, frame_id="map"))
    with pytest.raises(TransformError, match="two frames"):
        check_target_there(target, [other], LIMITS)


def test_a_transform_that_moves_as_robots_do_has_not_jumped() -> None:
    check_no_jump([(k * SECOND // 10, transform(0.1 * k, 10.0 * k)) for k in range(8)], LIMITS)
    check_no_jump([], LIMITS)
    check_no_jump([(0, transform()), (0, transform())], LIMITS)


@pytest.mark.parametrize(
    "samples",
    [
        [(0, transform()), (SECOND // 10, transform(0.3))],
        [(0, transform()), (SECOND // 10, transform(0.0, 30.0))],
        [(0, transform()), (0, transform(0.01))],
        [(SECOND, transform()), (0, transform(0.01))],
        [(0, transform()), (SECOND, transform()), (SECOND + SECOND // 100, transform(0.1))],
    ],
)
def test_a_jump_is_refused(samples: list) -> None:
    with pytest.raises(SceneChangedError, match=r"the transform base <- camera moved.*second publisher"):
        check_no_jump(samples, LIMITS)


def tilted(frame: RgbdFrame, degrees: float = 0.0, up: float = 0.0, aside: float = 0.0) -> RgbdFrame:
    """The frame with a camera pose that is wrong by so much."""
    assert frame.base_T_camera is not None
    wrong = np.eye(4)
    wrong[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    wrong[:3, 3] = (0.0, aside, up)
    matrix = wrong @ frame.base_T_camera.matrix
    return dataclasses.replace(frame, base_T_camera=Transform("world", frame.frame_id, matrix))


def test_a_true_camera_pose_agrees_with_the_table_and_a_wrong_one_does_not(seen: tuple) -> None:
    frame, scene, _ = seen

    def lifted(frame: RgbdFrame) -> Scene:
        return build_scene(frame, [obj.detection for obj in scene.objects], DepthConfig(), LiftConfig())

    check_support_agrees(scene, LIMITS)
    check_support_agrees(scene, LIMITS, known_height=0.0)
    check_support_agrees(lifted(tilted(frame, 1.5)), LIMITS)
    with pytest.raises(TransformError, match=r"tilted by [567]\.\d°; 3° are allowed"):
        check_support_agrees(lifted(tilted(frame, 6.0)), LIMITS)
    words = r"measured at 0\.03\d m, but its known height is 0\.000 m|measured at 0\.02\d m"
    with pytest.raises(TransformError, match=words):
        check_support_agrees(lifted(tilted(frame, up=0.03)), LIMITS, known_height=0.0)
    with pytest.raises(DepthError, match="no support plane"):
        check_support_agrees(dataclasses.replace(scene, support=None), LIMITS)
    loose = dataclasses.replace(frame, base_T_camera=None)
    with pytest.raises(TransformUnavailableError):
        check_support_agrees(dataclasses.replace(scene, frame=loose), LIMITS)
    with pytest.raises(TransformUnavailableError):
        check_point_agrees(loose, (0.0, 0.0, 0.0), (1.0, 1.0), LIMITS)


def pixel_of(frame: RgbdFrame, point: tuple[float, float, float]) -> tuple[float, float]:
    """By the true pose, written out."""
    assert frame.base_T_camera is not None
    x, y, z, _ = np.linalg.inv(frame.base_T_camera.matrix) @ (*point, 1.0)
    K = frame.camera.K
    return float(K[0, 0] * x / z + K[0, 2]), float(K[1, 1] * y / z + K[1, 2])


def test_a_known_point_agrees_where_it_is_seen_and_not_elsewhere(seen: tuple) -> None:
    frame = seen[0]
    gripper = (0.1, -0.1, 0.2)
    where = pixel_of(frame, gripper)
    check_point_agrees(frame, gripper, where, LIMITS)
    check_point_agrees(tilted(frame, aside=0.015), gripper, where, LIMITS)
    with pytest.raises(TransformError, match=r"the gripper is seen 0\.04\d m from its known position; 0\.02 m"):
        check_point_agrees(tilted(frame, aside=0.04), gripper, where, LIMITS)
    with pytest.raises(TransformError, match="the marker"):
        check_point_agrees(frame, gripper, (where[0] + 60.0, where[1]), LIMITS, "the marker")
    with pytest.raises(TransformError, match="in front of the camera"):
        check_point_agrees(frame, (-5.0, 0.0, 0.5), (320.0, 240.0), LIMITS)
    with pytest.raises(InputError, match="two finite numbers"):
        check_point_agrees(frame, (0.0, 0.0, 0.0), (math.nan, 240.0), LIMITS)
