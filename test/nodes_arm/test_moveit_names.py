# SPDX-License-Identifier: Apache-2.0
"""The client against the double of move_group: names that it lacks, and a scene that changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from arm_graph import scene
from double_cell import MOVE, DoubleCell
from moveit_msgs.msg import MoveItErrorCodes as Codes
from moveit_msgs.srv import ApplyPlanningScene
from test_move_group_double import request

from spatial_vlm_ros.errors import InputError, SceneChangedError
from spatial_vlm_ros.nodes.arm.motion_messages import box_object, scene_diff

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
MakeCell = Callable[..., DoubleCell]


@pytest.fixture
def make_cell(make_cell: MakeCell) -> MakeCell:
    """All of them in this process: the tests look into move_group."""
    return partial(make_cell, start=None)


@pytest.mark.parametrize(
    ("motion", "words"),
    [
        ({"straight_pipeline": "stomp"}, "motion.straight_pipeline.*'stomp'.*ompl, pilz_industrial_motion_planner"),
        ({"group": "manipulator"}, "motion.group.*'manipulator'.*hand, panda_arm"),
    ],
)
def test_a_name_that_move_group_does_not_have_is_told_before_anything_is_asked(
    cell: DoubleCell, motion: dict[str, str], words: str
) -> None:
    client = cell.client(**motion)
    with pytest.raises(InputError, match=words):
        cell.plan(client, scene())
    assert cell.move_group.planned == 0
    assert not cell.move_group.scene.world


def test_whatever_fails_is_failure_without_a_word(cell: DoubleCell) -> None:
    wrong = [request() for _ in range(3)]
    wrong[0].request.pipeline_id = "isaac_ros_cumotion"
    wrong[1].request.group_name = "manipulator"
    wrong[2].request.pipeline_id = "pilz_industrial_motion_planner"  # it has no planner by default
    for goal in wrong:
        answer = cell.asker.wait(cell.asker.result(cell.asker.send(MOVE, goal)))
        code = answer.result.error_code
        assert (answer.status, code.val, code.message) == (GoalStatus.STATUS_ABORTED, Codes.FAILURE, "")
        assert not answer.result.planned_trajectory.joint_trajectory.points
    assert cell.move_group.failures == [Codes.FAILURE, Codes.INVALID_GROUP_NAME, Codes.PLANNING_FAILED]


def test_an_object_that_came_since_the_plan_was_made_stops_it_before_anything_moves(cell: DoubleCell) -> None:
    client = cell.client()
    plan = cell.plan(client, scene())
    far = np.eye(4)
    far[:3, 3] = (0.0, -0.8, 0.3)
    apply = cell.asker.service(ApplyPlanningScene, "apply_planning_scene")
    difference = scene_diff([box_object("chair", "panda_link0", far, (0.1, 0.1, 0.1))])
    assert apply(ApplyPlanningScene.Request(scene=difference)).success
    with pytest.raises(SceneChangedError, match="'chair' was added"):
        client.execute(plan)
    assert not cell.arm.taken
    assert set(cell.move_group.scene.world) == {"chair"}  # what was shown is taken away, whatever happens
