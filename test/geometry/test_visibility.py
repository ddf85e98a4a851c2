# SPDX-License-Identifier: Apache-2.0
"""The visible part of every object against the truth, what is completed of hidden sides, and what the robot hides."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np
import pytest

from benchmarks.scenes import random_tabletop
from research.constructed.building import build
from spatial_vlm_ros.geometry import extent
from spatial_vlm_ros.geometry.lift import build_scene, robot_shares
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, config_from
from spatial_vlm_ros.sim.tabletop import Body, Box, Cylinder, Rendering, noisy
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, SceneObject, Status, Transform, Vector3

if TYPE_CHECKING:
    from conftest import Tabletop


@pytest.mark.parametrize("scenes", [24, pytest.param(70, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_visible_parts_are_those_of_the_truth(tabletop: Tabletop, kind: str, scenes: int) -> None:
    found = []
    for seed in range(scenes):
        rng = np.random.default_rng(1000 + seed)
        world = random_tabletop(rng, int(rng.integers(5, 9)), gap=0.0)
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(float(rng.uniform(15, 45)), 1.0))
        frame = noisy(seen.frame, rng) if kind == "noisy" else seen.frame
        objects = [obj for obj in tabletop.lift(seen, frame=frame).objects if obj.depth_problem is None]
        found += [(obj.visible_fraction, seen.visible_fraction[obj.id]) for obj in objects]
    assert len(found) >= 4 * scenes
    measured, true = np.array(found).T
    errors, hidden = np.abs(measured - true), true < 0.5
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.95) < 0.15
    assert hidden.sum() >= len(true) // 30
    assert np.median(errors[hidden]) < 0.15
    assert (measured[hidden] < 0.6).mean() >= 0.7
    assert (measured[true == 1.0] > 0.99).mean() > 0.98


def test_half_a_can_beside_another_is_half_visible(tabletop: Tabletop) -> None:
    """Its like stands whole beside it, so its width is known though half of it is out of sight."""
    half, whole = tabletop.can("half", 0.0, 0.1, 0.04), tabletop.can("whole", 0.2, 0.1, 0.04)
    wall = tabletop.block("wall", -0.1, -0.05, (0.2, 0.04, 0.25))
    obj, _, seen = tabletop.lift_one(half, wall, whole, eye=tabletop.pitched(25))
    assert 0.3 < seen.visible_fraction["half"] < 0.7
    assert obj.visible_fraction == pytest.approx(seen.visible_fraction["half"], abs=0.08)
    assert obj.occluder == "wall"
    (obj,) = tabletop.lift(seen, seen.detections[:1]).objects  # covered by nothing detected
    assert obj.visible_fraction < 0.8
    assert obj.occluder is None


def test_the_border_of_the_image_cuts(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("in", 0.0, 0.0), tabletop.can("cut", 0.57, 0.0))
    assert {o.id: o.truncated for o in tabletop.lift(seen).objects} == {"in": False, "cut": True}


def test_an_object_goes_on_no_farther_than_what_covers_it(tabletop: Tabletop) -> None:
    """A post hides at most its own width of a long box; a wall hides as much as the box could be long."""
    box = tabletop.block("box", 0.0, 0.12, (0.3, 0.1, 0.08), "box")
    wall = tabletop.block("wall", 0.2, -0.05, (0.25, 0.02, 0.16))
    post = tabletop.block("post", 0.14, -0.05, (0.03, 0.02, 0.16))

    def goes_on(cover: Body) -> float:
        return tabletop.lift_one(box, cover)[0].cut

    assert goes_on(post) < 0.045
    assert goes_on(wall) > 0.08
    assert tabletop.lift_one(box)[0].cut == 0.0


def test_a_side_that_is_seen_to_end_does_not_go_on_behind_what_covers_the_rest_of_it(tabletop: Tabletop) -> None:
    board = tabletop.block("board", 0.0, 0.1, (0.4, 0.3, 0.02), "board")
    obj, _, _ = tabletop.lift_one(board, tabletop.can("can", 0.2, 0.1, z=0.02, height=0.06))
    assert obj.occluder == "can"
    assert obj.cut < 0.03


def test_heights_are_known_where_only_a_side_is_covered(tabletop: Tabletop) -> None:
    cover = tabletop.block("cover", 0.05, -0.1, (0.06, 0.02, 0.2))
    obj, _, _ = tabletop.lift_one(tabletop.can("can", 0.02, 0.1, height=0.12), cover)
    assert obj.cut > 0.01
    assert obj.cut_above < 0.01


def test_a_foot_out_of_sight_is_no_deeper_than_what_hides_it() -> None:
    """The front edge of a shelf hides the feet of the apples on it, and not that they reached down to the table."""
    pytest.importorskip("mujoco")
    heights = []
    for seed in (70001, 70005):
        item = build(seed, "in the middle of the height of")[0]
        config = config_from(item.settings)
        scene = build_scene(item.frame, item.detections, config.depth, config.lift)
        heights += [obj.box.size[2] for obj in scene.objects if obj.detection.label in ("apple", "orange", "lemon")]
    assert len(heights) >= 2
    assert max(heights) < 0.085


@pytest.mark.parametrize(("kind", "height"), [("bottle", 0.22), ("can", 0.1), ("box", 0.12)])
def test_a_body_seen_from_above_reaches_down_to_the_table(tabletop: Tabletop, kind: str, height: float) -> None:
    box, can = tabletop.block("a", 0, 0, (0.1, 0.06, height), kind), tabletop.can("a", 0, 0, height=height, label=kind)
    bodies = box if kind == "box" else can, tabletop.block("b", 0.2, 0.1)
    obj, _, seen = tabletop.lift_one(*bodies, eye=(0, -0.02, 0.9), target=(0, 0, 0))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] == pytest.approx(height / 2, abs=0.01)
    assert obj.box.size[2] == pytest.approx(height, abs=0.01)


@pytest.mark.parametrize("wall", [0.05, 0.065, 0.08, 0.09, 0.1, 0.11])
def test_a_can_whose_foot_a_wall_hides_reaches_the_table(tabletop: Tabletop, wall: float) -> None:
    front = tabletop.block("front", 0, -0.08, (0.16, 0.04, wall), colour="grey")
    obj, _, seen = tabletop.lift_one(tabletop.can("a", 0, 0.05, height=0.12), front, eye=tabletop.pitched(22))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] - obj.box.size[2] / 2 == pytest.approx(0, abs=0.006 if wall < 0.09 else 0.01)
    assert centre[2] == pytest.approx(0.06, abs=0.006 if wall < 0.09 else 0.01)
    assert obj.visible_fraction == pytest.approx(seen.visible_fraction["a"], abs=0.1)
    assert obj.occluder == "front"


def test_what_is_narrow_above_is_as_deep_as_wide(tabletop: Tabletop) -> None:
    for elevation in (20, 35, 50):
        obj, _, _ = tabletop.lift_one(tabletop.ball("ball", 0.0, 0.0, 0.05), eye=tabletop.pitched(elevation))
        assert obj.box.size[:2] == pytest.approx([0.1, 0.1], abs=0.005)


YAWS_DEG = (0, 25, 50, 75, 90)


class Joined:
    """Solids as one: each with where its base stands, metres."""

    def __init__(self, size: Vector3, *parts: tuple[Any, Vector3]) -> None:
        self.size, self.parts = size, parts

    def hit(self, origin: Any, directions: Any) -> tuple[Any, Any]:
        hits = [shape.hit(origin - place, directions) for shape, place in self.parts]
        nearest = np.argmin([distances for distances, _ in hits], axis=0)
        rows = np.arange(len(nearest))
        return tuple(np.array(found)[nearest, rows] for found in zip(*hits, strict=True))


def shape_kind(obj: SceneObject) -> Any:
    return obj.shape and obj.shape.kind


def body(shape: Any, yaw_deg: float = 0.0, label: str = "object") -> Body:
    return Body("a", label, cast(Any, shape), (0.0, 0.0, 0.0), "blue", np.radians(yaw_deg))


def bottle(yaw_deg: float = 0.0) -> Body:
    """A flat bottle: 10 cm wide, 5.5 cm deep, 15 cm high, with a neck on it."""
    neck = Cylinder(0.014, 0.04), (0, 0, 0.15)
    return body(Joined((0.1, 0.055, 0.19), (Box((0.1, 0.055, 0.15)), (0, 0, 0)), neck), yaw_deg)


def place_error(obj: SceneObject, seen: Rendering, true: Body) -> float:
    return float(np.linalg.norm((seen.frame.base_T_camera.apply(obj.box.centre) - true.centre)[:2]))


def assumed(tabletop: Tabletop, *bodies: Body, **view: Any) -> SceneObject:
    with mock.patch.object(extent, "axis_of", return_value=None):
        return tabletop.lift_one(*bodies, **view)[0]


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_a_flat_bottle_measures_the_same_from_every_side(tabletop: Tabletop, noise: bool) -> None:
    sides, before = [], []
    for yaw_deg in YAWS_DEG:
        true = bottle(yaw_deg)
        seen = tabletop.see(true, eye=tabletop.pitched(33, 0.8))
        frame = noisy(seen.frame, np.random.default_rng(yaw_deg)) if noise else seen.frame
        obj = tabletop.lift(seen, frame=frame).objects[0]
        assert place_error(obj, seen, true) < (0.01 if noise else 0.005), yaw_deg
        sides.append(obj.box.size)
        with mock.patch.object(extent, "axis_of", return_value=None):
            before.append(tabletop.lift(seen, frame=frame).objects[0].box.size)
    np.testing.assert_allclose(np.median(sides, axis=0), (0.1, 0.055, 0.19), atol=0.012 if noise else 0.006)
    assert np.ptp(sides, axis=0)[:2].max() < 0.02
    assert np.ptp(sides, axis=0)[:2].max() < 0.6 * np.ptp(before, axis=0)[:2].max(), "as assumed they differ by more"


@pytest.mark.parametrize("pitch", [27, 39])
def test_a_mug_is_as_deep_as_wide_with_its_handle_beside_it(tabletop: Tabletop, pitch: float) -> None:
    """The handle counts where it is seen, and is not repeated on the other side."""
    cup, kinds = tabletop.cup("a", 0, 0).shape, set()
    for yaw_deg in (-60, -20, 0, 180, 200):  # 0: to the right
        bar, end = Box((0.03, 0.012, 0.012)), Box((0.01, 0.012, 0.06))
        handle = ((bar, (0.055, 0, 0.02)), (bar, (0.055, 0, 0.068)), (end, (0.065, 0, 0.02)))
        mug = body(Joined((0.11, 0.08, 0.1), (cup, (0, 0, 0)), *handle), yaw_deg)
        obj, _, seen = tabletop.lift_one(mug, eye=tabletop.pitched(pitch, 0.8))
        kinds.add(shape_kind(obj))
        footprint = seen.frame.base_T_camera.apply(obj.footprint)[:, :2]
        tip = 0.07 * np.array((np.cos(mug.yaw), np.sin(mug.yaw)))
        np.testing.assert_allclose(footprint.min(axis=0), np.minimum(tip, -0.04), atol=0.011, err_msg=f"{yaw_deg}")
        np.testing.assert_allclose(footprint.max(axis=0), np.maximum(tip, 0.04), atol=0.011, err_msg=f"{yaw_deg}")
    assert kinds <= {"rotation", "measured"}
    assert "rotation" in kinds


@pytest.mark.parametrize(
    ("size", "pitch", "yaw_deg"),
    [
        *(((0.1, 0.05, 0.08), *view) for view in ((22, 0), (22, 75), (30, 25), (30, 90), (38, 50))),
        *(((0.08, 0.08, height), pitch, 0) for pitch, height in ((25, 0.2), (40, 0.05), (55, 0.1), (70, 0.2))),
        ((0.09, 0.025, 0.09), 20, 0),  # no deeper than its edge shows
        ((0.09, 0.06, 0.001), 42, 0),
    ],
)
def test_a_box_has_its_size_from_every_side(tabletop: Tabletop, size: Vector3, pitch: float, yaw_deg: float) -> None:
    true = body(Box(size), yaw_deg)
    obj, _, seen = tabletop.lift_one(true, eye=tabletop.pitched(pitch))
    np.testing.assert_allclose(np.sort(obj.box.size[:2]), np.sort(size[:2]), atol=0.006)
    assert obj.box.size[2] == pytest.approx(size[2], abs=0.006)
    assert place_error(obj, seen, true) < 0.004
    assert shape_kind(obj) == ("assumed" if pitch == 20 else "box")


@pytest.mark.parametrize("yaw_deg", [20, 180])
def test_what_is_not_alike_from_two_sides_is_not_completed(tabletop: Tabletop, yaw_deg: float) -> None:
    tower, step = (Box((0.04, 0.08, 0.13)), (-0.05, 0, 0)), (Box((0.1, 0.08, 0.03)), (0.02, 0, 0))
    true, view = body(Joined((0.14, 0.08, 0.13), tower, step), yaw_deg), {"eye": tabletop.pitched(30)}
    obj, _, _ = tabletop.lift_one(true, **view)
    assert obj.shape.kind not in ("rotation", "mirror")
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, true, **view).footprint)


def test_a_lid_is_no_inside(tabletop: Tabletop) -> None:
    """The far half of a can's lid lies on no wall that is seen from inside."""
    for pitch in (25, 30, 40):
        obj, _, seen = tabletop.lift_one(tabletop.can("a", 0, 0, height=0.12), eye=tabletop.pitched(pitch))
        assert shape_kind(obj) == "mirror"
        assert place_error(obj, seen, tabletop.can("a", 0, 0)) < 0.003


