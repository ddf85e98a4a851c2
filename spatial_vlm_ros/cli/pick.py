# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm pick`: executes an instruction on an arm through a running planner_gate."""

from __future__ import annotations

import sys

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, frame_option, say
from spatial_vlm_ros.cli.live import INTERRUPTED, conversation, fail, of_nodes, print_message, print_progress, replied
from spatial_vlm_ros.nodes.process import interrupts


@click.command()
@click.argument("instruction")
@frame_option
@click.option("--dialogue-id", default="", help="Dialogue to continue, by the id in the JSON of its answer.")
@click.option("--plan-only", is_flag=True, help="Stop after planning, even if the gate may execute.")
@click.option("--namespace", default="", help="ROS namespace of the gate.")
@click.option("--wait", default=10.0, show_default=True, help="How long to wait for the gate, in seconds.")
def pick(instruction: str, frame_of_reference: str | None, dialogue_id: str, plan_only: bool, namespace: str,
         wait: float) -> None:  # fmt: skip
    """Execute INSTRUCTION on the arm through planner_gate.

    A planner_gate must be running. Every motion waits for a person's approval, on the gate's page or by its service;
    the command prints where to approve. If there is a question, the command reads your answer from the terminal.
    Ctrl-C withdraws the instruction and stops a moving arm.

    \b
    Example:
      spatial-vlm up sim-arm plan_only:=false       # in another terminal
      spatial-vlm pick "put the chick behind the cup on the tray"
    """
    picker = of_nodes("arm.pick").picker
    with conversation(), picker(namespace) as client:
        while True:
            words = (instruction, frame_of_reference or "", dialogue_id, plan_only)
            with interrupts() as cancelled:
                client.wait_for_server(wait, cancelled)
                ended = client.pick(*words, print_progress, cancelled)
            if not ended.accepted:
                fail("the gate did not accept the goal")
            result = ended.result
            print_message(result.resolution, as_json=False)
            if result.status.message != result.resolution.status.message:
                say(f"{result.status.name}  {result.status.message}")
            if ended.withdrawn:
                sys.exit(INTERRUPTED)
            instruction = replied(result.resolution.question)
            if not instruction:
                sys.exit(ANSWERED if result.status.code == result.status.OK else REFUSED)
            dialogue_id = result.resolution.dialogue_id
