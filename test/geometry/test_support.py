# SPDX-License-Identifier: Apache-2.0
"""The plane that objects stand on and "up", masks cut out of boxes, and points as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import view
from benchmarks.detection_forms import as_point, measure, tabletops
from benchmarks.scenes import random_tabletop
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.camera import rectified
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.lift import NEAREST, surface_at, with_surfaces
from spatial_vlm_ros.geometry.segmentation import STEEPEST, _edges, depth_gap, masks_from_boxes, raised_pixels
from spatial_vlm_ros.geometry.support import find_support, find_up, known_up
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, ResolverConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.tabletop import Rendering, noisy
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame, Status, UpSource

if TYPE_CHECKING:
    from conftest import Tabletop


DEPTH, LIFT = DepthConfig(), LiftConfig()


def assert_is_table(plane: Plane | None, seen: Rendering, *, degrees: float = 1.0, metres: float = 0.005) -> None:
    """The plane is z = 0 of the world."""
    pose = seen.frame.base_T_camera
    assert np.degrees(np.arccos(min(1.0, plane.normal @ pose.rotation[2]))) < degrees
    at_origin = plane.height(pose.inverse().apply(np.zeros((1, 3))))[0]
    assert abs(at_origin) < metres
    assert plane.offset == pytest.approx(pose.translation[2], abs=2 * metres), "the camera's height over the table"


Supported = Callable[..., Plane | None]


@pytest.fixture(params=[True, False], ids=["up known", "up unknown"])
def supported(request: pytest.FixtureRequest) -> Supported:
    def found(seen: Rendering, frame: Any = None, given: Sequence[Detection] = ()) -> Plane | None:
        up = seen.frame.base_T_camera.rotation[2] if request.param else None
        return find_support(frame or seen.frame, given or seen.detections, DEPTH, up)

    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize("kind", ["exact", "noisy"])
@pytest.mark.parametrize("pitch", [20, 45, 80])
def test_the_table_is_found(tabletop: Tabletop, supported: Supported, pitch: float, kind: str, seed: int) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 7).bodies, eye=tabletop.pitched(pitch))
    assert_is_table(supported(seen, frames(seen, seed)[kind]), seen)


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
    both = frame, replace(frame, depth=little)
    whole, piece = (find_support(one, seen.detections, DEPTH, None) for one in both)
    assert piece.sigma_tilt > 1.3 * whole.sigma_tilt


def test_the_floor_beyond_a_small_table_is_not_taken_for_the_support(tabletop: Tabletop, supported: Supported) -> None:
    """The floor fills most of the image; the objects stand on the table."""
    bodies = tabletop.can("a", -0.1, 0.05), tabletop.block("b", 0.1, 0.0), tabletop.cup("c", 0.0, -0.1)
    seen = tabletop.see(*bodies, table_size=(0.45, 0.4), floor=-0.7, eye=tabletop.pitched(50))
    assert (tabletop.heights(seen) > -0.01).mean() < 0.5
    assert_is_table(supported(seen), seen)


def test_scattered_and_next_to_no_depth_have_no_plane(tabletop: Tabletop, supported: Supported) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    scattered = np.random.default_rng(0).uniform(0.3, 4.0, seen.frame.depth.shape).astype(np.float32)
    little = np.full_like(seen.frame.depth, np.nan)
    little[200:205, 300:305] = 0.8
    for depth in (scattered, little):
        assert supported(seen, replace(seen.frame, depth=depth)) is None


def test_a_wall_is_no_support_when_up_is_known(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.block("wall", 0, 0.5, (4.0, 0.05, 3.0), label="wall"), eye=(0, -0.9, 1.5),
                        target=(0, 0, 1.5), table_size=(0.1, 0.1), floor=-1.0)  # fmt: skip
    assert seen.masks["wall"].mean() > 0.95
    assert find_support(seen.frame, (), DEPTH, seen.frame.base_T_camera.rotation[2]) is None


def test_known_up_is_the_poses_z_before_the_imus(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    told = seen.frame.base_T_camera.rotation[2]
    both = replace(seen.frame, up=told + np.array([0.1, 0.0, 0.0]))
    up, source = known_up(both)
    assert source is UpSource.TF
    np.testing.assert_allclose(up, told)
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


@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_a_table_that_is_a_detection_is_the_support(tabletop: Tabletop, supported: Supported, kind: str) -> None:
    bodies = tabletop.can("a", -0.1, 0.05), tabletop.block("b", 0.15, 0.0)
    seen = tabletop.see(*bodies, table_size=(0.7, 0.5), floor=-0.7, eye=tabletop.pitched(50, 1.2))
    (whole,) = tabletop.boxes_only([tabletop.of_mask("table", np.abs(tabletop.heights(seen)) < 0.001)])
    assert_is_table(supported(seen, frames(seen)[kind], (*seen.detections, whole)), seen)


@pytest.mark.parametrize("steps", [0, 2, 3])
def test_neither_edges_of_steps_nor_a_cabinet_is_the_table(
    tabletop: Tabletop, steps: int, supported: Supported
) -> None:
    """A sloped plane through table and edges holds something of what surrounds every object; on a cabinet is more."""
    stairs = [tabletop.block(f"s{n}", 0.0, 0.12 * n, (0.3, 0.12, 0.06 * (n + 1)), label="step") for n in range(steps)]
    cans = [tabletop.can(f"c{n}", 0.06, 0.12 * n, z=0.06 * (n + 1)) for n in range(steps)]
    cans = cans or [tabletop.can(f"c{n}", 0.12 * (n - 1), 0.1, z=0.2) for n in range(3)]
    whole = stairs or [tabletop.block("cabinet", 0.0, 0.1, (0.38, 0.26, 0.2), label="cabinet")]
    seen = tabletop.see(*whole, *cans, tabletop.can("beside", -0.35, 0.0), eye=tabletop.pitched(40, 1.1))
    assert_is_table(supported(seen), seen)


def test_no_slope_joins_what_surrounds_two_objects_on_two_levels(tabletop: Tabletop, supported: Supported) -> None:
    cans = tabletop.can("low", -0.36, 0.0), tabletop.can("high", 0.36, 0.1, z=0.08)
    seen = tabletop.see(*cans, tabletop.block("board", 0.36, 0.1, (0.3, 0.3, 0.08)), eye=tabletop.pitched(45, 1.3))
    found = [d for d in seen.detections if d.id != "board"]
    assert_is_table(supported(seen, frames(seen)["noisy"], found), seen)


def test_the_tilt_is_that_of_the_whole_table_and_not_of_its_rim(tabletop: Tabletop) -> None:
    """Boxes cover most of the table: what is left between them is noisy and short."""
    bodies = [tabletop.block(f"b{n}", 0.16 * (n - 1.5), 0.0, (0.14, 0.4, 0.02)) for n in range(4)]
    seen = tabletop.see(*bodies, eye=tabletop.pitched(45, 1.3))
    for seed in range(3):
        frame = noisy(seen.frame, np.random.default_rng(seed))
        assert_is_table(find_support(frame, seen.detections, DEPTH, None), seen, degrees=0.3)


def cut(frame: RgbdFrame, detections: tuple[Detection, ...], seen: Rendering) -> dict[str, Mask]:
    support = find_support(frame, detections, DEPTH, seen.frame.base_T_camera.rotation[2])
    patches = masks_from_boxes(frame, detections, support, DEPTH, LIFT)
    return {d.id: patch.full(frame.depth.shape) for d, patch in zip(detections, patches, strict=True)}


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def frames(seen: Rendering, seed: int = 0) -> dict[str, RgbdFrame]:
    lost = seen.frame.depth.copy()
    for mask in seen.masks.values():
        lost[cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0] = np.nan
    noise = np.random.default_rng(seed)
    return {"exact": seen.frame, "noisy": noisy(seen.frame, noise), "edges lost": replace(seen.frame, depth=lost)}


@pytest.mark.parametrize(("kind", "usual"), [("exact", 0.95), ("noisy", 0.9), ("edges lost", 0.9)])
def test_masks_cut_from_boxes_are_those_of_the_objects(tabletop: Tabletop, kind: str, usual: float) -> None:
    overlaps = []
    for seed in range(5):
        seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 6).bodies)
        masks = cut(frames(seen)[kind], tabletop.boxes_only(seen.detections), seen)
        overlaps += [iou(mask, seen.masks[id_]) for id_, mask in masks.items() if seen.visible_fraction[id_] > 0.5]
    assert len(overlaps) > 20
    assert np.median(overlaps) > usual
    assert np.percentile(overlaps, 5) > 0.6


@pytest.mark.parametrize(("kind", "pitch"), [("exact", 20), ("noisy", 35), ("noisy", 50)])
def test_a_block_behind_a_bottle_has_no_pixel_of_the_bottle(tabletop: Tabletop, kind: str, pitch: float) -> None:
    bottle = tabletop.can("bottle", 0.03, -0.08, radius=0.03, height=0.2, label="bottle")
    block = tabletop.block("block", 0.0, 0.08, (0.2, 0.06, 0.08))
    seen = tabletop.see(bottle, block, eye=tabletop.pitched(pitch))
    x0, y0, x1, y1 = seen.detections[1].box_xyxy
    inside = np.zeros_like(seen.masks["bottle"])
    inside[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert (seen.masks["bottle"] & inside).sum() > 0.2 * inside.sum()
    masks = cut(frames(seen)[kind], tabletop.boxes_only(seen.detections), seen)
    assert (masks["block"] & seen.masks["bottle"]).sum() < 0.03 * masks["block"].sum()
    assert (masks["bottle"] & seen.masks["block"]).sum() < 0.03 * masks["bottle"].sum()
    assert iou(masks["block"], seen.masks["block"]) > 0.75
    assert iou(masks["bottle"], seen.masks["bottle"]) > 0.75


def test_masks_cut_from_boxes_hold_neither_table_nor_floor(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0.0, 0.15, height=0.2), tabletop.block("b", 0.2, 0.0), table_size=(0.8, 0.5))
    masks = cut(seen.frame, tabletop.boxes_only(seen.detections), seen)
    nothing = ~(seen.masks["a"] | seen.masks["b"])
    for mask in masks.values():
        assert (mask & nothing).sum() < 0.1 * mask.sum()


def test_masks_stay_inside_their_boxes_and_share_no_pixel(tabletop: Tabletop) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(4), 8).bodies)
    masks = cut(frames(seen)["noisy"], tabletop.boxes_only(seen.detections), seen)
    assert np.sum(list(masks.values()), axis=0).max() == 1
    for d in seen.detections:
        x0, y0, x1, y1 = (round(b) for b in d.box_xyxy)
        outside = masks[d.id].copy()
        outside[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = False
        assert not outside.any()


def test_given_masks_are_kept_and_are_nobody_elses(tabletop: Tabletop) -> None:
    bottle = tabletop.can("bottle", 0.0, -0.08, height=0.2, label="bottle")
    block = tabletop.block("block", 0.0, 0.08, (0.2, 0.06, 0.1))
    seen = tabletop.see(bottle, block, eye=tabletop.pitched(25))
    given = (seen.detections[0], *tabletop.boxes_only(seen.detections[1:]))
    masks = cut(seen.frame, given, seen)
    np.testing.assert_array_equal(masks["bottle"], seen.masks["bottle"])
    assert not (masks["block"] & masks["bottle"]).any()


@pytest.mark.parametrize("kind", ["exact", "edges lost"])
@pytest.mark.parametrize("touching", ["beside", "on its like", "alike on a tray"])
def test_touching_objects_are_divided(tabletop: Tabletop, touching: str, kind: str) -> None:
    block, can = tabletop.block, tabletop.can
    bodies = {
        "beside": [block(c, x, 0.0, (0.06, 0.06, 0.06), colour=c) for c, x in (("red", -0.03), ("blue", 0.03))],
        "on its like": [block("under", 0.0, 0.0, (0.2, 0.12, 0.07)), can("on", 0.0, 0.0, z=0.07, colour="red")],
        "alike on a tray": [
            block("tray", 0.0, 0.0, (0.26, 0.18, 0.02), colour="green"),
            *(can(f"c{n}", 0.075 * (n % 3 - 1), 0.075 * (n // 3) - 0.04, z=0.02) for n in range(6)),
        ],
    }[touching]
    seen = tabletop.see(*bodies)
    given = (*tabletop.boxes_only(seen.detections), Detection("t", "table", 1.0, (0.0, 0.0, 640.0, 480.0)))
    masks = cut(frames(seen)[kind], given, seen)
    assert min(iou(masks[id_], m) for id_, m in seen.masks.items() if seen.visible_fraction[id_] >= 0.5) > 0.75


def test_a_flat_object_is_cut_out_by_its_colour(tabletop: Tabletop) -> None:
    card = tabletop.block("card", 0.0, 0.0, (0.12, 0.08, 0.001), colour="blue")
    seen = tabletop.see(card, tabletop.can("b", 0.25, 0.1))
    masks = cut(frames(seen)["noisy"], tabletop.boxes_only(seen.detections), seen)
    assert iou(masks["card"], seen.masks["card"]) > 0.7


def test_depth_edges_are_those_of_every_pair_of_pixels(tabletop: Tabletop) -> None:
    """Across the borders of the bands that they are worked out in, too."""
    seen = tabletop.see(*random_tabletop(np.random.default_rng(3), 8).bodies)
    frame = frames(seen)["noisy"]
    raised = raised_pixels(frame, find_support(frame, seen.detections, DEPTH, None), LIFT)
    z, expected = frame.depth, np.zeros(raised.shape, np.bool_)
    noise = depth_noise(z, DEPTH)
    for step in (1, 2):
        for axis in (0, 1):
            for towards in (step, -step):
                near, near_raised = np.roll(z, towards, axis), np.roll(raised, towards, axis)
                border = [slice(None)] * 2
                border[axis] = slice(None, step) if towards > 0 else slice(-step, None)
                near_raised[tuple(border)] = False
                steep = z - near > step * z * np.float32(STEEPEST / frame.camera.K[0, 0]) + noise
                expected |= near_raised & steep
    assert expected[raised].sum() > 100
    np.testing.assert_array_equal(_edges(frame, raised, DEPTH)[raised], expected[raised])


K = np.array([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
FLAT = np.full((48, 64), 1.0, np.float32)  # a pixel is 1 cm


@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_a_point_on_an_object_gives_its_visible_surface(tabletop: Tabletop, kind: str) -> None:
    overlaps = []
    for seed in range(4):
        seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 5).bodies)
        frame = frames(seen, seed)[kind]
        support = find_support(frame, seen.detections, DEPTH, seen.frame.base_T_camera.rotation[2])
        raised = raised_pixels(frame, support, LIFT)
        for id_, mask in seen.masks.items():
            rows, columns = np.nonzero(mask & raised)
            if seen.visible_fraction[id_] > 0.9 and len(rows) > 200:
                best = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # nearest to the middle
                v, u = rows[best], columns[best]
                step = float(depth_gap(float(frame.depth[v, u]), DEPTH, LIFT))
                found = surface_at(frame.depth, frame.camera.K, (u + 0.5, v + 0.5), step=step, reach=0.4, of=raised)
                overlaps.append(iou(found, mask))
    assert len(overlaps) >= 10
    assert np.median(overlaps) > 0.85


def test_two_surfaces_are_parted_by_a_step_and_joined_by_a_larger_one() -> None:
    depth = FLAT.copy()
    depth[10:30, 20:40] = 0.9
    box = depth == np.float32(0.9)
    assert np.array_equal(surface_at(depth, K, (30.0, 20.0), step=0.05, reach=1.0), box)
    assert surface_at(depth, K, (30.0, 20.0), step=0.11, reach=1.0).all()
    assert np.array_equal(surface_at(depth, K, (5.0, 5.0), step=0.05, reach=1.0), ~box)
    for corner in ((0.0, 0.0), (64.0, 48.0)):
        assert surface_at(depth, K, corner, step=0.11, reach=2.0).all()


def test_a_slope_is_followed_though_its_ends_are_far_apart() -> None:
    depth = np.tile(np.linspace(1.0, 1.63, 64, dtype=np.float32), (48, 1))
    assert surface_at(depth, K, (1.0, 1.0), step=0.011, reach=5.0).all()
    assert surface_at(depth, K, (1.0, 1.0), step=0.009, reach=5.0).sum() == 48  # one column: each is 0.01 m farther


def test_the_reach_bounds_it_in_space() -> None:
    found = surface_at(FLAT, K, (32.0, 24.0), step=0.01, reach=0.1)
    rows, columns = np.nonzero(found)
    assert (np.hypot(rows - 24, columns - 32) <= 10.01).all()
    assert found.sum() == pytest.approx(np.pi * 10**2, rel=0.05)


def test_only_pixels_that_may_belong_to_it_do() -> None:
    of = np.zeros(FLAT.shape, np.bool_)
    of[10:20, 10:20] = of[10:20, 30:40] = True  # two parts, not connected
    found = surface_at(FLAT, K, (15.0, 15.0), step=0.01, reach=1.0, of=of)
    assert np.array_equal(np.nonzero(found), np.nonzero(of & (np.arange(64) < 25)))


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_a_point_that_is_not_measured_takes_the_nearest_that_is(hole: float) -> None:
    depth = FLAT.copy()
    depth[20:24, 30:33] = hole
    found = surface_at(depth, K, (31.0, 22.0), step=0.01, reach=1.0)
    assert found.sum() == depth.size - 12
    depth[:, :] = hole
    depth[0, 0] = 1.0
    assert not surface_at(depth, K, (NEAREST + 1.5, 0.5), step=0.01, reach=1.0).any()
    assert surface_at(depth, K, (NEAREST + 0.5, 0.5), step=0.01, reach=1.0).sum() == 1


def test_what_is_given_is_left_as_it_is() -> None:
    depth, of = FLAT.copy(), np.ones(FLAT.shape, np.bool_)
    depth[3, 3] = np.nan
    before = depth.copy()
    surface_at(depth, K, (5.0, 5.0), step=0.01, reach=0.05, of=of)
    np.testing.assert_array_equal(depth, before)
    assert of.all()


FRAME, DETECTIONS = chicks_and_cup_frame()


def centred(detection: Detection) -> Detection:
    x0, y0, x1, y1 = detection.box_xyxy
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return replace(detection, mask=None, box_xyxy=(x - 1, y - 1, x + 1, y + 1), pointed=True)


def surfaces(frame: RgbdFrame, *detections: Detection) -> tuple[Detection, ...]:
    support = find_support(frame, DETECTIONS, DEPTH, None)
    return with_surfaces(frame, detections, support, DEPTH, LIFT)


def test_points_are_answered_as_boxes_are_or_refused() -> None:
    (counts,) = measure(tabletops(3), ["transform, points"]).values()
    assert counts.get("wrong", 0) == counts.get("answered where it must refuse", 0) == 0
    assert counts["right"] >= 10
    answer = Resolver().resolve(FRAME, "the chick behind the cup", [centred(d) for d in DETECTIONS])
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")


def test_a_pointed_object_stands_where_its_mask_says() -> None:
    one = view(10_000)
    resolver = Resolver()
    masked = {obj.id: obj for obj in resolver.observe(one.frame, one.seen.detections).objects}
    pointed = resolver.observe(one.frame, [as_point(d) for d in one.seen.detections]).objects
    placed = [obj for obj in pointed if obj.depth_problem is None]
    assert len(placed) >= 4
    for obj in placed:
        assert np.linalg.norm(obj.box.centre - masked[obj.id].box.centre) < 0.02, obj.id
        assert obj.detection.mask is not None


def test_two_points_on_one_surface_place_none_of_them() -> None:
    first = centred(DETECTIONS[0])
    (whole,) = surfaces(FRAME, first)
    assert whole.mask is not None
    x0, y0, x1, y1 = first.box_xyxy
    beside = replace(first, id="other", box_xyxy=(x0 + 4, y0, x1 + 4, y1))
    assert surfaces(FRAME, first, beside) == (first, beside)
    left, _, right, _ = whole.box_xyxy
    ends = tuple(replace(first, id=str(x), box_xyxy=(x - 1, y0, x + 1, y1)) for x in (left + 4, right - 4))
    assert surfaces(FRAME, *ends) == ends


def test_without_a_support_or_above_it_nothing_is_made_of_a_point() -> None:
    point = centred(DETECTIONS[0])
    assert with_surfaces(FRAME, (point,), None, DEPTH, LIFT) == (point,)
    corner = replace(point, box_xyxy=(2.0, 470.0, 4.0, 472.0))  # on the table
    assert surfaces(FRAME, corner) == (corner,)
    nothing = replace(FRAME, depth=np.full_like(FRAME.depth, np.nan))
    assert surfaces(nothing, point) == (point,)


@pytest.mark.parametrize("least", [1, 20])
def test_an_object_that_a_point_does_not_bound_is_refused_with_the_reason(least: int) -> None:
    flat = replace(centred(DETECTIONS[0]), id="mat", label="mat", box_xyxy=(2.0, 470.0, 4.0, 472.0))
    config = ResolverConfig(lift=replace(LIFT, min_pixels=least))
    answer = Resolver(config).resolve(FRAME, "the mat", (*DETECTIONS, flat))
    assert answer.status is Status.DEPTH_INVALID
    assert "its extent around the point that the model gave is unknown" in answer.message


def test_a_surface_that_goes_on_beyond_the_reach_is_not_cut_there() -> None:
    point = centred(DETECTIONS[0])
    (whole,) = surfaces(FRAME, point)
    assert whole.mask is not None
    support = find_support(FRAME, DETECTIONS, DEPTH, None)
    assert with_surfaces(FRAME, (point,), support, DEPTH, replace(LIFT, point_reach=0.015)) == (point,)


def test_a_mask_of_another_detection_is_not_taken() -> None:
    point = centred(DETECTIONS[0])
    (whole,) = surfaces(FRAME, point)
    half = whole.mask & (np.arange(whole.mask.shape[1]) < np.mean(whole.box_xyxy[::2]) - 5)
    owner = Detection("owner", "cup", 1.0, whole.box_xyxy, half)
    pointed, _ = surfaces(FRAME, point, owner)
    assert not (pointed.mask & half).any()


def test_the_point_of_a_distorted_image_moves_with_its_box() -> None:
    bent = replace(FRAME, camera=replace(FRAME.camera, D=(0.1, -0.05, 0.0, 0.0, 0.0)))
    _, (moved,) = rectified(bent, (centred(DETECTIONS[0]),))
    assert moved.pointed
    assert moved.box_xyxy != centred(DETECTIONS[0]).box_xyxy
