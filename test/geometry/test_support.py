# SPDX-License-Identifier: Apache-2.0
"""The plane that objects stand on, and the direction "up"."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.geometry.support import find_support, find_up, known_up
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Detection, Plane, UpSource

if TYPE_CHECKING:
    from conftest import Tabletop

DEPTH = DepthConfig()


def assert_is_table(plane: Plane | None, seen: Rendering, *, degrees: float = 1.0, metres: float = 0.005) -> None:
    """The plane is z = 0 of the world."""
    assert plane is not None
    pose = seen.frame.base_T_camera
    assert np.degrees(np.arccos(min(1.0, plane.normal @ pose.rotation[2]))) < degrees
    at_origin = plane.height(pose.inverse().apply(np.zeros((1, 3))))[0]
    assert abs(at_origin) < metres
    assert plane.offset == pytest.approx(pose.translation[2], abs=2 * metres), "the camera's height over the table"


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
@pytest.mark.parametrize("pitch", [20, 45, 80])
def test_the_table_is_found_among_objects(
    tabletop: Tabletop, pitch: float, up_known: bool, noise: bool, seed: int
) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 7).bodies, eye=tabletop.pitched(pitch))
    frame = noisy(seen.frame, np.random.default_rng(seed)) if noise else seen.frame
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    assert_is_table(find_support(frame, seen.detections, DEPTH, up), seen)


def test_the_normal_is_towards_the_camera_and_the_roughness_that_of_the_noise(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    exact = find_support(seen.frame, seen.detections, DEPTH, None)
    rough = find_support(noisy(seen.frame, np.random.default_rng(0)), seen.detections, DEPTH, None)
    assert exact.height(np.zeros((1, 3)))[0] > 0, "the normal points to the side of the camera"
    assert np.linalg.norm(exact.normal) == pytest.approx(1.0)
    assert exact.rms < 0.0005
    assert 0.0005 < rough.rms < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_the_plane_says_how_far_its_tilt_and_height_may_be_wrong(tabletop: Tabletop, seed: int) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 7).bodies)
    plane = find_support(noisy(seen.frame, np.random.default_rng(seed)), seen.detections, DEPTH, None)
    tilt = np.arccos(np.clip(plane.normal @ seen.frame.base_T_camera.rotation[2], -1.0, 1.0))
    assert tilt < 3.0 * plane.sigma_tilt
    assert abs(plane.offset - seen.frame.base_T_camera.translation[2]) < 3.0 * plane.sigma + 2.0 * tilt
    assert 0.001 <= plane.sigma < 0.005
    assert 0.1 <= np.degrees(plane.sigma_tilt) < 1.0


def test_a_plane_of_which_little_is_seen_is_known_worse(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    frame = noisy(seen.frame, np.random.default_rng(0))
    x0, y0, x1, y1 = (int(v) for v in seen.detections[0].box_xyxy)
    little = np.full_like(frame.depth, np.nan)
    around = np.s_[y0 : y1 + 30, x0 - 40 : x1 + 40]
    little[around] = frame.depth[around]
    whole, piece = (
        find_support(one, seen.detections, DEPTH, None) for one in (frame, dataclasses.replace(frame, depth=little))
    )
    assert piece.sigma_tilt > 1.3 * whole.sigma_tilt


@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
def test_the_floor_beyond_a_small_table_is_not_taken_for_the_support(tabletop: Tabletop, up_known: bool) -> None:
    """The floor fills most of the image; the objects stand on the table."""
    bodies = tabletop.can("a", -0.1, 0.05), tabletop.block("b", 0.1, 0.0), tabletop.cup("c", 0.0, -0.1)
    seen = tabletop.see(*bodies, table_size=(0.45, 0.4), floor=-0.7, eye=tabletop.pitched(50))
    on_table = seen.frame.base_T_camera.apply(_points(seen))[:, 2] > -0.01
    assert on_table.mean() < 0.5
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    assert_is_table(find_support(seen.frame, seen.detections, DEPTH, up), seen)


def _points(seen: Rendering) -> np.ndarray:
    v, u = np.nonzero(np.isfinite(seen.frame.depth))
    K, z = seen.frame.camera.K, seen.frame.depth[v, u]
    return np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), axis=1)


@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
def test_scattered_and_next_to_no_depth_have_no_plane(tabletop: Tabletop, up_known: bool) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    scattered = np.random.default_rng(0).uniform(0.3, 4.0, seen.frame.depth.shape).astype(np.float32)
    little = np.full_like(seen.frame.depth, np.nan)
    little[200:205, 300:305] = 0.8
    for depth in (scattered, little):
        assert find_support(dataclasses.replace(seen.frame, depth=depth), seen.detections, DEPTH, up) is None


def test_a_wall_is_no_support_when_up_is_known(tabletop: Tabletop) -> None:
    """A wall across the whole view, and no table in it."""
    seen = tabletop.see(tabletop.block("wall", 0, 0.5, (4.0, 0.05, 3.0), label="wall"), eye=(0, -0.9, 1.5),
                        target=(0, 0, 1.5), table_size=(0.1, 0.1), floor=-1.0)  # fmt: skip
    up = seen.frame.base_T_camera.rotation[2]
    assert seen.masks["wall"].mean() > 0.95
    assert find_support(seen.frame, (), DEPTH, up) is None


def test_the_same_image_gives_the_same_plane(tabletop: Tabletop) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(3), 5).bodies)
    frame = noisy(seen.frame, np.random.default_rng(0))
    first, again = (find_support(frame, seen.detections, DEPTH, None) for _ in range(2))
    np.testing.assert_array_equal(first.normal, again.normal)
    assert (first.offset, first.rms) == (again.offset, again.rms)


# ------------------------------------------------------------------------------------------------ up


def test_known_up_is_the_poses_z_before_the_imus(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    told = seen.frame.base_T_camera.rotation[2]
    both = dataclasses.replace(seen.frame, up=told + np.array([0.1, 0.0, 0.0]))
    up, source = known_up(both)
    assert source is UpSource.TF
    np.testing.assert_allclose(up, seen.frame.base_T_camera.rotation[2])
    up, source = known_up(tabletop.without_pose(both, up=np.array([0.0, -2.0, 0.0])))
    assert source is UpSource.IMU
    np.testing.assert_allclose(up, (0, -1, 0))
    assert known_up(tabletop.without_pose(seen.frame)) is None


def test_up_falls_back_to_the_plane_and_then_to_the_image(tabletop: Tabletop) -> None:
    frame = tabletop.without_pose(tabletop.see().frame)
    plane = Plane(np.array([0.0, -0.8, -0.6]), 0.5, 0.001)
    up, source = find_up(frame, plane)
    assert source is UpSource.SUPPORT_PLANE
    np.testing.assert_allclose(up, plane.normal)
    up, source = find_up(frame, None)
    assert source is UpSource.OPTICAL_AXES
    np.testing.assert_allclose(up, (0, -1, 0))


# ------------------------------------------------------------------------------------------------ which plane


def _whole_table(seen: Rendering) -> Detection:
    """A detection of the table itself, its box around all that is seen of its top."""
    height = np.zeros(seen.frame.depth.shape)
    height[np.nonzero(np.isfinite(seen.frame.depth))] = seen.frame.base_T_camera.apply(_points(seen))[:, 2]
    v, u = np.nonzero(np.abs(height) < 0.001)
    return Detection("table", "table", 1.0, (float(u.min()), float(v.min()), float(u.max() + 1), float(v.max() + 1)))


@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_a_table_that_is_a_detection_is_the_support_and_not_the_floor_around_it(
    tabletop: Tabletop, noise: bool, up_known: bool
) -> None:
    bodies = tabletop.can("a", -0.1, 0.05), tabletop.block("b", 0.15, 0.0)
    seen = tabletop.see(*bodies, table_size=(0.7, 0.5), floor=-0.7, eye=tabletop.pitched(50, 1.2))
    frame = noisy(seen.frame, np.random.default_rng(0)) if noise else seen.frame
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    assert_is_table(find_support(frame, (*seen.detections, _whole_table(seen)), DEPTH, up), seen)


@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
@pytest.mark.parametrize("steps", [2, 3])
def test_no_plane_is_laid_over_the_edges_of_steps(tabletop: Tabletop, steps: int, up_known: bool) -> None:
    """A sloped plane through table and edges holds something of what surrounds every object, and is none."""
    stairs = [tabletop.block(f"s{n}", 0.0, 0.12 * n, (0.3, 0.12, 0.06 * (n + 1)), label="step") for n in range(steps)]
    cans = [tabletop.can(f"c{n}", 0.06, 0.12 * n, z=0.06 * (n + 1)) for n in range(steps)]
    seen = tabletop.see(*stairs, *cans, tabletop.block("beside", -0.3, 0.0), eye=tabletop.pitched(40, 1.1))
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    assert_is_table(find_support(seen.frame, seen.detections, DEPTH, up), seen)


@pytest.mark.parametrize("up_known", [True, False], ids=["up known", "up unknown"])
def test_the_top_of_a_cabinet_is_not_the_table_though_more_stands_on_it(tabletop: Tabletop, up_known: bool) -> None:
    cabinet = tabletop.block("cabinet", 0.0, 0.1, (0.38, 0.26, 0.2), label="cabinet")
    cans = [tabletop.can(f"c{n}", 0.12 * (n - 1), 0.1, z=0.2) for n in range(3)]
    seen = tabletop.see(cabinet, *cans, tabletop.can("beside", -0.35, 0.0), eye=tabletop.pitched(40, 1.1))
    up = seen.frame.base_T_camera.rotation[2] if up_known else None
    assert_is_table(find_support(seen.frame, seen.detections, DEPTH, up), seen)


def test_the_tilt_is_that_of_the_whole_table_and_not_of_its_rim(tabletop: Tabletop) -> None:
    """Boxes cover most of the table: what is left between them is noisy and short."""
    bodies = [tabletop.block(f"b{n}", 0.16 * (n - 1.5), 0.0, (0.14, 0.4, 0.02)) for n in range(4)]
    seen = tabletop.see(*bodies, eye=tabletop.pitched(45, 1.3))
    for seed in range(3):
        frame = noisy(seen.frame, np.random.default_rng(seed))
        assert_is_table(find_support(frame, seen.detections, DEPTH, None), seen, degrees=0.3)