@pytest.mark.parametrize("size", [(0.09, 0.06, 0.001), (0.2, 0.14, 0.015)])
def test_a_flat_object_is_measured(tabletop: Tabletop, size: Vector3) -> None:
    true = body(Box(size), 20)
    obj, _, _ = tabletop.lift_one(true)
    assert obj.shape.kind in ("box", "measured")
    assert obj.shape.completed < 0.003
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, true).footprint)


def test_an_object_cut_off_at_its_side_is_not_completed(tabletop: Tabletop) -> None:
    hidden, wall = bottle(), tabletop.block("wall", 0.05, -0.1, (0.08, 0.03, 0.2), "wall")
    obj, _, _ = tabletop.lift_one(hidden, wall, eye=tabletop.pitched(25))
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, hidden, wall, eye=tabletop.pitched(25)).footprint)


def test_of_a_bare_front_the_depth_stays_uncertain(tabletop: Tabletop) -> None:
    """Seen level, a box shows one face: its depth may be anything, and the covariance says so."""
    obj, _, seen = tabletop.lift_one(body(Box((0.12, 0.06, 0.12))), eye=tabletop.pitched(4))
    assert shape_kind(obj) == "assumed"
    assert obj.shape.sigma > 0.008
    ahead = seen.frame.base_T_camera.rotation.T @ (0.0, 1.0, 0.0)
    assert np.sqrt(ahead @ obj.covariance[:3, :3] @ ahead) >= obj.shape.sigma


