# SPDX-License-Identifier: Apache-2.0
"""Topics and message classes of a camera's streams, by the parameters of a node."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu
from spatial_vlm_interfaces.msg import DetectionArray

from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams import frame_assembler as roles


def hears_detections(settings: Settings) -> bool:
    """Whether detections come from a topic."""
    return not settings.node.grounder


def topics_of(settings: Settings) -> dict[str, str]:
    """Role → topic of every image stream in use; compressed ones have image_transport's names."""
    node, suffix = settings.node, {"raw": "", "compressed": "/compressed", "compressedDepth": "/compressedDepth"}
    topics = {
        roles.RGB: roles.RGB + suffix[node.rgb_transport],
        roles.DEPTH: roles.DEPTH + suffix[node.depth_transport],
        roles.RGB_INFO: roles.RGB_INFO,
    }
    if not settings.streams.depth_registered:
        topics[roles.DEPTH_INFO] = roles.DEPTH_INFO
    if hears_detections(settings):
        topics[roles.DETECTIONS] = roles.DETECTIONS
    if settings.streams.imu:
        topics[roles.IMU] = roles.IMU
    return topics


def form_of(role: str, settings: Settings) -> Any:
    """Message class of an image stream."""
    if role == roles.DETECTIONS:
        own = settings.node.detections_type == "spatial_vlm_interfaces"
        return DetectionArray if own else messages.message_class(messages.DETECTIONS_2D)
    if role in (roles.RGB_INFO, roles.DEPTH_INFO):
        return CameraInfo
    if role == roles.IMU:
        return Imu
    transport = settings.node.rgb_transport if role == roles.RGB else settings.node.depth_transport
    return Image if transport == "raw" else CompressedImage
