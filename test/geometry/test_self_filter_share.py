# SPDX-License-Identifier: Apache-2.0
"""A block that is a link of the robot, on and over a table: as a detection, beside an object, and before one."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.self_filter import robot_shares
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Status, Transform

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Body, Rendering

SIZE = (0.08, 0.05, 0.12)
CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * SIZE
HULL = Hull(CORNERS + np.array([0.0, 0.0, SIZE[2] / 2]))  # a body's place is its foot's


def without_link(seen: Rendering, x: float, y: float, z: float = 0.0, padding: float = 0.02) -> RgbdFrame:
    """The frame, noisy, without the points of a link at a place in the world."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    frame = noisy(seen.frame, np.random.default_rng(3))
    assert frame.base_T_camera is not None
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
    assert frame.robot is not None
    mask = next(d.mask for d in seen.detections if d.id == "a")
    assert mask is not None
    assert np.isfinite(frame.robot.depth)[mask].mean() > 0.9  # nothing of it is measured any more
    scene = tabletop.lift(seen, given, frame)
    assert ids(scene) == {"a"}
    assert scene.objects[0].depth_problem is not None
    assert tabletop.ask(seen, "the can", given, frame).status is Status.DEPTH_INVALID


def test_the_share_is_a_parameter_and_counts_what_is_measured(tabletop: Tabletop) -> None:
    """A mask of which about half shows the link, the other half a block."""
    block = tabletop.block("b", 0.03, 0.05, SIZE)
    seen = tabletop.see(block, link_body(tabletop, 0.12, 0.05))
    masks = [d.mask for d in seen.detections if d.mask is not None]
    both = masks[0] | masks[1]
    rows, columns = np.nonzero(both)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    pair = Detection("p", "pair", 0.9, box, both)
    frame = without_link(seen, 0.12, 0.05, padding=0.0)
    for share, left in ((0.3, set()), (0.9, {"p"})):
        assert ids(build_scene(frame, (pair,), DepthConfig(), LiftConfig(robot_share=share))) == left


def test_a_robot_before_an_object_hides_it_as_before(tabletop: Tabletop) -> None:
    """A can whose right half is behind the link is half seen, with the link's points and without."""
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
    assert scene.frame.robot is not None
    assert not (np.isfinite(scene.frame.depth) & np.isfinite(scene.frame.robot.depth)).any()
    assert scene.frame.robot.own.sum() > 1000
