# SPDX-License-Identifier: Apache-2.0
"""Pixels and depth become objects: places, sizes, headings, what hides what, doubt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pytest

from benchmarks.scenes import random_tabletop
from spatial_vlm_ros.geometry.lift import build_scene, with_insides
from spatial_vlm_ros.geometry.segmentation import Patch
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.sim.examples import CAMERA
from spatial_vlm_ros.sim.tabletop import Body, Box, Rendering, Sphere, World, look_at, noisy, render
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, SceneObject

if TYPE_CHECKING:
    from conftest import Tabletop

DEPTH, LIFT = DepthConfig(), LiftConfig()


def centre_error(obj: SceneObject, seen: Rendering, truth: Any) -> float:
    return float(np.linalg.norm(seen.frame.base_T_camera.apply(obj.box.centre) - truth))


def with_depth(seen: Rendering, where: np.ndarray, depth: Any) -> RgbdFrame:
    changed = seen.frame.depth.copy()
    changed[where] = depth
    return dataclasses.replace(seen.frame, depth=changed)


HAND_CAMERA = PinholeCamera(np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), 641, 481)


def test_a_block_drawn_by_hand_has_its_place_size_and_axes(tabletop: Tabletop) -> None:
    """A level camera 0.4 m above a table; 0.8 m ahead begins a block 0.06 m wide, 0.10 m long and 0.10 m high."""
    rows, columns = np.mgrid[:481, :641]
    x, y = (columns - 320) / 400, (rows - 240) / 400
    below = np.maximum(y, 1e-4)  # above the horizon: far away
    table, top = 0.4 / below, 0.3 / below
    on_top = (top >= 0.8) & (top <= 0.9) & (np.abs(x * top) <= 0.03)
    on_front = (np.abs(x * 0.8) <= 0.03) & (y * 0.8 >= 0.3) & (y * 0.8 <= 0.4)
    depth = np.where(on_front, 0.8, np.where(on_top, top, np.where(table < 3, table, np.nan))).astype(np.float32)
    rgb = np.full((481, 641, 3), 128, np.uint8)
    frame = RgbdFrame(rgb, depth, HAND_CAMERA, up=np.array([0, -1, 0]))
    scene = build_scene(frame, [tabletop.of_mask("block", on_front | on_top)], DEPTH, LIFT)
    block = scene.objects[0]
    np.testing.assert_allclose(block.box.centre, (0, 0.35, 0.85), atol=0.005)
    np.testing.assert_allclose(block.box.size, (0.10, 0.06, 0.10), atol=0.007)
    np.testing.assert_allclose(block.box.axes[:, 0], (0, 0, 1), atol=0.02, err_msg="x: longer side, away")
    np.testing.assert_allclose(block.box.axes[:, 1], (-1, 0, 0), atol=0.02, err_msg="y = z × x: to the left")
    np.testing.assert_allclose(block.box.axes[:, 2], (0, -1, 0), atol=1e-6, err_msg="z: up")
    assert block.yaw_known
    np.testing.assert_allclose(scene.support.normal, (0, -1, 0), atol=1e-3)
    assert scene.support.offset == pytest.approx(0.4, abs=1e-3)


def test_the_surface_centre_of_a_wall_drawn_by_hand_is_the_middle_of_what_is_seen(tabletop: Tabletop) -> None:
    depth = np.full((481, 641), np.nan, np.float32)
    depth[200:281, 400:481] = 0.8  # u - cx from 80 to 160 pixels: x from 0.16 to 0.32 m
    frame = RgbdFrame(np.zeros((481, 641, 3), np.uint8), depth, HAND_CAMERA, up=np.array([0, -1, 0]))
    plate = build_scene(frame, [tabletop.of_mask("plate", np.isfinite(depth))], DEPTH, LIFT).objects[0]
    np.testing.assert_allclose(plate.surface_centre, (0.24, 0.0, 0.8), atol=0.003)
    assert plate.valid_fraction == 1.0


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
@pytest.mark.parametrize(("masks", "most", "p95"), [(True, 0.01, 0.02), (False, 0.015, 0.03)], ids=["masks", "boxes"])
def test_volume_centres_are_the_bodies(tabletop: Tabletop, masks: bool, most: float, p95: float, noise: bool) -> None:
    errors = []
    for seed in range(6):
        world = random_tabletop(np.random.default_rng(seed), 6)
        seen = tabletop.see(*world.bodies)
        frame = noisy(seen.frame, np.random.default_rng(seed)) if noise else seen.frame
        given = seen.detections if masks else tabletop.boxes_only(seen.detections)
        scene = tabletop.lift(seen, given, frame)
        shown = [obj for obj in scene.objects if seen.visible_fraction[obj.id] > 0.5]
        errors += [centre_error(obj, seen, world[obj.id].centre) for obj in shown]
    assert len(errors) >= 30
    assert np.median(errors) <= most
    assert np.percentile(errors, 95) <= p95


@pytest.mark.parametrize("pitch", [20, 65])
def test_boxes_are_gravity_up_right_handed_and_longest_along_x(tabletop: Tabletop, pitch: float) -> None:
    world = random_tabletop(np.random.default_rng(5), 6)
    seen = tabletop.see(*world.bodies, eye=tabletop.pitched(pitch))
    up = seen.frame.base_T_camera.rotation[2]
    scene = tabletop.lift(seen)
    assert len(scene.objects) >= 5
    for obj in scene.objects:
        axes = obj.box.axes
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        assert np.linalg.det(axes) == pytest.approx(1.0)
        np.testing.assert_allclose(axes[:, 2], up, atol=1e-5)
        assert obj.box.size[0] >= obj.box.size[1]
        assert axes[:, 0] @ obj.box.centre >= -0.01, "x points away from the camera, or across"


class Ellipsoid:
    """A lemon that lies: `length` along x, `width` along y and z."""

    def __init__(self, length: float, width: float) -> None:
        self.size = (length, width, width)

    def hit(self, origin: Any, directions: Any) -> tuple[Any, Any]:
        halves = np.array(self.size) / 2
        start = (origin - (0.0, 0.0, halves[2])) / halves + (0.0, 0.0, 1.0)
        distances, normals = Sphere(1.0).hit(start, directions / halves)
        return distances, normals / halves / np.linalg.norm(normals / halves, axis=1, keepdims=True)


@pytest.mark.parametrize(("pitch", "yaw_deg"), [(18, 30), (30, 90), (45, 0), (60, 60)])
def test_what_lies_round_and_long_is_measured_from_any_side(tabletop: Tabletop, pitch: float, yaw_deg: float) -> None:
    """Its far side is found from where the near side turns away, and not from its width."""
    lemon = Body("lemon", "lemon", cast(Any, Ellipsoid(0.08, 0.054)), (0.0, 0.0, 0.0), "yellow", np.radians(yaw_deg))
    obj, _, seen = tabletop.lift_one(lemon, eye=tabletop.pitched(pitch, 0.8))
    footprint = seen.frame.base_T_camera.apply(obj.footprint)
    along = 0.5 * np.hypot(0.08 * np.sin(lemon.yaw), 0.054 * np.cos(lemon.yaw))  # half of it, away from the camera
    assert footprint[:, 1].max() == pytest.approx(along, abs=0.008)
    assert centre_error(obj, seen, lemon.centre) < 0.006


@pytest.mark.parametrize("yaw_deg", [-60, 0, 30])
def test_the_heading_of_a_long_box_is_measured(tabletop: Tabletop, yaw_deg: float) -> None:
    body = tabletop.block("a", 0.05, 0.0, (0.16, 0.05, 0.04), yaw=np.radians(yaw_deg))
    obj, _, seen = tabletop.lift_one(body, eye=tabletop.pitched(50))
    assert obj.yaw_known
    heading = seen.frame.base_T_camera.rotation @ obj.box.axes[:, 0]
    assert abs(heading @ body.world_R_body[:, 0]) > np.cos(np.radians(6))
    assert obj.covariance[3:, 3:].trace() < np.radians(10) ** 2


@pytest.mark.parametrize("pitch", [25, 60])
def test_the_heading_of_a_round_object_is_said_to_be_unknown(tabletop: Tabletop, pitch: float) -> None:
    obj, scene, _ = tabletop.lift_one(tabletop.can("a", 0.05, 0.02), eye=tabletop.pitched(pitch))
    assert not obj.yaw_known
    about_up = scene.up @ obj.covariance[3:, 3:] @ scene.up
    assert about_up >= np.pi**2 / 3 - 1e-6, "a heading that may be anything has the variance of a uniform angle"


@pytest.mark.parametrize("pitch", [15, 25])
def test_round_objects_at_flat_angles_do_not_claim_a_heading(tabletop: Tabletop, pitch: float) -> None:
    claims = []
    for seed in range(8):
        world = random_tabletop(np.random.default_rng(seed), 5, labels=("cup", "mug", "can", "bottle"))
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(pitch))
        scene = tabletop.lift(seen, frame=noisy(seen.frame, np.random.default_rng(seed)))
        claims += [o.yaw_known for o in scene.objects if seen.visible_fraction[o.id] > 0.9 and not o.truncated]
    assert np.mean(claims) < 0.05


def test_a_stacked_body_begins_where_the_lower_one_ends(tabletop: Tabletop) -> None:
    lower = tabletop.block("lower", 0, 0, (0.12, 0.1, 0.06))
    upper = tabletop.can("upper", 0, 0, z=0.06)
    obj, scene, seen = tabletop.lift_one(upper, lower)
    bottom = seen.frame.base_T_camera.apply(obj.box.centre)[2] - obj.box.size[2] / 2
    assert bottom == pytest.approx(0.06, abs=0.006)
    assert obj.box.size[2] == pytest.approx(0.1, abs=0.008)
    below = next(o for o in scene.objects if o.id == "lower")
    assert seen.frame.base_T_camera.apply(below.box.centre)[2] == pytest.approx(0.03, abs=0.005)


@pytest.fixture
def lone_can(tabletop: Tabletop) -> Rendering:
    return tabletop.see(tabletop.can("a", 0.02, 0.0, height=0.12), eye=tabletop.pitched(30))


def lifted_with(seen: Rendering, mask: np.ndarray, frame: RgbdFrame | None = None) -> SceneObject:
    given = dataclasses.replace(seen.detections[0], mask=mask)
    return build_scene(frame or seen.frame, [given], DEPTH, LIFT).objects[0]


def test_masks_that_leak_or_are_ragged_move_the_centre_by_less_than_a_centimetre(lone_can: Rendering) -> None:
    true = lone_can.masks["a"]
    clean = lifted_with(lone_can, true).box.centre
    wide = cv2.dilate(true.astype(np.uint8), np.ones((3, 41), np.uint8)).astype(bool) & ~true
    rows, columns = np.nonzero(wide)
    right_upper = np.argsort(rows * 1.0 - columns)[: int(0.15 / 0.85 * true.sum())]
    leaking = true.copy()
    leaking[rows[right_upper], columns[right_upper]] = True
    assert (leaking & ~true).sum() / leaking.sum() == pytest.approx(0.15, abs=0.01)
    coarse = cv2.resize(np.random.default_rng(3).random((60, 80)), (640, 480), interpolation=cv2.INTER_CUBIC)
    kernel = np.ones((9, 9), np.uint8)
    grown, shrunk = (change(true.astype(np.uint8), kernel).astype(bool) for change in (cv2.dilate, cv2.erode))
    ragged = np.where(coarse > 0.5, grown, shrunk)
    assert 0.7 < (ragged & true).sum() / (ragged | true).sum() < 0.95
    for mask in (leaking, ragged):
        assert np.linalg.norm(lifted_with(lone_can, mask).box.centre - clean) < 0.01


def test_holes_in_the_depth_of_a_mask_do_not_move_its_centre(lone_can: Rendering) -> None:
    true = lone_can.masks["a"]
    holes = true & (np.random.default_rng(0).random(true.shape) < 0.5)
    obj = lifted_with(lone_can, true, with_depth(lone_can, holes, np.nan))
    assert obj.valid_fraction == pytest.approx(0.5, abs=0.05)
    assert np.linalg.norm(obj.box.centre - lifted_with(lone_can, true).box.centre) < 0.004


def assert_unmeasured(obj: SceneObject, words: str) -> None:
    assert words in obj.depth_problem
    assert np.isnan(obj.box.centre).all()
    assert np.isnan(obj.surface_centre).all()
    assert len(obj.points) == 0


def test_smeared_depth_is_kept_where_it_is_most_of_an_object(lone_can: Rendering) -> None:
    true, columns = lone_can.masks["a"], np.arange(lone_can.frame.camera.width)
    smeared = true & (columns > np.quantile(np.nonzero(true)[1], 0.35))
    waves = np.where(columns // 2 % 2, 0.05, 0.0)  # steeper over two pixels than a surface can be
    obj = lifted_with(lone_can, true, with_depth(lone_can, smeared, (lone_can.frame.depth + waves)[smeared]))
    assert np.ptp(obj.points[:, 0]) > 0.06


def test_a_mask_without_measured_depth_is_a_depth_problem(lone_can: Rendering) -> None:
    true = lone_can.masks["a"]
    few = true & (np.random.default_rng(0).random(true.shape) > 0.03)
    assert_unmeasured(lifted_with(lone_can, true, with_depth(lone_can, few, np.nan)), "pixels have measured depth")
    assert_unmeasured(lifted_with(lone_can, true, with_depth(lone_can, true, np.nan)), "pixels have measured depth")


def test_depth_of_the_floor_beyond_the_table_is_no_depth_of_the_object(tabletop: Tabletop) -> None:
    """A glass near the far edge of the table: its pixels show the floor behind the table."""
    size, bodies = (1.0, 0.5), (tabletop.can("a", 0.0, 0.2, height=0.16, label="cup"), tabletop.block("b", -0.2, -0.05))
    seen = tabletop.see(*bodies, eye=tabletop.pitched(35), table_size=size)
    empty = tabletop.see(eye=tabletop.pitched(35), table_size=size)
    mask = seen.masks["a"]
    behind = empty.frame.depth[mask]
    assert np.median(behind) > np.median(seen.frame.depth[mask]) + 0.3
    frame = with_depth(seen, mask, behind)
    obj = next(o for o in tabletop.lift(seen, frame=frame).objects if o.id == "a")
    assert_unmeasured(obj, "behind the surface that it stands on")


@pytest.mark.parametrize("kind", ["attribute", "label"])
def test_glass_with_the_depth_of_the_table_is_a_depth_problem(tabletop: Tabletop, kind: str) -> None:
    bodies = tabletop.can("a", 0.05, 0.0, label="cup"), tabletop.block("b", -0.15, 0.05)
    seen, empty = tabletop.see(*bodies), tabletop.see()
    frame = with_depth(seen, seen.masks["a"], empty.frame.depth[seen.masks["a"]])
    glass = {"attribute": {"attributes": ("glass",)}, "label": {"label": "glass cup"}}[kind]
    given = (dataclasses.replace(seen.detections[0], **glass), seen.detections[1])
    objects = build_scene(frame, given, DEPTH, LIFT).objects
    assert_unmeasured(objects[0], "transparent")
    assert objects[1].depth_problem is None


def test_an_object_on_a_lower_level_is_not_called_see_through(tabletop: Tabletop) -> None:
    """A box stands on the floor beside the table; the support is the table, on which most objects stand."""
    low = tabletop.block("low", 0.6, 0.1, (0.14, 0.14, 0.12), z=-0.3)
    rest = tabletop.can("c", -0.1, 0.0), tabletop.block("b", 0.1, -0.1), tabletop.can("d", 0.1, 0.1)
    obj, _, seen = tabletop.lift_one(low, *rest, table_size=(0.8, 0.7), floor=-0.3, eye=tabletop.pitched(50, 1.1))
    assert seen.visible_fraction["low"] > 0.6
    assert obj.depth_problem is None
    assert centre_error(obj, seen, low.centre) < 0.02


def test_every_detection_has_an_object_in_the_same_order(tabletop: Tabletop) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(1), 5).bodies)
    blind = with_depth(seen, seen.masks[seen.detections[2].id], np.nan)
    scene = tabletop.lift(seen, frame=blind)
    assert [o.id for o in scene.objects] == [d.id for d in seen.detections]
    assert [o.depth_problem is None for o in scene.objects] == [True, True, False, True, True]
    empty = tabletop.lift(tabletop.see(), ())
    assert empty.objects == ()
    assert empty.support is not None


def test_a_distorted_image_gives_the_same_places(tabletop: Tabletop) -> None:
    block = tabletop.block("b", 0.2, -0.05, (0.08, 0.05, 0.06))
    bodies = tabletop.can("a", -0.2, 0.05), block, tabletop.cup("c", 0, 0.15)
    bent = type(tabletop)(dataclasses.replace(tabletop.camera, D=(-0.15, 0.05, 0.001, -0.001, 0.0)))
    seen = bent.see(*bodies)
    scene = bent.lift(seen)
    assert scene.frame.camera.is_rectified
    for body, obj in zip(bodies, scene.objects, strict=True):
        assert centre_error(obj, seen, body.centre) < 0.01


SHAPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("block", {"size": (0.1, 0.06, 0.08), "yaw": 0.5}),
    *(("can", {"height": 0.12}), ("cup", {}), ("block", {}), ("ball", {}), ("block", {"size": (0.2, 0.14, 0.03)})),
)
ManyImages = tuple[np.ndarray, list[SceneObject]]


def with_noise_of_the_config(seen: Rendering, rng: np.random.Generator) -> RgbdFrame:
    """Depth with the configured deviation: one part shared by each body, one part of each pixel's own."""
    depth = seen.frame.depth.astype(np.float64)
    sigma = DEPTH.noise_floor + DEPTH.noise_quadratic * depth**2
    shared = np.full(depth.shape, rng.standard_normal())
    for mask in seen.masks.values():
        shared[mask] = rng.standard_normal()
    part = DEPTH.correlated_fraction
    noise = part * shared + np.sqrt(1 - part**2) * rng.standard_normal(depth.shape)
    return dataclasses.replace(seen.frame, depth=(depth + sigma * noise).astype(np.float32))


