# SPDX-License-Identifier: Apache-2.0
"""The client against a move_group and controllers that behave as MoveIt's and ros2_controllers' sources do.

`cell` has them. To try something by hand, start them as programs, each in a terminal:

    python test/nodes_arm/robot_doubles.py
    python test/nodes_arm/move_group_double.py
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from arm_graph import CUP, Aside, scene
from controller_double import ARM, Constraints
from double_cell import EXECUTE, FOLLOW, DoubleCell, slowed, until
from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import GetPlanningScene

from spatial_vlm_ros.errors import CancelledError, ExecutionFailedError
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, PICK, PLACE
from spatial_vlm_ros.manipulation.standstill import MOST_SPEED

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
MakeCell = Callable[..., DoubleCell]
LASTS = 4.0  # s that the phase takes in which the arm is stopped
AT_ONCE = 1.0  # s within which it has to stand, on a machine that may be busy
SILENCE = 2.0  # s: longer than the default, for the client shares its interpreter with the controllers
SHORT = 0.01  # rad that a stopped arm is short of the end of the phase, at least


def test_an_object_is_taken_and_put_down(cell: DoubleCell) -> None:
    client = cell.client()
    plan = cell.plan(client, scene(CUP), put=True)
    cell.robot.hold(0.04)
    client.execute(plan)
    assert len(cell.arm.taken) == len(plan.trajectories) == len([*PICK, *PLACE]) - len(GRIPS)
    assert cell.beside(plan.steps[-1]) < 0.01
    assert cell.asker.last(EXECUTE) == GoalStatus.STATUS_SUCCEEDED


@pytest.mark.parametrize(("phase", "number", "by"), [("reach", 1, "stop"), ("lift", 3, "cancel"), ("carry", 4, "stop")])
def test_a_stop_stops_the_arm_and_the_answer_is_true(cell: DoubleCell, phase: str, number: int, by: str) -> None:
    client, withdrawn = cell.client(), threading.Event()
    plan = slowed(cell.plan(client, scene(), put=number > 3), phase, LASTS)
    step = next(each for each in plan.steps if each.phase == phase)
    cell.robot.hold(0.04)
    call = Aside(lambda: client.execute(plan, withdrawn.is_set))
    cell.follows(number)
    told = time.monotonic()
    if by == "stop":
        client.stop()
    else:
        withdrawn.set()
    assert isinstance(call.ended().error, CancelledError), call.error
    assert cell.beside(step) > SHORT, f"the arm ran to the end of the phase, and the client says: {call.error}"
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.hardware.moved - told < AT_ONCE
    assert len(cell.arm.taken) == number


def test_a_stop_that_comes_while_moveit_checks_the_start_is_not_lost(cell: DoubleCell) -> None:
    client = cell.client()
    plan = slowed(cell.plan(client, scene()), "reach", LASTS)
    cell.hardware.silent = True  # MoveIt waits for a joint state, and its stop event does nothing meanwhile
    call = Aside(lambda: client.execute(plan))
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_EXECUTING, "MoveIt has the trajectory")
    client.stop()
    cell.hardware.silent = False
    assert isinstance(call.ended().error, CancelledError), call.error
    assert cell.beside(plan.steps[1]) > SHORT
    assert len(cell.arm.taken) <= 1


def test_a_controller_that_decelerates_is_waited_for(make_cell: MakeCell) -> None:
    cell = make_cell(Constraints(deceleration=dict.fromkeys(ARM, 0.2)))
    client = cell.client()
    plan = slowed(cell.plan(client, scene()), "reach", LASTS)
    call = Aside(lambda: client.execute(plan))
    cell.follows(1)
    until(lambda: cell.hardware.speed() > 0.2, "the arm is fast")
    client.stop()
    assert isinstance(call.ended().error, CancelledError), call.error
    assert cell.hardware.speed() <= MOST_SPEED  # though the controller has answered before
    assert cell.beside(plan.steps[1]) > SHORT


def test_a_move_group_that_is_killed_leaves_the_arm_standing(cell: DoubleCell) -> None:
    client = cell.client(controller_actions=FOLLOW, planner_silence=SILENCE)
    plan = slowed(cell.plan(client, scene()), "reach", 2 * LASTS)
    cell.robot.hold(0.04)
    call = Aside(lambda: client.execute(plan))
    until(lambda: (cell.arm.taken and cell.hardware.speed() > 0.05) or call.error, "the arm moves")
    assert call.error is None
    told = time.monotonic()
    cell.move_group.process.kill()
    error = call.ended().error
    assert isinstance(error, ExecutionFailedError), error
    assert "stopped answering during execution; the arm was told to stop and stands still" in str(error)
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.hardware.moved - told < LASTS
    assert len(cell.arm.taken) == 1


def test_what_a_hung_move_group_takes_late_is_stopped_then(cell: DoubleCell) -> None:
    client = cell.client(controller_actions=FOLLOW, planner_silence=SILENCE)
    plan = slowed(cell.plan(client, scene()), "reach", 2 * LASTS)
    cell.robot.hold(0.04)
    hang = partial(cell.move_group.process.send_signal, signal.SIGSTOP)
    error = Aside(lambda: client.execute(plan, begins=hang)).ended().error
    assert isinstance(error, ExecutionFailedError), error
    assert "stands still" in str(error)
    assert not cell.arm.taken
    cell.move_group.process.send_signal(signal.SIGCONT)
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_ABORTED, "MoveIt has taken it and was stopped")
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.beside(plan.steps[1]) > SHORT
    ask, question = cell.asker.service(GetPlanningScene, "/get_planning_scene"), GetPlanningScene.Request()
    question.components.components = PlanningSceneComponents.WORLD_OBJECT_NAMES
    cell.plan(client, scene())
    assert ask(question).scene.world.collision_objects
    client.clear()
    assert not ask(question).scene.world.collision_objects, "it answers again, and is told what to take away"


def test_what_a_hung_move_group_has_accepted_does_not_begin_later(cell: DoubleCell) -> None:
    client = cell.client(controller_actions=FOLLOW, planner_silence=SILENCE)
    plan = slowed(cell.plan(client, scene()), "reach", 2 * LASTS)
    cell.robot.hold(0.04)
    cell.hardware.silent = True  # it has accepted, and waits for a joint state before it begins
    call = Aside(lambda: client.execute(plan))
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_EXECUTING or call.error, "MoveIt has the trajectory")
    cell.move_group.process.send_signal(signal.SIGSTOP)
    cell.hardware.silent = False
    until(lambda: client._beside.silent, "the client has found it dead")
    cell.move_group.process.send_signal(signal.SIGCONT)
    error = call.ended().error
    assert isinstance(error, ExecutionFailedError), error
    assert "stopped answering during execution; the arm was told to stop and stands still" in str(error)
    until(lambda: cell.hardware.still() > 0.5, "the arm stands")
    assert cell.beside(plan.steps[1]) > SHORT


def test_a_client_whose_context_is_shut_down_leaves_the_stop_to_its_watchdog(cell: DoubleCell) -> None:
    client = cell.client(controller_actions=FOLLOW)
    plan = slowed(cell.plan(client, scene()), "reach", 2 * LASTS)
    call = Aside(lambda: client.execute(plan))
    cell.follows(1)
    rclpy.shutdown(context=client.node.context)
    assert isinstance(call.ended().error, CancelledError), call.error
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.beside(plan.steps[1]) > SHORT
