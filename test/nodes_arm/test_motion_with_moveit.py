# SPDX-License-Identifier: Apache-2.0
"""The client against a move_group and controllers that behave as MoveIt's and ros2_controllers' sources do."""

import dataclasses
import re
import signal
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from arm_graph import CUP, ApprovedClient, Aside, goals, occupied, planned, scene, wall
from controller_double import ARM
from double_cell import EXECUTE, MOVE, DoubleCell, slowed
from live_process import ROOT
from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from waiting import until

from spatial_vlm_ros import errors
from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.manipulation.occupancy.measuring import MEASURED, UNSEEN
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, PICK, PLACE, MotionPlan
from spatial_vlm_ros.manipulation.standstill import MOST_SPEED
from spatial_vlm_ros.nodes.arm.motion_messages import box_object, boxes_object, scene_diff

LASTS = 4.0  # s that the phase takes in which the arm is stopped
SILENCE = 2.0  # s: longer than the default, for the client shares its interpreter with the controllers
SHORT = 0.01  # rad that a stopped arm is short of the end of the phase, at least
STOPPED = r"(has not answered for|it was told to stop).* stands still"  # the second by the watchdog of a busy client


def told(cell: DoubleCell, components: int = 0) -> Any:
    question = GetPlanningScene.Request()
    question.components.components = components
    return cell.asker.service(GetPlanningScene, "/get_planning_scene")(question).scene


def reaching(cell: DoubleCell, lasts: float = LASTS, **motion: Any) -> tuple[ApprovedClient, MotionPlan]:
    """A client, and a plan to take a block, in which the arm reaches for so long."""
    client = cell.client(**motion)
    cell.robot.hold(0.04)
    return client, slowed(planned(client, scene(), put=False), "reach", lasts)


def apply(cell: DoubleCell, difference: Any) -> bool:
    request = ApplyPlanningScene.Request(scene=difference)
    return bool(cell.asker.service(ApplyPlanningScene, "/apply_planning_scene")(request).success)


@pytest.fixture(autouse=True)
def empty(cell: DoubleCell) -> None:
    assert apply(cell, ApplyPlanningScene.Request().scene)


@pytest.mark.parametrize("preset", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["doubles", "preset panda"])
def test_an_object_is_taken_and_put_down(cell: DoubleCell, preset: bool) -> None:
    given: dict[str, Any] = {}
    if preset:  # all but its names and its speed
        cell.reset(gripper="franka")
        motion = wiring.robot_preset(ROOT, "panda").planning("moveit").motion
        left = ("velocity_scaling", "acceleration_scaling", "controller_actions", "joint_states", "gripper_states")
        given = {f.name: getattr(motion, f.name) for f in dataclasses.fields(motion) if f.name not in left}
    client = cell.client(**given)
    plan = planned(client, scene(CUP))
    cell.robot.hold(0.04)
    client.execute(plan)
    assert len(cell.arm.taken) == len(plan.trajectories) == len([*PICK, *PLACE]) - len(GRIPS)
    assert cell.beside(plan.steps[-1]) < 0.01
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_SUCCEEDED, "MoveIt tells of its end")


@pytest.mark.parametrize(
    ("phase", "number", "by"),
    [("reach", 1, "stop"), ("lift", 3, "cancel"), pytest.param("carry", 4, "stop", marks=pytest.mark.slow)],
)
def test_a_stop_stops_the_arm_and_the_answer_is_true(cell: DoubleCell, phase: str, number: int, by: str) -> None:
    client, withdrawn = cell.client(), threading.Event()
    plan = slowed(planned(client, scene(), put=number > 3), phase, LASTS)
    step = next(each for each in plan.steps if each.phase == phase)
    cell.robot.hold(0.04)
    call = Aside(lambda: client.execute(plan, withdrawn.is_set))
    cell.follows(number)
    if by == "stop":
        client.stop()
    else:
        withdrawn.set()
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    assert cell.beside(step) > SHORT, f"the arm ran to the end of the phase, and the client says: {call.error}"
    cell.stands()
    assert len(cell.arm.taken) == number


