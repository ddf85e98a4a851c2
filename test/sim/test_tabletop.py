# SPDX-License-Identifier: Apache-2.0
"""Worlds of boxes, cylinders, cups and balls on a table: depth, masks and detections worked by hand."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import rows

from benchmarks.scenes import CATALOGUE, random_tabletop
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_grid, rectify
from spatial_vlm_ros.sim.tabletop import COLOURS, Body, Box, Cup, Cylinder, Shape, Sphere, World, look_at, render
from spatial_vlm_ros.types import PinholeCamera

K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])  # an odd number of pixels: the axis meets a pixel centre
CAMERA = PinholeCamera(K, 321, 241)
FROM_ABOVE = look_at((0, 0, 1), (0, 0, 0))
FROM_FRONT = look_at((0, -0.8, 0.5), (0, 0, 0.03))
SHAPES: tuple[Shape, ...] = (Box((0.12, 0.07, 0.1)), Cylinder(0.035, 0.12), Cup(0.04, 0.1), Sphere(0.04))
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["box", "cylinder", "cup", "sphere"])


def box_at(id_: str, x: float, y: float, size: tuple[float, float, float] = (0.08, 0.08, 0.1), **more: Any) -> Body:
    return Body(id_, "box", Box(size), (x, y, 0.0), **more)


def test_a_camera_looks_at_its_target_with_a_level_horizon() -> None:
    pose = look_at((1.0, -2.0, 1.5), (0.2, 0.1, 0.0))
    target = pose.inverse().apply(np.array([0.2, 0.1, 0.0]))
    np.testing.assert_allclose(target[:2], 0, atol=1e-12)
    assert target[2] > 0
    assert pose.rotation[2, 0] == pytest.approx(0), "the image's right is level"
    assert pose.rotation[2, 1] < 0, "the image's down goes down"
    assert (pose.parent, pose.child) == ("world", "camera_color_optical_frame")
    # The world's x is on its right.
    np.testing.assert_allclose(FROM_ABOVE.rotation, np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_beside_the_table_is_the_floor_and_above_the_horizon_nothing() -> None:
    empty = render(World(()), CAMERA, FROM_ABOVE)
    np.testing.assert_allclose(empty.frame.depth, 1.0, rtol=1e-6)
    assert empty.detections == ()
    seen = render(World((), table_size=(0.4, 0.3), floor=-0.5), CAMERA, FROM_ABOVE)
    assert seen.frame.depth[120, 160] == pytest.approx(1.0)
    assert seen.frame.depth[120, 160 + 59] == pytest.approx(1.0)
    assert seen.frame.depth[120, 160 + 61] == pytest.approx(1.5), "0.2 m of table are 60 pixels"
    ahead = render(World(()), CAMERA, look_at((0, -0.8, 0.5), (0, 1, 0.5)))
    assert np.isnan(ahead.frame.depth[:121]).all()
    assert np.nanmax(ahead.frame.depth) <= World(()).max_range


def test_a_box_from_above_has_the_depth_mask_and_box_of_hand_calculation() -> None:
    seen = render(World((box_at("a", 0.0, 0.0, (0.09, 0.054, 0.1)),)), CAMERA, FROM_ABOVE)
    # its top is 0.9 m away: half sides of 0.045 and 0.027 m are 15 and 9 pixels, the edge pixels are half a question
    assert seen.frame.depth[120, 160] == pytest.approx(0.9)
    mask = seen.masks["a"]
    assert mask[120 - 8 : 120 + 9, 160 - 14 : 160 + 15].all()
    np.testing.assert_allclose(seen.detections[0].box_xyxy, (145.5, 111.5, 175.5, 129.5), atol=1)
    np.testing.assert_allclose(seen.frame.depth[~mask], 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("bodies", "depths"),
    [
        # 0.048 m at 0.9 m are 16 pixels: on the rim
        ((Body("a", "cup", Cup(0.05, 0.1, wall=0.005), (0, 0, 0)),), {160: 1 - 0.005, 176: 0.9}),
        ((Body("a", "ball", Sphere(0.04), (0, 0, 0)),), {160: 1 - 0.08}),
        ((box_at("below", 0, 0), Body("above", "ball", Sphere(0.03), (0, 0, 0.1))), {160: 0.84}),
    ],
    ids=["a cup is hollow down to its floor", "a ball is nearest by its radius", "a stack is as high as both"],
)
def test_depth_from_above_is_that_of_hand_calculation(bodies: tuple[Body, ...], depths: dict[int, float]) -> None:
    seen = render(World(bodies), CAMERA, FROM_ABOVE)
    assert {u: seen.frame.depth[120, u] for u in depths} == pytest.approx(depths)
    if len(bodies) == 2:
        assert (bodies[0].top, bodies[1].top) == pytest.approx((0.1, 0.16))
        assert bodies[1].centre == pytest.approx((0, 0, 0.13))


def outside(shape: Shape, p: np.ndarray) -> np.ndarray:
    """0 for (N, 3) points on a shape's surface, in its frame, negative within it; written apart from the ray caster."""
    if isinstance(shape, Sphere):
        return np.linalg.norm(p - (0, 0, shape.radius), axis=1) - shape.radius
    if isinstance(shape, Box):
        return (np.abs(p - (0, 0, shape.size[2] / 2)) - np.array(shape.size) / 2).max(axis=1)
    r, z = np.linalg.norm(p[:, :2], axis=1), p[:, 2]
    full = np.maximum(np.maximum(r - shape.radius, -z), z - shape.height)
    if not isinstance(shape, Cup):
        return full
    return np.maximum(full, -np.maximum(r - (shape.radius - shape.wall), shape.wall - z))


