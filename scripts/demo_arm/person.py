# SPDX-License-Identifier: Apache-2.0
"""The person in the demo, who asks, approves and watches: a node that knows the cell only by its messages."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from spatial_vlm_interfaces.action import PickInstruction
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve
from std_msgs.msg import String
from std_srvs.srv import Trigger

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.approval.signing import signed_answer
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.calls import Action, Bridge, spin_aside

ARM, GRIPPER = "/arm_controller/follow_joint_trajectory", "/gripper_controller/gripper_cmd"
PATIENCE = 60.0  # seconds for anything that should take about 1 s
_ENDS = {
    GoalStatus.STATUS_SUCCEEDED: "succeeded",
    GoalStatus.STATUS_CANCELED: "canceled",
    GoalStatus.STATUS_ABORTED: "aborted",
}


@dataclass(eq=False)
class Motion:
    """One goal of a controller, seen from outside.

    Args:
        who: "arm" or "gripper".
        begun: simulated time at which it was first seen, seconds.
        ended: the same for its end; None while it runs.
        end: its outcome.
    """

    who: str
    begun: float
    ended: float | None = None
    end: str = "running"


class Goal:
    """A goal of `pick`.

    Args:
        words: the instruction that was sent.
    """

    def __init__(self, words: str) -> None:
        self.words = words
        self.stage = 0
        self.answer: Any = None
        self.failure = ""  # why there will be no result

    @property
    def result(self) -> Any:
        """Result of the action; None until it has ended.

        Raises:
            SystemExit: the gate did not accept the goal, or is gone.
        """
        if self.failure:
            raise SystemExit(f"{self.failure}; see cell.log")
        return self.answer


class Person:
    """A node on its own thread; `close` it.

    Args:
        feedback: called on that thread with number and text of each stage.
        moves: called on that thread when a controller has started or ended a motion.
        alive: whether the cell still runs; if not, waiting stops.
        operator: name and private key that the gate knows.
    """

    def __init__(
        self,
        feedback: Callable[[int, str], None],
        moves: Callable[[Motion], None],
        alive: Callable[[], bool],
        operator: tuple[str, str],
    ) -> None:
        self._operator = operator
        rclpy.init(args=[])
        self.node: Node = rclpy.create_node("demo")
        self.proposals: list[Proposal] = []
        self.verdict: dict[str, Any] = {}
        self.now = 0.0  # simulated s
        self._goals: dict[bytes, Motion] = {}
        self._feedback, self._moves, self._alive = feedback, moves, alive
        node = self.node
        self._bridge = Bridge(node)
        self._pick = Action(self._bridge, PickInstruction, "pick", "see cell.log", PATIENCE)
        self._approve = node.create_client(Approve, "approve")
        self._judge = node.create_client(Trigger, "judge")
        node.create_subscription(Proposal, "proposal", self.proposals.append, qos.ANSWERS)
        node.create_subscription(String, "verdict", self._on_verdict, qos.VERDICTS)
        node.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK)
        for who, action in (("arm", ARM), ("gripper", GRIPPER)):
            heard = partial(self._on_status, who)
            node.create_subscription(GoalStatusArray, f"{action}/_action/status", heard, qos.VERDICTS)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        self._end = spin_aside(executor, PATIENCE)

    def close(self) -> None:
        """End the thread and the node."""
        self._end()
        self._pick.destroy()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_verdict(self, message: String) -> None:
        self.verdict = json.loads(message.data)

    def _on_clock(self, message: Clock) -> None:
        self.now = message.clock.sec + message.clock.nanosec / 1e9

    def _on_status(self, who: str, message: GoalStatusArray) -> None:
        """Read the goals of a controller: a new one is a motion that has started."""
        for status in message.status_list:
            key = bytes(status.goal_info.goal_id.uuid)
            if key not in self._goals:
                self._goals[key] = Motion(who, self.now)
                self._moves(self._goals[key])
            motion = self._goals[key]
            if status.status in _ENDS and motion.ended is None:
                motion.ended, motion.end = self.now, _ENDS[status.status]
                self._moves(motion)

    def wait(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Wait until a condition holds.

        Raises:
            SystemExit: it does not hold within `patience` seconds, or the cell has ended.
        """
        end, gate = time.monotonic() + patience, threading.Event()
        while not condition():
            if not self._alive():
                raise SystemExit(f"the cell has ended, and with it the wait for {what}; see cell.log")
            if time.monotonic() > end:
                raise SystemExit(f"waited {patience:.0f} s in vain for {what}; see cell.log")
            gate.wait(0.01)

    def wait_for_cell(self, patience: float) -> None:
        """Wait until everything that the demo needs is available, at most `patience` seconds for each."""
        self.wait(self._pick.ready, "the action pick", patience)
        self.wait(self._approve.service_is_ready, "the service approve", patience)
        self.wait(self._judge.service_is_ready, "the service judge", patience)
        self.wait(lambda: self.verdict and self.now > 0, "the simulation", patience)
        self.wait(lambda: self.node.count_publishers("annotated/image"), "the resolver", patience)

    def send(self, words: str, dialogue_id: str = "") -> Goal:
        """Send an instruction; a separate thread waits for the end."""
        goal = Goal(words)

        def stage(message: Any) -> None:
            self._feedback(message.feedback.stage, message.feedback.message)
            goal.stage = message.feedback.stage

        def run() -> None:
            try:
                ended = self._pick.run(request, math.inf, PATIENCE, lambda: False, feedback=stage)
            except SpatialVlmError as error:
                goal.failure = str(error)
                return
            goal.answer, goal.failure = ended.result, "" if ended.accepted else "the gate rejected the goal"

        request = PickInstruction.Goal(instruction=words, dialogue_id=dialogue_id)
        threading.Thread(target=run, name="goal", daemon=True).start()
        return goal

    def decide(self, proposal: Proposal, approve: bool = True, reason: str = "") -> str:
        """Approve or reject exactly this proposal; returns the answer in words."""
        request = Approve.Request(**signed_answer(proposal, *self._operator, approve, reason))
        status = self._answer(partial(self._approve.call_async, request), "an answer of approve").status
        return f"{status.name}: {status.message}"

    def judged(self) -> dict[str, Any]:
        """Return the current physics verdict."""
        answer = self._answer(partial(self._judge.call_async, Trigger.Request()), "an answer of the judge")
        return dict(json.loads(answer.message))

    def _answer(self, ask: Callable[[], Any], what: str) -> Any:
        answer = self._bridge.ask(ask)
        self.wait(answer.done, what)
        return answer.result()
