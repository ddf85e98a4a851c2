# SPDX-License-Identifier: Apache-2.0
"""Supervises an execution: stop paths, watchdog, whether the planner is alive, whether the arm stands still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.grippers import REACHED, FingerWatch, finger_stroke
from spatial_vlm_ros.manipulation.standstill import Stand, Standstill
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.arm.watchdog import Watchdog
from spatial_vlm_ros.nodes.calls import Asked, Bridge, Service
from spatial_vlm_ros.nodes.liveliness import LEAST, AliveWatch, ticks
from spatial_vlm_ros.nodes.process import MOST, Silence
from spatial_vlm_ros.parameters.manipulation import MotionConfig

STOP = "stop"
"""What MoveIt listens to on its event topic: moveit2, commit 8fcb5d2, trajectory_execution_manager.cpp:343."""
_PULSE = 0.08  # s between queries to the planner while it plans or executes
_HEARD = 1.0  # s to wait for the first joint states
_SETTLED = 0.06  # s for which the arm has to be still, so that a joint that reverses does not count
_TURN = 0.04  # s between looks at the planner


def planner_topic(execute_action: str) -> str:
    """Name of the topic on which the planner that serves an action shows that it is alive."""
    return f"{execute_action}/alive"


def event_topic_of(node: Node, motion: MotionConfig) -> str:
    """Full name of MoveIt's event topic; a relative name is in the namespace of `execute_action`. "" = none."""
    if not motion.event_topic or motion.event_topic.startswith("/"):
        return motion.event_topic
    return node.resolve_topic_name(f"{motion.execute_action.rpartition('/')[0]}/{motion.event_topic}")


class StopPaths:
    """Stops executions by MoveIt's event topic and at the controllers. Create it before the node spins.

    Args:
        event_topic: full name; "" = none.
    """

    def __init__(self, bridge: Bridge, event_topic: str, controllers: Sequence[str]) -> None:
        node, self._bridge = bridge.node, bridge
        self._event = node.create_publisher(String, event_topic, qos.INSTRUCTIONS) if event_topic else None
        self._clients = [
            node.create_client(CancelGoal, f"{name}/_action/cancel_goal", callback_group=bridge.group)
            for name in controllers
        ]

    def send(self) -> None:
        """Send the stop to all of them; returns at once. Callable from any thread."""
        self._bridge.put(self._send)

    def _send(self) -> None:
        if self._event is not None:
            self._event.publish(String(data=STOP))
        for client in self._clients:
            if client.service_is_ready():
                client.call_async(CancelGoal.Request())  # a goal id of zeros without a stamp: all goals


