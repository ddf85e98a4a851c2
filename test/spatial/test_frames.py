# SPDX-License-Identifier: Apache-2.0
"""Frames of reference: whose left, whose behind, and when there is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from relation_scenes import LIMITS, VIEWER, Ground, Object, lay, margins, rotation, seen_by_another_camera, with_front

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.viewpoint import is_own_sided
from spatial_vlm_ros.types import FrameOfReference, Scene, Transform

EXACT = {"abs": 1e-9}
ROBOT, SPEAKER, WORLD, OBJECT = (FrameOfReference(name) for name in ("robot", "speaker", "world", "object"))
WORLD_LIMITS = dataclasses.replace(LIMITS, world_defined=True)
ANCHOR = Object(1.0, 0.0)


def heard(scene: Scene, speaker: Transform) -> Scene:
    return dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, camera_T_speaker=speaker))


@pytest.mark.parametrize(
    ("stands", "place", "for_viewer", "for_robot"),
    [
        ((2.0, 0.0, 180.0), (1.0, 0.2), "right of", "left of"),  # across the table
        ((2.0, 0.0, 180.0), (1.2, 0.0), "behind", "in front of"),
        ((1.0, 1.0, -90.0), (1.0, -0.2), "left of", "behind"),  # 1 m to the right of the anchor, looks at it
        ((1.0, 1.0, -90.0), (1.2, 0.0), "behind", "right of"),
    ],
)
def test_a_robot_elsewhere_has_other_sides(
    ground: Ground, stands: tuple[float, float, float], place: tuple[float, float], for_viewer: str, for_robot: str
) -> None:
    view = {"base_T_camera": ground.looking_from(*stands)}
    assert ground.margin(for_viewer, Object(*place), ANCHOR, VIEWER, **view) == pytest.approx(0.2, abs=1e-6)
    assert ground.margin(for_robot, Object(*place), ANCHOR, ROBOT, **view) == pytest.approx(0.2, abs=1e-6)
    if stands[0] == 2.0:
        assert ground.margin(for_viewer, Object(*place), ANCHOR, ROBOT, **view) == pytest.approx(-0.2, abs=1e-6)


def test_where_the_robot_looks_does_not_matter_but_where_it_stands(ground: Ground) -> None:
    turned = [ground.looking_from(0.2, 0.4, turn) for turn in (-120.0, 0.0, 35.0)]
    found = {round(ground.margin("behind", Object(1.3, 0.1), ANCHOR, ROBOT, base_T_camera=T), 6) for T in turned}
    assert len(found) == 1


@pytest.mark.parametrize("frame", [SPEAKER, WORLD, OBJECT, ROBOT])
def test_a_frame_that_nothing_defines_is_refused_with_a_repair(ground: Ground, frame: FrameOfReference) -> None:
    with pytest.raises(FrameUndefinedError, match=frame.value) as caught:
        ground.margin("left of", ANCHOR, Object(1.2, 0.0), frame)
    assert caught.value.repair
    assert caught.value.repair.lower() in str(caught.value).lower()


def test_from_across_the_table_my_left_is_your_right(ground: Ground) -> None:
    speaker = ground.looking_from(2.0, 0.0, 180.0).inverse()
    layout = lay(heard(ground.scene((Object(1.0, 0.2), ANCHOR)), Transform(speaker.parent, "speaker", speaker.matrix)))
    assert margins(layout, "left of", SPEAKER)[0, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "right of", VIEWER)[0, 1] == pytest.approx(0.2, **EXACT)


def test_a_speaker_who_looks_straight_up_still_stands_somewhere(ground: Ground) -> None:
    scene = ground.scene((Object(1.0, 0.2), ANCHOR))
    matrix, side = np.eye(4), np.array([1.0, 0.0, 0.0])
    matrix[:3, :3] = np.stack((scene.up, side, np.cross(scene.up, side)), axis=1)
    matrix[:3, 3] = (0.0, 0.0, 0.1)
    scene = heard(scene, Transform(scene.frame.frame_id, "speaker", matrix))
    assert np.isfinite(margins(lay(scene), "left of", SPEAKER)).all()


@pytest.mark.parametrize(
    ("azimuth_deg", "relation"), [(0.0, "behind"), (90.0, "right of"), (180.0, "in front of"), (-90.0, "left of")]
)
def test_in_the_world_ahead_is_the_same_azimuth_everywhere(ground: Ground, azimuth_deg: float, relation: str) -> None:
    """The base looks the camera's way; azimuth turns ahead to its left (counter-clockwise about z)."""
    limits = dataclasses.replace(WORLD_LIMITS, world_azimuth_deg=azimuth_deg)
    for aside in (-2.0, 0.0, 1.0):
        objects = Object(1.2, aside), Object(1.0, aside)
        layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.3, 0.2, 0.0)), limits)
        assert margins(layout, relation, WORLD)[0, 1] == pytest.approx(0.2, **EXACT)
        if relation == "behind":
            assert margins(layout, "left of", WORLD)[0, 1] == pytest.approx(0.0, **EXACT)