def test_deviations_are_honest(tabletop: Tabletop) -> None:
    """Along the view, two thirds of the errors lie within one deviation, nine tenths within two."""
    off = []
    for seed, (pitch, yaw_deg) in enumerate((p, y) for p in (20, 44) for y in YAWS_DEG[::2]):
        for true in (bottle(yaw_deg), body(Box((0.1, 0.05, 0.08)), yaw_deg), tabletop.can("a", 0, 0, height=0.12)):
            seen = tabletop.see(true, eye=tabletop.pitched(pitch))
            obj = tabletop.lift(seen, frame=noisy(seen.frame, np.random.default_rng(seed))).objects[0]
            rotation = seen.frame.base_T_camera.rotation
            variance = (rotation @ obj.covariance[:3, :3] @ rotation.T)[1, 1]
            off.append(abs(seen.frame.base_T_camera.apply(obj.box.centre)[1] - true.centre[1]) / np.sqrt(variance))
    assert np.mean(np.array(off) <= 1) >= 0.68
    assert np.mean(np.array(off) <= 2) >= 0.9


def test_an_answer_says_how_the_shape_was_found(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0, height=0.12), eye=tabletop.pitched(25))
    answer = tabletop.ask(seen, "the can")
    shape: Any = answer.target and answer.target.shape
    assert shape.kind == "mirror"
    assert 0.0 < shape.completed < 0.035
    assert 0.0 < shape.sigma < 0.01
    assert resolution_from_json(resolution_json(answer)).target == answer.target
    depth = np.where(seen.masks["a"], np.float32(np.nan), seen.frame.depth)
    assert tabletop.lift(seen, frame=dataclasses.replace(seen.frame, depth=depth)).objects[0].shape is None


