# SPDX-License-Identifier: Apache-2.0
"""A grounder in its own process behind the live node: it answers, is killed, hangs, comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from live_graph import Goal, Graph
from live_scene import FRAME, SENTENCE, core_position, position

HERE = Path(__file__).parent
POSES = {"base_frame": "world", "frame_timeout": 15.0, "transform_timeout": 5.0}


@pytest.fixture(autouse=True)
def backends_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


def start(graph: Graph, grounder: str = "worker_backends:Chicks", **parameters: Any) -> None:
    graph.start(**POSES, grounder=grounder, **parameters)
    graph.camera.tf(FRAME.base_T_camera, static=True)


def pid(graph: Graph) -> int | None:
    found = graph.resolver._grounder.pid  # type: ignore[union-attr]
    return None if found is None else int(found)


def gone(number: int) -> bool:
    """Whether a process is dead; one that nobody has reaped is."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def begin(graph: Graph, begun: Path) -> Goal:
    """A goal that the grounder works on."""
    goal = graph.send_goal(SENTENCE)
    graph.feed(begun.exists, "the grounder has begun", FRAME)
    return goal


def test_a_grounder_answers_without_a_detections_topic(graph: Graph) -> None:
    start(graph)
    for _ in range(2):
        goal = graph.ask(SENTENCE, FRAME, change=lambda parts: parts.pop("detections"))
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message
        assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)
        assert json.loads(goal.surroundings)["all_objects"] is False
    name = graph.node.resolve_topic_name("detections")
    assert not graph.node.count_subscribers(name)


def test_a_model_is_asked_about_relations_and_what_it_says_is_weighed(graph: Graph, tmp_path: Path) -> None:
    measured = {"slope": 0.3, "error": 0.01, "offset": 0.0, "n": 400, "positive": 200}
    known = {f"behind, {where}": measured for where in ("higher", "lower")}
    (tmp_path / "judge.json").write_text(json.dumps({"schema": 1, "model": "a test", "relations": known}))
    weigh = {"judge.mode": "fuse", "judge.calibration": str(tmp_path / "judge.json")}
    start(graph, "worker_backends:JudgingChicks", **weigh)
    goal = graph.ask(SENTENCE, FRAME, change=lambda parts: parts.pop("detections"))
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)
    told = json.loads(goal.result.json)
    assert told["judge"]["effect"] == "confirmed"
    assert told["candidates"][0]["clauses"][0]["model_p"] > 0.9


def test_a_grounder_that_is_killed_costs_one_goal(graph: Graph, tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    start(graph, grounder_options=f"begun={begun} end={end}")
    goal, first = begin(graph, begun), pid(graph)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    graph.assert_refused(goal, "MODEL_ERROR", "SIGKILL", "the next request")
    end.touch()
    goal = graph.ask(SENTENCE, FRAME)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert pid(graph) not in (None, first)


def test_a_grounder_that_is_killed_between_goals_is_started_anew(graph: Graph) -> None:
    start(graph)
    first = pid(graph)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    graph.until(lambda: gone(first), "it is dead")
    goal = graph.ask(SENTENCE, FRAME)
    assert goal.name in ("OK", "MODEL_ERROR")  # whether it was seen to be dead before it was asked
    goal = graph.ask(SENTENCE, FRAME)
    assert goal.name == "OK"
    assert pid(graph) != first


def test_a_grounder_that_hangs_is_ended_at_its_timeout(graph: Graph, tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    start(graph, grounder_options=f"begun={begun} end={end}", grounder_timeout=0.3)
    first = pid(graph)
    graph.assert_refused(begin(graph, begun), "TIMEOUT", "0.3 s")
    assert first is not None
    graph.until(lambda: gone(first), "it is dead")
    end.touch()
    assert graph.set(grounder_timeout=20.0)[0]
    goal = graph.ask(SENTENCE, FRAME)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message


def test_the_time_limit_of_a_grounder_can_be_changed_while_it_runs(graph: Graph, tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    start(graph, grounder_options=f"begun={begun} end={end}", grounder_timeout=100.0)
    assert graph.set(grounder_timeout=0.2)[0]
    graph.assert_refused(begin(graph, begun), "TIMEOUT", "0.2 s")


def test_cleaning_up_ends_the_grounders_process(graph: Graph) -> None:
    start(graph)
    first = pid(graph)
    assert first is not None
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    assert not gone(first)
    assert graph.change(Transition.TRANSITION_CLEANUP)
    graph.until(lambda: gone(first), "it is dead")
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.change(Transition.TRANSITION_ACTIVATE)
    graph.offered()
    assert graph.ask(SENTENCE, FRAME).name == "OK"


def test_shutting_down_ends_a_grounder_that_computes(graph: Graph, tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    start(graph, grounder_options=f"begun={begun} end={end}")
    goal, first = begin(graph, begun), pid(graph)
    assert first is not None
    assert graph.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    graph.ended(goal)
    assert goal.name == "CANCELLED"
    graph.until(lambda: gone(first), "it is dead")


def test_a_model_that_fails_is_an_error_and_never_not_found(graph: Graph) -> None:
    start(graph, "worker_backends:Failing")
    for _ in range(2):
        graph.assert_refused(graph.ask(SENTENCE, FRAME), "MODEL_ERROR", "no idea")
