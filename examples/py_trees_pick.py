# SPDX-License-Identifier: Apache-2.0
"""A behaviour tree that asks which object is meant, or has it taken, and answers the question that may come back.

    python examples/py_trees_pick.py "grab me the chick" --answer "the bonnet one"
    python examples/py_trees_pick.py --action pick --plan-only "put the chick on the tray" --answer "the bonnet one"
    python examples/py_trees_pick.py --action pick --operator bob --key bob.pem "put the chick on the tray"

`CallAction` calls any ROS 2 action without blocking a tick. Its result goes to the blackboard. Here it calls `resolve`,
or `pick` of the planner gate, which may move an arm once a person has approved it, or `SignPlans` with the key of an
operator (docs/approval.md; it needs spatial_vlm_ros). An action of the same shape (a goal with words, a result with a
Resolution) only needs another type and name. Needs py_trees (pip install py_trees, or
ros-$ROS_DISTRO-py-trees). docs/drop_in.md starts the rest of it without a camera.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import py_trees
import rclpy
from action_msgs.msg import GoalStatus
from py_trees.common import Access, Status
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from spatial_vlm_interfaces.action import PickInstruction, ResolveInstruction
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve

TICK = 0.1  # s
LAST_WORDS = 5.0  # s for a goal that was taken back to end
SUCCEEDED, FAILED, REFUSED = 0, 1, 3
RESULT = "result"
ACTIONS: dict[str, Any] = {"resolve": ResolveInstruction, "pick": PickInstruction}


class Call:
    """One goal on its way: where it stands. The executor's thread writes, ticks read."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.sent = self.abandoned = False
        self.handle: Any = None
        self.rejected = False
        self.words = "running"
        self.response: Any = None  # status and result

    def hear(self, message: Any) -> None:
        """What the server says meanwhile; its words, where it has any."""
        self.words = str(getattr(message.feedback, "message", ""))

    def accepted(self, future: Any) -> None:
        """The server took the goal, or did not."""
        handle = future.result()
        if not handle.accepted:
            self.rejected = True
            return
        self.handle = handle
        handle.get_result_async().add_done_callback(self.ended)
        if self.abandoned:  # the tree went on before the server had answered
            handle.cancel_goal_async()

    def ended(self, future: Any) -> None:
        """The goal has a result."""
        self.response = future.result()

    def abandon(self) -> None:
        """Nobody wants the result any more: the server is told, now or once it has accepted."""
        self.abandoned = True
        if self.handle is not None and self.response is None:
            self.handle.cancel_goal_async()


