# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to topics, for machines without `ros2 bag play`; publishes exactly the recorded bytes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock as ClockMessage

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.fault_publishers import FaultPublishers
from spatial_vlm_ros.parameters import BagConfig, StreamConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.recording.bags.topics import Bag, choose_roles, open_bag
from spatial_vlm_ros.sim.faults.catalogue import FORMS
from spatial_vlm_ros.streams import frame_assembler as roles

_TICK = 0.002  # s: how often it checks for messages that are due
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_CLOCK = "/clock"
_CLOCK_STEP = 10_000_000  # ns between two messages on /clock
_SETTLED = 0.5  # s without a new subscription: a node that listens to the images has its other subscriptions by then
_DELIVERED = 1.0  # s: a subscriber that has not received the last messages by then is gone
_LONGEST = 0.05  # s: largest step of the clock, so that on a slow machine it does not pass unsent messages


class BagPlayer(Node):
    """Node `bag_player`: publishes every topic of the bag whose message class is installed, and /clock."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("bag_player", **kwargs)
        self._config = parameters.configured(self, BagConfig())
        self._topics: dict[str, Any] = {}
        self._faults: FaultPublishers | None = None
        self._ticks: Any = None
        self._bag: Any = None

    def start(self) -> None:
        """Open the bag, advertise its topics, and play once its images have a subscriber."""
        if not self._config.bag:
            raise InputError(
                "parameter bag", "none", "the folder of a bag, or its .mcap or .db3 file", "pass -p bag:=run1"
            )
        self._bag = open_bag(Path(self._config.bag))
        names = _streams(self._bag)
        forms = {name: form for topic, named in names.items() for name, form in named.items()}
        self._faults = faults = FaultPublishers(self, {"clock": FORMS["clock"], **forms})
        if self._config.clock and _CLOCK not in self._bag.topics:  # a simulator's stamps need its own time
            self._ticks = faults.create(ClockMessage, _CLOCK, qos.CLOCK, "clock")
        for topic, form in self._bag.topics.items():
            try:
                found = messages.message_class(form)
            except (ModuleNotFoundError, AttributeError):
                self.get_logger().warning(printable(f"{topic} is not played: {form} is not installed"))
                continue
            read = partial(_opened, found)
            latched = topic == roles.STATIC_TRANSFORMS
            # Small messages may come in bursts.
            profile = qos.images("reliable") if form in _IMAGES else qos.TRANSFORMS
            profile = qos.STATIC_TRANSFORMS if latched else profile
            self._topics[topic] = faults.create(found, topic, profile, *names[topic], opened=read, latched=latched)
        faults.begin()
        images = [topic for topic in self._topics if self._bag.topics[topic] in _IMAGES]
        self._awaited = images or list(self._topics)  # a resolver subscribes to /tf before it is active
        self._created = self._changed = time.monotonic()
        self._listeners = 0
        self._played: float | None = None
        self._restart()
        self.create_timer(_TICK, self._play, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self) -> None:
        """Close the bag, and drop delayed messages."""
        if self._faults is not None:
            self._faults.close()
        if self._bag is not None:
            self._bag.close()

    def _restart(self) -> None:
        self._messages: Iterator[tuple[str, int, bytes]] = self._bag.raw()
        self._next = next(self._messages, None)
        self._now_ns = self._last_ns = self._next[1] if self._next else 0
        self._told_ns = 0

    def _play(self) -> None:
        now = time.monotonic()
        if self._played is None:
            count = sum(publisher.get_subscription_count() for publisher in self._topics.values())
            if count != self._listeners:
                self._listeners, self._changed = count, now
            # It begins once an image subscriber has found its other topics, or none came in time.
            heard = any(self._topics[topic].get_subscription_count() for topic in self._awaited)
            since, wait = (self._changed, _SETTLED) if heard else (self._created, self._config.wait)
            if now - since < wait:
                return
            self._played = now
            self.get_logger().info(printable(f"playing {', '.join(sorted(self._topics))}"))
            deaf = [topic for topic in self._awaited if not self._topics[topic].get_subscription_count()]
            if deaf:  # wrong topic names are the most common error
                self.get_logger().warning(printable(f"there is no subscriber to {', '.join(sorted(deaf))}"))
        self._now_ns += int(min(now - self._played, _LONGEST) * self._config.rate * messages.SECOND)
        self._played = now
        if self._ticks is not None and self._now_ns - self._told_ns >= _CLOCK_STEP:
            self._ticks.publish(ClockMessage(clock=messages.time_of(self._now_ns)))
            self._told_ns = self._now_ns
        while self._next is not None and self._next[1] <= self._now_ns:
            topic, _, data = self._next
            if topic in self._topics:
                self._topics[topic].publish(data)
            self._last_ns = self._next[1]
            self._next = next(self._messages, None)
        lingers_ns = self._config.linger * self._config.rate * messages.SECOND
        if self._next is None and self._now_ns >= self._last_ns + lingers_ns:
            self._end()

    def _end(self) -> None:
        if self.get_parameter("loop").value:
            self._restart()
            return
        end = time.monotonic() + _DELIVERED
        for publisher in self._topics.values():  # so that messages in transit arrive
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, end - time.monotonic())))
        self.get_logger().info("the bag has ended")
        self.context.try_shutdown()


def _opened(form: Any, data: Any) -> Any:
    return deserialize_message(data, form) if isinstance(data, bytes) else copy.deepcopy(data)


_ROLES = {
    roles.RGB: "rgb", roles.DEPTH: "depth", roles.RGB_INFO: "info", roles.DETECTIONS: "detections",
    roles.TRANSFORMS: "tf", roles.STATIC_TRANSFORMS: "tf_static",
}  # fmt: skip
"""Role of a topic → stream whose faults apply to it."""


def _streams(bag: Bag) -> dict[str, dict[str, str]]:
    """Topic of a bag → its stream names, the topic itself first → their forms."""
    chosen: dict[str, str] = {}
    for with_detections in (True, False):
        try:
            chosen = choose_roles(bag.contents, StreamConfig(), with_detections=with_detections)
            break
        except InputError:  # no topic, or several match: only their own names are used then
            continue
    roles_of = {topic: _ROLES[role] for role, topic in chosen.items() if role in _ROLES}
    if _CLOCK in bag.topics:
        roles_of[_CLOCK] = "clock"
    found = {}
    for topic, type_ in bag.topics.items():
        form = "depth" if "depth" in topic else "colour"
        form = form if type_ == _IMAGES[0] else _FORMS.get(type_, "other")
        form = FORMS[roles_of[topic]] if topic in roles_of else form
        form = "compressed" if type_ == _IMAGES[1] else form
        found[topic] = {topic: form, **({roles_of[topic]: form} if topic in roles_of else {})}
    return found


_FORMS = {
    "sensor_msgs/msg/CameraInfo": "info",
    "sensor_msgs/msg/JointState": "joints",
    "tf2_msgs/msg/TFMessage": "transforms",
    "spatial_vlm_interfaces/msg/DetectionArray": "detections",
    messages.DETECTIONS_2D: "detections",
}
