# SPDX-License-Identifier: Apache-2.0
"""Checks a live camera: publishers, QoS, and the quality of the streams."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSCompatibility, qos_check_compatible
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.doctor.findings import Finding, fail, ok, warn
from spatial_vlm_ros.doctor.streams import NO_MESSAGE, StreamDoctor
from spatial_vlm_ros.errors import without_repair
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.nodes import parameters, qos
from spatial_vlm_ros.nodes.client_node import Spinner, client_node, heard_description
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.liveliness import UNKNOWN, endpoints_of, twins_around
from spatial_vlm_ros.nodes.perception.frame_wait import FrameWait, Observer
from spatial_vlm_ros.nodes.perception.inputs import form_of, hears_detections, topics_of
from spatial_vlm_ros.nodes.perception.requests import ResolvingWorker
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.streams.still_poses import DESCRIPTION

_LISTED = 5  # candidate topics that a finding lists
_ANSWERS = "/annotated/image"  # published by a resolver, not by a camera
_OBSERVED = 0.2  # s between two frames that are decoded
_FOUND = 2.5  # s to search for a running resolver
_DISCOVERY = 5.0  # s: publishers are awaited this long before listening begins


_REPLY = 5.0  # s for a service call: the node may be busy loading a model
_SPOKEN = 3.0  # s to wait for its diagnostics, which come once a second
_TOPIC = " topic"  # ends the key of each topic in its diagnostics
SIM_TIME = "use_sim_time"


class RunningResolver:
    """Finds a running resolver and reads what it reports.

    Args:
        node: a node in the resolver's namespace; only this class spins it.

    Attributes:
        name: its full name; "" until one is attached to.
        settings: its parameters; None if it did not report them.
        state: label of its lifecycle state; "" if it did not report it.
        statuses: its newest diagnostics, by name.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._spinner = node, Spinner(node)
        self.until, self.close = self._spinner.until, self._spinner.close
        self._status_topic = node.resolve_topic_name("resolve/_action/status")
        self.name = self.state = ""
        self.settings: Settings | None = None
        self.statuses: dict[str, DiagnosticStatus] = {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.ANSWERS)

    @property
    def names(self) -> list[str]:
        """Full names of the nodes discovered so far that offer the action `resolve` in this namespace."""
        return [name for name in endpoints_of(self._node, self._status_topic).values() if name != UNKNOWN]

    @property
    def topics(self) -> dict[str, str]:
        """Role → full name of its topic; empty until its diagnostics come."""
        status = self.statuses.get("streams")
        pairs = status.values if status is not None else ()
        return {pair.key.removesuffix(_TOPIC): pair.value for pair in pairs if pair.key.endswith(_TOPIC)}

    def attach(self) -> None:
        """Read the resolver that runs in this namespace, if one runs."""
        names = self.names
        if not names:
            return
        self.name = names[0]
        wanted = [*parameters.declared(), SIM_TIME]
        reply = self._spinner.ask(GetParameters, f"{self.name}/get_parameters", _REPLY, names=wanted)
        if reply is not None and len(reply[0].values) == len(wanted):
            values = dict(zip(wanted, map(parameter_value_to_python, reply[0].values), strict=True))
            sim_time = bool(values.pop(SIM_TIME))
            self.settings = parameters.settings_of(values)
            if sim_time:
                self._node.set_parameters([Parameter(SIM_TIME, value=True)])
        state = self._spinner.ask(GetState, f"{self.name}/get_state", _REPLY)
        self.state = "" if state is None else str(state[0].current_state.label)
        self.until(lambda: bool(self.topics), _SPOKEN)

    def findings(self) -> Iterator[Finding]:
        """Findings from its diagnostics: errors say that a request would not be served now."""
        if not self.name:
            return
        check = f"resolver {self.name}"
        if self.settings is None:
            repair = "start it again and check its log"
            yield fail(check, f"it did not return its parameters within {_REPLY:g} s", repair)
        if self.state != "active":
            repair = f"run ros2 lifecycle set {self.name} configure (then activate), or start it with autostart: true"
            yield fail(check, f"it is {self.state or 'in an unknown state'}", repair)
        if not self.statuses:
            repair = "check its log, and whether /diagnostics is remapped"
            yield warn(check, f"it published no diagnostics within {_SPOKEN:g} s", repair)
        for name, status in self.statuses.items():
            if status.level != DiagnosticStatus.OK:
                wrong = fail if status.level == DiagnosticStatus.ERROR else warn
                said, repair = (*re.split(r"[.;] ", status.message, maxsplit=1), "")[:2]
                yield wrong(f"{check}: {name}", said, repair or "check its other statuses")
        requests = self.statuses.get("requests")
        if requests is not None and requests.level == DiagnosticStatus.OK:
            ended = [f"{pair.key.removeprefix('ended ')} {pair.value}" for pair in requests.values
                     if pair.key.startswith("ended ")]  # fmt: skip
            said = f"a request now would be served; ended so far: {', '.join(ended) or 'none'}"
            yield ok(f"{check}: requests", said)

    def _hear(self, array: DiagnosticArray) -> None:
        prefix = f"{self.name.lstrip('/')}: "
        said = {s.name.removeprefix(prefix): s for s in array.status if s.name.startswith(prefix)}
        if said and self.name:
            self.statuses = said


