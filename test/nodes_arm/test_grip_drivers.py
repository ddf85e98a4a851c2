# SPDX-License-Identifier: Apache-2.0
"""What the client makes of the answers of gripper drivers: doubles of ros2_controllers, Franka's and Robotiq's.

To try something by hand: `python test/nodes_arm/robot_doubles.py franka`, and move_group_double.py beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from double_cell import DoubleCell, until
from gripper_double import FINGERS, KNUCKLE, ROBOTIQ, GripperParameters

from spatial_vlm_ros.errors import ExecutionFailedError
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
MakeCell = Callable[..., DoubleCell]
HASTY = GripperParameters(allow_stalling=True, stall_timeout=0.05)  # as Robotiq's, for the Panda's fingers


def judged_wrongly(reason: str) -> Any:
    return pytest.mark.xfail(strict=True, reason=reason)


def close(cell: DoubleCell, width: float = 0.0, phase: Any = "close") -> None:
    """Execute one phase of the gripper: fingers that are so far apart, m."""
    cell.client().execute(MotionPlan("block", (PlanStep(phase, width=width),), 0, None, None, "of one phase"))


@pytest.mark.parametrize("gripper", [None, HASTY], ids=["stall aborts", "stall succeeds"])
def test_ros2_controllers_hold_a_block(make_cell: MakeCell, gripper: GripperParameters | None) -> None:
    cell = make_cell(gripper=gripper)
    cell.robot.hold(0.04)
    close(cell)
    assert cell.position(FINGERS[0]) == pytest.approx(0.02)


@pytest.mark.parametrize("gripper", [None, "franka"], ids=["ros2_controllers", "franka"])
def test_fingers_that_meet_nothing_hold_nothing(make_cell: MakeCell, gripper: str | None) -> None:
    with pytest.raises(ExecutionFailedError, match="the fingers met nothing"):
        close(make_cell(gripper=gripper))


@judged_wrongly("goal_tolerance of ros2_controllers is 1 cm: fingers on 15 mm count as at 0, and not as stalled")
def test_ros2_controllers_hold_a_thin_object(make_cell: MakeCell) -> None:
    cell = make_cell()
    cell.robot.hold(0.015)
    close(cell)


@judged_wrongly("a controller that calls it a stall before the fingers move is believed to hold something")
def test_a_stall_before_the_fingers_move_is_no_grasp(make_cell: MakeCell) -> None:
    cell = make_cell(gripper=HASTY)
    for joint in FINGERS:
        cell.hardware.joints[joint].delay = 0.2
    with pytest.raises(ExecutionFailedError):
        close(cell)


@judged_wrongly("Franka's driver never says stalled, and fails a grasp that is 5 mm off: the squeezed width always is")
def test_franka_holds_a_block(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    cell.robot.hold(0.04)
    close(cell)


@judged_wrongly("Franka's driver takes a command to go to a smaller width for a grasp: it closes, and fails")
def test_franka_opens_less_than_it_is(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    close(cell, 0.06, "open")
    assert cell.position(FINGERS[0]) == pytest.approx(0.03, abs=0.001)


@judged_wrongly("the Robotiq's joint is 0 where it is open: no positive gripper_scale closes it")
def test_robotiq_closes_on_an_object(make_cell: MakeCell) -> None:
    cell = make_cell(gripper=ROBOTIQ)
    cell.hardware.joints[KNUCKLE].highest = 0.4
    close(cell)
    until(lambda: cell.position(KNUCKLE) == pytest.approx(0.4), "it has closed", 5.0)
