# SPDX-License-Identifier: Apache-2.0
"""What move_group, controllers and joint states do beyond their interfaces, and what the client makes of it."""

import dataclasses
from collections.abc import Iterator

import pytest
from action_msgs.msg import GoalStatus
from arm_graph import BLOCK, Aside, goals, planned, scene
from control_msgs.action import FollowJointTrajectory
from controller_double import ARM
from double_cell import FOLLOW, MOVE, DoubleCell, slowed, swing
from gripper_double import FINGERS
from waiting import until

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import panda
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan

SHORT = 0.01  # rad that a stopped arm is short of the end of the phase, at least


@pytest.fixture(scope="module")
def shared_cell(shared_domain: int) -> Iterator[DoubleCell]:
    made = DoubleCell(shared_domain)
    yield made
    made.close()


def lines(cell: DoubleCell, before: int) -> list[tuple[str, float]]:
    """Planner and velocity scaling of each straight motion that was asked for since."""
    return [each for each in cell.move_group.requests[before:] if each[0]]


def within_limits(plan: MotionPlan, scaling: float) -> bool:
    for trajectory in plan.trajectories:
        for limit, rows in (
            (panda().velocity, trajectory.velocities),
            (panda().acceleration, trajectory.accelerations),
        ):
            if any(abs(at) > most * scaling * (1 + 1e-6) for row in rows for at, most in zip(row, limit, strict=True)):
                return False
    return True


def test_an_object_out_of_reach_is_told_without_asking_for_a_plan(cell: DoubleCell) -> None:
    client, before = cell.client(), cell.move_group.planned
    far = scene(target=dataclasses.replace(BLOCK, solid=dataclasses.replace(BLOCK.solid, centre=(0.97, 0.1, 0.04))))
    pick, _ = goals(scene(), client.config)
    with pytest.raises(
        errors.GoalError, match=r"ways: reach: the arm cannot reach the goal \(NO_IK_SOLUTION\)"
    ) as told:
        client.plan(dataclasses.replace(goals(far, client.config)[0]), far)
    assert told.value.status_name == "UNREACHABLE"
    assert cell.move_group.planned == before
    assert planned(client, scene()).grasp in range(len(pick.grasps))


@pytest.mark.parametrize("scaling", [1.0, 0.3])
def test_lines_are_slow_enough_for_every_joint_and_free_motions_too(cell: DoubleCell, scaling: float) -> None:
    before = len(cell.move_group.requests)
    plan = planned(cell.client(velocity_scaling=scaling, acceleration_scaling=scaling), scene())
    assert {factor for _, factor in lines(cell, before)} > {scaling}, "the line at full speed fails, and a slower one"
    assert within_limits(plan, scaling)


def test_where_no_line_can_be_followed_a_joint_motion_near_it_replaces_it(
    cell: DoubleCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, before = cell.client(), len(cell.move_group.requests)
    monkeypatch.setattr(cell.move_group, "straight", False)
    assert planned(client, scene(), put=False).grasp == 0
    assert [name for name, _ in lines(cell, before)][:5] == ["LIN"] * 4 + ["PTP"]
    monkeypatch.setattr(client._kinematics, "is_straight", lambda *_: False)
    with pytest.raises(errors.PlanningFailedError, match="approach: the planner failed without a reason"):
        planned(client, scene(), put=False)


def test_a_planner_that_accepts_and_never_answers_is_told_and_asked_again_later(cell: DoubleCell) -> None:
    client, before = cell.client(planning_time=0.2, answer_timeout=1.0), cell.move_group.planned
    with (
        cell.move_group.planning,
        pytest.raises(errors.PlannerUnavailableError, match=r"/move_action.*no result for 1\.2 s; it was cancelled"),
    ):
        planned(client, scene())
    until(lambda: cell.asker.last(MOVE) >= GoalStatus.STATUS_SUCCEEDED, "it has ended all the same")
    assert cell.move_group.planned == before + 1
    assert planned(cell.client(), scene()).grasp == 0


def test_a_plan_that_is_cancelled_ends_successfully_at_the_planner_and_the_next_one_begins_then(
    cell: DoubleCell,
) -> None:
    client, before = cell.client(), cell.move_group.planned
    with cell.move_group.planning:
        call = Aside(lambda: planned(client, scene()))
        until(lambda: cell.move_group.planned > before, "it plans")
        client.stop()
        until(lambda: cell.asker.last(MOVE) == GoalStatus.STATUS_CANCELING, "it is cancelled, and plans on")
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    until(lambda: cell.asker.last(MOVE) == GoalStatus.STATUS_SUCCEEDED, "it has ended")
    assert planned(client, scene()).grasp == 0


@pytest.mark.parametrize("how", ["five a second", "overtaken"])
def test_an_arm_is_moved_and_stopped_by_poor_joint_states(cell: DoubleCell, how: str) -> None:
    if how == "overtaken":
        cell.hardware.overtaken = True
    else:
        cell.hardware.interval = 0.2
    client = cell.client()
    plan = slowed(planned(client, scene(), put=False), "lift", 4.0)
    cell.robot.hold(0.04)
    call = Aside(lambda: client.execute(plan))
    cell.follows(3)
    client.stop()
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    assert cell.beside(plan.steps[-1]) > SHORT
    cell.stands()


def test_an_arm_that_somebody_else_moves_is_not_moved(cell: DoubleCell) -> None:
    client = cell.client()
    plan = planned(client, scene(), put=False)
    slowly = cell.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=swing(to=1.2, takes=30.0)))
    until(lambda: cell.hardware.speed() > 0.03, "it moves")
    with pytest.raises(
        errors.ExecutionFailedError, match="'reach': the arm moves, and not by this node; this motion was"
    ):
        client.execute(plan)
    assert len(cell.arm.taken) == 1
    assert not cell.hardware.positions(FINGERS)[0] < 0.04, "nor is the gripper"
    cell.asker.cancel(slowly)


def test_an_arm_that_still_comes_to_rest_is_waited_for(cell: DoubleCell) -> None:
    client = cell.client()
    plan = planned(client, scene(), put=False)
    aside = tuple(cell.hardware.positions(ARM))
    cell.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=swing(to=0.2, takes=0.5, start=aside)))
    until(lambda: cell.asker.last(FOLLOW) == GoalStatus.STATUS_SUCCEEDED, "it is aside")
    aside = tuple(cell.hardware.positions(ARM))
    cell.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=swing(to=-0.2, takes=2.5, start=aside)))
    until(lambda: cell.hardware.speed() > 0.03, "it comes back")
    cell.robot.hold(0.04)
    client.execute(plan)


def test_a_goal_of_somebody_else_that_replaces_ours_is_stopped_and_told(cell: DoubleCell) -> None:
    client = cell.client(controller_actions=FOLLOW)
    plan = slowed(planned(client, scene(), put=False), "reach", 4.0)
    call = Aside(lambda: client.execute(plan))
    cell.follows(1)
    start = tuple(cell.hardware.positions(ARM))
    assert cell.asker.send(
        FOLLOW, FollowJointTrajectory.Goal(trajectory=swing(to=1.0, takes=8.0, start=start))
    ).accepted
    error = call.ended().error
    assert isinstance(error, errors.ExecutionFailedError), error
    assert "a controller failed (CONTROL_FAILED" in str(error)
    cell.stands()
    assert abs(cell.position() - start[0]) < 0.9
    assert len(cell.arm.taken) == 2