def examine_live(settings: Settings, seconds: float, namespace: str, arguments: list[str],
                 table_height: float | None = None, attach: bool = True) -> list[Finding]:  # fmt: skip
    """Listen to the topics that a resolver with these settings would use, or that a running one does use.

    Args:
        settings: settings of the resolver, if none runs.
        arguments: "--ros-args …" with the resolver's remappings.
        table_height: stated height of the support in the base frame, metres; None = not stated.

    Returns:
        Findings in the order in which to fix them.
    """
    with client_node("spatial_vlm_doctor", namespace, arguments) as node:
        resolver = RunningResolver(node)
        topics = {role: node.resolve_topic_name(topic) for role, topic in topics_of(settings).items()}
        if attach and not resolver.until(lambda: bool(resolver.names), _FOUND):
            resolver.until(lambda: bool(resolver.names) or _discovered(node, topics, settings), _DISCOVERY)
        if attach:
            resolver.attach()
        absent = attach and not resolver.name

        def came() -> bool:
            return absent and bool(resolver.names)

        examined = _listen(node, resolver, settings, seconds, came)
        if came():  # a resolver came, or was discovered late: listen again, to its topics, with its clock
            examined.close()
            resolver.attach()
            examined = _listen(node, resolver, settings, seconds)
        settings, topics = examined.settings, examined.topics
        graph = [finding for role, topic in topics.items() for finding in _publishers(node, role, topic, settings)]
        own = resolver.name or node.resolve_topic_name("resolver")
        graph += [fail(twin.where, twin.found, twin.repair) for twin in twins_around(node, topics.values(), own)]
        findings = list(examined.findings(seconds, table_height, graph))
        examined.close()
        resolver.close()
        return [*_versions(), *graph, *findings, *resolver.findings()]


def _listen(node: Node, resolver: RunningResolver, settings: Settings, seconds: float,
            ends: Callable[[], bool] = lambda: False) -> _Examined:  # fmt: skip
    """Listen to the topics of a resolver, running or not, for some seconds or until `ends` holds."""
    settings = resolver.settings or settings
    topics = {role: node.resolve_topic_name(topic) for role, topic in topics_of(settings).items()} | resolver.topics
    resolver.until(lambda: _discovered(node, topics, settings), _DISCOVERY)
    examined = _Examined(node, settings, topics, bool(resolver.name), seconds / 2)
    resolver.until(ends, seconds)
    return examined


