# SPDX-License-Identifier: Apache-2.0
"""The arm in the resolver's image: with its description it is neither object nor support, and nothing else is lost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from waiting import DEADLINE

pytest.importorskip("mujoco")
pytest.importorskip("control_msgs")
pytest.importorskip("pinocchio")
pytest.importorskip("coal")
pytest.importorskip("ompl")
pytest.importorskip("daqp")

from arm_hands import Hands, motion
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from planning_scenes import fingers_down
from std_msgs.msg import String

from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import description_file
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.request_queue import RequestOutcome
from spatial_vlm_ros.types import RgbdFrame

PATIENT = {"base_frame": "panda_link0", "frame_timeout": 20.0, "transform_timeout": 10.0, "max_behind": 30.0}
SENTENCE = "put the chick behind the cup on the tray"
TALLEST = 0.2  # metres over the table: no object on it is as high


def high_points(frame: RgbdFrame) -> int:
    """Measured points over the table and higher than anything on it: the arm's, whatever its hulls are."""
    assert frame.base_T_camera is not None
    z = frame.depth.reshape(-1, 1)
    points = frame.base_T_camera.apply(np.hstack([normalised_grid(frame.camera).reshape(-1, 2) * z, z]))
    return int(np.count_nonzero((points[:, 2] > TALLEST) & (np.abs(points[:, 1]) < 0.7) & (points[:, 0] < 1.0)))


def outcomes(graph: Graph) -> list[RequestOutcome]:
    """All that the resolver answers from now on, with its frames."""
    resolver, heard = graph.resolver, []
    assert resolver is not None
    publish = resolver._publish_outcome

    def keep(outcome: RequestOutcome) -> None:
        heard.append(outcome)
        publish(outcome)

    resolver._publish_outcome = keep  # type: ignore[method-assign]
    return heard


def bring(client: Hands, x: float, y: float, z: float) -> None:
    """The tip to a place over the table, fingers down."""
    tip = Segment(fingers_down(x, y, z))
    plan = BuiltinPlanner().plan(MotionRequest(client.joints, [tip], seed=1, time_limit=60.0))
    there = plan.trajectories[-1].positions[-1]
    done = client.result(client.send(client.arm, motion((0.0, client.joints), (3.0, there))))
    assert done.result.error_code == 0, done.result.error_string


def asked(graph: Graph, words: str) -> Any:
    goal = graph.send_goal(words)
    graph.until(lambda: goal.result is not None, "the result is there", deadline=2 * DEADLINE)
    return goal


def test_an_arm_over_the_table_is_not_there_for_the_resolver_that_knows_it(
    hands: Callable[..., Hands], graph: Graph
) -> None:
    client = hands(rate=2.0)
    bring(client, 0.6, 0.15, 0.2)
    graph.start(**PATIENT)
    heard = outcomes(graph)
    asked(graph, SENTENCE)
    graph.until(lambda: heard, "the outcome is published")
    assert heard[0].frame.robot is None, "without its description the arm is in the depth"
    assert high_points(heard[0].frame) > 10_000

    ok, reason = graph.set(robot_description=str(description_file()))
    assert not ok
    assert "read when the node is configured" in reason
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert graph.change(transition)
    graph.use(robot_description=str(description_file()))
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert graph.change(transition)
    graph.offered()
    heard.clear()
    goal = asked(graph, SENTENCE)
    assert goal.name == "OK", goal.message
    target, told = goal.result.target[0], client.judge()
    true = told["things"][told["target"]]["position"]
    assert (target.id, goal.result.header.frame_id) == (told["target"], "panda_link0")
    assert np.hypot(target.pose.pose.position.x - true[0], target.pose.pose.position.y - true[1]) < 0.02
    assert goal.result.place[0].anchor_id == "tray"
    graph.until(lambda: heard, "the outcome is published")
    frame = heard[0].frame
    assert frame.robot.own.mean() > 0.05  # of the image
    assert high_points(frame) == 0
    graph.use(robot_padding=0.05)  # this one takes effect with the next frame
    assert asked(graph, SENTENCE).name == "OK"
    graph.until(lambda: len(heard) > 1, "the next outcome is published")
    more, before = (np.isfinite(one.frame.robot.depth).sum() for one in (heard[1], heard[0]))
    assert more > before


def test_the_robot_can_be_what_the_topic_has(graph: Graph) -> None:
    """As robot_state_publisher tells it: here a ball, without meshes."""
    ball = "<collision><geometry><sphere radius='0.1'/></geometry></collision>"
    told = graph.node.create_publisher(String, "robot_description", qos.DESCRIPTION)
    told.publish(String(data=f"<robot name='ball'><link name='ball'>{ball}</link></robot>"))
    graph.start(wait=False, robot_description="topic")
    assert graph.state == "active"
    assert graph.resolver._robot.links == ("ball",)


@pytest.mark.slow  # it listens for 10 s
def test_a_robot_that_nobody_tells_is_asked_for(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    graph.start(wait=False, robot_description="topic")
    assert graph.state == "unconfigured"
    words = "there was no message on /robot_description within 10 s. Start robot_state_publisher first, or set"
    assert words in capfd.readouterr().err
