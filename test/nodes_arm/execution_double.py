# SPDX-License-Identifier: Apache-2.0
"""A test double of MoveIt's TrajectoryExecutionManager, written from its source. Not a test.

moveit2, branch jazzy, commit 4d841063: moveit_ros/planning/trajectory_execution_manager/src/
trajectory_execution_manager.cpp ("manager" below), and moveit_plugins/moveit_simple_controller_manager/
{include/moveit_simple_controller_manager/action_based_controller_handle.hpp ("handle"),
src/follow_joint_trajectory_controller_handle.cpp ("follow")}.

What is left out: several controllers, switching them, several trajectories, empty ones, joints of several axes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.nodes.sim.controllers import seconds

SUCCEEDED, PREEMPTED, TIMED_OUT, ABORTED = "SUCCEEDED", "PREEMPTED", "TIMED_OUT", "ABORTED"
START_TOLERANCE = 0.01  # rad: allowed_start_tolerance (manager:103)
DURATION_SCALING, DURATION_MARGIN = 1.1, 5.0  # manager:53-57, 108-109, but a margin of 0.5 s: a busy machine has more
_STATE = 1.0  # s that a joint state is waited for
_FOREVER = 1e6  # s; upstream waits without limit
Say = Callable[[str], None]  # writes to the log


class RobotState:
    """What joint states say, as MoveIt's CurrentStateMonitor keeps it; `joints` have to be known."""

    def __init__(self, node: Node, joints: tuple[str, ...]) -> None:
        self.node, self.joints = node, joints
        self.positions: dict[str, float] = {}
        self._stamp = 0.0
        self._heard = threading.Condition()
        node.create_subscription(JointState, "joint_states", self._on_states, qos.images())

    def _on_states(self, message: JointState) -> None:
        """current_state_monitor.cpp:337-360. The last to come counts, also one that is older than the one before."""
        with self._heard:
            self.positions.update(zip(message.name, message.position, strict=False))
            self._stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            self._heard.notify_all()

    def since(self, stamp: float, patience: float = _STATE) -> dict[str, float] | None:
        """Positions stamped at this time or later: planning_scene_monitor/src/current_state_monitor.cpp:232-272.

        Waits for them; None where none come, or joints are unknown.
        """
        with self._heard:
            there = self._heard.wait_for(lambda: self._stamp >= stamp, patience)
            known = set(self.joints) <= set(self.positions)
            return dict(self.positions) if there and known else None

    def now(self) -> float:
        return float(self.node.get_clock().now().nanoseconds * 1e-9)


class ControllerHandle:
    """MoveIt's client of a controller, on a node of its own; `name` is that of the action."""

    def __init__(self, node: Node, name: str) -> None:
        self._bridge = Bridge(node)
        self._client = ActionClient(node, FollowJointTrajectory, name, callback_group=self._bridge.group)
        self._goal: Any = None
        self._done = True
        self.last = SUCCEEDED

    @property
    def connected(self) -> bool:
        return bool(self._client.server_is_ready())

    def send(self, trajectory: Any) -> bool:
        """Send a trajectory, without tolerances, and wait for the answer without limit (follow:44-98)."""
        if not self.connected:
            return False
        self._done, self.last, goal = False, "RUNNING", FollowJointTrajectory.Goal(trajectory=trajectory)
        answer = self._bridge.ask(lambda: self._client.send_goal_async(goal))
        self._bridge.wait(answer, _FOREVER)
        self._goal = answer.result()
        return bool(self._goal.accepted)

    def cancel(self) -> None:
        """Cancel, and wait for the answer alone, not for the end of the goal (handle:96-113)."""
        if not self._done:
            answer = self._bridge.ask(self._goal.cancel_goal_async)
            self._bridge.wait(answer, _FOREVER)
            self.last, self._done = PREEMPTED, True

    def wait(self, patience: float) -> bool:
        """Wait for the result (handle:127-168, 221-245)."""
        answer: Future[Any] = self._bridge.ask(self._goal.get_result_async)
        if not self._bridge.wait(answer, patience):
            return False
        ends = {GoalStatus.STATUS_SUCCEEDED: SUCCEEDED, GoalStatus.STATUS_ABORTED: ABORTED,
                GoalStatus.STATUS_CANCELED: PREEMPTED}  # fmt: skip
        self.last, self._done = ends.get(answer.result().status, "UNKNOWN"), True
        return True


