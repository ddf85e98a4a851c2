# SPDX-License-Identifier: Apache-2.0
"""The process that stops the arm when the node that commands it has ended, was killed, or hangs.

`Watchdog` (nodes/arm/watchdog.py) starts it and is its only user. It reads single bytes from its standard input:
`ARM` before a motion, `BEAT` while it runs, `IDLE` after it; the end of the pipe means that its parent has ended. It
writes lines: `ready`, `missing NAME …`, `tripped WORDS`.

It stops by MoveIt's event topic (moveit2, commit 8fcb5d2,
moveit_ros/planning/trajectory_execution_manager/src/trajectory_execution_manager.cpp:50, 204 and 343) and by
cancelling all goals of the controllers (action_msgs/srv/CancelGoal: a goal id of zeros and no stamp mean all of them).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any

from spatial_vlm_ros.nodes.main import without_shared_memory
from spatial_vlm_ros.nodes.process import OtherProcess, Silence, stat_of, why_lost
from spatial_vlm_ros.printable import printable

ARM, BEAT, IDLE = b"a", b"m", b"i"
_LOOK = 0.02  # s between checks
_REPEAT = 0.1  # s between requests to stop
_STOPS = 3.0  # s of stopping: MoveIt ignores a stop while it checks the start of a trajectory, at most a second


class WatchdogProcess:
    """The publisher and clients that stop the arm, and the loop that waits for a reason to stop.

    Args:
        spec: `name`, `namespace`, `domain`, `event_topic` ("" = none), `controllers` (actions), `lapse` (s).
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        import rclpy
        from action_msgs.srv import CancelGoal
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions
        from std_msgs.msg import String

        rclpy.init(args=sys.argv[2:], domain_id=spec["domain"], signal_handler_options=SignalHandlerOptions.NO)
        self._ok = rclpy.ok
        self._node = rclpy.create_node(
            spec["name"], namespace=spec["namespace"], use_global_arguments=False, enable_rosout=False,
            start_parameter_services=False,
        )  # fmt: skip
        self._stop, self._all = String(data="stop"), CancelGoal.Request()
        topic = spec["event_topic"]
        self._event = self._node.create_publisher(String, topic, QoSProfile(depth=10)) if topic else None
        self._controllers = {
            name: self._node.create_client(CancelGoal, f"{name}/_action/cancel_goal") for name in spec["controllers"]
        }
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._arming, self._watching, self._told = False, False, ""
        self._silence, self._beat = Silence(float(spec["lapse"])), 0.0
        self._parent = OtherProcess(os.getppid(), (stat_of(os.getppid()) or [""])[-1])

    def run(self) -> None:
        """Run until the pipe ends."""
        while True:
            if select.select([0], [], [], _LOOK if self._arming or self._watching else 3600.0)[0]:
                heard = os.read(0, 4096)
                if not heard:
                    if self._watching:
                        self._end_motion("the node that commands the arm has ended")
                    return
                for byte in (heard[k : k + 1] for k in range(len(heard))):
                    if byte == ARM:
                        self._arming, self._told = True, ""
                    elif byte == IDLE:
                        self._arming = self._watching = False
                if self._watching:
                    now = time.monotonic()
                    self._silence.heard(now - self._beat, now)
                    self._beat = now
            if self._watching and (why := why_lost(self._silence, self._parent, time.monotonic())):
                self._watching = False
                words = f"the node that commands the arm {why}"
                self._say(f"tripped {words}")
                self._end_motion(words)
            if self._arming:
                self._arm()

    def _arm(self) -> None:
        missing = [name for name, client in self._controllers.items() if not client.service_is_ready()]
        if self._event is not None and not self._event.get_subscription_count():
            missing.append(self._event.topic_name)
        if not missing:
            self._arming, self._watching, self._beat = False, True, time.monotonic()
            self._silence.begin(self._beat)
            self._say("ready")
        elif self._told != (words := " ".join(missing)):
            self._told = words
            self._say(f"missing {words}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the reader may be gone
            os.write(1, f"{line}\n".encode())

    def _end_motion(self, why: str) -> None:
        """Publish the event and cancel at the controllers repeatedly: a goal sent earlier may only begin now."""
        _tell(f"{why}: stopping the arm")
        end, told = time.monotonic() + _STOPS, 0.0
        answers: dict[str, list[Any]] = {name: [] for name in self._controllers}
        while time.monotonic() < end and self._ok():
            if time.monotonic() >= told + _REPEAT:
                told = time.monotonic()
                if self._event is not None:
                    with contextlib.suppress(Exception):  # what fails must not keep the rest from being tried
                        self._event.publish(self._stop)
                for name, client in self._controllers.items():
                    with contextlib.suppress(Exception):
                        if client.service_is_ready():
                            answers[name].append(client.call_async(self._all))
            with contextlib.suppress(Exception):
                self._executor.spin_once(timeout_sec=_LOOK)
        said = "cancelled at " + ", ".join(answers) if answers else "stopped by the event topic only"
        silent = [name for name, futures in answers.items() if not any(f.done() for f in futures)]
        words = f"no answer from {', '.join(silent)}" if silent else said
        _tell(words).join(_REPEAT)


def _tell(words: str) -> threading.Thread:
    """Write to standard error without waiting for it: its terminal may be closed, or hold everything up (Ctrl-S)."""

    def write() -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{printable(f'watchdog: {words}')}\n".encode())

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def main() -> int:
    """Entry point of the process; its arguments are the specification as JSON, and those of ROS."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when its pipe ends, and not before
    without_shared_memory()
    WatchdogProcess(json.loads(sys.argv[1])).run()
    return 0


if __name__ == "__main__":
    os._exit(main())  # at once: nothing is left to do, and the middleware's shutdown may block
