# SPDX-License-Identifier: Apache-2.0
"""Requests grasps from a server of learned grasps (service ProposeGrasps). Imported unless `grasp.source` is "own"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from spatial_vlm_interfaces.srv import ProposeGrasps
from std_msgs.msg import Header

from spatial_vlm_ros.errors import ModelError, ModelTimeoutError, PlannerUnavailableError
from spatial_vlm_ros.manipulation.grasping.proposals import GraspQuestion, GraspReply
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.calls import Bridge, Service
from spatial_vlm_ros.parameters import GraspConfig

_START = "start the grasp server, or set grasp.source to own"
_WAIT = 2.0  # s until the server has to be there


class GraspClient:
    """Client of the grasp service. Create it before the node spins.

    Args:
        bridge: runs functions on the thread of its executor.
    """

    def __init__(self, node: Node, bridge: Bridge, config: GraspConfig) -> None:
        self._config = config
        self._service = Service(bridge, ProposeGrasps, config.service, _START)
        self.name = node.resolve_service_name(config.service)

    def ask(self, question: GraspQuestion, cancelled: Callable[[], bool]) -> GraspReply:
        """Ask the server and return its reply unchecked. Call it from any thread except the executor's."""
        seconds = self._config.service_timeout
        try:
            self._service.await_it(min(_WAIT, seconds), cancelled)
        except PlannerUnavailableError as error:
            raise ModelError(self.name, "no node provides the service", _START) from error
        try:
            response = self._service.call(request_of(question), seconds, cancelled)
        except PlannerUnavailableError as error:
            reason = f"no reply within {seconds:g} s"
            raise ModelTimeoutError(self.name, reason, f"raise grasp.service_timeout, or {_START}") from error
        return reply_of(response)


def request_of(question: GraspQuestion) -> ProposeGrasps.Request:
    """Convert a question to a service request."""
    header = Header(frame_id=question.frame_id, stamp=messages.time_of(question.stamp_ns))
    normals = ("normal_x", "normal_y", "normal_z")
    target = np.concatenate((question.target, question.normals), axis=1)
    return ProposeGrasps.Request(
        header=header,
        label=question.label,
        target=messages.cloud_message(header, ("x", "y", "z", *normals), np.ascontiguousarray(target, "<f4").tobytes()),
        scene=messages.cloud_message(header, ("x", "y", "z"), np.ascontiguousarray(question.scene, "<f4").tobytes()),
        opening_max=question.opening_max,
        finger_length=question.finger_length,
        finger_beyond=question.finger_beyond,
        most=question.most,
    )


def reply_of(response: ProposeGrasps.Response) -> GraspReply:
    """Convert a service response to a reply."""
    poses = response.grasps
    turns = [(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses]
    return GraspReply(
        response.frame_id,
        np.array([(p.position.x, p.position.y, p.position.z) for p in poses], np.float64).reshape(-1, 3),
        np.array(turns, np.float64).reshape(-1, 4),
        np.array(response.scores, np.float64),
        np.array(response.widths, np.float64),
        response.message,
    )
