# SPDX-License-Identifier: Apache-2.0
"""Solids of gripper and arm: links and frames, turned boxes and what they sweep, hulls, and own points of depth."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_scenes import gripper_points, inside
from scipy.optimize import minimize
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ShapeError, TransformError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalise
from spatial_vlm_ros.manipulation.planning.gripper import LINKS, Tip, flange_pose, flange_T_tip, links
from spatial_vlm_ros.manipulation.planning.hulls import SIGMAS, Hull, LinkHull, remove_self, self_mask
from spatial_vlm_ros.manipulation.planning.solids import Solid, TurnedBox, distances, gaps
from spatial_vlm_ros.parameters import DepthConfig, GripperConfig, planning_from
from spatial_vlm_ros.types import PinholeCamera, Pose, RgbdFrame, Transform

TABLES = tables(__file__)
FRANKA = GripperConfig()
DOWN = Tip((0.0, 0.0, 0.1), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


def test_the_shipped_gripper_is_the_franka_hand() -> None:
    # franka_description: franka_hand.xacro (fingers at 0.0584, tips 18.5 mm about 45.25 mm above, tcp at 0.1034, travel
    # 2 x 0.04), and the extent of its collision mesh hand.stl (0.0633 x 0.2044 x 0.0919, up to z = 0.066).
    fingertip = 0.0584 + 0.04525 + 0.0185 / 2
    assert fingertip - 0.1034 == pytest.approx(FRANKA.finger_beyond)
    assert fingertip - 0.066 == pytest.approx(FRANKA.finger_length)
    assert (FRANKA.opening_max, FRANKA.palm_width >= 0.2044, FRANKA.palm_thickness >= 0.0633) == (0.08, True, True)
    assert FRANKA.finger_thickness == pytest.approx(0.0185 + 0.015 / 2)  # its widest part, the screw mount


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 7))
@pytest.mark.parametrize("level", [True, False])
def test_boxes_hold_the_gripper_and_nothing_else(angle: float, level: bool) -> None:
    c, s = math.cos(angle), math.sin(angle)
    tip = Tip((0.1, -0.2, 0.3), (c, s, 0.0) if level else (0.0, 0.0, -1.0), (-s, c, 0.0))
    pose = tip.poses("base_link")[0]
    there = gripper_points(FRANKA, 0.05) @ Rotation.from_quat(pose.orientation).as_matrix().T + pose.position
    boxes = links(FRANKA, tip, 0.05)
    assert LINKS == ("palm", "left_finger", "right_finger")
    apart = np.subtract(*(box.centre for box in boxes[1:] if isinstance(box, Solid)))
    assert apart == pytest.approx((0.05 + 0.026) * np.array(tip.closing)), "the left one is where the fingers close to"
    held = np.array([inside(there, box, shrink=-1e-5) for box in boxes])
    assert held.any(axis=0).all()
    volume = sum(math.prod(box.size) for box in boxes)
    assert volume == pytest.approx(0.208 * 0.064 * 0.092 + 2 * 0.022 * 0.026 * 0.0469)


def test_a_pose_gives_its_tip_back_and_one_without_proper_axes_is_refused() -> None:
    tip = Tip((0.1, 0.2, 0.3), (0.6, 0.8, 0.0), (-0.8, 0.6, 0.0))
    again = Tip.of(tip.poses("base_link")[0])
    assert again.approach == pytest.approx(tip.approach, abs=1e-5)
    assert again.closing == pytest.approx(tip.closing, abs=1e-5)
    np.testing.assert_allclose(np.linalg.det(tip.rotation()), 1.0)
    y = (0.0, 1.0, 0.0)  # and not at right angles, not unit, not finite
    for approach, closing in (((0.6, 0.0, -0.8), (0.8, 0.0, -0.6)), ((0.6, 0.0, -0.9), y), ((math.nan, 0.0, -1.0), y)):
        with pytest.raises(InputError, match="unit vectors at right angles"):
            Tip((0.0, 0.0, 0.0), approach, closing)


def test_the_flange_stands_behind_the_tip_turned_by_45_degrees_or_as_urdf_has_it() -> None:
    transform = flange_T_tip(FRANKA)
    assert transform.translation == pytest.approx((0.0, 0.0, 0.1034))
    assert transform.rotation[:, 0] == pytest.approx((math.sqrt(0.5), -math.sqrt(0.5), 0.0))
    flange = flange_pose(FRANKA, DOWN.poses("base_link")[0])
    assert flange.position == pytest.approx((0.0, 0.0, 0.1 + 0.1034))
    assert flange.frame_id == "base_link"
    gripper = GripperConfig(tip_x=0.02, tip_y=-0.03, tip_roll_deg=20.0, tip_pitch_deg=-30.0, tip_yaw_deg=70.0)
    expected = Rotation.from_euler("xyz", (20, -30, 70), degrees=True).as_matrix()
    np.testing.assert_allclose(flange_T_tip(gripper).rotation, expected, atol=1e-12)
    tip = Pose("base_link", (0.4, 0.1, 0.2), (0.5, 0.5, 0.5, 0.5))
    flange = flange_pose(gripper, tip)
    back = Rotation.from_quat(flange.orientation).as_matrix() @ flange_T_tip(gripper).translation + flange.position
    assert back == pytest.approx(tip.position, abs=1e-5)


@pytest.mark.parametrize(("values", "error", "words"), TABLES["wrong measures"])
def test_wrong_measures_are_refused_by_name(values: dict, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        planning_from(values)


metres, turns = st.floats(-0.3, 0.3), st.floats(-math.pi, math.pi)
triples, sides = st.tuples(metres, metres, metres), st.floats(0.01, 0.3)
solids = st.builds(Solid, triples, turns, st.tuples(sides, sides, sides))
CUBE = Solid((0.0, 0.0, 0.0), 0.0, (0.2, 0.2, 0.2))


def turned(centre: tuple, angles: tuple, size: tuple, way: tuple = (0.0, 0.0, 0.0)) -> TurnedBox:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("xyz", angles).as_matrix(), centre
    return TurnedBox(pose, size, way)


thick = st.floats(0.02, 0.3)
boxes = st.builds(turned, triples, st.tuples(turns, turns, turns), st.tuples(thick, thick, thick), triples)


@pytest.mark.parametrize(
    ("centre", "yaw", "expected"),
    [
        ((0.3, 0.0, 0.0), 0.0, 0.1),  # face to face
        ((0.0, 0.0, -0.25), 1.0, 0.05),  # one below the other, however turned
        ((0.3, 0.0, 0.3), 0.0, math.hypot(0.1, 0.1)),  # edge to edge
        ((0.15, 0.0, 0.0), 0.0, -0.05),  # 5 cm into each other
        ((0.1 + 0.1 * math.sqrt(2) + 0.02, 0.0, 0.0), math.pi / 4, 0.02),  # a corner before a face
        ((0.0, 0.0, 0.0), 0.0, -0.2),
    ],
)
def test_gaps_worked_by_hand(centre: tuple[float, float, float], yaw: float, expected: float) -> None:
    assert gaps([CUBE], [Solid(centre, yaw, (0.2, 0.2, 0.2))]) == pytest.approx(expected)


def test_of_nothing_there_is_no_gap_and_no_obstacle() -> None:
    assert gaps([], [CUBE]).shape == (0, 1)
    assert gaps([CUBE], []).shape == (1, 0)
    assert distances([turned((0, 0, 0), (0.3, 0.2, 0.1), (0.1, 0.1, 0.1))], []).shape == (1, 0)


def true_distance(one: TurnedBox, other: TurnedBox) -> float:
    """Between a point of the swept box and a point of the other, at its least."""
    begin = np.array([*(0.0,) * 6, 0.5])

    def difference(v: np.ndarray) -> np.ndarray:
        swept = one.pose[:3, :3] @ v[:3] + one.pose[:3, 3] + v[6] * np.array(one.way)
        return np.asarray(swept - other.pose[:3, :3] @ v[3:6] - other.pose[:3, 3])

    def slope(v: np.ndarray) -> np.ndarray:
        d = 2 * difference(v)
        return np.concatenate((one.pose[:3, :3].T @ d, -other.pose[:3, :3].T @ d, [d @ np.array(one.way)]))

    bounds = [(-s / 2, s / 2) for size in (one.size, other.size) for s in size] + [(0.0, 1.0)]
    found = minimize(lambda v: float(difference(v) @ difference(v)), begin, jac=slope, bounds=bounds, tol=1e-14)
    return math.sqrt(max(found.fun, 0.0))


@settings(max_examples=40, deadline=None)
@given(solids, solids)
def test_a_gap_is_a_lower_bound_of_the_distance_and_its_sign_is_exact(one: Solid, other: Solid) -> None:
    gap = float(gaps([one], [other])[0, 0])
    distance = true_distance(TurnedBox.of(one), TurnedBox.of(other))
    assert gap <= distance + 1e-4
    if distance > 1e-3:
        assert gap > 0
    if gap > 1e-3:
        assert distance > 0.5 * gap
    mixed = distances([one, TurnedBox.of(one)], [other])  # an upright box is judged as a solid is
    assert mixed[0, 0] == gap
    assert (mixed[0, 0] > 1e-9) == (mixed[1, 0] > 1e-9)


@settings(max_examples=40, deadline=None)
@given(boxes, solids)
def test_what_is_called_apart_is_apart_by_at_least_as_much(one: TurnedBox, other: Solid) -> None:
    gap, distance = float(distances([one], [other])[0, 0]), true_distance(one, TurnedBox.of(other))
    assert gap <= distance + 2e-3
    if distance > 0.1:
        assert gap > -0.05, "far apart, and hardly ever called in contact"


@settings(max_examples=40, deadline=None)
@given(solids, triples, st.floats(0, 1))
def test_what_is_swept_holds_the_box_on_all_its_way(one: Solid, way: tuple[float, float, float], part: float) -> None:
    x, y, z = (c + part * w for c, w in zip(one.centre, way, strict=True))
    corners = CORNERS * np.array(one.size) / 2
    there = corners @ Rotation.from_euler("z", one.yaw).as_matrix().T + (x, y, z)
    assert inside(there, one.swept(way), shrink=-1e-9).all()


@settings(max_examples=40, deadline=None)
@given(boxes, st.lists(triples, min_size=1, max_size=20))
def test_points_inside_are_those_of_some_moment_of_the_way(one: TurnedBox, points: list) -> None:
    moments = np.linspace(0.0, 1.0, 400)
    for point, inside_ in zip(points, one.contains(np.array(points)), strict=True):
        local = (np.array(point) - one.pose[:3, 3] - moments[:, None] * np.array(one.way)) @ one.pose[:3, :3]
        over = (np.abs(local) - np.array(one.size) / 2).max(axis=1).min()
        if abs(over) > 2e-3:
            assert inside_ == (over < 0)


def test_a_box_swept_along_its_own_axis_grows_by_the_way_alone_and_padding_counts_on_both_sides() -> None:
    moved = Solid((0.1, 0.2, 0.3), math.pi / 2, (0.1, 0.2, 0.3)).swept((0.0, 0.4, 0.0))
    assert moved.centre == pytest.approx((0.1, 0.4, 0.3))
    assert moved.size == pytest.approx((0.5, 0.2, 0.3))
    assert (moved.bottom, moved.top) == pytest.approx((0.15, 0.45))
    assert CUBE.grown((0.01, 0.02, 0.03)).size == pytest.approx((0.22, 0.24, 0.26))


def test_a_slanted_gripper_keeps_its_measures_and_its_way() -> None:
    gripper, tip = GripperConfig(), Tip((0.1, 0.2, 0.3), (0.6, 0.0, -0.8), (0.0, 1.0, 0.0))
    palm, left, right = links(gripper, tip, 0.05, (0.0, 0.0, 0.1))
    assert all(isinstance(box, TurnedBox) for box in (palm, left, right))
    assert left.size == (gripper.finger_width, gripper.finger_thickness, gripper.finger_length)
    held = left.contains(np.array([[0.1, 0.2 + 0.026, 0.3], [0.1, 0.2, 0.3], [0.1, 0.226, 0.395]]))
    assert held.tolist() == [True, False, True]
    corners = left.corners()
    assert corners[:, 1].min() == pytest.approx(0.2 + 0.025)
    assert corners[8:, 2] == pytest.approx(corners[:8, 2] + 0.1)


EXACT = DepthConfig(noise_floor=0.0, noise_quadratic=0.0)
CORNERS = np.array(list(itertools.product((-1, 1), repeat=3)), np.float64)
BRICK = Hull(CORNERS * (0.1, 0.15, 0.2))  # half edges, metres
AHEAD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)  # looks along x, z up
LENS = PinholeCamera(np.array([[100.0, 0, 40], [0, 100.0, 30], [0, 0, 1]]), 81, 61)


def frame_of(depth: Any, lens: PinholeCamera = LENS, base_T_camera: np.ndarray = AHEAD) -> RgbdFrame:
    size = (lens.height, lens.width)
    image = np.broadcast_to(np.asarray(depth, np.float32), size).copy()
    rgb = np.full((*size, 3), 7, np.uint8)
    return RgbdFrame(rgb, image, lens, 5, "camera", Transform("base", "camera", base_T_camera))


def link(pose: np.ndarray, hull: Hull = BRICK, parent: str = "base", name: str = "link") -> LinkHull:
    return LinkHull(Transform(parent, name, pose), hull)


def at(x: float, y: float, z: float, turn: Rotation | None = None) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    if turn is not None:
        pose[:3, :3] = turn.as_matrix()
    return pose


@pytest.mark.parametrize("padding", [0.0, 0.03])
@pytest.mark.parametrize("nearer", [1e-4, -1e-4])
def test_the_faces_of_a_brick_ahead_worked_by_hand(padding: float, nearer: float) -> None:
    """Its centre is 1 m ahead and 0.05 m to the left; it reaches from 0.9 to 1.1 m."""
    brick = [link(at(1.0, 0.05, 0.0))]
    for face in (0.9 - padding + nearer, 1.1 + padding - nearer):
        mask = self_mask(frame_of(face), brick, padding, EXACT)
        if nearer < 0:
            assert not mask.any()
        else:  # left and right end, and lower and upper end, in pixels, from y = 0.05 ± 0.15 and z = ± 0.2
            ends = [40 - 100 * (0.2 + padding) / face, 40 + 100 * (0.1 + padding) / face]
            up = 100 * (0.2 + padding) / face
            columns, rows = np.arange(81), np.arange(61)
            expected = ((rows >= 30 - up) & (rows <= 30 + up))[:, None] & (columns >= ends[0]) & (columns <= ends[1])
            sphere = math.dist((0, 0, 0), (0.1, 0.15, 0.2)) + padding  # cuts the corners of what grew
            y, z = -(columns - 40) / 100 * face - 0.05, (30 - rows) / 100 * face
            expected &= y**2 + z[:, None] ** 2 + (face - 1) ** 2 <= sphere**2 + 1e-7
            assert expected.any()
            assert np.array_equal(mask, expected)


def test_noise_grows_hulls_by_sigmas_at_the_depth_of_the_pixel() -> None:
    noise = DepthConfig(noise_floor=0.002, noise_quadratic=0.004)
    brick = [link(at(1.0, 0.0, 0.0))]
    for depth, within in ((0.88, False), (0.89, True), (1.118, True), (1.125, False)):
        grown = SIGMAS * (0.002 + 0.004 * depth**2)
        assert (0.9 - grown <= depth <= 1.1 + grown) == within
        assert self_mask(frame_of(depth), brick, 0.0, noise)[30, 40] == within


def test_a_camera_inside_a_hull_a_link_behind_it_and_what_is_not_measured() -> None:
    near, brick = [link(at(0.05, 0.0, 0.0))], [link(at(1.0, 0, 0))]
    assert self_mask(frame_of(0.1), near, 0.0, EXACT).all()
    depth = np.ones((61, 81), np.float32)
    depth[30, 37:43] = np.nan, 0.0, -1.0, np.inf, -np.inf, 1.0
    mask = self_mask(frame_of(depth), brick, 0.0)
    assert mask[30, 36:43].tolist() == [True, False, False, False, False, False, True]
    for measured, there, padding in (
        (0.16, near, 0.0),
        (0.1, [link(at(-0.5, 0.0, 0.0))], 0.05),
        (1e30, brick, 0.1),  # no depth camera's: its noise knows no end
        (np.nan, brick, 0.1),
        (1.0, [], 0.1),
    ):
        assert not self_mask(frame_of(measured), there, padding, EXACT if padding < 0.1 else DepthConfig()).any()


def by_qhull(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(N,) how far outside the faces that Qhull finds, metres."""
    faces = ConvexHull(vertices).equations
    return (points @ faces[:, :3].T + faces[:, 3]).max(axis=1)


