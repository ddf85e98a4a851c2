# SPDX-License-Identifier: Apache-2.0
"""Time that a simulator or a bag gives: it runs, stands still, jumps back, or begins late."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position
from rosgraph_msgs.msg import Clock

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of
from spatial_vlm_ros.types import Transform

STEP = SECOND // 20
assert FRAME.base_T_camera is not None
POSE = FRAME.base_T_camera


class Simulator:
    """Tells the time, and what the camera sees at that time."""

    def __init__(self, graph: Graph, **parameters: Any) -> None:
        self.graph, self.now = graph, 0
        graph.camera.now = lambda: self.now  # type: ignore[method-assign]
        settings = {"base_frame": "world", "frame_timeout": 5.0, "transform_timeout": 2.0, **parameters}
        graph.start(use_sim_time=True, **settings)
        graph.camera.tf(POSE, static=True)

    @property
    def seen(self) -> int:
        """The resolver's time, nanoseconds."""
        return int(self.graph.resolver._now_ns())  # type: ignore[union-attr]

    def tell(self) -> None:
        self.graph.camera.publish("/clock", Clock(clock=messages.time_of(self.now)), qos.CLOCK)

    def at(self, seconds: float) -> None:
        """Set the time; wait until the resolver knows it."""
        self.now = int(seconds * SECOND)

        def knows() -> bool:
            self.tell()
            return self.seen == self.now

        self.graph.until(knows, f"it is {seconds} s")

    def run(self, goal: Goal, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Goal:
        """Let time run, with frames, until a goal has ended."""

        def tick(parts: dict[str, Any]) -> None:
            change(parts)
            self.now += STEP
            self.tell()

        self.graph.feed(lambda: goal.result is not None, "it has ended", FRAME, DETECTIONS, tick)
        return goal

    def assert_answers(self) -> Goal:
        goal = self.run(self.graph.send_goal(SENTENCE))
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message
        assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)
        return goal


def test_answers_are_stamped_in_simulated_time(graph: Graph) -> None:
    simulator = Simulator(graph)
    simulator.at(100.0)
    goal = simulator.assert_answers()
    assert goal.result is not None
    assert 100 * SECOND <= stamp_of(goal.result) <= simulator.now


def test_a_clock_that_never_comes_is_named(graph: Graph) -> None:
    Simulator(graph, frame_timeout=0.5)
    graph.assert_refused(
        graph.send_goal(SENTENCE), "STALE_INPUT", "the clock does not advance", "/clock", "use_sim_time"
    )


def test_a_clock_that_stands_still_is_named(graph: Graph) -> None:
    simulator = Simulator(graph, frame_timeout=0.5)
    simulator.at(100.0)
    graph.assert_refused(graph.send_goal(SENTENCE), "STALE_INPUT", "the clock does not advance")
    simulator.at(101.0)
    assert graph.set(frame_timeout=5.0)[0]
    simulator.assert_answers()


def test_patience_is_measured_in_simulated_time(graph: Graph) -> None:
    simulator = Simulator(graph, frame_timeout=50.0)
    simulator.at(100.0)
    goal = graph.send_goal(SENTENCE)
    simulator.at(149.0)
    assert goal.result is None
    simulator.at(151.0)
    graph.assert_refused(goal, "STALE_INPUT", "since the request")


def test_a_goal_may_come_before_the_first_clock(graph: Graph) -> None:
    simulator = Simulator(graph, frame_timeout=20.0)
    goal = graph.send_goal(SENTENCE)
    assert simulator.seen == 0
    simulator.at(1_700_000_000.0)
    assert goal.result is None
    simulator.run(goal)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message


def test_a_goal_that_waits_when_the_clock_jumps_back_is_answered(graph: Graph) -> None:
    simulator = Simulator(graph)
    simulator.at(100.0)
    goal = graph.send_goal(SENTENCE)
    simulator.at(10.0)
    simulator.run(goal)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert 10 * SECOND <= stamp_of(goal.result) < 30 * SECOND


def test_a_bag_that_is_looped_is_answered_in_every_round(graph: Graph) -> None:
    simulator = Simulator(graph)
    for _ in range(3):
        simulator.at(100.0)
        simulator.assert_answers()


def test_after_a_jump_back_what_is_silent_is_named(graph: Graph) -> None:
    simulator = Simulator(graph, frame_timeout=20.0)
    simulator.at(100.0)
    simulator.assert_answers()
    graph.targets.clear()
    goal = graph.send_goal(SENTENCE)
    simulator.at(10.0)
    simulator.at(31.0)
    graph.assert_refused(goal, "STALE_INPUT", "no message on /rgb/image, /depth/image, /detections since the request")


def test_after_a_jump_back_moving_transforms_are_forgotten(graph: Graph) -> None:
    """The camera was elsewhere when the time was first so late; its pose of then is not that of now."""
    simulator = Simulator(graph, frame_timeout=20.0)
    other = np.eye(4)
    other[0, 3] = 1.0
    graph.camera.tf(Transform("room", "world", np.eye(4)), static=True)
    simulator.at(100.0)
    was, now = Transform("map", "room", np.eye(4)), Transform("map", "room", other)
    assert graph.set(base_frame="map")[0]

    def moving(pose: Transform) -> Callable[[dict[str, Any]], None]:
        def move(parts: dict[str, Any]) -> None:
            for offset in (-STEP, 0, STEP):
                graph.camera.tf(pose, stamp_ns=stamp_of(parts["rgb/image"]) + offset)

        return move

    def answered(pose: Transform) -> Any:
        goal = simulator.run(graph.send_goal(SENTENCE), moving(pose))
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message
        return position(goal.result.target[0])

    def expected(pose: Transform) -> Any:
        base = Transform("map", POSE.child, pose.matrix @ POSE.matrix)
        return core_position(dataclasses.replace(FRAME, base_T_camera=base))

    assert answered(was) == pytest.approx(expected(was), abs=1e-6)
    simulator.at(50.0)
    assert answered(now) == pytest.approx(expected(now), abs=1e-6)


def test_time_that_has_not_begun_answers_nothing(graph: Graph) -> None:
    graph.start(base_frame="world", use_sim_time=True, frame_timeout=0.5)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(goal, "STALE_INPUT", "the clock does not advance")


def test_an_answer_of_a_time_that_is_over_is_not_given(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator is set back while a grounder computes: its world has gone."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    begun, end = tmp_path / "begun", tmp_path / "end"
    simulator = Simulator(graph, grounder="worker_backends:Chicks", grounder_options=f"begun={begun} end={end}")
    simulator.at(100.0)
    goal = graph.send_goal(SENTENCE)

    def tick(_: dict[str, Any]) -> None:
        simulator.now += STEP
        simulator.tell()

    graph.feed(begun.exists, "the grounder computes", FRAME, DETECTIONS, tick)
    simulator.at(50.0)
    graph.until(lambda: goal.result is not None, "it has ended")
    end.touch()
    graph.assert_refused(goal, "CANCELLED", "the clock was set back")
    simulator.assert_answers()
