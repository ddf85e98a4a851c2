# SPDX-License-Identifier: Apache-2.0
"""A camera whose clock is off, and time that a simulator gives: it runs, stands still, jumps back, begins late."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_domain import free_domain
from live_graph import Goal, Graph, HeldGrounder
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from rosgraph_msgs.msg import Clock
from waiting import until

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import turned_detection, turned_image
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of

PERIOD = 0.066  # s between exposures
MAX_LATENCY = 0.5  # s: the longest latency of these cameras, and what a loaded machine adds to it
AFTER = replace(FRAME, rgb=turned_image(FRAME.rgb), depth=turned_image(FRAME.depth))
AFTER_DETECTIONS = tuple(turned_detection(one, FRAME.camera.width) for one in DETECTIONS)


@dataclass
class LateCamera:
    """Exposes, and publishes what it exposed a latency ago, stamped by a clock that is off."""

    graph: Graph
    offset: float
    latency: float
    is_swapped: bool = False
    exposures: dict[int, tuple[int, bool]] = field(default_factory=dict)  # stamp -> exposure (ns), whether swapped
    _due: deque[tuple[float, Any]] = field(default_factory=deque)
    _next: float = 0.0

    def run_until(self, condition: Any, what: str) -> None:
        until(condition, f"{what}, exposing", meanwhile=self._turn, period=0.002)

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PERIOD
            exposed = self.graph.camera.now()
            stamp = exposed + round(self.offset * SECOND)
            self.exposures[stamp] = exposed, self.is_swapped
            scene = (AFTER, AFTER_DETECTIONS) if self.is_swapped else (FRAME, DETECTIONS)
            self._due.append((now + self.latency, self.graph.camera.parts(*scene, stamp)))
        while self._due and self._due[0][0] <= time.monotonic():
            self.graph.camera.send(self._due.popleft()[1])

    def ask(self) -> Goal:
        """The answer to a question that is asked just after the scene was swapped."""
        self.is_swapped = not self.is_swapped
        goal = self.graph.send_goal(SENTENCE)
        self.run_until(lambda: goal.result is not None, "there is an answer")
        return goal


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-1.0, -0.3, 0.05, 0.15, 0.5, 1.0])
def test_no_answer_is_from_before_its_request_whatever_the_cameras_clock(graph: Graph, offset: float) -> None:
    places = {False: core_position(), True: core_position(AFTER, AFTER_DETECTIONS)}
    assert np.linalg.norm(np.subtract(*places.values())) > 0.01
    limits = {"max_latency": MAX_LATENCY, "max_ahead": 2.0, "frame_timeout": 20.0}
    graph.start(base_frame="world", clocks_in_step=False, **limits)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    waited = []
    for latency in (0.0, 0.15, 0.3):
        graph.reconfigure()
        camera = LateCamera(graph, offset, latency)
        seen = graph.desk.assembler
        camera.run_until(lambda seen=seen: len(seen.streams[roles.RGB]) or seen.camera_frame, "it is heard")
        for _ in range(2):
            asked_ns = graph.camera.now()
            goal = camera.ask()
            waited.append(round((graph.camera.now() - asked_ns) / SECOND, 3))
            exposed_ns, is_swapped = camera.exposures[roles.stamp_of(goal.result)]
            assert exposed_ns >= asked_ns
            assert is_swapped == camera.is_swapped
            assert goal.position == pytest.approx(places[camera.is_swapped], abs=1e-3)
    print(f"offset {offset:g} s, latencies 0, 0, 0.15, 0.15, 0.3, 0.3 s: answered after {waited} s")  # noqa: T201


def test_a_camera_whose_clock_runs_ahead_is_refused_by_default_and_its_offset_named(graph: Graph) -> None:
    graph.start(base_frame="world", clocks_in_step=False, frame_timeout=1.5)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    camera = LateCamera(graph, 0.6, 0.0)
    camera.run_until(lambda: graph.desk.assembler.camera_frame, "it is heard")
    goal = camera.ask()
    words = ("/image is stamped 0.", "ahead of now, but max_ahead is 0.1 s", "chrony, PTP")
    graph.assert_refused(goal, "STALE_INPUT", *words)


STEP = SECOND // 20
POSE = FRAME.base_T_camera
STANDS = "the clock does not advance"


class Simulator:
    """Tells the time, and what the camera sees at that time; its resolver has a grounder that may be held up."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph, self.now = graph, 0
        self.grounder = HeldGrounder(folder)
        self.grounder.end.touch()
        graph.camera.now = lambda: self.now  # type: ignore[method-assign]
        patience = {"frame_timeout": 0.5, "transform_timeout": 2.0}
        graph.start(base_frame="world", use_sim_time=True, **patience, **self.grounder.parameters)
        graph.camera.tf(POSE, static=True)

    def tell(self) -> None:
        self.graph.camera.publish("/clock", Clock(clock=messages.time_of(self.now)), qos.CLOCK)

    def at(self, seconds: float) -> None:
        self.now = int(seconds * SECOND)

        def knows() -> bool:
            self.tell()
            return self.graph.resolver._now_ns() == self.now

        self.graph.until(knows, f"it is {seconds} s")

    def tick(self, _: object = None) -> None:
        self.now += STEP
        self.tell()

    def run(self, goal: Goal, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Goal:
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


def test_an_answer_of_a_time_that_is_over_is_not_given(simulator: Simulator) -> None:
    """The simulator is set back while a grounder computes: its world has gone."""
    graph = simulator.graph
    goal = simulator.grounder.computes(graph, simulator.tick)
    simulator.at(50.0)
    graph.ended(goal)
    simulator.grounder.end.touch()
    graph.assert_refused(goal, "SOURCE_CHANGED", "the clock was set back")
    simulator.assert_answers()
