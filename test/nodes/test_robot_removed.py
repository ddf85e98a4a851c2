# SPDX-License-Identifier: Apache-2.0
"""The arm in the resolver's image: with its description it is neither object nor support, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("control_msgs")
pytest.importorskip("pinocchio")
pytest.importorskip("coal")
pytest.importorskip("ompl")
pytest.importorskip("daqp")

from arm_hands import Hands, motion
from live_graph import Graph
from live_process import Started
from std_msgs.msg import String

from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import description_file
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.request_queue import RequestOutcome
from spatial_vlm_ros.types import RgbdFrame

PATIENT = {"base_frame": "panda_link0", "frame_timeout": 20.0, "transform_timeout": 10.0}
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
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = x, y, z
    plan = BuiltinPlanner().plan(MotionRequest(client.joints, [Segment(pose)], seed=1, time_limit=60.0))
    there = plan.trajectories[-1].positions[-1]
    done = client.result(client.send(client.arm, motion((0.0, client.joints), (3.0, there))))
    assert done.result.error_code == 0, done.result.error_string


def asked(graph: Graph, words: str) -> Any:
    goal = graph.send_goal(words)
    graph.until(lambda: goal.result is not None, "the result is there", deadline=60.0)
    return goal


def test_an_arm_over_the_table_is_not_there_for_the_resolver(hands: Callable[..., Hands], graph: Graph) -> None:
    client = hands(rate=2.0)
    bring(client, 0.6, 0.15, 0.2)
    graph.start(**PATIENT, robot_description=str(description_file()))
    heard = outcomes(graph)
    goal = asked(graph, SENTENCE)
    assert goal.name == "OK", goal.result.status.message
    target, told = goal.result.target[0], client.judge()
    true = told["things"][told["target"]]["position"]
    assert (target.id, goal.result.header.frame_id) == (told["target"], "panda_link0")
    assert np.hypot(target.pose.pose.position.x - true[0], target.pose.pose.position.y - true[1]) < 0.02
    assert goal.result.place[0].anchor_id == "tray"
    graph.until(lambda: heard, "the outcome is published")
    frame = heard[0].frame
    assert frame is not None
    assert frame.robot is not None
    assert frame.robot.own.mean() > 0.05  # of the image
    assert high_points(frame) == 0
    ok, reason = graph.set(robot_description="")
    assert not ok
    assert "read when the node is configured" in reason
    assert graph.set(robot_padding=0.05) == (True, "")  # this one takes effect with the next frame
    assert asked(graph, SENTENCE).name == "OK"
    graph.until(lambda: len(heard) > 1, "the next outcome is published")
    wider = heard[1].frame
    assert wider is not None
    assert wider.robot is not None
    more, before = (np.isfinite(one.robot.depth).sum() for one in (wider, frame) if one.robot is not None)
    assert more > before


def test_without_its_description_the_arm_is_in_the_depth(hands: Callable[..., Hands], graph: Graph) -> None:
    client = hands(rate=2.0)
    bring(client, 0.6, 0.15, 0.2)
    graph.start(**PATIENT)
    heard = outcomes(graph)
    asked(graph, SENTENCE)
    graph.until(lambda: heard, "the outcome is published")
    frame = heard[0].frame
    assert frame is not None
    assert frame.robot is None
    assert high_points(frame) > 10_000


def test_a_resolver_that_cannot_read_the_robot_is_not_configured(node: Callable[..., Started]) -> None:
    started = node("resolver", base_frame="panda_link0", robot_description="/nowhere/robot.urdf")
    started.says("no such file")
    started.says("Set robot_description to the path of the robot's URDF")


def test_the_robot_can_be_what_the_topic_has(graph: Graph, node: Callable[..., Started]) -> None:
    """As robot_state_publisher tells it: here a ball, without meshes."""
    ball = "<collision><geometry><sphere radius='0.1'/></geometry></collision>"
    told = graph.node.create_publisher(String, "robot_description", qos.DESCRIPTION)
    told.publish(String(data=f"<robot name='ball'><link name='ball'>{ball}</link></robot>"))
    started = node("resolver", base_frame="world", robot_description="topic")
    started.says("resolver is active")


def test_a_robot_that_nobody_tells_is_asked_for(node: Callable[..., Started]) -> None:
    started = node("resolver", base_frame="world", robot_description="topic")
    started.says("there was no message on /robot_description within 10 s. Start robot_state_publisher first, or set")
    assert "resolver is active" not in started.output


def test_links_that_are_not_in_tf_refuse_and_are_named(live_frame: Any, graph: Graph) -> None:
    frame, detections = live_frame
    graph.start(
        base_frame="world", frame_timeout=20.0, transform_timeout=1.0, robot_description=str(description_file())
    )
    graph.camera.tf(frame.base_T_camera, static=True)
    goal = graph.ask("the cup", frame, detections)
    graph.assert_refused(goal, "TF_UNAVAILABLE", "panda_link0", "robot_description")


@pytest.fixture
def live_frame() -> Any:
    from live_scene import DETECTIONS, FRAME

    return FRAME, DETECTIONS


def test_the_camera_on_the_hand_finds_objects_in_the_base_frame(
    hands: Callable[..., Hands], graph: Graph, node: Callable[..., Started]
) -> None:
    client = hands(rate=2.0, wrist_camera=True)
    remappings = [
        word
        for topic in ("rgb/image", "depth/image", "rgb/camera_info", "detections")
        for word in ("-r", f"{topic}:=wrist/{topic}")
    ]
    resolver = node("resolver", *remappings, **PATIENT, robot_description=str(description_file()))
    resolver.says("resolver is active")
    graph.offered()
    goal = asked(graph, "the cup")
    assert goal.name == "OK", goal.result.status.message
    target, true = goal.result.target[0], client.judge()["things"]["cup"]["position"]
    assert (target.id, goal.result.header.frame_id) == ("cup", "panda_link0")
    here = target.pose.pose.position
    assert np.hypot(here.x - true[0], here.y - true[1]) < 0.02
