# SPDX-License-Identifier: Apache-2.0
"""Goals that are not as they should be, on the live node: rows of docs/faults.md."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fault_bench import SENTENCE, Bench, write_scenes
from fault_record import record_goals
from lifecycle_msgs.msg import Transition
from live_graph import Goal, Graph

BURST = 20
PATIENCE = 15.0  # s: a goal without an answer after this is lost; each of a burst takes far less

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class GoalRow:
    """One misuse.

    Args:
        fault: in words for people.
        sent: what was sent, short.
        send: sends it; the goals.
        right: status → how many goals may end so, at least and at most.
        recover: what has to be done before the next request.
    """

    fault: str
    sent: str
    send: Callable[[Bench], list[Goal]]
    right: dict[str, tuple[int, int]]
    recover: Callable[[Bench], object] = lambda _: None


def _say(words: str, **fields: str) -> Callable[[Bench], list[Goal]]:
    return lambda bench: [bench.graph.send_goal(words, **fields)]


def _waiting(bench: Bench) -> Goal:
    """A goal that waits, because the camera is off."""
    bench.set(faults="camera=off")
    goal = bench.graph.send_goal(SENTENCE)
    bench.graph.until(lambda: goal.stages, "it waits")
    return goal


def _two(bench: Bench) -> list[Goal]:
    goals = [_waiting(bench), bench.graph.send_goal(SENTENCE)]  # the second is queued
    bench.set(faults="")
    return goals


def _cancelled(bench: Bench) -> list[Goal]:
    goal = _waiting(bench)
    bench.graph.cancel(goal)
    bench.graph.ended(goal)
    bench.set(faults="")
    return [goal]


def _burst(bench: Bench) -> list[Goal]:
    """Twenty clients at once; a goal is counted as lost that has no answer in time."""
    return bench.graph.burst(SENTENCE, bench.graph.crowd(BURST), PATIENCE)


def _deactivated(bench: Bench) -> list[Goal]:
    goal = _waiting(bench)
    assert bench.graph.change(Transition.TRANSITION_DEACTIVATE)
    bench.graph.ended(goal)
    bench.set(faults="")
    return [goal]


def _changed(bench: Bench) -> list[Goal]:
    goals = []
    for slop in (0.02, 0.05, 0.02):
        goals.append(bench.graph.send_goal(SENTENCE))
        assert bench.graph.set(sync_slop=slop)[0]
        bench.graph.ended(goals[-1])
    return goals


ROWS = (
    GoalRow("no words", "instruction: ''", _say(""), {"NOT_UNDERSTOOD": (1, 1)}),
    GoalRow("words outside the grammar", "'the blah of of'", _say("the blah of of"), {"NOT_UNDERSTOOD": (1, 1)}),
    GoalRow("100,000 letters", "'a' × 100,000", _say("a" * 100_000),
            {"NOT_UNDERSTOOD": (0, 1), "INVALID_INPUT": (0, 1), "NOT_FOUND": (0, 1)}),
    GoalRow("control characters", "'the chick\\x1b[2J\\x07\\n'", _say("the chick\x1b[2J\x07\n"),
            {"NOT_UNDERSTOOD": (0, 1), "AMBIGUOUS": (0, 1), "INVALID_INPUT": (0, 1)}),
    GoalRow("an object that is not there", "'the zebra'", _say("the zebra"), {"NOT_FOUND": (1, 1)}),
    GoalRow("an unknown frame of reference", "frame_of_reference: moon", _say(SENTENCE, frame_of_reference="moon"),
            {"INVALID_INPUT": (1, 1)}),
    GoalRow("a dialogue that nobody began", "dialogue_id: nowhere", _say("the left one", dialogue_id="nowhere"),
            {"INVALID_INPUT": (1, 1)}),
    GoalRow("a second goal while one waits", "2 goals", _two, {"OK": (1, 2), "STALE_INPUT": (0, 1)}),
    GoalRow("cancelled while it waits for an image", "cancel", _cancelled, {"CANCELLED": (1, 1)}),
    GoalRow("20 clients at once", "20 goals", _burst, {"OK": (1, BURST), "BUSY": (0, BURST - 1)}),
    GoalRow("the node is deactivated meanwhile", "deactivate", _deactivated, {"CANCELLED": (1, 1)},
            lambda bench: bench.graph.change(Transition.TRANSITION_ACTIVATE)),
    GoalRow("parameters change meanwhile", "sync_slop, 3 times", _changed, {"OK": (3, 3)}),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_a_goal_that_is_not_as_it_should_be_gets_an_answer_and_the_next_one_too(
    graph: Graph, tmp_path: Path, row: GoalRow
) -> None:
    bench = Bench(graph, write_scenes(tmp_path), tmp_path / "model_faults")
    bench.works("it works before")
    goals = row.send(bench)
    end, count = time.monotonic() + PATIENCE, lambda: sum(goal.result is not None for goal in goals)
    graph.until(lambda: count() == len(goals) or time.monotonic() > end, "the results are there")
    ended = time.monotonic()
    row.recover(bench)
    bench.works("it works after")
    recovery = time.monotonic() - ended

    answered = [goal for goal in goals if goal.result is not None]
    statuses = Counter(goal.name for goal in answered)
    places = np.array(list(bench.truth.values()))
    wrong = sum(_off(goal, places) > 0.03 for goal in answered)
    failures = [f"{name} is not right" for name in statuses if name not in row.right]
    failures += [f"{len(goals) - len(answered)} without an answer"] if len(answered) < len(goals) else []
    failures += [
        f"{statuses[name]} times {name}"
        for name, (least, most) in row.right.items()
        if not least <= statuses[name] <= most
    ]
    record_goals(
        "Goals",
        "".join(c if c.isalnum() else "_" for c in row.fault),
        goals,
        fault=row.fault,
        injected=row.sent,
        recovery_s=round(recovery, 1),
        wrong_poses=int(wrong),
        right=sorted(row.right),
        failures=failures,
    )
    assert all(bool(goal.result.target) == (goal.name == "OK") for goal in answered)
    assert wrong == 0
    assert not failures


def _off(goal: Goal, places: np.ndarray) -> float:
    """Metres from a goal's pose to the nearest of the true ones; 0 without a pose."""
    if goal.result is None or not goal.result.target:
        return 0.0
    point = goal.result.target[0].pose.pose.position
    return float(np.linalg.norm(places - (point.x, point.y, point.z), axis=1).min())
