# SPDX-License-Identifier: Apache-2.0
"""Obstacles without a name in the planner's scene: `arm_planner` in another process keeps away from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from arm_graph import CUP, ArmGraph, scene
from live_process import Started
from planning_scenes import CLEAR
from test_motion_client import planned, world_of

from spatial_vlm_ros.errors import GoalError, PlanningFailedError
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.spaces import BESIDE, MEASURED, UNSEEN
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.scene import AllowedContact, PlanningScene

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")

Start = Callable[..., Started]


def wall(low: tuple[float, float, float], high: tuple[float, float, float]) -> VoxelBlocks:
    size = np.rint((np.array(high) - low) / 0.01).astype(int)
    return voxels_at((np.argwhere(np.ones(size)) + np.rint(np.array(low) / 0.01)).astype(np.int32), 0.01)


def occupied(measured: VoxelBlocks, unseen: VoxelBlocks = CLEAR.unseen) -> PlanningScene:
    around = scene(CUP)
    lift = AllowedContact(around.target.id, BESIDE, "lift")
    return dataclasses.replace(around, occupancy=Occupancy(measured, unseen, 1.0), allowed=(*around.allowed, lift))


def test_what_has_no_name_is_in_the_scene_and_is_removed_again(arm: ArmGraph, planner: Start) -> None:
    planner()
    x, y, _ = scene(CUP).target.solid.centre
    side = max(scene(CUP).target.solid.size[:2]) / 2
    low = wall((x - 0.02, y + side + 0.01, 0.0), (x + 0.02, y + side + 0.02, 0.02))  # beside it, lower than the fingers
    far = wall((x + 0.2, y - 0.2, 0.0), (x + 0.22, y + 0.2, 0.3))
    around = occupied(voxels_at(np.concatenate((low.indices, far.indices)), 0.01), far)
    client = arm.client()
    plan = planned(client, around)
    names = {space.id for space in around.occupied}
    assert names == {MEASURED, BESIDE, UNSEEN}
    assert world_of(client) == ({"support", "cup", "block"} | names, set())
    client.execute(plan)
    assert world_of(client) == (set(), set())
    planned(client, scene(CUP))
    assert world_of(client)[0] == {"support", "cup", "block"}


def test_nothing_is_planned_through_what_has_no_name(arm: ArmGraph, planner: Start) -> None:
    planner()
    x, y, _ = scene(CUP).target.solid.centre
    lid = wall((x - 0.2, y - 0.2, 0.15), (x + 0.2, y + 0.2, 0.2))
    client = arm.client()
    free = scene(CUP)
    with pytest.raises(GoalError, match="without a name"):
        planned(client, occupied(lid))
    from arm_graph import goals

    pick, place = goals(free, client.config)
    with pytest.raises((PlanningFailedError, GoalError), match="occupancy/measured"):
        client.plan(pick, occupied(lid), place)
    assert world_of(client) == (set(), set())
