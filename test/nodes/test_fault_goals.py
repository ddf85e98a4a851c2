# SPDX-License-Identifier: Apache-2.0
"""Goals that are not as they should be, on the live node: rows of the page of faults."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fault_bench import SENTENCE, Bench, write_scenes
from fault_record import record_goals
from lifecycle_msgs.msg import Transition
from live_graph import Goal, Graph
from tables import rows
from waiting import DEADLINE

BURST = 20
PATIENCE = DEADLINE / 2  # s: a goal without an answer after this is lost; each of a burst takes far less

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class GoalRow:
    """What is sent: goals with these fields, or by a function; `right` is status → how many goals may end so."""

    fault: str
    sent: str
    right: dict[str, list[int]]
    goal: dict[str, str] = field(default_factory=dict)
    by: str = "said"
    recover: int = 0  # transition that has to be asked for before the next request


def said(bench: Bench, instruction: str, **fields: str) -> list[Goal]:
    return [bench.graph.send_goal(instruction, **fields)]


def letters(bench: Bench) -> list[Goal]:
    return said(bench, "a" * 100_000)


def waiting(bench: Bench) -> Goal:
    """A goal that waits, because the camera is off."""
    bench.set(faults="camera=off")
    goal = bench.graph.send_goal(SENTENCE)
    bench.graph.until(lambda: goal.stages, "it waits")
    return goal


def over(bench: Bench, goal: Goal) -> list[Goal]:
    """The goal that waited has ended, and the camera is on again."""
    bench.graph.ended(goal)
    bench.set(faults="")
    return [goal]


def two(bench: Bench) -> list[Goal]:
    goals = [waiting(bench), bench.graph.send_goal(SENTENCE)]  # the second is queued
    bench.set(faults="")
    return goals


def cancelled(bench: Bench) -> list[Goal]:
    goal = waiting(bench)
    bench.graph.cancel(goal)
    return over(bench, goal)


def burst(bench: Bench) -> list[Goal]:
    """Twenty clients at once; a goal is counted as lost that has no answer in time."""
    return bench.graph.burst(SENTENCE, bench.graph.crowd(BURST), PATIENCE)


def deactivated(bench: Bench) -> list[Goal]:
    goal = waiting(bench)
    assert bench.graph.change(Transition.TRANSITION_DEACTIVATE)
    return over(bench, goal)


def changed(bench: Bench) -> list[Goal]:
    goals = []
    for slop in (0.02, 0.05, 0.02):
        goals.append(bench.graph.send_goal(SENTENCE))
        assert bench.graph.set(sync_slop=slop)[0]
        bench.graph.ended(goals[-1])
    return goals


ROWS = [GoalRow(**row) for row in rows(__file__, "fault_goals")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_a_goal_that_should_not_be_is_answered_and_the_next_one_too(graph: Graph, tmp_path: Path, row: GoalRow) -> None:
    bench = Bench(graph, write_scenes(tmp_path), tmp_path / "model_faults")
    bench.works("it works before")
    goals = globals()[row.by](bench, **row.goal)
    end, count = time.monotonic() + PATIENCE, lambda: sum(goal.result is not None for goal in goals)
    graph.until(lambda: count() == len(goals) or time.monotonic() > end, "the results are there")
    ended = time.monotonic()
    assert not row.recover or bench.graph.change(row.recover)
    bench.works("it works after")
    recovery = time.monotonic() - ended

    answered = [goal for goal in goals if goal.result is not None]
    statuses = Counter(goal.name for goal in answered)
    places = np.array(list(bench.truth.values()))
    wrong = sum(_off(goal, places) > 0.03 for goal in answered)
    failures = [f"{name} is not right" for name in statuses if name not in row.right]
    failures += [f"{len(goals) - len(answered)} without an answer"] if len(answered) < len(goals) else []
    counts = {name: least <= statuses[name] <= most for name, (least, most) in row.right.items()}
    failures += [f"{statuses[name]} times {name}" for name, right in counts.items() if not right]
    told = {"fault": row.fault, "injected": row.sent, "right": sorted(row.right)}
    found = {"recovery_s": round(recovery, 1), "wrong_poses": int(wrong), "failures": failures}
    record_goals("Goals", "".join(c if c.isalnum() else "_" for c in row.fault), goals, **told, **found)
    assert all(bool(goal.result.target) == (goal.name == "OK") for goal in answered)
    assert wrong == 0
    assert not failures


def _off(goal: Goal, places: np.ndarray) -> float:
    """Metres from a goal's pose to the nearest of the true ones; 0 without a pose."""
    if goal.result is None or not goal.result.target:
        return 0.0
    point = goal.result.target[0].pose.pose.position
    return float(np.linalg.norm(places - (point.x, point.y, point.z), axis=1).min())
