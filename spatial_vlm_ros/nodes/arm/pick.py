# SPDX-License-Identifier: Apache-2.0
"""Client of the action `pick`: sends an instruction, reports progress, and cancels on request."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from spatial_vlm_interfaces.action import PickInstruction

from spatial_vlm_ros.nodes.calls import Action, Bridge, GoalOutcome, spin_aside
from spatial_vlm_ros.nodes.client_node import client_node
from spatial_vlm_ros.nodes.liveliness import Alive

_REMEDY = "start it (spatial-vlm up sim-arm, or the node planner_gate), and check namespace and ROS_DOMAIN_ID"
_ACCEPTANCE = 10.0  # s
_STOPPED = 30.0  # s: an arm that moves is stopped first


class Picker:
    """Action client with a node that spins on its own thread."""

    def __init__(self, node: Node) -> None:
        self._alive = Alive(node, "pick/alive")
        self._action = Action(Bridge(node), PickInstruction, "pick", _REMEDY, _STOPPED, self._alive.show)

    def wait_for_server(self, patience: float, cancelled: Callable[[], bool]) -> None:
        """Wait until the action server is available."""
        self._action.await_it(patience, cancelled)

    def pick(
        self,
        instruction: str,
        frame_of_reference: str,
        dialogue_id: str,
        plan_only: bool,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> GoalOutcome:
        """Send one goal once, and wait without limit until it ends.

        Args:
            frame_of_reference: "" = the resolver's default.
            dialogue_id: id of the question that this answers, or "".
            progress: called with the text of each stage, on another thread.
            cancelled: called while waiting; if true, the goal is cancelled and its end awaited.
        """
        told: list[str] = []

        def tell(message: Any) -> None:
            words = str(message.feedback.message)
            if words and words not in told[-1:]:
                told.append(words)
                progress(words)

        goal = PickInstruction.Goal(
            instruction=instruction, frame_of_reference=frame_of_reference, dialogue_id=dialogue_id, plan_only=plan_only
        )
        return self._action.run(goal, math.inf, _ACCEPTANCE, cancelled, feedback=tell)

    def destroy(self) -> None:
        """Destroy the client, after the node has stopped spinning."""
        self._action.destroy()


@contextlib.contextmanager
def picker(namespace: str = "") -> Iterator[Picker]:
    """A Picker in its own ROS context."""
    with client_node("spatial_vlm_pick", namespace, []) as node:
        client = Picker(node)
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        end = spin_aside(executor)
        try:
            yield client
        finally:
            end()
            client.destroy()