def test_in_the_world_orders_go_along_its_axes(ground: Ground) -> None:
    """Leftmost is the least far right in metres, not in bearing; nearest the least far ahead."""
    objects = Object(0.6, -0.25), Object(2.0, -0.3), ANCHOR
    layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.0, 0.0, 0.0)), WORLD_LIMITS)
    view = layout.viewpoint(WORLD)
    assert np.argmin(superlatives.key_of("leftmost", layout, view).value) == 1
    assert np.argmin(superlatives.key_of("nearest", layout, view).value) == 0
    assert superlatives.key_of("nearest", layout, view).value[1] == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(("defined", "has_base"), [(False, True), (True, False)])
def test_the_world_needs_an_azimuth_and_a_base(ground: Ground, defined: bool, has_base: bool) -> None:
    base = ground.looking_from(0.0, 0.0, 0.0) if has_base else None
    layout = lay(ground.scene((ANCHOR,), base_T_camera=base), dataclasses.replace(LIMITS, world_defined=defined))
    with pytest.raises(FrameUndefinedError, match="world"):
        layout.viewpoint(WORLD)


@pytest.mark.parametrize(("label", "left_is"), [("office chair", -0.2), ("stove", 0.2)])
def test_a_chairs_left_is_its_own_and_a_stoves_that_of_who_faces_it(ground: Ground, label: str, left_is: float) -> None:
    """Both face the camera: who sits in the chair has his left on the camera's right."""
    scene = ground.scene((Object(1.0, -0.2), ANCHOR, Object(0.8, 0.0)))
    layout = lay(with_front(scene, 1, -1.0, 0.0, label))
    assert margins(layout, "left of", OBJECT)[0, 1] == pytest.approx(left_is, **EXACT)
    assert margins(layout, "in front of", OBJECT)[2, 1] == pytest.approx(0.2, **EXACT)
    layout = lay(with_front(scene, 1, 1.0, 0.0, "chair"))  # looks away: behind it is between it and the camera
    assert margins(layout, "behind", OBJECT)[2, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "behind", VIEWER)[2, 1] == pytest.approx(-0.2, **EXACT)


def test_anchors_without_a_front_are_not_measured_and_without_any_it_is_said_which(ground: Ground) -> None:
    scene = ground.scene((Object(0.8, 0.0), Object(1.0, 0.0, label="sofa"), Object(1.2, 0.0, label="sofa")))
    with pytest.raises(FrameUndefinedError, match=r"any of block, sofa|the sofa"):
        margins(lay(scene), "behind", OBJECT)
    faced = with_front(scene, 1, -1.0, 0.0)
    got = margins(lay(faced), "behind", OBJECT)
    assert np.isfinite(got[:, 1]).all()
    assert np.isnan(got[:, [0, 2]]).all()
    up = dataclasses.replace(scene.objects[1].detection, front=tuple(scene.up))  # a front that faces up is none
    objects = scene.objects[0], dataclasses.replace(scene.objects[1], detection=up), scene.objects[2]
    assert np.isnan(margins(lay(dataclasses.replace(scene, objects=objects)), "facing")).all()


