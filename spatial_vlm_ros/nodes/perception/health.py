# SPDX-License-Identifier: Apache-2.0
"""Builds /diagnostics: streams, transforms, requests, graph and grounder, each with reason and fix.

A status is OK only if nothing in its part would stop a request now; `requests` sums them up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from spatial_vlm_ros.errors import ModelError, SpatialVlmError, TransformUnavailableError
from spatial_vlm_ros.nodes.liveliness import twins_around
from spatial_vlm_ros.nodes.perception.grounder_keeper import GrounderKeeper
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.nodes.process import removed_ports
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, RGB, SECOND

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Told = tuple[bytes, str, dict[str, Any]]
"""A status: its level, text and values."""

_SILENT = 1.0  # s without a message
_MISSED = 0.05  # fraction of a stream's messages
_OLD = 5.0  # s after which an observation is outdated, if no new one is running
HARDWARE = "spatial_vlm_ros"

_QOS_POLICIES = {2: "durability", 4: "deadline", 8: "liveliness", 16: "reliability", 32: "history", 64: "lifespan"}


class Health:
    """Builds the diagnostics of a node."""

    def __init__(self, node: Node, queue: RequestQueue, keeper: GrounderKeeper | None) -> None:
        self._node, self._queue, self._keeper = node, queue, keeper
        self._lost: dict[str, int] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._twins = ""

    def incompatible(self, topic: str, event: Any) -> None:
        """Note a publisher whose QoS is incompatible."""
        policy = _QOS_POLICIES.get(int(event.last_policy_kind), str(event.last_policy_kind))
        name = self._node.resolve_topic_name(topic)
        fix = (
            f"a publisher of {name} offers a different QoS {policy} than this node requests: set reliability: "
            "best_effort, or change the publisher"
        )
        if name not in self._queue.frames.unheard:
            self._node.get_logger().error(printable(fix))
        self._queue.frames.unheard[name] = fix

    def lost(self, topic: str, event: Any) -> None:
        """Note messages that the middleware reports as lost."""
        self._lost[topic] = int(event.total_count)

    def report(self, active: bool) -> DiagnosticArray:
        """All current statuses; also restarts a grounder that has died."""
        now, keeper, evidence = self._node.get_clock().now(), self._keeper, self._queue.evidence
        if keeper is not None:
            keeper.look(self._queue.busy)
        found = {
            "streams": self._streams(now.nanoseconds, active),
            "transforms": self._transforms(active),
            "graph": self._graph(active),
        }
        if keeper is not None:
            found["grounder"] = self._worker(keeper)
        if evidence is not None and evidence.config.keep != "off":
            words = evidence.trouble or f"{evidence.kept} decisions kept"
            found["evidence"] = (WARN if evidence.trouble else OK, words, evidence.told())
        found["requests"] = self._requests(active, found)
        own = self._node.get_fully_qualified_name().lstrip("/")
        array = DiagnosticArray()
        array.header.stamp = now.to_msg()
        for name, (level, words, values) in found.items():
            pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
            array.status.append(
                DiagnosticStatus(level=level, name=f"{own}: {name}", message=words, hardware_id=HARDWARE, values=pairs)
            )
        return array

    @property
    def _refusal(self) -> SpatialVlmError | None:
        latest = self._queue.observer.latest
        return None if latest is None else latest.error

    def _streams(self, now_ns: int, active: bool) -> Told:
        assembler = self._queue.assembler
        silent, problems = [], []
        values: dict[str, Any] = {f"{role} topic": topic for role, topic in self._queue.frames.topics.items()}
        for role, stream in assembler.streams.items():
            received, missed = self._counts.get(role, (0, 0))
            if stream.received < received:  # a new assembler after a parameter change
                received = missed = 0
            self._counts[role] = (stream.received, stream.missed)
            fresh, lost = stream.received - received, stream.missed - missed
            values[f"{role} rate [Hz]"] = fresh
            values[f"{role} received / missed / repeated / restarts"] = (
                f"{stream.received} / {stream.missed} / {stream.repeated} / {stream.restarts}"
            )
            age = (now_ns - assembler.arrivals.get(role, 0)) / SECOND
            unused = role == DETECTIONS and self._queue.frames.recent is not None and not stream.received
            if active and not fresh and age > _SILENT and not unused:  # then they come only with requests
                why = self._queue.frames.unheard.get(
                    self._queue.frames.topics.get(role, role), "check the driver, the remappings and QoS"
                )
                silent.append(f"{role} is silent: {why}")
            elif lost > _MISSED * (fresh + lost):
                problems.append(f"{role} loses messages: use the DDS profile of config/ in every process")
            if stream.newest_ns is not None:
                age = (now_ns - stream.newest_ns) / SECOND
                values[f"{role} newest stamp, age [s]"] = f"{age:.3f}"
                if fresh and now_ns and -age > assembler.config.max_ahead:  # simulated time may not have begun
                    problems.append(
                        f"{role} is stamped {-age:.2f} s in the future: synchronise the clocks (chrony, PTP)"
                    )
        for role, clock in assembler.freshness.estimates().items():
            values[f"{role} least arrival - stamp, spread [s]"] = f"{clock.lag:.3f}, {clock.spread:.3f}"
        values["colour images without partner"] = assembler.unmatched
        values.update({f"{topic} lost by the middleware": count for topic, count in self._lost.items()})
        if not active:
            return WARN, "inactive: images are not received", values
        error = self._refusal
        if error is not None and not isinstance(error, (TransformUnavailableError, ModelError)):
            silent.append(str(error))
        if silent or problems:
            return ERROR if silent else WARN, "; ".join(silent + problems), values
        return OK, "all streams are arriving", values

    def _transforms(self, active: bool) -> Told:
        assembler = self._queue.assembler
        base, camera_frame = assembler.config.base_frame, assembler.camera_frame
        values: dict[str, Any] = {
            "base frame": base, "camera frame": camera_frame, "rejected": assembler.transforms.rejected
        }  # fmt: skip
        speaker = assembler.config.speaker_frame
        if speaker:
            values["speaker frame"] = speaker
        if not base and not speaker:
            return OK, "not used: poses are in the camera frame", values
        if not camera_frame:
            return WARN, "no image received yet", values
        newest_ns = self._queue.assembler.streams[RGB].newest_ns
        if base and newest_ns is not None:
            with contextlib.suppress(SpatialVlmError):
                known_ns = assembler.transforms.latest_stamp(base, camera_frame)
                if known_ns is not None:  # some transform moves
                    late = f"{(newest_ns - known_ns) / SECOND:.3f}"
                    values["newest transform behind the newest image [s]"] = late
        if active and isinstance(self._refusal, TransformUnavailableError):  # at the stamp of the newest image
            rejected = assembler.transforms.rejected
            said = f"{self._refusal} Rejected: {rejected}" if rejected else str(self._refusal)
            return ERROR, said, values
        known = []
        for parent, child, level in (
            (base, camera_frame, ERROR),
            (camera_frame, speaker, WARN),  # only "my left" needs it
        ):
            try:
                if parent and child:
                    assembler.transforms.lookup(parent, child, 0)
                    known.append(f"{parent} <- {child}")
            except SpatialVlmError as error:
                return level, str(error), values
        if assembler.robot is not None:
            try:
                for link in assembler.robot.links:
                    assembler.transforms.lookup(base, link, 0)
            except SpatialVlmError as error:
                return ERROR, str(error), values
            known.append(f"the robot's {len(assembler.robot.links)} links")
        words = f"{' and '.join(known)} {'are' if len(known) > 1 else 'is'} known"
        return OK, words, values

    def _graph(self, active: bool) -> Told:
        """Duplicates in the graph, and whether other nodes can reach this one."""
        removed = removed_ports()
        if removed:
            words = f"another process removed its shared memory ({', '.join(removed)}): nodes that use it do "
            return ERROR, words + "not reach this node; restart it", {}
        topics = self._queue.frames.topics.values() if active else ()
        twins = twins_around(self._node, topics, self._node.get_fully_qualified_name())
        said = "; ".join(f"{twin.found}: {twin.repair}" for twin in twins)
        if said and said != self._twins:
            self._node.get_logger().warning(printable(said))
        self._twins = said
        words = said or "no duplicate publishers, servers or node names"
        sources = self._queue.frames.sources
        told = "messages" if sources.names_messages else "the graph"
        values = {"publishers are told apart by": told, "last change of a source": sources.last or "none"}
        return WARN if twins else OK, words, {**values, **{twin.where: twin.who for twin in twins}}

    def _requests(self, active: bool, others: Mapping[str, Told]) -> Told:
        queue, observer, node = self._queue, self._queue.observer, self._queue.frames.settings.node
        values: dict[str, Any] = {f"ended {status}": count for status, count in sorted(queue.ends.items())}
        values |= {"waiting": queue.waiting, "queue_depth": node.queue_depth, "observed frames": observer.count}
        if queue.latencies:
            for share in (50, 95):
                values[f"latency p{share} [ms]"] = f"{np.percentile(queue.latencies, share) * 1e3:.1f}"
        if observer.count:
            values["observer, processor's time per frame [ms]"] = f"{observer.cpu / observer.count * 1e3:.1f}"
        if observer.latest is not None:
            values["last observation, age [s]"] = f"{time.monotonic() - observer.latest.at:.1f}"
        return *self._verdict(active, others), values

    def _verdict(self, active: bool, others: Mapping[str, Told]) -> tuple[bytes, str]:
        """Level and text of `requests`: the first reason why a request would not be served now."""
        queue, observer = self._queue, self._queue.observer
        if not active:
            return WARN, "inactive: goals are rejected; activate the node"
        if observer.latest is not None and observer.latest.error is not None:
            status = observer.latest.error.status_name
            return ERROR, f"a request now would end {status}: {observer.latest.error}"
        overdue = observer.overdue()
        if overdue is not None:
            return ERROR, f"no complete frame for {overdue[0]:.1f} s: {overdue[1]}"
        broken = [words for level, words, _ in others.values() if level == ERROR]
        if broken:
            return ERROR, broken[0]
        if queue.frames.settings.node.observer_rate <= 0.0:
            return WARN, "not observed, because observer_rate is 0"
        if observer.latest is None:
            return WARN, "no frame has been observed yet"
        if not queue.busy and not observer.waits and time.monotonic() - observer.latest.at > _OLD:
            age = time.monotonic() - observer.latest.at
            return WARN, f"no frame has been observed for {age:.1f} s: this process is overloaded"
        if queue.full:
            waiting = f", {queue.waiting} waiting" if queue.waiting else ""
            return WARN, f"busy: one request is being served{waiting}; another one now would end BUSY"
        doubtful = [others[name][1] for name in ("graph", "grounder") if name in others and others[name][0] != OK]
        if doubtful:
            return WARN, doubtful[0]
        return OK, "busy" if queue.busy else "ready"

    def _worker(self, keeper: GrounderKeeper) -> Told:
        values = {"process": keeper.grounder.pid, "started again": keeper.restarts}
        if keeper.starting:
            return WARN, "has exited; it is being restarted", values
        if not keeper.grounder.alive:
            why = f": {keeper.reason}" if keeper.reason else ""
            return ERROR if keeper.reason else WARN, f"has exited; it is being restarted{why}", values
        failed = self._queue.grounder_failed
        if failed:
            return ERROR, f"its last request ended {failed}", values
        return OK, "runs", values
