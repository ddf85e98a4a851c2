# SPDX-License-Identifier: Apache-2.0
"""Reads the parameters of MoveIt's move_group that say what it can plan."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from spatial_vlm_ros.errors import PlannerUnavailableError
from spatial_vlm_ros.manipulation.planning.moveit_pipelines import check_pipelines, first_names, further_names
from spatial_vlm_ros.nodes.calls import Asked, Bridge, Service
from spatial_vlm_ros.parameters import MotionConfig

_DISCOVERED = 1.0  # s that to wait once for the service; the action of the same node is there already


class PlannerParameters:
    """Parameters of a planner's node. A node without parameter services is not checked.

    Args:
        motion: `planner_node`, and what the planner must support.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        self._motion, self._patience = motion, _DISCOVERED
        name, node = motion.planner_node, bridge.node
        if name and not name.startswith("/"):
            name = node.resolve_service_name(f"{motion.move_action.rpartition('/')[0]}/{name}")
        remedy = "set motion.planner_node to the MoveIt node, or leave it empty"
        self._service = Service(bridge, GetParameters, f"{name}/get_parameters", remedy) if name else None

    def check(self, told: Asked) -> None:
        """Check that the planner supports what the parameters of this package require."""
        if self._service is None:
            return
        try:
            self._service.await_it(self._patience, told)
        except PlannerUnavailableError:
            self._patience = 0.0
            return
        with contextlib.suppress(PlannerUnavailableError):  # no answer: the planner itself reports more
            values = self._read(first_names(), told)
            values |= self._read(further_names(values, self._motion), told)
            check_pipelines(values, self._motion)

    def _read(self, names: Sequence[str], told: Asked) -> dict[str, Any]:
        if not names or self._service is None:
            return {}
        answer = self._service.call(GetParameters.Request(names=list(names)), self._motion.answer_timeout, told)
        pairs = zip(names, answer.values, strict=False)  # a node that lacks some of them may answer with none
        return {name: value for name, raw in pairs if (value := parameter_value_to_python(raw)) is not None}
