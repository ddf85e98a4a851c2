# SPDX-License-Identifier: Apache-2.0
"""A model's box or mask around a part of an object, around several, or where depth is missing, is no object."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.pointed_out import POINTED_ID
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import Detection, Mask, Resolution, Rgb, RgbdFrame, Status, Transform

FREE = "hand me what I adore"
ASK = config_from({"language": {"free_form": "ask_model"}})
Box = tuple[float, float, float, float]


class Points(GivenDetections):
    """Points at a place, and cuts out a mask where it has one."""

    def __init__(self, place: NamedObject, mask: Mask | None) -> None:
        super().__init__(())
        self.place, self.mask = place, mask

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:
        assert words == FREE
        return (self.place,)

    def masked(self, _: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        return tuple(dataclasses.replace(one, mask=self.mask) for one in detections)


def look(tabletop: Any, *bodies: Body, **world: Any) -> tuple[RgbdFrame, dict[str, Detection]]:
    """The bodies with noise of a depth camera, and their true detections."""
    seen: Rendering = tabletop.see(*bodies, **world)
    return noisy(seen.frame, np.random.default_rng(0)), {one.id: one for one in seen.detections}


def answered(
    frame: RgbdFrame, box: Sequence[float], given: Sequence[Detection] = (), mask: Mask | None = None
) -> Answered:
    place = NamedObject("", (box[0], box[1], box[2], box[3]), None, None)
    return Resolver(ASK, Points(place, mask)).look_at(frame, tuple(given)).ask(FREE)


def told(frame: RgbdFrame, box: Sequence[float], *given: Detection, mask: Mask | None = None) -> Resolution:
    return answered(frame, box, given, mask).resolution


def at(frame: RgbdFrame, x: float, y: float, *given: Detection, mask: Mask | None = None) -> Resolution:
    place = NamedObject("", None, (x, y), None)
    return Resolver(ASK, Points(place, mask)).resolve(frame, FREE, given)


def around(*some: Detection) -> Box:
    x0, y0, x1, y1 = zip(*(one.box_xyxy for one in some), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def part(box: Box, share: float, side: str) -> Box:
    """The share of a box that lies on a side of it."""
    x0, y0, x1, y1 = box
    across, down = share * (x1 - x0), share * (y1 - y0)
    return {
        "left": (x0, y0, x0 + across, y1), "right": (x1 - across, y0, x1, y1),
        "top": (x0, y0, x1, y0 + down), "bottom": (x0, y1 - down, x1, y1),
    }[side]  # fmt: skip


@pytest.fixture(scope="module")
def can_alone(tabletop: Any) -> tuple[RgbdFrame, Detection]:
    frame, found = look(tabletop, tabletop.can("can", 0.0, 0.0))
    return frame, found["can"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_part_of_a_can_is_no_object(
    can_alone: tuple[RgbdFrame, Detection], share: float, side: str, masked: bool
) -> None:
    frame, can = can_alone
    box = part(can.box_xyxy, share, side)
    mask = np.zeros_like(can.mask)
    x0, y0, x1, y1 = (round(v) for v in box)
    mask[y0:y1, x0:x1] = can.mask[y0:y1, x0:x1]
    refused = told(frame, box, mask=mask if masked else None)
    assert (refused.status, refused.source, refused.target) == (Status.LOW_CONFIDENCE, "model", None)
    assert "continues outside" in refused.message


@pytest.mark.parametrize("shape", ["can", "cup", "turned block", "ball", "long block"])
def test_a_box_that_is_off_by_four_percent_is_answered(tabletop: Any, shape: str) -> None:
    bodies = {
        "can": tabletop.can("o", 0.0, 0.0), "cup": tabletop.cup("o", 0.0, 0.0), "ball": tabletop.ball("o", 0.0, 0.0),
        "turned block": tabletop.block("o", 0.0, 0.0, yaw=0.5),
        "long block": tabletop.block("o", 0.0, 0.0, (0.2, 0.1, 0.08)),
    }  # fmt: skip
    frame, found = look(tabletop, bodies[shape])
    for off in ((-1, -1, 1, 1), (1, 1, -1, -1), (1, 1, 1, 1), (-1, 1, -1, -1), (0, 0, 0, 0)):
        box = np.array(found["o"].box_xyxy)
        box += 0.04 * np.array(off) * np.tile(box[2:] - box[:2], 2)
        answer = told(frame, box.tolist())
        assert answer.target is not None, (off, answer.message)
        assert answer.target.id == POINTED_ID
        assert answer.target.pose.position[:2] == pytest.approx((0.0, 0.0), abs=0.012)


def test_a_patch_of_a_wall_of_a_cabinet_or_of_an_arm_is_no_object(tabletop: Any) -> None:
    cup = tabletop.cup("cup", 0.0, 0.0)
    wall = tabletop.block("wall", 0.0, 0.5, (1.6, 0.02, 0.9))
    cabinet = tabletop.block("cabinet", 0.0, 0.35, (0.5, 0.3, 0.4))
    for back in (wall, cabinet):
        frame, found = look(tabletop, cup, back)
        for given in ((), (found["cup"],)):
            refused = told(frame, (280.0, 60.0, 350.0, 130.0), *given)
            assert refused.status is Status.LOW_CONFIDENCE, refused.message
            assert "continues outside" in refused.message
    frame, found = look(tabletop, tabletop.block("arm", 0.25, 0.0, (0.6, 0.08, 0.08)))
    x0, y0, _, y1 = found["arm"].box_xyxy
    assert told(frame, (x0, y0, x0 + 60, y1)).status is Status.LOW_CONFIDENCE


def test_without_a_support_nothing_says_what_is_raised(tabletop: Any) -> None:
    frame, _ = look(tabletop, tabletop.cup("cup", 0.0, 0.0))
    rng = np.random.default_rng(0)
    wall = (0.8 + rng.normal(0.0, 0.001, frame.depth.shape)).astype(np.float32)
    level = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
    pose = Transform(frame.base_T_camera.parent, frame.base_T_camera.child, level)
    refused = told(dataclasses.replace(frame, depth=wall, base_T_camera=pose), (300, 200, 350, 260))
    assert (refused.status, refused.target) == (Status.LOW_CONFIDENCE, None)
    assert "no support surface was measured" in refused.message


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_an_object_with_a_large_hole_in_its_depth_has_no_pose(tabletop: Any, share: float) -> None:
    frame, found = look(tabletop, tabletop.block("cube", 0.0, 0.0))
    x0, y0, x1, y1 = (int(v) for v in found["cube"].box_xyxy)
    depth = frame.depth.copy()
    depth[y0:y1, x0 : int(x0 + share * (x1 - x0))] = np.nan
    holed = dataclasses.replace(frame, depth=depth)
    refused = told(holed, found["cube"].box_xyxy)
    assert (refused.status, refused.target) == (Status.DEPTH_INVALID, None)
    assert "has no depth in" in refused.message
    depth = frame.depth.copy()
    depth[np.random.default_rng(1).random(depth.shape) < 0.05] = np.nan  # small ones cost nothing
    answer = answered(dataclasses.replace(frame, depth=depth), found["cube"].box_xyxy)
    assert answer.resolution.status is Status.OK
    assert [(one.id, one.score) for one in answer.detections] == [(POINTED_ID, 0.0)]
    beside = at(holed, x1 - 4.0, (y0 + y1) / 2)
    assert (beside.status, beside.target) == (Status.DEPTH_INVALID, None)
    assert "pixels around" in beside.message


def test_a_box_around_two_objects_apart_or_far_larger_than_one_is_no_object(tabletop: Any) -> None:
    behind = tabletop.block("near", 0.0, -0.12), tabletop.block("far", 0.0, 0.12)
    beside = tabletop.can("near", -0.05, -0.05), tabletop.can("far", 0.06, 0.1)
    for bodies in (behind, beside):
        frame, found = look(tabletop, *bodies)
        refused = told(frame, around(*found.values()))
        assert (refused.status, refused.target) == (Status.AMBIGUOUS, None), refused.message
        assert "several objects" in refused.message
    x0, y0, x1, y1 = found["near"].box_xyxy  # far larger than what is in it
    refused = told(look(tabletop, bodies[0])[0], (x0 - 50, y0 - 20, x1 + 5, y1 + 20))
    assert (refused.status, refused.target) == (Status.LOW_CONFIDENCE, None)
    assert "spanned by" in refused.message


def test_one_of_two_stacked_cubes_is_no_object_and_both_look_like_one(tabletop: Any) -> None:
    frame, found = look(tabletop, tabletop.block("low", 0.0, 0.0), tabletop.block("high", 0.0, 0.0, z=0.05))
    for one in found.values():
        assert told(frame, one.box_xyxy).status is Status.LOW_CONFIDENCE
    both = told(frame, around(*found.values()))  # one surface: by depth it is a block of 10 cm
    assert both.target.size[2] == pytest.approx(0.1, abs=0.01)
    high, low = found["high"], found["low"]
    assert told(frame, high.box_xyxy, low).target is not None  # the lower one is known to be another


@pytest.mark.parametrize("as_box", [False, True])
def test_a_mask_of_a_detected_object_is_that_object(tabletop: Any, as_box: bool) -> None:
    frame, found = look(tabletop, tabletop.can("can", 0.0, 0.0))
    can = dataclasses.replace(found["can"], mask=None) if as_box else found["can"]
    mask = found["can"].mask
    x1, y = found["can"].box_xyxy[2] + 2, (found["can"].box_xyxy[1] + found["can"].box_xyxy[3]) / 2
    wide = mask.copy()
    wide[int(y) - 1 : int(y) + 2, int(x1) - 4 : int(x1) + 2] = True
    same = at(frame, x1, y, can, mask=wide)
    assert (same.target.id, same.source) == ("can", "model")
    little = np.zeros_like(mask)
    little[int(y) - 6 : int(y) + 6, int(x1) - 24 : int(x1) + 2] = True
    some = at(frame, x1, y, can, mask=little)
    assert (some.status, some.target) == (Status.AMBIGUOUS, None)
    assert "a part of the can" in some.message
