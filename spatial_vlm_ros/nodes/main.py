# SPDX-License-Identifier: Apache-2.0
"""Entry points of the nodes: start, spin, shut down. Missing packages are reported with the fix."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from spatial_vlm_ros.printable import printable

FAILED = 1
_ONE = 1.0  # s within which two signals count as one
_TURN = 0.02  # s: longest spin turn of a node that is ending
_LAST_ANSWERS = 2.0  # s to answer waiting clients after the node is told to end
_IMAGES = "fastdds_images.xml"  # this package's profile: shared memory for images
_UDP, _UDP_LOCALHOST = (Path(__file__).with_name(f"fastdds_udp{where}.xml") for where in ("", "_localhost"))
_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # the second up to Iron
_ON_THE_WAY = 0.3  # s for a client that has just heard of acceptance to ask for its result

_SET_UP = "without a distribution: scripts/setup.sh ros"
_BUILT = "without a distribution: scripts/build_interfaces.sh .venv interfaces/vendor"
_INSTALLED = {
    **dict.fromkeys(("diagnostic_msgs", "visualization_msgs", "shape_msgs", "trajectory_msgs"), _SET_UP),
    **dict.fromkeys(("moveit_msgs", "control_msgs", "controller_manager_msgs", "ur_msgs"), f"{_SET_UP} arm"),
    **{package: f"{_BUILT}/{package}" for package in ("tf2_msgs", "vision_msgs")},
}
REPAIRS = {
    **{name: f"install ros-$ROS_DISTRO-{name.replace('_', '-')}; {more}" for name, more in _INSTALLED.items()},
    "rclpy": "source your ROS 2 distribution, or set up ROS from wheels in the repository: scripts/setup.sh ros",
    "spatial_vlm_interfaces": "build the interfaces: colcon build --base-paths src src/spatial_vlm_ros/interfaces and "
    f"source install/setup.bash; {_SET_UP}",
    "franka_msgs": f"build franka_ros2, which contains it; {_SET_UP} arm",
    "mujoco": "pip install mujoco",
    "rosbags": "pip install rosbags",
}


def without_shared_memory() -> None:
    """Make this process and its children use only UDP; call it before the first node is created.

    A process killed while it uses Fast DDS's shared memory may leave a lock there. Publishers to it, including
    controllers, then wait for some seconds. A profile of the user is kept.
    """
    if not os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps").startswith("rmw_fastrtps"):
        return
    chosen, profile = [name for name in _PROFILES if os.environ.get(name)], _UDP
    if any(Path(os.environ[name]).name != _IMAGES for name in chosen):
        return
    if os.environ.get(_RANGE, "").upper() == "LOCALHOST" and not os.environ.get("ROS_STATIC_PEERS"):
        # For that discovery range rmw_fastrtps adds shared memory to any profile; our profile sets the same range
        # without it.
        profile, os.environ[_RANGE] = _UDP_LOCALHOST, "SYSTEM_DEFAULT"
    os.environ.update(dict.fromkeys(chosen or _PROFILES, str(profile)))


def _run(module: str, name: str, args: list[str] | None = None, alive: str = "", shared_memory: bool = True) -> int:
    """Import, create and spin a node until it ends or is told to end; returns 0 on a clean end.

    A node with a method `end` and a property `ended` has work to finish: a motion, or waiting clients. When told to
    end, it keeps spinning until `ended`: `end` starts this and returns the longest time it may take in seconds, None
    for `_LAST_ANSWERS`. Any other node is interrupted.
    """
    if not shared_memory:
        without_shared_memory()
    try:
        import rclpy
        from rclpy.exceptions import NameValidationException, NotInitializedException, ParameterException
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        make: Callable[[], Any] = getattr(importlib.import_module(f"spatial_vlm_ros.nodes.{module}"), name)
    except ModuleNotFoundError as error:
        print(printable(missing(error)), file=sys.stderr)  # noqa: T201
        return FAILED
    from spatial_vlm_ros.errors import SpatialVlmError

    class Executor(SingleThreadedExecutor):
        _sigint_gc = None  # rclpy's __del__ reads it; without this, Ctrl-C during __init__ prints a traceback

    owns_signals = hasattr(make, "end")
    told = _Told()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO if owns_signals else None)
    except RuntimeError as error:  # rcl's message for arguments that it cannot parse
        print(printable(f"{module.rpartition('.')[2]}: {error}"), file=sys.stderr)  # noqa: T201
        return FAILED
    node = executor = mark = None
    try:
        node = make()
        if alive:
            mark = importlib.import_module("spatial_vlm_ros.nodes.liveliness").Alive(node, alive)
        node.start()
        executor = Executor()
        executor.add_node(node)
        if owns_signals:
            executor.spin_until_future_complete(told.instead_of_interrupt())
        else:
            executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (SpatialVlmError, ParameterException, NameValidationException) as error:  # last: a topic parameter
        print(printable(f"{module.rpartition('.')[2]}: {error}"), file=sys.stderr)  # noqa: T201
        return FAILED
    except (RuntimeError, NotInitializedException):  # rclpy raises these after a shutdown, and
        if rclpy.ok() and not told.to_end:  # if an interrupt came while it converted a message
            raise
    finally:
        told.interrupts = False
        try:
            if mark is not None:  # whoever ends serves no motion any more, however long it takes
                mark.end()
            if owns_signals and executor is not None:
                _end(node, executor, told)
                rclpy.try_shutdown()  # waiting threads give up
        finally:
            if node is not None:
                node.stop()
                node.destroy_node()
            rclpy.try_shutdown()
            told.close()
    return 0


def _end(node: Any, executor: Any, told: _Told) -> None:
    """Spin until the node has finished and its clients are answered, time is over, or a second signal comes."""
    told.to_end, waited = True, not node.ended
    seconds = node.end()
    end = time.monotonic() + (_LAST_ANSWERS if seconds is None else float(seconds))
    while not node.ended and not told.again and time.monotonic() < end and executor.context.ok():
        executor.spin_once(timeout_sec=_TURN)
    end = time.monotonic() + (_ON_THE_WAY if waited else 0.0)
    while time.monotonic() < end and executor.context.ok():
        executor.spin_once(timeout_sec=_TURN)


resolver = partial(_run, "perception.resolver", "ResolverNode", alive="resolve/alive")
tracker = partial(_run, "perception.tracker", "TrackerNode")
frame_player = partial(_run, "perception.frame_player", "FramePlayer")
bag_player = partial(_run, "perception.bag_player", "BagPlayer")
planner_gate = partial(_run, "arm.planner_gate", "PlannerGate", shared_memory=False)
arm_planner = partial(_run, "arm.arm_planner", "ArmPlanner", shared_memory=False)
sim_arm = partial(_run, "sim.sim_arm", "SimArmNode")


class _Told:
    """Handles Ctrl-C and SIGTERM: they interrupt long work such as loading a model, or end a spinning node.

    This object handles both signals from now on. If a signal comes while the main thread waits inside the middleware, a
    thread that reads Python's wake-up socket notices it.

    Attributes:
        again: whether another one came, more than `_ONE` after the first: `ros2 launch` sends its own after Ctrl-C.
        interrupts: whether a signal raises KeyboardInterrupt in the main thread.
    """

    def __init__(self) -> None:
        self.to_end, self.again, self.interrupts = False, False, True
        self._first = 0.0
        self._future: Any = None
        self._reads, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, self)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.to_end:
            self.to_end, self._first = True, now
        elif now - self._first > _ONE:
            self.again = True
        if self.interrupts:
            raise KeyboardInterrupt

    def instead_of_interrupt(self) -> Any:
        """A future of rclpy that a signal completes from now on, instead of interrupting."""
        from rclpy.task import Future

        self._future, self.interrupts = Future(), False
        if self.to_end:
            self._future.set_result(None)
        return self._future

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._wakes.close()

    def _wait(self) -> None:
        """Complete the future, which wakes the executor; runs on its own thread."""
        with self._reads, contextlib.suppress(OSError):
            while self._reads.recv(1):
                if self._future is not None and not self._future.done():
                    self._future.set_result(None)


def missing(error: ModuleNotFoundError) -> str:
    """One line that says which module is missing and how to install it."""
    package = (error.name or "").partition(".")[0]
    return f"{error}; {REPAIRS.get(package, f'install {package}')}"
