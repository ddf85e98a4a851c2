# SPDX-License-Identifier: Apache-2.0
"""The service teach: keeps an object that is shown to the camera, in the file of taught objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from spatial_vlm_interfaces.srv import Teach

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.nodes.perception.selection import Accept, Reply, Wake, serve
from spatial_vlm_ros.perception.taught import sayable, shown_view
from spatial_vlm_ros.perception.taught_store import lesson
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Resolution, RgbdFrame, Status


def serve_teaching(path: str, node: Node, accept: Accept, wake: Wake) -> Callable[[], None]:
    """Serve teach into a file of taught objects; see `serve`."""
    before: list[RgbdFrame] = []  # the frame that was kept last

    def work(
        asked: Teach.Request, resolver: Resolver, frame: RgbdFrame, check: Callable[[str], None]
    ) -> RequestOutcome:
        at, box, told = tuple(asked.at), tuple(asked.box), partial(Resolution, f"teach {asked.name}", Status.ANSWERED)
        if bool(at) + bool(box) + asked.put_down > 1 or len(at) not in (0, 2) or len(box) not in (0, 4):
            got = f"{len(at)} and {len(box)} numbers{', put_down' if asked.put_down else ''}"
            raise InputError("at, box, put_down", got, "one of them at most", "give at 2 numbers, or box 4")
        if not asked.name and not (at or box or asked.put_down):
            before[:] = [frame]
            return RequestOutcome(told("this frame is kept; what is put down now can be taught with put_down"))
        name = sayable(asked.name)
        if asked.put_down and not before:
            raise InputError("put_down", "no frame before it", "an earlier frame", "call teach without a name first")
        where: Any = {"at": at or None, "box": box or None, "before": before[0] if asked.put_down else None}
        shown = shown_view(frame, resolver.observe, resolver.config, **where)
        check("teaching")
        made = lesson(path, name, [shown])
        return RequestOutcome(told(str(made.kept)), lesson=made)

    def request_of(asked: Teach.Request, reply: Reply) -> InstructionRequest:
        return InstructionRequest(f"teach {asked.name}", "", "", reply, lambda *_: None, work=partial(work, asked))

    return serve(Teach, "teach", request_of, response, node, accept, wake)


def response(_: Teach.Request, outcome: RequestOutcome) -> Teach.Response:
    """The status, and what was kept."""
    reply = Teach.Response(status=messages.resolution_message(outcome.resolution, "").status)
    if (made := outcome.lesson) is not None:
        reply.views, reply.size = len(made.kept.views), made.kept.views[-1].size[:3]
        reply.alike, reply.found_by_depth, reply.notes = made.alike, made.found_by_depth, made.notes
    return reply
