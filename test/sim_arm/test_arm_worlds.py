# SPDX-License-Identifier: Apache-2.0
"""Worlds that the arm can clear, and what its camera shows of them."""

import json
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import panda
from spatial_vlm_ros.manipulation.builtin_planner.request import WIDEST
from spatial_vlm_ros.manipulation.planning.hulls import self_mask
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.arm.cell import ArmCell, ArmView, verdict_data
from spatial_vlm_ros.sim.arm.worlds import ChangeWorld, Move, NudgeCamera, Remove, disturbance, layout, random_layout
from spatial_vlm_ros.sim.grounder import errors_of
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.sim.truth import margin

NAMES = ("swapped", "0", *(pytest.param(name, marks=pytest.mark.slow) for name in ("behind", *"123")))


@pytest.fixture(scope="module", params=NAMES)
def shown(request: pytest.FixtureRequest) -> Any:
    cell = ArmCell(layout(request.param))
    view = ArmView(cell, VGA)
    yield cell, *view.look(cell.data.qpos.copy(), cell.layout.base_T_camera, 7)
    view.close()


def test_everything_fits_the_hand_and_the_target_stands_behind_the_cup(shown: Any) -> None:
    world = shown[0].layout
    for obj in world.objects:
        if obj.id != world.tray:
            assert min(obj.model.size[:2]) < WIDEST - 0.01, obj.id
        assert 0.3 < np.hypot(*obj.position[:2]) < 0.8, obj.id
    with PhysicsWorld(world.objects, world.scenery, world.base_T_camera) as physics:
        eye, truth = world.base_T_camera.translation, physics.truth
        others = [id_ for id_ in ("bonnet", "ribbon") if id_ != world.target]
        assert margin("behind", truth[world.target], truth["cup"], eye) > 0.03
        assert margin("in front of", truth[others[0]], truth["cup"], eye) > 0.03


def test_the_resolver_finds_the_target_and_a_place_on_the_tray(shown: Any) -> None:
    cell, frame, detections = shown
    assert (frame.stamp_ns, frame.base_T_camera.parent) == (7, "panda_link0")
    assert {d.id for d in detections} == {obj.id for obj in cell.layout.objects}
    told = Resolver().resolve(frame, cell.layout.instruction, detections)
    assert told.target is not None, told.message
    assert told.target.id == cell.layout.target
    true = cell.pose(cell.layout.target)
    assert np.linalg.norm(np.array(told.target.pose.position)[:2] - true.translation[:2]) < 0.02
    assert told.place.anchor_id == cell.layout.tray


def test_the_same_seed_is_the_same_world_and_what_does_not_exist_is_refused() -> None:
    one, again, other = random_layout(4), random_layout(4), random_layout(5)
    assert [t.position for t in one.objects] == [t.position for t in again.objects]
    assert [t.position for t in one.objects] != [t.position for t in other.objects]
    with pytest.raises(InputError, match="0 or more"):
        random_layout(-1)
    with pytest.raises(UnknownNameError, match="swapped"):
        layout("kitchen")


def test_the_arm_at_home_hides_nothing_and_its_body_is_masked(cell: Any) -> None:
    eye = cell.layout.base_T_camera
    view = ArmView(cell, VGA, noise=False)
    at_home, _ = view.look(cell.data.qpos.copy(), eye)
    reaching = cell.data.qpos.copy()
    first = cell.model.joint("panda_joint1").qposadr[0]
    posture = np.array([0.0, 0.3, 0.0, -2.0, 0.0, 2.3, 0.785])
    reaching[first : first + 7] = posture
    hidden, _ = view.look(reaching, eye)
    view.close()
    robot = (hidden.depth < at_home.depth - 0.02) | (np.isfinite(hidden.depth) & ~np.isfinite(at_home.depth))
    assert robot.mean() > 0.05
    masked = self_mask(hidden, panda().link_hulls(posture), 0.01)
    assert masked[robot].mean() > 0.995  # the visual meshes lie within the padded hulls
    assert self_mask(at_home, panda().link_hulls(cell.joints().position[:7]), 0.01)[120:].mean() < 0.001


def test_a_detector_errs_as_it_is_told(cell: Any) -> None:
    view = ArmView(cell, VGA, errors_of({"misses": "1.0"}))
    assert view.look(cell.data.qpos.copy(), cell.layout.base_T_camera)[1] == ()
    view.close()
    with pytest.raises(UnknownNameError, match="misses"):
        errors_of({"world": "behind"})


def test_disturbances_are_read() -> None:
    assert disturbance('{"move": {"id": "cup", "to": [0.5, 0, 0], "yaw_deg": 180}}') == Move("cup", (0.5, 0, 0), np.pi)
    assert disturbance('{"remove": {"id": "cup"}}') == Remove("cup")
    assert disturbance('{"world": {"name": "7"}}') == ChangeWorld("7")
    nudge = disturbance('{"camera": {"by": [0.01, 0, 0], "turn_deg": 90}}')
    assert nudge == NudgeCamera((0.01, 0.0, 0.0), 90.0, False)


@pytest.mark.parametrize(
    "words",
    ["", "[]", "{}", "7", '{"explode": {}}', '{"move": {"id": "cup"}}', '{"move": {"id": "cup", "to": [0, 0]}}',
     '{"move": {"id": "cup", "to": [0, 0, NaN]}}', '{"remove": {"id": "cup", "why": 1}}',
     '{"camera": {"told": "yes"}}', '{"remove": {"id": "a"}, "world": {"name": "7"}}', '{"remove": "cup"}'],
)  # fmt: skip
def test_what_is_no_disturbance_is_refused(words: str) -> None:
    with pytest.raises(InputError):
        disturbance(words)


def test_a_nudged_camera_turns_where_it_stands(cell: Any) -> None:
    before = cell.layout.base_T_camera
    after = NudgeCamera((0.0, 0.02, 0.0), 90.0).applied(before)
    assert after.translation - before.translation == pytest.approx([0, 0.02, 0])
    assert after.rotation[:, 2] == pytest.approx([-before.rotation[1, 2], before.rotation[0, 2], before.rotation[2, 2]])


def test_the_verdict_is_json(cell: Any) -> None:
    goals = {"arm": {"accepted": 2}}
    told = json.loads(json.dumps(verdict_data(cell, goals)))
    assert (told["done"], told["target"], told["goals"]) == (False, "bonnet", goals)
    assert told["things"]["cup"]["on_table"] is True
