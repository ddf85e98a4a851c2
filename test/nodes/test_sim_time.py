# SPDX-License-Identifier: Apache-2.0
"""Time that a simulator or a bag gives: it runs, stands still, jumps back, or begins late."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_domain import free_domain
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from rosgraph_msgs.msg import Clock

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of
from spatial_vlm_ros.types import Transform

STEP = SECOND // 20
assert FRAME.base_T_camera is not None
POSE = FRAME.base_T_camera
STANDS = "the clock does not advance"


class Simulator:
    """Tells the time, and what the camera sees at that time; its resolver has a grounder that may be held up."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph, self.now = graph, 0
        self.begun, self.end = folder / "begun", folder / "end"
        self.end.touch()
        graph.camera.now = lambda: self.now  # type: ignore[method-assign]
        graph.start(
            base_frame="world", frame_timeout=0.5, transform_timeout=2.0, use_sim_time=True,
            grounder="worker_backends:Chicks", grounder_options=f"begun={self.begun} end={self.end}",
        )  # fmt: skip
        graph.camera.tf(POSE, static=True)

    def tell(self) -> None:
        self.graph.camera.publish("/clock", Clock(clock=messages.time_of(self.now)), qos.CLOCK)

    def at(self, seconds: float) -> None:
        """Set the time; wait until the resolver knows it."""
        self.now = int(seconds * SECOND)

        def knows() -> bool:
            self.tell()
            return self.graph.resolver._now_ns() == self.now

        self.graph.until(knows, f"it is {seconds} s")

    def tick(self, _: object = None) -> None:
        self.now += STEP
        self.tell()

    def run(self, goal: Goal, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Goal:
        """Let time run, with frames, until a goal has ended."""

        def tick(parts: dict[str, Any]) -> None:
            change(parts)
            self.tick()

        self.graph.feed(lambda: goal.result is not None, "it has ended", change=tick)
        return goal

    def assert_answers(self) -> Goal:
        goal = self.run(self.graph.send_goal(SENTENCE))
        assert goal.position == pytest.approx(core_position(), abs=1e-6)
        return goal


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator whose clock nobody has heard yet."""
    with free_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        graph = Graph(domain)
        yield Simulator(graph, tmp_path_factory.mktemp("grounder"))
        graph.close()


@pytest.fixture
def simulator(started: Simulator) -> Iterator[Simulator]:
    """At 100 s, patient for 20 s, whatever time it was before."""
    started.at(100.0)
    started.graph.use(frame_timeout=20.0)
    yield started
    started.graph.settle()


def test_a_clock_that_never_came_is_named_and_a_goal_may_come_before_it(started: Simulator) -> None:
    graph = started.graph
    assert graph.resolver._now_ns() == 0
    graph.assert_refused(graph.ask(), "STALE_INPUT", STANDS, "/clock", "use_sim_time")
    graph.use(frame_timeout=20.0)
    goal = graph.send_goal(SENTENCE)
    started.at(1_700_000_000.0)
    assert goal.result is None
    started.run(goal)
    assert goal.name == "OK", goal.message
    assert 1_700_000_000 * SECOND <= stamp_of(goal.result) <= started.now
    graph.settle()


def test_a_clock_that_stands_still_is_named_and_patience_is_measured_by_it(simulator: Simulator) -> None:
    graph = simulator.graph
    graph.use(frame_timeout=0.5)
    graph.assert_refused(graph.send_goal(SENTENCE), "STALE_INPUT", STANDS)
    graph.use(frame_timeout=50.0)
    goal = graph.send_goal(SENTENCE)
    simulator.at(149.0)
    assert goal.result is None
    simulator.at(151.0)
    graph.assert_refused(goal, "STALE_INPUT", "since the request")


def test_after_a_jump_back_a_goal_that_waits_is_answered_and_what_is_silent_is_named(simulator: Simulator) -> None:
    graph = simulator.graph
    goal = graph.send_goal(SENTENCE)
    simulator.at(10.0)
    simulator.run(goal)
    assert goal.name == "OK", goal.message
    assert 10 * SECOND <= stamp_of(goal.result) < 30 * SECOND
    for _ in range(2):  # a bag that is looped
        simulator.at(100.0)
        simulator.assert_answers()
    graph.until(lambda: len(graph.targets) == 3, "all are published")
    graph.targets.clear()
    goal = graph.send_goal(SENTENCE)
    simulator.at(10.0)
    simulator.at(31.0)
    graph.assert_refused(goal, "STALE_INPUT", "no message on /rgb/image, /depth/image since the request")


def test_after_a_jump_back_moving_transforms_are_forgotten(simulator: Simulator) -> None:
    """The camera was elsewhere when the time was first so late; its pose of then is not that of now."""
    graph, other = simulator.graph, np.eye(4)
    other[0, 3] = 1.0
    graph.camera.tf(Transform("room", "world", np.eye(4)), static=True)
    was, now = Transform("map", "room", np.eye(4)), Transform("map", "room", other)
    graph.use(base_frame="map")

    def answered(pose: Transform) -> Any:
        def move(parts: dict[str, Any]) -> None:
            for offset in (-STEP, 0, STEP):
                graph.camera.tf(pose, stamp_ns=stamp_of(parts["rgb/image"]) + offset)

        return simulator.run(graph.send_goal(SENTENCE), move).position

    def expected(pose: Transform) -> Any:
        base = Transform("map", POSE.child, pose.matrix @ POSE.matrix)
        return core_position(dataclasses.replace(FRAME, base_T_camera=base))

    assert answered(was) == pytest.approx(expected(was), abs=1e-6)
    simulator.at(50.0)
    assert answered(now) == pytest.approx(expected(now), abs=1e-6)


def test_an_answer_of_a_time_that_is_over_is_not_given(simulator: Simulator) -> None:
    """The simulator is set back while a grounder computes: its world has gone."""
    graph = simulator.graph
    for path in (simulator.begun, simulator.end):
        path.unlink(missing_ok=True)
    goal = graph.send_goal(SENTENCE)
    graph.feed(simulator.begun.exists, "the grounder computes", FRAME, DETECTIONS, simulator.tick)
    simulator.at(50.0)
    graph.ended(goal)
    simulator.end.touch()
    graph.assert_refused(goal, "CANCELLED", "the clock was set back")
    simulator.assert_answers()
