# SPDX-License-Identifier: Apache-2.0
"""A UR5e end to end: words, plan, approval and motion through resolver, gate and planner, judged by physics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("mujoco")

from gate_cell import Cell, running_cell
from moveit_msgs.action import MoveGroup
from moveit_msgs.msg import MoveItErrorCodes
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node

from spatial_vlm_ros.nodes.arm.motion_messages import motion_goal, scene_diff
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.sim.arm.machines import UR5E
from spatial_vlm_ros.types import Pose

pytestmark = pytest.mark.slow


class UrCell(Cell):
    """The cell with the other arm, whose planner may be asked without the gate."""

    robot = UR5E

    def _make(self, context: Context) -> Node:
        node = super()._make(context)
        self.planning = ActionClient(node, MoveGroup, "/move_action")
        return node

    def plan(self, goal: MoveGroup.Goal) -> MoveGroup.Result:
        """What the planner says of one motion."""
        self.until(self.planning.server_is_ready, "the planner is there")
        handle = self.wait(self._bridge.ask(lambda: self.planning.send_goal_async(goal)), "it is accepted")
        return self.wait(self._bridge.ask(handle.get_result_async), "it is answered").result


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UrCell]:
    with running_cell(UrCell, tmp_path_factory.mktemp("cell"), approval_timeout=60.0) as made:
        yield made


def test_an_arm_outside_its_limits_is_told_which_joint_and_nothing_moves(cell: UrCell) -> None:
    motion = MotionConfig(
        group=UR5E.gate["motion.group"], tip_link=UR5E.gate["motion.tip_link"], planning_frame=UR5E.base_link
    )
    place = Pose(UR5E.base_link, (0.4, 0.1, 0.3), (1.0, 0.0, 0.0, 0.0))
    joints = dict(zip(UR5E.arm_joints, UR5E.home.tolist(), strict=True))
    assert cell.plan(motion_goal(motion, place, False, joints, scene_diff())).error_code.val == MoveItErrorCodes.SUCCESS
    beyond = motion_goal(motion, place, False, {**joints, "elbow_joint": 3.3}, scene_diff())
    refused = cell.plan(beyond).error_code
    assert refused.val == MoveItErrorCodes.START_STATE_INVALID
    assert "elbow_joint is at 3.300, 0.158 beyond its limits" in refused.message
    assert cell.accepted() == 0


def test_a_ur5e_does_what_was_approved_and_nothing_else_and_not_where_the_target_has_moved(cell: UrCell) -> None:
    assert "plans for a UR5e" in cell.processes["arm_planner"].output
    picking, proposal = cell.proposed()
    assert proposal.target.id == "bonnet"
    cell.disturb(move={"id": "bonnet", "to": [0.45, -0.1, 0.002]})
    assert cell.approve(proposal) == "OK"
    assert (cell.end(picking).name, picking.result.moved) == ("SCENE_CHANGED", False)
    assert cell.accepted() == 0
    cell.again()
    picking, proposal = cell.proposed()
    assert cell.accepted() == 0
    assert cell.approve(proposal) == "OK"
    assert cell.end(picking).name == "OK", picking.result
    cell.until(lambda: cell.verdict()["done"], "it is delivered")
    told = cell.verdict()
    assert told["moved"] == [told["target"]] == ["bonnet"]
    others = {id_: force for id_, force in told["forces_n"].items() if id_ not in ("bonnet", "tray", "table")}
    assert max(others.values(), default=0.0) < 1.0