class ExecutionManager:
    """Executes a trajectory and stops it; also one that takes more than `scaling` times its time and half a second."""

    def __init__(self, state: RobotState, joints: tuple[str, ...], handle: ControllerHandle, say: Say) -> None:
        self.scaling = DURATION_SCALING
        self._state, self._joints, self._handle, self._say = state, joints, handle, say
        self._trajectory: Any = None
        self._complete, self._last = True, SUCCEEDED  # execution_complete_, last_execution_status_
        self._mutex = threading.Lock()  # execution_state_mutex_
        self._ended = threading.Condition(self._mutex)
        self._joining = threading.Lock()  # execution_thread_mutex_
        self._sent = False  # current_trajectory_index_: the controller has it
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether a trajectory is executed: only then does `stop` do anything."""
        return not self._complete

    def push(self, trajectory: Any) -> bool:
        """Remember a trajectory for `execute`; False where the controller has not its joints (manager:1059-1185)."""
        wanted = set(trajectory.joint_trajectory.joint_names)
        if not wanted or not wanted <= set(self._joints):
            self._say(f"Unable to identify any set of controllers that can actuate these joints: {sorted(wanted)}")
            return False
        self._trajectory = trajectory.joint_trajectory
        return True

    def execute(self) -> None:
        """Begin what was pushed (manager:1259-1284).

        While the start is checked, up to 1 s, nothing is running yet: **a stop that comes then does nothing**.
        """
        self.stop()
        if not self._starts_well():
            self._last = ABORTED
            return
        self._complete = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> str:
        """Wait for the end (manager:1286-1298)."""
        with self._ended:
            self._ended.wait_for(lambda: self._complete)
        self.stop()
        return self._last

    def stop(self) -> None:
        """Stop what is running, and wait for its thread (manager:1209-1252); where nothing is, do nothing.

        However the controller ends the goal, the status becomes PREEMPTED (manager:1224, 1563-1567): it is no proof
        that the arm has been stopped.
        """
        with self._mutex:
            if not self._complete:
                self._complete = True
                if self._sent:
                    self._handle.cancel()
                self._last = PREEMPTED
                self._say("Stopped trajectory execution.")
        with self._joining:
            if self._thread is not None:
                self._thread.join()

    def _starts_well(self) -> bool:
        """Whether the trajectory begins where the joints are now (manager:926-1009)."""
        state = self._state.since(self._state.now())
        if state is None:
            self._say("Failed to validate trajectory: couldn't receive full current joint state within 1s")
            return False
        for name, at in zip(self._trajectory.joint_names, self._trajectory.points[0].positions, strict=True):
            if abs(state[name] - at) > START_TOLERANCE:
                self._say(f"Invalid Trajectory: start point deviates from current robot state at joint '{name}'.")
                return False
        return True

    def _run(self) -> None:
        """manager:1313-1369."""
        if self._complete:
            self._last = ABORTED
            return
        self._last = SUCCEEDED
        self._follow()
        if self._last == SUCCEEDED:
            with self._mutex:  # a stop that comes meanwhile waits
                if not self._complete:
                    self._until_still()
        with self._ended:
            self._complete = True
            self._ended.notify_all()

    def _follow(self) -> None:
        """manager:1371-1596."""
        with self._mutex:
            if self._complete:
                return
            self._sent = self._handle.send(self._trajectory)
            if not self._sent:
                self._last = ABORTED
                self._say("Failed to send trajectory part 1 of 1 to controller")
                return
        begun = time.monotonic()
        longest = seconds(self._trajectory.points[-1].time_from_start) * self.scaling + DURATION_MARGIN
        if not self._handle.wait(longest) and not self._complete and time.monotonic() - begun > longest:
            self._say("Controller is taking too long to execute trajectory. Stopping trajectory.")
            with self._mutex:
                self._handle.cancel()
            self._last = TIMED_OUT
        elif not self._complete and self._handle.last != SUCCEEDED:
            self._say(f"Controller handle reports status {self._handle.last}")
            self._last = self._handle.last
        with self._mutex:
            self._sent = False

    def _until_still(self) -> None:
        """Wait, 1 s at most, until three joint states in a row are alike (manager:1598-1658)."""
        end, alike = time.monotonic() + 1.0, 0
        before = dict(self._state.positions)
        while time.monotonic() < end and alike < 3:
            now = self._state.since(self._state.now(), max(end - time.monotonic(), 0.0))
            if now is None:
                return
            moved = any(abs(now[name] - before.get(name, now[name])) > START_TOLERANCE for name in now)
            alike, before = (0 if moved else alike + 1), now
