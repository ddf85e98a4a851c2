# SPDX-License-Identifier: Apache-2.0
"""The double of move_group does what MoveIt does, above all where that is not what its interface promises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from arm_graph import goals, scene
from controller_double import HOME, Constraints
from double_cell import EXECUTE, FOLLOW, MOVE, DoubleCell, swing, until
from live_process import Started
from moveit_msgs.action import ExecuteTrajectory
from moveit_msgs.msg import AllowedCollisionEntry, AllowedCollisionMatrix, PlanningSceneComponents, RobotTrajectory
from moveit_msgs.msg import MoveItErrorCodes as Codes
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from planning_scenes import config
from std_msgs.msg import String

from spatial_vlm_ros.manipulation.builtin_planner.robot import ACCELERATION, panda
from spatial_vlm_ros.nodes.arm.motion_messages import box_object, motion_goal, removed_object, scene_diff

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
MakeCell = Callable[..., DoubleCell]
SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED


@pytest.fixture
def make_cell(make_cell: MakeCell) -> MakeCell:
    """All of them in this process: the tests look into move_group."""
    return partial(make_cell, start=None)


def execution(**how: Any) -> Any:
    return ExecuteTrajectory.Goal(trajectory=RobotTrajectory(joint_trajectory=swing(**how)))


def ends(cell: DoubleCell, handle: Any) -> tuple[int, int]:
    """Status and error code."""
    answer = cell.asker.wait(cell.asker.result(handle))
    return answer.status, answer.result.error_code.val


def begun(cell: DoubleCell, **how: Any) -> Any:
    handle = cell.asker.send(EXECUTE, execution(**how))
    assert handle.accepted
    until(lambda: cell.position() > 0.05, "the arm moves")
    return handle


def request(velocity: float = 1.0, acceleration: float = 1.0) -> Any:
    settings = config(motion={"planning_time": 20.0})
    goal = motion_goal(settings.motion, goals(scene(), settings)[0].grasps[0].pre_grasp, False, {}, scene_diff())
    goal.request.max_velocity_scaling_factor = velocity
    goal.request.max_acceleration_scaling_factor = acceleration
    return goal


# ------------------------------------------------------------------------------------------------ execution


def test_a_cancelled_execution_goes_on_to_its_end_and_succeeds(cell: DoubleCell) -> None:
    handle = begun(cell)
    answer = cell.asker.cancel(handle)
    until(lambda: cell.position() > 0.9, "the arm is nearly there")
    assert not answer.done()  # its only thread executes: nobody has read the request
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)
    assert cell.position() == pytest.approx(1.0, abs=1e-3)
    assert not cell.asker.wait(answer).goals_canceling
    assert cell.asker.last(FOLLOW) == SUCCEEDED


def test_the_event_stops_it_and_it_ends_aborted_as_preempted(cell: DoubleCell) -> None:
    handle = begun(cell, takes=4.0)
    cell.asker.events.publish(String(data="halt"))  # it knows no such event
    cell.asker.events.publish(String(data="stop"))
    assert ends(cell, handle) == (ABORTED, Codes.PREEMPTED)
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.position() < 0.9
    until(lambda: cell.asker.last(FOLLOW) == CANCELED, "the controller has told of it")


def test_an_event_that_comes_before_the_motion_does_nothing(cell: DoubleCell) -> None:
    cell.hardware.silent = True  # the start is checked against a joint state that is waited for
    heard, stop = [], cell.move_group.execution.stop

    def watched(clear: bool = True) -> None:
        heard.append(clear)
        stop(clear)

    cell.move_group.execution.stop = watched  # type: ignore[method-assign]
    handle = cell.asker.send(EXECUTE, execution(takes=1.0))
    cell.asker.events.publish(String(data="stop"))
    until(lambda: True in heard, "move_group has the event")
    assert not cell.move_group.execution.running
    cell.hardware.silent = False
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)
    assert cell.position() == pytest.approx(1.0, abs=1e-3)


def test_cancelling_at_the_controller_stops_it_with_the_same_answer(cell: DoubleCell) -> None:
    handle = begun(cell, takes=4.0)
    assert cell.asker.wait(cell.asker.cancel_all(FOLLOW)).goals_canceling
    assert ends(cell, handle) == (ABORTED, Codes.PREEMPTED)
    until(lambda: cell.hardware.still() > 0.2, "the arm stands")
    assert cell.position() < 0.9


def test_another_execution_is_not_refused_but_waits_and_begins_after_a_stop(cell: DoubleCell) -> None:
    first = begun(cell, takes=4.0)
    second = cell.asker.send_soon(EXECUTE, execution(to=0.5, takes=1.0))
    cell.asker.events.publish(String(data="stop"))
    assert ends(cell, first) == (ABORTED, Codes.PREEMPTED)
    handle = cell.asker.wait(second)
    assert handle.accepted
    assert ends(cell, handle) == (ABORTED, Codes.CONTROL_FAILED)  # the arm is no longer where this one begins
    third = cell.asker.send(EXECUTE, execution(to=0.2, takes=1.0, start=(cell.position(), *HOME[1:])))
    assert ends(cell, third) == (SUCCEEDED, Codes.SUCCESS)


def test_a_controller_that_lacks_a_joint_or_aborts_is_control_failed(cell: DoubleCell) -> None:
    other = execution()
    other.trajectory.joint_trajectory.joint_names[0] = "elbow"
    assert ends(cell, cell.asker.send(EXECUTE, other)) == (ABORTED, Codes.CONTROL_FAILED)
    handle = begun(cell, takes=4.0)
    cell.arm.deactivate()
    assert ends(cell, handle) == (ABORTED, Codes.CONTROL_FAILED)
    rejected = execution(takes=1.0, start=(cell.position(), *HOME[1:]))
    assert ends(cell, cell.asker.send(EXECUTE, rejected)) == (ABORTED, Codes.CONTROL_FAILED)


def test_an_execution_that_takes_too_long_is_cancelled_at_the_controller(make_cell: MakeCell) -> None:
    cell = make_cell(Constraints(goal={"panda_joint1": 0.01}))  # and no goal_time: it waits without limit
    handle = begun(cell, takes=1.0)
    cell.hardware.joints["panda_joint1"].held = True
    assert ends(cell, handle) == (ABORTED, Codes.TIMED_OUT)
    until(lambda: cell.asker.last(FOLLOW) == CANCELED, "the controller has told of it")


# ------------------------------------------------------------------------------------------------ planning


def test_a_plan_that_is_cancelled_while_it_is_made_succeeds(cell: DoubleCell) -> None:
    with cell.move_group.planning:
        handle = cell.asker.send(MOVE, request())
        until(lambda: cell.move_group.planned, "it plans")
        assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)


def test_a_plan_that_is_cancelled_before_it_is_begun_is_preempted(cell: DoubleCell) -> None:
    cell.hardware.silent = True  # a joint state is awaited first
    handle = cell.asker.send(MOVE, request())
    assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    assert ends(cell, handle) == (CANCELED, Codes.PREEMPTED)


@pytest.mark.parametrize(("velocity", "acceleration"), [(0.2, 1.0), (1.0, 0.1), (0.3, 0.3), (0.0, 7.0)])
def test_each_factor_scales_its_own_limit_once(cell: DoubleCell, velocity: float, acceleration: float) -> None:
    answer = cell.asker.wait(cell.asker.result(cell.asker.send(MOVE, request(velocity, acceleration))))
    points = answer.result.planned_trajectory.joint_trajectory.points
    fastest = (np.abs([p.velocities for p in points]) / panda().velocity).max()
    hardest = (np.abs([p.accelerations for p in points]) / ACCELERATION).max()
    f_v, f_a = velocity or 1.0, acceleration if acceleration <= 1 else 1.0  # what is out of range counts as 1
    assert fastest <= f_v + 1e-6
    assert hardest <= f_a + 1e-6
    assert max(fastest / f_v, hardest / f_a) > 0.9  # the motion uses one of them


# ------------------------------------------------------------------------------------------------ scene


def test_the_scene_keeps_its_octomap_applies_what_it_can_and_tells_what_is_asked_for(cell: DoubleCell) -> None:
    asker = cell.asker
    apply = asker.service(ApplyPlanningScene, "apply_planning_scene")
    get = asker.service(GetPlanningScene, "get_planning_scene")
    whole = scene_diff([box_object("cup", "panda_link0", np.eye(4), (0.1, 0.1, 0.1))])
    whole.world.octomap.octomap.id, whole.world.octomap.octomap.data = "OcTree", [1, 2]
    rows = [AllowedCollisionEntry(enabled=[False, True]), AllowedCollisionEntry(enabled=[True, False])]
    whole.allowed_collision_matrix = AllowedCollisionMatrix(entry_names=["cup", "panda_hand"], entry_values=rows)
    assert apply(ApplyPlanningScene.Request(scene=whole)).success
    only = GetPlanningScene.Request()
    only.components.components = PlanningSceneComponents.ALLOWED_COLLISION_MATRIX
    seen = get(only).scene
    assert (list(seen.allowed_collision_matrix.entry_names), seen.world.collision_objects) == (
        ["cup", "panda_hand"],
        [],
    )
    change = [removed_object(name, "panda_link0") for name in ("nothing", "cup")]
    assert not apply(ApplyPlanningScene.Request(scene=scene_diff(change))).success  # it has no object "nothing"
    seen = get(GetPlanningScene.Request()).scene
    assert seen.world.collision_objects == []
    assert list(seen.allowed_collision_matrix.entry_names) == ["panda_hand"]
    assert list(seen.world.octomap.octomap.data) == [1, 2]
    assert apply(ApplyPlanningScene.Request()).success  # no diff: a whole, empty scene
    assert not get(GetPlanningScene.Request()).scene.world.octomap.octomap.data


# ------------------------------------------------------------------------------------------------ the process


def test_it_runs_as_a_process_beside_that_of_the_robot(domain: int, start: Callable[..., Started]) -> None:
    programs = [
        start(str(Path(__file__).parent / name), ROS_DOMAIN_ID=str(domain))
        for name in ("robot_doubles.py", "move_group_double.py")
    ]
    for each in programs:
        each.says("ready")
    for each in programs:
        each.process.terminate()
        assert each.ends() == 0