def test_an_order_has_no_object_to_look_from(ground: Ground) -> None:
    layout = lay(with_front(ground.scene((ANCHOR, Object(1.2, 0.0))), 0, -1.0, 0.0))
    for word in ("leftmost", "nearest"):
        with pytest.raises(FrameUndefinedError, match="order"):
            superlatives.key_of(word, layout, layout.viewpoint(OBJECT))


@pytest.mark.parametrize(
    ("label", "own"),
    [("chair", True), ("Toy_Chick", True), ("rubber duck", True), ("stove", False), ("car radio", False), ("", False)],
)
def test_the_last_word_of_a_label_says_whose_sides_it_has(label: str, own: bool) -> None:
    assert is_own_sided(label) is own


@pytest.mark.parametrize(
    ("ahead", "relation"), [("up", "behind"), ("down", "in front of"), ("left", "right of"), ("right", "left of")]
)
def test_straight_down_a_side_of_the_image_can_be_ahead(ground: Ground, ahead: str, relation: str) -> None:
    """The target is 0.2 up the image from the anchor; right is always clockwise of ahead."""
    scene = ground.scene((Object(0.2, 0.1), Object(0.0, 0.1)), pitch_deg=90.0)
    layout = lay(scene, dataclasses.replace(LIMITS, down_ahead=ahead))
    assert margins(layout, relation)[0, 1] == pytest.approx(0.2, **EXACT)


@pytest.mark.parametrize("pitch", [76, 90])
def test_straight_down_sides_and_orders_follow_the_images_x_axis(ground: Ground, pitch: float) -> None:
    anchor = Object(0.1, 0.3)
    for relation, target, expected in (("right of", (0.1, 0.5), 0.2), ("left of", (0.4, 0.1), 0.2),
                                       ("right of", (0.4, 0.3), 0.0)):  # fmt: skip
        found = ground.margin(relation, Object(*target), anchor, pitch_deg=pitch)
        assert found == pytest.approx(expected, abs=1e-6)
    layout = lay(ground.scene((Object(0.3, 0.1), Object(-0.3, -0.2), Object(0.0, 0.2)), pitch_deg=90.0))
    assert superlatives.key_of("leftmost", layout, layout.viewpoint(VIEWER)).value == pytest.approx([0.1, -0.2, 0.2])


@pytest.mark.parametrize(
    "relation", ["behind", "in front of", "at the front of", "at the back of", "on the other side of"]
)
def test_straight_down_nothing_is_ahead_unless_configured(ground: Ground, relation: str) -> None:
    for pitch in (80.0, 85.0):
        with pytest.raises(FrameUndefinedError, match=r"downwards(.|\n)*down_ahead"):
            ground.margin(relation, Object(0.2, 0.0), Object(0.0, 0.0), pitch_deg=pitch)
    near_it = ground.margin("behind", Object(0.45, 0.0), Object(0.25, 0.0), pitch_deg=74)
    assert near_it == pytest.approx(0.2, abs=1e-6), "at 74 degrees there is still a behind"


@pytest.mark.parametrize("roll_deg", [0.0, 45.0, 180.0])
def test_straight_down_right_is_the_images_x_axis_however_it_is_rolled(ground: Ground, roll_deg: float) -> None:
    roll, matrix = np.radians(roll_deg), np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.0, 0.0, 1.0]), roll)
    scene = ground.scene((Object(0.2, 0.1), Object(0.0, 0.0)), pitch_deg=90.0)
    rolled = seen_by_another_camera(scene, Transform(scene.frame.frame_id, "rolled", matrix))
    image = [float(o.box.centre[0] / o.box.centre[2]) for o in rolled.objects]
    got = margins(lay(rolled), "right of")[0, 1]
    assert np.sign(got) == np.sign(image[0] - image[1])
    assert got == pytest.approx(0.1 * np.cos(roll) - 0.2 * np.sin(roll), **EXACT)


def test_over_the_viewer_ahead_is_its_own_forward(ground: Ground) -> None:
    """An anchor 4 cm off the camera's foot has no direction of its own."""
    layout = lay(ground.scene((Object(0.0, 0.24), Object(0.0, 0.04)), pitch_deg=60.0))
    assert margins(layout, "right of")[0, 1] == pytest.approx(0.2, **EXACT)
