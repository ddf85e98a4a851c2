# SPDX-License-Identifier: Apache-2.0
"""Projection and rectification, beside OpenCV's."""

from typing import Any

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.camera import (
    normalise,
    normalised_axes,
    normalised_grid,
    project,
    rectified,
    rectify,
    rectify_box,
    rectify_mask,
)
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame

K = np.array([[615.0, 0, 320.3], [0, 616.5, 241.1], [0, 0, 1]])
WIDE = np.array([[285.0, 0, 320.3], [0, 286.0, 241.1], [0, 0, 1]])
PINHOLE = PinholeCamera(K, 640, 480)
# coefficients of the size found on depth cameras' colour lenses, webcams and tracking cameras
DISTORTED = {
    "plumb_bob pincushion": PinholeCamera(K, 640, 480, "plumb_bob", (0.17, -0.49, 0.0006, -0.0004, 0.45)),
    "plumb_bob barrel": PinholeCamera(K, 640, 480, "plumb_bob", (-0.31, 0.11, 0.001, -0.0008)),
    "rational": PinholeCamera(
        K, 640, 480, "rational_polynomial", (0.48, -2.6, 0.0006, -0.0003, 1.5, 0.36, -2.44, 1.43)
    ),
    "equidistant": PinholeCamera(WIDE, 640, 480, "equidistant", (-0.0077, 0.042, -0.039, 0.007)),
}
CAMERAS = {"pinhole": PINHOLE, **DISTORTED}
each_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())
each_distorted = pytest.mark.parametrize("camera", DISTORTED.values(), ids=DISTORTED.keys())


def points_in_view(n: int = 500, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plane = np.concatenate([rng.uniform(-0.45, 0.45, (n, 1)), rng.uniform(-0.35, 0.35, (n, 1)), np.ones((n, 1))], 1)
    return plane * rng.uniform(0.2, 4.0, (n, 1))


def observed(camera: PinholeCamera) -> RgbdFrame:
    """A plane 1 m away, with colour that is a smooth function of the true ray."""
    grid = np.nan_to_num(normalised_grid(camera))
    rgb = np.clip(127 + 120 * np.sin(6 * np.concatenate([grid, grid.sum(axis=2, keepdims=True)], 2)), 0, 255)
    depth = (1.0 + 0.2 * grid[..., 0]).astype(np.float32)
    return RgbdFrame(rgb.astype(np.uint8), depth, camera)


@each_camera
def test_projection_and_undistorted_coordinates_are_opencvs(camera: PinholeCamera) -> None:
    points, zero = points_in_view(), np.zeros(3)
    theirs = cv2.fisheye if camera.distortion_model == "equidistant" else cv2
    expected = theirs.projectPoints(points[:, None], zero, zero, camera.K, np.array(camera.D))[0][:, 0]
    np.testing.assert_allclose(project(camera, points), expected, atol=1e-9)
    pixels = np.random.default_rng(1).uniform((0, 0), (640, 480), (300, 2))
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-13)
    D = np.array(camera.D)
    if camera.distortion_model == "equidistant":
        expected = cv2.fisheye.undistortPoints(pixels[:, None], camera.K, D, criteria=criteria)[:, 0]
    elif hasattr(cv2, "undistortPointsIter"):  # OpenCV 4 has the criteria under a name of their own
        expected = cv2.undistortPointsIter(pixels[:, None], camera.K, D, np.eye(3), np.eye(3), criteria)[:, 0]
    else:
        expected = cv2.undistortPoints(pixels[:, None], camera.K, D, criteria=criteria)[:, 0]
    np.testing.assert_allclose(normalise(camera, pixels), expected, atol=1e-6)


def test_the_principal_point_is_the_optical_axis_and_coefficients_of_zero_are_no_distortion() -> None:
    np.testing.assert_array_equal(project(PINHOLE, np.array([[0.0, 0.0, 2.0]])), [[320.3, 241.1]])
    np.testing.assert_allclose(normalise(PINHOLE, np.array([[320.3, 241.1]])), [[0, 0]], atol=1e-12)
    camera, pixels = PinholeCamera(K, 640, 480, "plumb_bob", (0.0,) * 5), np.array([[0.0, 0.0], [640.0, 480.0]])
    np.testing.assert_array_equal(normalise(camera, pixels), normalise(PINHOLE, pixels))


