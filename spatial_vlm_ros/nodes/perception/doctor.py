# SPDX-License-Identifier: Apache-2.0
"""Listens to a live camera for a while: who publishes what with which QoS, and what the streams are like."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from spatial_vlm_interfaces.msg import DetectionArray
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.evaluation.doctor import Finding, Severity
from spatial_vlm_ros.evaluation.stream_doctor import NO_MESSAGE, StreamDoctor
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.nodes.perception.ask import client_node
from spatial_vlm_ros.nodes.perception.resolver import topics_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams import frame_assembler as roles

_LISTED = 5  # topics named as possible ones
_DISCOVERY = 5.0  # s: publishers are awaited this long before listening begins


def examine_live(settings: Settings, seconds: float, namespace: str, arguments: list[str],
                 table_height: float | None = None) -> list[Finding]:  # fmt: skip
    """Listen to the topics that a resolver with these settings would use.

    Args:
        settings: of that resolver.
        seconds: for how long.
        namespace: of the topics.
        arguments: "--ros-args …" with the remappings of that resolver.
        table_height: where the support is told to be in the base frame, metres; None = not told.

    Returns:
        Findings in the order in which to mend them.

    Raises:
        InputError: arguments or a namespace that ROS does not allow.
        DependencyError, FileError: the robot that the settings name cannot be read.
    """
    with client_node("spatial_vlm_doctor", namespace, arguments) as node:
        topics = {role: node.resolve_topic_name(topic) for role, topic in topics_of(settings).items()}
        doctor = StreamDoctor(settings, topics, robot_of(settings.streams, settings.resolver.depth))
        _listen(node, settings, doctor)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        end = time.monotonic() + _DISCOVERY
        while time.monotonic() < end and not _discovered(node, topics, settings):
            executor.spin_once(timeout_sec=0.05)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        graph = [finding for role, topic in topics.items() for finding in _publishers(node, role, topic, settings)]
        executor.shutdown(timeout_sec=1.0)
        said = {finding.check for finding in graph if finding.level is Severity.ERROR}
        heard = [f for f in doctor.findings(seconds, table_height) if not (f.found == NO_MESSAGE and f.check in said)]
        return [*_versions(), *graph, *heard]


def _discovered(node: Node, topics: dict[str, str], settings: Settings) -> bool:
    """Whether every stream that is needed has a publisher; finding them may take seconds on a busy machine."""
    needed = [topic for role, topic in topics.items() if role != roles.DETECTIONS]
    transforms = not settings.streams.base_frame or any(
        node.count_publishers(topic) for topic in (roles.TRANSFORMS, roles.STATIC_TRANSFORMS)
    )
    return transforms and all(node.count_publishers(topic) for topic in needed)


def _listen(node: Node, settings: Settings, doctor: StreamDoctor) -> None:
    def hear(role: str, form: Any, topic: str, profile: Any) -> None:
        node.create_subscription(
            form, topic, lambda message: doctor.add(role, message, node.get_clock().now().nanoseconds), profile
        )

    for role, topic in topics_of(settings).items():
        hear(role, _class_of(role, settings), topic, qos.images())
    hear(roles.TRANSFORMS, TFMessage, roles.TRANSFORMS, qos.TRANSFORMS)
    hear(roles.STATIC_TRANSFORMS, TFMessage, roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)


def _class_of(role: str, settings: Settings) -> Any:
    if role == roles.DETECTIONS:
        own = settings.node.detections_type == "spatial_vlm_interfaces"
        return DetectionArray if own else messages.message_class(messages.DETECTIONS_2D)
    if role in (roles.RGB_INFO, roles.DEPTH_INFO):
        return CameraInfo
    transport = settings.node.rgb_transport if role == roles.RGB else settings.node.depth_transport
    return Image if transport == "raw" else CompressedImage


def _publishers(node: Node, role: str, topic: str, settings: Settings) -> Iterator[Finding]:
    """Whether somebody publishes a topic with a type and QoS that the resolver hears."""
    found = node.get_publishers_info_by_topic(topic)
    wanted = _type_name(_class_of(role, settings))
    if not found:
        others = [n for n, types in node.get_topic_names_and_types() if wanted in types and node.count_publishers(n)]
        near = f"; there are {', '.join(sorted(others)[:_LISTED])}" if others else ""
        if role != roles.DETECTIONS:
            repair = "start the driver, or remap: --ros-args -r " + f"{role}:=TOPIC"
            yield Finding(topic, Severity.ERROR, f"nobody publishes it{near}", repair)
        return
    for info in found:
        if info.topic_type != wanted:
            repair = "set rgb_transport or depth_transport, or remap the right topic"
            yield Finding(topic, Severity.ERROR, f"it is a {info.topic_type}, not a {wanted}", repair)
        asked = qos.images(settings.node.reliability)
        verdict, reason = qos_check_compatible(info.qos_profile, asked)
        if verdict == QoSCompatibility.ERROR:
            offered = f"{_word(info.qos_profile.reliability)}, {_word(info.qos_profile.durability)}"
            text = f"QoS does not match: {info.node_name} offers {offered}; {reason.strip()}"
            yield Finding(topic, Severity.ERROR, text, "set reliability: best_effort, or change the publisher's QoS")
    if len(found) > 1 and role != roles.DETECTIONS:
        names = ", ".join(sorted(info.node_name for info in found))
        yield Finding(topic, Severity.WARNING, f"{len(found)} publishers: {names}", "leave one: frames would be mixed")


def _type_name(form: Any) -> str:
    package, kind, *_ = form.__module__.split(".")
    return f"{package}/{kind}/{form.__name__}"


def _word(policy: ReliabilityPolicy | DurabilityPolicy) -> str:
    return str(policy.name).lower()


def _versions() -> Iterator[Finding]:
    profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE")
    text = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}, "
        f"ROS {os.environ.get('ROS_DISTRO', 'from wheels')}, {rclpy.get_rmw_implementation_identifier()}"
    )
    yield Finding("versions", Severity.OK, text)
    if rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps") and not profile:
        repair = "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_images.xml in every process"
        yield Finding("DDS profile", Severity.WARNING, "Fast DDS's default loses most of a 720p stream", repair)
