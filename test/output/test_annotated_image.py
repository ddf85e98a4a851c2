# SPDX-License-Identifier: Apache-2.0
"""The drawn answer: what must be on the image is looked for where geometry says it is."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from chicks import BASE_T_CAMERA, BEHIND, FRAME, SEEN, answered, drawn, resolved

from spatial_vlm_ros import PinholeCamera, Resolver
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.types import FrameOfReference, Place, Pose, Resolution, Rgb, Status


def shown(resolution: Resolution) -> Rgb:
    """An answer of another kind, drawn on the known scene."""
    return draw(FRAME, SEEN, resolution, scene=answered(BEHIND).scene)


def outlined(image: np.ndarray, id_: str, colour: tuple[int, int, int]) -> float:
    """Part of a mask's border at which the image has a colour within two pixels."""
    mask = next(d.mask for d in SEEN if d.id == id_)
    border = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    alike = np.abs(image[: border.shape[0], : border.shape[1]].astype(int) - colour).max(axis=2) < 8
    near = cv2.dilate(alike.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return float(near[border].mean())


def pixel(place: tuple[float, ...] | np.ndarray) -> tuple[int, int]:
    """(row, column) at which a place in the world is seen."""
    u, v = project(FRAME.camera, BASE_T_CAMERA.inverse().apply(np.array([place])))[0].round().astype(int)
    return int(v), int(u)


def marked(image: np.ndarray, place: tuple[float, ...]) -> int:
    """Number of pixels around a place in the world that differ from the photograph."""
    v, u = pixel(place)
    around = np.s_[v - 6 : v + 7, u - 6 : u + 7]
    return int((np.abs(image[around].astype(int) - FRAME.rgb[around].astype(int)).sum(axis=2) > 60).sum())


def test_the_chosen_outline_and_its_pose_are_drawn_where_they_are() -> None:
    image, target = drawn(BEHIND), resolved(BEHIND).target
    assert image.dtype == np.uint8
    assert image.shape[0] > 480
    assert image.shape[1] > 640 + 300  # the camera image, and the view from above beside it
    assert outlined(image, "bonnet", drawing.GREEN) > 0.9
    assert outlined(image, "cup", drawing.BLUE) > 0.8
    assert target is not None
    assert marked(image, target.pose.position) >= 10


@pytest.mark.parametrize("instruction", ["the chick", "the duck", "the chick left of the box", "", "naïve — 猫"])
def test_refusals_are_drawn_with_their_words(instruction: str) -> None:
    panel = drawn(instruction)[480:]
    assert (panel == drawing.VERMILLION).all(axis=2).sum() > 300  # the ground of the status
    assert (panel.astype(int).sum(axis=2) < 200).sum() > 100  # dark words
    assert panel.shape[0] >= 40


def test_refusals_mark_all_that_may_be_meant_or_what_came_closest_and_the_reference() -> None:
    image = drawn("the chick")
    for detection in SEEN:
        share = outlined(image, detection.id, drawing.ORANGE)
        assert share > 0.5 if detection.label == "chick" else share < 0.2  # of the dashed border
    assert not (image[:480] == drawing.GREEN).all(axis=2).any()
    assert resolved("the box right of the cup").status is Status.RELATION_UNSATISFIED
    image = drawn("the box right of the cup")
    assert outlined(image, "box", drawing.VERMILLION) > 0.9
    assert outlined(image, "cup", drawing.BLUE) > 0.6  # a label stands over a part


def test_a_frame_without_usable_depth_is_still_drawn() -> None:
    blind = dataclasses.replace(FRAME, depth=np.full_like(FRAME.depth, np.nan))
    resolution = Resolver().resolve(blind, "the chick", SEEN)
    assert resolution.status is Status.DEPTH_INVALID
    np.testing.assert_array_equal(draw(blind, SEEN, resolution)[:480], FRAME.rgb)


def test_every_target_is_drawn_with_its_pose() -> None:
    one, other = resolved("the bonnet chick"), resolved("the ribbon chick")
    targets = one.target, other.target
    image = shown(dataclasses.replace(one, targets=targets))
    for target in targets:
        assert outlined(image, target.id, drawing.GREEN) > 0.9
        assert marked(image, target.pose.position) >= 10


@pytest.mark.parametrize("in_base", [True, False])
def test_places_are_drawn_where_they_are_the_best_with_a_cross(in_base: bool) -> None:
    spots, to_camera = ((0.0, 0.18, 0.0), (-0.1, -0.2, 0.0)), BASE_T_CAMERA.inverse()
    frame = FRAME if in_base else dataclasses.replace(FRAME, base_T_camera=None)
    observed = Resolver().look_at(frame, SEEN).ask("the bonnet chick")
    turn = quaternion_xyzw_from_matrix(np.eye(3) if in_base else to_camera.rotation)
    frame_id = "world" if in_base else frame.frame_id
    at = spots if in_base else [tuple(to_camera.apply(np.array(spot))) for spot in spots]
    places = tuple(Place(Pose(frame_id, place, turn), "support", probability=0.9) for place in at)
    answer = dataclasses.replace(observed.resolution, place=places[0], places=places)
    image = draw(frame, SEEN, answer, scene=observed.scene)
    best, second = (pixel(spot) for spot in spots)
    assert tuple(image[best]) == drawing.PURPLE
    assert tuple(image[second]) != drawing.PURPLE
    around = image[second[0] - 40 : second[0] + 41, second[1] - 40 : second[1] + 41].astype(int)
    assert (np.abs(around - drawing.PURPLE).max(axis=2) < 8).any()


def test_an_answer_from_an_objects_own_view_is_drawn_with_its_front() -> None:
    seen = {}
    for side in (1.0, -1.0):
        faced = tuple(dataclasses.replace(d, front=(side, 0.0, 0.0)) if d.id == "cup" else d for d in SEEN)
        answered = Resolver().look_at(FRAME, faced).ask("the box behind the cup", FrameOfReference.OBJECT)
        seen[side] = draw(FRAME, faced, answered.resolution, scene=answered.scene)[:480, 641:].astype(int)
    assert (np.abs(seen[1.0] - seen[-1.0]).sum(axis=2) > 60).sum() > 100


def test_a_small_image_is_enlarged() -> None:
    small = dataclasses.replace(
        FRAME,
        rgb=np.ascontiguousarray(FRAME.rgb[::4, ::4]),
        depth=np.ascontiguousarray(FRAME.depth[::4, ::4]),
        camera=PinholeCamera(FRAME.camera.K * [[0.25], [0.25], [1.0]], 160, 120),
    )
    image = draw(small, (), Resolver().resolve(small, "the cup", ()))
    enlarged = np.repeat(np.repeat(small.rgb, 4, axis=0), 4, axis=1)
    np.testing.assert_array_equal(image[:480, :640], enlarged)


def test_what_a_model_chose_has_another_colour_than_what_was_measured() -> None:
    measured = resolved("the cup")
    by_model = dataclasses.replace(measured, source="model", confidence=0.0, query=None)
    panels = [shown(resolution)[480:] for resolution in (measured, by_model)]
    (green, blue), (none, ground) = (
        [(panel[:60, :80] == colour).all(axis=2).sum() for colour in (drawing.GREEN, drawing.BLUE)] for panel in panels
    )
    assert green > 300
    assert ground > 300
    assert (blue, none) == (0, 0)
    assert (panels[1] == drawing.VERMILLION).all(axis=2).sum() > 50  # the words that say so
