# SPDX-License-Identifier: Apache-2.0
"""Services whose calls wait in the queue, and select_detection: one of the caller's detections, by a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from spatial_vlm_interfaces.srv import SelectDetection

from spatial_vlm_ros.errors import CancelledError
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.streams.decoding import names_of
from spatial_vlm_ros.types import Resolution, Status

Reply = Callable[[RequestOutcome], Any]
Accept = Callable[[InstructionRequest], bool]
"""Adds a request to the queue; returns whether the node is active."""
Wake = Callable[[Callable[[], Any]], None]
"""Runs a function on the executor's thread."""


def serve(
    form: Any,
    name: str,
    request_of: Callable[[Any, Reply], InstructionRequest],
    response_to: Callable[[Any, RequestOutcome], Any],
    node: Node,
    accept: Accept,
    wake: Wake,
) -> Callable[[], None]:
    """Serve a service through a request queue; returns a function that ends it after pending responses are sent."""

    async def answer(asked: Any, _: Any) -> Any:
        answered: Future = Future(executor=node.executor)
        request = request_of(asked, answered.set_result)
        if accept(request):
            return response_to(asked, await answered)
        error = CancelledError("the resolver is not active")
        return response_to(asked, RequestOutcome(refusal(request.instruction, error)))

    # A separate callback group: a waiting request must not block the node's image callbacks.
    service = node.create_service(form, name, answer, callback_group=ReentrantCallbackGroup())
    return lambda: wake(lambda: wake(lambda: node.destroy_service(service)))


def serve_selection(publish: Reply, node: Node, accept: Accept, wake: Wake) -> Callable[[], None]:
    """Serve select_detection, and publish its answers; see `serve`."""

    def request_of(asked: SelectDetection.Request, reply: Reply) -> InstructionRequest:
        def end(outcome: RequestOutcome) -> None:
            chosen, *others = (among(one, asked.detections) for one in (outcome.resolution, *outcome.others))
            outcome = dataclasses.replace(outcome, resolution=chosen, others=tuple(others))
            reply(outcome)
            wake(partial(publish, outcome))

        return InstructionRequest(
            asked.instruction, asked.frame_of_reference, asked.dialogue_id, end, lambda *_: None,
            found=asked.detections, others=asked.others,
        )  # fmt: skip

    return serve(SelectDetection, "select_detection", request_of, response, node, accept, wake)


def among(answer: Resolution, detections: Any) -> Resolution:
    """The answer, changed to a refusal if a model points at an object that is not one of the caller's."""
    if answer.target is None or answer.target.id in names_of(detections):
        return answer
    reason = "The words were not understood, and the object that the model points at is not one of the detections."
    return Resolution(answer.instruction, Status.NOT_FOUND, reason, stamp_ns=answer.stamp_ns, source=answer.source)


def response(asked: SelectDetection.Request, outcome: RequestOutcome) -> SelectDetection.Response:
    """Convert an answer to the service response."""
    answer, detections = outcome.resolution, asked.detections
    told, *others = (messages.resolution_message(one, outcome.frame_id) for one in (answer, *outcome.others))
    reply = SelectDetection.Response(resolution=told, others=others)
    if answer.target is not None:
        place_of = {name: place for place, name in enumerate(names_of(detections))}
        reply.index = [place_of[answer.target.id]]
        reply.id = detections.detections[reply.index[0]].id
        reply.indices = [place_of[target.id] for target in answer.targets]
    return reply
