# SPDX-License-Identifier: Apache-2.0
"""Images of depth, their pixels, levels and rotations: units, what can be trusted, registration, overlap, pieces."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion
from scipy.spatial.transform import Rotation
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import DepthError, ShapeError
from spatial_vlm_ros.geometry import depth as depth_module
from spatial_vlm_ros.geometry import rotation as rotations
from spatial_vlm_ros.geometry import segmentation
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth, depth_from_image, depth_noise, register_depth
from spatial_vlm_ros.geometry.levels import Levels
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from spatial_vlm_ros.geometry.segmentation import GAP_PX, Look, largest_piece, measured_pixels
from spatial_vlm_ros.geometry.surface import _is_gapless
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Mask, PinholeCamera, Plane, RgbdFrame, Transform

TABLES = tables(__file__)
CONFIG = DepthConfig(near=0.1, far=5.0)


@pytest.mark.parametrize(("numbers", "kind", "encoding", "scale", "metres"), TABLES["units"])
def test_integers_are_millimetres_and_floats_metres(
    numbers: list[float], kind: str, encoding: str, scale: float | None, metres: list[float]
) -> None:
    """What is no distance is NaN."""
    raw, before = (np.array([numbers], kind) for _ in range(2))
    found = depth_from_image(raw, encoding, scale)
    assert (found.dtype, found.dtype.isnative) == (np.float32, True)
    np.testing.assert_array_equal(found, np.array([metres], np.float32))
    found[0, 0] = 7
    np.testing.assert_array_equal(raw, before)


@given(hnp.arrays(np.float32, (3, 4)))
def test_depth_from_floats_is_positive_or_nan(raw: np.ndarray) -> None:
    metres = depth_from_image(raw, "32FC1")
    assert (np.isnan(metres) | ((metres > 0) & np.isfinite(metres))).all()


@pytest.mark.parametrize(("shape", "kind", "encoding", "scale", "error", "words"), TABLES["no depth"])
def test_images_that_are_not_what_the_encoding_says_are_refused(
    shape: list[int], kind: str, encoding: str, scale: Any, error: str, words: str
) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        depth_from_image(np.ones(shape, kind), encoding, scale)


def plane_at(z: float, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full(shape, z, np.float32)


@pytest.mark.parametrize(("metres", "words"), TABLES["unusable"])
def test_depth_nothing_can_be_built_on_is_refused_in_words(metres: float, words: str) -> None:
    with pytest.raises(DepthError, match=words) as caught:
        check_depth(plane_at(metres), CONFIG)
    assert caught.value.repair


def test_a_hundredth_of_the_pixels_is_the_least() -> None:
    depth = plane_at(np.nan, (100, 100))
    depth.flat[:99] = 0.8
    with pytest.raises(DepthError, match="only 99 of 10000"):
        check_depth(depth, CONFIG)
    depth.flat[99] = 0.8
    check_depth(depth, CONFIG)
    depth = plane_at(9.0)
    depth[30:] = 0.7  # a near table before a far background
    check_depth(depth, CONFIG)


def test_clipping_keeps_the_bounds_and_noise_grows_with_range_squared() -> None:
    depth = np.array([[0.05, 0.1, 5.0, 5.1, np.nan, np.inf]], np.float32)
    clipped = clip_depth(depth, DepthConfig(near=0.0625, far=5.0))
    np.testing.assert_array_equal(clipped, np.array([[np.nan, 0.1, 5.0, np.nan, np.nan, np.nan]], np.float32))
    config = DepthConfig(noise_floor=0.001, noise_quadratic=0.002)
    sigma = depth_noise(np.array([0.0, 1.0, 2.0, np.nan], np.float32), config)
    np.testing.assert_allclose(sigma, [0.001, 0.003, 0.009, np.nan], rtol=1e-6)
    assert clipped.dtype == sigma.dtype == np.float32


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
def test_every_16_bit_depth_is_the_same_without_opencvs_table(knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
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


WHOLE = st.integers(-20, 20)
SIDE = st.integers(0, 20)
BOX = st.tuples(WHOLE, WHOLE, SIDE, SIDE).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
CAMERA = PinholeCamera(np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), 64, 48)


def test_overlaps_by_hand() -> None:
    others = [[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]
    assert overlaps([0, 0, 2, 2], others)[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0])
    assert overlaps(np.array([[0, 0, 2, 2]], np.float32), others).shape == (1, 3)
    assert overlaps(np.zeros((0, 4)), others).shape == (0, 3)


@given(st.lists(BOX, min_size=1, max_size=4), st.lists(BOX, min_size=1, max_size=4))
def test_overlaps_are_those_of_counted_cells(boxes: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    said = overlaps(boxes, others)
    for i, box in enumerate(boxes):
        for j, other in enumerate(others):
            a, b = ({(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (box, other))
            assert said[i, j] == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_model_holds_medians_and_robust_deviations(share: float) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.normal(120, 40, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    frame = RgbdFrame(rgb, rng.normal(0.8, 0.05, (48, 64)).astype(np.float32), CAMERA)
    mask, box = rng.random((32, 34)) < share, (7, 5, 41, 37)
    model = Look(frame).model(box, mask)
    lab, window = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2Lab), np.s_[5:37, 7:41]
    features = np.column_stack((frame.depth[window][mask], lab[window][mask].astype(np.float32)))
    middle = np.median(features, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(features - middle), axis=0), (0.01, 12.0, 6.0, 6.0))
    np.testing.assert_array_equal(model.usual, middle)
    np.testing.assert_allclose(model.spread, spread, rtol=1e-6)
    unlike = (((features - middle) / spread) ** 2).mean(axis=1)
    np.testing.assert_allclose(model.unlike(Look(frame), box)[mask], unlike, rtol=1e-5)


def test_depths_without_a_gap_have_none() -> None:
    gap, rng = 0.03, np.random.default_rng(0)
    certain = 0
    for _ in range(300):
        z = np.sort(rng.choice([0.7, 0.75, 0.9], 200) + rng.uniform(0, rng.uniform(0.01, 0.2), 200)).astype(np.float32)
        if _is_gapless(rng.permutation(z), gap):
            certain += 1
            assert np.diff(z).max() <= gap
        else:
            assert np.diff(z).max() > 0.4 * gap
    assert 50 < certain < 250


def block(*columns: tuple[int, int]) -> Mask:
    pixels = np.zeros((48, 64), np.bool_)
    for first, end in columns:
        pixels[10:20, first:end] = True
    return pixels


BOWL = np.zeros((48, 64), np.bool_)
BOWL[10:14, 10:30] = BOWL[25:35, 11:29] = True


@pytest.mark.parametrize(
    ("pixels", "share"),
    [
        (block((5, 25)), 1.0),
        (BOWL, 1.0),
        (block((5, 15), (15 + GAP_PX, 25 + GAP_PX)), 1.0),  # a rim that was not measured
        (block((5, 15), (17 + GAP_PX, 27 + GAP_PX)), 0.5),
        (block((5, 15), (40, 60)), 2 / 3),
    ],
)
def test_two_objects_are_two_pieces(pixels: Mask, share: float) -> None:
    assert largest_piece(pixels) == pytest.approx(share)


def test_what_stands_before_an_object_joins_its_sides() -> None:
    sides, before = block((5, 15), (35, 45)), block((14, 36))
    assert largest_piece(sides) == 0.5
    assert largest_piece(sides, before) == 1.0
    assert largest_piece(sides, np.roll(before, 30, axis=0)) == 0.5  # elsewhere in the image


def test_points_are_counted_where_they_were_measured_and_a_part_of_the_table_is_not_raised() -> None:
    pixels = block((5, 25), (40, 41))
    rows, columns = np.nonzero(pixels)
    z = np.linspace(0.5, 2.0, len(rows))
    points = np.stack(((columns - 32) / 50 * z, (rows - 24) / 50 * z, z), axis=1).astype(np.float32)
    depth = np.ones((48, 64), np.float32)
    depth[10:20, 5:15] = 0.95
    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), depth, CAMERA)
    assert (measured_pixels(points, frame) == pixels).all()
    table = Plane(np.array([0.0, 0.0, -1.0]), 1.0, 0.001)  # seen straight from above
    for columns, share in (((5, 15), 1.0), ((40, 50), 0.0), ((5, 25), 0.5)):
        assert segmentation.raised_share(block(columns), frame, table, LiftConfig()) == pytest.approx(share)


GROUND = np.eye(3)
"""Axes of the points: x, y and up."""


def plate(x: tuple[float, float], y: tuple[float, float], z: float, step: float = 0.002) -> np.ndarray:
    xs, ys = np.meshgrid(np.arange(*x, step), np.arange(*y, step))
    return np.column_stack((xs.ravel(), ys.ravel(), np.full(xs.size, z)))


def wall(x: tuple[float, float], y: float, z: tuple[float, float], step: float = 0.002) -> np.ndarray:
    xs, zs = np.meshgrid(np.arange(*x, step), np.arange(*z, step))
    return np.column_stack((xs.ravel(), np.full(xs.size, y), zs.ravel()))


def levels(*parts: np.ndarray, noise: float = 0.0, lift: float = 0.0) -> Levels:
    points = np.concatenate(parts)
    points = points + np.random.default_rng(0).normal(0.0, 1.0, points.shape) * (0.0, 0.0, noise)
    return Levels.of(points.astype(np.float32), GROUND, lift, 0.002, noise)


def square(x: float, y: float, half: float = 0.03) -> np.ndarray:
    return np.array([(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)])


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_a_shelf_has_a_level_for_each_board(noise: float) -> None:
    boards = [plate((0, 0.4), (0, 0.2), z) for z in (0.1, 0.3)]
    found = levels(*boards, wall((0, 0.4), 0.2, (0, 0.3)), noise=noise)
    np.testing.assert_allclose(found.height, (0.1, 0.3), atol=0.003)


def test_walls_and_no_points_are_no_levels_and_heights_are_lifted() -> None:
    found = levels(wall((0, 0.4), 0.0, (0, 0.3)), plate((0, 0.4), (0, 0.2), 0.3), lift=1.0)
    np.testing.assert_allclose(found.height, [1.3], atol=0.003)
    assert len(levels(wall((0, 0.4), 0.0, (0, 0.3))).height) == 0
    none = Levels.of(np.empty((0, 3), np.float32), GROUND, 0.0, 0.002, 0.001)
    assert len(none.height) == len(none.heights_beneath(square(0.0, 0.0), 1.0)) == 0


def test_the_level_beneath_is_the_one_seen_there() -> None:
    found = levels(plate((0, 0.2), (0, 0.3), 0.1), plate((0.2, 0.4), (0, 0.3), 0.2))
    np.testing.assert_allclose(found.heights_beneath(square(0.1, 0.15), 1.0), [0.1], atol=0.003)
    np.testing.assert_allclose(found.heights_beneath(square(0.3, 0.15), 1.0), [0.2], atol=0.003)
    assert len(found.heights_beneath(square(0.6, 0.15), 1.0)) == 0


def test_boards_overhead_do_not_count_against_the_little_that_is_seen_beneath() -> None:
    found = levels(plate((0, 0.3), (0, 0.05), 0.0), *(plate((0, 0.3), (0, 0.2), z) for z in (0.2, 0.3, 0.4, 0.5)))
    np.testing.assert_allclose(found.heights_beneath(square(0.15, 0.08), 0.1), [0.0], atol=0.003)


def test_a_rim_goes_around_and_panels_and_boards_overhead_do_not() -> None:
    floor = plate((0, 0.3), (0, 0.3), 0.0)
    back, front = wall((0, 0.3), 0.3, (0, 0.06)), wall((0, 0.3), 0.0, (0, 0.06))
    sides = [wall((0, 0.3), x, (0, 0.06))[:, (1, 0, 2)] for x in (0.0, 0.3)]
    middle = np.array([0.15, 0.15])
    around, near = levels(floor, back, front, *sides).rim(middle, 0.0, 0.62)
    assert around == pytest.approx(0.06, abs=0.005)
    assert near == pytest.approx(0.06, abs=0.005), "towards the origin, too"
    overhead = plate((0, 0.3), (0, 0.3), 0.2)
    for parts in ((floor, back), (floor, overhead)):
        assert levels(*parts).rim(middle, 0.0, 0.62) == pytest.approx((0.0, 0.0), abs=0.005)


component = st.floats(-1, 1)
axes = st.tuples(component, component, component).filter(lambda v: np.linalg.norm(v) > 0.1)


def rotation(axis: tuple[float, float, float], angle: float) -> Rotation:
    return Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * angle)


SPECIAL = st.sampled_from([0.0, 1e-9, 1e-7, 1e-5, np.pi / 2, np.pi - 1e-9, np.pi - 1e-6, np.pi])


@given(axis=axes, angle=st.floats(-np.pi, np.pi) | SPECIAL)
def test_quaternions_and_matrices_are_scipys(axis: tuple[float, float, float], angle: float) -> None:
    turn = rotation(axis, angle)
    expected, matrix = turn.as_quat(), turn.as_matrix()
    np.testing.assert_allclose(matrix_from_quaternion_xyzw(expected), matrix, atol=1e-12)
    got = quaternion_xyzw_from_matrix(matrix)
    np.testing.assert_allclose(matrix_from_quaternion_xyzw(got), matrix, atol=1e-11)
    assume(abs(expected[3]) > 1e-6)
    np.testing.assert_allclose(got, expected * np.sign(expected[3]), atol=1e-7)
    assert got[3] >= 0


@pytest.mark.parametrize(("axis", "expected"), TABLES["half turns"])
def test_a_half_turn_has_one_sign(axis: tuple[float, float, float], expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(quaternion_xyzw_from_matrix(rotation(axis, np.pi).as_matrix()), expected, atol=1e-12)


def test_the_identity_is_exact_and_a_matrix_with_rounding_gives_the_nearest_rotation() -> None:
    assert quaternion_xyzw_from_matrix(np.eye(3)) == (0.0, 0.0, 0.0, 1.0)
    np.testing.assert_array_equal(matrix_from_quaternion_xyzw((0, 0, 0, 1)), np.eye(3))
    exact = rotation((1, 2, 3), 0.7)
    got = quaternion_xyzw_from_matrix(np.round(exact.as_matrix(), 4))
    np.testing.assert_allclose(got, exact.as_quat(), atol=1e-4)
    assert np.linalg.norm(got) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("call", "given", "error", "words"), TABLES["no rotations"])
def test_what_is_no_rotation_is_refused(call: str, given: list[Any], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words or None):
        getattr(rotations, call)(np.array(given))
