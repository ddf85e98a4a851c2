# SPDX-License-Identifier: Apache-2.0
"""The watchdog: ready only when it could stop the arm, silent while all is well, quick when its parent is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from arm_graph import HOME, JOINTS, ArmGraph, Aside
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from spatial_vlm_ros.errors import CancelledError, PlannerUnavailableError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.arm.watchdog import Watchdog
from spatial_vlm_ros.nodes.calls import Bridge

CONTROLLER, EVENT = "/arm_controller/follow_joint_trajectory", "/trajectory_execution_event"
PATIENCE = 30.0  # s
pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")


class Commander:
    """A node that commands the arm, its watchdog, and a goal that the controller holds until it is cancelled."""

    def __init__(self, arm: ArmGraph, event: str = EVENT, controller: str = CONTROLLER) -> None:
        self.arm, self.heard = arm, []  # type: ArmGraph, list[str]
        self.node: Node = arm.spin(lambda context: self._make(context, event, controller))

    def _make(self, context: Context, event: str, controller: str) -> Node:
        node = rclpy.create_node("commander", context=context)
        self.bridge = Bridge(node)
        self.watchdog = Watchdog(self.bridge, event, [controller])
        self.client = ActionClient(node, FollowJointTrajectory, CONTROLLER)
        node.create_subscription(String, EVENT, lambda message: self.heard.append(message.data), qos.INSTRUCTIONS)
        return node

    def moves(self) -> None:
        self.arm.until(self.client.server_is_ready, "the controller is discovered")
        self.arm.knows(CONTROLLER)
        point = JointTrajectoryPoint(positions=list(HOME), time_from_start=Duration(sec=60))
        goal = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(JOINTS), points=[point]))
        self.arm.controllers.hold = {0}
        self.client.send_goal_async(goal)
        hands = self.arm.controllers  # a watchdog that cancels again and again may have ended it by the next look
        self.arm.until(lambda: ["arm"] in (hands.running, hands.cancelled), "the arm moves, or has moved")

    def stopped(self) -> bool:
        return self.arm.controllers.cancelled == ["arm"] and "stop" in self.heard


@pytest.fixture
def commander(arm: ArmGraph) -> Iterator[Callable[..., Commander]]:
    made: list[Commander] = []

    def make(**names: str) -> Commander:
        made.append(Commander(arm, **names))
        return made[-1]

    yield make
    for each in made:
        each.watchdog.close()


def test_the_end_of_the_pipe_stops_what_moves_and_only_that(arm: ArmGraph, commander: Any) -> None:
    one = commander()
    one.moves()
    one.watchdog.begin(PATIENCE)
    one.watchdog.end()
    one.watchdog.close()  # between motions nothing is stopped
    assert (one.heard, arm.controllers.cancelled) == ([], [])
    one.watchdog.begin(PATIENCE)  # it is started anew
    one.watchdog.close()
    arm.until(one.stopped, "the arm is stopped")


def test_what_begins_only_after_the_first_stop_is_stopped_too(arm: ArmGraph, commander: Any) -> None:
    one = commander()
    arm.until(one.client.server_is_ready, "the controller is discovered")
    arm.knows(CONTROLLER)
    one.watchdog.begin(PATIENCE)
    closing = Aside(one.watchdog.close)
    arm.until(lambda: "stop" in one.heard, "the arm is told to stop")
    one.moves()  # as a planner does that was still checking the start
    arm.until(one.stopped, "the arm is stopped")
    assert closing.ended().error is None


def test_a_parent_that_hangs_is_noticed_and_told_so_when_it_wakes(arm: ArmGraph, commander: Any) -> None:
    one, hangs = commander(), threading.Event()
    one.moves()
    one.watchdog.begin(PATIENCE)
    one.bridge.put(lambda: hangs.wait(PATIENCE))
    arm.until(lambda: arm.controllers.cancelled == ["arm"], "the arm is stopped")
    hangs.set()
    arm.until(one.stopped, "the event was published, too")
    arm.until(lambda: "no heartbeat" in one.watchdog.tripped, "the parent is told")


@pytest.mark.parametrize("names", [{"event": "/nowhere"}, {"controller": "/nowhere"}])
def test_nothing_may_move_before_it_could_be_stopped(commander: Any, names: dict[str, str]) -> None:
    one = commander(**names)
    with pytest.raises(PlannerUnavailableError, match=r"the watchdog.*does not find /nowhere.*nothing has moved"):
        one.watchdog.begin(8.0)
    with pytest.raises(CancelledError):
        one.watchdog.begin(PATIENCE, lambda: True)


def test_a_watchdog_that_is_killed_is_noticed(arm: ArmGraph, commander: Any) -> None:
    one = commander()
    one.watchdog.begin(PATIENCE)
    assert one.watchdog.tripped == ""
    one.watchdog._process.kill()
    arm.until(lambda: one.watchdog.tripped == "the watchdog has exited", "it is noticed")
    call = Aside(lambda: one.watchdog.begin(PATIENCE)).ended()
    assert call.error is None, "another one takes its place"
    assert one.watchdog.tripped == ""
