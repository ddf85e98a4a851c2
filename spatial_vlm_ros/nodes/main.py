# SPDX-License-Identifier: Apache-2.0
"""Entry points of the nodes: start, spin, shut down; what is missing is said with its repair."""

from __future__ import annotations

import contextlib
import importlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

from spatial_vlm_ros.printable import printable

FAILED = 1
_LAST_ANSWERS = 2.0  # s for answering the clients that wait, once the node is told to end
_ON_THE_WAY = 0.3  # s for a client that has just heard of acceptance to ask for its result

REPAIRS = {
    "rclpy": "source your ROS 2 distribution, or set up ROS from wheels in the repository: scripts/setup.sh ros",
    "spatial_vlm_interfaces": "build the interfaces: colcon build --base-paths src src/spatial_vlm_ros/interfaces and "
    "source install/setup.bash; without a distribution: scripts/setup.sh ros",
    "tf2_msgs": "install ros-$ROS_DISTRO-tf2-msgs; without a distribution: "
    "scripts/build_interfaces.sh .venv interfaces/vendor/tf2_msgs",
    "diagnostic_msgs": "install ros-$ROS_DISTRO-diagnostic-msgs; without a distribution: scripts/setup.sh ros",
    "visualization_msgs": "install ros-$ROS_DISTRO-visualization-msgs; without a distribution: scripts/setup.sh ros",
    "moveit_msgs": "install ros-$ROS_DISTRO-moveit-msgs; without a distribution: scripts/setup.sh ros arm",
    "shape_msgs": "install ros-$ROS_DISTRO-shape-msgs; without a distribution: scripts/setup.sh ros",
    "control_msgs": "install ros-$ROS_DISTRO-control-msgs; without a distribution: scripts/setup.sh ros arm",
    "trajectory_msgs": "install ros-$ROS_DISTRO-trajectory-msgs; without a distribution: scripts/setup.sh ros",
    "vision_msgs": "install ros-$ROS_DISTRO-vision-msgs; without a distribution: "
    "scripts/build_interfaces.sh .venv interfaces/vendor/vision_msgs",
    "mujoco": "pip install mujoco",
    "rosbags": "pip install rosbags",
}


def _run(module: str, name: str, args: list[str] | None = None) -> int:
    """Import, make and spin a node until it ends or is told to; 0 on a clean end."""
    try:
        import rclpy
        from rclpy.exceptions import NotInitializedException, ParameterException
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        make: Callable[[], Any] = getattr(importlib.import_module(f"spatial_vlm_ros.nodes.{module}"), name)
    except ModuleNotFoundError as error:
        print(printable(missing(error)), file=sys.stderr)  # noqa: T201
        return FAILED
    from spatial_vlm_ros.errors import SpatialVlmError

    told = _Told()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)
    owns_signals = hasattr(make, "end")  # it has clients to answer: its context has to outlive the signal
    handlers = SignalHandlerOptions.NO if owns_signals else SignalHandlerOptions.ALL
    try:
        rclpy.init(args=args, signal_handler_options=handlers)
    except RuntimeError as error:  # rcl's words for arguments that it cannot read
        print(printable(f"{module.rpartition('.')[2]}: {error}"), file=sys.stderr)  # noqa: T201
        return FAILED
    node = None
    try:
        node = make()
        node.start()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if owns_signals:
            _spin_to_the_end(node, executor, told)
        else:
            executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (SpatialVlmError, ParameterException) as error:
        print(printable(f"{module.rpartition('.')[2]}: {error}"), file=sys.stderr)  # noqa: T201
        return FAILED
    except (RuntimeError, NotInitializedException):  # what rclpy raises of a context that has been shut down, and
        if rclpy.ok() and not told.to_end:  # where the interrupt came while it converted a message
            raise
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


resolver = partial(_run, "perception.resolver", "ResolverNode")
frame_player = partial(_run, "perception.frame_player", "FramePlayer")
bag_player = partial(_run, "perception.bag_player", "BagPlayer")
planner_gate = partial(_run, "arm.planner_gate", "PlannerGate")
arm_planner = partial(_run, "arm.arm_planner", "ArmPlanner")
sim_arm = partial(_run, "sim.sim_arm", "SimArmNode")


class _Told:
    """Handler of Ctrl-C and SIGTERM: interrupts what takes long, as loading a model, and remembers that it was told."""

    def __init__(self) -> None:
        self.to_end = False
        self.waits = False  # a first signal is awaited elsewhere and interrupts nothing

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        first, self.to_end = not self.to_end, True
        if not (self.waits and first):
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], Any]) -> Iterator[None]:
        """Within it the first signal calls `wake` from another thread, and a second one raises KeyboardInterrupt.

        Python runs its handlers between two steps of the main thread, which may wait for messages and take none.
        """
        read, write = socket.socketpair()
        write.setblocking(False)
        before = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)

        def listen() -> None:
            if read.recv(1):
                wake()

        threading.Thread(target=listen, name="signals", daemon=True).start()
        self.waits = True
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            write.close()
            self.waits = False


def _spin_to_the_end(node: Any, executor: Any, told: _Told) -> None:
    """Spin until a signal comes; then on, for a moment, until the node has answered the clients that wait."""
    from rclpy.task import Future

    over: Future[None] = Future()
    with told.waking(lambda: over.set_result(None)):
        executor.spin_until_future_complete(over)
        waited = not node.ended
        node.end()
        end = time.monotonic() + _LAST_ANSWERS
        while not node.ended and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        end = time.monotonic() + (_ON_THE_WAY if waited else 0.0)
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)


def missing(error: ModuleNotFoundError) -> str:
    """One line: what cannot be imported and how to mend it."""
    package = (error.name or "").partition(".")[0]
    return f"{error}; {REPAIRS.get(package, f'install {package}')}"
