# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says: one status for streams, transforms, requests and the grounder, each with reason and fix."""

from __future__ import annotations

from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, SECOND

_SILENT = 1.0  # s without a message
_MISSED = 0.05  # part of a stream's messages
HARDWARE = "spatial_vlm_ros"

_QOS_POLICIES = {2: "durability", 4: "deadline", 8: "liveliness", 16: "reliability", 32: "history", 64: "lifespan"}


class Health:
    """Watches a node.

    Args:
        node: whose name the statuses carry.
        queue: requests and frames.
        grounder: worker of the grounder, or None.
    """

    def __init__(self, node: Node, queue: RequestQueue, grounder: Any) -> None:
        self._node, self._queue, self._grounder = node, queue, grounder
        self._lost: dict[str, int] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def incompatible(self, topic: str, event: Any) -> None:
        """A publisher was found that cannot be heard."""
        policy = _QOS_POLICIES.get(int(event.last_policy_kind), str(event.last_policy_kind))
        name = self._node.resolve_topic_name(topic)
        fix = (
            f"a publisher of {name} offers another {policy} than this node asks for: "
            "set reliability: best_effort, or change the publisher"
        )
        if name not in self._queue.unheard:
            self._node.get_logger().error(printable(fix))
        self._queue.unheard[name] = fix

    def lost(self, topic: str, event: Any) -> None:
        """The middleware says it lost messages."""
        self._lost[topic] = int(event.total_count)

    def report(self, active: bool) -> DiagnosticArray:
        """All statuses, now."""
        now = self._node.get_clock().now()
        array = DiagnosticArray(status=[self._streams(now.nanoseconds, active), self._transforms(), self._requests()])
        if self._grounder is not None:
            array.status.append(self._worker())
        array.header.stamp = now.to_msg()
        return array

    def _status(self, name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
        full = f"{self._node.get_fully_qualified_name().lstrip('/')}: {name}"
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=full, message=message, hardware_id=HARDWARE, values=pairs)

    def _streams(self, now_ns: int, active: bool) -> DiagnosticStatus:
        assembler = self._queue.assembler
        silent, problems = [], []
        values: dict[str, Any] = {}
        for role, stream in assembler.streams.items():
            received, missed = self._counts.get(role, (0, 0))
            if stream.received < received:  # another assembler, since a parameter was changed
                received = missed = 0
            self._counts[role] = (stream.received, stream.missed)
            fresh, lost = stream.received - received, stream.missed - missed
            values[f"{role} rate [Hz]"] = fresh
            values[f"{role} received / missed / repeated / restarts"] = (
                f"{stream.received} / {stream.missed} / {stream.repeated} / {stream.restarts}"
            )
            age = (now_ns - assembler.arrivals.get(role, 0)) / SECOND
            unused = role == DETECTIONS and self._queue.recent is not None and not stream.received
            if active and not fresh and age > _SILENT and not unused:  # with requests alone, then
                why = self._queue.unheard.get(
                    self._queue.topics.get(role, role), "check the driver, the remapping and QoS"
                )
                silent.append(f"{role} is silent: {why}")
            elif lost > _MISSED * (fresh + lost):
                problems.append(f"{role} loses messages: use the DDS profile of config/ in every process")
            if stream.newest_ns is not None:
                values[f"{role} newest stamp, age [s]"] = f"{(now_ns - stream.newest_ns) / SECOND:.3f}"
        values["colour images without partner"] = assembler.unmatched
        values.update({f"{topic} lost by the middleware": count for topic, count in self._lost.items()})
        if not active:
            return self._status("streams", DiagnosticStatus.OK, "inactive", values)
        if silent or problems:
            level = DiagnosticStatus.ERROR if silent else DiagnosticStatus.WARN
            return self._status("streams", level, "; ".join(silent + problems), values)
        return self._status("streams", DiagnosticStatus.OK, "all streams arrive", values)

    def _transforms(self) -> DiagnosticStatus:
        assembler = self._queue.assembler
        base, camera_frame = assembler.config.base_frame, assembler.camera_frame
        values = {"base frame": base, "camera frame": camera_frame, "rejected": assembler.transforms.rejected}
        speaker = assembler.config.speaker_frame
        if speaker:
            values["speaker frame"] = speaker
        if not base and not speaker:
            return self._status("transforms", DiagnosticStatus.OK, "not used: poses are in the camera's frame", values)
        if not camera_frame:
            return self._status("transforms", DiagnosticStatus.WARN, "no image seen yet", values)
        known = []
        for parent, child, level in (
            (base, camera_frame, DiagnosticStatus.ERROR),
            (camera_frame, speaker, DiagnosticStatus.WARN),  # it costs "my left" alone
        ):
            try:
                if parent and child:
                    assembler.transforms.lookup(parent, child, 0)
                    known.append(f"{parent} <- {child}")
            except SpatialVlmError as error:
                return self._status("transforms", level, str(error), values)
        if assembler.robot is not None:
            try:
                for link in assembler.robot.links:
                    assembler.transforms.lookup(base, link, 0)
            except SpatialVlmError as error:
                return self._status("transforms", DiagnosticStatus.ERROR, str(error), values)
            known.append(f"the robot's {len(assembler.robot.links)} links")
        words = f"{' and '.join(known)} {'are' if len(known) > 1 else 'is'} known"
        return self._status("transforms", DiagnosticStatus.OK, words, values)

    def _requests(self) -> DiagnosticStatus:
        values: dict[str, Any] = {f"ended {status}": count for status, count in sorted(self._queue.ends.items())}
        if self._queue.latencies:
            for share in (50, 95):
                values[f"latency p{share} [ms]"] = f"{np.percentile(self._queue.latencies, share) * 1e3:.1f}"
        return self._status("requests", DiagnosticStatus.OK, "busy" if self._queue.busy else "ready", values)

    def _worker(self) -> DiagnosticStatus:
        alive = self._grounder.alive
        level = DiagnosticStatus.OK if alive else DiagnosticStatus.WARN
        words = "runs" if alive else "has ended; it is started again with the next request"
        return self._status("grounder", level, words, {"process": self._grounder.pid})
