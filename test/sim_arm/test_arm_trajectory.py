# SPDX-License-Identifier: Apache-2.0
"""Trajectories between their points, whether one is kept to, and what a faulty controller does; without physics."""

from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm import trajectory
from spatial_vlm_ros.sim.arm.trajectory import Follower, JointTrajectory, Tolerances
from spatial_vlm_ros.sim.faults.catalogue import read_faults
from spatial_vlm_ros.sim.faults.controller import UNDEFINED, ControllerFaults

NAMES = ("a", "b")
REST = np.zeros(2)


def follower() -> Follower:
    return Follower(NAMES, np.array([-2.0, -2.0]), np.array([2.0, 2.0]), REST, np.array([15.0, 7.5]))


def ramp(seconds: float = 1.0, by: float = 1.0) -> JointTrajectory:
    return JointTrajectory(np.array([0.0, seconds]), np.array([[0.0, 0.0], [by, -by]]), np.zeros((2, 2)))


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_between_points_it_is_the_polynomial_that_both_ends_give(degree: int) -> None:
    t = np.array([0.0, 0.4, 1.0])
    curve = np.polynomial.Polynomial([0.2, 0.5, -0.3, 0.7, 0.2, -0.4][: degree + 1])
    given = [curve, curve.deriv(), curve.deriv(2)][: (degree + 1) // 2]
    columns = [np.stack([f(t), -f(t)], axis=1) for f in given]
    for column in columns[1:]:
        column[-1] = 0.0  # it ends at rest; the first span is left as it is
    sent = JointTrajectory(t, *columns)
    for time in (0.0, 0.11, 0.39):
        desired = sent.at(time)
        wanted = [np.array([f(time), -f(time)]) for f in (curve, curve.deriv(), curve.deriv(2))]
        assert desired.position == pytest.approx(wanted[0], abs=1e-12)
        if degree > 1:
            assert desired.velocity == pytest.approx(wanted[1], abs=1e-9)
            assert desired.acceleration == pytest.approx(wanted[2], abs=1e-9)


def test_after_its_end_it_stays_there_and_a_first_point_in_the_future_is_gone_to_from_where_the_arm_is() -> None:
    arm = follower()
    arm.begin(JointTrajectory(np.array([1.0]), np.array([[0.5, 0.5]])), 0.0, REST, Tolerances())
    assert arm.desired(0.5).position == pytest.approx([0.25, 0.25])
    assert ramp().at(9.0).position == pytest.approx([1.0, -1.0])
    assert ramp().at(9.0).velocity == pytest.approx([0.0, 0.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"times": [0.0, 0.0]}, "later than the one before"),
        ({"times": [1.0, 0.5]}, "later than the one before"),
        ({"times": [-0.1, 0.5]}, "0 or more"),
        ({"times": []}, "one or more"),
        ({"positions": [[0.0, 0.0], [np.nan, 0.0]]}, "finite"),
        ({"velocities": [[0.0, 0.0]]}, "one or more of each"),
        ({"velocities": [[0.0, 0.0], [0.3, 0.0]]}, "at rest"),
        ({"velocities": None, "accelerations": [[0.0, 0.0], [0.0, 0.0]]}, "velocities"),
    ],
)
def test_what_is_no_trajectory_is_refused(change: dict[str, Any], words: str) -> None:
    good = {"times": [0.0, 1.0], "positions": [[0.0, 0.0], [1.0, 1.0]], "velocities": [[0.0, 0.0], [0.0, 0.0]]}
    given = {key: None if value is None else np.array(value) for key, value in {**good, **change}.items()}
    with pytest.raises(InputError, match=words):
        JointTrajectory(**given)


def test_joints_are_taken_by_name_in_any_order_and_none_else() -> None:
    assert trajectory.in_order(NAMES, ["b", "a"]) == [1, 0]
    for wrong in (["a"], ["a", "c"], ["a", "b", "b"], []):
        with pytest.raises(InputError, match="each joint of the arm once"):
            trajectory.in_order(NAMES, wrong)


def test_it_succeeds_at_its_end_and_never_before() -> None:
    arm, sent = follower(), ramp()
    arm.begin(sent, 10.0, REST, Tolerances())
    for now in np.arange(10.0, 10.99, 0.01):
        assert arm.ended(now, arm.desired(now).position, REST) is None
    ended = arm.ended(11.0, sent.end, REST)
    assert ended.code == trajectory.SUCCESSFUL
    assert not arm.moving
    assert arm.desired(12.0).position == pytest.approx(sent.end)


