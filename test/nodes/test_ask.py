# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm ask` as a person and as a program use it, against a live resolver."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from live_graph import Graph
from live_process import Started
from live_scene import SENTENCE, core_position
from spatial_vlm_interfaces.msg import Resolution

from spatial_vlm_ros.nodes import qos

Program = Callable[..., Started]
CHICK = "grab me the chick"


def feed(graph: Graph, asking: Started) -> int:
    """Send frames until a program ends; its exit code."""
    try:
        graph.feed(lambda: asking.process.poll() is not None, "the program ends")
    finally:
        print(asking.output)  # noqa: T201  shown where it fails
    assert "Traceback" not in asking.output
    return asking.ends()


def told(asking: Started) -> dict[str, Any]:
    (line,) = [line for line in asking.output.splitlines() if line.startswith("{")]
    return dict(json.loads(line))


def test_an_answer_is_printed_with_its_pose(live: Graph, program: Program) -> None:
    asking = program("ask", SENTENCE)
    asking.says("waiting for a complete frame")
    assert feed(live, asking) == 0
    x, y, z = core_position()
    assert "OK  'the chick behind the cup' is the chick (bonnet)." in asking.output
    assert f"({x:.3f}, {y:.3f}, {z:.3f}) m in world" in asking.output


def test_a_refusal_ends_with_its_code_and_its_json_is_what_the_node_publishes(live: Graph, program: Program) -> None:
    asking = program("ask", CHICK, "--json", "--frame-of-reference", "robot")
    assert feed(live, asking) == 3
    live.until(lambda: live.answers, "the answer is published")
    assert told(asking) == json.loads(live.answers[0].json)
    assert told(asking)["status"] == "AMBIGUOUS"


def test_at_a_terminal_its_question_is_answered(live: Graph, program: Program, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    asking = program("ask", CHICK, stdin=theirs)

    def is_asked() -> bool:
        return asking.output.rstrip().endswith("answer:") or asking.process.poll() is not None

    live.feed(is_asked, "it asks")
    assert "or the ribbon one?" in asking.output
    os.write(ours, b"the ribbon one\n")
    assert feed(live, asking) == 0
    assert "is the chick (ribbon)" in asking.output


@pytest.mark.parametrize("options", [(), ("--no-questions",)])
def test_no_answer_leaves_the_refusal(live: Graph, program: Program, terminal: tuple[int, int], options: Any) -> None:
    ours, theirs = terminal
    asking = program("ask", CHICK, *options, stdin=theirs)
    if not options:
        os.write(ours, b"\n")
    assert feed(live, asking) == 3
    assert "AMBIGUOUS" in asking.output
    assert "Which chick" in asking.output
    assert ("answer:" in asking.output) == (not options)


def test_a_question_about_space_is_answered_and_its_object_taken_up(live: Graph, program: Program) -> None:
    asking = program("ask", "where is the chick behind the cup?", "--json")
    assert feed(live, asking) == 0
    made = told(asking)
    assert (made["status"], made["code"], made["target"]) == ("ANSWERED", 1, None)
    assert [obj["id"] for obj in made["answer"]["objects"] if obj["role"] == "subject"] == ["bonnet"]
    live.until(lambda: live.answers, "the answer is published")
    assert not live.answers[0].target
    following = program("ask", "pick it up", "--json", "--dialogue-id", made["dialogue_id"])
    assert feed(live, following) == 0
    assert told(following)["target"]["id"] == "bonnet"


def test_without_a_resolver_it_ends_within_its_wait_with_the_repair(program: Program) -> None:
    asking = program("ask", SENTENCE, "--wait", "0.5", "--namespace", "left")
    assert asking.ends() == 1
    assert "no action /left/resolve within 0.5 s" in asking.output
    assert "spatial-vlm up sim" in asking.output
    assert "Traceback" not in asking.output


def test_an_inactive_resolver_is_named_with_the_repair(live: Graph, program: Program) -> None:
    live.change(4)  # deactivate
    asking = program("ask", SENTENCE)
    assert asking.ends() == 1
    assert "the resolver is not active; run: ros2 lifecycle set /resolver activate" in asking.output
    assert "Traceback" not in asking.output


def test_ctrl_c_cancels_the_goal(live: Graph, program: Program) -> None:
    asking = program("ask", SENTENCE)
    asking.says("waiting for a complete frame")
    asking.interrupt()
    assert asking.ends() == 130
    live.until(lambda: live.answers, "the end is published")
    assert live.answers[0].status.name == "CANCELLED"
    assert not live.targets
    assert "cancelled" in asking.output
    assert "Traceback" not in asking.output


def test_a_resolver_in_a_namespace_is_asked_and_its_end_is_told(live: Graph, node: Program, program: Program) -> None:
    answers: list[Any] = []
    live.node.create_subscription(Resolution, "/left/resolution", answers.append, qos.ANSWERS)
    resolver = node("resolver", "-r", "__ns:=/left", frame_timeout=30.0, base_frame="world")
    live.until(lambda: live.node.count_publishers("/left/resolution"), "the resolver is there")
    asking = program("ask", "the blah of of", "--namespace", "/left", "--wait", "30")
    assert asking.ends() == 3, asking.output
    assert "NOT_UNDERSTOOD" in asking.output
    live.until(lambda: answers, "it was asked of that resolver")
    asking = program("ask", SENTENCE, "--namespace", "left", "--wait", "20")
    asking.says("waiting for a complete frame")
    resolver.process.kill()
    assert asking.ends() == 1, asking.output
    assert "the resolver disappeared" in asking.output