LENSES = (
    LENS,
    PinholeCamera(LENS.K, 81, 61, "plumb_bob", (-0.2, 0.05, 0.001, -0.001, 0.0)),
    PinholeCamera(LENS.K, 81, 61, "equidistant", (0.02, -0.01, 0.0, 0.0)),
)


@pytest.mark.parametrize("lens", LENSES, ids=("pinhole", "plumb bob", "fisheye"))
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_turned_links_in_random_depth_are_those_of_qhull(lens: PinholeCamera, seed: int) -> None:
    draw = np.random.default_rng(seed)
    level = Rotation.from_euler("z", draw.uniform(-3, 3)) * Rotation.from_euler("y", draw.uniform(-1, 1))
    camera = at(*draw.uniform(-1, 1, 3), level) @ AHEAD
    frame = frame_of(draw.uniform(0.05, 1.6, (61, 81)), lens, camera)
    links = []
    for number in range(4):
        vertices = draw.normal(size=(40, 3)) * draw.uniform(0.05, 0.15, 3) + draw.normal(size=3) * 0.1
        near = (camera @ [*draw.uniform(-0.4, 0.4, 2), draw.uniform(-0.2, 1.2), 1.0])[:3]
        links.append(link(at(*near, Rotation.random(random_state=seed * 9 + number)), Hull(vertices)))
    pixels = np.stack(np.meshgrid(np.arange(81), np.arange(61)), axis=-1).reshape(-1, 2).astype(np.float64)
    ahead = np.concatenate([normalise(lens, pixels), np.ones((len(pixels), 1))], axis=1)
    points = (ahead * frame.depth.reshape(-1, 1)) @ camera[:3, :3].T + camera[:3, 3]
    away = np.full(len(points), np.inf)
    for each in links:
        own = (points - each.base_T_link.translation) @ each.base_T_link.rotation
        away = np.fmin(away, by_qhull(own, np.asarray(each.hull.vertices)))
    mask = self_mask(frame, links, 0.0, EXACT).reshape(-1)
    clear = np.abs(away) > 1e-6
    assert np.array_equal(mask[clear], away[clear] < 0)
    assert 20 < mask.sum() < len(mask) - 20
    padded = self_mask(frame, links, 0.02, EXACT).reshape(-1)
    assert (padded >= mask).all()
    assert not padded[away > 0.02 + 1e-6].any()  # away is no more than the true distance


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=4, max_size=40, unique=True), st.integers(0, 99))
def test_hulls_of_points_with_many_in_a_plane_are_those_of_qhull(points: list[tuple[int, int, int]], seed: int) -> None:
    vertices = Rotation.random(random_state=seed).apply(np.array(points, np.float64)) * 0.1
    spread = np.linalg.svd(vertices - vertices.mean(axis=0), compute_uv=False)
    if spread[2] < 1e-6:
        with pytest.raises(InputError, match="not all in a plane"):
            Hull(vertices)
        return
    hull = Hull(vertices)
    asked = np.random.default_rng(seed).uniform(-0.4, 0.4, (400, 3))
    away, expected = hull.outside_by(asked), by_qhull(asked, vertices)
    clear = np.abs(expected) > 1e-6
    assert np.array_equal(away[clear] <= 0, expected[clear] <= 0)
    margins = np.random.default_rng(seed).uniform(0, 0.1, 400)
    sure = np.abs(away - margins) > 1e-7
    assert np.array_equal(hull.within(asked, margins)[sure], (away <= margins)[sure])


