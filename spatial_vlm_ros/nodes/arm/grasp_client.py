# SPDX-License-Identifier: Apache-2.0
"""Requests grasps from a server of learned grasps (service ProposeGrasps). Imported unless `grasp.source` is "own"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2, PointField
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
    return ProposeGrasps.Request(
        header=header,
        label=question.label,
        target=_cloud(header, ("x", "y", "z", *normals), np.concatenate((question.target, question.normals), axis=1)),
        scene=_cloud(header, ("x", "y", "z"), question.scene),
        opening_max=question.opening_max,
        finger_length=question.finger_length,
        finger_beyond=question.finger_beyond,
        most=question.most,
    )


def reply_of(response: ProposeGrasps.Response) -> GraspReply:
    """Convert a service response to a reply."""
    poses = response.grasps
    return GraspReply(
        response.frame_id,
        _rows([(p.position.x, p.position.y, p.position.z) for p in poses], 3),
        _rows([(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses], 4),
        np.array(response.scores, np.float64),
        np.array(response.widths, np.float64),
        response.message,
    )


def _rows(values: list[Any], width: int) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64).reshape(-1, width)


def _cloud(header: Header, names: tuple[str, ...], values: npt.NDArray[np.float32]) -> PointCloud2:
    fields = [PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1) for k, n in enumerate(names)]
    step = 4 * len(names)
    return PointCloud2(
        header=header, height=1, width=len(values), fields=fields, is_bigendian=False, point_step=step,
        row_step=step * len(values), data=np.ascontiguousarray(values, "<f4").tobytes(), is_dense=True,
    )  # fmt: skip
