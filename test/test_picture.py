# SPDX-License-Identifier: Apache-2.0
"""The drawn answer: what must be on the picture is looked for where geometry says it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spatial_vlm_ros import PinholeCamera, Resolver
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.picture import draw
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame


def test_the_chosen_box_and_its_pose_are_drawn_where_they_are() -> None:
    frame, detections = chicks_and_cup_frame()
    resolution = Resolver().resolve(frame, "grab me the chick behind the cup", detections)
    picture = draw(frame, detections, resolution)
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 480
    assert picture.shape[1:] == (640, 3)
    chosen = next(d for d in detections if d.id == "bonnet")
    x0, _, _, y1 = (round(c) for c in chosen.box_xyxy)
    green = picture[y1 - 2 : y1 + 3, x0 : x0 + 30].reshape(-1, 3).astype(int)
    assert ((green[:, 1] > 180) & (green[:, 0] < 90)).sum() >= 25
    assert resolution.target is not None
    assert frame.base_T_camera is not None
    centre = frame.base_T_camera.inverse().apply(np.array([resolution.target.pose.position]))
    u, v = project(frame.camera, centre)[0].round().astype(int)
    around = picture[v - 6 : v + 7, u - 6 : u + 7].astype(int)
    before = frame.rgb[v - 6 : v + 7, u - 6 : u + 7].astype(int)
    assert (np.abs(around - before).sum(axis=2) > 60).sum() >= 10


@pytest.mark.parametrize("instruction", ["the chick", "the duck", "the chick left of the box", "", "naïve — 猫"])
def test_refusals_are_drawn_with_their_words(instruction: str) -> None:
    frame, detections = chicks_and_cup_frame()
    resolution = Resolver().resolve(frame, instruction, detections)
    panel = draw(frame, detections, resolution)[480:]
    assert (panel[:, :, 0] > 200).any()  # red words
    assert panel.shape[0] >= 40


def test_a_frame_without_usable_depth_is_still_drawn() -> None:
    frame, detections = chicks_and_cup_frame()
    blind = dataclasses.replace(frame, depth=np.full_like(frame.depth, np.nan))
    resolution = Resolver().resolve(blind, "the chick", detections)
    assert resolution.status.value == "DEPTH_INVALID"
    np.testing.assert_array_equal(draw(blind, detections, resolution)[:480], frame.rgb)


def test_a_small_picture_is_enlarged() -> None:
    frame, _ = chicks_and_cup_frame()
    small = dataclasses.replace(
        frame,
        rgb=np.ascontiguousarray(frame.rgb[::4, ::4]),
        depth=np.ascontiguousarray(frame.depth[::4, ::4]),
        camera=PinholeCamera(frame.camera.K * [[0.25], [0.25], [1.0]], 160, 120),
    )
    assert draw(small, (), Resolver().resolve(small, "the cup", ())).shape[1] == 640
