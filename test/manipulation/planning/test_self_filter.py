# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import InputError, ShapeError, TransformError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalise
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.self_filter import SIGMAS, LinkHull, remove_self, self_mask
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

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
    for depth, inside in ((0.88, False), (0.89, True), (1.118, True), (1.125, False)):
        grown = SIGMAS * (0.002 + 0.004 * depth**2)
        assert (0.9 - grown <= depth <= 1.1 + grown) == inside
        assert self_mask(frame_of(depth), brick, 0.0, noise)[30, 40] == inside


def test_a_camera_inside_a_hull_a_link_behind_it_and_what_is_not_measured() -> None:
    near, brick = [link(at(0.05, 0.0, 0.0))], [link(at(1.0, 0, 0))]
    assert self_mask(frame_of(0.1), near, 0.0, EXACT).all()
    depth = np.ones((61, 81), np.float32)
    depth[30, 37:43] = np.nan, 0.0, -1.0, np.inf, -np.inf, 1.0
    mask = self_mask(frame_of(depth), brick, 0.0)
    assert mask[30, 36:43].tolist() == [True, False, False, False, False, False, True]
    for measured, links, padding in (
        (0.16, near, 0.0),
        (0.1, [link(at(-0.5, 0.0, 0.0))], 0.05),
        (1e30, brick, 0.1),  # no depth camera's: its noise knows no end
        (np.nan, brick, 0.1),
        (1.0, [], 0.1),
    ):
        assert not self_mask(frame_of(measured), links, padding, EXACT if padding < 0.1 else DepthConfig()).any()


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
def test_hulls_of_points_with_many_in_one_plane_are_those_of_qhull(
    points: list[tuple[int, int, int]], seed: int
) -> None:
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


@pytest.mark.parametrize(
    "vertices",
    [
        CORNERS[:3],
        CORNERS[CORNERS[:, 0] > 0],  # a square
        np.outer(np.arange(5), (1, 2, 3)),  # a line
        np.zeros((5, 3)),
        CORNERS * np.nan,
        CORNERS[:, :2],
        "a mesh",
        np.zeros((0, 3)),
    ],
)
def test_what_is_no_hull_is_refused(vertices: Any) -> None:
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
