# SPDX-License-Identifier: Apache-2.0
"""Obstacles without a name in MoveIt's planning scene, by the double of move_group; its octomap stays as it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from arm_graph import CUP, scene
from double_cell import DoubleCell
from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from planning_scenes import CLEAR
from test_occupied_scene import occupied, wall

from spatial_vlm_ros.errors import GoalError, PlanningFailedError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.robot import link_hulls
from spatial_vlm_ros.manipulation.occupancy.spaces import MEASURED, UNSEEN
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan
from spatial_vlm_ros.nodes.arm.motion_messages import boxes_object

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
OPEN = 0.08  # metres


def least_distance(plan: MotionPlan, blocks: VoxelBlocks) -> float:
    """Metres by which links of arm and hand stay away from the middles of voxels; below 0 where one is inside."""
    least = np.inf
    for trajectory in plan.trajectories:
        for row in trajectory.positions:
            for link in link_hulls(np.array(row), OPEN):
                local = link.base_T_link.inverse().apply(blocks.centres())
                least = min(least, float(link.hull.outside_by(local).min()))
    return least


def told(cell: DoubleCell) -> Any:
    """All of the double's scene."""
    return cell.asker.service(GetPlanningScene, "/get_planning_scene")(GetPlanningScene.Request()).scene


def test_motions_keep_away_from_what_has_no_name_and_it_is_removed_afterwards(cell: DoubleCell) -> None:
    client, around = cell.client(), scene(CUP)
    free = cell.plan(client, around)
    reach = free.steps[1].trajectory
    assert reach is not None
    tips = [BuiltinPlanner().tip(np.array(row))[:3, 3] for row in reach.positions]
    halfway = min(tips, key=lambda tip: abs(float(np.linalg.norm(tip - tips[0]) - np.linalg.norm(tip - tips[-1]))))
    low = np.round(halfway, 2) - (0.02, 0.02, 0.02)
    tower = wall(tuple(low.tolist()), tuple((low + 0.04).tolist()))
    x, y, _ = around.target.solid.centre
    behind = wall((x + 0.2, y - 0.2, 0.0), (x + 0.22, y + 0.2, 0.1))
    assert least_distance(free, tower) < 0, "it is in the way"
    plan = cell.plan(client, occupied(tower, behind))
    assert least_distance(plan, tower) > 0
    shown = {each.id: each for each in told(cell).world.collision_objects}
    assert {MEASURED, UNSEEN} <= shown.keys()
    volume = sum(np.prod(shape.dimensions) for shape in shown[MEASURED].primitives)
    assert volume == pytest.approx(len(tower) * 0.01**3, rel=1e-6)
    cell.robot.hold(0.04)
    client.execute(plan)
    assert not told(cell).world.collision_objects


def test_nothing_is_planned_where_the_target_is_walled_in(cell: DoubleCell) -> None:
    client, free = cell.client(), scene(CUP)
    x, y, _ = free.target.solid.centre
    lid = wall((x - 0.2, y - 0.2, 0.15), (x + 0.2, y + 0.2, 0.2))
    from arm_graph import goals

    pick, place = goals(free, client.config)
    with pytest.raises((PlanningFailedError, GoalError), match="reach: the planner failed without a reason"):
        client.plan(pick, occupied(lid), place)
    assert not told(cell).world.collision_objects
    assert client.plan(pick, free, place).steps, "it was the lid"


def test_the_octomap_of_a_sensor_plugin_stays_as_it_is(cell: DoubleCell) -> None:
    client = cell.client()
    whole = ApplyPlanningScene.Request()
    whole.scene.is_diff = whole.scene.robot_state.is_diff = True
    whole.scene.world.octomap.octomap.id, whole.scene.world.octomap.octomap.data = "OcTree", [1, 2, 3]
    assert cell.asker.service(ApplyPlanningScene, "/apply_planning_scene")(whole).success
    plan = cell.plan(client, occupied(wall((0.7, -0.3, 0.0), (0.72, 0.3, 0.3))))
    assert list(told(cell).world.octomap.octomap.data) == [1, 2, 3]
    cell.robot.hold(0.04)
    client.execute(plan)
    assert list(told(cell).world.octomap.octomap.data) == [1, 2, 3]
    question = GetPlanningScene.Request()
    question.components.components = PlanningSceneComponents.WORLD_OBJECT_NAMES
    seen = cell.asker.service(GetPlanningScene, "/get_planning_scene")(question).scene
    assert not seen.world.octomap.octomap.data, "this package asks for names alone"


def test_a_scene_without_depth_adds_nothing(cell: DoubleCell) -> None:
    client, around = cell.client(), dataclasses.replace(scene(CUP), occupancy=CLEAR)
    cell.plan(client, around)
    assert {each.id for each in told(cell).world.collision_objects} == {"support", "cup", "block"}
    assert not boxes_object("none", "base", ()).primitives
