# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm ask`: sends an instruction to a running resolver."""

from __future__ import annotations

import sys
from typing import Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, frame_option, say
from spatial_vlm_ros.cli.live import INTERRUPTED, conversation, fail, of_nodes, print_message, replied


@click.command()
@click.argument("instruction")
@frame_option
@click.option("--dialogue-id", default="", help="Dialogue to continue, by the id that `ask` printed.")
@click.option("--namespace", default="", help="ROS namespace of the resolver.")
@click.option("--wait", default=10.0, show_default=True, help="How long to wait for the resolver, in seconds.")
@click.option("--no-questions", is_flag=True, help="Exit with the refusal instead of asking a question.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and ask no question.")
def ask(instruction: str, frame_of_reference: str | None, dialogue_id: str, namespace: str, wait: float,
        no_questions: bool, as_json: bool) -> None:  # fmt: skip
    """Ask a running resolver what an INSTRUCTION means.

    If the resolver asks a question, the command reads your answer from the terminal.

    \b
    Example:
      spatial-vlm ask "grab me the chick behind the cup"
      spatial-vlm ask "no, the other one" --dialogue-id 3f2a91c07b55
    """
    nodes = of_nodes("perception.ask")

    def once(client: Any, words: str, dialogue_id: str) -> Any:
        ended = client.ask(words, frame_of_reference or "", dialogue_id, lambda stage: say(f"… {stage}", err=True))
        if not ended.accepted:
            fail("the resolver is not active; run: ros2 lifecycle set /resolver activate")
        print_message(ended.resolution, as_json)
        return ended.resolution

    try:
        with conversation(), nodes.asker(namespace) as client:
            client.wait_for_server(wait)
            resolution = once(client, instruction, dialogue_id)
            while not (as_json or no_questions) and (reply := replied(resolution.question)):
                resolution = once(client, reply, resolution.dialogue_id)
            if resolution.dialogue_id and not as_json:
                say(f"  dialogue  {resolution.dialogue_id}  (to continue, pass --dialogue-id)")
            sys.exit(REFUSED if nodes.refused(resolution) else ANSWERED)
    except KeyboardInterrupt:
        fail("cancelled", INTERRUPTED)