class _Examined:
    """Examines the streams by a node's subscriptions, and tries what a request would get."""

    def __init__(self, node: Node, settings: Settings, topics: dict[str, str], attached: bool, patience: float) -> None:
        self.settings, self.topics, self._node, self._attached = settings, topics, node, attached
        streams = settings.streams
        least = {"frame_timeout": 1.1 * streams.max_latency, "transform_timeout": 0.0}
        shorter = {name: min(getattr(streams, name), max(patience, low)) for name, low in least.items()}
        settings = replace(settings, streams=replace(streams, **shorter))
        robot = robot_of(settings.streams, settings.resolver.depth, partial(heard_description, node))
        self._streams = StreamDoctor(settings, topics, robot)
        self._frames: dict[bool, FrameWait] = {}
        self._observers: dict[bool, Observer] = {}
        self._worker, resolver = ResolvingWorker(Jobs(node).put), Resolver(settings.resolver)
        for found in (False, True):  # without and with detections
            if not found or hears_detections(settings):
                assembler = FrameAssembler(settings.streams, found, robot=robot)
                self._frames[found] = FrameWait(settings, assembler, self._now, topics)
                self._observers[found] = Observer(
                    self._frames[found], self._worker, lambda: resolver, lambda: self.settings.node.resolve_timeout
                )
        self._subscriptions = _subscribed(node, settings, topics, self._take)
        self._timer = node.create_timer(_OBSERVED, self._observe, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _observe(self) -> None:
        for observer in self._observers.values():
            observer.begin()

    def close(self) -> None:
        """Stop listening and decoding."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for observer in self._observers.values():
            observer.withdraw()
        self._worker.close()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _take(self, role: str, message: Any, now_ns: int) -> None:
        self._streams.add(role, message, now_ns)
        for found, observer in self._observers.items():
            if found or role != roles.DETECTIONS:
                self._frames[found].assembler.add(role, message, now_ns)
                observer.step()

    def findings(self, seconds: float, table_height: float | None, graph: list[Finding]) -> Iterator[Finding]:
        """Findings from the streams, without those known from the graph, and the result of a trial request."""
        if self._node.get_clock().ros_time_is_active and self._now() == 0:
            repair = "start the publisher of /clock (the simulator, a bag player), or set use_sim_time: false"
            yield fail("clock", "use_sim_time is true, but nothing publishes /clock", repair)
        said = {finding.check for finding in graph if finding.is_error}
        for finding in self._streams.findings(seconds, table_height):
            if not (finding.found == NO_MESSAGE and finding.check in said):
                yield finding
        request = self._request()
        if request.is_error or not said:  # otherwise the resolver receives less than this node
            yield request

    def _request(self) -> Finding:
        """Result of a trial request. Without a resolver no detector is required."""
        detected = roles.DETECTIONS in self.topics and (self._attached or self._streams.heard(roles.DETECTIONS))
        observer = self._observers[detected and True in self._observers]
        latest, overdue = observer.latest, observer.overdue()
        error = latest.error if latest is not None else None
        if error is None and overdue is not None:
            error = overdue[1]
        if error is not None:
            repair = getattr(error, "repair", "") or "see above"
            said = f"a request would end {error.status_name}: {without_repair(error)}"
            return fail("request", said, repair)
        if latest is None:
            return fail("request", "no frame could be observed", "listen for longer: --seconds 10")
        text = f"a request would be served; its frame takes {latest.cpu * 1e3:.0f} ms to decode and lift"
        return ok("request", text)


def hear(settings: Settings, add: Callable[[str, Any, int], object], done: Callable[[], bool], seconds: float,
         namespace: str, arguments: list[str]) -> None:  # fmt: skip
    """Pass a camera's messages, TF and URDF to `add`, as `StillSampler.add`, until `done`; arguments remap."""
    with client_node("spatial_vlm_hand_eye", namespace, arguments) as node:
        _subscribed(node, settings, topics_of(settings), add)
        node.create_subscription(String, DESCRIPTION, lambda text: add(DESCRIPTION, text, 0), qos.DESCRIPTION)
        spinner = Spinner(node)
        try:
            spinner.until(done, seconds)
        finally:
            spinner.close()


def _subscribed(
    node: Node, settings: Settings, topics: dict[str, str], add: Callable[[str, Any, int], object]
) -> list[Any]:
    """Subscriptions to topics by role, and to TF, that pass messages to `add` (role, message, arrival in ns)."""
    made = []

    def listen(role: str, form: Any, topic: str, profile: Any) -> None:
        def take(message: Any) -> None:
            add(role, message, int(node.get_clock().now().nanoseconds))

        made.append(node.create_subscription(form, topic, take, profile))

    for role, topic in topics.items():
        listen(role, form_of(role, settings), topic, qos.images())  # matches every publisher
    listen(roles.TRANSFORMS, TFMessage, roles.TRANSFORMS, qos.TRANSFORMS)
    listen(roles.STATIC_TRANSFORMS, TFMessage, roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)
    return made


def _discovered(node: Node, topics: dict[str, str], settings: Settings) -> bool:
    """Whether every required stream has a publisher; discovery may take seconds on a busy machine."""
    needed = [topic for role, topic in topics.items() if role != roles.DETECTIONS]
    transforms = not settings.streams.base_frame or any(
        node.count_publishers(topic) for topic in (roles.TRANSFORMS, roles.STATIC_TRANSFORMS)
    )
    return transforms and all(node.count_publishers(topic) for topic in needed)


def _publishers(node: Node, role: str, topic: str, settings: Settings) -> Iterator[Finding]:
    """Check that a topic has a publisher with a type and QoS that match the resolver's."""
    found = node.get_publishers_info_by_topic(topic)
    form = form_of(role, settings)
    package, kind, *_ = form.__module__.split(".")
    wanted = f"{package}/{kind}/{form.__name__}"
    if not found:
        others = [
            n
            for n, types in node.get_topic_names_and_types()
            if wanted in types and node.count_publishers(n) and not n.endswith(_ANSWERS)
        ]
        near = f"; topics of this type: {', '.join(sorted(others)[:_LISTED])}" if others else ""
        if role != roles.DETECTIONS:
            repair = f"start the driver, or remap: --ros-args -r {role}:=TOPIC"
            yield fail(topic, f"it has no publisher{near}", repair)
        return
    for info in found:
        if info.topic_type != wanted:
            repair = "set rgb_transport or depth_transport, or remap to the right topic"
            yield fail(topic, f"its type is {info.topic_type}, not {wanted}", repair)
        asked = qos.images(settings.node.reliability)
        verdict, reason = qos_check_compatible(info.qos_profile, asked)
        if verdict == QoSCompatibility.ERROR:
            policies = (info.qos_profile.reliability, info.qos_profile.durability)
            offered = ", ".join(str(policy.name).lower() for policy in policies)
            text = f"QoS does not match: {info.node_name} offers {offered}; {reason.strip()}"
            yield fail(topic, text, "set reliability: best_effort, or change the publisher's QoS")


def _versions() -> Iterator[Finding]:
    profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE")
    text = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}, "
        f"ROS {os.environ.get('ROS_DISTRO', 'from wheels')}, {rclpy.get_rmw_implementation_identifier()}"
    )
    yield ok("versions", text)
    if rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps") and not profile:
        repair = "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_images.xml in every process"
        yield warn("DDS profile", "the default settings of Fast DDS lose most of a 720p stream", repair)
