# SPDX-License-Identifier: Apache-2.0
"""The client of learned grasps against a server that replies well, badly, late or not at all."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import rclpy
from arm_graph import ArmGraph, Aside, discovered, never
from geometry_msgs.msg import Point, Pose, Quaternion
from planning_scenes import config
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from spatial_vlm_interfaces.srv import ProposeGrasps
from test_surface_grasps import mug
from waiting import DEADLINE, until

from spatial_vlm_ros.errors import CancelledError, ModelError, ModelTimeoutError
from spatial_vlm_ros.manipulation.grasping.proposals import GraspQuestion, question_of
from spatial_vlm_ros.nodes.arm.grasp_client import GraspClient
from spatial_vlm_ros.nodes.calls import Bridge

SETTING = config(grasp={"source": "service", "service_timeout": 20.0})
Answer = Callable[[ProposeGrasps.Request, ProposeGrasps.Response], None]


def rows(cloud: PointCloud2) -> Any:
    """(N, K) of a cloud, read by its fields as any server would."""
    names = [field.name for field in cloud.fields]
    form = np.dtype([(name, "<f4") for name in names])
    assert [field.offset for field in cloud.fields] == [4 * k for k in range(len(names))]
    assert cloud.row_step == cloud.point_step * cloud.width == len(cloud.data)
    return np.frombuffer(bytes(cloud.data), form)


def one_grasp(request: ProposeGrasps.Request, response: ProposeGrasps.Response) -> None:
    response.frame_id = request.header.frame_id
    response.grasps = [Pose(position=Point(x=0.1, y=0.2, z=0.3), orientation=Quaternion(x=1.0, w=0.0))]
    response.scores, response.widths, response.message = [0.75], [0.0625], "one"


class ServerDouble(Node):
    def __init__(self, context: Context) -> None:
        super().__init__("grasp_server", context=context)
        self.answer: Answer = one_grasp
        self.requests: list[ProposeGrasps.Request] = []
        group = ReentrantCallbackGroup()
        self.create_service(ProposeGrasps, "propose_grasps", self._serve, callback_group=group)

    def _serve(self, request: ProposeGrasps.Request, response: ProposeGrasps.Response) -> ProposeGrasps.Response:
        self.requests.append(request)
        self.answer(request, response)
        return response


@pytest.fixture(scope="module")
def graph(shared_domain: int) -> Iterator[ArmGraph]:
    made = ArmGraph(shared_domain, controllers=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(graph: ArmGraph) -> ServerDouble:
    made: ServerDouble = graph.spin(ServerDouble, 2)
    return made


def client_of(graph: ArmGraph, **changes: Any) -> GraspClient:
    made: list[GraspClient] = []

    def make(context: Context) -> Node:
        node = rclpy.create_node("gate", context=context)
        made.append(GraspClient(node, Bridge(node), dataclasses.replace(SETTING.grasp, **changes)))
        return node

    node = graph.spin(make)
    if "service" not in changes:  # the client itself waits no longer than two seconds
        discovered(lambda: node.count_services("propose_grasps"), "the server is discovered")
    return made[0]


def asked() -> GraspQuestion:
    return question_of(mug(), SETTING)


def test_a_question_is_asked_with_its_clouds_and_the_reply_is_as_sent(graph: ArmGraph, server: ServerDouble) -> None:
    question = asked()
    reply = client_of(graph).ask(question, never)
    request = server.requests[0]
    assert (request.header.frame_id, request.label, request.most) == ("base_link", "it", 100)
    assert request.header.stamp.nanosec == 1_000
    cloud, around = rows(request.target), rows(request.scene)
    assert np.stack([cloud[n] for n in ("x", "y", "z")], axis=1) == pytest.approx(question.target)
    assert np.stack([cloud[f"normal_{n}"] for n in "xyz"], axis=1) == pytest.approx(question.normals)
    assert np.stack([around[n] for n in ("x", "y", "z")], axis=1) == pytest.approx(question.scene)
    assert (reply.frame_id, reply.message) == ("base_link", "one")
    assert (reply.scores.tolist(), reply.widths.tolist()) == ([0.75], [0.0625])
    assert reply.positions.tolist() == [[0.1, 0.2, 0.3]]
    assert reply.quaternions.tolist() == [[1.0, 0.0, 0.0, 0.0]]


@contextmanager
def held(server: ServerDouble) -> Iterator[threading.Event]:
    """It replies at the end of this; the event says that it was asked."""
    released, entered = threading.Event(), threading.Event()

    def wait(request: ProposeGrasps.Request, response: ProposeGrasps.Response) -> None:
        entered.set()
        released.wait(2 * DEADLINE)
        one_grasp(request, response)

    server.answer = wait
    yield entered
    released.set()


def test_a_server_that_is_absent_or_late_is_told_and_withdrawing_ends_it(graph: ArmGraph, server: ServerDouble) -> None:
    question, withdrawn = asked(), threading.Event()
    with pytest.raises(ModelError, match="no node provides the service") as refused:
        client_of(graph, service="/nowhere", service_timeout=0.5).ask(question, never)
    assert "grasp.source" in refused.value.repair
    with held(server) as entered:
        with pytest.raises(ModelTimeoutError, match="no reply within 2 s"):
            client_of(graph, service_timeout=2.0).ask(question, never)
        assert entered.is_set()
    client = client_of(graph)
    with held(server) as entered:
        call = Aside(lambda: client.ask(question, withdrawn.is_set))
        until(entered.is_set, "it is asked")
        withdrawn.set()
        assert isinstance(call.ended().error, CancelledError)
