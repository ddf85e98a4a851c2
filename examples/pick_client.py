# SPDX-License-Identifier: Apache-2.0
"""Have an object taken, without a behaviour tree: rclpy, spatial_vlm_interfaces and nothing else.

    python examples/pick_client.py --plan-only "put the chick on the tray" --answer "the ribbon one"
    python examples/pick_client.py --operator ann --key ann.pem "put the chick behind the cup on the tray"

Prints each stage once, and answers the question that may come back. A person approves the motion elsewhere, on the
page, or here: with an operator's key (docs/approval.md; it needs spatial_vlm_ros), the plan is told, and a yes or no is
read and signed. Ctrl-C cancels the goal, which also stops a moving arm, and waits for its end. Ends
with 0 when it is done, 1 when nobody answers, 3 when it is refused.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from spatial_vlm_interfaces.action import PickInstruction
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve

DONE, FAILED, REFUSED = 0, 1, 3
STEP = 0.1  # s between two looks
PRESENT = 10.0  # s for which the gate may be absent, or not answer


class Picker:
    """Sends goals of the action `pick`, one at a time."""

    def __init__(self, node: Node, pressed: threading.Event) -> None:
        self._node, self._pressed, self._told = node, pressed, ""
        self._client = ActionClient(node, PickInstruction, "pick")

    def pick(self, **fields: Any) -> Any:
        """The result, also of a refusal or a cancelled goal; None where the gate rejects, is silent or gone."""
        if not self._client.wait_for_server(timeout_sec=PRESENT):
            return None
        sent = self._client.send_goal_async(PickInstruction.Goal(**fields), feedback_callback=self._hear)
        rclpy.spin_until_future_complete(self._node, sent, timeout_sec=PRESENT)
        if not sent.done() or not sent.result().accepted:
            return None
        handle, last = sent.result(), math.inf
        ended = handle.get_result_async()
        while not ended.done() and self._client.server_is_ready() and time.monotonic() < last:
            rclpy.spin_once(self._node, timeout_sec=STEP)
            if self._pressed.is_set() and last == math.inf:
                handle.cancel_goal_async()
                last = time.monotonic() + PRESENT
        return ended.result().result if ended.done() else None

    def _hear(self, message: Any) -> None:
        if message.feedback.message != self._told:
            self._told = message.feedback.message
            self._node.get_logger().info(self._told)


class Approver:
    """Tells each plan, reads a yes or a no, and sends it with the signature of an operator."""

    def __init__(self, node: Node, operator: str, key: str) -> None:
        self._operator, self._key = operator, key
        self._said: list[Approve.Request] = []
        self._client = node.create_client(Approve, "approve")
        node.create_subscription(Proposal, "proposal", self._hear, 1)
        node.create_timer(STEP, self._send)

    def _hear(self, plan: Proposal) -> None:
        threading.Thread(target=self._ask, args=(plan,), daemon=True).start()  # who reads it may take long

    def _ask(self, plan: Proposal) -> None:
        from spatial_vlm_ros.manipulation.approval.signing import signed_answer

        print(f"{plan.motion} ({'; '.join(plan.steps)}), yes or no within {plan.valid_for.sec} s?", flush=True)
        approve = sys.stdin.readline().strip() == "yes"
        self._said.append(Approve.Request(**signed_answer(plan, self._operator, self._key, approve)))

    def _send(self) -> None:
        while self._said:
            sent = self._client.call_async(self._said.pop())
            sent.add_done_callback(lambda answer: print(answer.result().status.message, flush=True))


def main(words: Sequence[str] | None = None) -> int:
    """Ask, answer at most one question, and report."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--answer", default="", help="to the question that may come back")
    given.add_argument("--plan-only", action="store_true", help="plan, and move nothing")
    given.add_argument("--operator", default="", help="name of the operator who approves here")
    given.add_argument("--key", type=Path, help="file with this operator's private key")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    if bool(options.operator) != bool(options.key):
        given.error("--operator and --key belong together")
    rclpy.init(args=said, signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C has to leave time to cancel
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    node = rclpy.create_node("pick_client")
    try:
        picker = Picker(node, pressed)
        if options.key:
            Approver(node, options.operator, options.key.read_text())
        result = picker.pick(instruction=options.instruction, plan_only=options.plan_only)
        asked = result.resolution if result is not None else None
        if asked is not None and asked.question:
            print(asked.question)
            if options.answer:
                more = {"dialogue_id": asked.dialogue_id, "plan_only": options.plan_only}
                result = picker.pick(instruction=options.answer, **more)
        if result is None:
            print("no answer. Start planner_gate, and check ROS_DOMAIN_ID")
            return FAILED
        print(f"{result.status.name}: {result.status.message}")
        return DONE if result.status.name == "OK" else REFUSED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
