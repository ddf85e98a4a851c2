# SPDX-License-Identifier: Apache-2.0
"""The real node and a camera whose clock is off and whose messages are slow; the scene is swapped at a request."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from live_graph import DEADLINE, Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position

from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.streams.mirror import turned_detection, turned_image

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
        """Expose and publish until a condition holds; the latest at the deadline."""
        end, gate = time.monotonic() + DEADLINE, threading.Event()
        while not condition():
            now = time.monotonic()
            if now > end:
                pytest.fail(f"exposed for {DEADLINE:.0f} s in vain until {what}")
            if now >= self._next:
                self._next = now + PERIOD
                exposed = self.graph.camera.now()
                stamp = exposed + round(self.offset * SECOND)
                self.exposures[stamp] = exposed, self.is_swapped
                scene = (AFTER, AFTER_DETECTIONS) if self.is_swapped else (FRAME, DETECTIONS)
                self._due.append((now + self.latency, self.graph.camera.parts(*scene, stamp)))
            while self._due and self._due[0][0] <= time.monotonic():
                self.graph.camera.send(self._due.popleft()[1])
            gate.wait(0.002)

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
    graph.start(
        base_frame="world", clocks_in_step=False, max_latency=MAX_LATENCY, max_ahead=2.0, frame_timeout=20.0
    )  # fmt: skip
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
    graph.assert_refused(
        goal, "STALE_INPUT", "/image is stamped 0.", "ahead of now, but max_ahead is 0.1 s", "chrony, PTP"
    )