@each_shape
@given(yaw=st.floats(-4, 4), azimuth=st.floats(-3, 3), elevation=st.floats(0.05, 1.5), base=st.floats(0, 0.2))
@settings(max_examples=15, deadline=None)
def test_seen_points_lie_on_their_body(shape: Shape, yaw: float, azimuth: float, elevation: float, base: float) -> None:
    body = Body("a", "thing", shape, (0.03, -0.02, base), yaw=yaw)
    horizontal = 0.7 * math.cos(elevation)
    eye = (horizontal * math.cos(azimuth), horizontal * math.sin(azimuth), 0.7 * math.sin(elevation) + base)
    pose = look_at(eye, body.centre)
    seen = render(World((body,)), CAMERA, pose)
    mask = seen.masks["a"]
    assert mask.sum() > 100
    z = seen.frame.depth[mask][:, None].astype(np.float64)
    points = pose.apply(np.concatenate([normalised_grid(CAMERA)[mask] * z, z], axis=1))
    local = (points - body.position) @ body.world_R_body
    assert np.abs(outside(shape, local)).max() < 1e-6


@each_shape
@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_no_ray_passes_through_a_body(shape: Shape, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.uniform(-0.5, 0.5, (400, 3)) * shape.size + (0, 0, shape.size[2] / 2)
    inside = inside[outside(shape, inside) < 0]
    eye = rng.normal(size=3)
    eye = eye / np.linalg.norm(eye) * 0.5
    distances, normals = shape.hit(eye, inside - eye)
    assert len(inside) > 10
    assert (distances <= 1.0 + 1e-9).all()
    assert (distances > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
    assert (((inside - eye) * normals).sum(axis=1) <= 1e-9).all(), "normals face the eye"


def test_masks_are_disjoint_and_depth_belongs_to_the_nearest() -> None:
    world = random_tabletop(np.random.default_rng(1), 10)
    seen = render(world, CAMERA, FROM_FRONT)
    assert np.sum(list(seen.masks.values()), axis=0).max() == 1
    for body in world.bodies:
        alone = render(World((body,)), CAMERA, FROM_FRONT)
        mask = seen.masks[body.id]
        np.testing.assert_array_equal(seen.frame.depth[mask], alone.frame.depth[mask])
        assert (seen.frame.depth[alone.masks[body.id]] <= alone.frame.depth[alone.masks[body.id]]).all()
        assert seen.visible_fraction[body.id] == pytest.approx(mask.sum() / alone.masks[body.id].sum())


def test_what_is_hidden_outside_the_image_or_behind_the_camera_is_not_detected() -> None:
    hidden = box_at("hidden", 0.0, 0.2, (0.05, 0.05, 0.05))
    cover = box_at("cover", 0.0, 0.0, (0.4, 0.02, 0.4))
    aside = box_at("aside", 3.0, 0.0)
    behind = box_at("behind", 0.0, -1.5)
    seen = render(World((hidden, cover, aside, behind)), CAMERA, look_at((0, -0.8, 0.05), (0, 0, 0.05)))
    assert [d.id for d in seen.detections] == ["cover"]
    assert seen.visible_fraction == {"hidden": 0.0, "cover": 1.0, "aside": 0.0, "behind": 0.0}
    assert not seen.masks["hidden"].any()
    back = box_at("back", 0.0, 0.2, (0.1, 0.02, 0.1))
    front = box_at("front", 0.2, 0.0, (0.4, 0.02, 0.4))  # its left edge is at x = 0
    seen = render(World((back, front)), CAMERA, look_at((0, -0.8, 0.05), (0, 0, 0.05)))
    assert seen.visible_fraction == {"back": pytest.approx(0.5, abs=0.03), "front": 1.0}


def test_detections_carry_tight_boxes_masks_labels_and_colours() -> None:
    world = World((box_at("b", -0.1, 0, colour="red"), Body("a", "cup", Cup(0.04, 0.1), (0.1, 0, 0), "blue")))
    seen = render(world, CAMERA, FROM_FRONT, stamp_ns=42)
    expected = ("b", "box", ("red",), 1.0), ("a", "cup", ("blue",), 1.0)
    assert tuple((d.id, d.label, d.attributes, d.score) for d in seen.detections) == expected
    for detection in seen.detections:
        x0, y0, x1, y1 = map(int, detection.box_xyxy)
        assert detection.mask.sum() == detection.mask[y0:y1, x0:x1].sum()
        assert detection.mask[y0].any() and detection.mask[y1 - 1].any()  # noqa: PT018
        assert detection.mask[:, x0].any() and detection.mask[:, x1 - 1].any()  # noqa: PT018
    assert seen.frame.stamp_ns == 42
    assert seen.frame.base_T_camera is FROM_FRONT


@pytest.mark.parametrize("colour", COLOURS)
def test_a_body_is_painted_in_the_colour_it_is_named_after(colour: str) -> None:
    seen = render(World((box_at("a", 0, 0, colour=colour),)), CAMERA, FROM_FRONT)
    mean = seen.frame.rgb[seen.masks["a"]].mean(axis=0)
    cosine = {c: mean @ np.array(v) / np.linalg.norm(v) / np.linalg.norm(mean) for c, v in COLOURS.items()}
    assert cosine[colour] > 0.999


def test_a_distorted_camera_sees_the_same_world_bent() -> None:
    world = random_tabletop(np.random.default_rng(2), 5)
    distorted = PinholeCamera(K, 321, 241, "plumb_bob", (-0.2, 0.05, 0.001, -0.001))
    straight = render(world, CAMERA, FROM_FRONT).frame.depth
    bent = render(world, distorted, FROM_FRONT).frame
    on_table = np.s_[90:-10, 10:-10]
    assert (np.abs(straight - rectify(bent).depth)[on_table] < 0.01).mean() > 0.98
    assert (np.abs(straight - bent.depth)[on_table] < 0.01).mean() < 0.9


def test_random_bodies_stand_apart_on_the_table_with_known_names() -> None:
    world = random_tabletop(np.random.default_rng(3), 12, gap=0.02)
    assert [b.id for b in world.bodies] == [f"o{n}" for n in range(12)]
    for body in world.bodies:
        assert body.label in CATALOGUE
        assert body.position[2] == 0
        assert np.abs(body.corners()[:, 0]).max() < world.table_size[0] / 2
        assert np.abs(body.corners()[:, 1]).max() < world.table_size[1] / 2
    for a, b in itertools.combinations(world.bodies, 2):
        reach = sum(min(body.size[:2]) / 2 for body in (a, b))
        assert math.dist(a.position, b.position) > reach + 0.02
    assert world["o3"] is world.bodies[3]
    with pytest.raises(KeyError):
        world["c"]
    chosen = {"labels": ("cup", "ball"), "colours": ("red", "blue"), "distinct": True}
    world = random_tabletop(np.random.default_rng(0), 4, **chosen)
    assert {(b.label, b.colour) for b in world.bodies} == set(itertools.product(("cup", "ball"), ("red", "blue")))


def test_worlds_and_images_differ_by_seed_alone() -> None:
    one, same, other = (random_tabletop(np.random.default_rng(seed), 5) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    first, second = (render(world, CAMERA, FROM_FRONT).frame for world in (one, same))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth, second.depth)


MADE: dict[str, Callable[..., Any]] = {
    "random": lambda count, **options: random_tabletop(np.random.default_rng(0), count, **options),
    "world": lambda *boxes: World(tuple(box_at(*one) for one in boxes)),
    "box": box_at,
    "view": look_at,
}


@pytest.mark.parametrize(("made", "arguments", "options", "words"), rows(__file__, "tabletop_refused"))
def test_worlds_bodies_and_cameras_that_cannot_be(made: str, arguments: Any, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        MADE[made](*arguments, **options)
