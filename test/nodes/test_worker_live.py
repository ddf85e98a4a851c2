# SPDX-License-Identifier: Apache-2.0
"""A grounder in its own process behind the live node: it answers, is killed, hangs, comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from live_graph import Goal, Graph
from live_process import Started
from live_scene import FRAME, SENTENCE, core_position


def test_a_grounder_answers_and_costs_one_goal_where_it_is_killed_or_hangs(graph: Graph, tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    end.touch()
    options = f"begun={begun} end={end}"
    graph.start(base_frame="world", frame_timeout=15.0, grounder="worker_backends:Chicks", grounder_options=options)
    graph.camera.tf(FRAME.base_T_camera, static=True)

    def pid() -> int:
        return int(graph.resolver._grounder.pid)

    def computes() -> Goal:
        begun.unlink(missing_ok=True)
        end.unlink(missing_ok=True)
        goal = graph.send_goal(SENTENCE)
        graph.feed(begun.exists, "the grounder has begun")
        return goal

    def answers() -> None:
        end.touch()
        goal = graph.ask(change=lambda parts: parts.pop("detections"))
        assert goal.position == pytest.approx(core_position(), abs=1e-6)
        assert json.loads(goal.surroundings)["all_objects"] is False
        graph.until(lambda: graph.targets, "the answer is published")
        graph.targets.clear()

    answers()
    assert not graph.node.count_subscribers(graph.node.resolve_topic_name("detections"))
    first, goal = pid(), computes()
    os.kill(first, signal.SIGKILL)
    graph.assert_refused(goal, "MODEL_ERROR", "SIGKILL", "the next request")
    answers()
    assert pid() != first

    graph.use(grounder_timeout=0.3)
    second = pid()
    graph.assert_refused(computes(), "TIMEOUT", "0.3 s")
    graph.until(lambda: not Started.alive(second), "it is dead")
    graph.use(grounder_timeout=20.0)
    answers()

    third = pid()
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    assert Started.alive(third)
    assert graph.change(Transition.TRANSITION_CLEANUP)
    graph.until(lambda: not Started.alive(third), "a clean-up ends it")
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.change(Transition.TRANSITION_ACTIVATE)
    graph.offered()
    fourth, goal = pid(), computes()
    assert graph.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    graph.ended(goal)
    assert goal.name == "CANCELLED"
    graph.until(lambda: not Started.alive(fourth), "a shutdown ends it")
