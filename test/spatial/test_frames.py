# SPDX-License-Identifier: Apache-2.0
"""Frames of reference: whose left, whose behind, and when there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from relation_scenes import LIMITS, VIEWER, lay, margins, rotation, seen_by_another_camera, with_front

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial import order
from spatial_vlm_ros.spatial.viewpoint import is_own_sided
from spatial_vlm_ros.types import FrameOfReference, Scene, Transform

if TYPE_CHECKING:
    from spatial.conftest import Ground, Object

    MakeThing = Callable[..., Object]

EXACT = {"abs": 1e-9}
ROBOT, SPEAKER, WORLD, OBJECT = (FrameOfReference(name) for name in ("robot", "speaker", "world", "object"))
WORLD_LIMITS = dataclasses.replace(LIMITS, world_defined=True)


def with_speaker(scene: Scene, ground: Ground, ahead: float, right: float, turned_deg: float) -> Scene:
    """The scene with a speaker who stands at a place on the ground."""
    camera_T_speaker = ground.looking_from(ahead, right, turned_deg).inverse()
    speaker = Transform(camera_T_speaker.parent, "speaker", camera_T_speaker.matrix)
    return dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, camera_T_speaker=speaker))


# ------------------------------------------------------------------------------------------------ speaker, world


def test_from_across_the_table_my_left_is_your_right(ground: Ground, obj: MakeThing) -> None:
    scene = with_speaker(ground.scene((obj(1.0, 0.2), obj(1.0, 0.0))), ground, 2.0, 0.0, 180.0)
    layout = lay(scene)
    assert margins(layout, "left of", SPEAKER)[0, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "right of", VIEWER)[0, 1] == pytest.approx(0.2, **EXACT)


def test_a_speaker_who_looks_straight_up_still_stands_somewhere(ground: Ground, obj: MakeThing) -> None:
    scene = ground.scene((obj(1.0, 0.2), obj(1.0, 0.0)))
    matrix = np.eye(4)
    up = scene.up
    side = np.array([1.0, 0.0, 0.0])
    matrix[:3, :3] = np.stack((up, side, np.cross(up, side)), axis=1)
    matrix[:3, 3] = (0.0, 0.0, 0.1)
    speaker = Transform(scene.frame.frame_id, "speaker", matrix)
    scene = dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, camera_T_speaker=speaker))
    assert np.isfinite(margins(lay(scene), "left of", SPEAKER)).all()


@pytest.mark.parametrize(
    ("azimuth_deg", "relation"), [(0.0, "behind"), (90.0, "right of"), (180.0, "in front of"), (-90.0, "left of")]
)
def test_in_the_world_ahead_is_an_azimuth_of_the_base_frame(
    ground: Ground, obj: MakeThing, azimuth_deg: float, relation: str
) -> None:
    """The base looks the camera's way; azimuth turns ahead to its left (counter-clockwise about z)."""
    limits = dataclasses.replace(WORLD_LIMITS, world_azimuth_deg=azimuth_deg)
    objects = (obj(1.2, 0.0), obj(1.0, 0.0))
    layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.3, 0.2, 0.0)), limits)
    assert margins(layout, relation, WORLD)[0, 1] == pytest.approx(0.2, **EXACT)


def test_in_the_world_ahead_is_the_same_everywhere(ground: Ground, obj: MakeThing) -> None:
    base = ground.looking_from(0.0, 0.0, 0.0)
    for aside in (-2.0, 0.0, 1.0):
        layout = lay(ground.scene((obj(1.2, aside), obj(1.0, aside)), base_T_camera=base), WORLD_LIMITS)
        assert margins(layout, "behind", WORLD)[0, 1] == pytest.approx(0.2, **EXACT)
        assert margins(layout, "left of", WORLD)[0, 1] == pytest.approx(0.0, **EXACT)


def test_in_the_world_orders_go_along_its_axes(ground: Ground, obj: MakeThing) -> None:
    """Leftmost is the least far right in metres, not in bearing; nearest the least far ahead."""
    objects = (obj(0.6, -0.25), obj(2.0, -0.3), obj(1.0, 0.0))
    layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.0, 0.0, 0.0)), WORLD_LIMITS)
    view = layout.viewpoint(WORLD)
    assert np.argmin(order.key_of("leftmost", layout, view).value) == 1
    assert np.argmin(order.key_of("nearest", layout, view).value) == 0
    assert order.key_of("nearest", layout, view).value[1] == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(("defined", "has_base"), [(False, True), (True, False)])
def test_the_world_needs_an_azimuth_and_a_base(ground: Ground, obj: MakeThing, defined: bool, has_base: bool) -> None:
    base = ground.looking_from(0.0, 0.0, 0.0) if has_base else None
    limits = dataclasses.replace(LIMITS, world_defined=defined)
    layout = lay(ground.scene((obj(1.0, 0.0),), base_T_camera=base), limits)
    with pytest.raises(FrameUndefinedError, match="world"):
        layout.viewpoint(WORLD)


# ------------------------------------------------------------------------------------------------ object


@pytest.mark.parametrize(("label", "left_is"), [("office chair", -0.2), ("stove", 0.2)])
def test_a_chairs_left_is_its_own_and_a_stoves_is_that_of_who_faces_it(
    ground: Ground, obj: MakeThing, label: str, left_is: float
) -> None:
    """Both face the camera: who sits in the chair has his left on the camera's right."""
    objects = (obj(1.0, -0.2), obj(1.0, 0.0), obj(0.8, 0.0))
    layout = lay(with_front(ground.scene(objects), 1, -1.0, 0.0, label))
    assert margins(layout, "left of", OBJECT)[0, 1] == pytest.approx(left_is, **EXACT)
    assert margins(layout, "in front of", OBJECT)[2, 1] == pytest.approx(0.2, **EXACT)


