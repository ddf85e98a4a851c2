# SPDX-License-Identifier: Apache-2.0
"""The drawn answer: what must be on the image is looked for where geometry says it is."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from spatial_vlm_ros import PinholeCamera, Resolver
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, FrameOfReference, Place, Pose, RgbdFrame, Status


def outlined(image: np.ndarray, detection: Detection, colour: tuple[int, int, int]) -> float:
    """Part of a mask's border at which the image has a colour within two pixels."""
    assert detection.mask is not None
    border = detection.mask & ~cv2.erode(detection.mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    alike = np.abs(image[: border.shape[0], : border.shape[1]].astype(int) - colour).max(axis=2) < 8
    near = cv2.dilate(alike.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return float(near[border].mean())


def test_the_chosen_outline_and_its_pose_are_drawn_where_they_are() -> None:
    frame, detections = chicks_and_cup_frame()
    resolution = Resolver().resolve(frame, "grab me the chick behind the cup", detections)
    image = draw(frame, detections, resolution)
    assert image.dtype == np.uint8
    assert image.shape[0] > 480
    assert image.shape[1] > 640 + 300  # the camera image, and the view from above beside it
    chosen, cup = (next(d for d in detections if d.id == name) for name in ("bonnet", "cup"))
    assert outlined(image, chosen, drawing.GREEN) > 0.9
    assert outlined(image, cup, drawing.BLUE) > 0.8
    assert resolution.target is not None
    assert frame.base_T_camera is not None
    centre = frame.base_T_camera.inverse().apply(np.array([resolution.target.pose.position]))
    u, v = project(frame.camera, centre)[0].round().astype(int)
    around = image[v - 6 : v + 7, u - 6 : u + 7].astype(int)
    before = frame.rgb[v - 6 : v + 7, u - 6 : u + 7].astype(int)
    assert (np.abs(around - before).sum(axis=2) > 60).sum() >= 10


@pytest.mark.parametrize("instruction", ["the chick", "the duck", "the chick left of the box", "", "naïve — 猫"])
def test_refusals_are_drawn_with_their_words(instruction: str) -> None:
    frame, detections = chicks_and_cup_frame()
    resolution = Resolver().resolve(frame, instruction, detections)
    panel = draw(frame, detections, resolution)[480:]
    assert (panel == drawing.VERMILLION).all(axis=2).sum() > 300  # the ground of the status
    assert (panel.astype(int).sum(axis=2) < 200).sum() > 100  # dark words
    assert panel.shape[0] >= 40


def test_an_ambiguous_refusal_marks_all_that_may_be_meant() -> None:
    frame, detections = chicks_and_cup_frame()
    image = draw(frame, detections, Resolver().resolve(frame, "the chick", detections))
    for detection in detections:
        share = outlined(image, detection, drawing.ORANGE)
        assert share > 0.5 if detection.label == "chick" else share < 0.2  # of the dashed border
    assert not (image[:480] == drawing.GREEN).all(axis=2).any()


def test_a_refused_relation_marks_what_came_closest_and_the_reference() -> None:
    frame, detections = chicks_and_cup_frame()
    resolution = Resolver().resolve(frame, "the box right of the cup", detections)
    assert resolution.status is Status.RELATION_UNSATISFIED
    image = draw(frame, detections, resolution)
    box, cup = (next(d for d in detections if d.id == name) for name in ("box", "cup"))
    assert outlined(image, box, drawing.VERMILLION) > 0.9
    assert outlined(image, cup, drawing.BLUE) > 0.6  # a label stands over a part


def test_a_frame_without_usable_depth_is_still_drawn() -> None:
    frame, detections = chicks_and_cup_frame()
    blind = dataclasses.replace(frame, depth=np.full_like(frame.depth, np.nan))
    resolution = Resolver().resolve(blind, "the chick", detections)
    assert resolution.status.value == "DEPTH_INVALID"
    np.testing.assert_array_equal(draw(blind, detections, resolution)[:480], frame.rgb)


def marked(image: np.ndarray, frame: RgbdFrame, at: np.ndarray, reach: int = 6) -> np.ndarray:
    """Difference between image and frame around a place, metres, base frame."""
    assert frame.base_T_camera is not None
    u, v = project(frame.camera, frame.base_T_camera.inverse().apply(at)[None])[0].round().astype(int)
    around = np.s_[v - reach : v + reach + 1, u - reach : u + reach + 1]
    return np.asarray(np.abs(image[around].astype(int) - frame.rgb[around].astype(int)).sum(axis=2))


def test_every_target_is_drawn_with_its_pose() -> None:
    frame, detections = chicks_and_cup_frame()
    both = [Resolver().resolve(frame, f"the {kind} chick", detections).target for kind in ("bonnet", "ribbon")]
    first, second = both
    assert first is not None
    assert second is not None
    one = Resolver().resolve(frame, "the bonnet chick", detections)
    image = draw(frame, detections, dataclasses.replace(one, targets=(first, second)))
    for target in (first, second):
        assert outlined(image, next(d for d in detections if d.id == target.id), drawing.GREEN) > 0.9
        assert (marked(image, frame, np.array(target.pose.position)) > 60).sum() >= 10


@pytest.mark.parametrize("in_base", [True, False])
def test_places_are_drawn_where_they_are_the_best_with_a_cross(in_base: bool) -> None:
    frame, detections = chicks_and_cup_frame()
    assert frame.base_T_camera is not None
    answer = Resolver().resolve(frame, "the bonnet chick", detections)
    spots = (np.array([0.0, 0.18, 0.0]), np.array([-0.1, -0.2, 0.0]))
    if not in_base:
        frame = dataclasses.replace(frame, base_T_camera=None)
        answer = Resolver().resolve(frame, "the bonnet chick", detections)
    known = chicks_and_cup_frame()[0].base_T_camera
    assert known is not None
    turn = quaternion_xyzw_from_matrix(np.eye(3) if in_base else known.inverse().rotation)
    places = []
    for spot in spots:
        x, y, z = spot if in_base else known.inverse().apply(spot)
        places.append(Place(Pose("world" if in_base else frame.frame_id, (x, y, z), turn), "support", probability=0.9))
    image = draw(frame, detections, dataclasses.replace(answer, place=places[0], places=tuple(places)))
    colours = []
    for spot in spots:
        u, v = project(frame.camera, known.inverse().apply(spot)[None])[0].round().astype(int)
        colours.append(tuple(int(c) for c in image[v, u]))
    assert colours[0] == drawing.PURPLE
    u, v = project(frame.camera, known.inverse().apply(spots[1])[None])[0].round().astype(int)
    around = image[v - 40 : v + 41, u - 40 : u + 41].astype(int)
    assert colours[1] != drawing.PURPLE
    assert (np.abs(around - drawing.PURPLE).max(axis=2) < 8).any()


def test_an_answer_from_an_objects_own_view_is_drawn_with_its_front() -> None:
    frame, detections = chicks_and_cup_frame()
    seen = {}
    for side in (1.0, -1.0):
        faced = tuple(dataclasses.replace(d, front=(side, 0.0, 0.0)) if d.id == "cup" else d for d in detections)
        answer = Resolver().resolve(frame, "the box behind the cup", faced, FrameOfReference.OBJECT)
        seen[side] = draw(frame, faced, answer)[:480, 641:].astype(int)
    assert (np.abs(seen[1.0] - seen[-1.0]).sum(axis=2) > 60).sum() > 100


def test_a_small_image_is_enlarged() -> None:
    frame, _ = chicks_and_cup_frame()
    small = dataclasses.replace(
        frame,
        rgb=np.ascontiguousarray(frame.rgb[::4, ::4]),
        depth=np.ascontiguousarray(frame.depth[::4, ::4]),
        camera=PinholeCamera(frame.camera.K * [[0.25], [0.25], [1.0]], 160, 120),
    )
    image = draw(small, (), Resolver().resolve(small, "the cup", ()))
    enlarged = np.repeat(np.repeat(small.rgb, 4, axis=0), 4, axis=1)
    np.testing.assert_array_equal(image[:480, :640], enlarged)


def test_what_a_model_chose_has_another_colour_than_what_was_measured() -> None:
    frame, detections = chicks_and_cup_frame()
    measured = Resolver().resolve(frame, "the cup", detections)
    by_model = dataclasses.replace(measured, source="model", confidence=0.0, query=None)
    panels = [draw(frame, detections, resolution)[480:] for resolution in (measured, by_model)]
    (green, blue), (none, ground) = (
        [(panel[:60, :80] == colour).all(axis=2).sum() for colour in (drawing.GREEN, drawing.BLUE)] for panel in panels
    )
    assert green > 300
    assert ground > 300
    assert (blue, none) == (0, 0)
    assert (panels[1] == drawing.VERMILLION).all(axis=2).sum() > 50  # the words that say so
