# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a node: its controllers as actions, its camera for the resolver, its judge, its faults."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("control_msgs")
pytest.importorskip("pinocchio")

from action_msgs.msg import GoalStatus
from arm_hands import Hands, begin, motion
from control_msgs.action import FollowJointTrajectory, GripperCommand
from control_msgs.msg import GripperCommand as Command
from control_msgs.msg import JointTolerance
from live_domain import free_domain
from live_graph import Graph
from sensor_msgs.msg import Image

from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, HOME
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.sim.arm.machines import PANDA, UR5E
from spatial_vlm_ros.streams.frame_assembler import stamp_of

QUICK = {"clock": True, "speed": 5.0, "rate": 0.1, "width": 320}  # as fast as the machine can, hardly an image


ROBOTS = [pytest.param(PANDA, id="panda"), pytest.param(UR5E, id="ur5e", marks=pytest.mark.slow)]


def aside(by: float) -> np.ndarray:
    return HOME + np.array([by, 0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def panda() -> Iterator[Hands]:
    """One arm for the tests that leave it as it is told."""
    with free_domain() as domain:
        graph = Graph(domain)
        yield begin(graph, **QUICK)
        graph.close()


@pytest.fixture
def client(panda: Hands) -> Hands:
    panda.rest(HOME)
    return panda


def grip(client: Hands, position: float, effort: float) -> Any:
    goal = GripperCommand.Goal(command=Command(position=position, max_effort=effort))
    return client.result(client.send(client.gripper, goal))


def counted(client: Hands, before: dict[str, Any], controller: str) -> dict[str, int]:
    """How many goals of a controller ended how since a look at the judge; none of those that did not."""
    now, then = client.judge()["goals"][controller], before["goals"][controller]
    return {name: now[name] - then[name] for name in now if now[name] != then[name]}


def test_a_trajectory_is_followed_to_its_end_and_not_ended_early(client: Hands) -> None:
    before = client.judge()
    back = motion((0.0, HOME[::-1]), (1.0, aside(0.4)[::-1]), names=ARM_JOINTS[::-1])  # in any order
    done = client.result(client.send(client.arm, back))
    assert (done.status, done.result.error_code) == (GoalStatus.STATUS_SUCCEEDED, 0)
    assert client.judge()["time_s"] - before["time_s"] >= 1.0
    assert np.array(client.later(0.05).position[:7]) == pytest.approx(aside(0.4), abs=0.006)
    assert list(client.states[-1].name[:7]) == list(ARM_JOINTS)
    told = client.feedback[-1].feedback
    assert list(told.joint_names) == list(ARM_JOINTS)
    assert np.abs(told.error.positions).max() < 0.01
    assert counted(client, before, "arm") == {"accepted": 1, "succeeded": 1}
    assert {t.child_frame_id for t in client.moving[-1].transforms} == set(PANDA.links)
    assert {t.header.frame_id for t in client.moving[-1].transforms} == {"panda_link0"}
    assert client.ticks == sorted(client.ticks)
    assert stamp_of(client.states[-1]) <= client.ticks[-1] + 10**9


def test_a_cancelled_arm_stands_still_where_it_is(client: Hands) -> None:
    handle = client.send(client.arm, motion((0.0, client.joints), (4.0, aside(2.0))))
    client.graph.until(lambda: client.joints[0] > 0.3, "the arm is on its way")
    client.graph.call(handle.cancel_goal_async, client.node)
    assert client.result(handle).status == GoalStatus.STATUS_CANCELED
    here = client.later(0.1)
    assert np.abs(here.velocity[:7]).max() < 0.02
    assert 0.3 < here.position[0] < 1.9
    assert client.later(0.5).position[:7] == pytest.approx(here.position[:7], abs=1e-3)
    on = client.send(client.arm, motion((0.0, client.joints), (0.5, client.joints + 0.05)))  # and goes on when asked
    assert client.result(on).result.error_code == 0


def test_goals_that_cannot_be_followed_are_refused_and_nothing_moves(client: Hands) -> None:
    before = client.judge()
    refused = [
        motion((1.0, HOME), names=("a", "b", "c", "d", "e", "f", "g")),
        motion((1.0, HOME[:6])),
        motion(),
        motion((0.0, aside(0.5)), (1.0, aside(0.6))),
        motion((1.0, np.full(7, np.nan))),
    ]
    for goal in refused:
        assert not client.send(client.arm, goal).accepted
    bad = GripperCommand.Goal(command=Command(position=0.08, max_effort=10.0))
    assert not client.send(client.gripper, bad).accepted
    first = client.send(client.arm, motion((0.0, HOME), (1.0, aside(0.2))))
    assert first.accepted
    assert not client.send(client.arm, motion((0.0, HOME), (1.0, aside(0.2)))).accepted  # one at a time
    assert client.result(first).result.error_code == 0
    assert counted(client, before, "arm")["refused"] == len(refused) + 1
    assert counted(client, before, "gripper") == {"refused": 1}


def test_tolerances_are_those_of_the_goal(client: Hands) -> None:
    goal = motion((0.0, HOME), (0.2, aside(0.9)))  # 6.75 rad/s, more than its torque gives
    goal.path_tolerance = [JointTolerance(name="panda_joint1", position=0.001)]
    done = client.result(client.send(client.arm, goal))
    assert done.status == GoalStatus.STATUS_ABORTED
    assert done.result.error_code == FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
    assert "panda_joint1" in done.result.error_string
    client.later(0.5)


def test_the_gripper_goes_where_it_is_told_and_positions_are_those_of_a_finger(client: Hands) -> None:
    before = client.judge()
    half = grip(client, 0.02, 20.0)
    assert half.status == GoalStatus.STATUS_SUCCEEDED
    assert (half.result.reached_goal, half.result.stalled) == (True, False)
    assert half.result.position == pytest.approx(0.02, abs=0.001)
    state = client.later(0.05)
    assert dict(zip(state.name, state.position, strict=True))["panda_finger_joint1"] == pytest.approx(0.02, abs=0.001)
    assert grip(client, 0.04, 0.0).result.reached_goal
    assert counted(client, before, "gripper")["succeeded"] == 2


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_resolver_works_on_it_unchanged(hands: Any, graph: Graph, robot: Any) -> None:
    client, beside = hands(robot=robot.name, rate=2.0, wrist_camera=True), []
    graph.node.create_subscription(Image, "wrist/rgb/image", beside.append, qos.images())
    graph.start(base_frame=robot.base_link, frame_timeout=20.0, transform_timeout=10.0, max_behind=30.0)
    goal = graph.send_goal("put the chick behind the cup on the tray")
    graph.until(lambda: goal.result is not None, "the result is there")
    assert goal.name == "OK", goal.result.status.message
    target = goal.result.target[0]
    told = client.judge()
    assert (goal.result.header.frame_id, target.id) == (robot.base_link, told["target"])
    true = told["things"][told["target"]]["position"]
    assert np.hypot(target.pose.pose.position.x - true[0], target.pose.pose.position.y - true[1]) < 0.02
    assert goal.result.place[0].anchor_id == "tray"
    graph.until(lambda: beside, "the camera on the hand is there, too")
    assert beside[0].header.frame_id == "wrist_camera_optical_frame"
    mounts = {t.child_frame_id: t.header.frame_id for t in client.static[-1].transforms}
    assert mounts == {"camera_color_optical_frame": robot.base_link, "wrist_camera_optical_frame": robot.hand_link}


def test_the_world_is_disturbed_as_it_is_told(client: Hands) -> None:
    graph = client.graph
    client.disturb(move={"id": "cup", "to": [0.5, -0.1, 0.002]})
    graph.until(lambda: abs(client.judge()["things"]["cup"]["position"][1] + 0.1) < 0.01, "the cup is there")
    before = client.static[-1].transforms[0].transform.translation.x
    client.disturb(camera={"by": [0.05, 0, 0], "told": True})
    graph.until(
        lambda: abs(client.static[-1].transforms[0].transform.translation.x - before - 0.05) < 1e-6, "it is told"
    )
    client.disturb(nonsense={})
    client.disturb(world={"name": "nowhere"})
    client.disturb(world={"name": "swapped"})
    graph.until(lambda: client.judge()["world"] == "swapped", "the world is another")
    told = client.judge()
    assert (told["target"], told["done"], told["moved"]) == ("ribbon", False, [])
    assert client.ticks == sorted(client.ticks)  # time goes on
