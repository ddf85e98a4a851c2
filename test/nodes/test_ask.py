# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm ask` as a person and as a program use it, against a live resolver."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable
from typing import Any

import pytest
from live_graph import Graph
from live_process import Started
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from spatial_vlm_interfaces.msg import Resolution

from spatial_vlm_ros.nodes import qos


def feed(graph: Graph, asking: Started) -> int:
    """Send frames until a program ends; its exit code."""
    try:
        graph.feed(lambda: asking.process.poll() is not None, "the program ends", FRAME, DETECTIONS)
    finally:
        print(asking.output)  # noqa: T201  shown where it fails
    return asking.ends()


def test_an_answer_is_printed_with_its_pose(live: Graph, program: Callable[..., Started]) -> None:
    asking = program("ask", SENTENCE)
    asking.says("waiting for a complete frame")
    assert feed(live, asking) == 0, asking.output
    x, y, z = core_position()
    assert "OK  'the chick behind the cup' is the chick (bonnet)." in asking.output
    assert f"({x:.3f}, {y:.3f}, {z:.3f}) m in world" in asking.output
    assert "Traceback" not in asking.output


@pytest.mark.parametrize("options", [(), ("--no-questions",)])
def test_a_refusal_ends_with_its_code_and_asks_nothing_where_nobody_can_answer(
    live: Graph, program: Callable[..., Started], options: tuple[str, ...]
) -> None:
    asking = program("ask", "grab me the chick", *options)
    assert feed(live, asking) == 3, asking.output
    assert "AMBIGUOUS" in asking.output
    assert "Which chick" in asking.output


def test_for_programs_the_answer_is_the_json_that_the_node_publishes(
    live: Graph, program: Callable[..., Started]
) -> None:
    asking = program("ask", "grab me the chick", "--json", "--frame-of-reference", "robot")
    assert feed(live, asking) == 3, asking.output
    (line,) = [line for line in asking.output.splitlines() if line.startswith("{")]
    live.until(lambda: live.answers, "the answer is published")
    assert json.loads(line) == json.loads(live.answers[0].json)
    assert json.loads(line)["status"] == "AMBIGUOUS"


def test_at_a_terminal_its_question_is_asked_and_the_typed_answer_is_resolved(
    live: Graph, program: Callable[..., Started]
) -> None:
    ours, theirs = pty.openpty()
    try:
        asking = program("ask", "grab me the chick", stdin=theirs)

        def is_asked() -> bool:
            return asking.output.rstrip().endswith("answer:") or asking.process.poll() is not None

        live.feed(is_asked, "it asks", FRAME, DETECTIONS)
        assert "or the ribbon one?" in asking.output
        os.write(ours, b"the ribbon one\n")
        assert feed(live, asking) == 0, asking.output
        assert "is the chick (ribbon)" in asking.output
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_program_follows_up_on_an_answer_by_its_dialogue(live: Graph, program: Callable[..., Started]) -> None:
    asking = program("ask", "grab me the chick", "--json")
    assert feed(live, asking) == 3, asking.output
    (line,) = [line for line in asking.output.splitlines() if line.startswith("{")]
    following = program("ask", "the ribbon one", "--json", "--dialogue-id", json.loads(line)["dialogue_id"])
    assert feed(live, following) == 0, following.output
    (line,) = [line for line in following.output.splitlines() if line.startswith("{")]
    assert json.loads(line)["target"]["id"] == "ribbon"


def test_a_question_about_space_is_answered_and_its_object_can_be_taken_up(
    live: Graph, program: Callable[..., Started]
) -> None:
    asking = program("ask", "where is the chick behind the cup?", "--json")
    assert feed(live, asking) == 0, asking.output
    (line,) = [line for line in asking.output.splitlines() if line.startswith("{")]
    made = json.loads(line)
    assert (made["status"], made["code"], made["target"]) == ("ANSWERED", 1, None)
    assert [obj["id"] for obj in made["answer"]["objects"] if obj["role"] == "subject"] == ["bonnet"]
    live.until(lambda: live.answers, "the answer is published")
    assert not live.answers[0].target
    following = program("ask", "pick it up", "--json", "--dialogue-id", made["dialogue_id"])
    assert feed(live, following) == 0, following.output
    (line,) = [line for line in following.output.splitlines() if line.startswith("{")]
    assert json.loads(line)["target"]["id"] == "bonnet"


def test_no_answer_to_the_question_leaves_the_refusal(live: Graph, program: Callable[..., Started]) -> None:
    ours, theirs = pty.openpty()
    try:
        asking = program("ask", "grab me the chick", stdin=theirs)
        os.write(ours, b"\n")
        assert feed(live, asking) == 3, asking.output
    finally:
        os.close(ours)
        os.close(theirs)


def test_without_a_resolver_it_ends_within_its_wait_with_the_repair(program: Callable[..., Started]) -> None:
    asking = program("ask", SENTENCE, "--wait", "0.5", "--namespace", "left")
    assert asking.ends() == 1
    assert "no action /left/resolve within 0.5 s" in asking.output
    assert "spatial-vlm up sim" in asking.output
    assert "Traceback" not in asking.output


def test_a_namespace_that_ros_does_not_allow_is_named(program: Callable[..., Started]) -> None:
    asking = program("ask", SENTENCE, "--namespace", "left arm")
    assert asking.ends() == 1
    assert "namespace: 'left arm'" in asking.output
    assert "Traceback" not in asking.output


def test_an_inactive_resolver_is_named_with_the_repair(graph: Graph, program: Callable[..., Started]) -> None:
    resolver = graph.start(wait=False, autostart=False)
    resolver.trigger_configure()
    asking = program("ask", SENTENCE)
    assert asking.ends() == 1
    assert "the resolver is not active; run: ros2 lifecycle set /resolver activate" in asking.output
    assert "Traceback" not in asking.output


def test_ctrl_c_cancels_the_goal(live: Graph, program: Callable[..., Started]) -> None:
    asking = program("ask", SENTENCE)
    asking.says("waiting for a complete frame")
    asking.interrupt()
    assert asking.ends() == 130
    live.until(lambda: live.answers, "the end is published")
    assert live.answers[0].status.name == "CANCELLED"
    assert not live.targets
    assert "cancelled" in asking.output
    assert "Traceback" not in asking.output


def test_a_resolver_in_a_namespace_is_asked(
    graph: Graph, node: Callable[..., Started], program: Callable[..., Started]
) -> None:
    answers: list[Any] = []
    graph.node.create_subscription(Resolution, "/left/resolution", answers.append, qos.ANSWERS)
    node("resolver", "-r", "__ns:=/left")
    graph.until(lambda: graph.node.count_publishers("/left/resolution"), "the resolver is there")
    asking = program("ask", "the blah of of", "--namespace", "/left", "--wait", "30")
    assert asking.ends() == 3, asking.output
    assert "NOT_UNDERSTOOD" in asking.output
    graph.until(lambda: answers, "it was asked of that resolver")


def test_a_resolver_that_goes_while_it_is_asked_ends_the_asking(
    live: Graph, program: Callable[..., Started], node: Callable[..., Started]
) -> None:
    resolver = node("resolver", "-r", "__ns:=/left", "-p", "frame_timeout:=30.0", base_frame="world")
    asking = program("ask", SENTENCE, "--namespace", "left", "--wait", "20")
    live.until(lambda: "waiting for a complete frame" in asking.output, "it is asked")
    resolver.process.kill()
    assert asking.ends() == 1, asking.output
    assert "the resolver disappeared" in asking.output
