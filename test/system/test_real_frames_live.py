# SPDX-License-Identifier: Apache-2.0
"""Real frames as a bag, played to the resolver in a process of its own, give the answers of `resolve --frames`."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from live_graph import Goal, Graph
from live_process import Started
from rosgraph_msgs.msg import Clock

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.recording.bags.writer import record
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.types import Resolution

SECOND = 1_000_000_000


@pytest.fixture
def resolver(node: Callable[..., Started]) -> Iterator[Started]:
    """The resolver in a process of its own, which ends cleanly; no message is lost on the way to it."""
    running = node("resolver", "--log-level", "warn", base_frame="''", use_sim_time="true", frame_timeout=20.0,
                   reliability="reliable")  # fmt: skip
    yield running
    running.interrupt()
    assert running.ends() == 0, running.output
    assert "Traceback" not in running.output


def expected(folder: Path) -> list[Resolution]:
    frames: dict[str, Any] = {}
    answers = []
    for case in load_cases(folder):
        frame, detections = frames.setdefault(case.frame, load_frame(folder / case.frame))
        answers.append(Resolver().look_at(frame, detections, UNMEASURED).ask(case.instruction).resolution)
    return answers


def asked_at(graph: Any, clock: Any, time_ns: int, instruction: str) -> Any:
    """A goal that the resolver accepted at that simulated time: /clock is best effort, and may be late or lost."""
    now = Time(sec=time_ns // SECOND, nanosec=time_ns % SECOND)
    while True:
        clock.publish(Clock(clock=now))
        goal = graph.send_goal(instruction)
        if (goal.handle.stamp.sec, goal.handle.stamp.nanosec) == (now.sec, now.nanosec):
            return goal
        graph.withdraw(goal)
        graph.until(lambda goal=goal: goal.result, "a goal of another time has ended")


def comparable(resolution: Resolution) -> Resolution:
    """Without what depends on when the frame was stamped."""
    return dataclasses.replace(resolution, stamp_ns=0, frame=None, dialogue_id=None)


@pytest.mark.slow
def test_real_frames_played_as_a_bag_give_the_answers_of_the_core(
    real_frames: Path, tmp_path: Path, graph: Graph, resolver: Started
) -> None:
    record(real_frames, tmp_path / "bag")
    resolver.until(graph.client.server_is_ready, "the resolver is up")
    clock = graph.node.create_publisher(Clock, "/clock", qos.CLOCK)
    graph.until(clock.get_subscription_count, "the resolver hears the clock")
    answers = []
    with open_bag(tmp_path / "bag") as bag:
        publishers = {
            topic: graph.node.create_publisher(messages.message_class(form), topic, qos.images("reliable"))
            for topic, form in bag.topics.items()
            if topic.lstrip("/") in (roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DETECTIONS)
        }
        for topic, publisher in publishers.items():
            graph.until(publisher.get_subscription_count, f"the resolver hears {topic}")
        goal: Goal | None = None
        heard_ns = 0  # time that the resolver's clock shows for certain
        for message in bag.messages():
            if message.topic == "/instruction":
                if goal is not None:
                    resolver.until(lambda goal=goal: goal.result, f"case {len(answers) + 1} is answered")
                    answers.append(resolution_from_json(json.loads(goal.result.json)))
                goal, heard_ns = asked_at(graph, clock, message.log_ns, message.decode().data), message.log_ns
            elif message.topic in publishers:
                if message.log_ns > heard_ns + SECOND // 1000:  # the image arrives then, by the resolver's clock
                    graph.withdraw(asked_at(graph, clock, message.log_ns, "the time"))
                    heard_ns = message.log_ns
                publishers[message.topic].publish(bytes(message.raw))
        graph.ended(goal)
        answers.append(resolution_from_json(json.loads(goal.result.json)))
    core = expected(real_frames)
    assert len(answers) == len(core) == 62
    for ours, theirs in zip(answers, core, strict=True):
        assert comparable(ours) == comparable(theirs), ours.instruction
