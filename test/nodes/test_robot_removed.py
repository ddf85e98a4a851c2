# SPDX-License-Identifier: Apache-2.0
"""The description of the robot in the image is what the topic has; what becomes of the robot is tested in streams/."""

import pytest

pytest.importorskip("pinocchio")

from live_graph import Graph
from std_msgs.msg import String

from spatial_vlm_ros.nodes import qos


def test_the_robot_can_be_what_the_topic_has_and_another_padding_takes_effect_at_once(graph: Graph) -> None:
    """As robot_state_publisher tells it: here a ball, without meshes."""
    ball = "<collision><geometry><sphere radius='0.1'/></geometry></collision>"
    told = graph.node.create_publisher(String, "robot_description", qos.DESCRIPTION)
    told.publish(String(data=f"<robot name='ball'><link name='ball'>{ball}</link></robot>"))
    graph.start(wait=False, robot_description="topic")
    assert graph.state == "active"
    assert graph.desk.assembler.robot.links == ("ball",)
    graph.use(robot_padding=0.05)
    assert graph.desk.assembler.robot.padding == 0.05
    ok, reason = graph.set(robot_description="/tmp/robot.urdf")  # noqa: S108 - it is not read
    assert not ok
    assert "read when the node is configured" in reason


@pytest.mark.slow  # it listens for 10 s
def test_a_robot_that_nobody_tells_is_asked_for(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    graph.start(wait=False, robot_description="topic")
    assert graph.state == "unconfigured"
    words = "there was no message on /robot_description within 10 s. Start robot_state_publisher first, or set"
    assert words in capfd.readouterr().err