@pytest.mark.slow
def test_a_stop_that_comes_while_moveit_checks_the_start_is_not_lost(cell: DoubleCell) -> None:
    client, plan = reaching(cell)
    cell.hardware.silent = True  # MoveIt waits for a joint state, and its stop event does nothing meanwhile
    call = Aside(lambda: client.execute(plan))
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_EXECUTING, "MoveIt has the trajectory")
    client.stop()
    cell.hardware.silent = False
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    assert cell.beside(plan.steps[1]) > SHORT
    assert len(cell.arm.taken) <= 1


def test_a_controller_that_decelerates_is_waited_for(cell: DoubleCell) -> None:
    cell.arm.deceleration = dict.fromkeys(ARM, 0.2)
    client, plan = reaching(cell)
    call = Aside(lambda: client.execute(plan))
    cell.follows(1)
    until(lambda: cell.hardware.speed() > 0.2, "the arm is fast")
    client.stop()
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    assert cell.hardware.speed() <= MOST_SPEED  # though the controller has answered before
    assert cell.beside(plan.steps[1]) > SHORT


def test_a_client_whose_context_is_shut_down_leaves_the_stop_to_its_watchdog(cell: DoubleCell) -> None:
    client, plan = reaching(cell, 2 * LASTS)
    call = Aside(lambda: client.execute(plan))
    cell.follows(1)
    rclpy.shutdown(context=client.node.context)
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    cell.stands()
    assert cell.beside(plan.steps[1]) > SHORT


def test_without_controllers_nothing_moves_as_nothing_would_stop_the_arm_if_move_group_died(cell: DoubleCell) -> None:
    client, plan = reaching(cell, controller_actions="")
    with pytest.raises(errors.InputError, match="nothing would stop the arm if it died"):
        client.execute(plan)
    assert not cell.arm.taken


def test_what_a_hung_move_group_takes_late_is_stopped_then(cell: DoubleCell) -> None:
    client, plan = reaching(cell, 2 * LASTS, planner_silence=SILENCE)
    hang = partial(cell.move_group.process.send_signal, signal.SIGSTOP)
    error = Aside(lambda: client.execute(plan, begins=hang)).ended().error
    assert isinstance(error, errors.ExecutionFailedError), error
    assert "stands still" in str(error)
    assert not cell.arm.taken
    cell.move_group.process.send_signal(signal.SIGCONT)
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_ABORTED, "MoveIt has taken it and was stopped")
    cell.stands()
    assert cell.beside(plan.steps[1]) > SHORT
    planned(client, scene(), put=False)
    assert told(cell, PlanningSceneComponents.WORLD_OBJECT_NAMES).world.collision_objects
    client.clear()
    assert not told(cell).world.collision_objects, "it answers again, and is told what to take away"