def test_a_joint_that_leaves_the_path_ends_it_there() -> None:
    arm = follower()
    arm.begin(ramp(), 0.0, REST, Tolerances(path={"b": 0.2}))
    off = arm.desired(0.5).position + np.array([0.05, 0.15])
    assert arm.ended(0.5, off, REST) is None
    off = arm.desired(0.5).position + np.array([0.05, 0.25])
    ended = arm.ended(0.5, off, REST)
    assert (ended.code, "b is 0.25" in ended.words) == (trajectory.PATH_VIOLATED, True)
    assert arm.desired(0.6).position == pytest.approx(off)


def test_an_end_that_is_not_reached_in_time_ends_it() -> None:
    arm = follower()
    arm.begin(ramp(), 0.0, REST, Tolerances(goal={"a": 0.01}, goal_time=0.5))
    short, there = np.array([0.98, -1.0]), np.array([1.0, -1.0])
    assert arm.ended(1.4, short, REST) is None
    ended = arm.ended(1.6, short, REST)
    assert (ended.code, "a is 0.02" in ended.words) == (trajectory.GOAL_VIOLATED, True)
    arm.begin(ramp(), 0.0, REST, Tolerances(goal_time=0.5))
    moving = arm.ended(1.6, there, np.array([0.3, 0.0]))
    assert "still moves" in moving.words


def test_stopping_brakes_within_what_the_arm_can_and_stays() -> None:
    arm = follower()
    arm.begin(ramp(0.5, 1.5), 0.0, REST, Tolerances())
    start = arm.desired(0.25)
    assert np.abs(start.velocity).max() > 4.0
    arm.stop(0.25)
    times = np.arange(0.25, 1.5, 0.001)
    speeds = np.array([arm.desired(t).velocity for t in times])
    assert np.abs(np.diff(speeds, axis=0)).max() <= 0.015 + 1e-9  # 15 rad/s², in 1 ms
    assert not arm.moving
    assert arm.desired(9.0).velocity == pytest.approx([0.0, 0.0])
    ahead = np.abs(arm.desired(9.0).position - start.position).max()
    assert 0 < ahead < 4.5**2 / (2 * 7.5) + 1e-6


def test_a_trajectory_that_leaves_limits_or_begins_elsewhere_is_refused() -> None:
    arm, times = follower(), np.array([0.0, 1.0])
    for ends, words in (
        ([[0.0, 0.0], [2.5, 0.0]], "a 0.5000 rad beyond"),
        ([[0.0, 0.1], [1.0, 0.0]], "0.100 rad from where b is"),
    ):
        with pytest.raises(InputError, match=words):
            arm.check(JointTrajectory(times, np.array(ends)), REST)
    arm.begin(ramp(), 0.0, REST, Tolerances())
    with pytest.raises(InputError, match="one at a time"):
        arm.check(ramp(), REST)


COLUMNS = ([0.0, 1.0, 2.0], [[0.0], [0.5], [1.0]], [[0.0], [0.75], [0.0]], [[0.0]] * 3)
TRAJECTORY = JointTrajectory(*map(np.array, COLUMNS))


def faulty(words: str, stream: str = "arm", seed: int = 0) -> ControllerFaults:
    made = ControllerFaults(stream)
    made.seed = seed
    made.set(read_faults(words))
    return made


def test_a_goal_is_rejected_held_up_or_ended_as_the_fault_says() -> None:
    with pytest.raises(InputError, match="arm=off"):
        faulty("arm=off").check()
    for words in ("", "gripper=off", "arm=slow", "arm=stuck"):
        healthy = faulty(words)
        healthy.check()
        assert healthy.at_once() is None
        assert healthy.is_stuck is (words == "arm=stuck")
    lies, rubbish = faulty("arm=wrong").at_once(), faulty("gripper=garbage", "gripper").at_once()
    assert (lies.code, rubbish.code) == (trajectory.SUCCESSFUL, UNDEFINED)


def test_some_goals_are_aborted_the_same_ones_for_a_seed() -> None:
    def aborted(seed: int) -> list[bool]:
        made = faulty("arm=intermittent:0.3", seed=seed)
        return [made.at_once() is not None for _ in range(200)]

    assert 40 <= sum(aborted(0)) <= 80
    assert aborted(0) == aborted(0) != aborted(1)


def test_a_slow_trajectory_takes_the_same_way_in_more_time() -> None:
    slow, late = faulty("arm=slow:0.5").paced(TRAJECTORY), faulty("arm=delayed:2").paced(TRAJECTORY)
    assert slow.duration == 4.0
    for t in np.linspace(0, 2, 9):
        assert slow.at(2 * t).position == pytest.approx(TRAJECTORY.at(t).position)
        assert slow.at(2 * t).velocity == pytest.approx(TRAJECTORY.at(t).velocity / 2)
    begun = late.starting_at(np.zeros(1))
    assert begun.at(1.9).position == pytest.approx(0.0)
    assert begun.at(3.3).position == pytest.approx(TRAJECTORY.at(1.3).position)
    assert faulty("").paced(TRAJECTORY) is TRAJECTORY