SIZE = (0.08, 0.05, 0.12)
CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * SIZE
HULL = Hull(CORNERS + np.array([0.0, 0.0, SIZE[2] / 2]))  # a body's place is its foot's


def without_link(seen: Rendering, x: float, y: float, z: float = 0.0, padding: float = 0.02) -> RgbdFrame:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    frame = noisy(seen.frame, np.random.default_rng(3))
    link = Transform(frame.base_T_camera.parent, "finger", pose)
    return RobotModel({"finger": HULL}, padding, DepthConfig()).removed(frame, [link])


def link_body(tabletop: Tabletop, x: float, y: float, z: float = 0.0) -> Body:
    return tabletop.block("g", x, y, SIZE, "cup", z=z, colour="white")


def ids(scene: Any) -> set[str]:
    return {obj.id for obj in scene.objects}


@pytest.mark.parametrize("height", [0.0, 0.1])
@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
def test_a_gripper_that_is_called_a_cup_is_no_object(boxes: bool, height: float, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.15, 0.0), link_body(tabletop, 0.12, 0.05, height))
    given = tabletop.boxes_only(seen.detections) if boxes else seen.detections
    frame = without_link(seen, 0.12, 0.05, height)
    scene = tabletop.lift(seen, given, frame)
    assert ids(scene) == {"a"}
    assert [d.id for d in scene.of_robot] == ["g"]
    found = tabletop.ask(seen, "the cup", given, frame)
    assert found.status is Status.NOT_FOUND
    assert found.message == "I see no cup. Detections discarded as part of the robot: cup (g)."
    can = tabletop.ask(seen, "the can left of the cup", given, frame)
    assert can.target is None  # there is no cup that it is left of
    alone = tabletop.ask(seen, "the can", given, frame)
    assert (alone.status, alone.target and alone.target.id) == (Status.OK, "a")
    around = surroundings_of(scene, alone)
    assert around.others == around.unplaced == ()
    only = tuple(d for d in given if d.id == "g")
    assert tabletop.ask(seen, "the cup", only, frame).status is Status.NOT_FOUND
    raw = tabletop.ask(seen, "the cup", given)  # as it was: a place where there is nothing to take
    assert raw.status is Status.OK


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
def test_what_the_robot_is_merely_near_to_stays_an_object(boxes: bool, tabletop: Tabletop) -> None:
    """A can one and a half centimetres beside the link loses points to the padding, not its being."""
    gap = 0.015
    can = tabletop.can("a", 0.12 - SIZE[0] / 2 - 0.02 - gap, 0.05, radius=0.02)
    seen = tabletop.see(can, link_body(tabletop, 0.12, 0.05))
    given = tabletop.boxes_only(seen.detections) if boxes else seen.detections
    frame = without_link(seen, 0.12, 0.05, padding=0.06)
    mask = next(d.mask for d in seen.detections if d.id == "a")
    assert np.isfinite(frame.robot.depth)[mask].mean() > 0.9  # nothing of it is measured any more
    scene = tabletop.lift(seen, given, frame)
    assert ids(scene) == {"a"}
    assert scene.objects[0].depth_problem is not None
    assert tabletop.ask(seen, "the can", given, frame).status is Status.DEPTH_INVALID


