# SPDX-License-Identifier: Apache-2.0
"""Depth images: units, what can be trusted, and registration to the colour camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import DepthError, InputError, ShapeError, UnknownNameError
from spatial_vlm_ros.geometry import depth as depth_module
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth, depth_from_image, depth_noise, register_depth
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import PinholeCamera, Transform

CONFIG = DepthConfig(near=0.1, far=5.0)


# ------------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("raw", "encoding", "scale", "metres"),
    [
        (np.array([[0, 1, 1500, 65535]], np.uint16), "16UC1", None, [[np.nan, 0.001, 1.5, 65.535]]),
        (np.array([[0, 1, 1500, 65535]], np.uint16), "mono16", None, [[np.nan, 0.001, 1.5, 65.535]]),
        (np.array([[0.0, -1.0, np.inf, -np.inf, np.nan, 1.25]], np.float32), "32FC1", None, [[np.nan] * 5 + [1.25]]),
        (np.array([[1000, 2000]], ">u2"), "16UC1", None, [[1.0, 2.0]]),
        (np.array([[1.0, 2.0]], ">f4"), "32FC1", None, [[1.0, 2.0]]),
        (np.array([[1000, 2000]], "<f4"), "32FC1", 0.001, [[1.0, 2.0]]),
        (np.array([[4000]], np.uint16), "16UC1", 0.00025, [[1.0]]),
    ],
)
def test_integers_are_millimetres_floats_metres_and_what_is_no_distance_is_nan(
    raw: np.ndarray, encoding: str, scale: float | None, metres: list[list[float]]
) -> None:
    before = raw.copy()
    found = depth_from_image(raw, encoding, scale)
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, np.array(metres, np.float32))
    found[0, 0] = 7
    np.testing.assert_array_equal(raw, before)


@given(hnp.arrays(np.float32, (3, 4)))
def test_depth_from_floats_is_positive_or_nan(raw: np.ndarray) -> None:
    metres = depth_from_image(raw, "32FC1")
    assert (np.isnan(metres) | ((metres > 0) & np.isfinite(metres))).all()


@pytest.mark.parametrize(
    ("image", "encoding", "scale", "error", "words"),
    [
        (np.ones((2, 2), np.uint16), "rgb8", None, UnknownNameError, r"rgb8.*16UC1, mono16, 32FC1"),
        (np.ones((2, 2), np.uint8), "16UC1", None, ShapeError, "16UC1"),
        (np.ones((2, 2), np.int16), "16UC1", None, ShapeError, "16UC1"),
        (np.ones((2, 2), np.float64), "32FC1", None, ShapeError, "32FC1"),
        (np.ones((2, 2, 1), np.uint16), "16UC1", None, ShapeError, "16UC1"),
        (np.ones(4, np.float32), "32FC1", None, ShapeError, "32FC1"),
        *((np.ones((2, 2), np.uint16), "16UC1", bad, InputError, "scale") for bad in (0.0, -1.0, np.nan, np.inf)),
    ],
)
def test_images_that_are_not_what_the_encoding_says_are_refused(
    image: np.ndarray, encoding: str, scale: float | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        depth_from_image(image, encoding, scale)


# ------------------------------------------------------------------------------------------------ trust


def plane_at(z: float, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full(shape, z, np.float32)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (plane_at(np.nan), "no pixel has measured"),
        (plane_at(800.0), "millimetres passed as metres"),
        (plane_at(0.0008), "metres divided by 1000"),
        (plane_at(0.05), "outside the valid range"),
        (plane_at(8.0), "outside the valid range"),
    ],
)
def test_depth_nothing_can_be_built_on_is_refused_in_words(depth: np.ndarray, words: str) -> None:
    with pytest.raises(DepthError, match=words) as caught:
        check_depth(depth, CONFIG)
    assert caught.value.repair


def test_a_hundredth_of_the_pixels_is_the_least() -> None:
    depth = plane_at(np.nan, (100, 100))
    depth.flat[:99] = 0.8
    with pytest.raises(DepthError, match="only 99 of 10000"):
        check_depth(depth, CONFIG)
    depth.flat[99] = 0.8
    check_depth(depth, CONFIG)


def test_a_far_background_behind_a_near_table_passes() -> None:
    depth = plane_at(9.0)
    depth[30:] = 0.7
    check_depth(depth, CONFIG)


def test_clipping_keeps_the_bounds_and_noise_grows_with_range_squared() -> None:
    depth = np.array([[0.05, 0.1, 5.0, 5.1, np.nan, np.inf]], np.float32)
    clipped = clip_depth(depth, DepthConfig(near=0.0625, far=5.0))
    np.testing.assert_array_equal(clipped, np.array([[np.nan, 0.1, 5.0, np.nan, np.nan, np.nan]], np.float32))
    config = DepthConfig(noise_floor=0.001, noise_quadratic=0.002)
    sigma = depth_noise(np.array([0.0, 1.0, 2.0, np.nan], np.float32), config)
    np.testing.assert_allclose(sigma, [0.001, 0.003, 0.009, np.nan], rtol=1e-6)
    assert clipped.dtype == sigma.dtype == np.float32


# ------------------------------------------------------------------------------------------------ registration

DEPTH_CAMERA = PinholeCamera(np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]]), 320, 240)
RGB_CAMERA = PinholeCamera(np.array([[615.0, 0, 322.0], [0, 617, 238.0], [0, 0, 1]]), 640, 480)


def pose(rotation_deg: tuple[float, float, float], translation: tuple[float, float, float]) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    matrix[:3, 3] = translation
    return Transform("rgb", "depth", matrix)


BASELINE = pose((0.4, -0.6, 0.3), (0.05, 0.002, 0.004))
IDENTITY = pose((0, 0, 0), (0, 0, 0))
BENT = (0.12, -0.25, 0.001, -0.0005, 0.1)


def depth_of_plane(camera: PinholeCamera, normal: np.ndarray, offset: float) -> np.ndarray:
    """Depth along z of the plane n·p = offset, camera frame."""
    grid = normalised_grid(camera)
    return (offset / (grid @ normal[:2] + normal[2])).astype(np.float32)


@pytest.mark.parametrize(("tilt_deg", "depth_D"), [(0.0, ()), (35.0, BENT), (60.0, ())])
def test_a_registered_plane_is_closed_and_where_the_colour_camera_sees_it(tilt_deg: float, depth_D: tuple) -> None:
    depth_camera = PinholeCamera(DEPTH_CAMERA.K, 320, 240, "plumb_bob", depth_D)
    normal = Rotation.from_euler("x", tilt_deg, degrees=True).apply([0.0, 0.0, 1.0])
    offset = 0.8 * normal[2]
    registered = register_depth(depth_of_plane(depth_camera, normal, offset), depth_camera, RGB_CAMERA, BASELINE)
    normal_rgb = BASELINE.rotation @ normal
    expected = depth_of_plane(RGB_CAMERA, normal_rgb, offset + normal_rgb @ BASELINE.translation)
    assert registered.shape == (480, 640)
    assert registered.dtype == np.float32
    inner = np.s_[90:-90, 110:-110]  # the overlap of both views
    assert np.isfinite(registered[inner]).all()
    measured = np.isfinite(registered)
    slope = np.abs(np.gradient(expected)).max(axis=0)
    # a patch is as wide as a depth pixel, here 2 colour pixels, and may come from the neighbour
    assert (np.abs(registered - expected)[measured] <= 3 * slope[measured] + 1e-5).all()


def test_what_is_near_hides_what_is_far() -> None:
    depth = plane_at(1.5, (240, 320))
    depth[80:160, 120:200] = 0.5
    registered = register_depth(depth, DEPTH_CAMERA, RGB_CAMERA, pose((0, 0, 0), (0.06, 0, 0)))
    assert set(np.unique(registered[np.isfinite(registered)])) == {0.5, 1.5}
    rows, columns = np.nonzero(registered == 0.5)
    # the near square spans columns 120..199 of the depth camera; its edges land where the pinhole model says
    edges = (np.array([119.5, 199.5]) - 159.5) / 300 * 615 + 0.06 / 0.5 * 615 + 322
    np.testing.assert_allclose((columns.min() - 0.5, columns.max() + 0.5), edges, atol=1.5)
    square = np.zeros_like(registered, bool)
    square[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert (registered[square] == 0.5).all(), "no background shines through"


def test_the_part_only_the_colour_camera_sees_stays_unmeasured() -> None:
    depth = plane_at(1.5, (240, 320))
    depth[:, :160] = 0.5
    registered = register_depth(depth, DEPTH_CAMERA, RGB_CAMERA, pose((0, 0, 0), (-0.06, 0, 0)))
    shadow = (159.5 - 159.5) / 300 * 615 + 322 - np.array([0.06 / 0.5, 0.06 / 1.5]) * 615  # between near and far edge
    strip = registered[200:280, int(shadow[0]) + 3 : int(shadow[1]) - 3]
    assert strip.shape[1] > 40
    assert np.isnan(strip).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.3])
def test_registration_at_another_resolution_neither_tears_nor_grows(scale: float) -> None:
    size = (round(320 * scale), round(240 * scale))
    K = np.diag([scale, scale, 1.0]) @ DEPTH_CAMERA.K
    depth = plane_at(np.nan, (240, 320))
    depth[60:180, 80:240] = 0.9
    registered = register_depth(depth, DEPTH_CAMERA, PinholeCamera(K, *size), IDENTITY)
    measured = np.isfinite(registered)
    rows, columns = np.flatnonzero(measured.any(axis=1)), np.flatnonzero(measured.any(axis=0))
    assert measured[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert len(rows) == pytest.approx(120 * scale, abs=0.25 * scale + 1.5)
    assert len(columns) == pytest.approx(160 * scale, abs=0.25 * scale + 1.5)


def test_registration_with_itself_changes_nothing_and_holes_stay_holes() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.8, 0.8001, (240, 320)).astype(np.float32)
    depth[rng.random((240, 320)) < 0.2] = np.nan
    depth[100:120, 100:140] = np.nan
    eroded = binary_erosion(np.isfinite(depth))
    registered = register_depth(depth, DEPTH_CAMERA, DEPTH_CAMERA, IDENTITY)
    np.testing.assert_array_equal(np.isfinite(registered), np.isfinite(depth))
    np.testing.assert_allclose(registered[eroded], depth[eroded], atol=2e-4)
    depth = plane_at(1.0, (240, 320))
    depth[100:120, 100:140] = np.nan
    hole = np.isnan(register_depth(depth, DEPTH_CAMERA, RGB_CAMERA, IDENTITY)[120:360, 160:480])
    assert hole.sum() == pytest.approx(20 * 40 * 2.05 * 2.057, rel=0.1)


def test_points_behind_the_camera_and_empty_images_give_nothing_and_other_sizes_are_refused() -> None:
    behind = plane_at(1.0, (240, 320)), pose((0, 180, 0), (0, 0, 0))
    for depth, where in (behind, (plane_at(np.nan, (240, 320)), IDENTITY)):
        assert np.isnan(register_depth(depth, DEPTH_CAMERA, RGB_CAMERA, where)).all()
    with pytest.raises(ShapeError, match="240, 320"):
        register_depth(plane_at(1.0), DEPTH_CAMERA, RGB_CAMERA, IDENTITY)


@pytest.mark.parametrize("knows", [True, False])
def test_every_16_bit_depth_is_the_same_with_and_without_opencvs_table(
    knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if knows and not depth_module._lut_knows_16_bits():
        pytest.skip("this version of OpenCV has tables of 8 bits alone")
    monkeypatch.setattr(depth_module, "_lut_knows_16_bits", lambda: knows)
    image = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.where(image > 0, (image * 0.001).astype(np.float32), np.float32(np.nan))
    for view, part in ((image, expected), (image[::2, 3:77], expected[::2, 3:77]), (image.T, expected.T)):
        found = depth_from_image(view, "16UC1")
        assert found.dtype == np.float32
        assert found.flags.writeable
        assert not np.shares_memory(found, view)
        np.testing.assert_array_equal(found, part)
    assert depth_from_image(np.zeros((0, 5), np.uint16), "16UC1").shape == (0, 5)
