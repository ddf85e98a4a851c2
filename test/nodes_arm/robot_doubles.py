# SPDX-License-Identifier: Apache-2.0
"""The doubles of a robot's controllers in one process, as ros2_control_node has them (docs/grippers.md). Not a test."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from controller_double import ARM, HOME, JointTrajectoryControllerDouble
from gripper_double import (
    FINGERS,
    KNUCKLE,
    ROBOTIQ,
    FrankaGripperDouble,
    GripperControllerDouble,
    GripperParameters,
    ParallelGripperControllerDouble,
)
from hardware_double import HardwareDouble, Spun, clients, forget

FINGER_SPEED, KNUCKLE_SPEED = 0.05, 1.0  # m/s of each finger, rad/s
DRIVERS: dict[str, GripperParameters | str | None] = {"ros2_controllers": None, "franka": "franka", "robotiq": ROBOTIQ}


class RobotDoubles:
    """A Panda: its joints, the controllers of arm and gripper, and joint states at 100 Hz."""

    def __init__(
        self,
        domain: int | None = None,
        gripper: GripperParameters | str | None = None,
        parallel: bool = False,
        args: list[str] | None = None,
    ) -> None:
        self._spun = Spun(domain, args)
        context = self._spun.context
        joints = dict(zip(ARM, HOME, strict=True)) | dict.fromkeys(FINGERS, 0.04)
        self.hardware = HardwareDouble(joints | ({KNUCKLE: 0.0} if gripper is ROBOTIQ else {}), context)
        for name, joint in self.hardware.joints.items():
            joint.speed = FINGER_SPEED if name in FINGERS else KNUCKLE_SPEED if name == KNUCKLE else joint.speed
        self.arm = JointTrajectoryControllerDouble(self.hardware)
        self.gripper: Any = FrankaGripperDouble(self.hardware) if isinstance(gripper, str) else None
        if not isinstance(gripper, str):
            kind = ParallelGripperControllerDouble if parallel else GripperControllerDouble
            name = "parallel_gripper_controller" if parallel else "gripper_controller"
            self.gripper = kind(self.hardware, gripper, name)
        self.gripper_action = f"/{self.gripper.get_name()}/{'gripper_action' if gripper == 'franka' else 'gripper_cmd'}"
        self._begun = {name: dataclasses.replace(joint) for name, joint in self.hardware.joints.items()}
        self._given = gripper
        self._spun.before_close.append(self.hardware.stop)
        self._spun.spin(self.hardware, self.arm, self.gripper)
        self.hardware.start()

    def close(self) -> None:
        self._spun.close()
        forget(self)

    def reset(self) -> None:
        """As at the start: every joint where it was, nothing in the way, the parameters that were given."""
        with self.hardware.lock:
            self.arm.deactivate()
            for name, joint in self.hardware.joints.items():
                vars(joint).update(vars(self._begun[name]))
            self.arm.deceleration = None
            if not isinstance(self._given, str):
                self.gripper.parameters = self._given or GripperParameters()
                self.gripper.rest()
            self.arm.activate()
            self.arm.taken.clear()
            self.hardware.silent = self.hardware.overtaken = False
            self.hardware.interval = 0.0

    @property
    def ready(self) -> bool:
        return True

    @property
    def clients(self) -> int:
        return clients(self.hardware, self.gripper_action)

    def hold(self, width: float) -> None:
        """Put something of this width, m, between the fingers."""
        with self.hardware.lock:
            for name in FINGERS:
                self.hardware.joints[name].lowest = width / 2

    def knows(self, action: str, number: int = 1) -> bool:
        """Whether an action of the robot has discovered its clients: else it drops its first reply."""
        return clients(self.hardware, action) >= number


def run(make: Callable[[], Any]) -> int:
    """A double as a process: says "ready" and how many clients it knows, and ends on SIGINT and SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    double = make()
    while not double.ready and not told.wait(0.05):
        pass
    print("ready", flush=True)  # noqa: T201
    known = 0
    while not told.wait(0.1):
        if double.clients != known:
            known = double.clients
            print(f"clients {known}", flush=True)  # noqa: T201
    double.close()
    return 0


if __name__ == "__main__":
    words = [word for word in sys.argv[1:2] if word in DRIVERS]
    sys.exit(run(lambda: RobotDoubles(gripper=DRIVERS[words[0] if words else "ros2_controllers"], args=sys.argv)))
