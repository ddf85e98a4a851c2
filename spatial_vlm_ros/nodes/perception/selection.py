# SPDX-License-Identifier: Apache-2.0
"""The service select_detection: picks one of the caller's own detections by a sentence. Imported only if enabled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from spatial_vlm_interfaces.srv import SelectDetection

from spatial_vlm_ros.errors import CancelledError
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.streams.detections import names_of
from spatial_vlm_ros.types import Resolution, Status

NAME = "select_detection"


class Selection:
    """Serves `select_detection` through a request queue.

    Args:
        accept: adds a request to the queue; returns whether the node is active.
        wake: runs a function on the executor's thread.
    """

    def __init__(
        self,
        node: Node,
        accept: Callable[[InstructionRequest], bool],
        publish: Callable[[RequestOutcome], None],
        wake: Callable[[Callable[[], Any]], None],
    ) -> None:
        self._node, self._accept, self._publish, self._wake = node, accept, publish, wake
        # A separate callback group: a waiting request must not block the node's image callbacks.
        self._service = node.create_service(SelectDetection, NAME, self._serve, callback_group=ReentrantCallbackGroup())

    def close(self) -> None:
        """Destroy the service after pending responses are sent."""
        self._wake(lambda: self._wake(lambda: self._node.destroy_service(self._service)))

    async def _serve(self, asked: SelectDetection.Request, _: SelectDetection.Response) -> SelectDetection.Response:
        answered: Future = Future(executor=self._node.executor)
        request = InstructionRequest(
            asked.instruction, asked.frame_of_reference, asked.dialogue_id, answered.set_result, lambda *_: None,
            found=asked.detections, others=asked.others,
        )  # fmt: skip
        if not self._accept(request):
            error = CancelledError("the resolver is not active")
            return response(RequestOutcome(refusal(asked.instruction, error)), asked.detections)
        outcome = await answered
        chosen, *others = (among(one, asked.detections) for one in (outcome.resolution, *outcome.others))
        outcome = dataclasses.replace(outcome, resolution=chosen, others=tuple(others))
        self._wake(lambda: self._publish(outcome))
        return response(outcome, asked.detections)


def among(answer: Resolution, detections: Any) -> Resolution:
    """The answer, changed to a refusal if a model points at an object that is not one of the caller's."""
    if answer.target is None or answer.target.id in names_of(detections):
        return answer
    reason = "The words were not understood, and the object that the model points at is not one of the detections."
    return Resolution(answer.instruction, Status.NOT_FOUND, reason, stamp_ns=answer.stamp_ns, source=answer.source)


def response(outcome: RequestOutcome, detections: Any) -> SelectDetection.Response:
    """Convert an answer to the service response for a vision_msgs/Detection2DArray."""
    answer = outcome.resolution
    asked, *others = (messages.resolution_message(one, outcome.frame_id) for one in (answer, *outcome.others))
    reply = SelectDetection.Response(resolution=asked, others=others)
    if answer.target is not None:
        place_of = {name: place for place, name in enumerate(names_of(detections))}
        reply.index = [place_of[answer.target.id]]
        reply.id = detections.detections[reply.index[0]].id
        reply.indices = [place_of[target.id] for target in answer.targets]
    return reply
