# SPDX-License-Identifier: Apache-2.0
"""The doubles do what their sources do, above all where that is not what an interface promises (docs/grippers.md)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from arm_graph import goals, scene
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from controller_double import ARM, HOME
from double_cell import EXECUTE, FOLLOW, FRANKA, GRASP, MOVE, OPEN, OURS, PARALLEL, DoubleCell, swing
from franka_msgs.action import Grasp, Move
from gripper_double import CLOSED, FINGERS, KNUCKLE, ROBOTIQ, GripperParameters
from live_process import Started
from moveit_msgs.action import ExecuteTrajectory
from moveit_msgs.msg import MoveItErrorCodes as Codes
from moveit_msgs.msg import RobotTrajectory
from planning_scenes import config
from std_msgs.msg import String
from waiting import until

from spatial_vlm_ros.nodes.arm.motion_messages import motion_goal, scene_diff

SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED
Arm = FollowJointTrajectory.Result


@pytest.fixture(scope="module")
def shared_cell(shared_domain: int) -> Iterator[DoubleCell]:
    made = DoubleCell(shared_domain)
    yield made
    made.close()


def send(cell: DoubleCell, **how: Any) -> Any:
    return cell.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=swing(**how)))


def moving(cell: DoubleCell, takes: float = 4.0) -> Any:
    handle = send(cell, takes=takes)
    until(lambda: cell.position() > 0.05, "the arm moves")
    return handle


def arm_ends(cell: DoubleCell, handle: Any) -> tuple[int, int, str]:
    """Status, error code and words."""
    answer = cell.asker.ended(handle)
    return answer.status, answer.result.error_code, answer.result.error_string


def test_it_follows_a_trajectory_and_cancelled_it_holds_at_once_and_says_successful(cell: DoubleCell) -> None:
    assert arm_ends(cell, send(cell, takes=0.3)) == (SUCCEEDED, Arm.SUCCESSFUL, "Goal successfully reached!")
    assert cell.position() == pytest.approx(1.0, abs=1e-6)
    cell.reset()
    handle = moving(cell)
    assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    at = cell.position()
    assert arm_ends(cell, handle) == (CANCELED, Arm.SUCCESSFUL, "")
    cell.stands()
    assert cell.position() == pytest.approx(at, abs=0.02)


def test_it_decelerates_where_it_is_told_to_and_answers_before_it_stands(cell: DoubleCell) -> None:
    cell.arm.deceleration, then = dict.fromkeys(ARM, 0.1), []
    handle = moving(cell)
    goal = cell.arm.goal
    goal.done.add_done_callback(lambda _: then.append(cell.position()))
    until(lambda: cell.hardware.speed() > 0.3, "the arm is fast")
    cell.asker.cancel(handle)
    assert arm_ends(cell, handle) == (CANCELED, Arm.SUCCESSFUL, "")
    cell.stands()
    least, most = 0.3**2 / 2 / 0.1, (1.5 / 4.0) ** 2 / 2 / 0.1  # from 0.3 rad/s, and from the fastest of the way
    assert least - 0.05 < cell.position() - then[0] < most + 0.05


def test_a_new_goal_replaces_the_one_that_runs(cell: DoubleCell) -> None:
    first = moving(cell)
    second = send(cell, to=-0.2, takes=0.3)  # far from where the arm is: nobody minds
    words = "Current goal preempted by new incoming action."
    assert arm_ends(cell, first) == (ABORTED, Arm.INVALID_GOAL, words)
    assert arm_ends(cell, second)[0] == SUCCEEDED
    assert cell.position() == pytest.approx(-0.2, abs=1e-6)


def test_a_goal_that_is_cancelled_just_after_its_end_hangs_until_the_next(cell: DoubleCell) -> None:
    cell.arm.timer.callback, turn = (lambda: None), cell.arm.turn  # as if its end fell just after a turn of the timer
    handle = send(cell, takes=0.3)
    until(lambda: cell.position() > 0.99 and cell.arm.goal is None, "the control loop has ended the goal")
    assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    result = cell.asker.result(handle)
    turn()
    assert not result.done()
    cell.arm.timer.callback = turn
    assert arm_ends(cell, send(cell, takes=0.3))[0] == SUCCEEDED
    assert cell.asker.wait(result).status == CANCELED


def test_what_it_refuses_and_what_it_takes(cell: DoubleCell) -> None:
    wrong = [swing(takes=0.3) for _ in range(6)]
    wrong[0].joint_names[0] = "elbow"
    wrong[1].joint_names = wrong[1].joint_names[:6]
    wrong[2].points = []
    wrong[3].points[-1].velocities = [0.1] + [0.0] * 6
    wrong[4].points[-1].time_from_start = Duration()
    wrong[5].points[-1].positions = [0.0] * 6
    for trajectory in wrong:
        assert not cell.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=trajectory)).accepted
    assert arm_ends(cell, send(cell, to=9.0, takes=0.3))[0] == SUCCEEDED  # limits of joints are not its concern


def test_a_joint_that_stands_at_the_end_is_stopped_wherever_it_is(cell: DoubleCell) -> None:
    cell.hardware.joints[ARM[0]].held = True
    assert arm_ends(cell, send(cell, takes=0.3))[:2] == (SUCCEEDED, Arm.SUCCESSFUL)


def test_deactivated_it_aborts_what_runs_and_refuses_the_rest(cell: DoubleCell) -> None:
    handle = moving(cell)
    cell.arm.deactivate()
    words = "Current goal cancelled during deactivate transition."
    assert arm_ends(cell, handle) == (ABORTED, Arm.INVALID_GOAL, words)
    cell.stands()
    assert cell.position() < 0.9
    assert not send(cell).accepted
    cell.arm.activate()
    start = tuple(cell.hardware.positions(ARM))
    assert arm_ends(cell, send(cell, takes=0.3, to=0.1, start=start))[0] == SUCCEEDED
    assert cell.position() == pytest.approx(start[0] + 0.1)


def execution(**how: Any) -> Any:
    return ExecuteTrajectory.Goal(trajectory=RobotTrajectory(joint_trajectory=swing(**how)))


def ends(cell: DoubleCell, handle: Any) -> tuple[int, int]:
    answer = cell.asker.ended(handle)
    return answer.status, answer.result.error_code.val


def begun(cell: DoubleCell, takes: float = 4.0) -> Any:
    handle = cell.asker.send(EXECUTE, execution(takes=takes))
    assert handle.accepted
    until(lambda: cell.position() > 0.05, "the arm moves")
    return handle


def test_a_cancelled_execution_goes_on_to_its_end_and_succeeds(cell: DoubleCell) -> None:
    handle = begun(cell, takes=1.5)
    answer = cell.asker.cancel(handle)
    until(lambda: cell.position() > 0.9, "the arm is nearly there")
    assert not answer.done()  # its only thread executes: nobody has read the request
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)
    assert cell.position() == pytest.approx(1.0, abs=1e-3)
    assert not cell.asker.wait(answer).goals_canceling
    until(lambda: cell.asker.last(FOLLOW) == SUCCEEDED, "its end is told")


@pytest.mark.parametrize("by", ["the event", "the controller"])
def test_what_is_stopped_ends_aborted_as_preempted(cell: DoubleCell, by: str) -> None:
    handle = begun(cell)
    if by == "the event":
        cell.asker.events.publish(String(data="halt"))  # it knows no such event
        cell.asker.events.publish(String(data="stop"))
    else:
        assert cell.asker.wait(cell.asker.cancel_all()).goals_canceling
    assert ends(cell, handle) == (ABORTED, Codes.PREEMPTED)
    cell.stands()
    assert cell.position() < 0.9
    until(lambda: cell.asker.last(FOLLOW) == CANCELED, "the controller has told of it")


def test_an_event_that_comes_before_the_motion_does_nothing(cell: DoubleCell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.hardware.silent = True  # the start is checked against a joint state that is waited for
    heard, stop = [], cell.move_group.execution.stop

    def watched() -> None:
        heard.append("stop")
        stop()

    monkeypatch.setattr(cell.move_group.execution, "stop", watched)
    handle = cell.asker.send(EXECUTE, execution(takes=0.5))
    cell.asker.events.publish(String(data="stop"))
    until(lambda: len(heard) == 2, "move_group has the event, and has stopped what went before")
    assert not cell.move_group.execution.running
    cell.hardware.silent = False
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)
    assert cell.position() == pytest.approx(1.0, abs=1e-3)


def test_another_execution_is_not_refused_but_waits_and_begins_after_a_stop(cell: DoubleCell) -> None:
    first = begun(cell)
    second = cell.asker.send_soon(EXECUTE, execution(to=0.5, takes=1.0))
    cell.asker.events.publish(String(data="stop"))
    assert ends(cell, first) == (ABORTED, Codes.PREEMPTED)
    handle = cell.asker.wait(second)
    assert handle.accepted
    assert ends(cell, handle) == (ABORTED, Codes.CONTROL_FAILED)  # the arm is no longer where this one begins
    third = cell.asker.send(EXECUTE, execution(to=0.2, takes=0.5, start=(cell.position(), *HOME[1:])))
    assert ends(cell, third) == (SUCCEEDED, Codes.SUCCESS)


def test_a_controller_that_lacks_a_joint_or_aborts_or_rejects_is_control_failed(cell: DoubleCell) -> None:
    other = execution()
    other.trajectory.joint_trajectory.joint_names[0] = "elbow"
    assert ends(cell, cell.asker.send(EXECUTE, other)) == (ABORTED, Codes.CONTROL_FAILED)
    handle = begun(cell)
    cell.arm.deactivate()
    assert ends(cell, handle) == (ABORTED, Codes.CONTROL_FAILED)
    rejected = execution(takes=1.0, start=(cell.position(), *HOME[1:]))
    assert ends(cell, cell.asker.send(EXECUTE, rejected)) == (ABORTED, Codes.CONTROL_FAILED)


def test_an_execution_that_takes_too_long_is_cancelled_at_the_controller(cell: DoubleCell) -> None:
    handle = begun(cell, takes=1.0)
    cell.hardware.joints[ARM[0]].speed = 0.05  # rad/s; the controller waits without limit until it stands
    assert ends(cell, handle) == (ABORTED, Codes.TIMED_OUT)
    until(lambda: cell.asker.last(FOLLOW) == CANCELED, "the controller has told of it")


def request() -> Any:
    settings = config(motion={"planning_time": 20.0})
    return motion_goal(settings.motion, goals(scene(), settings)[0].grasps[0].pre_grasp, False, {}, scene_diff())


def test_a_plan_that_is_cancelled_while_it_is_made_succeeds_and_before_that_it_is_preempted(cell: DoubleCell) -> None:
    before = cell.move_group.planned
    with cell.move_group.planning:
        handle = cell.asker.send(MOVE, request())
        until(lambda: cell.move_group.planned > before, "it plans")
        assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    assert ends(cell, handle) == (SUCCEEDED, Codes.SUCCESS)
    cell.hardware.silent = True  # a joint state is awaited first
    handle = cell.asker.send(MOVE, request())
    assert cell.asker.wait(cell.asker.cancel(handle)).goals_canceling
    assert ends(cell, handle) == (CANCELED, Codes.PREEMPTED)


def test_whatever_fails_is_failure_without_a_word(cell: DoubleCell) -> None:
    wrong = [request() for _ in range(3)]
    wrong[0].request.pipeline_id = "isaac_ros_cumotion"
    wrong[1].request.group_name = "manipulator"
    wrong[2].request.pipeline_id = "pilz_industrial_motion_planner"  # it has no planner by default
    for goal in wrong:
        answer = cell.asker.ended(cell.asker.send(MOVE, goal))
        code = answer.result.error_code
        assert (answer.status, code.val, code.message) == (ABORTED, Codes.FAILURE, "")
        assert not answer.result.planned_trajectory.joint_trajectory.points
    assert cell.move_group.failures[-3:] == [Codes.FAILURE, Codes.INVALID_GROUP_NAME, Codes.PLANNING_FAILED]


def test_they_run_as_processes_beside_each_other(domain: int, start: Callable[..., Started]) -> None:
    names = ("robot_doubles.py", "move_group_double.py")
    programs = [start(str(Path(__file__).parent / name), ROS_DOMAIN_ID=str(domain)) for name in names]
    for each in programs:
        each.says("ready")
    for each in programs:
        each.process.terminate()
        assert each.ends() == 0


def grip(cell: DoubleCell, position: float, name: str = OURS) -> Any:
    goal = GripperCommand.Goal()
    goal.command.position, goal.command.max_effort = position, 20.0
    handle = cell.asker.send(name, goal)
    assert handle.accepted
    return handle


def gripped(cell: DoubleCell, handle: Any) -> tuple[int, float, bool, bool]:
    """Status, position, reached_goal, stalled."""
    answer = cell.asker.ended(handle)
    return answer.status, answer.result.position, answer.result.reached_goal, answer.result.stalled


def slow(cell: DoubleCell) -> None:
    """4 s to close, so that there is time to do something meanwhile."""
    for joint in FINGERS:
        cell.hardware.joints[joint].speed = 0.01


def roughly(value: float) -> Any:
    return pytest.approx(value, abs=1e-3)


def test_by_default_a_goal_is_reached_a_centimetre_early_and_a_stall_aborts(cell: DoubleCell) -> None:
    status, position, reached, stalled = gripped(cell, grip(cell, 0.0))
    assert (status, reached, stalled) == (SUCCEEDED, True, False)
    assert 0.005 < position < 0.01  # of one finger, and it closes on
    until(lambda: cell.position(FINGERS[0]) == 0.0, "the fingers are closed")
    assert gripped(cell, grip(cell, 0.04))[:1] == (SUCCEEDED,)
    until(lambda: cell.position(FINGERS[0]) == 0.04, "the fingers are open")
    cell.robot.hold(0.05)
    assert gripped(cell, grip(cell, 0.0)) == (ABORTED, roughly(0.025), False, True)
    assert cell.hardware.joints[FINGERS[0]].command == 0.0  # it presses on
    cell.robot.gripper.parameters = GripperParameters(stall_timeout=0.1)
    assert gripped(cell, grip(cell, -1.0)) == (ABORTED, roughly(0.025), False, True)  # it takes any position
    cell.robot.hold(0.015)  # a thin object counts as the goal
    assert gripped(cell, grip(cell, 0.0))[2:] == (True, False)


def test_cancelled_it_holds_and_replaced_it_ends_cancelled_with_nothing(cell: DoubleCell) -> None:
    slow(cell)
    first = grip(cell, 0.0)
    until(lambda: cell.position(FINGERS[0]) < 0.035, "the fingers move")
    second = grip(cell, 0.001)
    assert gripped(cell, first) == (CANCELED, 0.0, False, False)
    assert cell.asker.wait(cell.asker.cancel(second)).goals_canceling
    assert gripped(cell, second) == (CANCELED, 0.0, False, False)  # not where the fingers are
    cell.stands()
    assert 0.005 < cell.position(FINGERS[0]) < 0.035


def test_where_stalling_is_allowed_it_succeeds_also_before_the_fingers_have_moved(shared_cell: DoubleCell) -> None:
    cell = shared_cell.reset(gripper=ROBOTIQ)
    knuckle = cell.hardware.joints[KNUCKLE]
    assert gripped(cell, grip(cell, CLOSED)) == (SUCCEEDED, pytest.approx(CLOSED, abs=0.02), True, False)
    until(lambda: knuckle.position == CLOSED, "it is closed")
    assert gripped(cell, grip(cell, 0.0))[2:] == (True, False)
    until(lambda: knuckle.position == 0.0, "it is open")
    knuckle.highest = 0.4  # something is between the fingers
    assert gripped(cell, grip(cell, CLOSED)) == (SUCCEEDED, roughly(0.4), False, True)
    knuckle.delay = 0.2  # its bus is slow; the stall timeout is 0.05 s
    assert gripped(cell, grip(cell, 0.0)) == (SUCCEEDED, roughly(0.4), False, True)
    until(lambda: knuckle.position == 0.0, "it opens all the same")


def test_the_parallel_controller_takes_exactly_one_position_and_names_no_joint(shared_cell: DoubleCell) -> None:
    cell, goal = shared_cell.reset(gripper=ROBOTIQ, parallel=True), ParallelGripperCommand.Goal()
    for positions in ([], [0.1, 0.1]):
        goal.command.position = positions
        assert not cell.asker.send(PARALLEL, goal).accepted
    goal.command.position = [0.4]
    answer = cell.asker.ended(cell.asker.send(PARALLEL, goal))
    assert (answer.status, answer.result.reached_goal, list(answer.result.state.name)) == (SUCCEEDED, True, [])
    assert list(answer.result.state.position) == [pytest.approx(0.4, abs=0.02)]


def test_franka_takes_half_the_width_and_tells_all_of_it(franka: DoubleCell) -> None:
    for between, told, expected in (
        (0.0, 0.04, (SUCCEEDED, 0.08, True)),  # it is there
        (0.05, 0.025, (SUCCEEDED, 0.05, True)),  # as wide as it was told
        (0.05, 0.04, (SUCCEEDED, 0.08, True)),
        (0.05, 0.005, (ABORTED, 0.05, False)),  # held, and no grasp of 1 cm
        (0.05, 0.05, (ABORTED, 0.0, False)),  # wider than it opens: nothing moves
        (0.0, 0.0, (SUCCEEDED, 0.0, True)),  # on nothing
    ):
        franka.robot.hold(between)
        status, position, reached, stalled = gripped(franka, grip(franka, told, FRANKA))
        assert (status, roughly(position), reached, stalled) == (*expected, False), told
    franka.reset(gripper="franka")
    slow(franka)
    handle = grip(franka, 0.0, FRANKA)
    until(lambda: franka.position(FINGERS[0]) < 0.035, "the fingers move")
    franka.asker.cancel(handle)
    assert gripped(franka, handle) == (CANCELED, 0.0, False, False)
    franka.stands()
    assert 0.0 < franka.position(FINGERS[0]) < 0.035


def test_franka_grasps_between_both_tolerances_and_tells_no_width(franka: DoubleCell) -> None:
    franka.robot.hold(0.04)
    wide, narrow = (Grasp.Goal(width=width, speed=0.1, force=20.0) for width in (0.05, 0.03))
    wide.epsilon.inner, wide.epsilon.outer, narrow.epsilon.inner, narrow.epsilon.outer = 0.02, 0.0, 0.03, 0.005
    for name, goal, status, at in (
        (GRASP, wide, SUCCEEDED, 0.02), (OPEN, Move.Goal(width=0.06, speed=0.1), SUCCEEDED, 0.03),
        (GRASP, narrow, ABORTED, 0.02),  # held all the same
    ):  # fmt: skip
        answer = franka.asker.ended(franka.asker.send(name, goal))
        assert (answer.status, answer.result.success) == (status, status == SUCCEEDED)
        assert franka.hardware.positions(FINGERS) == [roughly(at), roughly(at)]
