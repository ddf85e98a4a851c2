# SPDX-License-Identifier: Apache-2.0
"""The measured surface at a point, and detections that are points as objects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.accuracy import view
from benchmarks.detection_forms import as_point, measure, tabletops
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.camera import rectified
from spatial_vlm_ros.geometry.point_surface import NEAREST, surface_at
from spatial_vlm_ros.geometry.pointed import with_surfaces
from spatial_vlm_ros.geometry.segmentation import depth_gap, raised_pixels
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, ResolverConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.types import Detection, Mask, RgbdFrame, Status

if TYPE_CHECKING:
    from conftest import Tabletop

DEPTH, LIFT = DepthConfig(), LiftConfig()
K = np.array([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
REACH = 0.4


def middle(mask: Mask) -> tuple[float, float]:
    """A point on a mask: the pixel of it that is nearest to its centre, its middle."""
    rows, columns = np.nonzero(mask)
    best = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(columns[best] + 0.5), float(rows[best] + 0.5)


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_a_point_on_an_object_gives_its_visible_surface(tabletop: Tabletop, kind: str) -> None:
    overlaps = []
    for seed in range(4):
        seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 5).bodies)
        frame = seen.frame if kind == "exact" else noisy(seen.frame, np.random.default_rng(seed))
        support = find_support(frame, seen.detections, DEPTH, seen.frame.base_T_camera.rotation[2])
        raised = raised_pixels(frame, support, LIFT)
        for id_, mask in seen.masks.items():
            if seen.visible_fraction[id_] > 0.9 and (mask & raised).sum() > 200:
                point = middle(mask & raised)
                z = float(frame.depth[int(point[1]), int(point[0])])
                step = float(depth_gap(z, DEPTH, LIFT))
                overlaps.append(
                    iou(surface_at(frame.depth, frame.camera.K, point, step=step, reach=REACH, of=raised), mask)
                )
    assert len(overlaps) >= 10
    assert np.median(overlaps) > 0.85


def test_two_surfaces_are_parted_by_a_step_and_joined_by_a_larger_one() -> None:
    depth = np.full((48, 64), 1.0, np.float32)
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
    depth = np.full((48, 64), 1.0, np.float32)  # a pixel is 1 cm
    found = surface_at(depth, K, (32.0, 24.0), step=0.01, reach=0.1)
    rows, columns = np.nonzero(found)
    assert (np.hypot(rows - 24, columns - 32) <= 10.01).all()
    assert found.sum() == pytest.approx(np.pi * 10**2, rel=0.05)


def test_only_pixels_that_may_belong_to_it_do() -> None:
    depth = np.full((48, 64), 1.0, np.float32)
    of = np.zeros(depth.shape, np.bool_)
    of[10:20, 10:20] = of[10:20, 30:40] = True  # two parts, not connected
    found = surface_at(depth, K, (15.0, 15.0), step=0.01, reach=1.0, of=of)
    assert np.array_equal(np.nonzero(found), np.nonzero(of & (np.arange(64) < 25)))


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_a_point_that_is_not_measured_takes_the_nearest_that_is(hole: float) -> None:
    depth = np.full((48, 64), 1.0, np.float32)
    depth[20:24, 30:33] = hole
    found = surface_at(depth, K, (31.0, 22.0), step=0.01, reach=1.0)
    assert found.sum() == depth.size - 12
    depth[:, :] = hole
    depth[0, 0] = 1.0
    assert not surface_at(depth, K, (NEAREST + 1.5, 0.5), step=0.01, reach=1.0).any()
    assert surface_at(depth, K, (NEAREST + 0.5, 0.5), step=0.01, reach=1.0).sum() == 1


def test_what_is_given_is_left_as_it_is() -> None:
    depth = np.full((48, 64), 1.0, np.float32)
    of = np.ones(depth.shape, np.bool_)
    depth[3, 3] = np.nan
    before = depth.copy(), of.copy()
    surface_at(depth, K, (5.0, 5.0), step=0.01, reach=0.05, of=of)
    np.testing.assert_array_equal(depth, before[0])
    np.testing.assert_array_equal(of, before[1])


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"point_xy": (65.0, 2.0)}, InputError),
        ({"point_xy": (float("nan"), 2.0)}, InputError),
        ({"step": 0.0}, InputError),
        ({"reach": float("inf")}, InputError),
        ({"depth": np.ones((3, 3, 1), np.float32)}, ShapeError),
        ({"k": np.eye(4)}, ShapeError),
        ({"of": np.ones((3, 3), np.bool_)}, ShapeError),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, object], error: type[Exception]) -> None:
    given = {"depth": np.ones((48, 64), np.float32), "k": K, "point_xy": (5.0, 5.0), "step": 0.01, "reach": 1.0}
    with pytest.raises(error):
        surface_at(**(given | changed))  # type: ignore[arg-type]


DEPTH, LIFT = DepthConfig(), LiftConfig()
FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS = "the chick behind the cup"


def centred(detection: Detection) -> Detection:
    """A point in the middle of its box."""
    x0, y0, x1, y1 = detection.box_xyxy
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return replace(detection, mask=None, box_xyxy=(x - 1, y - 1, x + 1, y + 1), pointed=True)


def surfaces(frame: RgbdFrame, *detections: Detection) -> tuple[Detection, ...]:
    support = find_support(frame, DETECTIONS, DEPTH, None)
    return with_surfaces(frame, detections, support, DEPTH, LIFT)


def test_points_are_answered_as_boxes_are_or_refused() -> None:
    counts = measure(list(tabletops(3)))
    assert counts["points"].get("wrong", 0) == counts["points"].get("answered where it must refuse", 0) == 0
    assert counts["points"]["right"] >= 10
    answer = Resolver().resolve(FRAME, WORDS, [centred(d) for d in DETECTIONS])
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
    ends = tuple(
        replace(first, id=name, box_xyxy=(x - 1, y0, x + 1, y1)) for name, x in (("l", left + 4), ("r", right - 4))
    )
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
    assert whole.mask is not None
    half = whole.mask & (np.arange(whole.mask.shape[1]) < np.mean(whole.box_xyxy[::2]) - 5)
    owner = Detection("owner", "cup", 1.0, whole.box_xyxy, half)
    pointed, _ = surfaces(FRAME, point, owner)
    assert pointed.mask is not None
    assert not (pointed.mask & half).any()


def test_the_point_of_a_distorted_image_moves_with_its_box() -> None:
    bent = replace(FRAME, camera=replace(FRAME.camera, D=(0.1, -0.05, 0.0, 0.0, 0.0)))
    _, (moved,) = rectified(bent, (centred(DETECTIONS[0]),))
    assert moved.pointed
    assert moved.box_xyxy != centred(DETECTIONS[0]).box_xyxy