@pytest.fixture(scope="module", params=[*SHAPES[:3], *(pytest.param(s, marks=pytest.mark.slow) for s in SHAPES[3:])])
def many_images(tabletop: Tabletop, request: pytest.FixtureRequest) -> ManyImages:
    small = type(tabletop)(PinholeCamera(np.array([[400.0, 0, 159.5], [0, 400, 119.5], [0, 0, 1]]), 320, 240))
    kind, size = request.param
    body = getattr(tabletop, kind)("a", 0.05, 0.0, **size)
    seen = small.see(body)
    rng = np.random.default_rng(7)
    objects = [small.lift(seen, frame=with_noise_of_the_config(seen, rng)).objects[0] for _ in range(40)]
    return seen.frame.base_T_camera.inverse().apply(np.array(body.centre)), objects


def test_covariances_cover_the_errors_of_many_noisy_images_and_are_not_vain(many_images: ManyImages) -> None:
    """The normalised squared error of a 3-vector has mean 3; the doubts of the model about shapes may make it less."""
    truth, objects = many_images
    for obj in objects[:3]:
        np.testing.assert_allclose(obj.covariance, obj.covariance.T, atol=1e-12)
        assert np.linalg.eigvalsh(obj.covariance).min() > 0
    centres = np.array([t.box.centre for t in objects])
    covariances = np.array([t.covariance[:3, :3] for t in objects])
    errors = centres - truth
    nees = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(covariances), errors)
    assert 0.3 <= nees.mean() <= 6.0
    empirical, reported = np.cov(centres.T), covariances.mean(axis=0)
    excess = np.linalg.eigvals(np.linalg.solve(reported, empirical)).real
    assert excess.max() <= 1.25, "in no direction surer than it is"
    ray = truth / np.linalg.norm(truth)
    assert np.sqrt(ray @ reported @ ray) <= 8 * np.sqrt(ray @ empirical @ ray), "nor so unsure that it says nothing"


