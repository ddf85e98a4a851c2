# SPDX-License-Identifier: Apache-2.0
"""Detections that are points, as objects: on rendered tables, beside the same detections with their masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import view
from benchmarks.detection_forms import as_point, measure, tabletops
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.camera import rectified
from spatial_vlm_ros.geometry.pointed import with_surfaces
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, ResolverConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, RgbdFrame, Status

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
    x0, y0, x1, y1 = first.box_xyxy
    beside = replace(first, id="other", box_xyxy=(x0 + 4, y0, x1 + 4, y1))
    assert surfaces(FRAME, first)[0].mask is not None
    assert surfaces(FRAME, first, beside) == (first, beside)


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


def test_two_points_far_apart_on_one_surface_place_none_of_them() -> None:
    first = centred(DETECTIONS[0])
    (whole,) = surfaces(FRAME, first)
    x0, _, x1, _ = whole.box_xyxy
    _, y0, _, y1 = first.box_xyxy
    ends = [
        replace(first, id=name, box_xyxy=(x - 1, y0, x + 1, y1)) for name, x in (("left", x0 + 4), ("right", x1 - 4))
    ]
    assert surfaces(FRAME, *ends) == tuple(ends)


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


def test_a_sentence_is_answered_on_points() -> None:
    answer = Resolver().resolve(FRAME, WORDS, [centred(d) for d in DETECTIONS])
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
