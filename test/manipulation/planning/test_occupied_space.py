# SPDX-License-Identifier: Apache-2.0
"""Obstacles without a name in goals, in the recheck, and in the order from words to motion."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from planning_scenes import CLEAR, box, config, placed, table_with
from test_pick_sequence import SEEN, Cell, again_but, seen, seen_but
from test_recheck import CONFIG, planned, target

from spatial_vlm_ros.errors import DepthError, GoalError, SceneChangedError
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.spaces import BESIDE, INSIDE, MEASURED, UNSEEN, changed_since, spaces_of
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.agreement import check_way_seen
from spatial_vlm_ros.manipulation.planning.goal import PlaceGoal, Rejection
from spatial_vlm_ros.manipulation.planning.obstacles import Way, judged
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.scene import AllowedContact, PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid, TurnedBox, gaps
from spatial_vlm_ros.manipulation.recheck import check_plan_holds
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import Status

EDGE = 0.01


def voxels(*boxes: tuple[tuple[float, float, float], tuple[float, float, float]]) -> VoxelBlocks:
    """The voxels between least and greatest corners, metres."""
    cells = [
        np.argwhere(np.ones(np.rint((np.array(high) - low) / EDGE).astype(int))) + np.rint(np.array(low) / EDGE)
        for low, high in boxes
    ]
    return voxels_at(np.concatenate(cells).astype(np.int32), EDGE)


def occupied(measured: VoxelBlocks, unseen: VoxelBlocks | None = None) -> Occupancy:
    return Occupancy(measured, CLEAR.unseen if unseen is None else unseen, 1.0)


def with_occupancy(scene: PlanningScene, occupancy: Occupancy | None) -> PlanningScene:
    return dataclasses.replace(scene, occupancy=occupancy)


NEAR = voxels(((0.37, 0.04, 0.0), (0.43, 0.08, 0.1)))  # beside the target, which is 0.38 to 0.42 and -0.02 to 0.02 wide
CHICK = target()
WALL = voxels(((0.3, 0.15, 0.0), (0.5, 0.17, 0.3)))


def test_a_slanted_gripper_keeps_away_from_what_has_no_name() -> None:
    c = math.sqrt(0.5)
    pose = np.array([[1.0, 0.0, 0.0, 0.4], [0.0, c, -c, 0.16], [0.0, c, c, 0.1], [0.0, 0.0, 0.0, 1.0]])  # in the wall
    beside = pose.copy()
    beside[1, 3] = 0.08
    ways = [Way("slanted", (TurnedBox(at, (0.02, 0.1, 0.02)),)) for at in (pose, beside)]
    inside, clear = judged(with_occupancy(table_with(target()), occupied(WALL)), ways, (), CONFIG.goal)
    assert isinstance(inside, Rejection)
    assert (inside.kind, inside.by) == ("blocked", MEASURED)
    assert clear == pytest.approx(0.07 - 0.06 * c, abs=1e-6), "as far as its edge is from the wall"


def test_space_has_three_parts_under_names_of_its_own() -> None:
    parts = {space.id: space for space in spaces_of(occupied(NEAR, WALL), CHICK.solid)}
    assert set(parts) == {MEASURED, BESIDE, UNSEEN}
    assert all(id_.startswith("occupancy/") for id_ in parts)
    beside, far = parts[BESIDE].boxes, parts[MEASURED].boxes
    assert max(part.centre[1] + part.size[1] / 2 for part in beside) <= 0.05 + 1e-9
    assert min(part.bottom for part in beside) < 0.01
    assert max(part.top for part in far) > 0.09, "what is higher than the target is not beside it"
    assert spaces_of(None, CHICK.solid) == spaces_of(CLEAR, CHICK.solid) == ()


def test_what_is_measured_in_the_destination_is_a_part_that_the_target_may_touch_when_lowered() -> None:
    target_box, space = Solid((0.0, 0.0, 0.03), 0.0, (0.05, 0.04, 0.06)), Solid((0.4, 0.16, 0.05), 0.0, (0.3, 0.1, 0.1))
    parts = {part.id: part for part in spaces_of(occupied(WALL), target_box, space)}
    assert set(parts) == {INSIDE, MEASURED}
    assert max(box.top for box in parts[INSIDE].boxes) == pytest.approx(0.1)
    assert min(box.bottom for box in parts[MEASURED].boxes) == pytest.approx(0.1)
    scene = dataclasses.replace(with_occupancy(table_with(target()), occupied(WALL)), entered=space)
    clear, there = Solid((0.4, -0.4, 0.2), 0.0, (0.02, 0.02, 0.02)), Solid((0.4, 0.16, 0.05), 0.0, (0.04, 0.04, 0.04))
    ways = [Way("top_down", (clear,), (there,), lowered=True), Way("top_down", (clear,), (there,)),
            Way("top_down", (there,), (), lowered=True)]  # fmt: skip
    lowered, other, gripper = judged(scene, ways, (), CONFIG.goal)
    assert not isinstance(lowered, Rejection)
    assert isinstance(other, Rejection)
    assert isinstance(gripper, Rejection)
    assert "the rim or the contents of the place" in gripper.words


def test_unseen_space_that_is_nearer_does_not_take_away_the_clearance_from_what_is_measured() -> None:
    near = voxels(((0.39, 0.1, 0.1), (0.41, 0.11, 0.12)))  # 3 mm from the gripper; unseen space is 1 mm from it
    hidden = voxels(((0.39, 0.08, 0.1), (0.41, 0.09, 0.12)))
    scene = with_occupancy(table_with(target()), occupied(near, hidden))
    way = Way("top_down", (Solid((0.4, 0.094, 0.11), 0.0, (0.01, 0.006, 0.01)),))
    (found,) = judged(scene, [way], (), CONFIG.goal)
    assert isinstance(found, Rejection)
    assert found.by == MEASURED


def test_grasps_keep_away_from_what_has_no_name() -> None:
    scene = table_with(CHICK)
    free = pick_goal(scene, CONFIG).grasps
    goal = pick_goal(with_occupancy(scene, occupied(NEAR)), CONFIG)
    assert 0 < len(goal.grasps) < len(free)
    assert any(r.by in (MEASURED, BESIDE) and "without a name" in r.words for r in goal.rejected)
    assert all(grasp.clearance >= CONFIG.goal.clearance - 1e-9 for grasp in goal.grasps)
    best = pick_goal(with_occupancy(scene, occupied(WALL)), CONFIG).grasps[0]
    assert best.clearance < min(0.15, gaps([CHICK.solid], WALL.as_boxes()).min()), "that of the nearest box"
    around = voxels(
        ((0.34, -0.06, 0.0), (0.46, -0.03, 0.1)), ((0.34, 0.03, 0.0), (0.46, 0.06, 0.1)),
        ((0.34, -0.03, 0.0), (0.365, 0.03, 0.1)), ((0.435, -0.03, 0.0), (0.46, 0.03, 0.1)),
    )  # fmt: skip
    ledge = voxels(((0.39, -0.02, 0.1), (0.41, 0.02, 0.12)))
    unseen = voxels(((0.3, -0.1, 0.1), (0.5, 0.1, 0.2)))  # in the way without a clearance of its own
    for occupancy, words in (
        (occupied(around), "without a name"),
        (occupied(ledge), "an object without a name is above it"),
        (occupied(CLEAR.measured, unseen), "does not see"),
    ):
        with pytest.raises(GoalError, match=words):
            pick_goal(with_occupancy(scene, occupancy), CONFIG)


def test_the_target_may_touch_what_is_beside_it_while_it_is_lifted_and_nothing_else_may() -> None:
    surroundings = dataclasses.replace(SEEN, occupancy=occupied(NEAR))
    scene = planning_scene(surroundings, CONFIG)
    assert AllowedContact("c1", BESIDE, "lift") in scene.allowed
    assert not any(contact.other in (MEASURED, UNSEEN) for contact in scene.allowed)
    without = planning_scene(dataclasses.replace(SEEN, occupancy=None), CONFIG)
    assert not any(contact.other == BESIDE for contact in without.allowed)


def test_what_noise_moves_by_a_voxel_is_no_change_and_a_hand_is() -> None:
    then = occupied(WALL)
    jitter = voxels_at(WALL.indices + np.array([1, -1, 1]), EDGE)
    assert len(changed_since(then, occupied(jitter)).measured) == 0
    hand = voxels(((0.4, -0.1, 0.1), (0.45, -0.05, 0.15)))
    both = voxels_at(np.concatenate((jitter.indices, hand.indices)), EDGE)
    assert np.array_equal(changed_since(then, occupied(both)).measured.indices, hand.indices)
    assert changed_since(None, occupied(hand)).measured == hand


def rechecked(before: Occupancy, after: Occupancy | None) -> None:
    """Recheck a plan that was made with one occupancy in an image with another."""
    first = dataclasses.replace(SEEN, occupancy=before)
    then = planning_scene(first, CONFIG)
    goal, plan = planned(then)
    check_plan_holds(then, goal, plan, first, dataclasses.replace(SEEN, occupancy=after), CONFIG)


def test_the_recheck_finds_what_has_come_into_the_way() -> None:
    away = voxels(((0.2, -0.3, 0.0), (0.3, -0.25, 0.1)))
    rechecked(occupied(away), occupied(away))
    rechecked(occupied(away), occupied(voxels_at(away.indices + 1, EDGE)))
    rechecked(occupied(away), CLEAR)
    hand = voxels(((0.42, -0.05, 0.08), (0.5, 0.05, 0.13)))
    with pytest.raises(SceneChangedError, match="without a name"):
        rechecked(occupied(away), occupied(voxels_at(np.concatenate((away.indices, hand.indices)), EDGE)))


def test_where_depth_of_the_way_was_lost_nothing_moves() -> None:
    with pytest.raises(DepthError, match="no depth of the way"):
        rechecked(CLEAR, None)
    with pytest.raises(DepthError, match="10%"):
        rechecked(CLEAR, dataclasses.replace(CLEAR, seen_share=0.1))
    with pytest.raises(DepthError):
        check_way_seen(dataclasses.replace(SEEN, occupancy=dataclasses.replace(CLEAR, seen_share=float("nan"))),
                       ObservationConfig())  # fmt: skip
    cell = Cell(seen(SEEN), again_but(occupancy=None))
    ending = cell.run()
    assert (ending.status, ending.moved) == (Status.DEPTH_INVALID, False)
    assert cell.log.count("approve") == 1
    for occupancy in (None, dataclasses.replace(CLEAR, seen_share=0.29)):
        cell = Cell(seen_but(occupancy=occupancy), again_but(occupancy=occupancy))
        ending = cell.run()
        assert (ending.status, ending.moved) == (Status.DEPTH_INVALID, False)
        assert not {"approve", "move"} & set(cell.log)
        assert Cell(seen_but(occupancy=occupancy)).run(plan_only=True).status is Status.OK


LOW = box("block", 0.4, 0.0, (0.04, 0.04, 0.03))
RING = voxels(((0.44, 0.14, 0.0), (0.46, 0.36, 0.08)), ((0.64, 0.14, 0.0), (0.66, 0.36, 0.08)),
              ((0.46, 0.14, 0.0), (0.64, 0.16, 0.08)), ((0.46, 0.34, 0.0), (0.64, 0.36, 0.08)))  # fmt: skip
"""The walls of a crate, 18 cm wide inside and 8 cm high: too narrow for the hand, whose palm is 20.8 cm wide."""


def into_the_crate(rim: float | None, **goal: float) -> PlaceGoal:
    scene = with_occupancy(table_with(LOW), occupied(RING))
    asked = placed(LOW, (0.55, 0.25, 0.005, 0.0), rim=rim)
    return place_goal(scene, asked, pick_goal(table_with(LOW), config()).grasps[0], config(goal=goal))


def test_what_a_hand_cannot_put_into_a_container_falls_into_it_from_no_higher_than_needed() -> None:
    goal = into_the_crate(rim=0.075)
    best = goal.placements[0]
    assert best.release == pytest.approx(0.035), "and not at 5, 15 or 25 mm"
    assert best.obj.position == pytest.approx((0.55, 0.25, 0.005 + 0.035 + 0.015))
    palm = best.place.position[2] + 0.0469 - 0.0095
    assert palm - 0.01 < 0.085 <= palm, "5 mm above the walls, and a step lower it would not be"
    assert {each.release for each in goal.placements} == {best.release}
    assert {(each.kind, each.by) for each in goal.rejected} == {("blocked", MEASURED)}


@pytest.mark.parametrize(
    ("rim", "goal"),
    [
        pytest.param(None, {}, id="a container is not known"),
        pytest.param(0.03, {}, id="its foot would be above the rim"),
        pytest.param(0.075, {"drop": 0.02}, id="farther than is allowed"),
        pytest.param(0.075, {"drop": 0.0}, id="nothing may fall"),
    ],
)
def test_nothing_falls_beside_a_container_or_too_far(rim: float | None, goal: dict[str, float]) -> None:
    with pytest.raises(GoalError, match="an object without a name is in the way"):
        into_the_crate(rim, **goal)


def test_what_can_be_put_down_does_not_fall() -> None:
    asked = placed(LOW, (0.55, 0.25, 0.005, 0.0), rim=0.075)
    goal = place_goal(table_with(LOW), asked, pick_goal(table_with(LOW), config()).grasps[0], config())
    assert {each.release for each in goal.placements} == {0.005}
