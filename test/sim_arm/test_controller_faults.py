# SPDX-License-Identifier: Apache-2.0
"""What a faulty controller decides about the goals that it is given."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm.following import SUCCESSFUL
from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory
from spatial_vlm_ros.sim.faults.controller import UNDEFINED, ControllerFaults
from spatial_vlm_ros.sim.faults.spec import read_faults

TRAJECTORY = JointTrajectory(
    np.array([0.0, 1.0, 2.0]), np.array([[0.0], [0.5], [1.0]]), np.array([[0.0], [0.75], [0.0]]), np.zeros((3, 1))
)


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
    assert lies is not None
    assert rubbish is not None
    assert (lies.code, rubbish.code) == (SUCCESSFUL, UNDEFINED)


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
