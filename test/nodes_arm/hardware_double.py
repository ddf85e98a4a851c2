# SPDX-License-Identifier: Apache-2.0
"""A test double of ros2_control: joints that follow commands, and the loop that updates controllers. Not a test.

The joints behave like ros2_control's mock hardware: a joint is where it was commanded to be, one cycle later. A joint
with a `speed` needs time; one that is `held` stays where it is.
"""

from __future__ import annotations

import gc
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from spatial_vlm_ros.nodes.calls import spin_aside

PERIOD = 0.01  # s: of the control loop and of the joint states
ACTION_SERVICES = ("send_goal", "get_result", "cancel_goal")
MOVING = 1e-3  # rad/s or m/s: faster than this a joint moves
_PATIENCE = 30.0 * float(os.environ.get("SPATIAL_VLM_TEST_SLOWNESS", "1"))  # s: it also runs as a process of its own


@dataclass
class Joint:
    """A joint: radians or metres."""

    position: float
    command: float
    velocity: float = 0.0  # in the last cycle
    speed: float = float("inf")  # it moves no faster
    lowest: float = float("-inf")  # something is in its way there
    highest: float = float("inf")
    held: bool = False  # it does not move at all
    delay: float = 0.0  # s until it follows a command that comes while it stands
    waited: float = 0.0

    def write(self, period: float) -> None:
        most = self.speed * period
        way = min(max(self.command - self.position, -most), most)
        self.waited = self.waited + period if way and not self.velocity else 0.0
        if self.held or (way and not self.velocity and self.waited <= self.delay):
            way = 0.0
        low, high = min(self.lowest, self.position), max(self.highest, self.position)
        new = min(max(self.position + way, low), high)
        self.velocity, self.position = (new - self.position) / period, new


class HardwareDouble(Node):
    """The joints, the control loop on a thread of its own, and the joint states.

    A loop that wakes late catches up in whole cycles: how busy the machine is changes no trajectory. `joints` are by
    name, where each is at first; read them under `lock`.
    """

    def __init__(self, joints: dict[str, float], context: Context) -> None:
        super().__init__("joint_state_broadcaster", context=context)
        self.joints = {name: Joint(at, at) for name, at in joints.items()}
        self.lock = threading.RLock()
        self._moved, self.silent = -math.inf, False  # silent: it publishes no joint states
        self.interval, self._told = 0.0, -math.inf  # s between joint states, at least
        self.overtaken, self._last = False, JointState()  # each joint state comes again after the next one
        self._controllers: list[Any] = []
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._cycle, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def load(self, controller: Any) -> None:
        """Call its `update` in each cycle, with s since the loop began, and how long a cycle is."""
        with self.lock:
            self._controllers.append(controller)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    @property
    def now(self) -> float:
        """s since the loop began, in whole cycles."""
        return self._cycle * PERIOD

    def positions(self, names: Iterable[str]) -> list[float]:
        with self.lock:
            return [self.joints[name].position for name in names]

    def speed(self) -> float:
        """Of the fastest joint, in the last cycle."""
        with self.lock:
            return max(abs(joint.velocity) for joint in self.joints.values())

    def still(self) -> float:
        """For how many seconds, counted in its own cycles, no joint has moved."""
        with self.lock:
            return self.now - self._moved

    def _loop(self) -> None:
        begun = time.monotonic()
        while not self._ended.wait(PERIOD) and self.context.ok():
            with self.lock:
                while begun + self._cycle * PERIOD <= time.monotonic():
                    self._step()
            self._tell()

    def _step(self) -> None:
        self._cycle += 1
        for joint in self.joints.values():
            joint.write(PERIOD)
        if self.speed() > MOVING:
            self._moved = self.now
        for controller in self._controllers:
            controller.update(self.now, PERIOD)

    def _tell(self) -> None:
        if self.silent or self.now - self._told < self.interval:
            return
        self._told = self.now
        message = JointState()
        message.header.stamp = self.get_clock().now().to_msg()
        with self.lock:
            message.name = list(self.joints)
            message.position = [joint.position for joint in self.joints.values()]
            message.velocity = [joint.velocity for joint in self.joints.values()]
        if self.context.ok():
            self._states.publish(message)
            if self.overtaken and self._last.name:
                self._states.publish(self._last)
            self._last = message


class Spun:
    """Nodes in one rclpy context, each group with an executor on threads of its own."""

    def __init__(self, domain: int | None = None, args: list[str] | None = None) -> None:
        self.context = Context()
        rclpy.init(args=args, context=self.context, **({} if domain is None else {"domain_id": domain}))
        self._stops: list[Callable[[], object]] = []
        self.before_close: list[Callable[[], None]] = []

    def spin(self, *nodes: Node, threads: int = 1) -> None:
        executor: Any = SingleThreadedExecutor(context=self.context)
        if threads > 1:
            executor = MultiThreadedExecutor(num_threads=threads, context=self.context)
        for node in nodes:
            executor.add_node(node)
        self._stops += [spin_aside(executor, _PATIENCE), *(node.destroy_node for node in nodes)]

    def close(self) -> None:
        for job in (*self.before_close, *self._stops):
            job()
        rclpy.try_shutdown(context=self.context)
        forget(self)


def clients(node: Node, *actions: str) -> int:
    """How many clients a node has discovered of each of these actions, at least."""
    names = (f"{action}/_action/{service}" for action in actions for service in ACTION_SERVICES)
    return min(node.count_clients(name) for name in names)


def forget(*doubles: Any) -> None:
    """Drop what doubles refer to: a participant of DDS, and its shared memory, live as long as its context."""
    for double in doubles:
        vars(double).clear()
    gc.collect()