def test_surface_centres_scatter_by_what_the_depth_noise_explains(many_images: ManyImages) -> None:
    _, objects = many_images
    surfaces = np.array([t.surface_centre for t in objects])
    mean = surfaces.mean(axis=0)
    shared = DEPTH.correlated_fraction * (DEPTH.noise_floor + DEPTH.noise_quadratic * mean[2] ** 2)
    along = surfaces @ (mean / np.linalg.norm(mean))
    assert 0.7 * shared <= along.std() <= 1.6 * shared


def test_noisier_depth_gives_larger_covariances(lone_can: Rendering) -> None:
    configs = (dataclasses.replace(DEPTH, noise_floor=floor) for floor in (0.001, 0.01))
    found = [build_scene(lone_can.frame, lone_can.detections, config, LIFT).objects[0] for config in configs]
    assert np.trace(found[1].covariance[:3, :3]) > np.trace(found[0].covariance[:3, :3])


def test_lifting_does_not_depend_on_the_order_of_detections(tabletop: Tabletop) -> None:
    world = random_tabletop(np.random.default_rng(2), 6)
    seen = tabletop.see(*world.bodies)
    frame = noisy(seen.frame, np.random.default_rng(0))
    for given in (seen.detections, tabletop.boxes_only(seen.detections)):
        forwards, backwards = (tabletop.lift(seen, d, frame).objects for d in (given, given[::-1]))
        for one, other in zip(forwards, backwards[::-1], strict=True):
            np.testing.assert_allclose(one.box.centre, other.box.centre, atol=2e-4)


@pytest.mark.parametrize("out", [0.05, 0.15])
def test_what_is_seen_behind_the_front_of_an_open_drawer_belongs_to_it(out: float) -> None:
    bodies = (
        Body("chest", "chest", Box((0.2, 0.3, 0.2)), (0.2, 0.0, 0.0), "brown"),
        Body("floor", "board", Box((out, 0.28, 0.02)), (0.1 - out / 2, 0.0, 0.04), "white"),
        Body("front", "drawer", Box((0.02, 0.3, 0.08)), (0.09 - out, 0.0, 0.03), "red"),
    )
    seen = render(World(bodies=bodies), CAMERA, look_at((-0.35, 0.0, 0.8), (0.1, 0.0, 0.05)))
    front, floor = seen.masks["front"], seen.masks["floor"]
    box = Patch.around(front | floor).window
    drawer = Detection("d0", "drawer", 0.9, (box[1].start, box[0].start, box[1].stop, box[0].stop))
    (patch,) = with_insides([Patch.around(front)], [drawer], seen.frame, seen.frame.base_T_camera.rotation[2])
    found = patch.full(front.shape)
    assert found[front | floor].all()
    assert np.count_nonzero(found & seen.masks["chest"]) < 0.01 * np.count_nonzero(found)