class CallAction(py_trees.behaviour.Behaviour):
    """RUNNING while an action runs, SUCCESS when its goal succeeded, else FAILURE; interrupted, it cancels the goal.

    The blackboard has, under the behaviour's name: result, None until there is one; status and message of the result,
    or else of its Resolution; and of a result that is, or has, a Resolution: question and dialogue_id ("" where there
    is none).

    Args:
        name: of the behaviour.
        action_type: class of the action.
        action_name: relative to the node's namespace.
        goal: makes the goal, when the behaviour begins.
        patience: seconds for which the server may be absent, or not answer whether it accepts.
    """

    def __init__(
        self, name: str, action_type: Any, action_name: str, goal: Callable[[], Any], patience: float = 10.0
    ) -> None:
        super().__init__(name)
        self._type, self._action, self._goal, self._patience = action_type, action_name, goal, patience
        self._node: Any = None
        self._client: ActionClient | None = None
        self._call: Call | None = None
        self._board = self.attach_blackboard_client(name=name, namespace=name)
        for key in (RESULT, "status", "message", "question", "dialogue_id"):
            self._board.register_key(key, access=Access.WRITE)

    def setup(self, **given: Any) -> None:
        """Make the client, once, before the node spins: tree.setup(node=node)."""
        self._node = given["node"]
        self._client = ActionClient(self._node, self._type, self._action)

    def initialise(self) -> None:
        """A new call; what an earlier one left on the blackboard goes."""
        self._call = Call()
        self._note(None, "", "", "", "")

    def update(self) -> Status:
        """Look where the goal stands; never waits."""
        call, client = self._call, self._client
        if call is None or client is None:
            raise RuntimeError("set the tree up with a node first: tree.setup(node=node)")
        executor = self._node.executor
        if not call.sent and executor is not None and client.server_is_ready():
            call.sent = True  # by the executor: rclpy loses a reply that comes while another thread is still sending
            executor.create_task(self._send, call, client, self._goal())
        if call.response is not None:
            return self._judge(call.response)
        if call.rejected:
            return self._give_up(f"{self._action} rejected the goal: is its node active?")
        if call.handle is None and time.monotonic() - call.begun > self._patience:
            return self._give_up(f"no answer of {self._action} within {self._patience:g} s: does its node run?")
        self.feedback_message = call.words if call.handle is not None else f"waiting for {self._action}"
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Interrupted (a higher priority, the end of the tree): cancel what is on its way."""
        if new_status is Status.INVALID and self._call is not None and self._call.sent:
            self._call.abandon()

    @property
    def is_open(self) -> bool:
        """Whether a goal is on its way that has not ended."""
        call = self._call
        return call is not None and call.sent and not call.rejected and call.response is None

    @staticmethod
    def _send(call: Call, client: ActionClient, goal: Any) -> None:
        sent = client.send_goal_async(goal, feedback_callback=call.hear)
        sent.add_done_callback(call.accepted)

    def _judge(self, response: Any) -> Status:
        result = response.result
        answer = getattr(result, "resolution", result)
        status = status_of(result)
        words = str(getattr(status, "message", ""))
        self._note(
            result, str(getattr(status, "name", "")), words, getattr(answer, "question", ""),
            getattr(answer, "dialogue_id", ""),
        )  # fmt: skip
        self.feedback_message = words
        return Status.SUCCESS if response.status == GoalStatus.STATUS_SUCCEEDED else Status.FAILURE

    def _give_up(self, words: str) -> Status:
        if self._call is not None:
            self._call.abandon()
        self._note(None, "", words, "", "")
        self.feedback_message = words
        return Status.FAILURE

    def _note(self, result: Any, status: str, message: str, question: str, dialogue_id: str) -> None:
        self._board.set(RESULT, result)
        self._board.set("status", status)
        self._board.set("message", message)
        self._board.set("question", question)
        self._board.set("dialogue_id", dialogue_id)


class SignPlans(py_trees.behaviour.Behaviour):
    """RUNNING while it approves plans of the gate with an operator's signature; beside `pick`, in a Parallel.

    Nobody looks at a plan that a program approves: this is for cells in which the whole application is judged safe.

    Args:
        name: of the behaviour.
        operator: whose key it is.
        key: private key, as PEM.
        judge: whether to approve a plan; the others are left to other operators.
    """

    def __init__(self, name: str, operator: str, key: str, judge: Callable[[Proposal], bool]) -> None:
        super().__init__(name)
        self._operator, self._key, self._judge = operator, key, judge

    def setup(self, **given: Any) -> None:
        """Make client and subscription, once, before the node spins."""
        self._client = given["node"].create_client(Approve, "approve")
        given["node"].create_subscription(Proposal, "proposal", self._hear, 1)

    def update(self) -> Status:
        """Go on."""
        return Status.RUNNING

    def _hear(self, plan: Proposal) -> None:
        from spatial_vlm_ros.manipulation.approval.signing import signed_answer

        if self._judge(plan):
            answer = signed_answer(plan, self._operator, self._key)
            self._client.call_async(Approve.Request(**answer)).add_done_callback(self._told)

    def _told(self, answer: Any) -> None:
        self.feedback_message = answer.result().status.message


class WasAsked(py_trees.behaviour.Behaviour):
    """SUCCESS where another behaviour left a question on the blackboard, else FAILURE.

    Args:
        name: of the behaviour.
        of: name of the other one.
    """

    def __init__(self, name: str, of: str) -> None:
        super().__init__(name)
        self._board = self.attach_blackboard_client(name=name, namespace=of)
        self._board.register_key("question", access=Access.READ)

    def update(self) -> Status:
        """Look."""
        self.feedback_message = self._board.get("question")
        return Status.SUCCESS if self.feedback_message else Status.FAILURE


def which_object(instruction: str, answer: str, action: str = "resolve", **more: Any) -> py_trees.behaviour.Behaviour:
    """Call the action with the words; where that ends in a question, answer it once.

    Args:
        instruction: English.
        answer: to the question that may come back; "" = it is not answered.
        action: of ACTIONS; the first behaviour has its name.
        more: other fields of its goals, such as plan_only of pick.
    """

    def goal(words: str, dialogue_id: str = "") -> Any:
        return ACTIONS[action].Goal(instruction=words, dialogue_id=dialogue_id, **more)

    first = CallAction(action, ACTIONS[action], action, lambda: goal(instruction))
    if not answer:
        return first
    read = py_trees.blackboard.Client(name="the answer", namespace=action)
    read.register_key("dialogue_id", access=Access.READ)
    second = CallAction("again", ACTIONS[action], action, lambda: goal(answer, read.get("dialogue_id")))
    asked = py_trees.composites.Sequence("settle it", memory=True, children=[WasAsked("asked?", action), second])
    return py_trees.composites.Selector("which thing", memory=True, children=[first, asked])


def status_of(result: Any) -> Any:
    """The status of a result: its own, as `pick` has one, else that of its Resolution, or of the Resolution it is."""
    return getattr(result, "status", None) or getattr(getattr(result, "resolution", None), "status", None)


def last_result() -> Any:
    """The result of the last call that there was, or None."""
    results = [py_trees.blackboard.Blackboard.storage.get(f"/{name}/{RESULT}") for name in ("again", *ACTIONS)]
    return next((result for result in results if result is not None), None)


def told(result: Any) -> str:
    """A line for people."""
    answer, status = result.resolution, status_of(result)
    if hasattr(result, "status") or not answer.target:
        return f"{status.name}: {status.message} {answer.question}".strip()
    at = answer.target[0].pose.pose.position
    return f"{answer.target[0].id}: {at.x:.3f} {at.y:.3f} {at.z:.3f} m in {answer.header.frame_id}"


def _take_back(tree: py_trees.trees.BehaviourTree, node: Node) -> None:
    tree.root.stop(Status.INVALID)  # cancels the goal; BehaviourTree.interrupt only ends tick_tock
    end = time.monotonic() + LAST_WORDS
    calls = [each for each in tree.root.iterate() if isinstance(each, CallAction)]
    while any(call.is_open for call in calls) and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=TICK)


def main(words: Sequence[str] | None = None) -> int:
    """Tick the tree until it has ended."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--answer", default="", help="to the question that may come back")
    given.add_argument(
        "--action", choices=tuple(ACTIONS), default="resolve", help="pick may move an arm, once approved"
    )
    given.add_argument("--plan-only", action="store_true", help="of pick: plan, and move nothing")
    given.add_argument("--operator", default="", help="name of the operator in whose name the tree approves its plans")
    given.add_argument("--key", type=Path, help="file with this operator's private key")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    if options.plan_only and options.action != "pick":
        given.error("--plan-only is of --action pick")
    if bool(options.operator) != bool(options.key):
        given.error("--operator and --key belong together")
    more = {"plan_only": True} if options.plan_only else {}
    rclpy.init(args=said, signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C has to leave time to cancel
    pressed = threading.Event()  # and no KeyboardInterrupt: one that is raised within rclpy's generators is lost
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    node = Node("py_trees_pick_example")
    root = which_object(options.instruction, options.answer, options.action, **more)
    if options.key:
        own = (options.instruction, options.answer)
        sign = SignPlans("sign", options.operator, options.key.read_text(), lambda plan: plan.instruction in own)
        until = py_trees.common.ParallelPolicy.SuccessOnSelected([root], synchronise=False)
        root = py_trees.composites.Parallel("with approval", until, [sign, root])
    tree = py_trees.trees.BehaviourTree(root)
    tree.setup(node=node)
    stage = ""
    try:
        while not pressed.is_set():
            tree.tick()
            tip = tree.tip()
            if tip is not None and tip.feedback_message != stage:
                stage = tip.feedback_message
                node.get_logger().info(f"{tip.name}: {stage}")
            if tree.root.status is not Status.RUNNING:
                break
            end = time.monotonic() + TICK
            while (left := end - time.monotonic()) > 0 and not pressed.is_set():
                rclpy.spin_once(node, timeout_sec=left)
        if pressed.is_set():
            _take_back(tree, node)
            return FAILED
        print(py_trees.display.unicode_tree(tree.root, show_status=True))
        result = last_result()
        print(told(result) if result is not None else tree.root.tip().feedback_message)
        if tree.root.status is Status.SUCCESS:
            return SUCCEEDED
        return FAILED if result is None else REFUSED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
