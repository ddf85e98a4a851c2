# SPDX-License-Identifier: Apache-2.0
"""Masks cut out of boxes by depth and colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST, _edges, masks_from_boxes, raised_pixels
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Detection, Mask, RgbdFrame

if TYPE_CHECKING:
    from conftest import Tabletop

DEPTH, LIFT = DepthConfig(), LiftConfig()


def cut(frame: RgbdFrame, detections: tuple[Detection, ...], seen: Rendering) -> dict[str, Mask]:
    support = find_support(frame, detections, DEPTH, seen.frame.base_T_camera.rotation[2])
    patches = masks_from_boxes(frame, detections, support, DEPTH, LIFT)
    masks = [patch.full(frame.depth.shape) for patch in patches]
    return {d.id: m for d, m in zip(detections, masks, strict=True)}


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def frames(seen: Rendering) -> dict[str, RgbdFrame]:
    return {"exact": seen.frame, "noisy": noisy(seen.frame, np.random.default_rng(0))}


@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_masks_cut_from_boxes_are_those_of_the_objects(tabletop: Tabletop, kind: str) -> None:
    overlaps = []
    for seed in range(5):
        seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 6).bodies)
        masks = cut(frames(seen)[kind], tabletop.boxes_only(seen.detections), seen)
        overlaps += [iou(mask, seen.masks[id_]) for id_, mask in masks.items() if seen.visible_fraction[id_] > 0.5]
    assert len(overlaps) > 20
    assert np.median(overlaps) > 0.85
    assert np.percentile(overlaps, 5) > 0.6


@pytest.mark.parametrize(("kind", "pitch"), [("exact", 20), ("noisy", 35), ("noisy", 50)])
def test_a_block_behind_a_bottle_has_no_pixel_of_the_bottle_to_speak_of(
    tabletop: Tabletop, kind: str, pitch: float
) -> None:
    """Both boxes overlap by a good part of the block's."""
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


def test_touching_objects_are_divided(tabletop: Tabletop) -> None:
    left = tabletop.block("left", -0.03, 0.0, (0.06, 0.06, 0.06), colour="red")
    right = tabletop.block("right", 0.03, 0.0, (0.06, 0.06, 0.06), colour="blue")
    seen = tabletop.see(left, right)
    masks = cut(seen.frame, tabletop.boxes_only(seen.detections), seen)
    for id_ in ("left", "right"):
        assert iou(masks[id_], seen.masks[id_]) > 0.8


def test_a_flat_object_is_cut_out_by_its_colour(tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.block("card", 0.0, 0.0, (0.12, 0.08, 0.001), colour="blue"), tabletop.can("b", 0.25, 0.1)
    )
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