@pytest.mark.parametrize("seed", range(5))
def test_no_point_nearer_than_the_margin_is_left_out(seed: int) -> None:
    draw = np.random.default_rng(seed)
    vertices = draw.normal(size=(30, 3)) * draw.uniform(0.005, 0.2, 3)  # often thin, with sharp edges
    some = draw.dirichlet(np.full(30, 0.1), 2000) @ vertices
    way = draw.normal(size=some.shape)
    margins = draw.uniform(0, 0.1, 2000)
    asked = some + way / np.linalg.norm(way, axis=1, keepdims=True) * margins[:, None]
    hull = Hull(vertices)
    assert (hull.outside_by(asked) <= margins + 1e-8).all()
    assert hull.within(asked, margins + 1e-8).all()


def test_removing_leaves_everything_else_as_it_was() -> None:
    frame = frame_of(np.linspace(0.5, 1.5, 81))
    before = frame.depth.copy()
    mask = self_mask(frame, [link(at(1.0, 0, 0))], 0.01)
    assert 0 < mask.sum() < mask.size
    left = remove_self(frame, mask)
    assert np.isnan(left.depth[mask]).all()
    assert np.array_equal(left.depth[~mask], before[~mask])
    assert left.depth.dtype == np.float32
    assert np.array_equal(frame.depth, before)
    for name in {f.name for f in dataclasses.fields(frame)} - {"depth", "robot"}:
        assert getattr(left, name) is getattr(frame, name)
    assert not self_mask(left, [link(at(1.0, 0, 0))], 0.01).any()


