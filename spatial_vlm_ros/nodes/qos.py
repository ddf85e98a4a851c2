# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, in one place."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliable: bool, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def images(reliability: str = "best_effort", depth: int = 5) -> QoSProfile:
    """QoS of images and their companion messages; a best-effort subscription matches every publisher."""
    return _profile(depth, reliability == "reliable")


def action_services() -> dict[str, QoSProfile]:
    """QoS of an action's services for a server or client of rclpy with many simultaneous requests.

    rclpy keeps 10 requests and replies by default. A client receives the replies to all clients, and drops those of
    others only when it reads them (rmw_fastrtps 9.2.0, rmw_response.cpp): in a burst they may push out its own.
    """
    return dict.fromkeys([f"{name}_service_qos_profile" for name in ("goal", "result", "cancel")], _profile(100, True))


TRANSFORMS = _profile(100, True)
STATIC_TRANSFORMS = _profile(100, True, latched=True)
ANSWERS = _profile(100, True)  # a burst of requests is answered at once
IMAGES = _profile(1, True)
INSTRUCTIONS = _profile(10, True)
IMU_DEPTH = 400
"""Messages of an IMU that wait while the node is busy: a second at 400 Hz."""
CLOCK = _profile(1, True)
VERDICTS = _profile(1, True, latched=True)
DESCRIPTION = _profile(1, True, latched=True)
"""QoS of a robot description, as robot_state_publisher and MoveIt publish it."""
ODD = 0.03125
"""Seconds that results are kept. It is not a round number because rcl spins while a clock stands exactly at the moment
of expiry, as a simulated clock in whole steps may (ros2/rcl, pull request 1303).
"""