@each_camera
def test_points_behind_the_camera_have_no_pixel(camera: PinholeCamera) -> None:
    pixels = project(camera, np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [np.nan, 0.0, 1.0], [0.1, 0.1, 1.0]]))
    assert np.isnan(pixels).all(axis=1).tolist()[:2] == [True, True]
    assert np.isnan(pixels[2]).any()
    assert np.isfinite(pixels[3]).all()


def test_points_and_pixels_beyond_the_range_of_a_model_are_nan() -> None:
    """r (1 - 0.31 r² + 0.11 r⁴) grows without end; with -0.31 alone it folds. A pole of the rational model ends it."""
    folding = PinholeCamera(K, 640, 480, "plumb_bob", (-0.31, 0.0, 0.0, 0.0))
    pole = PinholeCamera(K, 640, 480, "rational_polynomial", (0, 0, 0, 0, 0, -1.0, 0, 0))
    fold = np.sqrt(1 / (3 * 0.31))
    for camera, inside, outside in ((folding, 0.99 * fold, 1.01 * fold), (pole, 0.9, 1.1)):
        assert np.isfinite(project(camera, np.array([[inside, 0, 1.0]]))).all()
        assert np.isnan(project(camera, np.array([[outside, 0, 1.0]]))).all()
    assert np.isfinite(project(DISTORTED["plumb_bob barrel"], np.array([[1.01 * fold, 0, 1.0]]))).all()
    highest = 615.0 * 2 / 3 * fold  # the fold's own radius in pixels
    pixels = np.array([[320.3 + 0.99 * highest, 241.1], [320.3 + 1.02 * highest, 241.1]])
    assert np.isfinite(normalise(folding, pixels)[0]).all()
    assert np.isnan(normalise(folding, pixels)[1]).all()
    assert np.isnan(normalise(DISTORTED["equidistant"], np.array([[320.3 + 285 * 3.0, 241.1]]))).all()


@each_camera
def test_the_grid_agrees_with_single_pixels(camera: PinholeCamera) -> None:
    grid = normalised_grid(camera)
    assert grid.shape == (480, 640, 2)
    pixels = np.array([[0, 0], [639, 479], [402, 77]])
    np.testing.assert_allclose(grid[pixels[:, 1], pixels[:, 0]], normalise(camera, pixels))


def test_the_grid_is_kept_for_cameras_with_equal_numbers_and_cannot_be_changed() -> None:
    camera = DISTORTED["rational"]
    same = PinholeCamera(camera.K.copy(), 640, 480, camera.distortion_model, camera.D)
    assert normalised_grid(camera) is normalised_grid(same)
    with pytest.raises(ValueError, match="read-only"):
        normalised_grid(camera)[0, 0] = 0


def test_the_axes_of_a_rectified_camera_are_its_grid() -> None:
    xs, ys = normalised_axes(PINHOLE)
    np.testing.assert_allclose(np.stack(np.meshgrid(xs, ys), axis=-1), normalised_grid(PINHOLE))


def test_a_frame_without_distortion_is_left_alone() -> None:
    frame = observed(PINHOLE)
    detections = (Detection("a", "cup", 1.0, (1, 2, 30, 40)),)
    assert rectify(frame) is frame
    assert rectified(frame, detections) == (frame, detections)
    mask = np.eye(480, 640, dtype=bool)
    assert rectify_mask(PINHOLE, mask) is mask
    assert rectify_box(PINHOLE, (1, 2, 3, 4)) == (1, 2, 3, 4)


@each_distorted
def test_a_rectified_frame_shows_what_a_pinhole_camera_sees(camera: PinholeCamera) -> None:
    frame = rectify(observed(camera))
    ideal = observed(frame.camera)
    assert frame.camera.is_rectified
    seen = binary_erosion(np.isfinite(frame.depth), iterations=3)
    assert seen.mean() > 0.8
    assert np.abs(frame.rgb.astype(int) - ideal.rgb)[seen].max() <= 4
    np.testing.assert_allclose(frame.depth[seen], ideal.depth[seen], atol=0.002)