def test_what_is_no_hull_is_refused() -> None:
    square, line = CORNERS[CORNERS[:, 0] > 0], np.outer(np.arange(5), (1, 2, 3))
    few: list[Any] = [CORNERS[:3], np.zeros((0, 3)), square, line, np.zeros((5, 3))]
    for vertices in (*few, CORNERS * np.nan, CORNERS[:, :2], "a mesh"):
        with pytest.raises(InputError, match="at least 4 points"):
            Hull(vertices)


def test_paddings_poses_and_masks_that_do_not_fit_are_refused() -> None:
    frame, brick = frame_of(1.0), link(np.eye(4))
    for padding in (-0.001, 1.1, math.nan, math.inf):
        with pytest.raises(InputError, match="padding"):
            self_mask(frame, [brick], padding)
    with pytest.raises(TransformError, match="not a rotation"):
        link(np.diag([1.0, 2.0, 1.0, 1.0]))
    with pytest.raises(TransformError, match="does not chain"):
        self_mask(frame, [link(np.eye(4), parent="map")], 0.0)
    with pytest.raises(TransformUnavailableError, match="base_T_camera"):
        self_mask(dataclasses.replace(frame, base_T_camera=None), [brick], 0.0)
    for mask in (np.zeros((61, 80), bool), np.zeros((61, 81), np.uint8), [[True]]):
        with pytest.raises(ShapeError, match="mask of the robot"):
            remove_self(frame, mask)  # type: ignore[arg-type]
