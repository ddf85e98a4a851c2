# SPDX-License-Identifier: Apache-2.0
"""The doubles of gripper drivers do what ros2_controllers, franka_ros2 and ros2_robotiq_gripper do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import GripperCommand, ParallelGripperCommand
from double_cell import Asker, discovered, until
from franka_msgs.action import Grasp, Move
from gripper_double import CLOSED, FINGERS, KNUCKLE, ROBOTIQ, GripperParameters
from hardware_double import forget
from robot_doubles import RobotDoubles
from std_srvs.srv import Trigger

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED
OURS, FRANKA = "/gripper_controller/gripper_cmd", "/panda_gripper/gripper_action"


class Hand:
    """A robot and somebody who asks its gripper."""

    def __init__(self, domain: int, gripper: GripperParameters | str) -> None:
        self.robot = RobotDoubles(domain, gripper=gripper)
        self.name = FRANKA if gripper == "franka" else OURS
        self.asker = Asker(domain, {self.name: GripperCommand})
        self.hardware = self.robot.hardware
        discovered(lambda: self.asker.ready() and self.robot.knows(self.name), "everything is discovered")

    def send(self, position: float) -> Any:
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = position, 20.0
        handle = self.asker.send(self.name, goal)
        assert handle.accepted
        return handle

    def ends(self, handle: Any) -> tuple[int, float, bool, bool]:
        """Status, position, reached_goal, stalled."""
        answer = self.asker.wait(self.asker.result(handle))
        result = answer.result
        return answer.status, result.position, result.reached_goal, result.stalled

    def at(self, joint: str = FINGERS[0]) -> float:
        return self.hardware.positions([joint])[0]

    def slow(self) -> None:
        """4 s to close, so that there is time to do something meanwhile."""
        for joint in FINGERS:
            self.hardware.joints[joint].speed = 0.01

    def close(self) -> None:
        self.asker.close()
        self.robot.close()
        forget(self)


@pytest.fixture
def hand(domain: int) -> Iterator[Callable[..., Hand]]:
    made: list[Hand] = []

    def make(gripper: GripperParameters | str) -> Hand:
        made.append(Hand(domain, gripper))
        return made[-1]

    yield make
    for each in made:
        each.close()


def roughly(value: float) -> Any:
    return pytest.approx(value, abs=1e-3)


# ------------------------------------------------------------------------------------------------ ros2_controllers


def test_by_default_a_goal_is_reached_a_centimetre_early_and_a_stall_aborts(hand: Callable[..., Hand]) -> None:
    ros2 = hand(GripperParameters())
    status, position, reached, stalled = ros2.ends(ros2.send(0.0))
    assert (status, reached, stalled) == (SUCCEEDED, True, False)
    assert 0.005 < position < 0.01  # of one finger, and it closes on
    until(lambda: ros2.at() == 0.0, "the fingers are closed")
    assert ros2.ends(ros2.send(0.04))[:1] == (SUCCEEDED,)
    until(lambda: ros2.at() == 0.04, "the fingers are open")
    ros2.robot.hold(0.05)
    assert ros2.ends(ros2.send(0.0)) == (ABORTED, roughly(0.025), False, True)
    assert ros2.hardware.joints[FINGERS[0]].command == 0.0  # it presses on


def test_a_thin_object_counts_as_the_goal(hand: Callable[..., Hand]) -> None:
    ros2 = hand(GripperParameters(allow_stalling=True))
    ros2.robot.hold(0.015)
    assert ros2.ends(ros2.send(0.0))[2:] == (True, False)


def test_where_stalling_is_allowed_it_succeeds_also_before_the_fingers_have_moved(hand: Callable[..., Hand]) -> None:
    robotiq = hand(ROBOTIQ)
    assert robotiq.ends(robotiq.send(CLOSED)) == (SUCCEEDED, pytest.approx(CLOSED, abs=0.02), True, False)
    until(lambda: robotiq.at(KNUCKLE) == CLOSED, "it is closed")
    assert robotiq.ends(robotiq.send(0.0))[2:] == (True, False)
    until(lambda: robotiq.at(KNUCKLE) == 0.0, "it is open")
    robotiq.hardware.joints[KNUCKLE].highest = 0.4  # something is between the fingers
    assert robotiq.ends(robotiq.send(CLOSED)) == (SUCCEEDED, roughly(0.4), False, True)
    robotiq.hardware.joints[KNUCKLE].delay = 0.2  # its bus is slow; the stall timeout is 0.05 s
    assert robotiq.ends(robotiq.send(0.0)) == (SUCCEEDED, roughly(0.4), False, True)
    until(lambda: robotiq.at(KNUCKLE) == 0.0, "it opens all the same")


def test_cancelled_it_holds_and_replaced_it_ends_cancelled_with_nothing(hand: Callable[..., Hand]) -> None:
    ros2 = hand(GripperParameters())
    ros2.slow()
    first = ros2.send(0.0)
    until(lambda: ros2.at() < 0.035, "the fingers move")
    second = ros2.send(0.001)
    assert ros2.ends(first) == (CANCELED, 0.0, False, False)
    assert ros2.asker.wait(ros2.asker.cancel(second)).goals_canceling
    assert ros2.ends(second) == (CANCELED, 0.0, False, False)  # not where the fingers are
    until(lambda: ros2.hardware.still() > 0.2, "the fingers stand")
    assert 0.005 < ros2.at() < 0.035


def test_it_takes_any_position(hand: Callable[..., Hand]) -> None:
    ros2 = hand(dataclasses.replace(GripperParameters(), stall_timeout=0.1))
    for joint in FINGERS:
        ros2.hardware.joints[joint].lowest = 0.0
    assert ros2.ends(ros2.send(-1.0)) == (ABORTED, roughly(0.0), False, True)


# ------------------------------------------------------------------------------------------------ franka_ros2


def test_franka_takes_half_the_width_and_tells_all_of_it(hand: Callable[..., Hand]) -> None:
    franka = hand("franka")
    assert franka.ends(franka.send(0.04)) == (SUCCEEDED, roughly(0.08), True, False)  # it is there
    franka.robot.hold(0.05)
    assert franka.ends(franka.send(0.025)) == (SUCCEEDED, roughly(0.05), True, False)  # as wide as it was told
    assert franka.ends(franka.send(0.04)) == (SUCCEEDED, roughly(0.08), True, False)
    assert franka.ends(franka.send(0.005)) == (ABORTED, roughly(0.05), False, False)  # held, and no grasp of 1 cm
    assert franka.ends(franka.send(0.05)) == (ABORTED, 0.0, False, False)  # wider than it opens: nothing moves


def test_franka_succeeds_on_nothing_where_it_is_to_close(hand: Callable[..., Hand]) -> None:
    franka = hand("franka")
    assert franka.ends(franka.send(0.0)) == (SUCCEEDED, roughly(0.0), True, False)


@pytest.mark.parametrize("by", ["cancel", "stop"])
def test_franka_stops_where_it_is_and_tells_no_position_of_what_is_cancelled(
    hand: Callable[..., Hand], by: str
) -> None:
    franka = hand("franka")
    stop = franka.asker.service(Trigger, "/panda_gripper/stop")
    franka.slow()
    handle = franka.send(0.0)
    until(lambda: franka.at() < 0.035, "the fingers move")
    if by == "cancel":
        franka.asker.cancel(handle)
        assert franka.ends(handle) == (CANCELED, 0.0, False, False)
    else:
        assert stop(Trigger.Request()).success
        status, position, reached, _ = franka.ends(handle)
        assert (status, reached) == (ABORTED, False)
        assert position > 0.0
    until(lambda: franka.hardware.still() > 0.2, "the fingers stand")
    assert 0.0 < franka.at() < 0.035


# ------------------------------------------------------------------------------------------------ their own actions


class Other:
    """A robot and somebody who asks it by other actions than GripperCommand."""

    def __init__(self, domain: int, forms: dict[str, Any], **robot: Any) -> None:
        self.robot, self.asker = RobotDoubles(domain, **robot), Asker(domain, forms)
        discovered(lambda: self.asker.ready() and all(map(self.robot.knows, forms)), "everything is discovered")

    def ends(self, name: str, goal: Any) -> Any:
        """The answer with the result; None where the goal is rejected."""
        handle = self.asker.send(name, goal)
        return self.asker.wait(self.asker.result(handle)) if handle.accepted else None

    def close(self) -> None:
        self.asker.close()
        self.robot.close()
        forget(self)


@pytest.fixture
def other(domain: int) -> Iterator[Callable[..., Other]]:
    made: list[Other] = []

    def make(forms: dict[str, Any], **robot: Any) -> Other:
        made.append(Other(domain, forms, **robot))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_parallel_controller_takes_exactly_one_position_and_names_no_joint(other: Callable[..., Other]) -> None:
    hand = other({OURS: ParallelGripperCommand}, gripper=ROBOTIQ, parallel=True)
    goal = ParallelGripperCommand.Goal()
    assert hand.ends(OURS, goal) is None
    goal.command.position = [0.1, 0.1]
    assert hand.ends(OURS, goal) is None
    goal.command.position = [0.4]
    answer = hand.ends(OURS, goal)
    assert (answer.status, answer.result.reached_goal, list(answer.result.state.name)) == (SUCCEEDED, True, [])
    assert list(answer.result.state.position) == [pytest.approx(0.4, abs=0.02)]


def test_franka_grasps_between_both_tolerances_and_tells_no_width(other: Callable[..., Other]) -> None:
    grasp, move = "/panda_gripper/grasp", "/panda_gripper/move"
    hand = other({grasp: Grasp, move: Move}, gripper="franka")
    hand.robot.hold(0.04)
    goal = Grasp.Goal(width=0.05, speed=0.1, force=20.0)
    goal.epsilon.inner, goal.epsilon.outer = 0.02, 0.0
    answer = hand.ends(grasp, goal)
    assert (answer.status, answer.result.success) == (SUCCEEDED, True)
    answer = hand.ends(move, Move.Goal(width=0.06, speed=0.1))
    assert (answer.status, answer.result.success) == (SUCCEEDED, True)
    assert hand.robot.hardware.positions(FINGERS) == [roughly(0.03), roughly(0.03)]
    goal.width, goal.epsilon.inner, goal.epsilon.outer = 0.03, 0.03, 0.005
    answer = hand.ends(grasp, goal)
    assert (answer.status, answer.result.success) == (ABORTED, False)
    assert hand.robot.hardware.positions(FINGERS) == [roughly(0.02), roughly(0.02)]  # held all the same