def test_the_share_is_a_parameter_and_counts_what_is_measured(tabletop: Tabletop) -> None:
    block = tabletop.block("b", 0.03, 0.05, SIZE)
    seen = tabletop.see(block, link_body(tabletop, 0.12, 0.05))
    masks = [d.mask for d in seen.detections if d.mask is not None]
    pair = tabletop.of_mask("p", masks[0] | masks[1])
    frame = without_link(seen, 0.12, 0.05, padding=0.0)
    for share, left in ((0.3, set()), (0.9, {"p"})):
        assert ids(build_scene(frame, (pair,), DepthConfig(), LiftConfig(robot_share=share))) == left


def test_a_robot_before_an_object_hides_it_as_before(tabletop: Tabletop) -> None:
    eye = tabletop.pitched(20, 0.9)
    seen = tabletop.see(tabletop.can("a", 0.0, 0.1, 0.04), link_body(tabletop, 0.045, 0.0), eye=eye)
    can = tuple(d for d in seen.detections if d.id == "a")
    raw = next(iter(tabletop.lift(seen, can).objects))
    left = next(iter(tabletop.lift(seen, can, without_link(seen, 0.045, 0.0)).objects))
    true = seen.visible_fraction["a"]
    assert 0.3 < true < 0.8
    assert raw.visible_fraction == pytest.approx(true, abs=0.15)
    assert left.visible_fraction == pytest.approx(raw.visible_fraction, abs=0.1)
    blind = dataclasses.replace(without_link(seen, 0.045, 0.0), robot=None)
    assert next(iter(tabletop.lift(seen, can, blind).objects)).visible_fraction > 0.9


