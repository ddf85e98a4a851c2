# SPDX-License-Identifier: Apache-2.0
"""Planners that answer SUCCESS with something else than a trajectory of the arm, and what cuMotion is sent."""

from __future__ import annotations

from typing import Any

import pytest
from arm_graph import FINGERS, JOINTS, goals, scene
from moveit_msgs.msg import RobotTrajectory
from planning_scenes import config
from test_motion_requests import OWN, PHASES, AskedClient

from spatial_vlm_ros.errors import PlanningFailedError
from spatial_vlm_ros.manipulation.planning.moveit_codes import CODES, FAILURE
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, Trajectory
from spatial_vlm_ros.nodes.arm.motion_messages import robot_trajectory
from spatial_vlm_ros.nodes.arm.strategies import Strategies


def plan(client: AskedClient, joints: frozenset[str] = frozenset((*JOINTS, *FINGERS))) -> MotionPlan:
    around = scene()
    pick, place = goals(around, client.config)
    return Strategies(client.config, client.motion, pick, around, OWN, lambda: False, joints).plan(place, {})


class Answering(AskedClient):
    """Answers one phase with something else."""

    def __init__(self, phase: str, answer: Any, **motion: Any) -> None:
        super().__init__(config(motion=motion))
        self._phase, self._other = phase, answer

    def motion(self, request: Any, told: Any) -> RobotTrajectory:
        phase = PHASES[len(self.asked) % 6]
        usual = super().motion(request, told)
        return self._other(usual) if phase == self._phase else usual


def renamed(names: tuple[str, ...]) -> RobotTrajectory:
    zeros = (0.0,) * len(names)
    return robot_trajectory(Trajectory(names, (0.0, 1.0), (zeros, tuple(0.1 for _ in names))))


def several_axes(usual: RobotTrajectory) -> RobotTrajectory:
    usual.multi_dof_joint_trajectory.joint_names = ["base"]
    return usual


def test_the_joints_of_the_arm_are_taken() -> None:
    assert len(plan(AskedClient(config())).trajectories) == 6


class Empty(AskedClient):
    """Answers SUCCESS without a trajectory, the first times."""

    def __init__(self, times: int, **motion: Any) -> None:
        super().__init__(config(motion=motion))
        self._times = times

    def motion(self, request: Any, told: Any) -> RobotTrajectory:
        if self._times:
            self._times -= 1
            return RobotTrajectory()
        return super().motion(request, told)


def test_success_with_an_empty_trajectory_is_no_plan() -> None:
    with pytest.raises(PlanningFailedError, match="reach: it reports SUCCESS, but its trajectory is empty") as caught:
        plan(Empty(1000, attempts=2))
    assert caught.value.number == -2


def test_after_an_empty_trajectory_other_ways_are_tried() -> None:
    assert plan(Empty(1, attempts=2)).grasp == 0


@pytest.mark.parametrize(
    ("phase", "answer", "words"),
    [
        ("reach", lambda _: renamed(("elbow", "wrist")), "elbow, wrist"),
        ("reach", lambda _: renamed((*JOINTS, FINGERS[0])), FINGERS[0]),
        ("approach", lambda _: renamed(JOINTS[:6]), JOINTS[6]),
        ("lift", several_axes, "base"),
    ],
)
def test_a_trajectory_of_other_joints_is_no_plan(phase: str, answer: Any, words: str) -> None:
    with pytest.raises(
        PlanningFailedError, match=f"phase '{phase}' moves joints that do not belong to the arm: .*{words}"
    ):
        plan(Answering(phase, answer))


def test_a_planner_that_does_not_tell_its_joints_is_held_to_its_first_answer() -> None:
    with pytest.raises(PlanningFailedError, match="'approach' moves joints that do not belong"):
        plan(Answering("reach", lambda _: renamed(("elbow",))), frozenset())


def test_failure_without_a_reason_sends_to_the_log_of_move_group() -> None:
    client = AskedClient(config(motion={"attempts": 1}), **dict.fromkeys(PHASES, FAILURE))
    with pytest.raises(PlanningFailedError, match=r"Clear the space .*see move_group's log: since Jazzy") as caught:
        plan(client)
    assert caught.value.number == FAILURE


def test_every_number_says_what_to_do() -> None:
    assert [each.name for number, each in CODES.items() if number != 1 and "; " not in each.sentence] == []


def test_cumotion_is_told_where_the_arm_is_as_it_reads_it() -> None:
    usual, nvidia = AskedClient(config()), AskedClient(config(motion={"free_pipeline": "isaac_ros_cumotion"}))
    plan(usual)
    plan(nvidia)
    reach, _, _, carry, *_ = (each.request.start_state for each in nvidia.asked)
    assert reach.is_diff
    assert not reach.joint_state.name  # it adds the joints of a difference to where the arm is
    assert not carry.is_diff
    assert dict(zip(carry.joint_state.name, carry.joint_state.position, strict=True)) == dict(
        zip(*usual.joints(3), strict=True)
    )
    assert [each.object.id for each in carry.attached_collision_objects] == ["block"]  # else MoveIt takes it off
    for number in (1, 2, 4, 5):
        assert nvidia.asked[number].request.start_state.is_diff
