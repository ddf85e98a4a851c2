# SPDX-License-Identifier: Apache-2.0
"""The double of the joint trajectory controller does what ros2_controllers does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from controller_double import ARM, HOME, Constraints
from double_cell import FOLLOW, Asker, discovered, swing, until
from hardware_double import forget
from robot_doubles import RobotDoubles

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED
Codes = FollowJointTrajectory.Result
JOINT = ARM[0]


class Arm:
    """A robot and somebody who asks its controller."""

    def __init__(self, domain: int, *words: Any, **options: Any) -> None:
        self.robot = RobotDoubles(domain, *words, **options)
        self.asker = Asker(domain, {FOLLOW: FollowJointTrajectory})
        self.controller, self.hardware = self.robot.arm, self.robot.hardware
        discovered(lambda: self.asker.ready() and self.robot.knows(FOLLOW), "everything is discovered")

    def send(self, trajectory: Any, **goal: Any) -> Any:
        return self.asker.send(FOLLOW, FollowJointTrajectory.Goal(trajectory=trajectory, **goal))

    def begun(self, **how: Any) -> Any:
        handle = self.send(swing(**how))
        until(lambda: self.at() > 0.05, "the arm moves")
        return handle

    def ends(self, handle: Any) -> tuple[int, int, str]:
        """Status, error code and words."""
        answer = self.asker.wait(self.asker.result(handle))
        return answer.status, answer.result.error_code, answer.result.error_string

    def at(self) -> float:
        return self.hardware.positions([JOINT])[0]

    def stands(self) -> float:
        until(lambda: self.hardware.still() > 0.2, "the arm stands")
        return self.at()

    def close(self) -> None:
        self.asker.close()
        self.robot.close()
        forget(self)


@pytest.fixture
def make(domain: int) -> Iterator[Callable[..., Arm]]:
    made: list[Arm] = []

    def one(*words: Any, **options: Any) -> Arm:
        made.append(Arm(domain, *words, **options))
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_it_follows_a_trajectory_to_its_end(make: Callable[..., Arm]) -> None:
    arm = make()
    handle = arm.send(swing(takes=0.5))
    assert arm.ends(handle) == (SUCCEEDED, Codes.SUCCESSFUL, "Goal successfully reached!")
    assert arm.stands() == pytest.approx(1.0, abs=1e-6)


def test_a_cancelled_goal_holds_the_position_at_once_and_says_successful(make: Callable[..., Arm]) -> None:
    arm = make()
    handle = arm.begun(takes=4.0)
    assert arm.asker.wait(arm.asker.cancel(handle)).goals_canceling
    at = arm.at()
    assert arm.ends(handle) == (CANCELED, Codes.SUCCESSFUL, "")
    assert arm.stands() == pytest.approx(at, abs=0.02)


def test_it_decelerates_where_it_is_told_to_and_answers_before_it_stands(make: Callable[..., Arm]) -> None:
    arm, then = make(Constraints(deceleration=dict.fromkeys(ARM, 0.2))), []
    handle = arm.begun(takes=2.0)
    goal = arm.controller._goal
    assert goal is not None

    def ended(_: object) -> None:
        with arm.hardware.lock:  # both of one cycle
            then.append((arm.at(), arm.hardware.speed()))

    goal.done.add_done_callback(ended)
    until(lambda: arm.hardware.speed() > 0.5, "the arm is fast")
    arm.asker.cancel(handle)
    assert arm.ends(handle) == (CANCELED, Codes.SUCCESSFUL, "")
    (at, speed), end = then[0], arm.stands()
    assert speed > 0.1  # when the goal had ended: 0.5 / 0.2 s it takes to stop
    # It may be of the cycle before or after the one that the deceleration begins from: 0.015 rad/s and 0.005 rad apart.
    assert end - at == pytest.approx(speed**2 / 2 / 0.2, abs=0.05)


def test_a_new_goal_replaces_the_one_that_runs(make: Callable[..., Arm]) -> None:
    arm = make()
    first = arm.begun(takes=4.0)
    second = arm.send(swing(to=-0.2, takes=0.5))  # far from where the arm is: nobody minds
    words = "Current goal preempted by new incoming action."
    assert arm.ends(first) == (ABORTED, Codes.INVALID_GOAL, words)
    assert arm.ends(second)[0] == SUCCEEDED
    assert arm.stands() == pytest.approx(-0.2, abs=1e-6)


def test_before_4_41_a_goal_that_is_replaced_ends_cancelled_with_an_empty_result(make: Callable[..., Arm]) -> None:
    arm = make(delivers_preemption=False)
    first = arm.begun(takes=4.0)
    second = arm.send(swing(takes=0.5))
    assert arm.ends(first) == (CANCELED, Codes.SUCCESSFUL, "")
    assert arm.ends(second)[0] == SUCCEEDED


def test_a_goal_that_is_cancelled_just_after_its_end_hangs_until_the_next(make: Callable[..., Arm]) -> None:
    arm = make()
    run = arm.controller._monitor._run
    arm.controller._monitor._timer.callback = lambda: None  # as if its end fell just after a turn of the timer
    handle = arm.begun(takes=0.5)
    until(lambda: arm.controller._goal is None, "the control loop has ended the goal")
    assert arm.asker.wait(arm.asker.cancel(handle)).goals_canceling
    result = arm.asker.result(handle)
    run()
    assert not result.done()
    arm.controller._monitor._timer.callback = run
    assert arm.ends(arm.send(swing(takes=0.5)))[0] == SUCCEEDED
    assert arm.asker.wait(result).status == CANCELED


def test_what_it_refuses_and_what_it_takes(make: Callable[..., Arm]) -> None:
    arm = make()

    def changed(**fields: Any) -> Any:
        trajectory = swing(takes=0.5)
        for name, value in fields.items():
            setattr(trajectory.points[-1], name, value)
        return trajectory

    other, few, old = swing(), swing(), swing()
    other.joint_names[0] = "elbow"
    few.joint_names = few.joint_names[:6]
    old.header.stamp.sec = 1
    empty = swing()
    empty.points = []
    moving = changed(velocities=[0.1] + [0.0] * 6)
    early = changed(time_from_start=Duration())
    short = changed(positions=[0.0] * 6)
    forceful = changed(effort=[1.0] * 7)
    for wrong in (other, few, old, empty, moving, early, short, forceful):
        assert not arm.send(wrong).accepted
    assert arm.ends(arm.send(swing(to=9.0, takes=0.5)))[0] == SUCCEEDED  # limits of joints are not its concern


def test_by_default_it_waits_without_limit_and_minds_no_error_on_the_way(make: Callable[..., Arm]) -> None:
    arm = make()
    arm.hardware.joints[JOINT].held = True
    assert arm.ends(arm.send(swing(takes=0.5)))[0] == SUCCEEDED  # a joint that stands is "stopped", wherever it is
    assert arm.at() == HOME[0]


@pytest.mark.parametrize(
    ("constraints", "goal", "code"),
    [
        (Constraints(path={JOINT: 0.1}), {}, Codes.PATH_TOLERANCE_VIOLATED),
        (Constraints(), {"path_tolerance": [JointTolerance(name=JOINT, position=0.1)]}, Codes.PATH_TOLERANCE_VIOLATED),
        (Constraints(goal={JOINT: 0.1}, goal_time=0.2), {}, Codes.GOAL_TOLERANCE_VIOLATED),
        (
            Constraints(path={JOINT: 0.1}, goal={JOINT: 0.1}, goal_time=0.2),
            {"path_tolerance": [JointTolerance(name=JOINT, position=-1.0)]},  # erased
            Codes.GOAL_TOLERANCE_VIOLATED,
        ),
        (
            Constraints(path={JOINT: 0.1}),
            {"path_tolerance": [JointTolerance(name=JOINT, position=-2.0)]},  # illegal: the defaults
            Codes.PATH_TOLERANCE_VIOLATED,
        ),
    ],
)
def test_tolerances_abort(make: Callable[..., Arm], constraints: Constraints, goal: dict[str, Any], code: int) -> None:
    arm = make(constraints)
    arm.hardware.joints[JOINT].held = True
    status, number, _ = arm.ends(arm.send(swing(takes=0.5), **goal))
    assert (status, number) == (ABORTED, code)
    arm.hardware.joints[JOINT].held = False
    assert arm.stands() == pytest.approx(HOME[0], abs=0.15)  # it holds where it was, not where it was going


def test_deactivated_it_aborts_what_runs_and_refuses_the_rest(make: Callable[..., Arm]) -> None:
    arm = make()
    handle = arm.begun(takes=4.0)
    arm.controller.deactivate()
    words = "Current goal cancelled during deactivate transition."
    assert arm.ends(handle) == (ABORTED, Codes.INVALID_GOAL, words)
    assert arm.stands() < 0.9
    assert not arm.send(swing()).accepted
    arm.controller.activate()
    start = tuple(arm.hardware.positions(ARM))
    assert arm.ends(arm.send(swing(takes=0.5, to=0.1, start=start)))[0] == SUCCEEDED
    assert np.isclose(arm.stands(), start[0] + 0.1)