def test_behind_an_object_that_looks_away_is_between_it_and_the_camera(ground: Ground, obj: MakeThing) -> None:
    layout = lay(with_front(ground.scene((obj(0.8, 0.0), obj(1.0, 0.0))), 1, 1.0, 0.0, "chair"))
    assert margins(layout, "behind", OBJECT)[0, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "behind", VIEWER)[0, 1] == pytest.approx(-0.2, **EXACT)


def test_anchors_without_a_front_are_not_measured_and_without_any_it_is_said_which(
    ground: Ground, obj: MakeThing
) -> None:
    scene = ground.scene((obj(0.8, 0.0), obj(1.0, 0.0, label="sofa"), obj(1.2, 0.0, label="sofa")))
    with pytest.raises(FrameUndefinedError, match=r"any of block, sofa|the sofa"):
        margins(lay(scene), "behind", OBJECT)
    got = margins(lay(with_front(scene, 1, -1.0, 0.0)), "behind", OBJECT)
    assert np.isfinite(got[:, 1]).all()
    assert np.isnan(got[:, [0, 2]]).all()


def test_a_front_that_faces_up_is_none(ground: Ground, obj: MakeThing) -> None:
    scene = with_front(ground.scene((obj(1.0, 0.0), obj(1.2, 0.0))), 0, -1.0, 0.0)
    book = dataclasses.replace(scene.objects[0].detection, front=tuple(scene.up))
    scene = dataclasses.replace(
        scene, objects=(dataclasses.replace(scene.objects[0], detection=book), scene.objects[1])
    )
    assert np.isnan(margins(lay(scene), "facing")).all()


def test_an_order_has_no_object_to_look_from(ground: Ground, obj: MakeThing) -> None:
    layout = lay(with_front(ground.scene((obj(1.0, 0.0), obj(1.2, 0.0))), 0, -1.0, 0.0))
    for word in ("leftmost", "nearest"):
        with pytest.raises(FrameUndefinedError, match="order"):
            order.key_of(word, layout, layout.viewpoint(OBJECT))


@pytest.mark.parametrize(
    ("label", "own"),
    [("chair", True), ("Toy_Chick", True), ("rubber duck", True), ("stove", False), ("car radio", False), ("", False)],
)
def test_the_last_word_of_a_label_says_whose_sides_it_has(label: str, own: bool) -> None:
    assert is_own_sided(label) is own


# ------------------------------------------------------------------------------------------------ straight down


@pytest.mark.parametrize(
    ("ahead", "relation"), [("up", "behind"), ("down", "in front of"), ("left", "right of"), ("right", "left of")]
)
def test_straight_down_a_side_of_the_image_can_be_ahead(
    ground: Ground, obj: MakeThing, ahead: str, relation: str
) -> None:
    """The target is 0.2 up the image from the anchor; right is always clockwise of ahead."""
    layout = lay(
        ground.scene((obj(0.2, 0.1), obj(0.0, 0.1)), pitch_deg=90.0),
        dataclasses.replace(LIMITS, down_ahead=ahead),
    )
    assert margins(layout, relation)[0, 1] == pytest.approx(0.2, **EXACT)


def test_straight_down_orders_go_along_the_image(ground: Ground, obj: MakeThing) -> None:
    objects = (obj(0.3, 0.1), obj(-0.3, -0.2), obj(0.0, 0.2))
    layout = lay(ground.scene(objects, pitch_deg=90.0))
    assert order.key_of("leftmost", layout, layout.viewpoint(VIEWER)).value == pytest.approx([0.1, -0.2, 0.2])


@pytest.mark.parametrize("relation", ["behind", "at the front of", "at the back of", "on the other side of"])
def test_straight_down_nothing_is_ahead_unless_configured(ground: Ground, obj: MakeThing, relation: str) -> None:
    layout = lay(ground.scene((obj(0.2, 0.0), obj(0.0, 0.0)), pitch_deg=85.0))
    with pytest.raises(FrameUndefinedError, match="down_ahead"):
        margins(layout, relation)


@pytest.mark.parametrize("roll_deg", [0.0, 45.0, 180.0])
def test_straight_down_right_is_the_images_x_axis_however_it_is_rolled(
    ground: Ground, obj: MakeThing, roll_deg: float
) -> None:
    roll = np.radians(roll_deg)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.0, 0.0, 1.0]), roll)
    scene = ground.scene((obj(0.2, 0.1), obj(0.0, 0.0)), pitch_deg=90.0)
    rolled = seen_by_another_camera(scene, Transform(scene.frame.frame_id, "rolled", matrix))
    image = [float(o.box.centre[0] / o.box.centre[2]) for o in rolled.objects]
    got = margins(lay(rolled), "right of")[0, 1]
    assert np.sign(got) == np.sign(image[0] - image[1])
    assert got == pytest.approx(0.1 * np.cos(roll) - 0.2 * np.sin(roll), **EXACT)


def test_over_the_viewer_ahead_is_its_own_forward(ground: Ground, obj: MakeThing) -> None:
    """An anchor 4 cm off the camera's foot has no direction of its own."""
    layout = lay(ground.scene((obj(0.0, 0.24), obj(0.0, 0.04)), pitch_deg=60.0))
    assert margins(layout, "right of")[0, 1] == pytest.approx(0.2, **EXACT)