def test_rectified_depth_mixes_no_surfaces_and_is_nan_outside() -> None:
    camera = DISTORTED["plumb_bob pincushion"]
    depth = np.where(np.indices((480, 640)).sum(axis=0) % 2, 1.0, 2.0).astype(np.float32)
    frame = rectify(RgbdFrame(np.full((480, 640, 3), 9, np.uint8), depth, camera))
    assert set(np.unique(frame.depth[np.isfinite(frame.depth)])) == {1.0, 2.0}
    assert np.isnan(frame.depth[0, 0])
    assert frame.rgb[0, 0].tolist() == [0, 0, 0]


@each_distorted
def test_masks_and_boxes_move_with_the_image(camera: PinholeCamera) -> None:
    pinhole = PinholeCamera(camera.K, 640, 480)
    points = points_in_view(4000)
    blob = points[(np.abs(points[:, :2] / points[:, 2:] - (0.2, -0.1)) < 0.05).all(axis=1)]
    disk = np.hypot(*(normalised_grid(camera) - (0.2, -0.1)).transpose(2, 0, 1)) < 0.05
    expected = np.hypot(*(normalised_grid(pinhole) - (0.2, -0.1)).transpose(2, 0, 1)) < 0.05
    moved = rectify_mask(camera, disk)
    assert (moved & expected).sum() / (moved | expected).sum() > 0.95
    box_in = (*project(camera, blob).min(axis=0).tolist(), *project(camera, blob).max(axis=0).tolist())
    box_out = rectify_box(camera, box_in)
    target = project(pinhole, blob)
    assert (box_out[:2] <= target.min(axis=0) + 0.01).all()
    assert (box_out[2:] >= target.max(axis=0) - 0.01).all()
    np.testing.assert_allclose(box_out, (*target.min(axis=0), *target.max(axis=0)), atol=6)


def test_detections_are_rectified_with_their_frame() -> None:
    camera = DISTORTED["plumb_bob barrel"]
    mask = np.zeros((480, 640), bool)
    mask[100:140, 60:120] = True
    detections = (Detection("a", "cup", 0.5, (60, 100, 120, 140), mask, ("red",)),)
    _, (moved,) = rectified(observed(camera), detections)
    assert (moved.id, moved.label, moved.score, moved.attributes) == ("a", "cup", 0.5, ("red",))
    rows, columns = np.nonzero(moved.mask)
    np.testing.assert_allclose(moved.box_xyxy, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), atol=2.5)


def test_a_mask_too_thin_to_be_resampled_leaves_its_box() -> None:
    camera = PinholeCamera(K, 640, 480, "plumb_bob", (0.9, 0.0, 0.0, 0.0))  # rectifying it shrinks the rim
    numbered = np.arange(1, 640 * 480 + 1, dtype=np.float32).reshape(480, 640)
    frame = RgbdFrame(np.zeros((480, 640, 3), np.uint8), numbered, camera)
    skipped = np.flatnonzero(~np.isin(numbered[240], rectify(frame).depth))
    column = int(skipped[skipped > 500][0])
    mask = np.zeros((480, 640), bool)
    mask[240, column] = True
    _, (moved,) = rectified(frame, (Detection("a", "wire", 1.0, (column, 240, column + 1, 241), mask),))
    assert moved.mask is None


FISHEYE = DISTORTED["equidistant"]
FAR_OFF = Detection("far off", "cup", 1.0, (0, 200, 20, 240))
OF_ANOTHER_SIZE = Detection("a", "b", 1, (200, 200, 300, 300), np.ones((4, 4), bool))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: project(PINHOLE, np.zeros((3, 2))), ShapeError, None),
        (lambda: project(PINHOLE, np.zeros(3)), ShapeError, None),
        (lambda: normalise(PINHOLE, np.zeros((3, 3))), ShapeError, None),
        (lambda: normalise(PINHOLE, np.zeros(2)), ShapeError, None),
        (lambda: normalised_axes(DISTORTED["rational"]), InputError, "rectified"),
        (lambda: rectified(observed(FISHEYE), (FAR_OFF,)), InputError, r"'far off'.*rectified"),
        (lambda: rectify_mask(FISHEYE, np.ones((4, 4), bool)), ShapeError, None),
        (lambda: rectified(observed(FISHEYE), (OF_ANOTHER_SIZE,)), ShapeError, None),
    ],
)
def test_what_has_another_shape_or_leaves_the_image_is_refused(call: Any, error: type[Exception], words: Any) -> None:
    with pytest.raises(error, match=words):
        call()
    assert rectify_box(FISHEYE, (-2000, 0, -1900, 10)) is None
