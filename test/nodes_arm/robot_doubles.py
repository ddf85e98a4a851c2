# SPDX-License-Identifier: Apache-2.0
"""The doubles of a robot's controllers in one process, as ros2_control_node has them. Not a test.

python test/nodes_arm/robot_doubles.py --ros-args -p gripper:=parallel
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from controller_double import ARM, HOME, Constraints, JointTrajectoryControllerDouble
from hardware_double import HardwareDouble, Spun

FINGERS = ("panda_finger_joint1", "panda_finger_joint2")


class RobotDoubles:
    """A Panda: its joints, the controller of its arm, and joint states at 100 Hz.

    Args:
        domain: the ROS domain; None = that of the environment.
        constraints: tolerances of the arm's controller.
        args: of ROS.
        arm: further arguments of JointTrajectoryControllerDouble.
    """

    def __init__(
        self,
        domain: int | None = None,
        constraints: Constraints | None = None,
        args: list[str] | None = None,
        **arm: Any,
    ) -> None:
        self._spun = Spun(domain, args)
        context = self._spun.context
        self.hardware = HardwareDouble(dict(zip(ARM, HOME, strict=True)) | dict.fromkeys(FINGERS, 0.04), context)
        self.arm = JointTrajectoryControllerDouble(self.hardware, constraints=constraints, **arm)
        self._spun.before_close(self.hardware.stop)
        self._spun.spin(self.hardware, self.arm)
        self.hardware.start()

    def close(self) -> None:
        """End."""
        self._spun.close()

    @property
    def ready(self) -> bool:
        """It is there as soon as it is made."""
        return True

    def knows(self, action: str, clients: int = 1) -> bool:
        """Whether an action of the robot has discovered its clients: else it drops its first reply."""
        names = (f"{action}/_action/{service}" for service in ("send_goal", "get_result", "cancel_goal"))
        return all(self.hardware.count_clients(name) >= clients for name in names)


def run(make: Callable[[], Any]) -> int:
    """A double as a process: says "ready", and ends on SIGINT and SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    double = make()
    while not double.ready and not told.wait(0.05):
        pass
    print("ready", flush=True)  # noqa: T201
    while not told.wait(0.5):
        pass
    double.close()
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: RobotDoubles(args=sys.argv)))