def test_what_a_hung_move_group_has_accepted_does_not_begin_later(
    cell: DoubleCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, plan = reaching(cell, 2 * LASTS, planner_silence=SILENCE)
    halt, told_to_stop = client._beside.halt, list[None]()
    monkeypatch.setattr(client._beside, "halt", lambda: told_to_stop.append(halt()))
    cell.hardware.silent = True  # it has accepted, and waits for a joint state before it begins
    call = Aside(lambda: client.execute(plan))
    until(lambda: cell.asker.last(EXECUTE) == GoalStatus.STATUS_EXECUTING or call.error, "MoveIt has the trajectory")
    cell.move_group.process.send_signal(signal.SIGSTOP)
    cell.hardware.silent = False
    until(lambda: told_to_stop, "the client has found it dead")
    cell.move_group.process.send_signal(signal.SIGCONT)
    error = call.ended().error
    assert isinstance(error, errors.ExecutionFailedError), error
    assert re.search(STOPPED, str(error)), error
    cell.stands(0.5)
    assert cell.beside(plan.steps[1]) > SHORT


def test_a_name_that_move_group_does_not_have_is_told_before_anything_is_asked(cell: DoubleCell) -> None:
    with pytest.raises(errors.InputError, match=r"motion\.group.*'manipulator'.*hand, panda_arm"):
        planned(cell.client(group="manipulator"), scene())
    assert cell.asker.last(MOVE) == 0
    assert not told(cell).world.collision_objects


def test_an_object_that_came_since_the_plan_was_made_stops_it_before_anything_moves(cell: DoubleCell) -> None:
    client, far = cell.client(), np.eye(4)
    plan = planned(client, scene(), put=False)
    far[:3, 3] = (0.0, -0.8, 0.3)
    assert apply(cell, scene_diff([box_object("chair", "panda_link0", far, (0.1, 0.1, 0.1))]))
    with pytest.raises(errors.SceneChangedError, match="'chair' was added"):
        client.execute(plan)
    assert not cell.arm.taken
    assert {each.id for each in told(cell).world.collision_objects} == {"chair"}  # what was shown is taken away


def test_what_has_no_name_is_shown_as_large_as_it_is_and_removed_afterwards(cell: DoubleCell) -> None:
    client, around = cell.client(), scene(CUP)
    x, y, _ = around.target.solid.centre
    tower, behind = (wall((x + near, y - 0.2, 0.0), (x + near + 0.02, y + 0.2, 0.1)) for near in (0.16, 0.2))
    plan = planned(client, occupied(tower, behind), put=False)
    shown = {each.id.removeprefix(OWN): each for each in told(cell).world.collision_objects}
    assert {MEASURED, UNSEEN} <= shown.keys()
    volume = sum(np.prod(shape.dimensions) for shape in shown[MEASURED].primitives)
    assert volume == pytest.approx(len(tower) * 0.01**3, rel=1e-6)
    assert not boxes_object("none", "base", ()).primitives
    cell.robot.hold(0.04)
    client.execute(plan)
    assert not told(cell).world.collision_objects
    lid = occupied(wall((x - 0.2, y - 0.2, 0.15), (x + 0.2, y + 0.2, 0.2)))
    with pytest.raises(
        (errors.PlanningFailedError, errors.GoalError), match="reach: the planner failed without a reason"
    ):
        client.plan(goals(around, client.config)[0], lid)
    assert not told(cell).world.collision_objects


def test_the_octomap_of_a_sensor_plugin_stays_as_it_is(cell: DoubleCell) -> None:
    client, mapped = cell.client(), scene_diff()
    mapped.world.octomap.octomap.id, mapped.world.octomap.octomap.data = "OcTree", [1, 2, 3]
    assert apply(cell, mapped)
    plan = planned(client, occupied(wall((0.7, -0.3, 0.0), (0.72, 0.3, 0.3))), put=False)
    assert list(told(cell).world.octomap.octomap.data) == [1, 2, 3]
    cell.robot.hold(0.04)
    client.execute(plan)
    assert list(told(cell).world.octomap.octomap.data) == [1, 2, 3]
    seen = told(cell, PlanningSceneComponents.WORLD_OBJECT_NAMES)
    assert not seen.world.octomap.octomap.data, "this package asks for names alone"


def test_a_move_group_that_is_killed_leaves_the_arm_standing(cell: DoubleCell) -> None:
    """The last one here: killed within its shared memory, it may leave a lock that others wait for."""
    client, plan = reaching(cell, 2 * LASTS, planner_silence=SILENCE)
    call = Aside(lambda: client.execute(plan))
    until(lambda: (cell.arm.taken and cell.hardware.speed() > 0.05) or call.error, "the arm moves")
    assert call.error is None
    cell.move_group.process.kill()
    error = call.ended().error
    assert isinstance(error, errors.ExecutionFailedError), error
    assert re.search(STOPPED, str(error)), error
    cell.stands()
    assert len(cell.arm.taken) == 1