class Supervision:
    """Stop paths, watchdog and joint states for a client of a planner.

    Attributes:
        silent: why the planner counts as dead since it was last watched; "" if it does not.
        fingers: distance between the fingers by joint states during an execution, metres.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig, planner: Service, question: Any) -> None:
        self._bridge, self._node, self._motion = bridge, bridge.node, motion
        self._planner, self._question = planner, question
        controllers = [self._node.resolve_service_name(name) for name in motion.controller_actions.split()]
        topic = event_topic_of(self._node, motion)
        self._controllers = controllers
        self._paths = StopPaths(bridge, topic, controllers)
        self.watchdog = Watchdog(bridge, topic, controllers)
        self._stands: Standstill | None = None
        self.fingers = FingerWatch(motion.finger_joints.split(), finger_stroke(motion))
        self._subscriptions: list[Any] = []
        self._asked = 0.0
        self.silent, self._moves, self._silence = "", False, Silence(motion.planner_silence)
        self._alive = AliveWatch(self._node, planner_topic(motion.execute_action))
        self._turns = ticks(self._node, _TURN, self._look, bridge.group)

    def check(self) -> None:
        """Check that the arm could be stopped if the planner died; one of this package has a watchdog of its own."""
        if not self._controllers and not self.is_ours:
            got = "empty, and the planner has no watchdog of its own: nothing would stop the arm if it died"
            repair = "set it, or leave plan_only on (docs/motion.md)"
            raise InputError("motion.controller_actions", got, "the actions of the arm's controllers", repair)

    def watch(self, moves: bool = False) -> None:
        """Watch the planner until `rest`; while nothing moves, it is given more time."""
        if not moves:
            self._alive.forget()  # another planner may serve the names of one that has gone
        self.silent, self._moves = "", moves
        self._silence.begin(time.monotonic())
        self._bridge.put(self._turns.reset)

    def rest(self) -> None:
        """Watch the planner no more."""
        self._bridge.put(self._turns.cancel)

    def begin(self, joints: Sequence[str], told: Asked) -> None:
        """Start supervision; call it directly before a motion."""
        self.check()
        self._stands = Standstill(joints)
        self._bridge.put(partial(self._listen, self._stands))
        self.watchdog.begin(self._motion.server_timeout, told)
        nothing: Future[Any] = Future()
        self._bridge.wait(nothing, _HEARD, lambda: self.stand() is not Stand.UNKNOWN or told())
        self.watch(moves=True)

    def beside(self, start: Mapping[str, float]) -> tuple[float, str]:
        """Largest distance of a joint from the start of a plan, and its name; 0 and "" if not known.

        Args:
            start: positions by joint, radians or metres.
        """
        at = {} if self._stands is None else self._stands.positions
        away = [(abs(at[name] - begin), name) for name, begin in start.items() if name in at]
        return max(away, default=(0.0, ""), key=lambda each: math.inf if math.isnan(each[0]) else each[0])

    def end(self) -> None:
        """Stop supervision: the motion is over."""
        self.rest()
        self.watchdog.end()
        self._bridge.put(self._forget)

    def _listen(self, stands: Standstill) -> None:
        """Subscribe without event handlers: rclpy ends a multi-threaded executor that finds a listed one destroyed."""
        for topic in {self._motion.joint_states, self._motion.gripper_states or self._motion.joint_states}:
            self._subscriptions.append(
                self._node.create_subscription(
                    JointState, topic, partial(self._add, stands), qos.images(), callback_group=self._bridge.group,
                    event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
                )
            )  # fmt: skip

    def _add(self, stands: Standstill, message: JointState) -> None:
        now, stamp = time.monotonic(), message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        stands.add(now, stamp, message.name, message.position, message.velocity)
        self.fingers.add(now, message.name, message.position, message.effort)

    def _forget(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def halt(self) -> None:
        """Stop the arm by every available path; returns at once. Callable from any thread."""
        self._paths.send()

    def close(self) -> None:
        """End the watchdog."""
        self.watchdog.close()

    @property
    def is_ours(self) -> bool:
        """Whether the planner is from this package: it announces that it is alive."""
        return self._alive.seen()

    def _look(self) -> None:
        """Look whether a planner that announces itself, such as `arm_planner`, is alive; any other one is queried."""
        if self.silent:
            return
        now, least = time.monotonic(), LEAST if self._moves else MOST
        if self.is_ours:
            self.silent = self._alive.look(least)
        elif self._silence.too_long(now, 0.0 if self._moves else MOST):
            self.silent = f"has not answered for {self._silence.seconds:.2f} s"
        elif now - self._asked >= _PULSE:
            self._asked = now
            self._planner.probe(self._question).add_done_callback(partial(self._heard, now))

    def _heard(self, asked: float, answer: Future[Any]) -> None:
        if answer.exception() is None:
            self._silence.heard(time.monotonic() - asked, time.monotonic())

    def read_fingers(self, told: Asked) -> tuple[float | None, float | None]:
        """Width between the fingers, metres, and their effort, N or N m, without a motion; None = not reported."""
        begun, nothing = time.monotonic(), Future[Any]()
        if self._motion.finger_joints:
            self._bridge.put(partial(self._listen, Standstill(())))
            self._bridge.wait(nothing, _HEARD, lambda: self.fingers.width(begun) is not None or told())
            self._bridge.put(self._forget)
        width = self.fingers.width(begun)
        return width, None if width is None else self.fingers.effort()

    def await_fingers(self, told: Asked, opens_to: float | None) -> float | None:
        """The width between the fingers once they stand still, metres; None without their joint states.

        A driver may finish before its fingers begin to move, so they have to stand still for `gripper_settle`, except
        fingers that are already open as wide as commanded.

        Args:
            opens_to: commanded width, metres; None = the fingers close on an object of unknown width.
        """
        begun, nothing, settle = time.monotonic(), Future[Any](), self._motion.gripper_settle
        while (now := time.monotonic()) < begun + settle + self._motion.stand_timeout and not told():
            width = self.fingers.width(begun)
            if width is None and now > begun + settle + _HEARD:
                return None
            there = width is not None and opens_to is not None and abs(width - opens_to) <= REACHED
            if there or (width is not None and self.fingers.settled(begun, settle)):
                break
            self._bridge.wait(nothing, 0.02)
        return self.fingers.width(begun)

    def stand(self, since: float = -math.inf) -> Stand:
        """Whether the arm stands still, by joint states that came after `since` (monotonic clock)."""
        return Stand.UNKNOWN if self._stands is None else self._stands.stand(time.monotonic(), since)

    def await_still(self, each: Callable[[], None] = lambda: None, least: float = 0.0) -> Stand:
        """Wait for at most `stand_timeout` until two new joint states show that the arm stands still.

        Args:
            each: called every 0.25 s until then.
            least: seconds to wait in any case.
        """
        begun, told = time.monotonic(), 0.0
        first: tuple[float, float] | None = None  # when it was seen to stand still, and by which joint states
        nothing: Future[Any] = Future()
        while (now := time.monotonic()) < begun + max(self._motion.stand_timeout, least + _HEARD):
            heard = -math.inf if self._stands is None else self._stands.heard
            first = (first or (now, heard)) if self.stand(begun) is Stand.STILL else None
            if first is not None and now - max(first[0], begun + least) >= _SETTLED and heard > first[1]:
                return Stand.STILL
            if now - told >= 0.25:
                told = now
                each()
            self._bridge.wait(nothing, 0.02)
        return self.stand(begun)