def test_a_box_that_shows_more_of_the_robot_than_of_anything_else_has_no_place(tabletop: Tabletop) -> None:
    """A can most of which is behind the link: it may be the can that was detected, or the link with a can behind it."""
    eye = tabletop.pitched(20, 0.9)
    body = tabletop.can("a", 0.02, 0.1, 0.04)
    seen, alone = tabletop.see(body, link_body(tabletop, 0.045, 0.0), eye=eye), tabletop.see(body, eye=eye)
    can = tuple(d for d in seen.detections if d.id == "a")
    whole = dataclasses.replace(can[0], mask=None, box_xyxy=alone.detections[0].box_xyxy)
    frame = without_link(seen, 0.045, 0.0)
    (share,) = robot_shares(frame, (whole,), tabletop.lift(seen).support, LiftConfig())
    assert 0.5 < share < 0.9
    scene = tabletop.lift(seen, (whole,), frame)
    assert scene.of_robot == ()
    assert "of the measured points in its box belong to the robot" in str(scene.objects[0].depth_problem)
    assert tabletop.ask(seen, "the can", (whole,), frame).target is None
    assert tabletop.lift(seen, can, frame).objects[0].depth_problem is None  # its mask says which pixels are its own


def test_the_robot_stays_where_it_is_when_an_image_is_rectified(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.15, 0.0), link_body(tabletop, 0.12, 0.05))
    camera = PinholeCamera(tabletop.camera.K, 640, 480, D=(-0.05, 0.0, 0.0, 0.0, 0.0))
    frame = dataclasses.replace(without_link(seen, 0.12, 0.05), camera=camera)
    scene = build_scene(frame, seen.detections, DepthConfig(), LiftConfig())
    assert ids(scene) == {"a"}
    assert not (np.isfinite(scene.frame.depth) & np.isfinite(scene.frame.robot.depth)).any()
    assert scene.frame.robot.own.sum() > 1000
